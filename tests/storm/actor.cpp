// SPDX-License-Identifier: MIT
// Who plays in the storm, each in a process of its own: two servers, which send
// everything back and end with their input, and the rascals.

#include "netlite.hpp"

#include <csignal>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace net = netlite;
using namespace std::chrono_literals;

namespace {

void announce(const net::Listener& listener) {
  std::cout << "listening on " << net::addr(listener) << std::endl;
}

void wait_for_the_end_of_input() {
  for (std::string line; std::getline(std::cin, line);) continue;
}

// ---------------------------------------------------------------------------
// A server of threads

void serve_by_threads(const net::Listener& listener) {
  net::Group ending;
  net::must(ending.go([&] {
    wait_for_the_end_of_input();
    net::close(listener);
  }));
  announce(listener);
  net::ServeOptions options;
  options.grace = 0s;
  net::must(net::serve(
      listener, [](net::Conn conn) { return net::copy(conn, conn).error; },
      options));
}

// ---------------------------------------------------------------------------
// A server of one thread

struct Guest {
  net::Conn conn{};
  std::string owed{};  // what is still to be sent back
};

// Pays what it owes, and takes more only when all is paid: so a guest who never
// listens costs one piece. False when it is over.
bool converse(Guest& guest) {
  if (guest.owed.empty()) {
    char buffer[16384];
    const auto [n, err] = net::try_read(guest.conn, buffer);
    if (err) return err == net::would_block;
    guest.owed.assign(buffer, n);
  }
  const auto [n, err] = net::try_write(guest.conn, guest.owed);
  guest.owed.erase(0, n);
  return !err || err == net::would_block;
}

class Host {
 public:
  explicit Host(net::Listener listener) : listener_(std::move(listener)) {
    net::must(poller_.watch(listener_, net::readable, door));
    net::must(ending_.go([this] {
      wait_for_the_end_of_input();
      net::must(poller_.wake());
    }));
    announce(listener_);
  }

  void run() {
    for (;;) {
      const auto events = net::must(poller_.wait());
      if (events.empty()) return;  // somebody woke us: it is the end
      for (const net::Event& event : events)
        if (event.key == door)
          welcome();
        else
          attend(event.key);
    }
  }

 private:
  static constexpr std::uint64_t door = 0;

  void welcome() {
    for (;;) {
      const auto [conn, err] = net::try_accept(listener_);
      if (err == net::would_block) return;
      net::must(err);
      guests_[++last_].conn = conn;
      net::must(poller_.watch(conn, net::readable, last_));
    }
  }

  void attend(std::uint64_t key) {
    Guest& guest = guests_.at(key);
    if (converse(guest)) {
      const bool owes = !guest.owed.empty();
      const auto interest = owes ? net::writable : net::readable;
      net::must(poller_.watch(guest.conn, interest, key));
    } else {
      net::close(guest.conn);
      guests_.erase(key);
    }
  }

  net::Listener listener_;
  net::Poller poller_{};
  std::map<std::uint64_t, Guest> guests_{};
  std::uint64_t last_ = door;
  net::Group ending_{};
};

// ---------------------------------------------------------------------------
// Rascals: many clients of one process. What they do is drawn by lot.

class Rascals {
 public:
  Rascals(const char* address, std::size_t count, unsigned seed)
      : address_(address), crowd_(count), lot_(seed) {
    // Each process comes from an address of its own, for many leave in a way
    // for which their port is kept for a minute: there are only so many.
    const unsigned char home[] = {127, 2, static_cast<unsigned char>(draw(256)),
                                  static_cast<unsigned char>(draw(256))};
    options_.local = net::Addr("tcp", net::IP(home, sizeof home), 0);
    options_.timeout = 60s;
    for (net::Conn& each : crowd_) come(each);
  }

  void play() {
    // One says all that anybody on the way has room for, and does not listen.
    net::set_write_deadline(crowd_.front(), 100ms);
    while (!net::write(crowd_.front(), noise_).error) continue;
    const std::size_t least = crowd_.size() * 4;
    for (std::size_t acts = least + draw(least); acts > 0; --acts)
      act(crowd_[draw(crowd_.size())]);
  }

 private:
  std::size_t draw(std::size_t below) { return lot_() % below; }

  // Whoever was there before leaves: by a reset, where something is unread.
  void come(net::Conn& client) {
    client = net::Conn();
    client = net::must(net::dial("tcp", address_, options_));
  }

  void act(net::Conn& client) {
    char room[4096];
    switch (draw(6)) {
      case 0: return come(client);
      case 1:  // and no word about the answer
        return static_cast<void>(
            net::try_write(client, {noise_.data(), draw(noise_.size())}));
      case 2:  // half a request
        return static_cast<void>(net::try_write(client, "GET / HT"));
      case 3:  // a bit of the answer
        return static_cast<void>(net::try_read(client, {room, draw(4096)}));
      case 4:  // has finished, it says, but it stays
        return static_cast<void>(net::close_write(client));
      case 5:  // a reset
        net::set_linger(client, 0);
        return static_cast<void>(net::close(client));
    }
  }

  const char* address_;
  net::DialOptions options_{};
  std::vector<net::Conn> crowd_;
  std::minstd_rand lot_;
  const std::string noise_ = std::string(16384, '?');
};

void be_rascals(const char* address, const char* count, const char* seed) {
  Rascals rascals(address, std::stoul(count),
                  static_cast<unsigned>(std::stoul(seed)));
  std::cout << "all are here" << std::endl;
  std::string word;
  if (!std::getline(std::cin, word)) return;  // nobody waits for us any more
  rascals.play();
  ::raise(SIGKILL);  // vanish, in the midst of everything
}

}  // namespace

int main(int argc, char** argv) {
  const std::string role = argc > 2 ? argv[1] : "";
  if (role == "rascals" && argc == 5) {
    be_rascals(argv[2], argv[3], argv[4]);
  } else if (role == "threads" && argc == 3) {
    serve_by_threads(net::must(net::listen("tcp", argv[2])));
  } else if (role == "poller" && argc == 3) {
    Host(net::must(net::listen("tcp", argv[2]))).run();
  } else {
    std::cerr << "usage: actor threads ADDRESS\n"
                 "       actor poller ADDRESS\n"
                 "       actor rascals ADDRESS COUNT SEED\n";
    return 2;
  }
}
