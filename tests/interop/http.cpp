// A web server of ten lines, for curl: its page is the first line of the
// request.
// SPDX-License-Identifier: MIT

#include <iostream>

#include "netlite.hpp"

namespace net = netlite;

net::Error answer(net::Conn browser) {
  net::Reader reader(browser);
  auto [page, err] = reader.read_line();
  for (bool headers = true; headers && !err;) {
    auto [line, line_err] = reader.read_line();
    headers = !line.empty();
    err = line_err;
  }
  if (err) return err;
  const std::string size = std::to_string(page.size());
  return net::write(browser, {"HTTP/1.1 200 OK\r\nConnection: close\r\n",
                              "Content-Length: ", size, "\r\n\r\n", page})
      .error;
}

int main(int, char** argv) {
  auto listener = net::must(net::listen(argv[1], argv[2]));
  std::cerr << "listening on " << net::addr(listener) << std::endl;
  net::must(net::serve(listener, answer));
}
