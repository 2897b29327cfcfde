// Your turn: a client that tells the truth. Judged by: run 1 check
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

// Greets the server at `address` and prints its answer. Returns the
// exit code for `main`: 0 when all went well, 1 when something did not.
inline int greet(const std::string& address) {
  auto [conn, dial_err] = net::dial("tcp", address);
  // TODO: nobody may listen there. Then print the error, and return 1.

  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  std::cout << "Received: " << std::string(buffer, n) << std::endl;
  return 0;
}
