// A program that does to sockets what it is told, a command a line, and says
// what came of it: value, error text and the error's classes, with tabs in
// between. go/peer.go is the same program with Go's net, so the two can be told
// the same things and must give the same answers.
// SPDX-License-Identifier: MIT

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>

#include "netlite.hpp"

namespace net = netlite;

namespace {

std::mutex guard;  // of the tables
std::map<std::string, net::Conn> conns;
std::map<std::string, net::PacketConn> packet_conns;
std::map<std::string, net::Listener> listeners;
std::map<std::string, std::future<std::string>> started;

template <class T>
T find(std::map<std::string, T>& table, const std::string& name) {
  const std::lock_guard<std::mutex> lock(guard);
  return table[name];
}

template <class T>
void keep(std::map<std::string, T>& table, const std::string& name, T value) {
  const std::lock_guard<std::mutex> lock(guard);
  table[name] = std::move(value);
}

std::string answer(const std::string& value, const net::Error& err = {}) {
  std::string text = value + "\t" + err.message() + "\t";
  if (err.timeout()) text += "timeout ";
  if (err.temporary()) text += "temporary";
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;)
    text.replace(at, 1, "\\n");
  return text;
}

std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 1 < text.size();
    if (escaped) ++i;
    plain += !escaped         ? text[i]
             : text[i] == 'n' ? '\n'
             : text[i] == 'r' ? '\r'
             : text[i] == '0' ? '\0'
                              : text[i];
  }
  return plain;
}

std::string ends(const net::Socket& socket) {
  return net::local_addr(socket).string() + " " +
         net::remote_addr(socket).string();
}

// A connection as what only a descriptor can make of it: its type forbids to
// ask what Go's must refuse.
net::PacketConn as_packets(const net::Conn& conn) {
  return net::must(net::packet_conn_from(net::must(net::duplicate(conn))));
}

// The polynomial of zlib, Ethernet and PNG, bit by bit.
std::uint32_t crc32(std::uint32_t crc, const char* data, std::size_t size) {
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= static_cast<unsigned char>(data[i]);
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

// Bytes that look like nothing in particular, again and again; harness.py and
// go/peer.go make the same. The prime fits no buffer's size.
std::string pattern(std::size_t size) {
  std::string bytes;
  bytes.reserve(size);
  for (std::uint32_t state = 1; bytes.size() < size;) {
    state = state * 1664525 + 1013904223;
    const std::size_t i = bytes.size();
    bytes += i < 65521 ? static_cast<char>(state >> 24) : bytes[i - 65521];
  }
  return bytes;
}

std::string drain(const net::Conn& conn) {
  char buffer[65536];
  std::size_t total = 0;
  std::uint32_t crc = 0;
  for (;;) {
    auto [n, err] = net::read(conn, buffer);
    total += n;
    crc = crc32(crc, buffer, n);
    if (err)
      return answer(std::to_string(total) + " " + std::to_string(crc),
                    err == net::eof ? net::Error() : err);
  }
}

template <class T>
std::string opened(std::map<std::string, T>& table, const std::string& name,
                   const net::Result<T>& result) {
  if (result.error) return answer("", result.error);
  keep(table, name, result.value);
  return answer("open");
}

std::string text(const net::Result<std::size_t>& result,
                 const std::string& buffer) {
  return answer(
      std::to_string(result.value) + " " + buffer.substr(0, result.value),
      result.error);
}

std::string count(const net::Result<std::size_t>& result) {
  return answer(std::to_string(result.value), result.error);
}

std::string run(const std::string& line) {
  std::istringstream words(line);
  std::string command, name;
  words >> command >> name;
  const auto word = [&] {
    std::string next;
    words >> next;
    return next;
  };
  const auto number = [&] { return std::strtol(word().c_str(), nullptr, 10); };
  const auto rest = [&] {
    std::string all;
    words.get();
    std::getline(words, all);
    return unescape(all);
  };
  const auto buffer = [&] {
    return std::string(static_cast<std::size_t>(number()), '\0');
  };
  const auto deadline = [&]() -> net::Deadline {
    const std::string ms = word();
    if (ms == "never") return net::no_deadline;
    return std::chrono::milliseconds(std::strtol(ms.c_str(), nullptr, 10));
  };

  if (command == "start") {
    keep(started, name, std::async(std::launch::async, run, rest()));
    return answer("started");
  }
  if (command == "join") {
    std::unique_lock<std::mutex> lock(guard);
    auto result = std::move(started[name]);
    lock.unlock();
    return result.get();
  }
  if (command == "dial") {
    const std::string network = word();
    return opened(conns, name, net::dial(network, rest()));
  }
  if (command == "dial_within") {
    const auto limit = std::chrono::milliseconds(number());
    const std::string network = word();
    return opened(conns, name, net::dial_timeout(network, rest(), limit));
  }
  if (command == "listen") {
    const std::string network = word();
    return opened(listeners, name, net::listen(network, rest()));
  }
  if (command == "listen_packet") {
    const std::string network = word();
    return opened(packet_conns, name, net::listen_packet(network, rest()));
  }
  if (command == "accept")
    return opened(conns, name, net::accept(find(listeners, word())));

  if (command == "lookup") {
    const auto [found, err] = net::lookup_host(name);
    std::string all;
    for (const std::string& address : found) all += address + " ";
    return answer(all, err);
  }

  const net::Conn conn = find(conns, name);
  const net::PacketConn packets = find(packet_conns, name);
  const net::Listener listener = find(listeners, name);
  net::Socket socket = conn;
  if (packets) socket = packets;
  if (listener) socket = listener;

  if (command == "ends") return answer(ends(socket));
  if (command == "addr") return answer(net::local_addr(socket).string());
  if (command == "read") {
    std::string bytes = buffer();
    const auto result = net::read(conn, bytes);
    return text(result, bytes);
  }
  if (command == "read_full") {
    std::string bytes = buffer();
    const auto result = net::read_full(conn, bytes);
    return text(result, bytes);
  }
  if (command == "read_from") {
    std::string bytes = buffer();
    const auto [n, from, err] = net::read_from(packets, bytes);
    return answer(
        std::to_string(n) + " " + bytes.substr(0, n) + " " + from.string(),
        err);
  }
  if (command == "drain") return drain(conn);
  if (command == "write") return count(net::write(conn, rest()));
  if (command == "write_to") {
    const std::string network = word();
    const auto [to, err] = net::resolve(network, word());
    if (err) return answer("", err);
    return count(
        net::write_to(packets ? packets : as_packets(conn), rest(), to));
  }
  if (command == "fill")
    return count(net::write(conn, pattern(buffer().size())));
  if (command == "close") return answer("", net::close(socket));
  if (command == "close_read") return answer("", net::close_read(conn));
  if (command == "close_write") return answer("", net::close_write(conn));
  if (command == "no_delay") return answer("", net::set_no_delay(conn, true));
  if (command == "linger")
    return answer("", net::set_linger(conn, static_cast<int>(number())));
  if (command == "read_buffer")
    return answer("", net::set_read_buffer(socket, static_cast<int>(number())));
  if (command == "write_buffer")
    return answer("",
                  net::set_write_buffer(socket, static_cast<int>(number())));
  if (command == "deadline")
    return answer("", net::set_deadline(socket, deadline()));
  if (command == "read_deadline")
    return answer("", net::set_read_deadline(socket, deadline()));
  if (command == "write_deadline")
    return answer("", net::set_write_deadline(socket, deadline()));
  if (command == "lend") {
    const int file = ::open(rest().c_str(), O_RDONLY | O_CLOEXEC);
    const net::Error err = net::send_descriptor(conn, file);
    ::close(file);
    return answer("", err);
  }
  if (command == "borrow") {
    const auto [file, err] = net::receive_descriptor(conn);
    if (err) return answer("", err);
    char bytes[100];
    const ssize_t n = ::read(file, bytes, sizeof bytes);
    ::close(file);
    return answer(std::string(bytes, n < 0 ? 0 : static_cast<std::size_t>(n)));
  }
  if (command == "credentials") {
    const auto [who, err] = net::peer_credentials(conn);
    return answer(std::to_string(who.pid) + " " + std::to_string(who.uid) +
                      " " + std::to_string(who.gid),
                  err);
  }
  return answer("no such command");
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << run(line) << std::endl;
}
