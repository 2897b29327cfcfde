// SPDX-License-Identifier: MIT
// What the fuzz targets have in common: a check, and a resolver that asks
// nobody. libFuzzer, which comes with clang, calls LLVMFuzzerTestOneInput with
// one input after the other; whatever ends the program is a finding.
#ifndef NETLITE_TESTS_FUZZ_FUZZ_HPP
#define NETLITE_TESTS_FUZZ_FUZZ_HPP

#include "netlite.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace net = netlite;

namespace fuzz {

inline void check(bool right, std::string_view what) {
  if (right) return;
  std::fprintf(stderr, "finding: %.*s\n", static_cast<int>(what.size()),
               what.data());
  std::abort();
}

inline std::string_view text(const unsigned char* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace fuzz

// Stands in the place of libc's: no input may reach a name server. What it is
// asked for must be a name; inet_aton(3) knows which texts libc would take for
// an address that Go does not.
extern "C" int getaddrinfo(const char* host, const char* service,
                           const addrinfo*, addrinfo**) {
  in_addr number;
  if (host) fuzz::check(!::inet_aton(host, &number), "asks for a number");
  if (host) fuzz::check(*host != '\0', "asks for nothing");
  if (service) fuzz::check(*service > ' ', "asks for a blank service");
  return host ? EAI_NONAME : EAI_SERVICE;
}

#endif  // NETLITE_TESTS_FUZZ_FUZZ_HPP
