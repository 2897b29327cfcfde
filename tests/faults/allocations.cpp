// SPDX-License-Identifier: MIT
// What happens when memory runs out: each allocation of a call fails in turn.
// Then std::bad_alloc comes out of the call, and nothing is lost or hangs.

#include "netlite.hpp"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../support.hpp"

namespace {

thread_local int allocations_left = -1;  // negative: any number
thread_local bool failed = false;
std::atomic<int> closes_of_nothing{0};

void* allocate(std::size_t size) {
  if (allocations_left == 0) return failed = true, nullptr;
  if (allocations_left > 0) --allocations_left;
  return std::malloc(size ? size : 1);
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* memory = allocate(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

// A descriptor that is closed twice may be somebody else's the second time.
extern "C" int close(int fd) {
  const long result = ::syscall(SYS_close, fd);
  if (result != 0) ++closes_of_nothing;
  return static_cast<int>(result);
}

namespace {

using support::TimeLimit;

// Makes the call with its first allocation failing, with its second, and so
// on, until none fails any more; returns how many there are.
template <class Call>
int each_fails(Call call) {
  call();  // what is made only once is made now
  const std::size_t open = support::descriptors();
  for (int n = 0;; ++n) {
    CAPTURE(n);
    failed = false;
    try {
      allocations_left = n;
      call();
      allocations_left = -1;
    } catch (const std::bad_alloc&) {
      allocations_left = -1;
    }
    CHECK(support::descriptors() == open);
    CHECK(closes_of_nothing == 0);
    if (!failed) return n;
  }
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "a socket that finds no memory is closed, once") {
  const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  CHECK(each_fails([] { (void)net::pipe(); }) > 2);
  CHECK(each_fails([] { (void)net::listen("tcp", "127.0.0.1:0"); }) > 0);
  CHECK(each_fails([] { (void)net::listen_packet("udp", "127.0.0.1:0"); }) > 0);
  CHECK(each_fails([&] {
          const auto dialed = net::dial("tcp", address);
          const auto accepted = net::accept(listener);
        }) > 1);
}

TEST_CASE_FIXTURE(TimeLimit, "closing what is watched needs no memory") {
  net::Poller poller;
  const net::Pipe ends = net::pipe();
  net::must(poller.watch(ends.first, net::readable));
  allocations_left = 0;
  const net::Error err = net::close(ends.first);
  allocations_left = -1;
  CHECK_FALSE(err);
  CHECK_FALSE(failed);
}

TEST_CASE_FIXTURE(TimeLimit, "a Group does not wait for what never began") {
  net::Group group;
  std::atomic<int> ran{0};
  const std::string long_text(100, 'x');
  const int allocations = each_fails([&] {
    const net::Error err =
        group.go([&](const std::string&) { ++ran; }, long_text);
    allocations_left = -1;  // for the check
    CHECK((!err || err == std::errc::not_enough_memory));
  });
  CHECK(allocations > 0);
  CHECK_FALSE(group.wait());
  CHECK(ran >= 2);
}

TEST_CASE_FIXTURE(TimeLimit, "a task that ends without memory tells of it") {
  for (const int left : {0, 1, 2}) {
    CAPTURE(left);
    net::Group group;
    net::must(group.go([left] {
      const std::runtime_error why("a text too long for a string's own room");
      allocations_left = left;
      throw why;
    }));
    CHECK(group.wait() == net::task_failed);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a handler that ends without memory ends alone") {
  const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const auto handler = [](const net::Conn& conn) {
    char byte;
    (void)net::read(conn, {&byte, 1});
    allocations_left = 0;
  };
  support::Blocked serving([&] { return net::serve(listener, handler); });
  std::vector<net::Conn> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(
        net::must(net::dial("tcp", net::addr(listener).string())));
  for (const net::Conn& client : clients) net::must(net::write(client, "x"));
  for (const net::Conn& client : clients) {
    char byte;
    CHECK(net::read(client, {&byte, 1}).error == net::eof);
  }
  net::close(listener);
  CHECK_FALSE(serving.get());
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a server without memory leaves no handler behind") {
  net::ServeOptions options;
  options.grace = std::chrono::nanoseconds(0);
  int failures = 0;
  for (int n = 0; n < 30; ++n) {
    CAPTURE(n);
    std::atomic<int> running{0};
    const net::Listener listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    const std::string address = net::addr(listener).string();
    const net::Conn clients[] = {net::must(net::dial("tcp", address)),
                                 net::must(net::dial("tcp", address))};
    int left_behind = -1;
    std::thread server([&] {
      allocations_left = n;
      try {
        (void)net::serve(
            listener,
            [&](const net::Conn& conn) {
              ++running;
              char byte = 'x';
              (void)net::write(conn, {&byte, 1});
              (void)net::read(conn, {&byte, 1});
              --running;
            },
            options);
      } catch (const std::bad_alloc&) {
        ++failures;
      }
      allocations_left = -1;
      left_behind = running;
      net::close(listener);
    });
    char byte;
    for (const net::Conn& client : clients)
      (void)net::read(client, {&byte, 1});  // until served, or given up
    net::close(listener);
    server.join();
    CHECK(left_behind == 0);
  }
  CHECK(failures > 5);
}
