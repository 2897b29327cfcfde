// Your turn: a client that tells the truth. Judged by: run 1 check
#include "netlite.hpp"

#include <iostream>
#include <string>
#include <vector>

namespace net = netlite;

// Prints the error, and returns the exit code of a program that failed.
inline int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Over one connection, greets the server once for each name: "Hello
// Server! I am Ann." It prints each answer before it sends the next
// greeting, and returns 0. When something fails, it prints that error
// and returns 1 at once.
inline int greet(const std::string& address,
                 const std::vector<std::string>& names) {
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);
  for (const std::string& name : names) {
    std::string hello = "Hello Server! I am " + name + ".";
    auto [sent, write_err] = net::write(conn, hello);
    if (write_err) return fail(write_err);
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return fail(read_err);
    std::cout << "Received: " << std::string(buffer, n) << std::endl;
  }
  return 0;
}
