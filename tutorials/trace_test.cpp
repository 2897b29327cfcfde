// The program that trace_test.py traces: bare calls, no netlite.
//
//   trace_test talk      one call of each kind, and what must not be shown
//   trace_test crowd     four threads, of which each sends 250 times
//   trace_test handover  a thread that tells another by a socket when it may
//   trace_test child     a child that goes on with a parent's socket
//   trace_test handler   a signal handler that sends, while others are told
//   trace_test server    the first step of the course, in bare calls that wait
//   trace_test patient   and one that waits for more clients, for a second
//   trace_test client    (a port stands behind each)
//   trace_test crew      (and here) a server with a thread for each of two
//   trace_test closes    closes all descriptors but its socket, and goes on
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

// So that a fortified program cannot know how much is asked for.
volatile std::size_t all = 64;

#define MUST(condition)                                             \
  if (!(condition)) {                                               \
    std::fprintf(stderr, "line %d: %s, %s\n", __LINE__, #condition, \
                 std::strerror(errno));                             \
    std::exit(1);                                                   \
  }

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

const sockaddr* any(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Files, pipes, bells: nothing of this is a socket's.
void quiet() {
  char buffer[64];
  int ends[2];
  MUST(::pipe(ends) == 0 && ::write(ends[1], "pipe", 4) == 4);
  pollfd fds[] = {{ends[0], POLLIN, 0}};
  MUST(::poll(fds, 1, 0) == 1 && ::read(ends[0], buffer, all) == 4);
  MUST(::close(ends[0]) == 0 && ::close(ends[1]) == 0);
  const int file = ::open("/dev/null", O_RDWR);
  MUST(::write(file, "x", 1) == 1 && ::close(::dup(file)) == 0);
  MUST(::fcntl(file, F_SETFD, FD_CLOEXEC) == 0 && ::close(file) == 0);
}

void streams(int client, int server) {
  char buffer[64];
  MUST(::send(client, "a\tb\n\"c\\\x01", 8, MSG_NOSIGNAL) == 8);
  pollfd fds[] = {{server, POLLIN, 0}, {-1, POLLIN, 0}};
  MUST(::poll(fds, all / 32, -1) == 1);
  MUST(::recv(server, buffer, all, MSG_PEEK) == 8);
  MUST(::recv(server, buffer, all, 0) == 8);
  iovec pieces[] = {{const_cast<char*>("head"), 4},
                    {const_cast<char*>("body"), 4}};
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  MUST(::sendmsg(client, &message, MSG_NOSIGNAL) == 8);
  MUST(::recvfrom(server, buffer, all, 0, nullptr, nullptr) == 8);
  MUST(::writev(server, pieces, 2) == 8);
  iovec room{buffer, sizeof buffer};
  message.msg_iov = &room;
  message.msg_iovlen = 1;
  MUST(::recvmsg(client, &message, 0) == 8);
  MUST(::write(server, std::string(40, 'x').data(), 40) == 40);
  MUST(::read(client, buffer, all) == 40);
}

void waits(int client, int server) {
  const int bell = ::eventfd(1, 0);
  pollfd fds[] = {{client, POLLIN | POLLOUT, 0}, {bell, POLLIN, 0}};
  MUST(::poll(fds, 2, 20) == 2);
  fd_set reads, writes;
  FD_ZERO(&reads);
  FD_ZERO(&writes);
  FD_SET(server, &reads);
  FD_SET(server, &writes);
  timeval limit{1, 500000};
  MUST(::select(server + 1, &reads, &writes, nullptr, &limit) == 1);
  const int epoll = ::epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLOUT;
  event.data.fd = client;
  MUST(::epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event) == 0);
  MUST(::epoll_wait(epoll, &event, 1, -1) == 1);
  MUST(::epoll_ctl(epoll, EPOLL_CTL_DEL, client, nullptr) == 0);
  MUST(::close(epoll) == 0 && ::close(bell) == 0);
  pollfd none[] = {{client, POLLIN, 0}};
  MUST(::poll(none, 1, 30) == 0);
}

void ends(int client, int server) {
  char byte;
  const int other = ::dup(client);
  MUST(other > 0 && ::close(other) == 0);
  MUST(::shutdown(client, SHUT_WR) == 0 && ::recv(server, &byte, 1, 0) == 0);
  MUST(::close(server) == 0 && ::close(client) == 0);
  MUST(::close(client) < 0 && errno == EBADF);
  MUST(::send(STDIN_FILENO, "", 1, 0) < 0 && errno == ENOTSOCK);
}

// Whom a message is from, and the descriptors that it carries.
void messages() {
  char buffer[64];
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  const int receiver = ::socket(AF_INET, SOCK_DGRAM, 0);
  const int sender = ::socket(AF_INET, SOCK_DGRAM, 0);
  MUST(::bind(receiver, any(address), size) == 0);
  MUST(::getsockname(receiver, reinterpret_cast<sockaddr*>(&address), &size) ==
       0);
  MUST(::sendto(sender, "hi", 2, 0, any(address), size) == 2);
  MUST(::sendto(sender, "hi", 2, 0, any(address), size) == 2);
  iovec piece{buffer, sizeof buffer};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_name = &address;
  message.msg_namelen = size;
  MUST(::recvmsg(receiver, &message, 0) == 2);
  piece.iov_len = 1;
  MUST(::recvmsg(receiver, &message, 0) == 1);

  int pair[2];
  MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  const int carried[] = {sender, receiver};
  piece = {const_cast<char*>("!"), 1};
  message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof carried);
  std::memcpy(CMSG_DATA(header), carried, sizeof carried);
  MUST(::sendmsg(pair[0], &message, 0) == 1);
  piece = {buffer, 1};
  MUST(::recvmsg(pair[1], &message, 0) == 1);
  for (const int fd : {receiver, sender, pair[0], pair[1], 7, 8})
    MUST(::close(fd) == 0);
  MUST(::kill(::getpid(), SIGWINCH) == 0);  // which is ignored
}

void talk() {
  quiet();
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  MUST(::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  MUST(::bind(listener, any(address), size) == 0);
  MUST(::listen(listener, 5) == 0);
  MUST(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) ==
       0);
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  MUST(::connect(client, any(address), size) == 0);
  const int server = ::accept(listener, nullptr, nullptr);
  MUST(::fcntl(client, F_SETFL, ::fcntl(client, F_GETFL) | O_NONBLOCK) == 0);
  MUST(::recv(client, &address, all % 8 + 1, 0) < 0 && errno == EAGAIN);
  streams(client, server);
  waits(client, server);
  ends(client, server);
  MUST(::close(listener) == 0);

  const int refused = ::socket(AF_INET, SOCK_STREAM, 0);
  const timeval half{0, 500000};
  const timeval some{3, 40};
  MUST(::setsockopt(refused, SOL_SOCKET, SO_RCVTIMEO, &half, sizeof half) == 0);
  MUST(::setsockopt(refused, SOL_SOCKET, SO_SNDTIMEO, &some, sizeof some) == 0);
  MUST(::connect(refused, any(address), size) < 0 && errno == ECONNREFUSED);
  MUST(::send(refused, nullptr, 1 << 20, MSG_NOSIGNAL) < 0);
  MUST(::close(refused) == 0);

  const int packets = ::socket(AF_INET, SOCK_DGRAM, 0);
  MUST(::sendto(packets, "hi", 2, 0, any(address), size) == 2);
  MUST(::close(packets) == 0);
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  std::strcpy(path.sun_path, "/no\tsuch/folder");
  const int local = ::socket(AF_UNIX, SOCK_STREAM, 0);
  MUST(::connect(local, reinterpret_cast<const sockaddr*>(&path), sizeof path) <
       0);
  // What fails over and over is told once, and counted.
  for (int times = 0; times < 4; ++times)
    MUST(::getpeername(local, reinterpret_cast<sockaddr*>(&address), &size) <
             0 &&
         errno == ENOTCONN);
  MUST(::close(local) == 0);
  messages();

  addrinfo* found = nullptr;
  MUST(::getaddrinfo("localhost", nullptr, nullptr, &found) == 0);
  ::freeaddrinfo(found);
  MUST(::getaddrinfo("127.0.0.1", "no such", nullptr, &found) != 0);
}

void crowd() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      int pair[2];
      char buffer[64];
      MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
      for (int round = 0; round < 250; ++round) {
        MUST(::send(pair[0], std::string(50, 'x').data(), 50, 0) == 50);
        MUST(::recv(pair[1], buffer, all, 0) == 50);
      }
    });
  for (std::thread& thread : threads) thread.join();
}

void handover() {
  int pair[2];
  char byte;
  MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  int plain = 0;  // whoever has received the byte may read it
  std::thread writer([&] {
    plain = 1;
    MUST(::send(pair[0], "!", 1, 0) == 1);
  });
  MUST(::recv(pair[1], &byte, 1, 0) == 1 && plain == 1);
  writer.join();
}

void child() {
  int pair[2];
  char buffer[64];
  MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    MUST(::send(pair[1], "child", 5, 0) == 5);
    std::_Exit(0);
  }
  MUST(::waitpid(pid, nullptr, 0) == pid);
  MUST(::recv(pair[0], buffer, all, 0) == 5);
}

int alarms[2];

void handler() {
  MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, alarms) == 0);
  struct sigaction action {};
  action.sa_handler = [](int) {
    const int error = errno;
    if (::send(alarms[0], "!", 1, MSG_DONTWAIT) < 0) errno = error;
  };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGALRM, &action, nullptr);
  const itimerval often{{0, 200}, {0, 200}};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  char buffer[64];
  for (int taken = 0; taken < 500;) {
    const ssize_t n = ::recv(alarms[1], buffer, all, 0);
    if (n > 0) taken += static_cast<int>(n);
  }
  const itimerval never{};
  ::setitimer(ITIMER_REAL, &never, nullptr);
}

// A patient one goes on for a second when the first client has left.
void server(const sockaddr_in& address, bool is_patient) {
  char buffer[64];
  const int on = 1;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  MUST(::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  MUST(::bind(listener, any(address), sizeof address) == 0);
  MUST(::listen(listener, 5) == 0);
  const int conn = ::accept(listener, nullptr, nullptr);
  MUST(conn > 0 && ::recv(conn, buffer, all, 0) == 5);
  MUST(::write(conn, "Thanks!", 7) == 7);
  MUST(::close(conn) == 0);
  pollfd fds[] = {{listener, POLLIN, 0}};
  if (!is_patient) MUST(::accept(listener, nullptr, nullptr) > 0);
  MUST(::poll(fds, 1, 1000) == 0 && ::close(listener) == 0);
  std::puts("Nobody came.");
}

void client(const sockaddr_in& address) {
  char buffer[64];
  const int conn = ::socket(AF_INET, SOCK_STREAM, 0);
  MUST(::connect(conn, any(address), sizeof address) == 0);
  MUST(::send(conn, "Hello", 5, 0) == 5 && ::recv(conn, buffer, all, 0) == 7);
  std::puts("Thanked.");
  MUST(::close(conn) == 0);
}

void crew(const sockaddr_in& address) {
  const int on = 1;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  MUST(::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  MUST(::bind(listener, any(address), sizeof address) == 0);
  MUST(::listen(listener, 5) == 0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    // Linux takes a number for the connection before accept(2) waits for it.
    pollfd fds[] = {{listener, POLLIN, 0}};
    MUST(::poll(fds, 1, -1) == 1);
    const int conn = ::accept(listener, nullptr, nullptr);
    MUST(conn > 0);
    threads.emplace_back([=] {
      char buffer[64];
      for (const int option : {SO_KEEPALIVE, SO_REUSEADDR})
        MUST(::setsockopt(conn, SOL_SOCKET, option, &on, sizeof on) == 0);
      MUST(::recv(conn, buffer, all, 0) == 5);
      MUST(::write(conn, "Thanks!", 7) == 7 && ::close(conn) == 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  MUST(::close(listener) == 0);
}

void closes() {
  int pair[2];
  MUST(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  for (int fd = 3; fd < 1024; ++fd)
    if (fd != pair[0] && fd != pair[1]) ::close(fd);
  MUST(::send(pair[0], "on", 2, 0) == 2);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "talk") return talk(), 0;
  if (what == "crowd") return crowd(), 0;
  if (what == "handover") return handover(), 0;
  if (what == "child") return child(), 0;
  if (what == "handler") return handler(), 0;
  const sockaddr_in address = loopback(argc > 2 ? std::atoi(argv[2]) : 0);
  if (what == "server") return server(address, false), 0;
  if (what == "patient") return server(address, true), 0;
  if (what == "client") return client(address), 0;
  if (what == "crew") return crew(address), 0;
  if (what == "closes") return closes(), 0;
  return 2;
}
