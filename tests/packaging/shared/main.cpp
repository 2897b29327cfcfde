// SPDX-License-Identifier: MIT
// Looks at the errors of a shared library, which is linked or, when its path is
// given, loaded: they compare as those of the program itself.
#include <dlfcn.h>

#include <cstdio>

#include "netlite.hpp"

namespace net = netlite;

int failed = 0;

void check(bool right, const char* what) {
  if (right) return;
  std::printf("FAILED: %s\n", what);
  failed = 1;
}

int main(int argc, char** argv) {
  void* library = RTLD_DEFAULT;
  if (argc > 1) library = ::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  const auto call = [&](const char* name, net::Error err = {}) {
    using F = void(net::Error&);
    reinterpret_cast<F*>(::dlsym(library, name))(err);
    return err;
  };

  const net::Error end = call("read_to_the_end");
  check(end == net::eof && end != net::closed, "eof");
  check(end == net::Error(net::eof) && end.message() == "EOF", "the same eof");

  const net::Error late = call("read_too_long");
  check(late == net::timed_out && late != end, "timed_out");
  check(late.timeout() && late.temporary(), "its classes");
  check(late == std::errc::timed_out, "its kind");
  check(late.op() == "read" && late.network() == "pipe", "its story");

  const net::Error unknown = call("look_up");
  check(unknown == net::no_such_host, "no_such_host");
  check(unknown == net::lookup_host("no such name").error, "one of our own");

  try {
    call("fail", net::limit_exceeded);
    check(false, "an exception");
  } catch (const net::Failure& failure) {
    check(failure.error == net::limit_exceeded, "limit_exceeded");
  }
  return failed;
}
