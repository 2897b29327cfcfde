// Your turn: ask until somebody answers. Judged by: run 12 check
#include "netlite.hpp"

#include <chrono>
#include <string>

namespace net = netlite;

// Sends "ID QUESTION" over `conn`, a UDP socket, and returns what is
// after the id in its answer, "ID ANSWER". Any other datagram belongs
// to an older question, or to nobody: it changes nothing. When the
// answer has not come `wait` after a question was sent, sends the same
// again, five times in all. After the last wait it returns `timed_out`,
// and any other error, even `truncated`, at once.
inline net::Result<std::string> ask(const net::Conn& conn, int id,
                                    const std::string& question,
                                    std::chrono::milliseconds wait) {
  std::string mark = std::to_string(id) + " ";
  char buffer[1024];

  // TODO: this asks once, and believes whatever comes.
  auto [sent, write_err] = net::write(conn, mark + question);
  if (write_err) return {{}, write_err};
  net::set_read_deadline(conn, wait);
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return {{}, read_err};
  return {std::string(buffer, n).substr(mark.size()), {}};
}
