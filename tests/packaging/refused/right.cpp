// SPDX-License-Identifier: MIT
// The right way for each of the mistakes in mistakes.cpp and refused.sh.

#include "netlite.hpp"

#include <string>

namespace net = netlite;

void right(const net::Conn& conn, const net::Listener& listener,
           const net::PacketConn& packets, net::Group& group) {
  net::DialOptions dial;
  dial.control = [](int) { return net::Error(); };
  net::ListenOptions listen;
  listen.control = [](int) -> std::error_code { return {}; };
  net::ServeOptions serve;
  serve.on_error = [](const net::Error& err) { return err; };
  const net::Reader reader([](net::Buffer room) { return room.size(); });

  (void)net::serve(
      listener, [](const net::Conn&) {}, serve);
  (void)net::serve(listener, [](net::Conn) { return net::Error(); });

  int count = 0;
  (void)group.go([](int& n) { ++n; }, std::ref(count));
  (void)group.go([](int n) { return n; }, count);

  char buffer[9] = "";
  (void)net::write(conn, {buffer, 3});
  (void)net::set_option(conn, 1, 2, count);

  std::string room(100, ' ');
  (void)net::read(conn, room);
  (void)net::read_from(packets, room);
  (void)net::write_to(packets, "text", net::Addr());
  (void)net::accept(listener);
  (void)net::Conn(net::Socket(listener));
}
