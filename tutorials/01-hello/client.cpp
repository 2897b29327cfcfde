// The client: it greets the server and prints the answer.
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

  // [dial]
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);
  std::cout << "Connected." << std::endl;
  // [dial]

  // [talk]
  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  if (write_err) return fail(write_err);

  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::cout << "Received: " << std::string(buffer, n) << std::endl;
  // [talk]
}
