// SPDX-License-Identifier: MIT
// Another system, as far as this one can play it: the macros by which the
// header knows Linux and its options are taken away before it is included, and
// calls fail as they do there. This program has a main function of its own: no
// other file must see the header like this.

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

// All that the header and the tests include, while Linux is still Linux.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "inject.hpp"

// What only Linux has, and what an older or smaller system lacks.
#undef __linux__
#undef EAI_NODATA
#undef MCAST_JOIN_GROUP
#undef MSG_NOSIGNAL
#undef O_LARGEFILE
#undef TCP_KEEPCNT
#undef TCP_KEEPIDLE
#undef TCP_KEEPINTVL
#undef __USE_LARGEFILE64

// What macOS has, with numbers that mean nothing here.
#define LOCAL_PEERPID 2
#define SO_NOSIGPIPE 0x1022
inline int getpeereid(int fd, uid_t* uid, gid_t* gid) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const int result = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  *uid = peer.uid;
  *gid = peer.gid;
  return result;
}

inline pid_t peer_pid = -1;  // -1: the option is unknown
inline int getsockopt_of_macos(int fd, int level, int name, void* value,
                               socklen_t* size) {
  if (level != 0 || name != LOCAL_PEERPID)
    return ::getsockopt(fd, level, name, value, size);
  if (peer_pid < 0) return errno = ENOPROTOOPT, -1;
  std::memcpy(value, &peer_pid, sizeof peer_pid);
  return 0;
}

#define getsockopt getsockopt_of_macos
#include "netlite.hpp"
#undef getsockopt

#include "../support.hpp"

namespace {

using support::Connected;
using support::TimeLimit;

bool carries(const net::Conn& from, const net::Conn& to) {
  char buffer[8];
  return !net::write(from, "hello").error &&
         net::must(net::read(to, buffer)) == 5;
}

constexpr auto not_there = std::errc::no_protocol_option;

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "connections carry bytes elsewhere, too") {
  const support::Directory dir;
  for (const std::string network : {"tcp", "unix", "unixpacket"}) {
    CAPTURE(network);
    const Connected ends(network,
                         network == "tcp" ? "127.0.0.1:0" : dir.path + "/s");
    CHECK(carries(ends.client, ends.server));
    CHECK(carries(ends.server, ends.client));
  }
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  net::must(net::write_to(packets, "hello", net::local_addr(packets)));
  char buffer[3];
  const auto [n, from, err] = net::read_from(packets, buffer);
  CHECK(err == net::truncated);
  CHECK(from == net::local_addr(packets));
}

TEST_CASE_FIXTURE(TimeLimit, "an option that is missing says so") {
  const Connected ends;
  CHECK(net::set_keep_alive(ends.client, 9s, 3s, 2) == not_there);
  CHECK(net::set_keep_alive(ends.client, 9s, 3s) == not_there);
  CHECK_FALSE(net::set_keep_alive(ends.client, 0s, 0s));
  const auto packets = net::must(net::listen_packet("udp4", "127.0.0.1:0"));
  const auto group = net::must(net::parse_ip("224.0.0.251"));
  CHECK(net::join_group(packets, group) == not_there);
  CHECK(net::leave_group(packets, group, "lo") == not_there);
}

TEST_CASE_FIXTURE(TimeLimit, "each socket is told to raise no SIGPIPE") {
  const auto told = [] {
    int times = 0;
    for (const long name : inject::noted("setsockopt"))
      times += name == SO_NOSIGPIPE;
    return times;
  };
  const inject::Faults counting;
  const Connected ends;
  CHECK(told() == 3);
  const net::Pipe pipe = net::pipe();
  CHECK(told() == 5);
}

// macOS says EINVAL to fcntl(2) about a client that has left already.
TEST_CASE_FIXTURE(TimeLimit, "a client that left before its flags costs one") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  const auto gone = net::must(net::dial("tcp", address));
  const auto there = net::must(net::dial("tcp", address));
  const inject::Faults faults({{"fcntl", 0, EINVAL}});
  const auto conn = net::must(net::accept(listener));
  CHECK(net::remote_addr(conn) == net::local_addr(there));
  CHECK(inject::count("close") == 1);
}

// macOS refuses in the name of a living server whose queue is full.
TEST_CASE_FIXTURE(TimeLimit, "a server that refuses at times is not replaced") {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  const auto living = net::must(net::listen("unix", path));
  net::ListenOptions options;
  options.replace_stale = true;
  for (const int refusals : {0, 1, 2}) {
    const inject::Faults faults({{"connect", 0, ECONNREFUSED, refusals}});
    CHECK(net::listen("unix", path, options).error ==
          std::errc::address_in_use);
    CHECK(inject::count("unlink") == 0);
  }
  CHECK_FALSE(net::dial("unix", path).error);
  net::must(net::set_unlink_on_close(living, false));
  net::close(living);
  CHECK_FALSE(net::listen("unix", path, options).error);
}

// A full unixgram queue is ENOBUFS there.
TEST_CASE_FIXTURE(TimeLimit, "ENOBUFS means later, to a write and to a try") {
  const support::Directory dir;
  const auto packets =
      net::must(net::listen_packet("unixgram", dir.path + "/s"));
  const auto conn = net::must(net::dial("unixgram", dir.path + "/s"));
  {
    const inject::Faults faults({{"send", 0, ENOBUFS, 3}});
    CHECK(net::must(net::write(conn, "hello")) == 5);
    CHECK(inject::count("send") == 4);
  }
  const inject::Faults faults({{"send", 0, ENOBUFS}, {"sendto", 0, ENOBUFS}});
  CHECK(net::try_write(conn, "hello").error == net::would_block);
  CHECK(net::try_write_to(packets, "hello", net::local_addr(packets)).error ==
        net::would_block);
}

TEST_CASE_FIXTURE(TimeLimit, "who calls is told as far as it is known") {
  const net::Pipe ends = net::pipe();
  for (const pid_t pid : {4711, 0, -1}) {
    peer_pid = pid;
    const auto peer = net::must(net::peer_credentials(ends.first));
    CHECK(peer.uid == ::getuid());
    CHECK(peer.gid == ::getgid());
    CHECK(peer.pid == (pid > 0 ? pid : -1));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a name without addresses is no name") {
  const inject::Faults faults({{"getaddrinfo", 0, EAI_NONAME}});
  CHECK(net::lookup_host("one.test").error == net::no_such_host);
}
