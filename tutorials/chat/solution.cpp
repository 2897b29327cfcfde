// A chat: everybody reads what anybody writes. Try it: sh tutorials/run chat
#include "netlite.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <mutex>
#include <string>

namespace net = netlite;

constexpr std::size_t longest_name = 20;
constexpr std::size_t longest_line = 1000;
constexpr std::size_t most_members = 100;

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

// Who is here. Each member has a thread of its own, which reads; it is
// also the one that tells all others what it has read.
class Room {
 public:
  // False if somebody of that name is here.
  bool join(const std::string& name, const net::Conn& conn) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!members_.emplace(name, conn).second) return false;
    tell_all("* " + name + " has joined");
    return true;
  }

  void leave(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    members_.erase(name);
    tell_all("* " + name + " has left");
  }

  void say(const std::string& name, const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex_);
    tell_all(name + ": " + line, name);
  }

 private:
  // Waits for nobody. Who has no room for a line has not read for long,
  // and is cut off; its thread notices that, and lets it leave.
  void tell_all(const std::string& line, const std::string& but = "") {
    for (const auto& [name, conn] : members_) {
      if (name == but) continue;
      auto [n, err] = net::try_write(conn, line + "\n");
      if (!err && n == line.size() + 1) continue;
      net::set_linger(conn, 0);  // what it has not read need not be kept
      net::close(conn);
    }
  }

  std::mutex mutex_{};
  std::map<std::string, net::Conn> members_{};
};

bool is_name(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= longest_name &&
         std::all_of(name.begin(), name.end(), fits);
}

// Says why, and ends without a reset: what the client has written by
// then is read, for a second at most.
net::Error refuse(const net::Conn& conn, const std::string& why) {
  auto [n, write_err] = net::write(conn, "Sorry, " + why + "\n");
  if (write_err) return write_err;
  net::Error end_err = net::close_write(conn);
  if (end_err) return end_err;
  net::set_read_deadline(conn, std::chrono::seconds(1));
  char ignored[1024];
  while (!net::read(conn, ignored).error) continue;
  return {};
}

// Passes on a member's lines, until there are no more.
net::Error listen_to(net::Reader& reader, const std::string& name, Room& room) {
  for (;;) {
    auto [line, err] = reader.read_line(longest_line);
    if (err == net::eof) return {};
    if (err) return err;
    room.say(name, line);
  }
}

// One member, from the question to the end.
net::Error talk(const net::Conn& conn, Room& room) {
  auto [n, write_err] = net::write(conn, "What is your name?\n");
  if (write_err) return write_err;
  net::set_read_deadline(conn, std::chrono::seconds(60));
  net::Reader reader(conn);
  auto [name, read_err] = reader.read_line(longest_line);
  if (read_err == net::eof) return {};
  if (read_err) return read_err;
  if (!is_name(name)) return refuse(conn, "that is no name.");
  net::set_read_deadline(conn, net::no_deadline);

  if (!room.join(name, conn)) return refuse(conn, "that name is taken.");
  net::Error err = listen_to(reader, name, room);
  room.leave(name);
  return err;
}

int main(int argc, char** argv) {
  const char* address = argc > 1 ? argv[1] : "127.0.0.1:9988";
  auto [listener, err] = net::listen("tcp", address);
  if (err) return fail(err);
  std::cout << "Listening on " << net::addr(listener) << std::endl;

  Room room;
  net::ServeOptions options;
  options.max_connections = most_members;
  options.on_error = [](const net::Error& why) { fail(why); };
  const auto serve_one = [&](const net::Conn& conn) {
    return talk(conn, room);
  };
  return fail(net::serve(listener, serve_one, options));
}
