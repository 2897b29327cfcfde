// The server once more, in bare BSD calls.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

int fail(const char* call) {
  std::perror(call);
  return 1;
}

int main(int argc, char** argv) {
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
  int conn = accept(fd, nullptr, nullptr);
  if (conn < 0) return fail("accept");
  usleep(300000);

  // What has been read and is not yet a whole line waits in `ahead`.
  std::string ahead;
  for (;;) {
    std::size_t end = ahead.find('\n');
    if (end != std::string::npos) {
      std::cout << "Message: " << ahead.substr(0, end) << std::endl;
      ahead.erase(0, end + 1);
      continue;
    }
    if (ahead.size() > 1000) return 1;  // a line that never ends
    char buffer[4096];
    ssize_t n = recv(conn, buffer, sizeof buffer, 0);
    if (n < 0) return fail("recv");
    if (n == 0) break;
    ahead.append(buffer, static_cast<std::size_t>(n));
  }
  std::cout << "The client has closed." << std::endl;
  close(conn);
  close(fd);
}
