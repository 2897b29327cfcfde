// SPDX-License-Identifier: MIT
// Options, hooks, and descriptors that come and go: what connections.cpp does
// not say about dialled and accepted connections.

#include "netlite.hpp"

#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <set>
#include <utility>

#include "support.hpp"

using doctest::description;

namespace {

using support::Connected;
using support::generous;

template <class C>
C bounded(net::Result<C> result) {
  C conn = net::must(std::move(result));
  net::set_deadline(conn, generous);
  return conn;
}

int option(const net::Socket& socket, int level, int name) {
  return net::must(net::get_option<int>(socket, level, name));
}

// Makes a descriptor of some kind. Blocking, and not close-on-exec.
struct Kind {
  std::string name;
  std::function<int()> make;
};

// socket(2), bound to this address and made to listen if so asked.
std::function<int()> plain(int family, int type, bool listening = false,
                           bool connected = false) {
  return [=] {
    const int fd = ::socket(family, type, 0);
    REQUIRE(fd >= 0);
    sockaddr_storage storage{};
    const auto address = reinterpret_cast<sockaddr*>(&storage);
    address->sa_family = static_cast<sa_family_t>(family);
    socklen_t size = family == AF_INET    ? sizeof(sockaddr_in)
                     : family == AF_INET6 ? sizeof(sockaddr_in6)
                                          : sizeof(sa_family_t);
    if (family != AF_NETLINK) REQUIRE(::bind(fd, address, size) == 0);
    if (listening) REQUIRE(::listen(fd, 4) == 0);
    if (connected) {  // to itself, which UDP allows
      size = sizeof storage;
      REQUIRE(::getsockname(fd, address, &size) == 0);
      REQUIRE(::connect(fd, address, size) == 0);
    }
    return fd;
  };
}

int one_of_a_pair(int type) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, type, 0, ends) == 0);
  ::close(ends[1]);
  return ends[0];
}

int copy_of(const net::Socket& socket) {
  const int fd = net::must(net::duplicate(socket));
  REQUIRE(::fcntl(fd, F_SETFD, 0) == 0);
  REQUIRE(::fcntl(fd, F_SETFL, 0) == 0);
  return fd;
}

const std::vector<Kind>& connections() {
  static const std::vector<Kind> kinds = {
      {"tcp", [] { return copy_of(Connected().client); }},
      {"unix", [] { return one_of_a_pair(SOCK_STREAM); }},
      {"unixpacket", [] { return one_of_a_pair(SOCK_SEQPACKET); }},
      {"unixgram", [] { return one_of_a_pair(SOCK_DGRAM); }},
      {"udp", plain(AF_INET, SOCK_DGRAM, false, true)},
  };
  return kinds;
}
const std::vector<Kind>& listeners() {
  static const std::vector<Kind> kinds = {
      {"tcp", plain(AF_INET, SOCK_STREAM, true)},
      {"unix", plain(AF_UNIX, SOCK_STREAM, true)},
      {"unixpacket", plain(AF_UNIX, SOCK_SEQPACKET, true)},
  };
  return kinds;
}
const std::vector<Kind>& packets() {
  static const std::vector<Kind> kinds = {
      {"udp", plain(AF_INET, SOCK_DGRAM)},
      {"unixgram", plain(AF_UNIX, SOCK_DGRAM)},
  };
  return kinds;
}
const std::vector<Kind>& strangers() {
  static const std::vector<Kind> kinds = {
      {"no descriptor", [] { return -1; }},
      {"a file", [] { return ::open("/dev/null", O_RDONLY); }},
      {"tcp, neither connected nor listening", plain(AF_INET, SOCK_STREAM)},
      {"netlink datagrams", plain(AF_NETLINK, SOCK_DGRAM)},
      {"netlink datagrams, connected",
       plain(AF_NETLINK, SOCK_DGRAM, false, true)},
  };
  return kinds;
}

// The adopted descriptor belongs to the socket, and is as netlite wants it.
template <class H>
H check_adopted(int fd, const net::Result<H>& result) {
  CHECK_FALSE(result.error);
  CHECK(net::native_handle(result.value) == fd);
  CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  net::set_deadline(result.value, generous);
  return result.value;
}

// The descriptor stays the caller's, untouched.
template <class H>
void check_refused(int fd, const net::Result<H>& result) {
  CHECK(result.error);
  CHECK_FALSE(result.value);
  if (fd < 0) return;
  CHECK(::fcntl(fd, F_GETFD) == 0);
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
}

}  // namespace

// ---------------------------------------------------------------------------
// Descriptors that come: adoption

TEST_CASE("conn_from takes what is connected, of every kind") {
  for (const Kind& kind : connections()) {
    CAPTURE(kind.name);
    const int fd = kind.make();
    const net::Conn conn = check_adopted(fd, net::conn_from(fd));
    CHECK(net::local_addr(conn).network() == kind.name);
    CHECK(net::remote_addr(conn).network() == kind.name);
    CHECK_FALSE(net::close(conn));
    CHECK(::fcntl(fd, F_GETFD) == -1);
  }
  const net::Conn itself =
      bounded(net::conn_from(plain(AF_INET, SOCK_DGRAM, false, true)()));
  net::must(net::write(itself, "to myself"));
  char buffer[16];
  CHECK(net::must(net::read(itself, buffer)) == 9);
  net::set_read_deadline(itself, 20ms);
  CHECK(net::read(itself, buffer).error == net::timed_out);
}

TEST_CASE("listener_from takes what listens, of every kind") {
  for (const Kind& kind : listeners()) {
    CAPTURE(kind.name);
    const int fd = kind.make();
    const net::Listener listener = check_adopted(fd, net::listener_from(fd));
    const std::string address =
        kind.name == "tcp"
            ? "127.0.0.1:" + std::to_string(net::addr(listener).port())
            : net::addr(listener).string();
    const net::Conn client = bounded(net::dial(kind.name, address));
    const net::Conn server = bounded(net::accept(listener));
    CHECK(net::remote_addr(server) == net::local_addr(client));
    net::must(net::write(server, "hello"));
    char buffer[16];
    CHECK(net::must(net::read(client, buffer)) == 5);
  }
}

TEST_CASE("a unix listener that was adopted leaves its file") {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  const net::Listener made = bounded(net::listen("unix", path));
  const net::Listener adopted =
      bounded(net::listener_from(net::must(net::duplicate(made))));
  CHECK(net::addr(adopted).string() == path);
  CHECK_FALSE(net::close(adopted));
  CHECK(::access(path.c_str(), F_OK) == 0);
  CHECK_FALSE(net::dial("unix", path).error);
}

TEST_CASE("what was adopted has no delay, and what it accepts has keep-alive") {
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&any), sizeof any) ==
          0);
  REQUIRE(::listen(listening, 1) == 0);
  const net::Listener listener = bounded(net::listener_from(listening));
  CHECK(state_of(listener)->keep_alive == std::chrono::seconds(15));
  sockaddr_in there{};
  socklen_t size = sizeof there;
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&there), &size);
  const int connected = ::socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(::connect(connected, reinterpret_cast<sockaddr*>(&there), size) == 0);
  const net::Conn client = bounded(net::conn_from(connected));
  const net::Conn server = bounded(net::accept(listener));

  const auto option = [](const net::Conn& conn, int level, int name) {
    return net::must(net::get_option<int>(conn, level, name));
  };
  CHECK(option(client, IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(option(client, SOL_SOCKET, SO_KEEPALIVE) == 0);
  CHECK(option(server, IPPROTO_TCP, TCP_NODELAY) == 1);
  CHECK(option(server, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(server, IPPROTO_TCP, TCP_KEEPINTVL) == 15);
}

TEST_CASE("packet_conn_from takes datagram sockets, connected or not") {
  for (const Kind& kind : packets()) {
    CAPTURE(kind.name);
    const int fd = kind.make();
    const net::PacketConn a = check_adopted(fd, net::packet_conn_from(fd));
    CHECK_FALSE(net::remote_addr(a));
    const net::Addr to =
        kind.name == "udp"
            ? net::Addr("udp", net::must(net::parse_ip("127.0.0.1")),
                        net::local_addr(a).port())
            : net::local_addr(a);
    CHECK(to.network() == kind.name);
    net::must(net::write_to(a, "to myself", to));
    char buffer[16];
    const auto [n, from, err] = net::read_from(a, buffer);
    CHECK(n == 9);
    CHECK(from == to);
    CHECK_FALSE(err);
  }
  const net::PacketConn connected =
      bounded(net::packet_conn_from(plain(AF_INET, SOCK_DGRAM, false, true)()));
  CHECK(net::remote_addr(connected) == net::local_addr(connected));
  CHECK(net::write_to(connected, "x", net::remote_addr(connected)).error ==
        net::write_to_connected);
}

TEST_CASE("a socket for both families stays one when it is adopted") {
  const auto [both, err] = net::listen_packet("udp", ":0");
  net::must(err);
  if (net::local_addr(both).ip().is4()) {
    MESSAGE("skipped: no IPv6 here");
    return;
  }
  const net::PacketConn again =
      bounded(net::packet_conn_from(net::must(net::duplicate(both))));
  const net::PacketConn four =
      bounded(net::listen_packet("udp4", "127.0.0.1:0"));
  net::must(net::write_to(again, "x", net::local_addr(four)));
  char buffer[4];
  const auto [n, from, bad] = net::read_from(four, buffer);
  CHECK(n == 1);
  CHECK(from.port() == net::local_addr(again).port());
}

TEST_CASE("what is of another kind is refused, and stays the caller's") {
  const auto before = support::descriptors();
  const auto refuse = [](const std::vector<Kind>& kinds, auto adopt) {
    for (const Kind& kind : kinds) {
      CAPTURE(kind.name);
      const int fd = kind.make();
      check_refused(fd, adopt(fd));
      if (fd >= 0) CHECK(::close(fd) == 0);
    }
  };
  const auto to_conn = [](int fd) { return net::conn_from(fd); };
  const auto to_listener = [](int fd) { return net::listener_from(fd); };
  const auto to_packets = [](int fd) { return net::packet_conn_from(fd); };

  SUBCASE("strangers") {
    refuse(strangers(), to_conn);
    refuse(strangers(), to_listener);
    refuse(strangers(), to_packets);
  }
  SUBCASE("listeners") {
    refuse(listeners(), to_conn);
    refuse(listeners(), to_packets);
  }
  SUBCASE("connections") {
    refuse(connections(), to_listener);
    std::vector<Kind> streams = connections();
    streams.resize(3);
    refuse(streams, to_packets);
  }
  SUBCASE("packets without a peer") {
    refuse(packets(), to_conn);
    refuse(packets(), to_listener);
  }
  // Go's operation, and no network: nobody knows which one it would be.
  const int listening = plain(AF_INET, SOCK_STREAM, true)();
  const std::string end = "file: getsockopt: bad file descriptor";
  for (const net::Error& err :
       {net::conn_from(-1).error, net::listener_from(-1).error,
        net::packet_conn_from(-1).error, net::conn_from(listening).error,
        net::packet_conn_from(listening).error}) {
    CHECK(err.op() == "file");
    CHECK(err.network().empty());
    CHECK((err == net::unexpected_address_type || err.message() == end));
  }
  CHECK(net::conn_from(listening).error.message() ==
        "file: unexpected address type");
  ::close(listening);
  CHECK(support::descriptors() == before);
}

// ---------------------------------------------------------------------------
// Descriptors that go: native_handle, duplicate

TEST_CASE("native_handle is the descriptor, until close") {
  const support::Directory dir;
  const Connected tcp;
  std::vector<net::Socket> sockets = {
      tcp.listener,
      tcp.client,
      tcp.server,
      net::must(net::listen("unix", dir.path + "/s")),
      net::must(net::listen_packet("udp", "127.0.0.1:0")),
      net::must(net::listen_packet("unixgram", ""))};
  for (const net::Socket& socket : sockets) {
    const int fd = net::native_handle(socket);
    CHECK(::fcntl(fd, F_GETFD) != -1);
    CHECK(net::native_handle(socket) == fd);
    net::close(socket);
    CHECK(net::native_handle(socket) == -1);
    CHECK(::fcntl(fd, F_GETFD) == -1);
  }
  CHECK(net::native_handle(net::PacketConn()) == -1);
}

TEST_CASE("no descriptor of ours is there after exec") {
  const support::Directory dir;
  std::ofstream(dir.path + "/file") << std::string(1 << 20, 'x');
  std::set<int> before;
  const auto look = [&](auto each) {
    for (int fd = 0; fd < 1024; ++fd)
      if (::fcntl(fd, F_GETFD) != -1) each(fd);
  };
  look([&](int fd) { before.insert(fd); });

  const Connected tcp, unix("unix", dir.path + "/s");
  const auto udp = bounded(net::listen_packet("udp", "127.0.0.1:0"));
  const auto dialled = bounded(net::dial("udp", net::local_addr(udp).string()));
  const net::Pipe pipe = net::must(net::pipe());
  net::must(net::send_descriptor(pipe.first, 0));
  const int received = net::must(net::receive_descriptor(pipe.second));
  const int copy = net::must(net::duplicate(udp));
  const net::Conn adopted = bounded(net::conn_from(one_of_a_pair(SOCK_STREAM)));
  net::Poller poller;
  net::must(poller.watch(tcp.server, net::readable));
  {
    // A bell for the one that waits, and a file that is under way.
    support::Blocked waiting([&] {
      char byte;
      return net::read(tcp.client, {&byte, 1}).error;
    });
    support::Blocked sending(
        [&] { return net::send_file(pipe.first, dir.path + "/file").error; });
    CHECK_FALSE(sending.done());
    std::size_t ours = 0;
    look([&](int fd) {
      if (before.count(fd)) return;
      CAPTURE(support::target(fd));
      CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
      ++ours;
    });
    // 6 + 2 + 2 + 1 + 1 + 1, the Poller's, the file; the bells
    CHECK(ours >= 16);
    net::close(pipe.first);
    net::close(tcp.client);
    CHECK(sending.get() == net::closed);
    CHECK(waiting.get() == net::closed);
  }
  ::close(received);
  ::close(copy);
}

TEST_CASE("a duplicate of a listener goes on listening") {
  Connected tcp;
  const std::string address = net::addr(tcp.listener).string();
  const int copy = net::must(net::duplicate(tcp.listener));
  CHECK((::fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
  net::close(tcp.listener);
  const net::Listener again = bounded(net::listener_from(copy));
  const net::Conn client = bounded(net::dial("tcp", address));
  CHECK_FALSE(net::accept(again).error);
}

TEST_CASE("duplicate tells that there is no descriptor left") {
  const Connected tcp;
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  rlimit none = limit;
  none.rlim_cur = 0;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto [copy, err] = net::duplicate(tcp.client);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(copy == -1);
  CHECK(err);
  CHECK(err.op() == "file");
  CHECK(err.subject() == "dup");

  net::close(tcp.client);
  CHECK(net::duplicate(tcp.client).value == -1);
  CHECK(net::duplicate(tcp.client).error == net::closed);
}

// ---------------------------------------------------------------------------
// Options

TEST_CASE("an option may be of any type") {
  const Connected tcp;
  linger wait{};
  wait.l_onoff = 1;
  wait.l_linger = 7;
  CHECK_FALSE(net::set_option(tcp.client, SOL_SOCKET, SO_LINGER, wait));
  CHECK(net::must(net::get_option<linger>(tcp.client, SOL_SOCKET, SO_LINGER))
            .l_linger == 7);
  net::must(net::set_linger(tcp.client, -1));
  CHECK(net::must(net::get_option<linger>(tcp.client, SOL_SOCKET, SO_LINGER))
            .l_onoff == 0);
  CHECK(option(tcp.listener, SOL_SOCKET, SO_ACCEPTCONN) == 1);
  CHECK(option(net::must(net::listen_packet("udp", "127.0.0.1:0")), SOL_SOCKET,
               SO_TYPE) == SOCK_DGRAM);
  const auto [none, err] = net::get_option<int>(tcp.client, 12345, 12345);
  CHECK(none == 0);
  CHECK(err);
  CHECK(err.op() == "get");
  CHECK(err.subject() == "getsockopt");
}

TEST_CASE("buffer sizes are the kernel's: doubled, and bounded" *
          description("behaviour 21")) {
  const Connected tcp;
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const auto unix_packets = net::must(net::listen_packet("unixgram", ""));
  for (const net::Socket& socket : std::vector<net::Socket>{
           tcp.listener, tcp.client, packets, unix_packets}) {
    CHECK_FALSE(net::set_read_buffer(socket, 8192));
    CHECK(option(socket, SOL_SOCKET, SO_RCVBUF) == 16384);
    CHECK_FALSE(net::set_write_buffer(socket, 8192));
    CHECK(option(socket, SOL_SOCKET, SO_SNDBUF) == 16384);
    // Less than the least, more than the most.
    for (const int few : {0, 1}) {
      CHECK_FALSE(net::set_read_buffer(socket, few));
      CHECK(option(socket, SOL_SOCKET, SO_RCVBUF) > 1);
    }
    CHECK_FALSE(net::set_read_buffer(socket, INT_MAX));
    CHECK(option(socket, SOL_SOCKET, SO_RCVBUF) > 16384);
    CHECK_FALSE(net::set_write_buffer(socket, INT_MAX));
  }
}

TEST_CASE("a buffer of negative size is refused") {
  const Connected tcp;
  net::must(net::set_read_buffer(tcp.client, 8192));
  net::must(net::set_write_buffer(tcp.client, 8192));
  for (const int size : {-1, INT_MIN}) {
    CHECK(net::set_read_buffer(tcp.client, size) ==
          std::errc::invalid_argument);
    CHECK(net::set_write_buffer(tcp.client, size) ==
          std::errc::invalid_argument);
  }
  CHECK(option(tcp.client, SOL_SOCKET, SO_RCVBUF) == 16384);
  CHECK(option(tcp.client, SOL_SOCKET, SO_SNDBUF) == 16384);
}

TEST_CASE("keep-alive takes whole seconds, rounded up, and a count" *
          description("behaviour 73")) {
  const Connected tcp;
  const auto check = [&](int idle, int interval, int count) {
    CHECK(option(tcp.client, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option(tcp.client, IPPROTO_TCP, TCP_KEEPIDLE) == idle);
    CHECK(option(tcp.client, IPPROTO_TCP, TCP_KEEPINTVL) == interval);
    CHECK(option(tcp.client, IPPROTO_TCP, TCP_KEEPCNT) == count);
  };
  const int usual = option(tcp.client, IPPROTO_TCP, TCP_KEEPCNT);
  CHECK_FALSE(net::set_keep_alive(tcp.client, 1ns, 1001ms));
  check(1, 2, usual);
  CHECK_FALSE(net::set_keep_alive(tcp.client, 2s, 3s, 4));
  check(2, 3, 4);
  CHECK_FALSE(net::set_keep_alive(tcp.client, 3s, 2s));
  check(3, 2, 4);  // the number stays
  CHECK_FALSE(net::set_keep_alive(tcp.client, 10h, 10h, 127));
  check(32767, 32767, 127);
  for (const int bad : {-1, 128, INT_MIN, INT_MAX})
    CHECK(net::set_keep_alive(tcp.client, 1s, 1s, bad) ==
          std::errc::invalid_argument);
  for (const auto off : {0s, -1s, std::chrono::seconds::min() / 1000000000}) {
    net::must(net::set_keep_alive(tcp.client, 1s, 1s));
    CHECK_FALSE(net::set_keep_alive(tcp.client, off, 1s));
    CHECK(option(tcp.client, SOL_SOCKET, SO_KEEPALIVE) == 0);
  }
}

TEST_CASE("TCP's options are for TCP") {
  const net::Pipe pipe = net::pipe();
  const net::Conn udp = bounded(net::dial("udp", "127.0.0.1:9"));
  for (const net::Conn& conn : {pipe.first, udp}) {
    CHECK(net::set_no_delay(conn, true));
    CHECK(net::set_keep_alive(conn, 1s, 1s));
  }
}

// ---------------------------------------------------------------------------
// Hooks

TEST_CASE("a hook sees the descriptor before bind") {
  const support::Directory dir;
  const struct {
    std::string network, address;
  } all[] = {{"tcp", "127.0.0.1:0"},
             {"udp", "127.0.0.1:0"},
             {"unix", dir.path + "/a"},
             {"unixpacket", dir.path + "/b"},
             {"unixgram", dir.path + "/c"}};
  for (const auto& each : all) {
    const std::string &network = each.network, &address = each.address;
    CAPTURE(network);
    const bool packets = network == "udp" || network == "unixgram";
    const auto open = [&](const net::ListenOptions& options) {
      if (!packets) {
        const auto [listener, err] = net::listen(network, address, options);
        return std::pair<net::Socket, net::Error>(listener, err);
      }
      const auto [conn, err] = net::listen_packet(network, address, options);
      return std::pair<net::Socket, net::Error>(conn, err);
    };
    net::ListenOptions options;
    int seen = -1;
    bool unbound = false;
    options.control = [&](int fd) -> net::Error {
      seen = fd;
      sockaddr_storage storage{};
      socklen_t size = sizeof storage;
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
      unbound = storage.ss_family == AF_UNIX
                    ? size == sizeof(sa_family_t)
                    : reinterpret_cast<sockaddr_in&>(storage).sin_port == 0;
      const int on = 1;
      ::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
      return {};
    };
    const auto opened = open(options);
    CHECK_FALSE(opened.second);
    CHECK(unbound);
    CHECK(seen == net::native_handle(opened.first));
    CHECK(option(opened.first, SOL_SOCKET, SO_OOBINLINE) == 1);
    net::close(opened.first);
    ::unlink(address.c_str());

    // It refuses: nothing is bound, nothing left open.
    const auto before = support::descriptors();
    options.control = [](int) -> net::Error {
      return net::Error(std::make_error_code(std::errc::permission_denied));
    };
    const auto refused = open(options);
    CHECK_FALSE(refused.first);
    CHECK(refused.second == std::errc::permission_denied);
    CHECK(refused.second.message() ==
          "listen " + network + " " + address + ": permission denied");
    CHECK(support::descriptors() == before);
    CHECK(::access(address.c_str(), F_OK) != 0);
  }
}

TEST_CASE("a hook that is a null pointer, or an empty function, is none") {
  net::Error (*const pointer)(int) = nullptr;
  net::DialOptions dialled;
  net::ListenOptions listens;
  CHECK_FALSE(net::Control(pointer));
  listens.control = pointer;
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", listens));
  CHECK_FALSE(net::Control(std::function<net::Error(int)>()));
  dialled.control = std::function<net::Error(int)>();
  net::must(net::dial("tcp", net::addr(listener).string(), dialled));
  net::Error (*const function)(int) = [](int) { return net::Error(); };
  CHECK(net::Control(function));
  CHECK(net::Control(std::function<net::Error(int)>(function)));
}

TEST_CASE("dial tells what its hook said, of every address in the end") {
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  const std::string address = net::local_addr(packets).string();
  net::DialOptions options;
  int calls = 0;
  options.control = [&](int) -> net::Error {
    ++calls;
    return net::Error(net::limit_exceeded);
  };
  const auto before = support::descriptors();
  const auto [conn, err] = net::dial("udp", address, options);
  CHECK_FALSE(conn);
  CHECK(err == net::limit_exceeded);
  CHECK(err.message() == "dial udp " + address + ": limit exceeded");
  CHECK(calls == 1);
  CHECK(support::descriptors() == before);
}
