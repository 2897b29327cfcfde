// SPDX-License-Identifier: MIT
// Concurrency: Group and serve, and many threads on shared handles. What
// happens when a thread cannot start is told in faults/threads.cpp.

// With an older C library, or with musl, condition variables count by the wall
// clock; with this they do so here.
#ifdef WALL_CLOCK
#include <string>
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#endif

#include "netlite.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using support::answers;
using support::Blocked;
using support::Connected;
using support::echo_byte;
using support::Stopwatch;
using support::Thread;
using support::TimeLimit;

// The thread sanitizer loses sight of threads that a forked child starts, and
// of those that end by force.
#if defined(__SANITIZE_THREAD__)
constexpr bool blind = true;
#elif defined(__has_feature)
constexpr bool blind = __has_feature(thread_sanitizer);
#else
constexpr bool blind = false;
#endif

// With LLVM's libc++, a thread that ends itself, or is cancelled, ends any
// program where a destructor is still to run: glibc unwinds with libgcc, and
// meets LLVM's libunwind. And a function that was moved from may still be
// there.
#ifdef _LIBCPP_VERSION
constexpr bool is_libcxx = true;
#else
constexpr bool is_libcxx = false;
#endif

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

// When there is one, the resolver waits for it, and knows no name.
std::atomic<Gate*> resolver{nullptr};

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
long status(const std::string& name, std::istream& file) {
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, name.size() + 1, name + ":") == 0)
      return std::stol(line.substr(name.size() + 1));
  return -1;
}
long status(const std::string& name,
            const std::string& path = "/proc/self/status") {
  std::ifstream file(path);
  return status(name, file);
}

// The memory that this process has allocated and not freed, in bytes; what the
// system thinks it uses, where the C library does not tell.
long memory() {
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
  return static_cast<long>(::mallinfo2().uordblks);
#endif
#endif
  return 1024 * status("VmRSS");
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
    const net::Addr at = net::addr(listener);
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

bool ended(const net::Conn& conn) {
  char byte;
  return net::read(conn, {&byte, 1}).error == net::eof;
}

// Leaves no descriptor free, until release.
class FullTable {
 public:
  FullTable() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    while (taken_.size() < 8) take();
    rlimit less = before_;
    less.rlim_cur = static_cast<rlim_t>(taken_.back()) + 1;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
    fill();
  }
  FullTable(const FullTable&) = delete;
  FullTable& operator=(const FullTable&) = delete;
  ~FullTable() { release(); }
  void fill() {
    while (take() >= 0) continue;
    REQUIRE(errno == EMFILE);
  }
  void free(std::size_t count) {
    for (; count > 0; --count) {
      ::close(taken_.back());
      taken_.pop_back();
    }
  }
  void release() {
    free(taken_.size());
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
  table.free(1);
  return server.dial();
}

}  // namespace

extern "C" int getaddrinfo(const char* host, const char* service,
                           const addrinfo* hints, addrinfo** found) {
  if (Gate* gate = resolver) {
    gate->pass();
    return EAI_NONAME;
  }
  using Call = int(const char*, const char*, const addrinfo*, addrinfo**);
  static Call* const real =
      reinterpret_cast<Call*>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(host, service, hints, found);
}

// ---------------------------------------------------------------------------
// Group

TEST_CASE_FIXTURE(TimeLimit, "go runs a task in a thread of its own") {
  net::Group group;
  std::thread::id there;
  CHECK_FALSE(group.go([&] { there = std::this_thread::get_id(); }));
  CHECK_FALSE(group.wait());
  CHECK(there != std::thread::id());
  CHECK(there != std::this_thread::get_id());
}

TEST_CASE_FIXTURE(TimeLimit, "tasks run at the same time") {
  net::Group group;
  Crowd crowd;
  for (int i = 0; i < 50; ++i)
    CHECK_FALSE(group.go([&] {
      crowd.enter();
      wait_until([&] { return crowd.most() == 50; });
    }));
  CHECK_FALSE(group.wait());
  CHECK(crowd.most() == 50);
}

TEST_CASE_FIXTURE(TimeLimit, "go copies its arguments, or moves them") {
  net::Group group;
  Gate gate;
  std::string text = "as it was";
  std::string seen_copy, seen_moved, seen_ref;
  net::must(group.go(
      [&](const std::string& copy, const char* literal) {
        gate.pass();
        seen_copy = copy + literal;
      },
      text, "!"));
  net::must(
      group.go([&](std::unique_ptr<std::string> moved) { seen_moved = *moved; },
               std::make_unique<std::string>("moved")));
  net::must(group.go(
      [&, moved = std::make_unique<int>(7)](std::string& same) {
        gate.pass();
        seen_ref = same + std::to_string(*moved);
      },
      std::ref(text)));
  text = "changed";
  gate.open();
  CHECK_FALSE(group.wait());
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
  net::must(group.go(&Counter::add, &counter, 5));
  net::must(group.go(
      +[](int n) { called += n; }, 3));
  net::must(group.wait());
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
  for (int i = 0; i < 3; ++i) net::must(group.go(task));
  wait_until([&] { return crowd.inside() == 3; });
  Blocked fourth([&] { return group.go(task); });
  CHECK_FALSE(fourth.done());
  gate.open();
  CHECK_FALSE(fourth.get());
  for (int i = 0; i < 200; ++i) net::must(group.go(task));
  net::must(group.wait());
  CHECK(crowd.most() == 3);
  CHECK(crowd.inside() == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "wait returns the first error, and only once") {
  net::Group group(1);  // one after the other
  net::must(group.go([] { return net::Error(); }));
  net::must(group.go([] { return net::limit_exceeded; }));
  net::must(group.go([] { return std::make_error_code(std::errc::io_error); }));
  CHECK(group.wait() == net::limit_exceeded);
  CHECK_FALSE(group.wait());
  net::must(group.go([] { return std::make_error_code(std::errc::io_error); }));
  CHECK(group.wait() == std::errc::io_error);
}

TEST_CASE_FIXTURE(TimeLimit, "a Result that a task returns tells its error") {
  net::Group group;
  net::must(group.go([] { return net::write(net::Conn(), "x"); }));
  CHECK(group.wait() == net::closed);
  char room[1];
  net::must(group.go([&] { return net::read_from(net::PacketConn(), room); }));
  CHECK(group.wait() == net::closed);
  net::must(group.go([] { return net::parse_ip("::1"); }));
  CHECK_FALSE(group.wait());
}

TEST_CASE_FIXTURE(TimeLimit, "a task may return a reference, of any type") {
  struct Counter {
    Counter& count() { return ++counted, *this; }
    std::atomic<int> counted{0};  // cannot be copied
  };
  Counter counter;
  net::Group group;
  net::must(group.go(&Counter::count, &counter));
  net::must(group.go([&]() -> Counter& { return counter.count(); }));
  CHECK_FALSE(group.wait());
  CHECK(counter.counted == 2);
}

TEST_CASE_FIXTURE(TimeLimit, "a report may return what it likes") {
  int heard = 0;
  net::Report report = [&](const net::Error&) { return ++heard; };
  report(net::closed);
  CHECK(heard == 1);
  const net::Report moved = std::move(report);
  CHECK(moved);
  if (!is_libcxx) CHECK_FALSE(report);  // and nobody calls it
}

TEST_CASE_FIXTURE(TimeLimit,
                  "an error keeps its story on the way out of a task") {
  net::Group group;
  net::must(group.go([] { return net::dial("tcp", "no port").error; }));
  const net::Error err = group.wait();
  CHECK(err == net::missing_port);
  CHECK(err.message() == "dial tcp: address no port: missing port in address");
}

TEST_CASE_FIXTURE(TimeLimit, "an exception ends its task, and nothing else") {
  net::Group group;
  Gate gate;
  bool other = false;
  net::must(group.go([&] {
    gate.pass();
    other = true;
  }));
  net::must(group.go([]() -> void { throw std::runtime_error("out of tea"); }));
  Blocked waiting([&] { return group.wait(); });
  gate.open();
  const net::Error err = waiting.get();
  CHECK(err == net::task_failed);
  CHECK(err.message().find("out of tea") != std::string::npos);
  CHECK(other);

  net::must(group.go([]() -> net::Error { throw 42; }));
  CHECK(group.wait() == net::task_failed);
  net::must(group.go([] { net::must(net::Error(net::eof)); }));
  CHECK(group.wait().message().find("EOF") != std::string::npos);
}

// A task that cannot be moved, only copied: and that fails, the n-th time.
struct Copied {
  int* copies_left;
  explicit Copied(int& copies) : copies_left(&copies) {}
  Copied(const Copied& other) : copies_left(other.copies_left) {
    if ((*copies_left)-- == 0) throw std::runtime_error("out of paper");
  }
  Copied& operator=(const Copied&) = delete;
  ~Copied() = default;
  void operator()() const {}
};

TEST_CASE_FIXTURE(TimeLimit, "a task whose copy fails is not waited for") {
  net::Group group(1);
  bool failed = true;
  for (int n = 0; failed; ++n) {
    CAPTURE(n);
    int copies = 1000;
    const Copied task(copies);
    copies = n;
    try {
      const net::Error err = group.go(task);
      failed = err == net::task_failed;
      if (failed)
        CHECK(err.message() == "task failed: exception: out of paper");
    } catch (const std::runtime_error&) {  // the caller's own copy
      failed = true;
    }
    CHECK_FALSE(group.wait());
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a Group waits for its tasks before it goes") {
  std::atomic<int> ran{0};
  {
    net::Group group;
    for (int i = 0; i < 20; ++i)
      net::must(group.go([&] {
        std::this_thread::sleep_for(1ms);
        ++ran;
      }));
  }
  CHECK(ran == 20);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "wait without a task returns at once, to everybody") {
  net::Group group;
  CHECK_FALSE(group.wait());
  Gate gate;
  net::must(group.go([&] { gate.pass(); }));
  Blocked one([&] { return group.wait(); });
  Blocked two([&] { return group.wait(); });
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
        net::must(group.go(*this, depth - 1));
    }
  };
  net::Group group;
  std::atomic<int> nodes{0};
  net::must(group.go(Tree{group, nodes}, 7));
  CHECK_FALSE(group.wait());
  CHECK(nodes == 127);
}

TEST_CASE_FIXTURE(TimeLimit, "many threads may share a Group") {
  net::Group group(4);
  std::atomic<int> ran{0};
  {
    std::vector<Thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        for (int j = 0; j < 25; ++j) net::must(group.go([&] { ++ran; }));
      });
  }
  CHECK_FALSE(group.wait());
  CHECK(ran == 200);
}

TEST_CASE_FIXTURE(TimeLimit, "what a task owns is gone when wait returns") {
  net::Group group;
  for (int i = 0; i < 3; ++i) {
    std::atomic<bool> captured{false}, passed{false};
    net::must(
        group.go([held = slow_to_go(captured)](const std::shared_ptr<void>&) {},
                 slow_to_go(passed)));
    net::must(group.wait());
    CHECK(captured);
    CHECK(passed);
    wait_until([&] { return captured && passed; });
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a handle that was given to a task goes with it") {
  net::Group group;
  for (int i = 0; i < 100; ++i) {
    auto [near, far, err] = net::pipe();
    net::must(group.go([](const net::Conn&) {}, std::move(near)));
    net::must(group.wait());
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

// https://github.com/llvm/llvm-project/issues/53928
TEST_CASE_FIXTURE(TimeLimit, "a time that is far away is slept through") {
  const auto asleep = [](auto done) {
    const auto before = support::cpu_time();
    std::this_thread::sleep_for(200ms);
    CHECK(support::cpu_time() - before < 100ms);
    CHECK_FALSE(done());
  };
  for (const auto far : {net::forever, net::forever / 2,
                         std::chrono::nanoseconds(std::chrono::hours(9000))}) {
    CAPTURE(far.count());
    Gate inside, gate;
    net::ServeOptions options;
    options.grace = far;
    Server server(
        [&](const net::Conn&) {
          inside.open();
          gate.pass();
        },
        options);
    const net::Conn client = server.dial();
    inside.pass();
    net::close(server.listener);
    asleep([&] { return server.done(); });
    gate.open();
    CHECK_FALSE(server.result());

    Gate answer;
    resolver = &answer;
    Blocked asking([&] { return net::lookup_host("far.test", far).error; });
    asleep([&] { return asking.done(); });
    answer.open();
    CHECK(asking.get() == net::no_such_host);
    resolver = nullptr;
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a full server rests until a far deadline") {
  Gate inside, gate;
  net::ServeOptions options;
  options.max_connections = 1;
  Server server(
      [&](const net::Conn&) {
        inside.open();
        gate.pass();
      },
      options);
  net::set_deadline(server.listener, net::forever / 2);
  const net::Conn client = server.dial();
  inside.pass();
  const auto before = support::cpu_time();
  std::this_thread::sleep_for(200ms);
  CHECK(support::cpu_time() - before < 100ms);
  gate.open();
  CHECK_FALSE(server.stop());
}

// As how-do-i.md says. The signal is for one thread, since this process has
// others that do not block it.
TEST_CASE_FIXTURE(TimeLimit,
                  "a thread that waits for a signal stops a server") {
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &stop, &before);
  const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  std::atomic<pthread_t> waiting{};
  net::Group group;
  net::must(group.go([&] {
    waiting = ::pthread_self();
    int signal = 0;
    ::sigwait(&stop, &signal);
    net::close(listener);
  }));
  Blocked serving([&] { return net::serve(listener, echo_byte); });
  while (waiting == pthread_t{}) std::this_thread::yield();
  ::pthread_kill(waiting, SIGTERM);
  CHECK_FALSE(serving.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
    const auto when = std::chrono::steady_clock::now() +
                      std::chrono::microseconds(random() % 200);
    while (std::chrono::steady_clock::now() < when) continue;
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

TEST_CASE_FIXTURE(TimeLimit, "a handler whose copy fails costs one client") {
  struct Handler {
    std::shared_ptr<std::atomic<bool>> fails;
    explicit Handler(std::shared_ptr<std::atomic<bool>> told)
        : fails(std::move(told)) {}
    Handler(const Handler& other) : fails(other.fails) {
      if (fails->exchange(false)) throw std::runtime_error("out of paper");
    }
    Handler& operator=(const Handler&) = delete;
    ~Handler() = default;
    void operator()(const net::Conn& conn) const { echo_byte(conn); }
  };
  const auto fails = std::make_shared<std::atomic<bool>>(false);
  const net::Listener listener = net::must(net::listen("unix", ""));
  const auto dial = [&] {
    return net::must(net::dial("unix", net::addr(listener).string()));
  };
  std::atomic<int> told{0};
  net::ServeOptions options;
  options.on_error = [&](const net::Error& err) {
    told += err == net::task_failed;
  };
  Blocked serving(
      [&] { return net::serve(listener, Handler(fails), options); });
  CHECK(answers(dial()));
  *fails = true;
  CHECK(ended(dial()));
  CHECK(answers(dial()));
  CHECK(told == 1);
  net::close(listener);
  CHECK_FALSE(serving.get());
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

// Both rest at the listener, and one of them has room again.
TEST_CASE_FIXTURE(TimeLimit,
                  "of two full servers the one whose client leaves accepts") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  const std::string address = net::addr(listener).string();
  net::ServeOptions options;
  options.max_connections = 1;
  std::atomic<int> threads[2]{};
  const auto serve = [&](std::atomic<int>& thread) {
    thread = ::gettid();
    return net::serve(listener, echo_byte, options);
  };
  Blocked one([&] { return serve(threads[0]); });
  Blocked two([&] { return serve(threads[1]); });
  const net::Conn stays = net::must(net::dial("unix", address));
  net::Conn leaves = net::must(net::dial("unix", address));
  for (int round = 0; round < 4; ++round) {
    for (const int thread : threads) support::wait_until_asleep(thread);
    CHECK(answers(leaves));
    leaves = net::must(net::dial("unix", address));
  }
  CHECK(answers(leaves));
  CHECK(answers(stays));
  net::close(listener);
  CHECK_FALSE(one.get());
  CHECK_FALSE(two.get());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a full server does not keep others from accepting") {
  Gate inside;
  net::ServeOptions options;
  options.max_connections = 1;
  Server full(
      [&](const net::Conn& conn) {
        inside.open();
        echo_byte(conn);
      },
      options);
  const net::Conn first = full.dial();
  inside.pass();
  const net::Conn second = full.dial();
  Blocked other([&] { return net::serve(full.listener, echo_byte); });
  CHECK(answers(second));
  CHECK(answers(full.dial()));
  CHECK(answers(first));
  CHECK_FALSE(full.stop());
  CHECK_FALSE(other.get());
}

TEST_CASE_FIXTURE(TimeLimit, "what serve was given is free when it returns") {
  // A handler that counts its copies; in other threads even the empty shell
  // of one takes its time to go.
  struct Handler {
    std::atomic<int>* alive;
    std::thread::id home = std::this_thread::get_id();
    explicit Handler(std::atomic<int>& count) : alive(&count) { ++count; }
    Handler(const Handler& other) : alive(other.alive), home(other.home) {
      ++*alive;
    }
    Handler(Handler&& other) noexcept
        : alive(std::exchange(other.alive, nullptr)), home(other.home) {}
    Handler& operator=(Handler&&) = delete;
    ~Handler() {
      if (std::this_thread::get_id() != home) std::this_thread::sleep_for(5ms);
      if (alive) --*alive;
    }
    void operator()(const net::Conn&) const {}
  };
  std::atomic<int> alive{0};
  net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  for (int i = 0; i < 20; ++i) {
    net::close(net::must(net::dial("tcp", address)));
    net::set_deadline(listener, 2ms);
    CHECK(net::serve(listener, Handler(alive)) == net::timed_out);
    CHECK(alive.load() == 0);
    wait_until([&] { return alive == 0; });
    // The port, too, is nobody else's.
    listener = net::Listener();
    auto [again, err] = net::listen("tcp", address);
    REQUIRE_FALSE(err);
    listener = again;
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a task or handler may end its own thread" *
                                 doctest::skip(blind || is_libcxx)) {
  net::Group group;
  net::must(group.go([] { ::pthread_exit(nullptr); }));
  CHECK(group.wait() == net::task_failed);

  std::atomic<int> count{0};
  Server server([&](const net::Conn& conn) {
    if (++count == 1) ::pthread_exit(nullptr);
    echo_byte(conn);
  });
  CHECK(ended(server.dial()));
  CHECK(answers(server.dial()));
  CHECK_FALSE(server.stop());
  REQUIRE(server.heard().size() == 1);
  CHECK(server.heard()[0] == net::task_failed);
}

namespace {

// A call in a thread that is cancelled while it sleeps there.
void cancel_in(std::function<void()> call) {
  struct Victim {
    std::function<void()> call;
    std::atomic<int> tid{0};
  } victim{std::move(call)};
  pthread_t id;
  const auto run = [](void* argument) -> void* {
    auto& self = *static_cast<Victim*>(argument);
    self.tid = ::gettid();
    self.call();
    ::pthread_testcancel();
    return nullptr;
  };
  REQUIRE(::pthread_create(&id, nullptr, run, &victim) == 0);
  while (victim.tid == 0) std::this_thread::yield();
  support::wait_until_asleep(victim.tid);
  ::pthread_cancel(id);
  void* result = nullptr;
  ::pthread_join(id, &result);
  CHECK(result == PTHREAD_CANCELED);
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "a thread that is cancelled leaves what it used" *
                                 doctest::skip(blind || is_libcxx)) {
  const Connected ends("unix", "");
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  net::Poller poller;
  char byte;
  const std::string much(16 << 20, 'x');
  cancel_in([&] { (void)net::read(ends.client, {&byte, 1}); });
  cancel_in([&] { (void)net::wait(ends.client, net::readable); });
  cancel_in([&] { (void)net::write(ends.client, much); });
  cancel_in([&] { (void)net::accept(ends.listener); });
  cancel_in([&] { (void)net::read_from(packets, {&byte, 1}); });
  cancel_in([&] { (void)poller.wait(); });

  net::must(net::write(ends.server, "!"));
  CHECK(net::must(net::read(ends.client, {&byte, 1})) == 1);
  const net::Conn client =
      net::must(net::dial("unix", net::addr(ends.listener).string()));
  CHECK_FALSE(net::accept(ends.listener).error);
  net::must(net::write_to(packets, "!", net::local_addr(packets)));
  CHECK(net::must(net::read_from(packets, {&byte, 1})).size == 1);
  net::must(poller.watch(ends.client, net::writable));
  for (const net::Socket& each :
       std::vector<net::Socket>{ends.client, ends.listener, packets})
    CHECK_FALSE(net::close(each));

  net::Group group;
  const net::Pipe pipe = net::pipe();
  std::atomic<int> tid{0};
  std::atomic<pthread_t> id{};
  net::must(group.go([&] {
    id = ::pthread_self();
    tid = ::gettid();
    (void)net::read(pipe.first, {&byte, 1});
  }));
  while (tid == 0) std::this_thread::yield();
  support::wait_until_asleep(tid);
  ::pthread_cancel(id);
  CHECK(group.wait() == net::task_failed);
  CHECK_FALSE(net::close(pipe.first));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a thread is not cancelled while it waits for its tasks" *
                      doctest::skip(blind || is_libcxx)) {
  // A cancellation that came out of a destructor would end the program.
  const auto lasts = [] { std::this_thread::sleep_for(300ms); };
  cancel_in([&] {
    net::Group group;
    net::must(group.go(lasts));
  });
  const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const net::Conn client =
      net::must(net::dial("tcp", net::addr(listener).string()));
  cancel_in([&] {
    (void)net::serve(listener, [&](const net::Conn&) {
      net::close(listener);
      lasts();
    });
  });
}

TEST_CASE_FIXTURE(TimeLimit, "a close that lingers holds up no other client") {
  std::atomic<int> stuck{0};
  bool stays = false;
  const auto handler = [&](const net::Conn& conn) {
    char byte = 0;
    while (net::read(conn, {&byte, 1}).value == 1 && byte != '?')
      (void)net::write(conn, {&byte, 1});
    if (byte != '?') return;
    // More than fits, to a peer that does not read: close waits for it. It is
    // full when not a byte more is taken. (The text is made before the time
    // runs: a busy machine may need longer for it than that.)
    net::set_linger(conn, 100);
    const std::string much(16 << 20, 'x');
    do net::set_write_deadline(conn, 500ms);
    while (net::write(conn, much).value > 0);
    stuck = ::gettid();
    if (stays) (void)net::read(conn, {&byte, 1});
  };
  net::ServeOptions options;
  options.grace = 0s;
  SUBCASE("when its handler ends") { stays = false; }
  SUBCASE("when the grace is over") { stays = true; }
  Server server(handler, options);
  const net::Conn slow = server.dial(), other = server.dial();
  CHECK(answers(other));
  net::must(net::write(slow, "?"));
  wait_until([&] { return stuck != 0; });
  support::wait_until_asleep(stuck);
  CHECK(answers(other));
  CHECK(answers(server.dial()));
  net::close(server.listener);
  CHECK(ended(other));
  CHECK_FALSE(server.done());
  std::string rest(1 << 20, '\0');
  while (!net::read(slow, rest).error) continue;
  CHECK_FALSE(server.result());
}

TEST_CASE_FIXTURE(TimeLimit, "on_error is called by one thread at a time") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  Crowd crowd;
  std::atomic<int> told{0};
  net::ServeOptions options;
  options.on_error = [&](const net::Error&) {
    crowd.enter();
    std::this_thread::sleep_for(1ms);
    crowd.leave();
    ++told;
  };
  Gate gate;
  const auto handler = [&](const net::Conn&) {
    gate.pass();
    return net::limit_exceeded;
  };
  Blocked serving([&] { return net::serve(listener, handler, options); });
  std::vector<net::Conn> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(
        net::must(net::dial("unix", net::addr(listener).string())));
  gate.open();
  for (const net::Conn& client : clients) CHECK(ended(client));
  net::close(listener);
  CHECK_FALSE(serving.get());
  CHECK(told == 20);
  CHECK(crowd.most() == 1);
}

TEST_CASE_FIXTURE(TimeLimit, "what on_error holds goes when serve returns") {
  for (int i = 0; i < 200; ++i) {
    const net::Listener listener = net::must(net::listen("unix", ""));
    auto held = std::make_shared<int>();
    net::ServeOptions options;
    options.on_error = [held](const net::Error&) {};
    Blocked serving([&] { return net::serve(listener, echo_byte, options); });
    std::vector<net::Conn> clients;
    for (int j = 0; j < 8; ++j)
      clients.push_back(
          net::must(net::dial("unix", net::addr(listener).string())));
    CHECK(answers(clients.back()));
    clients.clear();
    net::close(listener);
    CHECK_FALSE(serving.get());
    options = net::ServeOptions();
    CHECK(held.use_count() == 1);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "nothing is kept of connections that ended") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  net::internal::Serving serving{listener, {}, {}};
  const net::Pipe pipe = net::must(net::pipe());
  for (int i = 0; i < 3; ++i) {
    const auto one = serving.begin(pipe.first);
    const auto two = serving.begin(pipe.second);
    CHECK(serving.running == 2);
    serving.end(one, {});
    const auto three = serving.begin(pipe.first);
    serving.end(two, {});
    serving.end(three, {});
    CHECK(serving.running == 0);
    CHECK(serving.served.empty());
  }
}

namespace {

// How long it takes until `on_error` has heard so much more.
std::chrono::milliseconds time_of(const Server& server, std::size_t errors) {
  const auto before = server.heard().size();
  const Stopwatch watch;
  wait_until([&] { return server.heard().size() >= before + errors; });
  return watch.elapsed();
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit,
                  "a server without descriptors rests longer each time, and "
                  "not as long after a success") {
  Server server(echo_byte);
  FullTable table;
  const net::Conn first = dial_and_fill(server, table);
  wait_until([&] { return !server.heard().empty(); });
  // 5, 10, 20 ... 320 ms, one after the other
  CHECK(time_of(server, 7) >= 600ms);
  table.free(4);  // for the client, and for the bells of who waits
  CHECK(answers(first));
  table.fill();
  const net::Conn second = dial_and_fill(server, table);
  (void)time_of(server, 1);
  // 75 ms; as before the success it would be three seconds at least.
  CHECK(time_of(server, 4) < 2s);
}

TEST_CASE_FIXTURE(TimeLimit, "a handler that ends makes room at once") {
  Crowd crowd;
  Server server([&](const net::Conn& conn) {
    crowd.enter();
    echo_byte(conn);
    crowd.leave();
  });
  auto fastest = 1000ms;
  for (int round = 0; round < 3 && fastest > 400ms; ++round) {
    const net::Conn served = server.dial();
    wait_until([&] { return crowd.inside() == 1; });
    FullTable table;
    const net::Conn waiting = dial_and_fill(server, table);
    (void)time_of(server, 9);
    // Now the server rests for a second, or for 640 ms at least.
    table.free(4);  // for bells; nobody tells the server
    const Stopwatch watch;
    CHECK(answers(served));
    CHECK(answers(waiting));
    fastest = std::min(fastest, watch.elapsed());
    wait_until([&] { return crowd.inside() == 0; });
  }
  CHECK(fastest < 400ms);
}

namespace {

// A server for silent clients, in a process that may have `limit` descriptors:
// it reports how many it serves, and how many descriptors are left when they
// have gone.
int serve_in_child(const net::Conn& parent, rlim_t limit) {
  rlimit few{limit, limit};
  ::setrlimit(RLIMIT_NOFILE, &few);
  net::Reader orders(parent);
  std::ifstream self("/proc/self/status");  // later there is no descriptor left
  const auto threads = [&] {
    self.clear();
    self.seekg(0);
    return status("Threads", self);
  };
  const auto report = [&](std::size_t number) {
    net::must(net::write(parent, std::to_string(number) + "\n"));
  };
  const auto open = [] {
    std::size_t count = 0;
    for (int fd = 0; fd < 2000; ++fd) count += ::fcntl(fd, F_GETFD) != -1;
    return count;
  };
  std::atomic<bool> full{false};
  net::ServeOptions options;
  options.on_error = [&](const net::Error&) { full = true; };
  Crowd crowd;
  const auto handler = [&](const net::Conn& conn) {
    crowd.enter();
    char byte;
    (void)net::read(conn, {&byte, 1});
    crowd.leave();
  };
  const net::Listener listener = net::must(net::listen("unix", ""));
  // A first wait ends what is left of the parent's bells.
  net::set_deadline(listener, 1ms);
  CHECK(net::accept(listener).error == net::timed_out);
  net::set_deadline(listener, net::no_deadline);
  const std::size_t few_open = open();
  Blocked serving([&] { return net::serve(listener, handler, options); });
  const long before = threads();
  net::must(net::write(parent, net::addr(listener).string() + "\n"));
  while (!orders.read_line().error) {
    wait_until([&] { return full.load(); });
    int served = 0;
    for (int same = 0; same < 50; ++same) {
      // On a busy machine a thread that was started may not have run yet.
      const long started = threads() - before;
      if (crowd.inside() != served || served != started) same = 0;
      served = crowd.inside();
      std::this_thread::sleep_for(1ms);
    }
    report(static_cast<std::size_t>(served));
    net::must(orders.read_line());
    wait_until([&] { return threads() == before; });
    report(open() - few_open);
    full = false;
  }
  net::close(listener);
  return serving.get() ? 1 : 0;
}

}  // namespace

// https://github.com/sockjs/sockjs-node/issues/94
TEST_CASE_FIXTURE(TimeLimit,
                  "nine tenths of the descriptors are there for clients" *
                      doctest::skip(blind)) {
  for (const std::size_t limit : {256u, 1024u}) {
    CAPTURE(limit);
    // In 32 bits there is no room for so many stacks.
    if (limit > 256 && sizeof(void*) < 8) continue;
    const auto [mine, childs, err] = net::pipe();
    net::must(err);
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60u * support::slowness);
      net::close(mine);
      ::_exit(serve_in_child(childs, limit));
    }
    net::close(childs);
    net::Reader reports(mine);
    const std::string address = net::must(reports.read_line());
    for (int round = 0; round < 2; ++round) {
      std::vector<net::Conn> clients;
      while (clients.size() < limit + 20)
        clients.push_back(net::must(net::dial("unix", address)));
      net::must(net::write(mine, "all are here\n"));
      // Without netlite it is five less than the limit.
      CHECK(std::stoul(net::must(reports.read_line())) >= 9 * (limit - 5) / 10);
      clients.clear();
      net::must(net::write(mine, "all have gone\n"));
      CHECK(std::stoul(net::must(reports.read_line())) <= limit / 8);
    }
    net::close(mine);
    int result = -1;
    ::waitpid(child, &result, 0);
    CHECK(result == 0);
  }
}

// https://github.com/python/cpython/issues/81374
// https://github.com/python/cpython/issues/75416
// https://github.com/LibVNC/libvncserver/pull/574
// https://github.com/yhirose/cpp-httplib/issues/52
TEST_CASE_FIXTURE(TimeLimit,
                  "clients in turn leave memory and threads as they were") {
  // 20,000 of them; fewer where a sanitizer makes each a burden.
  const int count = support::slowness > 1 ? 2000 : 20000;
  net::ServeOptions options;
  options.grace = 0s;
  Server server(echo_byte, options, "unix", "");
  const long threads = status("Threads");
  long before = 0;
  std::atomic<int> answered{0};
  for (const int until : {count / 10, count}) {
    {
      std::vector<Thread> clients;
      for (int i = 0; i < 4; ++i)
        clients.emplace_back([&] {
          while (answered < until) answered += answers(server.dial());
        });
    }
    wait_until([&] { return status("Threads") <= threads; });
    if (until < count) before = memory();
  }
  // Less than a word for each.
  if (support::slowness == 1) CHECK(memory() - before < 4 * count);

  CHECK_FALSE(server.stop());
}

// All of them are told before the first is waited for.
TEST_CASE_FIXTURE(TimeLimit,
                  "a server's end waits for none of its idle clients, however "
                  "many") {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit more = before;
  more.rlim_cur = std::min<rlim_t>(before.rlim_max, 13000);
  ::setrlimit(RLIMIT_NOFILE, &more);
  // Each has two descriptors here, and a part of a bell; and a thread, for
  // whose stack there is room where addresses have 64 bits.
  const bool many = support::slowness == 1 && sizeof(void*) == 8;
  const auto count = static_cast<std::size_t>(
      std::min<rlim_t>(more.rlim_cur / 3, many ? 4000 : 400));

  net::ServeOptions options;
  options.grace = 0s;
  Server server(echo_byte, options, "unix", "");
  const long threads = status("Threads");
  std::vector<net::Conn> idle;
  while (idle.size() < count) idle.push_back(server.dial());
  // Or is there no thread for some of them?
  const auto busy = [&] { return std::size_t(status("Threads") - threads); };
  wait_until([&] { return busy() + server.heard().size() >= count; });
  const Stopwatch watch;
  CHECK_FALSE(server.stop());
  CHECK(watch.elapsed() < support::generous);
  std::printf("%zu idle clients: ended after %d ms\n", count,
              static_cast<int>(watch.elapsed().count()));
  for (const net::Conn& conn : idle) CHECK(ended(conn));
  wait_until([&] { return status("Threads") < threads; });
  idle.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
}

// ---------------------------------------------------------------------------
// Closing

namespace {

// A network that one can listen on, one way or the other.
struct Place {
  std::string network;
  std::string address;

  bool packets() const { return network == "udp" || network == "unixgram"; }
  net::Result<net::Socket> open(const std::string& at) const {
    if (packets()) {
      auto [conn, err] = net::listen_packet(network, at);
      return {conn, err};
    }
    auto [listener, err] = net::listen(network, at);
    return {listener, err};
  }
  net::Socket open_again(const std::string& at, int& refusals) const {
    for (;; ++refusals)
      if (const auto [socket, err] = open(at); !err) return socket;
  }
  // Waits for somebody.
  net::Error wait(const net::Socket& socket) const {
    char byte;
    if (packets())
      return net::read_from(net::PacketConn(socket), {&byte, 1}).error;
    return net::accept(net::Listener(socket)).error;
  }
};

std::vector<Place> places(const support::Directory& dir) {
  const std::string name = "@netlite-" + std::to_string(::getpid());
  const std::string file = dir.path + "/socket";
  return {{"tcp", "127.0.0.1:0"}, {"tcp", ":0"},        {"udp", "127.0.0.1:0"},
          {"unix", name},         {"unixpacket", name}, {"unixgram", name},
          {"unix", file},         {"unixpacket", file}};
}

}  // namespace

// https://github.com/golang/go/issues/21856
TEST_CASE_FIXTURE(TimeLimit, "who listens after close is not refused") {
  const int rounds = 1000 / support::slowness;
  const support::Directory dir;
  for (const Place& place : places(dir)) {
    CAPTURE(place.network);
    CAPTURE(place.address);
    int refusals = 0;
    net::Socket socket = net::must(place.open(place.address));
    const std::string address = net::local_addr(socket).string();
    for (int i = 0; i < rounds; ++i) {
      Blocked one([&, socket] { return place.wait(socket); });
      std::optional<Blocked<std::function<net::Error()>>> two;
      if (i % 8 == 0) two.emplace([&, socket] { return place.wait(socket); });
      net::must(net::close(socket));
      socket = place.open_again(address, refusals);
      CHECK(one.get() == net::closed);
      if (two) CHECK(two->get() == net::closed);
    }
    CHECK(refusals == 0);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "nor while a Poller waits, or is asked to") {
  net::Poller poller;
  std::atomic<bool> over{false};
  const Thread waiting([&] {
    while (!over) (void)poller.wait();
  });
  const support::Directory dir;
  for (const Place& place : places(dir)) {
    CAPTURE(place.network);
    CAPTURE(place.address);
    int refusals = 0;
    net::Socket socket = net::must(place.open(place.address));
    const std::string address = net::local_addr(socket).string();
    for (int i = 0; i < 1000 / support::slowness; ++i) {
      net::must(poller.watch(socket, net::readable));
      if (i % 3 == 0) net::must(poller.wake());
      net::must(net::close(socket));
      socket = place.open_again(address, refusals);
    }
    CHECK(refusals == 0);
  }
  over = true;
  net::must(poller.wake());
}

// ---------------------------------------------------------------------------
// Forked children

namespace {

// Sockets of every kind, and a thread that waits at each of them.
struct Waiting {
  Connected tcp{};
  Connected unix{"unix", ""};
  net::PacketConn udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  net::Pipe pipe = net::pipe();
  net::Poller poller{};
  std::vector<net::Socket> all{tcp.listener,  tcp.client,  tcp.server,
                               unix.listener, unix.client, unix.server,
                               udp,           pipe.first,  pipe.second};

  char byte[3] = {};
  Blocked<std::function<net::Error()>> reading{[this] {
    return net::read(tcp.server, {byte, 1}).error;
  }};
  Blocked<std::function<net::Error()>> accepting{
      [this] { return net::accept(unix.listener).error; }};
  Blocked<std::function<net::Error()>> hearing{[this] {
    return net::read_from(udp, {byte + 1, 1}).error;
  }};
  Blocked<std::function<std::size_t()>> polling{[this] {
    net::must(poller.watch(tcp.listener, net::readable));
    net::must(poller.watch(pipe.first, net::readable | net::writable));
    net::must(poller.watch(pipe.first, net::readable));
    return net::must(poller.wait(support::generous)).size();
  }};

  // Wakes them all; are they well?
  void check() {
    for (const bool done :
         {reading.done(), accepting.done(), hearing.done(), polling.done()})
      CHECK_FALSE(done);
    net::must(net::write(tcp.client, "!"));
    CHECK_FALSE(reading.get());
    const net::Conn client =
        net::must(net::dial("unix", net::addr(unix.listener).string()));
    CHECK_FALSE(accepting.get());
    net::must(net::write_to(udp, "!", net::local_addr(udp)));
    CHECK_FALSE(hearing.get());
    net::must(net::write(pipe.second, "!"));
    CHECK(polling.get() == 1);
    net::must(net::write(pipe.first, "?"));
    CHECK(net::must(net::read(pipe.second, {byte + 2, 1})) == 1);
  }
};

// Waits for a moment in this process, as every call that blocks does.
bool waits() {
  const net::Pipe pipe = net::pipe();
  char byte;
  net::set_read_deadline(pipe.first, 1ms);
  if (net::read(pipe.first, {&byte, 1}).error != net::timed_out) return false;
  net::set_read_deadline(pipe.first, net::no_deadline);
  Blocked reading([&] { return net::read(pipe.first, {&byte, 1}).error; });
  net::close(pipe.first);
  return reading.get() == net::closed;
}

}  // namespace

// https://github.com/eventlet/eventlet/pull/68
// https://github.com/curl/curl/issues/21779
TEST_CASE_FIXTURE(TimeLimit, "what a child closes stays open in the parent" *
                                 doctest::skip(blind)) {
  Waiting parent;
  SUBCASE("it closes all") {
    CHECK(support::in_child([&] {
            for (const net::Socket& each : parent.all)
              if (net::close(each)) return 1;
            return waits() ? 0 : 2;
          }) == 0);
  }
  SUBCASE("it sets deadlines, and half-closes nothing") {
    CHECK(support::in_child([&] {
            for (const net::Socket& each : parent.all)
              if (net::set_deadline(each, 0s)) return 1;
            return waits() ? 0 : 2;
          }) == 0);
  }
  SUBCASE("it watches them no more") {
    CHECK(support::in_child([&] {
            for (const net::Socket& each : parent.all)
              if (parent.poller.unwatch(each)) return 1;
            return waits() ? 0 : 2;
          }) == 0);
  }
  SUBCASE("its Poller watches something else") {
    CHECK(support::in_child([&] {
            const net::Pipe pipe = net::pipe();
            net::must(parent.poller.watch(pipe.first, net::readable, 7));
            net::must(net::write(pipe.second, "!"));
            const auto events = net::must(parent.poller.wait(10s));
            net::must(parent.poller.wake());
            return events.size() == 1 && events[0].key == 7 ? 0 : 1;
          }) == 0);
  }
  SUBCASE("it ends as main does") {
    CHECK(support::in_child([&] {
            const int result = waits() ? 0 : 1;
            ::close(STDOUT_FILENO);  // our report is the parent's
            std::exit(result);
            return 2;
          }) == 0);
  }
  SUBCASE("one after the other") {
    for (int i = 0; i < 20; ++i)
      CHECK(support::in_child([&] {
              for (const net::Socket& each : parent.all) net::close(each);
              return 0;
            }) == 0);
  }
  parent.check();
}

namespace {

// How often this thread of ours went to sleep.
long sleeps(int tid) {
  return status("voluntary_ctxt_switches",
                "/proc/self/task/" + std::to_string(tid) + "/status");
}

}  // namespace

// https://github.com/python/cpython/issues/66285
TEST_CASE_FIXTURE(TimeLimit, "a child's waits do not wake the parent's" *
                                 doctest::skip(blind)) {
  const net::Pipe pipe = net::pipe();
  std::atomic<int> tid{0};
  Blocked reading([&] {
    tid = ::gettid();
    char byte;
    return net::read(pipe.first, {&byte, 1}).error;
  });
  for (int i = 0; i < 20; ++i)
    CHECK(support::in_child([&] {
            net::close(pipe.first);  // so that ours has the same number
            const net::Pipe mine = net::pipe();
            char byte;
            Blocked waiting([&] { return net::read(mine.first, {&byte, 1}); });
            net::set_deadline(mine.first, 0s);
            ::_exit(0);
            return 1;
          }) == 0);
  const long before = sleeps(tid);
  const auto used = support::cpu_time();
  std::this_thread::sleep_for(200ms);
  CHECK(sleeps(tid) - before < 20);
  CHECK(support::cpu_time() - used < 100ms);
  net::close(pipe.first);
  CHECK(reading.get() == net::closed);
}

TEST_CASE_FIXTURE(TimeLimit, "a child may close what others used at the fork") {
  const Connected ends("unix", "");
  net::Poller poller;
  net::must(poller.watch(ends.client, net::readable));
  std::atomic<bool> over{false};
  std::vector<Thread> threads;
  threads.emplace_back([&] {
    while (!over) net::set_deadline(ends.client, 10s);
  });
  threads.emplace_back([&] {
    while (!over && !poller.watch(ends.client, net::readable)) continue;
  });
  threads.emplace_back([&] {
    char byte;
    while (!net::read(ends.client, {&byte, 1}).error) continue;
  });
  threads.emplace_back([&] {
    while (!over) net::must(net::write(ends.server, "!"));
  });
  for (int i = 0; i < 200; ++i)
    CHECK(support::in_child([&] {
            ::alarm(10);
            return net::close(ends.client) || net::close(ends.listener);
          }) == 0);
  over = true;
  threads.pop_back();
  net::close(ends.client);
}

TEST_CASE_FIXTURE(TimeLimit, "a child takes over what its parent waits for") {
  const Connected ends("unix", "");
  const auto udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  char byte[3];
  Blocked accepting([&] { return net::accept(ends.listener).error; });
  Blocked reading([&] { return net::read(ends.server, {byte, 1}).error; });
  Blocked hearing([&] { return net::read_from(udp, {byte + 1, 1}).error; });
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    char got;
    if (net::accept(ends.listener).error) ::_exit(1);
    if (net::read(ends.server, {&got, 1}).error) ::_exit(2);
    if (net::read_from(udp, {&got, 1}).error) ::_exit(3);
    ::_exit(0);
  }
  for (const net::Socket& each :
       std::vector<net::Socket>{ends.listener, ends.server, udp})
    net::must(net::close(each));
  CHECK(accepting.get() == net::closed);
  CHECK(reading.get() == net::closed);
  CHECK(hearing.get() == net::closed);
  const net::Conn client =
      net::must(net::dial("unix", net::addr(ends.listener).string()));
  net::must(net::write(ends.client, "!"));
  net::must(net::write(
      net::must(net::dial("udp", net::local_addr(udp).string())), "!"));
  int result = -1;
  ::waitpid(child, &result, 0);
  CHECK(result == 0);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "threads of a child may be the first at a socket together" *
                      doctest::skip(blind)) {
  // What the parent left is thrown away once, by one of them; if the other
  // did it again, it would throw away what the first has begun.
  std::vector<net::Pipe> pipes(200);
  std::vector<net::Poller> pollers(200);
  for (net::Pipe& pipe : pipes) pipe = net::must(net::pipe());
  for (int i = 0; i < 5; ++i)
    CHECK(support::in_child([&] {
            std::atomic<std::size_t> arrived{0};
            const auto use_all = [&] {
              for (std::size_t at = 0; at < pipes.size(); ++at) {
                for (++arrived; arrived < 4 * at + 2;) continue;
                net::set_deadline(pipes[at].first, net::no_deadline);
                for (++arrived; arrived < 4 * at + 4;) continue;
                net::must(pollers[at].wake());
              }
            };
            {
              const Thread other(use_all);
              use_all();
            }
            for (const net::Pipe& pipe : pipes) {
              const auto& state = *state_of(pipe.first);
              if (state.calls != state.process()) return 1;
            }
            for (net::Poller& poller : pollers)
              if (poller.wait(0s).error) return 2;
            return 0;
          }) == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "children may accept from one listener") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    ::alarm(60);
    for (;;) {
      const auto [conn, err] = net::accept(listener);
      if (err) ::_exit(1);
      char byte = '?';
      (void)net::read(conn, {&byte, 1});
      (void)net::write(conn, std::to_string(::getpid()));
      if (byte == '.') ::_exit(0);
    }
  }
  const auto ask = [&](const char* what) {
    const net::Conn conn =
        net::must(net::dial("unix", net::addr(listener).string()));
    net::must(net::write(conn, what));
    return std::stoi(net::must(net::read_all(conn, 100)));
  };
  for (int i = 0; i < 30; ++i)
    CHECK(std::count(children.begin(), children.end(), ask("?")) == 1);
  std::set<int> ended;
  for (int i = 0; i < 3; ++i) ended.insert(ask("."));
  CHECK(ended.size() == 3);
  for (const pid_t child : children) {
    int result = -1;
    ::waitpid(child, &result, 0);
    CHECK(result == 0);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a child's own files are never taken for bells" *
                                 doctest::skip(blind)) {
  const net::Pipe pipe = net::pipe();
  char byte;
  Blocked reading([&] { return net::read(pipe.first, {&byte, 1}).error; });
  CHECK(support::in_child([&] {
          // As daemons do it, and then with files of its own.
          const int used = net::native_handle(pipe.first);
          for (int fd = 3; fd < 256; ++fd)
            if (fd != used) ::close(fd);
          int mine[100];
          for (int i = 0; i < 100; i += 2)
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, mine + i))
              return 1;
          {
            // Many first waits at a time.
            std::vector<Thread> threads;
            for (int i = 0; i < 8; ++i) threads.emplace_back([] { waits(); });
          }
          net::set_read_deadline(pipe.first, 0s);
          net::close(pipe.first);
          for (const int fd : mine)
            if (::recv(fd, &byte, 1, 0) != -1 || errno != EAGAIN) return 2;
          return waits() ? 0 : 3;
        }) == 0);
  CHECK_FALSE(reading.done());
  net::close(pipe.first);
  CHECK(reading.get() == net::closed);
}

// ---------------------------------------------------------------------------
// What is left

namespace {

// A bit of everything, each used by threads that wait.
void use_everything() {
  Server server(echo_byte);
  CHECK(answers(server.dial()));
  const net::Conn stays = server.dial();
  net::Group group(3);
  const net::Pipe pipe = net::pipe();
  net::must(
      group.go([&] { return ended(pipe.first) ? net::Error() : net::eof; }));
  const auto udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  net::must(group.go([&] {
    char byte;
    return net::read_from(udp, {&byte, 1}).error;
  }));
  net::Poller poller;
  for (const net::Socket& each :
       std::vector<net::Socket>{pipe.second, udp, stays, server.listener})
    net::must(poller.watch(each, net::readable));
  Blocked polling([&] { return poller.wait(support::generous).error; });
  net::must(net::close_write(pipe.second));
  net::must(poller.wake());
  CHECK_FALSE(polling.get());
  net::close(udp);
  CHECK(group.wait() == net::closed);
  CHECK_FALSE(net::lookup_host("127.0.0.1", 1h).error);
  CHECK(answers(stays));
  CHECK_FALSE(server.stop());
}

std::size_t all_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += ::fcntl(fd, F_GETFD) != -1;
  return count;
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "nothing is left of what has gone") {
  for (int i = 0; i < 3; ++i) use_everything();
  const long threads = status("Threads");
  const std::size_t descriptors = support::descriptors();
  const std::size_t with_bells = all_descriptors();
  const long before = memory();
  for (int i = 0; i < 50; ++i) use_everything();
  wait_until([&] { return status("Threads") <= threads; });
  CHECK(support::descriptors() == descriptors);
  CHECK(all_descriptors() < with_bells + 20);  // as many as happen to be made
  if (support::slowness == 1) CHECK(memory() - before < 16 * 1024);
}

TEST_CASE_FIXTURE(TimeLimit, "a socket forgets the Pollers that have gone") {
  const net::Listener listener = net::must(net::listen("unix", ""));
  const net::Pipe pipe = net::pipe();
  const auto watch = [&] {
    net::Poller poller;
    net::must(poller.watch(listener, net::readable));
    net::must(poller.watch(pipe.first, net::readable | net::writable));
  };
  for (int i = 0; i < 10; ++i) watch();
  const long before = memory();
  for (int i = 0; i < 1000; ++i) watch();
  CHECK(memory() - before < 16 * 1024);
}

TEST_CASE_FIXTURE(TimeLimit, "bells are few, however many threads have waited" *
                                 doctest::skip(blind)) {
  CHECK(support::in_child([] {
          constexpr int limit = 300;
          rlimit few{limit, limit};
          ::setrlimit(RLIMIT_NOFILE, &few);
          const auto bells = [] {
            int count = 0;
            for (int fd = 0; fd < limit; ++fd)
              count += support::may_be_bell(fd);
            return count;
          };
          // Waits at a socket; true when the time is up.
          const auto waits = [](const net::Conn& conn) {
            char byte;
            net::set_read_deadline(conn, 1ms);
            return net::read(conn, {&byte, 1}).error == net::timed_out;
          };
          bool waited = true;
          const auto in_turn = [&] {
            Thread([&] { waited = waited && waits(net::pipe().first); }).join();
          };
          const int others = bells();
          while (bells() == others) in_turn();
          const int first = bells() - others;
          for (int i = 0; i < 1000; ++i) in_turn();
          if (!waited || bells() - others > first) return 1;

          // And at sockets of as many numbers as there is room for.
          std::vector<net::Pipe> pipes(100);
          for (std::size_t i = 0; i < 1000; ++i) {
            net::Pipe& pipe = pipes[i % pipes.size()];
            pipe = net::pipe();
            const net::Conn& conn = i % 2 == 0 ? pipe.first : pipe.second;
            Thread([&] { waited = waited && waits(conn); }).join();
          }
          if (!waited) return 2;
          return bells() - others > limit / 8 ? 3 : 0;
        }) == 0);
}

// ---------------------------------------------------------------------------
// Everything at once

namespace {

// Opens and closes descriptors all the while. Each pair is connected, and
// nobody else knows of it: whoever reads from it, writes to it, shuts or
// closes it has taken its number for one of his own.
class Stranger {
 public:
  Stranger()
      : thread_([this] {
          std::vector<Pair> pairs(8);
          for (std::size_t i = 0; !stop_; ++i) {
            pairs[i % pairs.size()].check(touched_);
            pairs[i % pairs.size()].open(++rounds_);
          }
          for (Pair& pair : pairs) pair.check(touched_);
        }) {}
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  ~Stranger() { stop_ = true; }

  int rounds() const { return rounds_; }
  // How often somebody else has touched what is his; the end of him.
  int touched() {
    stop_ = true;
    thread_.join();
    return touched_;
  }

 private:
  struct Pair {
    int ends[2] = {-1, -1};
    int mark = 0;

    void open(int number) {
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                       ends) != 0)
        ends[0] = ends[1] = -1;
      mark = number;
      if (ends[0] >= 0 && ::send(ends[0], &mark, sizeof mark, 0) < 0) mark = -1;
    }
    // Exactly the mark is there, it may still be answered, and both ends are
    // still open.
    void check(std::atomic<int>& touched) {
      if (ends[0] < 0) return;
      int found[2] = {};
      const bool intact =
          ::recv(ends[1], found, sizeof found, 0) == sizeof mark &&
          found[0] == mark &&
          ::send(ends[1], &mark, sizeof mark, MSG_NOSIGNAL) == sizeof mark &&
          ::recv(ends[0], found, sizeof found, 0) == sizeof mark &&
          found[0] == mark;
      if (!intact) ++touched;
      for (const int end : ends)
        if (::close(end) != 0) ++touched;
    }
  };

  std::atomic<bool> stop_{false};
  std::atomic<int> rounds_{0};
  std::atomic<int> touched_{0};
  Thread thread_;
};

// Handles that many threads share, and the errors that they were given.
struct Shared {
  Connected tcp{};
  Connected unix{"unix", ""};
  net::Pipe pipe = net::pipe();
  net::PacketConn udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  net::PacketConn gram = net::must(net::listen_packet("unixgram", ""));
  net::Poller poller{};
  std::vector<net::Conn> conns{tcp.client,  tcp.server, unix.client,
                               unix.server, pipe.first, pipe.second};
  std::vector<net::Listener> listeners{tcp.listener, unix.listener};
  std::vector<net::PacketConn> packets{udp, gram};
  std::vector<net::Socket> all{};
  std::atomic<bool> over{false};
  std::mutex mutex{};
  std::set<std::string> wrong{};

  Shared() {
    all.assign(conns.begin(), conns.end());
    all.insert(all.end(), listeners.begin(), listeners.end());
    all.insert(all.end(), packets.begin(), packets.end());
  }
  void close_all() {
    over = true;
    for (const net::Socket& each : all) net::close(each);
  }
  // Nobody may ever see a descriptor that is not his.
  void note(const net::Error& err) {
    if (err != std::errc::bad_file_descriptor &&
        err != std::errc::not_a_socket && err != std::errc::invalid_argument)
      return;
    const std::lock_guard<std::mutex> lock(mutex);
    wrong.insert(err.message());
  }
};

// One of the sixteen: does whatever comes to its mind.
class Meddler {
 public:
  Meddler(Shared& shared, unsigned seed) : shared_(shared), random_(seed) {}

  void block() {
    char room[4096];
    switch (random(8)) {
      case 0: return note(net::read(conn(), room));
      case 1: return note(net::write(conn(), {room, random(4096)}));
      case 2: return note(net::write(conn(), {"two ", "pieces"}));
      case 3: return note(net::accept(listener()));
      case 4: return note(net::read_full(conn(), room));
      case 5: return shared_.note(net::read_from(packets(), room).error);
      case 6: return note(net::copy(conn(), conn()));
      default: return dial();
    }
  }

  void pass() {
    char room[4096];
    const net::Socket some = pick(shared_.all);
    switch (random(12)) {
      case 0: return shared_.note(net::set_deadline(some, deadline()));
      case 1: return shared_.note(net::set_read_deadline(some, deadline()));
      case 2: return shared_.note(net::set_write_deadline(some, deadline()));
      case 3: return note(net::try_read(conn(), room));
      case 4: return note(net::try_write(conn(), {room, random(4096)}));
      case 5: return note(net::try_accept(listener()));
      case 6: return shared_.note(shared_.poller.watch(some, interest()));
      case 7: return shared_.note(shared_.poller.wake());
      case 8: return note(net::get_option<int>(some, SOL_SOCKET, SO_TYPE));
      case 9: return send_packet();
      case 10: return duplicate(some);
      default: break;
    }
    if (random(20) == 0) shared_.note(net::close(some));
    if (random(20) == 0) shared_.note(net::close_write(conn()));
  }

  void poll() { note(shared_.poller.wait(1ms)); }

 private:
  std::size_t random(std::size_t below) { return random_() % below; }
  template <class T>
  T pick(const std::vector<T>& from) {
    return from[random(from.size())];
  }
  net::Conn conn() { return pick(shared_.conns); }
  net::Listener listener() { return pick(shared_.listeners); }
  net::PacketConn packets() { return pick(shared_.packets); }
  unsigned interest() {
    return (random(2) ? net::readable : 0u) | (random(2) ? net::writable : 0u) |
           (random(2) ? net::hung_up : 0u);
  }
  net::Deadline deadline() {
    const std::size_t which = random(4);
    if (which == 0) return net::no_deadline;
    return std::chrono::microseconds(int(which - 1) * 500);
  }
  template <class T>
  void note(const net::Result<T>& result) {
    shared_.note(result.error);
  }
  void dial() {
    const net::Addr to = net::addr(listener());
    net::DialOptions options;
    options.timeout = 50ms;
    const auto [conn, err] = net::dial(to.network(), to.string(), options);
    shared_.note(err);
    if (!err) note(net::write(conn, "!"));
  }
  void send_packet() {
    note(net::write_to(shared_.udp, "packet", net::local_addr(shared_.udp)));
  }
  void duplicate(const net::Socket& some) {
    const auto [fd, err] = net::duplicate(some);
    shared_.note(err);
    if (!err) ::close(fd);
  }

  Shared& shared_;
  std::minstd_rand random_;
};

}  // namespace

TEST_CASE_FIXTURE(TimeLimit,
                  "sixteen threads may do anything to shared handles") {
  Stranger stranger;
  std::set<std::string> wrong;
  const int rounds = 16;
  for (int round = 0; round < rounds; ++round) {
    Shared shared;
    {
      std::vector<Thread> threads;
      for (unsigned i = 0; i < 14; ++i)
        threads.emplace_back([&, i, seed = unsigned(round) * 16 + i] {
          Meddler meddler(shared, seed);
          while (!shared.over) i % 2 ? meddler.block() : meddler.pass();
        });
      threads.emplace_back([&] {
        Meddler meddler(shared, 1);
        while (!shared.over) meddler.poll();
      });
      // The sixteenth never blocks; the end of it is the end of the round.
      Thread([&] {
        Meddler meddler(shared, unsigned(round));
        for (int i = 0; i < 10; ++i) {
          meddler.pass();
          std::this_thread::sleep_for(1ms);
        }
      }).join();
      shared.close_all();
    }
    wrong.merge(shared.wrong);
    for (const net::Socket& each : shared.all)
      CHECK(net::native_handle(each) == -1);
  }
  CHECK(stranger.touched() == 0);
  CHECK(stranger.rounds() > rounds);
  for (const std::string& message : wrong) CHECK(message == "");
}
