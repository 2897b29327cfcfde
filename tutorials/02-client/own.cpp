// A browser without a window: it asks a web server for its front page.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:8000";

  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  auto [sent, write_err] = net::write(conn, "GET / HTTP/1.0\r\n\r\n");
  if (write_err) return fail(write_err);

  for (;;) {
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err == net::eof) return 0;
    if (read_err) return fail(read_err);
    std::cout << std::string(buffer, n);
  }
}
