// echo - sends everything back to where it came from (RFC 862).
// SPDX-License-Identifier: MIT
//
//   echo tcp 127.0.0.1:7000 &
//   nc 127.0.0.1 7000

#include <iostream>
#include <string_view>

#include "netlite.hpp"

namespace net = netlite;

void complain(const net::Error& err) {
  // In one piece: several threads may complain at the same time.
  std::cerr << "echo: " + err.message() + "\n";
}

// Streams: a thread for each connection, until its peer has finished.
net::Error echo_streams(const char* network, const char* address) {
  net::ListenOptions options;
  options.replace_stale = true;  // a unix socket's file that Ctrl-C left
  auto [listener, err] = net::listen(network, address, options);
  if (err) return err;
  std::cerr << "listening on " << net::addr(listener) << "\n";

  net::ServeOptions serving;
  serving.on_error = complain;
  return net::serve(
      listener, [](net::Conn conn) { return net::copy(conn, conn).error; },
      serving);
}

// Datagrams: one socket hears everybody; each is answered to its sender.
net::Error echo_packets(const char* network, const char* address) {
  net::ListenOptions options;
  options.replace_stale = true;
  auto [packets, err] = net::listen_packet(network, address, options);
  if (err) return err;
  std::cerr << "listening on " << net::local_addr(packets) << "\n";

  char buffer[65536];  // longer than any UDP datagram
  for (;;) {
    auto [n, from, read_err] = net::read_from(packets, buffer);
    if (read_err == net::truncated)
      complain(read_err);
    else if (read_err)
      return read_err;
    if (!from || from.unnamed()) continue;  // nobody that could be answered
    auto [sent, write_err] = net::write_to(packets, {buffer, n}, from);
    if (write_err) complain(write_err);  // the next sender is another one
  }
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: echo NETWORK ADDRESS\n\n"
                 "  NETWORK  tcp, unix, unixpacket, udp, unixgram ...\n"
                 "  ADDRESS  host:port, or the path of a unix socket\n";
    return 2;
  }
  const std::string_view network = argv[1];
  const bool datagrams = network.substr(0, 3) == "udp" || network == "unixgram";
  const net::Error err = datagrams ? echo_packets(argv[1], argv[2])
                                   : echo_streams(argv[1], argv[2]);
  complain(err);
  return 1;
}
