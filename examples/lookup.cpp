// lookup - prints every address of a name, in the order to try them.
// SPDX-License-Identifier: MIT
//
//   lookup localhost

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "netlite.hpp"

namespace net = netlite;

int main(int argc, char** argv) {
  char* end = nullptr;
  const double seconds = argc == 3 ? std::strtod(argv[2], &end) : 10;
  if (argc < 2 || argc > 3 || argv[1][0] == '-' ||
      (end && (*end || end == argv[2]))) {
    std::cerr << "usage: lookup HOST [SECONDS]\n\n"
                 "  HOST     a name, such as localhost\n"
                 "  SECONDS  how long to wait for an answer; 10\n";
    return 2;
  }
  auto [addresses, err] =
      net::lookup_host(argv[1], std::chrono::duration<double>(seconds));
  if (err) {
    std::cerr << "lookup: " << err << "\n";
    return 1;
  }
  for (const std::string& address : addresses) std::cout << address << "\n";
}
