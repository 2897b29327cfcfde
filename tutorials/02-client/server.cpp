// A server that answers in two pieces, and thinks in between.
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

  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::string message(buffer, n);
  std::cout << "Received: " << message << std::endl;

  // [pieces]
  std::string thanks = "Thanks! Got your message:";
  auto [sent, write_err] = net::write(conn, thanks);
  if (write_err) return fail(write_err);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  auto [more, again_err] = net::write(conn, message);
  if (again_err) return fail(again_err);
  net::close(conn);
  // [pieces]
}
