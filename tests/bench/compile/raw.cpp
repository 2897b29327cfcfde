// The smallest echo server and client with BSD sockets.
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_socket(int server) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo("127.0.0.1", "9988", &hints, &found)) return -1;
  const int fd = socket(found->ai_family, SOCK_STREAM, 0);
  const int failed = server ? bind(fd, found->ai_addr, found->ai_addrlen) ||
                                  listen(fd, SOMAXCONN)
                            : connect(fd, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return failed ? -1 : fd;
}

int main(int argc, char**) {
  char buffer[1024];
  const int fd = open_socket(argc > 1);
  if (fd < 0) return perror("127.0.0.1:9988"), 1;
  if (argc > 1) {
    const int conn = accept(fd, nullptr, nullptr);
    ssize_t n;
    while ((n = recv(conn, buffer, sizeof buffer, 0)) > 0)
      send(conn, buffer, static_cast<size_t>(n), MSG_NOSIGNAL);
    close(conn);
  } else {
    send(fd, "hello", 5, MSG_NOSIGNAL);
    const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    printf("%.*s\n", static_cast<int>(n), buffer);
  }
  close(fd);
}
