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
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return fail("socket");
  if (bind(fd, place, sizeof here) < 0) return fail("bind");
  std::cout << "Listening on port " << port << std::endl;

  for (;;) {
    char buffer[1024];
    iovec room{buffer, sizeof buffer};
    sockaddr_in from{};
    socklen_t size = sizeof from;
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = size;
    message.msg_iov = &room;
    message.msg_iovlen = 1;
    ssize_t n = recvmsg(fd, &message, 0);
    if (n < 0) return fail("recvmsg");
    if (message.msg_flags & MSG_TRUNC) continue;  // it was cut
    std::string text(buffer, static_cast<std::size_t>(n));
    std::cout << "Received: " << text << std::endl;

    std::string answer = "Thanks! Got your message:" + text;
    auto* sender = reinterpret_cast<sockaddr*>(&from);
    if (sendto(fd, answer.data(), answer.size(), 0, sender, size) < 0)
      std::perror("sendto");
  }
}
