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
  for (;;) {
    auto [line, err] = reader.read_line(limit);
    bool is_inside = !message.empty();
    if (err == net::eof && is_inside) return {{}, net::unexpected_eof};
    if (err) return {{}, err};
    if (line.empty()) return {message, {}};
    message += line + "\n";
    if (message.size() > limit) return {{}, net::limit_exceeded};
  }
}
