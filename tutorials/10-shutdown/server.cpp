// A server that stops when it is told to, and first finishes its work.
#include "netlite.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Reads a line and sends it back, within five seconds.
net::Error talk(const net::Conn& conn) {
  net::set_deadline(conn, std::chrono::seconds(5));
  net::Reader reader(conn);
  auto [line, read_err] = reader.read_line(1000);
  if (read_err) return read_err;
  auto [sent, write_err] = net::write(conn, line + "\n");
  return write_err;
}

// [serve]
// Serves until the listener is closed. If that fails, all is over.
void serve_all(net::Listener listener) {
  net::Error err = net::serve(listener, talk);
  if (err) std::_Exit(fail(err));
}
// [serve]

int main(int argc, char** argv) {
  // [block]
  sigset_t signals;
  sigemptyset(&signals);
  for (int each : {SIGTERM, SIGINT}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // [block]
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;
  std::cout << "To stop me: kill " << getpid() << std::endl;

  // [stop]
  net::Group group;
  net::Error err = group.go(serve_all, listener);
  if (err) return fail(err);
  int signal = 0;
  sigwait(&signals, &signal);
  std::cout << "Stopping: nobody new gets in." << std::endl;
  net::close(listener);
  err = group.wait();
  if (err) return fail(err);
  std::cout << "Everybody has been served." << std::endl;
  // [stop]
}
