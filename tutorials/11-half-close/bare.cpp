// The client once more, in bare BSD calls.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

int fail(const char* call) {
  std::perror(call);
  return 1;
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int port = std::atoi(argc > 1 ? argv[1] : "9988");
  there.sin_port = htons(static_cast<std::uint16_t>(port));
  auto* place = reinterpret_cast<sockaddr*>(&there);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return fail("socket");
  if (connect(fd, place, sizeof there) < 0) return fail("connect");

  std::string lines = "pear\nfig\napple\n";
  while (!lines.empty()) {
    ssize_t n = send(fd, lines.data(), lines.size(), 0);
    if (n < 0) return fail("send");
    lines.erase(0, static_cast<std::size_t>(n));
  }
  if (shutdown(fd, SHUT_WR) < 0) return fail("shutdown");

  std::string answer;
  while (answer.size() <= 1000) {
    char buffer[4096];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0) return fail("recv");
    if (n == 0) break;
    answer.append(buffer, static_cast<std::size_t>(n));
  }
  std::cout << answer << "That was all." << std::endl;
  close(fd);
}
