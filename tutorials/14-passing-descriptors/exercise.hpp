// Your turn: a worker that is replaced. Judged by: run 14 check
#include "netlite.hpp"

#include <iostream>
#include <string>

namespace net = netlite;

inline int fail(const net::Error& err) {
  return std::cerr << err << std::endl, 1;
}

// Greets a client, reads one message, and thanks for it.
inline net::Error answer(const net::Conn& conn) {
  std::string self = std::to_string(getpid());
  auto hello = net::write(conn, "I am worker " + self + ".\n");
  if (hello.error) return hello.error;
  char buffer[1024];
  auto [n, read_err] = net::read(conn, buffer);
  if (read_err) return read_err;
  std::string thanks = "Thanks! Got your message:";
  return net::write(conn, thanks + std::string(buffer, n)).error;
}

// Serves until the listener is closed here, and all are answered.
inline net::Error serve_all(net::Listener listener) {
  net::ServeOptions options;
  options.grace = net::forever;
  return net::serve(listener, answer, options);
}

// A worker's life. It gets its listener from the worker before it, at
// `door`; the first one opens `address`. It serves until the next one
// comes, gives it the listener, and returns 0 when all are served.
inline int work(const std::string& address, const std::string& door) {
  // TODO: dial the door; who is there has the listener. And pass it on.
  auto got = net::listen("tcp", address);
  if (got.error) return fail(got.error);
  net::Listener listener = got.value;
  auto [mine, door_err] = net::listen("unix", door);
  if (door_err) return fail(door_err);
  net::Group group;
  net::Error err = group.go(serve_all, listener);
  if (err) return fail(err);
  auto [next, next_err] = net::accept(mine);
  net::close(listener);
  err = group.wait();
  return err ? fail(err) : 0;
}
