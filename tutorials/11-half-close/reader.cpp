// A client that asks, is busy for a moment, and reads to the end.
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
  auto [n, write_err] = net::write(conn, "May I have it?\n");
  if (write_err) return fail(write_err);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));

  auto [answer, read_err] = net::read_all(conn, 1 << 20);
  if (read_err) std::cout << "A part of it." << std::endl;
  if (read_err) return fail(read_err);
  std::cout << "All of it." << std::endl;
  net::close(conn);
}
