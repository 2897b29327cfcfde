// Asks a mailbox, and leaves no file behind.
#include "netlite.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

namespace net = netlite;
using namespace std::chrono_literals;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Sends a question from the socket `mine`; what comes back to it.
net::Result<std::string> ask(const char* path, const std::string& mine,
                             const char* question) {
  net::DialOptions options;
  options.local = net::Addr("unixgram", mine);
  auto [conn, dial_err] = net::dial("unixgram", path, options);
  if (dial_err) return dial_err;
  auto [sent, write_err] = net::write(conn, question);
  if (write_err) return write_err;

  net::set_read_deadline(conn, 1s);
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return read_err;
  return std::string(buffer, n);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: ask PATH QUESTION" << std::endl;
    return 2;
  }
  std::string mine = "/tmp/ask-" + std::to_string(getpid());
  auto [answer, err] = ask(argv[1], mine, argv[2]);
  std::remove(mine.c_str());  // the dial has made it, even if it failed
  if (err) return fail(err);
  std::cout << answer << std::endl;
}
