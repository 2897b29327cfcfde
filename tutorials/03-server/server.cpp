// A server that goes on: one client after the other, forever.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [talk]
// Serves one client. What goes wrong ends only this conversation.
void serve(const net::Conn& conn) {
  std::cout << "Connected to " << net::remote_addr(conn) << std::endl;

  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) {
    std::cerr << read_err << std::endl;
    return;
  }
  std::string message(buffer, n);
  std::cout << "Received: " << message << std::endl;

  std::string answer = "Thanks! Got your message:" + message;
  auto [sent, write_err] = net::write(conn, answer);
  if (write_err) std::cerr << write_err << std::endl;
}
// [talk]

int main(int argc, char** argv) {
  std::cout << "The server is running." << std::endl;

  // [create]
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  // [create]

  // [loop]
  for (;;) {
    std::cout << "Waiting for a client ..." << std::endl;
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    serve(conn);
    net::close(conn);
  }
  // [loop]
}
