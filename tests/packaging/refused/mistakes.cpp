// SPDX-License-Identifier: MIT
// Mistakes that must not compile, each told by one error, in words: refused.sh
// counts them.

#include "netlite.hpp"

#include <memory>

namespace net = netlite;

// The hook takes something else, or returns it.
net::Control takes_text = [](const std::string&) { return net::Error(); };
net::Control takes_nothing = [] { return net::Error(); };
net::Control says_nothing = [](int) {};
net::Control says_yes = [](int) { return true; };
net::Report takes_number = [](int) {};
net::Report changes_error = [](net::Error&) {};
net::Source counts_nothing = [](net::Buffer) {};
net::Reader takes_pointer([](char*, std::size_t) { return std::size_t(0); });

// The handler takes something else than a connection, or the caller's own; is
// no function; cannot be copied.
const net::Listener listener;
auto number = net::serve(listener, [](int) {});
auto reference = net::serve(listener, [](net::Conn&) {});
auto nothing = net::serve(listener, 5);
auto own = net::serve(listener, [own = std::make_unique<int>()](net::Conn) {});

// The task wants the caller's own number; wants one, or none.
void add(int& n) { ++n; }
net::Group group;
auto caller = group.go(add, 1);
auto missing = group.go([](int) {});
auto useless = group.go([] {}, 1);

// How much of it? An int is meant, not where it is.
char buffer[9];
auto sent = net::write(net::Conn(), buffer);
int on = 1;
auto set = net::set_option(net::Conn(), 1, 2, &on);
