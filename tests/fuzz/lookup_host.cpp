// SPDX-License-Identifier: MIT
// Any text is an address, a name to ask for, or refused without asking.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const auto [found, err] = net::lookup_host(text);
  fuzz::check(found.empty() == bool(err), "neither addresses nor error");
  // Nobody knows any name here.
  if (err) fuzz::check(err == net::no_such_host, "another error");
  for (const std::string& ip : found)
    fuzz::check(!net::parse_ip(ip).error || ip.back() == '%', "no address");
  return 0;
}
