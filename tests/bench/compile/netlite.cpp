// The smallest echo server and client with netlite.
#include "netlite.hpp"

#include <cstdio>

namespace net = netlite;

int main(int argc, char**) {
  char buffer[1024];
  if (argc > 1) {
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:9988"));
    const auto conn = net::must(net::accept(listener));
    for (;;) {
      const auto [n, err] = net::read(conn, buffer);
      if (err) break;
      net::must(net::write(conn, {buffer, n}));
    }
  } else {
    const auto conn = net::must(net::dial("tcp", "127.0.0.1:9988"));
    net::must(net::write(conn, "hello"));
    const auto n = net::must(net::read(conn, buffer));
    std::printf("%.*s\n", int(n), buffer);
  }
}
