// Room for one descriptor, in bare BSD calls: how many come?
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <iostream>

// How many of the first hundred numbers stand for something open.
int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 100; ++fd) count += fcntl(fd, F_GETFD) != -1;
  return count;
}

int main() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return 1;

  // Two descriptors, the program's own input and output, and one byte.
  char byte = 0;
  iovec piece{&byte, 1};
  int carried[] = {STDIN_FILENO, STDOUT_FILENO};
  alignas(cmsghdr) char out[CMSG_SPACE(sizeof carried)] = {};
  msghdr sent{};
  sent.msg_iov = &piece;
  sent.msg_iovlen = 1;
  sent.msg_control = out;
  sent.msg_controllen = sizeof out;
  cmsghdr* header = CMSG_FIRSTHDR(&sent);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof carried);
  std::memcpy(CMSG_DATA(header), carried, sizeof carried);
  if (sendmsg(pair[0], &sent, 0) < 0) return 1;

  // [room]
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))];  // for one
  msghdr got{};
  got.msg_iov = &piece;
  got.msg_iovlen = 1;
  got.msg_control = room;
  got.msg_controllen = sizeof room;
  int before = open_descriptors();
  if (recvmsg(pair[1], &got, 0) < 0) return 1;
  int fd;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&got)), sizeof fd);
  close(fd);
  int more = open_descriptors() - before;
  // [room]
  std::cout << "Opened and never closed: " << more << std::endl;
  bool is_cut = got.msg_flags & MSG_CTRUNC;
  std::cout << "Was anything cut off? " << (is_cut ? "yes" : "no");
  std::cout << std::endl;
  return more;
}
