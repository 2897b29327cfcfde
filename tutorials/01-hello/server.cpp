// The server: it waits for a client, reads, and says thanks.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";

  // [listen]
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  // [listen]

  // [accept]
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  std::cout << "A client has connected." << std::endl;
  // [accept]

  // [talk]
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::string message(buffer, n);
  std::cout << "Received: " << message << std::endl;

  std::string answer = "Thanks! Got your message:" + message;
  auto [sent, write_err] = net::write(conn, answer);
  if (write_err) return fail(write_err);
  // [talk]
}
