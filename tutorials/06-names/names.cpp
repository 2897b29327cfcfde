// A client that looks up names, and tries each of their addresses.
#include "netlite.hpp"

#include <iostream>
#include <string>
#include <vector>

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
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) names = {"localhost:9988"};

  std::vector<std::string> list;
  for (const std::string& name : names) {
    // [split]
    auto [host, port, split_err] = net::split_host_port(name);
    if (split_err) return fail(split_err);
    // [split]

    // [lookup]
    auto [ips, lookup_err] = net::lookup_host(host);
    if (lookup_err) return fail(lookup_err);
    for (const std::string& ip : ips)
      list.push_back(net::join_host_port(ip, port));
    // [lookup]
  }

  // [try]
  for (const std::string& address : list) {
    std::cout << "Trying " << address << std::endl;
    auto [conn, dial_err] = net::dial("tcp", address);
    if (!dial_err) return greet(conn);
    std::cout << dial_err << std::endl;
  }
  // [try]
  std::cerr << "None of them answered." << std::endl;
  return 1;
}
