// SPDX-License-Identifier: MIT
// netlite::sys, the BSD calls: their policies on signals, on SIGPIPE and on
// close-on-exec, and that nothing else touches the kernel.

// Meson asks for 64-bit file offsets; a compiler by hand does not.
#undef _FILE_OFFSET_BITS

#include "netlite.hpp"

#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <iterator>
#include <regex>
#include <set>

#include "support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using Clock = net::Deadline::Clock;

}  // namespace

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
  net::Poller poller;
  net::must(poller.wake());  // makes what it needs
  net::must(net::send_descriptor(ends.first, 0));
  const int received = net::must(net::receive_descriptor(ends.second));
  const int copy = net::must(net::duplicate(tcp.client));
  char buffer[1];
  Blocked reader([&] { return net::read(tcp.client, buffer); });  // a bell
  CHECK(seen_by_a_child() == before);
  net::must(net::close(tcp.client));
  ::close(received);
  ::close(copy);
}

TEST_CASE("a port is free again though a child program still runs" *
          doctest::description("bug-case 31")) {
  // Several times: somebody else may be given the port in between.
  bool is_free = false;
  for (int tries = 0; tries < 5 && !is_free; ++tries) {
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    char name[] = "sleep", time[] = "60";
    char* const words[] = {name, time, nullptr};
    pid_t child = 0;
    REQUIRE(::posix_spawnp(&child, name, nullptr, nullptr, words, environ) ==
            0);
    net::must(net::close(listener));
    is_free = !net::listen("tcp", net::addr(listener).string()).error;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  CHECK(is_free);
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

TEST_CASE("each ring of a bell wakes once, whoever rings it") {
  const net::sys::Bell bell = net::sys::make_bell();
  REQUIRE(bell);
  pollfd ear{bell.read, POLLIN, 0};
  const auto rings = [&] { return net::sys::poll(&ear, 1, 0) == 1; };
  for (int i = 0; i < 3; ++i) net::sys::ring(bell);
  for (int i = 0; i < 3; ++i) {
    CHECK(rings());
    net::sys::take_ring(bell);
  }
  CHECK_FALSE(rings());
  net::sys::take_ring(bell);  // does not block
  net::sys::discard(bell);
  net::sys::discard({});
}

TEST_CASE("a client's misfortune is told from the machine's and from ours") {
  for (const int error : {ECONNABORTED, ECONNRESET, EPROTO, ENETDOWN,
                          ENOPROTOOPT, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH})
    CHECK(net::sys::concerns_one_client(net::sys::error(error)));
  // EPERM is what a system call filter says before it looks at the queue.
  for (const int error :
       {EMFILE, ENFILE, ENOBUFS, ENOMEM, EBADF, EINVAL, ENOTSOCK, EPERM})
    CHECK_FALSE(net::sys::concerns_one_client(net::sys::error(error)));
}

TEST_CASE("a file of more than 2 GiB is sent, in a 32-bit program as well" *
          doctest::timeout(300)) {
  const support::Directory dir;
  const std::string path = dir.path + "/large";
  const std::uint64_t size = (std::uint64_t{1} << 31) + 5;
  std::ofstream file(path);
  file.seekp(static_cast<std::streamoff>(size - 3));  // zeros before it
  file << "end" << std::flush;
  REQUIRE(file);

  net::sys::File found;
  CHECK(net::sys::lstat(path, found) == 0);
  CHECK(found.id.second != 0);
  // All of it only where it is in question: that takes a while.
  const std::uint64_t most = sizeof(void*) == 4 ? size : 100;
  const net::Pipe ends = net::pipe();
  Blocked sender([&] {
    const auto sent = net::send_file(ends.first, path, most);
    net::close_write(ends.first);
    return sent;
  });
  std::vector<char> buffer(1 << 20);
  std::uint64_t got = 0;
  while (const std::size_t n = net::read(ends.second, buffer).value) got += n;
  const auto [sent, err] = sender.get();
  CHECK(err.message() == "");
  CHECK(sent == most);
  CHECK(got == most);
}

// ---------------------------------------------------------------------------
// The header's text

namespace {

std::vector<std::string> header_lines() {
  std::ifstream header(TEST_DATA "/../../include/netlite.hpp");
  std::vector<std::string> lines;
  for (std::string line; std::getline(header, line);) lines.push_back(line);
  return lines;
}

// A line without literals, comments and directives.
std::string code_of(const std::string& line) {
  static const std::regex rest(
      R"("(\\.|[^"\\])*"|'(\\.|[^'\\])*'|//.*|^ *#.*)");
  return std::regex_replace(line, rest, "");
}

// The lines of the header that stand outside of netlite::sys.
std::vector<std::string> lines_outside_sys() {
  std::vector<std::string> lines;
  bool body = false, sys = false;
  for (const std::string& line : header_lines()) {
    const auto begins = [&](const char* text) { return line.find(text) == 0; };
    body = begins("inline namespace ") || (body && !begins("#undef "));
    sys = begins("namespace sys {") || (sys && !begins("}  // namespace sys"));
    if (body && !sys) lines.push_back(line);
  }
  return lines;
}

}  // namespace

TEST_CASE("the header is not longer than somebody reads") {
  int lines = 0, code = 0, core = 0;
  for (const std::string& line : header_lines()) {
    const std::size_t first = line.find_first_not_of(' ');
    if (line == "// You may stop here") core = lines;
    code += first != line.npos && line.compare(first, 2, "//") != 0;
    ++lines;
  }
  CHECK(lines > 1000);
  CHECK(lines <= 4200);
  CHECK(code <= 3100);
  CHECK(core > 1000);
  CHECK(core <= 2500);
}

TEST_CASE("no function of the header has forty lines") {
  struct Block {
    std::string head;
    int first;
  };
  // What has braces but is no function, nor part of one.
  const std::regex other("(^|[:>]) *(inline )?(namespace|class|struct|enum) ");
  std::vector<Block> open;
  std::string head, longest;
  int line = 0, most = 0;
  for (const std::string& text : header_lines()) {
    ++line;
    for (const char c : code_of(text) + " ") {
      if (c == '{') open.push_back({head, line});
      if (c == '}') {
        REQUIRE_FALSE(open.empty());
        const Block block = open.back();
        open.pop_back();
        const int length = line - block.first + 1;
        if (length > most && !std::regex_search(block.head, other)) {
          most = length;
          longest = block.head;
        }
      }
      head = std::strchr("{};", c) ? "" : head + c;
    }
  }
  CAPTURE(longest);
  CHECK(open.empty());
  CHECK(most > 10);
  CHECK(most < 40);
}

TEST_CASE("the header leaves no macro behind but its guard and its version") {
  const std::regex directive("# *(define|undef) +(\\w+).*");
  std::set<std::string> defined;
  std::smatch found;
  for (const std::string& line : header_lines()) {
    if (!std::regex_match(line, found, directive)) continue;
    if (found[1] == "define")
      defined.insert(found[2]);
    else
      CHECK(defined.erase(found[2]) == 1);
  }
  std::string left;
  for (const std::string& name : defined) left += name + " ";
  CHECK(left ==
        "NETLITE_HPP NETLITE_VERSION_MAJOR NETLITE_VERSION_MINOR "
        "NETLITE_VERSION_PATCH ");
}

// A global call is the system's. Some of those only turn what is in memory into
// something else, or give it back.
TEST_CASE("only netlite::sys touches the kernel, and only it has #if") {
  const std::set<std::string> harmless = {"inet_ntop",    "inet_pton",
                                          "inet_aton",    "gai_strerror",
                                          "freeaddrinfo", "freeifaddrs"};
  const std::regex global("(?:^|[^\\w:>])::(\\w+)");
  const std::vector<std::string> lines = lines_outside_sys();
  CHECK(lines.size() > 3000);
  std::string offending;
  int calls = 0;
  for (const std::string& line : lines) {
    bool bad = line.compare(0, 3, "#if") == 0;
    const std::string code = code_of(line);
    std::sregex_iterator call(code.begin(), code.end(), global);
    for (; call != std::sregex_iterator(); ++call, ++calls)
      bad = bad || harmless.count((*call)[1]) == 0;
    if (bad) offending += line + "\n";
  }
  CHECK(offending == "");
  CHECK(calls > 0);
}
