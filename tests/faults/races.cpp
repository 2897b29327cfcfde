// SPDX-License-Identifier: MIT
// What happens between two steps of a thread, made certain: a thread stops at a
// named place, another one acts meanwhile, and then the first goes on.

#include "netlite.hpp"

#include "inject.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "../support.hpp"

#ifndef __THROWNL
#define __THROWNL
#endif

// What is looked at: the lock of a mutex is then a call named "lock", and a
// limited wait at a condition variable one named "rest".
namespace inject {
inline std::atomic<const void*> looked_at{nullptr};

template <class F, class... Arguments>
int looked(const char* name, const void* at, F next, Arguments... arguments) {
  if (at != looked_at) return next(arguments...);
  const Call call(name);
  return next(arguments...);
}
}  // namespace inject

// The function of this name that ours covers, a sanitizer's or the C library's.
// (`known` begins as a constant: the guard of another initialisation would take
// a lock.)
#define COVERED(name)                                           \
  static std::atomic<void*> known{nullptr};                     \
  if (!known)                                                   \
    known = __interceptor_##name                                \
                ? reinterpret_cast<void*>(__interceptor_##name) \
                : ::dlsym(RTLD_NEXT, #name);                    \
  const auto next = reinterpret_cast<decltype(&::name)>(known.load())

extern "C" [[gnu::weak]] int __interceptor_pthread_mutex_lock(pthread_mutex_t*);
extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) __THROWNL {
  COVERED(pthread_mutex_lock);
  return inject::looked("lock", mutex, next, mutex);
}
// One of these is what std::condition_variable::wait_until calls.
extern "C" [[gnu::weak]] int __interceptor_pthread_cond_clockwait(
    pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
extern "C" int pthread_cond_clockwait(pthread_cond_t* changed,
                                      pthread_mutex_t* mutex, clockid_t clock,
                                      const timespec* until) {
  COVERED(pthread_cond_clockwait);
  return inject::looked("rest", changed, next, changed, mutex, clock, until);
}
extern "C" [[gnu::weak]] int __interceptor_pthread_cond_timedwait(
    pthread_cond_t*, pthread_mutex_t*, const timespec*);
extern "C" int pthread_cond_timedwait(pthread_cond_t* changed,
                                      pthread_mutex_t* mutex,
                                      const timespec* until) {
  COVERED(pthread_cond_timedwait);
  return inject::looked("rest", changed, next, changed, mutex, until);
}

namespace {

using inject::Stop;
using support::Blocked;
using support::Connected;
using support::TimeLimit;

class StopAt : public Stop {
 public:
  StopAt(const char* call, const void* at) : Stop(call, inject::before) {
    inject::looked_at = at;
  }
  ~StopAt() { inject::looked_at = nullptr; }
};

// Stops a thread before it locks the guard of a socket, which the sleepers,
// the pollers and the news are under.
struct StopAtGuard : StopAt {
  explicit StopAtGuard(const net::Socket& socket)
      : StopAt("lock", state_of(socket)->guard.native_handle()) {}
};

// Stops a thread that has looked at a socket's news, found none, and is about
// to rest: it holds the guard.
struct StopAtRest : StopAt {
  explicit StopAtRest(const net::Socket& socket)
      : StopAt("rest", state_of(socket)->changed.native_handle()) {}
};

// A call that stops at a place; what another thread does then; what the call
// returns when it goes on.
template <class F, class Meanwhile>
net::Error stopped(Stop& stop, F call, Meanwhile meanwhile) {
  net::Error result;
  support::Thread thread([&] { result = call(); });
  stop.reached();
  const auto other = std::make_unique<Blocked<Meanwhile>>(meanwhile);
  stop.go();
  thread.join();
  return result;
}

// The calls that wait, each with a socket of its own on which it must.
struct Waiting {
  Connected ends{"unix", ""};
  net::PacketConn packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  char buffer[64] = {};

  net::Error read() { return net::read(ends.server, buffer).error; }
  net::Error accept() { return net::accept(ends.listener).error; }
  net::Error read_from() { return net::read_from(packets, buffer).error; }
  net::Error wait() { return net::wait(ends.server, net::readable); }
  net::Error write() {
    return net::write(ends.client, std::string(1 << 24, 'x')).error;
  }
  net::Error receive() { return net::receive_descriptor(ends.server).error; }
};

struct Wait {
  const char* name;
  net::Error (Waiting::*call)();
  net::Socket (*socket)(Waiting&);
};
const Wait waits[] = {
    {"read", &Waiting::read,
     [](Waiting& w) -> net::Socket { return w.ends.server; }},
    {"accept", &Waiting::accept,
     [](Waiting& w) -> net::Socket { return w.ends.listener; }},
    {"read_from", &Waiting::read_from,
     [](Waiting& w) -> net::Socket { return w.packets; }},
    {"wait", &Waiting::wait,
     [](Waiting& w) -> net::Socket { return w.ends.server; }},
    {"write", &Waiting::write,
     [](Waiting& w) -> net::Socket { return w.ends.client; }},
    {"receive_descriptor", &Waiting::receive,
     [](Waiting& w) -> net::Socket { return w.ends.server; }},
};

// Between the look at "closed" and the sleep, and between the bed and poll.
template <class Act>
void between_look_and_sleep(const net::Error& expected, Act act) {
  for (const Wait& each : waits)
    for (const bool in_bed : {false, true}) {
      CAPTURE(each.name);
      CAPTURE(in_bed);
      Waiting waiting;
      const net::Socket socket = each.socket(waiting);
      const auto call = [&] { return (waiting.*each.call)(); };
      const auto meanwhile = [&] { return act(socket); };
      if (in_bed) {
        Stop stop("poll", inject::before);
        CHECK(stopped(stop, call, meanwhile) == expected);
      } else {
        StopAtGuard stop(socket);
        CHECK(stopped(stop, call, meanwhile) == expected);
      }
    }
}

}  // namespace

// ---------------------------------------------------------------------------
// Falling asleep

TEST_CASE_FIXTURE(TimeLimit, "a close before the sleep is not slept through") {
  between_look_and_sleep(net::closed, [](const net::Socket& socket) {
    return net::close(socket);
  });
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a deadline that passes before the sleep is not slept "
                  "through") {
  between_look_and_sleep(net::timed_out, [](const net::Socket& socket) {
    return net::set_deadline(socket, 0s);
  });
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a close_write before the sleep is not slept through") {
  for (const bool in_bed : {false, true}) {
    CAPTURE(in_bed);
    Waiting waiting;
    const net::Conn conn = waiting.ends.client;
    const auto write = [&] { return waiting.write(); };
    const auto end = [&] { return net::close_write(conn); };
    if (in_bed) {
      Stop stop("poll", inject::before);
      CHECK(stopped(stop, write, end) == std::errc::broken_pipe);
    } else {
      StopAtGuard stop(conn);
      CHECK(stopped(stop, write, end) == std::errc::broken_pipe);
    }
  }
}

// A ring that comes when the sleeper has woken by itself is taken all the same:
// the next one who sleeps with this bell would find it.
TEST_CASE_FIXTURE(TimeLimit, "a ring that comes too late wakes nobody else") {
  const Connected ends;
  char buffer[8];
  const auto read = [&] { return net::read(ends.server, buffer).error; };
  Stop stop("poll", inject::behind);
  Blocked reader(read);
  net::must(net::write(ends.client, "ready"));
  stop.reached();
  // Rings: the reader is still in its bed.
  net::must(net::set_read_deadline(ends.server, 0s));
  net::must(net::set_read_deadline(ends.server, net::no_deadline));
  stop.go();
  CHECK_FALSE(reader.get());

  const inject::Faults counting;
  net::must(net::set_read_deadline(ends.server, 100ms));
  CHECK(read() == net::timed_out);
  CHECK(inject::count("poll") <= 2);
}

// ---------------------------------------------------------------------------
// Which of two things is told

TEST_CASE_FIXTURE(TimeLimit,
                  "of a deadline and a close at once the close is told") {
  for (const Wait& each : waits) {
    CAPTURE(each.name);
    Waiting waiting;
    const net::Socket socket = each.socket(waiting);
    Stop stop("poll", inject::before);
    const auto both = [&] {
      net::set_deadline(socket, 0s);
      return net::close(socket);
    };
    CHECK(stopped(
              stop, [&] { return (waiting.*each.call)(); }, both) ==
          net::closed);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "of a failure and a close at once the close is told") {
  const Connected ends;
  const inject::Faults faults({{"recv", 0, ECONNRESET}});
  Stop stop("recv", inject::behind);
  char buffer[8];
  CHECK(stopped(
            stop, [&] { return net::read(ends.server, buffer).error; },
            [&] { return net::close(ends.server); }) == net::closed);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "what a call has read before the close is not lost") {
  const Connected ends;
  net::must(net::write(ends.client, "in time"));
  Stop stop("recv", inject::behind);
  char buffer[8];
  CHECK_FALSE(stopped(
      stop, [&] { return net::read(ends.server, buffer).error; },
      [&] { return net::close(ends.server); }));
  CHECK(std::string(buffer, 7) == "in time");
}

// ---------------------------------------------------------------------------
// A server that rests

namespace {

unsigned news(const net::Listener& listener) {
  return state_of(listener)->news;
}

// Serves one at a time, and waits for nobody when it is to end.
net::Error serve_one(const net::Listener& listener) {
  net::ServeOptions options;
  options.max_connections = 1;
  options.grace = 0s;
  return net::serve(
      listener,
      [](const net::Conn& conn) {
        char byte;
        (void)net::read(conn, {&byte, 1});
        (void)net::write(conn, "served");
      },
      options);
}

// Its one place is taken, and somebody waits for it.
class OnePlace {
 public:
  explicit OnePlace(const net::Listener& listener)
      : listener_(listener),
        first_(net::must(net::dial("tcp", net::addr(listener).string()))),
        second_(net::must(net::dial("tcp", net::addr(listener).string()))) {}
  // The first is served, and its handler ends.
  void frees_it() { is_served(first_); }
  void serves_the_other() {
    is_served(second_);
    net::close(listener_);
    CHECK_FALSE(serving_.get());
  }

 private:
  static void is_served(const net::Conn& conn) {
    char buffer[6];
    net::must(net::write(conn, "x"));
    CHECK(net::must(net::read_full(conn, buffer)) == 6);
  }

  const net::Listener listener_;
  const net::Conn first_;
  const net::Conn second_;
  Blocked<std::function<net::Error()>> serving_{
      [this] { return serve_one(listener_); }};
};

// A close or a deadline ends a server whose one place is taken, when `act`
// lets it come.
template <class Act>
void ends_the_rest(Act act) {
  for (const bool by_deadline : {false, true}) {
    CAPTURE(by_deadline);
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    const auto client =
        net::must(net::dial("tcp", net::addr(listener).string()));
    const auto end = [&] {
      return by_deadline ? net::set_deadline(listener, 0s)
                         : net::close(listener);
    };
    CHECK(act(listener, end) ==
          (by_deadline ? net::Error(net::timed_out) : net::Error()));
  }
}

}  // namespace

// Its loop looks for news, finds all places taken, and stops where it is about
// to rest; then a handler ends.
TEST_CASE_FIXTURE(TimeLimit, "a place that is free before the rest is seen") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  StopAtGuard stop(listener);
  OnePlace server(listener);
  stop.reached();
  const unsigned before = news(listener);
  server.frees_it();
  while (news(listener) == before) std::this_thread::yield();  // it has ended
  stop.go();
  server.serves_the_other();
}

// It has looked and found no news when a handler ends; who ends must not tell
// it before it rests.
TEST_CASE_FIXTURE(TimeLimit,
                  "a place that is free as the rest begins is seen") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  StopAtRest rest(listener);
  OnePlace server(listener);
  rest.reached();
  StopAtGuard news(listener);
  server.frees_it();
  news.reached();
  rest.go();
  news.go();
  server.serves_the_other();
}

TEST_CASE_FIXTURE(TimeLimit, "a close before the rest is seen") {
  ends_the_rest([](const net::Listener& listener, auto end) {
    StopAtGuard stop(listener);
    return stopped(
        stop, [&] { return serve_one(listener); }, end);
  });
}

TEST_CASE_FIXTURE(TimeLimit, "a close or a deadline ends the rest") {
  ends_the_rest([](const net::Listener& listener, auto end) {
    Blocked serving([&] { return serve_one(listener); });
    net::must(end());
    return serving.get();
  });
}

// ---------------------------------------------------------------------------
// Pollers

// The kernel is asked to watch, and then the socket must learn who watches it;
// in between it closes.
TEST_CASE_FIXTURE(TimeLimit, "a watch that a close overtakes watches nothing") {
  Connected ends;
  net::Poller poller;
  {
    StopAtGuard stop(ends.server);
    CHECK(stopped(
              stop, [&] { return poller.watch(ends.server, net::readable); },
              [&] { return net::close(ends.server); }) == net::closed);
  }
  // Whoever has the number next is not watched.
  const auto next =
      net::must(net::dial("tcp", net::addr(ends.listener).string()));
  const auto peer = net::must(net::accept(ends.listener));
  net::must(net::write(next, "x"));
  net::must(net::write(peer, "x"));
  CHECK(poller.wait(20ms).error == net::timed_out);
  CHECK_FALSE(poller.watch(next, net::readable));
  CHECK(net::must(poller.wait(20s)).size() == 1);
}
