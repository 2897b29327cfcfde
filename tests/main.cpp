// SPDX-License-Identifier: MIT
// The main program of every test: doctest's, and then a last test of its own
// that no descriptor was left open.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <set>
#include <thread>

#include "descriptors.hpp"

namespace {

// The descriptors that came since `before`.
std::set<int> leftovers(const std::set<int>& before) {
  std::set<int> open = support::open_descriptors();
  for (int fd : before) open.erase(fd);
  return open;
}

}  // namespace

int main(int argc, char** argv) {
  const std::set<int> before = support::open_descriptors();
  doctest::Context context(argc, argv);
  const int result = context.run();

  // A name look-up that outlived its deadline may still be on its way home.
  std::set<int> left = leftovers(before);
  for (int tries = 0; !left.empty() && tries < 200; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    left = leftovers(before);
  }
  if (left.empty()) return result;

  std::printf("%zu descriptors left open:\n", left.size());
  for (int fd : left)
    std::printf("  %d -> %s\n", fd, support::target(fd).c_str());
  return 1;
}
