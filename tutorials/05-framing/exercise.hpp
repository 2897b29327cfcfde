// Your turn: read messages of several lines. Judged by: run 5 check
#include "netlite.hpp"

#include <cstddef>
#include <string>

namespace net = netlite;

// Reads one message: lines, and an empty line that ends it. Returns the
// lines, each with a '\n' after it, without the empty one. Returns the
// error `eof` when the stream ends before a message, `unexpected_eof`
// when it ends inside one, and `limit_exceeded` when the message has
// more than `limit` bytes.
inline net::Result<std::string> read_message(net::Reader& reader,
                                             std::size_t limit) {
  std::string message;
  // TODO: that was the first line. Where does the message end?
  auto [line, err] = reader.read_line(limit);
  if (err) return {{}, err};
  message += line + "\n";
  return {message, {}};
}
