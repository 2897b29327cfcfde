// The mistake: believing that a write that succeeded has arrived.
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

  // [mistake]
  char buffer[1024];
  auto [n, end] = net::read(conn, buffer);
  std::cout << "Read: " << end << ". Never mind!" << std::endl;

  auto [first, first_err] = net::write(conn, "Are you there?");
  if (first_err) return fail(first_err);
  std::cout << "The first write succeeded." << std::endl;

  auto [second, second_err] = net::write(conn, "Hello?");
  if (second_err) return fail(second_err);
  std::cout << "The second write succeeded." << std::endl;
  // [mistake]
}
