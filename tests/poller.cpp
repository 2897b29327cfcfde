// SPDX-License-Identifier: MIT
// Poller and the try_ calls: one thread, many connections.

#include "netlite.hpp"

#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<linux/sockios.h>)
#include <linux/sockios.h>
#endif
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include <algorithm>
#include <atomic>
#include <ctime>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using net::hung_up;
using net::readable;
using net::writable;
using support::Blocked;
using support::Connected;
using support::Stopwatch;
using support::Thread;
using support::TimeLimit;

// The events that come, at the latest after a generous time.
std::vector<net::Event> events(net::Poller& poller) {
  return net::must(poller.wait(support::generous));
}

// The one event that comes.
net::Event event(net::Poller& poller) {
  const std::vector<net::Event> all = events(poller);
  REQUIRE(all.size() == 1);
  return all[0];
}

// True when nothing is ready.
bool quiet(net::Poller& poller) {
  return poller.wait(10ms).error == net::timed_out;
}

char read_byte(const net::Conn& conn) {
  char byte = '?';
  (void)net::must(net::try_read(conn, {&byte, 1}));
  return byte;
}

// Is TCP still carrying bytes to the peer? They make room when they arrive.
// (Linux alone can tell.)
bool is_carrying([[maybe_unused]] const net::Conn& conn) {
#ifdef SIOCOUTQNSD
  int unacknowledged = 0, unsent = 0;
  const int fd = net::native_handle(conn);
  return ::ioctl(fd, SIOCOUTQ, &unacknowledged) == 0 &&
         ::ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unacknowledged != unsent;
#else
  return false;
#endif
}

// Writes until there is no more room; the count.
std::size_t fill(const net::Conn& conn) {
  const std::string zeros(65536, '\0');
  for (std::size_t total = 0;;) {
    const bool carrying = is_carrying(conn);
    const auto [n, err] = net::try_write(conn, zeros);
    total += n;
    if (err == net::would_block && !carrying) return total;
    REQUIRE((!err || err == net::would_block));
  }
}

// Ends a connection so that the peer's next call sees ECONNRESET.
void reset(const net::Conn& conn) {
  net::set_linger(conn, 0);
  net::close(conn);
}

// May this process have so many descriptors? Asks for them, if need be.
bool room_for(rlim_t descriptors) {
  rlimit limit;
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= descriptors) return true;
  limit.rlim_cur = descriptors;
  limit.rlim_max = std::max(limit.rlim_max, descriptors);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

std::string threads() {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line) && line.find("Threads:") != 0) continue;
  return line;
}

// Handles that are watched for reading, each with its index as the key.
struct Idlers {
  net::Poller poller{};
  std::vector<net::Pipe> pipes{};

  explicit Idlers(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      pipes.push_back(net::pipe());
      net::must(pipes.back().error);
      net::must(poller.watch(pipes.back().first, readable, i));
    }
  }
};

// The processor time that this thread has used, in nanoseconds.
std::int64_t thread_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

bool has_epoll() {
  if (!net::sys::has_epoll) MESSAGE("skipped: no epoll here");
  return net::sys::has_epoll;
}

// What happens between the return of epoll_wait(2) and the look at its events.
std::function<void()> after_epoll_wait;

}  // namespace

#ifdef __linux__
extern "C" int epoll_wait(int epoll, epoll_event* events, int most, int time) {
  const long n =
      ::syscall(SYS_epoll_pwait, epoll, events, most, time, nullptr, 8);
  const int error = errno;
  if (n > 0 && after_epoll_wait) std::exchange(after_epoll_wait, nullptr)();
  errno = error;
  return static_cast<int>(n);
}
#endif

// ---------------------------------------------------------------------------
// Readiness

TEST_CASE_FIXTURE(TimeLimit,
                  "a connection is told again as long as it is ready") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.server, readable, 7));
  CHECK(quiet(poller));
  net::must(net::write(ends.client, "ab"));
  for (const char expected : {'a', 'b'}) {
    for (int i = 0; i < 3; ++i) {
      const net::Event told = event(poller);
      CHECK(told.socket == ends.server);
      CHECK(told.ready == readable);
      CHECK(told.key == 7);
    }
    CHECK(read_byte(ends.server) == expected);
  }
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit, "a connection is writable while there is room") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.client, writable));
  CHECK(event(poller).ready == writable);
  const std::size_t size = fill(ends.client);
  CHECK(quiet(poller));
  std::string room(size, '\0');
  CHECK(net::must(net::read_full(ends.server, room)) == size);
  CHECK(event(poller).ready == writable);
}

TEST_CASE_FIXTURE(TimeLimit, "a listener is readable when somebody waits") {
  for (const char* network : {"tcp", "unix"}) {
    const std::string address = network[0] == 't' ? "127.0.0.1:0" : "";
    const net::Listener listener = net::must(net::listen(network, address));
    net::Poller poller;
    net::must(poller.watch(listener, readable));
    CHECK(net::try_accept(listener).error == net::would_block);
    CHECK(quiet(poller));
    const net::Conn client =
        net::must(net::dial(network, net::addr(listener).string()));
    const net::Event told = event(poller);
    CHECK(told.socket == listener);
    CHECK(told.ready == readable);
    const net::Conn server = net::must(net::try_accept(listener));
    CHECK(net::remote_addr(server) == net::local_addr(client));
    CHECK(quiet(poller));
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a packet connection is readable for each datagram") {
  const net::PacketConn packets =
      net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const net::Addr here = net::local_addr(packets);
  net::Poller poller;
  net::must(poller.watch(packets, readable));
  char room[4];
  CHECK(net::try_read_from(packets, room).error == net::would_block);
  CHECK(quiet(poller));
  for (const char* datagram : {"", "four", "longer"})
    net::must(net::write_to(packets, datagram, here));

  CHECK(event(poller).ready == readable);
  CHECK(net::try_read_from(packets, room).size == 0);
  CHECK(event(poller).ready == readable);
  auto [n, from, err] = net::try_read_from(packets, room);
  CHECK(n == 4);
  CHECK(from == here);
  CHECK_FALSE(err);
  CHECK(event(poller).ready == readable);
  CHECK(net::try_read_from(packets, room).error == net::truncated);
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit, "only what was asked for is told") {
  const Connected ends;
  net::Poller poller;
  net::must(net::write(ends.client, "!"));
  net::must(poller.watch(ends.server, writable));
  CHECK(event(poller).ready == writable);
  net::must(poller.watch(ends.server, readable));
  CHECK(event(poller).ready == readable);
  net::must(poller.watch(ends.server, readable | writable));
  CHECK(event(poller).ready == (readable | writable));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "an unknown interest is refused, changing nothing") {
  const Connected ends;
  net::Poller poller;
  net::must(net::write(ends.client, "!"));
  const auto refused = std::errc::invalid_argument;
  CHECK(poller.watch(ends.server, 8) == refused);
  net::must(poller.watch(ends.server, readable));
  CHECK(poller.watch(ends.server, 8) == refused);
  CHECK(poller.watch(ends.server, readable | 8) == refused);
  CHECK(event(poller).ready == readable);
  net::must(poller.watch(ends.server, writable));
  CHECK(event(poller).ready == writable);
  net::must(poller.unwatch(ends.server));
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit, "watching again changes interest and key") {
  const Connected ends;
  net::Poller poller;
  net::must(net::write(ends.client, "!"));
  net::must(poller.watch(ends.server, readable, 1));
  net::must(poller.watch(ends.server, writable, UINT64_MAX));
  const net::Event told = event(poller);  // one, not two
  CHECK(told.ready == writable);
  CHECK(told.key == UINT64_MAX);
  net::must(poller.watch(ends.server, readable));
  CHECK(event(poller).key == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "the end of the peer's stream is readable") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.server, readable));
  net::must(net::write(ends.client, "!"));
  net::close(ends.client);
  CHECK((event(poller).ready & readable) != 0);
  CHECK(read_byte(ends.server) == '!');  // what came before is there
  CHECK((event(poller).ready & readable) != 0);
  char byte;
  CHECK(net::try_read(ends.server, {&byte, 1}).error == net::eof);
  // Over is it when both directions are.
  CHECK((event(poller).ready & hung_up) == 0);
  net::close_write(ends.server);
  CHECK(event(poller).ready == (readable | hung_up));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "hung_up comes to everybody, and reading tells why") {
  for (const bool tcp : {true, false}) {
    for (const unsigned interest : {readable, writable, hung_up}) {
      CAPTURE(tcp);
      CAPTURE(interest);
      const Connected ends(tcp ? "tcp" : "unix", tcp ? "127.0.0.1:0" : "");
      net::Poller poller;
      fill(ends.server);  // so that it is not writable
      net::must(poller.watch(ends.server, interest));
      CHECK(quiet(poller));
      reset(ends.client);  // for a unix socket, what it has not read does it
      CHECK((event(poller).ready & hung_up) != 0);
      char byte;
      CHECK(net::try_read(ends.server, {&byte, 1}).error ==
            std::errc::connection_reset);
    }
  }
}

// The manual: that the peer has ended its half is `readable`.
TEST_CASE_FIXTURE(TimeLimit, "a half that has ended is not hung up") {
  for (const bool closes : {false, true}) {
    CAPTURE(closes);
    const Connected ends;
    net::Poller poller;
    net::must(poller.watch(ends.server, hung_up));
    closes ? net::close(ends.client) : net::close_write(ends.client);
    CHECK(quiet(poller));
    net::must(poller.watch(ends.server, hung_up | readable));
    CHECK(event(poller).ready == readable);
    net::close_write(ends.server);
    if (!closes) net::close(ends.client);
    CHECK((event(poller).ready & readable) != 0);
    while ((event(poller).ready & hung_up) == 0) continue;
  }
}

// https://github.com/oven-sh/bun/pull/28690
TEST_CASE_FIXTURE(TimeLimit, "an error to read is not an end") {
  for (const unsigned interest :
       {readable + 0u, writable + 0u, readable | writable, hung_up + 0u}) {
    CAPTURE(interest);
    net::PacketConn peer = net::must(net::listen_packet("udp", "127.0.0.1:0"));
    const net::Addr there = net::local_addr(peer);
    const net::Conn conn = net::must(net::dial("udp", there.string()));
    net::close(peer);
    net::Poller poller;
    net::must(poller.watch(conn, hung_up));
    CHECK(quiet(poller));
    net::must(net::write(conn, "anybody there?"));
    CHECK(event(poller).ready == readable);  // ICMP: nobody
    net::must(poller.watch(conn, interest));
    const unsigned expected = interest == hung_up ? readable : interest;
    CHECK(event(poller).ready == expected);
    char byte;
    CHECK(net::try_read(conn, {&byte, 1}).error ==
          std::errc::connection_refused);
    peer = net::must(net::listen_packet("udp", there.string()));
    net::must(net::write_to(peer, "!", net::local_addr(conn)));
    net::must(poller.watch(conn, readable));
    CHECK(event(poller).ready == readable);
    CHECK(read_byte(conn) == '!');
  }
}

// https://github.com/romange/helio/pull/475
TEST_CASE_FIXTURE(TimeLimit, "after close_write nobody need wait for room") {
  for (const std::string network : {"tcp", "unix", "unixpacket", "unixgram"}) {
    CAPTURE(network);
    const std::string address = network == "tcp" ? "127.0.0.1:0" : "";
    net::PacketConn receiver;
    net::Conn conn;
    std::optional<Connected> ends;
    if (network == "unixgram") {
      receiver = net::must(net::listen_packet(network, ""));
      conn = net::must(net::dial(network, net::local_addr(receiver).string()));
    } else {
      conn = ends.emplace(network, address).client;
    }
    fill(conn);
    net::Poller watching, later, reading;
    net::must(watching.watch(conn, writable));
    net::must(reading.watch(conn, readable));
    CHECK(quiet(watching));
    {
      Blocked waiting([&] { return watching.wait(support::generous); });
      CHECK_FALSE(waiting.done());
      net::must(net::close_write(conn));
      const auto told = net::must(waiting.get());
      REQUIRE(told.size() == 1);
      CHECK(told[0].socket == conn);
      CHECK((told[0].ready & writable) != 0);
    }
    net::must(later.watch(conn, readable | writable));
    CHECK((event(later).ready & writable) != 0);
    net::must(reading.wake());
    CHECK(events(reading).empty());
    CHECK(net::try_write(conn, "x").error == std::errc::broken_pipe);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "who asks for hung_up alone hears of nothing else") {
  const Connected ends("unix", "");
  net::Poller poller;
  net::must(poller.watch(ends.server, hung_up, 5));
  net::must(net::write(ends.client, "!"));
  CHECK(quiet(poller));
  net::close(ends.client);
  CHECK((event(poller).ready & hung_up) != 0);
  net::must(poller.watch(ends.server, hung_up, 6));
  CHECK(event(poller).key == 6);
  net::must(poller.unwatch(ends.server));
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit, "all of many are told, though not all at once") {
  REQUIRE(room_for(2000));
  Idlers many(600);
  for (const net::Pipe& pipe : many.pipes)
    net::must(net::write(pipe.second, "!"));
  std::set<std::uint64_t> told;
  while (told.size() < many.pipes.size())
    for (const net::Event& each : events(many.poller)) {
      CHECK(each.socket ==
            many.pipes[static_cast<std::size_t>(each.key)].first);
      CHECK(read_byte(many.pipes[static_cast<std::size_t>(each.key)].first) ==
            '!');
      CHECK(told.insert(each.key).second);
    }
  CHECK(quiet(many.poller));
}

TEST_CASE_FIXTURE(TimeLimit, "two pollers may watch one connection") {
  const Connected ends;
  net::Poller one, two;
  net::must(one.watch(ends.server, readable, 1));
  net::must(two.watch(ends.server, readable | writable, 2));
  net::must(net::write(ends.client, "!"));
  CHECK(event(one).key == 1);
  CHECK(event(two).key == 2);
  net::must(one.unwatch(ends.server));
  CHECK(quiet(one));
  CHECK(event(two).ready == (readable | writable));
  net::close(ends.server);
  CHECK(quiet(two));
}

// ---------------------------------------------------------------------------
// The end of watching

TEST_CASE_FIXTURE(TimeLimit,
                  "a socket does not remember pollers that are gone") {
  const Connected c;
  const auto& pollers = state_of(c.client)->watchers;
  for (int i = 0; i < 10; ++i) {
    net::Poller poller;
    net::must(poller.watch(c.client, readable));
    net::must(poller.watch(c.client, writable));
    CHECK(std::distance(pollers.begin(), pollers.end()) == 1);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a wait to read has nothing to do with writing") {
  const Connected c;
  net::must(net::close_write(c.client));
  net::set_write_deadline(c.client, 0s);
  net::set_read_deadline(c.client, 1ms);
  CHECK(net::wait(c.client, readable) == net::timed_out);
  net::set_read_deadline(c.client, net::no_deadline);
  net::must(net::write(c.server, "x"));
  CHECK_FALSE(net::wait(c.client, readable));
}

TEST_CASE_FIXTURE(TimeLimit, "nor a wait to write with reading") {
  const Connected c;
  net::set_read_deadline(c.client, 0s);
  CHECK_FALSE(net::wait(c.client, writable));
  net::set_write_deadline(c.client, 0s);
  CHECK(net::wait(c.client, writable) == net::timed_out);
}

TEST_CASE_FIXTURE(TimeLimit, "a wait for both takes turns with a writer, too") {
  const Connected c;
  const std::string much(16 << 20, 'x');
  Blocked writing([&] { return net::write(c.client, much).error; });
  net::must(net::write(c.server, "x"));  // so it is readable
  Blocked waiting([&] { return net::wait(c.client, readable | writable); });
  CHECK_FALSE(waiting.done());
  std::vector<char> sink(1 << 16);
  while (!writing.done())
    if (net::try_read(c.server, {sink.data(), sink.size()}).error)
      std::this_thread::yield();
  CHECK_FALSE(writing.get());
  CHECK_FALSE(waiting.get());
}

TEST_CASE_FIXTURE(TimeLimit, "unwatch ends it") {
  const Connected ends;
  net::Poller poller;
  net::must(net::write(ends.client, "!"));
  net::must(poller.watch(ends.server, readable));
  net::must(poller.unwatch(ends.server));
  CHECK(quiet(poller));
  CHECK_FALSE(poller.unwatch(ends.server));  // again: nothing to do
  CHECK_FALSE(poller.unwatch(ends.client));
  net::must(poller.watch(ends.server, readable));
  CHECK(event(poller).ready == readable);
}

TEST_CASE_FIXTURE(TimeLimit, "close ends it") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.server, readable | writable));
  net::close(ends.server);
  CHECK(quiet(poller));
  CHECK(poller.watch(ends.server, readable) == net::closed);
  CHECK(poller.unwatch(ends.server) == net::closed);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "close by another thread ends it, and the peer sees it") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.server, readable));
  Blocked waiting([&] { return poller.wait(); });
  net::close(ends.server);
  net::set_deadline(ends.client, support::generous);
  char byte;
  CHECK(net::read(ends.client, {&byte, 1}).error == net::eof);
  CHECK_FALSE(waiting.done());  // there is nothing to tell
  net::must(poller.wake());
  CHECK(net::must(waiting.get()).empty());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a poller keeps what it watches open, until it goes") {
  Connected ends;
  char byte;
  {
    net::Poller poller;
    net::must(poller.watch(ends.server, readable));
    ends.server = net::Conn();  // not the last handle
    CHECK(net::try_read(ends.client, {&byte, 1}).error == net::would_block);
    net::must(net::write(ends.client, "!"));
    const net::Event told = event(poller);
    CHECK(read_byte(net::Conn(told.socket)) == '!');
  }
  CHECK(net::read(ends.client, {&byte, 1}).error == net::eof);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a new connection with an old number is not confused") {
  const Connected old;
  net::Poller poller;
  net::must(poller.watch(old.server, readable, 1));
  const int number = net::native_handle(old.server);
  net::close(old.server);

  const net::Pipe fresh = net::pipe();
  REQUIRE(net::native_handle(fresh.first) == number);
  net::must(net::write(fresh.second, "!"));
  CHECK(quiet(poller));  // nobody watches this one
  CHECK(poller.unwatch(old.server) == net::closed);
  net::must(poller.watch(fresh.first, readable, 2));
  CHECK(poller.unwatch(old.server) == net::closed);
  const net::Event told = event(poller);
  CHECK(told.socket == fresh.first);
  CHECK(told.key == 2);
}

// https://github.com/creytiv/re/pull/266
TEST_CASE_FIXTURE(TimeLimit, "an event is never told of the next of a number") {
  if (!has_epoll()) return;
  enum class Then { nothing, watched, unwatched };
  for (const Then then : {Then::nothing, Then::watched, Then::unwatched}) {
    CAPTURE(int(then));
    net::Poller poller;
    net::Pipe old = net::pipe(), fresh;
    const int number = net::native_handle(old.first);
    net::must(poller.watch(old.first, readable, 1));
    net::must(net::write(old.second, "!"));
    after_epoll_wait = [&] {
      net::close(old.first);
      fresh = net::pipe();
      if (then != Then::nothing)
        net::must(poller.watch(fresh.first, readable, 2));
      if (then == Then::unwatched) net::must(poller.unwatch(fresh.first));
    };
    const auto [told, err] = poller.wait(10ms);
    REQUIRE(net::native_handle(fresh.first) == number);
    CHECK(told.empty());
    CHECK(err == net::timed_out);
    net::must(net::write(fresh.second, "?"));
    if (then == Then::watched)
      CHECK(event(poller).key == 2);
    else
      CHECK(quiet(poller));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "nor of what was watched for something else") {
  if (!has_epoll()) return;
  net::Poller poller;
  const net::Pipe pipe = net::pipe();
  fill(pipe.first);
  net::must(poller.watch(pipe.first, readable, 1));
  net::must(net::write(pipe.second, "!"));
  after_epoll_wait = [&] { net::must(poller.watch(pipe.first, writable, 2)); };
  CHECK(poller.wait(10ms).error == net::timed_out);
}

TEST_CASE_FIXTURE(TimeLimit, "a duplicate that outlives close is not told of") {
  const Connected old;
  net::Poller poller;
  net::must(poller.watch(old.server, readable, 1));
  const int number = net::native_handle(old.server);
  const int copy = net::must(net::duplicate(old.server));
  net::close(old.server);
  net::must(net::write(old.client, "!"));  // somebody might read the copy

  const auto before = support::cpu_time();
  CHECK(poller.wait(300ms).error == net::timed_out);
  CHECK(support::cpu_time() - before < 100ms);

  const net::Pipe fresh = net::pipe();
  REQUIRE(net::native_handle(fresh.first) == number);
  net::must(poller.watch(fresh.first, readable, 2));
  CHECK(quiet(poller));
  net::must(net::write(fresh.second, "?"));
  CHECK(event(poller).key == 2);
  ::close(copy);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "events belong to their connection, come what may") {
  // Numbers are used again and again, while another thread waits.
  net::Poller poller;
  std::atomic<bool> over{false};
  std::atomic<int> told{0};
  int wrong = 0;
  {
    const Thread waiting([&] {
      while (!over)
        for (const net::Event& each : poller.wait().value) {
          std::uint64_t key = 0;
          const auto [n, err] =
              net::try_read(net::Conn(each.socket), {&key, sizeof key});
          if (!err && (n != sizeof key || key != each.key)) ++wrong;
          if (!err) ++told;
        }
    });
    for (std::uint64_t key = 1; key <= 2000; ++key) {
      const net::Pipe pipe = net::pipe();
      (void)net::write(pipe.second, {&key, sizeof key});
      poller.watch(pipe.first, readable, key);
      if (key % 4 == 0)
        while (told < static_cast<int>(key / 4)) std::this_thread::yield();
      net::close(pipe.first);
    }
    over = true;
    poller.wake();
  }
  CHECK(wrong == 0);
  CHECK(told >= 500);
}

// ---------------------------------------------------------------------------
// Waking and waiting

TEST_CASE_FIXTURE(TimeLimit, "wake ends the wait under way") {
  net::Poller poller;
  Blocked waiting([&] { return poller.wait(); });
  CHECK_FALSE(waiting.done());
  net::must(poller.wake());
  const auto [none, err] = waiting.get();
  CHECK(none.empty());
  CHECK_FALSE(err);
  CHECK(quiet(poller));  // and no other
}

TEST_CASE_FIXTURE(TimeLimit, "wake before wait is kept for it, once") {
  net::Poller poller;
  for (int i = 0; i < 3; ++i) net::must(poller.wake());
  CHECK(events(poller).empty());
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a wait that has events to tell takes the wake along") {
  const Connected ends;
  net::Poller poller;
  net::must(poller.watch(ends.server, readable));
  for (int i = 0; i < 2; ++i) {
    net::must(net::write(ends.client, "!"));
    net::must(poller.wake());
    CHECK(event(poller).socket == ends.server);
    CHECK(read_byte(ends.server) == '!');
    // Now there is nothing left, and the next wake wakes again.
    Blocked waiting([&] { return poller.wait(support::generous); });
    const Stopwatch watch;
    net::must(poller.wake());
    const auto [none, err] = waiting.get();
    CHECK(none.empty());
    CHECK_FALSE(err);
    CHECK(watch.elapsed() < support::generous - 1s);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a wake is kept for no child") {
  net::Poller poller;
  net::must(poller.wake());
  CHECK(support::in_child([&] {
          if (!quiet(poller)) return 1;
          net::must(poller.wake());
          return poller.wait().error ? 2 : 0;
        }) == 0);
  CHECK(events(poller).empty());
}

TEST_CASE_FIXTURE(TimeLimit, "no wake is lost, from however many threads") {
  net::Poller poller;
  constexpr int count = 8, rounds = 500;
  // Each thread wakes for the next round only when the last was answered.
  std::atomic<int> answered[count] = {}, asked[count] = {};
  std::vector<Thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      for (int round = 1; round <= rounds; ++round) {
        asked[i] = round;
        poller.wake();
        while (answered[i] < round) std::this_thread::yield();
      }
    });
  int done = 0;
  while (done < count) {
    net::must(poller.wait(support::generous));
    done = 0;
    for (int i = 0; i < count; ++i) {
      answered[i] = asked[i].load();
      done += answered[i] == rounds;
    }
  }
  CHECK(done == count);
}

TEST_CASE_FIXTURE(TimeLimit, "wait keeps its deadline, and is never early") {
  net::Poller poller;
  const Connected ends;
  net::must(poller.watch(ends.server, readable));
  for (const auto time : {1ms, 20ms, 50ms}) {
    const Stopwatch watch;
    const auto [none, err] = poller.wait(time);
    CHECK(watch.elapsed() >= time - 1ms);
    CHECK(err == net::timed_out);
    CHECK(err.message() == "wait: i/o timeout");
    CHECK(none.empty());
  }
  // Not even when signals interrupt it.
  const support::Pester pester;
  const Stopwatch watch;
  CHECK(poller.wait(100ms).error == net::timed_out);
  CHECK(watch.elapsed() >= 99ms);
  CHECK(pester.count() > 0);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a deadline that has passed makes wait look once") {
  net::Poller poller;
  const Connected ends;
  net::must(poller.watch(ends.server, readable));
  CHECK(poller.wait(0ms).error == net::timed_out);
  CHECK(poller.wait(-1h).error == net::timed_out);
  CHECK(poller.wait(std::chrono::nanoseconds::min()).error == net::timed_out);
  net::must(net::write(ends.client, "!"));
  CHECK(event(poller).ready == readable);  // it has arrived
  CHECK(net::must(poller.wait(0ms)).size() == 1);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a wait sees what other threads watch and unwatch") {
  const Connected ends;
  net::Poller poller;
  net::must(net::write(ends.client, "!"));
  {
    Blocked waiting([&] { return poller.wait(); });
    net::must(poller.watch(ends.server, readable, 9));
    const std::vector<net::Event> told = net::must(waiting.get());
    REQUIRE(told.size() == 1);
    CHECK(told[0].key == 9);
  }
  CHECK(read_byte(ends.server) == '!');
  Blocked waiting([&] { return poller.wait(); });
  net::must(poller.unwatch(ends.server));
  net::must(net::write(ends.client, "?"));
  net::must(poller.wake());
  CHECK(net::must(waiting.get()).empty());
}

TEST_CASE_FIXTURE(TimeLimit, "what is no socket any more is not watched") {
  net::Poller poller;
  CHECK(poller.watch(net::Conn(), readable) == net::closed);
  CHECK(poller.unwatch(net::Conn()) == net::closed);
  CHECK(quiet(poller));
}

TEST_CASE_FIXTURE(TimeLimit, "a poller takes what it needs at its first use") {
  // All there are, for a bell of its own is one of them.
  const auto count = [] {
    std::size_t open = 0;
    for (int fd = 0; fd < 4096; ++fd) open += ::fcntl(fd, F_GETFD) != -1;
    return open;
  };
  const Connected ends;
  const auto before = count();
  for (const std::string first : {"watch", "wake", "wait"}) {
    CAPTURE(first);
    net::Poller poller;
    CHECK(count() == before);
    if (first == "watch") net::must(poller.watch(ends.server, readable));
    if (first == "wake") net::must(poller.wake());
    if (first == "wait") CHECK(quiet(poller));
    CHECK(count() == before + 2);
    net::must(poller.wake());
    CHECK(events(poller).empty());
    CHECK(count() == before + 2);
  }
  CHECK(count() == before);
}

// ---------------------------------------------------------------------------
// The try_ calls

TEST_CASE_FIXTURE(TimeLimit, "try_read gives what is there, or would_block") {
  const Connected ends;
  char room[4];
  const net::Error err = net::try_read(ends.server, room).error;
  CHECK(err == net::would_block);
  CHECK(err == std::errc::operation_would_block);
  CHECK(err.temporary());
  CHECK_FALSE(err.timeout());
  net::must(net::write(ends.client, "12345"));
  CHECK(net::must(net::read_full(ends.server, {room, 1})) == 1);
  CHECK(net::must(net::try_read(ends.server, room)) == 4);
  CHECK(net::must(net::try_read(ends.server, {room, 0})) == 0);
  CHECK(net::try_read(ends.server, room).error == net::would_block);
}

TEST_CASE_FIXTURE(TimeLimit, "would_block is bare, as eof is") {
  const Connected ends("unix", "");
  const auto packets = net::must(net::listen_packet("unixgram", ""));
  const auto sender = net::must(net::listen_packet("unixgram", ""));
  const net::Addr to = net::local_addr(packets);
  fill(ends.client);
  while (!net::try_write_to(sender, "!", to).error) continue;
  char room[1];
  const auto bare = [](const net::Error& err) {
    CHECK(err == net::would_block);
    CHECK(err.op().empty());
    CHECK_FALSE(err.local());
    CHECK(err.message() == "operation would block");
  };
  const auto all = [&] {
    bare(net::try_read(ends.client, room).error);
    bare(net::try_write(ends.client, "?").error);
    bare(net::try_write(ends.client, {"two ", "pieces"}).error);
    bare(net::try_accept(ends.listener).error);
    bare(net::try_read_from(sender, room).error);
    bare(net::try_write_to(sender, "?", to).error);
  };
  all();
  {
    Blocked reading([&] { return net::read(ends.client, room).error; });
    Blocked writing([&] { return net::write(ends.client, "!").error; });
    Blocked accepting([&] { return net::accept(ends.listener).error; });
    Blocked hearing([&] { return net::read_from(sender, room).error; });
    Blocked sending([&] { return net::write_to(sender, "!", to).error; });
    all();
    for (const net::Socket& each :
         std::vector<net::Socket>{ends.client, ends.listener, sender})
      net::close(each);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "try_write counts what it wrote, every byte of it") {
  for (const char* network : {"tcp", "unix"}) {
    const Connected ends(network, network[0] == 't' ? "127.0.0.1:0" : "");
    const std::size_t size = fill(ends.client);
    CHECK(size > 0);
    CHECK(net::must(net::try_write(ends.client, "")) == 0);
    net::close(ends.client);
    CHECK(net::must(net::read_all(ends.server, size)).size() == size);
    CHECK(net::must(net::read_all(ends.server, 0)).empty());
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a try_ call does not wait for a call that does") {
  // A full unix socket stays full; TCP may yet find room for a byte.
  const Connected ends("unix", "");
  const net::PacketConn packets =
      net::must(net::listen_packet("udp", "127.0.0.1:0"));
  char mine[1], theirs[1];
  fill(ends.client);
  {
    Blocked reading([&] { return net::read(ends.client, theirs); });
    Blocked writing([&] { return net::write(ends.client, "!"); });
    Blocked accepting([&] { return net::accept(ends.listener); });
    Blocked hearing([&] { return net::read_from(packets, theirs).error; });
    CHECK(net::try_read(ends.client, mine).error == net::would_block);
    CHECK(net::try_write(ends.client, "?").error == net::would_block);
    CHECK(net::try_accept(ends.listener).error == net::would_block);
    CHECK(net::try_read_from(packets, mine).error == net::would_block);
    net::close(ends.client);
    net::close(ends.listener);
    net::close(packets);
    CHECK(reading.get().error == net::closed);
    CHECK(writing.get().error == net::closed);
    CHECK(accepting.get().error == net::closed);
    CHECK(hearing.get() == net::closed);
  }
  CHECK(net::try_read(ends.client, mine).error == net::closed);
  CHECK(net::try_write(ends.client, "?").error == net::closed);
  CHECK(net::try_accept(ends.listener).error == net::closed);
  CHECK(net::try_read_from(packets, mine).error == net::closed);
}

TEST_CASE_FIXTURE(TimeLimit, "a try_ call obeys a deadline that has passed") {
  const Connected ends;
  char room[1];
  net::must(net::write(ends.client, "!"));
  net::set_deadline(ends.server, 0s);
  net::set_deadline(ends.listener, 0s);
  CHECK(net::try_read(ends.server, room).error == net::timed_out);
  CHECK(net::try_write(ends.server, "!").error == net::timed_out);
  CHECK(net::try_accept(ends.listener).error == net::timed_out);
  net::set_deadline(ends.server, net::no_deadline);
  CHECK(read_byte(ends.server) == '!');
}

TEST_CASE_FIXTURE(TimeLimit, "a try_ call on no connection says closed") {
  char room[1];
  CHECK(net::try_read(net::Conn(), room).error == net::closed);
  CHECK(net::try_write(net::Conn(), "!").error == net::closed);
  CHECK(net::try_accept(net::Listener()).error == net::closed);
  CHECK(net::try_read_from(net::PacketConn(), room).error == net::closed);
}

// ---------------------------------------------------------------------------
// Many

namespace {

// An echo server without threads: what it cannot write at once it keeps, for
// each connection by itself.
class EchoServer {
 public:
  EchoServer(net::Poller& poller, std::uint64_t key)
      : poller_(poller), key_(key) {
    net::must(poller_.watch(listener_, readable, key_));
  }
  std::string address() const { return net::addr(listener_).string(); }
  std::size_t most_kept() const { return most_kept_; }

  // True when the event was the server's.
  bool handle(const net::Event& event) {
    if (event.key == key_) return accept(), true;
    const auto found = clients_.find(event.key);
    if (found == clients_.end()) return false;
    serve(event.key, found->second);
    return true;
  }

 private:
  struct Client {
    net::Conn conn{};
    std::string kept{};
    bool ended = false;
  };

  void accept() {
    for (;;) {
      auto [conn, err] = net::try_accept(listener_);
      if (err == net::would_block) return;
      net::must(err);
      net::must(poller_.watch(conn, readable, ++key_of_client_));
      clients_[key_of_client_].conn = conn;
    }
  }
  void serve(std::uint64_t key, Client& client) {
    char room[16384];
    const auto [n, err] = net::try_read(client.conn, room);
    client.kept.append(room, n);
    most_kept_ = std::max(most_kept_, client.kept.size());
    client.ended |= err == net::eof;
    client.kept.erase(0, net::try_write(client.conn, client.kept).value);
    const unsigned interest =
        (client.ended ? 0u : readable) | (client.kept.empty() ? 0u : writable);
    if (interest != 0)
      return net::must(poller_.watch(client.conn, interest, key));
    net::close(client.conn);
    clients_.erase(key);
  }

  net::Poller& poller_;
  std::uint64_t key_;
  std::uint64_t key_of_client_ = std::uint64_t{1} << 32;
  net::Listener listener_ = net::must(net::listen("tcp", "127.0.0.1:0"));
  std::map<std::uint64_t, Client> clients_{};
  std::size_t most_kept_ = 0;
};

// A client that sends its bytes and reads them back; the slow one does not
// read before it is told to.
struct EchoClient {
  net::Conn conn;
  std::string bytes;
  bool reads;
  std::size_t sent = 0;
  std::string got{};

  unsigned interest() const {
    return (reads ? readable : 0u) | (sent < bytes.size() ? writable : 0u);
  }
  // True when all has come back, and then the end.
  bool go_on() {
    if (sent < bytes.size()) {
      sent += net::try_write(conn, std::string_view(bytes).substr(sent)).value;
      if (sent == bytes.size()) net::close_write(conn);
    }
    char room[16384];
    if (!reads) return false;
    const auto [n, err] = net::try_read(conn, room);
    got.append(room, n);
    return err == net::eof;
  }
};

}  // namespace

TEST_CASE_FIXTURE(TimeLimit,
                  "one thread serves 200 clients, one of them slow") {
  const std::string before = threads();
  net::Poller poller;
  constexpr std::size_t count = 200, slow = 17;
  EchoServer server(poller, count);
  std::vector<EchoClient> clients;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = i == slow ? 16 * 1024 * 1024 : 20000 + 100 * i;
    std::string bytes;
    while (bytes.size() < size) bytes += std::to_string(bytes.size() * (i + 1));
    clients.push_back({net::must(net::dial("tcp", server.address())),
                       std::move(bytes), i != slow});
    net::must(poller.watch(clients[i].conn, clients[i].interest(), i));
  }
  for (std::size_t done = 0; done < count;) {
    for (const net::Event& each : events(poller)) {
      if (server.handle(each)) continue;
      EchoClient& client = clients[static_cast<std::size_t>(each.key)];
      if (client.go_on()) {
        ++done;
        net::close(client.conn);
      } else {
        net::must(poller.watch(client.conn, client.interest(), each.key));
      }
    }
    // The others do not wait for the slow one, which sends all, and reads last.
    if (done == count - 1 && !clients[slow].reads &&
        clients[slow].sent == clients[slow].bytes.size()) {
      clients[slow].reads = true;
      net::must(
          poller.watch(clients[slow].conn, clients[slow].interest(), slow));
    }
  }
  for (const EchoClient& client : clients) CHECK(client.got == client.bytes);
  CHECK(server.most_kept() > 1024 * 1024);
  CHECK(threads() == before);
}

TEST_CASE_FIXTURE(TimeLimit, "10,000 idle connections cost nothing per event") {
  std::size_t count = 10000;
  while (!room_for(2 * count + 200)) count /= 2;
  MESSAGE(count << " idle connections");
  Idlers many(count), few(10);
  const auto cost = [](Idlers& idlers) {
    const net::Pipe& busy = idlers.pipes.front();
    const auto start = thread_time();
    for (int i = 0; i < 100; ++i) {
      net::must(net::write(busy.second, "!"));
      CHECK(event(idlers.poller).socket == busy.first);
      CHECK(read_byte(busy.first) == '!');
    }
    return thread_time() - start;
  };
  // In turn, so that whatever else the machine does concerns both.
  std::int64_t of_many = 0, of_few = 0;
  for (int i = 0; i < (net::sys::has_epoll ? 10 : 1); ++i) {
    of_few += cost(few);
    of_many += cost(many);
  }
  // poll(2) looks at each of them; that is why there is epoll.
  if (net::sys::has_epoll) CHECK(of_many < 10 * of_few);
}

TEST_CASE_FIXTURE(TimeLimit, "a wait sleeps, however much was watched before") {
  REQUIRE(room_for(3000));
  Idlers many(1000);
  for (std::uint64_t key = 0; key < 5; ++key)
    for (const net::Pipe& pipe : many.pipes)
      net::must(many.poller.watch(pipe.first, readable, key));
  const auto before = support::cpu_time();
  CHECK(many.poller.wait(500ms).error == net::timed_out);
  CHECK(support::cpu_time() - before < 100ms);
}
