// Looks up a web server by its name, and prints what it says of itself.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Asks for the lines before the page; an empty line ends them.
int print_head(const net::Conn& conn) {
  auto [sent, write_err] = net::write(conn, "HEAD / HTTP/1.0\r\n\r\n");
  if (write_err) return fail(write_err);
  net::Reader reader(conn);
  for (;;) {
    auto [line, read_err] = net::read_line(reader, 10000);
    if (read_err) return fail(read_err);
    if (line.empty()) return 0;
    std::cout << line << std::endl;
  }
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "localhost:8000";
  auto [host, port, split_err] = net::split_host_port(address);
  if (split_err) return fail(split_err);
  auto [ips, lookup_err] = net::lookup_host(host);
  if (lookup_err) return fail(lookup_err);

  int code = 1;
  for (const std::string& ip : ips) {
    auto [conn, err] = net::dial("tcp", net::join_host_port(ip, port));
    if (!err) return print_head(conn);
    code = fail(err);
  }
  return code;
}
