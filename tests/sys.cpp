// SPDX-License-Identifier: MIT
// netlite::sys, the BSD calls: their policies on signals, on SIGPIPE and on
// close-on-exec, and the trace. This program is compiled with the trace; the
// main program, tests/main.cpp, is not, and the two make one program.

#ifndef NETLITE_TRACE
#define NETLITE_TRACE
#endif
#include "netlite.hpp"

#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <iterator>
#include <set>

#include "support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using Clock = net::Deadline::Clock;

// The trace's file is opened with the first call; now, before anybody counts
// descriptors.
[[maybe_unused]] const auto& sink = net::sys::trace::Sink::get();

std::string content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all = support::split(text, '\n');
  if (all.back().empty()) all.pop_back();
  return all;
}

// ---------------------------------------------------------------------------
// Programs with a trace: this one again, with a test that is skipped otherwise

std::string this_program() {
  char path[PATH_MAX];
  const auto size = ::readlink("/proc/self/exe", path, sizeof path);
  REQUIRE(size > 0);
  return {path, static_cast<std::size_t>(size)};
}

struct Run {
  int code = 0;
  std::string out;
  std::string err;
};

// `variable` is what stands before the command, such as "NETLITE_TRACE=1".
Run run(const std::string& variable, const std::string& test) {
  const support::Directory dir;
  const std::string command = "env -u NETLITE_TRACE " + variable + " '" +
                              this_program() +
                              "' --no-skip --no-version -tc='" + test + "' >" +
                              dir.path + "/out 2>" + dir.path + "/err";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          content(dir.path + "/out"), content(dir.path + "/err")};
}

// A line for programs.
struct Line {
  long long start = 0, end = 0;
  std::string name;
  long pid = 0, thread = 0, fd = 0;
  std::string call, arguments;
  long result = 0;
  std::string error;
};

long long number(const std::string& text) {
  std::size_t used = 0;
  const long long value = std::stoll(text, &used);
  if (used != text.size()) throw std::invalid_argument(text);
  return value;
}

std::vector<Line> parse(const std::string& text) {
  std::vector<Line> all;
  if (!text.empty()) CHECK(text.back() == '\n');
  for (const std::string& line : lines(text)) {
    INFO(line);
    const auto cells = support::split(line, '\t');
    REQUIRE(cells.size() == 10);
    Line parsed;
    REQUIRE_NOTHROW(parsed = {number(cells[0]), number(cells[1]), cells[2],
                              static_cast<long>(number(cells[3])),
                              static_cast<long>(number(cells[4])),
                              static_cast<long>(number(cells[5])), cells[6],
                              cells[7], static_cast<long>(number(cells[8])),
                              cells[9]});
    REQUIRE(parsed.start <= parsed.end);
    REQUIRE(parsed.thread >= 1);
    REQUIRE((parsed.result < 0) == (parsed.error != "-"));
    all.push_back(parsed);
  }
  return all;
}

bool is_name_of_error(const std::string& name) {
  return name.size() > 1 && name[0] == 'E' &&
         name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") ==
             name.npos;
}

}  // namespace

TEST_CASE("traced: a conversation" * doctest::skip()) {
  Connected c;
  net::must(net::write(c.client, "a\tb\n\"c\\\x01"));
  char buffer[64];
  CHECK(net::must(net::read(c.server, buffer)) == 8);
  net::must(net::write(c.client, {"head", "body"}));
  net::must(net::read(c.server, buffer));
  net::must(net::set_read_deadline(c.client, 30ms));
  CHECK(net::read(c.client, buffer).error == net::timed_out);
  const support::Refusing nobody;
  CHECK(net::dial("tcp", nobody.address).error ==
        std::errc::connection_refused);

  const support::Directory dir;
  const std::string path = dir.path + "/tab\tline\nend" + std::string(60, '.');
  Connected unix_pair("unix", path);
  CHECK(net::lookup_port("tcp", "no\tsuch\nservice").error ==
        net::unknown_port);
  net::must(net::write(unix_pair.client, std::string(100000, '\x02')));
  errno = EXDEV;
  CHECK(net::sys::close(-1) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("traced: a crowd" * doctest::skip()) {
  std::vector<support::Thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      const net::Pipe ends = net::pipe();
      char buffer[64];
      for (int round = 0; round < 250; ++round) {
        net::must(net::write(ends.first, std::string(50, 'x')));
        net::must(net::read(ends.second, buffer));
      }
    });
}

TEST_CASE("traced: a poll of many" * doctest::skip()) {
  std::vector<pollfd> many(200, pollfd{0, POLLIN, 0});
  net::sys::poll(many.data(), many.size(), 0);
}

TEST_CASE("traced: a Poller" * doctest::skip()) {
  const Connected c;
  const auto poller = net::must(net::make_poller());
  net::must(net::watch(poller, c.server, net::readable));
  net::must(net::write(c.client, "x"));
  CHECK(net::must(net::wait(poller)).size() == 1);
  CHECK(net::wait(poller, 0ms).error != net::timed_out);
  net::must(net::unwatch(poller, c.server));
}

TEST_CASE("without the variable a traced program prints nothing") {
  for (const char* variable : {"", "NETLITE_TRACE=", "NETLITE_TRACE=0"}) {
    INFO(variable);
    const Run silent = run(variable, "traced: a conversation");
    CHECK(silent.code == 0);
    CHECK(silent.err == "");
    CHECK(silent.out.find("recv") == std::string::npos);
  }
}

#ifndef NETLITE_PORTABLE
TEST_CASE("the trace shows what a Poller watches, and what is ready") {
  const Run shown = run("NETLITE_TRACE=1", "traced: a Poller");
  CHECK(shown.code == 0);
  for (const char* part : {"epoll_create() = ", ", ADD, {", ", DEL, {",
                           "epoll_wait(", " POLLIN}, for ever) = 1"}) {
    INFO(part);
    CHECK(shown.err.find(part) != std::string::npos);
  }
}
#endif

TEST_CASE("NETLITE_TRACE=1 shows people every call on stderr") {
  const Run shown = run("NETLITE_TRACE=1", "traced: a conversation");
  CHECK(shown.code == 0);
  CHECK(shown.out.find("recv(") == std::string::npos);
  for (const std::string part : {"socket(AF_INET, SOCK_STREAM) = ",
                                 "bind(",
                                 "127.0.0.1:0) = 0",
                                 "listen(",
                                 "connect(",
                                 "accept(",
                                 "setsockopt(",
                                 "SO_REUSEADDR, 1",
                                 "TCP_NODELAY, 1",
                                 "send(",
                                 R"("a\x09b\n\"c\\\x01", 8) = 8)",
                                 "sendmsg(",
                                 "2 pieces",
                                 "recv(",
                                 "= -1 EAGAIN",
                                 "poll({",
                                 "POLLIN",
                                 "ECONNREFUSED",
                                 "blocked ",
                                 "close(",
                                 "= -1 EBADF"}) {
    INFO(part);
    CHECK(shown.err.find(part) != std::string::npos);
  }
  const std::string name = program_invocation_short_name;
  for (const std::string& line : lines(shown.err)) {
    INFO(line);
    char* after = nullptr;
    CHECK(std::strtod(line.c_str(), &after) >= 0);
    CHECK(std::string(after).find("  " + name) == 0);
  }
}

TEST_CASE("NETLITE_TRACE=FILE writes one line a call for programs") {
  const support::Directory dir;
  const std::string file = dir.path + "/trace";
  const Run traced = run("NETLITE_TRACE=" + file, "traced: a conversation");
  CHECK(traced.code == 0);
  CHECK(traced.err == "");
  const std::vector<Line> all = parse(content(file));
  const auto calls = [&](const std::string& name) {
    std::vector<Line> found;
    std::copy_if(all.begin(), all.end(), std::back_inserter(found),
                 [&](const Line& line) { return line.call == name; });
    REQUIRE_FALSE(found.empty());
    return found;
  };
  for (const Line& line : all) {
    INFO(line.call);
    CHECK(line.name == program_invocation_short_name);
    CHECK(line.pid == all[0].pid);
    CHECK(line.thread == all[0].thread);
    CHECK((line.error == "-" || is_name_of_error(line.error)));
  }

  // What became of the first socket, and what it was called with.
  const Line born = calls("socket")[0];
  CHECK(born.arguments == "AF_INET, SOCK_STREAM");
  CHECK(born.fd == born.result);
  CHECK(calls("bind")[0].fd == born.result);
  CHECK(calls("bind")[0].arguments ==
        std::to_string(born.result) + ", 127.0.0.1:0");
  CHECK(calls("send")[0].result == 8);
  const auto recvs = calls("recv");
  CHECK(std::any_of(recvs.begin(), recvs.end(), [](const Line& line) {
    return line.result == -1 && line.error == "EAGAIN";
  }));
  const auto polls = calls("poll");
  CHECK(std::any_of(polls.begin(), polls.end(), [](const Line& line) {
    return line.end - line.start >= 20000000;  // it was blocked
  }));
  const auto connects = calls("connect");
  CHECK(std::any_of(connects.begin(), connects.end(), [](const Line& line) {
    return line.error == "ECONNREFUSED" || line.error == "EINPROGRESS";
  }));
  // The resolver's numbers are not errnos.
  for (const Line& line : calls("getaddrinfo")) {
    INFO(line.error);
    if (line.result != 0) CHECK(line.error.compare(0, 4, "EAI_") == 0);
  }
}

TEST_CASE("a call with very many arguments still ends in its result") {
  const support::Directory dir;
  const std::string file = dir.path + "/trace";
  CHECK(run("NETLITE_TRACE=" + file, "traced: a poll of many").code == 0);
  const auto all = parse(content(file));
  REQUIRE(all.size() == 1);
  CHECK(all[0].call == "poll");
}

TEST_CASE("lines of several processes and threads do not tear") {
  const support::Directory dir;
  const std::string file = dir.path + "/trace";
  {
    std::vector<support::Thread> programs;
    for (int i = 0; i < 3; ++i)
      programs.emplace_back([&dir, &file, i] {
        // No REQUIRE in here: it would throw out of a thread.
        const std::string command = "NETLITE_TRACE=" + file + " '" +
                                    this_program() +
                                    "' --no-skip -tc='traced: a crowd' >" +
                                    dir.path + "/out" + std::to_string(i);
        CHECK(std::system(command.c_str()) == 0);
      });
  }
  std::map<long, std::map<long, int>> sent;  // by process and thread
  for (const Line& line : parse(content(file)))
    if (line.call == "send") sent[line.pid][line.thread] += line.result == 50;
  CHECK(sent.size() == 3);
  for (const auto& process : sent) {
    CHECK(process.second.size() == 4);
    for (const auto& thread : process.second) CHECK(thread.second == 250);
  }
}

TEST_CASE("a trace that cannot be written changes nothing") {
  for (const char* file : {"/dev/full", "/no/such/directory/trace", "/"}) {
    INFO(file);
    const Run unwritten =
        run(std::string("NETLITE_TRACE=") + file, "traced: a conversation");
    CHECK(unwritten.code == 0);
    CHECK(unwritten.err == "");
  }
}

// ---------------------------------------------------------------------------
// Close-on-exec

namespace {

// The descriptors that a child program finds open.
std::set<std::string> seen_by_a_child() {
  FILE* child = ::popen("exec ls /proc/self/fd", "r");
  REQUIRE(child);
  std::set<std::string> seen;
  char line[64];
  while (std::fgets(line, sizeof line, child)) seen.insert(line);
  ::pclose(child);
  return seen;
}

}  // namespace

// https://github.com/zeromq/libzmq/issues/956
// https://github.com/pistacheio/pistache/issues/530
// https://github.com/redis/hiredis/issues/555
TEST_CASE("a child program inherits no socket of any kind" *
          doctest::description("behaviour 74; bug-case 31")) {
  const auto before = seen_by_a_child();
  Connected tcp, unix_stream("unix", ""), packets("unixpacket", "");
  const net::Pipe ends = net::pipe();
  const auto udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const auto dialled =
      net::must(net::dial("udp", net::addr(tcp.listener).string()));
  const auto gram = net::must(net::listen_packet("unixgram", ""));
  const auto poller = net::must(net::make_poller());
  net::must(net::send_descriptor(ends.first, 0));
  const int received = net::must(net::receive_descriptor(ends.second));
  const int copy = net::must(net::duplicate(tcp.client));
  char buffer[1];
  Blocked reader([&] { return net::read(tcp.client, buffer); });  // a wake-up
  CHECK(seen_by_a_child() == before);
  net::must(net::close(tcp.client));
  ::close(received);
  ::close(copy);
}

TEST_CASE("a port is free again though a child program still runs" *
          doctest::description("bug-case 31")) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  char name[] = "sleep", time[] = "60";
  char* const words[] = {name, time, nullptr};
  pid_t child = 0;
  REQUIRE(::posix_spawnp(&child, name, nullptr, nullptr, words, environ) == 0);
  net::must(net::close(listener));
  CHECK_FALSE(net::listen("tcp", net::addr(listener).string()).error);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// ---------------------------------------------------------------------------
// SIGPIPE

// https://github.com/yhirose/cpp-httplib/issues/77
// https://github.com/open-telemetry/opentelemetry-cpp/issues/4293
// https://github.com/nanomsg/nng/issues/338
TEST_CASE("no write raises SIGPIPE, and the process's setting is untouched" *
          doctest::description("behaviour 6; bug-case 37")) {
  CHECK(support::in_child([] {
          struct sigaction setting {};
          setting.sa_handler = SIG_DFL;
          ::sigaction(SIGPIPE, &setting, nullptr);
          const auto pester = [](const net::Conn& conn) {
            net::Error last;
            for (int i = 0; i < 4; ++i) {
              last = net::write(conn, "x").error;
              last = net::write(conn, {"x", "y"}).error;
            }
            return last == std::errc::broken_pipe;
          };
          for (const char* network : {"tcp", "unix", "unixpacket"}) {
            Connected c(network, network[0] == 't' ? "127.0.0.1:0" : "");
            net::must(net::close(c.server));
            if (!pester(c.client)) return 1;
          }
          net::Pipe ends = net::pipe();
          net::must(net::close(ends.second));
          if (!pester(ends.first)) return 2;
          if (net::send_descriptor(ends.first, 0) != std::errc::broken_pipe)
            return 3;
          Connected own;
          net::must(net::close_write(own.client));
          if (!pester(own.client)) return 4;

          sigset_t blocked;
          ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
          ::sigaction(SIGPIPE, nullptr, &setting);
          return ::sigismember(&blocked, SIGPIPE) == 0 &&
                         setting.sa_handler == SIG_DFL
                     ? 0
                     : 5;
        }) == 0);
}

// ---------------------------------------------------------------------------
// Signals

// https://github.com/talostrading/sonic/issues/141
// https://github.com/vichargrave/tcpsockets/issues/2
TEST_CASE("a connect that signals interrupt goes on, and succeeds" *
          doctest::description("behaviour 19; bug-case 02, 26")) {
  // A queue that is full keeps the connect waiting until somebody accepts.
  net::ListenOptions options;
  options.backlog = 1;
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", options));
  const std::string address = net::addr(listener).string();
  std::vector<net::Conn> queued;
  for (;;) {
    auto [conn, err] = net::dial_timeout("tcp", address, 100ms);
    if (err) break;
    queued.push_back(conn);
    REQUIRE(queued.size() < 10);
  }
  const support::Pester pester;
  support::Thread later([&] {
    while (pester.count() < 50) std::this_thread::sleep_for(1ms);
    while (!net::accept(listener).error) continue;
  });
  const net::Error err = net::dial_timeout("tcp", address, 15s).error;
  CHECK(err.message() == "");
  net::must(net::close(listener));
}

TEST_CASE("signals disturb no call that waits" *
          doctest::description("behaviour 19; bug-case 26")) {
  const support::Pester pester;
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const auto udp = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const net::Pipe ends = net::pipe();
  const std::string much(16 << 20, 'x');
  char buffer[8];
  auto due = Clock::now();
  const auto soon = [&] { return due = Clock::now() + 100ms; };
  net::must(net::set_deadline(listener, soon()));
  CHECK(net::accept(listener).error == net::timed_out);
  CHECK(Clock::now() >= due);
  net::must(net::set_deadline(udp, soon()));
  CHECK(net::read_from(udp, buffer).error == net::timed_out);
  CHECK(Clock::now() >= due);
  net::must(net::set_deadline(ends.first, soon()));
  CHECK(net::read(ends.first, buffer).error == net::timed_out);
  CHECK(Clock::now() >= due);
  net::must(net::set_deadline(ends.first, soon()));
  CHECK(net::write(ends.first, much).error == net::timed_out);
  CHECK(Clock::now() >= due);
  CHECK(pester.count() > 20);
}

// ---------------------------------------------------------------------------
// The calls

TEST_CASE("a call returns -1 and errno when it fails") {
  net::sys::Address address;
  char byte = 0;
  const auto fails = [](auto result, int error) {
    return result == -1 && errno == error;
  };
  CHECK(fails(net::sys::close(-1), EBADF));
  CHECK(fails(net::sys::listen(-1, 1), EBADF));
  CHECK(fails(net::sys::accept(-1, address), EBADF));
  CHECK(fails(net::sys::recv(-1, &byte, 1), EBADF));
  CHECK(fails(net::sys::send(-1, &byte, 1), EBADF));
  CHECK(fails(net::sys::getsockname(-1, address), EBADF));
  CHECK(fails(net::sys::shutdown(-1, SHUT_WR), EBADF));
  CHECK(fails(net::sys::setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, 1), EBADF));
  CHECK(fails(net::sys::socket(AF_INET, 4711), EINVAL));
  CHECK(fails(net::sys::duplicate(-1), EBADF));
}

TEST_CASE("each token wakes once, whoever sends it") {
  int ends[2] = {-1, -1};
  REQUIRE(net::sys::wakeup_pair(ends) >= 0);
  for (int i = 0; i < 3; ++i) CHECK(net::sys::wakeup_send(ends[1]) > 0);
  for (int i = 0; i < 3; ++i) CHECK(net::sys::wakeup_take(ends[0]) > 0);
  CHECK(net::sys::wakeup_take(ends[0]) == -1);
  CHECK(net::sys::would_block(errno));
  ::close(ends[0]);
  if (ends[1] != ends[0]) ::close(ends[1]);
}

TEST_CASE("a client's misfortune is told from the machine's and from ours") {
  const auto concerns_one = [](int error) {
    return net::sys::concerns_one_client({error, std::system_category()});
  };
  for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH})
    CHECK(concerns_one(error));
  // EPERM is what a system call filter says before it looks at the queue.
  for (const int error :
       {EMFILE, ENFILE, ENOBUFS, ENOMEM, EBADF, EINVAL, EPERM})
    CHECK_FALSE(concerns_one(error));
  CHECK_FALSE(net::sys::concerns_one_client(net::closed));
  CHECK_FALSE(net::sys::concerns_one_client(net::timed_out));
  // The same number in another category is another error.
  CHECK_FALSE(net::sys::concerns_one_client({ECONNABORTED, net::category()}));
}

TEST_CASE("only netlite::sys touches the kernel, and only it has #if") {
  const std::string header = content(TEST_DATA "/../../include/netlite.hpp");
  REQUIRE_FALSE(header.empty());
  const auto begin = header.find("// The machine, part one: netlite::sys");
  const auto end = header.find("// The machine, part two");
  REQUIRE(begin < end);
  REQUIRE(end < header.size());
  const auto platform = header.find("namespace netlite {");
  const std::string interface = header.substr(platform, begin - platform);
  const std::string bodies = header.substr(end);

  std::string offending;
  for (const std::string& line : lines(interface + bodies)) {
    bool bad = line.compare(0, 3, "#if") == 0;
    for (const char* call :
         {"socket",     "bind",        "listen",      "accept",
          "accept4",    "connect",     "recv",        "send",
          "recvfrom",   "sendto",      "recvmsg",     "sendmsg",
          "poll",       "close",       "shutdown",    "fcntl",
          "getsockopt", "setsockopt",  "getsockname", "getpeername",
          "read",       "write",       "open",        "unlink",
          "chmod",      "eventfd",     "pipe",        "dup",
          "epoll_wait", "getaddrinfo", "getnameinfo", "pthread_create"})
      for (const char* before : {" ::", "(::", "!::"})
        bad = bad || line.find(std::string(before) + call + "(") != line.npos;
    if (bad) offending += line + "\n";
  }
  CHECK(offending == "");
}
