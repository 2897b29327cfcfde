// The smallest echo server and client with Asio.
#include <asio.hpp>
#include <cstdio>

using asio::ip::tcp;

int main(int argc, char**) {
  asio::io_context context;
  tcp::socket conn(context);
  char buffer[1024];
  if (argc > 1) {
    tcp::acceptor(context, tcp::endpoint(tcp::v4(), 9988)).accept(conn);
    for (;;) {
      asio::error_code error;
      const auto n = conn.read_some(asio::buffer(buffer), error);
      if (error) break;
      asio::write(conn, asio::buffer(buffer, n));
    }
  } else {
    asio::connect(conn, tcp::resolver(context).resolve("127.0.0.1", "9988"));
    asio::write(conn, asio::buffer("hello", 5));
    const auto n = conn.read_some(asio::buffer(buffer));
    std::printf("%.*s\n", static_cast<int>(n), buffer);
  }
}
