// A chat: everybody reads what anybody writes. Try it: sh tutorials/run chat
#include "netlite.hpp"

#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// One member, from the question to the end.
net::Error talk(const net::Conn& conn) {
  auto [n, write_err] = net::write(conn, "What is your name?\n");
  if (write_err) return write_err;
  net::Reader reader(conn);
  auto [name, read_err] = reader.read_line(1000);
  return read_err;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, err] = net::listen("tcp", address);
  if (err) return fail(err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  return fail(net::serve(listener, talk));
}
