// A server that has room for eight bytes.
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
  auto [packets, listen_err] = net::listen_packet("udp", address);
  if (listen_err) return fail(listen_err);
  for (int messages = 0; messages < 2; ++messages) {
    // [small]
    char buffer[8];
    auto [n, from, err] = net::read_from(packets, buffer);
    std::string message(buffer, n);
    if (err == net::truncated)
      std::cout << "Cut: " << message << std::endl;
    else if (err)
      return fail(err);
    else
      std::cout << "Whole: " << message << std::endl;
    // [small]
    auto [sent, write_err] = net::write_to(packets, message, from);
    if (write_err) return fail(write_err);
  }
}
