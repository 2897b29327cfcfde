// The worker once more, in bare BSD calls.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

int fail(const char* call) { return std::perror(call), 1; }

// The one descriptor that comes with the next byte, or -1.
int receive(int fd) {
  char byte;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))];
  msghdr got{};
  got.msg_iov = &piece;
  got.msg_iovlen = 1;
  got.msg_control = room;
  got.msg_controllen = sizeof room;
  if (recvmsg(fd, &got, MSG_CMSG_CLOEXEC) <= 0) return -1;
  cmsghdr* header = CMSG_FIRSTHDR(&got);
  if (!header || header->cmsg_type != SCM_RIGHTS) return -1;
  int fds[2];  // the room is rounded up: there may be a second one
  std::size_t size = header->cmsg_len - CMSG_LEN(0);
  std::memcpy(fds, CMSG_DATA(header), size);
  if (size > sizeof(int)) close(fds[1]);
  return fds[0];
}

int main(int argc, char** argv) {
  std::string path = argc > 1 ? argv[1] : "@netlite-9988";
  sockaddr_un there{};
  there.sun_family = AF_UNIX;
  path.copy(there.sun_path, sizeof there.sun_path);
  there.sun_path[0] = '\0';  // in place of the @
  std::size_t size = sizeof there - sizeof there.sun_path + path.size();
  auto length = static_cast<socklen_t>(size);
  auto* place = reinterpret_cast<sockaddr*>(&there);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, place, length) < 0) return fail("connect");
  int listener = receive(fd);
  if (listener < 0) return fail("recvmsg");
  close(fd);
  // Its supervisor set it to wait for nobody, and that came with it.
  pollfd caller{listener, POLLIN, 0};
  if (poll(&caller, 1, -1) < 0) return fail("poll");
  int conn = accept(listener, nullptr, nullptr);
  if (conn < 0) return fail("accept");
  close(listener);
  char text[1024];
  ssize_t n = recv(conn, text, sizeof text, 0);
  if (n <= 0) return fail("recv");
  std::string answer = "Thanks! Got your message:";
  answer.append(text, static_cast<std::size_t>(n));
  if (send(conn, answer.data(), answer.size(), 0) < 0) return 1;
  close(conn);
}
