// Your turn: a server for three clients. Judged by: run 3 check
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

// Prints the error, and returns the exit code of a program that failed.
inline int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Reads one message, and thanks for it.
inline void serve(const net::Conn& conn) {
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return;
  std::string message(buffer, n);
  std::string answer = "Thanks! Got your message:" + message;
  auto [sent, write_err] = net::write(conn, answer);
}

// Listens on `address`, says where, serves exactly three clients, one
// after the other, and returns 0. When listening or accepting fails, it
// says so and returns 1.
inline int serve_three(const std::string& address) {
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  // TODO: say the address that the listener has; serve three clients.
  std::cout << "Listening on " << address << std::endl;
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  serve(conn);
  return 0;
}
