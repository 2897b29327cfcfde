// The mistake: taking what was sent for what has arrived.
#include "netlite.hpp"

#include <chrono>
#include <iostream>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  // Both ends, so that nobody is faster by chance. The receiver has as
  // little room as the system allows.
  auto [packets, listen_err] = net::listen_packet("udp", address);
  if (listen_err) return fail(listen_err);
  net::set_read_buffer(packets, 1);
  auto [conn, dial_err] = net::dial("udp", address);
  if (dial_err) return fail(dial_err);

  // [mistake]
  int sent = 0;
  while (sent < 1000) {
    auto [n, write_err] = net::write(conn, "Greetings.");
    if (write_err) return fail(write_err);
    ++sent;
  }
  std::cout << "Sent " << sent << ", without an error." << std::endl;
  // [mistake]

  // The receiver was busy until now.
  int received = 0;
  net::set_read_deadline(packets, std::chrono::milliseconds(200));
  for (;;) {
    char buffer[1024];
    auto [n, from, read_err] = net::read_from(packets, buffer);
    if (read_err == net::timed_out) break;
    if (read_err) return fail(read_err);
    ++received;
  }
  std::cout << "Received " << received << " of 1000." << std::endl;
  return received == sent ? 0 : 1;
}
