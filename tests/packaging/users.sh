#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and runs a user's project, a copy of user/, in one of the user's ways:
#
#   users.sh SOURCE copied|subproject|pkg-config
#   users.sh SOURCE cmake|cmake-moved|fetch-content|fetch-content-offline
#   users.sh SOURCE add-subdirectory
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

# tree FOLDER: netlite as a clone would bring it.
tree() {
  mkdir -p "$1"
  (cd "$source" && tar -c --exclude='./build*' --exclude=./.git .) |
    tar -x -C "$1"
}

subproject() {
  need meson
  tree subprojects/netlite
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
  pkg-config --print-errors --exists 'netlite >= 0.2'
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

  # This version must not pass for another one, older or newer.
  for other in 0.1 0.3; do
    mkdir $other
    printf '%s\n' 'cmake_minimum_required(VERSION 3.15)' \
      'project(other LANGUAGES NONE)' \
      "find_package(netlite $other REQUIRED)" >$other/CMakeLists.txt
    ! cmake -G Ninja -S $other -B $other -DCMAKE_PREFIX_PATH="$1" 2>log ||
      fail "version $other was asked for, and this one came"
    grep -q "requested version \"$other\"" log || fail "$(cat log)"
  done
}

# with_cmake_tree LIST OPTION...: the tree itself, in the user's build.
with_cmake_tree() {
  need cmake
  mv "$1" CMakeLists.txt
  shift
  cmake -G Ninja -S . -B build --warn-uninitialized -Werror=dev "$@" 2>log ||
    fail "$(cat log)"
  [ ! -s log ] || fail "CMake has warned: $(cat log)"
  cmake --build build
  cp build/user .

  # Nothing else is built or installed there.
  programs=$(ninja -C build -t targets all |
    sed -n 's/: CXX_EXECUTABLE_LINKER.*//p')
  [ "$programs" = user ] || fail "more would be built: $programs"
  cmake --install build --prefix "$work/installed"
  [ ! -e "$work/installed" ] || fail "installed: $(ls -R "$work/installed")"
}

# The user's file names a server; git is told that it is a folder.
fetch_content() {
  need git
  tree "$work/origin"
  (
    cd "$work/origin"
    git init -q
    git add .
    git -c user.name=Nobody -c user.email= commit -qm 'Release'
    git tag v0.2.0
  )
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$work/origin.insteadOf"
  export GIT_CONFIG_VALUE_0=https://example.com/netlite.git
  with_cmake_tree fetched.cmake
}

fetch_content_offline() {
  tree "$work/clone"
  with_cmake_tree fetched.cmake -DFETCHCONTENT_FULLY_DISCONNECTED=ON \
    -DFETCHCONTENT_SOURCE_DIR_NETLITE="$work/clone"
}

add_subdirectory() {
  tree netlite
  with_cmake_tree added.cmake
}

case $way in
  copied) copied ;;
  subproject) subproject ;;
  pkg-config) pkg_config ;;
  cmake) with_cmake "$work/prefix" ;;
  cmake-moved) with_cmake "$work/moved" ;;
  fetch-content) fetch_content ;;
  fetch-content-offline) fetch_content_offline ;;
  add-subdirectory) add_subdirectory ;;
esac

said=$(./user)
[ "$said" = "Received: Thanks for: Hello Server!" ] || fail "it said: $said"
