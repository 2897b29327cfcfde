// SPDX-License-Identifier: MIT
// A server whose accept fails: what heals costs a pause, what cannot heal ends
// it.

#include "netlite.hpp"

#include "inject.hpp"

#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using support::answers;
using support::Blocked;
using support::echo_byte;
using support::TimeLimit;

// So many accepts fail, whichever of the two calls it is.
std::vector<inject::Fault> failing(int error, int times) {
  return {{"accept4", 0, error, times}, {"accept", 0, error, times}};
}

int accepts() { return inject::count("accept4") + inject::count("accept"); }

}  // namespace

// EPERM: a firewall, or a filter of system calls. EOPNOTSUPP and the others:
// what accept(2) lists, and what some network may hand through.
TEST_CASE_FIXTURE(TimeLimit, "a server outlives an accept that fails") {
  const support::Directory dir;
  for (const std::string network : {"tcp", "unix", "unixpacket"})
    for (const int error :
         {EPERM, EOPNOTSUPP, EACCES, EMFILE, ENOBUFS, ETIMEDOUT}) {
      CAPTURE(network);
      CAPTURE(error);
      const auto listener = net::must(net::listen(
          network, network == "tcp" ? "127.0.0.1:0" : dir.path + "/s"));
      std::vector<net::Error> heard;
      net::ServeOptions options;
      options.on_error = [&](const net::Error& err) { heard.push_back(err); };
      const support::Stopwatch watch;
      const inject::Faults faults(failing(error, 3));
      Blocked serving([&] { return net::serve(listener, echo_byte, options); });
      CHECK(answers(listener));
      CHECK(watch.elapsed() >= 5ms + 10ms + 20ms);
      CHECK(accepts() >= 4);
      net::close(listener);
      CHECK_FALSE(serving.get());
      CHECK(heard.size() == 3);
      for (const net::Error& err : heard) {
        CHECK(err == std::error_code(error, std::system_category()));
        CHECK(err.op() == "accept");
      }
    }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a server that is forbidden to accept is told to end, and "
                  "keeps no core busy until then") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const support::Stopwatch watch;
  const inject::Faults faults(failing(EPERM, inject::always));
  Blocked serving([&] { return net::serve(listener, echo_byte); });
  while (accepts() < 7) std::this_thread::sleep_for(1ms);
  CHECK(watch.elapsed() >= 5ms + 10ms + 20ms + 40ms + 80ms + 160ms);
  net::close(listener);
  CHECK_FALSE(serving.get());
}

TEST_CASE_FIXTURE(TimeLimit, "a server ends with what can never heal") {
  for (const int error : {EBADF, EINVAL, ENOTSOCK}) {
    CAPTURE(error);
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    const inject::Faults faults(failing(error, 1));
    const net::Error err = net::serve(listener, echo_byte);
    CHECK(err == std::error_code(error, std::system_category()));
    CHECK(err.op() == "accept");
    CHECK(accepts() == 1);
  }
}
