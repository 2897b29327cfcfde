// cat - joins the standard input and output to a socket, as nc does.
// SPDX-License-Identifier: MIT
//
//   cat -l tcp 127.0.0.1:7000 > copy     in one terminal
//   cat tcp 127.0.0.1:7000 < original    in another

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
[[noreturn]] void fail_with_errno() {
  fail(std::error_code(errno, std::system_category()));
}

template <class T>
T need(net::Result<T> result) {
  if (result.error) fail(result.error);
  return result.value;
}

// A socket for datagrams hears anybody. This one listens to its peer only: to
// whoever spoke first.
struct Caller {
  net::PacketConn packets;
  net::Addr name{};
};

net::Result<std::size_t> read(Caller& caller, net::Buffer buffer) {
  for (;;) {
    auto [n, from, err] = net::read_from(caller.packets, buffer);
    if (!caller.name) caller.name = from;
    if (err || from == caller.name) return {n, err};
  }
}
net::Result<std::size_t> write(const Caller& caller, net::Bytes bytes) {
  return net::write_to(caller.packets, bytes, caller.name);
}
net::Error close_write(const Caller&) { return {}; }  // they have no end

// From the standard input to the peer, and then the news that it has ended. A
// peer that no longer listens may still be speaking, so the error can wait.
template <class Peer>
net::Error speak(Peer peer) {
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0) fail_with_errno();
    if (n == 0) break;
    const net::Bytes bytes(buffer, static_cast<std::size_t>(n));
    if (auto [sent, err] = write(peer, bytes); err) return err;
  }
  close_write(peer);
  return {};
}

// From the peer to the standard output.
template <class Peer>
net::Error hear(Peer& peer) {
  static char buffer[65536];  // longer than any UDP datagram
  auto [n, err] = read(peer, buffer);
  if (!std::cout.write(buffer, static_cast<std::streamsize>(n)).flush())
    fail_with_errno();
  return err;
}

// Both at once, until both have ended.
template <class Peer>
void converse(Peer peer) {
  net::Group speaker;
  net::Error err = speaker.go(speak<Peer>, peer);
  while (!err) err = hear(peer);
  if (err == net::eof) err = speaker.wait();
  if (err) fail(err);
}

void listen(std::string_view network, std::string_view address) {
  if (network.substr(0, 3) == "udp") {
    Caller caller{need(net::listen_packet(network, address))};
    std::cerr << "listening on " << net::local_addr(caller.packets) << "\n";
    if (const net::Error err = hear(caller)) fail(err);
    return converse(caller);
  }
  net::ListenOptions options;
  options.replace_stale = true;  // a unix socket's file that Ctrl-C left
  auto listener = need(net::listen(network, address, options));
  std::cerr << "listening on " << net::addr(listener) << "\n";
  auto conn = need(net::accept(listener));
  net::close(listener);  // one peer is all
  converse(conn);
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
  const char* network = argv[argc - 2];
  const char* address = argv[argc - 1];
  if (listening)
    listen(network, address);
  else
    converse(need(net::dial(network, address)));
}
