// Your turn: stand between two connections. Judged by: run 11 check
#include "netlite.hpp"

#include <thread>

namespace net = netlite;

// Resets both connections. Whoever talks there learns that something
// has gone wrong, and does not take it for a clean end.
inline void abandon(const net::Conn& a, const net::Conn& b) {
  for (const net::Conn& conn : {a, b}) {
    net::set_linger(conn, 0);
    net::close(conn);
  }
}

// Passes on what `a` sends to `b`, and what `b` sends to `a`, as it
// comes. When one of them ends its half, the other one reads that end,
// and may go on sending. Returns when both have ended. When a read or
// a write fails, abandons both, and returns an error.
inline net::Error relay(const net::Conn& a, const net::Conn& b) {
  auto pass_on = [](const net::Conn& to, const net::Conn& from) {
    auto [n, err] = net::copy(to, from);
    if (!err) err = net::close_write(to);
    if (err) abandon(to, from);
    return err;
  };
  net::Group other_way;
  net::Error err = other_way.go(pass_on, a, b);
  if (!err) err = pass_on(b, a);
  net::Error other_err = other_way.wait();
  return err ? err : other_err;
}
