// SPDX-License-Identifier: MIT
// No child program inherits a descriptor: not those of sockets, and not those
// that come, are copied or are opened for a moment. Where the system can, they
// are close-on-exec from birth: a thread may start a program at any time.

#include "netlite.hpp"

#include "inject.hpp"

#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using support::Connected;
using support::TimeLimit;

bool closes_on_exec(int fd) {
  const inject::Exempt own;
  return ::fcntl(fd, F_GETFD) == FD_CLOEXEC;
}

#ifdef NETLITE_PORTABLE
constexpr bool from_birth = false;
#else
constexpr bool from_birth = true;
#endif

// Was it born so, without a second call?
bool born_so() { return !from_birth || inject::count("fcntl") == 0; }

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "every socket is close-on-exec from birth") {
  const support::Directory dir;
  const auto check = [](const net::Socket& socket) {
    CHECK(closes_on_exec(net::native_handle(socket)));
  };
  const inject::Faults counting;
  for (const std::string network : {"tcp", "unix", "unixpacket"}) {
    CAPTURE(network);
    const Connected ends(
        network, network == "tcp" ? "127.0.0.1:0" : dir.path + "/" + network);
    check(ends.listener);
    check(ends.client);
    check(ends.server);
  }
  const net::Pipe pipe = net::pipe();
  check(pipe.first);
  check(pipe.second);
  check(net::must(net::listen_packet("udp", "127.0.0.1:0")));
  check(net::must(net::dial("udp", "127.0.0.1:9")));
  check(net::must(net::listen_packet("unixgram", dir.path + "/gram")));
  CHECK(born_so());
}

TEST_CASE_FIXTURE(TimeLimit, "a received descriptor is close-on-exec") {
  const net::Pipe ends = net::pipe();
  net::must(net::send_descriptor(ends.first, 0));
  const inject::Faults counting;
  const int fd = net::must(net::receive_descriptor(ends.second));
  CHECK(closes_on_exec(fd));
#ifndef NETLITE_PORTABLE
  CHECK((inject::noted("recvmsg")[0] & MSG_CMSG_CLOEXEC) != 0);
#endif
  ::close(fd);
}

TEST_CASE_FIXTURE(TimeLimit, "a duplicate is close-on-exec from birth") {
  const Connected ends;
  const net::Socket sockets[] = {ends.listener, ends.client};
  for (const net::Socket& socket : sockets) {
    const inject::Faults counting;
    const int fd = net::must(net::duplicate(socket));
    CHECK(closes_on_exec(fd));
    CHECK(inject::noted("fcntl") == std::vector<long>{F_DUPFD_CLOEXEC});
    ::close(fd);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "the file of send_file is close-on-exec, too") {
  const support::Directory dir;
  const std::string path = dir.path + "/file";
  std::ofstream(path) << "text";
  const net::Pipe ends = net::pipe();
  const inject::Faults counting;
  CHECK(net::must(net::send_file(ends.first, path)) == 4);
  CHECK((inject::noted("open")[0] & O_CLOEXEC) != 0);
  CHECK(inject::count("close") == 1);
}
