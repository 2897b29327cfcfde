// The echo server once more, in bare BSD calls.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

int fail(const char* call) {
  std::perror(call);
  return 1;
}

const char* reason(int error) {
  if (error == EAGAIN) return "Silent: nothing came for half a second.";
  if (error == ECONNRESET) return "Reset: the client is gone.";
  return "Something else.";
}

const char* echo(int fd) {
  timeval limit{0, 500000};  // 500,000 microseconds for each recv
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char buffer[1024];
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n == 0) return "Done: the client has closed.";
    if (n < 0) return reason(errno);
    if (send(fd, buffer, static_cast<std::size_t>(n), 0) < n)
      return "Something else.";
  }
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // or a late send kills the program
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int port = std::atoi(argc > 1 ? argv[1] : "9988");
  here.sin_port = htons(static_cast<std::uint16_t>(port));
  auto* place = reinterpret_cast<sockaddr*>(&here);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, place, sizeof here) < 0) return fail("bind");
  if (listen(fd, SOMAXCONN) < 0) return fail("listen");
  std::cout << "Listening on port " << port << std::endl;

  for (;;) {
    int conn = accept(fd, nullptr, nullptr);
    if (conn < 0) return fail("accept");
    std::cout << echo(conn) << std::endl;
    close(conn);
  }
}
