// The server once more, in bare BSD calls.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

using Clock = std::chrono::steady_clock;
using ms = std::chrono::milliseconds;

int fail(const char* call) { return std::perror(call), 1; }

const char* talk(int fd) {
  auto deadline = Clock::now() + ms(500);
  std::string line;
  while (line.empty() || line.back() != '\n') {
    if (line.size() > 1000) return "Too long: dropped.";
    // poll wants to know how long: what is left of the half second.
    auto left = std::chrono::ceil<ms>(deadline - Clock::now()).count();
    pollfd wanted{fd, POLLIN, 0};
    if (left <= 0 || poll(&wanted, 1, static_cast<int>(left)) < 1)
      return "Too slow: dropped.";
    char buffer[1024];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return "The client has gone.";
    line.append(buffer, static_cast<std::size_t>(n));
  }
  // There is always room for one line: this does not wait.
  send(fd, line.data(), line.size(), 0);
  return "Answered.";
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // step 4 says why
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
    std::cout << talk(conn) << std::endl;
    close(conn);
  }
}
