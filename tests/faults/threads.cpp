// SPDX-License-Identifier: MIT
// Concurrency where threads cannot be started: a task is told so, a client is
// closed, and nobody else notices.

#include "netlite.hpp"

#include "inject.hpp"

#include <memory>
#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using support::answers;
using support::Blocked;
using support::echo_byte;
using support::TimeLimit;

inject::Fault no_thread(int first, int times) {
  return {"pthread_create", first, EAGAIN, times};
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit,
                  "a task that cannot start is told, and does not run") {
  net::Group group(1);
  bool ran = false;
  const auto argument = std::make_shared<int>(1);
  {
    const inject::Faults faults({no_thread(0, 1)});
    const net::Error err = group.go([&](const auto&) { ran = true; }, argument);
    CHECK(err == std::errc::resource_unavailable_try_again);
    CHECK(err.op() == "go");
    CHECK(err.temporary());
    CHECK(err.message() ==
          "go: pthread_create: resource temporarily unavailable");
  }
  CHECK_FALSE(ran);
  CHECK(argument.use_count() == 1);
  CHECK_FALSE(group.wait());
  // The group has its place back.
  CHECK_FALSE(group.go([&] { ran = true; }));
  CHECK_FALSE(group.wait());
  CHECK(ran);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a client without a thread is closed, the others go on") {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{1}}) {
    CAPTURE(limit);
    const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    std::vector<net::Error> heard;
    net::ServeOptions options;
    options.max_connections = limit;
    options.on_error = [&](const net::Error& err) { heard.push_back(err); };
    Blocked serving([&] { return net::serve(listener, echo_byte, options); });
    {
      const inject::Faults faults({no_thread(2, 3)});
      for (const bool served :
           {true, true, false, false, false, true, true, true})
        CHECK(answers(listener) == served);
      CHECK(inject::count("pthread_create") == 8);
    }
    net::close(listener);
    CHECK_FALSE(serving.get());
    CHECK(heard.size() == 3);
    for (const net::Error& err : heard) {
      CHECK(err == std::errc::resource_unavailable_try_again);
      CHECK(err.op() == "serve");
      CHECK(err.remote().network() == "tcp");  // which client it was
    }
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a server without any thread still ends when told") {
  const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  Blocked serving([&] { return net::serve(listener, echo_byte); });
  const inject::Faults faults({no_thread(0, inject::always)});
  for (int i = 0; i < 20; ++i) CHECK_FALSE(answers(listener));
  const auto before = support::cpu_time();
  std::this_thread::sleep_for(200ms);
  CHECK(support::cpu_time() - before < 100ms);
  net::close(listener);
  CHECK_FALSE(serving.get());
}
