// SPDX-License-Identifier: MIT
// As main.cpp, but it hands over a descriptor: nothing of netlite's passes
// between the two files, so each may have a version and variant of its own.
#include "netlite.hpp"

namespace net = netlite;

extern "C" int greet_descriptor(int descriptor);  // in other.cpp

int main() {
  auto [near, far, err] = net::pipe();
  auto [copy, copy_err] = net::duplicate(far);
  if (err || copy_err || net::close(far)) return 1;
  if (greet_descriptor(copy) != 0) return 2;

  char buffer[16];
  auto [n, read_err] = net::read_full(near, buffer);
  return n == 5 && read_err == net::unexpected_eof ? 0 : 3;
}
