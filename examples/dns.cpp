// dns - asks a name server for the addresses of a name (RFC 1035).
// SPDX-License-Identifier: MIT
//
//   dns example.com 127.0.0.1:53

#include <iostream>
#include <random>
#include <set>
#include <sstream>

#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

enum Type : unsigned { A = 1, CNAME = 5, AAAA = 28 };

// A number as the network has it: the higher byte first.
std::string two_bytes(std::size_t n) {
  return {static_cast<char>(n >> 8), static_cast<char>(n)};
}

// A head, "one question, and please ask others for me", and the question. Its
// number is drawn by lot: who has not seen it cannot answer.
std::string question(const std::string& name, Type type) {
  std::string text = two_bytes(std::random_device()());
  text += std::string("\1\0\0\1\0\0\0\0\0\0", 10);
  std::istringstream labels(name);
  for (std::string label; std::getline(labels, label, '.');) {
    if (label.empty() || label.size() > 63) net::must(net::no_such_host);
    text += static_cast<char>(label.size()) + label;
  }
  return text + '\0' + two_bytes(type) + two_bytes(1);  // of the internet
}

// Is it an answer, of the same number and to the same question?
bool answers(const std::string& reply, const std::string& asked) {
  return reply.size() >= asked.size() && (reply[2] & 0xf8) == 0x80 &&
         reply.compare(0, 2, asked, 0, 2) == 0 &&
         reply.compare(12, asked.size() - 12, asked, 12) == 0;
}

// Sends a question and waits for its answer. Others can forge the address of
// the server, so what answers something else is passed over.
std::string exchange(const char* network, const char* server,
                     const std::string& asked) {
  const auto conn = net::must(net::dial_timeout(network, server, 2s));
  net::set_deadline(conn, 2s);
  const bool tcp = *network == 't';  // there each message tells its size first
  const std::string size = tcp ? two_bytes(asked.size()) : "";
  net::must(net::write(conn, {size, asked}));
  for (;;) {
    unsigned char head[2] = {255, 255};
    if (tcp) net::must(net::read_full(conn, head));
    std::string reply(head[0] * 256u + head[1], '\0');
    reply.resize(
        net::must(tcp ? net::read_full(conn, reply) : net::read(conn, reply)));
    if (!answers(reply, asked)) continue;
    // It may say that it was cut to fit into a datagram.
    return !tcp && reply[2] & 2 ? exchange("tcp", server, asked) : reply;
  }
}

// Datagrams get lost: asks so many times.
std::string ask(const char* name, Type type, const char* server,
                int tries) try {
  return exchange("udp", server, question(name, type));
} catch (const net::Failure&) {
  if (tries == 1) throw;
  return ask(name, type, server, tries - 1);
}

// Reads a message from front to back; throws when it makes no sense.
struct Message {
  std::string_view bytes;
  std::size_t at;

  std::string_view take(std::size_t size) {
    if (size > bytes.size() - at) net::must(net::unexpected_eof);
    return bytes.substr(std::exchange(at, at + size), size);
  }
  unsigned number(std::size_t size) {
    unsigned n = 0;
    for (const char c : take(size)) n = n << 8 | static_cast<unsigned char>(c);
    return n;
  }
  // Labels, and perhaps a pointer to where the name goes on: further to the
  // front, or it might never end.
  std::string name() {
    std::string text;
    std::size_t front = at, behind = 0;
    while (const unsigned size = number(1)) {
      if (size >= 64) {
        const std::size_t to = (size & 63) << 8 | number(1);
        if (size < 192 || to >= front) net::must(std::errc::protocol_error);
        if (behind == 0) behind = at;
        at = front = to;
        continue;
      }
      for (const char c : take(size))
        text += c > ' ' && c <= '~' && c != '.' ? c : '?';
      text += '.';
    }
    if (text.size() > 255) net::must(std::errc::protocol_error);
    if (behind > 0) at = behind;
    return text;
  }
};

// Prints the records of an answer, "example.com. 60 IN A 192.0.2.1", each once.
void print_records(const std::string& reply, std::set<std::string>& printed) {
  Message message{reply, 6};
  unsigned count = message.number(2);
  message.at = 12;
  message.name();
  for (message.take(4); count > 0; --count) {
    std::string line = message.name();
    const unsigned type = message.number(2);
    message.take(2);
    line += " " + std::to_string(message.number(4)) + " IN ";
    const std::size_t size = message.number(2), at = message.at;
    message.take(size);
    const net::IP ip(reinterpret_cast<const unsigned char*>(&reply[at]), size);
    if (type == CNAME) line += "CNAME " + Message{reply, at}.name();
    if (type == A && ip.is4()) line += "A " + ip.string();
    if (type == AAAA && ip.is6()) line += "AAAA " + ip.string();
    if (line.back() != ' ' && printed.insert(line).second)
      std::cout << line << "\n";
  }
}

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: dns NAME HOST:PORT\n";
    return 2;
  }
  std::set<std::string> printed;
  for (const Type type : {A, AAAA}) {
    const std::string reply = ask(argv[1], type, argv[2], 3);
    print_records(reply, printed);
    if (const int code = reply[3] & 15)
      net::must(std::error_code(code == 3 ? EAI_NONAME : EAI_FAIL,
                                net::resolver_category()));
  }
  if (printed.empty()) net::must(net::no_such_host);
} catch (const std::exception& failure) {
  std::cerr << "dns: lookup " << argv[1] << ": " << failure.what() << "\n";
  return 1;
}
