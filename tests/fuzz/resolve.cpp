// SPDX-License-Identifier: MIT
// Any text is an address of any network or refused; no number is looked up,
// and an address that was found is found again by its own text.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  static constexpr std::string_view networks[] = {
      "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram", "ip"};
  if (size == 0) return 0;
  const std::string_view network = networks[data[0] % std::size(networks)];
  const std::string_view text = fuzz::text(data + 1, size - 1);
  const auto [addr, err] = net::resolve(network, text);
  if (err) {
    fuzz::check(!addr, "an error, and yet an address");
    fuzz::check(!err.message().empty(), "no message");
    return 0;
  }
  const bool local = network.substr(0, 4) == "unix";
  if (local) fuzz::check(addr.path() == text, "another path");
  // "" and ":80" stand for any address: [::] and 0.0.0.0 are other texts.
  if (local || !addr.ip()) return 0;
  fuzz::check(addr.ip().unmap() == addr.ip(), "mapped");
  const auto [again, err2] = net::resolve(network, addr.string());
  fuzz::check(!err2 && again == addr, "resolved again, it is another");
  return 0;
}
