// The yardstick: bare blocking BSD sockets, and bare epoll for many. Where the
// environment has BENCH_KEEPALIVE, TCP connections get the keep-alive probes
// that netlite and Go give them; with BENCH_POLL, reads wait in poll as those
// of netlite do, which watches a wake-up descriptor as well.
// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "work.hpp"

namespace {

struct Address {
  union {
    sockaddr any;
    sockaddr_in in;
    sockaddr_un un;
  };
  socklen_t size;
};

int must(ssize_t result, const char* call) {
  if (result >= 0) return static_cast<int>(result);
  std::perror(call);
  std::_Exit(1);
}

Address parse(const std::string& text) {
  Address address{};
  if (text[0] == '/') {
    address.un.sun_family = AF_UNIX;
    std::strncpy(address.un.sun_path, text.c_str(),
                 sizeof address.un.sun_path - 1);
    address.size = sizeof address.un;
    return address;
  }
  const std::size_t colon = text.find(':');
  address.in.sin_family = AF_INET;
  ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.in.sin_addr);
  address.in.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
  address.size = sizeof address.in;
  return address;
}

int open_socket(const Address& address, int type) {
  return must(::socket(address.any.sa_family, type | SOCK_CLOEXEC, 0),
              "socket");
}

void set(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof value);
}

// What is accepted inherits these.
void set_tcp_options(int fd) {
  static const bool keep_alive = std::getenv("BENCH_KEEPALIVE");
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (!keep_alive) return;
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
}

struct Raw {
  using Conn = const int;

  static int listen(const std::string& network, const std::string& text) {
    const Address address = parse(text);
    const int fd = open_socket(address, SOCK_STREAM);
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    must(::bind(fd, &address.any, address.size), "bind");
    must(::listen(fd, 65535), "listen");
    if (network == "tcp") set_tcp_options(fd);
    return fd;
  }
  static std::string address(int fd) {
    Address address{};
    address.size = sizeof address.un;
    must(::getsockname(fd, &address.any, &address.size), "getsockname");
    if (address.any.sa_family == AF_UNIX) return address.un.sun_path;
    return "127.0.0.1:" + std::to_string(ntohs(address.in.sin_port));
  }
  static int accept(int listener, int flags = SOCK_CLOEXEC) {
    return must(::accept4(listener, nullptr, nullptr, flags), "accept");
  }
  static int dial(const std::string& network, const std::string& text) {
    const Address address = parse(text);
    const int fd =
        open_socket(address, network == "udp" ? SOCK_DGRAM : SOCK_STREAM);
    must(::connect(fd, &address.any, address.size), "connect");
    if (network == "tcp") set_tcp_options(fd);
    return fd;
  }
  static void deadline(int fd) {
    const timeval hour{3600, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &hour, sizeof hour);
  }
  static std::size_t read(int fd, char* data, std::size_t size) {
    static const int wakeup =
        std::getenv("BENCH_POLL") ? ::eventfd(0, EFD_CLOEXEC) : -1;
    pollfd fds[] = {{fd, POLLIN, 0}, {wakeup, POLLIN, 0}};
    if (wakeup >= 0) ::poll(fds, 2, -1);
    const ssize_t n = ::recv(fd, data, size, 0);
    return n < 0 ? 0 : static_cast<std::size_t>(n);
  }
  static void write(int fd, const char* data, std::size_t size) {
    while (size > 0) {
      const ssize_t n = ::send(fd, data, size, MSG_NOSIGNAL);
      if (n < 0) return;
      data += n;
      size -= static_cast<std::size_t>(n);
    }
  }
  static void close(int fd) { ::close(fd); }

  template <class Handler>
  static void serve(int listener, Handler handler) {
    for (;;) {
      std::thread([handler, fd = accept(listener)] {
        handler(fd);
        close(fd);
      }).detach();
    }
  }

  static void events(int listener) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    const auto watch = [&](int fd) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.fd = fd;
      must(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    };
    watch(listener);
    for (;;) {
      epoll_event events[256];
      const int n = ::epoll_wait(epoll, events, 256, -1);
      for (int i = 0; i < n; ++i) {
        const int fd = events[i].data.fd;
        char buffer[bench::room];
        if (fd == listener) {
          watch(accept(listener, SOCK_CLOEXEC | SOCK_NONBLOCK));
        } else if (const std::size_t got = read(fd, buffer, sizeof buffer)) {
          write(fd, buffer, got);
        } else {
          close(fd);
        }
      }
    }
  }

  static int bind() {
    const Address address = parse("127.0.0.1:0");
    const int fd = open_socket(address, SOCK_DGRAM);
    must(::bind(fd, &address.any, address.size), "bind");
    return fd;
  }
  static std::size_t read_from(int fd, char* data, std::size_t size,
                               Address& from) {
    from.size = sizeof from.un;
    return static_cast<std::size_t>(
        must(::recvfrom(fd, data, size, 0, &from.any, &from.size), "recvfrom"));
  }
  static void answer(int fd) {
    char buffer[bench::message];
    for (;;) {
      Address from;
      const std::size_t n = read_from(fd, buffer, sizeof buffer, from);
      ::sendto(fd, buffer, n, 0, &from.any, from.size);
    }
  }
  static void hear(int fd) {
    char buffer[bench::message];
    Address from;
    read_from(fd, buffer, sizeof buffer, from);
  }

  // A way is a number of KiB for a loop of read and write, or the name of the
  // system call that does without.
  static void send_file(int to, const std::string& path,
                        const std::string& way) {
    const int file = must(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open");
    if (way == "sendfile")
      while (must(::sendfile(to, file, nullptr, 1 << 20), "sendfile") > 0) {
      }
    else
      loop(to, file, way);
    close(file);
  }
  static void copy(int to, int from, const std::string& way) {
    if (way == "splice")
      splice(to, from);
    else
      loop(to, from, way);
  }
  static void loop(int to, int from, const std::string& way) {
    std::vector<char> buffer(std::stoul(way) * 1024);
    while (const int n =
               must(::read(from, buffer.data(), buffer.size()), "read"))
      write(to, buffer.data(), static_cast<std::size_t>(n));
  }
  static void splice(int to, int from) {
    constexpr std::size_t size = 1 << 20;
    int pipe[2];
    must(::pipe2(pipe, O_CLOEXEC), "pipe");
    must(::fcntl(pipe[1], F_SETPIPE_SZ, size), "fcntl");
    while (int n = must(
               ::splice(from, nullptr, pipe[1], nullptr, size, SPLICE_F_MOVE),
               "splice"))
      while (n > 0)
        n -= must(::splice(pipe[0], nullptr, to, nullptr,
                           static_cast<std::size_t>(n), SPLICE_F_MOVE),
                  "splice");
    close(pipe[0]);
    close(pipe[1]);
  }
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Raw>(argc, argv); }
