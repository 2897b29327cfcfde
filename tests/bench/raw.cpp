// The yardstick: bare blocking BSD sockets, and bare epoll for many.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
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

int must(int result, const char* call) {
  if (result >= 0) return result;
  std::perror(call);
  std::exit(1);
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

void no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

struct Raw {
  using Conn = int;

  static int listen(const std::string&, const std::string& text) {
    const Address address = parse(text);
    const int fd = open_socket(address, SOCK_STREAM);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::unlink(text.c_str());
    must(::bind(fd, &address.any, address.size), "bind");
    must(::listen(fd, 65535), "listen");
    return fd;
  }
  static std::string address(int fd) {
    Address address{};
    address.size = sizeof address.un;
    must(::getsockname(fd, &address.any, &address.size), "getsockname");
    if (address.any.sa_family == AF_UNIX) return address.un.sun_path;
    return "127.0.0.1:" + std::to_string(ntohs(address.in.sin_port));
  }
  static int accept(int listener) {
    const int fd =
        must(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept");
    no_delay(fd);
    return fd;
  }
  static int dial(const std::string&, const std::string& text) {
    const Address address = parse(text);
    const int fd = open_socket(address, SOCK_STREAM);
    must(::connect(fd, &address.any, address.size), "connect");
    no_delay(fd);
    return fd;
  }
  static void deadline(int fd) {
    const timeval hour{3600, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour);
  }
  static std::size_t read(int fd, char* data, std::size_t size) {
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

  static int bind() {
    const Address address = parse("127.0.0.1:0");
    const int fd = open_socket(address, SOCK_DGRAM);
    must(::bind(fd, &address.any, address.size), "bind");
    return fd;
  }
  static int connect(const std::string& text) {
    const Address address = parse(text);
    const int fd = open_socket(address, SOCK_DGRAM);
    must(::connect(fd, &address.any, address.size), "connect");
    return fd;
  }
  static void answer(int fd, int rounds) {
    char buffer[64];
    for (int i = 0; i < rounds; ++i) {
      Address from{};
      from.size = sizeof from.un;
      const ssize_t n =
          ::recvfrom(fd, buffer, sizeof buffer, 0, &from.any, &from.size);
      if (n > 0)
        ::sendto(fd, buffer, static_cast<std::size_t>(n), 0, &from.any,
                 from.size);
    }
  }

  static int serve(bool events) {
    const int listener = listen("tcp", "127.0.0.1:0");
    std::thread(events ? event_loop : accept_loop, listener).detach();
    bench::announce_and_wait(address(listener));
    return 0;
  }
  static void accept_loop(int listener) {
    for (;;) {
      std::thread([fd = accept(listener)] {
        int conn = fd;
        bench::echo<Raw>(conn);
        close(conn);
      }).detach();
    }
  }
  static void event_loop(int listener) {
    const int epoll = ::epoll_create1(0);
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
        char buffer[64];
        if (fd == listener) {
          watch(accept(listener));
        } else if (const std::size_t got = read(fd, buffer, sizeof buffer)) {
          write(fd, buffer, got);
        } else {
          close(fd);
        }
      }
    }
  }
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Raw>(argc, argv); }
