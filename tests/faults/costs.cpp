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

// Polling first would spare the recv in vain, but cost a poll where data waits.
TEST_CASE_FIXTURE(TimeLimit, "a read that waits is recv, poll and recv") {
  const Connected ends("unix", "");
  const inject::Faults counting;
  support::Blocked reading([&] {
    char buffer[16];
    return net::read(ends.server, buffer).value;
  });
  net::must(net::write(ends.client, "late"));
  CHECK(reading.get() == 4);
  CHECK(count("recv") == 2);
  CHECK(count("poll") == 1);
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
