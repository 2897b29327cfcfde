// SPDX-License-Identifier: MIT
// A shared library that uses netlite, and hands its errors out; see main.cpp.
#include "netlite.hpp"

namespace net = netlite;

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void read_to_the_end(net::Error& err) {
  const net::Pipe pipe = net::pipe();
  net::close(pipe.second);
  char byte;
  err = net::read(pipe.first, {&byte, 1}).error;
}

EXPORT void read_too_long(net::Error& err) {
  const net::Pipe pipe = net::pipe();
  net::set_deadline(pipe.first, std::chrono::seconds(0));
  char byte;
  err = net::read(pipe.first, {&byte, 1}).error;
}

EXPORT void look_up(net::Error& err) {
  err = net::lookup_host("no such name").error;
}

EXPORT void fail(net::Error& err) { net::must(err); }
