// An echo server that gives each client half a second for its line.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>

namespace net = netlite;
using Clock = std::chrono::steady_clock;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [talk]
// Reads a line and sends it back, within half a second from now.
net::Error talk(const net::Conn& conn) {
  net::set_deadline(conn, std::chrono::milliseconds(500));
  net::Reader reader(conn);
  auto [line, read_err] = reader.read_line(1000);
  if (read_err) return read_err;
  auto [sent, write_err] = net::write(conn, line + "\n");
  return write_err;
}
// [talk]

// [report]
void report(const net::Error& err, Clock::time_point began) {
  auto took = Clock::now() - began;
  auto ms = std::chrono::floor<std::chrono::milliseconds>(took);
  if (err == net::timed_out)
    std::cout << "Too slow: dropped after ";
  else if (err)
    std::cout << err << ", after ";
  else
    std::cout << "Answered after ";
  std::cout << ms.count() << " ms." << std::endl;
}
// [report]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    auto began = Clock::now();
    report(talk(conn), began);
    net::close(conn);
  }
}
