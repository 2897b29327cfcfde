// SPDX-License-Identifier: MIT
// The main program of every test: doctest's, and then a last test of its own
// that no descriptor was left open.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <set>
#include <string>
#include <thread>

#include "wakeups.hpp"

namespace {

// A new descriptor gets the lowest free number, so a leak is among these.
constexpr int kHighest = 4096;

std::set<int> open_descriptors() {
  std::set<int> open;
  for (int fd = 0; fd < kHighest; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) open.insert(fd);
  }
  return open;
}

// What a descriptor stands for, where the system can tell: `socket:[4711]`.
std::string target(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char name[256];
  const auto n = ::readlink(link.c_str(), name, sizeof name);
  return n > 0 ? std::string(name, std::size_t(n)) : "?";
}

// The descriptors that came since `before`, when they are more than wake-ups.
std::set<int> leftovers(const std::set<int>& before) {
  std::set<int> open = open_descriptors();
  for (int fd : before) open.erase(fd);
  return open.size() > support::wakeup_descriptors() ? open : std::set<int>();
}

}  // namespace

int main(int argc, char** argv) {
  const std::set<int> before = open_descriptors();
  doctest::Context context(argc, argv);
  const int result = context.run();

  // A name look-up that outlived its deadline may still be on its way home.
  std::set<int> left = leftovers(before);
  for (int tries = 0; !left.empty() && tries < 200; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    left = leftovers(before);
  }
  if (left.empty()) return result;

  std::printf("%zu descriptors left open, of which %zu may be:\n", left.size(),
              support::wakeup_descriptors());
  for (int fd : left) std::printf("  %d -> %s\n", fd, target(fd).c_str());
  return 1;
}
