// An echo server that serves two clients at a time; others wait.
#include "netlite.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Sends back whatever comes.
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

  // [few]
  // From now on, there are the descriptors 0 to 6, and no more.
  rlimit few{7, 7};
  if (setrlimit(RLIMIT_NOFILE, &few) < 0) {
    std::perror("setrlimit");
    return 1;
  }
  // [few]

  // [serve]
  net::ServeOptions options;
  options.max_connections = 2;
  net::Error err = net::serve(listener, process_client, options);
  if (err) return fail(err);
  // [serve]
}
