// A client that knows what it wants to say.
#include "netlite.hpp"

#include <chrono>
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

  // [deadline]
  net::set_deadline(conn, std::chrono::seconds(2));
  auto [sent, write_err] = net::write(conn, "Hello Server!\n");
  if (write_err) return fail(write_err);
  auto [line, read_err] = net::Reader(conn).read_line(1000);
  if (read_err) return fail(read_err);
  // [deadline]
  std::cout << "Echo: " << line << std::endl;
}
