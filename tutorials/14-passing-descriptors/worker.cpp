// Borrows a listener, serves one client, and ends.
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
  // [receive]
  const char* path = argc > 1 ? argv[1] : "@netlite-9988";
  auto [supervisor, dial_err] = net::dial("unix", path);
  if (dial_err) return fail(dial_err);
  // It takes a moment to get ready.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  auto [descriptor, get_err] = net::receive_descriptor(supervisor);
  if (get_err) return fail(get_err);
  net::close(supervisor);
  // [receive]

  // [adopt]
  auto [listener, adopt_err] = net::listener_from(descriptor);
  if (adopt_err) return fail(adopt_err);
  std::cout << "I have " << net::addr(listener) << std::endl;
  // [adopt]

  auto [conn, accept_err] = net::accept(listener);
  if (accept_err) return fail(accept_err);
  net::close(listener);
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return fail(read_err);
  std::string message(buffer, n);
  std::string answer = "Thanks! Got your message:" + message;
  auto [sent, write_err] = net::write(conn, answer);
  if (write_err) return fail(write_err);
}
