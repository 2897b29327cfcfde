// A web server that counts to five, slowly, and can be told to stop.
#include "netlite.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

namespace net = netlite;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Answers one client, a line every second.
net::Error count(const net::Conn& conn) {
  net::set_deadline(conn, std::chrono::seconds(10));
  char request[4096];
  auto [n, read_err] = net::read(conn, request);
  if (read_err) return read_err;
  std::string text = "HTTP/1.0 200 OK\r\n\r\n";
  for (int second = 1; second <= 5; ++second) {
    text += std::to_string(second) + "\n";
    auto [sent, write_err] = net::write(conn, text);
    if (write_err) return write_err;
    text.clear();
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return {};
}

void serve_all(net::Listener listener) {
  net::ServeOptions options;
  options.grace = std::chrono::seconds(10);
  net::Error err = net::serve(listener, count, options);
  if (err) std::_Exit(fail(err));
}

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int each : {SIGTERM, SIGINT}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, listen_err] = net::listen("tcp", address);
  if (listen_err) return fail(listen_err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  net::Group group;
  net::Error err = group.go(serve_all, listener);
  if (err) return fail(err);
  int signal = 0;
  sigwait(&signals, &signal);
  net::close(listener);
  group.wait();
  std::cout << "Goodbye." << std::endl;
}
