// A server whose messages are lines.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
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

  // The server is busy with something else for a moment.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));

  // [lines]
  net::Reader reader(conn);
  for (;;) {
    auto [line, err] = reader.read_line(1000);
    if (err == net::eof) break;
    if (err) return fail(err);
    std::cout << "Message: " << line << std::endl;
  }
  // [lines]
  std::cout << "The client has closed." << std::endl;
}
