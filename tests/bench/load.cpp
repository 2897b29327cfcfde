// Many clients at once, the same for every server: one thread with epoll.
// SPDX-License-Identifier: MIT
//
//   load ADDRESS CONNECTIONS SECONDS busy   each asks again when answered
//   load ADDRESS CONNECTIONS SECONDS idle   each asks once a second
//   load ADDRESS CONNECTIONS SECONDS lone   one asks every 5 ms, the others
//                                           are busy
//   load ADDRESS CONNECTIONS SECONDS MODE /PATH    asks over HTTP
//
// Says "ready" when each has been answered once, waits for a line, works, and
// prints requests a second, and the median and the 99th percentile of the
// microseconds until the answer: of all, or of the lone one.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// What each asks, and how long the answer is, which is thrown away.
std::string question(64, '\0');
std::size_t size_of_answer = question.size();

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

struct Client {
  int fd = -1;
  Clock::time_point asked{};
  bool waiting = false;

  void connect(const sockaddr_in& address) {
    fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("load: socket");
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) < 0)
      fail("load: connect");
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  void ask() {
    asked = Clock::now();
    waiting = true;
    if (::send(fd, question.data(), question.size(), MSG_NOSIGNAL) < 0)
      fail("load: send");
  }
  // Microseconds since it asked.
  float answered() {
    static std::string answer;
    answer.resize(size_of_answer);
    if (::recv(fd, answer.data(), answer.size(), MSG_WAITALL) !=
        static_cast<ssize_t>(answer.size()))
      fail("load: recv");
    waiting = false;
    return std::chrono::duration<float, std::micro>(Clock::now() - asked)
        .count();
  }
};

// All answers to one question over HTTP are as long as the first one.
std::size_t size_over_http(const sockaddr_in& address) {
  Client client;
  client.connect(address);
  client.ask();
  std::string head;
  for (char byte; head.find("\r\n\r\n") == head.npos; head += byte)
    if (::recv(client.fd, &byte, 1, 0) != 1) fail("load: recv");
  ::close(client.fd);
  const char* name = "Content-Length: ";
  const std::size_t at = head.find(name);
  if (head.find(" 200 ") == head.npos || at == head.npos) {
    std::fputs(head.c_str(), stderr);
    std::_Exit(1);
  }
  return head.size() + std::stoul(head.substr(at + std::strlen(name)));
}

float quantile(std::vector<float>& sorted, double part) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(
      static_cast<double>(sorted.size() - 1) * part)];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return 2;
  const std::string text = argv[1], mode = argv[4];
  const std::size_t colon = text.find(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr);
  address.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));

  if (argc == 6) {
    question = std::string("GET ") + argv[5] + " HTTP/1.1\r\nHost: it\r\n\r\n";
    size_of_answer = size_over_http(address);
  }

  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Client> clients(static_cast<std::size_t>(std::stoi(argv[2])));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i].connect(address);
    clients[i].ask();
    clients[i].answered();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event) < 0)
      fail("load: epoll_ctl");
  }
  std::puts("ready");
  std::fflush(stdout);
  if (std::getchar() == EOF) return 0;

  const auto start = Clock::now();
  const auto end = start + std::chrono::seconds(std::stoi(argv[3]));
  // Whose turn it is to ask, and when it is the next one's.
  Clock::duration step = milliseconds(5);
  if (mode == "idle")
    step = Clock::duration(std::chrono::seconds(1)) / std::stoi(argv[2]);
  auto due = mode == "busy" ? Clock::time_point::max() : start;
  std::size_t turn = 0;
  if (mode != "idle")
    for (std::size_t i = mode == "lone" ? 1 : 0; i < clients.size(); ++i)
      clients[i].ask();

  std::vector<float> times;
  std::size_t answers = 0;
  for (auto now = start; now < end; now = Clock::now()) {
    for (; due <= now; due += step) {
      Client& client = clients[turn];
      if (mode == "idle") turn = (turn + 1) % clients.size();
      if (!client.waiting) client.ask();
    }
    epoll_event events[256];
    const int n = ::epoll_wait(epoll, events, 256, mode == "busy" ? 1000 : 1);
    for (int i = 0; i < n; ++i) {
      Client& client = clients[events[i].data.u64];
      const float time = client.answered();
      ++answers;
      const bool lone = mode == "lone" && events[i].data.u64 == 0;
      if (lone || mode != "lone") times.push_back(time);
      if (mode == "busy" || (mode == "lone" && !lone)) client.ask();
    }
  }
  const double seconds =
      std::chrono::duration<double>(Clock::now() - start).count();
  std::sort(times.begin(), times.end());
  std::printf("%.6g %.6g %.6g\n", static_cast<double>(answers) / seconds,
              static_cast<double>(quantile(times, 0.5)),
              static_cast<double>(quantile(times, 0.99)));
  std::fflush(stdout);
  std::getchar();  // the connections stay until somebody has looked
}
