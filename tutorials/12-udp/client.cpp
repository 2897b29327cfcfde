// A client that sends two datagrams, and waits for two answers.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  // [send]
  auto [conn, dial_err] = net::dial("udp", address);
  if (dial_err) return fail(dial_err);
  for (const char* message : {"Hello Server!", "Greetings."}) {
    auto [sent, write_err] = net::write(conn, message);
    if (write_err) return fail(write_err);
    std::cout << "Sent: " << message << std::endl;
  }
  // [send]

  // [receive]
  net::set_read_deadline(conn, std::chrono::seconds(2));
  for (int answers = 0; answers < 2; ++answers) {
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return fail(read_err);
    std::cout << "Received: " << std::string(buffer, n) << std::endl;
  }
  // [receive]
  net::close(conn);
}
