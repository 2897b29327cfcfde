// Your turn: a server that can be told to stop. Judged by: run 10 check
#include "netlite.hpp"

#include <chrono>
#include <csignal>
#include <iostream>
#include <string>

namespace net = netlite;

// Prints the error, and returns the exit code of a program that failed.
inline int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Greets a client, reads a line, and sends it back.
inline net::Error talk(const net::Conn& conn) {
  auto [greeted, greet_err] = net::write(conn, "Your line?\n");
  if (greet_err) return greet_err;
  net::Reader reader(conn);
  auto [line, read_err] = reader.read_line(1000);
  if (read_err) return read_err;
  auto [sent, write_err] = net::write(conn, line + "\n");
  return write_err;
}

// Serves every client with `talk`, several at a time, until the process
// gets a SIGTERM. From then on nobody new gets in, and those who are in
// have one second to finish. Then it returns 0. A second SIGTERM
// changes nothing.
inline int serve_until_told(const net::Listener& listener) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  net::Group group;
  net::Error err = group.go([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    net::close(listener);
  });
  if (err) return fail(err);
  net::ServeOptions options;
  options.grace = std::chrono::seconds(1);
  err = net::serve(listener, talk, options);
  kill(getpid(), SIGTERM);  // for the thread, if serve has failed
  return err ? fail(err) : 0;
}
