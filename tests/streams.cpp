// SPDX-License-Identifier: MIT
// Helpers: Reader, read_all, copy, send_file. A stream has no pieces: whatever
// way it was cut, the same must come out.

#include "netlite.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <new>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "support.hpp"

// How many bytes are allocated now. Each piece of memory begins with its size.
static std::atomic<std::size_t> allocated{0};
constexpr std::size_t head = alignof(std::max_align_t);

[[gnu::noinline]] void* operator new(std::size_t size) {
  auto* memory = static_cast<char*>(std::malloc(head + size));
  if (!memory) throw std::bad_alloc();
  std::memcpy(memory, &size, sizeof size);
  allocated += size;
  return memory + head;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (!memory) return;
  std::size_t size;
  char* const start = static_cast<char*>(memory) - head;
  std::memcpy(&size, start, sizeof size);
  allocated -= size;
  std::free(start);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  operator delete(memory);
}

namespace {

using support::Blocked;
using support::Connected;
using support::Directory;
using support::Stopwatch;
using support::Thread;
using support::TimeLimit;

constexpr std::size_t MiB = 1024 * 1024;

// Bytes of all values, in an order that no error can keep: a prime number of
// pseudo-random ones, over and over.
std::string noise(std::size_t size, std::uint32_t seed = 1) {
  std::string bytes;
  while (bytes.size() < std::min(size, std::size_t{1000003})) {
    seed = seed * 1664525u + 1013904223u;
    bytes += static_cast<char>(seed >> 24);
  }
  bytes.reserve(size);
  while (bytes.size() < size)
    bytes.append(bytes, 0, std::min(std::size_t{1000003}, size - bytes.size()));
  return bytes;
}

// Writes a text in pieces of at most so many bytes, and ends the stream.
void send(const net::Conn& to, std::string_view text, std::size_t piece) {
  while (!text.empty()) {
    if (net::write(to, text.substr(0, piece)).error) return;
    text.remove_prefix(std::min(piece, text.size()));
  }
  net::close_write(to);
}

// Two ends that keep the pieces apart: what one call wrote, one call reads. So
// a test can say how the stream is cut.
struct Pieces : Connected {
  Pieces() : Connected("unixpacket", "") {}
};

// The lines of a stream, up to the error that ended them.
struct Lines {
  std::vector<std::string> lines{};
  net::Error end{};
};

Lines read_lines(net::Reader& reader, std::size_t limit = 65536) {
  Lines got;
  for (;;) {
    auto [line, err] = reader.read_line(limit);
    if (!err || !line.empty()) got.lines.push_back(line);
    if (err) return got.end = err, got;
  }
}

// Of a text that somebody sends in pieces of this size.
Lines read_lines(std::string_view text, std::size_t piece) {
  const Pieces ends;
  const Thread sender([&] { send(ends.client, text, piece); });
  net::Reader reader(ends.server);
  return read_lines(reader);
}

// A message of a binary protocol: four bytes of length, then that many bytes.
std::string frame(const std::string& message) {
  std::string head;
  for (int shift = 24; shift >= 0; shift -= 8)
    head += static_cast<char>(message.size() >> shift & 0xff);
  return head + message;
}

net::Result<std::string> read_frame(net::Reader& reader, std::size_t limit) {
  unsigned char head[4];
  if (auto [n, err] = reader.read_full(head); err) return {"", err};
  const std::size_t size = std::accumulate(
      head, head + 4, std::size_t{0},
      [](std::size_t sum, unsigned char byte) { return sum << 8 | byte; });
  if (size > limit) return {"", net::limit_exceeded};
  std::string message(size, '\0');
  auto [n, err] = reader.read_full(message);
  // Between frames the stream may end; inside of one it may not.
  if (err == net::eof) err = net::unexpected_eof;
  return {message.substr(0, n), err};
}

// left.client ==> [left.server, right.client] ==> right.server: what a proxy
// in the middle copies to the right.
struct Chain {
  Connected left{};
  Connected right{};
  net::Conn& source = left.client;
  net::Conn& in = left.server;
  net::Conn& out = right.client;
  net::Conn& sink = right.server;
};

// Ends a connection so that the peer's next call sees ECONNRESET.
void reset(const net::Conn& conn) {
  net::set_linger(conn, 0);
  net::close(conn);
}

// True for what a write says when the peer has gone.
bool peer_gone(const net::Error& err) {
  return err == std::errc::broken_pipe || err == std::errc::connection_reset;
}

std::string write_file(const Directory& directory, const std::string& content) {
  const std::string path = directory.path + "/file";
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

// A source that never ends, and fills whatever room there is with this text,
// over and over; after `stop` bytes it only says that time is up.
net::Source endless(std::string text, std::size_t stop = SIZE_MAX) {
  return [text = std::move(text), stop,
          at = std::size_t{0}](net::Buffer room) mutable {
    const std::size_t n = std::min(room.size(), stop - at);
    for (std::size_t i = 0; i < n; ++i)
      room.data()[i] = text[at++ % text.size()];
    return n ? net::Result<std::size_t>(n) : net::timed_out;
  };
}

// The CPU time that this thread needs for it, at best: other threads and
// programs, however busy, cost it nothing.
template <class F>
std::chrono::nanoseconds cost(F f) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) +
           std::chrono::nanoseconds(time.tv_nsec);
  };
  auto best = std::chrono::nanoseconds::max();
  for (int i = 0; i < 3; ++i) {
    const auto start = now();
    f();
    best = std::min<std::chrono::nanoseconds>(best, now() - start);
  }
  return best;
}

// A descriptor of a test's own.
struct File {
  int fd;
  explicit File(const std::string& path, int flags = O_RDONLY)
      : fd(::open(path.c_str(), flags | O_CLOEXEC)) {
    REQUIRE(fd >= 0);
  }
  ~File() { ::close(fd); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  long position() const { return ::lseek(fd, 0, SEEK_CUR); }
};

}  // namespace

// ---------------------------------------------------------------------------
// Reader: lines

TEST_CASE_FIXTURE(TimeLimit, "read_line takes the end of the line off") {
  const std::string text = "one\ntwo\r\n\n\r\nlast\n";
  const std::vector<std::string> lines{"one", "two", "", "", "last"};
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{2}, std::size_t{3}, text.size()}) {
    CAPTURE(piece);
    const Lines got = read_lines(text, piece);
    CHECK(got.lines == lines);
    CHECK(got.end == net::eof);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "only the last carriage return belongs to the end") {
  const Lines got = read_lines("\rone\r\r\ntwo\rthree\n\r", 1);
  CHECK(got.lines == std::vector<std::string>{"\rone\r", "two\rthree", "\r"});
  CHECK(got.end == net::unexpected_eof);
}

TEST_CASE_FIXTURE(TimeLimit, "a line is the same however the stream was cut") {
  std::string text = noise(20000);
  std::replace(text.begin(), text.end(), '\r', '-');
  text += '\n';
  std::vector<std::string> lines = support::split(text, '\n');
  lines.pop_back();
  REQUIRE(lines.size() > 20);
  for (const std::size_t piece : {1u, 5u, 100u, 4096u}) {
    CAPTURE(piece);
    const Lines got = read_lines(text, piece);
    CHECK(got.lines == lines);
    CHECK(got.end == net::eof);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "the end of the stream in a line differs from one after it") {
  const Lines between = read_lines("whole\n", 3);
  CHECK(between.lines == std::vector<std::string>{"whole"});
  CHECK(between.end == net::eof);

  const Lines inside = read_lines("whole\nhalf", 3);
  CHECK(inside.lines == std::vector<std::string>{"whole", "half"});
  CHECK(inside.end == net::unexpected_eof);

  const Lines nothing = read_lines("", 1);
  CHECK(nothing.lines.empty());
  CHECK(nothing.end == net::eof);
}

TEST_CASE_FIXTURE(TimeLimit, "after the end, read_line says eof every time") {
  const Connected ends;
  net::must(net::write(ends.client, "half"));
  net::close(ends.client);
  net::Reader reader(ends.server);
  CHECK(reader.read_line().error == net::unexpected_eof);
  for (int i = 0; i < 3; ++i) CHECK(reader.read_line().error == net::eof);
}

TEST_CASE_FIXTURE(TimeLimit, "a limit counts every byte of the line") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "1234\n1234\r\n12345\n"));

  CHECK(net::must(reader.read_line(5)) == "1234");          // exactly the limit
  CHECK(reader.read_line(5).error == net::limit_exceeded);  // one over
  CHECK(net::must(reader.read_line(6)) == "1234");
  CHECK(reader.read_line(5).error == net::limit_exceeded);
  CHECK(reader.read_line(1).error == net::limit_exceeded);
  CHECK(reader.read_line(0).error == net::limit_exceeded);
  CHECK(net::must(reader.read_line(SIZE_MAX)) == "12345");
}

TEST_CASE_FIXTURE(TimeLimit, "a line over the limit is told before it ends") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "12345"));  // and no more comes
  const auto [line, err] = reader.read_line(5);
  CHECK(line.empty());
  CHECK(err == net::limit_exceeded);
  CHECK(err.message() == "read tcp " + net::local_addr(ends.server).string() +
                             "->" + net::remote_addr(ends.server).string() +
                             ": limit exceeded");
}

TEST_CASE_FIXTURE(TimeLimit, "nothing is lost after limit_exceeded") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "a long line\nnext\n"));
  REQUIRE(reader.read_line(4).error == net::limit_exceeded);
  CHECK(net::must(reader.read_line()) == "a long line");
  CHECK(net::must(reader.read_line()) == "next");

  // Or in pieces: whoever cannot hold a line may still pass it on.
  net::must(net::write(ends.client, "a long line\nnext\n"));
  REQUIRE(reader.read_line(4).error == net::limit_exceeded);
  char piece[7];
  REQUIRE(net::must(reader.read_full(piece)) == 7);
  CHECK(std::string(piece, 7) == "a long ");
  CHECK(net::must(reader.read_line()) == "line");
  CHECK(net::must(reader.read_line()) == "next");
}

TEST_CASE_FIXTURE(TimeLimit, "nothing is lost after a timeout in mid-line") {
  const Connected ends;
  net::Reader reader(ends.server);
  for (const char* piece : {"now ", "and ", "then "}) {
    net::must(net::write(ends.client, piece));
    net::set_read_deadline(ends.server, 20ms);
    const Stopwatch watch;
    const auto [line, err] = reader.read_line();
    CHECK(err == net::timed_out);
    CHECK(line.empty());
    CHECK(watch.elapsed() >= 19ms);
  }
  CHECK(reader.buffered() == "now and then ");
  net::must(net::write(ends.client, "a line\n"));
  net::set_read_deadline(ends.server, support::generous);
  CHECK(net::must(reader.read_line()) == "now and then a line");
}

TEST_CASE_FIXTURE(TimeLimit, "close wakes a blocked read_line") {
  const Connected ends;
  net::must(net::write(ends.client, "half a li"));
  net::Reader reader(ends.server);
  Blocked line([&] { return reader.read_line(); });
  net::close(ends.server);
  CHECK(line.get().error == net::closed);
  CHECK(reader.buffered() == "half a li");
}

TEST_CASE_FIXTURE(TimeLimit, "a reset in mid-line is told, and nothing lost") {
  const Connected ends;
  net::must(net::write(ends.client, "half"));
  net::Reader reader(ends.server);
  Blocked line([&] { return reader.read_line(); });
  reset(ends.client);
  CHECK(line.get().error == std::errc::connection_reset);
  CHECK(reader.buffered() == "half");
}

TEST_CASE_FIXTURE(TimeLimit, "a giant line comes whole") {
  const Connected ends;
  std::string giant = noise(16 * MiB / support::slowness);
  std::replace(giant.begin(), giant.end(), '\n', '-');
  const Thread sender([&] {
    net::must(net::write(ends.client, {giant, "\nnext\n"}));
  });
  net::Reader reader(ends.server);
  CHECK(net::must(reader.read_line(giant.size() + 1)) == giant);
  CHECK(net::must(reader.read_line()) == "next");
}

TEST_CASE_FIXTURE(TimeLimit, "a line without end costs its limit, not memory") {
  const Connected ends;
  Blocked sender(
      [&] { return net::write(ends.client, std::string(16 * MiB, 'x')); });
  net::Reader reader(ends.server);
  CHECK(reader.read_line().error == net::limit_exceeded);
  CHECK(reader.buffered().size() >= 65536);
  CHECK(reader.buffered().size() < 2 * 65536);
  net::close(ends.server);
  CHECK(peer_gone(sender.get().error));
}

TEST_CASE_FIXTURE(TimeLimit, "very many short lines are read in passing") {
  const Connected ends;
  std::string text;
  const int lines = 1000000 / support::slowness;
  for (int i = 0; i < lines; ++i) text += std::to_string(i) + "\n";
  const Thread sender([&] {
    net::must(net::write(ends.client, text));
    net::close_write(ends.client);
  });
  net::Reader reader(ends.server);
  int count = 0;
  while (reader.read_line().value == std::to_string(count)) ++count;
  CHECK(count == lines);
  CHECK(reader.read_line().error == net::eof);
}

// ---------------------------------------------------------------------------
// Reader: the rest

TEST_CASE_FIXTURE(TimeLimit,
                  "read_until takes any byte for the end, and keeps it") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);
  using namespace std::string_literals;
  net::must(net::write(ends.client, "key=value;\0\xff;;"s));
  CHECK(net::must(reader.read_until('=')) == "key=");
  CHECK(net::must(reader.read_until(';')) == "value;");
  CHECK(net::must(reader.read_until('\0')) == "\0"s);
  CHECK(net::must(reader.read_until('\xff')) == "\xff");
  CHECK(net::must(reader.read_until(';', 1)) == ";");
  CHECK(net::must(reader.read_until(';', 1)) == ";");
  net::close(ends.client);
  CHECK(reader.read_until(';').error == net::eof);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "what follows a line is there for the other reads") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "head\nbody and more"));
  REQUIRE(net::must(reader.read_line()) == "head");
  CHECK(reader.buffered() == "body and more");

  char four[4];
  CHECK(net::must(reader.read_full(four)) == 4);
  CHECK(std::string(four, 4) == "body");
  CHECK(net::must(reader.read(net::Buffer(four, 0))) == 0);

  char room[100];
  std::size_t n = net::must(reader.read(room));
  CHECK(std::string(room, n) == " and more");
  net::must(net::write(ends.client, "!"));
  n = net::must(reader.read(room));  // from the connection now
  CHECK(std::string(room, n) == "!");
}

TEST_CASE_FIXTURE(TimeLimit,
                  "read_full takes what was read ahead and then more") {
  const Connected ends;
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "\n123"));
  REQUIRE(net::must(reader.read_line()).empty());
  char six[6];
  Blocked full([&] { return reader.read_full(six); });
  CHECK_FALSE(full.done());
  net::must(net::write(ends.client, "456789"));
  CHECK(net::must(full.get()) == 6);
  CHECK(std::string(six, 6) == "123456");
  CHECK(net::must(reader.read_full(net::Buffer(six, 3))) == 3);
  CHECK(std::string(six, 3) == "789");
}

TEST_CASE_FIXTURE(TimeLimit, "read_full tells how much came before the error") {
  const Connected ends;
  net::Reader reader(ends.server);
  net::must(net::write(ends.client, "\n123"));
  REQUIRE(net::must(reader.read_line()).empty());
  char six[6];
  net::set_read_deadline(ends.server, 10ms);
  const auto [n, err] = reader.read_full(six);
  CHECK(n == 3);
  CHECK(std::string(six, n) == "123");
  CHECK(err == net::timed_out);

  net::set_read_deadline(ends.server, net::no_deadline);
  net::must(net::write(ends.client, "45"));
  net::close(ends.client);
  const auto last = reader.read_full(six);
  CHECK(last.value == 2);
  CHECK(last.error == net::unexpected_eof);
  CHECK(reader.read_full(six).error == net::eof);
}

TEST_CASE_FIXTURE(TimeLimit, "bytes are not C strings") {
  // As many as the buffer has room for, NULs in it and at its end.
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  all += '\0';
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::Reader reader(ends.server);

  std::vector<char> room(all.size());
  net::must(net::write(ends.client, all));
  CHECK(net::must(net::read_full(ends.server, room)) == all.size());
  CHECK(std::string(room.data(), room.size()) == all);

  net::must(net::write(ends.client, all));
  CHECK(net::must(reader.read_full(room)) == all.size());
  CHECK(std::string(room.data(), room.size()) == all);

  net::must(net::write(ends.client, all + "\n"));
  CHECK(net::must(reader.read_line()) == all.substr(0, '\n'));
  CHECK(net::must(reader.read_line()) == all.substr('\n' + 1));

  net::must(net::write(ends.client, all));
  net::close(ends.client);
  CHECK(net::must(net::read_all(ends.server, all.size())) == all);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a Reader of nothing, or of what is closed, says so") {
  char room[8];
  net::Reader nothing{net::Conn()};
  CHECK(nothing.read_line().error == net::closed);
  CHECK(nothing.read_until(';').error == net::closed);
  CHECK(nothing.read(room).error == net::closed);
  CHECK(nothing.read_full(room).error == net::closed);
  CHECK(nothing.read_line(0).error == net::limit_exceeded);
  CHECK(nothing.buffered().empty());

  const Connected ends;
  net::Reader reader(ends.server);
  net::close(ends.server);
  CHECK(reader.read_line().error == net::closed);
  CHECK(reader.read(room).error == net::closed);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a Reader that moves takes along what it read ahead") {
  const Connected ends;
  net::Reader first(ends.server);
  net::must(net::write(ends.client, "one\ntwo\nthree\n"));
  REQUIRE(net::must(first.read_line()) == "one");
  net::Reader second = std::move(first);
  CHECK(second.conn() == ends.server);
  CHECK(net::must(second.read_line()) == "two");
  CHECK(first.buffered().empty());
  CHECK(first.read_line().error == net::closed);
  first = std::move(second);
  CHECK(net::must(first.read_line()) == "three");
}

TEST_CASE_FIXTURE(TimeLimit, "a Reader tells of a message that was cut") {
  // A Reader is for streams; of a message it takes what it has room for.
  const Pieces ends;
  net::set_deadline(ends.server, 1s);
  net::must(net::write(ends.client, std::string(100000, 'a')));
  net::must(net::write(ends.client, "b\n"));
  net::Reader reader(ends.server);
  CHECK(reader.read_line().error == net::truncated);
  const std::string kept(reader.buffered());
  CHECK(net::must(reader.read_line()) == kept + "b");
}

TEST_CASE_FIXTURE(TimeLimit, "a Reader reads from whatever gives bytes") {
  net::Reader reader(endless("one\r\ntwo\n"));
  CHECK_FALSE(reader.conn());
  CHECK(net::must(reader.read_line()) == "one");
  CHECK(net::must(reader.read_until('w')) == "tw");
  char two[2];
  CHECK(net::must(reader.read_full(two)) == 2);
  CHECK(std::string(two, 2) == "o\n");
  const auto [all, err] = reader.read_all(9);
  CHECK(all == "one\r\ntwo\no");
  CHECK(err == net::limit_exceeded);
  CHECK(err.message() == "read: limit exceeded");

  // The function is the Reader's, and goes with it.
  const auto shared = std::make_shared<int>(0);
  {
    net::Reader mine(
        [shared](net::Buffer) -> net::Result<std::size_t> { return net::eof; });
    CHECK(mine.read_line().error == net::eof);
    CHECK(shared.use_count() == 2);
    mine = net::Reader(endless("x"));
    CHECK(shared.use_count() == 1);
  }
}

// ---------------------------------------------------------------------------
// Reader: what it costs

// https://github.com/python-trio/trio/issues/796
TEST_CASE_FIXTURE(TimeLimit,
                  "small reads of much that was read ahead are cheap") {
  // Reads all of n bytes that were read ahead, 16 at a time.
  const auto ahead = [](std::size_t n, auto next) {
    net::Reader reader(endless("fifteen letters\n", n));
    CHECK(reader.read_until('\0', n).error == net::limit_exceeded);
    CHECK(reader.buffered().size() == n);
    for (std::size_t i = 0; i < n / 16; ++i) next(reader);
    CHECK(reader.buffered().empty());
  };
  // The same number of reads costs the same, all at once or in parts.
  const auto check = [&](auto next) {
    const auto parts = cost([&] {
      for (int i = 0; i < 16; ++i) ahead(MiB / 16, next);
    });
    const auto whole = cost([&] { ahead(MiB, next); });
    CHECK(whole < 4 * parts);
  };
  char room[16];
  SUBCASE("read") {
    check([&](net::Reader& reader) { (void)reader.read(room); });
  }
  SUBCASE("read_full") {
    check([&](net::Reader& reader) { (void)reader.read_full(room); });
  }
  SUBCASE("read_line") {
    check([&](net::Reader& reader) { (void)reader.read_line(); });
  }
  SUBCASE("a look for what is not there, within a limit") {
    check([&](net::Reader& reader) {
      (void)reader.read_until('\0', 16);
      (void)reader.read(room);
    });
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "after a timeout the search goes on where it was") {
  const auto calls = [](std::size_t n) {
    net::Reader reader(endless("x", n));
    CHECK(reader.read_line(SIZE_MAX).error == net::timed_out);
    return cost([&] {
      for (int i = 0; i < 1000; ++i) (void)reader.read_line(SIZE_MAX);
    });
  };
  const auto few = calls(1000), many = calls(16 * MiB);
  CHECK(many < 4 * few);
}

// https://github.com/ozontech/pg_doorman/pull/227
TEST_CASE_FIXTURE(TimeLimit, "the memory of a long line is given back") {
  const std::string line = std::string(8 * MiB / support::slowness, 'x') + "\n";
  const std::string text = line + "short\n";
  const std::size_t before = allocated;
  std::vector<net::Reader> readers;
  for (int i = 0; i < 20; ++i) {
    // Once with room enough for it, once with too little.
    readers.emplace_back(endless(text, text.size()));
    net::Reader& reader = readers.back();
    if (i % 2 == 0) {
      CHECK(net::must(reader.read_line(SIZE_MAX)).size() == line.size() - 1);
    } else {
      CHECK(reader.read_line(line.size() - 1).error == net::limit_exceeded);
      std::string rest(line.size(), '\0');
      net::must(reader.read_full(rest));
      CHECK(rest == line);
    }
    CHECK(net::must(reader.read_line()) == "short");
  }
  // Each has a copy of the text in its source.
  CHECK(allocated - before < 20 * (text.size() + 200000));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a Reader uses the bytes that come with an error") {
  // Says what it is told to, and then only the error.
  const auto reader_of = [](std::string text, net::Error err) {
    return net::Reader([text, err](net::Buffer room) mutable {
      const std::size_t n = text.copy(room.data(), room.size());
      text.erase(0, n);
      return net::Result<std::size_t>{n, text.empty() ? err : net::Error()};
    });
  };
  net::Reader cut = reader_of("one\ntwo", net::truncated);
  CHECK(cut.read_line().error == net::truncated);
  CHECK(net::must(cut.read_line()) == "one");
  CHECK(cut.read_line().error == net::truncated);
  CHECK(cut.buffered() == "two");

  // The end of the stream may come so too, as with Go's readers.
  CHECK(net::must(reader_of("12345", net::eof).read_all(5)) == "12345");
  CHECK(reader_of("12345", net::eof).read_all(4).error == net::limit_exceeded);
  char five[5];
  net::Reader full = reader_of("12345", net::eof);
  CHECK(net::must(full.read_full(five)) == 5);
  CHECK(full.read(five).error == net::eof);
  net::Reader lines = reader_of("one\ntwo", net::eof);
  CHECK(net::must(lines.read_line()) == "one");
  const auto [two, end] = lines.read_line();
  CHECK(two == "two");
  CHECK(end == net::unexpected_eof);
  CHECK(lines.read_line().error == net::eof);
}

// ---------------------------------------------------------------------------
// Frames: messages with a length in front, told with read_full

// https://github.com/pocoproject/poco/issues/1770
// https://github.com/ithewei/libhv/issues/431
// https://github.com/werkamsus/Lilith/issues/28
// https://github.com/session-replay-tools/tcpcopy/pull/162
TEST_CASE_FIXTURE(TimeLimit, "frames are the same dribbled and all at once") {
  std::vector<std::string> messages;
  std::string text;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    messages.push_back(noise(i % 20, i));
    text += frame(messages.back());
  }
  const auto check = [&](const Connected& ends, std::size_t piece) {
    CAPTURE(piece);
    const Thread sender([&] { send(ends.client, text, piece); });
    net::Reader reader(ends.server);
    std::vector<std::string> got;
    for (;;) {
      auto [message, err] = read_frame(reader, 100);
      if (err == net::eof) break;
      REQUIRE_FALSE(err);
      got.push_back(message);
    }
    CHECK(got == messages);
  };
  check(Pieces(), 1);
  check(Connected(), 13);
  check(Connected(), text.size());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "the end inside a frame differs from one between") {
  const std::string whole = frame("message");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const Pieces ends;
    const Thread sender(
        [&] { send(ends.client, whole + whole.substr(0, size), 1); });
    net::Reader reader(ends.server);
    CHECK(net::must(read_frame(reader, 100)) == "message");
    const auto [message, err] = read_frame(reader, 100);
    CHECK(message == (size < 4 ? "" : whole.substr(4, size - 4)));
    CHECK(err == (size == 0 ? net::eof : net::unexpected_eof));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a frame that promises 4 GiB is refused unread") {
  const Connected ends;
  net::set_deadline(ends.server, support::generous);
  net::must(net::write(ends.client, "\xff\xff\xff\xffgarbage"));
  net::Reader reader(ends.server);
  CHECK(read_frame(reader, MiB).error == net::limit_exceeded);
  char rest[7];
  CHECK(net::must(reader.read_full(rest)) == 7);
}

// ---------------------------------------------------------------------------
// read_all

TEST_CASE_FIXTURE(TimeLimit, "read_all reads to the end of the stream") {
  const std::string data = noise(10 * MiB);
  const Connected ends;
  const Thread sender([&] { send(ends.client, data, data.size()); });
  CHECK(net::must(net::read_all(ends.server, data.size())) == data);
  CHECK(net::must(net::read_all(ends.server, 100)).empty());  // and again: eof
}

TEST_CASE_FIXTURE(TimeLimit,
                  "read_all takes exactly its limit, but not one more") {
  // 65536 is where it asks the kernel again.
  for (const std::size_t limit :
       {0u, 1u, 9u, 65535u, 65536u, 65537u, 200000u}) {
    CAPTURE(limit);
    for (const std::size_t piece : {std::size_t{1000}, limit + 2}) {
      const std::string data = noise(limit + 2);
      const Connected exact, over;
      const Thread sender([&] {
        send(exact.client, data.substr(0, limit), piece);
        send(over.client, data, piece);
      });
      CHECK(net::must(net::read_all(exact.server, limit)) ==
            data.substr(0, limit));
      const auto [all, err] = net::read_all(over.server, limit);
      CHECK(err == net::limit_exceeded);
      CHECK(err.op() == "read");
      CHECK(all == data.substr(0, limit + 1));
      // The byte after the one that told is still there.
      CHECK(net::must(net::read_all(over.server, 1)) == data.substr(limit + 1));
    }
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "read_all has no limit when the limit is SIZE_MAX") {
  const Connected ends;
  net::must(net::write(ends.client, "all of it"));
  net::close(ends.client);
  CHECK(net::must(net::read_all(ends.server, SIZE_MAX)) == "all of it");
}

TEST_CASE_FIXTURE(TimeLimit, "read_all gives what came before the error") {
  SUBCASE("timed out") {
    const Connected ends;
    net::must(net::write(ends.client, "some"));
    net::set_read_deadline(ends.server, 10ms);
    const auto [all, err] = net::read_all(ends.server, 100);
    CHECK(all == "some");
    CHECK(err == net::timed_out);
    net::set_read_deadline(ends.server, net::no_deadline);
    send(ends.client, " more", 5);
    CHECK(net::must(net::read_all(ends.server, 100)) == " more");
  }
  SUBCASE("reset") {
    const Connected ends;
    net::must(net::write(ends.client, "some"));
    Blocked all([&] { return net::read_all(ends.server, 100); });
    reset(ends.client);
    const auto [text, err] = all.get();
    CHECK(text == "some");
    CHECK(err == std::errc::connection_reset);
  }
  SUBCASE("closed by us") {
    const Connected ends;
    net::must(net::write(ends.client, "some"));
    Blocked all([&] { return net::read_all(ends.server, 100); });
    net::close(ends.server);
    const auto [text, err] = all.get();
    CHECK(text == "some");
    CHECK(err == net::closed);
  }
  SUBCASE("never open") {
    CHECK(net::read_all(net::Conn(), 100).error == net::closed);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "after its head a stream is read to the end") {
  const std::string body = noise(MiB);
  for (const std::size_t piece : {std::size_t{1000}, body.size()}) {
    const Connected ends;
    const Thread sender([&] { send(ends.client, "head\r\n" + body, piece); });
    net::Reader reader(ends.server);
    CHECK(net::must(reader.read_line()) == "head");
    CHECK(net::must(reader.read_all(body.size())) == body);
    CHECK(net::must(reader.read_all(100)).empty());  // and again: eof
  }
  const Connected ends;
  net::must(net::write(ends.client, "head\nbody"));
  net::Reader reader(ends.server);
  CHECK(net::must(reader.read_line()) == "head");
  const auto [two, err] = reader.read_all(1);
  CHECK(two == "bo");
  CHECK(err == net::limit_exceeded);
  CHECK(reader.buffered() == "dy");
}

// ---------------------------------------------------------------------------
// copy

TEST_CASE_FIXTURE(TimeLimit,
                  "copy carries every byte, and the caller the end") {
  const std::string request = noise(10 * MiB), reply = noise(10 * MiB, 2);
  const Chain chain;
  Blocked there([&] {
    const auto copied = net::copy(chain.out, chain.in);
    net::close_write(chain.out);
    return copied;
  });
  {
    const Thread sender([&] { send(chain.source, request, request.size()); });
    CHECK(net::must(net::read_all(chain.sink, request.size())) == request);
  }
  CHECK(net::must(there.get()) == request.size());
  // The other direction is still open: that is a half-close.
  Blocked back([&] {
    const auto copied = net::copy(chain.in, chain.out);
    net::close_write(chain.in);
    return copied;
  });
  const Thread sender([&] { send(chain.sink, reply, reply.size()); });
  CHECK(net::must(net::read_all(chain.source, reply.size())) == reply);
  CHECK(net::must(back.get()) == reply.size());
}

TEST_CASE_FIXTURE(TimeLimit, "copy begins with what a Reader has read ahead") {
  const std::string body = noise(MiB);
  const Chain chain;
  const Thread sender(
      [&] { send(chain.source, "CONNECT\n" + body, body.size()); });
  Blocked copied([&] {
    net::Reader reader(chain.in);
    const auto line = reader.read_line();
    auto result = net::copy(chain.out, reader);
    net::close_write(chain.out);
    return result;
  });
  CHECK(net::must(net::read_all(chain.sink, body.size())) == body);
  CHECK(net::must(copied.get()) == body.size());
}

TEST_CASE_FIXTURE(TimeLimit, "copy goes from any network to any other") {
  const std::string data = noise(MiB);
  for (const char* network : {"tcp", "unix"}) {
    const Connected left(network, network[0] == 't' ? "127.0.0.1:0" : "");
    auto [near, far, err] = net::pipe();
    const Thread sender([&] { send(left.client, data, data.size()); });
    const Thread proxy([&, &to = near] {
      net::must(net::copy(to, left.server));
      net::close_write(to);
    });
    CHECK(net::must(net::read_all(far, data.size())) == data);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "copy of a stream that ended at once copies nothing") {
  const Chain chain;
  net::close(chain.source);
  CHECK(net::must(net::copy(chain.out, chain.in)) == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "copy passes each message on as a message") {
  const Pieces from, to;
  const std::string large = noise(100000);
  net::must(net::write(from.client, "one"));
  net::must(net::write(from.client, large));
  net::close(from.client);
  CHECK(net::must(net::copy(to.client, from.server)) == 3 + large.size());
  std::string room(large.size(), '\0');
  CHECK(net::must(net::read(to.server, room)) == 3);
  CHECK(net::must(net::read(to.server, room)) == large.size());
  CHECK(room == large);
}

TEST_CASE_FIXTURE(TimeLimit, "copy leaves what is more than it was asked for") {
  const Chain chain;
  net::must(net::write(chain.source, "head body\nrest"));
  CHECK(net::must(net::copy(chain.out, chain.in, 0)) == 0);
  CHECK(net::must(net::copy(chain.out, chain.in, 5)) == 5);
  net::Reader reader(chain.in);
  CHECK(net::must(reader.read_until('o')) == "bo");
  CHECK(net::must(net::copy(chain.out, reader, 3)) == 3);
  CHECK(net::must(net::copy(chain.out, reader, 0)) == 0);
  net::close(chain.source);
  net::must(net::close_write(chain.out));
  CHECK(net::must(net::read_all(chain.sink, 100)) == "head dy\n");
  CHECK(net::must(reader.read_all(100)) == "rest");
  // The end may come before.
  CHECK(net::must(net::copy(chain.out, reader, 10)) == 0);
}

#ifdef __GLIBC__
#include <malloc.h>
#include <sys/mman.h>

namespace {

// How many bytes of the room are in memory, in whole pages: mincore(2).
std::size_t resident(net::Buffer room) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start =
      reinterpret_cast<std::uintptr_t>(room.data()) / page * page;
  const auto size =
      reinterpret_cast<std::uintptr_t>(room.data()) + room.size() - start;
  std::vector<unsigned char> pages(size / page + 1);
  REQUIRE(::mincore(reinterpret_cast<void*>(start), size, pages.data()) == 0);
  return page * static_cast<std::size_t>(std::count_if(
                    pages.begin(), pages.end(),
                    [](unsigned char each) { return (each & 1) != 0; }));
}

}  // namespace

// 2,000 quiet connections once cost 500 MiB.
TEST_CASE_FIXTURE(TimeLimit, "copy needs little memory where little comes") {
  if (support::slowness > 1) return;  // sanitizers have a malloc of their own
  // Else malloc might fill it, or take a piece that was used before.
  ::mallopt(M_PERTURB, 0);
  ::malloc_trim(0);
  const Connected ends;
  std::size_t used = 0;
  net::Reader reader([&](net::Buffer room) -> net::Result<std::size_t> {
    const bool again = std::exchange(used, resident(room)) > 0;
    room.data()[0] = 'x';
    return again ? net::Result<std::size_t>(net::eof) : 1;
  });
  CHECK(net::must(net::copy(ends.client, reader)) == 1);
  CHECK(used <= 8 * 1024);
}
#endif

TEST_CASE_FIXTURE(TimeLimit, "copy takes much in few pieces where much comes") {
  const Connected ends;
  const Thread drain([&] { (void)net::read_all(ends.server, 64 * MiB); });
  int reads = 0;
  net::Reader reader([&](net::Buffer room) {
    ++reads;
    return net::Result<std::size_t>(room.size());
  });
  CHECK(net::must(net::copy(ends.client, reader, 64 * MiB)) == 64 * MiB);
  CHECK(reads < 64 * 4 + 10);
  net::close_write(ends.client);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "copy tells a reset of its source, and the count") {
  const Chain chain;
  Blocked copied([&] { return net::copy(chain.out, chain.in); });
  net::must(net::write(chain.source, "some"));
  char room[4];
  CHECK(net::must(net::read_full(chain.sink, room)) == 4);
  reset(chain.source);
  const auto [n, err] = copied.get();
  CHECK(n == 4);
  CHECK(err == std::errc::connection_reset);
  CHECK(err.op() == "read");
  CHECK(err.local() == net::local_addr(chain.in));
}

TEST_CASE_FIXTURE(TimeLimit, "copy tells that its sink has gone") {
  const Chain chain;
  Blocked copied([&] { return net::copy(chain.out, chain.in); });
  reset(chain.sink);
  while (!copied.done()) {
    net::must(net::write(chain.source, "more"));
    std::this_thread::yield();
  }
  const auto [n, err] = copied.get();
  CHECK(peer_gone(err));
  CHECK(err.op() == "write");
  CHECK(err.remote() == net::remote_addr(chain.out));
}

TEST_CASE_FIXTURE(TimeLimit, "copy obeys the deadline of either side") {
  SUBCASE("the source says nothing") {
    const Chain chain;
    net::must(net::write(chain.source, "some"));
    net::set_read_deadline(chain.in, 30ms);
    const Stopwatch watch;
    const auto [n, err] = net::copy(chain.out, chain.in);
    CHECK(err == net::timed_out);
    CHECK(err.op() == "read");
    CHECK(watch.elapsed() >= 29ms);
    CHECK(n == 4);
  }
  SUBCASE("the sink does not read") {
    const Chain chain;
    const std::string data = noise(64 * MiB);
    Blocked sender([&] { return net::write(chain.source, data); });
    net::set_write_deadline(chain.out, 200ms);
    const Stopwatch watch;
    const auto [n, err] = net::copy(chain.out, chain.in);
    CHECK(err == net::timed_out);
    CHECK(err.op() == "write");
    CHECK(watch.elapsed() >= 199ms);
    net::close(chain.in);
    CHECK(peer_gone(sender.get().error));
    // The count is what the sink finds.
    net::close(chain.out);
    CHECK(net::must(net::read_all(chain.sink, data.size())) ==
          data.substr(0, static_cast<std::size_t>(n)));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "close of either side wakes a copy") {
  SUBCASE("the source") {
    const Chain chain;
    Blocked copied([&] { return net::copy(chain.out, chain.in); });
    net::close(chain.in);
    CHECK(copied.get().error == net::closed);
  }
  SUBCASE("the sink") {
    const Chain chain;
    Blocked sender(
        [&] { return net::write(chain.source, std::string(64 * MiB, 'x')); });
    Blocked copied([&] { return net::copy(chain.out, chain.in); });
    net::close(chain.out);
    CHECK(copied.get().error == net::closed);
    net::close(chain.in);
    CHECK(peer_gone(sender.get().error));
  }
  SUBCASE("before it began") {
    const Chain chain;
    net::must(net::write(chain.source, "some"));
    CHECK(net::copy(chain.out, net::Conn()).error == net::closed);
    CHECK(net::copy(net::Conn(), chain.in).error == net::closed);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "an echo is a copy from a connection to itself") {
  // A client that writes all before it reads fills every buffer on the way:
  // both sides write, nobody reads. Only a deadline ends that.
  const std::string data = noise(64 * MiB);
  {
    const Connected ends;
    Blocked echo([&] { return net::copy(ends.server, ends.server); });
    net::set_deadline(ends.client, 300ms);
    const Stopwatch watch;
    const auto [n, err] = net::write(ends.client, data);
    CHECK(err == net::timed_out);
    CHECK(watch.elapsed() >= 299ms);
    CHECK(n > 0);
    CHECK(n < data.size());
    net::close(ends.client);
    CHECK(peer_gone(echo.get().error));
  }
  // One that reads what comes back meanwhile gets it all.
  const std::size_t size = data.size() / support::slowness;
  const Connected ends;
  Blocked echo([&] {
    auto copied = net::copy(ends.server, ends.server);
    net::close_write(ends.server);
    return copied;
  });
  const Thread sender([&] { send(ends.client, data.substr(0, size), size); });
  CHECK(net::must(net::read_all(ends.client, size)) == data.substr(0, size));
  CHECK(net::must(echo.get()) == size);
}

// ---------------------------------------------------------------------------
// send_file

TEST_CASE_FIXTURE(TimeLimit,
                  "send_file sends the file at a path, large or empty") {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, MiB / 4, 10 * MiB + 7}) {
    CAPTURE(size);
    const Directory directory;
    const std::string content = noise(size);
    const std::string path = write_file(directory, content);
    const Connected ends;
    Blocked sent([&] {
      auto result = net::send_file(ends.client, path);
      net::close_write(ends.client);
      return result;
    });
    CHECK(net::must(net::read_all(ends.server, size)) == content);
    CHECK(net::must(sent.get()) == size);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "send_file sends from where the descriptor stands") {
  const Directory directory;
  const File file(write_file(directory, "0123456789"));
  REQUIRE(::lseek(file.fd, 4, SEEK_SET) == 4);
  const Connected ends;
  CHECK(net::must(net::send_file(ends.client, file.fd)) == 6);
  CHECK(file.position() == 10);
  CHECK(net::must(net::send_file(ends.client, file.fd)) == 0);
  REQUIRE(::lseek(file.fd, 0, SEEK_SET) == 0);  // the caller's, and still open
  CHECK(net::must(net::send_file(ends.client, file.fd)) == 10);
  net::close_write(ends.client);
  CHECK(net::must(net::read_all(ends.server, 100)) == "4567890123456789");
}

TEST_CASE_FIXTURE(TimeLimit, "send_file sends as much as it is asked to") {
  const Directory directory;
  const std::string path = write_file(directory, "0123456789");
  const File file(path);
  const Connected ends;
  CHECK(net::must(net::send_file(ends.client, file.fd, 4)) == 4);
  CHECK(file.position() == 4);
  CHECK(net::must(net::send_file(ends.client, file.fd, 0)) == 0);
  CHECK(net::must(net::send_file(ends.client, file.fd, 100)) == 6);
  CHECK(net::must(net::send_file(ends.client, path, 2)) == 2);
  net::close_write(ends.client);
  CHECK(net::must(net::read_all(ends.server, 100)) == "012345678901");
}

TEST_CASE_FIXTURE(TimeLimit, "send_file sends what another program writes") {
  FILE* program = ::popen("seq 100000", "r");
  REQUIRE(program != nullptr);
  std::string expected;
  for (int i = 1; i <= 100000; ++i) expected += std::to_string(i) + "\n";
  const Connected ends;
  Blocked sent([&] {
    const auto result = net::send_file(ends.client, ::fileno(program));
    net::close_write(ends.client);
    return result;
  });
  CHECK(net::must(net::read_all(ends.server, MiB)) == expected);
  CHECK(net::must(sent.get()) == expected.size());
  CHECK(::pclose(program) == 0);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "send_file of what is no file says what is wrong") {
  const Directory directory;
  const Connected ends;
  const auto send_file = [&](const auto& file) {
    const auto [n, err] = net::send_file(ends.client, file);
    CHECK(n == 0);
    return err;
  };
  const std::string missing = directory.path + "/missing";
  const net::Error err = send_file(missing);
  CHECK(err == std::errc::no_such_file_or_directory);
  CHECK(err.op() == "open");
  CHECK(err.message().find(missing) != std::string::npos);
  CHECK(send_file(std::string()) == std::errc::no_such_file_or_directory);
  CHECK(send_file(directory.path) == std::errc::is_a_directory);
  CHECK(send_file(-1) == std::errc::bad_file_descriptor);
  const std::string path = write_file(directory, "secret");
  CHECK(send_file(File(path, O_WRONLY).fd) == std::errc::bad_file_descriptor);
  // The name up to the NUL is another file's.
  CHECK(send_file(path + std::string("\0.txt", 5)) ==
        std::errc::invalid_argument);
  net::close_write(ends.client);
  CHECK(net::must(net::read_all(ends.server, 100)).empty());
}

TEST_CASE_FIXTURE(TimeLimit, "send_file tells that the peer has gone") {
  const Directory directory;
  const std::string path = write_file(directory, noise(64 * MiB));
  const Connected ends;
  Blocked sent([&] { return net::send_file(ends.client, path); });
  char room[1000];
  CHECK(net::must(net::read_full(ends.server, room)) == 1000);
  reset(ends.server);
  const auto [n, err] = sent.get();
  CHECK(peer_gone(err));
  CHECK(err.op() == "write");
  CHECK(n >= 1000);
  CHECK(n < 64 * MiB);
}

TEST_CASE_FIXTURE(TimeLimit, "send_file obeys the deadline, and counts") {
  const Directory directory;
  const std::string content = noise(64 * MiB);
  const std::string path = write_file(directory, content);
  const Connected ends;
  net::set_write_deadline(ends.client, 100ms);
  const Stopwatch watch;
  const auto [n, err] = net::send_file(ends.client, path);
  CHECK(err == net::timed_out);
  CHECK(watch.elapsed() >= 99ms);
  net::close(ends.client);
  CHECK(net::must(net::read_all(ends.server, content.size())) ==
        content.substr(0, static_cast<std::size_t>(n)));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "close wakes a send_file, and it leaves no file open") {
  const Directory directory;
  const std::string path = write_file(directory, noise(64 * MiB));
  const Connected ends;
  const std::size_t before = support::descriptors();
  Blocked sent([&] { return net::send_file(ends.client, path); });
  net::close(ends.client);
  CHECK(sent.get().error == net::closed);
  CHECK(support::descriptors() == before - 1);  // the connection's
  CHECK(net::send_file(ends.client, path).error == net::closed);
  CHECK(net::send_file(net::Conn(), path).error == net::closed);
}
