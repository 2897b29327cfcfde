// Standalone Asio, over TCP and unix sockets: its synchronous calls, and its
// asynchronous ones in one thread - `events` for the server, `ping-events` for
// the client.
// SPDX-License-Identifier: MIT
#include <asio.hpp>
#include <memory>

#include "work.hpp"

namespace {

using asio::ip::tcp;
using Stream = asio::generic::stream_protocol;  // TCP and unix in one type
using Socket = Stream::socket;
using Acceptor = asio::basic_socket_acceptor<Stream>;

asio::io_context& context() {
  static asio::io_context one(1);  // the asynchronous calls: one thread
  return one;
}

Stream::endpoint parse(const std::string& address) {
  if (address[0] == '/') return asio::local::stream_protocol::endpoint(address);
  const std::size_t colon = address.find(':');
  return tcp::endpoint(
      asio::ip::make_address(address.substr(0, colon)),
      static_cast<unsigned short>(std::stoi(address.substr(colon + 1))));
}

struct Asio {
  using Conn = Socket;

  static Acceptor listen(const std::string&, const std::string& address) {
    const Stream::endpoint at = parse(address);
    Acceptor acceptor(context(), at.protocol());
    if (address[0] != '/')
      acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(at);
    acceptor.listen();
    if (address[0] != '/') acceptor.set_option(tcp::no_delay(true));
    return acceptor;
  }
  static std::string address(const Acceptor& acceptor) {
    const Stream::endpoint at = acceptor.local_endpoint();
    if (at.protocol().family() == AF_UNIX)
      return reinterpret_cast<const sockaddr_un*>(at.data())->sun_path;
    const auto* in = reinterpret_cast<const sockaddr_in*>(at.data());
    return "127.0.0.1:" + std::to_string(ntohs(in->sin_port));
  }
  static Socket accept(Acceptor& acceptor) {
    Socket socket(context());
    acceptor.accept(socket);
    return socket;
  }
  static Socket dial(const std::string& network, const std::string& address) {
    Socket socket(context());
    socket.connect(parse(address));
    if (network == "tcp") socket.set_option(tcp::no_delay(true));
    return socket;
  }
  static std::size_t read(Socket& socket, char* data, std::size_t size) {
    asio::error_code error;
    return socket.read_some(asio::buffer(data, size), error);
  }
  static void write(Socket& socket, const char* data, std::size_t size) {
    asio::error_code error;
    asio::write(socket, asio::buffer(data, size), error);
  }
  static void close(Socket& socket) {
    asio::error_code error;
    socket.close(error);
  }
  static void deadline(Socket&) { bench::fail("Asio has no deadlines"); }

  template <class Handler>
  static void serve(Acceptor& acceptor, Handler handler) {
    for (;;)
      std::thread([handler, socket = accept(acceptor)]() mutable {
        handler(socket);
      }).detach();
  }
  static void events(Acceptor& acceptor);

  static Acceptor bind() { bench::fail("Asio: TCP and unix only"); }
  static void answer(Acceptor&) {}
  static void hear(Acceptor&) {}
  static void send_file(Socket&, const std::string&, const std::string&) {}
  static void copy(Socket&, Socket&, const std::string&) {}
};

// A connection of the asynchronous server; it keeps itself alive.
struct Echo : std::enable_shared_from_this<Echo> {
  explicit Echo(Socket from) : socket(std::move(from)) {}

  void read() {
    socket.async_read_some(
        asio::buffer(buffer),
        [self = shared_from_this()](asio::error_code error, std::size_t n) {
          if (!error) self->write(n);
        });
  }
  void write(std::size_t n) {
    asio::async_write(
        socket, asio::buffer(buffer, n),
        [self = shared_from_this()](asio::error_code error, std::size_t) {
          if (!error) self->read();
        });
  }

  Socket socket;
  char buffer[bench::room];
};

void accept_next(Acceptor& acceptor) {
  acceptor.async_accept([&](asio::error_code error, Socket socket) {
    if (!error) std::make_shared<Echo>(std::move(socket))->read();
    accept_next(acceptor);
  });
}

void Asio::events(Acceptor& acceptor) {
  accept_next(acceptor);
  context().run();
}

// The asynchronous client.
struct Ping {
  explicit Ping(const std::string& network, const std::string& address)
      : socket(Asio::dial(network, address)) {}

  double run(int rounds) {
    const auto one_burst = [&] { go(bench::burst); };
    bench::median_lap(rounds / 10 / bench::burst, one_burst);  // warm up
    return bench::median_lap(rounds / bench::burst, one_burst) / bench::burst *
           1e6;
  }
  void go(int rounds) {
    left = rounds;
    ask();
    context().restart();
    context().run();
  }
  void ask() {
    if (left-- == 0) return;
    asio::async_write(socket, asio::buffer(buffer),
                      [this](asio::error_code error, std::size_t) {
                        if (error) bench::fail("ping: lost");
                        hear();
                      });
  }
  void hear() {
    asio::async_read(socket, asio::buffer(buffer),
                     [this](asio::error_code error, std::size_t) {
                       if (error) bench::fail("ping: no answer");
                       ask();
                     });
  }

  Socket socket;
  char buffer[bench::message] = {};
  int left = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 || std::string(argv[1]) != "ping-events")
    return bench::run<Asio>(argc, argv);
  std::printf("%.9g\n", Ping(argv[2], argv[3]).run(std::stoi(argv[4])));
}
