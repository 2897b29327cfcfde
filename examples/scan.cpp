// scan - finds the open TCP ports of a host.
// SPDX-License-Identifier: MIT
//
//   scan 127.0.0.1
//   scan 127.0.0.1 8000 8999

#include <algorithm>
#include <iostream>
#include <map>
#include <vector>

#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

// An open port takes the call, a closed one refuses it. One behind a firewall
// may say nothing at all: a second is enough.
net::Error call(const std::string& host, int port) {
  const std::string address = net::join_host_port(host, std::to_string(port));
  return net::dial_timeout("tcp", address, 1s).error;
}

// Calls the ports from `first` to `last`, many at a time.
std::vector<net::Error> call_all(const std::string& host, int first, int last) {
  std::vector<net::Error> answers(static_cast<std::size_t>(last - first + 1));
  net::Group calls(100);
  int next = first;
  // Each task has a place of its own for what it learns: there is no lock.
  for (net::Error& answer : answers) {
    const auto task = [&](int port) { answer = call(host, port); };
    net::must(calls.go(task, next++));
  }
  net::must(calls.wait());
  return answers;
}

int usage() {
  std::cerr << "usage: scan HOST [FIRST LAST]\n\n"
               "  HOST         a name or an address\n"
               "  FIRST, LAST  ports, such as 8000 or http; 1 and 1024\n";
  return 2;
}

int main(int argc, char** argv) try {
  if (argc != 2 && argc != 4) return usage();
  const auto port_of = [](const char* text) {
    return net::must(net::lookup_port("tcp", text));
  };
  int port = argc == 4 ? std::max(1, port_of(argv[2])) : 1;
  const int last = argc == 4 ? port_of(argv[3]) : 1024;
  if (port > last) return usage();
  // One look-up for all of them.
  const std::string host = net::must(net::lookup_host(argv[1], 10s)).front();
  std::map<std::string, int> failures;
  for (const net::Error& err : call_all(host, port, last)) {
    if (err)
      ++failures[net::Error(err.code()).message()];  // without its story
    else
      std::cout << port << " open\n";
    ++port;
  }
  for (const auto& [why, count] : failures)
    std::cerr << count << " " << why << "\n";
} catch (const net::Failure& failure) {
  std::cerr << "scan: " << failure.what() << "\n";
  return 1;
}
