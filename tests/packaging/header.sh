#!/bin/sh
# What the header promises about itself, before any of its functions runs:
#
#   header.sh SOURCE text VERSION             its text keeps the rules
#   header.sh SOURCE alone COMPILER FLAG...   it compiles alone, unwarned
#   header.sh SOURCE linked COMPILER          two files that include it link
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
  "$cxx" -I"$source/include" -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
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
    compile "$@" -c -x c++ - -o /dev/null
}

# Each file without (0) and with (1) the trace, in all combinations.
linked() {
  for file in main other; do
    for trace in 0 1; do
      set -- -std=c++17
      [ "$trace" = 0 ] || set -- "$@" -DNETLITE_TRACE
      compile "$@" -c "$source/tests/packaging/linked/$file.cpp" \
        -o "$work/$file$trace.o"
    done
    # Mangled, 6traced is the namespace of the functions that trace.
    ! grep -q 'NETLITE_TRACE\|6traced' "$work/${file}0.o" ||
      fail "$file has trace code without NETLITE_TRACE"
  done

  for pair in 00 01 10 11; do
    program=$work/program$pair log=$work/log$pair
    "$cxx" -pthread "$work/main${pair%?}.o" "$work/other${pair#?}.o" \
      -o "$program"
    NETLITE_TRACE=$log "$program" || fail "$pair: exit code $?"
    case $pair in
      00) [ ! -e "$log" ] || fail "$pair: a trace" ;;
      *) [ -s "$log" ] || fail "$pair: no trace" ;;
    esac
  done
}

need() {
  command -v "$1" >/dev/null || {
    echo "SKIPPED: $1 is missing"
    exit 77
  }
}

case $check in
  text)
    text "$3"
    ;;
  alone)
    need "$cxx"
    shift 3
    alone "$@"
    ;;
  linked)
    need "$cxx"
    linked
    ;;
esac
exit $failed
