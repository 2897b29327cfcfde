// SPDX-License-Identifier: MIT
// Concurrency: Group and serve, and many threads on shared handles. What
// happens when a thread cannot start is told in faults/threads.cpp.

#include "netlite.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using support::Stopwatch;
using support::Thread;
using support::TimeLimit;

// Opens once, and lets everybody go who waits or comes later.
class Gate {
 public:
  void open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// How many are inside at the moment, and how many were at most.
class Crowd {
 public:
  void enter() {
    const int now = ++inside_;
    int most = most_;
    while (most < now && !most_.compare_exchange_weak(most, now)) continue;
  }
  void leave() { --inside_; }
  int inside() const { return inside_; }
  int most() const { return most_; }

 private:
  std::atomic<int> inside_{0};
  std::atomic<int> most_{0};
};

// For what happens soon, in another thread. (The test's TimeLimit ends it.)
template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) std::this_thread::sleep_for(1ms);
}

// A number that the kernel tells of this process: "Threads", "VmRSS" (in kB).
long status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, name.size() + 1, name + ":") == 0)
      return std::stol(line.substr(name.size() + 1));
  return -1;
}

// Destroyed slowly, so that who does not wait for that is found out.
std::shared_ptr<void> slow_to_go(std::atomic<bool>& gone) {
  return {nullptr, [&gone](void*) {
            std::this_thread::sleep_for(20ms);
            gone = true;
          }};
}

// A server in a thread of its own, which sleeps in accept when the constructor
// is done; it keeps what `on_error` hears.
class Server {
 public:
  template <class Handler>
  explicit Server(Handler handler, net::ServeOptions options = {},
                  const std::string& network = "tcp",
                  const std::string& address = "127.0.0.1:0")
      : listener(net::must(net::listen(network, address))),
        serving_([this, handler, options]() mutable {
          options.on_error = [this](const net::Error& err) {
            const std::lock_guard<std::mutex> lock(mutex_);
            heard_.push_back(err);
          };
          return net::serve(listener, handler, options);
        }) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { net::close(listener); }

  net::Conn dial() const {
    const net::Addr& at = net::addr(listener);
    net::Conn conn = net::must(net::dial(at.network(), at.string()));
    net::set_deadline(conn, support::generous);
    return conn;
  }
  bool done() const { return serving_.done(); }
  // What serve returned, once it has.
  net::Error result() { return serving_.get(); }
  net::Error stop() {
    net::close(listener);
    return result();
  }
  std::vector<net::Error> heard() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return heard_;
  }

  const net::Listener listener;

 private:
  mutable std::mutex mutex_{};
  std::vector<net::Error> heard_{};
  Blocked<std::function<net::Error()>> serving_;
};

// A handler that sends back the first byte.
void echo_byte(const net::Conn& conn) {
  char byte;
  if (net::read(conn, {&byte, 1}).value == 1)
    (void)net::write(conn, {&byte, 1});
}

// Does the server at the other end answer?
bool answers(const net::Conn& conn) {
  char byte = 'x';
  return !net::write(conn, {&byte, 1}).error &&
         net::read(conn, {&byte, 1}).value == 1 && byte == 'x';
}

bool ended(const net::Conn& conn) {
  char byte;
  return net::read(conn, {&byte, 1}).error == net::eof;
}

// Leaves no descriptor free, until release.
class FullTable {
 public:
  FullTable() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int next = take();
    rlimit less = before_;
    less.rlim_cur = static_cast<rlim_t>(next) + 2;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
    while (take() >= 0) continue;
    REQUIRE(errno == EMFILE);
  }
  FullTable(const FullTable&) = delete;
  FullTable& operator=(const FullTable&) = delete;
  ~FullTable() { release(); }
  void free_one() {
    ::close(taken_.back());
    taken_.pop_back();
  }
  void release() {
    while (!taken_.empty()) free_one();
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  int take() {
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) taken_.push_back(fd);
    return fd;
  }
  rlimit before_{};
  std::vector<int> taken_;
};

// A client that waits in the queue of a server that has no descriptor for it.
net::Conn dial_and_fill(const Server& server, FullTable& table) {
  table.free_one();
  return server.dial();
}

}  // namespace

// ---------------------------------------------------------------------------
// Group

TEST_CASE_FIXTURE(TimeLimit, "go runs a task in a thread of its own") {
  net::Group group;
  std::thread::id there;
  CHECK_FALSE(net::go(group, [&] { there = std::this_thread::get_id(); }));
  CHECK_FALSE(net::wait(group));
  CHECK(there != std::thread::id());
  CHECK(there != std::this_thread::get_id());
}

TEST_CASE_FIXTURE(TimeLimit, "tasks run at the same time") {
  net::Group group;
  Crowd crowd;
  for (int i = 0; i < 50; ++i)
    CHECK_FALSE(net::go(group, [&] {
      crowd.enter();
      wait_until([&] { return crowd.most() == 50; });
    }));
  CHECK_FALSE(net::wait(group));
  CHECK(crowd.most() == 50);
}

TEST_CASE_FIXTURE(TimeLimit, "go copies its arguments, or moves them") {
  net::Group group;
  Gate gate;
  std::string text = "as it was";
  std::string seen_copy, seen_moved, seen_ref;
  net::go(
      group,
      [&](const std::string& copy, const char* literal) {
        gate.pass();
        seen_copy = copy + literal;
      },
      text, "!");
  net::go(
      group, [&](std::unique_ptr<std::string> moved) { seen_moved = *moved; },
      std::make_unique<std::string>("moved"));
  net::go(
      group,
      [&, moved = std::make_unique<int>(7)](std::string& same) {
        gate.pass();
        seen_ref = same + std::to_string(*moved);
      },
      std::ref(text));
  text = "changed";
  gate.open();
  CHECK_FALSE(net::wait(group));
  CHECK(seen_copy == "as it was!");
  CHECK(seen_moved == "moved");
  CHECK(seen_ref == "changed7");
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a task may be a function or a member of an object") {
  struct Counter {
    std::atomic<int> count{0};
    void add(int n) { count += n; }
  };
  static std::atomic<int> called;
  called = 0;
  Counter counter;
  net::Group group;
  net::go(group, &Counter::add, &counter, 5);
  net::go(
      group, +[](int n) { called += n; }, 3);
  net::must(net::wait(group));
  CHECK(counter.count == 5);
  CHECK(called == 3);
}

TEST_CASE_FIXTURE(TimeLimit, "a limit makes go wait") {
  net::Group group(3);
  Crowd crowd;
  Gate gate;
  const auto task = [&] {
    crowd.enter();
    gate.pass();
    std::this_thread::yield();
    crowd.leave();
  };
  for (int i = 0; i < 3; ++i) net::must(net::go(group, task));
  wait_until([&] { return crowd.inside() == 3; });
  Blocked fourth([&] { return net::go(group, task); });
  CHECK_FALSE(fourth.done());
  gate.open();
  CHECK_FALSE(fourth.get());
  for (int i = 0; i < 200; ++i) net::must(net::go(group, task));
  net::must(net::wait(group));
  CHECK(crowd.most() == 3);
  CHECK(crowd.inside() == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "wait returns the first error, and only once") {
  net::Group group(1);  // one after the other
  net::go(group, [] { return net::Error(); });
  net::go(group, [] { return net::limit_exceeded; });
  net::go(group, [] { return std::make_error_code(std::errc::io_error); });
  CHECK(net::wait(group) == net::limit_exceeded);
  CHECK_FALSE(net::wait(group));
  net::go(group, [] { return std::make_error_code(std::errc::io_error); });
  CHECK(net::wait(group) == std::errc::io_error);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "an error keeps its story on the way out of a task") {
  net::Group group;
  net::go(group, [] { return net::dial("tcp", "no port").error; });
  const net::Error err = net::wait(group);
  CHECK(err == net::missing_port);
  CHECK(err.message() == "dial tcp: address no port: missing port in address");
}

TEST_CASE_FIXTURE(TimeLimit, "an exception ends its task, and nothing else") {
  net::Group group;
  Gate gate;
  bool other = false;
  net::go(group, [&] {
    gate.pass();
    other = true;
  });
  net::go(group, []() -> void { throw std::runtime_error("out of tea"); });
  Blocked waiting([&] { return net::wait(group); });
  gate.open();
  const net::Error err = waiting.get();
  CHECK(err == net::task_failed);
  CHECK(err.message().find("out of tea") != std::string::npos);
  CHECK(other);

  net::go(group, []() -> net::Error { throw 42; });
  CHECK(net::wait(group) == net::task_failed);
  net::go(group, [] { net::must(net::Error(net::eof)); });
  CHECK(net::wait(group).message().find("EOF") != std::string::npos);
}

TEST_CASE_FIXTURE(TimeLimit, "a Group waits for its tasks before it goes") {
  std::atomic<int> ran{0};
  {
    net::Group group;
    for (int i = 0; i < 20; ++i)
      net::go(group, [&] {
        std::this_thread::sleep_for(1ms);
        ++ran;
      });
  }
  CHECK(ran == 20);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "wait without a task returns at once, to everybody") {
  net::Group group;
  CHECK_FALSE(net::wait(group));
  Gate gate;
  net::go(group, [&] { gate.pass(); });
  Blocked one([&] { return net::wait(group); });
  Blocked two([&] { return net::wait(group); });
  gate.open();
  CHECK_FALSE(one.get());
  CHECK_FALSE(two.get());
}

TEST_CASE_FIXTURE(TimeLimit, "a task may start tasks, and wait waits for all") {
  struct Tree {
    net::Group& group;
    std::atomic<int>& nodes;
    void operator()(int depth) const {
      ++nodes;
      for (int i = 0; i < 2 && depth > 1; ++i)
        net::must(net::go(group, *this, depth - 1));
    }
  };
  net::Group group;
  std::atomic<int> nodes{0};
  net::go(group, Tree{group, nodes}, 7);
  CHECK_FALSE(net::wait(group));
  CHECK(nodes == 127);
}

TEST_CASE_FIXTURE(TimeLimit, "many threads may share a Group") {
  net::Group group(4);
  std::atomic<int> ran{0};
  {
    std::vector<Thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int j = 0; j < 25; ++j) net::go(group, [&] { ++ran; });
      });
  }
  CHECK_FALSE(net::wait(group));
  CHECK(ran == 200);
}

TEST_CASE_FIXTURE(TimeLimit, "what a task owns is gone when wait returns") {
  net::Group group;
  for (int i = 0; i < 3; ++i) {
    std::atomic<bool> captured{false}, passed{false};
    net::go(
        group, [held = slow_to_go(captured)](const std::shared_ptr<void>&) {},
        slow_to_go(passed));
    net::must(net::wait(group));
    CHECK(captured);
    CHECK(passed);
    wait_until([&] { return captured && passed; });
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a handle that was given to a task goes with it") {
  net::Group group;
  for (int i = 0; i < 100; ++i) {
    auto [near, far, err] = net::pipe();
    net::go(
        group, [](const net::Conn&) {}, std::move(near));
    net::must(net::wait(group));
    char byte;
    CHECK(net::try_read(far, {&byte, 1}).error == net::eof);
  }
}

// ---------------------------------------------------------------------------
// serve

TEST_CASE_FIXTURE(TimeLimit,
                  "serve serves 50 clients at once, each exactly once") {
  Crowd crowd;
  std::atomic<int> served{0};
  Server server([&](const net::Conn& conn) {
    crowd.enter();
    wait_until([&] { return crowd.most() == 50; });
    echo_byte(conn);
    ++served;
  });
  std::atomic<int> answered{0};
  {
    std::vector<Thread> clients;
    for (int i = 0; i < 50; ++i)
      clients.emplace_back([&] { answered += answers(server.dial()); });
  }
  CHECK_FALSE(server.stop());
  CHECK(answered == 50);
  CHECK(served == 50);
  CHECK(server.heard().empty());
}

TEST_CASE_FIXTURE(TimeLimit, "serve serves unix sockets too") {
  const support::Directory directory;
  Server server(echo_byte, {}, "unix", directory.path + "/s.sock");
  CHECK(answers(server.dial()));
  CHECK(answers(server.dial()));
  CHECK_FALSE(server.stop());
}

TEST_CASE_FIXTURE(TimeLimit, "a handler takes its connection in any way") {
  Server by_value([](net::Conn conn) { echo_byte(conn); });
  CHECK(answers(by_value.dial()));
  Server by_move([](net::Conn&& conn) { echo_byte(conn); });
  CHECK(answers(by_move.dial()));
  Server with_state([count = 0](const net::Conn& conn) mutable {
    if (++count == 1) echo_byte(conn);  // each client has a copy
  });
  CHECK(answers(with_state.dial()));
  CHECK(answers(with_state.dial()));
}

TEST_CASE_FIXTURE(TimeLimit, "a connection is closed when its handler ends") {
  Server server([](const net::Conn&) {});
  CHECK(ended(server.dial()));

  // Unless the handler kept a handle.
  net::Conn kept;
  Gate gate;
  Server keeper([&](const net::Conn& conn) {
    kept = conn;
    gate.open();
  });
  const net::Conn client = keeper.dial();
  gate.pass();
  CHECK_FALSE(keeper.stop());
  net::must(net::write(kept, "!"));
  char byte;
  CHECK(net::must(net::read(client, {&byte, 1})) == 1);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "max_connections: never more inside, and all served") {
  constexpr int limit = 8, count = 64;
  Crowd crowd;
  net::ServeOptions options;
  options.max_connections = limit;
  Server server(
      [&](const net::Conn& conn) {
        crowd.enter();
        echo_byte(conn);
        crowd.leave();
      },
      options);
  std::vector<net::Conn> clients;
  for (int i = 0; i < count; ++i) clients.push_back(server.dial());
  wait_until([&] { return crowd.inside() == limit; });
  // The others are connected, and wait in the listener's queue.
  std::atomic<int> answered{0};
  {
    std::vector<Thread> threads;
    for (net::Conn& client : clients)
      threads.emplace_back([&] { answered += answers(client); });
  }
  CHECK_FALSE(server.stop());
  CHECK(answered == count);
  CHECK(crowd.most() == limit);
}

TEST_CASE_FIXTURE(TimeLimit, "a full server rests") {
  net::ServeOptions options;
  options.max_connections = 1;
  Server server(echo_byte, options);
  const net::Conn first = server.dial(), second = server.dial();
  std::this_thread::sleep_for(10ms);
  const auto before = support::cpu_time();
  std::this_thread::sleep_for(300ms);
  CHECK(support::cpu_time() - before < 100ms);
  CHECK(answers(first));
  CHECK(answers(second));
}

TEST_CASE_FIXTURE(TimeLimit, "handlers have a time of grace to finish in") {
  Gate gate;
  std::atomic<bool> begun{false}, finished{false};
  net::ServeOptions options;
  options.grace = support::generous;
  Server server(
      [&](const net::Conn& conn) {
        begun = true;
        gate.pass();
        echo_byte(conn);
        finished = true;
      },
      options);
  const net::Conn client = server.dial();
  net::must(net::write(client, "x"));
  wait_until([&] { return begun.load(); });
  net::close(server.listener);
  CHECK_FALSE(server.done());
  gate.open();
  CHECK(answers(client));
  CHECK_FALSE(server.result());
  CHECK(finished);
}

TEST_CASE_FIXTURE(TimeLimit, "after the grace, connections are closed") {
  for (const auto grace : {100ms, 0ms, -1000ms}) {
    CAPTURE(grace.count());
    net::Error seen;
    Gate inside;
    net::ServeOptions options;
    options.grace = grace;
    Server server(
        [&](const net::Conn& conn) {
          inside.open();
          char byte;
          seen = net::read(conn, {&byte, 1}).error;
        },
        options);
    const net::Conn client = server.dial();
    inside.pass();
    const Stopwatch watch;
    CHECK_FALSE(server.stop());
    CHECK(watch.elapsed() >= grace - 1ms);
    CHECK(watch.elapsed() < support::generous);
    CHECK(seen == net::closed);
    CHECK(ended(client));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a grace without end does not overflow") {
  net::ServeOptions options;
  options.grace = std::chrono::nanoseconds::max();
  Gate gate;
  Server server([&](const net::Conn&) { gate.pass(); }, options);
  const net::Conn client = server.dial();
  net::close(server.listener);
  CHECK_FALSE(server.done());
  gate.open();
  CHECK_FALSE(server.result());
}

TEST_CASE_FIXTURE(TimeLimit, "serve ends when the listener is closed") {
  SUBCASE("before it begins") {
    const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    net::close(listener);
    CHECK_FALSE(net::serve(listener, echo_byte));
  }
  SUBCASE("in accept") {
    Server server(echo_byte);
    CHECK_FALSE(server.stop());
  }
  SUBCASE("while full") {
    Crowd crowd;
    net::ServeOptions options;
    options.max_connections = 2;
    options.grace = 0s;
    Server server(
        [&](const net::Conn& conn) {
          crowd.enter();
          echo_byte(conn);
        },
        options);
    const net::Conn one = server.dial(), two = server.dial();
    const net::Conn three = server.dial();
    wait_until([&] { return crowd.inside() == 2; });
    CHECK_FALSE(server.stop());
    CHECK(ended(one));
    CHECK(ended(two));
    char byte;
    CHECK(net::read(three, {&byte, 1}).error == std::errc::connection_reset);
  }
  SUBCASE("while it waits for descriptors") {
    Server server(echo_byte);
    FullTable table;
    const net::Conn client = dial_and_fill(server, table);
    wait_until([&] { return !server.heard().empty(); });
    const Stopwatch watch;
    CHECK_FALSE(server.stop());
    CHECK(watch.elapsed() < support::generous);
  }
  SUBCASE("by a handler") {
    Server* self = nullptr;
    Server server([&](const net::Conn&) { net::close(self->listener); });
    self = &server;
    CHECK(ended(server.dial()));
    CHECK_FALSE(server.result());
  }
  SUBCASE("of a listener that never was") {
    CHECK(net::serve(net::Listener(), echo_byte) == net::closed);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "serve may be stopped before it has begun") {
  // As early as may be: the thread that is to accept may not run yet.
  std::minstd_rand random(1);
  for (int i = 0; i < 2000 / support::slowness; ++i) {
    const net::Listener listener = net::must(net::listen("unix", ""));
    net::Error err = net::eof;
    const Thread serving([&] { err = net::serve(listener, echo_byte); });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    CHECK_FALSE(net::close(listener));
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a handler's exception costs its own client only") {
  std::atomic<int> count{0};
  Server server([&](const net::Conn& conn) {
    if (++count % 2 == 0) throw std::runtime_error("out of tea");
    echo_byte(conn);
  });
  for (int i = 0; i < 5; ++i) {
    CHECK(answers(server.dial()));
    CHECK(ended(server.dial()));
  }
  CHECK_FALSE(server.stop());
  CHECK(server.heard().size() == 5);
  for (const net::Error& err : server.heard()) {
    CHECK(err == net::task_failed);
    CHECK(err.message().find("out of tea") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "on_error hears the error that a handler returns") {
  Server server([](const net::Conn& conn) {
    char byte;
    return net::read(conn, {&byte, 1}).error;
  });
  const net::Conn client = server.dial();
  net::set_linger(client, 0);
  net::close(client);  // a reset
  net::close(server.dial());
  wait_until([&] { return server.heard().size() == 2; });
  // Which of the two is told first is not said.
  for (const net::Error& err : server.heard())
    CHECK((err == std::errc::connection_reset || err == net::eof));
  CHECK_FALSE(server.done());
  CHECK_FALSE(server.stop());
}

TEST_CASE_FIXTURE(TimeLimit, "an exception from on_error ends nothing") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  std::atomic<int> told{0};
  net::ServeOptions options;
  options.on_error = [&](const net::Error&) {
    ++told;
    throw std::runtime_error("no tea for anybody");
  };
  const auto handler = [](const net::Conn&) { return net::limit_exceeded; };
  Blocked serving([&] { return net::serve(listener, handler, options); });
  for (int i = 0; i < 3; ++i)
    CHECK(ended(net::must(net::dial("unix", net::addr(listener).string()))));
  wait_until([&] { return told == 3; });
  net::close(listener);
  CHECK_FALSE(serving.get());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "clients that reset at once do not end the server") {
  Server server(echo_byte);
  for (int i = 0; i < 100; ++i) {
    const net::Conn client = server.dial();
    net::set_linger(client, 0);
    net::close(client);
  }
  CHECK(answers(server.dial()));
  CHECK_FALSE(server.stop());
}

TEST_CASE_FIXTURE(TimeLimit, "a deadline on the listener ends serve") {
  Server server(echo_byte);
  CHECK(answers(server.dial()));
  net::set_deadline(server.listener, 30ms);
  const Stopwatch watch;
  const net::Error err = server.result();
  CHECK(err == net::timed_out);
  CHECK(err.op() == "accept");
  CHECK(watch.elapsed() >= 29ms);
  // The listener is still open: serve again.
  net::set_deadline(server.listener, net::no_deadline);
  Blocked again([&] { return net::serve(server.listener, echo_byte); });
  CHECK(answers(server.dial()));
  net::close(server.listener);
  CHECK_FALSE(again.get());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a deadline waits for the handlers, also when full") {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{1}}) {
    CAPTURE(limit);
    Gate inside, gate;
    net::ServeOptions options;
    options.max_connections = limit;
    Server server(
        [&](const net::Conn& conn) {
          inside.open();
          gate.pass();
          echo_byte(conn);
        },
        options);
    const net::Conn client = server.dial();
    inside.pass();
    net::set_deadline(server.listener, 0ms);
    const auto before = support::cpu_time();
    std::this_thread::sleep_for(200ms);
    CHECK(support::cpu_time() - before < 100ms);
    CHECK_FALSE(server.done());
    gate.open();
    CHECK(answers(client));
    CHECK(server.result() == net::timed_out);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a full descriptor table costs no core, and no client") {
  Server server(echo_byte);
  net::Conn client;
  {
    FullTable table;
    client = dial_and_fill(server, table);
    const auto before = support::cpu_time();
    std::this_thread::sleep_for(1s);
    CHECK(support::cpu_time() - before < 100ms);
    CHECK_FALSE(server.done());
  }
  CHECK(answers(client));
  CHECK(answers(server.dial()));
  REQUIRE_FALSE(server.heard().empty());
  for (const net::Error& err : server.heard()) {
    CHECK(err == std::errc::too_many_files_open);
    CHECK(err.temporary());
    CHECK(err.op() == "accept");
  }
  CHECK_FALSE(server.stop());
}

TEST_CASE_FIXTURE(TimeLimit, "two servers share one listener") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  const std::string address = net::addr(listener).string();
  net::ServeOptions options;
  options.max_connections = 1;
  std::atomic<int> served{0};
  const auto handler = [&](const net::Conn& conn) {
    echo_byte(conn);
    ++served;
  };
  Blocked one([&] { return net::serve(listener, handler, options); });
  Blocked two([&] { return net::serve(listener, handler, options); });
  std::atomic<int> answered{0};
  {
    std::vector<Thread> clients;
    for (int i = 0; i < 8; ++i)
      clients.emplace_back([&] {
        for (int j = 0; j < 25; ++j)
          answered += answers(net::must(net::dial("unix", address)));
      });
  }
  net::close(listener);
  CHECK_FALSE(one.get());
  CHECK_FALSE(two.get());
  CHECK(answered == 200);
  CHECK(served == 200);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a full server does not keep others from accepting") {
  net::ServeOptions options;
  options.max_connections = 1;
  Server full(echo_byte, options);
  const net::Conn first = full.dial();
  net::must(net::write(first, ""));
  const net::Conn second = full.dial(), third = full.dial();
  wait_until([&] { return net::remote_addr(first) && !full.done(); });

  // Somebody else at the same listener takes one client, and then another.
  net::set_read_deadline(full.listener, support::generous);
  Crowd crowd;
  net::Listener listener = full.listener;
  Blocked other([&] {
    return net::serve(listener, [&](const net::Conn& conn) {
      crowd.enter();
      echo_byte(conn);
    });
  });
  wait_until([&] { return crowd.inside() >= 2; });
  CHECK(answers(second));
  CHECK(answers(third));
  CHECK(answers(first));
  CHECK_FALSE(full.stop());
  CHECK_FALSE(other.get());
}
