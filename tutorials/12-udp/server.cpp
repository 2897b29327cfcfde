// A server that gets datagrams, and thanks whoever has sent one.
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
  // [open]
  auto [packets, listen_err] = net::listen_packet("udp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::local_addr(packets) << std::endl;
  // [open]

  // [serve]
  for (;;) {
    char buffer[1024];
    auto [n, from, read_err] = net::read_from(packets, buffer);
    if (read_err) return fail(read_err);
    std::string message(buffer, n);
    std::cout << "From " << from << ": " << message << std::endl;

    std::string answer = "Thanks! Got your message:" + message;
    auto [sent, write_err] = net::write_to(packets, answer, from);
    if (write_err) std::cerr << write_err << std::endl;
  }
  // [serve]
}
