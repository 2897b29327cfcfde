// proxy - hands each connection on to another place, as it comes.
// SPDX-License-Identifier: MIT
//
//   proxy tcp 127.0.0.1:8080 tcp 127.0.0.1:80 &
//   proxy tcp 127.0.0.1:8081 unix /run/service.sock &

#include <chrono>
#include <iostream>

#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

void complain(const net::Error& err) {
  // In one piece: several threads may complain at the same time.
  std::cerr << "proxy: " + err.message() + "\n";
}

// Hands on what `from` says, and that it has finished: `to` may still answer.
net::Error relay(net::Conn to, net::Conn from) {
  const net::Error err = net::copy(to, from).error;
  if (!err) {
    net::close_write(to);
  } else if (err.op() == "read") {
    // `from` has gone without a goodbye. A mere close of `to` would pretend
    // that it had finished, so hand the reset on.
    net::set_linger(to, 0);
    net::close(to);
  } else {
    // `to` takes nothing more. The other direction hands on its last words and
    // reads why it has gone - but `from` may hear them only once it has spoken.
    net::set_deadline(from, 10s);
    char ignored[4096];
    while (!net::read(from, ignored).error) continue;
  }
  return err == net::closed ? net::Error() : err;
}

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: proxy NETWORK ADDRESS TO-NETWORK TO-ADDRESS\n\n"
                 "  NETWORK  tcp, unix or unixpacket\n"
                 "  ADDRESS  host:port, or the path of a unix socket\n";
    return 2;
  }
  net::ListenOptions options;
  options.replace_stale = true;  // a unix socket's file that Ctrl-C left
  auto [listener, err] = net::listen(argv[1], argv[2], options);
  if (err) {
    complain(err);
    return 1;
  }
  std::cerr << "listening on " << net::addr(listener) << "\n";

  const auto join = [&](net::Conn client) {
    auto [server, dial_err] = net::dial_timeout(argv[3], argv[4], 10s);
    if (dial_err) return dial_err;
    net::Group requests;
    if (auto go_err = requests.go(relay, server, client)) return go_err;
    const net::Error answers = relay(client, server);
    const net::Error rest = requests.wait();
    return answers ? answers : rest;
  };
  net::ServeOptions serving;
  serving.on_error = complain;
  complain(net::serve(listener, join, serving));
  return 1;
}
