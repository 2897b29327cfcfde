// A client that tries addresses in turn, in bare BSD calls.
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <string>

int greet(int fd) {
  std::string greeting = "Hello Server! Greetings.", answer;
  if (send(fd, greeting.data(), greeting.size(), 0) < 0) return 1;
  char buffer[1001];
  ssize_t n;
  while ((n = recv(fd, buffer, sizeof buffer, 0)) > 0)
    answer.append(buffer, static_cast<std::size_t>(n));
  std::cout << "Received: " << answer << std::endl;
  return n < 0 ? 1 : 0;
}

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    std::size_t colon = name.rfind(':');
    std::string host = name.substr(0, colon);
    if (host[0] == '[') host = host.substr(1, host.size() - 2);

    // A list of addresses of both families, which we must free.
    addrinfo wanted{}, *list = nullptr;
    wanted.ai_socktype = SOCK_STREAM;
    const char* port = name.c_str() + colon + 1;
    int error = getaddrinfo(host.c_str(), port, &wanted, &list);
    if (error) std::cout << gai_strerror(error) << std::endl;
    for (addrinfo* each = list; each; each = each->ai_next) {
      std::cout << "Trying " << name << std::endl;
      int fd = socket(each->ai_family, each->ai_socktype, 0);
      if (fd < 0) continue;
      if (connect(fd, each->ai_addr, each->ai_addrlen) == 0) {
        int code = greet(fd);
        close(fd);
        freeaddrinfo(list);
        return code;
      }
      std::cout << std::strerror(errno) << std::endl;
      close(fd);
    }
    if (list) freeaddrinfo(list);
  }
  std::cerr << "None of them answered." << std::endl;
  return 1;
}
