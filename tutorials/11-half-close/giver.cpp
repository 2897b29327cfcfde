// A server that does not want to know the question: everybody gets the
// same megabyte.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  bool is_polite = argc > 2 && std::string(argv[2]) == "polite";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);

  auto [n, err] = net::write(conn, std::string(1 << 20, 'x'));
  if (err) return fail(err);
  // [polite]
  if (is_polite) {
    net::Error end_err = net::close_write(conn);  // that was all
    if (end_err) return fail(end_err);
    net::set_read_deadline(conn, std::chrono::seconds(5));
    char ignored[1024];
    while (!net::read(conn, ignored).error) continue;
  }
  net::close(conn);
  // [polite]
  std::cout << "Gave all of it away." << std::endl;
}
