// Your turn: eight at a time, and no more. Judged by: run 8 check
#include "netlite.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <thread>

namespace net = netlite;

// Prints the error, and returns the exit code of a program that failed.
inline int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Sends back whatever comes, until the client goes.
inline void serve_one(const net::Conn& conn) {
  char buffer[1024];
  for (;;) {
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return;
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) return;
  }
}

// Accepts `clients` clients, and serves each with `serve_one`, in a
// thread of its own, eight at a time. When accept fails with an error
// that is `temporary()`, waits and tries again, longer each time.
// Returns 0 when all clients have gone, and 1 after any other error.
inline int serve_all(const net::Listener& listener, int clients) {
  std::chrono::milliseconds shortest(5), longest(1000);
  auto pause = shortest;
  net::Group group(8);
  for (int i = 0; i < clients;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err && !accept_err.temporary()) return fail(accept_err);
    if (accept_err) {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, longest);
      continue;
    }
    pause = shortest;
    net::Error err = group.go(serve_one, conn);
    if (err) return fail(err);
    ++i;
  }
  group.wait();
  return 0;
}
