// The mistake: a client that never asks whether something went wrong.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";

  // [mistake]
  auto [conn, dial_err] = net::dial("tcp", address);
  std::cout << "Connected." << std::endl;

  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  std::cout << "Received: " << std::string(buffer, n) << std::endl;
  // [mistake]
}
