// SPDX-License-Identifier: MIT
// Addresses and names: what the conformance tables (tables.cpp) do not cover.
// Tests that need a name server, or fe80::1 on lo, run in the world that
// tests/world/run makes.

#include "netlite.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>
#include <sstream>
#include <unordered_map>

#include "support.hpp"

namespace {

net::IP ip(const char* text) { return net::must(net::parse_ip(text)); }

std::string port_of(const net::Listener& listener) {
  return std::to_string(net::addr(listener).port());
}

// A listener on 127.0.0.1, and what happens to those who dial near it.
struct Server {
  net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  std::string port = port_of(listener);

  net::Error dial(const std::string& address) const {
    return net::dial("tcp", address).error;
  }
};

const net::Deadline past(0s);

#define IN_WORLD *doctest::skip(!support::in_world())

}  // namespace

// ---------------------------------------------------------------------------
// IP, Prefix, Addr

TEST_CASE("an IP is read back from what it prints") {
  for (const char* text :
       {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1",
        "1::", "2001:db8::1", "2001:0:0:1::1", "1:2:3:4:5:6:7:8",
        "::ffff:1.2.3.4", "fe80::1%eth0", "fe80::1%3"}) {
    CHECK(ip(text).string() == text);
    CHECK(ip(ip(text).string().c_str()) == ip(text));
  }
}

TEST_CASE("an IP has 4 or 16 bytes, in network order, or none") {
  const unsigned char bytes[16] = {127, 0, 0, 1};
  const net::IP four(bytes, 4);
  CHECK(four.is4());
  CHECK(four.size() == 4);
  CHECK(four.data()[0] == 127);
  CHECK(four == ip("127.0.0.1"));
  CHECK(net::IP(bytes, 16) == ip("7f00:1::"));
  CHECK(net::IP(bytes, 16).is6());
  for (const std::size_t size : {0U, 1U, 5U, 15U, 17U, 4U + 256U}) {
    const net::IP none(bytes, size);
    CHECK_FALSE(none);
    CHECK(none.size() == 0);
    CHECK(none.string() == "");
    CHECK(none == net::IP());
  }
}

TEST_CASE("an IPv4 address in IPv6 clothes differs until it is unmapped") {
  CHECK(ip("::ffff:1.2.3.4") != ip("1.2.3.4"));
  CHECK(ip("::ffff:1.2.3.4").is4_in_6());
  CHECK(ip("::ffff:1.2.3.4").unmap() == ip("1.2.3.4"));
  CHECK(ip("2001:db8::1").unmap() == ip("2001:db8::1"));
  CHECK(net::IP().unmap() == net::IP());
}

TEST_CASE("an IPv6 address never prints its tail as an IPv4 address") {
  // As RFC 5952, 5 has it; inet_ntop(3) prints ::1.2.3.4.
  for (const std::string text : {"::102:304", "::ff:1", "::1", "::"})
    CHECK(net::must(net::parse_ip(text)).string() == text);
  CHECK(net::must(net::parse_ip("::1.2.3.4")).string() == "::102:304");
}

TEST_CASE("zeros in front of a group mean nothing, except in IPv4") {
  CHECK(ip("00001::").string() == "1::");
  CHECK(ip("0:00000:0000000000::0001").string() == "::1");
  CHECK(ip("::ffff:0000000001") == ip("::ffff:1"));
  for (const std::string octal :
       {"01.2.3.4", "1.2.3.04", "::ffff:01.2.3.4", "::1.2.3.00"}) {
    CAPTURE(octal);
    CHECK(net::parse_ip(octal).error == net::invalid_ip);
  }
  CHECK(net::parse_ip("12345::").error == net::invalid_ip);
  CHECK(net::parse_ip("000012345::").error == net::invalid_ip);
}

TEST_CASE("the zone is part of an IP") {
  CHECK(ip("fe80::1%lo").zone() == "lo");
  CHECK(ip("fe80::1%lo") != ip("fe80::1"));
  CHECK(ip("fe80::1%lo") != ip("fe80::1%eth0"));
}

TEST_CASE("only an IPv6 address has a zone") {
  const unsigned char bytes[16] = {10, 0, 0, 1};
  CHECK(net::IP(bytes, 5, "lo") == net::IP());
  CHECK(net::IP(bytes, 4, "lo") == net::IP(bytes, 4));
  CHECK(net::IP(bytes, 4, "lo").string() == "10.0.0.1");
  CHECK(net::IP(bytes, 16, "lo").zone() == "lo");
}

TEST_CASE("what is no IP says so, and what it was") {
  const auto [none, err] = net::parse_ip("1.2.3.4.5");
  CHECK_FALSE(none);
  CHECK(err == net::invalid_ip);
  CHECK(err.message().find("invalid IP address") != std::string::npos);
  CHECK(err.message().find("1.2.3.4.5") != std::string::npos);
}

TEST_CASE("a prefix contains the addresses that share its bits") {
  const net::Prefix ten = net::must(net::parse_prefix("10.1.2.3/8"));
  CHECK(ten.bits() == 8);
  CHECK(ten.ip() == ip("10.1.2.3"));
  CHECK(ten.masked() == ip("10.0.0.0"));
  CHECK(ten.string() == "10.0.0.0/8");
  CHECK(ten.contains(ip("10.255.255.255")));
  CHECK_FALSE(ten.contains(ip("11.0.0.0")));
  CHECK_FALSE(ten.contains(ip("a00::")));  // the same bits, another family

  const net::Prefix odd = net::must(net::parse_prefix("192.0.2.128/25"));
  CHECK(odd.contains(ip("192.0.2.129")));
  CHECK_FALSE(odd.contains(ip("192.0.2.127")));

  CHECK(net::must(net::parse_prefix("0.0.0.0/0")).contains(ip("8.8.8.8")));
  CHECK(net::must(net::parse_prefix("::/0")).contains(ip("2001:db8::1")));
  CHECK(net::must(net::parse_prefix("fe80::/10")).contains(ip("febf::1")));
  const net::Prefix one = net::must(net::parse_prefix("::1/128"));
  CHECK(one.contains(ip("::1")));
  CHECK_FALSE(one.contains(ip("::")));
}

TEST_CASE("a prefix of impossible length is empty, and contains nothing") {
  CHECK_FALSE(net::Prefix().contains(ip("::1")));
  for (const int bits : {std::numeric_limits<int>::min(), -1, 33, 129,
                         std::numeric_limits<int>::max()}) {
    const net::Prefix prefix(ip("1.2.3.4"), bits);
    CHECK_FALSE(prefix.masked());
    CHECK_FALSE(prefix.contains(ip("1.2.3.4")));
    CHECK(prefix.string() == "");
  }
}

TEST_CASE("an error about no address at all does not name one") {
  CHECK(net::split_host_port("").error.message() == "missing port in address");
  CHECK(net::split_host_port("x").error.message() ==
        "address x: missing port in address");
}

TEST_CASE("an address prints as its network writes it") {
  CHECK(net::Addr("tcp", ip("127.0.0.1"), 80).string() == "127.0.0.1:80");
  CHECK(net::Addr("udp", ip("::1"), 65535).string() == "[::1]:65535");
  CHECK(net::Addr("tcp", ip("fe80::1%lo"), 0).string() == "[fe80::1%lo]:0");
  CHECK(net::Addr("tcp", net::IP(), 80).string() == ":80");
  CHECK(net::Addr("unix", "/tmp/s.sock").string() == "/tmp/s.sock");
  CHECK(net::Addr("unixgram", "@name").string() == "@name");
  CHECK(net::Addr("unixpacket", "").string() == "@");
  CHECK(net::Addr().string() == "");

  std::ostringstream out;
  out << net::Addr("tcp6", ip("::1"), 80);
  CHECK(out.str() == "[::1]:80");
}

TEST_CASE("addresses are values: equal, ordered, printed") {
  const auto prefix = [](const char* text) {
    return net::must(net::parse_prefix(text));
  };
  // Each less than the next, and equal to itself alone.
  const auto check = [](const auto& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      for (std::size_t j = 0; j < values.size(); ++j) {
        CAPTURE(i);
        CAPTURE(j);
        CHECK((values[i] == values[j]) == (i == j));
        CHECK((values[i] != values[j]) == (i != j));
        CHECK((values[i] < values[j]) == (i < j));
      }
    for (const auto& value : values) {
      std::ostringstream out;
      out << value;
      CHECK(out.str() == value.string());
    }
  };
  check(std::vector<net::IP>{{},
                             ip("1.2.3.4"),
                             ip("1.2.3.200"),
                             ip("2.0.0.0"),
                             ip("::1"),
                             ip("::ffff:1.2.3.4"),
                             ip("fe80::1"),
                             ip("fe80::1%eth0"),
                             ip("fe80::1%lo")});
  check(std::vector<net::Prefix>{{},
                                 prefix("10.0.0.0/8"),
                                 prefix("10.0.0.0/9"),
                                 prefix("10.0.0.1/8"),
                                 prefix("::/0")});
  check(std::vector<net::Addr>{{},
                               {"tcp", net::IP(), 80},
                               {"tcp", ip("1.2.3.4"), 80},
                               {"tcp", ip("1.2.3.4"), 443},
                               {"tcp", ip("::1"), 80},
                               {"udp", ip("1.2.3.4"), 80},
                               {"unix", ""},
                               {"unix", "@a"},
                               {"unix", "a"},
                               {"unixgram", ""}});
}

TEST_CASE("addresses are the keys of maps, sorted or hashed") {
  const auto check = [](const auto& one, const auto& same, const auto& other) {
    using T = std::decay_t<decltype(one)>;
    CHECK(std::hash<T>()(one) == std::hash<T>()(same));
    std::map<T, int> sorted{{one, 1}, {other, 2}};
    std::unordered_map<T, int> hashed{{one, 1}, {other, 2}};
    CHECK(sorted.size() == 2);
    CHECK(hashed.size() == 2);
    CHECK(sorted.at(same) == 1);
    CHECK(hashed.at(same) == 1);
    CHECK(hashed.at(other) == 2);
    CHECK(hashed.count(T()) == 0);
  };
  check(ip("2001:db8::1"), ip("2001:db8:0::1"), ip("2001:db8::2"));
  check(net::Prefix(ip("10.0.0.1"), 8),
        net::must(net::parse_prefix("10.0.0.1/8")),
        net::Prefix(ip("10.0.0.2"), 8));
  check(net::Addr("tcp", ip("::1"), 80),
        net::must(net::resolve("tcp", "[::1]:80")),
        net::Addr("udp", ip("::1"), 80));
  check(net::Addr("unix", "/tmp/s"), net::must(net::resolve("unix", "/tmp/s")),
        net::Addr("unixgram", "/tmp/s"));
}

TEST_CASE("an address names its network without the family") {
  CHECK(net::Addr("tcp4", ip("127.0.0.1"), 80).network() == "tcp");
  CHECK(net::Addr("udp6", ip("::1"), 80).network() == "udp");
  CHECK(net::Addr("tcp4", ip("127.0.0.1"), 80) ==
        net::Addr("tcp", ip("127.0.0.1"), 80));
  CHECK(net::Addr("udp", ip("127.0.0.1"), 80) !=
        net::Addr("tcp", ip("127.0.0.1"), 80));
}

TEST_CASE("an address of an unknown network is none") {
  CHECK_FALSE(net::Addr());
  CHECK_FALSE(net::Addr("foo", ip("::1"), 80));
  CHECK_FALSE(net::Addr("foo", "/tmp/s.sock"));
}

TEST_CASE("this machine has lo, with 127.0.0.1/8 and its index") {
  const auto all = net::must(net::interfaces());
  const auto lo = std::find_if(all.begin(), all.end(), [](const auto& each) {
    return (each.flags & IFF_LOOPBACK) != 0;
  });
  REQUIRE(lo != all.end());
  CHECK(lo->index == ::if_nametoindex(lo->name.c_str()));
  bool found = false;
  for (const net::Prefix& prefix : lo->addrs)
    found = found || (prefix.ip() == ip("127.0.0.1") && prefix.bits() == 8);
  CHECK(found);
}

// The kernel also tells their hardware addresses, which are no IP addresses.
TEST_CASE("an interface has IP addresses only") {
  for (const net::Interface& each : net::must(net::interfaces()))
    for (const net::Prefix& prefix : each.addrs) CHECK(prefix.ip());
}

TEST_CASE("the world has one interface, with all its addresses" IN_WORLD) {
  const auto all = net::must(net::interfaces());
  REQUIRE(all.size() == 1);
  std::vector<std::string> addrs;
  for (const net::Prefix& prefix : all[0].addrs)
    addrs.push_back(prefix.ip().string() + "/" + std::to_string(prefix.bits()));
  std::sort(addrs.begin(), addrs.end());
  CHECK(addrs == std::vector<std::string>{"127.0.0.1/8", "127.0.0.9/8",
                                          "::1/128", "fe80::1%lo/64"});
}

// ---------------------------------------------------------------------------
// Ports

// github.com/chriskohlhoff/asio/issues/441: the C library keeps 16 bits of
// any number, so that port 65536 + P became P.
TEST_CASE("a port above 65535 is an error, not another port") {
  const Server server;
  const std::string wrapped = std::to_string(65536 + std::stoi(server.port));
  for (const std::string& port :
       {wrapped, std::string("65536"), std::string("70000"),
        std::string("4294967376"), "4294967296" + server.port,
        std::string(40, '9')}) {
    CAPTURE(port);
    const std::string address = "127.0.0.1:" + port;
    CHECK(server.dial(address) == net::invalid_port);
    CHECK(net::listen("tcp", address).error == net::invalid_port);
    CHECK(net::listen_packet("udp", address).error == net::invalid_port);
    CHECK(net::resolve("tcp", address).error == net::invalid_port);
    CHECK(server.dial(address).message() ==
          "dial tcp: address " + port + ": invalid port");
  }
  CHECK(net::must(net::resolve("tcp", "127.0.0.1:65535")).port() == 65535);
}

// github.com/c-ares/c-ares/pull/1029: leading blanks, and all that atoi takes.
TEST_CASE("a port is digits or a service, without anything around them") {
  const Server server;
  const std::string p = server.port;
  for (const std::string& port :
       {" " + p, p + " ", "\t" + p, "\n" + p, "\v" + p, "\r" + p, " +" + p,
        p + "abc", "0x" + p, "+-" + p, p + ".0", p + std::string(1, '\0'),
        std::string(1, '\0') + p, std::string("http") + '\0', std::string("ht"),
        std::string("no-such-service")}) {
    CAPTURE(port);
    CHECK(server.dial("127.0.0.1:" + port) == net::unknown_port);
    CHECK(net::listen("tcp", "127.0.0.1:" + port).error == net::unknown_port);
  }
  CHECK(server.dial("127.0.0.1:-" + p) == net::invalid_port);
  CHECK_FALSE(server.dial("127.0.0.1:" + p));
  CHECK_FALSE(server.dial("127.0.0.1:+" + p));  // Go takes that one
  CHECK(net::must(net::resolve("tcp", "127.0.0.1:http")).port() == 80);
}

TEST_CASE("no colon, no port and no address are told apart") {
  CHECK(net::dial("tcp", "127.0.0.1").error == net::missing_port);
  CHECK(net::dial("tcp", "").error == net::missing_address);
  CHECK(net::must(net::resolve("tcp", ":")).port() == 0);
  CHECK(net::must(net::resolve("tcp", "127.0.0.1:")).port() == 0);
}

// ---------------------------------------------------------------------------
// Brackets and zones

// github.com/sustrik/libmill/issues/153: IPv6 was split at the wrong colon.
TEST_CASE("what a listener prints can be dialled, brackets and all") {
  const auto [listener, err] = net::listen("tcp", "[::1]:0");
  if (err == std::errc::address_not_available) return;  // no IPv6 here
  REQUIRE_FALSE(err);
  const std::string text = net::addr(listener).string();
  CHECK(text == "[::1]:" + port_of(listener));
  CHECK(net::must(net::resolve("tcp", text)).string() == text);
  const net::Conn conn = net::must(net::dial("tcp", text));
  CHECK(net::remote_addr(conn) == net::addr(listener));
}

TEST_CASE("an IPv6 address with a port stands in brackets, and alone") {
  CHECK(net::dial("tcp", "::1:80").error == net::too_many_colons);
  CHECK(net::dial("tcp", "[::1]").error == net::missing_port);
  CHECK(net::dial("tcp", "[::1]80").error == net::missing_port);
  CHECK(net::dial("tcp", "[::1:80").error == net::missing_bracket);
  CHECK(net::dial("tcp", "::1]:80").error == net::too_many_colons);
  CHECK(net::dial("tcp", "[[::1]]:80").error);
}

// github.com/grpc/grpc-swift-nio-transport/issues/147: the zone was lost.
TEST_CASE("the zone of an address survives reading and printing") {
  const auto odd = net::must(net::resolve("tcp", "[::%%%]:80"));
  CHECK(odd.string() == "[::%%%]:80");
  CHECK(net::must(net::resolve("tcp", odd.string())) == odd);
  const net::Addr addr = net::must(net::resolve("tcp", "[fe80::1%lo]:80"));
  CHECK(addr.ip().zone() == "lo");
  CHECK(addr.string() == "[fe80::1%lo]:80");
}

TEST_CASE("listen, dial and both ends print the zone" IN_WORLD) {
  const net::Listener listener =
      net::must(net::listen("tcp", "[fe80::1%lo]:0"));
  const std::string text = net::addr(listener).string();
  CHECK(text == "[fe80::1%lo]:" + port_of(listener));

  const net::Conn client = net::must(net::dial("tcp", text));
  const net::Conn server = net::must(net::accept(listener));
  CHECK(net::remote_addr(client).string() == text);
  CHECK(net::local_addr(server).string() == text);
  CHECK(net::local_addr(client).ip().zone() == "lo");
  CHECK(net::remote_addr(server) == net::local_addr(client));
}

TEST_CASE("a zone may be a number, and prints as a name" IN_WORLD) {
  const std::string index = std::to_string(::if_nametoindex("lo"));
  const net::Listener listener =
      net::must(net::listen("tcp", "[fe80::1%" + index + "]:0"));
  CHECK(net::addr(listener).ip().zone() == "lo");
  const net::Conn conn = net::must(
      net::dial("tcp", "[fe80::1%" + index + "]:" + port_of(listener)));
  CHECK(net::remote_addr(conn) == net::addr(listener));
}

TEST_CASE("a link-local address without a known zone is EINVAL" IN_WORLD) {
  const net::Listener listener =
      net::must(net::listen("tcp", "[fe80::1%lo]:0"));
  const std::string port = port_of(listener);
  for (const char* host : {"fe80::1", "fe80::1%no-such-if",
                           "fe80::1%4294967297", "fe80::1%-1", "fe80::1% 1"}) {
    const std::string address = net::join_host_port(host, port);
    CAPTURE(address);
    CHECK(net::dial("tcp", address).error == std::errc::invalid_argument);
  }
  // A number is taken at its word; the kernel knows no such interface.
  CHECK(net::dial("tcp", "[fe80::1%99999999]:" + port).error);
}

// A datagram to "any zone" leaves by an interface that nobody named.
TEST_CASE("nothing is sent to a zone that is not there, to no group either") {
  const auto [packets, err] = net::listen_packet("udp6", "[::1]:0");
  if (err) return;  // no IPv6 here
  for (const std::string group :
       {"fe80::1%no-such-if", "ff01::1%no-such-if", "ff02::1%no-such-if",
        "ff05::1%no-such-if", "ff08::1%no-such-if", "ff0e::1%no-such-if"}) {
    CAPTURE(group);
    const net::Addr to("udp", ip(group.c_str()), 9);
    CHECK(net::write_to(packets, "x", to).error == std::errc::invalid_argument);
    CHECK(net::try_write_to(packets, "x", to).error ==
          std::errc::invalid_argument);
    CHECK(net::dial("udp", to.string()).error == std::errc::invalid_argument);
    CHECK(net::dial("udp6", to.string()).error == std::errc::invalid_argument);
    CHECK(net::join_group(packets, to.ip()) == std::errc::no_such_device);
    CHECK(net::leave_group(packets, to.ip()) == std::errc::no_such_device);
  }
}

TEST_CASE("an empty zone is an error in an address, and none in a host") {
  for (const char* text : {"::1%", "fe80::1%", "1.2.3.4%", "%"})
    CHECK(net::parse_ip(text).error == net::invalid_ip);
  using Names = std::vector<std::string>;
  CHECK(net::must(net::lookup_host("fe80::1%", past)) == Names{"fe80::1"});
  CHECK(net::must(net::lookup_host("::1%", past)) == Names{"::1"});
  CHECK(net::must(net::resolve("tcp", "[::1%]:80")).string() == "[::1]:80");
  CHECK(net::must(net::lookup_host("::1%%", past)) == Names{"::1%%"});
  for (const char* host : {"1.2.3.4%", "%", "host%"})
    CHECK(net::lookup_host(host, past).error == net::no_such_host);
}

TEST_CASE("::1 is on every link: its zone is dropped" IN_WORLD) {
  const net::Listener listener = net::must(net::listen("tcp", "[::1%lo]:0"));
  CHECK(net::addr(listener).string() == "[::1]:" + port_of(listener));
}

TEST_CASE("datagrams carry the zone of their sender" IN_WORLD) {
  const auto one = net::must(net::listen_packet("udp", "[fe80::1%lo]:0"));
  const auto two = net::must(net::listen_packet("udp", "[fe80::1%lo]:0"));
  net::must(net::write_to(one, "hello", net::local_addr(two)));
  char buffer[16];
  const auto [n, from, err] = net::read_from(two, buffer);
  REQUIRE_FALSE(err);
  CHECK(n == 5);
  CHECK(from == net::local_addr(one));
  CHECK(from.ip().zone() == "lo");
}

// ---------------------------------------------------------------------------
// Unix names

namespace {

// The working directory is a fresh one for as long as it lives.
class Inside {
 public:
  Inside() : before_(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    REQUIRE(::chdir(directory_.path.c_str()) == 0);
  }
  ~Inside() {
    CHECK(::fchdir(before_) == 0);
    ::close(before_);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  support::Directory directory_{};
  int before_;
};

// A socket bound to a file with that very name, as other programs may do.
int bound_to_file(int type, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  REQUIRE(name.copy(address.sun_path, sizeof address.sun_path - 1) ==
          name.size());
  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) ==
          0);
  return fd;
}

const std::string cli = "@cli-" + std::to_string(::getpid());

}  // namespace

TEST_CASE("an answer to the file @name does not go to the abstract @name") {
  const Inside directory;
  const auto server = net::must(net::listen_packet("unixgram", "server"));
  const auto stranger = net::must(net::listen_packet("unixgram", cli));
  const auto client =
      net::must(net::packet_conn_from(bound_to_file(SOCK_DGRAM, cli)));
  CHECK(net::local_addr(client).string() == "./" + cli);
  net::must(net::write_to(client, "question", net::local_addr(server)));

  char buffer[16];
  const auto [n, from, err] = net::read_from(server, buffer);
  REQUIRE_FALSE(err);
  CHECK(from.string() == "./" + cli);
  CHECK_FALSE(from.unnamed());
  net::must(net::write_to(server, "answer", from));
  CHECK(net::must(net::resolve("unixgram", from.string())) == from);
  CHECK(net::read_from(client, buffer).size == 6);
  CHECK(net::try_read_from(stranger, buffer).error == net::would_block);
}

TEST_CASE("a connection from the file @name, and to it, tells the file") {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const char* network = type == SOCK_STREAM ? "unix" : "unixpacket";
    INFO(network);
    const Inside directory;
    const int listening = bound_to_file(type, "@srv");
    REQUIRE(::listen(listening, 5) == 0);
    const auto listener = net::must(net::listener_from(listening));
    CHECK(net::addr(listener).string() == "./@srv");

    net::DialOptions options;
    options.local = net::Addr(network, "./" + cli);
    const auto client =
        net::must(net::dial(network, net::addr(listener).string(), options));
    const auto server = net::must(net::accept(listener));
    CHECK(net::remote_addr(client) == net::addr(listener));
    CHECK(net::remote_addr(server) == net::local_addr(client));
    CHECK(net::remote_addr(server).string() == "./" + cli);
    // The file is the listener's, under any name.
    net::must(net::set_unlink_on_close(listener, true));
    net::must(net::close(listener));
    CHECK(::access("@srv", F_OK) != 0);
  }
}

TEST_CASE("unnamed is who has no name, not who is called @") {
  CHECK(net::Addr("unix", "").unnamed());
  CHECK(net::Addr("unix", "").path() == "");
  CHECK(net::Addr("unix", "").string() == "@");
  CHECK_FALSE(net::Addr("unix", "@").unnamed());
  CHECK(net::Addr("unix", "@").path() == "@");
  CHECK(net::Addr("unix", "@") != net::Addr("unix", ""));
  CHECK_FALSE(net::Addr().unnamed());
  CHECK_FALSE(net::Addr("tcp", net::IP(), 80).unnamed());
  CHECK_FALSE(net::Addr("pipe", "pipe").unnamed());

  // The abstract name without a letter: one like any other.
  const auto [listener, err] = net::listen("unix", "@");
  if (err == std::errc::address_in_use) return;  // somebody else tests as well
  REQUIRE_FALSE(err);
  CHECK(net::addr(listener) == net::Addr("unix", "@"));
  const auto client = net::must(net::dial("unix", "@"));
  const auto server = net::must(net::accept(listener));
  CHECK(net::remote_addr(client) == net::addr(listener));
  CHECK(net::local_addr(server) == net::addr(listener));
  CHECK(net::remote_addr(server).unnamed());
  CHECK(net::local_addr(client).unnamed());
}

// ---------------------------------------------------------------------------
// Hosts

TEST_CASE("names that look like numbers do not exist, nobody is asked") {
  const Server server;
  for (const char* host :
       {"127.1",  "127.0.1",  "2130706433", "017700000001", "0x7f000001",
        "0x7f.1", "01.2.3.4", "127.0.0.01", "1.2.3",        "127.0.0.256",
        "a..b",   ".a",       "-a.b",       "a-.b",         "a b",
        " ",      "%",        "*",          "127.0.0.1 ",   " 127.0.0.1",
        "host\n", "..",       "."}) {
    CAPTURE(host);
    // A deadline that has passed leaves no time to ask anybody.
    CHECK(net::lookup_host(host, past).error == net::no_such_host);
    const net::Error err = server.dial(std::string(host) + ":" + server.port);
    CHECK(err == net::no_such_host);
    CHECK(err.message() ==
          "dial tcp: lookup " + std::string(host) + ": no such host");
  }
}

TEST_CASE("the empty name and one with a NUL do not exist") {
  CHECK(net::lookup_host("", past).error == net::no_such_host);
  const std::string nul("localhost\0.test", 15);
  CHECK(net::lookup_host(nul, past).error == net::no_such_host);
  CHECK(net::dial("tcp", nul + ":80").error == net::no_such_host);
}

TEST_CASE("an address in numbers needs no look-up") {
  for (const char* host : {"127.0.0.1", "::1", "fe80::1%lo", "::ffff:1.2.3.4"})
    CHECK(net::must(net::lookup_host(host, past)) ==
          std::vector<std::string>{host});
}

// github.com/fpagliughi/sockpp/issues/19: a resolver's code was read as an
// errno, or the errno of something else was told.
TEST_CASE("a failed look-up tells the resolver's reason and the name") {
  for (const int stray : {0, ENOENT}) {
    errno = stray;
    const net::Error err = net::dial("tcp", "no-such-host.invalid:1").error;
    REQUIRE(err);
    CHECK(err.code().category() == net::resolver_category());
    const std::string text = err.message();
    CHECK(text.find("lookup no-such-host.invalid: ") != std::string::npos);
    CHECK(text.find("uccess") == std::string::npos);
    CHECK(text.find("o such file") == std::string::npos);
  }
}

TEST_CASE(
    "a name without an address is no such host, like a missing one" IN_WORLD) {
  for (const char* host :
       {"no-such-host.test", "empty.test", "dangling.test"}) {
    const net::Error err = net::lookup_host(host).error;
    CHECK(err == net::no_such_host);
    CHECK_FALSE(err.temporary());
    CHECK(err.message() == "lookup " + std::string(host) + ": no such host");
  }
}

TEST_CASE("a name server that fails is not a name that is missing" IN_WORLD) {
  const net::Error err = net::dial("tcp", "servfail.test:80").error;
  CHECK(err.message() == "dial tcp: lookup servfail.test: server misbehaving");
  CHECK(err.temporary());
  CHECK_FALSE(err.timeout());
  CHECK(err != net::no_such_host);
  CHECK(err.code().category() == net::resolver_category());
}

// The resolver itself gives up on slow.test after a second, with another
// error: the deadline must have been the first.
TEST_CASE("a dial's time limit covers the look-up" IN_WORLD) {
  const support::Stopwatch watch;
  const net::Error err = net::dial_timeout("tcp", "slow.test:80", 200ms).error;
  CHECK(watch.elapsed() >= 200ms);
  CHECK(err == net::timed_out);
  CHECK(err.timeout());
  CHECK(err.temporary());
  CHECK(err.message() == "dial tcp: lookup slow.test: i/o timeout");
}

TEST_CASE("look-ups obey their deadline under a silent server" IN_WORLD) {
  const auto timed = [](auto look_up) {
    const support::Stopwatch watch;
    const net::Error err = look_up(net::Deadline(100ms)).error;
    CHECK(watch.elapsed() >= 100ms);
    CHECK(err == net::timed_out);
    CHECK(err.message().find(": i/o timeout") != std::string::npos);
  };
  timed([](auto when) { return net::lookup_host("slow.test", when); });
  timed([](auto when) { return net::lookup_cname("slow.test", when); });
  timed([](auto when) { return net::lookup_addr("192.0.2.99", when); });
  timed([](auto when) { return net::resolve("tcp", "slow.test:80", when); });
}

TEST_CASE("without a deadline a silent server is a passing trouble" IN_WORLD) {
  const net::Error err = net::lookup_host("slow.test").error;
  CHECK(err.temporary());
  CHECK(err != net::no_such_host);
}

TEST_CASE("many look-ups at once each get their own answer" IN_WORLD) {
  std::vector<support::Thread> threads;
  std::vector<std::string> answers(40);
  for (std::string& answer : answers) {
    const bool four = threads.size() % 2 == 0;
    threads.emplace_back([&answer, four] {
      const auto [addrs, err] =
          net::lookup_host(four ? "four.test" : "six.test", 10s);
      answer = err ? err.message() : addrs.front();
    });
  }
  for (support::Thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < answers.size(); ++i)
    CHECK(answers[i] == (i % 2 == 0 ? "127.0.0.1" : "::1"));
}

TEST_CASE("a host's addresses come in the order to try them" IN_WORLD) {
  using Names = std::vector<std::string>;
  CHECK(net::must(net::lookup_host("both.test")) == Names{"::1", "127.0.0.1"});
  CHECK(net::must(net::lookup_host("alias2.test")) ==
        Names{"::1", "127.0.0.1"});
  CHECK(net::must(net::lookup_host("only6.test")) == Names{"::1"});
  CHECK(net::must(net::lookup_host("twice.test")) == Names{"127.0.0.1"});
  Names multi = net::must(net::lookup_host("multi.test"));
  std::sort(multi.begin(), multi.end());
  CHECK(multi == Names{"127.0.0.1", "127.0.0.2"});
}

TEST_CASE("an alias leads to its canonical name" IN_WORLD) {
  CHECK(net::must(net::lookup_cname("alias2.test")) == "both.test");
  CHECK(net::must(net::lookup_cname("both.test")) == "both.test");
  CHECK(net::lookup_cname("127.0.0.1").error == net::no_such_host);
  const net::Error err = net::lookup_cname("no-such-host.test").error;
  CHECK(err.message() == "lookup no-such-host.test: no such host");
}

TEST_CASE("an address leads back to its name" IN_WORLD) {
  using Names = std::vector<std::string>;
  CHECK(net::must(net::lookup_addr("192.0.2.1")) == Names{"one.test"});
  CHECK(net::must(net::lookup_addr("2001:db8::1")) == Names{"six.one.test"});
  CHECK(net::must(net::lookup_addr("::ffff:192.0.2.1")) == Names{"one.test"});
  CHECK(net::must(net::lookup_addr("127.0.0.1")) == Names{"localhost"});
  const net::Error err = net::lookup_addr("192.0.2.2").error;
  CHECK(err == net::no_such_host);
  CHECK(err.message().find("192.0.2.2") != std::string::npos);
  CHECK(net::lookup_addr("one.test").error == net::invalid_ip);
  CHECK(net::lookup_addr("").error == net::invalid_ip);
}

TEST_CASE("dial prefers IPv6 where listen and resolve prefer IPv4" IN_WORLD) {
  CHECK(net::must(net::resolve("udp", "localhost:9")).string() ==
        "127.0.0.1:9");
  const auto packets = net::must(net::listen_packet("udp", "localhost:0"));
  CHECK(net::local_addr(packets).ip() == ip("127.0.0.1"));
  const net::Conn conn = net::must(net::dial("udp", "localhost:9"));
  CHECK(net::remote_addr(conn).string() == "[::1]:9");
}

TEST_CASE("when nobody listens on localhost, the error names ::1" IN_WORLD) {
  const std::string port = Server().port;  // closed again
  const net::Error err = net::dial("tcp", "localhost:" + port).error;
  CHECK(err == std::errc::connection_refused);
  CHECK(err.message() ==
        "dial tcp [::1]:" + port + ": connect: connection refused");
}

// github.com/yhirose/cpp-httplib/issues/366: the name gives ::1 first, and
// clients of a server on 127.0.0.1 failed or lost seconds.
TEST_CASE("localhost reaches a server on 127.0.0.1 alone") {
  const Server server;
  const net::Conn conn =
      net::must(net::dial("tcp", "localhost:" + server.port));
  CHECK(net::remote_addr(conn).string() == "127.0.0.1:" + server.port);
}

TEST_CASE("localhost reaches a server on ::1 alone" IN_WORLD) {
  const net::Listener listener = net::must(net::listen("tcp", "[::1]:0"));
  const net::Conn conn =
      net::must(net::dial("tcp", "localhost:" + port_of(listener)));
  CHECK(net::remote_addr(conn) == net::addr(listener));
}

// github.com/golang/go/issues/81620: an invalid host was taken for "any".
TEST_CASE("an empty or unspecified host means this machine, a bad one none") {
  const Server server;
  const std::string reached = "127.0.0.1:" + server.port;
  for (const char* host : {"", "0.0.0.0", "[::]"}) {
    const auto [conn, err] =
        net::dial("tcp", std::string(host) + ":" + server.port);
    CAPTURE(host);
    REQUIRE_FALSE(err);
    CHECK(net::remote_addr(conn).string() == reached);
  }
  for (const char* host : {"%", " ", "[%]", "[ ]", "*"}) {
    CAPTURE(host);
    CHECK(server.dial(std::string(host) + ":" + server.port) ==
          net::no_such_host);
  }
}
