// The server once more, in bare BSD calls.
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

void serve(int fd) {
  char buffer[1024];
  ssize_t n = recv(fd, buffer, sizeof buffer, 0);
  if (n <= 0) return;
  std::string message(buffer, static_cast<std::size_t>(n));
  std::cout << "Received: " << message << std::endl;
  std::string answer = "Thanks! Got your message:" + message;
  while (!answer.empty()) {
    ssize_t sent = send(fd, answer.data(), answer.size(), 0);
    if (sent < 0) return;
    answer.erase(0, static_cast<std::size_t>(sent));
  }
}

int main(int argc, char** argv) {
  std::cout << "The server is running." << std::endl;
  std::signal(SIGPIPE, SIG_IGN);  // step 4 says why
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int port = std::atoi(argc > 1 ? argv[1] : "9988");
  here.sin_port = htons(static_cast<std::uint16_t>(port));
  auto* place = reinterpret_cast<sockaddr*>(&here);

  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return fail("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, place, sizeof here) < 0) return fail("bind");
  if (listen(fd, SOMAXCONN) < 0) return fail("listen");
  std::cout << "Listening on port " << port << std::endl;

  for (;;) {
    int conn = accept(fd, nullptr, nullptr);
    if (conn < 0) return fail("accept");
    serve(conn);
    close(conn);
  }
}
