// netlite, with its full semantics.
#include "netlite.hpp"

#include "work.hpp"

namespace net = netlite;

namespace {

struct Netlite {
  using Conn = net::Conn;

  static net::Listener listen(const std::string& network,
                              const std::string& address) {
    return net::must(net::listen(network, address));
  }
  static std::string address(const net::Handle& handle) {
    return net::local_addr(handle).string();
  }
  static Conn accept(const net::Listener& listener) {
    return net::must(net::accept(listener));
  }
  static Conn dial(const std::string& network, const std::string& address) {
    return net::must(net::dial(network, address));
  }
  static void deadline(const Conn& conn) {
    net::set_deadline(conn, std::chrono::hours(1));
  }
  static std::size_t read(const Conn& conn, char* data, std::size_t size) {
    return net::read(conn, {data, size}).value;
  }
  static void write(const Conn& conn, const char* data, std::size_t size) {
    if (net::write(conn, data, size).error) return;
  }
  static void close(const Conn& conn) { net::close(conn); }

  static net::PacketConn bind() {
    return net::must(net::listen_packet("udp", "127.0.0.1:0"));
  }
  static Conn connect(const std::string& address) {
    return net::must(net::dial("udp", address));
  }
  static void answer(const net::PacketConn& packets, int rounds) {
    char buffer[64];
    for (int i = 0; i < rounds; ++i) {
      const auto [n, from, err] = net::read_from(packets, buffer);
      if (!err) (void)net::write_to(packets, {buffer, n}, from);
    }
  }

  static int serve(bool events) {
    const auto listener = listen("tcp", "127.0.0.1:0");
    net::Group group;
    net::go(group, [listener, events] {
      if (events)
        event_loop(listener);
      else
        net::serve(listener,
                   [](const Conn& conn) { bench::echo<Netlite>(conn); });
    });
    bench::announce_and_wait(address(listener));
    return 0;
  }
  static void event_loop(const net::Listener& listener) {
    const auto poller = net::must(net::make_poller());
    std::vector<Conn> conns;  // the key is an index, 0 the listener
    conns.emplace_back();
    net::must(net::watch(poller, listener, net::readable, 0));
    for (;;) {
      for (const net::Event& event : net::must(net::wait(poller))) {
        if (event.key == 0) {
          conns.push_back(accept(listener));
          net::must(net::watch(poller, conns.back(), net::readable,
                               conns.size() - 1));
          continue;
        }
        Conn& conn = conns[event.key];
        char buffer[64];
        const auto [n, err] = net::try_read(conn, buffer);
        if (n > 0)
          (void)net::try_write(conn, {buffer, n});
        else if (err && err != net::would_block)
          net::close(conn);
      }
    }
  }
};

}  // namespace

int main(int argc, char** argv) { return bench::run<Netlite>(argc, argv); }
