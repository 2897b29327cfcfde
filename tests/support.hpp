// SPDX-License-Identifier: MIT
// What several test files need: tables, temporary directories, clocks.
#ifndef NETLITE_TESTS_SUPPORT_HPP
#define NETLITE_TESTS_SUPPORT_HPP

#include <arpa/inet.h>
#include <dirent.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "descriptors.hpp"
#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

namespace support {

// A table of tests/data: one map from column name to text for each row.
// Cells are unescaped (\t \n \r \xHH \\).
using Row = std::map<std::string, std::string>;

inline std::string unescape(const std::string& cell) {
  std::string text;
  for (std::size_t i = 0; i < cell.size(); ++i) {
    if (cell[i] != '\\') {
      text += cell[i];
      continue;
    }
    const char kind = cell[++i];
    if (kind == 'x') {
      text += static_cast<char>(std::stoi(cell.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      text += kind == 't'   ? '\t'
              : kind == 'n' ? '\n'
              : kind == 'r' ? '\r'
                            : '\\';
    }
  }
  return text;
}

inline std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : line) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

inline std::vector<Row> table(const std::string& name) {
  std::ifstream file(std::string(TEST_DATA) + "/" + name + ".tsv");
  REQUIRE_MESSAGE(file, "no such table: " << name);
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> columns = split(line.substr(2), '\t');
  std::vector<Row> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = split(line, '\t');
    Row row;
    for (std::size_t i = 0; i < columns.size(); ++i)
      row[columns[i]] = i < cells.size() ? unescape(cells[i]) : "";
    rows.push_back(row);
  }
  REQUIRE(!rows.empty());
  return rows;
}

// A fresh directory with a short path, gone with all it holds at the end.
struct Directory {
  std::string path;
  Directory() {
    char name[] = "/tmp/nl-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    if (DIR* entries = ::opendir(path.c_str())) {
      while (const dirent* entry = ::readdir(entries)) {
        const std::string file = path + "/" + entry->d_name;
        if (::unlink(file.c_str()) != 0) ::rmdir(file.c_str());
      }
      ::closedir(entries);
    }
    ::rmdir(path.c_str());
  }
};

// True in the world that tests/world/run makes; with `kind` only in one of
// that kind, "privileged" or "unprivileged".
inline bool in_world(std::string_view kind = "") {
  const char* world = std::getenv("NETLITE_WORLD");
  return world && (kind.empty() || world == kind);
}

// How much slower everything is with a sanitizer, about.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int slowness = 4;
#elif defined(__has_feature)
constexpr int slowness =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ? 4 : 1;
#else
constexpr int slowness = 1;
#endif

// How long something took. Tests assert that nothing is early; "late" is
// only ever a generous bound, for test machines are busy.
class Stopwatch {
 public:
  std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start_);
  }

 private:
  std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};
constexpr auto generous = 20s;

// A test that hangs becomes one that fails: the program ends, and says where.
// Made for TEST_CASE_FIXTURE(support::TimeLimit, "...").
struct TimeLimit {
  TimeLimit() {
    std::signal(SIGALRM, [](int) {
      const char* test = doctest::getContextOptions()->currentTest->m_name;
      const std::string line = std::string("hangs: ") + test + "\n";
      ::_exit(::write(STDERR_FILENO, line.data(), line.size()) < 0 ? 2 : 1);
    });
    ::alarm(60u * slowness);
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;
  ~TimeLimit() { ::alarm(0); }
};

// A thread that is joined at the end of its scope.
class Thread {
 public:
  template <class F>
  explicit Thread(F f) : thread_(std::move(f)) {}
  Thread(Thread&&) = default;
  ~Thread() {
    if (thread_.joinable()) thread_.join();
  }
  void join() { thread_.join(); }

 private:
  std::thread thread_;
};

// An address that refuses: it is bound, so that nobody else gets it, and
// nobody listens there. Empty when somebody has the port that was asked for.
class Refusing {
 public:
  explicit Refusing(int family = AF_INET, std::uint16_t port = 0)
      : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(fd_ >= 0);
    // An IPv6 name begins as an IPv4 one does.
    sockaddr_in6 name{};
    auto& four = reinterpret_cast<sockaddr_in&>(name);
    name.sin6_family = static_cast<sa_family_t>(family);
    name.sin6_port = htons(port);
    name.sin6_addr = in6addr_loopback;
    if (family == AF_INET) four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* any = reinterpret_cast<sockaddr*>(&name);
    socklen_t size = family == AF_INET ? sizeof four : sizeof name;
    const bool bound = ::bind(fd_, any, size) == 0;
    REQUIRE((bound || (port != 0 && errno == EADDRINUSE)));
    if (!bound) return;
    REQUIRE(::getsockname(fd_, any, &size) == 0);
    address = std::string(family == AF_INET ? "127.0.0.1:" : "[::1]:") +
              std::to_string(ntohs(name.sin6_port));
  }
  ~Refusing() { ::close(fd_); }
  Refusing(const Refusing&) = delete;
  Refusing& operator=(const Refusing&) = delete;

  std::string address;

 private:
  int fd_;
};

// Does another thread of this process sleep in a system call (state S in
// /proc)? `tid` is that thread's gettid(2).
inline bool asleep(int tid) {
  std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
  std::string line;
  std::getline(file, line);
  const auto after_name = line.rfind(')');
  return after_name != std::string::npos && line[after_name + 2] == 'S';
}

// Waits until it does, so that a test may say "while it is blocked" without a
// sleep of its own.
inline void wait_until_asleep(int tid) {
  for (int seen = 0; seen < 3;) {
    seen = asleep(tid) ? seen + 1 : 0;
    std::this_thread::yield();
  }
}

// A call in a thread of its own. Once constructed, that thread sleeps in the
// call - or has come back from it.
template <class F>
class Blocked {
 public:
  explicit Blocked(F call)
      : thread_([this, call = std::move(call)]() mutable {
          tid_ = ::gettid();
          result_ = call();
          done_ = true;
        }) {
    for (int seen = 0; seen < 3 && !done_;) {
      seen = tid_ && asleep(tid_) ? seen + 1 : 0;
      std::this_thread::yield();
    }
  }
  ~Blocked() {
    if (thread_.joinable()) thread_.join();
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

  bool done() const { return done_; }
  // What the call gave, once it has come back.
  std::invoke_result_t<F&> get() {
    thread_.join();
    return std::move(result_);
  }

 private:
  std::atomic<int> tid_{0};
  std::atomic<bool> done_{false};
  std::invoke_result_t<F&> result_{};
  std::thread thread_;
};

// Interrupts the thread that made it, every two milliseconds, with a signal
// whose handler was installed without SA_RESTART.
class Pester {
 public:
  Pester() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, &before_);
    thread_ = std::thread([this, target = ::pthread_self()] {
      for (; !stop_; ++count_) {
        ::pthread_kill(target, SIGUSR1);
        std::this_thread::sleep_for(2ms);
      }
    });
    while (count_ == 0) std::this_thread::yield();
  }
  ~Pester() {
    stop_ = true;
    thread_.join();
    ::sigaction(SIGUSR1, &before_, nullptr);
  }
  Pester(const Pester&) = delete;
  Pester& operator=(const Pester&) = delete;
  int count() const { return count_; }

 private:
  struct sigaction before_ {};
  std::atomic<bool> stop_{false};
  std::atomic<int> count_{0};
  std::thread thread_;
};

// The CPU time that this process has used.
inline std::chrono::milliseconds cpu_time() {
  return std::chrono::milliseconds(std::clock() / (CLOCKS_PER_SEC / 1000));
}

// Runs f in a child process; gives the code it returned, or minus the signal
// that ended it. f must not use doctest: what it checks it says by the code.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    try {
      ::_exit(f());
    } catch (...) {
      ::_exit(99);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Another program, on the other end of a connection that is its standard input
// and output.
class Program {
 public:
  // Can it be run here?
  static bool installed(const std::string& name) {
    const char* path = std::getenv("PATH");
    for (const std::string& directory : split(path ? path : "", ':'))
      if (::access((directory + "/" + name).c_str(), X_OK) == 0) return true;
    MESSAGE("skipped: " << name << " is not installed");
    return false;
  }

  explicit Program(const std::vector<std::string>& command) {
    std::vector<char*> words;
    for (const std::string& word : command)
      words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], 0);
      ::dup2(ends[1], 1);
      ::execvp(words[0], words.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    ends_ = net::Reader(net::must(net::conn_from(ends[0])));
    net::set_deadline(ends_.conn(), generous);
  }
  ~Program() {
    net::close(ends_.conn());
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void say(const std::string& text) {
    net::must(net::write(ends_.conn(), text));
  }
  // The next line that it prints; what is left when it has ended.
  std::string line() { return ends_.read_line().value; }

 private:
  pid_t pid_ = -1;
  net::Reader ends_{net::Conn()};
};

// A listener on 127.0.0.1 and both ends of a connection to it.
struct Connected {
  net::Listener listener;
  net::Conn client;
  net::Conn server;

  explicit Connected(const std::string& network = "tcp",
                     const std::string& address = "127.0.0.1:0") {
    listener = net::must(net::listen(network, address));
    client = net::must(net::dial(network, net::addr(listener).string()));
    server = net::must(net::accept(listener));
  }
};

// A handler that sends back the first byte.
inline void echo_byte(const net::Conn& conn) {
  char byte;
  if (net::read(conn, {&byte, 1}).value == 1)
    (void)net::write(conn, {&byte, 1});
}

// Does the server at the other end answer?
inline bool answers(const net::Conn& conn) {
  char byte = 'x';
  return !net::write(conn, {&byte, 1}).error &&
         net::read(conn, {&byte, 1}).value == 1 && byte == 'x';
}

// Does it answer a client that dials now?
inline bool answers(const net::Listener& listener) {
  const net::Addr at = net::addr(listener);
  const net::Conn conn = net::must(net::dial(at.network(), at.string()));
  net::set_deadline(conn, generous);
  return answers(conn);
}

// A listener of one family, and the other family's address of the same port,
// which is nobody else's and refuses.
struct OneFamily {
  net::Listener listener{};
  std::unique_ptr<Refusing> other{};

  OneFamily(const std::string& network, const std::string& address) {
    do {
      listener = net::must(net::listen(network, address));
      const int family =
          net::local_addr(listener).ip().is4() ? AF_INET6 : AF_INET;
      other = std::make_unique<Refusing>(family, net::addr(listener).port());
    } while (other->address.empty());
  }
};

// Ends the program when a test hangs, and names the test. One that is known
// to take longer than a minute says so with `* doctest::timeout(seconds)`.
class Watchdog : public doctest::IReporter {
 public:
  explicit Watchdog(const doctest::ContextOptions&) {}

 private:
  using Clock = std::chrono::steady_clock;

  void test_run_start() override {
    std::thread([] {
      while (Clock::now().time_since_epoch() < Clock::duration(limit_))
        std::this_thread::sleep_for(500ms);
      std::printf("\nNo end in sight: TEST CASE: %s\n", name_.load());
      std::fflush(nullptr);
      std::_Exit(1);
    }).detach();
  }
  void test_case_start(const doctest::TestCaseData& test) override {
    name_ = test.m_name;
    const std::chrono::duration<double> most(
        slowness * (test.m_timeout > 0 ? test.m_timeout : 60));
    limit_ = (Clock::now().time_since_epoch() +
              std::chrono::duration_cast<Clock::duration>(most))
                 .count();
  }
  void test_case_end(const doctest::CurrentTestCaseStats&) override {
    limit_ = Clock::duration::max().count();
  }
  void test_run_end(const doctest::TestRunStats&) override {}
  void report_query(const doctest::QueryData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

  // Static: the thread may outlive the reporter.
  static inline std::atomic<Clock::rep> limit_{Clock::duration::max().count()};
  static inline std::atomic<const char*> name_{""};
};
REGISTER_LISTENER("watchdog", 1, Watchdog);

}  // namespace support

#endif  // NETLITE_TESTS_SUPPORT_HPP
