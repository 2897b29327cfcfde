// Takes datagrams at a file, and answers those that have a sender.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/hello-9988";
  net::ListenOptions options;
  options.mode = 0600;
  options.replace_stale = true;
  auto [packets, err] = net::listen_packet("unixgram", path, options);
  if (err) return fail(err);
  std::cout << "Listening on " << path << std::endl;

  for (;;) {
    char buffer[1024];
    auto [n, from, read_err] = net::read_from(packets, buffer);
    if (read_err) return fail(read_err);
    std::string message(buffer, n);
    // [nobody]
    if (!from) {
      std::cout << "From nobody: " << message << std::endl;
      continue;
    }
    // [nobody]
    std::cout << "From " << from << ": " << message << std::endl;
    std::string answer = "Thanks! Got your message:" + message;
    auto [sent, write_err] = net::write_to(packets, answer, from);
    if (write_err) std::cerr << write_err << std::endl;
  }
}
