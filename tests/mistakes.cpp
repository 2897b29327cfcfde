// SPDX-License-Identifier: MIT
// Mistakes that must not compile, each told by one error, in words: see
// mistakes.sh, which counts them.

#include "netlite.hpp"

#include <memory>

namespace net = netlite;

// The handler takes something else than a connection, changes the caller's,
// is no function, cannot be copied.
auto number = net::serve(net::Listener(), [](int) {});
auto reference = net::serve(net::Listener(), [](net::Conn&) {});
auto nothing = net::serve(net::Listener(), 5);
auto own =
    net::serve(net::Listener(), [own = std::make_unique<int>(1)](net::Conn) {});

// The task wants the caller's own number; wants one that is not there.
void add(int& n) { ++n; }
net::Error start(net::Group& group, int n) { return group.go(add, n); }
net::Error start(net::Group& group) {
  return group.go([](int) {});
}

// The hook takes something else, or returns it.
net::Control conn = [](net::Conn) { return net::Error(); };
net::Control silent = [](int) {};
net::Control text = [](int) { return "no"; };
net::Report wrong = [](int) {};
net::Source empty = [](net::Buffer) {};
