// A client that is never silent for long, and never done: it sends one
// byte every 150 milliseconds. So its 13 bytes take 1.8 seconds.
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
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  std::string text = "Hello World!\n";
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto [sent, write_err] = net::write(conn, text.substr(i, 1));
    if (write_err) return fail(write_err);
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
  }
  auto [line, read_err] = net::Reader(conn).read_line(1000);
  if (read_err) return fail(read_err);
  std::cout << "Echo: " << line << std::endl;
}
