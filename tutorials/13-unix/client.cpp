// A client that dials a file, sends messages, and reads the answers.
#include "netlite.hpp"

#include <iostream>
#include <string>
#include <vector>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  const char* network = argc > 2 ? argv[2] : "unix";
  std::vector<std::string> messages{"Hello Server! Greetings."};
  if (argc > 3) messages.assign(argv + 3, argv + argc);

  // [dial]
  auto [conn, dial_err] = net::dial(network, path);
  if (dial_err) return fail(dial_err);
  for (const std::string& message : messages) {
    auto [sent, write_err] = net::write(conn, message);
    if (write_err) return fail(write_err);
  }
  // [dial]
  for (std::size_t i = 0; i < messages.size(); ++i) {
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return fail(read_err);
    std::cout << "Received: " << std::string(buffer, n) << std::endl;
  }
  net::close(conn);
}
