// SPDX-License-Identifier: MIT
// Listeners: listen, accept, close; what they do and what they say, as Go's
// net does. `behaviour N` is a row of Go's observed behaviour; the links are
// public reports of what other libraries once did instead.

#include "netlite.hpp"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <set>

#include "support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using support::generous;
using support::Stopwatch;
using Clock = net::Deadline::Clock;

struct Kind {
  const char* network;
  const char* address;
};
constexpr Kind kinds[] = {
    {"tcp", "127.0.0.1:0"}, {"unix", ""}, {"unixpacket", ""}};

net::Listener open_on(const std::string& network, const std::string& address) {
  return net::must(net::listen(network, address));
}

std::string where(const net::Listener& listener) {
  return net::addr(listener).string();
}

std::string port(const net::Listener& listener) {
  return std::to_string(net::addr(listener).port());
}

net::Error accept_error(const net::Listener& listener) {
  return net::accept(listener).error;
}

std::string text(const net::Conn& conn) {
  std::string buffer(1024, '\0');
  buffer.resize(net::must(net::read(conn, buffer)));
  return buffer;
}

net::Error read_error(const net::Conn& conn) {
  char buffer[16];
  return net::read(conn, buffer).error;
}

void reset(const net::Conn& conn) {
  net::must(net::set_linger(conn, 0));
  net::must(net::close(conn));
}

// Waits until a connection is queued, or whatever else poll(2) knows.
void wait_for(const net::Socket& handle, short events) {
  pollfd fd{net::native_handle(handle), events, 0};
  REQUIRE(::poll(&fd, 1, 20000) == 1);
}

bool exists(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

bool has_ipv6() {
  const bool has = !net::listen("tcp6", "[::1]:0").error;
  if (!has) MESSAGE("skipped: no IPv6 here");
  return has;
}

// As long as it lives, no descriptor is to be had.
class FullTable {
 public:
  FullTable() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest = ::fcntl(2, F_DUPFD_CLOEXEC, 0);
    ::close(lowest);
    rlimit full = before_;
    full.rlim_cur = static_cast<rlim_t>(lowest);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &full) == 0);
  }
  ~FullTable() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FullTable(const FullTable&) = delete;
  FullTable& operator=(const FullTable&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

// ---------------------------------------------------------------------------
// Closing

TEST_CASE("close wakes all who are blocked in accept" *
          doctest::description("behaviour 28, 29")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    const auto listener = open_on(kind.network, kind.address);
    const std::string on = std::string(kind.network) + " " + where(listener) +
                           ": use of closed network connection";
    std::list<Blocked<std::function<net::Error()>>> acceptors;
    for (int i = 0; i < 3; ++i)
      acceptors.emplace_back([&] { return accept_error(listener); });
    CHECK_FALSE(acceptors.back().done());
    CHECK_FALSE(net::close(listener));
    for (auto& acceptor : acceptors) {
      const net::Error err = acceptor.get();
      CHECK(err == net::closed);
      CHECK(err.message() == "accept " + on);
    }
    CHECK(accept_error(listener).message() == "accept " + on);
    CHECK(net::close(listener).message() == "close " + on);
  }
}

TEST_CASE("the address of a listener stays valid after close" *
          doctest::description("behaviour 27")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  const std::string before = where(listener);
  CHECK(net::addr(listener).port() != 0);
  net::must(net::close(listener));
  CHECK(where(listener) == before);
}

// https://github.com/yhirose/cpp-httplib/issues/160
// https://github.com/python/cpython/issues/83978
// https://github.com/yhirose/cpp-httplib/issues/1371
TEST_CASE("a listener may be closed just before its thread accepts" *
          doctest::description("bug-case 22")) {
  std::minstd_rand random(1);
  for (int round = 0; round < 2000 / support::slowness; ++round) {
    const auto listener = open_on("unix", "");
    support::Thread loop([&] {
      net::Error err;
      while (!err) err = accept_error(listener);
      CHECK(err == net::closed);
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    net::must(net::close(listener));
  }
}

TEST_CASE("accepted connections outlive their listener" *
          doctest::description("behaviour 93")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    net::must(net::close(c.listener));
    net::must(net::write(c.client, "still"));
    CHECK(text(c.server) == "still");
    CHECK(net::dial(kind.network, where(c.listener)).error ==
          std::errc::connection_refused);
  }
}

// https://github.com/asterinas/asterinas/pull/1855
TEST_CASE("who still waits for accept when the listener closes is reset" *
          doctest::description("behaviour 93; bug-case 28")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  std::vector<net::Conn> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(net::must(net::dial("tcp", where(listener))));
    net::must(net::write(clients.back(), "hello?"));
  }
  net::must(net::close(listener));
  for (const net::Conn& client : clients)
    CHECK(read_error(client) == std::errc::connection_reset);
}

TEST_CASE("the last handle closes the listener, and frees its port") {
  std::string address;
  {
    const auto listener = open_on("tcp", "127.0.0.1:0");
    const net::Listener copy = listener;
    CHECK(copy == listener);
    address = where(listener);
    CHECK_FALSE(net::dial("tcp", address).error);
  }
  CHECK(net::dial("tcp", address).error == std::errc::connection_refused);
}

// ---------------------------------------------------------------------------
// Deadlines

TEST_CASE("accept has a deadline; a client that waits is kept for later" *
          doctest::description("behaviour 38, 39")) {
  for (const Kind& kind : kinds) {
    INFO(kind.network);
    const auto listener = open_on(kind.network, kind.address);
    const auto due = Clock::now() + 30ms;
    net::must(net::set_deadline(listener, due));
    const net::Error err = accept_error(listener);
    CHECK(Clock::now() >= due);
    CHECK(err == net::timed_out);
    CHECK(err.timeout());
    CHECK(err.message() == std::string("accept ") + kind.network + " " +
                               where(listener) + ": i/o timeout");

    const auto client = net::must(net::dial(kind.network, where(listener)));
    wait_for(listener, POLLIN);
    CHECK(accept_error(listener) == net::timed_out);
    net::must(net::set_deadline(listener, net::no_deadline));
    const auto server = net::must(net::accept(listener));
    net::must(net::write(client, "kept"));
    CHECK(text(server) == "kept");
  }
}

TEST_CASE("the deadline of a blocked accept may be set, moved and cleared" *
          doctest::description("behaviour 33, 34, 38")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  const auto blocked = [&] {
    return std::make_unique<Blocked<std::function<net::Error()>>>(
        [&] { return accept_error(listener); });
  };
  SUBCASE("set while it is blocked, and moved earlier") {
    const auto acceptor = blocked();
    net::must(net::set_deadline(listener, 1h));
    const auto due = Clock::now() + 30ms;
    net::must(net::set_read_deadline(listener, due));
    CHECK(acceptor->get() == net::timed_out);
    CHECK(Clock::now() >= due);
  }
  SUBCASE("moved later") {
    const auto start = Clock::now();
    net::must(net::set_deadline(listener, start + 100ms));
    const auto acceptor = blocked();
    net::must(net::set_deadline(listener, start + 300ms));
    CHECK(acceptor->get() == net::timed_out);
    CHECK(Clock::now() >= start + 300ms);
  }
  SUBCASE("cleared") {
    const auto due = Clock::now() + 100ms;
    net::must(net::set_deadline(listener, due));
    const auto acceptor = blocked();
    net::must(net::set_deadline(listener, net::no_deadline));
    std::this_thread::sleep_until(due + 50ms);
    CHECK_FALSE(acceptor->done());
    const auto client = net::must(net::dial("tcp", where(listener)));
    CHECK_FALSE(acceptor->get());
  }
}

TEST_CASE("signals do not end accept, nor stretch its deadline" *
          doctest::description("behaviour 19; bug-case 26")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  const support::Pester pester;
  const Stopwatch watch;
  const auto due = Clock::now() + 200ms;
  net::must(net::set_deadline(listener, due));
  CHECK(accept_error(listener) == net::timed_out);
  CHECK(Clock::now() >= due);
  CHECK(watch.elapsed() < generous);

  net::must(net::set_deadline(listener, net::no_deadline));
  const int before = pester.count();
  support::Thread later([&] {
    while (pester.count() < before + 50) std::this_thread::sleep_for(1ms);
    net::must(net::dial("tcp", where(listener)));
  });
  CHECK_FALSE(accept_error(listener));
}

// ---------------------------------------------------------------------------
// Accept

TEST_CASE("a client that wrote and left before accept was here all the same" *
          doctest::description("behaviour 95")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  SUBCASE("it closed: its data, then eof") {
    const auto client = net::must(net::dial("tcp", where(listener)));
    net::must(net::write(client, "was here"));
    net::must(net::close(client));
    const auto server = net::must(net::accept(listener));
    CHECK(net::remote_addr(server) == net::local_addr(client));
    CHECK(text(server) == "was here");
    CHECK(read_error(server) == net::eof);
  }
  SUBCASE("it reset: its address is known, and the read tells") {
    const auto client = net::must(net::dial("tcp", where(listener)));
    reset(client);
    const auto server = net::must(net::accept(listener));
    CHECK(net::remote_addr(server) == net::local_addr(client));
    CHECK(net::local_addr(server) == net::addr(listener));
    CHECK(read_error(server) == std::errc::connection_reset);
  }
}

// https://github.com/joyent/libuv/issues/1189
// https://github.com/nanomsg/nanomsg/issues/152
// https://github.com/DFHack/dfhack/pull/930
TEST_CASE("without a descriptor accept tells, and the client waits" *
          doctest::description("behaviour 96; bug-case 25")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  const auto client = net::must(net::dial("tcp", where(listener)));
  net::must(net::write(client, "patient"));
  {
    const FullTable full;
    for (int i = 0; i < 3; ++i) {
      const net::Error err = accept_error(listener);
      CHECK(err == std::errc::too_many_files_open);
      CHECK(err.temporary());
      CHECK_FALSE(err.timeout());
      CHECK(err.message() ==
            "accept tcp " + where(listener) + ": accept4: too many open files");
    }
    const std::string why = "socket: too many open files";
    CHECK(net::dial("tcp", where(listener)).error.message() ==
          "dial tcp " + where(listener) + ": " + why);
    CHECK(net::listen("tcp", "127.0.0.1:0").error.message() ==
          "listen tcp 127.0.0.1:0: " + why);
    CHECK(net::listen_packet("udp", "127.0.0.1:0").error.message() ==
          "listen udp 127.0.0.1:0: " + why);
    CHECK(net::pipe().error == std::errc::too_many_files_open);
    CHECK(net::duplicate(client).error == std::errc::too_many_files_open);
  }
  CHECK(text(net::must(net::accept(listener))) == "patient");
}

TEST_CASE("of several who accept, each gets connections of its own" *
          doctest::description("behaviour 97")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  std::mutex mutex;
  std::multiset<std::string> accepted, dialled;
  {
    std::vector<support::Thread> acceptors;
    for (int i = 0; i < 4; ++i)
      acceptors.emplace_back([&] {
        for (;;) {
          const auto [conn, err] = net::accept(listener);
          if (err) return;
          const std::lock_guard<std::mutex> lock(mutex);
          accepted.insert(net::remote_addr(conn).string());
        }
      });
    std::vector<net::Conn> clients;
    for (int i = 0; i < 100; ++i) {
      clients.push_back(net::must(net::dial("tcp", where(listener))));
      dialled.insert(net::local_addr(clients.back()).string());
    }
    for (const net::Conn& client : clients) CHECK(read_error(client));
    net::must(net::close(listener));
  }
  CHECK(accepted == dialled);
}

// ---------------------------------------------------------------------------
// Listen

TEST_CASE("the backlog is what the system allows, or what was asked for" *
          doctest::description("behaviour 89")) {
  int allowed = 0;
  std::ifstream("/proc/sys/net/core/somaxconn") >> allowed;
  const auto backlog = [](const net::ListenOptions& options) {
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", options));
    // Of a listener, this is the most that its queue may hold.
    return net::must(net::get_option<tcp_info>(listener, IPPROTO_TCP, TCP_INFO))
        .tcpi_sacked;
  };
  net::ListenOptions options;
  CHECK(backlog(options) == static_cast<unsigned>(allowed));
  options.backlog = 7;
  CHECK(backlog(options) == 7);
  options.backlog = -1;
  CHECK(backlog(options) == static_cast<unsigned>(allowed));
}

TEST_CASE("a TCP listener reuses its address but does not share its port" *
          doctest::description("behaviour 90")) {
  const auto option = [](const net::Listener& listener, int name) {
    return net::must(net::get_option<int>(listener, SOL_SOCKET, name));
  };
  const auto listener = open_on("tcp", "127.0.0.1:0");
  CHECK(option(listener, SO_REUSEADDR) == 1);
  CHECK(option(listener, SO_REUSEPORT) == 0);

  net::ListenOptions sharing;
  sharing.reuse_port = true;
  const auto first = net::must(net::listen("tcp", "127.0.0.1:0", sharing));
  CHECK(option(first, SO_REUSEPORT) == 1);
  CHECK_FALSE(net::listen("tcp", where(first), sharing).error);
  CHECK(net::listen("tcp", where(first)).error == std::errc::address_in_use);
}

// https://github.com/yhirose/cpp-httplib/issues/250
// https://github.com/cpp-netlib/cpp-netlib/issues/16
// https://github.com/ggml-org/llama.cpp/issues/20963
TEST_CASE("a second server on the same port is refused" *
          doctest::description("bug-case 16")) {
  const auto listener = open_on("tcp", "127.0.0.1:0");
  const std::string address = where(listener);
  const net::Error err = net::listen("tcp", address).error;
  CHECK(err == std::errc::address_in_use);
  CHECK(err.message() ==
        "listen tcp " + address + ": bind: address already in use");
  CHECK(support::in_child([&] {
          return net::listen("tcp", address).error == std::errc::address_in_use
                     ? 0
                     : 1;
        }) == 0);
}

// https://github.com/yhirose/cpp-httplib/issues/1157
// https://github.com/cpp-netlib/cpp-netlib/issues/395
TEST_CASE("a server starts again at once on its old port" *
          doctest::description("behaviour 94; bug-case 17")) {
  SUBCASE("with a connection in TIME_WAIT") {
    Connected c;
    net::must(net::close(c.server));  // first: TIME_WAIT is on our side
    CHECK(read_error(c.client) == net::eof);
    net::must(net::close(c.client));
    net::must(net::close(c.listener));
    CHECK_FALSE(net::listen("tcp", where(c.listener)).error);
  }
  SUBCASE("with a connection still open") {
    Connected c;
    net::must(net::close(c.listener));
    const auto again = open_on("tcp", where(c.listener));
    net::must(net::write(c.client, "old"));
    CHECK(text(c.server) == "old");
    CHECK_FALSE(net::dial("tcp", where(again)).error);
  }
}

// https://github.com/python/cpython/issues/89856
// https://github.com/golang/go/issues/12510
// https://github.com/DFHack/clsocket/pull/30
TEST_CASE("an empty host serves IPv6 and IPv4 on one port" *
          doctest::description("behaviour 91; bug-case 19, 29")) {
  if (!has_ipv6()) return;
  const auto listener = open_on("tcp", ":0");
  CHECK(where(listener) == "[::]:" + port(listener));
  CHECK(net::must(net::get_option<int>(listener, IPPROTO_IPV6, IPV6_V6ONLY)) ==
        0);
  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    const std::string address = host + ":" + port(listener);
    const auto client = net::must(net::dial("tcp", address));
    const auto server = net::must(net::accept(listener));
    // Both ends name real addresses: no wildcard, no ::ffff:127.0.0.1.
    CHECK(net::local_addr(server).string() == address);
    CHECK(net::remote_addr(client).string() == address);
    CHECK(net::remote_addr(server) == net::local_addr(client));
  }
}

TEST_CASE("tcp4 and tcp6 serve one family, 0.0.0.0 on tcp serves both" *
          doctest::description("behaviour 92; bug-case 19")) {
  const auto four = open_on("tcp4", ":0");
  CHECK(where(four) == "0.0.0.0:" + port(four));
  CHECK_FALSE(net::dial("tcp", "127.0.0.1:" + port(four)).error);
  if (!has_ipv6()) return;
  const support::OneFamily tcp4("tcp4", ":0"), tcp6("tcp6", ":0");
  CHECK(net::dial("tcp", "[::1]:" + port(tcp4.listener)).error ==
        std::errc::connection_refused);

  const net::Listener& six = tcp6.listener;
  CHECK(where(six) == "[::]:" + port(six));
  CHECK(net::must(net::get_option<int>(six, IPPROTO_IPV6, IPV6_V6ONLY)) == 1);
  CHECK_FALSE(net::dial("tcp", "[::1]:" + port(six)).error);
  CHECK(net::dial("tcp", "127.0.0.1:" + port(six)).error ==
        std::errc::connection_refused);

  const auto any = open_on("tcp", "0.0.0.0:0");
  CHECK(where(any) == "[::]:" + port(any));
  CHECK_FALSE(net::dial("tcp", "[::1]:" + port(any)).error);
  CHECK_FALSE(net::dial("tcp", "127.0.0.1:" + port(any)).error);
}

TEST_CASE("families, addresses and protocols have ports of their own" *
          doctest::description("behaviour 98")) {
  const auto one = open_on("tcp4", "127.0.0.1:0");
  CHECK_FALSE(net::listen("tcp4", "127.0.0.2:" + port(one)).error);
  CHECK_FALSE(net::listen_packet("udp4", "127.0.0.1:" + port(one)).error);
  if (!has_ipv6()) return;
  for (;;) {
    const auto four = open_on("tcp4", ":0");
    const net::Error err = net::listen("tcp6", ":" + port(four)).error;
    if (!err) break;
    REQUIRE(err == std::errc::address_in_use);  // somebody else's
  }
}

TEST_CASE("a host name is listened on at its IPv4 address, if it has one") {
  const auto listener = open_on("tcp", "localhost:0");
  CHECK((net::addr(listener).ip().string() == "127.0.0.1" ||
         net::addr(listener).ip().string() == "::1"));
  CHECK_FALSE(net::dial("tcp", where(listener)).error);
}

// ---------------------------------------------------------------------------
// Unix sockets

TEST_CASE("a unix listener removes its file, once; connections do not" *
          doctest::description("behaviour 57, 60")) {
  for (const char* network : {"unix", "unixpacket"}) {
    INFO(network);
    const support::Directory dir;
    const std::string path = dir.path + "/s";
    Connected c(network, path);
    CHECK(where(c.listener) == path);
    net::must(net::close(c.client));
    net::must(net::close(c.server));
    CHECK(exists(path));
    net::must(net::close(c.listener));
    CHECK_FALSE(exists(path));
    std::ofstream(path) << "somebody else's";
    CHECK(net::close(c.listener) == net::closed);
    c.listener = net::Listener();
    CHECK(exists(path));
  }
}

// https://github.com/python/asyncio/issues/425
// https://github.com/libuv/libuv/issues/108
// https://github.com/FreeRDP/FreeRDP/pull/4150
TEST_CASE("listen never removes what is at its path" *
          doctest::description("behaviour 58; bug-case 61")) {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  const auto refused = [&] {
    const net::Error err = net::listen("unix", path).error;
    CHECK(err.message() ==
          "listen unix " + path + ": bind: address already in use");
    CHECK(exists(path));
    return err == std::errc::address_in_use;
  };
  SUBCASE("a stale socket; once it is removed, all is well") {
    CHECK(support::in_child([&] {
            const auto listener = open_on("unix", path);
            ::_exit(listener ? 0 : 1);  // and leaves the file
            return 1;
          }) == 0);
    CHECK(refused());
    CHECK(net::dial("unix", path).error == std::errc::connection_refused);
    ::unlink(path.c_str());
    CHECK_FALSE(net::listen("unix", path).error);
  }
  SUBCASE("a live server") {
    const auto listener = open_on("unix", path);
    CHECK(refused());
    CHECK_FALSE(net::dial("unix", path).error);
  }
  SUBCASE("a regular file") {
    std::ofstream(path) << "precious";
    CHECK(refused());
    std::string content;
    std::ifstream(path) >> content;
    CHECK(content == "precious");
    CHECK(net::dial("unix", path).error == std::errc::connection_refused);
  }
  SUBCASE("a symbolic link to nothing") {
    REQUIRE(::symlink("nothing", path.c_str()) == 0);
    CHECK(refused());
    CHECK(net::dial("unix", path).error ==
          std::errc::no_such_file_or_directory);
  }
}

// https://github.com/wollomatic/socket-proxy/issues/175
// https://github.com/golang/go/issues/13877
// https://github.com/ghostunnel/ghostunnel/pull/745
TEST_CASE("only its maker removes a file, and only its own" *
          doctest::description("behaviour 59; bug-case 62")) {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  net::Listener old = open_on("unix", path);
  SUBCASE("a path that somebody else has taken over") {
    ::unlink(path.c_str());
    const auto fresh = open_on("unix", path);
    net::must(net::close(old));
    CHECK(net::close(old) == net::closed);
    CHECK_FALSE(net::dial("unix", path).error);
  }
  SUBCASE("a file that was renamed is left where it is now") {
    const std::string moved = dir.path + "/moved";
    REQUIRE(::rename(path.c_str(), moved.c_str()) == 0);
    net::must(net::close(old));
    CHECK(exists(moved));
  }
  SUBCASE("a child that ends, or closes its copy") {
    CHECK(support::in_child([&] {
            old = net::Listener();
            return exists(path) ? 0 : 1;
          }) == 0);
    CHECK(support::in_child([&] { return net::close(old) ? 1 : 0; }) == 0);
    CHECK_FALSE(net::dial("unix", path).error);
    net::must(net::close(old));
    CHECK_FALSE(exists(path));
  }
}

TEST_CASE("the mode of a unix socket's file is what umask says" *
          doctest::description("behaviour 61")) {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  for (const mode_t mask : {mode_t{0022}, mode_t{0077}}) {
    const mode_t before = ::umask(mask);
    const auto listener = open_on("unix", path);
    ::umask(before);
    struct stat found {};
    REQUIRE(::lstat(path.c_str(), &found) == 0);
    CHECK((found.st_mode & 0777) == (0777 & ~mask));
  }
}

TEST_CASE("an abstract name has no file and is free after close" *
          doctest::description("behaviour 63")) {
  const std::string name = "@netlite-test-" + std::to_string(::getpid());
  for (int round = 0; round < 2; ++round) {
    Connected c("unix", name);
    CHECK(where(c.listener) == name);
    CHECK(net::remote_addr(c.client).string() == name);
    CHECK(net::listen("unix", name).error == std::errc::address_in_use);
    CHECK_FALSE(net::listen("unix", name + "x").error);
    // The name is as long as it was written: no NUL at its end counts.
    std::ifstream table("/proc/net/unix");
    std::string line;
    bool found = false;
    while (std::getline(table, line))
      found = found || (line.size() > name.size() &&
                        line.substr(line.size() - name.size()) == name);
    CHECK(found);
  }
  const auto chosen = open_on("unix", "");
  CHECK(where(chosen).size() == 6);
  CHECK(where(chosen)[0] == '@');
  CHECK_FALSE(net::dial("unix", where(chosen)).error);
}

// https://github.com/rust-lang/rust/pull/160416
// https://github.com/networkupstools/nut/issues/1390
// https://github.com/nodejs/node/issues/13670
TEST_CASE("a path is as long as it is: taken whole or refused" *
          doctest::description("behaviour 64; bug-case 59")) {
  const support::Directory dir;
  const auto path = [&](std::size_t size) {
    return dir.path + "/" + std::string(size - dir.path.size() - 1, 'p');
  };
  for (const std::size_t size :
       {dir.path.size() + 2, std::size_t{106}, std::size_t{107}}) {
    INFO(size);
    Connected c("unix", path(size));
    CHECK(where(c.listener) == path(size));
    CHECK(net::remote_addr(c.client).string() == path(size));
    CHECK(exists(path(size)));
    net::must(net::close(c.listener));
    CHECK_FALSE(exists(path(size)));
  }
  using namespace std::string_literals;
  for (const std::string& bad :
       {path(108), path(109), path(4096), dir.path + "/a\0b"s}) {
    const net::Error err = net::listen("unix", bad).error;
    CHECK(err == std::errc::invalid_argument);
    CHECK(err.message() == "listen unix " + bad + ": bind: invalid argument");
  }
  CHECK_FALSE(exists(path(107)));
  CHECK_FALSE(exists(dir.path + "/a"));
  CHECK_FALSE(net::listen("unix", "@" + std::string(107, 'n')).error);
  CHECK(net::listen("unix", "@" + std::string(108, 'n')).error ==
        std::errc::invalid_argument);
}

// ---------------------------------------------------------------------------
// Bad input

TEST_CASE("a listener of nothing gives closed in every call") {
  const auto check = [](const net::Listener& listener) {
    CHECK(accept_error(listener) == net::closed);
    CHECK(net::try_accept(listener).error == net::closed);
    CHECK(net::close(listener) == net::closed);
    CHECK(net::set_deadline(listener, 1s) == net::closed);
    CHECK(net::set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1) ==
          net::closed);
    CHECK(net::duplicate(listener).error == net::closed);
    CHECK(net::native_handle(listener) == -1);
    CHECK_FALSE(net::addr(listener));
    CHECK(net::addr(listener).string() == "");
  };
  check(net::Listener());
  net::Listener listener = open_on("unix", "");
  const net::Listener moved = std::move(listener);
  check(listener);  // NOLINT(bugprone-use-after-move)
  CHECK(net::addr(moved));
}

TEST_CASE("listen says what is wrong with its arguments") {
  using namespace std::string_literals;
  const struct {
    std::string network, address, message;
  } bad[] = {
      {"", ":0", "listen: unknown network "},
      {"tcp5", ":0", "listen tcp5: unknown network tcp5"},
      {"tcp", "127.0.0.1",
       "listen tcp: address 127.0.0.1: missing port in address"},
      {"tcp", "127.0.0.1:99999", "listen tcp: address 99999: invalid port"},
      {"tcp", "127.0.0.1\0:0"s,
       "listen tcp: lookup 127.0.0.1\0: no such host"s},
      {"udp", ":0", "listen udp :0: address :0: unexpected address type"},
      {"unixgram", "/tmp/x",
       "listen unixgram /tmp/x: address /tmp/x: unexpected address type"},
  };
  for (const auto& each : bad) {
    const auto [listener, err] = net::listen(each.network, each.address);
    CHECK_FALSE(listener);
    CHECK(err.message() == each.message);
  }
}

TEST_CASE("listen leaves neither descriptor nor file behind when it fails") {
  const support::Directory dir;
  const auto taken = open_on("tcp", "127.0.0.1:0");
  const auto before = support::descriptors();
  net::ListenOptions refusing;
  refusing.control = [](int) -> net::Error {
    return std::make_error_code(std::errc::operation_not_permitted);
  };
  for (int i = 0; i < 20; ++i) {
    CHECK(net::listen("tcp", where(taken)).error);
    CHECK(net::listen("unix", dir.path + "/no/such/directory").error);
    CHECK(net::listen("unix", dir.path + "/s", refusing).error ==
          std::errc::operation_not_permitted);
  }
  CHECK(support::descriptors() == before);
  CHECK_FALSE(exists(dir.path + "/s"));
}
