// Your turn: read messages with a length. Judged by: run 5 check
#include "netlite.hpp"

#include <cstddef>
#include <string>

namespace net = netlite;

// Reads one message: four bytes that say how long it is, the most
// significant first, then so many bytes. Gives `eof` when the stream
// ends before a message, `unexpected_eof` when it ends inside one, and
// `limit_exceeded`, without reading on, when it is longer than `limit`.
inline net::Result<std::string> read_frame(const net::Conn& conn,
                                           std::size_t limit) {
  unsigned char head[4] = {};
  auto [n, err] = net::read_full(conn, head);
  if (err) return {{}, err};
  std::size_t size = 0;
  for (unsigned char byte : head) size = size << 8 | byte;
  if (size > limit) return {{}, net::limit_exceeded};
  std::string body(size, '\0');
  auto [m, body_err] = net::read_full(conn, body);
  if (body_err == net::eof) return {{}, net::unexpected_eof};
  return {body, body_err};
}
