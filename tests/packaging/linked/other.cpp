// SPDX-License-Identifier: MIT
// The other of two files that include the header; see main.cpp and apart.cpp.
#include "netlite.hpp"

netlite::Error greet(const netlite::Conn& conn) {
  auto [n, err] = netlite::write(conn, "Hello");
  return err ? err : netlite::close(conn);
}

extern "C" int greet_descriptor(int descriptor) {
  auto [conn, err] = netlite::conn_from(descriptor);
  return err || greet(conn) ? 1 : 0;
}
