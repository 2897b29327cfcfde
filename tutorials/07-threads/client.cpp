// Two clients in one program: the first is silent until the second has
// gone.
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

// Sends some text, and prints what comes back.
net::Error talk(const net::Conn& conn, const std::string& text) {
  auto [sent, write_err] = net::write(conn, text);
  if (write_err) return write_err;
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return read_err;
  std::cout << "Echo: " << std::string(buffer, n) << std::endl;
  return {};
}

void think() {
  std::chrono::milliseconds moment(300);
  std::this_thread::sleep_for(moment);
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";

  // [two]
  auto [first, first_err] = net::dial("tcp", address);
  if (first_err) return fail(first_err);
  think();

  auto [second, second_err] = net::dial("tcp", address);
  if (second_err) return fail(second_err);
  net::Error err = talk(second, "I am the second.");
  if (err) return fail(err);
  net::close(second);
  think();

  err = talk(first, "I was the first.");
  if (err) return fail(err);
  // [two]
}
