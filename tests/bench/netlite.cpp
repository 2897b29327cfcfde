// netlite, with its full semantics.
// SPDX-License-Identifier: MIT
#include "netlite.hpp"

#include "work.hpp"

namespace net = netlite;

namespace {

struct Netlite {
  using Conn = const net::Conn;

  static net::Listener listen(const std::string& network,
                              const std::string& address) {
    return net::must(net::listen(network, address));
  }
  static std::string address(const net::Socket& socket) {
    return net::local_addr(socket).string();
  }
  static net::Conn accept(const net::Listener& listener) {
    return net::must(net::accept(listener));
  }
  static net::Conn dial(const std::string& network,
                        const std::string& address) {
    return net::must(net::dial(network, address));
  }
  static void deadline(Conn& conn) {
    net::set_deadline(conn, std::chrono::hours(1));
  }
  static std::size_t read(Conn& conn, char* data, std::size_t size) {
    return net::read(conn, {data, size}).value;
  }
  static void write(Conn& conn, const char* data, std::size_t size) {
    (void)net::write(conn, {data, size});
  }
  static void close(Conn& conn) { net::close(conn); }

  template <class Handler>
  static void serve(const net::Listener& listener, Handler handler) {
    net::must(net::serve(listener, handler));
  }

  static void events(const net::Listener& listener) {
    net::Poller poller;
    net::must(poller.watch(listener, net::readable));
    std::vector<net::Conn> conns;  // the key is a place here, counted from 1
    for (;;) {
      for (const auto& [socket, ready, key] : net::must(poller.wait())) {
        if (socket == listener) {
          conns.push_back(accept(listener));
          net::must(poller.watch(conns.back(), net::readable, conns.size()));
          continue;
        }
        Conn& conn = conns[key - 1];
        char buffer[bench::room];
        const auto [n, err] = net::try_read(conn, buffer);
        if (n > 0)
          (void)net::try_write(conn, {buffer, n});
        else if (err != net::would_block)
          net::close(conn);
      }
    }
  }

  static net::PacketConn bind() {
    return net::must(net::listen_packet("udp4", "127.0.0.1:0"));
  }
  static void answer(const net::PacketConn& packets) {
    char buffer[bench::message];
    for (;;) {
      const auto [n, from, err] = net::read_from(packets, buffer);
      if (!err) (void)net::write_to(packets, {buffer, n}, from);
    }
  }
  static void hear(const net::PacketConn& packets) {
    char buffer[bench::message];
    net::must(net::read_from(packets, buffer).error);
  }

  static void send_file(Conn& to, const std::string& path, const std::string&) {
    (void)net::send_file(to, path);
  }
  static void copy(Conn& to, Conn& from, const std::string&) {
    (void)net::copy(to, from);
  }
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Netlite>(argc, argv); }
