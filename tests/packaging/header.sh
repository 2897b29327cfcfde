#!/bin/sh
# SPDX-License-Identifier: MIT
# What the header promises about itself, before any of its functions runs:
#
#   header.sh SOURCE text VERSION             its text keeps the rules
#   header.sh SOURCE alone COMPILER FLAG...   it compiles alone, unwarned
#   header.sh SOURCE course COMPILER FLAG...  and so do the course's judges
#   header.sh SOURCE linked COMPILER          files that include it link
#   header.sh SOURCE shared COMPILER          and so do shared libraries
#
# SOURCE is netlite's top folder. A missing compiler skips the test (77).
set -eu

source=$1 check=$2 cxx=$3
header=$source/include/netlite.hpp
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
  echo "FAILED: $*"
  failed=1
}

# none RULE PATTERN: the header has no line like this.
none() {
  ! grep -nE "$2" "$header" || fail "$1"
}

# The warnings of netlite's own build, all of them errors.
compile() {
  "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
    -Wold-style-cast -Werror "$@"
}

text() {
  LC_ALL=C.UTF-8 none "lines over 80 columns" '.{81}'
  none "tabs" "$(printf '\t')"
  none "spaces at the end of a line" ' $'
  none "macros must start with NETLITE_" \
    '^ *# *define +([^N]|N[^E]|NE[^T]|NET[^L]|NETL[^I])'

  version=$(sed -n 's/^#define NETLITE_VERSION_[MP][A-Z]* //p' "$header" |
    paste -sd . -)
  [ "$version" = "$1" ] || fail "the header is $version, the project $1"
}

# Twice, since the second must do no harm.
alone() {
  printf '#include "netlite.hpp"\n#include "netlite.hpp"\n' |
    compile "$@" -I"$source/include" -c -x c++ - -o /dev/null
}

# As a learner's machine compiles them.
course() {
  for judge in "$source"/tutorials/*/check.cpp; do
    "$cxx" "$@" -Wall -Wextra -Werror -DEXERCISE='"exercise.hpp"' \
      -I"$source/include" -fsyntax-only "$judge" || fail "$judge"
  done
}

# object FILE VARIANT
object() {
  include=$source/include flag=
  case $2 in
    portable) flag=-DNETLITE_PORTABLE ;;
    no-exceptions) flag=-fno-exceptions ;;
    newer) include=$work/newer ;;
  esac
  compile ${flag:+"$flag"} -I"$include" -c \
    "$source/tests/packaging/linked/$1.cpp" -o "$work/$1-$2.o"
}

# One more version of the header, in which the sockets have grown.
newer() {
  mkdir "$work/newer"
  sed -e 's/v0_2/v0_3/' -e '/^  const Addr remote;$/a\
  char grown[64] = {};
' "$header" >"$work/newer/netlite.hpp"
  grep -q 'grown' "$work/newer/netlite.hpp" || fail "nothing has grown"
}

# Files of one version and variant share sockets. Those of several cannot, and
# do not link; but they live beside each other.
linked() {
  newer
  object main this
  object apart this
  for variant in this portable no-exceptions newer; do
    object other "$variant"
    if "$cxx" -pthread "$work/main-this.o" "$work/other-$variant.o" \
      -o "$work/main" 2>"$work/log"; then
      [ "$variant" = this ] || fail "main and $variant have linked"
      "$work/main" || fail "main and $variant: exit code $?"
    else
      [ "$variant" != this ] || fail "main: $(cat "$work/log")"
    fi
    # Of functions that have one name, the linker takes the first.
    for objects in "apart-this other-$variant" "other-$variant apart-this"; do
      # shellcheck disable=SC2086  # words
      set -- $objects
      "$cxx" -pthread "$work/$1.o" "$work/$2.o" -o "$work/apart"
      "$work/apart" || fail "apart and $variant: exit code $?"
    done
  done
}

# However a library keeps its symbols to itself: linked, and loaded.
shared() {
  set -- -I"$source/include" -ldl -pthread
  main=$source/tests/packaging/shared/main.cpp
  library=$work/liblibrary.so
  compile "$main" -o "$work/loads" "$@"
  for flag in -fvisibility=default -fvisibility=hidden -Wl,-Bsymbolic; do
    compile $flag -fPIC -shared "$source/tests/packaging/shared/library.cpp" \
      -o "$library" "$@"
    compile "$main" -Wl,--no-as-needed "$library" -o "$work/linked" "$@"
    "$work/linked" || fail "linked, $flag: exit code $?"
    "$work/loads" "$library" || fail "loaded, $flag: exit code $?"
  done
}

need() {
  command -v "$1" >/dev/null || {
    echo "SKIPPED: $1 is missing"
    exit 77
  }
}

case $check in
  text) text "$3" ;;
  alone | course)
    need "$cxx"
    shift 3
    # A standard library may be missing, too.
    echo '#include <string>' | "$cxx" "$@" -fsyntax-only -x c++ - \
      2>/dev/null || exit 77
    if [ "$check" = alone ]; then alone "$@"; else course "$@"; fi
    ;;
  linked) need "$cxx" && linked ;;
  shared) need "$cxx" && shared ;;
esac
exit $failed
