// The mistake: taking one read for one message.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));

  // [mistake]
  int messages = 0;
  for (;;) {
    char buffer[4096];
    auto [n, err] = net::read(conn, buffer);
    if (err == net::eof) break;
    if (err) return fail(err);
    std::cout << "Message: " << std::string(buffer, n) << std::endl;
    ++messages;
  }
  // [mistake]
  std::cout << "Messages: " << messages << std::endl;
  return messages == 2 ? 0 : 1;
}
