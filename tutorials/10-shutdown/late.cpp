// A client that comes when the server is stopping.
#include "netlite.hpp"

#include <iostream>

namespace net = netlite;

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [conn, dial_err] = net::dial("tcp", address);
  if (dial_err)
    std::cout << "Too late: " << dial_err << std::endl;
  else
    std::cout << "The door is open!" << std::endl;
}
