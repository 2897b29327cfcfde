// An echo server with a thread for each client.
#include "netlite.hpp"

#include <iostream>
#include <mutex>
#include <string>
#include <utility>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [screen]
// All threads share one screen, so they print one at a time.
std::mutex screen;

void say(const std::string& line) {
  std::lock_guard<std::mutex> lock(screen);
  std::cout << line << std::endl;
}
// [screen]

// [client]
// Sends back whatever comes, in a thread that serves this client only.
void process_client(net::Conn conn) {
  std::string name = net::remote_addr(conn).string();
  say("Hello, " + name);
  char buffer[1024];
  for (;;) {
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return say("Goodbye, " + name);
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) return say(write_err.message());
  }
}
// [client]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  // [loop]
  net::Group group;
  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    net::Error err = group.go(process_client, std::move(conn));
    if (err) return fail(err);
  }
  // [loop]
}
