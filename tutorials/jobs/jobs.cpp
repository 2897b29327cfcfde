// jobs PATH: runs the jobs that it is sent there, each with a deadline. A
// second one with the same path replaces it, while it works.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/jobs-9988";
  net::ListenOptions options;
  options.mode = 0600;           // for this user only
  options.replace_stale = true;  // left by one that crashed
  auto [listener, listen_err] = net::listen("unix", path, options);
  if (listen_err) return fail(listen_err);
  std::cout << "Serving at " << path << std::endl;

  for (;;) {
    auto [conn, err] = net::accept(listener);
    if (err) return fail(err);
    auto [n, write_err] = net::write(conn, "refused: I know no jobs yet\n");
    if (write_err) std::cerr << write_err << std::endl;
  }
}
