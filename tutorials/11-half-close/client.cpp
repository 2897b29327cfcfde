// A client that says when it has finished, and then hears the answer.
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

  // [ask]
  auto [n, write_err] = net::write(conn, "pear\nfig\napple\n");
  if (write_err) return fail(write_err);
  net::Error end_err = net::close_write(conn);
  if (end_err) return fail(end_err);
  // [ask]

  // [answer]
  auto [answer, read_err] = net::read_all(conn, 1000);
  if (read_err) return fail(read_err);
  std::cout << answer << "That was all." << std::endl;
  // [answer]
  net::close(conn);
}
