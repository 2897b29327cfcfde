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
refused=$source/tests/packaging/refused
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

command -v "$cxx" >/dev/null || {
  echo "SKIPPED: $cxx is missing"
  exit 77
}

fail() {
  echo "FAILED: $*"
  cat "$work/says"
  failed=1
}

compile() {
  LC_ALL=C "$cxx" -I"$source/include" -fsyntax-only "$@" 2>"$work/says"
}

# told COUNT WORDS: so many errors say this.
told() {
  [ "$(grep -c "error:.*$2" "$work/says")" = "$1" ] || fail "not $1 times: $2"
}

compile -std=c++17 "$refused/right.cpp" || fail "what is right"

! compile -std=c++17 "$refused/mistakes.cpp" || fail "the mistakes compile"
told 8 'A callback must take and return what its type says'
told 4 'serve: the handler must be a function that can be copied and takes a'
told 3 'Group::go: the function does not take these arguments'
told 1 'How much of this array? Say write(conn, {buffer, n})'
told 1 'set_option takes an int or a struct'
told 17 ''  # and no other

# What the language has words for, and more than one.
for mistake in \
  'net::read(conn, std::string(100, 0))' \
  'net::read_from(packets, std::string(100, 0))' \
  'net::read(packets, room)' \
  'net::write(packets, "text")' \
  'net::accept(conn)' \
  'net::Conn(listener)'; do
  {
    sed '/^}/,$d' "$refused/right.cpp"
    echo "(void)$mistake; }"
  } >"$work/mistake.cpp"
  ! compile -std=c++17 "$work/mistake.cpp" || fail "compiles: $mistake"
done

echo '#include "netlite.hpp"' >"$work/old.cpp"
for standard in c++11 c++14; do
  ! compile -std=$standard "$work/old.cpp" || fail "$standard"
  told 1 'netlite needs C++17 or newer: compile with -std=c++17'
  told 1 ''
done

exit $failed
