// The work that every C++ peer does, said once. A Peer has listen, address,
// accept, dial, deadline, read, write, close and, for UDP, bind and connect;
// it is told what to do on its command line, and prints one number.
//
//   ping NETWORK ROUNDS [deadline]   microseconds a round trip of 64 bytes
//   burst NETWORK BURSTS             the same in bursts of 20 with 1 ms pauses
//   bulk NETWORK MIB                 gigabytes a second, one way
//   rate CONNECTIONS                 connections a second, one byte each way
//   datagrams ROUNDS                 microseconds a round trip over UDP
//   oneway DATAGRAMS                 datagrams sent a second over UDP
//   serve                            echo, a thread a connection: prints the
//                                    address, ends when its input ends
#ifndef NETLITE_BENCH_WORK_HPP
#define NETLITE_BENCH_WORK_HPP

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline std::string fresh_address(const std::string& network) {
  if (network == "tcp") return "127.0.0.1:0";
  return "/tmp/netlite-bench-" + std::to_string(::getpid());
}

// Runs the server's half in a process of its own, as real peers are.
template <class Half>
pid_t in_child(Half half) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  half();
  ::_exit(0);
}

inline void end(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

template <class Peer, class Conn>
void echo(Conn& conn) {
  char buffer[64];
  while (const std::size_t n = Peer::read(conn, buffer, sizeof buffer))
    Peer::write(conn, buffer, n);
}

template <class Peer, class Conn>
void round_trip(Conn& conn) {
  char buffer[64] = {};
  Peer::write(conn, buffer, sizeof buffer);
  for (std::size_t have = 0; have < sizeof buffer;) {
    const std::size_t n = Peer::read(conn, buffer, sizeof buffer - have);
    if (n == 0) std::exit(1);
    have += n;
  }
}

template <class Peer>
double ping(const std::string& network, int rounds, bool deadline, int burst) {
  auto listener = Peer::listen(network, fresh_address(network));
  const pid_t server = in_child([&] {
    auto conn = Peer::accept(listener);
    if (deadline) Peer::deadline(conn);
    echo<Peer>(conn);
  });
  double spent = 0;
  {
    auto conn = Peer::dial(network, Peer::address(listener));
    if (deadline) Peer::deadline(conn);
    for (int i = 0; i < rounds / 10; ++i) round_trip<Peer>(conn);
    for (int done = 0; done < rounds; done += burst) {
      const auto start = Clock::now();
      for (int i = 0; i < burst; ++i) round_trip<Peer>(conn);
      spent += seconds_since(start);
      if (burst < rounds)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    Peer::close(conn);
  }
  end(server);
  return spent / rounds * 1e6;
}

template <class Peer>
double bulk(const std::string& network, std::size_t mib) {
  const std::size_t total = mib << 20;
  auto listener = Peer::listen(network, fresh_address(network));
  const pid_t sender = in_child([&] {
    auto conn = Peer::dial(network, Peer::address(listener));
    const std::vector<char> data(64 * 1024, 'x');
    for (std::size_t sent = 0; sent < total; sent += data.size())
      Peer::write(conn, data.data(), data.size());
    Peer::close(conn);
  });
  auto conn = Peer::accept(listener);
  std::vector<char> buffer(64 * 1024);
  std::size_t have = 0;
  const auto start = Clock::now();
  while (const std::size_t n = Peer::read(conn, buffer.data(), buffer.size()))
    have += n;
  const double spent = seconds_since(start);
  end(sender);
  if (have != total) std::exit(1);
  return static_cast<double>(have) / spent / 1e9;
}

template <class Peer>
double rate(int connections) {
  auto listener = Peer::listen("tcp", "127.0.0.1:0");
  const pid_t server = in_child([&] {
    for (int i = 0; i < connections; ++i) {
      auto conn = Peer::accept(listener);
      char byte = 0;
      if (Peer::read(conn, &byte, 1)) Peer::write(conn, &byte, 1);
      Peer::close(conn);
    }
  });
  const std::string address = Peer::address(listener);
  const auto start = Clock::now();
  for (int i = 0; i < connections; ++i) {
    auto conn = Peer::dial("tcp", address);
    char byte = 'x';
    Peer::write(conn, &byte, 1);
    if (Peer::read(conn, &byte, 1) != 1) std::exit(1);
    Peer::close(conn);
  }
  const double spent = seconds_since(start);
  end(server);
  return connections / spent;
}

template <class Peer>
double datagrams(int rounds) {
  auto server = Peer::bind();
  const pid_t child = in_child([&] { Peer::answer(server, rounds); });
  auto client = Peer::connect(Peer::address(server));
  char buffer[64] = {};
  const auto start = Clock::now();
  for (int i = 0; i < rounds; ++i) {
    Peer::write(client, buffer, sizeof buffer);
    if (Peer::read(client, buffer, sizeof buffer) == 0) std::exit(1);
  }
  const double spent = seconds_since(start);
  end(child);
  return spent / rounds * 1e6;
}

// Nobody reads: the kernel throws away what does not fit, so this is the
// price of sending alone.
template <class Peer>
double oneway(int count) {
  auto server = Peer::bind();
  auto client = Peer::connect(Peer::address(server));
  const char data[64] = {};
  const auto start = Clock::now();
  for (int i = 0; i < count; ++i) Peer::write(client, data, sizeof data);
  return count / seconds_since(start);
}

template <class Peer>
int run(int argc, char** argv) {
  const std::string work = argc > 1 ? argv[1] : "";
  const std::string first = argc > 2 ? argv[2] : "";
  const int number = std::atoi(argc > 3 ? argv[3] : first.c_str());
  double result = 0;
  if (work == "ping")
    result = ping<Peer>(first, number, argc > 4, number);
  else if (work == "burst")
    result = ping<Peer>(first, number * 20, false, 20);
  else if (work == "bulk")
    result = bulk<Peer>(first, static_cast<std::size_t>(number));
  else if (work == "rate")
    result = rate<Peer>(number);
  else if (work == "datagrams")
    result = datagrams<Peer>(number);
  else if (work == "oneway")
    result = oneway<Peer>(number);
  else if (work == "serve" || work == "events")
    return Peer::serve(work == "events");
  else
    return 2;
  std::printf("%.4f\n", result);
  return 0;
}

// Prints the address for the driver, and waits until it has had enough.
inline void announce_and_wait(const std::string& address) {
  std::printf("%s\n", address.c_str());
  std::fflush(stdout);
  char byte;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  std::_Exit(0);
}

}  // namespace bench

#endif  // NETLITE_BENCH_WORK_HPP
