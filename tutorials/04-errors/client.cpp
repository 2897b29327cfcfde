// A client that can end in three ways: done, gone or silent.
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
  std::string ending = argc > 2 ? argv[2] : "done";
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  if (write_err) return fail(write_err);
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::cout << "Echo: " << std::string(buffer, n) << std::endl;

  // [endings]
  if (ending == "silent") {
    // Sends nothing more, until the server loses its patience.
    auto [more, end_err] = net::read(conn, buffer);
    std::cout << "The server closed: " << end_err << std::endl;
  }
  if (ending == "gone") net::set_linger(conn, 0);  // close resets
  net::close(conn);
  // [endings]
}
