// The answers of tutorials/how-do-i.md, each in a small frame that lets a test
// try it: fill.py puts them where their headings stand.
//
//   recipes NAME ADDRESS [ARGUMENT]
//
// SPDX-License-Identifier: MIT

#include "netlite.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#ifdef __linux__
#include <sys/epoll.h>
#endif

namespace net = netlite;
using namespace std::chrono_literals;

namespace {

// What the page fixes and a test must choose.
std::string address;
std::chrono::nanoseconds patience = 3s;

// Says which process it is, and then whatever the client says.
void handle(net::Conn conn) {
  if (net::write(conn, std::to_string(getpid()) + "\n").error) return;
  std::ignore = net::copy(conn, conn);
}

net::Listener announced(net::Result<net::Listener> made) {
  net::Listener listener = net::must(std::move(made));
  std::cerr << "Listening on " << net::addr(listener) << std::endl;
  return listener;
}

net::Listener listening() { return announced(net::listen("tcp", address)); }

namespace stop {
// … stop a server with Ctrl-C?

// `late`: serve ends at once, and by itself.
net::Error run(const std::string& how) {
  const net::Listener listener = listening();
  if (how == "late") net::set_deadline(listener, 0s);
  return serve_until_signal(listener);
}
}  // namespace stop

namespace restart {
// … restart without turning anybody away?
// … restart without turning anybody away? (2)

net::Error run(const std::string&) {
  return serve_until_replaced(announced(take_over()));
}
}  // namespace restart

// As the page says: the one serves by the other.
namespace both {
namespace net {
using namespace netlite;
template <class Handler>
netlite::Error serve(const netlite::Listener& listener, const Handler&) {
  return restart::serve_until_replaced(listener);
}
}  // namespace net

// … stop a server with Ctrl-C?

net::Error run(const std::string&) {
  return serve_until_signal(announced(restart::take_over()));
}
}  // namespace both

namespace many {
net::Error run(const std::string&) {
  // … serve more than a thousand at a time?
  return net::serve(listening(), handle);
}
}  // namespace many

namespace shared {
net::Error run(const std::string&) {
  // … share a port among several processes?
  return net::serve(announced({listener, err}), handle);
}
}  // namespace shared

namespace refuse {
net::Error run(const std::string&) {
  patience = net::forever;
  return net::serve(listening(), [](net::Conn conn) {
    char buffer[4096];
    // … refuse somebody politely?
  });
}
}  // namespace refuse

namespace one_thread {
net::Error run(const std::string&) {
  const net::Listener listener = listening();
  char buffer[4096];
  // … serve many clients in one thread?
  return {};
}
}  // namespace one_thread

// A proxy that gives up where nothing moves.
namespace idle {
// … give up when nothing moves for 30 seconds?

net::Error run(const std::string& upstream) {
  return net::serve(listening(), [=](net::Conn client) {
    const net::Conn server = net::must(net::dial("tcp", upstream));
    net::Group group;
    net::must(group.go([=] {
      pass_on(server, client);
      net::close_write(client);
    }));
    pass_on(client, server);
    net::close_write(server);
  });
}
}  // namespace idle

// Prints what comes from the address.
namespace epoll {
net::Error run(const std::string&) {
#ifdef __linux__
  net::Conn conn = net::must(net::dial("tcp", address));
  char buffer[4096];
  // … watch it with my own epoll?
  ::close(loop);
#endif
  return {};
}
}  // namespace epoll

namespace systemd {
net::Error run(const std::string&) {
  // … let systemd start my server?
  return net::serve(announced({listener, err}), handle);
}
}  // namespace systemd

// Tells who is behind HAProxy, and then whatever he says.
namespace haproxy {
// … put HAProxy in front?

net::Error tell(net::Conn conn) {
  net::Reader reader(conn);
  const auto client = caller(reader);
  if (client.error) return client.error;
  const std::string name = client.value ? client.value.string() : "nobody";
  if (auto sent = net::write(conn, name + "\n"); sent.error) return sent.error;
  return net::copy(conn, reader).error;
}

net::Error run(const std::string&) {
  net::ServeOptions options;
  options.on_error = [](const net::Error& err) {
    std::cerr << err << std::endl;
  };
  return net::serve(listening(), tell, options);
}
}  // namespace haproxy

const std::map<std::string, net::Error (*)(const std::string&)> recipes{
    {"stop", stop::run},       {"restart", restart::run},
    {"both", both::run},       {"many", many::run},
    {"shared", shared::run},   {"refuse", refuse::run},
    {"idle", idle::run},       {"one_thread", one_thread::run},
    {"epoll", epoll::run},     {"systemd", systemd::run},
    {"haproxy", haproxy::run},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || recipes.count(argv[1]) == 0) return 2;
  address = argv[2];
  const net::Error err = recipes.at(argv[1])(argc > 3 ? argv[3] : "");
  if (err) std::cerr << "recipes: " << err << '\n';
  return err ? 1 : 0;
}
