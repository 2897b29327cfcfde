// Three clients in one program. The third finds the server full.
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

// Prints what comes back within some time.
net::Error hear(const net::Conn& conn, std::chrono::milliseconds time) {
  net::set_read_deadline(conn, time);
  char buffer[1024];
  auto [n, err] = net::read(conn, buffer);
  std::string echo(buffer, n);
  if (!err) std::cout << "Echo: " << echo << std::endl;
  return err;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  net::Conn clients[3];
  for (net::Conn& client : clients) {
    auto [conn, err] = net::dial("tcp", address);
    if (err) return fail(err);
    client = conn;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }

  // [three]
  for (int i = 0; i < 3; ++i) {
    std::string words = "I am number " + std::to_string(i + 1) + ".";
    auto [sent, write_err] = net::write(clients[i], words);
    if (write_err) return fail(write_err);

    net::Error err = hear(clients[i], std::chrono::milliseconds(500));
    if (err == net::timed_out) {
      std::cout << "No answer. So the first one goes." << std::endl;
      net::close(clients[0]);
      err = hear(clients[i], std::chrono::seconds(5));
    }
    if (err) return fail(err);
  }
  // [three]
}
