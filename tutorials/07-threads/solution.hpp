// Your turn: serve all at once, and count. Judged by: run 7 check
#include "netlite.hpp"

#include <atomic>
#include <mutex>
#include <thread>

namespace net = netlite;

// Sends back whatever comes. Returns true when the client has ended the
// conversation itself, and false when something went wrong.
inline bool echo(const net::Conn& conn) {
  char buffer[1024];
  for (;;) {
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return read_err == net::eof;
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) return false;
  }
}

// Accepts `clients` clients, and serves them with `echo`: all at once,
// each in a thread of its own. Waits until all have gone, and returns
// for how many of them echo returned true.
inline int serve_all(const net::Listener& listener, int clients) {
  int served = 0;
  std::mutex mutex;
  net::Group group;
  for (int i = 0; i < clients; ++i) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) break;
    auto serve_one = [&](net::Conn mine) {
      if (!echo(mine)) return;
      std::lock_guard<std::mutex> lock(mutex);
      ++served;
    };
    if (group.go(serve_one, conn)) break;
  }
  group.wait();
  return served;
}
