// SPDX-License-Identifier: MIT
// Packets: datagrams over UDP, to one, to a group, to everybody. What is true
// of unix datagrams only is in unix.cpp.

#include "netlite.hpp"

#include <poll.h>
#include <sched.h>

#include <cstdlib>
#include <utility>

#include "support.hpp"

using doctest::description;

namespace {

using support::generous;

constexpr const char* localhost = "127.0.0.1:0";

// Every socket of these tests has a deadline, so that none hangs.
template <class C>
C bounded(net::Result<C> result) {
  C conn = net::must(std::move(result));
  net::set_deadline(conn, generous);
  return conn;
}

net::PacketConn server(const std::string& network = "udp",
                       const std::string& address = localhost) {
  return bounded(net::listen_packet(network, address));
}

net::Conn client_of(const net::PacketConn& server,
                    const std::string& network = "udp") {
  return bounded(net::dial(network, net::local_addr(server).string()));
}

// Where nobody listens: the port was free a moment ago.
net::Addr nobody() { return net::local_addr(server()); }

struct Datagram {
  std::string text;
  net::Addr from;
  net::Error err;
};

Datagram receive(const net::PacketConn& packets, std::size_t room = 70000) {
  std::string text(room, '\0');
  auto [n, from, err] = net::read_from(packets, text);
  text.resize(n);
  return {text, from, err};
}

std::string text_of(const net::PacketConn& packets) {
  const Datagram got = receive(packets);
  CHECK_FALSE(got.err);
  return got.text;
}

// The same of a socket that was dialled.
std::string text_of(const net::Conn& conn) {
  std::string text(70000, '\0');
  const auto [n, err] = net::read(conn, text);
  CHECK_FALSE(err);
  return text.substr(0, n);
}

// The same socket as one that has its one peer, and yet is no Conn.
net::PacketConn with_peer(const net::Conn& conn) {
  return bounded(net::packet_conn_from(net::must(net::duplicate(conn))));
}

// Which calls take which sockets?
template <class T>
using Readable =
    decltype(net::read(std::declval<T>(), net::Buffer(nullptr, 0)));
template <class T>
using Writable = decltype(net::write(std::declval<T>(), "x"));
template <class T>
using Hears =
    decltype(net::read_from(std::declval<T>(), net::Buffer(nullptr, 0)));
template <class T>
using Sends = decltype(net::write_to(std::declval<T>(), "x", net::Addr()));
template <class T>
using Joins = decltype(net::join_group(std::declval<T>(), net::IP()));
template <template <class> class Call, class T, class = void>
constexpr bool takes = false;
template <template <class> class Call, class T>
constexpr bool takes<Call, T, std::void_t<Call<T>>> = true;

int option(const net::Socket& socket, int level, int name) {
  return net::must(net::get_option<int>(socket, level, name));
}

bool has_ipv6() {
  static const bool has = !net::listen_packet("udp6", "[::1]:0").error;
  if (!has) MESSAGE("skipped: no IPv6 here");
  return has;
}

net::IP ip(const std::string& text) { return net::must(net::parse_ip(text)); }

}  // namespace

// ---------------------------------------------------------------------------
// Boundaries

// https://github.com/chriskohlhoff/asio/pull/360
// https://github.com/zephyrproject-rtos/zephyr/issues/31100
// https://github.com/PowerDNS/pdns/pull/2939
// https://github.com/oven-sh/bun/pull/28827
TEST_CASE("a datagram that is longer than the buffer is cut, and that is told" *
          description("behaviour 43; bug-case 53")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);

  SUBCASE("by read_from") {
    for (const char* text : {"0123456789", "next", "last"})
      net::must(net::write(b, text));
    const Datagram cut = receive(a, 4);
    CHECK(cut.text == "0123");
    CHECK(cut.from == net::local_addr(b));
    CHECK(cut.err == net::truncated);
    CHECK(cut.err.message() ==
          "read udp " + net::local_addr(a).string() + ": message truncated");
    CHECK_FALSE(cut.err.timeout());
    CHECK_FALSE(cut.err.temporary());

    // The rest is gone, and one that just fits is not cut.
    const Datagram next = receive(a, 4);
    CHECK(next.text == "next");
    CHECK_FALSE(next.err);
    CHECK(text_of(a) == "last");
  }
  SUBCASE("to nothing, where there is no room") {
    net::must(net::write(b, "0123456789"));
    const Datagram none = receive(a, 0);
    CHECK(none.text.empty());
    CHECK(none.err == net::truncated);
  }
  SUBCASE("by read") {
    for (const char* text : {"0123456789", "next"})
      net::must(net::write_to(a, text, net::local_addr(b)));
    char buffer[4];
    const auto [n, err] = net::read(b, buffer);
    CHECK(std::string(buffer, n) == "0123");
    CHECK(err == net::truncated);
    const auto [m, none] = net::read(b, buffer);
    CHECK(std::string(buffer, m) == "next");
    CHECK_FALSE(none);
  }
}

TEST_CASE("an empty datagram is a datagram and not an end" *
          description("behaviour 44")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  char buffer[16];

  CHECK_FALSE(net::write(b, "").error);
  CHECK_FALSE(net::write(b, net::Bytes()).error);
  CHECK_FALSE(net::write(b, {}).error);
  CHECK_FALSE(net::write(b, {"", ""}).error);
  for (int i = 0; i < 4; ++i) {
    const Datagram got = receive(a);
    CHECK(got.text.empty());
    CHECK(got.from == net::local_addr(b));
    CHECK_FALSE(got.err);
  }
  CHECK_FALSE(net::write_to(a, "", net::local_addr(b)).error);
  const auto [n, err] = net::read(b, buffer);
  CHECK(n == 0);
  CHECK_FALSE(err);

  net::must(net::write(b, "on we go"));
  CHECK(text_of(a) == "on we go");
}

TEST_CASE("with an empty buffer read eats nothing, read_from eats a datagram" *
          description("behaviour 45")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  char none;
  const net::Buffer empty(&none, 0);

  // There is nothing to read, and read does not wait for it.
  CHECK(net::read(b, empty).value == 0);
  CHECK_FALSE(net::read(b, empty).error);
  net::must(net::write_to(a, "kept", net::local_addr(b)));
  CHECK_FALSE(net::read(b, empty).error);
  CHECK(text_of(b) == "kept");

  support::Blocked waiting([&] { return net::read_from(a, empty); });
  CHECK_FALSE(waiting.done());
  net::must(net::write(b, "eaten"));
  const auto [n, from, err] = waiting.get();
  CHECK(n == 0);
  CHECK(from == net::local_addr(b));
  CHECK(err == net::truncated);

  net::must(net::write(b, ""));
  CHECK_FALSE(net::read_from(a, empty).error);
  net::must(net::write(b, "next"));
  CHECK(text_of(a) == "next");
}

TEST_CASE("an empty buffer is not the end of a stream") {
  const support::Connected tcp;
  net::set_deadline(tcp.client, 1s);
  net::must(net::write(tcp.server, "kept"));
  char none;
  CHECK_FALSE(net::read(tcp.client, net::Buffer(&none, 0)).error);
  CHECK(text_of(tcp.client) == "kept");
}

TEST_CASE("all bytes arrive, NULs too") {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  std::string bytes;
  for (int i = 0; i < 1024; ++i) bytes += static_cast<char>(i);
  net::must(net::write(b, bytes));
  const Datagram got = receive(a, bytes.size());
  CHECK(got.text == bytes);
  CHECK_FALSE(got.err);
}

TEST_CASE("a gathered write is one datagram") {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  const auto [n, err] = net::write(b, {"head ", "", "body ", "tail"});
  CHECK(n == 14);
  CHECK_FALSE(err);
  CHECK(text_of(a) == "head body tail");
}

// https://github.com/libuv/libuv/issues/411
// https://github.com/rsyslog/rsyslog/pull/1766
// https://github.com/logstash-plugins/logstash-input-udp/issues/45
// https://github.com/bloomberg/concord-bft/pull/547 (vmware/concord-bft#547)
TEST_CASE("a datagram that is too long is refused and not split" *
          description("behaviour 51; bug-case 56")) {
  for (const std::string network : {"udp4", "udp6"}) {
    if (network == "udp6" && !has_ipv6()) continue;
    CAPTURE(network);
    const char* address = network == "udp6" ? "[::1]:0" : localhost;
    const std::size_t most = network == "udp6" ? 65527 : 65507;
    const net::PacketConn a = server(network, address);
    const net::Conn b = client_of(a, network);
    const net::PacketConn c = server(network, address);
    const std::string longest(most, 'x');
    const std::string too_long(most + 1, 'x');

    CHECK(net::write(b, longest).value == most);
    CHECK(text_of(a) == longest);
    CHECK(net::write_to(c, longest, net::local_addr(a)).value == most);
    CHECK(text_of(a) == longest);

    const auto refused = [&](const net::Result<std::size_t>& result) {
      CHECK(result.value == 0);
      CHECK(result.error == std::errc::message_size);
    };
    refused(net::write(b, too_long));
    refused(net::write(b, {"x", longest}));
    refused(net::write(b, std::string(1 << 20, 'x')));
    const auto to_a = net::write_to(c, too_long, net::local_addr(a));
    refused(to_a);
    CHECK(to_a.error.message() ==
          "write " + network + " " + net::local_addr(c).string() + "->" +
              net::local_addr(a).string() + ": sendto: message too long");

    net::must(net::write(b, "the next one"));
    CHECK(text_of(a) == "the next one");
  }
}

// ---------------------------------------------------------------------------
// One peer, many peers

TEST_CASE("a socket that was dialled hears only its peer" *
          description("behaviour 52")) {
  const net::PacketConn peer = server();
  const net::PacketConn stranger = server();
  const net::Conn conn = client_of(peer);
  CHECK(net::remote_addr(conn) == net::local_addr(peer));

  net::must(net::write_to(stranger, "hey", net::local_addr(conn)));
  net::must(net::write_to(peer, "one", net::local_addr(conn)));
  net::must(net::write_to(peer, "two", net::local_addr(conn)));
  char buffer[16];
  const auto [n, err] = net::read(conn, buffer);
  CHECK(std::string(buffer, n) == "one");
  CHECK_FALSE(err);
  const Datagram got = receive(with_peer(conn));
  CHECK(got.text == "two");
  CHECK(got.from == net::local_addr(peer));
}

TEST_CASE("write_to is refused on a socket that has its one peer" *
          description("behaviour 48")) {
  const net::PacketConn a = server();
  const net::PacketConn other = server();
  const net::Conn b = client_of(a);
  for (const net::PacketConn& to : {a, other}) {
    const auto [n, err] = net::write_to(with_peer(b), "x", net::local_addr(to));
    CHECK(n == 0);
    CHECK(err == net::write_to_connected);
    CHECK(err.message() ==
          "write udp " + net::local_addr(b).string() + "->" +
              net::local_addr(to).string() +
              ": use of WriteTo with pre-connected connection");
  }
  net::must(net::write(b, "the first one"));
  CHECK(text_of(a) == "the first one");
}

TEST_CASE("a socket with a peer reads and writes, one without hears and sends" *
          description("behaviour 49, 50")) {
  // A mistake in this is one that does not compile.
  CHECK(takes<Readable, net::Conn>);
  CHECK(takes<Writable, net::Conn>);
  CHECK_FALSE(takes<Hears, net::Conn>);
  CHECK_FALSE(takes<Sends, net::Conn>);
  CHECK_FALSE(takes<Joins, net::Conn>);
  CHECK_FALSE(takes<Readable, net::PacketConn>);
  CHECK_FALSE(takes<Writable, net::PacketConn>);
  CHECK(takes<Hears, net::PacketConn>);
  CHECK(takes<Sends, net::PacketConn>);
  CHECK(takes<Joins, net::PacketConn>);
  const net::PacketConn a = server();
  CHECK_FALSE(net::remote_addr(a));
  CHECK(net::remote_addr(a).string().empty());
}

// https://github.com/sipsorcery-org/sipsorcery/pull/1517
// https://github.com/ZLMediaKit/ZLMediaKit/issues/1444
// https://github.com/c-ares/c-ares/pull/821
// https://github.com/ikskuh/zig-network/issues/66
TEST_CASE("a refusal is told once, and traffic goes on" *
          description("behaviour 46; bug-case 55")) {
  const net::Addr address = nobody();
  const net::Conn conn = bounded(net::dial("udp", address.string()));
  const std::string ends =
      " udp " + net::local_addr(conn).string() + "->" + address.string();
  char buffer[16];

  // By the next read ...
  CHECK_FALSE(net::write(conn, "1").error);
  const net::Error at_read = net::read(conn, buffer).error;
  CHECK(at_read == std::errc::connection_refused);
  CHECK(at_read.message() == "read" + ends + ": read: connection refused");
  // ... or by the next write, once it has come.
  CHECK_FALSE(net::write(conn, "2").error);
  pollfd refusal{net::native_handle(conn), 0, 0};
  REQUIRE(::poll(&refusal, 1, 20000) == 1);
  const auto [n, at_write] = net::write(conn, "3");
  CHECK(n == 0);
  CHECK(at_write == std::errc::connection_refused);
  CHECK(at_write.message() == "write" + ends + ": write: connection refused");

  const net::PacketConn late = server("udp", address.string());
  CHECK_FALSE(net::write(conn, "4").error);
  const Datagram got = receive(late);
  CHECK(got.text == "4");
  net::must(net::write_to(late, "hello", got.from));
  CHECK(text_of(conn) == "hello");
}

TEST_CASE("a read does not spin while errors are queued that it cannot see") {
  const net::Conn conn = bounded(net::dial("udp", nobody().string()));
  net::must(net::set_option(conn, IPPROTO_IP, IP_RECVERR, 1));
  net::must(net::write(conn, "anybody there?"));
  char buffer[16];
  CHECK(net::read(conn, buffer).error == std::errc::connection_refused);
  // The error queue still has the refusal: poll(2) says POLLERR at once.
  const auto before = support::cpu_time();
  net::set_read_deadline(conn, 300ms);
  CHECK(net::read(conn, buffer).error == net::timed_out);
  CHECK(support::cpu_time() - before < 150ms);
}

TEST_CASE("a server does not hear of clients that have gone" *
          description("behaviour 47; bug-case 55")) {
  const net::PacketConn a = server();
  net::Conn gone = client_of(a);
  net::must(net::write(gone, "hello, and good-bye"));
  const Datagram first = receive(a);
  net::close(gone);
  for (int i = 0; i < 3; ++i)
    CHECK_FALSE(net::write_to(a, "anybody there?", first.from).error);

  const support::Stopwatch watch;
  net::set_read_deadline(a, 100ms);
  CHECK(receive(a).err == net::timed_out);
  CHECK(watch.elapsed() >= 100ms);
  net::set_read_deadline(a, generous);

  const net::Conn other = client_of(a);
  net::must(net::write(other, "I am"));
  const Datagram second = receive(a);
  CHECK(second.text == "I am");
  net::must(net::write_to(a, "welcome", second.from));
  CHECK(text_of(other) == "welcome");
}

// https://github.com/widgrensit/asobi/pull/519
// https://github.com/cpp-netlib/cpp-netlib/issues/16
TEST_CASE("a second server on the same port is refused" *
          description("bug-case 58")) {
  const net::PacketConn a = server();
  const std::string address = net::local_addr(a).string();
  const auto second = net::listen_packet("udp", address);
  CHECK(second.error == std::errc::address_in_use);
  CHECK(second.error.message() ==
        "listen udp " + address + ": bind: address already in use");
  CHECK(support::in_child([&] {
          return net::listen_packet("udp", address).error ==
                         std::errc::address_in_use
                     ? 0
                     : 1;
        }) == 0);

  // Both have to ask for sharing.
  net::ListenOptions options;
  options.reuse_port = true;
  CHECK(net::listen_packet("udp", address, options).error ==
        std::errc::address_in_use);
  const auto shared = bounded(net::listen_packet("udp", localhost, options));
  const auto sharing = bounded(
      net::listen_packet("udp", net::local_addr(shared).string(), options));
  CHECK(net::local_addr(sharing) == net::local_addr(shared));

  net::close(a);
  CHECK_FALSE(net::listen_packet("udp", address).error);
}

TEST_CASE("many threads share one socket, and no datagram is lost or doubled") {
  const net::PacketConn a = server();
  std::vector<support::Thread> workers;
  for (int i = 0; i < 4; ++i)
    workers.emplace_back([&] {
      for (;;) {
        char buffer[64];
        const auto [n, from, err] = net::read_from(a, buffer);
        if (err == net::closed) return;
        if (net::write_to(a, {buffer, n}, from).error) return;
      }
    });
  std::atomic<int> right{0};
  {
    std::vector<support::Thread> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back([&, i] {
        const net::Conn conn = client_of(a);
        for (int round = 0; round < 200; ++round) {
          const std::string text =
              std::to_string(i) + "/" + std::to_string(round);
          if (net::write(conn, text).error) return;
          char buffer[64];
          const auto [n, err] = net::read(conn, buffer);
          right += !err && std::string_view(buffer, n) == text;
        }
      });
  }
  net::close(a);
  CHECK(right == 800);
}

// ---------------------------------------------------------------------------
// Families, names, options

TEST_CASE("one socket serves IPv4 and IPv6, and IPv4 looks like IPv4" *
          description("behaviour 53")) {
  if (!has_ipv6()) return;
  const net::PacketConn both = server("udp", ":0");
  const std::string port = std::to_string(net::local_addr(both).port());
  CHECK(net::local_addr(both).string() == "[::]:" + port);

  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    const net::Conn conn = bounded(net::dial("udp", host + ":" + port));
    net::must(net::write(conn, "ping"));
    const Datagram got = receive(both);
    CHECK(got.text == "ping");
    CHECK(got.from == net::local_addr(conn));
    CHECK(got.from.string() ==
          host + ":" + std::to_string(net::local_addr(conn).port()));
    CHECK(got.from.ip().is4() == (host[0] != '['));
    net::must(net::write_to(both, "pong", got.from));
    CHECK(text_of(conn) == "pong");
    // Both spellings of an IPv4 address reach it.
    if (got.from.ip().is6()) continue;
    const net::Addr mapped("udp", ip("::ffff:127.0.0.1"), got.from.port());
    net::must(net::write_to(both, "once more", mapped));
    CHECK(text_of(conn) == "once more");
  }
}

TEST_CASE("udp4 and udp6 keep to their family" * description("behaviour 54")) {
  if (!has_ipv6()) return;
  const net::PacketConn four = server("udp4");
  const net::PacketConn six = server("udp6", "[::1]:0");
  const std::string from4 = "write udp4 " + net::local_addr(four).string();
  const std::string from6 = "write udp6 " + net::local_addr(six).string();

  const auto [n, not4] = net::write_to(four, "x", net::local_addr(six));
  CHECK(n == 0);
  CHECK(not4 == net::non_ipv4_address);
  CHECK(not4.message() == from4 + "->" + net::local_addr(six).string() +
                              ": address ::1: non-IPv4 address");
  const auto [m, not6] = net::write_to(six, "x", net::local_addr(four));
  CHECK(m == 0);
  CHECK(not6 == std::errc::network_unreachable);
  CHECK(not6.message() == from6 + "->" + net::local_addr(four).string() +
                              ": sendto: network is unreachable");
}

TEST_CASE("every UDP socket may broadcast, none may share its port" *
          description("behaviour 55")) {
  std::vector<net::Socket> sockets = {server("udp"), server("udp4"),
                                      server("udp", ":0")};
  sockets.push_back(client_of(server()));
  if (has_ipv6()) sockets.push_back(server("udp6", "[::1]:0"));
  for (const net::Socket& socket : sockets) {
    CAPTURE(net::local_addr(socket));
    CHECK(option(socket, SOL_SOCKET, SO_BROADCAST) == 1);
    CHECK(option(socket, SOL_SOCKET, SO_REUSEADDR) == 0);
    CHECK(option(socket, SOL_SOCKET, SO_REUSEPORT) == 0);
  }
}

TEST_CASE("a multicast address opens its port on any address, for sharing" *
          description("behaviour 55")) {
  const net::PacketConn a = server("udp4", "239.255.77.1:0");
  const std::string port = std::to_string(net::local_addr(a).port());
  CHECK(net::local_addr(a).string() == "0.0.0.0:" + port);
  CHECK(option(a, SOL_SOCKET, SO_REUSEADDR) == 1);
  const net::PacketConn b = server("udp", "239.255.77.2:" + port);
  CHECK(net::local_addr(b) == net::local_addr(a));
  CHECK(net::listen_packet("udp4", "0.0.0.0:" + port).error ==
        std::errc::address_in_use);

  if (!has_ipv6()) return;
  const net::PacketConn six = server("udp6", "[ff02::77]:0");
  CHECK(net::local_addr(six).ip() == ip("::"));
  CHECK(option(six, SOL_SOCKET, SO_REUSEADDR) == 1);
}

TEST_CASE("dial takes a name's first address, a server its IPv4 address" *
          description("behaviour 56")) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  REQUIRE(::getaddrinfo("localhost", nullptr, &hints, &found) == 0);
  bool has4 = false, has6 = false;
  for (const addrinfo* each = found; each; each = each->ai_next)
    (each->ai_family == AF_INET ? has4 : has6) = true;
  const std::string first =
      found->ai_family == AF_INET ? "127.0.0.1:9" : "[::1]:9";
  ::freeaddrinfo(found);
  if (!has4 || !has6) {
    CHECK_FALSE(support::in_world());
    MESSAGE("skipped: localhost has one address only");
    return;
  }
  const net::Conn conn = bounded(net::dial("udp", "localhost:9"));
  CHECK(net::remote_addr(conn).string() == first);
  CHECK(net::must(net::resolve("udp", "localhost:9")).string() ==
        "127.0.0.1:9");
  CHECK(net::local_addr(server("udp", "localhost:0")).ip() == ip("127.0.0.1"));
  CHECK(net::local_addr(server("udp6", "localhost:0")).ip() == ip("::1"));
}

TEST_CASE("a client may choose its own address") {
  const net::PacketConn a = server();
  const net::Addr local = nobody();
  net::DialOptions options;
  options.local = local;
  const net::Conn b =
      bounded(net::dial("udp", net::local_addr(a).string(), options));
  CHECK(net::local_addr(b) == local);
  net::must(net::write(b, "me"));
  CHECK(receive(a).from == local);
}

// ---------------------------------------------------------------------------
// Close and deadlines

TEST_CASE("close wakes a blocked read_from" * description("behaviour 30")) {
  const net::PacketConn a = server();
  const std::string text = "read udp " + net::local_addr(a).string() +
                           ": use of closed network connection";
  support::Blocked one([&] { return receive(a).err; });
  support::Blocked two([&] { return receive(a).err; });
  CHECK_FALSE(one.done());
  CHECK_FALSE(net::close(a));
  for (const net::Error& err : {one.get(), two.get(), receive(a).err}) {
    CHECK(err == net::closed);
    CHECK(err.message() == text);
  }
  const net::Addr to = net::must(net::resolve("udp", "127.0.0.1:9"));
  const net::Error err = net::write_to(a, "x", to).error;
  CHECK(err == net::closed);
  CHECK(err.message() == "write udp " + net::local_addr(a).string() +
                             "->127.0.0.1:9: use of closed network connection");
  CHECK(net::write_to(net::PacketConn(), "x", to).error == net::closed);
  CHECK(net::close(a) == net::closed);
}

TEST_CASE("a deadline ends read_from, and the socket works on" *
          description("behaviour 39")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  const support::Stopwatch watch;
  net::set_read_deadline(a, 50ms);
  const auto [nothing, nobody, err] = receive(a);
  CHECK(watch.elapsed() >= 50ms);
  CHECK(nothing.empty());
  CHECK_FALSE(nobody);
  CHECK(err.message() ==
        "read udp " + net::local_addr(a).string() + ": i/o timeout");
  CHECK(err.timeout());
  CHECK(err.temporary());

  // It has passed, also for a datagram that waits; that one is kept.
  net::must(net::write(b, "kept"));
  CHECK(receive(a).err == net::timed_out);
  net::set_read_deadline(a, generous);
  CHECK(text_of(a) == "kept");

  // Moved by another thread, under a call that is blocked.
  support::Blocked waiting([&] { return receive(a).err; });
  net::set_read_deadline(a, 1ms);
  CHECK(waiting.get() == net::timed_out);

  net::set_write_deadline(b, -1s);
  const auto [n, late] = net::write(b, "x");
  CHECK(n == 0);
  CHECK(late == net::timed_out);
  net::set_write_deadline(a, -1s);
  CHECK(net::write_to(a, "x", net::local_addr(b)).error == net::timed_out);
  net::close(a);
  CHECK(net::write_to(a, "x", net::local_addr(b)).error == net::closed);
}

TEST_CASE("signals do not disturb read_from") {
  const net::PacketConn a = server();
  const support::Pester pester;
  const support::Stopwatch watch;
  net::set_read_deadline(a, 200ms);
  CHECK(receive(a).err == net::timed_out);
  CHECK(watch.elapsed() >= 200ms);
}

// ---------------------------------------------------------------------------
// Groups, and whatever else needs a network of its own

namespace {

// Runs f in a network that has nothing but loopback, with fe80::1, and an
// interface nl0 with 10.9.8.7 and fe80::7, whose cable ends at nl1.
template <class F>
void in_own_network(F f) {
  static constexpr const char* make = R"(exec 2>&1 && set -e
    ip link set lo multicast on up
    ip address add fe80::1/64 dev lo
    ip -6 route add local ff00::/8 dev lo
    ip link add nl0 type veth peer name nl1
    ip address add 10.9.8.7/24 broadcast + dev nl0
    ip address add fe80::7/64 dev nl0 nodad
    ip link set nl1 up
    ip link set nl0 up
    ip route add 224.0.0.0/4 dev nl0)";
  if (!has_ipv6() || !support::Program::installed("ip")) return;
  std::string why;
  // Namespaces belong to threads; this one's ends with it.
  support::Thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      why = std::strerror(errno);
      return;
    }
    support::Program shell({"sh", "-c", make});
    if (why = shell.line(); !why.empty()) return;
    try {
      f();
    } catch (const std::exception& exception) {
      FAIL_CHECK(exception.what());
    } catch (...) {  // a REQUIRE, which has said so already
    }
  }).join();
  if (!why.empty()) MESSAGE("skipped: no network of its own here: " << why);
}

struct Family {
  std::string network;
  std::string any;
  net::IP group;
  net::IP other_group;
};

std::vector<Family> families() {
  return {{"udp4", "0.0.0.0:0", ip("239.1.2.3"), ip("239.1.2.4")},
          {"udp6", "[::]:0", ip("ff02::77"), ip("ff02::78")}};
}

// A socket for a group's datagrams, on a port of its own or that of another.
net::PacketConn open_for(const Family& family, int port = 0) {
  return server(family.network, net::join_host_port(family.group.string(),
                                                    std::to_string(port)));
}

net::PacketConn sender(const Family& family,
                       const std::string& interface = "nl0") {
  net::PacketConn made = server(family.network, family.any);
  net::must(net::set_multicast_interface(made, interface));
  return made;
}

// One of several members of a group on one port.
struct Members {
  net::PacketConn first;
  net::PacketConn second;
  net::Addr group;
  net::Addr other_group;

  explicit Members(const Family& family) {
    first = open_for(family);
    const auto port = net::local_addr(first).port();
    second = open_for(family, port);
    group = net::Addr("udp", family.group, port);
    other_group = net::Addr("udp", family.other_group, port);
  }
};

}  // namespace

TEST_CASE("all members of a group hear it, until they leave") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const Members members(family);
      const net::PacketConn& stays = members.first;
      const net::PacketConn& leaves = members.second;
      const net::PacketConn from = sender(family);
      for (const net::PacketConn& each : {stays, leaves}) {
        CHECK_FALSE(net::join_group(each, family.group, "nl0"));
        CHECK_FALSE(net::join_group(each, family.other_group, "nl0"));
      }
      net::must(net::write_to(from, "all", members.group));
      for (const net::PacketConn& each : {stays, leaves}) {
        const Datagram got = receive(each);
        CHECK(got.text == "all");
        CHECK(got.from.port() == net::local_addr(from).port());
        net::must(net::write_to(each, "I hear you", got.from));
        CHECK(text_of(from) == "I hear you");
      }

      CHECK_FALSE(net::leave_group(leaves, family.group, "nl0"));
      net::must(net::write_to(from, "members only", members.group));
      net::must(net::write_to(from, "the others", members.other_group));
      CHECK(text_of(stays) == "members only");
      CHECK(text_of(stays) == "the others");
      CHECK(text_of(leaves) == "the others");
    }
  });
}

TEST_CASE("a socket hears the groups that it joined, not those of others") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const Members members(family);
      const net::PacketConn from = sender(family);
      net::must(net::join_group(members.first, family.group, "nl0"));
      net::must(net::join_group(members.second, family.other_group, "nl0"));
      net::must(net::write_to(from, "1", members.group));
      net::must(net::write_to(from, "2", members.other_group));
      CHECK(text_of(members.first) == "1");
      CHECK(text_of(members.second) == "2");
    }
  });
}

TEST_CASE("the system chooses the interface when none is named") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const net::PacketConn member = open_for(family);
      const net::Addr group("udp", family.group,
                            net::local_addr(member).port());
      CHECK_FALSE(net::join_group(member, family.group));
      net::must(net::write_to(server(family.network, family.any), "x", group));
      CHECK(text_of(member) == "x");
      CHECK_FALSE(net::leave_group(member, family.group));
    }
  });
}

TEST_CASE("a group is heard on the interface on which it was joined") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const net::PacketConn member = open_for(family);
      const net::Addr group("udp", family.group,
                            net::local_addr(member).port());
      for (const std::string interface : {"nl0", "lo", "nl0"}) {
        net::must(net::join_group(member, family.group, interface));
        for (const std::string each : {"lo", "nl0", "lo"})
          net::must(net::write_to(sender(family, each), each, group));
        CHECK(text_of(member) == interface);
        if (interface == "lo") CHECK(text_of(member) == interface);
        net::must(net::leave_group(member, family.group, interface));
      }
      char buffer[8];
      CHECK(net::try_read_from(member, buffer).error == net::would_block);
    }
  });
}

TEST_CASE("a group's zone names the interface, as an address's does") {
  in_own_network([] {
    const Family family{"udp6", "[::]:0", ip("ff02::77%lo"), {}};
    const net::PacketConn member = open_for(family);
    const auto port = net::local_addr(member).port();
    net::must(net::join_group(member, family.group));
    net::must(net::write_to(server("udp6", "[::]:0"), "x",
                            net::Addr("udp", family.group, port)));
    CHECK(text_of(member) == "x");
    CHECK_FALSE(net::leave_group(member, family.group, "lo"));
  });
}

TEST_CASE("a socket for both families hears groups of both") {
  in_own_network([] {
    const net::PacketConn both = server("udp", ":0");
    net::must(net::set_multicast_interface(both, "nl0"));
    for (const Family& family : families()) {
      const net::Addr group("udp", family.group, net::local_addr(both).port());
      CHECK_FALSE(net::join_group(both, family.group, "nl0"));
      net::must(net::write_to(sender(family), "hello", group));
      CHECK(text_of(both) == "hello");
      net::must(net::write_to(both, "myself", group));
      CHECK(text_of(both) == "myself");
    }
    CHECK_FALSE(net::set_multicast_loopback(both, false));
    CHECK_FALSE(net::set_multicast_ttl(both, 9));
    CHECK(option(both, IPPROTO_IP, IP_MULTICAST_LOOP) == 0);
    CHECK(option(both, IPPROTO_IPV6, IPV6_MULTICAST_LOOP) == 0);
    CHECK(option(both, IPPROTO_IP, IP_MULTICAST_TTL) == 9);
    CHECK(option(both, IPPROTO_IPV6, IPV6_MULTICAST_HOPS) == 9);
  });
}

TEST_CASE("with loop-back off this machine does not hear itself") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const net::PacketConn member = open_for(family);
      const net::Addr group("udp", family.group,
                            net::local_addr(member).port());
      net::must(net::join_group(member, family.group, "nl0"));
      const net::PacketConn from = sender(family);
      net::must(net::write_to(from, "on", group));
      CHECK_FALSE(net::set_multicast_loopback(from, false));
      net::must(net::write_to(from, "off", group));
      CHECK_FALSE(net::set_multicast_loopback(from, true));
      net::must(net::write_to(from, "on again", group));
      CHECK(text_of(member) == "on");
      CHECK(text_of(member) == "on again");
    }
  });
}

namespace {

// The time-to-live that the next datagram came with.
int ttl_of_next(const net::PacketConn& packets) {
  char byte;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[256];
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  pollfd ready{net::native_handle(packets), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, 20000) == 1);
  REQUIRE(::recvmsg(ready.fd, &message, 0) == 1);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  REQUIRE(header);
  int ttl = 0;
  std::memcpy(&ttl, CMSG_DATA(header), sizeof ttl);
  return ttl;
}

}  // namespace

TEST_CASE("a datagram to a group goes as far as its time-to-live says") {
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const bool six = family.group.is6();
      const net::PacketConn member = open_for(family);
      const net::Addr group("udp", family.group,
                            net::local_addr(member).port());
      net::must(net::join_group(member, family.group, "nl0"));
      net::must(net::set_option(member, six ? IPPROTO_IPV6 : IPPROTO_IP,
                                six ? IPV6_RECVHOPLIMIT : IP_RECVTTL, 1));
      const net::PacketConn from = sender(family);
      net::must(net::write_to(from, "x", group));
      CHECK(ttl_of_next(member) == 1);  // this network only
      for (const int hops : {0, 7, 255}) {
        CHECK_FALSE(net::set_multicast_ttl(from, hops));
        net::must(net::write_to(from, "x", group));
        CHECK(ttl_of_next(member) == hops);
      }
      for (const int hops : {-1, -2, 256, INT_MIN, INT_MAX}) {
        CAPTURE(hops);
        CHECK(net::set_multicast_ttl(from, hops) ==
              std::errc::invalid_argument);
      }
      net::must(net::write_to(from, "x", group));
      CHECK(ttl_of_next(member) == 255);
    }
  });
}

TEST_CASE("wrong interfaces and wrong groups are told") {
  const net::PacketConn a = server("udp4");
  const net::IP group = ip("239.1.2.3");
  for (const std::string& name :
       {std::string("nosuch"), std::string(1000, 'x'), std::string("lo\0x", 4),
        std::string(" lo"), std::string("0"), std::string("-1")}) {
    CAPTURE(name);
    CHECK(net::join_group(a, group, name) == std::errc::no_such_device);
    CHECK(net::leave_group(a, group, name) == std::errc::no_such_device);
    CHECK(net::set_multicast_interface(a, name) == std::errc::no_such_device);
  }
  CHECK(net::join_group(a, group, "nosuch").message() ==
        "set udp4 " + net::local_addr(a).string() +
            ": interface nosuch: no such device");
  CHECK(net::set_multicast_interface(a, "") == std::errc::no_such_device);
  CHECK(net::set_multicast_interface(a, "99999999"));

  CHECK(net::join_group(a, ip("127.0.0.1"), "lo") ==
        std::errc::invalid_argument);
  CHECK(net::join_group(a, net::IP(), "lo"));
  CHECK(net::join_group(a, ip("ff02::77"), "lo"));
  CHECK(net::leave_group(a, group, "lo") == std::errc::address_not_available);
  CHECK_FALSE(net::join_group(a, group, "lo"));
  CHECK(net::join_group(a, group, "lo") == std::errc::address_in_use);
  CHECK_FALSE(net::leave_group(a, group, "lo"));
  CHECK(net::leave_group(a, group, "lo") == std::errc::address_not_available);

  const net::PacketConn gram = server("unixgram", "");
  CHECK(net::join_group(gram, group, "lo"));
  CHECK(net::set_multicast_ttl(gram, 1));
  CHECK(net::set_multicast_loopback(gram, true));
  CHECK(net::set_multicast_interface(gram, "lo"));

  if (!has_ipv6()) return;
  // A socket that cannot hear IPv4 cannot join an IPv4 group.
  const net::PacketConn six = server("udp6", "[::]:0");
  CHECK(net::join_group(six, group, "lo"));
  CHECK(net::join_group(six, ip("::1"), "lo") == std::errc::invalid_argument);
}

TEST_CASE("a program that we did not write is in the group") {
  if (!support::Program::installed("python3")) return;
  in_own_network([] {
    for (const Family& family : families()) {
      CAPTURE(family.network);
      const net::PacketConn member = open_for(family);
      const auto port = net::local_addr(member).port();
      net::must(net::join_group(member, family.group, "nl0"));
      support::Program python({"python3", "-c", R"(
import socket, struct, sys
group, port = sys.argv[1], int(sys.argv[2])
six = ":" in group
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET,
                  socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", port))
nl0 = socket.if_nametoindex("nl0")
if six:
    membership = socket.inet_pton(socket.AF_INET6, group) + struct.pack("I", nl0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, nl0)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
else:
    membership = socket.inet_aton(group) + socket.inet_aton("10.9.8.7")
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
s.sendto(b"python is here", (group, port))
print(s.recvfrom(99)[0].decode())  # itself
print(s.recvfrom(99)[0].decode(), flush=True)
)",
                               family.group.string(), std::to_string(port)});
      const Datagram got = receive(member);
      CHECK(got.text == "python is here");
      CHECK(got.from.port() == port);
      net::must(net::write_to(sender(family), "so is netlite",
                              net::Addr("udp", family.group, port)));
      CHECK(python.line() == "python is here");
      CHECK(python.line() == "so is netlite");
    }
  });
}

TEST_CASE("a broadcast is heard by all") {
  in_own_network([] {
    const net::PacketConn a = server("udp4", "0.0.0.0:0");
    const auto port = net::local_addr(a).port();
    const net::PacketConn from = server("udp4", "0.0.0.0:0");
    for (const char* everybody : {"127.255.255.255", "10.9.8.255"}) {
      CAPTURE(everybody);
      const net::Addr to("udp", ip(everybody), port);
      CHECK_FALSE(net::write_to(from, "hear, hear", to).error);
      CHECK(text_of(a) == "hear, hear");

      const net::Conn dialled = bounded(net::dial("udp", to.string()));
      CHECK_FALSE(net::write(dialled, "dialled").error);
      CHECK(text_of(a) == "dialled");

      net::must(net::set_option(from, SOL_SOCKET, SO_BROADCAST, 0));
      CHECK(net::write_to(from, "x", to).error == std::errc::permission_denied);
      net::must(net::set_option(from, SOL_SOCKET, SO_BROADCAST, 1));
    }
  });
}

TEST_CASE("a link-local address needs its zone, and keeps it") {
  in_own_network([] {
    const net::PacketConn a = server("udp", "[fe80::1%lo]:0");
    const auto port = net::local_addr(a).port();
    const std::string address = "[fe80::1%lo]:" + std::to_string(port);
    CHECK(net::local_addr(a).string() == address);
    const net::PacketConn b = server("udp6", "[::]:0");
    net::must(net::write_to(b, "x", net::Addr("udp", ip("fe80::1%lo"), port)));
    CHECK(receive(a).from.string() ==
          "[fe80::1%lo]:" + std::to_string(net::local_addr(b).port()));

    // By number; answers find their way back.
    const net::Conn dialled =
        bounded(net::dial("udp", "[fe80::1%1]:" + std::to_string(port)));
    CHECK(net::remote_addr(dialled).string() == address);
    net::must(net::write(dialled, "ping"));
    net::must(net::write_to(a, "pong", receive(a).from));
    CHECK(text_of(dialled) == "pong");

    const net::Addr unknown("udp", ip("fe80::1%nosuch"), port);
    CHECK(net::write_to(b, "x", unknown).error == std::errc::invalid_argument);
    for (const char* host : {"[fe80::1]", "[fe80::1%nosuch]"})
      CHECK(net::dial("udp", host + (":" + std::to_string(port))).error ==
            std::errc::invalid_argument);
    // Right address, wrong link.
    CHECK(net::listen_packet("udp", "[fe80::1%nl0]:0").error ==
          std::errc::address_not_available);
  });
}

// ---------------------------------------------------------------------------
// Programs that we did not write

TEST_CASE("socat asks, netlite answers") {
  if (!support::Program::installed("socat")) return;
  for (const std::string network : {"udp4", "udp6"}) {
    if (network == "udp6" && !has_ipv6()) continue;
    CAPTURE(network);
    const bool six = network == "udp6";
    const net::PacketConn a = server(network, six ? "[::1]:0" : localhost);
    support::Program socat(
        {"socat", "-",
         (six ? "UDP6:" : "UDP4:") + net::local_addr(a).string()});
    socat.say("ping\n");
    const Datagram got = receive(a);
    CHECK(got.text == "ping\n");
    net::must(net::write_to(a, "pong\n", got.from));
    CHECK(socat.line() == "pong");
  }
}

TEST_CASE("netlite asks, Python answers") {
  if (!support::Program::installed("python3")) return;
  for (const std::string network : {"udp4", "udp6"}) {
    if (network == "udp6" && !has_ipv6()) continue;
    CAPTURE(network);
    support::Program python({"python3", "-c", R"(
import socket, sys
six = sys.argv[1] == "udp6"
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET,
                  socket.SOCK_DGRAM)
s.bind(("::1" if six else "127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    text, client = s.recvfrom(70000)
    s.sendto(text[::-1], client)
)",
                             network});
    const std::string host = network == "udp6" ? "::1" : "127.0.0.1";
    const std::string address = net::join_host_port(host, python.line());
    const net::Conn conn = bounded(net::dial(network, address));
    net::must(net::write(conn, "drawer"));
    CHECK(text_of(conn) == "reward");
    net::must(net::write(conn, ""));
    CHECK(text_of(conn).empty());

    const net::PacketConn packets =
        server(network, net::join_host_port(host, "0"));
    const std::string longest(65507, 'x');
    net::must(net::write_to(packets, longest,
                            net::must(net::resolve(network, address))));
    const Datagram got = receive(packets);
    CHECK(got.text == longest);
    CHECK(got.from.string() == address);
  }
}

// ---------------------------------------------------------------------------
// Bad input

TEST_CASE("a handle that refers to nothing, or is closed, says so") {
  const net::PacketConn shut = server();
  net::close(shut);
  const net::Addr to = nobody();
  const net::IP group = ip("239.1.2.3");
  for (const net::PacketConn& packets : {net::PacketConn(), shut}) {
    CHECK(receive(packets).err == net::closed);
    CHECK(receive(packets).err.op() == "read");
    CHECK(net::write_to(packets, "x", to).error == net::closed);
    CHECK(net::write_to(packets, "x", to).error.op() == "write");
    CHECK(net::write_to(packets, "x", net::Addr()).error == net::closed);
    for (const net::Error& err :
         {net::join_group(packets, group), net::leave_group(packets, group),
          net::join_group(packets, group, "nosuch"),
          net::set_multicast_ttl(packets, 1),
          net::set_multicast_loopback(packets, true),
          net::set_multicast_interface(packets, "lo"),
          net::set_multicast_interface(packets, "nosuch")}) {
      CHECK(err == net::closed);
      CHECK(err.op() == "set");
    }
  }
}

TEST_CASE("write_to needs an address, and one of the right network") {
  const net::PacketConn a = server("udp4");
  const std::string from = "write udp4 " + net::local_addr(a).string();
  CHECK(net::write_to(a, "x", net::Addr()).error == net::missing_address);
  CHECK(net::write_to(a, "x", net::Addr("nosuch", "x")).error ==
        net::missing_address);
  for (const net::Addr& wrong : {net::Addr("tcp", ip("127.0.0.1"), 9),
                                 net::Addr("unixgram", "/tmp/x")}) {
    const auto [n, err] = net::write_to(a, "x", wrong);
    CHECK(n == 0);
    CHECK(err == net::unexpected_address_type);
    CHECK(err.message() == from + "->" + wrong.string() + ": address " +
                               wrong.string() + ": unexpected address type");
  }
  CHECK(net::write_to(a, "x", net::Addr("udp", ip("127.0.0.1"), 0)).error ==
        std::errc::invalid_argument);

  // No IP is this machine, as it is for dial.
  net::must(net::write_to(
      a, "x", net::Addr("udp", net::IP(), net::local_addr(a).port())));
  CHECK(text_of(a) == "x");
}
