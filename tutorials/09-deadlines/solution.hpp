// Your turn: half a second for each client. Judged by: run 9 check
#include "netlite.hpp"

#include <chrono>
#include <string>

namespace net = netlite;

// Serves `clients` clients, one after another: reads a line from each,
// and sends it back. A client has half a second, from when it was
// accepted; whoever needs longer is sent "Too slow.\n" instead. Returns
// how many were too slow. (To close without a word is not slow.)
inline int serve(const net::Listener& listener, int clients) {
  int slow = 0;
  for (int client = 0; client < clients; ++client) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return -1;
    net::set_deadline(conn, std::chrono::milliseconds(500));
    net::Reader reader(conn);
    auto [line, read_err] = reader.read_line(1000);
    std::string answer = line + "\n";
    if (read_err == net::timed_out) {
      ++slow;
      answer = "Too slow.\n";
      // Or the write would fail: it has the same deadline.
      net::set_deadline(conn, std::chrono::milliseconds(500));
    } else if (read_err) {
      continue;
    }
    auto [sent, write_err] = net::write(conn, answer);
  }
  return slow;
}
