// A user's program: it listens, dials itself, greets and prints the answer.
#include "netlite.hpp"

#include <cstdio>
#include <thread>

namespace net = netlite;

int main() {
  auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  std::thread server([&] {
    auto conn = net::must(net::accept(listener));
    char buffer[64];
    auto n = net::must(net::read(conn, buffer));
    net::must(net::write(conn, {"Thanks for: ", {buffer, n}}));
  });

  auto [conn, err] = net::dial("tcp", net::addr(listener).string());
  if (err) {
    std::fprintf(stderr, "%s\n", err.message().c_str());
    return 1;
  }
  net::must(net::write(conn, "Hello Server!"));
  char buffer[64];
  auto [n, read_err] = net::read_full(conn, buffer);
  std::printf("Received: %.*s\n", int(n), buffer);
  server.join();
  net::close(listener);
  return read_err == net::unexpected_eof ? 0 : 1;
}
