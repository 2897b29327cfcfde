#!/bin/sh
# Builds and runs a user's project, a copy of user/, in one of the user's ways:
#
#   users.sh SOURCE copied|subproject|pkg-config|cmake|cmake-moved
#
# SOURCE is netlite's top folder. A missing program skips the test (77).
set -eu

source=$1 way=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$source/tests/packaging/user" "$work/user"
cd "$work/user"

fail() {
  echo "FAILED: $*"
  exit 1
}

skip() {
  echo "SKIPPED: $*"
  exit 77
}

need() {
  command -v "$1" >/dev/null || skip "$1 is missing"
}

# Installs netlite below $work/prefix.
install_netlite() {
  need meson
  meson setup --auto-features=disabled --prefix="$work/prefix" "$work/build" \
    "$source"
  meson install -C "$work/build"
}

copied() {
  need g++
  echo 'static_assert(__cplusplus >= 201703L, "");' |
    g++ -x c++ -fsyntax-only - || skip "g++ wants a flag for C++17"
  cp "$source/include/netlite.hpp" .
  g++ main.cpp -o user
}

subproject() {
  need meson
  mkdir -p subprojects/netlite
  (cd "$source" && tar -c --exclude='./build*' --exclude=./.git .) |
    tar -x -C subprojects/netlite

  meson setup build 2>&1 | tee log
  ! grep -qi 'warning\|deprecat' log || fail "Meson has warned"
  targets=$(meson introspect --targets build | grep -o '"name": "[^"]*"')
  [ "$targets" = '"name": "user"' ] || fail "more would be built: $targets"
  meson compile -C build
  cp build/user .
}

pkg_config() {
  need pkg-config
  install_netlite
  export PKG_CONFIG_PATH="$work/prefix/share/pkgconfig"
  pkg-config --print-errors --exists 'netlite >= 0.1'
  # shellcheck disable=SC2046,SC2086  # words
  ${CXX:-c++} -std=c++17 main.cpp -o user $(pkg-config --cflags --libs netlite)
}

# with_cmake PREFIX: once netlite lies there, wherever it was installed.
with_cmake() {
  need cmake
  install_netlite
  [ "$1" = "$work/prefix" ] || mv "$work/prefix" "$1"
  cmake -G Ninja -S . -B build -DCMAKE_PREFIX_PATH="$1"
  cmake --build build
  cp build/user .

  # This version must not pass for another one.
  mkdir newer
  printf '%s\n' 'cmake_minimum_required(VERSION 3.15)' \
    'project(newer LANGUAGES NONE)' \
    'find_package(netlite 0.2 REQUIRED)' >newer/CMakeLists.txt
  ! cmake -G Ninja -S newer -B newer -DCMAKE_PREFIX_PATH="$1" 2>log ||
    fail "version 0.2 was asked for, and this one came"
  grep -q 'requested version "0.2"' log || fail "$(cat log)"
}

case $way in
  copied) copied ;;
  subproject) subproject ;;
  pkg-config) pkg_config ;;
  cmake) with_cmake "$work/prefix" ;;
  cmake-moved) with_cmake "$work/moved" ;;
esac

said=$(./user)
[ "$said" = "Received: Thanks for: Hello Server!" ] || fail "it said: $said"
