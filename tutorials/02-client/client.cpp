// A client that reads until its peer has said everything.
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

  // [establish]
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);
  // [establish]

  // [send]
  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  if (write_err) return fail(write_err);
  // [send]

  // [receive]
  std::string answer;
  for (;;) {
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err == net::eof) break;
    if (read_err) return fail(read_err);
    answer.append(buffer, n);
    std::cout << "A read returned " << n << " bytes." << std::endl;
  }
  std::cout << "Received: " << answer << std::endl;
  // [receive]

  // [close]
  net::close(conn);
  // [close]
}
