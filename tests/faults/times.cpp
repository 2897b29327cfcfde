// SPDX-License-Identifier: MIT
// Nothing is late. How late a call is depends on the machine; how long it asks
// to sleep does not. So this program defines the calls that sleep, and looks at
// what they are asked for.

#include "netlite.hpp"

#include "resolver.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using support::Blocked;
using support::Connected;
using support::TimeLimit;

// What this thread has done since `calls` was cleared: how long it asked to
// sleep, or that it connected somewhere; and when.
struct Call {
  enum Kind { sleep, connect } kind;
  milliseconds time{0};
  Clock::time_point at = Clock::now();
};
thread_local std::vector<Call> calls;

void sleeps(milliseconds time) { calls.push_back({Call::sleep, time}); }
void sleeps(int time) {
  sleeps(time < 0 ? milliseconds::max() : milliseconds(time));
}

}  // namespace

extern "C" int poll(pollfd* fds, nfds_t count, int time) {
  static const auto next =
      reinterpret_cast<decltype(&::poll)>(::dlsym(RTLD_NEXT, "poll"));
  sleeps(time);
  return next(fds, count, time);
}

extern "C" int epoll_wait(int epoll, epoll_event* events, int most, int time) {
  static const auto next = reinterpret_cast<decltype(&::epoll_wait)>(
      ::dlsym(RTLD_NEXT, "epoll_wait"));
  sleeps(time);
  return next(epoll, events, most, time);
}

extern "C" int connect(int fd, const sockaddr* address, socklen_t size) {
  static const auto next =
      reinterpret_cast<decltype(&::connect)>(::dlsym(RTLD_NEXT, "connect"));
  calls.push_back({Call::connect});
  return next(fd, address, size);
}

// What a condition variable waits with, where it can by the steady clock.
extern "C" int pthread_cond_clockwait(pthread_cond_t* condition,
                                      pthread_mutex_t* mutex, clockid_t clock,
                                      const timespec* when) noexcept(false) {
  using Wait =
      int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
  static const auto next =
      reinterpret_cast<Wait>(::dlsym(RTLD_NEXT, "pthread_cond_clockwait"));
  timespec now{};
  ::clock_gettime(clock, &now);
  const auto in = [](const timespec& time) {
    return std::chrono::seconds(time.tv_sec) +
           std::chrono::nanoseconds(time.tv_nsec);
  };
  sleeps(std::chrono::ceil<milliseconds>(in(*when) - in(now)));
  return next(condition, mutex, clock, when);
}

namespace {

milliseconds longest() {
  milliseconds most{0};
  for (const Call& each : calls) most = std::max(most, each.time);
  return most;
}

// How often something slept: a test in which nothing does sees nothing.
int slept = 0;

// The longest sleep that a call asks for. (None, where the machine has let all
// the time pass meanwhile.)
template <class F>
milliseconds longest(F call) {
  calls.clear();
  call();
  slept += longest() > 0ms;
  return longest();
}

bool is_connect(const Call& call) { return call.kind == Call::connect; }

// From the first connect to the second, or to the end.
std::vector<Call> between_connects() {
  const auto first = std::find_if(calls.begin(), calls.end(), is_connect);
  if (first == calls.end()) return {};
  return {first, std::find_if(first + 1, calls.end(), is_connect)};
}

auto connects() {
  return std::count_if(calls.begin(), calls.end(), is_connect);
}

// A listener whose queue is full: who dials it hears nothing.
class Silent {
 public:
  explicit Silent(const std::string& network, const std::string& address) {
    net::ListenOptions options;
    options.backlog = 1;
    listener_ = net::must(net::listen(network, address, options));
    for (;;) {
      auto [conn, err] = net::dial_timeout(network, where(), 200ms);
      if (err && queue_.size() > 1) return;
      if (!err) queue_.push_back(conn);
    }
  }
  std::string where() const { return net::addr(listener_).string(); }
  std::string port() const {
    return std::to_string(net::addr(listener_).port());
  }
  const net::Listener& listener() const { return listener_; }

 private:
  net::Listener listener_;
  std::vector<net::Conn> queue_{};
};

bool has_ipv6() {
  const bool has = !net::listen("tcp6", "[::1]:0").error;
  if (!has) MESSAGE("skipped: no IPv6 here");
  return has;
}

// ::1 says nothing; 127.0.0.1 has a listener on the same port.
struct TwoFamilies {
  net::Listener four{};
  std::unique_ptr<Silent> six{};
  std::string address;

  TwoFamilies() {
    while (!six) {
      four = net::must(net::listen("tcp4", "127.0.0.1:0"));
      const std::string port = std::to_string(net::addr(four).port());
      if (!net::listen("tcp6", "[::1]:" + port).error)
        six = std::make_unique<Silent>("tcp6", "[::1]:" + port);
      address = "name.test:" + port;
    }
    resolver::says({"::1", "127.0.0.1"});
  }
};

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "no call sleeps past its deadline") {
  constexpr auto time = 50ms;
  const auto check = [&](const char* name, auto call) {
    CAPTURE(std::string(name));
    net::Error err;
    CHECK(longest([&] { err = call(); }) <= time);
    CHECK(err == net::timed_out);
  };
  const std::string much(64 << 20, 'x');
  char buffer[16];
  for (const char* network : {"tcp", "unix"}) {
    CAPTURE(std::string(network));
    const Connected c(network, network[0] == 't' ? "127.0.0.1:0" : "");
    const auto within = [&](const char* name, auto call) {
      net::must(net::set_deadline(c.client, time));
      check(name, call);
    };
    within("read", [&] { return net::read(c.client, buffer).error; });
    within("read_full", [&] { return net::read_full(c.client, buffer).error; });
    within("read_all", [&] { return net::read_all(c.client, 9).error; });
    within("read_line",
           [&] { return net::Reader(c.client).read_line().error; });
    within("copy", [&] { return net::copy(c.server, c.client).error; });
    within("wait", [&] { return net::wait(c.client, net::readable); });
    within("write", [&] { return net::write(c.client, much).error; });
    within("writev", [&] { return net::write(c.client, {much, much}).error; });
    within("wait for room", [&] { return net::wait(c.client, net::writable); });
    if (network[0] == 'u') {
      within("send_descriptor",
             [&] { return net::send_descriptor(c.client, 0); });
      within("receive_descriptor",
             [&] { return net::receive_descriptor(c.client).error; });
    }
    net::must(net::set_deadline(c.listener, time));
    check("accept", [&] { return net::accept(c.listener).error; });
    net::must(net::set_deadline(c.listener, time));
    check("serve", [&] { return net::serve(c.listener, [](net::Conn) {}); });
  }

  const auto packets = net::must(net::listen_packet("unixgram", ""));
  net::must(net::set_deadline(packets, time));
  check("read_from", [&] { return net::read_from(packets, buffer).error; });
  net::must(net::set_deadline(packets, time));
  check("write_to", [&] {
    net::Error err;
    while (!err)
      err = net::write_to(packets, "x", net::local_addr(packets)).error;
    return err;
  });
  net::Poller poller;
  net::must(poller.watch(packets, net::hung_up));
  check("Poller::wait", [&] { return poller.wait(time).error; });
  CHECK(std::exchange(slept, 0) > 0);
}

TEST_CASE_FIXTURE(TimeLimit, "no dial sleeps past its deadline") {
  const auto check = [](const char* network, const std::string& address) {
    for (const auto time : {50ms, 3ms}) {
      CAPTURE(address);
      net::Error err;
      CHECK(longest([&] {
              err = net::dial_timeout(network, address, time).error;
            }) <= time);
      CHECK(err == net::timed_out);
    }
  };
  const Silent silent("tcp", "127.0.0.1:0"), path("unix", ""),
      packets("unixpacket", "");
  check("tcp", silent.where());
  check("unix", path.where());
  CHECK(connects() < 20);  // it rests between its tries
  check("unixpacket", packets.where());
  // Several addresses share what time there is.
  const Silent other("tcp", "127.0.0.2:" + silent.port());
  resolver::says({"127.0.0.1", "127.0.0.2", "127.0.0.1"});
  check("tcp", "name.test:" + silent.port());
  if (has_ipv6()) {
    const TwoFamilies both;
    resolver::says({"::1"});
    check("tcp", both.address);
  }
  CHECK(std::exchange(slept, 0) > 0);
}

TEST_CASE_FIXTURE(TimeLimit, "no look-up sleeps past its deadline") {
  constexpr auto time = 50ms;
  const auto check = [&](const char* name, auto call) {
    CAPTURE(std::string(name));
    const resolver::Silence silence;
    net::Error err;
    CHECK(longest([&] { err = call().error; }) <= time);
    CHECK(err == net::timed_out);
  };
  // Names of their own: equal questions share an answer.
  check("host", [&] { return net::lookup_host("a.test", time); });
  check("cname", [&] { return net::lookup_cname("b.test", time); });
  check("port", [&] { return net::lookup_port("tcp", "service", time); });
  check("addr", [&] { return net::lookup_addr("127.0.0.1", time); });
  check("resolve", [&] { return net::resolve("udp", "c.test:1", time); });
  check("dial", [&] { return net::dial_timeout("tcp", "d.test:1", time); });
  check("dial a service",
        [&] { return net::dial_timeout("tcp", "127.0.0.1:other", time); });
  CHECK(std::exchange(slept, 0) > 0);
}

TEST_CASE_FIXTURE(TimeLimit, "a second address gets its turn within the time") {
  // Half of the time each, when that is more than two seconds.
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string port = std::to_string(net::addr(listener).port());
  const Silent silent("tcp", "127.0.0.2:" + port);
  resolver::says({"127.0.0.2", "127.0.0.1"});
  calls.clear();
  const auto conn =
      net::must(net::dial_timeout("tcp", "name.test:" + port, 4400ms));
  CHECK(net::remote_addr(conn) == net::addr(listener));
  CHECK(connects() == 2);
  calls = between_connects();
  CHECK(longest() <= 2200ms);
}

TEST_CASE_FIXTURE(TimeLimit, "the second family waits as long as it should") {
  if (!has_ipv6()) return;
  const TwoFamilies both;
  net::DialOptions options;
  const auto dial = [&] {
    calls.clear();
    const auto [conn, err] = net::dial("tcp", both.address, options);
    CHECK((err || net::remote_addr(conn) == net::addr(both.four)));
    return err;
  };
  SUBCASE("a time after the first, and no longer") {
    for (const auto delay : {300ms, 20ms}) {
      if (delay != 300ms) options.fallback_delay = delay;
      const auto start = Clock::now();
      CHECK_FALSE(dial());
      REQUIRE(connects() == 2);
      const auto second =
          std::find_if(calls.rbegin(), calls.rend(), is_connect);
      CHECK(second->at - start >= delay);
      calls = between_connects();
      CHECK(longest() <= delay);
      CHECK(calls.size() < 10);  // it sleeps meanwhile
    }
  }
  SUBCASE("not at all") {
    for (const auto at_once : {0ms, -1ms}) {
      options.fallback_delay = at_once;
      CHECK_FALSE(dial());
      CHECK(connects() == 2);
      CHECK(between_connects().size() == 1);
    }
  }
}
