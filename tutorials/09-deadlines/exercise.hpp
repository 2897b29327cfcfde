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
    // TODO: half a second for the whole line; and who was too slow?
    std::string line;
    while (line.empty() || line.back() != '\n') {
      net::set_deadline(conn, std::chrono::milliseconds(500));
      char buffer[64];
      auto [n, err] = net::read(conn, buffer);
      if (err) break;
      line.append(buffer, n);
    }
    auto [sent, write_err] = net::write(conn, line);
  }
  return slow;
}
