// An echo server that reports how each conversation ended.
#include "netlite.hpp"

#include <chrono>
#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [echo]
// Sends back whatever comes, until that fails; returns the reason.
net::Error echo(const net::Conn& conn) {
  char buffer[1024];
  for (;;) {
    net::set_read_deadline(conn, std::chrono::milliseconds(500));
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return read_err;
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) return write_err;
  }
}
// [echo]

// [endings]
void report(const net::Error& err) {
  if (err == net::eof)
    std::cout << "Done: the client has closed." << std::endl;
  else if (err == net::timed_out)
    std::cout << "Silent: nothing came for half a second." << std::endl;
  else if (err == std::errc::connection_reset)
    std::cout << "Reset: the client is gone." << std::endl;
  else
    std::cout << "Something else: " << err << std::endl;
}
// [endings]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    report(echo(conn));
    net::close(conn);
  }
}
