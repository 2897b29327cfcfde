#!/bin/sh
# SPDX-License-Identifier: MIT
# What must not compile, and what the compiler says of it:
#
#   refused.sh SOURCE COMPILER
#
# SOURCE is netlite's top folder. A mistake costs one error, and where the
# header knows what was meant, that error is a sentence of its own. A missing
# compiler skips the test (77).
set -eu

source=$1 cxx=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

command -v "$cxx" >/dev/null || {
  echo "SKIPPED: $cxx is missing"
  exit 77
}

# What a user's function has at hand; its body comes from the standard input.
program() {
  cat <<'END'
#include "netlite.hpp"

#include <string>
#include <vector>

namespace net = netlite;

struct Uncopied {
  Uncopied() = default;
  Uncopied(Uncopied&&) = default;
  void operator()(net::Conn) const {}
};

void function(const net::Conn& conn, const net::Listener& listener,
              const net::PacketConn& packets, net::Group& group) {
  (void)conn, (void)listener, (void)packets, (void)group;
END
  cat
  echo '}'
}

compile() {
  LC_ALL=C "$cxx" -I"$source/include" -fsyntax-only "$@" -x c++ - 2>"$work/says"
}

fail() {
  echo "FAILED: $*"
  cat "$work/says"
  failed=1
}

# taken: the standard input compiles.
taken() {
  program | compile -std=c++17 || fail "what is right does not compile"
}

# told COUNT WORDS: so many errors say this.
told() {
  [ "$(grep -c "error:.*$2" "$work/says")" = "$1" ] || fail "not $1 times: $2"
}

# refused: the standard input does not compile.
refused() {
  program >"$work/program"
  ! compile -std=c++17 <"$work/program" ||
    fail "compiles: $(tail -n 2 "$work/program")"
}

# The right way for each mistake below.
taken <<'END'
  net::DialOptions dial;
  dial.control = [](int) { return net::Error(); };
  net::ListenOptions listen;
  listen.control = [](int) -> std::error_code { return {}; };
  net::ServeOptions serve;
  serve.on_error = [](const net::Error& err) { return err; };
  net::Reader reader([](net::Buffer room) { return room.size(); });
  (void)net::serve(listener, [](const net::Conn&) {}, serve);
  (void)net::serve(listener, [](net::Conn) { return net::Error(); });
  int count = 0;
  (void)group.go([](int& n) { ++n; }, std::ref(count));
  (void)group.go([](int n) { return n; }, count);

  net::Conn same(net::Socket(listener));
  char buffer[9] = "";
  std::string room(9, ' ');
  (void)net::read(conn, room);
  (void)net::read_from(packets, room);
  (void)net::write(conn, {buffer, 3});
  (void)net::set_option(conn, 1, 2, 3);
END

# One mistake each, and for each of them one error, in words.
refused <<'END'
  net::DialOptions dial;
  dial.control = [](const std::string&) { return net::Error(); };
  dial.control = [](int) {};
  net::ListenOptions listen;
  listen.control = [](int) { return true; };
  listen.control = [] { return net::Error(); };
  net::ServeOptions serve;
  serve.on_error = [](int) {};
  serve.on_error = [](net::Error&) {};
  net::Reader pointer([](char*, std::size_t) { return std::size_t(0); });
  net::Reader text([](net::Buffer) { return "text"; });

  (void)net::serve(listener, [](int) {});
  (void)net::serve(listener, [](net::Conn&) {});
  (void)net::serve(listener, Uncopied());

  int count = 0;
  (void)group.go([](int& n) { ++n; }, count);
  (void)group.go([](int) {});
  (void)group.go([] {}, 1);

  char buffer[9] = "";
  (void)net::write(conn, buffer);
  (void)net::set_option(conn, 1, 2, &count);
END
told 8 'A hook must take and return'
told 3 'serve: the handler must be a function'
told 3 'Group::go: the function does not take these arguments'
told 1 'How much of this char array shall be written?'
told 1 'set_option takes the value as the kernel knows it'
told 16 ''  # in all

# What the language has words for.
for mistake in \
  'net::read(conn, std::string(100, 0))' \
  'net::read_from(packets, std::vector<char>(100))' \
  'net::Conn(listener)' \
  'net::read(packets, *std::make_unique<char[9]>())' \
  'net::write(packets, "text")' \
  'net::accept(conn)'; do
  echo "(void)$mistake;" | refused
done

for standard in c++11 c++14; do
  ! echo '#include "netlite.hpp"' | compile -std=$standard ||
    fail "$standard compiles"
  told 1 ''
done

exit $failed
