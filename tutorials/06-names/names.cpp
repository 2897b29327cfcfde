// A client that looks up a name and tries each of its addresses.
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [greet]
int greet(const net::Conn& conn) {
  auto [sent, write_err] = net::write(conn, "Hello Server! Greetings.");
  if (write_err) return fail(write_err);
  auto [answer, read_err] = net::read_all(conn, 1000);
  if (read_err) return fail(read_err);
  std::cout << "Received: " << answer << std::endl;
  return 0;
}
// [greet]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "localhost:9988";

  // [split]
  auto [host, port, split_err] = net::split_host_port(address);
  if (split_err) return fail(split_err);
  // [split]

  // [lookup]
  auto [ips, lookup_err] = net::lookup_host(host);
  if (lookup_err) return fail(lookup_err);
  for (const std::string& ip : ips)
    std::cout << host << " is " << ip << std::endl;
  // [lookup]

  // [try]
  for (const std::string& ip : ips) {
    std::string one = net::join_host_port(ip, port);
    auto [conn, dial_err] = net::dial("tcp", one);
    if (!dial_err) return greet(conn);
    std::cout << dial_err << std::endl;
  }
  // [try]
  std::cerr << "None of them answers." << std::endl;
  return 1;
}
