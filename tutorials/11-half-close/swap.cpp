// Both ends of a swap: each sends a large picture, and then reads the
// other's. A mistake: whoever sends does not read.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Calls the other end, or waits for its call.
net::Result<net::Conn> meet(const char* address, bool is_first) {
  if (!is_first) return net::dial("tcp", address);
  auto [listener, err] = net::listen("tcp", address);
  if (err) return err;
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  return net::accept(listener);
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  bool is_first = argc > 2 && std::string(argv[2]) == "first";
  auto [conn, meet_err] = meet(address, is_first);
  if (meet_err) return fail(meet_err);

  // [swap]
  std::string picture(32 << 20, 'x');  // 32 megabytes
  auto [n, write_err] = net::write(conn, picture);
  if (write_err) return fail(write_err);
  auto [theirs, read_err] = net::read_all(conn, 32 << 20);
  if (read_err) return fail(read_err);
  std::cout << "Swapped." << std::endl;
  // [swap]
}
