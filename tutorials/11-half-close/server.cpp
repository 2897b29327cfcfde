// A server that sorts lines. It can only answer when it has them all.
#include "netlite.hpp"

#include <iostream>
#include <set>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [sort]
// Reads to the end, and then answers: on the same connection.
net::Error sort_lines(const net::Conn& conn) {
  std::multiset<std::string> lines;  // it keeps them sorted
  net::Reader reader(conn);
  for (;;) {
    auto [line, read_err] = reader.read_line(1000);
    if (read_err == net::eof) break;
    if (read_err) return read_err;
    if (lines.size() == 1000) return net::limit_exceeded;
    lines.insert(line);
  }
  std::string answer;
  for (const std::string& line : lines) answer += line + "\n";
  auto [n, write_err] = net::write(conn, answer);
  return write_err;
}
// [sort]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    net::Error err = sort_lines(conn);
    if (err) std::cerr << err << std::endl;
    net::close(conn);
  }
}
