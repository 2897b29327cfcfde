// SPDX-License-Identifier: MIT
// Storms and soaks. A server, in a process of its own, first has very many
// clients in turn. Then come thousands at the same time who stall, reset,
// half-close, and vanish when their process is killed; in the midst of them
// honest clients ask, and must be answered. When all have gone, no descriptor,
// no thread and no memory is left of them.
//
// What is drawn by lot comes from one number, which is printed, and which
// STORM_SEED sets. This is the short form; STORM=full makes it the long one:
// `sh tests/run storm`.

#include "netlite.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "../support.hpp"

namespace {

namespace fs = std::filesystem;

const bool full = std::getenv("STORM") != nullptr;

// For an honest client's whole conversation, and for what is over soon. It is a
// bound for what hangs, and no promise to be fast.
constexpr auto patience = 60s;

// Waits for something that happens in another process or thread: did it?
template <class Condition>
bool wait_until(Condition condition) {
  const support::Stopwatch watch;
  while (!condition()) {
    if (watch.elapsed() > patience) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// How many descriptors we may have, and our children: all that there are.
std::size_t raised_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return net::sys::descriptor_limit();
}
const std::size_t descriptor_limit = raised_limit();

unsigned seed() {
  const char* given = std::getenv("STORM_SEED");
  return given ? static_cast<unsigned>(std::stoul(given))
               : std::random_device()();
}

// ---------------------------------------------------------------------------
// What a process holds, proc(5)

struct Holdings {
  std::size_t threads = 0;
  std::size_t descriptors = 0;  // but for its
  std::size_t bells = 0;        // which the header makes, and keeps
  long memory = 0;              // in kB, now
  long peak = 0;                // and at most so far
};

Holdings holdings(pid_t pid) {
  const fs::path process = "/proc/" + std::to_string(pid);
  Holdings now;
  std::ifstream status(process / "status");
  for (std::string name, rest; status >> name; std::getline(status, rest)) {
    if (name == "Threads:") status >> now.threads;
    if (name == "VmRSS:") status >> now.memory;
    if (name == "VmHWM:") status >> now.peak;
  }
  std::error_code gone;  // it, or only a descriptor
  for (const auto& each : fs::directory_iterator(process / "fd", gone)) {
    const std::string target = fs::read_symlink(each, gone);
    // An eventfd or, in the portable half, a pipe; nobody here has others.
    const bool bell =
        target == "anon_inode:[eventfd]" || target.compare(0, 5, "pipe:") == 0;
    ++(bell ? now.bells : now.descriptors);
  }
  return now;
}

// ---------------------------------------------------------------------------
// Other programs

// One whose input, output and complaints are a connection to us.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command) {
    std::vector<char*> words;
    for (const std::string& word : command)
      words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive us
      for (const int fd : {0, 1, 2}) ::dup2(ends[1], fd);
      ::execv(words[0], words.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    ends_ = net::Reader(net::must(net::conn_from(ends[0])));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(SIGKILL); }

  pid_t pid() const { return pid_; }
  void say(const std::string& text) {
    net::must(net::write(ends_.conn(), text));
  }
  net::Reader& says() { return ends_; }
  // Waits until it has ended, by a signal or else by itself, now that its input
  // has; gives its code, or minus the signal.
  int end(int signal = 0) {
    if (pid_ < 0) return status_;
    net::close_write(ends_.conn());
    if (signal != 0) ::kill(pid_, signal);
    ::waitpid(std::exchange(pid_, -1), &status_, 0);
    const bool exited = WIFEXITED(status_);
    return status_ = exited ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  net::Reader ends_{net::Conn()};
};

// The C library keeps memory for later, and Meson has it fill what it hands
// out. Here it gives large pieces back and leaves alone what nobody uses, else
// it would take many storms to tell a leak from that.
const int plain_memory = ::setenv("MALLOC_MMAP_THRESHOLD_", "131072", 0) |
                         ::unsetenv("MALLOC_PERTURB_");

const std::string actor = BUILD "/tests/storm/actor";

// A program that tells where it listens, and then complains as it likes.
class Server {
 public:
  explicit Server(const std::vector<std::string>& command)
      : name(fs::path(command[0]).filename()),
        ends_itself_(command[0] == actor),
        child_(command) {
    const std::string words = "istening on ";
    while (address_.empty()) {
      const std::string line = net::must(child_.says().read_line());
      if (const auto at = line.find(words); at != line.npos)
        address_ = line.substr(at + words.size());
    }
    fresh_ = now();
    hearing_ = std::thread([this] { hear(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {  // which has more to do after a failure only
    child_.end(SIGKILL);
    if (!hearing_.joinable()) return;
    hearing_.join();
    MESSAGE(name << " said last: " << last_words_);
  }

  const std::string& address() const { return address_; }
  const Holdings& fresh() const { return fresh_; }  // with no client so far
  Holdings now() const { return holdings(child_.pid()); }
  // Ends it. Had it ended before, it was not by this signal.
  void end() {
    const int signal = ends_itself_ ? 0 : SIGTERM;
    const int code = child_.end(signal);
    hearing_.join();
    INFO(last_words_);
    CHECK(code == -signal);
  }

  const std::string name;

 private:
  void hear() {
    char room[4096];
    for (;;) {
      const auto [n, err] = child_.says().read(room);
      if (err) return;
      if (last_words_.size() > 8192) last_words_.erase(0, 4096);
      last_words_.append(room, n);
    }
  }

  bool ends_itself_;
  Child child_;
  std::string address_{};
  Holdings fresh_{};
  std::string last_words_{};
  std::thread hearing_{};
};

// Servers, each behind the next, and clients see the last; what is asked, and
// how the answer ends.
struct Service {
  std::string question;
  std::string answer;
  std::vector<std::unique_ptr<Server>> servers{};

  const std::string& start(const std::vector<std::string>& command) {
    servers.push_back(std::make_unique<Server>(command));
    return address();
  }
  const std::string& address() const { return servers.back()->address(); }
};

// ---------------------------------------------------------------------------
// One client

// An address of this machine that is nobody else's: so many ports are used and
// given back here that a stranger may still be trying one at 127.0.0.1.
net::IP loopback(int kind, int number) {
  const auto byte = [&](int n) { return static_cast<unsigned char>(n); };
  const unsigned char bytes[] = {127, byte(kind | number >> 16),
                                 byte(number >> 8), byte(number)};
  return {bytes, sizeof bytes};
}

// An honest client's whole conversation; "", or what went wrong.
std::string converse(const Service& service, int number) {
  // The system keeps the port of a client that closes first, for a minute
  // (TIME_WAIT), and one address has only 28,000 of them; so each client has
  // its own address. Every other ends by a reset, after which nothing is kept.
  net::DialOptions options;
  options.local = net::Addr("tcp", loopback(64, number), 0);
  options.timeout = patience;
  const auto [conn, err] = net::dial("tcp", service.address(), options);
  if (err) return err.message();
  net::set_deadline(conn, patience);
  if (const auto why = net::write(conn, service.question).error)
    return why.message();
  if (number % 2 == 0) {
    char room[4096];
    const auto why = net::read(conn, room).error;
    net::set_linger(conn, 0);
    return why ? why.message() : "";
  }
  net::close_write(conn);
  const auto [heard, why] = net::read_all(conn, 4096);
  if (why) return why.message();
  const std::size_t size = std::min(heard.size(), service.answer.size());
  if (heard.substr(heard.size() - size) == service.answer) return "";
  return "it answered: " + heard;
}

// ---------------------------------------------------------------------------
// When all clients have gone

bool as_many(const Holdings& now, const Holdings& before) {
  return now.threads == before.threads && now.descriptors == before.descriptors;
}

// Waits until then. What we hold, and the servers.
std::vector<Holdings> holdings_after_all(const Service& service) {
  const auto& servers = service.servers;
  // The last who went may still be in a server's queue, or in that of the next
  // one behind it. Whoever comes now is accepted after them.
  const auto all_calm = [&] {
    return std::all_of(servers.begin(), servers.end(), [](const auto& each) {
      return as_many(each->now(), each->fresh());
    });
  };
  bool calm = true;
  for (std::size_t i = 0; calm && i < servers.size(); ++i) {
    REQUIRE(converse(service, 1) == "");
    calm = wait_until(all_calm);
  }
  std::vector<Holdings> all{holdings(::getpid())};
  for (const auto& server : servers) {
    all.push_back(server->now());
    CAPTURE(server->name);
    REQUIRE(all.back().threads == server->fresh().threads);
    REQUIRE(all.back().descriptors == server->fresh().descriptors);
    REQUIRE(all.back().bells <= descriptor_limit / 8);
  }
  return all;
}

// Is everybody as before, but for so many kB? (A sanitizer's own memory is no
// business of ours; it has a limit of its own, see meson.build.)
void check_nothing_left(const Service& service,
                        const std::vector<Holdings>& before,
                        const std::vector<Holdings>& after, long slack) {
  for (std::size_t i = 0; i < after.size(); ++i) {
    const Holdings &was = before[i], &is = after[i];
    MESSAGE((i == 0 ? "the clients" : service.servers[i - 1]->name)
            << ": " << was.memory << " kB, then " << is.memory
            << " kB, at most " << is.peak << " kB");
    CHECK(is.threads == was.threads);
    CHECK(is.descriptors == was.descriptors);
    if (support::slowness == 1) CHECK(is.memory <= was.memory + slack);
  }
}

// ---------------------------------------------------------------------------
// Many clients

// So many honest clients, four at a time, until one of them is disappointed.
class Honest {
 public:
  Honest(const Service& service, int count) {
    for (int i = 0; i < 4; ++i)
      threads_.emplace_back([&, this, count] {
        while (!stop_) {
          const int number = next_++;
          if (number >= count) return;
          const std::string complaint = converse(service, number);
          if (!complaint.empty()) return complain(complaint);
          ++served_;
        }
      });
  }
  Honest(const Honest&) = delete;
  Honest& operator=(const Honest&) = delete;
  ~Honest() { stop_ = true; }

  // Waits until some that come now were served.
  void wait_for_some() const {
    const int enough = served_ + 8;
    wait_until([&] { return served_ >= enough || stop_; });
  }
  // Waits for all, or lets none come any more. How many were served.
  int finish() {
    for (Thread& each : threads_) each.join();
    threads_.clear();
    REQUIRE(complaint_ == "");
    return served_;
  }
  int stop() {
    stop_ = true;
    return finish();
  }

 private:
  using Thread = support::Thread;
  void complain(const std::string& complaint) {
    const std::lock_guard<std::mutex> lock(mutex_);
    complaint_ = complaint;
    stop_ = true;
  }

  std::mutex mutex_{};
  std::string complaint_{};
  std::atomic<bool> stop_{false};
  std::atomic<int> next_{0};
  std::atomic<int> served_{0};
  std::vector<Thread> threads_{};
};

void in_turn(const Service& service, int count) {
  const support::Stopwatch watch;
  Honest(service, count / 10).finish();  // makes what is made once
  const auto before = holdings_after_all(service);
  Honest(service, count).finish();
  MESSAGE(count << " in turn: " << watch.elapsed().count() << " ms");
  check_nothing_left(service, before, holdings_after_all(service), 512);
}

// Rascals, so many at a time, and honest clients between them. The processes of
// the rascals play when all have come, and end by killing themselves. How many
// of the honest were served.
int gust(const Service& service, std::size_t rascals, std::minstd_rand& lot) {
  Honest honest(service, INT_MAX);
  std::vector<std::unique_ptr<Child>> gangs;
  const std::vector<std::string> command{actor, "rascals", service.address()};
  for (int i = 0; i < 4; ++i) {
    auto words = command;
    words.push_back(std::to_string(rascals / 4));
    words.push_back(std::to_string(lot()));
    gangs.push_back(std::make_unique<Child>(words));
  }
  for (const auto& gang : gangs)
    REQUIRE(gang->says().read_line().value == "all are here");
  honest.wait_for_some();
  for (const auto& gang : gangs) gang->say("play\n");
  for (const auto& gang : gangs) {
    const int end = gang->end();
    INFO(gang->says().read_line().value);
    REQUIRE(end == -SIGKILL);
  }
  return honest.stop();
}

void storm(const Service& service, std::size_t rascals, std::size_t at_a_time) {
  const unsigned start = seed();
  MESSAGE("STORM_SEED=" << start);
  std::minstd_rand lot(start);
  const support::Stopwatch watch;
  std::vector<Holdings> before, now;
  int served = 0;
  std::size_t come = 0;
  for (; come < rascals; come += at_a_time) {
    served += gust(service, at_a_time, lot);
    now = holdings_after_all(service);
    if (come < rascals / 2) before = now;
  }
  MESSAGE(come << " rascals, " << at_a_time << " at a time, and " << served
               << " honest clients: " << watch.elapsed().count() << " ms");
  // What is left of a crowd in the C library's hands varies.
  const auto crowd = static_cast<long>(at_a_time);
  check_nothing_left(service, before, now, 2048 + 2 * crowd);
  for (const Holdings& each : now)
    if (support::slowness == 1) CHECK(each.peak <= 16 * 1024 + 64 * crowd);
}

void trial(const Service& service, int turns, std::size_t places) {
  in_turn(service, full ? turns : turns / 100 / support::slowness);
  const std::size_t crowd = full ? 5000 : 200;
  // A proxy needs two descriptors for each.
  storm(service, 6 * crowd, std::min({crowd, places, descriptor_limit / 3}));
  for (const auto& server : service.servers) server->end();
}

const double limit = full ? 3600 : 180;  // in seconds
const std::string home = loopback(3, ::getpid() % 65536).string() + ":0";
const std::string words = "Is anybody there?";

}  // namespace

TEST_CASE("serve has nothing left of clients in turn, and of a storm" *
          doctest::timeout(limit)) {
  Service service{words, words};
  service.start({actor, "threads", home});
  trial(service, 1000000, SIZE_MAX);
}

TEST_CASE("a Poller has nothing left of clients in turn, and of a storm" *
          doctest::timeout(limit)) {
  Service service{words, words};
  service.start({actor, "poller", home});
  trial(service, 1000000, SIZE_MAX);
}

TEST_CASE(
    "proxy, and echo behind it, have nothing left of clients in turn, and of a "
    "storm" *
    doctest::timeout(limit)) {
  const support::Directory dir;
  Service service{words, words};
  const std::string echo =
      service.start({BUILD "/examples/echo", "unix", dir.path + "/echo"});
  service.start({BUILD "/examples/proxy", "tcp", home, "unix", echo});
  trial(service, 100000, SIZE_MAX);
}

// It serves 250 at a time, and waits ten seconds for those who stall.
TEST_CASE("web has nothing left of clients in turn, and of a storm" *
          doctest::timeout(limit)) {
  const support::Directory dir;
  std::ofstream(dir.path + "/words") << words;
  Service service{"GET /words HTTP/1.1\r\nConnection: close\r\n\r\n", words};
  service.start({BUILD "/examples/web", dir.path, home});
  trial(service, 100000, 200);
}

// It serves a hundred at a time, and waits a minute for those who stall.
TEST_CASE("greeting has nothing left of clients in turn, and of a storm" *
          doctest::timeout(limit)) {
  Service service{words, "Thanks! Got your message:" + words};
  service.start({BUILD "/examples/greeting", home});
  trial(service, 100000, 80);
}
