// Sends a datagram to a file, with a name of its own, or without one.
#include "netlite.hpp"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  // [name]
  net::DialOptions options;
  if (argc > 2) options.local = net::Addr("unixgram", argv[2]);
  auto [conn, dial_err] = net::dial("unixgram", path, options);
  if (dial_err) return fail(dial_err);
  // [name]
  auto [sent, write_err] = net::write(conn, "Greetings.");
  if (write_err) return fail(write_err);

  net::set_read_deadline(conn, std::chrono::seconds(1));
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  // [remove]
  net::close(conn);
  if (argc > 2) std::remove(argv[2]);
  // [remove]
  if (read_err) return fail(read_err);
  std::cout << "Received: " << std::string(buffer, n) << std::endl;
}
