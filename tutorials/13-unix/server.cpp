// A server whose address is a file.
#include "netlite.hpp"

#include <unistd.h>

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Serves one client. What goes wrong ends only this conversation.
net::Error serve(const net::Conn& conn) {
  // [who]
  auto [who, who_err] = net::peer_credentials(conn);
  if (who_err) return who_err;
  bool is_mine = who.uid == ::getuid();
  const char* user = is_mine ? "My own user" : "Another user";
  std::cout << user << " is calling." << std::endl;
  // [who]

  for (;;) {
    char buffer[1024];
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) return read_err;
    std::string message(buffer, n);
    std::cout << "Received: " << message << std::endl;

    std::string answer = "Thanks! Got your message:" + message;
    auto [sent, write_err] = net::write(conn, answer);
    if (write_err) return write_err;
  }
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  const char* network = argc > 2 ? argv[2] : "unix";
  // [listen]
  net::ListenOptions options;
  options.mode = 0600;           // for programs of my own user
  options.replace_stale = true;  // what a dead server left
  auto [listener, err] = net::listen(network, path, options);
  if (err) return fail(err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  // [listen]

  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    net::Error end = serve(conn);
    if (end != net::eof) std::cerr << end << std::endl;
    net::close(conn);
  }
}
