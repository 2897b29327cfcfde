// SPDX-License-Identifier: MIT
// Any text is a port or refused. A number is what it says, whatever its zeros
// and its sign; nothing else is a number.
#include "fuzz.hpp"

namespace {

// The slow way: -1 for what is no number, 65536 for one that is no port.
int number(std::string_view text) {
  const bool minus = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+'))
    text.remove_prefix(1);
  if (text.empty() || text.find_first_not_of("0123456789") != text.npos)
    return -1;
  while (text.size() > 1 && text[0] == '0') text.remove_prefix(1);
  if (text == "0") return 0;
  if (minus || text.size() > 5) return 65536;
  return std::min(std::stoi(std::string(text)), 65536);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const auto [port, err] = net::lookup_port("tcp", text);
  fuzz::check(port >= 0 && port <= 65535, "not a port");
  const int expected = text.empty() ? 0 : number(text);
  if (expected == 65536) fuzz::check(err == net::invalid_port, "no such port");
  if (expected >= 0 && expected < 65536)
    fuzz::check(!err && port == expected, "another number");
  // The resolver knows no name here, netlite knows some by heart.
  if (expected < 0) fuzz::check(err == net::unknown_port || port > 0, "a name");
  return 0;
}
