// A client that sends two messages with two writes.
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

  // [messages]
  auto [first, first_err] = net::write(conn, "Hello Server!\n");
  if (first_err) return fail(first_err);
  auto [second, second_err] = net::write(conn, "Greetings.\n");
  if (second_err) return fail(second_err);
  // [messages]
  std::cout << "Sent two messages." << std::endl;
  net::close(conn);
}
