// SPDX-License-Identifier: MIT
// A Reader at the end of a pipe, against a model. The input tells in which
// portions the bytes are written and which calls read them; bytes must come
// out equal and in order, and each call must give what the model says.
#include "fuzz.hpp"

namespace {

struct Model {
  net::Pipe pipe = net::pipe();
  net::Reader reader{pipe.second};
  std::string_view unwritten;
  std::size_t all = 0;
  std::string unread{};
  bool ended = false;

  // Writes the next portion, or ends the stream; false when it has ended.
  bool feed(std::size_t portion) {
    if (ended) return false;
    // Nobody reads meanwhile, and the kernel has room for some 200 portions.
    const std::size_t least = all / 128 + 1;
    const std::string_view bytes = unwritten.substr(0, portion + least);
    unwritten.remove_prefix(bytes.size());
    unread += bytes;
    ended = bytes.empty();
    const net::Error err = ended ? net::close_write(pipe.first)
                                 : net::write(pipe.first, bytes).error;
    fuzz::check(!err, "cannot write");
    return true;
  }
  void took(std::string_view bytes) {
    fuzz::check(unread.compare(0, bytes.size(), bytes) == 0, "other bytes");
    unread.erase(0, bytes.size());
  }

  void read_until(char end, std::size_t limit, std::size_t portion, bool line) {
    const auto at = [&] { return unread.find(end); };
    while (at() >= limit && unread.size() < limit && feed(portion)) {
    }
    const std::string expected = at() < limit ? unread.substr(0, at() + 1)
                                 : unread.size() < limit ? unread
                                                         : "";
    const net::Error why = at() < limit             ? net::Error()
                           : unread.size() >= limit ? net::limit_exceeded
                           : expected.empty()       ? net::eof
                                                    : net::unexpected_eof;
    auto [got, err] =
        line ? reader.read_line(limit) : reader.read_until(end, limit);
    fuzz::check(err.code() == why.code(), "another error");
    std::string stripped = expected;
    if (line && !err) {
      stripped.pop_back();
      if (!stripped.empty() && stripped.back() == '\r') stripped.pop_back();
    }
    fuzz::check(got == stripped, "another line");
    took(expected);
  }

  void read(std::size_t size, std::size_t portion) {
    while (size != 0 && unread.empty() && feed(portion)) {
    }
    std::string got(size, '\0');
    const auto [n, err] = reader.read(got);
    fuzz::check(n <= size, "more than there is room for");
    if (size != 0) fuzz::check((n == 0) == unread.empty(), "nothing");
    if (size != 0) fuzz::check((err == net::eof) == (n == 0), "no end");
    took(std::string_view(got).substr(0, n));
  }

  void read_full(std::size_t size, std::size_t portion) {
    while (unread.size() < size && feed(portion)) {
    }
    const std::size_t most = std::min(size, unread.size());
    std::string got(size, '\0');
    const auto [n, err] = reader.read_full(got);
    fuzz::check(n == most, "another count");
    const net::Error why = most == size ? net::Error()
                           : most == 0  ? net::eof
                                        : net::unexpected_eof;
    fuzz::check(err.code() == why.code(), "another error");
    took(std::string_view(got).substr(0, n));
  }
};

}  // namespace

// The first byte counts the calls; each takes three bytes: which, how much,
// and the portion. The rest is what is written.
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  if (size == 0) return 0;
  const std::size_t calls = std::min<std::size_t>(data[0] % 16, (size - 1) / 3);
  Model model;
  model.unwritten = fuzz::text(data + 1 + 3 * calls, size - 1 - 3 * calls);
  model.all = model.unwritten.size();
  // What would block is a finding.
  net::set_deadline(model.pipe.second, std::chrono::seconds(5));
  for (std::size_t i = 0; i < calls; ++i) {
    const unsigned char* call = data + 1 + 3 * i;
    const std::size_t much = call[1], portion = call[2];
    switch (call[0] % 5) {
      case 0: model.read_until('\n', much, portion, true); break;
      case 1: model.read_until('\n', much * 256, portion, false); break;
      case 2:
        model.read_until(static_cast<char>(much), 9, portion, false);
        break;
      case 3: model.read(much, portion); break;
      default: model.read_full(much, portion);
    }
    fuzz::check(model.unread.compare(0, model.reader.buffered().size(),
                                     model.reader.buffered()) == 0,
                "other bytes were read ahead");
  }
  return 0;
}
