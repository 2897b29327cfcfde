// The other of two files that include the header; see main.cpp.
#include "netlite.hpp"

netlite::Error greet(const netlite::Conn& conn) {
  auto [n, err] = netlite::write(conn, "Hello");
  return err ? err : netlite::close(conn);
}
