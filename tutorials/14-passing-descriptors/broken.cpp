// The mistake: reading the byte, and then asking for the descriptor.
#include "netlite.hpp"

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "@netlite-9988";
  auto [supervisor, dial_err] = net::dial("unix", path);
  if (dial_err) return fail(dial_err);
  // It takes a moment to get ready.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));

  // [mistake]
  char byte[1];
  auto [n, read_err] = net::read(supervisor, byte);
  if (read_err) return fail(read_err);
  std::cout << "The byte is here." << std::endl;
  auto [descriptor, get_err] = net::receive_descriptor(supervisor);
  if (get_err) return fail(get_err);
  // [mistake]

  auto [listener, adopt_err] = net::listener_from(descriptor);
  if (adopt_err) return fail(adopt_err);
  std::cout << "I have " << net::addr(listener) << std::endl;
}
