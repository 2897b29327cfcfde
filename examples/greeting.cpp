// greeting - the classic first server: it greets back, many clients at a time.
// SPDX-License-Identifier: MIT
//
//   greeting &
//   nc 127.0.0.1 9988
//   Hello Server! Greetings.

#include <cstdio>
#include <string_view>
#include <thread>

#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

// Go's processClient(connection). The connection is closed with its last
// handle, when this function returns.
net::Error greet(net::Conn client) {
  net::set_deadline(client, 60s);  // a silent client does not stay for ever
  char buffer[1024];
  auto [n, err] = net::read(client, buffer);
  if (err == net::eof) return {};  // came and went without a word
  if (err) return err;
  const std::string_view words(buffer, n);
  std::printf("Received: %.*s\n", static_cast<int>(n), buffer);
  return net::write(client, {"Thanks! Got your message:", words}).error;
}

void process_client(net::Conn client) {
  if (const net::Error err = greet(client))
    std::fprintf(stderr, "greeting: %s\n", err.message().c_str());
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  if (argc > 2 || address[0] == '-') {
    std::fputs("usage: greeting [HOST:PORT]\n", stderr);
    return 2;
  }
  // Each line at once, into a pipe too.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);

  std::puts("Server Running...");
  auto [listener, err] = net::listen("tcp", address);
  if (err) {
    std::fprintf(stderr, "greeting: %s\n", err.message().c_str());
    return 1;
  }
  std::printf("Listening on %s\n", net::addr(listener).string().c_str());
  std::puts("Waiting for client...");

  net::Group clients(100);  // at most so many at a time; the next ones queue
  for (;;) {
    auto [client, accept_err] = net::accept(listener);
    if (accept_err) {
      std::fprintf(stderr, "greeting: %s\n", accept_err.message().c_str());
      if (!accept_err.temporary()) return 1;
      // Short of descriptors: the client stays queued until one is free.
      std::this_thread::sleep_for(100ms);
      continue;
    }
    std::puts("client connected");
    if (const net::Error go_err = clients.go(process_client, client))
      std::fprintf(stderr, "greeting: %s\n", go_err.message().c_str());
  }
}
