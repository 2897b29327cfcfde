// As recipes.cpp: the answer that needs libuv. Prints what comes from ADDRESS.
//
//   recipes_uv ADDRESS
//
// SPDX-License-Identifier: MIT

#include "netlite.hpp"

#include <uv.h>

#include <iostream>

namespace net = netlite;

namespace {

// … use libuv?

void run(const char* address) {
  net::Conn conn = net::must(net::dial("tcp", address));
  // … use libuv? (2)
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  run(argv[1]);
}
