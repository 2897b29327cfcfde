// A web server that no silent client can keep from the others.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Answers one client; returns how that went.
std::string answer(const net::Conn& conn) {
  net::set_read_deadline(conn, std::chrono::seconds(5));
  char buffer[4096];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err == net::eof) return "left without a word";
  if (read_err == net::timed_out) return "was silent for too long";
  if (read_err) return read_err.message();

  std::string page = "HTTP/1.0 200 OK\r\n\r\nHello from my server!\n";
  auto [sent, write_err] = net::write(conn, page);
  if (write_err) return write_err.message();
  return "has its page";
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    std::cout << "A client: " << answer(conn) << std::endl;
    net::close(conn);
  }
}
