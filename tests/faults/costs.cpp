// SPDX-License-Identifier: MIT
// What reading and writing cost, in BSD calls.

#include "netlite.hpp"

#include "inject.hpp"

#include <string>

#include "../support.hpp"

namespace {

using inject::count;
using support::Connected;
using support::TimeLimit;

// Reads what is written only when the read is blocked.
std::size_t read_late(const Connected& ends) {
  support::Blocked reading([&] {
    char buffer[16];
    return net::read(ends.server, buffer).value;
  });
  net::must(net::write(ends.client, "late"));
  return reading.get();
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "a read with data waiting is one recv") {
  const Connected ends("unix", "");
  net::must(net::write(ends.client, "ready"));
  char buffer[16];
  const inject::Faults counting;
  CHECK(net::must(net::read(ends.server, buffer)) == 5);
  CHECK(count("recv") == 1);
  CHECK(count("poll") == 0);
}

// A first read cannot know, so it looks; it is told that there is nothing.
TEST_CASE_FIXTURE(TimeLimit, "a first read that waits is recv, poll and recv") {
  const Connected ends("unix", "");
  const inject::Faults counting;
  CHECK(read_late(ends) == 4);
  CHECK(count("recv") == 2);
  CHECK(count("poll") == 1);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a read that waits costs one call more than a bare recv once "
                  "a read has emptied the socket") {
  const Connected ends("unix", "");
  CHECK(read_late(ends) == 4);
  const inject::Faults counting;
  CHECK(read_late(ends) == 4);
  CHECK(count("poll") == 1);
  CHECK(count("recv") == 1);
}

TEST_CASE_FIXTURE(TimeLimit, "reads of a long message are one recv each") {
  const Connected ends("unix", "");
  net::must(net::write(ends.client, "four by four"));
  char buffer[4];
  const inject::Faults counting;
  for (int i = 0; i < 3; ++i)
    CHECK(net::must(net::read(ends.server, buffer)) == 4);
  CHECK(count("recv") == 3);
  CHECK(count("poll") == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "a try_read that finds nothing is one recv") {
  const Connected ends("unix", "");
  char buffer[4];
  const inject::Faults counting;
  for (int i = 0; i < 2; ++i)
    CHECK(net::try_read(ends.server, buffer).error == net::would_block);
  CHECK(count("recv") == 2);
  CHECK(count("poll") == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "a write that fits is one call") {
  const Connected ends("unix", "");
  const inject::Faults counting;
  net::must(net::write(ends.client, "fits"));
  CHECK(count("send") == 1);
  net::must(net::write(ends.client, {"so ", "does ", "this"}));
  CHECK(count("sendmsg") == 1);
  CHECK(count("poll") == 0);
}
