// SPDX-License-Identifier: MIT
// Connections: dial, read, write, close, deadlines; what they do and what they
// say, as Go's net does. `behaviour N` is a row of Go's observed behaviour;
// the links are public reports of what other libraries once did instead.

#include "netlite.hpp"

#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using support::generous;
using support::Stopwatch;
using Clock = net::Deadline::Clock;

// The kinds of connection that a test goes through.
struct Kind {
  const char* network;
  const char* address;
};
constexpr Kind streams[] = {{"tcp", "127.0.0.1:0"}, {"unix", ""}};
constexpr Kind kinds[] = {
    {"tcp", "127.0.0.1:0"}, {"unix", ""}, {"unixpacket", ""}};

// More than any connection takes while nobody reads.
constexpr std::size_t plenty = 64 << 20;

// L->R, as error texts have it.
std::string ends(const net::Conn& conn) {
  return net::local_addr(conn).string() + "->" +
         net::remote_addr(conn).string();
}

// Bytes without a pattern, the same each time (xorshift64).
std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint64_t state = 4711;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(&bytes[at], &state, std::min(sizeof state, size - at));
  }
  return bytes;
}

// What one read gives.
std::string text(const net::Conn& conn, std::size_t most = 1024) {
  std::string buffer(most, '\0');
  buffer.resize(net::must(net::read(conn, buffer)));
  return buffer;
}

// The error of one read.
net::Error read_error(const net::Conn& conn) {
  char buffer[16];
  return net::read(conn, buffer).error;
}

// All that is still to come, up to the end of the stream.
std::string rest(const net::Conn& conn) {
  return net::must(net::read_all(conn, 2 * plenty));
}

// Waits until the kernel knows of these poll(2) events.
void wait_for(const net::Conn& conn, short events) {
  pollfd fd{net::native_handle(conn), events, 0};
  REQUIRE(::poll(&fd, 1, 20000) == 1);
}

void reset(const net::Conn& conn) {
  net::must(net::set_linger(conn, 0));
  net::must(net::close(conn));
}

bool has_ipv6() { return !net::listen("tcp6", "[::1]:0").error; }

// Listeners on 127.0.0.1 and ::1 that have the same port.
std::pair<net::Listener, net::Listener> one_port() {
  for (;;) {
    auto four = net::must(net::listen("tcp4", "127.0.0.1:0"));
    const auto port = net::addr(four).port();
    auto [six, err] = net::listen("tcp6", "[::1]:" + std::to_string(port));
    if (!err) return {four, six};
    REQUIRE(err == std::errc::address_in_use);
  }
}

bool localhost_is_both() {
  const auto [hosts, err] = net::lookup_host("localhost");
  const auto has = [&, &all = hosts](const char* host) {
    return std::find(all.begin(), all.end(), host) != all.end();
  };
  const bool both = !err && has("::1") && has("127.0.0.1") && has_ipv6();
  if (!both) MESSAGE("skipped: localhost is not both ::1 and 127.0.0.1");
  return both;
}

}  // namespace

// ---------------------------------------------------------------------------
// Reading and writing a stream

TEST_CASE("after the peer has closed: the data, then eof again and again" *
          doctest::description("behaviour 1")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::write(c.server, "last words"));
    net::must(net::close(c.server));
    CHECK(text(c.client) == "last words");
    for (int i = 0; i < 3; ++i) {
      char buffer[16];
      const auto [n, err] = net::read(c.client, buffer);
      CHECK(n == 0);
      CHECK(err == net::eof);
      CHECK(err.message() == "EOF");
    }
  }
}

TEST_CASE("a read returns what is there and does not wait for a full buffer" *
          doctest::description("behaviour 2")) {
  Connected c;
  net::must(net::write(c.server, "sixsix"));
  wait_for(c.client, POLLIN);
  CHECK(text(c.client, 4) == "sixs");
  CHECK(text(c.client, 4) == "ix");
}

TEST_CASE("a reset is told once; then reads give eof and writes EPIPE" *
          doctest::description("behaviour 3")) {
  Connected c;
  reset(c.server);
  wait_for(c.client, POLLIN);
  const net::Error err = read_error(c.client);
  CHECK(err == std::errc::connection_reset);
  CHECK(err.message() ==
        "read tcp " + ends(c.client) + ": read: connection reset by peer");
  CHECK(read_error(c.client) == net::eof);
  CHECK(net::write(c.client, "x").error == std::errc::broken_pipe);
}

TEST_CASE("data that came before a reset is read first" *
          doctest::description("behaviour 4")) {
  Connected c;
  net::must(net::write(c.server, "before"));
  wait_for(c.client, POLLIN);
  reset(c.server);
  wait_for(c.client, POLLERR);
  CHECK(text(c.client) == "before");
  CHECK(read_error(c.client) == std::errc::connection_reset);
}

TEST_CASE("closing with unread data resets the connection" *
          doctest::description("behaviour 5")) {
  Connected c;
  net::must(net::write(c.client, "never read"));
  wait_for(c.server, POLLIN);
  net::must(net::close(c.server));
  CHECK(read_error(c.client) == std::errc::connection_reset);
}

TEST_CASE("writing to a peer that has closed: once, and then EPIPE" *
          doctest::description("behaviour 6")) {
  Connected c;
  net::must(net::close(c.server));
  wait_for(c.client, POLLIN);
  CHECK(net::must(net::write(c.client, "first")) == 5);
  wait_for(c.client, POLLHUP);  // the answer to it is a reset
  for (int i = 0; i < 3; ++i) {
    const auto [n, err] = net::write(c.client, "later");
    CHECK(n == 0);
    CHECK(err == std::errc::broken_pipe);
    CHECK(err.message() ==
          "write tcp " + ends(c.client) + ": write: broken pipe");
  }
}

TEST_CASE("writing to a peer that has reset: ECONNRESET, then EPIPE" *
          doctest::description("behaviour 7")) {
  Connected c;
  reset(c.server);
  wait_for(c.client, POLLHUP);
  CHECK(net::write(c.client, "x").error == std::errc::connection_reset);
  CHECK(net::write(c.client, "x").error == std::errc::broken_pipe);
  CHECK(read_error(c.client) == net::eof);
}

TEST_CASE("one write carries 64 MiB to a slow reader" *
          doctest::description("behaviour 8")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string sent = noise(plenty);
    Blocked writer([&] {
      auto result = net::write(c.server, sent);
      net::close(c.server);
      return result;
    });
    CHECK_FALSE(writer.done());
    CHECK(rest(c.client) == sent);
    const auto [n, err] = writer.get();
    CHECK_FALSE(err);
    CHECK(n == sent.size());
  }
}

// https://github.com/golang/go/issues/27203
// https://github.com/golang/go/issues/46250
// https://github.com/nspcc-dev/neo-go/pull/506
TEST_CASE("eight threads write to one connection and no message is torn" *
          doctest::description("behaviour 9; bug-case 41")) {
  constexpr std::size_t size = 300000;
  constexpr int messages = 20;
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    std::vector<support::Thread> writers;
    for (char letter = 'a'; letter < 'i'; ++letter)
      writers.emplace_back([&c, letter] {
        const std::string one(size / 3, letter);
        for (int i = 0; i < messages; ++i) {
          // Gathered writes are as whole as plain ones.
          if (i % 2)
            net::must(net::write(c.client, std::string(size, letter)));
          else
            net::must(net::write(c.client, {one, one, one}));
        }
      });
    std::map<char, int> count;
    std::string message(size, '\0');
    for (int i = 0; i < 8 * messages; ++i) {
      net::must(net::read_full(c.server, message));
      ++count[message[0]];
      REQUIRE(message.find_first_not_of(message[0]) == message.npos);
    }
    for (char letter = 'a'; letter < 'i'; ++letter)
      CHECK(count[letter] == messages);
  }
}

TEST_CASE("eight threads read one connection: no byte is lost or doubled" *
          doctest::description("behaviour 10")) {
  Connected c;
  const std::string sent = noise(8 << 20);
  std::array<std::atomic<std::size_t>, 256> got{};
  {
    std::vector<support::Thread> readers;
    for (int i = 0; i < 8; ++i)
      readers.emplace_back([&] {
        std::vector<unsigned char> buffer(10007);
        for (;;) {
          const auto [n, err] = net::read(c.client, buffer);
          for (std::size_t at = 0; at < n; ++at) ++got[buffer[at]];
          if (err) return;
        }
      });
    net::must(net::write(c.server, sent));
    net::must(net::close(c.server));
  }
  std::array<std::size_t, 256> want{};
  for (const char byte : sent) ++want[static_cast<unsigned char>(byte)];
  for (std::size_t byte = 0; byte < 256; ++byte) {
    INFO(byte);
    CHECK(got[byte] == want[byte]);
  }
}

TEST_CASE("a write does not wait for a read that is blocked" *
          doctest::description("behaviour 11")) {
  Connected c;
  Blocked reader([&] { return read_error(c.client); });
  CHECK(net::must(net::write(c.client, "question")) == 8);
  CHECK(text(c.server) == "question");
  CHECK_FALSE(reader.done());
  net::must(net::write(c.server, "answer"));
  CHECK_FALSE(reader.get());
}

// https://github.com/MisterTea/EternalTerminal/pull/815
// https://github.com/vlang/v/issues/27459
// https://github.com/mongodb/mongo-ruby-driver/pull/2927
TEST_CASE("a write that meets its deadline half-way says how much went out" *
          doctest::description("behaviour 12; bug-case 34")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string sent = noise(plenty);
    const auto due = Clock::now() + 100ms;
    net::must(net::set_write_deadline(c.client, due));
    const auto [n, err] = net::write(c.client, sent);
    CHECK(Clock::now() >= due);
    CHECK(err == net::timed_out);
    CHECK(n > 0);
    CHECK(n < sent.size());
    // Exactly these bytes arrive; the connection goes on where it stopped.
    std::string got(n, '\0');
    net::must(net::read_full(c.server, got));
    CHECK((got == sent.substr(0, n)));
    net::must(net::set_write_deadline(c.client, net::no_deadline));
    net::must(net::write(c.client, "and on"));
    CHECK(text(c.server) == "and on");
  }
}

// poll(2) calls a unix socket writable when three quarters of its buffer are
// free; a write that was cut must not make the next one wait for that.
TEST_CASE("a short write fits where a long one was cut") {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    for (const bool once : {true, false}) {
      Connected c(kind.network, kind.address);
      const std::string much = noise(plenty);
      net::must(net::set_write_deadline(c.client, 50ms));
      const std::size_t n = once ? net::try_write(c.client, much).value
                                 : net::write(c.client, much).value;
      REQUIRE(n > 0);
      std::string half(n / 2, '\0');
      net::must(net::read_full(c.server, half));
      net::must(net::set_write_deadline(c.client, 10s));
      CHECK(net::must(net::write(c.client, "short")) == 5);
    }
  }
}

TEST_CASE("after close_write a full buffer is no reason to wait") {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string much = noise(plenty);
    net::must(net::set_write_deadline(c.client, 50ms));
    CHECK(net::write(c.client, much).value > 0);
    net::must(net::set_write_deadline(c.client, 10s));
    net::must(net::close_write(c.client));
    CHECK(net::write(c.client, "more").error == std::errc::broken_pipe);
  }
}

// https://github.com/golang/go/pull/80244
// https://github.com/golang/go/issues/40385
// https://github.com/panjf2000/gnet/issues/391
TEST_CASE("an empty read gives 0 at once, whatever the state, until closed" *
          doctest::description("behaviour 13; bug-case 32")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const auto nothing = [&] {
      const auto [n, err] = net::read(c.client, {nullptr, 0});
      CHECK(n == 0);
      return err;
    };
    CHECK_FALSE(nothing());  // no data
    net::must(net::write(c.server, "data"));
    wait_for(c.client, POLLIN);
    CHECK_FALSE(nothing());  // takes none of it
    net::must(net::set_read_deadline(c.client, -1s));
    CHECK_FALSE(nothing());
    net::must(net::set_read_deadline(c.client, net::no_deadline));
    CHECK(text(c.client) == "data");
    net::must(net::close(c.server));
    CHECK(read_error(c.client) == net::eof);
    CHECK_FALSE(nothing());
    net::must(net::close(c.client));
    CHECK(nothing() == net::closed);
  }
}

TEST_CASE("an empty write gives 0 and sends nothing; closed after close" *
          doctest::description("behaviour 14; bug-case 32")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    CHECK(net::must(net::write(c.client, "")) == 0);
    CHECK(net::must(net::write(c.client, {})) == 0);
    CHECK(net::must(net::write(c.client, {"", "", ""})) == 0);
    net::must(net::write(c.client, "x"));
    CHECK(text(c.server) == "x");
    net::must(net::close(c.client));
    CHECK(net::write(c.client, "").error == net::closed);
    CHECK(net::write(c.client, {}).error == net::closed);
  }
}

TEST_CASE("after close_write the peer reads to eof and can still answer" *
          doctest::description("behaviour 15, 70")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::write(c.client, "question"));
    net::must(net::close_write(c.client));
    CHECK(rest(c.server) == "question");
    net::must(net::write(c.server, "answer"));
    CHECK(text(c.client) == "answer");
    CHECK(net::write(c.client, "x").error == std::errc::broken_pipe);
    CHECK_FALSE(net::close_write(c.client));
  }
}

TEST_CASE("close_read wakes a blocked read with eof" *
          doctest::description("behaviour 16, 70")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    Blocked reader([&] { return read_error(c.client); });
    net::must(net::close_read(c.client));
    CHECK(reader.get() == net::eof);
    CHECK_FALSE(net::close_read(c.client));
    CHECK(net::must(net::write(c.client, "still")) == 5);
    CHECK(text(c.server) == "still");
  }
}

TEST_CASE("close_read of datagrams is refused: no read would see an end") {
  for (const char* network : {"udp", "unixgram"}) {
    INFO(network);
    const support::Directory directory;
    const std::string address =
        network == std::string("udp") ? "127.0.0.1:0" : directory.path + "/s";
    const auto packets = net::must(net::listen_packet(network, address));
    const net::Conn conn =
        net::must(net::dial(network, net::local_addr(packets).string()));
    CHECK(net::close_read(conn) == std::errc::operation_not_supported);
  }
}

TEST_CASE("after close_read a TCP peer may write, and we may read it" *
          doctest::description("behaviour 16")) {
  Connected c;
  net::must(net::close_read(c.client));
  CHECK(net::must(net::write(c.server, "late")) == 4);
  wait_for(c.client, POLLIN);
  char buffer[8];
  for (std::size_t got = 0; got < 4;) {  // Linux delivers what comes later
    const auto [n, err] = net::read(c.client, buffer);
    if (err) REQUIRE(err == net::eof);
    got += n;
  }
}

TEST_CASE("what was written before close still reaches a slow reader" *
          doctest::description("behaviour 17")) {
  Connected c;
  const std::string sent = noise(200000);
  net::must(net::write(c.client, sent));
  net::must(net::close(c.client));
  CHECK(rest(c.server) == sent);
}

TEST_CASE("linger: close throws the data away, or waits for it" *
          doctest::description("behaviour 18")) {
  const std::string much = noise(plenty);
  SUBCASE("0 seconds: the peer sees a reset") {
    Connected c;
    net::must(net::set_write_deadline(c.client, 50ms));
    CHECK(net::write(c.client, much).error == net::timed_out);
    net::must(net::set_linger(c.client, 0));
    net::must(net::close(c.client));
    CHECK(net::read_all(c.server, plenty).error == std::errc::connection_reset);
  }
  SUBCASE("1 second: close blocks, even on a non-blocking socket") {
    Connected c;
    net::must(net::set_write_deadline(c.client, 50ms));
    CHECK(net::write(c.client, much).error == net::timed_out);
    net::must(net::set_linger(c.client, 1));
    const Stopwatch watch;
    CHECK_FALSE(net::close(c.client));
    CHECK(watch.elapsed() >= 900ms);
    CHECK(watch.elapsed() < generous);
  }
  SUBCASE("off again: the default") {
    Connected c;
    net::must(net::set_linger(c.client, 0));
    net::must(net::set_linger(c.client, -1));
    net::must(net::write(c.client, "kept"));
    net::must(net::close(c.client));
    CHECK(rest(c.server) == "kept");
  }
}

// https://github.com/ruoka/net4cpp/pull/44
// https://github.com/DFHack/dfhack/pull/4042
TEST_CASE("fifty signals do not disturb a blocked read" *
          doctest::description("behaviour 19; bug-case 26")) {
  Connected c;
  const support::Pester pester;
  support::Thread later([&] {
    while (pester.count() < 50) std::this_thread::sleep_for(1ms);
    net::must(net::write(c.server, "undisturbed"));
  });
  CHECK(text(c.client) == "undisturbed");
}

TEST_CASE("the stream goes on for as long as a duplicate lives" *
          doctest::description("behaviour 20")) {
  Connected c;
  const int copy = net::must(net::duplicate(c.client));
  CHECK(copy != net::native_handle(c.client));
  CHECK((::fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(copy, F_GETFL) & O_NONBLOCK) != 0);
  net::must(net::close(c.client));
  net::must(net::set_read_deadline(c.server, 50ms));
  CHECK(read_error(c.server) == net::timed_out);  // no eof yet
  net::must(net::set_read_deadline(c.server, net::no_deadline));

  net::Conn again = net::must(net::conn_from(copy));
  CHECK(ends(again) == ends(c.client));
  net::must(net::write(again, "alive"));
  CHECK(text(c.server) == "alive");
  net::must(net::close(again));
  CHECK(read_error(c.server) == net::eof);
}

TEST_CASE("buffer sizes and other options are the kernel's business" *
          doctest::description("behaviour 21")) {
  Connected c;
  CHECK_FALSE(net::set_read_buffer(c.client, 8192));
  CHECK(net::must(net::get_option<int>(c.client, SOL_SOCKET, SO_RCVBUF)) ==
        16384);  // Linux doubles it
  CHECK_FALSE(net::set_write_buffer(c.client, 8192));
  CHECK(net::must(net::get_option<int>(c.client, SOL_SOCKET, SO_SNDBUF)) ==
        16384);
  CHECK_FALSE(net::set_option(c.client, SOL_SOCKET, SO_PRIORITY, 3));
  CHECK(net::must(net::get_option<int>(c.client, SOL_SOCKET, SO_PRIORITY)) ==
        3);
  const net::Error err = net::set_option(c.client, SOL_SOCKET, 4711, 1);
  CHECK(err == std::errc::no_protocol_option);
  CHECK(err.message() ==
        "set tcp " + ends(c.client) + ": setsockopt: protocol not available");
}

// https://github.com/scylladb/seastar/issues/2983
// https://github.com/tokio-rs/turmoil/pull/269
TEST_CASE("a server that closes with unread input resets its own reply" *
          doctest::description("bug-case 38")) {
  const std::string request = noise(1 << 20);
  SUBCASE("reads ten bytes, answers, closes: the reply, then a reset") {
    Connected c;
    // Its write may fail half-way: the server goes early.
    Blocked client([&] { return net::write(c.client, request).error; });
    char ten[10];
    net::must(net::read_full(c.server, ten));
    net::must(net::write(c.server, "bye"));
    net::must(net::close(c.server));
    client.get();
    std::string got(3, '\0');
    net::must(net::read_full(c.client, got));
    CHECK(got == "bye");
    CHECK(read_error(c.client) == std::errc::connection_reset);
  }
  SUBCASE("answers, ends its side, reads to eof, closes: reply, then eof") {
    Connected c;
    Blocked client([&] {
      auto result = net::write(c.client, request);
      net::close_write(c.client);
      return result;
    });
    net::must(net::write(c.server, "bye"));
    net::must(net::close_write(c.server));
    CHECK(rest(c.server) == request);
    net::must(net::close(c.server));
    CHECK(net::must(client.get()) == request.size());
    CHECK(rest(c.client) == "bye");
  }
}

// https://github.com/hyperledger-iroha/iroha/pull/4948
TEST_CASE("both sides write and nobody reads: a deadline ends it" *
          doctest::description("bug-case 35")) {
  const std::string sent = noise(16 << 20);
  Connected c;
  support::Thread echo([&] {
    std::string buffer(65536, '\0');
    for (;;) {
      const auto [n, err] = net::read(c.server, buffer);
      if (err || net::write(c.server, {buffer.data(), n}).error) break;
    }
    net::close(c.server);
  });
  SUBCASE("all of it before the first read: timed_out") {
    net::must(net::set_write_deadline(c.client, 200ms));
    CHECK(net::write(c.client, sent).error == net::timed_out);
    net::must(net::close(c.client));
  }
  SUBCASE("with a thread that reads: all comes back") {
    Blocked writer([&] {
      auto result = net::write(c.client, sent);
      net::close_write(c.client);
      return result;
    });
    CHECK(rest(c.client) == sent);
    CHECK(net::must(writer.get()) == sent.size());
  }
}

// https://github.com/TOPLLab/WARDuino/pull/398
// https://github.com/csound/csound/issues/2684
// https://github.com/openframeworks/openFrameworks/issues/213
TEST_CASE("bytes are not C strings" * doctest::description("bug-case 40")) {
  std::array<unsigned char, 512> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<unsigned char>(i);
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::write(c.client, bytes));
    // On the heap, of exactly that size: the address sanitizer sees one more.
    const std::unique_ptr<unsigned char[]> got(new unsigned char[512]);
    CHECK(net::must(net::read_full(c.server, {got.get(), 512})) == 512);
    CHECK(std::equal(bytes.begin(), bytes.end(), got.get()));
  }
}

TEST_CASE("whatever holds bytes can be written, whatever has room be read") {
  Connected c;
  const std::vector<char> vector{'v', 'e'};
  const std::array<std::byte, 1> array{std::byte{'a'}};
  const unsigned char plain[] = {'u', 'c'};
  const std::byte bytes[] = {std::byte{'b'}};
  net::must(net::write(c.client, vector));
  net::must(net::write(c.client, array));
  net::must(net::write(c.client, plain));
  net::must(net::write(c.client, bytes));
  net::must(net::write(c.client, std::string("s")));
  net::must(net::write(c.client, std::string_view("vw").substr(0, 1)));
  net::must(net::write(c.client, {"pointer", 2}));
  CHECK(rest((net::close_write(c.client), c.server)) == "veaucbsvpo");

  net::must(net::write(c.server, "0123456789"));
  char chars[2];
  unsigned char uchars[1];
  std::byte raw[1];
  std::array<char, 2> into_array;
  std::vector<std::byte> into_vector(1);
  std::string into_string(3, '\0');
  CHECK(net::must(net::read_full(c.client, chars)) == 2);
  CHECK(net::must(net::read_full(c.client, uchars)) == 1);
  CHECK(net::must(net::read_full(c.client, raw)) == 1);
  CHECK(net::must(net::read_full(c.client, into_array)) == 2);
  CHECK(net::must(net::read_full(c.client, into_vector)) == 1);
  CHECK(net::must(net::read_full(c.client, into_string)) == 3);
  CHECK(into_string == "789");
}

// A text class with a size but no data(): std::string_view takes it.
struct Label {
  std::string text;
  std::size_t size() const { return text.size(); }
  operator std::string_view() const { return text; }
};

TEST_CASE("what is written ends where its array or its size says") {
  Connected c;
  const struct {
    char tag[4];
    char beyond[4];
  } chunk = {{'R', 'I', 'F', 'F'}, {'n', 'o', 'n', 'e'}};
  CHECK(net::must(net::write(c.client, chunk.tag)) == 4);
  const char* pointer = "pointer";
  CHECK(net::must(net::write(c.client, pointer)) == 7);
  CHECK(net::must(net::write(c.client, Label{"label"})) == 5);
  CHECK(net::must(net::write(c.client, {chunk.tag, "!"})) == 5);
  // A 0 is a size, no third kind of text.
  char buffer[] = "buffer";
  CHECK(net::must(net::write(c.client, {buffer, 0})) == 0);
  CHECK(net::must(net::write(c.client, {pointer, 0})) == 0);
  CHECK(net::must(net::write(c.client, {nullptr, 0})) == 0);
  CHECK(!std::is_convertible_v<std::nullptr_t, net::Bytes>);
  CHECK(!std::is_convertible_v<int, net::Bytes>);
  CHECK(rest((net::close_write(c.client), c.server)) ==
        "RIFFpointerlabelRIFF!");
}

// A length in front of a frame, the first bytes of a PNG: no C strings.
TEST_CASE("an array that cannot change is written whole, but for one NUL") {
  const auto size = [](const auto& array) { return net::Bytes(array).size(); };
  CHECK(size("text") == 4);
  CHECK(size("") == 0);
  CHECK(size("a\0b") == 3);
  CHECK(size("end\0") == 4);  // one NUL was written, and one is the literal's
  const char frame[4] = {0, 0, 0, 5}, zeros[4] = {},
             tag[4] = {'R', 'I', 'F', 'F'};
  static constexpr char one[1] = {'1'};
  CHECK(size(frame) == 4);
  CHECK(size(zeros) == 3);
  CHECK(size(tag) == 4);
  CHECK(size(one) == 1);
  const unsigned char bytes[4] = {0, 0, 5, 0};
  const std::byte raw[2] = {};
  CHECK(size(bytes) == 4);
  CHECK(size(raw) == 2);

  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const auto arrives = [&](const net::Result<std::size_t>& written) {
      CHECK(net::must(written) == 4);
      CHECK(text(c.server) == std::string("\0\0\0\5", 4));
    };
    arrives(net::write(c.client, frame));
    arrives(net::write(c.client, {frame, ""}));
    arrives(net::write(c.client, std::vector<net::Bytes>{frame, ""}));
    arrives(net::try_write(c.client, frame));
    arrives(net::try_write(c.client, {"", frame}));
    arrives(net::try_write(c.client, std::vector<net::Bytes>{frame}));
  }
}

// A view of room, as std::span is.
struct View {
  char* begin;
  char* data() const { return begin; }
  std::size_t size() const { return 1; }
};

TEST_CASE("room to read into is what stays, and what can change") {
  const auto check = [](auto room, bool temporary) {
    using T = decltype(room);
    CHECK(std::is_convertible_v<T&, net::Buffer>);
    CHECK(std::is_convertible_v<T&&, net::Buffer> == temporary);
    CHECK(std::is_convertible_v<const T&, net::Buffer> == temporary);
    CHECK(std::is_convertible_v<const T&&, net::Buffer> == temporary);
  };
  check(std::string(), false);
  check(std::vector<char>(), false);
  check(std::vector<std::byte>(), false);
  check(std::array<unsigned char, 4>(), false);
  check(View{}, true);
  CHECK_FALSE(std::is_convertible_v<const char(&)[4], net::Buffer>);
  CHECK_FALSE(std::is_convertible_v<std::string_view, net::Buffer>);
  CHECK_FALSE(std::is_convertible_v<std::vector<int>&, net::Buffer>);

  // The size is the room, and a container without one has none.
  Connected c;
  net::must(net::write(c.server, "data"));
  wait_for(c.client, POLLIN);
  std::vector<char> nothing;
  std::string none;
  CHECK(net::must(net::read(c.client, nothing)) == 0);
  CHECK(net::must(net::read_full(c.client, none)) == 0);
  CHECK(none.empty());
  char letter = '-';
  CHECK(net::must(net::read(c.client, View{&letter})) == 1);
  CHECK(letter == 'd');
}

TEST_CASE("read_full tells a stream that ends before from one that ends in") {
  Connected c;
  net::must(net::write(c.server, "four+"));
  net::must(net::close(c.server));
  char buffer[4];
  CHECK(net::must(net::read_full(c.client, buffer)) == 4);
  const auto [n, err] = net::read_full(c.client, buffer);
  CHECK(n == 1);
  CHECK(err == net::unexpected_eof);
  CHECK(net::read_full(c.client, buffer).error == net::eof);
  CHECK_FALSE(net::read_full(c.client, {buffer, 0}).error);
}

TEST_CASE("read_full keeps its count when the deadline comes") {
  Connected c;
  net::must(net::write(c.server, "abc"));
  net::must(net::set_read_deadline(c.client, 50ms));
  char buffer[8] = "";
  const auto [n, err] = net::read_full(c.client, buffer);
  CHECK(n == 3);
  CHECK(err == net::timed_out);
  CHECK(std::string(buffer, n) == "abc");
}

// ---------------------------------------------------------------------------
// Gathered writes

#define TEN(x) x, x, x, x, x, x, x, x, x, x

namespace {

// Writes 1,500 bytes as so many pieces.
net::Result<std::size_t> write_bytewise(const net::Conn& conn,
                                        const std::string& bytes) {
  std::size_t at = 0;
  const auto next = [&] { return net::Bytes(&bytes[at++], 1); };
  return net::write(conn,
                    {TEN(TEN(TEN(next()))), TEN(TEN(next())), TEN(TEN(next())),
                     TEN(TEN(next())), TEN(TEN(next())), TEN(TEN(next()))});
}

}  // namespace

TEST_CASE("a gathered write sends its pieces in order, empty ones too") {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string body = "body";
    CHECK(net::must(net::write(c.client, {"", "head ", "", body, ""})) == 9);
    CHECK(text(c.server) == "head body");
  }
}

TEST_CASE("a gathered write may have more pieces than the kernel takes") {
  Connected c;
  const std::string sent = noise(1500);
  const auto [n, err] = write_bytewise(c.client, sent);
  CHECK_FALSE(err);
  CHECK(n == sent.size());
  std::string got(n, '\0');
  net::must(net::read_full(c.server, got));
  CHECK(got == sent);
}

TEST_CASE("a message of too many pieces is sent whole or refused, never cut") {
  Connected c("unixpacket", "");
  const std::string sent = noise(1500);
  const auto [n, err] = write_bytewise(c.client, sent);
  if (err) {
    CHECK(err == std::errc::message_size);
    CHECK(n == 0);
  } else {
    CHECK(n == sent.size());
    CHECK(text(c.server, 2000) == sent);
  }
}

TEST_CASE("a full buffer may cut a gathered write anywhere") {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::set_write_buffer(c.client, 4096));
    const std::string bytes = noise(3 << 20);
    const std::string_view all = bytes;
    Blocked writer([&] {
      auto result = net::write(
          c.client,
          {all.substr(0, 1), all.substr(1, 700001), "", all.substr(700002, 13),
           all.substr(700015, 1000000), all.substr(1700015)});
      net::close_write(c.client);
      return result;
    });
    CHECK_FALSE(writer.done());
    CHECK(rest(c.server) == bytes);
    const auto [n, err] = writer.get();
    CHECK_FALSE(err);
    CHECK(n == bytes.size());
  }
}

TEST_CASE("a gathered write keeps its count when the deadline comes") {
  Connected c;
  const std::string half = noise(plenty / 2);
  net::must(net::set_write_deadline(c.client, 50ms));
  const auto [n, err] = net::write(c.client, {"x", half, half});
  CHECK(err == net::timed_out);
  CHECK(n > 0);
  net::must(net::close_write(c.client));
  const std::string got = rest(c.server);
  CHECK(got.size() == n);
  CHECK((got == ("x" + half + half).substr(0, n)));
}

// ---------------------------------------------------------------------------
// Closing

TEST_CASE("close wakes a blocked read" * doctest::description("behaviour 22")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    Blocked reader([&] { return read_error(c.client); });
    REQUIRE_FALSE(reader.done());
    CHECK_FALSE(net::close(c.client));
    const net::Error err = reader.get();
    CHECK(err == net::closed);
    CHECK(err.message() == std::string("read ") + kind.network + " " +
                               ends(c.client) +
                               ": use of closed network connection");
  }
}

TEST_CASE("close wakes a blocked write, which says how much went out" *
          doctest::description("behaviour 23")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string sent = noise(plenty);
    Blocked writer([&] { return net::write(c.client, sent); });
    REQUIRE_FALSE(writer.done());
    CHECK_FALSE(net::close(c.client));
    const auto [n, err] = writer.get();
    CHECK(err == net::closed);
    CHECK(n > 0);
    CHECK(n < sent.size());
    CHECK((rest(c.server) == sent.substr(0, n)));
  }
}

TEST_CASE("close wakes all who read and write, and those who queue for it" *
          doctest::description("behaviour 22, 23")) {
  Connected c;
  const std::string much(plenty, 'x');
  std::atomic<int> closed{0};
  {
    std::list<Blocked<std::function<net::Error()>>> threads;
    const auto counted = [&](net::Error err) {
      closed += err == net::closed;
      return err;
    };
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { return counted(read_error(c.client)); });
      threads.emplace_back(
          [&] { return counted(net::write(c.client, much).error); });
    }
    net::must(net::close(c.client));
  }
  CHECK(closed == 8);
}

TEST_CASE("after close every call says closed, in its own name" *
          doctest::description("behaviour 24")) {
  Connected c;
  net::must(net::close(c.client));
  char buffer[1];
  const std::string both = " tcp " + ends(c.client);
  const std::string local = " tcp " + net::local_addr(c.client).string();
  const std::string why = ": use of closed network connection";
  const struct {
    net::Error err;
    std::string message;
  } calls[] = {
      {net::read(c.client, buffer).error, "read" + both},
      {net::read_full(c.client, buffer).error, "read" + both},
      {net::write(c.client, "x").error, "write" + both},
      {net::write(c.client, {"x", "y"}).error, "writev" + both},
      {net::close(c.client), "close" + both},
      {net::close_read(c.client), "close" + both},
      {net::close_write(c.client), "close" + both},
      {net::set_deadline(c.client, 1s), "set" + local},
      {net::set_read_deadline(c.client, net::no_deadline), "set" + local},
      {net::set_write_deadline(c.client, -1s), "set" + local},
      {net::set_no_delay(c.client, true), "set" + both},
      {net::set_keep_alive(c.client, 1s, 1s), "set" + both},
      {net::set_linger(c.client, 0), "set" + both},
      {net::set_read_buffer(c.client, 8192), "set" + local},
      {net::set_write_buffer(c.client, 8192), "set" + local},
  };
  for (const auto& call : calls) {
    CHECK(call.err == net::closed);
    CHECK(call.err.message() == call.message + why);
  }
  CHECK(net::get_option<int>(c.client, SOL_SOCKET, SO_TYPE).error ==
        net::closed);
  CHECK(net::duplicate(c.client).error == net::closed);
  CHECK(net::native_handle(c.client) == -1);
}

TEST_CASE("the second close says closed" *
          doctest::description("behaviour 25; bug-case 50")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    CHECK_FALSE(net::close(c.client));
    const net::Error err = net::close(c.client);
    CHECK(err == net::closed);
    CHECK(err.message() == std::string("close ") + kind.network + " " +
                               ends(c.client) +
                               ": use of closed network connection");
    CHECK(net::close(c.client) == net::closed);
  }
}

TEST_CASE("of ten threads that close, one succeeds" *
          doctest::description("behaviour 26")) {
  for (int round = 0; round < 50; ++round) {
    Connected c;
    std::atomic<int> nil{0}, closed{0};
    {
      std::vector<support::Thread> threads;
      for (int i = 0; i < 10; ++i)
        threads.emplace_back([&] {
          const net::Error err = net::close(c.client);
          nil += !err;
          closed += err == net::closed;
        });
    }
    CHECK(nil == 1);
    CHECK(closed == 9);
  }
}

// What a temporary handle tells must not go with it.
TEST_CASE("addresses outlive the handle that told them") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const auto client = net::must(net::dial("tcp", net::addr(listener).string()));
  const net::Addr& theirs = net::remote_addr(net::must(net::accept(listener)));
  CHECK(theirs == net::local_addr(client));
  const auto open = [] { return net::must(net::listen("tcp", "127.0.0.1:0")); };
  const net::Addr& ours = net::local_addr(open());
  const net::IP& ip = net::addr(open()).ip();
  const std::string name = "@netlite-test-" + std::to_string(::getpid());
  const std::string& path =
      net::addr(net::must(net::listen("unix", name))).path();
  const std::string& zone =
      net::must(net::parse_ip("fe80::1%a-long-zone")).zone();
  const net::IP& first = net::must(net::parse_prefix("10.0.0.1/8")).ip();
  CHECK(ours.port() != 0);
  CHECK(ip.is_loopback());
  CHECK(path == name);
  CHECK(zone == "a-long-zone");
  CHECK(first.string() == "10.0.0.1");

  using Listener = const net::Listener&;
  CHECK(std::is_same_v<decltype(net::addr(Listener(listener))), net::Addr>);
  CHECK(std::is_same_v<decltype(net::local_addr(client)), net::Addr>);
  CHECK(std::is_same_v<decltype(net::remote_addr(client)), net::Addr>);
}

TEST_CASE("addresses stay valid after close" *
          doctest::description("behaviour 27")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string before = ends(c.client);
    const net::Addr& local = net::local_addr(c.client);
    net::must(net::close(c.client));
    CHECK(ends(c.client) == before);
    CHECK(local == net::remote_addr(c.server));
  }
}

TEST_CASE("closed comes before the deadline, the deadline before the data" *
          doctest::description("behaviour 31")) {
  Connected c;
  net::must(net::write(c.server, "data"));
  wait_for(c.client, POLLIN);
  net::must(net::set_deadline(c.client, -1s));
  CHECK(read_error(c.client) == net::timed_out);
  net::must(net::close(c.server));
  CHECK(read_error(c.client) == net::timed_out);  // before eof
  net::must(net::close(c.client));
  CHECK(read_error(c.client) == net::closed);
  CHECK(net::write(c.client, "x").error == net::closed);
}

TEST_CASE("a close that comes before the other thread blocks is not lost" *
          doctest::description("bug-case 49")) {
  std::minstd_rand random(1);
  for (int round = 0; round < 2000 / support::slowness; ++round) {
    net::Pipe ends = net::pipe();
    std::atomic<bool> go{false};
    support::Thread reader([&] {
      go = true;
      const net::Error err = read_error(ends.first);
      CHECK(err == net::closed);
    });
    while (!go) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60));
    net::must(net::close(ends.first));
  }
}

// https://github.com/pocoproject/poco/issues/2982
// https://github.com/saprykin/plibsys/issues/21
// https://github.com/vibe-d/eventcore/pull/195
TEST_CASE("no call ever touches a descriptor that is somebody else's now" *
          doctest::description("behaviour 24; bug-case 49")) {
  // While connections come and go under blocked reads and writes, a stranger
  // opens pipes, which get the numbers that were released. What it puts in it
  // must find again.
  std::atomic<bool> stop{false};
  std::atomic<int> harmed{0};
  support::Thread stranger([&] {
    while (!stop) {
      int pipes[4][2];
      for (auto& fds : pipes) {
        if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) ++harmed;
        if (::write(fds[1], "marker", 6) != 6) ++harmed;
      }
      std::this_thread::yield();
      for (auto& fds : pipes) {
        char found[16];
        const auto n = ::read(fds[0], found, sizeof found);
        if (n != 6 || std::memcmp(found, "marker", 6) != 0) ++harmed;
        if (::close(fds[0]) != 0 || ::close(fds[1]) != 0) ++harmed;
      }
    }
  });

  // Two threads that use whatever connection they are handed. A reader that is
  // late may find that the other end has gone too.
  std::mutex mutex;
  net::Conn current;
  std::atomic<int> wrong{0};
  const auto take = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    return current;
  };
  std::vector<support::Thread> users;
  users.emplace_back([&] {
    char buffer[64];
    while (!stop) {
      const auto [n, err] = net::read(take(), buffer);
      if (n != 0 || (err != net::closed && err != net::eof)) ++wrong;
      std::this_thread::yield();
    }
  });
  users.emplace_back([&] {
    const std::string block(1 << 20, 'x');
    while (!stop) {
      if (net::write(take(), block).error != net::closed) ++wrong;
      std::this_thread::yield();
    }
  });

  std::minstd_rand random(2);
  for (int round = 0; round < 10000 / support::slowness; ++round) {
    net::Pipe ends = net::pipe();
    REQUIRE_FALSE(ends.error);
    net::Conn old = ends.first;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      std::swap(old, current);
    }
    if (random() % 2)
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
    net::close(ends.first);
  }
  stop = true;
  users.clear();
  stranger.join();
  CHECK(harmed == 0);
  CHECK(wrong == 0);
}

// ---------------------------------------------------------------------------
// Handles

TEST_CASE("copies of a handle share the socket; the last one closes it") {
  Connected c;
  {
    net::Conn copy = c.client;
    CHECK(copy == c.client);
    CHECK(copy != c.server);
    c.client = net::Conn();
    net::must(net::write(copy, "alive"));
    CHECK(text(c.server) == "alive");
    net::must(net::set_read_deadline(c.server, 20ms));
    CHECK(read_error(c.server) == net::timed_out);
    net::must(net::set_read_deadline(c.server, net::no_deadline));
  }
  CHECK(read_error(c.server) == net::eof);
}

TEST_CASE("handles may be the keys of a map, open or closed") {
  const Connected c("tcp");
  std::map<net::Conn, std::string> names{{c.client, "ann"}, {c.server, "bob"}};
  std::set<net::Socket> all{c.client, c.server, c.listener, c.client};
  CHECK(names.size() == 2);
  CHECK(all.size() == 3);
  const net::Conn copy = c.server;
  net::close(copy);
  CHECK(names[copy] == "bob");
  CHECK(names.erase(copy) == 1);
  CHECK(all.count(c.listener) == 1);
  CHECK(all.count(net::Conn()) == 0);
}

TEST_CASE("handles may be the keys of a hash table, whatever their kind") {
  const Connected c("tcp");
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  std::unordered_map<net::Conn, int> conns{{c.client, 1}, {c.server, 2}};
  std::unordered_set<net::Listener> listeners{c.listener, net::Listener()};
  std::unordered_set<net::PacketConn> packet_conns{packets};
  std::unordered_set<net::Socket> all{c.client, c.listener, packets, c.client};
  const net::Conn copy = c.server;
  net::close(copy);
  CHECK(conns.at(copy) == 2);
  CHECK(listeners.size() == 2);
  CHECK(packet_conns.count(packets) == 1);
  CHECK(all.size() == 3);
  CHECK(std::hash<net::Conn>()(c.client) ==
        std::hash<net::Socket>()(net::Socket(c.client)));
}

TEST_CASE("close on one copy closes the socket for all of them") {
  Connected c;
  net::Conn copy = c.client;
  net::must(net::close(copy));
  CHECK(read_error(c.client) == net::closed);
  CHECK(c.client);  // it refers to a socket still, to a closed one
  CHECK(read_error(c.server) == net::eof);
}

TEST_CASE("the last copy may go in any thread, while others are in calls") {
  for (int round = 0; round < 200 / support::slowness; ++round) {
    net::Pipe ends = net::pipe();
    support::Thread reader([conn = ends.first] {
      const net::Error err = read_error(conn);
      CHECK(err == net::eof);
    });
    support::Thread writer(
        [conn = ends.second] { CHECK_FALSE(net::write(conn, "").error); });
    ends = net::Pipe();
    writer.join();
  }
}

// https://github.com/Ybalrid/kissnet/issues/54
// https://github.com/transmission/transmission/pull/4616
// https://github.com/mobile-shell/mosh/issues/470
TEST_CASE("handles move, assign and end without leak or double close" *
          doctest::description("bug-case 50")) {
  static_assert(std::is_nothrow_move_constructible_v<net::Conn>);
  static_assert(std::is_nothrow_move_assignable_v<net::Conn>);
  static_assert(std::is_copy_constructible_v<net::Conn>);
  static_assert(std::is_nothrow_move_constructible_v<net::Listener>);
  static_assert(std::is_nothrow_move_assignable_v<net::Listener>);

  Connected first, second;
  const int fd = net::native_handle(first.client);
  first.client = second.client;  // the old connection has no handle any more
  CHECK(read_error(first.server) == net::eof);
  CHECK(::fcntl(fd, F_GETFD) == -1);

  net::Conn& self = first.client;
  first.client = self;
  first.client = std::move(self);
  CHECK(net::must(net::write(first.client, "x")) == 1);

  net::Conn moved = std::move(first.client);
  second.client = net::Conn();
  CHECK_FALSE(first.client);  // NOLINT(bugprone-use-after-move)
  CHECK(read_error(first.client) == net::closed);
  CHECK(net::close(first.client) == net::closed);
  CHECK(net::must(net::write(moved, "y")) == 1);
}

TEST_CASE("descriptor 0 is a descriptor like any other" *
          doctest::description("bug-case 50")) {
  CHECK(support::in_child([] {
          net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
          const support::Refusing refusing;
          ::close(0);
          if (!net::dial("tcp", refusing.address).error) return 5;
          if (::fcntl(0, F_GETFD) != -1) return 6;
          net::Conn conn =
              net::must(net::dial("tcp", net::addr(listener).string()));
          if (net::native_handle(conn) != 0) return 1;
          net::Conn server = net::must(net::accept(listener));
          net::must(net::write(conn, "zero"));
          if (text(server) != "zero") return 2;
          if (net::close(conn)) return 3;
          return ::fcntl(0, F_GETFD) == -1 ? 0 : 4;
        }) == 0);
}

TEST_CASE("a handle of nothing gives closed in every call") {
  const auto check = [](const net::Conn& conn) {
    char buffer[8];
    CHECK(net::read(conn, buffer).error == net::closed);
    CHECK(net::read(conn, {buffer, 0}).error == net::closed);
    CHECK(net::read_full(conn, buffer).error == net::closed);
    CHECK(net::write(conn, "x").error == net::closed);
    CHECK(net::write(conn, "").error == net::closed);
    CHECK(net::write(conn, {"x", "y"}).error == net::closed);
    CHECK(net::close(conn) == net::closed);
    CHECK(net::close_read(conn) == net::closed);
    CHECK(net::close_write(conn) == net::closed);
    CHECK(net::set_deadline(conn, 1s) == net::closed);
    CHECK(net::set_read_deadline(conn, 1s) == net::closed);
    CHECK(net::set_write_deadline(conn, 1s) == net::closed);
    CHECK(net::set_no_delay(conn, true) == net::closed);
    CHECK(net::set_keep_alive(conn, 1s, 1s) == net::closed);
    CHECK(net::set_linger(conn, 1) == net::closed);
    CHECK(net::set_read_buffer(conn, 1) == net::closed);
    CHECK(net::set_write_buffer(conn, 1) == net::closed);
    CHECK(net::set_option(conn, SOL_SOCKET, SO_KEEPALIVE, 1) == net::closed);
    CHECK(net::get_option<int>(conn, SOL_SOCKET, SO_TYPE).error == net::closed);
    CHECK(net::duplicate(conn).error == net::closed);
    CHECK(net::native_handle(conn) == -1);
    CHECK_FALSE(net::local_addr(conn));
    CHECK_FALSE(net::remote_addr(conn));
    CHECK(net::read(conn, buffer).error.message() ==
          "read: use of closed network connection");
  };
  check(net::Conn());
  Connected c;
  const net::Conn moved = std::move(c.client);
  check(c.client);  // NOLINT(bugprone-use-after-move)
  CHECK(net::Conn() == net::Conn());
}

template <class To, class From>
void never_becomes() {
  CHECK_FALSE(std::is_convertible_v<From, To>);
  CHECK_FALSE(std::is_constructible_v<To, From>);
  CHECK_FALSE(std::is_constructible_v<To, const From&>);
  CHECK_FALSE(std::is_assignable_v<To&, From>);
}

TEST_CASE("a socket of one kind does not become one of another by accident") {
  never_becomes<net::Conn, net::Listener>();
  never_becomes<net::Conn, net::PacketConn>();
  never_becomes<net::Listener, net::Conn>();
  never_becomes<net::Listener, net::PacketConn>();
  never_becomes<net::PacketConn, net::Conn>();
  never_becomes<net::PacketConn, net::Listener>();
  CHECK_FALSE(std::is_convertible_v<net::Socket, net::Conn>);
  CHECK_FALSE(std::is_convertible_v<net::Socket, net::Listener>);
  CHECK_FALSE(std::is_convertible_v<net::Socket, net::PacketConn>);

  // An Event's socket is asked for what it is.
  Connected c;
  const net::PacketConn packets =
      net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const net::Socket sockets[] = {c.client, c.listener, packets, {}};
  for (const net::Socket& socket : sockets) {
    CHECK(bool(net::Conn(socket)) == (socket == c.client));
    CHECK(bool(net::Listener(socket)) == (socket == c.listener));
    CHECK(bool(net::PacketConn(socket)) == (socket == packets));
  }
  CHECK(net::Conn(sockets[0]) == c.client);
  CHECK(read_error(net::Conn(sockets[1])) == net::closed);
}

TEST_CASE("a read that has failed fails again, and does not wait") {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    // Nothing can be read from a listener, and nothing ever comes.
    REQUIRE(::dup2(net::native_handle(c.listener),
                   net::native_handle(c.client)) >= 0);
    net::must(net::set_read_deadline(c.client, generous));
    char buffer[8];
    const net::Error err = read_error(c.client);
    CHECK(err.code().category() == std::system_category());
    for (int i = 0; i < 2; ++i) {
      CHECK(read_error(c.client) == err);
      CHECK(net::try_read(c.client, buffer).error == err);
      CHECK(net::read_full(c.client, buffer).error == err);
      CHECK(net::Reader(c.client).read_line().error == err);
    }
  }
}

TEST_CASE("conn_from refuses what is not a connection, and leaves it alone") {
  CHECK(net::conn_from(-1).error == std::errc::bad_file_descriptor);
  CHECK(net::conn_from(std::numeric_limits<int>::max()).error ==
        std::errc::bad_file_descriptor);
  int fds[2];
  REQUIRE(::pipe(fds) == 0);
  CHECK(net::conn_from(fds[0]).error == std::errc::not_a_socket);
  CHECK(::close(fds[0]) == 0);
  CHECK(::close(fds[1]) == 0);

  const int alone = ::socket(AF_INET, SOCK_STREAM, 0);
  CHECK(net::conn_from(alone).error == std::errc::not_connected);
  CHECK(::close(alone) == 0);

  Connected c;
  const int listening = net::must(net::duplicate(c.listener));
  CHECK(net::conn_from(listening).error == net::unexpected_address_type);
  CHECK(::close(listening) == 0);
  const int connected = net::must(net::duplicate(c.client));
  CHECK(net::listener_from(connected).error == net::unexpected_address_type);
  CHECK(::close(connected) == 0);
}

// ---------------------------------------------------------------------------
// Deadlines

TEST_CASE("a passed deadline wins over waiting data, which is not lost" *
          doctest::description("behaviour 32; bug-case 46")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::write(c.server, "data"));
    wait_for(c.client, POLLIN);
    net::must(net::set_read_deadline(c.client, Clock::now()));
    CHECK(read_error(c.client) == net::timed_out);
    net::must(net::set_read_deadline(c.client, net::no_deadline));
    CHECK(text(c.client) == "data");
  }
}

TEST_CASE("a deadline set by another thread ends a read that is blocked" *
          doctest::description("behaviour 33")) {
  for (const auto from_now : {0ms, 50ms}) {
    for (const Kind& kind : kinds) {
      INFO(kind.network);
      Connected c(kind.network, kind.address);
      Blocked reader([&] { return read_error(c.client); });
      REQUIRE_FALSE(reader.done());
      const auto due = Clock::now() + from_now;
      net::must(net::set_read_deadline(c.client, due));
      CHECK(reader.get() == net::timed_out);
      CHECK(Clock::now() >= due);
    }
  }
}

TEST_CASE("a deadline may move earlier under a blocked read" *
          doctest::description("behaviour 33")) {
  Connected c;
  net::must(net::set_read_deadline(c.client, 1h));
  Blocked reader([&] { return read_error(c.client); });
  net::must(net::set_read_deadline(c.client, 30min));
  const auto due = Clock::now() + 30ms;
  net::must(net::set_read_deadline(c.client, due));
  CHECK(reader.get() == net::timed_out);
  CHECK(Clock::now() >= due);
}

TEST_CASE("a deadline may move later under a blocked read" *
          doctest::description("behaviour 34")) {
  Connected c;
  const auto start = Clock::now();
  net::must(net::set_read_deadline(c.client, start + 400ms));
  Blocked reader([&] { return read_error(c.client); });
  net::must(net::set_read_deadline(c.client, start + 600ms));
  CHECK(reader.get() == net::timed_out);
  CHECK(Clock::now() >= start + 600ms);
}

TEST_CASE("a deadline may be cleared under a blocked read" *
          doctest::description("behaviour 34")) {
  Connected c;
  const auto due = Clock::now() + 400ms;
  net::must(net::set_read_deadline(c.client, due));
  Blocked reader([&] { return text(c.client); });
  net::must(net::set_read_deadline(c.client, net::no_deadline));
  std::this_thread::sleep_until(due + 50ms);
  CHECK_FALSE(reader.done());
  net::must(net::write(c.server, "late"));
  CHECK(reader.get() == "late");
}

TEST_CASE("a deadline moves under a blocked write too" *
          doctest::description("behaviour 33, 34")) {
  for (const Kind& kind : streams) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    const std::string sent = noise(plenty);
    const auto start = Clock::now();
    net::must(net::set_write_deadline(c.client, start + 400ms));
    Blocked writer([&] { return net::write(c.client, sent); });
    net::must(net::set_write_deadline(c.client, start + 420ms));  // later
    net::must(net::set_write_deadline(c.client, net::no_deadline));
    std::this_thread::sleep_until(start + 450ms);
    CHECK_FALSE(writer.done());
    const auto due = Clock::now() + 30ms;
    net::must(net::set_write_deadline(c.client, due));
    const auto [n, err] = writer.get();
    CHECK(err == net::timed_out);
    CHECK(Clock::now() >= due);
    net::must(net::close_write(c.client));
    CHECK((rest(c.server) == sent.substr(0, n)));
  }
}

TEST_CASE("moving deadlines about never ends a blocked read early") {
  Connected c;
  Blocked reader([&] { return read_error(c.client); });
  for (int i = 0; i < 2000; ++i)
    net::must(net::set_read_deadline(c.client, std::chrono::hours(1 + i % 7)));
  CHECK_FALSE(reader.done());
  const auto due = Clock::now() + 20ms;
  net::must(net::set_read_deadline(c.client, due));
  CHECK(reader.get() == net::timed_out);
  CHECK(Clock::now() >= due);
}

TEST_CASE("a deadline stays until it is moved; the connection works on" *
          doctest::description("behaviour 35")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::set_read_deadline(c.client, 10ms));
    for (int i = 0; i < 3; ++i) CHECK(read_error(c.client) == net::timed_out);
    net::must(net::set_read_deadline(c.client, generous));
    net::must(net::write(c.server, "still there"));
    CHECK(text(c.client) == "still there");
  }
}

TEST_CASE("reading and writing have deadlines of their own" *
          doctest::description("behaviour 36")) {
  Connected c;
  net::must(net::set_read_deadline(c.client, -1s));
  CHECK(net::must(net::write(c.client, "x")) == 1);
  net::must(net::set_read_deadline(c.client, net::no_deadline));
  net::must(net::set_write_deadline(c.client, -1s));
  CHECK(net::write(c.client, "y").error == net::timed_out);
  net::must(net::write(c.server, "z"));
  CHECK(text(c.client) == "z");
  net::must(net::set_deadline(c.client, -1s));
  CHECK(read_error(c.client) == net::timed_out);
  CHECK(net::write(c.client, "y").error == net::timed_out);
  net::must(net::set_deadline(c.client, net::no_deadline));
  CHECK(net::must(net::write(c.client, "!")) == 1);
  CHECK(text(c.server) == "x!");  // what timed out never went out
}

TEST_CASE("a write whose deadline has passed sends nothing" *
          doctest::description("behaviour 37")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::set_write_deadline(c.client, -1s));
    const auto [n, err] = net::write(c.client, "unsent");
    CHECK(n == 0);
    CHECK(err == net::timed_out);
    CHECK(err.message() == std::string("write ") + kind.network + " " +
                               ends(c.client) + ": i/o timeout");
    net::must(net::close_write(c.client));
    CHECK(read_error(c.server) == net::eof);
  }
}

TEST_CASE("a time-out is told in the connection's own name" *
          doctest::description("behaviour 39, 40")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::set_read_deadline(c.client, 1ms));
    const net::Error err = read_error(c.client);
    CHECK(err == net::timed_out);
    CHECK(err.timeout());
    CHECK(err.temporary());
    CHECK(err.message() == std::string("read ") + kind.network + " " +
                               ends(c.client) + ": i/o timeout");
  }
}

// https://github.com/python/cpython/pull/126968
// https://github.com/apache/apr/pull/62
// https://github.com/curl/curl/pull/5847
TEST_CASE("a deadline in the far future never comes" *
          doctest::description("behaviour 41; bug-case 47")) {
  const net::Deadline far[] = {
      std::chrono::hours(30 * 24),
      std::chrono::hours(200 * 365 * 24),
      std::chrono::hours(300 * 365 * 24),
      std::chrono::nanoseconds::max(),
      std::chrono::milliseconds::max(),
      std::chrono::hours::max(),
      std::chrono::duration<double>(1e300),
      std::chrono::duration<float>(9223371776.0f),  // a float from the end
      Clock::time_point::max(),
      Clock::time_point::max() - std::chrono::nanoseconds(1),
      // The year 3000, by a clock that counts seconds.
      std::chrono::time_point<Clock, std::chrono::seconds>(
          std::chrono::hours(1030 * 365 * 24)),
      std::chrono::time_point<Clock, std::chrono::hours>::max(),
  };
  for (const net::Deadline& deadline : far) {
    INFO(deadline.when().time_since_epoch().count());
    Connected c;
    net::must(net::set_deadline(c.client, deadline));
    Blocked reader([&] {
      char buffer[8];
      return net::read(c.client, buffer);
    });
    CHECK_FALSE(reader.done());
    net::must(net::write(c.server, "now"));
    CHECK(net::must(reader.get()) == 3);
    net::DialOptions options;
    options.deadline = deadline;
    CHECK_FALSE(
        net::dial("tcp", net::addr(c.listener).string(), options).error);
  }
}

// https://github.com/rust-lang/rfcs/pull/1047
// https://github.com/libpnet/libpnet/issues/671
TEST_CASE("zero, negative and past deadlines have passed" *
          doctest::description("behaviour 41; bug-case 46")) {
  const net::Deadline past[] = {
      0s,
      -1ns,
      1ns,
      std::chrono::nanoseconds::min(),
      std::chrono::hours::min(),
      std::chrono::duration<double>(-1e300),
      Clock::now(),
      Clock::time_point(),
      Clock::time_point::min(),
      std::chrono::time_point<Clock, std::chrono::hours>::min(),
  };
  for (const net::Deadline& deadline : past) {
    INFO(deadline.when().time_since_epoch().count());
    Connected c;
    net::must(net::set_deadline(c.client, deadline));
    CHECK(read_error(c.client) == net::timed_out);
    CHECK(net::write(c.client, "x").error == net::timed_out);
    net::DialOptions options;
    options.deadline = deadline;
    CHECK(net::dial("tcp", net::addr(c.listener).string(), options).error ==
          net::timed_out);
  }
}

TEST_CASE("no deadline fires early" * doctest::description("behaviour 42")) {
  Connected c;
  for (int i = 1; i <= 60; ++i) {
    // Just before and after full milliseconds, where rounding would show.
    const auto due =
        Clock::now() + std::chrono::microseconds(i * 100 + i % 3 - 1);
    net::must(net::set_read_deadline(c.client, due));
    REQUIRE(read_error(c.client) == net::timed_out);
    REQUIRE(Clock::now() >= due);
  }
}

// libc++'s threads do not survive being cancelled, and the thread sanitizer
// loses count of the locks that are given back on the way out.
#if !defined(_LIBCPP_VERSION) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a thread that is cancelled in a call leaves nothing behind") {
  Connected c;
  std::atomic<pthread_t> reader{};
  support::Blocked reading([&] {
    reader = ::pthread_self();
    char buffer[1];
    return net::read(c.client, buffer).error;
  });
  REQUIRE(::pthread_cancel(reader) == 0);
  CHECK_FALSE(reading.get());  // it never returned
  net::must(net::set_deadline(c.client, 10ms));
  CHECK(read_error(c.client) == net::timed_out);
  net::must(net::close(c.client));
}

// Each wait would end at once, for a thousand times a second.
TEST_CASE("a thread cancelled while close wakes it leaves no bell ringing") {
  for (int i = 0; i < 100; ++i) {
    const net::Pipe pipe = net::pipe();
    std::atomic<pthread_t> reader{};
    support::Blocked reading([&] {
      reader = ::pthread_self();
      char buffer[1];
      return net::read(pipe.first, buffer).error;
    });
    net::must(net::close(pipe.first));
    ::pthread_cancel(reader);
  }
  const net::Pipe pipe = net::pipe();
  support::Blocked reading([&] {
    char buffer[1];
    return net::read(pipe.first, buffer).error;
  });
  for (int fd = 3; fd < 4096; ++fd) {
    pollfd bell{fd, POLLIN, 0};
    if (support::may_be_bell(fd)) CHECK(::poll(&bell, 1, 0) == 0);
  }
  net::must(net::close(pipe.first));
  CHECK(reading.get() == net::closed);
}
#endif

// https://github.com/capnproto/capnproto/issues/580
// https://github.com/tokio-rs/mio/pull/742
TEST_CASE("signals neither stretch a deadline nor shorten it" *
          doctest::description("behaviour 19; bug-case 44, 26")) {
  Connected c;
  const std::string much(plenty, 'x');
  const support::Pester pester;
  const Stopwatch watch;
  auto due = Clock::now() + 200ms;
  net::must(net::set_deadline(c.client, due));
  CHECK(read_error(c.client) == net::timed_out);
  CHECK(Clock::now() >= due);
  due = Clock::now() + 200ms;
  net::must(net::set_deadline(c.client, due));
  CHECK(net::write(c.client, much).error == net::timed_out);
  CHECK(Clock::now() >= due);
  CHECK(watch.elapsed() < generous);
  CHECK(pester.count() > 0);
}

TEST_CASE("bytes that trickle in do not stretch a deadline") {
  Connected c;
  const auto due = Clock::now() + 150ms;
  net::must(net::set_read_deadline(c.client, due));
  std::atomic<bool> stop{false};
  support::Thread dribble([&] {
    while (!stop && !net::write(c.server, ".").error)
      std::this_thread::sleep_for(5ms);
  });
  std::string buffer(100000, '\0');
  const Stopwatch watch;
  const auto [n, err] = net::read_full(c.client, buffer);
  stop = true;
  CHECK(err == net::timed_out);
  CHECK(n > 0);
  CHECK(Clock::now() >= due);
  CHECK(watch.elapsed() < generous);
}

// https://github.com/ithewei/libhv/pull/2
// https://github.com/hapostgres/pg_auto_failover/pull/836
TEST_CASE("a hang-up ends a blocked call, and queued data comes first" *
          doctest::description("bug-case 52")) {
  SUBCASE("a write to a full buffer, and the peer resets") {
    Connected c;
    const std::string much(plenty, 'x');
    Blocked writer([&] { return net::write(c.client, much); });
    REQUIRE_FALSE(writer.done());
    const auto before = support::cpu_time();
    std::this_thread::sleep_for(300ms);
    CHECK(support::cpu_time() - before < 150ms);  // it sleeps
    reset(c.server);
    const auto [n, err] = writer.get();
    CHECK(err == std::errc::connection_reset);
    CHECK(n < much.size());
  }
  SUBCASE("a read after the peer has closed with data queued") {
    Connected c;
    net::must(net::write(c.server, "queued"));
    net::must(net::close(c.server));
    wait_for(c.client, POLLRDHUP);
    CHECK(text(c.client, 3) == "que");
    CHECK(text(c.client, 8) == "ued");
    CHECK(read_error(c.client) == net::eof);
  }
  SUBCASE("a reader that waits for nothing uses no CPU") {
    Connected c;
    net::must(net::set_deadline(c.client, 400ms));
    const auto before = support::cpu_time();
    CHECK(read_error(c.client) == net::timed_out);
    CHECK(support::cpu_time() - before < 200ms);
  }
}

// ---------------------------------------------------------------------------
// Unix sockets

TEST_CASE("an end without a name prints as @" *
          doctest::description("behaviour 62")) {
  const support::Directory dir;
  for (const char* network : {"unix", "unixpacket"}) {
    INFO(network);
    const std::string path = dir.path + "/" + network;
    Connected c(network, path);
    CHECK(net::local_addr(c.client).string() == "@");
    CHECK(net::local_addr(c.client).unnamed());
    CHECK(net::remote_addr(c.server).string() == "@");
    CHECK(net::remote_addr(c.server).unnamed());
    CHECK(net::remote_addr(c.client).string() == path);
    CHECK_FALSE(net::remote_addr(c.client).unnamed());
    CHECK(net::local_addr(c.server).string() == path);
  }
}

TEST_CASE("a client that has a name shows it, and its file stays" *
          doctest::description("behaviour 60, 62")) {
  const support::Directory dir;
  const std::string mine = dir.path + "/client";
  {
    const auto listener = net::must(net::listen("unix", dir.path + "/server"));
    net::DialOptions options;
    options.local = net::Addr("unix", mine);
    const auto client =
        net::must(net::dial("unix", net::addr(listener).string(), options));
    const auto server = net::must(net::accept(listener));
    CHECK(net::local_addr(client).string() == mine);
    CHECK(net::remote_addr(server).string() == mine);
    net::must(net::close(client));
    net::must(net::close(server));
  }
  CHECK(::access(mine.c_str(), F_OK) == 0);
}

TEST_CASE("dial counts the bytes of a path before the kernel would cut it" *
          doctest::description("behaviour 64; bug-case 59")) {
  for (const std::size_t size : {106u, 107u})
    CHECK(net::dial("unix", std::string(size, 'p')).error ==
          std::errc::no_such_file_or_directory);
  for (const std::size_t size : {108u, 109u, 4096u, 1u << 20}) {
    const std::string path(size, 'p');
    const net::Error err = net::dial("unix", path).error;
    CHECK(err == std::errc::invalid_argument);
    CHECK(err.message() == "dial unix " + path + ": connect: invalid argument");
  }
  CHECK(net::dial("unix", "@" + std::string(107, 'n')).error ==
        std::errc::connection_refused);
  CHECK(net::dial("unix", "@" + std::string(108, 'n')).error ==
        std::errc::invalid_argument);
  CHECK(net::dial("unix", std::string("a\0b", 3)).error ==
        std::errc::invalid_argument);
}

TEST_CASE("unixpacket keeps messages apart and tells when it cut one" *
          doctest::description("behaviour 68")) {
  Connected c("unixpacket", "");
  net::must(net::write(c.client, "one"));
  net::must(net::write(c.client, "two and more"));
  net::must(net::write(c.client, "three"));
  CHECK(text(c.server) == "one");
  char buffer[3];
  const auto [n, err] = net::read(c.server, buffer);
  CHECK(n == 3);
  CHECK(std::string(buffer, n) == "two");
  CHECK(err == net::truncated);  // Go says nothing here
  CHECK(text(c.server) == "three");
}

TEST_CASE("an empty unixpacket message reads as eof, and life goes on" *
          doctest::description("behaviour 68")) {
  Connected c("unixpacket", "");
  CHECK(net::must(net::write(c.client, "")) == 0);
  net::must(net::write(c.client, "next"));
  CHECK(read_error(c.server) == net::eof);
  CHECK(text(c.server) == "next");
  net::must(net::close(c.client));
  CHECK(read_error(c.server) == net::eof);
  CHECK(net::write(c.server, "x").error == std::errc::broken_pipe);
}

TEST_CASE("an empty datagram is a message, no end") {
  for (const Kind& kind : {Kind{"udp", "127.0.0.1:0"}, Kind{"unixgram", ""}}) {
    INFO(kind.network);
    const auto server =
        net::must(net::listen_packet(kind.network, kind.address));
    net::DialOptions options;
    options.local = net::must(net::resolve(kind.network, kind.address));
    const auto client = net::must(
        net::dial(kind.network, net::local_addr(server).string(), options));
    net::must(net::write_to(server, "", net::local_addr(client)));
    net::must(net::write_to(server, "next", net::local_addr(client)));
    char buffer[8];
    const auto [n, err] = net::read(client, buffer);
    CHECK(n == 0);
    CHECK_FALSE(err);
    CHECK(text(client) == "next");
  }
}

TEST_CASE("a unixpacket message that is too long is refused, not split") {
  Connected c("unixpacket", "");
  const auto [n, err] = net::write(c.client, std::string(8 << 20, 'x'));
  CHECK(n == 0);
  CHECK(err == std::errc::message_size);
  net::must(net::write(c.client, "short"));
  CHECK(text(c.server) == "short");
}

TEST_CASE("a unixpacket sender waits for room, with its deadline" *
          doctest::description("behaviour 39, 68")) {
  Connected c("unixpacket", "");
  const std::string message(1000, 'm');
  const auto due = Clock::now() + 100ms;
  net::must(net::set_write_deadline(c.client, due));
  int sent = 0;
  net::Error err;
  while (!(err = net::write(c.client, message).error)) ++sent;
  CHECK(err == net::timed_out);
  CHECK(Clock::now() >= due);
  net::must(net::set_write_deadline(c.client, net::no_deadline));
  Blocked writer([&] { return net::write(c.client, "last"); });
  for (int i = 0; i < sent; ++i) REQUIRE(text(c.server) == message);
  CHECK(text(c.server) == "last");
  CHECK(net::must(writer.get()) == 4);
}

TEST_CASE("a unix peer that closed: the first write says EPIPE already" *
          doctest::description("behaviour 69")) {
  SUBCASE("closed") {
    Connected c("unix", "");
    net::must(net::close(c.server));
    CHECK(net::write(c.client, "x").error == std::errc::broken_pipe);
    CHECK(read_error(c.client) == net::eof);
  }
  SUBCASE("closed with unread data: one reset, then eof") {
    Connected c("unix", "");
    net::must(net::write(c.client, "unread"));
    net::must(net::close(c.server));
    CHECK(read_error(c.client) == std::errc::connection_reset);
    CHECK(read_error(c.client) == net::eof);
  }
}

namespace {

// A unix listener whose queue is full.
struct FullQueue {
  net::Listener listener;
  std::vector<net::Conn> queued{};
  std::string address;

  explicit FullQueue(const char* network) {
    net::ListenOptions options;
    options.backlog = 1;
    listener = net::must(net::listen(network, "", options));
    address = net::addr(listener).string();
    for (;;) {
      auto [conn, err] = net::dial_timeout(network, address, 20ms);
      if (err && queued.size() > 1) break;
      if (!err) queued.push_back(conn);
      REQUIRE(queued.size() < 10);
    }
  }
};

}  // namespace

// Go fails at once, with EAGAIN.
TEST_CASE("dial waits for room in the queue of a unix listener" *
          doctest::description("behaviour 71")) {
  for (const char* network : {"unix", "unixpacket"}) {
    INFO(network);
    const FullQueue full(network);
    Blocked dialling([&] { return net::dial(network, full.address); });
    REQUIRE_FALSE(dialling.done());
    const net::Conn first = net::must(net::accept(full.listener));
    const net::Conn client = net::must(dialling.get());
    net::must(net::write(client, "at last"));
    net::Conn server;
    for (std::size_t i = 0; i < full.queued.size(); ++i)
      server = net::must(net::accept(full.listener));
    CHECK(text(server) == "at last");
  }
}

TEST_CASE("a full unix queue is waited for until the deadline" *
          doctest::description("behaviour 71")) {
  for (const char* network : {"unix", "unixpacket"}) {
    const FullQueue full(network);
    const auto due = Clock::now() + 50ms;
    net::DialOptions options;
    options.deadline = due;
    const net::Error err = net::dial(network, full.address, options).error;
    CHECK(Clock::now() >= due);
    CHECK(err == net::timed_out);
    CHECK(err.message() == "dial " + std::string(network) + " " + full.address +
                               ": i/o timeout");
    CHECK(net::dial_timeout(network, full.address, 0s).error == net::timed_out);
  }
}

TEST_CASE("who waits for room in a unix queue is refused when it closes") {
  const FullQueue full("unix");
  Blocked dialling([&] { return net::dial("unix", full.address).error; });
  REQUIRE_FALSE(dialling.done());
  net::must(net::close(full.listener));
  CHECK(dialling.get() == std::errc::connection_refused);
}

TEST_CASE("a burst of clients is larger than a unix queue, and all get in") {
  net::ListenOptions options;
  options.backlog = 5;
  const auto listener = net::must(net::listen("unix", "", options));
  std::atomic<int> connected{0};
  {
    std::vector<support::Thread> clients;
    for (int i = 0; i < 50; ++i)
      clients.emplace_back([&] {
        const auto [conn, err] =
            net::dial("unix", net::addr(listener).string());
        connected += !err && read_error(conn) == net::eof;
      });
    for (int i = 0; i < 50; ++i)
      net::must(net::close(net::must(net::accept(listener))));
  }
  CHECK(connected == 50);
}

// ---------------------------------------------------------------------------
// Dial

TEST_CASE("a dialled and an accepted connection have Go's defaults" *
          doctest::description("behaviour 72")) {
  Connected c;
  for (const net::Conn& conn : {c.client, c.server}) {
    const auto option = [&](int level, int name) {
      return net::must(net::get_option<int>(conn, level, name));
    };
    CHECK(option(IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(option(SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option(IPPROTO_TCP, TCP_KEEPIDLE) == 15);
    CHECK(option(IPPROTO_TCP, TCP_KEEPINTVL) == 15);
    CHECK(option(IPPROTO_TCP, TCP_KEEPCNT) == 9);
  }
}

TEST_CASE("keep-alive and no-delay can be had otherwise" *
          doctest::description("behaviour 73")) {
  const auto option = [](const net::Conn& conn, int level, int name) {
    return net::must(net::get_option<int>(conn, level, name));
  };
  SUBCASE("in the options of dial and listen") {
    net::ListenOptions listen;
    net::DialOptions dial;
    listen.keep_alive = dial.keep_alive = 1500ms;
    dial.no_delay = false;
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", listen));
    const std::string address = net::addr(listener).string();
    const auto client = net::must(net::dial("tcp", address, dial));
    const auto server = net::must(net::accept(listener));
    CHECK(option(client, IPPROTO_TCP, TCP_NODELAY) == 0);
    for (const net::Conn& conn : {client, server}) {
      CHECK(option(conn, SOL_SOCKET, SO_KEEPALIVE) == 1);
      CHECK(option(conn, IPPROTO_TCP, TCP_KEEPIDLE) == 2);  // rounded up
      CHECK(option(conn, IPPROTO_TCP, TCP_KEEPINTVL) == 2);
    }
  }
  SUBCASE("off, with nothing to wait for or for ever") {
    for (const std::chrono::nanoseconds never :
         {-1ns, 0ns, net::forever, std::chrono::nanoseconds::min()}) {
      net::ListenOptions listen;
      net::DialOptions dial;
      listen.keep_alive = dial.keep_alive = never;
      const auto listener =
          net::must(net::listen("tcp", "127.0.0.1:0", listen));
      const std::string address = net::addr(listener).string();
      const auto client = net::must(net::dial("tcp", address, dial));
      const auto server = net::must(net::accept(listener));
      CHECK(option(client, SOL_SOCKET, SO_KEEPALIVE) == 0);
      CHECK(option(server, SOL_SOCKET, SO_KEEPALIVE) == 0);

      const Connected c;
      net::must(net::set_keep_alive(c.client, never, 1s));
      net::must(net::set_keep_alive(c.server, 1s, never));
      CHECK(option(c.client, SOL_SOCKET, SO_KEEPALIVE) == 0);
      CHECK(option(c.server, SOL_SOCKET, SO_KEEPALIVE) == 0);
    }
  }
  SUBCASE("on a connection that lives") {
    Connected c;
    net::must(net::set_no_delay(c.client, false));
    CHECK(option(c.client, IPPROTO_TCP, TCP_NODELAY) == 0);
    net::must(net::set_keep_alive(c.client, 1500ms, 20s, 3));
    CHECK(option(c.client, IPPROTO_TCP, TCP_KEEPIDLE) == 2);
    CHECK(option(c.client, IPPROTO_TCP, TCP_KEEPINTVL) == 20);
    CHECK(option(c.client, IPPROTO_TCP, TCP_KEEPCNT) == 3);
    net::must(net::set_keep_alive(c.client, 0s, 1s));
    CHECK(option(c.client, SOL_SOCKET, SO_KEEPALIVE) == 0);
    net::must(net::set_keep_alive(c.client, 9000h, 9000h));
    CHECK(option(c.client, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option(c.client, IPPROTO_TCP, TCP_KEEPIDLE) == 32767);
  }
}

TEST_CASE("every descriptor is close-on-exec and non-blocking" *
          doctest::description("behaviour 74")) {
  const auto check = [](const net::Socket& handle) {
    const int fd = net::native_handle(handle);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  };
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    check(c.listener);
    check(c.client);
    check(c.server);
  }
  const net::Pipe ends = net::pipe();
  check(ends.first);
  check(ends.second);
  check(net::must(net::listen_packet("udp", "127.0.0.1:0")));
  check(net::must(net::listen_packet("unixgram", "")));
  check(net::must(net::dial("udp", "127.0.0.1:9")));
}

// https://github.com/yhirose/cpp-httplib/issues/366
// https://github.com/golang/go/issues/23366
TEST_CASE("localhost connects to whichever family listens" *
          doctest::description("behaviour 75")) {
  if (!localhost_is_both()) return;
  for (const char* host : {"127.0.0.1:0", "[::1]:0"}) {
    const auto listener = net::must(net::listen("tcp", host));
    const auto port = std::to_string(net::addr(listener).port());
    const auto conn = net::must(net::dial("tcp", "localhost:" + port));
    CHECK(net::remote_addr(conn) == net::addr(listener));
  }
}

TEST_CASE("localhost is ::1 first, and the error names it" *
          doctest::description("behaviour 76")) {
  if (!localhost_is_both()) return;
  auto [four, six] = one_port();
  const auto port = std::to_string(net::addr(four).port());
  CHECK(net::remote_addr(net::must(net::dial("tcp", "localhost:" + port))) ==
        net::addr(six));
  net::must(net::close(six));
  net::must(net::close(four));
  CHECK(net::dial("tcp", "localhost:" + port).error.message() ==
        "dial tcp [::1]:" + port + ": connect: connection refused");
}

TEST_CASE("dial_timeout keeps its time, and one that has passed is at once" *
          doctest::description("behaviour 81")) {
  // A listener whose queue is full does not answer.
  net::ListenOptions options;
  options.backlog = 1;
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", options));
  const std::string address = net::addr(listener).string();
  std::vector<net::Conn> queued;
  while (true) {
    auto [conn, err] = net::dial_timeout("tcp", address, 200ms);
    if (err) break;
    queued.push_back(conn);
    REQUIRE(queued.size() < 10);
  }
  for (const auto timeout : {50ms, 200ms, 700ms}) {
    const Stopwatch watch;
    const net::Error err = net::dial_timeout("tcp", address, timeout).error;
    CHECK(watch.elapsed() >= timeout);
    CHECK(watch.elapsed() < generous);
    CHECK(err == net::timed_out);
    CHECK(err.timeout());
    CHECK(err.message() == "dial tcp " + address + ": i/o timeout");
  }
  CHECK(net::dial_timeout("tcp", address, -1s).error == net::timed_out);
  CHECK(net::dial_timeout("tcp", address, 1ns).error == net::timed_out);
  CHECK(net::dial_timeout("tcp", address, std::chrono::hours::min()).error ==
        net::timed_out);

  CHECK(net::dial_timeout("tcp", address, 0s).error == net::timed_out);

  // The earlier of time-out and deadline counts.
  net::DialOptions both;
  both.timeout = 1h;
  both.deadline = 20ms;
  CHECK(net::dial("tcp", address, both).error == net::timed_out);
  both.timeout = 20ms;
  both.deadline = 1h;
  CHECK(net::dial("tcp", address, both).error == net::timed_out);
}

TEST_CASE("the durations of dial count from now, and forever never comes") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  const auto dialled = [&](const net::DialOptions& options) {
    return net::dial("tcp", address, options).error;
  };
  net::DialOptions options;
  CHECK(options.timeout == net::forever);
  CHECK(options.deadline.never());
  CHECK(options.fallback_delay == 300ms);
  CHECK(options.keep_alive == 15s);
  CHECK(net::ListenOptions().keep_alive == 15s);
  CHECK_FALSE(dialled(options));
  for (const auto passed : {0s, -1s}) {
    options.timeout = passed;
    CHECK(dialled(options) == net::timed_out);
    CHECK(net::dial_timeout("tcp", address, passed).error == net::timed_out);
    options.timeout = net::forever;
    options.deadline = passed;
    CHECK(dialled(options) == net::timed_out);
    options.deadline = net::forever;
    CHECK_FALSE(dialled(options));
  }
  CHECK_FALSE(net::dial_timeout("tcp", address, net::forever).error);
}

// https://github.com/golang/go/issues/81620
TEST_CASE("an empty host is this machine: IPv4 for tcp, IPv6 for tcp6" *
          doctest::description("behaviour 84")) {
  const auto four = net::must(net::listen("tcp", "127.0.0.1:0"));
  const auto port4 = ":" + std::to_string(net::addr(four).port());
  CHECK(net::remote_addr(net::must(net::dial("tcp", port4))) ==
        net::addr(four));
  CHECK_FALSE(net::dial("tcp", "0.0.0.0" + port4).error);
  if (!has_ipv6()) return;
  CHECK_FALSE(net::dial("tcp", "[::]" + port4).error);  // falls back
  const support::OneFamily tcp6("tcp6", "[::1]:0");
  const net::Listener& six = tcp6.listener;
  const auto port6 = ":" + std::to_string(net::addr(six).port());
  CHECK(net::dial("tcp", port6).error == std::errc::connection_refused);
  CHECK(net::remote_addr(net::must(net::dial("tcp6", port6))) ==
        net::addr(six));
}

// https://github.com/tokio-rs/tokio/issues/3405
// https://github.com/zeromq/libzmq/issues/4588
TEST_CASE("dial never gives a connection that is connected to itself" *
          doctest::description("behaviour 85; bug-case 01")) {
  SUBCASE("when the kernel would: to a port that is free") {
    int met = 0, refused = 0, attempts = 0;
    bool always = false;
    net::Error last;
    // In a network of its own the kernel has but one port to choose from.
    support::Thread alone([&] {
      if (::unshare(CLONE_NEWNET) != 0) return;
      const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      ifreq lo{};
      std::strcpy(lo.ifr_name, "lo");
      lo.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
      const bool up = ::ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
      ::close(fd);
      std::ofstream("/proc/sys/net/ipv4/ip_local_port_range") << "40002 40002";
      if (!up) return;

      // Where nothing stays in TIME_WAIT, each attempt meets itself.
      const char* const most = "/proc/sys/net/ipv4/tcp_max_tw_buckets";
      always = !(std::ofstream(most) << 0 << std::flush).fail();
      net::DialOptions options;
      options.control = [&](int) { return ++attempts, net::Error(); };
      last = net::dial("tcp", "127.0.0.1:40002", options).error;
      std::ofstream(most) << 4096;

      sockaddr_in name{};
      name.sin_family = AF_INET;
      name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      name.sin_port = htons(40002);
      for (int i = 0; i < 100; ++i) {
        const int plain = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const linger hard{1, 0};
        ::setsockopt(plain, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        met += ::connect(plain, reinterpret_cast<sockaddr*>(&name),
                         sizeof name) == 0;
        ::close(plain);
        const net::Error err = net::dial("tcp", "127.0.0.1:40002").error;
        refused += err == std::errc::connection_refused ||
                   err == std::errc::address_not_available;
      }
    });
    alone.join();
    if (refused == 0 && met == 0) {
      MESSAGE("skipped: no network namespace for us");
      return;
    }
    CHECK(met > 0);
    CHECK(refused == 100);
    if (always) {
      CHECK(last == std::errc::connection_refused);
      CHECK(attempts == 3);
    }
  }
  SUBCASE("when it always would: a socket bound to the port it dials") {
    std::string address;
    {
      const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
      address = net::addr(listener).string();
    }
    const auto port = net::must(net::resolve("tcp", address)).port();
    int tries = 0;
    net::DialOptions options;
    options.control = [&](int fd) -> net::Error {
      ++tries;
      sockaddr_in name{};
      name.sin_family = AF_INET;
      name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      name.sin_port = htons(port);
      // Refused when the socket of the last try is not quite gone.
      if (::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0)
        return {};
      return std::error_code(errno, std::system_category());
    };
    const auto [conn, err] = net::dial("tcp", address, options);
    CHECK_FALSE(conn);
    CHECK((err == std::errc::connection_refused ||
           err == std::errc::address_in_use));
    CHECK(tries > 1);  // it might have been chance
  }
  SUBCASE("unless that local port was asked for") {
    std::string address;
    {
      const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
      address = net::addr(listener).string();
    }
    net::DialOptions options;
    options.local = net::must(net::resolve("tcp", address));
    const auto conn = net::must(net::dial("tcp", address, options));
    CHECK(net::local_addr(conn) == net::remote_addr(conn));
    net::must(net::write(conn, "echo"));
    CHECK(text(conn) == "echo");
  }
}

TEST_CASE("any local address fits, and any address fits a local one") {
  if (!has_ipv6()) return;
  const auto listener = net::must(net::listen("tcp", ":0"));
  const std::string port = std::to_string(net::addr(listener).port());
  const auto dialled = [&](const char* network, const std::string& host,
                           const char* local) {
    net::DialOptions options;
    options.local = net::Addr("tcp", net::must(net::parse_ip(local)), 0);
    return net::dial(network, host + ":" + port, options);
  };
  const auto reached = [&](const char* network, const std::string& host,
                           const char* local) {
    const net::Conn conn = net::must(dialled(network, host, local));
    return net::local_addr(conn).ip().string() + " " +
           net::remote_addr(conn).ip().string();
  };
  CHECK(reached("tcp", "127.0.0.1", "::") == "127.0.0.1 127.0.0.1");
  CHECK(reached("tcp", "[::1]", "0.0.0.0") == "::1 ::1");
  CHECK(reached("tcp6", "[::1]", "0.0.0.0") == "::1 ::1");
  CHECK(reached("tcp", "0.0.0.0", "::1") == "::1 ::1");
  CHECK(reached("tcp", "127.0.0.1", "::ffff:127.0.0.5") ==
        "127.0.0.5 127.0.0.1");
  CHECK(reached("tcp4", "127.0.0.1", "::ffff:127.0.0.5") ==
        "127.0.0.5 127.0.0.1");
  // The network still says which families may be spoken.
  CHECK(dialled("tcp6", "", "127.0.0.1").error == std::errc::invalid_argument);
  CHECK(dialled("tcp4", "0.0.0.0", "::1").error == net::non_ipv4_address);
}

TEST_CASE("the local address can be chosen, when it fits" *
          doctest::description("behaviour 87")) {
  Connected c;
  const std::string address = net::addr(c.listener).string();
  const auto from = [](const net::Addr& local) {
    net::DialOptions options;
    options.local = local;
    return options;
  };
  const net::IP ip = net::must(net::parse_ip("127.0.0.5"));
  const net::IP ip6 = net::must(net::parse_ip("::1"));
  const auto conn =
      net::must(net::dial("tcp", address, from(net::Addr("tcp", ip, 0))));
  CHECK(net::local_addr(conn).ip() == ip);
  CHECK(net::local_addr(conn).port() != 0);

  CHECK(net::dial("tcp", address, from(net::Addr("udp", ip, 0))).error ==
        net::mismatched_local_address);
  CHECK(net::dial("unix", "/tmp/x", from(net::Addr("tcp", ip, 0))).error ==
        net::mismatched_local_address);
  CHECK(net::dial("tcp", address, from(net::Addr("tcp", ip6, 0))).error ==
        net::no_suitable_address);
  CHECK(net::dial("tcp", address, from(net::Addr("tcp", ip, 0)))
            .error.message() == "");
  // A port that is taken: the kernel says so, and on bind.
  const auto taken = net::Addr("tcp", net::addr(c.listener).ip(),
                               net::addr(c.listener).port());
  const net::Error err = net::dial("tcp", address, from(taken)).error;
  CHECK(err == std::errc::address_in_use);
  CHECK(err.message() == "dial tcp " + address + "->" + address +
                             ": bind: address already in use");
}

TEST_CASE("a hook sees the descriptor before connect, and may refuse") {
  Connected c;
  const std::string address = net::addr(c.listener).string();
  net::DialOptions options;
  options.control = [](int fd) -> net::Error {
    const int on = 1;
    REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on) == 0);
    return {};
  };
  const auto conn = net::must(net::dial("tcp", address, options));
  CHECK(net::must(net::get_option<int>(conn, SOL_SOCKET, SO_OOBINLINE)) == 1);

  options.control = [](int) -> net::Error {
    return std::make_error_code(std::errc::operation_not_permitted);
  };
  CHECK(net::dial("tcp", address, options).error ==
        std::errc::operation_not_permitted);
}

TEST_CASE("dial leaves no descriptor behind, however it ends") {
  const support::Refusing nobody;
  const auto before = support::descriptors();
  for (int i = 0; i < 20; ++i) {
    CHECK(net::dial("tcp", nobody.address).error);
    CHECK(net::dial("unix", "/nowhere/at/all").error);
    CHECK(net::dial_timeout("tcp", nobody.address, -1s).error);
    CHECK(net::dial("tcp", "127.0.0.1:nonsense").error);
  }
  CHECK(support::descriptors() == before);
}

TEST_CASE("bad networks and addresses get a clear error") {
  using namespace std::string_literals;
  const struct {
    std::string network, address, message;
  } bad[] = {
      {"", "127.0.0.1:80", "dial: unknown network "},
      {"TCP", "127.0.0.1:80", "dial TCP: unknown network TCP"},
      {"tcp5", "127.0.0.1:80", "dial tcp5: unknown network tcp5"},
      {"tcp\0"s, "127.0.0.1:80", "dial tcp\0: unknown network tcp\0"s},
      {"tcp", "", "dial tcp: missing address"},
      {"tcp", "127.0.0.1",
       "dial tcp: address 127.0.0.1: missing port in address"},
      {"tcp", "::1:80", "dial tcp: address ::1:80: too many colons in address"},
      {"tcp", "127.0.0.1:80\0"s, "dial tcp: address tcp/80\0: unknown port"s},
      {"tcp", "127.0.0.1\0:80"s, "dial tcp: lookup 127.0.0.1\0: no such host"s},
      {"tcp", "%:80", "dial tcp: lookup %: no such host"},
      {"tcp", " :80", "dial tcp: lookup  : no such host"},
      {"tcp", "127.0.0.1:70000", "dial tcp: address 70000: invalid port"},
  };
  for (const auto& each : bad) {
    const auto [conn, err] = net::dial(each.network, each.address);
    CHECK_FALSE(conn);
    CHECK(err.message() == each.message);
  }
  CHECK(net::dial("tcp", std::string(1 << 20, ':')).error ==
        net::too_many_colons);
  CHECK(net::dial("tcp", std::string(1 << 20, 'a') + ":80").error ==
        net::no_such_host);
}

TEST_CASE("a buffer of an absurd size is the caller's word, and harmless") {
  Connected c;
  net::must(net::write(c.server, "small"));
  std::string room(64, '\0');
  const auto [n, err] = net::read(
      c.client, {room.data(), std::numeric_limits<std::size_t>::max()});
  CHECK((err || n == 5));
}

// ---------------------------------------------------------------------------
// Pipe

TEST_CASE("pipe gives two ends that are connected" *
          doctest::description("behaviour 100")) {
  net::Pipe ends = net::pipe();
  REQUIRE_FALSE(ends.error);
  const auto& [a, b, nil] = ends;
  CHECK(net::local_addr(a).string() == "pipe");
  CHECK(net::local_addr(a).network() == "pipe");
  CHECK(net::remote_addr(b).string() == "pipe");

  // The kernel buffers: a write need not wait for the read. (In Go it does.)
  CHECK(net::must(net::write(a, "hello")) == 5);
  CHECK(net::must(net::write(a, "")) == 0);
  CHECK(text(b, 2) == "he");
  CHECK(text(b, 8) == "llo");
  net::must(net::write(b, "back"));
  CHECK(text(a) == "back");

  net::must(net::set_read_deadline(a, 10ms));
  const net::Error late = read_error(a);
  CHECK(late == net::timed_out);
  CHECK(late.message() == "read pipe pipe->pipe: i/o timeout");
  const std::string much(plenty, 'x');
  net::must(net::set_write_deadline(a, 50ms));
  const auto [n, err] = net::write(a, much);
  CHECK(err == net::timed_out);
  CHECK(n > 0);

  net::must(net::close(a));
  CHECK(rest(b).size() == n);
  CHECK(net::write(b, "x").error == std::errc::broken_pipe);
  CHECK(read_error(a) == net::closed);
  CHECK(net::write(a, "x").error == net::closed);
  CHECK(net::close(a) == net::closed);
}
