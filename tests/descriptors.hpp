// SPDX-License-Identifier: MIT
// Which descriptors this process has open.
#ifndef NETLITE_TESTS_DESCRIPTORS_HPP
#define NETLITE_TESTS_DESCRIPTORS_HPP

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>

namespace support {

// What a descriptor stands for, where the system can tell: `socket:[4711]`.
inline std::string target(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char name[256];
  const auto n = ::readlink(link.c_str(), name, sizeof name);
  return n > 0 ? std::string(name, std::size_t(n)) : "?";
}

// Is it of the kind of which bells are made? (A Poller has one too, but also an
// epoll where a bell is an eventfd.)
inline bool may_be_bell(int fd) {
#if defined(__linux__) && !defined(NETLITE_PORTABLE)
  return target(fd) == "anon_inode:[eventfd]";
#else
  struct stat found {};
  return ::fstat(fd, &found) == 0 && S_ISFIFO(found.st_mode);
#endif
}

// All but the bells, which the header makes as it needs them, and keeps. A new
// descriptor gets the lowest free number, so a leak is among these.
inline std::set<int> open_descriptors() {
  std::set<int> open;
  for (int fd = 0; fd < 4096; ++fd)
    if (::fcntl(fd, F_GETFD) != -1 && !may_be_bell(fd)) open.insert(fd);
  return open;
}

// How many they are.
inline std::size_t descriptors() { return open_descriptors().size(); }

}  // namespace support

#endif  // NETLITE_TESTS_DESCRIPTORS_HPP
