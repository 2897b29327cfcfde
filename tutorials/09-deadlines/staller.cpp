// A client that sends half a line in two pieces, and then nothing more.
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
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  auto [first, first_err] = net::write(conn, "Hel");
  if (first_err) return fail(first_err);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  auto [second, second_err] = net::write(conn, "lo");
  if (second_err) return fail(second_err);

  // It has all the time in the world. The server has not.
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  std::cout << "The server closed: " << read_err << std::endl;
}
