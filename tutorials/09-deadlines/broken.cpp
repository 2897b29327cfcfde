// The mistake: half a second, and again half a second, for each read.
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

// [mistake]
// Reads a line and sends it back. No read may take half a second.
net::Error talk(const net::Conn& conn) {
  std::string line;
  while (line.empty() || line.back() != '\n') {
    if (line.size() > 1000) return net::limit_exceeded;
    net::set_deadline(conn, std::chrono::milliseconds(500));
    char buffer[4096];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return read_err;
    line.append(buffer, n);
  }
  auto [sent, write_err] = net::write(conn, line);
  return write_err;
}
// [mistake]

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
