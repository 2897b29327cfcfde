// The server once more, in bare BSD calls.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>

std::mutex mutex;
std::condition_variable changed;
int running = 0;  // how many clients are served

void process_client(int fd) {
  char buffer[1024];
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) break;
    // An echo that does not fit at once is the client's bad luck.
    if (send(fd, buffer, static_cast<std::size_t>(n), 0) != n) break;
  }
  close(fd);
  std::lock_guard<std::mutex> lock(mutex);
  --running;
  changed.notify_one();
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
  if (bind(fd, place, sizeof here) < 0) return 1;
  if (listen(fd, SOMAXCONN) < 0) return 1;
  std::cout << "Listening on port " << port << std::endl;

  for (;;) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [] { return running < 2; });
    ++running;
    lock.unlock();
    int conn = accept(fd, nullptr, nullptr);
    if (conn < 0) return 1;
    std::thread(process_client, conn).detach();
  }
}
