// The server once more, in bare BSD calls.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

int fail(const char* call) {
  std::perror(call);
  return 1;
}

void serve(int fd) {
  for (;;) {
    char buffer[1024];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return;
    std::string message(buffer, static_cast<std::size_t>(n));
    std::cout << "Received: " << message << std::endl;
    std::string answer = "Thanks! Got your message:" + message;
    if (send(fd, answer.data(), answer.size(), 0) < 0) return;
  }
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  sockaddr_un here{};
  here.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof here.sun_path) {
    std::cerr << "The path is too long." << std::endl;
    return 1;
  }
  std::strcpy(here.sun_path, path);
  auto* place = reinterpret_cast<sockaddr*>(&here);

  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return fail("socket");
  umask(0177);  // the file: for programs of my own user
  if (bind(fd, place, sizeof here) < 0) return fail("bind");
  if (listen(fd, SOMAXCONN) < 0) return fail("listen");
  std::cout << "Listening on " << path << std::endl;

  for (;;) {
    int conn = accept(fd, nullptr, nullptr);
    if (conn < 0) return fail("accept");
    serve(conn);
    close(conn);
  }
}
