// A client that connects, says nothing, and waits for the server.
#include "netlite.hpp"

#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::cout << "Received " << n << " bytes." << std::endl;
}
