// SPDX-License-Identifier: MIT
// One of two files that include the header: makes connections, hands them
// over and sees what came of them.
#include "netlite.hpp"

namespace net = netlite;

net::Error greet(const net::Conn& conn);  // in other.cpp

int main() {
  auto [near, far, err] = net::pipe();
  if (err || greet(far)) return 1;

  char buffer[16];
  auto [n, read_err] = net::read_full(near, buffer);
  if (n != 5 || read_err != net::unexpected_eof) return 2;

  // The other file has closed our handle's socket: it is one and the same.
  auto [m, write_err] = net::write(far, "too late");
  return m == 0 && write_err == net::closed ? 0 : 3;
}
