// The mistake: closing a descriptor on which another thread waits.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>

int fail(const char* call) {
  std::perror(call);
  return 1;
}

// [loop]
void accept_all(int fd) {
  for (;;) {
    int conn = accept(fd, nullptr, nullptr);
    if (conn < 0) return std::perror("accept");
    close(conn);
  }
}
// [loop]

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

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

  // [mistake]
  std::thread server(accept_all, fd);
  int signal = 0;
  sigwait(&signals, &signal);
  std::cout << "Stopping: nobody new gets in." << std::endl;
  close(fd);
  server.join();
  std::cout << "Stopped." << std::endl;
  // [mistake]
}
