// SPDX-License-Identifier: MIT
// Any text is split or refused; what was split, joins and splits again.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const auto [host, port, err] = net::split_host_port(text);
  if (err) {
    fuzz::check(host.empty() && port.empty(), "an error, and yet a result");
    fuzz::check(err.message().find(text) != std::string::npos,
                "the error does not name the text");
    return 0;
  }
  fuzz::check(port.find(':') == std::string::npos, "a colon in the port");
  fuzz::check((host + port).find_first_of("[]") == std::string::npos,
              "brackets inside");
  const auto [host2, port2, err2] =
      net::split_host_port(net::join_host_port(host, port));
  fuzz::check(!err2 && host2 == host && port2 == port,
              "joined and split, it is another");
  return 0;
}
