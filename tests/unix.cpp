// SPDX-License-Identifier: MIT
// Unix extras: datagrams, abstract names, file modes and dead files,
// descriptors that travel, and who is at the other end.

#include "netlite.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "support.hpp"

using doctest::description;

// bind(2), with a look at the file that it made: between here and a chmod(2)
// others could open it.
namespace {
int mode_at_birth = -1;
}
// glibc says that it does not throw, musl does not say.
extern "C" int bind(int fd, const sockaddr* address,
                    socklen_t size) noexcept(noexcept(::bind(0, nullptr, 0))) {
  const long result = ::syscall(SYS_bind, fd, address, size);
  const auto& name = *reinterpret_cast<const sockaddr_un*>(address);
  struct stat made {};
  if (result == 0 && name.sun_family == AF_UNIX && size > sizeof(sa_family_t) &&
      ::lstat(name.sun_path, &made) == 0)
    mode_at_birth = made.st_mode & 07777;
  return static_cast<int>(result);
}

namespace {

using support::generous;

// Every socket of these tests has a deadline, so that none hangs.
template <class C>
C bounded(net::Result<C> result) {
  C conn = net::must(std::move(result));
  net::set_deadline(conn, generous);
  return conn;
}

net::PacketConn server(const std::string& address = "") {
  return bounded(net::listen_packet("unixgram", address));
}

net::Conn client_of(const net::PacketConn& server,
                    const net::DialOptions& options = {}) {
  return bounded(
      net::dial("unixgram", net::local_addr(server).string(), options));
}

// A client with a name, so that it can be answered.
net::Conn named_client_of(const net::PacketConn& server,
                          const std::string& name) {
  net::DialOptions options;
  options.local = net::Addr("unixgram", name);
  return client_of(server, options);
}

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

// What one read gives.
std::string read_text(const net::Conn& conn, std::size_t most = 100) {
  std::string text(most, '\0');
  text.resize(net::must(net::read(conn, text)));
  return text;
}

struct stat status_of(const std::string& path) {
  struct stat found {};
  REQUIRE(::lstat(path.c_str(), &found) == 0);
  return found;
}
int mode_of(const std::string& path) { return status_of(path).st_mode & 07777; }
bool exists(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

// The file mode creation mask, for a while.
struct Umask {
  explicit Umask(mode_t mask) : before(::umask(mask)) {}
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  ~Umask() { ::umask(before); }
  mode_t before;
};

constexpr uid_t stranger_uid = 65533;
constexpr gid_t stranger_gid = 65532;
bool become_stranger() {
  return ::setgid(stranger_gid) == 0 && ::setuid(stranger_uid) == 0;
}
bool can_become_stranger() {
  return support::in_child([] { return become_stranger() ? 0 : 1; }) == 0;
}

// A socket made without netlite, bound to these very bytes.
int plain_socket(int type, std::string_view bytes) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  REQUIRE(bytes.size() <= sizeof name.sun_path);
  std::memcpy(name.sun_path, bytes.data(), bytes.size());
  const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  REQUIRE(fd >= 0);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&name),
                 socklen_t(offsetof(sockaddr_un, sun_path) + bytes.size())) ==
          0);
  return fd;
}

// The file of a socket that is not there any more.
void leave_dead_socket(const std::string& path, int type = SOCK_STREAM) {
  const int fd = plain_socket(type, path);
  ::listen(fd, 1);
  ::close(fd);
}

}  // namespace

// ---------------------------------------------------------------------------
// Datagrams

TEST_CASE("unix datagrams keep their boundaries, and a cut one is told" *
          description("behaviour 65; bug-case 53")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  for (const char* text : {"one", "", "0123456789", "four"})
    net::must(net::write(b, text));
  net::must(net::write(b, {"ga", "", "thered"}));
  CHECK(text_of(a) == "one");
  CHECK(text_of(a).empty());
  const Datagram cut = receive(a, 4);
  CHECK(cut.text == "0123");
  CHECK(cut.err == net::truncated);
  CHECK(text_of(a) == "four");
  CHECK(text_of(a) == "gathered");
}

// https://github.com/jnr/jnr-unixsocket/issues/78
// https://github.com/rspamd/rspamd/pull/4283
// https://github.com/rust-lang-nursery/unix-socket/pull/14
// https://github.com/dermesser/libsocket/issues/66
TEST_CASE("a sender without a name has no address and gets no answer" *
          description("behaviour 62, 65; bug-case 64")) {
  const support::Directory dir;
  const net::PacketConn a = server(dir.path + "/a");
  {
    const net::Conn b = client_of(a);
    CHECK(net::local_addr(b).string() == "@");
    CHECK(net::local_addr(b).unnamed());
    CHECK(net::remote_addr(b).string() == dir.path + "/a");
    net::must(net::write(b, "who am I?"));
  }
  const Datagram got = receive(a);
  CHECK(got.text == "who am I?");
  CHECK_FALSE(got.err);
  CHECK_FALSE(got.from);
  CHECK(got.from.string().empty());
  CHECK(net::write_to(a, "you?", got.from).error == net::missing_address);
  CHECK(exists(dir.path + "/a"));  // the client has taken nothing with it
}

TEST_CASE("a client with a name is answered" *
          description("behaviour 60, 62, 65; bug-case 64")) {
  const support::Directory dir;
  const net::PacketConn a = server(dir.path + "/a");

  SUBCASE("a file, which stays") {
    const std::string mine = dir.path + "/b";
    const net::Conn b = named_client_of(a, mine);
    CHECK(net::local_addr(b).string() == mine);
    net::must(net::write(b, "ping"));
    const Datagram got = receive(a);
    CHECK(got.from == net::local_addr(b));
    CHECK(got.from.network() == "unixgram");
    net::must(net::write_to(a, "pong", got.from));
    CHECK(read_text(b) == "pong");
    CHECK(net::remote_addr(b) == net::local_addr(a));
    net::close(b);
    CHECK(exists(mine));
    CHECK(net::write_to(a, "x", got.from).error ==
          std::errc::connection_refused);
  }
  SUBCASE("an abstract name") {
    const std::string mine = "@" + dir.path + "/b";
    const net::Conn b = named_client_of(a, mine);
    net::must(net::write(b, "ping"));
    const Datagram got = receive(a);
    CHECK(got.from.string() == mine);
    net::must(net::write_to(a, "pong", got.from));
    CHECK(read_text(b) == "pong");
  }
  SUBCASE("an abstract name that the system chooses") {
    const net::Conn b = named_client_of(a, "");
    CHECK(net::local_addr(b).string().size() == 6);
    net::must(net::write(b, "ping"));
    net::must(net::write_to(a, "pong", receive(a).from));
    CHECK(read_text(b) == "pong");
  }
}

namespace {

// Another working directory, for a while.
class Inside {
 public:
  explicit Inside(const support::Directory& dir)
      : before_(::open(".", O_RDONLY | O_CLOEXEC)) {
    REQUIRE(::chdir(dir.path.c_str()) == 0);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() {
    if (::fchdir(before_) == 0) ::close(before_);
  }

 private:
  int before_;
};

}  // namespace

// https://github.com/golang/go/issues/7354
TEST_CASE("a file whose name begins with @ is not taken for a name") {
  const support::Directory dir;
  const Inside inside(dir);
  const std::string name = "@netlite-" + std::to_string(::getpid());
  const std::string file = "./" + name;

  SUBCASE("of a datagram's sender") {
    const net::PacketConn a = server();
    const net::PacketConn other = server(name);
    net::PacketConn sender;
    SUBCASE("made by us") { sender = server(file); }
    SUBCASE("made by another program") {
      sender = bounded(net::packet_conn_from(plain_socket(SOCK_DGRAM, name)));
    }
    CHECK(exists(name));
    CHECK(net::local_addr(sender) == net::Addr("unixgram", file));
    net::must(net::write_to(sender, "ping", net::local_addr(a)));
    const Datagram got = receive(a);
    CHECK(got.from == net::Addr("unixgram", file));
    CHECK(got.from != net::local_addr(other));
    net::must(net::write_to(a, "pong", got.from));
    CHECK(text_of(sender) == "pong");
    char buffer[8];
    CHECK(net::try_read_from(other, buffer).error == net::would_block);
  }
  SUBCASE("of a listener and its client") {
    for (const std::string network : {"unix", "unixpacket"}) {
      const net::Listener other = bounded(net::listen(network, name));
      const net::Listener a = bounded(net::listen(network, file));
      CHECK(net::addr(a).string() == file);
      net::DialOptions options;
      options.local = net::Addr(network, file + "2");
      const net::Conn client =
          bounded(net::dial(network, net::addr(a).string(), options));
      const net::Conn served = bounded(net::accept(a));
      CHECK(net::remote_addr(client) == net::addr(a));
      CHECK(net::remote_addr(served).string() == file + "2");
      CHECK(net::remote_addr(served) == net::local_addr(client));
      CHECK(net::try_accept(other).error == net::would_block);
      net::close(a);
      CHECK_FALSE(exists(name));
      ::unlink((name + "2").c_str());
    }
  }
}

TEST_CASE("the empty abstract name is a name") {
  const auto [a, err] = net::listen("unix", "@");
  if (err == std::errc::address_in_use) {
    MESSAGE("skipped: somebody has it");
    return;
  }
  net::must(err);
  net::set_deadline(a, generous);
  CHECK(net::addr(a).string() == "@");
  CHECK_FALSE(net::addr(a).unnamed());
  CHECK(net::listen("unix", "@").error == std::errc::address_in_use);
  const net::Conn client = bounded(net::dial("unix", "@"));
  CHECK_FALSE(net::remote_addr(client).unnamed());
  CHECK(net::local_addr(client).unnamed());
  CHECK(net::local_addr(client).path().empty());
  const net::Conn served = bounded(net::accept(a));
  CHECK(net::remote_addr(served).string() == net::local_addr(client).string());
  net::must(net::write(client, "x"));
  CHECK(read_text(served) == "x");
}

TEST_CASE("closing a unixgram socket leaves its file" *
          description("behaviour 58, 60")) {
  const support::Directory dir;
  const std::string path = dir.path + "/a";
  {
    const net::PacketConn a = server(path);
    CHECK(net::listen_packet("unixgram", path).error ==
          std::errc::address_in_use);
    net::close(a);
    CHECK(exists(path));
  }
  CHECK(exists(path));
  CHECK(net::dial("unixgram", path).error == std::errc::connection_refused);
  CHECK(net::listen_packet("unixgram", path).error ==
        std::errc::address_in_use);
  ::unlink(path.c_str());
  CHECK_FALSE(net::listen_packet("unixgram", path).error);
}

TEST_CASE("write_to is refused on a socket that has its one peer" *
          description("behaviour 48, 49, 65")) {
  const net::PacketConn a = server();
  const net::Conn dialled = client_of(a);
  const net::PacketConn b =
      bounded(net::packet_conn_from(net::must(net::duplicate(dialled))));
  const auto [n, err] = net::write_to(b, "x", net::local_addr(a));
  CHECK(n == 0);
  CHECK(err == net::write_to_connected);
  CHECK(err.message() == "write unixgram @->" + net::local_addr(a).string() +
                             ": use of WriteTo with pre-connected connection");
  CHECK_FALSE(net::remote_addr(a));
}

TEST_CASE("an address of another network is refused" *
          description("behaviour 65")) {
  const net::PacketConn a = server();
  const net::PacketConn b = server();
  const net::Addr stream("unix", net::local_addr(b).string());
  const auto [n, err] = net::write_to(a, "x", stream);
  CHECK(n == 0);
  CHECK(err == std::errc::address_family_not_supported);
  const net::Addr udp("udp", net::must(net::parse_ip("127.0.0.1")), 9);
  CHECK(net::write_to(a, "x", udp).error);
  CHECK(net::write_to(a, "x", net::Addr()).error == net::missing_address);
  CHECK(net::write_to(a, "x", net::Addr("unixgram", "")).error);
}

TEST_CASE("a receiver that has gone: ECONNREFUSED, then ENOTCONN" *
          description("behaviour 66")) {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  const std::string ends = "write unixgram @->" + net::local_addr(a).string();
  net::close(a);
  const auto [n, first] = net::write(b, "x");
  CHECK(n == 0);
  CHECK(first.message() == ends + ": write: connection refused");
  CHECK(net::write(b, "x").error.message() ==
        ends + ": write: transport endpoint is not connected");
}

TEST_CASE("a unix datagram that is too long is refused and not split") {
  const net::PacketConn a = server();
  const net::Conn b = client_of(a);
  const auto [n, err] = net::write(b, std::string(8 << 20, 'x'));
  CHECK(n == 0);
  CHECK(err == std::errc::message_size);
  net::must(net::write(b, "next"));
  CHECK(text_of(a) == "next");
}

TEST_CASE("deadline and close end a blocked read of datagrams" *
          description("behaviour 30, 39")) {
  const net::PacketConn a = server();
  const std::string start = "read unixgram " + net::local_addr(a).string();
  const support::Stopwatch watch;
  net::set_read_deadline(a, 50ms);
  CHECK(receive(a).err.message() == start + ": i/o timeout");
  CHECK(watch.elapsed() >= 50ms);
  net::set_read_deadline(a, generous);

  support::Blocked waiting([&] { return receive(a).err; });
  CHECK_FALSE(waiting.done());
  CHECK_FALSE(net::close(a));
  CHECK(waiting.get().message() ==
        start + ": use of closed network connection");
}

namespace {

std::chrono::nanoseconds thread_time() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) +
         std::chrono::nanoseconds(used.tv_nsec);
}

// Sends numbers until nothing more fits, and says how many did.
template <class Send>
int fill(const net::Socket& sender, Send send) {
  const auto limit = 300ms;
  const support::Stopwatch watch;
  net::set_write_deadline(sender, limit);
  const auto used_before = thread_time();
  int sent = 0;
  for (;; ++sent) {
    const auto [n, err] = send(std::to_string(sent));
    if (!err) continue;
    CHECK(err == net::timed_out);
    CHECK(n == 0);
    break;
  }
  const auto used = thread_time() - used_before;
  CHECK(watch.elapsed() >= limit);
  CHECK(used < limit / 3);
  net::set_write_deadline(sender, generous);
  return sent;
}

}  // namespace

// https://github.com/shadow/shadow/issues/2125
// https://github.com/bnoordhuis/node-unix-dgram/issues/39
// https://github.com/tokio-rs/tokio/issues/779
TEST_CASE("a sender waits for a queue that is full, and does not spin" *
          description("behaviour 67; bug-case 65")) {
  const net::PacketConn a = server();
  const net::Addr to = net::local_addr(a);
  net::Conn dialled;
  net::PacketConn other;
  SUBCASE("dialled") { dialled = client_of(a); }
  // Linux calls such a socket writable all the same.
  SUBCASE("not dialled") { other = server(); }
  const net::Socket& sender = dialled ? net::Socket(dialled) : other;
  const auto send = [&](const std::string& text) {
    return dialled ? net::write(dialled, text) : net::write_to(other, text, to);
  };

  const int sent = fill(sender, send);
  CHECK(sent > 0);
  support::Blocked one_more([&] { return send("one more").error; });
  CHECK_FALSE(one_more.done());
  for (int i = 0; i < sent; ++i) CHECK(text_of(a) == std::to_string(i));
  CHECK_FALSE(one_more.get());
  CHECK(text_of(a) == "one more");
  char buffer[16];
  CHECK(net::try_read_from(a, buffer).error == net::would_block);

  // Close wakes one that waits.
  fill(sender, send);
  support::Blocked waiting([&] { return send("never").error; });
  net::close(sender);
  CHECK(waiting.get() == net::closed);
}

TEST_CASE("programs that we did not write exchange unix datagrams with us") {
  const support::Directory dir;
  const net::PacketConn a = server(dir.path + "/a");
  SUBCASE("socat asks") {
    if (!support::Program::installed("socat")) return;
    support::Program socat(
        {"socat", "-",
         "UNIX-SENDTO:" + dir.path + "/a,bind=" + dir.path + "/socat"});
    socat.say("ping\n");
    const Datagram got = receive(a);
    CHECK(got.text == "ping\n");
    CHECK(got.from.string() == dir.path + "/socat");
    net::must(net::write_to(a, "pong\n", got.from));
    CHECK(socat.line() == "pong");
  }
  SUBCASE("Python answers, from an abstract name with NULs in it") {
    if (!support::Program::installed("python3")) return;
    const std::string name = dir.path + std::string("\0two\0", 5);
    support::Program python({"python3", "-c", R"(
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(b"\0" + sys.argv[1].encode() + b"\0two\0")
print("ready", flush=True)
text, client = s.recvfrom(99)
s.sendto(text[::-1], client)
s.recvfrom(99)
)",
                             dir.path});
    CHECK(python.line() == "ready");
    const net::Addr to("unixgram", "@" + name);
    net::must(net::write_to(a, "drawer", to));
    const Datagram got = receive(a);
    CHECK(got.text == "reward");
    CHECK(got.from == to);
    const net::Conn dialled = bounded(net::dial("unixgram", to.string()));
    CHECK(net::remote_addr(dialled) == to);
  }
}

// ---------------------------------------------------------------------------
// Names

TEST_CASE(
    "an abstract name has its exact length, no file, and ends with close" *
    description("behaviour 63")) {
  const std::string name = "@netlite-" + std::to_string(::getpid());
  const net::PacketConn a = server(name);
  CHECK(net::local_addr(a).string() == name);
  sockaddr_un found{};
  socklen_t size = sizeof found;
  REQUIRE(::getsockname(net::native_handle(a),
                        reinterpret_cast<sockaddr*>(&found), &size) == 0);
  CHECK(size == offsetof(sockaddr_un, sun_path) + name.size());
  CHECK(std::string_view(found.sun_path, name.size()) ==
        std::string(1, '\0') + name.substr(1));

  CHECK(net::listen_packet("unixgram", name).error ==
        std::errc::address_in_use);
  CHECK_FALSE(exists(name));
  // A trailing NUL would make another name.
  CHECK(net::dial("unixgram", name + '\0').error ==
        std::errc::connection_refused);
  CHECK_FALSE(net::dial("unixgram", name).error);
  net::close(a);
  CHECK(net::dial("unixgram", name).error == std::errc::connection_refused);
  CHECK_FALSE(net::listen_packet("unixgram", name).error);
}

TEST_CASE("without a name the system chooses an abstract one" *
          description("behaviour 63")) {
  const net::PacketConn a = server(), b = server();
  for (const net::PacketConn& each : {a, b}) {
    const std::string name = net::local_addr(each).string();
    CAPTURE(name);
    CHECK(name.size() == 6);
    CHECK(name[0] == '@');
    CHECK(name.find_first_not_of("0123456789abcdef", 1) == name.npos);
  }
  CHECK(net::local_addr(a) != net::local_addr(b));
}

// https://github.com/rust-lang/rust/pull/160416
// https://github.com/valkey-io/libvalkey/pull/327
// https://github.com/networkupstools/nut/issues/1390
// https://github.com/nodejs/node/issues/13670
// https://github.com/libuv/libuv/pull/1329
// https://github.com/BestImageViewer/geeqie/pull/1182
TEST_CASE("a path is taken whole or refused, never cut" *
          description("behaviour 64; bug-case 59")) {
  const support::Directory dir;
  const auto path_of = [&](std::size_t size) {
    return dir.path + "/" + std::string(size - dir.path.size() - 1, 'x');
  };
  const auto files = [&] {
    DIR* entries = ::opendir(dir.path.c_str());
    int count = -2;  // . and ..
    while (::readdir(entries)) ++count;
    ::closedir(entries);
    return count;
  };
  const net::PacketConn other = server();

  for (const std::size_t size : {20u, 106u, 107u}) {
    const std::string path = path_of(size);
    const net::PacketConn a = server(path);
    CHECK(net::local_addr(a).string() == path);
    CHECK(status_of(path).st_size == 0);
    net::must(net::write(client_of(a), "dialled"));
    CHECK(text_of(a) == "dialled");
    net::must(net::write_to(other, "sent", net::local_addr(a)));
    CHECK(text_of(a) == "sent");
    ::unlink(path.c_str());
  }
  std::vector<std::string> bad;
  for (const std::size_t size : {108u, 109u, 110u, 4096u, 1u << 20})
    bad.push_back(path_of(size));
  bad.push_back(dir.path + std::string("/a\0b", 4));
  bad.push_back(dir.path + std::string("/a\0", 3));
  for (const std::string& path : bad) {
    CAPTURE(path.size());
    const net::Addr to("unixgram", path);
    CHECK(net::listen_packet("unixgram", path).error ==
          std::errc::invalid_argument);
    CHECK(net::dial("unixgram", path).error == std::errc::invalid_argument);
    CHECK(net::write_to(other, "x", to).error == std::errc::invalid_argument);
    net::DialOptions options;
    options.local = to;
    CHECK(
        net::dial("unixgram", net::local_addr(other).string(), options).error ==
        std::errc::invalid_argument);
    CHECK(files() == 0);
  }

  const std::string name = "@" + dir.path + std::string(107, 'x');
  CHECK(net::local_addr(server(name.substr(0, 108))).string() ==
        name.substr(0, 108));
  CHECK(net::listen_packet("unixgram", name.substr(0, 109)).error ==
        std::errc::invalid_argument);
}

TEST_CASE("the shortest path is one byte, in this directory" *
          description("bug-case 59")) {
  const support::Directory dir;
  const Inside inside(dir);
  const net::PacketConn a = server("s");
  CHECK(net::local_addr(a).string() == "s");
  net::must(net::write(client_of(a), "x"));
  CHECK(text_of(a) == "x");
  CHECK(exists(dir.path + "/s"));
}

TEST_CASE("a peer's path of 108 bytes, without a NUL, is told whole" *
          description("bug-case 59")) {
  const support::Directory dir;
  const std::string longest =
      dir.path + "/" + std::string(107 - dir.path.size(), 'x');
  REQUIRE(longest.size() == 108);
  const net::PacketConn a = server();
  const net::PacketConn peer =
      bounded(net::packet_conn_from(plain_socket(SOCK_DGRAM, longest)));
  CHECK(net::local_addr(peer).string() == longest);
  net::must(net::write_to(peer, "x", net::local_addr(a)));
  const Datagram got = receive(a);
  CHECK(got.from.string() == longest);
  CHECK(net::write_to(a, "x", got.from).error == std::errc::invalid_argument);
}

// ---------------------------------------------------------------------------
// File modes, dead files

namespace {

struct Opened {
  net::Socket socket;
  net::Error err;
};

// Listens, whatever that means on this network.
Opened open_at(const std::string& network, const std::string& path,
               const net::ListenOptions& options) {
  if (network == "unixgram") {
    auto [packets, err] = net::listen_packet(network, path, options);
    return {packets, err};
  }
  auto [listener, err] = net::listen(network, path, options);
  return {listener, err};
}

constexpr const char* unix_networks[] = {"unix", "unixpacket", "unixgram"};

int type_of(const std::string& network) {
  return network == "unix"       ? SOCK_STREAM
         : network == "unixgram" ? SOCK_DGRAM
                                 : SOCK_SEQPACKET;
}

}  // namespace

TEST_CASE("the mode of a socket's file is as umask says" *
          description("behaviour 61")) {
  const support::Directory dir;
  const std::string path = dir.path + "/a";
  for (const mode_t mask : {0u, 022u, 077u, 0777u}) {
    const Umask umask(mask);
    const net::PacketConn a = server(path);
    CHECK(mode_of(path) == (0777 & ~static_cast<int>(mask)));
    ::unlink(path.c_str());
  }
}

TEST_CASE("a mode that was asked for is kept, and at no time exceeded") {
  const support::Directory dir;
  for (const mode_t mask : {0u, 022u, 077u, 0777u}) {
    const Umask umask(mask);
    for (const int mode : {0, 0600, 0660, 0666, 0777})
      for (const std::string network : unix_networks) {
        INFO(network << ", mode " << mode << ", umask " << mask);
        const std::string path = dir.path + "/" + network;
        net::ListenOptions options;
        options.mode = mode;
        mode_at_birth = -1;
        const Opened opened = open_at(network, path, options);
        CHECK_FALSE(opened.err);
        REQUIRE(mode_at_birth >= 0);
        CHECK((mode_at_birth & ~mode) == 0);
        CHECK(mode_of(path) == mode);
        net::close(opened.socket);
        ::unlink(path.c_str());
      }
  }
}

TEST_CASE("a mode means nothing to an abstract name") {
  net::ListenOptions options;
  options.mode = 0600;
  CHECK_FALSE(net::listen("unix", "", options).error);
  CHECK_FALSE(net::listen_packet("unixgram", "", options).error);
}

TEST_CASE("others are kept out by the mode") {
  if (!can_become_stranger()) {
    MESSAGE("skipped: cannot become somebody else here");
    return;
  }
  const support::Directory dir;
  REQUIRE(::chmod(dir.path.c_str(), 0755) == 0);
  const std::string path = dir.path + "/a";
  const auto stranger = [&] {
    return support::in_child([&] {
      become_stranger();
      return net::dial("unix", path).error.code().value();
    });
  };
  net::ListenOptions options;
  options.mode = 0600;
  const net::Listener a = bounded(net::listen("unix", path, options));
  CHECK(stranger() == EACCES);
  net::close(a);
  options.mode = 0666;
  const net::Listener b = bounded(net::listen("unix", path, options));
  CHECK(stranger() == 0);
}

TEST_CASE("a dead socket's file is replaced when that was asked for") {
  const support::Directory dir;
  net::ListenOptions replace;
  replace.replace_stale = true;
  replace.mode = 0640;
  for (const std::string network : unix_networks) {
    CAPTURE(network);
    const std::string path = dir.path + "/" + network;
    leave_dead_socket(path, type_of(network));
    const ino_t dead = status_of(path).st_ino;
    CHECK(open_at(network, path, {}).err == std::errc::address_in_use);
    CHECK(status_of(path).st_ino == dead);

    const Umask umask(0);
    mode_at_birth = -1;
    const Opened opened = open_at(network, path, replace);
    CHECK_FALSE(opened.err);
    CHECK(mode_of(path) == 0640);
    CHECK((mode_at_birth & ~0640) == 0);
    CHECK_FALSE(net::dial(network, path).error);
    // Once more: it lives.
    CHECK(open_at(network, path, replace).err == std::errc::address_in_use);
    CHECK_FALSE(net::dial(network, path).error);
    net::close(opened.socket);
    CHECK(exists(path) == (network == "unixgram"));
  }
  // Where there is nothing to replace.
  CHECK_FALSE(net::listen("unix", dir.path + "/fresh", replace).error);
}

TEST_CASE("an abstract name replaces no file of that name") {
  const support::Directory dir;
  const Inside inside(dir);
  const std::string name = "@netlite-" + std::to_string(::getpid());
  leave_dead_socket(name);
  // Somebody has the name, but does not listen.
  const int taken = plain_socket(SOCK_STREAM, '\0' + name.substr(1));
  net::ListenOptions replace;
  replace.replace_stale = true;
  CHECK(net::listen("unix", name, replace).error == std::errc::address_in_use);
  CHECK(exists(name));
  ::close(taken);
}

TEST_CASE("nothing but a dead socket is replaced") {
  const support::Directory dir;
  const std::string path = dir.path + "/a";
  const std::string other = dir.path + "/b";
  net::ListenOptions replace;
  replace.replace_stale = true;
  const auto refused = [&] {
    for (const std::string network : unix_networks) {
      CAPTURE(network);
      const ino_t before = status_of(path).st_ino;
      const net::Error err = open_at(network, path, replace).err;
      CHECK(err == std::errc::address_in_use);
      CHECK(err.message() == "listen " + network + " " + path +
                                 ": bind: address already in use");
      CHECK(status_of(path).st_ino == before);
    }
  };
  SUBCASE("a file") {
    std::ofstream(path) << "precious";
    refused();
    std::ifstream file(path);
    std::string text;
    file >> text;
    CHECK(text == "precious");
  }
  SUBCASE("a directory") {
    REQUIRE(::mkdir(path.c_str(), 0755) == 0);
    refused();
  }
  SUBCASE("a symbolic link to a dead socket") {
    leave_dead_socket(other);
    REQUIRE(::symlink("b", path.c_str()) == 0);
    refused();
    CHECK(exists(other));
  }
  SUBCASE("a symbolic link to nothing") {
    REQUIRE(::symlink("nothing", path.c_str()) == 0);
    refused();
  }
  SUBCASE("a pipe") {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    refused();
  }
  SUBCASE("a living server") {
    const net::Listener living = bounded(net::listen("unix", path));
    refused();
    const net::Conn client = bounded(net::dial("unix", path));
    net::must(net::write(client, "are you there?"));
    net::close(client);
    // It may have seen probes come and go before.
    std::string text;
    while (text.empty())
      text = net::must(net::read_all(net::must(net::accept(living)), 100));
    CHECK(text == "are you there?");
  }
  SUBCASE("a living server whose queue is full") {
    net::ListenOptions small;
    small.backlog = 1;
    const net::Listener living = bounded(net::listen("unix", path, small));
    std::vector<net::Conn> queue;
    for (;;) {
      auto [conn, err] = net::dial_timeout("unix", path, 20ms);
      if (err) break;
      queue.push_back(conn);
    }
    refused();
    REQUIRE_FALSE(queue.empty());
    for (std::size_t i = 0; i < queue.size(); ++i)
      CHECK_FALSE(net::accept(living).error);
    CHECK(net::try_accept(living).error == net::would_block);
  }
  SUBCASE("a living receiver of datagrams") {
    const net::PacketConn living = server(path);
    refused();
    net::must(net::write(client_of(living), "hello"));
    CHECK(text_of(living) == "hello");
  }
  SUBCASE("a living unixpacket server") {
    const net::Listener living = bounded(net::listen("unixpacket", path));
    refused();
    CHECK_FALSE(net::dial("unixpacket", path).error);
  }
}

// https://github.com/golang/go/issues/17131
// https://github.com/golang/go/issues/11826
TEST_CASE("a listener finds its file again from another directory" *
          description("bug-case 62")) {
  const support::Directory dir;
  const net::Listener a = [&] {
    const Inside inside(dir);
    return bounded(net::listen("unix", "s"));
  }();
  CHECK(exists(dir.path + "/s"));
  CHECK_FALSE(net::close(a));
  CHECK_FALSE(exists(dir.path + "/s"));
}

// ---------------------------------------------------------------------------
// Descriptors that travel

namespace {

// Both ends of a connection, with deadlines.
struct Ends {
  net::Conn a;
  net::Conn b;
};

Ends stream() {
  const net::Pipe pipe = net::pipe();
  net::must(pipe.error);
  net::set_deadline(pipe.first, generous);
  net::set_deadline(pipe.second, generous);
  return {pipe.first, pipe.second};
}

Ends over(const std::string& network) {
  if (network == "pipe") return stream();
  if (network == "unixgram") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    return {bounded(net::conn_from(ends[0])), bounded(net::conn_from(ends[1]))};
  }
  const net::Listener listener = bounded(net::listen(network, ""));
  const net::Conn a = bounded(net::dial(network, net::addr(listener).string()));
  return {a, bounded(net::accept(listener))};
}

constexpr const char* carriers[] = {"pipe", "unix", "unixpacket", "unixgram"};

// sendmsg(2) of these bytes with these descriptors.
void send_raw(const net::Conn& conn, const std::string& bytes,
              const std::vector<int>& descriptors) {
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  const std::size_t size = descriptors.size() * sizeof(int);
  std::vector<char> room(CMSG_SPACE(size));
  if (size != 0) {
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);
  }
  REQUIRE(::sendmsg(net::native_handle(conn), &message, 0) ==
          static_cast<ssize_t>(bytes.size()));
}

// One end of a pair, which tells when the other end is closed everywhere.
struct Tracer {
  int watch;
  int travels;
  Tracer() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                         ends) == 0);
    watch = ends[0];
    travels = ends[1];
  }
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  ~Tracer() {
    ::close(watch);
    forget();
  }
  void forget() {
    if (travels >= 0) ::close(std::exchange(travels, -1));
  }
  bool released() {
    forget();
    char byte;
    return ::read(watch, &byte, 1) == 0;
  }
};

bool close_on_exec(int fd) { return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }

}  // namespace

TEST_CASE("a file travels: the receiver reads what the sender had opened") {
  const support::Directory dir;
  const std::string path = dir.path + "/file";
  std::ofstream(path) << "what the file says";
  for (const std::string network : carriers) {
    CAPTURE(network);
    const Ends ends = over(network);
    const int file = ::open(path.c_str(), O_RDONLY);
    CHECK_FALSE(net::send_descriptor(ends.a, file));
    ::close(file);
    const auto [received, err] = net::receive_descriptor(ends.b);
    CHECK_FALSE(err);
    REQUIRE(received >= 0);
    CHECK(close_on_exec(received));
    char text[100];
    const auto n = ::read(received, text, sizeof text);
    CHECK(std::string(text, std::size_t(n)) == "what the file says");
    ::close(received);
  }
}

TEST_CASE("a connection travels, and works at the other end") {
  const Ends ends = stream();
  support::Connected tcp;
  net::set_deadline(tcp.client, generous);
  const std::string names = net::local_addr(tcp.server).string();
  const int copy = net::must(net::duplicate(tcp.server));
  net::must(net::send_descriptor(ends.a, copy));
  ::close(copy);
  net::close(tcp.server);

  const net::Conn arrived =
      bounded(net::conn_from(net::must(net::receive_descriptor(ends.b))));
  CHECK(net::local_addr(arrived).string() == names);
  CHECK(net::remote_addr(arrived) == net::local_addr(tcp.client));
  net::must(net::write(tcp.client, "ping"));
  CHECK(read_text(arrived) == "ping");
  net::must(net::write(arrived, "pong"));
  CHECK(read_text(tcp.client) == "pong");
  net::close(arrived);
  CHECK(net::read_all(tcp.client, 1).value.empty());
}

TEST_CASE("a listener travels to another process, which serves") {
  const Ends ends = stream();
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    const auto [fd, err] = net::receive_descriptor(ends.b);
    if (err || !close_on_exec(fd)) ::_exit(1);
    const auto [listener, bad] = net::listener_from(fd);
    if (bad) ::_exit(2);
    const auto [conn, failed] = net::accept(listener);
    if (failed || net::write(conn, "I serve").error) ::_exit(3);
    ::_exit(0);
  }
  {
    // Made after the fork: the child has it from us, or not at all.
    const net::Listener listener = bounded(net::listen("tcp", "127.0.0.1:0"));
    net::must(net::send_descriptor(ends.a, net::native_handle(listener)));
    const net::Conn client =
        bounded(net::dial("tcp", net::addr(listener).string()));
    net::close(listener);
    CHECK(net::must(net::read_all(client, 100)) == "I serve");
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

// https://github.com/golang/go/issues/13877
TEST_CASE("a unix listener's file outlives the process that hands it on" *
          description("behaviour 57")) {
  const support::Directory dir;
  for (const char* network : {"unix", "unixpacket"}) {
    CAPTURE(network);
    const std::string path = dir.path + "/s";
    const net::Listener old = bounded(net::listen(network, path));
    const net::Listener next =
        bounded(net::listener_from(net::must(net::duplicate(old))));
    CHECK_FALSE(net::set_unlink_on_close(old, false));
    net::must(net::close(old));
    CHECK(exists(path));
    CHECK_FALSE(net::dial(network, path).error);
    SUBCASE("the next one leaves it") {
      net::must(net::close(next));
      CHECK(exists(path));
      ::unlink(path.c_str());
    }
    SUBCASE("the next one removes it when it is told to") {
      CHECK_FALSE(net::set_unlink_on_close(next, true));
      net::must(net::close(next));
      CHECK_FALSE(exists(path));
    }
    SUBCASE("nobody else's, though") {
      CHECK_FALSE(net::set_unlink_on_close(next, true));
      ::unlink(path.c_str());
      const net::Listener fresh = bounded(net::listen(network, path));
      CHECK_FALSE(net::set_unlink_on_close(next, true));
      net::must(net::close(next));
      CHECK(exists(path));
      net::must(net::close(fresh));
      CHECK_FALSE(exists(path));
    }
    CHECK(net::set_unlink_on_close(next, true) == net::closed);
  }
  const net::Listener tcp = bounded(net::listen("tcp", "127.0.0.1:0"));
  CHECK(net::set_unlink_on_close(tcp, false) == net::unexpected_address_type);
  CHECK(net::set_unlink_on_close(net::Listener(), false) == net::closed);
}

// Whoever comes first; the thread sanitizer looks on.
TEST_CASE("one thread may say whose the file is while another one closes") {
  const support::Directory dir;
  const std::string path = dir.path + "/s.sock";
  for (int round = 0; round < 100; ++round) {
    const net::Listener listener = bounded(net::listen("unix", path));
    std::atomic<bool> begun{false};
    support::Thread other([&] {
      for (bool on = false; !net::set_unlink_on_close(listener, on); on = !on)
        begun = true;
    });
    while (!begun) std::this_thread::yield();
    net::must(net::close(listener));
    ::unlink(path.c_str());
  }
}

TEST_CASE("more descriptors than one: the first is given, none is leaked") {
  const Ends ends = stream();
  const auto before = support::descriptors();
  for (const std::size_t many : {2u, 3u, 253u}) {
    Tracer first, others;
    std::vector<int> all(many, others.travels);
    all[0] = first.travels;
    send_raw(ends.a, "x", all);
    const auto [received, err] = net::receive_descriptor(ends.b);
    CHECK(err == net::truncated);
    REQUIRE(received >= 0);
    CHECK(close_on_exec(received));
    CHECK(others.released());
    CHECK_FALSE(first.released());
    ::close(received);
    CHECK(first.released());
  }
  CHECK(support::descriptors() == before);
}

TEST_CASE("a byte that carries nothing is told") {
  const Ends ends = stream();
  net::must(net::write(ends.a, "x"));
  net::must(net::send_descriptor(ends.a, 0));
  const auto [none, err] = net::receive_descriptor(ends.b);
  CHECK(none == -1);
  CHECK(err == net::no_descriptor);
  CHECK(err.message() == "read pipe pipe->pipe: no descriptor in the message");
  const int next = net::must(net::receive_descriptor(ends.b));
  CHECK(next >= 0);
  ::close(next);
}

TEST_CASE("receive_descriptor tells end, time-out and close apart") {
  Ends ends = stream();
  const support::Stopwatch watch;
  net::set_read_deadline(ends.b, 50ms);
  CHECK(net::receive_descriptor(ends.b).error == net::timed_out);
  CHECK(watch.elapsed() >= 50ms);
  // A descriptor that waits is kept.
  Tracer tracer;
  net::must(net::send_descriptor(ends.a, tracer.travels));
  CHECK(net::receive_descriptor(ends.b).error == net::timed_out);
  net::set_read_deadline(ends.b, generous);
  ::close(net::must(net::receive_descriptor(ends.b)));
  CHECK(tracer.released());

  net::close(ends.a);
  CHECK(net::receive_descriptor(ends.b).value == -1);
  CHECK(net::receive_descriptor(ends.b).error == net::eof);

  ends = stream();
  support::Blocked waiting([&] { return net::receive_descriptor(ends.b); });
  CHECK_FALSE(waiting.done());
  net::close(ends.b);
  CHECK(waiting.get().error == net::closed);
  CHECK(net::receive_descriptor(ends.b).error == net::closed);
  CHECK(net::send_descriptor(ends.b, 0) == net::closed);
  CHECK(net::send_descriptor(ends.a, 0) == std::errc::broken_pipe);
}

TEST_CASE("a descriptor that waits is released with its connection") {
  Tracer tracer;
  {
    const Ends ends = stream();
    net::must(net::send_descriptor(ends.a, tracer.travels));
    CHECK_FALSE(tracer.released());
  }
  CHECK(tracer.released());
}

TEST_CASE("send_descriptor waits for room, with its deadline") {
  const Ends ends = stream();
  std::size_t n = 0;
  for (const std::string& bytes :
       {std::string(1 << 20, 'x'), std::string("x")}) {
    net::set_write_deadline(ends.a, 50ms);
    net::Error err;
    while (!err) {
      const auto [sent, why] = net::write(ends.a, bytes);
      n += sent;
      err = why;
    }
    CHECK(err == net::timed_out);
  }
  const support::Stopwatch watch;
  net::set_write_deadline(ends.a, 50ms);
  CHECK(net::send_descriptor(ends.a, 0) == net::timed_out);
  CHECK(watch.elapsed() >= 50ms);

  net::set_write_deadline(ends.a, generous);
  support::Blocked waiting([&] { return net::send_descriptor(ends.a, 0); });
  CHECK_FALSE(waiting.done());
  std::string read(n, '\0');
  CHECK(net::must(net::read_full(ends.b, read)) == n);
  CHECK_FALSE(waiting.get());
  ::close(net::must(net::receive_descriptor(ends.b)));
}

TEST_CASE("bytes before and after a descriptor keep their order") {
  const Ends ends = stream();
  net::must(net::write(ends.a, "before"));
  net::must(net::send_descriptor(ends.a, 0));
  net::must(net::write(ends.a, "after"));
  char before[6];
  net::must(net::read_full(ends.b, before));
  CHECK(std::string(before, 6) == "before");
  const int received = net::must(net::receive_descriptor(ends.b));
  CHECK(received > 0);
  ::close(received);
  CHECK(read_text(ends.b) == "after");

  // The carrier may be one of many bytes; the others stay.
  send_raw(ends.a, "Xtail", {0});
  ::close(net::must(net::receive_descriptor(ends.b)));
  CHECK(read_text(ends.b) == "tail");
}

TEST_CASE("read drops a descriptor, and does not leak it") {
  for (const std::string network : carriers) {
    CAPTURE(network);
    const Ends ends = over(network);
    const auto before = support::descriptors();
    Tracer tracer;
    net::must(net::send_descriptor(ends.a, tracer.travels));
    CHECK(read_text(ends.b).size() == 1);
    CHECK(tracer.released());
    CHECK(support::descriptors() == before + 1);  // tracer.watch
  }
}

TEST_CASE("an empty message with a descriptor is no end and no leak") {
  for (const std::string network : {"unixgram", "unixpacket"}) {
    CAPTURE(network);
    const Ends ends = over(network);
    const auto before = support::descriptors();
    Tracer tracer;
    send_raw(ends.a, "", {tracer.travels});
    const auto [received, err] = net::receive_descriptor(ends.b);
    if (received >= 0) {
      CHECK_FALSE(err);
      ::close(received);
    }
    CHECK(tracer.released());
    CHECK(support::descriptors() == before + 1);  // tracer.watch
  }
  const Ends ends = over("unixgram");
  net::must(net::write(ends.a, ""));
  CHECK(net::receive_descriptor(ends.b).error == net::no_descriptor);
}

TEST_CASE("of a message that is longer than its carrier, the cut is told") {
  for (const std::string network : {"unixgram", "unixpacket"}) {
    CAPTURE(network);
    const Ends ends = over(network);
    send_raw(ends.a, "and a long text", {0});
    const auto [received, err] = net::receive_descriptor(ends.b);
    CHECK(err == net::truncated);
    if (received >= 0) ::close(received);
  }
}

TEST_CASE("a descriptor for which there is no room is not called absent") {
  const Ends ends = stream();
  net::must(net::send_descriptor(ends.a, 0));
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const int lowest = ::dup(0);
  ::close(lowest);
  rlimit none_free = limit;
  none_free.rlim_cur = static_cast<rlim_t>(lowest);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none_free) == 0);
  const auto [received, err] = net::receive_descriptor(ends.b);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(received == -1);
  CHECK(err);
  CHECK(err != net::no_descriptor);
  CHECK(err == net::truncated);
}

TEST_CASE("what is no descriptor is not sent") {
  const Ends ends = stream();
  for (const int bad : {-1, 1000000, INT_MIN}) {
    const net::Error err = net::send_descriptor(ends.a, bad);
    CHECK(err == std::errc::bad_file_descriptor);
    CHECK(err.message() ==
          "write pipe pipe->pipe: sendmsg: bad file descriptor");
  }
  net::must(net::write(ends.a, "nothing came before"));
  CHECK(read_text(ends.b) == "nothing came before");
  CHECK(net::send_descriptor(net::Conn(), 0) == net::closed);
  CHECK(net::receive_descriptor(net::Conn()).error == net::closed);
  CHECK(net::receive_descriptor(net::Conn()).value == -1);
}

TEST_CASE("descriptors do not travel over TCP or UDP") {
  const support::Connected tcp;
  net::set_deadline(tcp.client, generous);
  net::set_deadline(tcp.server, 1s);
  CHECK(net::send_descriptor(tcp.client, 0) == net::unexpected_address_type);
  net::must(net::write(tcp.client, "kept"));
  const auto [none, err] = net::receive_descriptor(tcp.server);
  CHECK(none == -1);
  CHECK(err == net::unexpected_address_type);
  CHECK(read_text(tcp.server) == "kept");

  const auto udp = bounded(net::dial("udp", "127.0.0.1:9"));
  net::set_deadline(udp, 1s);
  CHECK(net::send_descriptor(udp, 0) == net::unexpected_address_type);
  CHECK(net::receive_descriptor(udp).error == net::unexpected_address_type);
}

TEST_CASE("Python and netlite pass descriptors to each other") {
  if (!support::Program::installed("python3")) return;
  const support::Directory dir;
  const net::Listener listener = bounded(net::listen("unix", dir.path + "/s"));
  support::Program python({"python3", "-c", R"(
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
text, (received,), flags, _ = socket.recv_fds(s, 1, 1)
print(os.read(received, 99).decode(), flush=True)
r, w = os.pipe()
os.write(w, b"from python")
socket.send_fds(s, [b"x"], [r])
s.recv(1)
)",
                           dir.path + "/s"});
  const net::Conn conn = bounded(net::accept(listener));
  const Tracer pipe;
  REQUIRE(::write(pipe.travels, "from netlite", 12) == 12);
  net::must(net::send_descriptor(conn, pipe.watch));
  CHECK(python.line() == "from netlite");
  const int received = net::must(net::receive_descriptor(conn));
  char text[100];
  const auto n = ::read(received, text, sizeof text);
  CHECK(std::string(text, std::size_t(n)) == "from python");
  ::close(received);
}

// https://github.com/romange/helio/pull/475
TEST_CASE("close_write ends a write that waits for room") {
  const std::string much(64 << 20, 'x');
  const auto ends_with_epipe = [](const net::Conn& conn, auto call) {
    support::Blocked blocked(call);
    CHECK_FALSE(blocked.done());
    CHECK_FALSE(net::close_write(conn));
    const net::Error err = blocked.get();
    CHECK(err == std::errc::broken_pipe);
  };
  for (const std::string network : {"pipe", "unix", "unixpacket", "unixgram"}) {
    CAPTURE(network);
    for (int call = 0; call < 5; ++call) {
      CAPTURE(call);
      const Ends ends = over(network);
      const net::Conn conn = ends.a;
      while (!net::try_write(conn, "x").error) continue;
      if (call == 0)
        ends_with_epipe(conn, [&] { return net::write(conn, "x").error; });
      if (call == 1)
        ends_with_epipe(conn, [&] {
          return net::write(conn, {"x", "y"}).error;
        });
      if (call == 2)
        ends_with_epipe(conn, [&] { return net::send_descriptor(conn, 0); });
      if (call == 3)
        ends_with_epipe(conn, [&] {
          const net::Error err = net::wait(conn, net::writable);
          return err ? err : net::try_write(conn, "x").error;
        });
      if (call == 4)
        ends_with_epipe(conn, [&] {
          const net::Error err = net::wait(conn, net::readable | net::writable);
          return err ? err : net::try_write(conn, "x").error;
        });
      CHECK(net::write(conn, "x").error == std::errc::broken_pipe);
      // The other direction works on.
      if (network == "unixgram") continue;
      net::must(net::write(ends.b, "y"));
      CHECK(read_text(conn) == "y");
    }
  }
  const support::Connected tcp;
  ends_with_epipe(tcp.client,
                  [&] { return net::write(tcp.client, much).error; });
  const Ends stream_ends = stream();
  ends_with_epipe(stream_ends.a,
                  [&] { return net::write(stream_ends.a, much).error; });
}

namespace {

// A control message that the kernel puts before those that were sent.
struct Extra {
  const char* name;
  int option;
};
constexpr int passes_pidfd = 76;  // SO_PASSPIDFD, newer than our headers
constexpr Extra extras[] = {{"credentials", SO_PASSCRED},
                            {"time", SO_TIMESTAMP},
                            {"nanoseconds", SO_TIMESTAMPNS},
                            {"security", SO_PASSSEC},
                            {"process", passes_pidfd}};

}  // namespace

// https://github.com/rhboot/pesign/issues/69
// https://github.com/google/gvisor/issues/14594
TEST_CASE("a descriptor arrives beside whatever else the receiver asked for") {
  for (const std::string network : carriers) {
    CAPTURE(network);
    // Each of them alone, and then all.
    for (std::size_t which = 0; which <= std::size(extras); ++which) {
      CAPTURE(which);
      const Ends ends = over(network);
      for (std::size_t i = 0; i < std::size(extras); ++i)
        if (i == which || which == std::size(extras))
          (void)net::set_option(ends.b, SOL_SOCKET, extras[i].option, 1);
      const auto before = support::descriptors();
      for (const std::size_t many : {1u, 2u, 253u}) {
        CAPTURE(many);
        Tracer first, others;
        std::vector<int> all(many, others.travels);
        all[0] = first.travels;
        send_raw(ends.a, "x", all);
        const auto [received, err] = net::receive_descriptor(ends.b);
        CHECK(err == (many == 1 ? net::Error() : net::Error(net::truncated)));
        REQUIRE(received >= 0);
        CHECK(close_on_exec(received));
        CHECK(others.released());
        CHECK_FALSE(first.released());
        ::close(received);
        CHECK(first.released());
      }
      net::must(net::write(ends.a, "x"));
      CHECK(net::receive_descriptor(ends.b).error == net::no_descriptor);
      net::must(net::send_descriptor(ends.a, 0));
      CHECK(read_text(ends.b).size() == 1);
      CHECK(support::descriptors() == before);
    }
  }
}

// ---------------------------------------------------------------------------
// Who is at the other end

TEST_CASE("peer_credentials names process, user and group of the other end") {
  const bool other = can_become_stranger();
  const unsigned uid = other ? stranger_uid : ::getuid();
  const unsigned gid = other ? stranger_gid : ::getgid();
  const unsigned my_uid = ::getuid();
  const pid_t me = ::getpid();
  for (const std::string network : {"unix", "unixpacket"}) {
    CAPTURE(network);
    const net::Listener listener = bounded(net::listen(network, ""));
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      if (other) become_stranger();
      const auto [conn, err] = net::dial(network, net::addr(listener).string());
      if (err) ::_exit(2);
      const auto [peer, bad] = net::peer_credentials(conn);
      if (bad || peer.pid != me || peer.uid != my_uid) ::_exit(3);
      char byte;
      ::_exit(net::read(conn, net::Buffer(&byte, 1)).error ? 4 : 0);
    }
    const net::Conn conn = bounded(net::accept(listener));
    const auto [peer, err] = net::peer_credentials(conn);
    CHECK_FALSE(err);
    CHECK(peer.pid == child);
    CHECK(peer.uid == uid);
    CHECK(peer.gid == gid);
    net::must(net::write(conn, "x"));
    int status = -1;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
    // As it was at connect time: the peer has gone.
    CHECK(net::must(net::peer_credentials(conn)).pid == child);
  }
  const Ends ends = stream();
  CHECK(net::must(net::peer_credentials(ends.a)).pid == me);
  CHECK(net::must(net::peer_credentials(ends.a)).gid == ::getgid());
}

// https://github.com/canonical/pebble/pull/7
TEST_CASE("a peer that we cannot see is no process 0") {
  const net::Listener listener = bounded(net::listen("unix", ""));
  // Process 1 of a namespace of its own: it cannot see us, who dial.
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(77);
    ::_exit(support::in_child([&] {
      const auto [conn, err] = net::accept(listener);
      if (err) return 1;
      const auto [peer, bad] = net::peer_credentials(conn);
      if (bad) return 2;
      if (peer.uid != ::getuid() || peer.gid != ::getgid()) return 3;
      return peer.pid == -1 ? 0 : 4;
    }));
  }
  const net::Conn conn =
      bounded(net::dial("unix", net::addr(listener).string()));
  int result = -1;
  ::waitpid(child, &result, 0);
  if (WEXITSTATUS(result) == 77) {
    MESSAGE("skipped: no namespace of its own here");
    return;
  }
  CHECK(result == 0);
  // What nobody has told is nobody's, and not root's.
  CHECK(net::Credentials().pid == -1);
  CHECK(net::Credentials().uid == ~0u);
  CHECK(net::Credentials().gid == ~0u);
}

TEST_CASE("peer_credentials makes nothing up") {
  const support::Connected tcp;
  CHECK(net::peer_credentials(tcp.server).error);
  const net::PacketConn a = server();
  CHECK(net::peer_credentials(client_of(a)).error);
  CHECK(net::peer_credentials(net::Conn()).error == net::closed);
  const Ends ends = stream();
  net::close(ends.a);
  const net::Error err = net::peer_credentials(ends.a).error;
  CHECK(err == net::closed);
  CHECK(err.op() == "get");
}
