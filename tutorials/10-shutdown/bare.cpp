// The server once more, in bare BSD calls.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <iostream>
#include <thread>
#include <vector>

void talk(int fd) {
  timeval limit{5, 0};  // for each recv, not for all of it: see step 9
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  char line[1000];
  std::size_t size = 0;
  while (size < sizeof line && !std::memchr(line, '\n', size)) {
    ssize_t n = recv(fd, line + size, sizeof line - size, 0);
    if (n <= 0) break;
    size += static_cast<std::size_t>(n);
  }
  send(fd, line, size, MSG_NOSIGNAL);
  close(fd);
}

// Waits for a client and for the bell, and never in accept.
void accept_all(int fd, int bell, std::vector<std::thread>& threads) {
  for (;;) {
    pollfd wanted[] = {{fd, POLLIN, 0}, {bell, POLLIN, 0}};
    if (poll(wanted, 2, -1) < 0 || wanted[1].revents != 0) return;
    int conn = accept(fd, nullptr, nullptr);
    if (conn >= 0) threads.emplace_back(talk, conn);
  }
}

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int port = argc > 1 ? std::stoi(argv[1]) : 9988;
  here.sin_port = htons(static_cast<std::uint16_t>(port));
  auto* place = reinterpret_cast<sockaddr*>(&here);
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, bell[2], signal;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, place, sizeof here) || listen(fd, 99) || pipe(bell))
    return std::cerr << std::strerror(errno) << std::endl, 1;
  std::cout << "Listening on port " << port << std::endl;
  std::vector<std::thread> threads;
  std::thread door(accept_all, fd, bell[0], std::ref(threads));
  sigwait(&signals, &signal);
  close(bell[1]);  // rings it
  door.join();     // nobody sits on the listener any more
  close(fd);
  for (std::thread& each : threads) each.join();
}
