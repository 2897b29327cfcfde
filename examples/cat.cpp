// cat - joins the standard input and output to a socket, as nc does.
// SPDX-License-Identifier: MIT
//
//   cat -l tcp localhost:7000 > copy     in one terminal
//   cat tcp localhost:7000 < original    in another

#include <unistd.h>

#include <iostream>
#include <string_view>

#include "netlite.hpp"

namespace net = netlite;

// Ends the program, even while the other direction waits for a terminal.
[[noreturn]] void fail(const net::Error& err) {
  std::cerr << "cat: " << err << "\n";
  ::_exit(1);
}

template <class T>
T need(net::Result<T> result) {
  if (result.error) fail(result.error);
  return result.value;
}

// From the standard input to the peer, and then the news that it has ended. A
// peer that no longer listens may still be speaking, so the error can wait.
net::Error speak(net::Conn conn, net::Addr peer) {
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0) fail(std::error_code(errno, std::system_category()));
    if (n == 0) break;
    const net::Bytes bytes(buffer, static_cast<std::size_t>(n));
    const auto sent =
        peer ? net::write_to(conn, bytes, peer) : net::write(conn, bytes);
    if (sent.error) return sent.error;
  }
  net::close_write(conn);  // datagrams have no such news
  return {};
}

// From the peer to the standard output, until `eof`. A socket that hears
// anybody listens only to its peer: to whoever spoke first.
net::Error hear(const net::Conn& conn, net::Addr& peer) {
  static char buffer[65536];  // longer than any UDP datagram
  net::Packet got;
  if (net::remote_addr(conn)) {
    auto [n, err] = net::read(conn, buffer);
    got = {n, peer, err};
  } else {
    got = net::read_from(conn, buffer);
    if (!peer) peer = got.from;
  }
  const auto n = static_cast<std::streamsize>(got.size);
  if (got.from == peer && !std::cout.write(buffer, n).flush())
    fail(std::error_code(errno, std::system_category()));
  return got.error;
}

int main(int argc, char** argv) {
  const bool listening = argc > 1 && std::string_view(argv[1]) == "-l";
  if (argc - listening != 3) {
    std::cerr << "usage: cat [-l] NETWORK ADDRESS\n\n"
                 "  -l       wait for a peer there instead of calling one\n"
                 "  NETWORK  tcp, unix, unixpacket, udp ...\n"
                 "  ADDRESS  host:port, or the path of a unix socket\n";
    return 2;
  }
  const std::string_view network = argv[argc - 2], address = argv[argc - 1];
  net::Conn conn;
  net::Addr peer;
  net::Error err;
  if (!listening) {
    conn = need(net::dial(network, address));
  } else if (network.substr(0, 3) == "udp") {
    conn = need(net::listen_packet(network, address));
    std::cerr << "listening on " << net::local_addr(conn) << "\n";
    err = hear(conn, peer);
  } else {
    net::ListenOptions options;
    options.replace_stale = true;  // a unix socket's file that Ctrl-C left
    // Closed at the end of the block: one peer is all.
    auto listener = need(net::listen(network, address, options));
    std::cerr << "listening on " << net::addr(listener) << "\n";
    conn = need(net::accept(listener));
  }

  net::Group speaker;
  if (!err) err = net::go(speaker, speak, conn, peer);
  while (!err) err = hear(conn, peer);
  if (err == net::eof) err = net::wait(speaker);
  if (err) fail(err);
}
