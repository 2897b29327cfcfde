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
  std::perror(call);  // prints what errno says
  return 1;
}

int main(int argc, char** argv) {
  std::string address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  std::signal(SIGPIPE, SIG_IGN);  // step 4 says why

  // The kernel wants the address as numbers, highest byte first.
  std::size_t colon = address.rfind(':');
  sockaddr_in server{};
  server.sin_family = AF_INET;
  std::string host = address.substr(0, colon);
  inet_pton(AF_INET, host.c_str(), &server.sin_addr);
  int port = std::atoi(address.c_str() + colon + 1);
  server.sin_port = htons(static_cast<std::uint16_t>(port));

  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return fail("socket");
  const auto* place = reinterpret_cast<sockaddr*>(&server);
  if (connect(fd, place, sizeof server) < 0) return fail("connect");
  std::cout << "Connected." << std::endl;

  // send may take less than it was given: ask again for the rest.
  std::string greeting = "Hello Server! Greetings.";
  while (!greeting.empty()) {
    ssize_t sent = send(fd, greeting.data(), greeting.size(), 0);
    if (sent < 0) return fail("send");
    greeting.erase(0, static_cast<std::size_t>(sent));
  }

  char buffer[1024];
  ssize_t n = recv(fd, buffer, sizeof buffer, 0);
  if (n < 0) return fail("recv");
  std::string answer(buffer, static_cast<std::size_t>(n));
  std::cout << "Received: " << answer << std::endl;
  close(fd);
}
