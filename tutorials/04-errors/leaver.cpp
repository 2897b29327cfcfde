// A server that hangs up on its first client at once.
#include "netlite.hpp"

#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  net::close(conn);
  std::cout << "Hung up." << std::endl;
}
