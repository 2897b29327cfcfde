// The mistake: "knowing" that this machine is 127.0.0.1.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "localhost:9988";
  auto [host, port, split_err] = net::split_host_port(address);
  if (split_err) return fail(split_err);

  // [mistake]
  auto [conn, dial_err] = net::dial("tcp", "127.0.0.1:" + port);
  if (dial_err) return fail(dial_err);
  // [mistake]
  std::cout << "Connected." << std::endl;
}
