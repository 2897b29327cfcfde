// The mistake: a server that counts on an orderly end.
#include "netlite.hpp"

#include <csignal>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  // [mistake]
  auto [listener, listen_err] = net::listen("unix", path);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  // [mistake]
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::string message(buffer, n);
  std::string answer = "Thanks! Got your message:" + message;
  auto [sent, write_err] = net::write(conn, answer);
  if (write_err) return fail(write_err);

  // [killed]
  std::cout << "Somebody kills me." << std::endl;
  std::raise(SIGKILL);
  // [killed]
}
