// Your turn: say how a conversation ended. Judged by: run 4 check
#include "netlite.hpp"

#include <chrono>
#include <string>

namespace net = netlite;

// Reads, and throws away, what the peer says. Tells how that ended:
// "done" when the peer has said everything, "reset" when it has gone,
// "silent" when nothing came for half a second.
inline std::string ending(const net::Conn& conn) {
  char buffer[64];
  for (;;) {
    net::set_read_deadline(conn, std::chrono::milliseconds(500));
    auto [n, err] = net::read(conn, buffer);
    if (!err) continue;
    if (err == net::timed_out) return "silent";
    if (err == std::errc::connection_reset) return "reset";
    return "done";
  }
}
