// A slow client: half of its line, a pause, and the rest.
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
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err) return fail(dial_err);

  auto [first, first_err] = net::write(conn, "Hello ");
  if (first_err) return fail(first_err);

  // The pause. If the server hangs up, it ends at once.
  net::set_read_deadline(conn, std::chrono::milliseconds(1500));
  char buffer[64];
  auto [n, pause_err] = net::read(conn, buffer);
  if (pause_err != net::timed_out) return fail(pause_err);

  net::set_deadline(conn, std::chrono::seconds(2));
  auto [second, second_err] = net::write(conn, "Server!\n");
  if (second_err) return fail(second_err);
  auto [line, read_err] = net::Reader(conn).read_line(1000);
  if (read_err) return fail(read_err);
  std::cout << "Echo: " << line << std::endl;
}
