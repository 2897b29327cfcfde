// The mistake: a thread refers to a connection that is kept elsewhere.
#include "netlite.hpp"

#include <functional>
#include <iostream>
#include <vector>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// [client]
void process_client(net::Conn& conn) {
  char buffer[1024];
  for (;;) {
    auto [n, read_err] = net::read(conn, buffer);
    if (read_err) break;
    auto [sent, write_err] = net::write(conn, {buffer, n});
    if (write_err) break;
  }
  net::close(conn);
}
// [client]

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  // [mistake]
  std::vector<net::Conn> clients;
  net::Group group;
  for (;;) {
    auto [conn, accept_err] = net::accept(listener);
    if (accept_err) return fail(accept_err);
    clients.push_back(conn);
    net::Error err = group.go(process_client, std::ref(clients.back()));
    if (err) return fail(err);
  }
  // [mistake]
}
