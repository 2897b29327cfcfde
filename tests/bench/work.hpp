// The work that every C++ peer does, said once; peer.go says it again in Go.
// SPDX-License-Identifier: MIT
//
// Servers print their address and go on until their input ends:
//
//   answer NETWORK [deadline]  echo, one connection after the other
//   brief [threads]            TCP: answers one byte of each connection
//   serve                      TCP: echo, a thread a connection
//   events                     TCP: echo, one thread for all connections
//   packets                    UDP: echo
//   source NETWORK MIB         sends so much to each who dials
//   file PATH [WAY]            sends a file to each who dials
//   proxy ADDRESS [WAY]        dials there for each who dials, and copies
//
// Clients work in laps of well under a millisecond to a few, and print one
// number, the median lap's: a lap that another process interrupted thus does
// not count, as long as most are whole.
//
//   ping NETWORK ADDRESS ROUNDS [deadline | bursts | mean]
//                              microseconds a round trip of 64 bytes; the
//                              mean lap's where interruptions are the point
//   drain NETWORK ADDRESS      gigabytes a second
//   rate ADDRESS CONNECTIONS   connections a second
//   oneway DATAGRAMS           UDP: sent and received a second, in batches
//
// A Peer has these calls in its own terms: listen, address, accept, dial,
// deadline, read, write, close; serve and events; bind, answer and hear for
// UDP; send_file and copy.
#ifndef NETLITE_BENCH_WORK_HPP
#define NETLITE_BENCH_WORK_HPP

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

// Seconds that something takes.
template <class Work>
double timed(Work work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Runs `lap` again and again; gives the median of its seconds.
template <class Lap>
double median_lap(int laps, Lap lap) {
  std::vector<double> seconds;
  for (int i = 0; i < laps; ++i) seconds.push_back(timed(lap));
  return median(std::move(seconds));
}

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(1);
}

constexpr std::size_t message = 64;   // bytes of a request
constexpr std::size_t room = 1024;    // bytes of a buffer that awaits one
constexpr std::size_t block = 65536;  // bytes of a piece of bulk
constexpr int burst = 20;             // round trips of a lap
constexpr int batch = 100;            // datagrams, which fit a socket's queue

// ---------------------------------------------------------------------------
// Servers

inline std::string fresh_address(const std::string& network) {
  if (network == "tcp") return "127.0.0.1:0";
  return "/tmp/netlite-bench-" + std::to_string(::getpid());
}

template <class Peer, class Conn>
void echo(Conn& conn) {
  char buffer[room];
  while (const std::size_t n = Peer::read(conn, buffer, sizeof buffer))
    Peer::write(conn, buffer, n);
}

template <class Peer, class Conn>
void answer_one_byte(Conn& conn) {
  char byte = 0;
  if (Peer::read(conn, &byte, 1)) Peer::write(conn, &byte, 1);
}

template <class Peer, class Conn>
void send_much(Conn& conn, std::size_t mib) {
  const std::vector<char> data(block, 'x');
  for (std::size_t left = mib << 20; left > 0; left -= block)
    Peer::write(conn, data.data(), block);
}

// Accepts for ever, and does this with each connection.
template <class Peer, class Listener, class Handler>
void one_by_one(Listener& listener, Handler handle) {
  for (;;) {
    auto conn = Peer::accept(listener);
    handle(conn);
    Peer::close(conn);
  }
}

// Serves in a thread beside, tells the address, and ends with the input.
template <class Server>
int serve_until_told(const std::string& address, Server server) {
  std::thread(server).detach();
  std::printf("%s\n", address.c_str());
  std::fflush(stdout);
  char byte;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
  if (address[0] == '/') ::unlink(address.c_str());
  std::_Exit(0);
}

template <class Peer>
int run_server(const std::string& work, const std::string& first,
               const std::string& second) {
  if (work == "packets") {
    auto packets = Peer::bind();
    return serve_until_told(Peer::address(packets),
                            [&] { Peer::answer(packets); });
  }
  using Conn = typename Peer::Conn;
  const bool any = work == "answer" || work == "source";
  const std::string network = any ? first : "tcp";
  auto listener = Peer::listen(network, fresh_address(network));
  return serve_until_told(Peer::address(listener), [&] {
    if (work == "serve") {
      Peer::serve(listener, [](Conn& conn) { echo<Peer>(conn); });
    } else if (work == "events") {
      Peer::events(listener);
    } else if (work == "brief" && first == "threads") {
      Peer::serve(listener, [](Conn& conn) { answer_one_byte<Peer>(conn); });
    } else if (work == "brief") {
      one_by_one<Peer>(listener,
                       [](Conn& conn) { answer_one_byte<Peer>(conn); });
    } else if (work == "answer") {
      one_by_one<Peer>(listener, [&](Conn& conn) {
        if (second == "deadline") Peer::deadline(conn);
        echo<Peer>(conn);
      });
    } else if (work == "source") {
      one_by_one<Peer>(listener, [&](Conn& conn) {
        send_much<Peer>(conn, static_cast<std::size_t>(std::stoul(second)));
      });
    } else if (work == "file") {
      one_by_one<Peer>(
          listener, [&](Conn& conn) { Peer::send_file(conn, first, second); });
    } else {
      one_by_one<Peer>(listener, [&](Conn& conn) {
        auto from = Peer::dial("tcp", first);
        Peer::copy(conn, from, second);
        Peer::close(from);
      });
    }
  });
}

// ---------------------------------------------------------------------------
// Clients

template <class Peer, class Conn>
void round_trip(Conn& conn) {
  const char request[message] = {};
  Peer::write(conn, request, message);
  char buffer[room];
  for (std::size_t have = 0; have < message;) {
    const std::size_t n = Peer::read(conn, buffer + have, room - have);
    if (n == 0) fail("ping: no answer");
    have += n;
  }
}

template <class Peer>
double ping(const std::string& network, const std::string& address, int rounds,
            const std::string& how) {
  auto conn = Peer::dial(network, address);
  if (how == "deadline") Peer::deadline(conn);
  const auto one_burst = [&] {
    for (int i = 0; i < burst; ++i) round_trip<Peer>(conn);
  };
  median_lap(rounds / 10 / burst, one_burst);  // warm up
  std::vector<double> seconds;
  for (int i = 0; i < rounds / burst; ++i) {
    if (how == "bursts")
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    seconds.push_back(timed(one_burst));
  }
  Peer::close(conn);
  const double lap = how == "mean" ? mean(seconds) : median(std::move(seconds));
  return lap / burst * 1e6;
}

template <class Peer>
double drain(const std::string& network, const std::string& address) {
  constexpr std::size_t lap = 4 << 20;
  auto conn = Peer::dial(network, address);
  std::vector<char> buffer(block);
  std::vector<double> laps;
  for (bool more = true; more;) {
    std::size_t have = 0;
    const double seconds = timed([&] {
      while (more && have < lap) {
        const std::size_t n = Peer::read(conn, buffer.data(), buffer.size());
        more = n > 0;
        have += n;
      }
    });
    if (more) laps.push_back(seconds / static_cast<double>(have));
  }
  return 1e-9 / median(std::move(laps));
}

// The server ends each connection, so that no port of ours has to wait until
// it can be used again (TIME-WAIT, RFC 9293).
template <class Peer>
double rate(const std::string& address, int connections) {
  return burst / median_lap(connections / burst, [&] {
           for (int i = 0; i < burst; ++i) {
             auto conn = Peer::dial("tcp", address);
             char byte = 'x';
             Peer::write(conn, &byte, 1);
             if (Peer::read(conn, &byte, 1) != 1) fail("rate: no answer");
             if (Peer::read(conn, &byte, 1) != 0) fail("rate: no end");
             Peer::close(conn);
           }
         });
}

// Both ends in one thread: no waiting, no waking, nothing lost.
template <class Peer>
double one_way(int datagrams) {
  auto packets = Peer::bind();
  auto conn = Peer::dial("udp", Peer::address(packets));
  const char data[message] = {};
  return batch / median_lap(datagrams / batch, [&] {
           for (int i = 0; i < batch; ++i) Peer::write(conn, data, message);
           for (int i = 0; i < batch; ++i) Peer::hear(packets);
         });
}

template <class Peer>
int run(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  args.resize(5);
  const std::string& work = args[0];
  double result = 0;
  if (work == "ping")
    result = ping<Peer>(args[1], args[2], std::stoi(args[3]), args[4]);
  else if (work == "drain")
    result = drain<Peer>(args[1], args[2]);
  else if (work == "rate")
    result = rate<Peer>(args[1], std::stoi(args[2]));
  else if (work == "oneway")
    result = one_way<Peer>(std::stoi(args[1]));
  else
    return run_server<Peer>(work, args[1], args[2]);
  std::printf("%.9g\n", result);
  return 0;
}

}  // namespace bench

#endif  // NETLITE_BENCH_WORK_HPP
