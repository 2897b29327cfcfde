// Opens the port, and lends it to whoever comes to its door.
#include "netlite.hpp"

#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  // [open]
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  const char* path = argc > 2 ? argv[2] : "@netlite-9988";
  auto [door, door_err] = net::listen("unix", path);
  if (door_err) return fail(door_err);
  std::cout << "Opened " << net::addr(listener) << std::endl;
  // [open]

  // [send]
  for (;;) {
    auto [worker, accept_err] = net::accept(door);
    if (accept_err) return fail(accept_err);
    int descriptor = net::native_handle(listener);
    net::Error err = net::send_descriptor(worker, descriptor);
    if (err) std::cerr << err << std::endl;
    net::close(worker);
  }
  // [send]
}
