// SPDX-License-Identifier: MIT
// Every public call, with every BSD call that it makes failing in turn.
//
// A scene is one public call in one situation. It is first played as it is,
// while the BSD calls that netlite makes are counted by name; then once for
// each occurrence of each of them and each errno that its man page lists, and
// for calls cut short or interrupted. Each time in a process of its own: that
// finds hangs, crashes and leaks, and no fault has an aftermath in the next.
// What must come out is told by trial.hpp, and by the scenes that know better.

#include "netlite.hpp"

#include "trial.hpp"

#include <atomic>
#include <cstdio>

#include "../support.hpp"

namespace {

using namespace trial;
using net::Conn;
using net::Error;
using net::Listener;
using net::PacketConn;
using net::Poller;
using net::Reader;
using net::Result;

// ---------------------------------------------------------------------------
// What scenes have in common

std::string story(const std::string& op, const Conn& conn,
                  const std::string& network) {
  std::string text = op + " " + network + " " + net::local_addr(conn).string();
  if (net::remote_addr(conn)) text += "->" + net::remote_addr(conn).string();
  return text + ": ";
}

std::string story(const std::string& op, const net::Socket& socket,
                  const std::string& network) {
  return op + " " + network + " " + net::local_addr(socket).string() + ": ";
}

// Reads so many bytes, or as many as come.
std::string take(const Conn& conn, std::size_t size) {
  std::string bytes(size, '\0');
  net::set_read_deadline(conn, 5s);
  const auto [n, err] = net::read_full(conn, bytes);
  bytes.resize(n);
  return bytes;
}

// Two ends of a connection. Of tcp, unix or unixpacket.
struct Ends {
  explicit Ends(const std::string& of)
      : network(of),
        connected(of, of == "tcp" ? "127.0.0.1:0" : dir.path + "/s") {}

  support::Directory dir;
  std::string network;
  support::Connected connected;
  Conn& here = connected.server;
  Conn& there = connected.client;

  std::string tells(const std::string& op) const {
    return story(op, here, network);
  }
  // Does it carry bytes both ways?
  bool works() const {
    return !net::write(here, "ping").error && take(there, 4) == "ping" &&
           !net::write(there, "pong").error && take(here, 4) == "pong";
  }
};

// ---------------------------------------------------------------------------
// Opening

// Does somebody at the listener hear what is written to the connection? Those
// whose dial came to nothing may stand in the queue, too.
bool reaches(const Conn& conn, const Listener& listener) {
  if (net::write(conn, "hello").error) return false;
  net::set_read_deadline(listener, 5s);
  for (;;) {
    const auto [peer, err] = net::accept(listener);
    if (err) return false;
    if (take(peer, 5) == "hello") return true;
  }
}

bool reaches(const Conn& conn, const PacketConn& packets) {
  if (net::write(conn, "hello").error) return false;
  char buffer[8];
  net::set_read_deadline(packets, 5s);
  return net::read_from(packets, buffer).size == 5;
}

// Dials what listens, as a scene.
template <class Peer>
void dials(Trial& t, const Peer& peer, const std::string& network,
           const std::string& address, const net::DialOptions& options = {}) {
  const bool name = address.find("test:") != address.npos;
  Conn conn;
  const Error err = t.run(
      "dial " + network + (name || options.local ? "" : " " + address), [&] {
        auto [dialed, failed] = net::dial(network, address, options);
        conn = std::move(dialed);
        return failed;
      });
  t.check(bool(conn) == !err, "neither connection nor error");
  if (conn) t.check(reaches(conn, peer), "the connection does not work");
  const auto again = net::dial(network, address, options);
  t.check(!again.error && reaches(again.value, peer), "no later dial works");
}

// The same for an IP host, with a listener on any.
void dials_host(Trial& t, const std::string& network, const std::string& host,
                const net::DialOptions& options = {}) {
  const auto with = [&](const auto& peer) {
    const std::string port = std::to_string(net::local_addr(peer).port());
    dials(t, peer, network, net::join_host_port(host, port), options);
  };
  if (network == "udp")
    with(net::must(net::listen_packet("udp", ":0")));
  else
    with(net::must(net::listen("tcp", ":0")));
}

void dials_path(Trial& t, const std::string& network) {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  if (network == "unixgram")
    dials(t, net::must(net::listen_packet(network, path)), network, path);
  else
    dials(t, net::must(net::listen(network, path)), network, path);
}

// Dials a listener whose queue is full, so that nobody answers.
void dials_silence(Trial& t) {
  net::ListenOptions one;
  one.backlog = 1;
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0", one));
  const std::string address = net::addr(listener).string();
  const Conn queue[] = {net::must(net::dial("tcp", address)),
                        net::must(net::dial("tcp", address))};
  const support::Stopwatch watch;
  const Error err = t.run("dial tcp " + address + ": ", [&] {
    return net::dial_timeout("tcp", address, 30ms).error;
  });
  t.check(err != net::timed_out || watch.elapsed() >= 30ms, "too early");
}

// How to reach what listens; by the kernel's word, for a fault may have kept
// the port from netlite.
std::string way_to(const net::Socket& socket, const std::string& address) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  const int fd = net::native_handle(socket);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  if (storage.ss_family == AF_UNIX) return address;
  sockaddr_in in{};  // an IPv6 name has its port in the same place
  std::memcpy(&in, &storage, sizeof in);
  return "127.0.0.1:" + std::to_string(ntohs(in.sin_port));
}

// Listens, and after a failure once more at the same place.
template <class H>
void listens(Trial& t, const std::string& network, const std::string& address,
             const net::ListenOptions& options = {}) {
  constexpr bool packets = std::is_same_v<H, PacketConn>;
  const auto open = [&] {
    if constexpr (packets)
      return net::listen_packet(network, address, options);
    else
      return net::listen(network, address, options);
  };
  const auto works = [&](const H& handle) {
    const auto [conn, err] = net::dial(network, way_to(handle, address));
    return !err && reaches(conn, handle);
  };
  const bool bare = address[0] == ':' || address.find("test:") != address.npos;
  Error err;
  {
    H handle;
    err = t.run("listen " + network + (bare ? "" : " " + address + ": "), [&] {
      auto [made, failed] = open();
      handle = std::move(made);
      return failed;
    });
    t.check(bool(handle) == !err, "neither listener nor error");
    if (handle) t.check(works(handle), "it does not work");
  }
  // A packet socket's file stays, and one that could not be looked at. What
  // has failed leaves nothing.
  if (!err) ::unlink(address.c_str());
  const auto again = open();
  t.check(!again.error && works(again.value), "no later one works");
}

// With `replace_stale`, there is a socket's file already that nobody owns.
template <class H>
void listens_at_path(Trial& t, const std::string& network,
                     const net::ListenOptions& options) {
  const support::Directory dir;
  const std::string path = dir.path + "/s";
  if (options.replace_stale) {
    const auto dead = net::must(net::listen(network, path + ".dead"));
    if (::rename((path + ".dead").c_str(), path.c_str()) != 0) return;
  }
  listens<H>(t, network, path, options);
}

void listens_at_relative_path(Trial& t) {
  const support::Directory dir;
  if (::chdir(dir.path.c_str()) == 0) listens<Listener>(t, "unix", "s");
}

void listens_to_group(Trial& t) {
  const auto open = [] {
    return net::listen_packet("udp4", "224.0.0.251:0").error;
  };
  t.run("listen udp4 224.0.0.251:0: ", open);
  t.check(!open(), "no later one works");
}

void pipes(Trial& t) {
  net::Pipe made;
  const Error err = t.run("pipe: socketpair: ", [&] {
    made = net::pipe();
    return made.error;
  });
  if (err) made = net::pipe();
  t.check(
      !net::write(made.first, "ping").error && take(made.second, 4) == "ping",
      "it does not work");
}

// ---------------------------------------------------------------------------
// Connections

// After a failed accept, the next one takes the next client.
void accepts(Trial& t, const std::string& network, bool once = false) {
  Ends ends(network);
  const Listener& listener = ends.connected.listener;
  const std::string address = net::addr(listener).string();
  const auto visit = [&] {
    auto client = net::must(net::dial(network, address));
    net::must(net::write(client, "hello"));
    return client;
  };
  const Conn clients[] = {visit(), visit(), visit()};
  Conn conn;
  const auto accept = [&] {
    auto [accepted, err] =
        once ? net::try_accept(listener) : net::accept(listener);
    conn = std::move(accepted);
    return err;
  };
  t.run("accept " + network + " " + address + ": ", accept);
  if (conn) t.check(take(conn, 5) == "hello", "the connection does not work");
  t.check(!accept() && take(conn, 5) == "hello", "no later accept works");
}

// What a call is to move: `all`, or else it tells an error.
enum class Much { some, all };

// Reads what waits; whatever comes of it, no byte is lost.
template <class Read>
void reads(Trial& t, const std::string& network, Much much, Read read) {
  Ends ends(network);
  net::must(net::write(ends.there, "hello\n"));
  std::string buffer(6, '\0');
  std::size_t size = 0;
  const Error err = t.run(ends.tells("read"), [&] {
    const auto [n, failed] = read(ends.here, buffer);
    size = n;
    return failed;
  });
  t.check(err || much == Much::some || size == 6, "that was not all");
  const std::string got = buffer.substr(0, size);
  t.check(got + take(ends.here, 6 - size) == "hello\n", "bytes were lost");
  t.check(ends.works(), "no later call works");
}

// Writes; what its count says is what arrives.
template <class Write>
void writes(Trial& t, const std::string& network, Much much, Write write,
            const std::string& op) {
  Ends ends(network);
  std::size_t size = 0;
  const Error err = t.run(ends.tells(op), [&] {
    const auto [n, failed] = write(ends.here);
    size = n;
    return failed;
  });
  const std::string whole = "hello, world";
  t.check(err || much == Much::some || size == whole.size(),
          "that was not all");
  t.check(take(ends.there, size) == whole.substr(0, size),
          "the count is wrong");
  t.check(ends.works(), "no later call works");
}

// A call on a handle that returns an error or nothing; the connection goes on.
template <class F>
void controls(Trial& t, const std::string& network, const std::string& op,
              F call) {
  Ends ends(network);
  std::string begin = ends.tells(op);
  // Of an option, only this end is told.
  if (op == "set")
    begin = op + " " + network + " " + net::local_addr(ends.here).string();
  t.run(begin, [&]() -> Error { return call(ends.here); });
  t.check(ends.works(), "no later call works");
}

// The error of a call that blocks, while another thread does something about
// it.
template <class Blocked, class Meanwhile>
Error while_blocked(Blocked blocked, Meanwhile meanwhile) {
  std::atomic<bool> over{false};
  Error result;
  const int polls = inject::count("poll");
  std::thread thread;
  {
    const inject::Exempt own;
    thread = std::thread([&] {
      result = blocked();
      over = true;
    });
  }
  while (!over && inject::count("poll") == polls) std::this_thread::yield();
  meanwhile();
  thread.join();
  return result;
}

void reads_in_vain(Trial& t) {
  const Ends ends("tcp");
  const support::Stopwatch watch;
  net::set_read_deadline(ends.here, 20ms);
  const Error err = t.run(ends.tells("read"), [&] {
    char buffer[8];
    return net::read(ends.here, buffer).error;
  });
  t.check(err != net::timed_out || watch.elapsed() >= 20ms, "too early");
  net::set_read_deadline(ends.here, net::no_deadline);
  t.check(ends.works(), "no later call works");
}

void closes(Trial& t) {
  const Ends ends("tcp");
  t.run(ends.tells("close"), [&] { return net::close(ends.here); });
  t.check(net::close(ends.here) == net::closed, "it is not closed");
  t.check(take(ends.there, 1).empty(), "the peer was not told");
}

void closes_listener(Trial& t) {
  const Ends ends("unix");
  const Listener& listener = ends.connected.listener;
  t.run(story("close", listener, "unix"), [&] { return net::close(listener); });
  t.check(net::close(listener) == net::closed, "it is not closed");
}

void closes_under_read(Trial& t) {
  const Ends ends("tcp");
  t.run(ends.tells("read"), [&] {
    char buffer[8];
    return while_blocked([&] { return net::read(ends.here, buffer).error; },
                         [&] { net::close(ends.here); });
  });
  t.check(net::close(ends.here) == net::closed, "it is not closed");
  t.check(take(ends.there, 1).empty(), "the peer was not told");
}

void closes_under_accept(Trial& t) {
  const Ends ends("tcp");
  const Listener& listener = ends.connected.listener;
  t.run(story("accept", listener, "tcp"), [&] {
    return while_blocked([&] { return net::accept(listener).error; },
                         [&] { net::close(listener); });
  });
  t.check(net::close(listener) == net::closed, "it is not closed");
}

void moves_deadline_under_read(Trial& t) {
  const Ends ends("tcp");
  t.run(ends.tells("read"), [&] {
    char buffer[8];
    return while_blocked([&] { return net::read(ends.here, buffer).error; },
                         [&] { net::set_deadline(ends.here, 0s); });
  });
  net::set_deadline(ends.here, net::no_deadline);
  t.check(ends.works(), "no later call works");
}

void half_closes(Trial& t, Error (*close)(const Conn&)) {
  const Ends ends("tcp");
  t.run(ends.tells("close"), [&] { return close(ends.here); });
  t.check(!close(ends.here), "no later call works");
  const Conn& reader = close == net::close_read ? ends.here : ends.there;
  t.check(take(reader, 1).empty(), "the end was not told");
}

// A handle of a descriptor; after a failure the descriptor is the caller's,
// and can be adopted again.
template <class H, class Works>
void adopts(Trial& t, Result<H> (*adopt)(int), const net::Socket& from,
            Works works) {
  const int fd = net::must(net::duplicate(from));
  H handle;
  const auto call = [&] {
    auto [adopted, err] = adopt(fd);
    handle = std::move(adopted);
    return err;
  };
  if (t.run("file: ", call)) t.check(!call(), "no later call works");
  t.check(works(handle), "it does not work");
}

void adopts_conn(Trial& t) {
  const Ends ends("tcp");
  adopts(t, net::conn_from, ends.here, [&](const Conn& conn) {
    return !net::write(conn, "ping").error && take(ends.there, 4) == "ping";
  });
}

void adopts_listener(Trial& t) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  adopts(t, net::listener_from, listener, [&](const Listener& adopted) {
    const auto [conn, err] = net::dial("tcp", net::addr(listener).string());
    return !err && reaches(conn, adopted);
  });
}

// ---------------------------------------------------------------------------
// Packets

struct Packets {
  PacketConn here = net::must(net::listen_packet("udp4", "127.0.0.1:0"));
  PacketConn there = net::must(net::listen_packet("udp4", "127.0.0.1:0"));
  net::Addr name = net::local_addr(there);

  bool works() const {
    char buffer[8];
    net::set_deadline(there, 5s);
    return !net::write_to(here, "ping", name).error &&
           net::read_from(there, buffer).size == 4;
  }
};

void reads_from(Trial& t, bool once) {
  const Packets packets;
  net::must(net::write_to(packets.here, "hello", packets.name));
  char buffer[8];
  const PacketConn& there = packets.there;
  net::set_read_deadline(there, 5s);
  const auto read = [&] {
    return once ? net::try_read_from(there, buffer)
                : net::read_from(there, buffer);
  };
  const Error err = t.run(story("read", there, "udp4"), [&] {
    const net::Packet packet = read();
    t.check(packet.error || (packet.size == 5 &&
                             packet.from == net::local_addr(packets.here)),
            "another packet");
    return packet.error;
  });
  if (err) t.check(read().size == 5, "the packet was lost");
  t.check(packets.works(), "no later call works");
}

template <class F>
void controls_packets(Trial& t, const std::string& begin, F call) {
  const Packets packets;
  t.run(begin, [&]() -> Error { return call(packets.here); });
  t.check(packets.works() && !call(packets.here), "no later call works");
}

void adopts_packet_conn(Trial& t) {
  const Packets packets;
  adopts(t, net::packet_conn_from, packets.there, [&](const PacketConn& conn) {
    char buffer[8];
    net::set_deadline(conn, 5s);
    return !net::write_to(packets.here, "ping", packets.name).error &&
           net::read_from(conn, buffer).size == 4;
  });
}

void exchanges_unixgram(Trial& t) {
  const support::Directory dir;
  const auto here = net::must(net::listen_packet("unixgram", dir.path + "/s"));
  net::set_deadline(here, 5s);
  const auto both = [&]() -> Error {
    char buffer[8];
    const auto sent = net::write_to(here, "hello", net::local_addr(here));
    return sent.error ? sent.error : net::read_from(here, buffer).error;
  };
  t.run("", both);
  t.check(!both(), "no later call works");
}

// ---------------------------------------------------------------------------
// Unix extras

void sends_descriptor(Trial& t) {
  Ends ends("unix");
  const auto send = [&] { return net::send_descriptor(ends.here, 0); };
  const bool sent = !t.run(ends.tells("write"), send);
  for (int i = sent ? 0 : 1; i < 2; ++i) {
    if (i == 1) t.check(!send(), "no later call works");
    const auto [fd, err] = net::receive_descriptor(ends.there);
    t.check(!err, "nothing arrived: " + err.message());
    ::close(fd);
  }
}

void receives_descriptor(Trial& t) {
  Ends ends("unix");
  net::must(net::send_descriptor(ends.there, 0));
  net::set_deadline(ends.here, 5s);
  const auto receive = [&] {
    const auto [fd, err] = net::receive_descriptor(ends.here);
    const inject::Exempt own;
    if (fd >= 0) ::close(fd);
    return err;
  };
  if (t.run(ends.tells("read"), receive))
    t.check(!receive(), "the descriptor was lost");
  t.check(ends.works(), "no later call works");
}

// ---------------------------------------------------------------------------
// Helpers, concurrency, poller

// As `reads`, with a Reader. What was read ahead is not lost either.
template <class Read>
void reads_ahead(Trial& t, Much much, Read read) {
  reads(t, "tcp", much, [&](const Conn& conn, std::string& room) {
    Reader reader(conn);
    const auto [got, err] = read(reader);
    t.check(err || much == Much::some || got == "hello\n", "that was not all");
    const std::string all = got + std::string(reader.buffered());
    return Result<std::size_t>{all.copy(room.data(), room.size()), err};
  });
}

template <class Read>
Result<std::string> into_string(Read read) {
  std::string bytes(6, '\0');
  const auto [n, err] = read(bytes);
  bytes.resize(n);
  return {bytes, err};
}

void reads_all(Trial& t) {
  const Ends ends("tcp");
  net::must(net::write(ends.there, "hello"));
  net::must(net::close_write(ends.there));
  std::string got;
  const Error err = t.run(ends.tells("read"), [&] {
    auto [all, failed] = net::read_all(ends.here, 100);
    got = std::move(all);
    return failed;
  });
  t.check(err || got == "hello", "that was not all");
  got += take(ends.here, 5 - got.size());
  t.check(got == "hello", "bytes were lost");
}

// The bytes of `from` arrive at the other end: the count says how many.
template <class Pump>
void pumps(Trial& t, Pump pump) {
  const Ends from("tcp"), to("tcp");
  net::must(net::write(from.there, "hello, world"));
  net::must(net::close_write(from.there));
  std::uint64_t count = 0;
  const Error err = t.run("", [&] {
    const auto [n, failed] = pump(to.here, from.here);
    count = n;
    return failed;
  });
  const auto size = static_cast<std::size_t>(count);
  const std::string whole = "hello, world";
  t.check(err || size == whole.size(), "that was not all");
  t.check(take(to.there, size) == whole.substr(0, size), "the count is wrong");
  t.check(to.works(), "no later call works");
}

void sends_file(Trial& t) {
  const support::Directory dir;
  const std::string path = dir.path + "/f";
  std::ofstream(path) << "hello, world";
  pumps(t,
        [&](const Conn& to, const Conn&) { return net::send_file(to, path); });
}

// A server that echoes. One fault costs one client at most.
void serves(Trial& t) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  const auto echo = [](const Conn& conn) -> Error {
    std::string bytes(4, '\0');
    const auto [n, err] = net::read_full(conn, bytes);
    return err ? err : net::write(conn, bytes).error;
  };
  int served = 0;
  const auto visits = [&] {
    const inject::Exempt own;
    for (int i = 0; i < 2; ++i) {
      const Conn conn = net::dial("tcp", address).value;
      served += !net::write(conn, "ping").error && take(conn, 4) == "ping";
    }
    net::close(listener);
  };
  t.run("", [&] {
    std::thread clients;
    {
      const inject::Exempt own;
      clients = std::thread(visits);
    }
    const Error err = net::serve(listener, echo);
    // Only a listener that is none ends the server; nobody is served then.
    t.check(!err.temporary(), "the server gave up: " + err.message());
    if (err) net::close(listener);
    clients.join();
    t.check(err || served > 0, "both clients were hurt");
    return Error();
  });
}

void goes(Trial& t) {
  std::atomic<int> ran{0};
  const auto once = [&] {
    net::Group group;
    const Error err = group.go([&] { ++ran; });
    const Error later = group.wait();
    return err ? err : later;
  };
  const Error err = t.run("go: pthread_create: ", once);
  t.check(ran == (err ? 0 : 1), "the task ran in spite of an error");
  t.check(!once(), "no later go works");
}

// Everything that a Poller does; some of it under the faults.
struct Polled {
  Ends ends{"tcp"};
  Poller poller{};

  bool works() {
    if (poller.watch(ends.here, net::readable, 7)) return false;
    net::must(net::write(ends.there, "x"));
    const auto [events, err] = poller.wait(5s);
    return !err && events.size() == 1 && events[0].key == 7 &&
           take(ends.here, 1) == "x";
  }
};

template <class F>
void polls(Trial& t, const std::string& begin, F call) {
  Polled polled;
  t.run(begin, [&]() -> Error { return call(polled); });
  t.check(polled.works(), "no later call works");
}

// A look-up; the same one works later.
template <class F>
void looks_up(Trial& t, const std::string& begin, F call) {
  t.run(begin, [&] { return call().error; });
  t.check(!call().error, "no later call works");
}

// ---------------------------------------------------------------------------
// All of them

#ifdef NETLITE_PORTABLE
const char* const accept_call = "accept";
#else
const char* const accept_call = "accept4";
#endif
const char* const message_call = "recvmsg";

// What makes a call wait first.
std::vector<Fault> blocked(const char* call) { return {{call, 0, EAGAIN}}; }

void opening(Scenes& scenes) {
  const auto dial = [&](const char* name, const char* network, const char* host,
                        const net::DialOptions& options = {}) -> Scene& {
    return scenes.add(std::string("dial ") + network + ", " + name,
                      [=](Trial& t) { dials_host(t, network, host, options); });
  };
  net::DialOptions within, from;
  within.timeout = 10s;
  from.local = net::Addr("tcp", net::must(net::parse_ip("127.0.0.3")), 0);
  // Another address serves as well as the one that failed.
  const Rules any_address = {told("getaddrinfo"), told("pthread_create"),
                             same("")};
  dial("an IP address", "tcp", "127.0.0.1");
  dial("a name", "tcp", "one.test");
  dial("a name, within a time", "tcp", "one.test", within);
  dial("a name of two addresses", "tcp", "two.test").but(any_address);
  if (!net::listen("tcp6", "[::1]:0").error)
    dial("a name of both families", "tcp", "both.test").but(any_address);
  dial("from an address", "tcp", "127.0.0.1", from);
  dial("an IP address", "udp", "127.0.0.1");
  dial("a name", "udp", "one.test");
  scenes.add("dial tcp, time is up", dials_silence);
  for (const std::string network : {"unix", "unixpacket", "unixgram"})
    scenes.add("dial " + network, [=](Trial& t) { dials_path(t, network); })
        .but({same("connect", EAGAIN)});  // no room yet: it asks again

  const auto listen = [&](const char* name, const char* network,
                          const char* address,
                          const net::ListenOptions& options = {}) -> Scene& {
    return scenes.add(std::string("listen ") + network + ", " + name,
                      [=](Trial& t) {
                        if (std::string_view(network).substr(0, 3) == "udp")
                          listens<PacketConn>(t, network, address, options);
                        else
                          listens<Listener>(t, network, address, options);
                      });
  };
  // Without IPv6, the first socket is of the other family.
  const Rules any_family = {same("socket", EAFNOSUPPORT)};
  net::ListenOptions shared;
  shared.reuse_port = true;
  listen("all addresses", "tcp", ":0").but(any_family);
  listen("an IP address", "tcp", "127.0.0.1:0");
  listen("a name", "tcp", "one.test:0");
  listen("a shared port", "tcp", "127.0.0.1:0", shared)
      .but({told("setsockopt", 1)});
  listen("all addresses", "udp", ":0").but(any_family);
  listen("an IP address", "udp", "127.0.0.1:0");
  scenes.add("listen udp, a group", listens_to_group);

  net::ListenOptions with_mode, over_stale;
  with_mode.mode = 0600;
  over_stale.replace_stale = true;
  const auto listen_at_path = [&](const char* network, const char* name,
                                  const net::ListenOptions& options) -> Scene& {
    return scenes.add(std::string("listen ") + network + name, [=](Trial& t) {
      listens_at_path<Listener>(t, network, options);
    });
  };
  listen_at_path("unix", "", {});
  listen_at_path("unixpacket", "", {});
  listen_at_path("unix", ", with a mode", with_mode);
  // What could not be looked at, or removed, is still in the way.
  const std::error_code in_use = as_code(EADDRINUSE);
  listen_at_path("unix", ", over a stale file", over_stale)
      .but({told("fcntl", 0), told("fcntl", 1), told("fcntl", 2),
            instead("fcntl", in_use), instead("lstat", in_use, 0, 0),
            told("socket", 0), instead("socket", in_use),
            instead("bind", {}, EADDRINUSE, 0), same("poll"),
            instead("unlink", in_use), same("connect", ECONNREFUSED),
            same("connect", EINPROGRESS), instead("connect", in_use)});
  scenes.add("listen unix, a relative path", listens_at_relative_path);
  scenes.add("listen unixgram",
             [](Trial& t) { listens_at_path<PacketConn>(t, "unixgram", {}); });
  scenes.add("pipe", pipes);
  // Where sockets are not born non-blocking.
  for (Scene& each : scenes) each.own.push_back(told("fcntl"));
}

void connections(Scenes& scenes) {
  // One client's misfortune is no error of accept.
  Rules clients;
  for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT,
                          EHOSTDOWN, ENONET, EHOSTUNREACH, ENETUNREACH})
    clients.push_back(same(accept_call, error));
  // The portable half makes what it accepted non-blocking, with three calls of
  // which one client that has left may make EINVAL.
  Rules accepting = clients, once, after_bell;
  accepting.push_back(same("fcntl", EINVAL));
  accepting.push_back(told("fcntl"));
  for (const char* call : {"recv", "send", "sendmsg", accept_call})
    once.push_back(instead(call, net::would_block, EAGAIN));
  once.insert(once.end(), accepting.begin(), accepting.end());
  for (int i = 0; i < 6; ++i) after_bell.push_back(same("fcntl", 0, i));
  after_bell.insert(after_bell.end(), accepting.begin(), accepting.end());
  const auto accept = [](const char* network, bool try_it = false) {
    return [=](Trial& t) { accepts(t, network, try_it); };
  };
  scenes.add("accept tcp", accept("tcp")).but(accepting);
  scenes.add("accept unix", accept("unix")).but(accepting);
  scenes.add("accept that waits", accept("tcp"))
      .but(after_bell)
      .after(blocked(accept_call));
  scenes.add("try_accept", accept("tcp", true)).but(once);

  const auto read = [](const char* network, auto call, Much much = Much::some) {
    return [=](Trial& t) { reads(t, network, much, call); };
  };
  const auto some = [](auto& conn, auto& room) {
    return net::read(conn, room);
  };
  const auto full = [](auto& conn, auto& room) {
    return net::read_full(conn, room);
  };
  const auto try_it = [](auto& conn, auto& room) {
    return net::try_read(conn, room);
  };
  scenes.add("read tcp", read("tcp", some));
  scenes.add("read unix", read("unix", some));
  scenes.add("read unixpacket", read("unixpacket", some)).in_messages();
  scenes.add("read that waits", read("tcp", some)).after(blocked("recv"));
  scenes.add("read_full", read("tcp", full, Much::all))
      .after({{"recv", 0, cut}});
  scenes.add("read_full that waits", read("tcp", full, Much::all))
      .after({{"recv", 0, cut}, {"recv", 1, EAGAIN}});
  scenes.add("try_read", read("tcp", try_it)).but(once);
  scenes.add("read, time is up", reads_in_vain);

  const auto write = [](const char* network, auto call, Much much = Much::all,
                        const char* op = "write") {
    return [=](Trial& t) { writes(t, network, much, call, op); };
  };
  const auto all = [](auto& conn) { return net::write(conn, "hello, world"); };
  const auto pieces = [](auto& conn) {
    return net::write(conn, {"hello", ", ", "world"});
  };
  const auto gathered = write("tcp", pieces, Much::all, "writev");
  const auto what_fits = [](auto& conn) {
    return net::try_write(conn, "hello, world");
  };
  scenes.add("write tcp", write("tcp", all));
  scenes.add("write unix", write("unix", all));
  scenes.add("write unixpacket", write("unixpacket", all)).in_messages();
  scenes.add("write that waits", write("tcp", all)).after(blocked("send"));
  scenes.add("write gathered", gathered);
  scenes.add("write gathered, in pieces", gathered)
      .after({{"sendmsg", 0, cut}, {"sendmsg", 1, EAGAIN}});
  scenes.add("try_write", write("tcp", what_fits, Much::some)).but(once);
  const auto pieces_that_fit = [](auto& conn) {
    return net::try_write(conn, {"hello", ", ", "world"});
  };
  scenes
      .add("try_write gathered",
           write("tcp", pieces_that_fit, Much::some, "writev"))
      .but(once);

  const auto wait = [](unsigned interest) {
    return [=](Trial& t) {
      controls(t, "tcp", "wait",
               [=](auto& conn) { return net::wait(conn, interest); });
    };
  };
  scenes.add("wait for writable", wait(net::writable));
  scenes.add("wait for either", wait(net::readable | net::writable));

  scenes.add("close", closes).but({told("close")});
  scenes.add("close a unix listener", closes_listener).but({told("close")});
  scenes.add("close under a read", closes_under_read);
  scenes.add("close under an accept", closes_under_accept).but(clients);
  scenes.add("set_deadline under a read", moves_deadline_under_read);
  scenes.add("close_read", [](Trial& t) { half_closes(t, net::close_read); });
  scenes.add("close_write", [](Trial& t) { half_closes(t, net::close_write); });
}

void options(Scenes& scenes) {
  const auto option = [&](const char* name, const char* op, auto call) {
    scenes.add(name, [=](Trial& t) { controls(t, "tcp", op, call); })
        .but({told("setsockopt"), told("getsockopt"), told("fcntl")});
  };
  option("set_no_delay", "set",
         [](auto& conn) { return net::set_no_delay(conn, true); });
  option("set_keep_alive", "set",
         [](auto& conn) { return net::set_keep_alive(conn, 9s, 2s, 3); });
  option("set_keep_alive, off", "set",
         [](auto& conn) { return net::set_keep_alive(conn, 0s, 0s); });
  option("set_linger", "set",
         [](auto& conn) { return net::set_linger(conn, -1); });
  option("set_read_buffer", "set",
         [](auto& conn) { return net::set_read_buffer(conn, 9999); });
  option("set_write_buffer", "set",
         [](auto& conn) { return net::set_write_buffer(conn, 9999); });
  option("set_option", "set", [](auto& conn) {
    return net::set_option(conn, SOL_SOCKET, SO_OOBINLINE, 1);
  });
  option("get_option", "get", [](auto& conn) {
    return net::get_option<int>(conn, SOL_SOCKET, SO_TYPE).error;
  });
  option("duplicate", "file", [](auto& conn) {
    const auto [fd, err] = net::duplicate(conn);
    const inject::Exempt own;
    if (!err) ::close(fd);
    return err;
  });

  const Rules nameless = {told("getsockopt"), told("getsockname"),
                          told("fcntl")};
  Rules whole = nameless;
  whole.push_back(told("getpeername"));
  scenes.add("conn_from", adopts_conn).but(whole);
  scenes.add("listener_from", adopts_listener).but(nameless);
  scenes.add("packet_conn_from", adopts_packet_conn).but(nameless);
}

void packets(Scenes& scenes) {
  scenes.add("read_from", [](Trial& t) { reads_from(t, false); });
  scenes.add("read_from that waits", [](Trial& t) { reads_from(t, false); })
      .after(blocked(message_call));
  scenes.add("try_read_from", [](Trial& t) { reads_from(t, true); })
      .but({instead(message_call, net::would_block, EAGAIN)});
  scenes.add("write_to and read_from, unixgram", exchanges_unixgram)
      .in_messages();

  const auto control = [&](const char* name, const char* begin,
                           auto call) -> Scene& {
    return scenes.add(name,
                      [=](Trial& t) { controls_packets(t, begin, call); });
  };
  const Rules own = {told("setsockopt"),
                     instead("if_nametoindex", as_code(ENODEV))};
  control("write_to", "write udp4 127.0.0.1:", [](auto& conn) {
    return net::write_to(conn, "hello", net::local_addr(conn)).error;
  }).in_messages();
  control(
      "try_write_to", "write udp4 127.0.0.1:",
      [](auto& conn) {
        return net::try_write_to(conn, "hello", net::local_addr(conn)).error;
      })
      .in_messages()
      .but({instead("sendto", net::would_block, EAGAIN)});
  control("set_multicast_ttl", "set udp4 127.0.0.1:", [](auto& conn) {
    return net::set_multicast_ttl(conn, 2);
  }).but(own);
  control("set_multicast_loopback", "set udp4 127.0.0.1:", [](auto& conn) {
    return net::set_multicast_loopback(conn, true);
  }).but(own);

  const auto group = net::must(net::parse_ip("224.0.0.251"));
  const auto join = [=](const PacketConn& conn) {
    return net::join_group(conn, group, "lo");
  };
  const auto leave = [=](const PacketConn& conn) {
    return net::leave_group(conn, group, "lo");
  };
  if (const Error err = join(Packets().here)) {
    MESSAGE("skipped: joining groups: " << err.message());
    return;
  }
  // First it is said that only joined groups are to be heard.
  Rules member = own;
  member.insert(member.begin(), same("setsockopt", 0, 0));
  control("join_group", "set", [=](auto& conn) {
    const Error err = join(conn);
    const inject::Exempt own_call;
    if (!err) leave(conn);
    return err;
  }).but(member);
  control("leave_group", "set", [=](auto& conn) {
    {
      const inject::Exempt own_call;
      join(conn);
    }
    return leave(conn);
  }).but(member);
  control("set_multicast_interface", "set", [](auto& conn) {
    return net::set_multicast_interface(conn, "lo");
  }).but(own);
}

void unix_extras(Scenes& scenes) {
  scenes.add("send_descriptor", sends_descriptor);
  scenes.add("send_descriptor that waits", sends_descriptor)
      .after(blocked("sendmsg"));
  scenes.add("receive_descriptor", receives_descriptor);
  scenes.add("receive_descriptor that waits", receives_descriptor)
      .after(blocked("recvmsg"));
  scenes
      .add("peer_credentials",
           [](Trial& t) {
             controls(t, "unix", "get", [](auto& conn) {
               return net::peer_credentials(conn).error;
             });
           })
      .but({told("getsockopt")});
}

void names(Scenes& scenes) {
  const auto look_up = [&](const char* name, const char* begin,
                           auto call) -> Scene& {
    return scenes.add(name, [=](Trial& t) { looks_up(t, begin, call); });
  };
  look_up("lookup_host",
          "lookup one.test: ", [] { return net::lookup_host("one.test"); });
  look_up("lookup_host, within a time", "lookup one.test: ", [] {
    return net::lookup_host("one.test", 10s);
  });
  look_up("lookup_cname",
          "lookup one.test: ", [] { return net::lookup_cname("one.test"); });
  look_up("lookup_addr",
          "lookup 127.0.0.1: ", [] { return net::lookup_addr("127.0.0.1"); });
  look_up("lookup_addr, within a time", "lookup 127.0.0.1: ", [] {
    return net::lookup_addr("127.0.0.1", 10s);
  });
  look_up("resolve, within a time", "lookup one.test: ", [] {
    return net::resolve("tcp", "one.test:80", 10s);
  });
  look_up("lookup_port", "", [] { return net::lookup_port("tcp", "test"); })
      .but({instead("getaddrinfo", net::unknown_port, EAI_SERVICE),
            instead("getaddrinfo", net::unknown_port, EAI_NODATA),
            instead("getaddrinfo", net::unknown_port, EAI_NONAME)});
  look_up("interfaces", "interfaces: getifaddrs: ", [] {
    return net::interfaces();
  }).but({same("if_nametoindex")});
}

void helpers(Scenes& scenes) {
  const auto read = [&](const char* name, Much much, auto call) -> Scene& {
    return scenes.add(name, [=](Trial& t) { reads_ahead(t, much, call); });
  };
  const auto until = [](Reader& reader) { return reader.read_until('\n'); };
  read("read_until", Much::all, until);
  read("read_until, in pieces", Much::all, until)
      .after({{"recv", 0, cut}, {"recv", 1, EAGAIN}});
  read("read_line", Much::all, [](Reader& reader) {
    auto line = reader.read_line();
    if (!line.error) line.value += '\n';
    return line;
  });
  read("read of a Reader", Much::some, [](Reader& reader) {
    return into_string([&](auto& room) { return reader.read(room); });
  });
  read("read_full of a Reader", Much::all, [](Reader& reader) {
    return into_string([&](auto& room) { return reader.read_full(room); });
  });
  scenes.add("read_all", reads_all);

  const auto pump = [&](const char* name, auto call) -> Scene& {
    return scenes.add(name, [=](Trial& t) { pumps(t, call); });
  };
  const auto copy = [](auto& to, auto& from) { return net::copy(to, from); };
  pump("copy", copy);
  pump("copy that waits", copy)
      .after({{"recv", 0, EAGAIN}, {"send", 0, EAGAIN}});
  scenes.add("send_file", sends_file).but({told("read")});
}

void concurrency(Scenes& scenes) {
  scenes.add("go", goes);
  scenes.add("serve", serves).but({same("")});
}

void poller(Scenes& scenes) {
  const auto poll = [&](const char* name, const char* begin, auto call) {
    scenes.add(name, [=](Trial& t) { polls(t, begin, call); })
        .but({told("eventfd"), told("pipe"), told("fcntl"), told("poll")});
  };
  poll("watch", "watch tcp ", [](auto& polled) {
    return polled.poller.watch(polled.ends.here, net::readable);
  });
  poll("watch again and unwatch", "watch tcp ", [](auto& polled) {
    for (const unsigned interest : {net::readable, net::writable})
      if (auto err = polled.poller.watch(polled.ends.here, interest))
        return err;
    return polled.poller.unwatch(polled.ends.here);
  });
  poll("wait", "wait: ", [](auto& polled) {
    {
      const inject::Exempt own;
      polled.poller.watch(polled.ends.here, net::writable);
    }
    return polled.poller.wait(5s).error;
  });
  poll("wait, time is up",
       "wait: ", [](auto& polled) { return polled.poller.wait(10ms).error; });
  poll("wake", "wake: ", [](auto& polled) { return polled.poller.wake(); });
  poll("wake and wait", "wa", [](auto& polled) {
    const Error err = polled.poller.wake();
    return err ? err : polled.poller.wait(5s).error;
  });
}

}  // namespace

TEST_CASE("every call tells or survives whatever befalls it" *
          doctest::timeout(600)) {
  Scenes scenes;
  opening(scenes);
  connections(scenes);
  options(scenes);
  packets(scenes);
  unix_extras(scenes);
  names(scenes);
  helpers(scenes);
  concurrency(scenes);
  poller(scenes);
  Tally tally;
  try_all(scenes, tally);
  std::printf("%d calls, %d pairs of call and fault\n", tally.scenes,
              tally.pairs);
  CHECK(tally.pairs >= 3000);
}

// ---------------------------------------------------------------------------
// What goes on failing must not keep a core busy

TEST_CASE("a wait that goes on failing is told or slow, never a busy loop") {
  const support::Connected connected;
  net::set_deadline(connected.server, 200ms);
  net::set_deadline(connected.listener, 200ms);
  char buffer[8];
  const inject::Faults faults({{"poll", 0, ENOMEM, inject::always}});
  SUBCASE("read") {
    const auto [n, err] = net::read(connected.server, buffer);
    CHECK(err);
  }
  SUBCASE("accept") {
    const auto [conn, err] = net::accept(connected.listener);
    CHECK(err);
  }
  SUBCASE("dial") {
    const auto [conn, err] =
        net::dial("tcp", net::addr(connected.listener).string());
    CHECK((conn || err));
  }
  CHECK(inject::count("poll") < 1000);
}

TEST_CASE("a server without descriptors waits for some") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  std::atomic<int> reported{0};
  net::ServeOptions options;
  options.on_error = [&](const Error& err) {
    CHECK(err == std::errc::too_many_files_open);
    ++reported;
  };
  const inject::Faults faults({{accept_call, 0, EMFILE, inject::always}});
  support::Thread client([&] {
    const inject::Exempt own;
    const Conn conn = net::must(net::dial("tcp", address));
    while (reported < 4) std::this_thread::sleep_for(1ms);
    net::close(listener);
  });
  CHECK(!net::serve(
      listener, [](const Conn&) {}, options));
  CHECK(inject::count(accept_call) < 20);
}
