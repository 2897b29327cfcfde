// Your turn: read all that the peer says. Judged by: run 2 check
#include "netlite.hpp"

#include <algorithm>
#include <string>

namespace net = netlite;

// Reads until the peer ends the stream, but no more than `limit` bytes,
// and returns what it has read. With an error other than the end of the
// stream, it returns that error as well.
inline net::Result<std::string> read_all(const net::Conn& conn,
                                         std::size_t limit) {
  char buffer[64];
  std::string text;
  while (text.size() < limit) {
    // Room for what is left, and no more.
    std::size_t room = std::min(sizeof buffer, limit - text.size());
    auto [n, err] = net::read(conn, {buffer, room});
    text.append(buffer, n);
    if (err == net::eof) break;
    if (err) return {text, err};
  }
  return {text, {}};
}
