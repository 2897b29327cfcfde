// SPDX-License-Identifier: MIT
// Any text is a prefix or refused. Printed and parsed, it is the same block.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  const auto [prefix, err] = net::parse_prefix(fuzz::text(data, size));
  if (err) return 0;
  fuzz::check(prefix.bits() <= static_cast<int>(prefix.ip().size()) * 8,
              "more bits than there are");
  fuzz::check(prefix.contains(prefix.ip()), "does not contain its address");
  fuzz::check(prefix.contains(prefix.masked()), "does not contain its first");
  const auto [again, err2] = net::parse_prefix(prefix.string());
  fuzz::check(!err2 && again.bits() == prefix.bits() &&
                  again.masked() == prefix.masked(),
              "printed and parsed, it is another");
  return 0;
}
