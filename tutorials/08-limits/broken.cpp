// The mistake: when accept fails, try again at once.
#include "netlite.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <ctime>
#include <iostream>
#include <utility>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

void process_client(net::Conn conn) {
  char buffer[1024];
  for (;;) {
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return;
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) return;
  }
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  rlimit few{7, 7};
  if (setrlimit(RLIMIT_NOFILE, &few) < 0) {
    std::perror("setrlimit");
    return 1;
  }
  // [mistake]
  int failures = 0;
  std::clock_t before = 0;
  net::Group group;
  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) {
      if (failures++ == 0) before = std::clock();
      // A second is enough to see it.
      if (std::clock() - before < CLOCKS_PER_SEC) continue;
      return fail(accept_err);
    }
    if (failures > 0) {
      auto used = 1000 * (std::clock() - before) / CLOCKS_PER_SEC;
      std::cout << "accept failed " << failures << " times, in " << used
                << " ms of CPU time." << std::endl;
      failures = 0;
    }
    net::Error err = group.go(process_client, std::move(conn));
    if (err) return fail(err);
  }
  // [mistake]
}
