// Your turn: a server at a file. Judged by: run 13 check
#include "netlite.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

namespace net = netlite;
using namespace std::chrono_literals;

inline int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Listens on the unix socket `path`, serves one client and returns 0.
// It sends the client "You are user N.\n", with the number of that
// client's user. What a dead server has left at `path` it replaces,
// without the option replace_stale: you write what that does. Whatever
// else is there it leaves alone, prints the error, and returns 1. No
// file of its own stays behind.
inline int serve_here(const std::string& path) {
  // TODO: who says that the file there belongs to nobody?
  std::remove(path.c_str());
  auto listened = net::listen("unix", path);
  if (listened.error) return fail(listened.error);
  auto [conn, accept_err] = net::accept(listened.value);
  if (accept_err) return fail(accept_err);
  std::string answer = "You are user ?.\n";
  auto [sent, write_err] = net::write(conn, answer);
  if (write_err) return fail(write_err);
  return 0;
}
