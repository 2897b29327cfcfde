#!/bin/sh
# SPDX-License-Identifier: MIT
# The mistakes in mistakes.cpp are told in words, and in nothing else.
#   mistakes.sh mistakes.cpp include-directory compiler...
set -u
program=$1 include=$2
shift 2
told=$(LC_ALL=C "$@" -std=c++17 -Wall -Wextra -I"$include" -fsyntax-only \
  "$program" 2>&1)

# count PATTERN: how many errors and warnings there are that say so.
count() {
  printf '%s\n' "$told" | grep -E '(error|warning):' | grep -c "$1"
}
serve='serve: the handler must be a function that can be copied and takes a con'
go='Group::go: the function does not take these arguments. They are copied: for'
hook='A hook must take and return what its type in DialOptions, ListenOptions,'

counts="$(count "$serve") $(count "$go") $(count "$hook") $(count '')"
[ "$counts" = '4 2 5 11' ] && exit
printf '%s\n' "$told" "serve, go, hook, all: $counts instead of 4 2 5 11"
exit 1
