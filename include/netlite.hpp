// netlite.hpp - Go's net package retold in C++17: sockets in one header.
// SPDX-License-Identifier: MIT
//
// Copy this file into your project, include it, compile: there is nothing to
// link and nothing to configure. With `namespace net = netlite;` a line such as
//
//   auto [conn, err] = net::dial("tcp", "localhost:9988");
//
// is the same in Go and in C++. Free functions act on sockets; errors are
// values that tell the whole story; only running out of memory throws unasked.
//
// The surface, in the order of the sections below
//
//   THE CORE
//   Addresses    IP  Addr  join_host_port
//   Errors       Error  Result  must  Failure
//                eof  closed  timed_out  truncated  would_block  ...
//   sys          one small function for each BSD call
//   Time         Deadline  no_deadline  forever  Mode
//   Waiting      (nothing to call: the machine under every call)
//   Connections  Socket  Conn  Listener  PacketConn  Bytes  Buffer
//                read  read_full  write
//                close  close_read  close_write  local_addr  remote_addr
//                set_deadline  set_read_deadline  set_write_deadline
//   Dialling     dial  dial_timeout  DialOptions  pipe
//   Listeners    listen  ListenOptions  accept  addr
//   Many at once Group  serve  ServeOptions
//
//   THE REST
//   Addresses    split_host_port  parse_ip  Prefix  parse_prefix
//   Names        resolve  lookup_host  lookup_addr  lookup_cname  lookup_port
//                Interface  interfaces
//   Streams      write (of several pieces)  read_all  copy  send_file
//                Reader: read_line  read_until  read  read_full  read_all
//   Packets      listen_packet  read_from  write_to  join_group  leave_group
//                set_multicast_ttl  set_multicast_loopback
//                set_multicast_interface
//   Unix extras  send_descriptor  receive_descriptor  peer_credentials
//                set_unlink_on_close
//   Options      set_no_delay  set_keep_alive  set_linger  set_read_buffer
//                set_write_buffer  set_option  get_option
//                native_handle  duplicate
//                conn_from  listener_from  packet_conn_from
//   Poller       readable  writable  hung_up  wait  Event
//                Poller: watch  unwatch  wait  wake
//                try_read  try_write  try_accept  try_read_from  try_write_to
//
// Read it from top to bottom: each name is explained before it is used. What is
// in namespace `internal` is how it works, and may change; everything else is
// the interface. Three ideas carry it all:
//   1. A handle is shared. A socket counts the calls inside it, and close
//      waits until they have left: so a descriptor's number can never come to
//      mean another file while a call is using it.
//   2. When a call has to wait for its socket, it does so in one single place:
//      internal::attempt, which tries, on top of internal::wait, which sleeps.
//   3. A thread that waits can be woken, by close or by a deadline that another
//      thread has moved: it sleeps in poll(2) on its socket and on a bell.

#ifndef NETLITE_HPP
#define NETLITE_HPP

#if __cplusplus < 201703L
#error "netlite needs C++17 or newer: compile with -std=c++17"
#else

#define NETLITE_VERSION_MAJOR 0
#define NETLITE_VERSION_MINOR 2
#define NETLITE_VERSION_PATCH 0

// --- Headers and platform ---------------------------------------------------
// -DNETLITE_PORTABLE makes Linux use what macOS and FreeBSD use (poll instead
// of epoll, a pipe instead of an eventfd), so that this half can be tested.

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__) && !defined(NETLITE_PORTABLE)
#define NETLITE_LINUX 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

// Everything is in an inline namespace named after the version and variant, so
// two of them in one program never share a function body. It is visible even
// under -fvisibility=hidden: an Error is the same type in all shared libraries.
#if defined(NETLITE_LINUX) && defined(__cpp_exceptions)
#define NETLITE_VARIANT v0_2
#elif defined(NETLITE_LINUX)
#define NETLITE_VARIANT v0_2_without_exceptions
#elif defined(__cpp_exceptions)
#define NETLITE_VARIANT v0_2_portable
#else
#define NETLITE_VARIANT v0_2_portable_without_exceptions
#endif
#define NETLITE_NAMESPACE NETLITE_VARIANT __attribute__((visibility("default")))

/// Go's net package retold in C++17.
namespace netlite {
inline namespace NETLITE_NAMESPACE {

// --- Addresses --------------------------------------------------------------
// Where a socket is: an IP address and a port, or the name of a unix socket.
// These are plain values; see also "Addresses, the rest".

namespace internal {
// What plain values have in common: they are compared by what T::key() returns.
template <class T>
struct Value {
  friend bool operator==(const T& a, const T& b) { return a.key() == b.key(); }
  friend bool operator!=(const T& a, const T& b) { return !(a == b); }
  friend bool operator<(const T& a, const T& b) { return a.key() < b.key(); }
  template <class Out, class V = T>
  friend auto operator<<(Out& out, const T& value)
      -> decltype(out << std::declval<const V&>().string()) {
    return out << value.string();
  }
};

// Equal values have equal hashes: see the end of this file.
struct Hash {
  template <class T>
  size_t operator()(const T& value) const {
    using Key = std::decay_t<decltype(value.key())>;
    if constexpr (std::is_integral_v<Key>)
      return std::hash<Key>()(value.key());
    else
      return std::hash<std::string>()(value.string());
  }
};

struct Network {
  std::string_view name;
  std::string_view base;  // without the restriction to one family
  int family;
  int type;
};

inline constexpr Network networks[] = {
    {"tcp", "tcp", AF_UNSPEC, SOCK_STREAM},
    {"tcp4", "tcp", AF_INET, SOCK_STREAM},
    {"tcp6", "tcp", AF_INET6, SOCK_STREAM},
    {"udp", "udp", AF_UNSPEC, SOCK_DGRAM},
    {"udp4", "udp", AF_INET, SOCK_DGRAM},
    {"udp6", "udp", AF_INET6, SOCK_DGRAM},
    {"unix", "unix", AF_UNIX, SOCK_STREAM},
    {"unixgram", "unixgram", AF_UNIX, SOCK_DGRAM},
    {"unixpacket", "unixpacket", AF_UNIX, SOCK_SEQPACKET},
};
inline constexpr Network pipe_network{"pipe", "pipe", AF_UNIX, SOCK_STREAM};

inline const Network* find_network(std::string_view name) {
  for (const Network& network : networks)
    if (network.name == name) return &network;
  return nullptr;
}
}  // namespace internal

/// An IP is an IPv4 or IPv6 address, or nothing. IPs compare, print and hash;
/// an IPv4 address and its mapped form (RFC 4291, 2.5.5.2) are not equal, but
/// `is_private` and kin take both for IPv4. Go: `net.IP`, `netip.Addr`.
class IP : public internal::Value<IP> {
 public:
  IP() = default;  ///< No address.
  /// An address of `size` bytes, 4 or 16, in network order; any other size
  /// gives the empty IP. `zone` is the interface of a link-local IPv6 address.
  IP(const unsigned char* bytes, size_t size, std::string_view zone = {}) {
    if (size != 4 && size != 16) return;
    std::memcpy(bytes_.data(), bytes, size);
    size_ = size;
    if (size == 16) zone_ = zone;
  }

  explicit operator bool() const { return size_ != 0; }  ///< Not empty?
  bool is4() const { return size_ == 4; }                ///< Four bytes, IPv4?
  bool is6() const { return size_ == 16; }  ///< Sixteen bytes, IPv6?
  /// An IPv4-mapped address, IPv4 in IPv6 clothes?
  bool is4_in_6() const {
    return is6() && !std::memcmp(data(), "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  }
  /// 0.0.0.0 or ::, which mean "any address of this machine"?
  bool is_unspecified() const { return is(4, zeros, 32) || is(16, zeros, 128); }
  /// 127.0.0.0/8 or ::1, this machine itself?
  bool is_loopback() const { return is(4, "\x7f", 8) || is(16, one, 128); }
  /// 10/8, 172.16/12, 192.168/16 (RFC 1918) or fc00::/7 (RFC 4193)?
  bool is_private() const {
    return is(4, "\x0a", 8) || is(4, "\xac\x10", 12) || is(4, "\xc0\xa8", 16) ||
           is(16, "\xfc", 7);
  }
  /// 224.0.0.0/4 or ff00::/8, a group?
  bool is_multicast() const { return is(4, "\xe0", 4) || is(16, "\xff", 8); }
  /// 169.254.0.0/16 or fe80::/10, good on one link only?
  bool is_link_local_unicast() const {
    return is(4, "\xa9\xfe", 16) || is(16, "\xfe\x80", 10);
  }
  /// 224.0.0.0/24 or ff02::/16 and kin?
  bool is_link_local_multicast() const {
    return is(4, "\xe0\0\0", 24) || (is(16, "\xff", 8) && scope() == 2);
  }
  /// ff01::/16 and kin?
  bool is_interface_local_multicast() const {
    return is(16, "\xff", 8) && scope() == 1;
  }
  /// A global address? Private ones are, too; 255.255.255.255 is not.
  bool is_global_unicast() const {
    return *this && !is(4, "\xff\xff\xff\xff", 32) && !is_unspecified() &&
           !is_loopback() && !is_multicast() && !is_link_local_unicast();
  }
  /// The bytes in network order; `size()` of them: 0, 4 or 16.
  const unsigned char* data() const { return bytes_.data(); }
  size_t size() const { return size_; }  ///< How many bytes.
  /// The interface of a link-local IPv6 address, "eth0" in fe80::1%eth0.
  std::string zone() const { return zone_; }
  /// The IPv4 address inside an IPv4-mapped one; any other address unchanged.
  IP unmap() const { return is4_in_6() ? IP(data() + 12, 4) : *this; }
  /// The shortest text (RFC 5952 for IPv6); "" for the empty IP.
  std::string string() const {
    if (!*this) return {};
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(is4() ? AF_INET : AF_INET6, data(), text, sizeof text);
    // inet_ntop(3) writes the outdated ::1.2.3.4 for what is now ::102:304.
    if (is6() && !is4_in_6() && std::strchr(text, '.'))
      std::snprintf(text, sizeof text, "::%x:%x", bytes_[12] << 8 | bytes_[13],
                    bytes_[14] << 8 | bytes_[15]);
    return zone_.empty() ? text : text + ("%" + zone_);
  }
  /// How IPs are compared: IPv4 first, then by number, then by zone.
  auto key() const { return std::tie(size_, bytes_, zone_); }

 private:
  static constexpr char zeros[16] = {};
  static constexpr char one[17] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1";
  // Is this an address of this size, and does it begin with these bits?
  bool is(size_t size, const char* bytes, int bits) const {
    const unsigned char* mine = is4_in_6() ? data() + 12 : data();
    if ((is4_in_6() ? 4 : size_) != size) return false;
    for (int bit = 0; bit < bits; ++bit)
      if ((mine[bit / 8] ^ bytes[bit / 8]) >> (7 - bit % 8) & 1) return false;
    return true;
  }
  int scope() const { return bytes_[1] & 15; }

  std::array<unsigned char, 16> bytes_{};
  size_t size_ = 0;
  std::string zone_;
};

/// "host:port", or "[host]:port" for a host with a colon. Go: `JoinHostPort`.
inline std::string join_host_port(std::string_view host,
                                  std::string_view port) {
  const std::string name(host), end = ":" + std::string(port);
  return name.find(':') != name.npos ? "[" + name + "]" + end : name + end;
}

/// An Addr is one end of a connection: IP and port, or a unix socket's name.
/// Addrs compare, print and hash. Go: `net.Addr` (`*net.TCPAddr` and kin).
class Addr : public internal::Value<Addr> {
 public:
  Addr() = default;  ///< No address at all.
  /// An address of "tcp" or "udp"; of a network that does not exist, none.
  Addr(std::string_view network, IP ip, uint16_t port) : Addr(network, "") {
    ip_ = std::move(ip);
    port_ = port;
  }
  /// An address of "unix", "unixgram" or "unixpacket": a file's path, an
  /// abstract name "@name" (Linux; a file of that name is "./@name"), or "".
  Addr(std::string_view network, std::string_view path) : path_(path) {
    if (const auto* one = internal::find_network(network)) network_ = one->base;
    if (network == "pipe") network_ = internal::pipe_network.base;
  }

  explicit operator bool() const { return !network_.empty(); }  ///< Any?
  /// "tcp", "udp", "unix", "unixgram", "unixpacket" or "pipe".
  std::string_view network() const { return network_; }
  IP ip() const { return ip_; }  ///< The IP; empty where none was given.
  uint16_t port() const { return port_; }     ///< In host byte order.
  std::string path() const { return path_; }  ///< A unix path or "@name".
  /// A unix socket without a name, which nobody can dial or answer?
  bool unnamed() const {
    return network_.substr(0, 4) == "unix" && path_.empty();
  }
  /// "127.0.0.1:80", "[::1]:80", "/tmp/s.sock", "@name"; "@" when unnamed.
  std::string string() const {
    if (network_ == "tcp" || network_ == "udp")
      return join_host_port(ip_.string(), std::to_string(port_));
    return unnamed() ? "@" : path_;
  }
  /// How Addrs are compared: by network, IP, port, path.
  auto key() const { return std::tie(network_, ip_, port_, path_); }

 private:
  std::string_view network_;  // a literal from `internal::networks`
  IP ip_;
  uint16_t port_ = 0;
  std::string path_;
};

// --- Errors -----------------------------------------------------------------
// A call returns an Error: nil, or else the whole story of what was tried,
// where, and why it failed.

/// The conditions that netlite itself reports, as values of `category()`.
/// Compare an Error with them: `err == netlite::eof`.
enum Errc {
  eof = 1,          ///< the peer ended its stream; Go's `io.EOF`
  unexpected_eof,   ///< the stream ended in the middle of what was asked for
  closed,           ///< this side has closed the socket; Go's `net.ErrClosed`
  timed_out,        ///< the deadline has passed; `os.ErrDeadlineExceeded`
  would_block,      ///< a `try_` call would have to wait
  truncated,        ///< a message was cut to fit the buffer
  limit_exceeded,   ///< a line or stream is longer than its limit
  task_failed,      ///< an exception ended a task or a handler
  no_descriptor,    ///< a message came without a descriptor
  unknown_network,  ///< not one of tcp, tcp4, tcp6, udp, ..., unixpacket
  missing_address,  ///< dial needs an address
  missing_port,     ///< "host" where "host:port" is needed
  too_many_colons,  ///< "::1:80"; an IPv6 address needs brackets
  missing_bracket,  ///< "[::1"
  unexpected_open_bracket,   ///< "host:[80]"
  unexpected_close_bracket,  ///< "a]b:80"
  unknown_port,              ///< no such service: "tcp/nosuchservice"
  invalid_port,              ///< not in 0..65535
  invalid_ip,                ///< not an IP address
  invalid_prefix,            ///< not an IP prefix in CIDR notation
  no_suitable_address,       ///< none of the family asked for
  unexpected_address_type,   ///< listen on udp, listen_packet on tcp
  mismatched_local_address,  ///< a local address of another network
  non_ipv4_address,          ///< an IPv6 address for an IPv4 socket
  write_to_connected,        ///< write_to on a socket with one fixed peer
};

}  // namespace NETLITE_NAMESPACE
}  // namespace netlite

template <>
struct std::is_error_code_enum<netlite::Errc> : std::true_type {};

namespace netlite {
inline namespace NETLITE_NAMESPACE {

namespace internal {
// An error in Go's words, the same on every system. See "Words".
std::string text_of(const std::error_code& code);

class Category : public std::error_category {
  const char* name() const noexcept override { return "netlite"; }
  std::string message(int n) const override { return text_of({n, *this}); }
  // Our deadline is a kind of std::errc::timed_out; ETIMEDOUT is another.
  std::error_condition default_error_condition(int n) const noexcept override {
    if (n == timed_out) return std::errc::timed_out;
    if (n == would_block) return std::errc::operation_would_block;
    return {n, *this};
  }
};

class ResolverCategory : public std::error_category {
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int code) const override {
    if (code == EAI_NONAME) return "no such host";
    if (code == EAI_AGAIN || code == EAI_FAIL) return "server misbehaving";
    return ::gai_strerror(code);
  }
};

// One T for all: in static memory, for "out of memory" must not need any, and
// never destroyed: threads may use it while the process exits.
template <class T>
const T& only() noexcept {
  alignas(T) static unsigned char room[sizeof(T)];
  static const T& instance = *new (room) T;
  return instance;
}
inline bool is_errno(const std::error_code& code,
                     std::initializer_list<int> numbers) noexcept {
  for (const int each : numbers)
    if (code == std::error_code(each, std::system_category())) return true;
  return false;
}

// Everything about a failure except its cause.
struct Story {
  std::string op;
  std::string network;
  std::string subject{};  // goes before the cause: "connect", "lookup x"
  std::string behind{};   // goes after it: the text that made no sense
  Addr local{};
  Addr remote{};
};
}  // namespace internal

/// The category of `Errc`, named "netlite".
inline const std::error_category& category() noexcept {
  return internal::only<internal::Category>();
}
/// The category of getaddrinfo(3)'s EAI_... numbers, named "resolver".
inline const std::error_category& resolver_category() noexcept {
  return internal::only<internal::ResolverCategory>();
}
/// Makes `std::error_code code = netlite::eof;` work.
inline std::error_code make_error_code(Errc code) noexcept {
  return {code, category()};
}
/// The name does not exist: the resolver's most common error.
inline const std::error_code no_such_host{EAI_NONAME, resolver_category()};

/// An Error tells the whole story of a call that failed: operation, network,
/// both ends, cause. It is nil - false - when all went well. Copy it, compare
/// it. Nil, `eof` and `would_block` allocate nothing. Go: `*net.OpError`.
class Error {
 public:
  Error() noexcept = default;  ///< A nil error: nothing went wrong.
  Error(std::error_code code) noexcept : code_(code) {}  ///< The cause alone.
  /// The same for `netlite::closed`, `std::errc::invalid_argument` and kin.
  template <class Code, class = decltype(make_error_code(Code()))>
  Error(Code code) noexcept : code_(make_error_code(code)) {}
  /// An error with its story, as netlite's own calls make it.
  Error(std::error_code code, internal::Story story)
      : code_(code),
        story_(std::make_shared<const internal::Story>(std::move(story))) {}

  explicit operator bool() const noexcept { return bool(code_); }  ///< Not nil?
  /// The cause: of category(), resolver_category() or std::system_category().
  std::error_code code() const noexcept { return code_; }
  std::string op() const { return story().op; }  ///< "dial", "read" ... or ""
  /// The network as the caller named it, such as "tcp4"; "" when unknown.
  std::string network() const { return story().network; }
  Addr local() const { return story().local; }    ///< This end, if it is known.
  Addr remote() const { return story().remote; }  ///< The other end, if known.
  /// What the cause is about: "connect", "lookup x"; "" when it needs none.
  std::string subject() const { return story().subject; }
  /// The whole story in Go's words, such as
  /// `dial tcp 127.0.0.1:9988: connect: connection refused`; "" when nil.
  std::string message() const {
    if (!code_) return {};
    const internal::Story& all = story();
    std::string text = all.op;
    if (!text.empty()) {
      if (!all.network.empty()) text += " " + all.network;
      if (all.local) text += " " + all.local.string();
      if (all.remote) text += (all.local ? "->" : " ") + all.remote.string();
      text += ": ";
    }
    if (!all.subject.empty()) text += all.subject + ": ";
    return text + internal::text_of(code_) + all.behind;
  }
  /// True when time ran out: a deadline, ETIMEDOUT, EAGAIN. Go: `Timeout()`.
  bool timeout() const noexcept {
    return *this == timed_out || internal::is_errno(code_, {ETIMEDOUT, EAGAIN});
  }
  /// True when the same call may succeed later: after a timeout, or when the
  /// machine is short of descriptors or memory. Go: `Temporary()`.
  bool temporary() const noexcept {
    return timeout() || *this == would_block ||
           *this == std::error_code(EAI_AGAIN, resolver_category()) ||
           internal::is_errno(code_, {EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM});
  }
  /// Same cause, as in `err == netlite::eof`? The stories may differ.
  friend bool operator==(const Error& a, const Error& b) noexcept {
    // A shared library may have a category object of its own.
    const auto &one = a.code_.category(), &other = b.code_.category();
    return a.code_.value() == b.code_.value() &&
           (one == other || std::strcmp(one.name(), other.name()) == 0);
  }
  /// Same kind of cause, as in `err == std::errc::connection_refused`?
  template <class T, class = decltype(std::error_condition(std::declval<T>()))>
  friend bool operator==(const Error& err, T kind) noexcept {
    return err.code_ == std::error_condition(kind);
  }
  /// The opposite.
  template <class T>
  friend auto operator!=(const Error& a, const T& b) noexcept
      -> decltype(!(a == b)) {
    return !(a == b);
  }
  /// Prints `err.message()`.
  template <class Out>
  friend auto operator<<(Out& out, const Error& err)
      -> decltype(out << std::string()) {
    return out << err.message();
  }

 private:
  const internal::Story& story() const noexcept {
    return story_ ? *story_ : internal::only<internal::Story>();
  }

  std::error_code code_;
  std::shared_ptr<const internal::Story> story_;
};

/// What a call returns: `auto [conn, err] = net::dial("tcp", address);`. A
/// function of your own that returns a Result may say `return conn;`,
/// `return err;`, `return netlite::timed_out;` or `return {count, err};`.
template <class T>
struct [[nodiscard]] Result {
  T value{};      ///< meaningful when there is no error, or as the call says
  Error error{};  ///< nil when all went well
  Result() = default;  ///< An empty value, and no error.
  /// A value, and no error.
  template <class U = T,
            std::enable_if_t<std::is_convertible_v<U&&, T> &&
                                 !std::is_convertible_v<U&&, Error>,
                             int> = 0>
  Result(U&& from) : value(static_cast<T>(std::forward<U>(from))) {}
  /// An error, or anything that makes one, and an empty value.
  template <class E,
            std::enable_if_t<std::is_convertible_v<E&&, Error>, bool> = true>
  Result(E&& from) : error(std::forward<E>(from)) {}
  /// Both.
  Result(T from, Error why) : value(std::move(from)), error(std::move(why)) {}
};

/// What `must` throws; its `what()` is the error's message.
struct Failure : std::runtime_error {
  /// Makes the exception from an error.
  explicit Failure(const Error& err)
      : std::runtime_error(err.message()), error(err) {}
  Error error;  ///< the whole story
};

namespace sys {
// How `must` fails: with an exception or, where there are none, with abort(3).
[[noreturn]] inline void fail(const Error& err) {
#ifdef __cpp_exceptions
  throw Failure(err);
#else
  std::fprintf(stderr, "%s\n", err.message().c_str());
  std::abort();
#endif
}
}  // namespace sys

/// Throws a Failure that carries the error, unless the error is nil. Where
/// exceptions are off, prints the message and aborts. For small programs.
inline void must(const Error& err) {
  if (err) sys::fail(err);
}
/// Returns a result's value, `net::must(net::dial("tcp", address))`, or throws.
template <class T>
T must(Result<T> result) {
  must(result.error);
  return std::move(result.value);
}
/// Returns anything else that has an `error`, whole, or throws in the same way.
template <class T>
auto must(T result) -> decltype(must(result.error), T(std::move(result))) {
  must(result.error);
  return result;
}

// --- netlite::sys: the BSD calls --------------------------------------------
// One small function per call, named after its man page, returning what the
// call returns: -1 and errno for a failure. Nothing else touches the kernel.
// Whatever differs between systems is decided here, and so are three policies:
//   EINTR          a call that a signal interrupted is made again, except
//                  connect, close and poll, which say why below.
//   close-on-exec  and non-blocking, from birth where the system can do that,
//                  so another thread's fork and exec meanwhile leaks nothing.
//   SIGPIPE        never: MSG_NOSIGNAL, or SO_NOSIGPIPE where that is missing.

namespace sys {
#ifdef __linux__
constexpr bool is_linux = true;
#else
constexpr bool is_linux = false;
#endif
#ifdef NETLITE_LINUX
constexpr size_t bell_ends = 1;  // descriptors of a Bell, see below
constexpr int birth_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int receive_flags = MSG_CMSG_CLOEXEC;
constexpr bool accepted_inherits = true;  // a listener's TCP options
#else
constexpr size_t bell_ends = 2;
constexpr int birth_flags = 0, receive_flags = 0;
constexpr bool accepted_inherits = false;
#endif
#ifdef MSG_NOSIGNAL
constexpr int send_flags = MSG_NOSIGNAL;
#else
constexpr int send_flags = 0;
#endif
// The options for keep-alive probes, if there are any: -1 gives ENOPROTOOPT.
#if defined(TCP_KEEPIDLE) && defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
constexpr int keep_alive[] = {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT};
#elif defined(TCP_KEEPALIVE) && defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
constexpr int keep_alive[] = {TCP_KEEPALIVE, TCP_KEEPINTVL, TCP_KEEPCNT};
#else
constexpr int keep_alive[] = {-1, -1, -1};
#endif

struct Address {  // an Addr in the kernel's form
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un un;
    sockaddr_storage storage;
  };
  socklen_t size;
  Address() : storage(), size(sizeof(sockaddr_storage)) {}
  int family() const { return size < sizeof(sa_family_t) ? 0 : any.sa_family; }
  // Where an address carries its own length, getnameinfo(3) and the multicast
  // options check it (RFC 3493, 3.4).
  void set_size(size_t bytes) {
    size = static_cast<socklen_t>(bytes);
#ifdef SIN6_LEN
    any.sa_len = static_cast<uint8_t>(bytes);
#endif
  }
};

inline std::error_code error(int n) { return {n, std::system_category()}; }
inline std::error_code last_error() { return error(errno); }
// Sets errno, for a call that is refused before it is made.
inline int refuse(int number) { return errno = number, -1; }
// Does this errno mean "later"? (On BSD, a full unixgram queue is ENOBUFS.)
inline bool would_block(int number) {
  return number == EAGAIN || (!is_linux && number == ENOBUFS);
}
// Calls f; returns the text of the exception that it threw, or "". glibc ends a
// thread (pthread_exit, pthread_cancel) by one that must not be swallowed.
template <class F>
__attribute__((no_sanitize("undefined"))) std::string guarded(F f) {
#ifdef __cpp_exceptions
  try {
    f();
#ifdef __GLIBCXX__
  } catch (const abi::__forced_unwind&) {
    throw;
#endif
  } catch (const std::exception& exception) {
    try {
      return std::string("exception: ") + exception.what();
    } catch (...) {  // no memory for that: f may have run out of it, too
      return "exception";
    }
  } catch (...) {
    return "exception";
  }
#else
  f();
#endif
  return {};
}

template <class Call>
auto retry(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// pthread_cancel(3) has to wait while one of these lives (a temporary: to the
// end of its line): for destructors, and for what other threads wait for.
struct Uncancelled {
  Uncancelled() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  Uncancelled(Uncancelled&&) = delete;
  ~Uncancelled() { ::pthread_setcancelstate(before_, nullptr); }

  int before_;
};

// The program's first process is 0, a child that it forks is 1, a child of that
// is 2 ... A child inherits every lock and count as it was, but none of the
// threads that would release them. pthread_atfork(3).
inline std::atomic<uint32_t> forks{0};
inline int in_child(void (*run)()) {
  return ::pthread_atfork(nullptr, nullptr, run);
}
inline const int counting = in_child([] { ++forks; });

// close(2). Not repeated after EINTR: the descriptor is released all the same,
// and its number may mean another file by now.
inline int close(int fd) {
  const Uncancelled thread;
  return ::close(fd);
}

// fcntl(2): the flags that a descriptor was not born with.
inline int close_on_exec(int fd) { return ::fcntl(fd, F_SETFD, FD_CLOEXEC); }
inline int adopt(int fd) {
#ifdef SO_NOSIGPIPE
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
  return close_on_exec(fd);
}
inline int born(int fd) {
  if (birth_flags || fd < 0 || adopt(fd) == 0) return fd;
  const int number = errno;
  close(fd);
  return refuse(number);
}

inline int socket(int family, int type) {
  return born(::socket(family, type | birth_flags, 0));
}
// socketpair(2), pipe(2): two descriptors
inline int born_pair(int result, int (&fds)[2]) {
  if (result < 0) return result;
  if (born(fds[0]) < 0) return close(fds[1]), -1;
  if (born(fds[1]) < 0) return close(fds[0]), -1;
  return result;
}
inline int socketpair(int (&fds)[2]) {
  const int type = SOCK_STREAM | birth_flags;
  return born_pair(::socketpair(AF_UNIX, type, 0, fds), fds);
}

// lstat(2): which file a path names, as 64-bit numbers even in 32-bit programs.
struct File {
  std::pair<uint64_t, uint64_t> id{};  // device, inode
  bool is_socket = false;
};
inline int lstat(const std::string& path, File& file) {
#ifdef __USE_LARGEFILE64
  struct stat64 found {};
  const int result = ::lstat64(path.c_str(), &found);
#else
  struct stat found {};
  const int result = ::lstat(path.c_str(), &found);
#endif
  file = {{found.st_dev, found.st_ino}, S_ISSOCK(found.st_mode) != 0};
  return result;
}
inline int unlink(const std::string& path) { return ::unlink(path.c_str()); }
inline int bind(int fd, const Address& a) { return ::bind(fd, &a.any, a.size); }
inline int listen(int fd, int backlog) { return ::listen(fd, backlog); }

// accept(2). The peer's address comes with it: once the peer has reset the
// connection, getpeername(2) has none. (And on macOS fcntl then says EINVAL.)
inline int accept(int fd, Address& peer) {
  return retry([&] {
    peer = Address();
#ifdef NETLITE_LINUX
    return ::accept4(fd, &peer.any, &peer.size, birth_flags);
#else
    const int accepted = ::accept(fd, &peer.any, &peer.size);
    if (accepted < 0 || born(accepted) >= 0) return accepted;
    return errno == EINVAL ? refuse(ECONNABORTED) : -1;
#endif
  });
}
// What accept(2) fails with when just one client has gone; see its "Errors".
inline bool concerns_one_client(const std::error_code& code) {
#ifdef ENONET
  if (code == error(ENONET)) return true;
#endif
  return internal::is_errno(
      code, {ECONNABORTED, ECONNRESET, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN,
             EHOSTUNREACH, ENETUNREACH});
}

// connect(2). Not repeated after EINTR: the attempt goes on by itself.
inline int connect(int fd, const Address& address) {
  return ::connect(fd, &address.any, address.size);
}
inline int shutdown(int fd, int how) { return ::shutdown(fd, how); }
inline int getsockname(int fd, Address& address) {
  return ::getsockname(fd, &address.any, &address.size);
}
inline int getpeername(int fd, Address& address) {
  return ::getpeername(fd, &address.any, &address.size);
}
inline int setsockopt(int fd, int level, int name, const void* value,
                      size_t size) {
  return ::setsockopt(fd, level, name, value, static_cast<socklen_t>(size));
}
inline int setsockopt(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}
inline int getsockopt(int fd, int level, int name, void* out, socklen_t size) {
  return ::getsockopt(fd, level, name, out, &size);
}
inline int getsockopt(int fd, int name, int& value) {
  return getsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

// recv(2) and send(2); not all systems take more than INT_MAX at once.
inline constexpr size_t most_at_once = 1 << 30;
inline ssize_t recv(int fd, void* data, size_t size) {
  size = std::min(size, most_at_once);
  return retry([&] { return ::recv(fd, data, size, 0); });
}
inline ssize_t send(int fd, const void* data, size_t size) {
  size = std::min(size, most_at_once);
  return retry([&] { return ::send(fd, data, size, send_flags); });
}

// recvmsg(2) and sendmsg(2): several pieces, descriptors
inline msghdr msg_of(iovec* pieces, size_t count) {
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
  return message;
}
inline ssize_t recvmsg(int fd, msghdr& message) {
  return retry([&] { return ::recvmsg(fd, &message, receive_flags); });
}
inline ssize_t sendmsg(int fd, const msghdr& message) {
  return retry([&] { return ::sendmsg(fd, &message, send_flags); });
}

// recvfrom(2), done by recvmsg(2): only that always tells if a message was cut.
inline ssize_t recvfrom(int fd, void* data, size_t size, Address& from,
                        bool& cut) {
  iovec piece{data, std::min(size, most_at_once)};
  msghdr message = msg_of(&piece, 1);
  message.msg_name = &from.any;
  message.msg_namelen = from.size;
  const ssize_t n = recvmsg(fd, message);
  from.size = message.msg_namelen;
  cut = n >= 0 && (message.msg_flags & MSG_TRUNC) != 0;
  return n;
}

inline ssize_t sendto(int fd, const void* data, size_t size, const Address& a) {
  return retry(
      [&] { return ::sendto(fd, data, size, send_flags, &a.any, a.size); });
}
// poll(2), for at most this many milliseconds; negative: for ever. May return
// early with -1 and EINTR: the caller looks at the clock and at the socket.
inline int poll(pollfd* fds, size_t count, int milliseconds) {
  return ::poll(fds, static_cast<nfds_t>(count), milliseconds);
}
inline void sleep_ms(int milliseconds) { poll(nullptr, 0, milliseconds); }

// A bell wakes a thread that sleeps in poll: ringing it makes it readable until
// the ring is taken. An eventfd(2) takes one descriptor for it, a pipe(2) two.
struct Bell {
  int read = -1;
  int write = -1;
  explicit operator bool() const { return read >= 0; }
};
inline Bell make_bell() {
#ifdef NETLITE_LINUX
  const int fd = ::eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
  return {fd, fd};
#else
  int fds[2];
  return born_pair(::pipe(fds), fds) < 0 ? Bell() : Bell{fds[0], fds[1]};
#endif
}
inline void ring(const Bell& bell) {
  const Uncancelled thread;
  const uint64_t one = 1;
  retry([&] { return ::write(bell.write, &one, sizeof one); });
}
inline void take_ring(const Bell& bell) {
  const Uncancelled thread;
  uint64_t one;
  retry([&] { return ::read(bell.read, &one, sizeof one); });
}
inline void discard(const Bell& bell) {
  if (bell.write != bell.read) close(bell.write);
  if (bell) close(bell.read);
}

// How many descriptors the process may have, getrlimit(2).
inline size_t descriptor_limit() {
  rlimit limit{256, 256};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<size_t>(limit.rlim_cur);
}
inline int chmod(const std::string& path, int mode) {
  return ::chmod(path.c_str(), static_cast<mode_t>(mode));
}
// pthread_create(3) of a thread that nobody joins; returns 0 or an errno.
inline int start_thread(void* (*run)(void*), void* argument) {
  pthread_attr_t detached;
  if (const int number = ::pthread_attr_init(&detached)) return number;
  ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int number = ::pthread_create(&thread, &detached, run, argument);
  ::pthread_attr_destroy(&detached);
  return number;
}
}  // namespace sys

// --- Time -------------------------------------------------------------------
// A call waits until a Deadline, a point on the clock, however often it has to
// try again. Durations count from now: zero or less has passed already.

/// A duration that never ends.
inline constexpr auto forever = std::chrono::nanoseconds::max();

namespace internal {
// A duration in nanoseconds; one that is too long for them is clamped.
template <class Rep, class Period>
std::chrono::nanoseconds saturated(std::chrono::duration<Rep, Period> d) {
  const std::chrono::duration<long double, std::nano> wide = d;
  if (wide >= forever) return forever;
  if (wide <= -forever) return -forever;
  // Floats go through `wide`: its nearest value below `forever` still fits.
  if constexpr (std::is_floating_point_v<Rep>)
    return std::chrono::duration_cast<std::chrono::nanoseconds>(wide);
  else
    return std::chrono::duration_cast<std::chrono::nanoseconds>(d);
}

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

inline Time time_after(std::chrono::nanoseconds d) {
  const Time now = Clock::now();
  return d < Time::max() - now ? now + d : Time::max();
}
// The time left until `when` in poll's milliseconds, rounded up so that nothing
// is ever early; -1: for ever. poll counts to 24.8 days, so ask again then.
inline int poll_time(Time when) {
  if (when == Time::max()) return -1;
  const Time now = Clock::now();
  if (when <= now) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(when - now);
  return static_cast<int>(std::min<int64_t>(ms.count(), INT_MAX));
}

// Waits on a condition variable until `done`, or until `when`; returns whether
// it is done. An hour at a time: where std's waits count by the wall clock, a
// time that is centuries away would overflow, and be over at once.
template <class Done>
bool wait_until(std::condition_variable& changed,
                std::unique_lock<std::mutex>& lock, Time when, Done done) {
  while (!done()) {
    const Time now = Clock::now();
    if (now >= when) return false;
    changed.wait_until(lock, std::min(when, now + std::chrono::hours(1)));
  }
  return true;
}
}  // namespace internal

/// A Deadline is a point on the steady clock. A duration means "from now"; one
/// past the clock's end (292 years), such as `forever`, never comes. Signals,
/// partial progress and the wall clock do not move it; it is never early.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;  ///< The clock that never jumps.

  constexpr Deadline(Clock::time_point when) : when_(when) {}  ///< At `when`.
  /// The same, counted in other units.
  template <class Duration>
  Deadline(std::chrono::time_point<Clock, Duration> when)
      : when_(internal::saturated(when.time_since_epoch())) {}
  /// This long from now.
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now)
      : when_(internal::time_after(internal::saturated(from_now))) {}

  constexpr Clock::time_point when() const { return when_; }  ///< The point.
  /// Is it no_deadline?
  constexpr bool never() const { return when_ == Clock::time_point::max(); }
  bool passed() const { return !never() && Clock::now() >= when_; }  ///< Over?
 private:
  Clock::time_point when_;
};

/// The deadline that never comes; clears one that was set.
inline constexpr Deadline no_deadline{Deadline::Clock::time_point::max()};

/// Whether a call waits, or tries just once, as the `try_` calls do.
enum class Mode { wait, once };

// --- Waiting ----------------------------------------------------------------
// The machine under every call: what handles share, how a thread gets in and
// out of it, and how it sleeps there. Nothing here is for you to call.
//
// How every call is built
//
//   const Use use(socket);           enter the socket, unless it is closed
//   const auto turn = take_turn(..)  one reader and one writer at a time
//   attempt(...)                     until the kernel has an answer:
//     closed? deadline passed?       checked in this order
//     the BSD call                   it does not block
//     wait                           for the socket, or for a ring
//   return failure(...)              the whole story
//   ~turn, ~use                      leave; close may be waiting for that
//
// That is `perform` in "Connections"; `control` is for calls that never wait.

namespace internal {
// Does something at the end of a block, however the block is left.
template <class F>
struct Finally {
  F run;
  explicit Finally(F f) : run(std::move(f)) {}
  ~Finally() { sys::Uncancelled(), run(); }
};

// The one T of this process, never destroyed. A forked child gets its own: a
// lock that a thread of the parent held would stay locked there for ever.
template <class T>
T& of_this_process() {
  struct Made {
    T value;
    uint32_t process = sys::forks;
  };
  static std::atomic<Made*> made{nullptr};
  Made* now = made;
  if (now && now->process == sys::forks) return now->value;
  Made* fresh = new Made;
  if (made.compare_exchange_strong(now, fresh)) return fresh->value;
  delete fresh;
  return now->value;
}

// The bells that sleepers poll beside their sockets, made when needed and kept.
// One for each socket would halve the number of clients that fit, so there is
// at most one for every twelve descriptors, and sockets share them by number.
// (Measured: 0.92 of the clients that bare sockets can serve.)
struct Bells {
  // Both ends of a bell in one number, each inverted, so that 0 means none.
  using Place = std::atomic<uint64_t>;
  static sys::Bell in(uint64_t ends) {
    return {~static_cast<int>(ends >> 32), ~static_cast<int>(ends)};
  }

  static constexpr size_t most = 4096, share = 12 * sys::bell_ends;
  static inline Place places[most]{};
  static inline std::atomic<size_t> count{0};

  // The bell for one direction of a socket. When the descriptor table is full,
  // the next one that was already made, or none.
  static sys::Bell get(int fd, short events) {
    if (count == 0) count = std::min(most, 1 + sys::descriptor_limit() / share);
    const auto first = static_cast<size_t>(fd) * 2 + (events == POLLOUT);
    for (size_t i = 0; i < count; ++i) {
      Place& place = places[(first + i) % count];
      if (i == 0 && !in(place)) make(place);
      if (const sys::Bell bell = in(place)) return bell;
    }
    return {};
  }
  static void make(Place& place) {
    const sys::Bell made = sys::make_bell();
    uint64_t none = 0;
    const auto heard = static_cast<uint32_t>(~made.read);
    const auto rung = static_cast<uint32_t>(~made.write);
    if (!place.compare_exchange_strong(none, uint64_t{heard} << 32 | rung))
      sys::discard(made);  // another thread was faster
  }

  // A forked child inherits its parent's bells, which are not its own to ring.
  // It closes them at once, before their numbers can mean something else.
  static inline const int renewed = sys::in_child([] {
    for (; count > 0; --count) sys::discard(in(places[count - 1].exchange(0)));
  });
};

// A thread that sleeps in `wait`, until when, and whether it has been rung for.
struct Sleeper {
  sys::Bell bell;
  Time until;
  bool rung = false;
};

// Reading or writing. One call at a time has the turn, so at most one sleeps.
struct Direction {
  const short events;              // POLLIN or POLLOUT
  std::mutex turn{};               // held for a whole read or write
  bool drained = false;            // the last read took all there was
  std::atomic<bool> ended{false};  // close_write was called
  std::atomic<Time::rep> deadline{Time::max().time_since_epoch().count()};
  Sleeper* sleeper = nullptr;  // under the guard of its SocketState, below

  Deadline due() const { return Time(Time::duration(deadline)); }
  // Wakes the sleeper if it would sleep beyond `when`, or at once; the guard is
  // held. (A later deadline needs no ring: the sleeper looks again anyway.)
  void ring(Time when = Time::min()) {
    if (!sleeper || sleeper->rung || sleeper->until <= when) return;
    sleeper->rung = true;
    if (sleeper->bell) sys::ring(sleeper->bell);
  }
  void move(Deadline when) {
    deadline = when.when().time_since_epoch().count();
    ring(when.when());
  }
};

enum class Kind { conn, listener, packets };  // what a socket is for

// The file that a unix listener made, and will remove, if there is one.
struct SocketFile {
  std::string path{};
  std::pair<uint64_t, uint64_t> id{};
  uint32_t maker = 0;  // which process
};

struct SocketState;

// Who wants to hear when a socket, or its write side, closes: a Poller, later.
struct Watcher {
  virtual ~Watcher() = default;
  virtual void hear(SocketState& s) = 0;
};

// What handles share.
struct SocketState {
  const Kind kind;
  const int fd;
  const Network& network;  // as the caller named it
  const Addr local;
  const Addr remote;
  std::chrono::nanoseconds keep_alive = std::chrono::seconds(15);  // accepted
  Direction reading{POLLIN};
  Direction writing{POLLOUT};
  // Guards the sleepers, and the members from here to `watchers`.
  std::mutex guard{};
  std::condition_variable changed{};  // a call has left, or there is news
  std::atomic<unsigned> news{0};      // counts changes, for serve
  SocketFile file{};
  std::list<std::weak_ptr<Watcher>> watchers{};
  // High half: the process that counts; low: the calls inside; bit 0: closing.
  std::atomic<uint64_t> calls{process()};
  static constexpr uint64_t closing = 1, inside = 2;  // one call more
  static uint64_t process() { return uint64_t{sys::forks} << 32; }

  bool is_closed() const { return (calls & closing) != 0; }
  bool is_stream() const { return network.type == SOCK_STREAM; }
  int family() const {
    if (network.family != AF_UNSPEC) return network.family;
    return local.ip().is6() ? AF_INET6 : AF_INET;
  }
  // Counts a call in; `to_close` marks the socket, too. False: closed already.
  bool enter(bool to_close = false) {
    if (calls >> 32 != sys::forks) begin_anew();
    const uint64_t more = to_close ? inside + closing : inside;
    uint64_t before = calls;
    do {
      if (before & closing) return false;
    } while (!calls.compare_exchange_weak(before, before + more));
    return true;
  }
  // In a forked child the calls inside, their locks, and a close that is not
  // finished are the parent's. (That descriptor stays open in the child.)
  void begin_anew() {
    const std::lock_guard lock(of_this_process<std::mutex>());
    if (calls >> 32 == sys::forks) return;  // another thread was faster
    new (&guard) std::mutex;
    new (&changed) std::condition_variable;
    new (&file) SocketFile;  // perhaps half changed, so not even destroyed
    new (&watchers) decltype(watchers);
    for (Direction* each : {&reading, &writing}) {
      new (&each->turn) std::mutex;
      each->sleeper = nullptr;
    }
    calls = process() | (calls & closing);
  }

  // Counts a call out. On a closed socket this takes the guard: as soon as the
  // count drops, the thread that waits in close may free the socket.
  void leave() {
    uint64_t before = calls;
    while (!(before & closing))
      if (calls.compare_exchange_weak(before, before - inside)) return;
    const std::lock_guard lock(guard);
    calls -= inside;
    changed.notify_all();
  }
  // Tells serve, which waits on `changed`, that there is news; guard held.
  void announce() {
    ++news;
    changed.notify_all();
  }
  // Have all left but the caller, whom enter(true) has counted in?
  bool alone() const { return (calls & 0xffffffff) == inside + closing; }
};

// Where a call on a socket sleeps: until that is ready for `events` (true), a
// deadline or `till` has come, or the bell rings. It may return for no reason:
// the caller looks again. `beds`: one direction, or both for wait(conn, ...).
inline Result<bool> wait(SocketState& s, std::initializer_list<Direction*> beds,
                         short events, Time till = Time::max()) {
  Sleeper me{Bells::get(s.fd, (*beds.begin())->events), till};
  {
    // Whoever closes the socket marks it first, then rings under this guard. So
    // either we see the mark here, or they see us asleep, and ring.
    const std::lock_guard lock(s.guard);
    for (Direction* bed : beds) {
      if (s.is_closed() || bed->ended) return false;
      me.until = std::min(me.until, bed->due().when());
    }
    for (Direction* bed : beds) bed->sleeper = &me;
  }
  // Without events this is a pause: poll skips a negative descriptor, so what
  // it reports unasked - POLLERR, POLLHUP - cannot end the pause.
  pollfd fds[] = {{events ? s.fd : -1, events, 0}, {me.bell.read, POLLIN, 0}};
  {
    const Finally awake([&] {  // also when the thread is cancelled
      const std::lock_guard lock(s.guard);
      for (Direction* bed : beds) bed->sleeper = nullptr;
      if (me.rung && me.bell) sys::take_ring(me.bell);
    });
    int time = poll_time(me.until);
    // Without a bell nothing can wake us: look up now and then.
    if (!me.bell && (time < 0 || time > 10)) time = 10;
    if (sys::poll(fds, 2, time) < 0 && errno != EINTR) return sys::last_error();
  }
  // The ring is for another thread, which shares the bell and is about to take
  // it. Watch the socket alone for a moment instead of spinning.
  if (!me.rung && fds[1].revents && !fds[0].revents) sys::poll(fds, 1, 1);
  return fds[0].revents != 0;
}

// Makes a call until it succeeds or fails, waiting while it would block. What
// counts first: closed, then the deadline, then what the socket says. It tries
// first; but where the last read left nothing, waiting first saves a useless
// call, epoll(7). (A write always tries first: poll calls a socket writable
// late, when a good part of its buffer is free.)
template <class Call>
Result<size_t> attempt(SocketState& s, Direction& way, Mode mode, Call call) {
  bool try_first = mode == Mode::once || !way.drained;
  for (bool ready = false;; try_first = true) {
    if (s.is_closed()) return closed;
    if (way.due().passed()) return timed_out;
    if (try_first) {
      const ssize_t n = call();
      if (n >= 0) return static_cast<size_t>(n);
      const std::error_code why = sys::last_error();
      if (!sys::would_block(why.value())) return s.is_closed() ? closed : why;
      if (mode == Mode::once) return would_block;
    }
    // Ready, and yet nothing: another process was faster, or Linux calls a
    // unixgram socket writable though its receiver's queue is full. Don't spin.
    const Time soon = time_after(std::chrono::milliseconds(1));
    const auto [was_ready, err] =
        ready ? wait(s, {&way}, 0, soon) : wait(s, {&way}, way.events);
    if (err) return err;
    ready = was_ready;  // never after a pause
  }
}

// One reader and one writer at a time; the next in turn has the same deadline.
// A try_ call does not wait for its turn.
inline auto take_turn(Direction& direction, Mode mode = Mode::wait) {
  if (mode == Mode::wait) return std::unique_lock(direction.turn);
  return std::unique_lock(direction.turn, std::try_to_lock);
}

// Owns a descriptor, until `release`; nobody else knows of it yet.
struct Descriptor {
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) sys::close(fd_);
  }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

  int fd_;
};

// Removes the file of a unix listener: only in the process that made it, and
// only if it is still the same file. Another server may have taken over the
// path meanwhile; more than one library has removed that server's file.
inline void remove_file(SocketState& s) {
  const std::lock_guard lock(s.guard);
  const SocketFile mine = std::exchange(s.file, SocketFile());
  sys::File now;
  if (mine.maker == sys::forks && !mine.path.empty() &&
      sys::lstat(mine.path, now) == 0 && now.id == mine.id)
    sys::unlink(mine.path);
}

// What the last handle does when it goes: no call can be inside any more.
inline void release(SocketState* s) {
  if (s->enter(true)) {  // else close has done it
    remove_file(*s);
    sys::close(s->fd);
  }
  delete s;
}
}  // namespace internal

// --- Connections ------------------------------------------------------------
// Sockets are handles, like Go's Conn; and how streams are read and written.

/// What Conn, Listener and PacketConn have in common: a handle to a socket.
/// Copies refer to the same socket; the last one closes it, like Go's `defer
/// conn.Close()`. Any thread may call anything on it. A default-constructed
/// handle refers to nothing; calls on it return `closed`. After fork(2), use a
/// socket in one of the two processes, and only close it in the other.
class Socket : public internal::Value<Socket> {
 public:
  Socket() = default;  ///< Refers to nothing.
  /// True when it refers to a socket, open or closed.
  explicit operator bool() const noexcept { return bool(state_); }
  /// How handles are compared: equal ones refer to the same socket.
  auto key() const { return reinterpret_cast<uintptr_t>(state_.get()); }

  /// What all handles of the socket share; for netlite's own calls.
  friend const auto& state_of(const Socket& socket) { return socket.state_; }

 protected:
  std::shared_ptr<internal::SocketState> state_;
};

namespace internal {
// A handle to one kind of socket. It can be made from a plain Socket, such as a
// Poller returns, and refers to nothing if that is of another kind. But only
// from a plain one: a Listener does not become a Conn by accident.
template <Kind of>
struct Handle : Socket {
  static constexpr Kind kind = of;
  Handle() = default;
  explicit Handle(std::shared_ptr<SocketState> s) { state_ = std::move(s); }
  template <class T, std::enable_if_t<std::is_same_v<T, Socket>, int> = 0>
  explicit Handle(const T& socket) {
    if (socket && state_of(socket)->kind == of) state_ = state_of(socket);
  }
};

// Makes the first handle to a socket, which owns the descriptor from then on.
template <class H>
H make(Descriptor fd, const Network& network, Addr local, Addr remote = {}) {
  auto* state = new SocketState{H::kind, fd.get(), network, std::move(local),
                                std::move(remote)};
  fd.release();
  return H(std::shared_ptr<SocketState>(state, release));
}

template <class T>
inline constexpr bool is_byte =
    std::is_same_v<T, char> || std::is_same_v<T, signed char> ||
    std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>;

// The element type of an array or container of bytes; for anything else, none.
template <class C, class T = std::remove_pointer_t<
                       decltype(void(std::size(std::declval<C&>())),
                                std::data(std::declval<C&>()))>>
using element = std::enable_if_t<is_byte<std::remove_cv_t<T>>, T>;

template <class T>
inline constexpr bool is_text =
    std::is_convertible_v<const T&, std::string_view> &&
    !std::is_same_v<T, std::string_view> && !std::is_null_pointer_v<T>;
}  // namespace internal

/// One end of a connection. `Conn(event.socket)` is that socket, or nothing if
/// it is not a connection. Go: `net.Conn`.
class Conn : public internal::Handle<internal::Kind::conn> {
  using Handle::Handle;
};
/// What waits for connections. Go: `net.Listener`.
class Listener : public internal::Handle<internal::Kind::listener> {
  using Handle::Handle;
};
/// A socket for datagrams: it hears from anybody, and each datagram names its
/// sender. It has no single peer, so it is not a Conn. Go: `net.PacketConn`.
class PacketConn : public internal::Handle<internal::Kind::packets> {
  using Handle::Handle;
};

/// The bytes to write: text (whatever std::string_view takes), a container or
/// array of bytes, or a pointer and a size. A view: it owns nothing.
class Bytes {
 public:
  Bytes() = default;  ///< No bytes.
  /// `size` bytes at `data`.
  Bytes(const void* data, size_t size) : data_(data), size_(size) {}
  /// std::string, const char* and whatever else converts to std::string_view.
  template <class T, std::enable_if_t<internal::is_text<T>, int> = 0>
  Bytes(const T& text) : Bytes(std::string_view(text)) {}
  /// std::vector, std::array, std::span, std::byte[N]: all of it.
  template <class C, class = internal::element<const C>,
            std::enable_if_t<!internal::is_text<C>, int> = 0>
  Bytes(const C& bytes) : Bytes(std::data(bytes), std::size(bytes)) {}
  /// A literal or other constant array: all of it except one NUL at its end.
  template <size_t N>
  Bytes(const char (&text)[N]) : Bytes(text, text[N - 1] ? N : N - 1) {}
  /// char buffer[1024] does not know how many of its bytes were filled.
  template <size_t N>
  Bytes(char (&)[N]) {
    static_assert(N == 0,
                  "How much of this array? Say write(conn, {buffer, n}).");
  }
  /// Where they are.
  const char* data() const { return static_cast<const char*>(data_); }
  size_t size() const { return size_; }  ///< How many there are.
 private:
  const void* data_ = nullptr;
  size_t size_ = 0;
};

/// The room to read into: an array, a container or a view of bytes - its size
/// decides; it never grows, so an empty std::vector has no room - or a pointer
/// and a size. Not a temporary container: what was read would vanish with it.
class Buffer {
 public:
  /// `size` bytes at `data`.
  Buffer(void* data, size_t size) : data_(data), size_(size) {}
  /// char[N], std::array, std::vector, std::string, std::span: all of it. (A
  /// temporary will do if its bytes can change even when it is const: a view.)
  template <class C, class T = internal::element<const C>,
            std::enable_if_t<!std::is_const_v<T>, int> = 0>
  Buffer(C&& room) : Buffer(std::data(room), std::size(room)) {}

  char* data() const { return static_cast<char*>(data_); }  ///< Where it is.
  size_t size() const { return size_; }  ///< How many bytes it takes.
 private:
  void* data_;
  size_t size_;
};

namespace internal {  // argument-dependent look-up finds these outside, too
// A call inside a socket. While one lives, the descriptor stays ours.
struct Use {
  explicit Use(const Socket& socket)
      : state_(state_of(socket).get()), entered_(state_ && state_->enter()) {}
  Use(Use&&) = delete;
  ~Use() {
    if (entered_) state_->leave();
  }
  explicit operator bool() const { return entered_; }
  SocketState& operator*() const { return *state_; }
  SocketState* operator->() const { return state_; }

  SocketState* state_;
  bool entered_;
};

// The story of a failure on a socket. `subject` names the BSD call behind an
// error of the kernel's; `closed` and `timed_out` need none. `remote`: the
// other end, if it is not the socket's own.
inline Error failure(const char* op, const Socket& socket,
                     const Error& why = closed, std::string_view subject = "",
                     const Addr* remote = nullptr) {
  const auto& s = state_of(socket);
  if (why == would_block) return why;
  if (why == closed || why == timed_out) subject = "";
  if (!s) return {why.code(), {op, "", std::string(subject)}};
  return {why.code(),
          {op, std::string(s->network.name), std::string(subject), "", s->local,
           remote ? *remote : s->remote}};
}

template <class Call>  // that does not block; `op`, `name`: see failure
Error control(const Socket& socket, const char* op, const char* name, Call call,
              const Addr* remote = nullptr) {
  const Use use(socket);
  if (!use) return failure(op, socket, closed, name, remote);
  if (call(*use) >= 0) return {};
  return failure(op, socket, sys::last_error(), name, remote);
}

// Makes a call that may block, for POLLIN or POLLOUT.
template <class Call>
Result<size_t> perform(const Socket& socket, short events, const char* op,
                       const char* name, Call call, Mode mode = Mode::wait) {
  const Use use(socket);
  if (!use) return failure(op, socket);
  Direction& direction = events == POLLIN ? use->reading : use->writing;
  const auto turn = take_turn(direction, mode);
  if (!turn) return would_block;
  const auto done = attempt(*use, direction, mode, [&] { return call(*use); });
  if (done.error) return failure(op, socket, done.error, name);
  return done;
}

// Takes what there is: bytes of a stream, or one message.
inline Result<size_t> receive(const Socket& socket, Buffer buffer, Mode mode,
                              const char* name, sys::Address& from) {
  bool cut = false;
  const auto call = [&](SocketState& s) {
    if (!s.is_stream())
      return sys::recvfrom(s.fd, buffer.data(), buffer.size(), from, cut);
    const ssize_t n = sys::recv(s.fd, buffer.data(), buffer.size());
    s.reading.drained = n >= 0 && n < static_cast<ssize_t>(buffer.size());
    return n;
  };
  auto got = perform(socket, POLLIN, "read", name, call, mode);
  if (cut) got.error = failure("read", socket, truncated);
  return got;
}

// Reads with `read` until the buffer is full.
template <class Read>
Result<size_t> fill(Buffer buffer, Read read) {
  size_t have = 0;
  while (have < buffer.size()) {
    const auto [n, err] = read({buffer.data() + have, buffer.size() - have});
    have += n;
    if (err == eof && have > 0) return {have, unexpected_eof};
    if (err) return {have, err};
  }
  return have;
}

inline iovec to_iovec(Bytes bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}
// Takes `n` bytes off the front of some pieces.
inline void step_over(size_t n, iovec*& pieces, size_t& count) {
  for (; count > 1 && n >= pieces->iov_len; ++pieces, --count)
    n -= pieces->iov_len;
  *pieces = {static_cast<char*>(pieces->iov_base) + n, pieces->iov_len - n};
}

// Writes all the pieces, a message in one go; the count survives an error.
inline Result<size_t> write_all(const Socket& socket, iovec* pieces,
                                size_t count, Mode mode, const char* op,
                                const sys::Address* to = nullptr) {
  const Use use(socket);
  if (!use) return failure(op, socket);
  const auto turn = take_turn(use->writing, mode);
  if (!turn) return would_block;
  size_t left = 0, written = 0;
  for (size_t i = 0; i < count; ++i) left += pieces[i].iov_len;
  for (;;) {
    const auto [n, err] = attempt(*use, use->writing, mode, [&] {
      // An empty message is a message; an empty write to a stream is nothing.
      if (use->is_stream() && left == 0) return ssize_t{0};
      if (to) return sys::sendto(use->fd, pieces->iov_base, left, *to);
      if (count == 1) return sys::send(use->fd, pieces->iov_base, left);
      // More than 1,024 pieces at a time are not portable (IOV_MAX). A stream
      // can take them in turn; for a message the kernel says EMSGSIZE.
      const size_t most = use->is_stream() ? 1024 : count;
      return sys::sendmsg(use->fd, sys::msg_of(pieces, std::min(count, most)));
    });
    if (err) return {written, failure(op, socket, err, op)};
    written += n;
    left -= n;
    if (left == 0 || mode == Mode::once || !use->is_stream()) return written;
    step_over(n, pieces, count);
  }
}

inline Result<size_t> gather(const Conn& conn, const Bytes* pieces,
                             size_t count, Mode mode) {
  std::vector<iovec> list;
  for (size_t i = 0; i < count; ++i) list.push_back(to_iovec(pieces[i]));
  if (list.empty()) list.push_back({nullptr, 0});
  return write_all(conn, list.data(), list.size(), mode, "writev");
}

// Tells the watchers of a socket that it, or its write side, is closing.
inline void tell_watchers(SocketState& s) {
  std::unique_lock<std::mutex> lock(s.guard);
  const auto watchers = s.is_closed() ? std::move(s.watchers) : s.watchers;
  lock.unlock();
  for (const auto& each : watchers)
    if (const auto watcher = each.lock()) watcher->hear(s);
}

// Tells all that a socket closes, see finish_close; false: it was closed.
inline bool start_close(const Socket& socket) {
  const auto& s = state_of(socket);
  if (!s || !s->enter(true)) return false;
  remove_file(*s);
  std::unique_lock<std::mutex> lock(s->guard);
  s->reading.ring();
  s->writing.ring();
  s->announce();
  lock.unlock();
  tell_watchers(*s);
  return true;
}

inline Error finish_close(const Socket& socket) {  // when all others have left
  const sys::Uncancelled thread;
  SocketState& s = *state_of(socket);
  std::unique_lock<std::mutex> lock(s.guard);
  s.changed.wait(lock, [&] { return s.alone(); });
  lock.unlock();
  const int result = sys::close(s.fd);
  const std::error_code why = sys::last_error();
  s.leave();
  if (result == 0 || why.value() == EINTR) return {};
  return failure("close", socket, why, "close");
}

// As in Go, an error of "set" names this end only: the other is an empty Addr.
inline Error move_deadlines(const Socket& socket, Deadline deadline,
                            bool reading, bool writing) {
  const auto move = [&](SocketState& s) {
    const std::lock_guard lock(s.guard);
    if (reading) s.reading.move(deadline);
    if (writing) s.writing.move(deadline);
    s.announce();
    return 0;
  };
  return control(socket, "set", "", move, &only<Addr>());
}
}  // namespace internal

/// Reads what is there, from one byte up to a full buffer; for an empty buffer,
/// returns 0 at once. Blocks until there is something. Returns the count; `eof`
/// after the last byte, each time; `closed`, `timed_out`, or recv(2)'s errors.
///
/// From a dialled datagram or a unixpacket socket it reads one message,
/// `truncated` if that did not fit. 0 is an empty datagram; an empty unixpacket
/// message cannot be told from the end: `eof`. Go: `Conn.Read`.
inline Result<size_t> read(const Conn& conn, Buffer buffer,
                           Mode mode = Mode::wait) {
  sys::Address from;
  const bool none = buffer.size() == 0;
  if (none) return control(conn, "read", "", [](auto&) { return 0; });
  const auto [n, err] = receive(conn, buffer, mode, "read", from);
  if (!err && n == 0 && state_of(conn)->network.type != SOCK_DGRAM) return eof;
  return {n, err};
}

/// Reads until the buffer is full. Errors: as read; the count is what was read
/// before. A stream that ends before the first byte returns `eof`, one that
/// ends later `unexpected_eof`. Go: `io.ReadFull`.
inline Result<size_t> read_full(const Conn& conn, Buffer buffer) {
  return internal::fill(buffer, [&](Buffer rest) { return read(conn, rest); });
}

/// Writes all the bytes, in one piece even when other threads write too.
/// Blocks until the kernel has taken them (not until the peer has read them).
/// With an error, the count says how many it took. Errors: `closed`,
/// `timed_out`, or send(2)'s, EPIPE when the peer has gone. Never raises
/// SIGPIPE. Writing no bytes to a stream returns 0 even when the peer has gone.
/// On a datagram or unixpacket socket, sends one message. Go: `Conn.Write`.
inline Result<size_t> write(const Conn& conn, Bytes bytes,
                            Mode mode = Mode::wait) {
  iovec piece = internal::to_iovec(bytes);
  return write_all(conn, &piece, 1, mode, "write");
}

/// Closes the socket for all its handles. Wakes every call that is blocked on
/// it, which then returns `closed`; waits until all have left; and releases the
/// descriptor, so that the next `listen` on the same address is not refused.
/// Written bytes still reach the peer; unread ones make the peer see a reset
/// (RFC 1122, 4.2.2.13). Blocks only for those calls, except where SO_LINGER is
/// set. A second close returns `closed`. Go: `Conn.Close`, `Listener.Close`.
inline Error close(const Socket& socket) {
  if (!start_close(socket)) return failure("close", socket);
  return finish_close(socket);
}

/// Ends our reading: a blocked read returns `eof`. shutdown(2). Errors: closed,
/// ENOTCONN (all over), EOPNOTSUPP (datagrams). Go: `TCPConn.CloseRead`.
inline Error close_read(const Conn& conn) {
  const auto end = [](auto& s) {
    if (s.network.type == SOCK_DGRAM) return sys::refuse(EOPNOTSUPP);
    return sys::shutdown(s.fd, SHUT_RD);
  };
  return control(conn, "close", "shutdown", end);
}

/// Ends our writing: the peer reads `eof` after the last byte, and may go on
/// writing. A write that is blocked ends with EPIPE. shutdown(2), SHUT_WR.
/// Errors: `closed`, ENOTCONN (all over). Go: `TCPConn.CloseWrite`.
inline Error close_write(const Conn& conn) {
  const auto end = [](internal::SocketState& s) {
    if (sys::shutdown(s.fd, SHUT_WR) < 0) return -1;
    // Linux does not wake threads that wait for room in a unix socket.
    std::unique_lock<std::mutex> lock(s.guard);
    s.writing.ended = true;
    s.writing.ring();
    lock.unlock();
    tell_watchers(s);
    return 0;
  };
  return control(conn, "close", "shutdown", end);
}

/// The address of this end; the same after close. Go: `LocalAddr`.
inline Addr local_addr(const Socket& socket) {
  const auto& s = state_of(socket);
  return s ? s->local : Addr();
}
/// The other end's address; none if there is no single peer. Go: `RemoteAddr`.
inline Addr remote_addr(const Socket& socket) {
  const auto& s = state_of(socket);
  return s ? s->remote : Addr();
}

/// Sets the deadline of all reads and writes (on a Listener: of accept), even
/// of those that are blocked already. A call that finds it passed returns
/// `timed_out`, even if data is waiting; move or clear it (`no_deadline`), and
/// the connection goes on. Does not block. Error: `closed`. Go: `SetDeadline`.
inline Error set_deadline(const Socket& socket, Deadline deadline) {
  return move_deadlines(socket, deadline, true, true);
}
/// The same for reads and accept only. Go: `SetReadDeadline`.
inline Error set_read_deadline(const Socket& socket, Deadline deadline) {
  return move_deadlines(socket, deadline, true, false);
}
/// The same for writes only. Go: `SetWriteDeadline`.
inline Error set_write_deadline(const Socket& socket, Deadline deadline) {
  return move_deadlines(socket, deadline, false, true);
}

// --- Dialling ---------------------------------------------------------------
// From a name to its addresses, and from those to a connection.

/// A Callback is a function of yours that netlite keeps, or none: a
/// std::function whose compiler error says what is wrong.
template <class R, class A>
class Callback : public std::function<R(A)> {
 public:
  Callback() = default;  ///< No function.
  /// Anything callable like one. A null pointer or empty std::function is none.
  template <class F, std::enable_if_t<!std::is_same_v<F, Callback>, int> = 0>
  Callback(F f) {
    constexpr bool fits = std::is_invocable_r_v<R, F&, A>;
    static_assert(fits, "A callback must take and return what its type says.");
    if constexpr (fits) std::function<R(A)>::operator=(std::move(f));
  }
};

/// Sees a descriptor before bind(2) and connect(2), to set options early:
/// `[](int fd) -> net::Error`; an error ends the attempt. Go: `Dialer.Control`.
using Control = Callback<Error, int>;

/// How to dial; the defaults are Go's. In C++20, write `{.timeout = 2s}`.
/// Durations count from now: 0 or less is at once. Go: `net.Dialer`.
struct DialOptions {
  /// For the whole dial, look-up included. `forever`: no limit.
  std::chrono::nanoseconds timeout = forever;
  Deadline deadline = no_deadline;  ///< The earlier of the two counts.
  /// The address of this end; none: the system chooses. For a unix one with an
  /// empty path Linux makes up an abstract name to reply to (Go: none).
  Addr local{};
  /// How long a name's second address family waits for the first (RFC 8305). 0
  /// or less: not at all; `forever`: until the first has failed.
  std::chrono::nanoseconds fallback_delay = std::chrono::milliseconds(300);
  /// Idle time and interval of TCP's keep-alive probes, rounded up to whole
  /// seconds. 0 or less, and `forever`: no probes.
  std::chrono::nanoseconds keep_alive = std::chrono::seconds(15);
  bool no_delay = true;  ///< False: TCP holds back small writes (RFC 896).
  Control control{};     ///< sets options before bind and connect
};

/// What `pipe` returns: `auto [a, b, err] = net::pipe();`.
struct [[nodiscard]] Pipe {
  Conn first{};   ///< one end
  Conn second{};  ///< the other
  Error error{};  ///< nil when there are two
};

namespace internal {
// An address in the kernel's form, and back. See "Addresses, the rest".
std::error_code to_kernel(const Addr& addr, int family, sys::Address& out);
Addr from_kernel(const Network& network, const sys::Address& from);

inline Addr local_of(int fd, const Network& network) {
  sys::Address address;
  if (sys::getsockname(fd, address) < 0) return {};
  return from_kernel(network, address);
}
// "address X: missing port in address" and kin
inline Error address_error(std::error_code code, std::string_view address) {
  if (address.empty()) return code;
  return {code, {"", "", "address " + std::string(address)}};
}
// The failure of one BSD call; `retell` adds the story around it.
inline Error failed(const char* call, std::error_code why = sys::last_error()) {
  return {why, {"", "", call}};
}
// The same failure with the story of the whole call.
inline Error retell(const Error& why, const char* op, std::string_view network,
                    const Addr& local = {}) {
  const std::string name(network);
  const bool none = why == unknown_network;
  return {why.code(), {op, name, why.subject(), none ? " " + name : "", local}};
}

// Idle time and interval of TCP's keep-alive probes, rounded up to seconds;
// tcp(7) takes 32,767 at most. 0 or less, and `forever`: no probes.
inline int set_keep_alive(int fd, std::chrono::nanoseconds idle,
                          std::chrono::nanoseconds interval, int probes) {
  const bool on = std::min(idle, interval).count() > 0 &&
                  std::max(idle, interval) != forever;
  const auto seconds = [](std::chrono::nanoseconds d) {
    const auto up = (d.count() - 1) / std::nano::den + 1;
    return static_cast<int>(std::min<int64_t>(up, 32767));
  };
  const auto set = [&](int level, int name, int value) {
    return sys::setsockopt(fd, level, name, value) == 0;
  };
  if (!on) return set(SOL_SOCKET, SO_KEEPALIVE, 0) ? 0 : -1;
  const bool done = set(SOL_SOCKET, SO_KEEPALIVE, 1) &&
                    set(IPPROTO_TCP, sys::keep_alive[0], seconds(idle)) &&
                    set(IPPROTO_TCP, sys::keep_alive[1], seconds(interval)) &&
                    (!probes || set(IPPROTO_TCP, sys::keep_alive[2], probes));
  return done ? 0 : -1;
}

// What every TCP connection gets. If the system refuses, we carry on.
inline void set_defaults(int fd, std::chrono::nanoseconds keep_alive,
                         bool no_delay) {
  if (no_delay) sys::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (keep_alive.count() > 0) set_keep_alive(fd, keep_alive, keep_alive, 0);
}

// All addresses that a text stands for, in the order to try them. See "Names".
struct Resolved {
  const Network* network = nullptr;
  std::vector<Addr> addrs{};
};
Result<Resolved> resolve_all(std::string_view network, std::string_view address,
                             Deadline deadline);

// Connects to the first of them that answers. See "Racing".
Result<Conn> dial_all(const Resolved& to, const DialOptions& options,
                      Deadline deadline);
}  // namespace internal

/// Connects to an address. `network` is tcp, tcp4, tcp6, udp, udp4, udp6,
/// unix, unixgram or unixpacket; `address` is "host:port", or a path or
/// "@name" for unix. Blocks until it is connected or refused, or the options'
/// deadline comes; on a unix socket whose queue is full, until there is room.
///
/// A name's addresses are tried in turn, those of the second family after 300
/// ms or when the first has failed (RFC 8305); when all fail, the first error
/// is returned. An empty host means this machine: 127.0.0.1, or ::1 for tcp6
/// and udp6. Never connects to itself by chance. Errors: those of connect(2),
/// timed_out, the resolver's, and those of a bad address. Go: `net.Dial`.
///
/// On udp nobody is refused, so nothing shows that the first address was the
/// wrong one: where `localhost` is both ::1 and 127.0.0.1, dial takes ::1 and
/// `listen_packet` takes 127.0.0.1. Say 127.0.0.1 to both.
inline Result<Conn> dial(std::string_view network, std::string_view address,
                         const DialOptions& options = {}) {
  const Deadline deadline =
      std::min(options.deadline.when(), internal::time_after(options.timeout));
  auto [found, err] = internal::resolve_all(network, address, deadline);
  const Addr& local = options.local;
  if (!err && address.empty()) err = missing_address;
  if (!err && local && local.network() != found.network->base)
    err = internal::address_error(mismatched_local_address, local.string());
  if (err) return internal::retell(err, "dial", network);
  return internal::dial_all(found, options, deadline);
}

/// Dials within a time limit, look-up included. 0 or less has passed already
/// (Go: 0 is no limit); `forever` is no limit. Go: `net.DialTimeout`.
template <class Rep, class Period>
Result<Conn> dial_timeout(std::string_view network, std::string_view address,
                          std::chrono::duration<Rep, Period> timeout) {
  DialOptions options;
  options.timeout = internal::saturated(timeout);
  return dial(network, address, options);
}

/// Makes two connected ends within this process: socketpair(2). Bytes written
/// to one are read from the other. Errors: EMFILE and kin. Go: `net.Pipe`,
/// except that the kernel buffers here, so a write need not wait for the read.
inline Pipe pipe() {
  int fds[2];
  if (sys::socketpair(fds) < 0)
    return {{}, {}, {sys::last_error(), {"pipe", "", "socketpair"}}};
  internal::Descriptor first(fds[0]), second(fds[1]);
  const internal::Network& network = internal::pipe_network;
  const Addr end("pipe", "pipe");
  return {internal::make<Conn>(std::move(first), network, end, end),
          internal::make<Conn>(std::move(second), network, end, end)};
}

// --- Listeners --------------------------------------------------------------
// A listener waits for those who dial, and accept returns a connection to each.

/// How to listen; the defaults are Go's. Go: `net.ListenConfig`.
struct ListenOptions {
  /// How many connections may wait for accept. 0: as many as the system
  /// allows (Linux: net.core.somaxconn).
  int backlog = 0;
  bool reuse_port = false;  ///< Others may share the port (SO_REUSEPORT).
  /// As in DialOptions, for the connections that are accepted.
  std::chrono::nanoseconds keep_alive = std::chrono::seconds(15);
  int mode = -1;  ///< Of a unix file, such as 0600; negative: as umask(2) says.
  /// Replaces a unix socket's file that nobody listens on any more. Never
  /// removes a file that is not a socket, or a socket that answers.
  bool replace_stale = false;
  Control control{};  ///< sets options before bind
};

namespace internal {
// Does it mean any address of this machine: 0.0.0.0, :: or no IP at all?
inline bool is_any(const Addr& addr) {
  return !addr.ip() || addr.ip().is_unspecified();
}

inline bool is6(const Addr& addr) { return addr.ip().unmap().is6(); }

// bind(2). A unix socket's file gets the mode asked for, and replaces a dead
// socket's if asked to. made_file: which file that was. See "Unix extras".
int bind(int fd, const sys::Address& address, const std::string& path, int type,
         const ListenOptions& options);
SocketFile made_file(const std::string& path);

// Opens a socket, sets its options, and binds it if there is an address.
inline Result<Descriptor> open_socket(const Network& network, int family,
                                      const Addr& local,
                                      const ListenOptions& options,
                                      bool listens) {
  Descriptor fd(sys::socket(family, network.type));
  if (!fd) return failed("socket");
  const auto set = [&](int level, int name, bool on) {
    return sys::setsockopt(fd.get(), level, name, on ? 1 : 0);
  };
  // Whether it takes IPv4 too (RFC 3493, 5.3).
  if (local && family == AF_INET6)
    set(IPPROTO_IPV6, IPV6_V6ONLY, network.family == AF_INET6);
  const bool tcp = network.base == "tcp", udp = network.base == "udp";
  const bool group = listens && udp && local.ip().is_multicast();
  if (group || (listens && tcp)) set(SOL_SOCKET, SO_REUSEADDR, true);
  if (udp) set(SOL_SOCKET, SO_BROADCAST, true);
  // Except on Linux, two sockets hear one group only if they share the port.
  const bool share = options.reuse_port || (group && !sys::is_linux);
  if (share && set(SOL_SOCKET, SO_REUSEPORT, true) < 0)
    return failed("setsockopt");
  if (options.control)
    if (Error err = options.control(fd.get())) return err;
  if (!local) return fd;
  // A group is heard on any address; join_group then chooses the group.
  const Addr place = group ? Addr(network.base, IP(), local.port()) : local;
  sys::Address name;
  if (const auto why = to_kernel(place, family, name))
    return failed("bind", why);
  if (internal::bind(fd.get(), name, local.path(), network.type, options) < 0)
    return failed("bind");
  return fd;
}

// A server takes one address: of several, the first IPv4 one (or IPv6 one).
inline const Addr& favourite(const std::vector<Addr>& addrs, bool six = false) {
  for (const Addr& addr : addrs)
    if (addr.ip().is6() == six) return addr;
  return addrs.front();
}

// Makes what listen and listen_packet return, a Listener or a PacketConn.
template <class H>
Result<H> bind_to(const Network& network, const Addr& addr,
                  const ListenOptions& options) {
  // "tcp" and "udp" on any address serve both families, with an IPv6 socket
  // that takes IPv4 too; a machine without IPv6 serves IPv4.
  const bool both = network.family == AF_UNSPEC && is_any(addr);
  int family = network.family;
  if (family == AF_UNSPEC) family = both || is6(addr) ? AF_INET6 : AF_INET;
  auto opened = open_socket(network, family, addr, options, true);
  if (both && opened.error == std::errc::address_family_not_supported)
    opened = open_socket(network, AF_INET, addr, options, true);
  auto& [fd, err] = opened;
  if (err) return err;
  if (network.base == "tcp") set_defaults(fd.get(), options.keep_alive, true);
  // From here on a failure removes the file that bind made.
  Addr here = local_of(fd.get(), network);
  H handle = make<H>(std::move(fd), network, std::move(here));
  SocketState& s = *state_of(handle);
  s.keep_alive = options.keep_alive;
  if (network.family == AF_UNIX) s.file = made_file(addr.path());
  if (!s.file.path.empty() && options.mode >= 0 &&
      sys::chmod(addr.path(), options.mode) < 0)
    return failed("chmod");
  // The kernel cuts the number to what the system allows.
  const int backlog = options.backlog > 0 ? options.backlog : INT_MAX;
  const bool packets = H::kind == Kind::packets;
  if (!packets && sys::listen(s.fd, backlog) < 0) return failed("listen");
  // A unixgram socket's file stays; it was noted only in case of a failure.
  if (packets) s.file = {};
  return handle;
}

template <class H>
Result<H> listen(std::string_view network, std::string_view address,
                 const ListenOptions& options) {
  const auto [found, err] = resolve_all(network, address, no_deadline);
  if (err) return retell(err, "listen", network);
  const Addr& addr = favourite(found.addrs);
  const bool datagrams = found.network->type == SOCK_DGRAM;
  Result<H> made = address_error(unexpected_address_type, address);
  if (datagrams == (H::kind == Kind::packets))
    made = bind_to<H>(*found.network, addr, options);
  if (made.error) made.error = retell(made.error, "listen", network, addr);
  return made;
}
}  // namespace internal

/// Opens a socket that waits for connections. `network` is tcp, tcp4, tcp6,
/// unix or unixpacket. An empty host serves both IPv6 and IPv4; port 0 lets
/// the system choose: ask `addr(listener)`. A unix listener makes the file and,
/// when closed, removes it if it is still its own. Does not block unless the
/// host is a name. Errors: those of bind(2), EADDRINUSE when the address is
/// taken, and those of a bad address. Go: `net.Listen`, `ListenConfig.Listen`.
inline Result<Listener> listen(std::string_view network,
                               std::string_view address,
                               const ListenOptions& options = {}) {
  return internal::listen<Listener>(network, address, options);
}

/// Waits for the next connection. Blocks until there is one. One client's
/// misfortune (ECONNABORTED and kin) is no error: the wait goes on. A lack of
/// descriptors (EMFILE and kin) is one: it is `temporary()`, and the client
/// stays queued. Several threads may accept. Go: `Listener.Accept`.
inline Result<Conn> accept(const Listener& listener, Mode mode = Mode::wait) {
  sys::Address peer;
  internal::Descriptor fd;
  const auto call = [&](internal::SocketState& s) {
    fd = internal::Descriptor(sys::accept(s.fd, peer));
    return fd.get();
  };
  Error err;
  do err = perform(listener, POLLIN, "accept", "accept4", call, mode).error;
  while (sys::concerns_one_client(err.code()));
  if (err) return err;
  const internal::SocketState& s = *state_of(listener);
  if (!sys::accepted_inherits && s.network.base == "tcp")
    internal::set_defaults(fd.get(), s.keep_alive, true);
  // Only a listener on any address has to ask which one the client chose.
  const bool any = s.local.ip().is_unspecified();
  Addr local = any ? internal::local_of(fd.get(), s.network) : s.local;
  return internal::make<Conn>(std::move(fd), s.network, std::move(local),
                              internal::from_kernel(s.network, peer));
}

/// The listener's address, with the real port if 0 was asked for.
/// Go: `Listener.Addr`.
inline Addr addr(const Listener& listener) { return local_addr(listener); }

// --- Many at once -----------------------------------------------------------
// A thread for each conversation: Group counts them, serve makes a server.

/// Hears what went wrong with one client while the server goes on:
/// `[](const net::Error& err) { ... }`.
using Report = Callback<void, const Error&>;

/// How to serve.
struct ServeOptions {
  /// How many connections are served at a time; the next ones wait in the
  /// listener's queue. 0: any number. Give handlers deadlines too, or as many
  /// clients that say nothing will keep everybody else out.
  size_t max_connections = 0;
  /// How long handlers may go on after the listener was closed; then their
  /// connections are closed too. 0 or less: at once; `forever`: as long as they
  /// like. (A download may need longer than 5 s.)
  std::chrono::nanoseconds grace = std::chrono::seconds(5);
  /// Hears of failed accepts, failed thread starts, and what handlers return
  /// or throw. One thread at a time calls it, so it should be quick.
  Report on_error{};
};

namespace internal {
template <class T, class = void>
inline constexpr bool has_error = false;
template <class T>
inline constexpr bool
    has_error<T, std::void_t<decltype(Error(std::declval<T>().error))>> = true;

// Calls f; returns its error, plain or in a Result; task_failed if it threw.
template <class F>
Error run(F& f) {
  Error err;
  const std::string what = sys::guarded([&] {
    if constexpr (std::is_convertible_v<decltype(f()), Error>)
      err = f();
    else if constexpr (has_error<decltype(f())>)
      err = f().error;
    else
      static_cast<void>(f());
  });
  if (what.empty()) return err;
  err = task_failed;  // all that is said if there is no memory for more
  sys::guarded([&] { err = Error(err.code(), {"", "", "", ": " + what}); });
  return err;
}

// Runs f in a thread of its own, destroys f, and then calls `end` with how it
// went. An Error returned from here means that neither was called; its story is
// for the caller to tell. A task that ends its own thread, pthread_exit(3), has
// failed. (new and delete by hand: each unique_ptr takes 20 ms to compile.)
template <class F, class End>
Error start(F f, End end) {
  struct Task {
    F f;
    End end;
    static void* main(void* argument) {
      auto* task = static_cast<Task*>(argument);
      Error err = task_failed;
      const Finally ending([&] {
        End tell = std::move(task->end);
        delete task;
        tell(err);
      });
      err = run(task->f);
      return nullptr;
    }
  };
  auto* task = new (std::nothrow) Task{std::move(f), std::move(end)};
  const int error = task ? sys::start_thread(Task::main, task) : ENOMEM;
  if (error) delete task;
  return sys::error(error);
}

struct Serving {  // one call of serve: what its threads share
  struct Served {
    Conn conn;
    bool closing = false;  // its grace is over
  };
  using Place = std::list<Served>::iterator;

  const Listener listener;
  const ServeOptions options;
  const std::function<Error(const Conn&)> handler;
  std::mutex mutex{};
  std::condition_variable changed{};
  std::list<Served> served{};
  std::atomic<size_t> running{0};  // those, and closes that linger
  std::mutex reporting{};

  Place begin(const Conn& conn) {
    const std::lock_guard lock(mutex);
    served.push_front({conn});
    ++running;
    return served.begin();
  }

  void end(Place place, const Error& err) {
    report(err);
    std::list<Served> ended;
    std::unique_lock<std::mutex> lock(mutex);
    ended.splice(ended.begin(), served, place);
    lock.unlock();
    // Without holding the mutex: a close that lingers may take its time.
    if (ended.front().closing) finish_close(ended.front().conn);
    ended.clear();
    lock.lock();
    --running;
    changed.notify_all();
    // The accept loop may be waiting for room, or for a descriptor.
    const std::lock_guard guard(state_of(listener)->guard);
    state_of(listener)->announce();
  }

  void report(const Error& err) {
    if (!err || !options.on_error) return;
    const std::lock_guard lock(reporting);
    sys::guarded([&] { options.on_error(err); });
  }
  // Rests until the listener has more news than `seen` - a handler ended, the
  // deadline moved, it closed - or until its deadline or `limit` has come.
  void rest(unsigned seen, Time limit = Time::max()) {
    const Use use(listener);
    if (!use) return;
    std::unique_lock<std::mutex> lock(use->guard);
    wait_until(use->changed, lock, std::min(limit, use->reading.due().when()),
               [&] { return use->news != seen; });
  }
  // The next connection once there is room, or accept's error. `seen`: news.
  Result<Conn> next(unsigned& seen) {
    const SocketState& s = *state_of(listener);
    for (;; rest(seen)) {
      seen = s.news;
      const size_t most = options.max_connections;
      const bool over = s.is_closed() || s.reading.due().passed();
      if (most == 0 || running < most || over) return accept(listener);
    }
  }
  // Lets handlers finish; when their grace is over, tells all their connections
  // that they are closed. Each handler then does the rest as it ends.
  void finish() {
    const auto idle = [&] { return running == 0; };
    std::unique_lock<std::mutex> lock(mutex);
    if (!wait_until(changed, lock, time_after(options.grace), idle))
      for (Served& each : served) each.closing = start_close(each.conn);
    changed.wait(lock, idle);
  }
  Error accept_all() {
    constexpr std::chrono::milliseconds shortest(5), longest(1000);
    auto pause = shortest;
    for (;;) {
      unsigned seen = 0;
      const auto [conn, err] = next(seen);
      if (err == closed) return {};
      // These errors never heal.
      if (err == timed_out || is_errno(err.code(), {EBADF, EINVAL, ENOTSOCK}))
        return err;
      if (err) {
        // Mostly a lack of descriptors: the client stays queued. Trying again
        // at once would keep a core busy until some become free.
        report(err);
        rest(seen, time_after(pause));
        pause = std::min(pause * 2, longest);
        continue;
      }
      pause = shortest;
      const Place place = begin(conn);
      const auto launch = [&, c = conn] {  // may throw: memory may run out
        return start([this, c] { return handler(c); },
                     [this, place](const Error& why) { end(place, why); });
      };
      if (Error failed = run(launch)) {
        const Finally ended([&] { end(place, failed); });  // failure may throw
        if (failed != task_failed)
          failed = failure("serve", conn, failed.code(), "pthread_create");
      }
    }
  }
};
}  // namespace internal

/// A Group counts tasks that run in threads of their own. Its destructor waits
/// for them (not for their thread_local objects), so declare it after
/// everything that they refer to: what is declared last is destroyed first. Go:
/// `sync.WaitGroup`, `errgroup.Group`.
class Group {
 public:
  /// `limit` is how many tasks may run at a time; 0: any number.
  explicit Group(size_t limit = 0) : limit_(limit) {}
  Group(Group&&) = delete;
  ~Group() { sys::Uncancelled(), wait(); }  ///< Waits; drops any errors.
  /// Runs `f(args...)` in a thread of its own, with the arguments copied: pass
  /// std::ref(x) to share x. Blocks while the group is at its limit - for ever,
  /// if all its tasks call this. An exception ends only its own task, as
  /// task_failed; so do pthread_exit(3) and pthread_cancel(3), but only with
  /// libstdc++. Errors, after which the task does not run: those of
  /// pthread_create(3), ENOMEM, task_failed if moving it there threw. Go: `go`.
  template <class F, class... Args>
  [[nodiscard]] Error go(F f, Args... args) {
    static_assert(std::is_invocable_v<F&, Args&&...>,
                  "Group::go: the function does not take these arguments. "
                  "They are copied: for a reference, pass std::ref(x).");
    if constexpr (std::is_invocable_v<F&, Args&&...>) {
      std::tuple<Args...> all(std::move(args)...);
      return begin(
          [f = std::move(f), all = std::move(all)]() mutable -> decltype(auto) {
            return std::apply(f, std::move(all));
          });
    }
    return {};  // so that g++ reports only the assertion
  }
  /// Waits until all tasks of the group have ended. Returns the first failure
  /// since the last wait: an Error that a task returned, alone or in a Result,
  /// or task_failed for an exception. Go: `errgroup.Group.Wait`.
  Error wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return running_ == 0; });
    return std::exchange(first_, Error());
  }

 private:
  template <class F>
  Error begin(F task) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return limit_ == 0 || running_ < limit_; });
    ++running_;
    lock.unlock();
    const auto start = [&] {  // moving the task may throw
      return internal::start(std::move(task),
                             [this](const Error& err) { end(err); });
    };
    const Error err = internal::run(start);
    if (err) end({});
    if (!err || err == task_failed) return err;
    return internal::failure("go", Socket(), err.code(), "pthread_create");
  }
  // The last of all: a waiter may destroy the Group once the mutex is free.
  void end(const Error& err) {
    const std::lock_guard lock(mutex_);
    if (err && !first_) first_ = err;
    --running_;
    changed_.notify_all();
  }

  const size_t limit_;
  std::mutex mutex_{};
  std::condition_variable changed_{};
  size_t running_ = 0;
  Error first_{};
};

/// Accepts connections and runs a copy of `handler` for each, in a thread of
/// its own: `[](net::Conn conn) { ... }`, which may return an Error or Result.
/// Blocks until the listener is closed and its handlers have ended; then nil.
///
/// One client's misfortune - an exception in its handler, a thread that cannot
/// start, a full descriptor table, an accept that a firewall forbids - costs at
/// most that client, and `on_error` hears of it; one that left before accept is
/// passed over. A deadline of the listener ends serve too, with `timed_out`; so
/// do errors that never heal, such as ENOTSOCK. Go: `http.Server.Serve`.
template <class Handler>
[[nodiscard]] Error serve(const Listener& listener, Handler handler,
                          const ServeOptions& options = {}) {
  constexpr bool fits = std::is_invocable_v<Handler&, Conn> &&
                        std::is_copy_constructible_v<Handler>;
  static_assert(fits,
                "serve: the handler must be a function that can be copied and "
                "takes a connection: [](net::Conn conn) { ... }");
  if constexpr (fits) {
    if (!listener) return failure("serve", listener);
    const auto handle = [&handler](const Conn& conn) {
      // Each thread gets a copy of its own.
      auto task = [handler, conn = conn]() mutable -> decltype(auto) {
        return handler(std::move(conn));
      };
      return internal::run(task);
    };
    internal::Serving serving{listener, options, handle};
    // However this ends - memory may run out - the handlers end before it does.
    const internal::Finally end([&] { serving.finish(); });
    return serving.accept_all();
  }
  return {};  // as in Group::go
}

// ===========================================================================
// You may stop here
//
// That was the core: whoever has read this far can follow every program in the
// course. The rest is there for when you need it, each section on its own.
// ===========================================================================

// --- Words ------------------------------------------------------------------
// What errors say, in Go's words on every system.

namespace internal {
// Each condition in Go's words, in the order of Errc.
// clang-format off
inline constexpr const char* conditions[] = {
    "nil", "EOF", "unexpected EOF", "use of closed network connection",
    "i/o timeout", "operation would block", "message truncated",
    "limit exceeded", "task failed", "no descriptor in the message",
    "unknown network", "missing address", "missing port in address",
    "too many colons in address", "missing ']' in address",
    "unexpected '[' in address", "unexpected ']' in address", "unknown port",
    "invalid port", "invalid IP address", "invalid CIDR address",
    "no suitable address found", "unexpected address type",
    "mismatched local address type", "non-IPv4 address",
    "use of WriteTo with pre-connected connection"};

// The errors that sockets know, in Go's words: C libraries differ in theirs
// ("Address in use", "Address already in use").
inline constexpr std::pair<int, const char*> errno_texts[] = {
    {EPERM, "operation not permitted"}, {ENOPROTOOPT, "protocol not available"},
    {ENOENT, "no such file or directory"}, {ENAMETOOLONG, "file name too long"},
    {EINTR, "interrupted system call"}, {EOPNOTSUPP, "operation not supported"},
    {EIO, "input/output error"}, {EDESTADDRREQ, "destination address required"},
    {EBADF, "bad file descriptor"}, {EPROTONOSUPPORT, "protocol not supported"},
    {EAGAIN, "resource temporarily unavailable"}, {EACCES, "permission denied"},
    {ENOMEM, "cannot allocate memory"}, {ENETUNREACH, "network is unreachable"},
    {EEXIST, "file exists"}, {EADDRNOTAVAIL, "cannot assign requested address"},
    {ENODEV, "no such device"}, {EPROTOTYPE, "protocol wrong type for socket"},
    {ENOTDIR, "not a directory"}, {ELOOP, "too many levels of symbolic links"},
    {EISDIR, "is a directory"}, {ENOTSOCK, "socket operation on non-socket"},
    {EINVAL, "invalid argument"}, {EALREADY, "operation already in progress"},
    {ENFILE, "too many open files in system"}, {EROFS, "read-only file system"},
    {EMFILE, "too many open files"}, {EINPROGRESS, "operation now in progress"},
    {ENOSPC, "no space left on device"}, {EADDRINUSE, "address already in use"},
    {EPIPE, "broken pipe"}, {ECONNABORTED, "software caused connection abort"},
    {EPROTO, "protocol error"}, {ECONNRESET, "connection reset by peer"},
    {EMSGSIZE, "message too long"}, {ENOBUFS, "no buffer space available"},
    {EAFNOSUPPORT, "address family not supported by protocol"},
    {ENETDOWN, "network is down"}, {ECONNREFUSED, "connection refused"},
    {EISCONN, "transport endpoint is already connected"},
    {ENOTCONN, "transport endpoint is not connected"}, {EFAULT, "bad address"},
    {ETIMEDOUT, "connection timed out"}, {EHOSTUNREACH, "no route to host"},
    {ENETRESET, "network dropped connection on reset"},
    {ESHUTDOWN, "cannot send after transport endpoint shutdown"},
    {EHOSTDOWN, "host is down"}};
// clang-format on

inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
// The cause in words that fit the middle of a sentence.
inline std::string text_of(const std::error_code& code) {
  if (code.category() == std::system_category() ||
      code.category() == std::generic_category())
    for (const auto& [number, text] : errno_texts)
      if (number == code.value()) return text;
  if (code.category() == category()) {
    const bool known = code.value() >= 0 && code.value() <= write_to_connected;
    return known ? conditions[code.value()] : "unknown error";
  }
  std::string text = code.message();
  if (text.size() > 1 && lower(text[1]) == text[1]) text[0] = lower(text[0]);
  return text;
}
}  // namespace internal

// --- netlite::sys, the rest -------------------------------------------------
// The BSD calls that the sections below need.

namespace sys {
// fchmod(2): before bind(2), this is the mode of the file to come.
inline int fchmod(int fd, int mode) {
  return ::fchmod(fd, static_cast<mode_t>(mode));
}
inline std::string absolute(const std::string& path) {
  char here[PATH_MAX];
  if (path[0] == '/' || !::getcwd(here, sizeof here)) return path;
  return std::string(here) + "/" + path;
}

// if_nametoindex(3); a zone may also be written as a number. 0: there is none.
inline unsigned if_nametoindex(const std::string& name) {
  if (name.find('\0') != name.npos) return 0;
  const unsigned index = ::if_nametoindex(name.c_str());
  const bool number = !name.empty() && name.size() < 9 &&
                      name.find_first_not_of("0123456789") == name.npos;
  return index || !number ? index : static_cast<unsigned>(std::stoul(name));
}
// if_indextoname(3), or the number where there is no such interface
inline std::string if_indextoname(unsigned index) {
  char name[IF_NAMESIZE];
  return ::if_indextoname(index, name) ? name : std::to_string(index);
}

// getaddrinfo(3) of a host or, where that is "", of a service; returns its
// EAI_... number, and sets errno for EAI_SYSTEM, or forgets to. May block.
inline int getaddrinfo(const std::string& host, const std::string& service,
                       const addrinfo& hints, addrinfo** found) {
  errno = 0;
  return ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                       service.empty() ? nullptr : service.c_str(), &hints,
                       found);
}
// getnameinfo(3) for a name; returns and blocks like getaddrinfo.
inline int getnameinfo(const Address& address, char (&name)[NI_MAXHOST]) {
  errno = 0;
  return ::getnameinfo(&address.any, address.size, name, sizeof name, nullptr,
                       0, NI_NAMEREQD);
}
// A name without addresses: on some systems not the same as no such name.
#ifdef EAI_NODATA
constexpr int no_data = EAI_NODATA;
#else
constexpr int no_data = EAI_NONAME;
#endif

inline int getifaddrs(ifaddrs** list) { return ::getifaddrs(list); }

// dup(2), close-on-exec
inline int duplicate(int fd) { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); }

// open(2) for reading, even above 2 GiB in a 32-bit program; read(2)
inline int open(const std::string& path) {
  int flags = O_RDONLY | O_CLOEXEC;
#ifdef O_LARGEFILE
  flags |= O_LARGEFILE;
#endif
  if (path.find('\0') != path.npos) return refuse(EINVAL);
  return retry([&] { return ::open(path.c_str(), flags); });
}
inline ssize_t read(int fd, void* data, size_t size) {
  return retry([&] { return ::read(fd, data, size); });
}

// SO_LINGER counts in seconds; on macOS that takes SO_LINGER_SEC (else ticks).
#ifdef SO_LINGER_SEC
constexpr int linger_seconds = SO_LINGER_SEC;
#else
constexpr int linger_seconds = SO_LINGER;
#endif

// Joins or leaves a multicast group, ip(7), RFC 3678. On Linux a socket hears,
// on its port, every group that any socket of the machine has joined, unless it
// is told to hear only those that it has joined itself.
inline int change_group([[maybe_unused]] int fd, [[maybe_unused]] bool join,
                        [[maybe_unused]] const Address& group,
                        [[maybe_unused]] unsigned interface_index) {
#ifdef MCAST_JOIN_GROUP
  const bool v4 = group.family() == AF_INET;
  const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
#ifdef __linux__
  constexpr int ipv6_multicast_all = 29;  // not every C library names it
  sys::setsockopt(fd, level, v4 ? IP_MULTICAST_ALL : ipv6_multicast_all, 0);
#endif
  group_req request{};
  request.gr_interface = interface_index;
  std::memcpy(&request.gr_group, &group.storage, sizeof group.storage);
  return sys::setsockopt(fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP,
                         &request, sizeof request);
#else
  return refuse(ENOPROTOOPT);
#endif
}

// Does this control message carry descriptors? Linux may also attach one that
// stands for the sender's process: SCM_PIDFD, which is 4.
inline bool carries_descriptors(const cmsghdr& it) {
  return it.cmsg_level == SOL_SOCKET &&
         (it.cmsg_type == SCM_RIGHTS || (is_linux && it.cmsg_type == 4));
}

// Who is at the other end of a unix socket; SO_PEERCRED, getpeereid(3). What
// the system does not tell stays as it is.
inline int peer_credentials(int fd, [[maybe_unused]] long& pid, unsigned& uid,
                            unsigned& gid) {
#ifdef __linux__
  ucred who{};
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, sizeof who) < 0) return -1;
  // What Linux says where nobody is: process 0 of user -1.
  if (who.uid == static_cast<uid_t>(-1)) return refuse(ENOTCONN);
  // A process in a namespace we cannot see is 0, too. kill(0) hits our group!
  if (who.pid > 0) pid = who.pid;
  uid = who.uid;
  gid = who.gid;
  return 0;
#else
#ifdef LOCAL_PEERPID
  pid_t who = 0;
  if (getsockopt(fd, 0, LOCAL_PEERPID, &who, sizeof who) == 0 && who > 0)
    pid = who;
#endif
  return ::getpeereid(fd, &uid, &gid);
#endif
}

// Readiness of many: epoll(7), or nothing where there is only poll. `id` is the
// caller's name for what it watches, and comes back with what is ready (in
// poll's terms: POLLIN and POLLOUT have the same numbers in both).
struct Ready {
  uint64_t id;
  short events;
};
#ifdef NETLITE_LINUX
constexpr bool has_epoll = true;
inline int epoll_create() { return ::epoll_create1(EPOLL_CLOEXEC); }
// No events: stops watching it.
inline int epoll_ctl(int epoll, int fd, unsigned events, uint64_t id,
                     bool known) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  int operation = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (!events) operation = EPOLL_CTL_DEL;
  return ::epoll_ctl(epoll, operation, fd, &event);
}
// (A thread that is cancelled here leaves a large frame, which the address
// sanitizer would take for one that is still in use.)
__attribute__((no_sanitize("address"))) inline int epoll_wait(
    int epoll, std::vector<Ready>& ready, int milliseconds) {
  epoll_event events[256];
  const int n = ::epoll_wait(epoll, events, 256, milliseconds);
  for (int i = 0; i < n; ++i)
    ready.push_back({events[i].data.u64, static_cast<short>(events[i].events)});
  return n;
}
#else
constexpr bool has_epoll = false;
inline int epoll_create() { return -1; }
inline int epoll_ctl(int, int, unsigned, uint64_t, bool) { return 0; }
inline int epoll_wait(int, std::vector<Ready>&, int) { return -1; }
#endif
}  // namespace sys

// --- Addresses, the rest ----------------------------------------------------
// What bind(2) and connect(2) want, what accept(2) returns, and what people
// write. None of these calls blocks.

namespace internal {
inline IP ip_from_kernel(const sys::Address& from) {
  const auto* v4 = reinterpret_cast<const unsigned char*>(&from.v4.sin_addr);
  if (from.family() == AF_INET) return IP(v4, 4);
  if (from.family() != AF_INET6) return IP();
  const unsigned scope = from.v6.sin6_scope_id;
  const std::string zone = scope ? sys::if_indextoname(scope) : "";
  return IP(from.v6.sin6_addr.s6_addr, 16, zone).unmap();
}

// An IPv6 socket takes IPv4 addresses in their mapped form (RFC 4291, 2.5.5.2).
inline std::error_code ip_to_kernel(const Addr& addr, int family,
                                    sys::Address& out) {
  const IP ip = addr.ip().unmap();
  out.any.sa_family = static_cast<sa_family_t>(family);
  out.v6.sin6_port = htons(addr.port());  // v4's is in the same place
  out.set_size(family == AF_INET ? sizeof out.v4 : sizeof out.v6);
  if (family == AF_INET) {
    std::memcpy(&out.v4.sin_addr, ip.data(), 4);
    return ip.is6() ? make_error_code(non_ipv4_address) : std::error_code();
  }
  unsigned char* bytes = out.v6.sin6_addr.s6_addr;
  if (ip.is6()) std::memcpy(bytes, ip.data(), 16);
  if (ip.is4() && !ip.is_unspecified()) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes + 12, ip.data(), 4);
  }
  if (ip.zone().empty()) return {};
  out.v6.sin6_scope_id = sys::if_nametoindex(ip.zone());
  // An unknown zone must not become any zone.
  const bool needed = ip.is_link_local_unicast() || ip.is_multicast();
  return sys::error(needed && out.v6.sin6_scope_id == 0 ? EINVAL : 0);
}

// The bytes of a unix socket's name. One that is too long, or a path with a NUL
// inside, would quietly become another name: EINVAL, as the kernel says.
inline std::error_code unix_to_kernel(const std::string& path,
                                      sys::Address& out) {
  const bool abstract = path[0] == '@';
  const size_t room = sizeof out.un.sun_path - (abstract ? 0 : 1);
  if (path.size() > room || (!abstract && path.find('\0') != path.npos))
    return sys::error(EINVAL);
  out.un.sun_family = AF_UNIX;
  std::memcpy(out.un.sun_path, path.data(), path.size());
  if (abstract) out.un.sun_path[0] = '\0';
  // The length counts: an abstract name has no NUL at its end, a path has one.
  const size_t nul = abstract || path.empty() ? 0 : 1;
  out.set_size(offsetof(sockaddr_un, sun_path) + path.size() + nul);
  return {};
}

inline std::error_code to_kernel(const Addr& addr, int af, sys::Address& out) {
  out = sys::Address();
  return af == AF_UNIX ? unix_to_kernel(addr.path(), out)
                       : ip_to_kernel(addr, af, out);
}

// And back again; no address at all for a sender that has none.
inline Addr from_kernel(const Network& network, const sys::Address& from) {
  if (from.size == 0) return {};
  if (network.family != AF_UNIX)
    return {network.base, ip_from_kernel(from), ntohs(from.v6.sin6_port)};
  const size_t head = offsetof(sockaddr_un, sun_path);
  const size_t size = from.size > head ? from.size - head : 0;
  const std::string name(from.un.sun_path, size);
  const bool abstract = size > 0 && name[0] == '\0';
  if (abstract && sys::is_linux) return {network.base, "@" + name.substr(1)};
  // A plain "@cli" would mean the abstract name, which is another socket's.
  const std::string path = name.substr(0, name.find('\0'));
  return {network.base, path[0] == '@' ? "./" + path : path};
}

// "invalid IP address: X" and kin
inline Error parse_error(Errc code, std::string_view text) {
  return {code, {"", "", "", ": " + std::string(text)}};
}

// inet_pton(3) takes at most four digits a group, but a group's leading zeros
// mean nothing - except in an IPv4 tail, where they once meant octal.
inline std::string without_leading_zeros(std::string_view text) {
  std::string out;
  for (;;) {
    std::string_view group = text.substr(0, text.find(':'));
    text.remove_prefix(group.size());
    const bool tail = group.find('.') != group.npos;
    while (!tail && group.size() > 1 && group[0] == '0') group.remove_prefix(1);
    out += group;
    if (text.empty()) return out;
    out += ':';
    text.remove_prefix(1);
  }
}

// The address's bytes, and how many: 4, 16, or 0 when it is not an address.
inline size_t parse_numeric(std::string_view text, unsigned char* bytes) {
  if (text.find('\0') != text.npos) return 0;
  if (::inet_pton(AF_INET, std::string(text).c_str(), bytes) == 1) return 4;
  const std::string plain = without_leading_zeros(text);
  return ::inet_pton(AF_INET6, plain.c_str(), bytes) == 1 ? 16 : 0;
}
// Decimal digits as a number, cut to `most`; -1 for anything else.
inline int parse_digits(std::string_view text, int most) {
  int number = text.empty() ? -1 : 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    number = std::min(number * 10 + (c - '0'), most);
  }
  return number;
}
// A port, perhaps with a sign; -1 if it is not a number, 65536 if not a port.
inline int parse_port(std::string_view text) {
  const bool minus = text.substr(0, 1) == "-";
  if (minus || text.substr(0, 1) == "+") text.remove_prefix(1);
  const int port = parse_digits(text, 65536);
  return minus && port > 0 ? 65536 : port;
}
}  // namespace internal

/// What `split_host_port` returns: `auto [host, port, err] = ...`.
struct [[nodiscard]] HostPort {
  std::string host{};  ///< without brackets
  std::string port{};  ///< a number or a service's name, as it was written
  Error error{};       ///< nil when the address could be split
};

/// Splits "host:port", "[host]:port" or "[ipv6%zone]:port" without looking at
/// what they mean. Errors: missing_port, too_many_colons, missing_bracket,
/// unexpected_..._bracket. Go: `net.SplitHostPort`.
inline HostPort split_host_port(std::string_view text) {
  const auto fail = [&](Errc code) {
    return HostPort{{}, {}, internal::address_error(code, text)};
  };
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return fail(missing_port);
  std::string_view host = text.substr(0, colon);
  size_t end = 0;  // of the part in brackets
  if (text[0] == '[') {
    const size_t bracket = text.find(']');
    if (bracket == text.npos) return fail(missing_bracket);
    end = bracket + 1;
    if (end != colon)
      return fail(text.substr(end, 1) == ":" ? too_many_colons : missing_port);
    host = text.substr(1, bracket - 1);
  } else if (host.find(':') != host.npos) {
    return fail(too_many_colons);
  }
  if (text.find('[', end ? 1 : 0) != text.npos)
    return fail(unexpected_open_bracket);
  if (text.find(']', end) != text.npos) return fail(unexpected_close_bracket);
  return {std::string(host), std::string(text.substr(colon + 1))};
}

/// Reads an IP address: IPv4 as four decimal numbers without leading zeros;
/// IPv6 as in RFC 4291, even with extra zeros in front of a group ("00001::"),
/// and with an optional %zone. Error: invalid_ip. Stricter than inet_addr(3),
/// which takes "127.1" and "010.0.0.1". Go: `netip.ParseAddr`, `net.ParseIP`.
inline Result<IP> parse_ip(std::string_view text) {
  unsigned char bytes[16];
  const size_t percent = text.find('%');
  const auto size = internal::parse_numeric(text.substr(0, percent), bytes);
  if (percent == text.npos && size != 0) return IP(bytes, size);
  if (percent != text.npos && percent + 1 < text.size() && size == 16)
    return IP(bytes, size, text.substr(percent + 1));
  return internal::parse_error(invalid_ip, text);
}

/// A Prefix is a block of addresses, "192.168.0.0/16". Prefixes compare, print
/// and hash. Go: `net.IPNet`, `netip.Prefix`.
class Prefix : public internal::Value<Prefix> {
 public:
  Prefix() = default;  ///< No block.
  /// The addresses whose first `bits` bits are `ip`'s; none if it has fewer.
  Prefix(IP ip, int bits) {
    if (bits < 0 || bits > static_cast<int>(ip.size()) * 8) return;
    ip_ = std::move(ip);
    bits_ = bits;
  }
  IP ip() const { return ip_; }       ///< As it was written, with all its bits.
  int bits() const { return bits_; }  ///< How many bits are shared.
  /// The first address of the block: the other bits are zero.
  IP masked() const {
    unsigned char bytes[16] = {};
    for (int bit = 0; bit < bits_; ++bit)
      bytes[bit / 8] = static_cast<unsigned char>(
          bytes[bit / 8] | (ip_.data()[bit / 8] & 0x80 >> bit % 8));
    return IP(bytes, ip_.size());
  }
  /// Is this address in the block, and of its family?
  bool contains(const IP& ip) const {
    return ip && Prefix(ip, bits_).masked() == masked();
  }
  /// The block as text, "192.168.0.0/16"; "" for no block.
  std::string string() const {
    return ip_ ? masked().string() + "/" + std::to_string(bits_) : "";
  }
  /// How Prefixes are compared: by address, then bits.
  auto key() const { return std::tie(ip_, bits_); }

 private:
  IP ip_;
  int bits_ = 0;
};

/// Reads a prefix in CIDR notation, "10.0.0.1/8" (RFC 4632). Does not block.
/// Error: invalid_prefix. Go: `net.ParseCIDR`.
inline Result<Prefix> parse_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  const auto [ip, err] = parse_ip(text.substr(0, slash));
  // Without a slash this reads the whole text, which is not a number.
  const int bits = internal::parse_digits(text.substr(slash + 1), 129);
  const Prefix prefix(ip, bits);
  if (err || !ip.zone().empty() || !prefix.ip())
    return internal::parse_error(invalid_prefix, text);
  return prefix;
}

// --- Names ------------------------------------------------------------------
// How a name becomes addresses, and what else resolver and machine know.

/// A network interface of this machine. Go: `net.Interface`.
struct Interface {
  unsigned index = 0;           ///< counts from 1
  std::string name{};           ///< "lo", "eth0"
  unsigned flags = 0;           ///< IFF_UP, IFF_LOOPBACK ... of netdevice(7)
  std::vector<Prefix> addrs{};  ///< each with the length of its prefix
};

namespace internal {
// An address that getaddrinfo(3) or getifaddrs(3) lists, of the given family.
inline sys::Address address_of(const sockaddr* from, int family) {
  sys::Address to;
  if (!from) family = AF_UNSPEC;
  if (family == AF_INET) std::memcpy(&to.v4, from, sizeof to.v4);
  if (family == AF_INET6) std::memcpy(&to.v6, from, sizeof to.v6);
  to.any.sa_family = static_cast<sa_family_t>(family);
  return to;
}

// An interface's address with the length of its netmask.
inline Prefix prefix_of(const ifaddrs& at) {
  const int family = at.ifa_addr ? at.ifa_addr->sa_family : 0;
  const IP ip = ip_from_kernel(address_of(at.ifa_addr, family));
  IP mask;  // BSD's masks have no family
  if (at.ifa_netmask) mask = ip_from_kernel(address_of(at.ifa_netmask, family));
  int ones = 0;
  while (ones < static_cast<int>(mask.size()) * 8 &&
         mask.data()[ones / 8] & 0x80 >> ones % 8)
    ++ones;
  return Prefix(ip, ones);
}

// What is asked: about a host, a service's port or, in reverse, an IP's name.
struct Question {
  std::string host{};
  std::string service{};
  int family = AF_UNSPEC;
  int type = SOCK_STREAM;
  bool reverse = false;
  auto key() const { return std::tie(host, service, family, type, reverse); }
};

// What the resolver answered.
struct Answer {
  std::vector<IP> ips{};
  std::string name{};
  int port = 0;
};

inline std::error_code resolver_error(int code) {
  // Where errno does not say why, this was the cause: see Go's issue 6232.
  if (code == EAI_SYSTEM) return sys::error(errno ? errno : EMFILE);
  if (code == sys::no_data) return no_such_host;
  return {code, resolver_category()};
}
inline Result<Answer> ask_name(const IP& ip) {
  sys::Address at;
  to_kernel(Addr("tcp", ip, 0), ip.is4() ? AF_INET : AF_INET6, at);
  char name[NI_MAXHOST] = "";
  if (const int code = sys::getnameinfo(at, name)) return resolver_error(code);
  return Answer{{}, name};
}

// Asks getaddrinfo(3). It has been seen to succeed with an empty list, and to
// list what nobody had asked for: only IP addresses count.
inline Result<Answer> ask_now(const Question& about) {
  if (about.reverse) return ask_name(parse_ip(about.host).value.unmap());
  addrinfo hints{};
  hints.ai_family = about.family;
  hints.ai_socktype = about.type;  // one answer per address, not three
  hints.ai_flags = about.host.empty() ? 0 : AI_CANONNAME;
  addrinfo* list = nullptr;
  const int code = sys::getaddrinfo(about.host, about.service, hints, &list);
  if (code) return resolver_error(code);
  const Finally freed([&] { ::freeaddrinfo(list); });
  Answer answer;
  if (list && list->ai_canonname) answer.name = list->ai_canonname;
  for (const addrinfo* each = list; each; each = each->ai_next) {
    if (!each->ai_addr) continue;
    const sys::Address address = address_of(each->ai_addr, each->ai_family);
    const IP ip = ip_from_kernel(address);
    bool news = bool(ip);
    for (const IP& earlier : answer.ips) news = news && earlier != ip;
    if (news) answer.ips.push_back(ip);
    if (ip) answer.port = ntohs(address.v6.sin6_port);
  }
  if (answer.ips.empty()) return no_such_host;
  return answer;
}

// Questions that are under way in threads of their own. The resolver knows no
// deadline and cannot be interrupted: a thread whose time is up is left to
// itself. But only so many may linger, and equal questions share a thread.
struct Lookups {
  struct Lookup {
    Question question;
    bool done = false;
    Result<Answer> answer{};
  };
  static constexpr size_t most = 64;
  std::mutex mutex;
  std::condition_variable changed;
  std::list<std::shared_ptr<Lookup>> running{};

  // The look-up for this question; null: no room for it. The mutex is held.
  std::shared_ptr<Lookup> get(const Question& question, Error& err) {
    for (const auto& each : running)
      if (each->question.key() == question.key()) return each;
    if (running.size() >= most) return nullptr;
    auto fresh = std::make_shared<Lookup>(Lookup{question});
    running.push_back(fresh);
    err = start([fresh] { fresh->answer = ask_now(fresh->question); },
                [this, fresh](const Error& why) { end(fresh, why); });
    if (err) running.pop_back();
    return fresh;
  }

  void end(const std::shared_ptr<Lookup>& lookup, const Error& err) {
    const std::lock_guard lock(mutex);
    if (err) lookup->answer = err.code();
    lookup->done = true;
    running.remove(lookup);
    changed.notify_all();
  }
};

// Asks the resolver, which may block, and waits until the deadline at most.
inline Result<Answer> ask_within(Deadline deadline, const Question& question) {
  if (deadline.never()) return ask_now(question);
  if (deadline.passed()) return timed_out;
  auto& lookups = of_this_process<Lookups>();
  std::unique_lock<std::mutex> lock(lookups.mutex);
  std::shared_ptr<Lookups::Lookup> mine;
  Error err;
  const bool done = wait_until(lookups.changed, lock, deadline.when(), [&] {
    if (!mine) mine = lookups.get(question, err);
    return err || (mine && mine->done);
  });
  if (err) return err.code();
  if (!done) return timed_out;
  return mine->answer;
}

inline Error lookup_error(const Error& why, std::string_view name) {
  return {why.code(), {"", "", "lookup " + std::string(name)}};
}

// For machines without /etc/services.
inline constexpr std::pair<std::string_view, int> services[] = {
    {"tcp/ftp", 21},    {"tcp/ssh", 22},    {"tcp/telnet", 23},
    {"tcp/smtp", 25},   {"tcp/domain", 53}, {"tcp/gopher", 70},
    {"tcp/http", 80},   {"tcp/pop3", 110},  {"tcp/imap2", 143},
    {"tcp/imap3", 220}, {"tcp/https", 443}, {"tcp/ftps", 990},
    {"tcp/imaps", 993}, {"tcp/pop3s", 995}, {"udp/domain", 53}};
}  // namespace internal

/// Finds the port of a service, "http" or "8080", for "tcp", "udp" and kin;
/// "" is port 0. Knows a few names by heart and asks services(5) for the rest,
/// where it may block, until the deadline. Errors: invalid_port (not in
/// 0..65535), unknown_port, unknown_network, timed_out. Go: `net.LookupPort`.
inline Result<int> lookup_port(std::string_view network,
                               std::string_view service,
                               Deadline deadline = no_deadline) {
  if (service.empty()) return 0;
  const int number = internal::parse_port(service);
  if (number > 65535) return internal::address_error(invalid_port, service);
  if (number >= 0) return number;
  const auto* known = internal::find_network(network);
  if (!known || known->family == AF_UNIX)
    return internal::address_error(unknown_network, network);

  std::string name(service);
  for (char& c : name) c = internal::lower(c);
  const std::string of = std::string(known->base) + "/";
  for (const auto& [each, port] : internal::services)
    if (each == of + name) return port;
  // The C library skips blanks in front of a number: no name begins with one.
  const std::error_code none(EAI_SERVICE, resolver_category());
  Result<internal::Answer> answer = none;
  if (name.find('\0') == name.npos && name[0] > ' ')
    answer = internal::ask_within(deadline, {"", name, AF_INET, known->type});
  if (!answer.error) return answer.value.port;
  name = of + std::string(service);
  if (answer.error == no_such_host || answer.error == none)
    return internal::address_error(unknown_port, name);
  return internal::lookup_error(answer.error, name);
}

namespace internal {
// A name that DNS could know: labels of letters, digits, '-' and '_', at most
// 63 each and 253 in all, not just digits (RFC 1035, RFC 3696). Nothing else is
// asked for: the C library takes 127.1 and even 0x7f000001 for addresses.
inline bool is_domain_name(std::string name) {
  if (!name.empty() && name.back() == '.') name.pop_back();
  in_addr number;
  if (name.size() > 253 || ::inet_aton(name.c_str(), &number)) return false;
  bool only_digits = true;
  for (size_t at = 0; at <= name.size();) {
    const std::string label = name.substr(at, name.find('.', at) - at);
    if (label.empty() || label.size() > 63 || label[0] == '-' ||
        label.back() == '-' ||
        label.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"
                                "UVWXYZ0123456789-_") != label.npos)
      return false;
    only_digits = only_digits && parse_digits(label, 1) >= 0;
    at += label.size() + 1;
  }
  return !only_digits;
}

// All that can be known about a host; an IP address is taken as it is.
inline Result<Answer> ask(std::string_view host, Deadline deadline,
                          int family = AF_UNSPEC) {
  std::string_view plain = host;
  if (host.find(':') != host.npos && host.find('%') == host.size() - 1)
    plain.remove_suffix(1);  // Go reads an empty zone as none
  const auto [ip, no_ip] = parse_ip(plain);
  if (!no_ip) return Answer{{ip}};
  if (!is_domain_name(std::string(host)))
    return lookup_error(no_such_host, host);
  auto answer = ask_within(deadline, {std::string(host), "", family});
  if (answer.error) return lookup_error(answer.error, host);
  return answer;
}

inline Result<Resolved> resolve_all(std::string_view network_name,
                                    std::string_view text, Deadline deadline) {
  const Network* network = find_network(network_name);
  if (!network) return retell(unknown_network, "", network_name);
  const auto only = [&](const Addr& addr) { return Resolved{network, {addr}}; };
  if (network->family == AF_UNIX) return only(Addr(network->base, text));
  HostPort parts;
  if (!text.empty()) parts = split_host_port(text);
  if (parts.error) return parts.error;
  const auto [number, bad] = lookup_port(network_name, parts.port, deadline);
  if (bad) return bad;
  const auto port = static_cast<uint16_t>(number);
  if (parts.host.empty()) return only(Addr(network->base, IP(), port));

  auto [answer, err] = ask(parts.host, deadline, network->family);
  if (err) return err;
  std::vector<IP>& ips = answer.ips;
  // Half-configured IPv6 can listen on :: and yet not be dialled there.
  if (ips.size() == 1 && ips[0].is6() && ips[0].is_unspecified())
    ips.push_back(parse_ip("0.0.0.0").value);
  Resolved all{network, {}};
  for (const IP& ip : ips)
    if (network->family == AF_UNSPEC ||
        ip.unmap().is4() == (network->family == AF_INET))
      all.addrs.emplace_back(network->base, ip.unmap(), port);
  if (all.addrs.empty()) return address_error(no_suitable_address, parts.host);
  return all;
}
}  // namespace internal

/// Resolves an address to the one that `listen` would take: of several, the
/// first IPv4 one. Blocks while the resolver looks up a name. Errors: the
/// resolver's, those of a bad address, timed_out. Go: `net.ResolveTCPAddr`.
inline Result<Addr> resolve(std::string_view network, std::string_view address,
                            Deadline deadline = no_deadline) {
  const auto [found, err] = internal::resolve_all(network, address, deadline);
  if (err) return err;
  // Brackets ask for IPv6: [::] means what it says.
  return internal::favourite(found.addrs, address.find('[') != address.npos);
}

/// Finds all addresses of a host, in the order to try them (RFC 6724). Blocks
/// in getaddrinfo(3), until the deadline; with one, at most 64 different
/// questions are under way. Refuses names that DNS cannot know, like "127.1".
/// Errors: the resolver's, such as no_such_host, timed_out. Go: `LookupHost`.
inline Result<std::vector<std::string>> lookup_host(
    std::string_view host, Deadline deadline = no_deadline) {
  const auto [answer, err] = internal::ask(host, deadline);
  if (err) return err;
  std::vector<std::string> addrs;
  for (const IP& ip : answer.ips) addrs.push_back(ip.string());
  if (!parse_ip(host).error) addrs = {std::string(host)};  // as it was written
  return addrs;
}

/// Finds the names of an IP address. Blocks in getnameinfo(3), until the
/// deadline. Errors: as lookup_host, and invalid_ip. Go: `net.LookupAddr`.
inline Result<std::vector<std::string>> lookup_addr(
    std::string_view ip, Deadline deadline = no_deadline) {
  if (Error bad = parse_ip(ip).error) return bad;
  const internal::Question question{std::string(ip), "", 0, 0, true};
  const auto [answer, err] = internal::ask_within(deadline, question);
  if (err) return internal::lookup_error(err, ip);
  return std::vector{answer.name};
}

/// Finds a host's canonical name, behind its aliases. Blocks and fails like
/// lookup_host; an IP address has none: no_such_host. Go: `net.LookupCNAME`.
inline Result<std::string> lookup_cname(std::string_view host,
                                        Deadline deadline = no_deadline) {
  const auto [answer, err] = internal::ask(host, deadline);
  if (err) return err;
  if (answer.name.empty()) return internal::lookup_error(no_such_host, host);
  return answer.name;
}

/// Lists the interfaces: getifaddrs(3). Does not block. Go: `net.Interfaces`.
inline Result<std::vector<Interface>> interfaces() {
  ifaddrs* list = nullptr;
  if (sys::getifaddrs(&list) < 0)
    return Error(sys::last_error(), {"interfaces", "", "getifaddrs"});
  const internal::Finally freed([&] { ::freeifaddrs(list); });
  std::vector<Interface> all;
  for (const ifaddrs* it = list; it; it = it->ifa_next) {
    // A labelled alias, "eth0:1", has the index of its interface.
    const unsigned index = sys::if_nametoindex(it->ifa_name);
    size_t at = 0;
    while (at < all.size() && all[at].index != index) ++at;
    if (at == all.size()) all.push_back({index, it->ifa_name, it->ifa_flags});
    if (Prefix prefix = internal::prefix_of(*it); prefix.ip())
      all[at].addrs.push_back(std::move(prefix));
  }
  return all;
}

// --- Racing -----------------------------------------------------------------
// How dial tries many addresses: one family beside the other (RFC 8305), all in
// one thread. A connect may take its time: poll tells when it is done.

namespace internal {
// One connect under way, and the addresses still to be tried after it.
struct Lane {
  std::vector<Addr> addrs{};
  size_t next = 0;           // the one to try next
  Time start = Time::min();  // not before
  Descriptor fd{};           // of the connect under way
  Time until{};              // give it up then
  int repeats = 0;           // how often it connected to itself
  Error error{};             // the first failure

  bool spent() const { return !fd && next == addrs.size(); }
  bool ready() const { return !fd && !spent() && Deadline(start).passed(); }
};

struct Dialer {
  const Network& network;
  const DialOptions& options;
  const Deadline deadline;
  Lane lanes[2]{};
  Conn conn{};

  Result<Conn> dial(const std::vector<Addr>& addrs) {
    divide(addrs);
    if (lanes[0].addrs.empty())
      return Error(no_suitable_address, {"dial", std::string(network.name),
                                         "address " + options.local.string()});
    for (;;) {
      for (Lane& lane : lanes) {
        if (lanes[0].spent()) lanes[1].start = Time::min();
        while (lane.ready())
          if (try_next(lane)) return conn;
      }
      if (lanes[0].spent() && lanes[1].spent()) return lanes[0].error;
      if (look_at_pending()) return conn;
    }
  }
  // The family of the first address goes first; "tcp" gives the other one a
  // lane of its own and a later start. A local address can reach only those of
  // its family; 0.0.0.0 and ::, "any address", belong to both.
  void divide(const std::vector<Addr>& addrs) {
    const Addr& local = options.local;
    const auto delay = options.fallback_delay;
    const bool race = network.name == "tcp" && delay != forever;
    std::vector<Addr>& first = lanes[0].addrs;
    for (const Addr& addr : addrs) {
      const bool any = is_any(local) || is_any(addr);
      if (!any && is6(addr) != is6(local)) continue;
      const bool second = race && !first.empty() && is6(addr) != is6(first[0]);
      lanes[second ? 1 : 0].addrs.push_back(addr);
    }
    lanes[1].start = time_after(delay);
  }
  // Starts on the next address of a lane; true when it is connected.
  bool try_next(Lane& lane) {
    const size_t left = lane.addrs.size() - lane.next++;
    if (deadline.passed()) return finish(lane, Error(timed_out));
    lane.until = share_of_time(left);
    const Error err = connect(lane);
    const bool pending = is_errno(err.code(), {EINPROGRESS, EINTR});
    return !pending && finish(lane, err);
  }
  // Each address gets an equal share of the time left, two seconds at least:
  // one silent address must not use up the time of the good ones.
  Time share_of_time(size_t addrs) const {
    if (deadline.never()) return deadline.when();
    const Time now = Clock::now();
    const auto share = (deadline.when() - now) / static_cast<Time::rep>(addrs);
    const Time::duration least = std::chrono::seconds(2);
    return std::min(deadline.when(), now + std::max(share, least));
  }
  // Opens a fresh socket - one that failed is spent - and begins to connect.
  Error connect(Lane& lane) {
    const Addr& remote = lane.addrs[lane.next - 1];
    int family = network.family;
    if (family == AF_UNSPEC)
      family = is6(remote) || is6(options.local) ? AF_INET6 : AF_INET;
    ListenOptions how;
    how.control = options.control;
    auto opened = open_socket(network, family, options.local, how, false);
    if (opened.error) return opened.error;
    lane.fd = std::move(opened.value);
    sys::Address address;
    std::error_code why = to_kernel(remote, family, address);
    if (!why) why = connect_to(lane.fd.get(), address);
    return why ? failed("connect", why) : Error();
  }
  // A unix listener with a full queue answers EAGAIN, and nothing tells when
  // there is room. So keep asking: a blocking connect(2) would wait, too.
  std::error_code connect_to(int fd, const sys::Address& to) const {
    for (int pause = 1;; pause = std::min(2 * pause, 10)) {
      if (sys::connect(fd, to) == 0) return {};
      if (network.family != AF_UNIX || !sys::would_block(errno))
        return sys::last_error();
      if (deadline.passed()) return timed_out;
      sys::sleep_ms(pause);
    }
  }
  // A connect has ended, well or badly; true when it is connected.
  bool finish(Lane& lane, const Error& err) {
    Descriptor fd = std::move(lane.fd);
    Addr remote = lane.addrs[lane.next - 1];
    if (err) return fail(lane, err, remote);
    Addr local = local_of(fd.get(), network);
    // 0.0.0.0 became 127.0.0.1, a zone's number its name, a link its file.
    sys::Address address;
    if ((is_any(remote) || !remote.ip().zone().empty()) &&
        sys::getpeername(fd.get(), address) == 0)
      remote = from_kernel(network, address);
    // TCP lets two connects meet in the middle, even one with itself: a dial to
    // a free local port may be given that very port for its own end.
    const bool tcp = network.base == "tcp";
    if (tcp && local == remote && options.local.port() == 0) {
      if (lane.repeats++ == 2)
        return fail(lane, failed("connect", sys::error(ECONNREFUSED)), remote);
      --lane.next;
      return false;
    }
    if (tcp) set_defaults(fd.get(), options.keep_alive, options.no_delay);
    conn =
        make<Conn>(std::move(fd), network, std::move(local), std::move(remote));
    return true;
  }
  bool fail(Lane& lane, const Error& why, const Addr& remote) const {
    const bool ours = why.code().category() == category();
    if (!lane.error)
      lane.error = {why.code(),
                    {"dial", std::string(network.name),
                     ours ? "" : why.subject(), "", options.local, remote}};
    return false;
  }
  // How a connect ended that poll has reported: writable without an error means
  // connected; otherwise SO_ERROR says what went wrong.
  static Error outcome(const pollfd& told) {
    if (told.revents == POLLOUT) return {};
    int error = 0;
    if (sys::getsockopt(told.fd, SO_ERROR, error) < 0) error = errno;
    return error ? failed("connect", sys::error(error)) : Error();
  }
  // Waits for a connect, or until something else is due; true if one connected.
  bool look_at_pending() {
    pollfd fds[2];  // poll skips a lane without a descriptor
    Time due = Time::max();
    for (size_t i = 0; i < 2; ++i) {
      const Lane& lane = lanes[i];
      fds[i] = {lane.fd.get(), POLLOUT, 0};
      if (!lane.spent()) due = std::min(due, lane.fd ? lane.until : lane.start);
    }
    Error why;
    if (sys::poll(fds, 2, poll_time(due)) < 0 && errno != EINTR)
      why = failed("connect");
    for (size_t i = 0; i < 2; ++i) {
      if (fds[i].revents) {
        if (finish(lanes[i], outcome(fds[i]))) return true;
      } else if (lanes[i].fd && (why || Deadline(lanes[i].until).passed())) {
        finish(lanes[i], why ? why : Error(timed_out));
      }
    }
    return false;
  }
};

inline Result<Conn> dial_all(const Resolved& to, const DialOptions& options,
                             Deadline deadline) {
  return Dialer{*to.network, options, deadline}.dial(to.addrs);
}
}  // namespace internal

// --- Streams ----------------------------------------------------------------
// Finding lines and frames in a stream, reading it to its end, copying it.

/// A source of bytes: reads into the buffer and returns how many, as `read`
/// does; at the end returns `eof`, every time.
using Source = Callback<Result<size_t>, Buffer>;

/// A Reader reads ahead from a connection, or from any other source of bytes,
/// to find lines and frames in it. What a call could not use stays for the
/// next, whatever the error was: after a timeout just call again. One thread at
/// a time. Its calls block: with a Poller, use try_read. A move takes what was
/// read ahead along; the one moved from reads `closed`. Go: `bufio.Reader`.
class Reader {
 public:
  /// Reads from this connection; nobody else should then read from it.
  explicit Reader(Conn conn) : conn_(std::move(conn)) {}
  /// Reads from a function: `[&](net::Buffer room) { return tls.read(room); }`.
  explicit Reader(Source source) : source_(new Source(std::move(source))) {}

  const Conn& conn() const { return conn_; }  ///< If it reads from one.
  /// What was read ahead and not used yet.
  std::string_view buffered() const {
    return std::string_view(ahead_).substr(std::min(used_, ahead_.size()));
  }
  /// Reads up to and including `end`. At the end of the stream returns what is
  /// left with `unexpected_eof`, or nothing with `eof`. limit_exceeded when
  /// `end` is not among the next `limit` bytes, which stay. Other errors: as
  /// read. Go: `bufio.Reader.ReadString`.
  Result<std::string> read_until(char end, size_t limit = 65536) {
    if (std::exchange(sought_, end) != end) looked_ = 0;
    for (;;) {
      const size_t at = buffered().substr(0, limit).find(end, looked_);
      if (at != std::string_view::npos) return take(at + 1);
      if (buffered().size() >= limit) return over_limit();
      looked_ = buffered().size();
      const Error err = read_ahead(4096);
      if (err == eof && looked_ > 0) return {take(looked_), unexpected_eof};
      if (err) return err;
    }
  }
  /// Reads a line without its "\n" or "\r\n". As read_until. Go: `ReadLine`.
  Result<std::string> read_line(size_t limit = 65536) {
    auto [line, err] = read_until('\n', limit);
    if (!err) line.pop_back();
    if (!err && !line.empty() && line.back() == '\r') line.pop_back();
    return {std::move(line), err};
  }
  /// Returns what was read ahead, or else reads from the source, as read(conn).
  Result<size_t> read(Buffer buffer) {
    if (buffered().empty()) return ask(buffer);
    const size_t n = buffered().copy(buffer.data(), buffer.size());
    step_over(n);
    return n;
  }
  /// Reads until the buffer is full. As read_full(conn).
  Result<size_t> read_full(Buffer buffer) {
    return internal::fill(buffer, [this](Buffer rest) { return read(rest); });
  }
  /// Reads to the end of the stream, as read_all(conn).
  Result<std::string> read_all(size_t limit) {
    for (;;) {
      const size_t have = buffered().size();
      if (have > limit) return {take(limit + 1), over_limit()};
      // One byte beyond the limit tells whether there are too many.
      Error err = read_ahead(std::min<size_t>(65536, limit - have) + 1);
      if (err) return {take(buffered().size()), err == eof ? Error() : err};
    }
  }

 private:
  std::string take(size_t n) {
    std::string taken(buffered().substr(0, n));
    step_over(n);
    return taken;
  }
  // Uses up `n` bytes. The rest moves to the front only once in a while: moving
  // it every time would cost the square of its length.
  void step_over(size_t n) {
    used_ += n;
    looked_ = 0;
    if (used_ < ahead_.size() / 2) return;
    ahead_.erase(0, std::exchange(used_, 0));
    // A long line's memory is given back.
    if (ahead_.capacity() > 65536 && ahead_.size() <= 32768)
      ahead_.shrink_to_fit();
  }
  // The end may come together with the last bytes, which go first.
  Result<size_t> ask(Buffer buffer) {
    if (source_ && !*source_) return closed;
    auto got = source_ ? (*source_)(buffer) : netlite::read(conn_, buffer);
    if (got.value > 0 && got.error == eof) got.error = Error();
    return got;
  }

  Error read_ahead(size_t most) {
    const size_t size = ahead_.size();
    ahead_.resize(size + most);
    const auto [n, err] = ask({&ahead_[size], most});
    ahead_.resize(size + n);
    return err;
  }

  Error over_limit() const { return failure("read", conn_, limit_exceeded); }

  Conn conn_{};
  std::unique_ptr<Source> source_{};  // instead of a Conn
  std::string ahead_{};
  size_t used_ = 0;    // this many bytes of it are used up
  size_t looked_ = 0;  // `sought_` is not among this many that follow
  char sought_ = '\n';
};

/// Reads to the end of the stream. If more than `limit` bytes come, returns
/// limit_exceeded with the first `limit` + 1 of them; with other errors, which
/// are those of read, what came before. Go: `io.ReadAll`.
inline Result<std::string> read_all(const Conn& conn, size_t limit) {
  return Reader(conn).read_all(limit);
}
/// Writes pieces as one, sendmsg(2): {a, b}, or a vector<Bytes>. Go: `Buffers`.
template <class Pieces = std::initializer_list<Bytes>>
auto write(const Conn& conn, const Pieces& pieces, Mode mode = Mode::wait)
    -> decltype(gather(conn, std::data(pieces), pieces.size(), mode)) {
  return gather(conn, std::data(pieces), pieces.size(), mode);
}

/// Copies what the Reader has read ahead and goes on to read, to the end
/// (datagrams have none) or up to `most` bytes. Blocks. Returns how many bytes
/// were written. Errors: as read and write. Go: `io.Copy`, `io.CopyN`.
inline Result<uint64_t> copy(const Conn& to, Reader& from,
                             uint64_t most = UINT64_MAX) {
  // A loop is the same on every system; only files may go faster by sendfile(2)
  // (tests/bench). The room costs no memory until something is read into it.
  constexpr uint64_t size = 256 * 1024;
  const std::unique_ptr<char[]> buffer(new char[size]);
  uint64_t total = 0;
  while (total < most) {
    const auto room = static_cast<size_t>(std::min(size, most - total));
    const auto [n, err] = from.read({buffer.get(), room});
    Result<size_t> sent;
    if (n > 0) sent = write(to, {buffer.get(), n});
    total += sent.value;
    if (sent.error) return {total, sent.error};
    if (err) return {total, err == eof ? Error() : err};
  }
  return total;
}
/// The same from a connection.
inline Result<uint64_t> copy(const Conn& to, const Conn& from,
                             uint64_t most = UINT64_MAX) {
  Reader reader(from);
  return copy(to, reader, most);
}

/// Writes a file as copy does, from the descriptor's position to its end or up
/// to `most` bytes. Errors: as write and read(2). Go: `io.Copy`, `io.CopyN`.
inline Result<uint64_t> send_file(const Conn& to, int descriptor,
                                  uint64_t most = UINT64_MAX) {
  Reader file([&](Buffer buffer) -> Result<size_t> {
    const ssize_t n = sys::read(descriptor, buffer.data(), buffer.size());
    if (n < 0) return Error(sys::last_error(), {"read", "file"});
    if (n == 0) return eof;
    return static_cast<size_t>(n);
  });
  return copy(to, file, most);
}
/// The same for the file at a path, from its beginning. Errors: also open(2)'s.
inline Result<uint64_t> send_file(const Conn& to, const std::string& path,
                                  uint64_t most = UINT64_MAX) {
  const internal::Descriptor fd(sys::open(path));
  if (!fd) return Error(sys::last_error(), {"open", "", path});
  return send_file(to, fd.get(), most);
}

// --- Packets ----------------------------------------------------------------
// Datagrams: each is sent and received whole, or not at all.

/// What `read_from` returns: `auto [n, from, err] = net::read_from(...)`.
struct [[nodiscard]] Packet {
  size_t size = 0;  ///< how many bytes came
  Addr from{};      ///< who sent them
  Error error{};    ///< nil when all of them fitted
};

/// Opens a datagram socket. `network` is udp, udp4, udp6 or unixgram. An empty
/// host hears both families; of a name's addresses it takes the first IPv4 one:
/// say 127.0.0.1, not `localhost`, for which dial may take the IPv6 one. A
/// multicast address opens its port for sharing; join the group next. A
/// unixgram socket's file stays. Errors: as listen. Go: `net.ListenPacket`.
inline Result<PacketConn> listen_packet(std::string_view network,
                                        std::string_view address,
                                        const ListenOptions& options = {}) {
  return internal::listen<PacketConn>(network, address, options);
}

namespace internal {
inline Error no_interface(const PacketConn& packets, const std::string& name) {
  return failure("set", packets, sys::error(ENODEV), "interface " + name);
}

inline Error change_group(const PacketConn& packets, bool join, const IP& group,
                          const std::string& on) {
  const Use use(packets);
  if (!use) return failure("set", packets);
  const int family = group.unmap().is4() ? AF_INET : AF_INET6;
  if (use->network.family != AF_UNSPEC && use->network.family != family)
    return failure("set", packets, no_suitable_address);
  const std::string name = on.empty() ? group.zone() : on;
  const unsigned index = sys::if_nametoindex(name);
  if (index == 0 && !name.empty()) return no_interface(packets, name);
  sys::Address address;
  if (const auto why = to_kernel(Addr("udp", group, 0), family, address))
    return failure("set", packets, why);
  if (sys::change_group(use->fd, join, address, index) < 0)
    return failure("set", packets, sys::last_error(), "setsockopt");
  return {};
}

// Sets an option in both its forms on a socket that serves both families.
template <class V4>
Error set_both(const PacketConn& packets, int v4, const V4& value4, int v6,
               int value6) {
  return control(packets, "set", "setsockopt", [&](const SocketState& s) {
    const bool both = s.network.family == AF_UNSPEC;
    int done = 0;
    if (both || s.family() == AF_INET)
      done = sys::setsockopt(s.fd, IPPROTO_IP, v4, &value4, sizeof value4);
    if (s.family() == AF_INET) return done;
    return sys::setsockopt(s.fd, IPPROTO_IPV6, v6, value6);
  });
}
}  // namespace internal

/// Reads one datagram, and who sent it: no address if a unixgram sender has no
/// name. Blocks until one comes. An empty one has size 0; if one does not fit,
/// its rest is lost: `truncated`. Errors: as read. Go: `ReadFrom`.
inline Packet read_from(const PacketConn& packets, Buffer buffer,
                        Mode mode = Mode::wait) {
  sys::Address from;
  const auto [n, err] = receive(packets, buffer, mode, "recvfrom", from);
  if (err && err != truncated) return {0, {}, err};
  const internal::SocketState& s = *state_of(packets);
  return {n, s.remote ? s.remote : internal::from_kernel(s.network, from), err};
}

/// Sends one datagram, whole or not at all: EMSGSIZE when it is too long (UDP
/// over IPv4: above 65,507 bytes). Blocks while the queue is full. A UDP peer
/// that has gone is no error. On a socket with one fixed peer:
/// write_to_connected. Go: `WriteTo`.
inline Result<size_t> write_to(const PacketConn& packets, Bytes bytes,
                               const Addr& to, Mode mode = Mode::wait) {
  const auto& s = state_of(packets);
  const auto fail = [&](const Error& why, std::string_view subject = "") {
    return failure("write", packets, why, subject, &to);
  };
  if (!s || s->is_closed()) return fail(closed);
  if (s->remote) return fail(write_to_connected);
  if (!to) return fail(missing_address);
  const bool fits = to.network() == s->network.base;
  if (!fits && s->family() == AF_UNIX) return fail(sys::error(EAFNOSUPPORT));
  if (!fits) return fail(unexpected_address_type, "address " + to.string());
  sys::Address address;
  const std::error_code why = internal::to_kernel(to, s->family(), address);
  if (why == non_ipv4_address) return fail(why, "address " + to.ip().string());
  if (why) return fail(why, "sendto");
  iovec piece = internal::to_iovec(bytes);
  const auto [n, err] = write_all(packets, &piece, 1, mode, "write", &address);
  return {n, err ? fail(err, "sendto") : err};
}

/// Joins a multicast group, on the named interface or the system's choice, RFC
/// 3678. Errors: ENODEV (no such interface), EADDRINUSE (joined already),
/// EINVAL, no_suitable_address (other family). Go: `ipv4.PacketConn.JoinGroup`.
inline Error join_group(const PacketConn& packets, const IP& group,
                        const std::string& interface_name = "") {
  return change_group(packets, true, group, interface_name);
}
/// Leaves it. As join_group; EADDRNOTAVAIL: not joined. Go: `LeaveGroup`.
inline Error leave_group(const PacketConn& packets, const IP& group,
                         const std::string& interface_name = "") {
  return change_group(packets, false, group, interface_name);
}

/// How many routers a multicast datagram may pass: 0 (this machine) to 255.
/// Go: `ipv4.PacketConn.SetMulticastTTL`.
inline Error set_multicast_ttl(const PacketConn& packets, int hops) {
  if (hops < 0) hops = 256;  // the kernel refuses 256, but not -1
  return set_both(packets, IP_MULTICAST_TTL, hops, IPV6_MULTICAST_HOPS, hops);
}
/// Whether this machine hears its own multicast datagrams (the default).
/// Go: `ipv4.PacketConn.SetMulticastLoopback`.
inline Error set_multicast_loopback(const PacketConn& packets, bool on) {
  return set_both(packets, IP_MULTICAST_LOOP, int{on}, IPV6_MULTICAST_LOOP,
                  int{on});
}
/// The interface that multicast datagrams leave by. Error: ENODEV.
/// Go: `ipv4.PacketConn.SetMulticastInterface`.
inline Error set_multicast_interface(const PacketConn& packets,
                                     const std::string& name) {
  const internal::Use use(packets);
  if (!use) return failure("set", packets);
  const auto index = static_cast<int>(sys::if_nametoindex(name));
  if (index == 0) return no_interface(packets, name);
  ip_mreqn request{};
  request.imr_ifindex = index;
  return set_both(packets, IP_MULTICAST_IF, request, IPV6_MULTICAST_IF, index);
}

// --- Unix extras ------------------------------------------------------------
// What sockets within one machine can also do: pass descriptors, say who calls.

/// The process at the other end of a unix socket, as it was at connect time.
struct Credentials {
  long pid = -1;       ///< -1 if the system does not tell, or we cannot see it
  unsigned uid = ~0u;  ///< the user's number; all ones: not told
  unsigned gid = ~0u;  ///< the group's number; all ones: not told
};

namespace internal {
// Is there a socket's file at this path that nobody listens on? Asks three
// times: macOS also refuses when somebody listens but the queue is full.
inline bool is_stale(const std::string& path, const sys::Address& address,
                     int type) {
  sys::File file;
  if (sys::lstat(path, file) != 0 || !file.is_socket) return false;
  for (int tries = 0; tries < 3; ++tries) {
    if (tries > 0) sys::sleep_ms(10);
    const Descriptor probe(sys::socket(AF_UNIX, type));
    const bool answers = !probe || sys::connect(probe.get(), address) == 0;
    if (answers || errno != ECONNREFUSED) return false;
  }
  return true;
}

inline int bind(int fd, const sys::Address& address, const std::string& path,
                int type, const ListenOptions& options) {
  const bool file = !path.empty() && path[0] != '@';
  // The file is born with the socket's own mode, so it is never open to more
  // users than was asked. (On Linux; elsewhere chmod comes only afterwards.)
  if (file && options.mode >= 0) sys::fchmod(fd, options.mode);
  const int result = sys::bind(fd, address);
  if (result == 0 || errno != EADDRINUSE || !file || !options.replace_stale)
    return result;
  if (!is_stale(path, address, type)) return sys::refuse(EADDRINUSE);
  sys::unlink(path);
  return sys::bind(fd, address);
}

// Remembers which file bind made. The path is made absolute: the process may
// change its directory before it closes the listener.
inline SocketFile made_file(const std::string& path) {
  sys::File made;
  if (path.empty() || path[0] == '@' || sys::lstat(path, made) != 0) return {};
  return {sys::absolute(path), made.id, sys::forks};
}
// Nil for an open unix socket.
inline Error unix_only(const Socket& socket, const char* op) {
  const Use use(socket);
  if (use && use->network.family == AF_UNIX) return {};
  return failure(op, socket, use ? unexpected_address_type : closed);
}

// A message of one byte that carries descriptors. Linux sends at most 253 at a
// time; credentials, a security label and timestamps may come before them.
struct Carrier {
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[8192] = {};
  msghdr msg = sys::msg_of(&piece, 1);

  explicit Carrier(size_t n = sizeof room) {
    msg.msg_control = room;
    msg.msg_controllen = static_cast<decltype(msg.msg_controllen)>(n);
  }
  // Takes out the descriptors, keeps the first, and returns how many came.
  int take(Descriptor& first) {
    int count = 0;
    for (cmsghdr* it = CMSG_FIRSTHDR(&msg); it; it = CMSG_NXTHDR(&msg, it)) {
      if (!sys::carries_descriptors(*it)) continue;
      const size_t size = it->cmsg_len - CMSG_LEN(0);
      for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(it) + at, sizeof fd);
        sys::close_on_exec(fd);
        Descriptor one(fd);  // closed right here if it is not kept
        if (it->cmsg_type == SCM_RIGHTS && count++ == 0) std::swap(first, one);
      }
    }
    return count;
  }
};
}  // namespace internal

/// Sends a copy of a descriptor over a unix connection, with one byte that
/// carries it. Blocks like write. unix(7), SCM_RIGHTS.
[[nodiscard]] inline Error send_descriptor(const Conn& conn, int descriptor) {
  if (Error err = unix_only(conn, "write")) return err;
  internal::Carrier carrier(CMSG_SPACE(sizeof descriptor));
  cmsghdr* header = CMSG_FIRSTHDR(&carrier.msg);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  const auto call = [&](auto& s) { return sys::sendmsg(s.fd, carrier.msg); };
  return perform(conn, POLLOUT, "write", "sendmsg", call).error;
}

/// Receives one descriptor, close-on-exec and the caller's to close, with the
/// byte that carries it; -1 with an error, no_descriptor when the byte came
/// alone. If there are others, closes them: the first, with `truncated`. Blocks
/// like read. unix(7), SCM_RIGHTS.
inline Result<int> receive_descriptor(const Conn& conn) {
  if (Error err = unix_only(conn, "read")) return {-1, err};
  internal::Carrier carrier;
  const auto call = [&](auto& s) { return sys::recvmsg(s.fd, carrier.msg); };
  const auto [n, err] = perform(conn, POLLIN, "read", "recvmsg", call);
  if (err) return {-1, err};
  internal::Descriptor first;
  const int count = carrier.take(first);
  // More descriptors or more bytes; or one that our table had no room for.
  if (count > 1 || carrier.msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
    return {first.release(), failure("read", conn, truncated)};
  if (first) return first.release();
  if (n == 0 && state_of(conn)->network.type != SOCK_DGRAM) return {-1, eof};
  return {-1, failure("read", conn, no_descriptor)};
}

/// Who is at the other end? unix(7), SO_PEERCRED; getpeereid(3). Errors:
/// `closed`, unexpected_address_type, ENOTCONN.
inline Result<Credentials> peer_credentials(const Conn& conn) {
  if (Error err = unix_only(conn, "get")) return err;
  Credentials peer;
  const auto ask = [&](const internal::SocketState& s) {
    return sys::peer_credentials(s.fd, peer.pid, peer.uid, peer.gid);
  };
  const Error err = control(conn, "get", "getsockopt", ask);
  return {peer, err};
}

/// Whether close removes a unix listener's file: yes for one that `listen`
/// made, no for one from `listener_from`. For a quick restart, hand the
/// descriptor to the new process, say no here and close; say yes there. Errors:
/// `closed`, unexpected_address_type. Go: `UnixListener.SetUnlinkOnClose`.
inline Error set_unlink_on_close(const Listener& listener, bool on) {
  const internal::Use use(listener);
  if (Error err = unix_only(listener, "set")) return err;
  internal::SocketFile file;
  if (on) file = internal::made_file(use->local.path());
  const std::lock_guard lock(use->guard);
  if (use->is_closed()) return failure("set", listener);
  // The file that it made is known better than from what is at the path now.
  if (!on || use->file.path.empty()) std::swap(use->file, file);
  return {};
}

// --- Options ----------------------------------------------------------------
// Settings of a socket, its descriptor, and sockets that others have opened.

namespace internal {
// The kernel takes a negative size for a huge one.
inline Error set_buffer(const Socket& socket, int name, int bytes) {
  const auto set = [&](const SocketState& s) {
    return bytes < 0 ? sys::refuse(EINVAL)
                     : sys::setsockopt(s.fd, SOL_SOCKET, name, bytes);
  };
  return control(socket, "set", "setsockopt", set, &only<Addr>());
}

// Makes a handle from a descriptor. Its errors say "file", as Go's do.
template <class H>
Result<H> adopt(int fd) {
  const auto fail = [](const char* call) -> Error {
    return {sys::last_error(), {"file", "", call}};
  };
  int type = 0, listens = 0;
  if (sys::getsockopt(fd, SO_TYPE, type) < 0 ||
      sys::getsockopt(fd, SO_ACCEPTCONN, listens) < 0)
    return fail("getsockopt");
  sys::Address here, there;
  if (sys::getsockname(fd, here) < 0) return fail("getsockname");
  int family = here.family();
  if (family == AF_INET || family == AF_INET6) family = AF_UNSPEC;
  const Network* network = nullptr;
  for (const Network& each : networks)
    if (each.type == type && each.family == family) network = &each;
  if (!network || (listens != 0) != (H::kind == Kind::listener) ||
      (H::kind == Kind::packets && type != SOCK_DGRAM))
    return Error(unexpected_address_type, {"file", ""});
  const bool peer = sys::getpeername(fd, there) == 0;
  if (!peer && H::kind == Kind::conn) return fail("getpeername");
  if (sys::adopt(fd) < 0) return fail("fcntl");
  // As in Go: accepted connections get all defaults, a Conn only no delay.
  if (network->base == "tcp")
    set_defaults(fd, std::chrono::seconds(listens ? 15 : 0), true);
  return make<H>(Descriptor(fd), *network, from_kernel(*network, here),
                 peer ? from_kernel(*network, there) : Addr());
}
}  // namespace internal

/// Sets any option: setsockopt(2). Does not block. Errors, as of all options:
/// `closed` and setsockopt(2)'s, such as EINVAL for a number that makes no
/// sense, or ENOPROTOOPT where the system has no such option.
template <class T>
Error set_option(const Socket& socket, int level, int name, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>,
                "set_option takes an int or a struct, no pointer to it.");
  return control(socket, "set", "setsockopt", [&](const auto& s) {
    return sys::setsockopt(s.fd, level, name, &value, sizeof value);
  });
}
/// Asks for any option: getsockopt(2), `get_option<int>(conn, level, name)`.
template <class T>
Result<T> get_option(const Socket& socket, int level, int name) {
  static_assert(std::is_trivially_copyable_v<T>,
                "get_option returns an int or a struct, as the kernel does.");
  T value{};
  const Error err = control(socket, "get", "getsockopt", [&](const auto& s) {
    return sys::getsockopt(s.fd, level, name, &value, sizeof value);
  });
  return {value, err};
}

/// Sends small writes at once (the default), or lets TCP hold them back while
/// earlier ones are under way (Nagle). TCP_NODELAY. Go: `SetNoDelay`.
inline Error set_no_delay(const Conn& conn, bool on) {
  return set_option(conn, IPPROTO_TCP, TCP_NODELAY, int{on});
}
/// Probes a silent peer after `idle`, then every `interval`, and gives up after
/// `count` probes (0: the system decides). Rounds times up to seconds; 0 or
/// less, and `forever`: no probes. tcp(7). Go: `SetKeepAliveConfig`.
inline Error set_keep_alive(const Conn& conn, std::chrono::nanoseconds idle,
                            std::chrono::nanoseconds interval, int count = 0) {
  return control(conn, "set", "setsockopt", [&](const auto& s) {
    return internal::set_keep_alive(s.fd, idle, interval, count);
  });
}

/// What close does with bytes not sent yet. Negative (the default): the system
/// goes on sending. 0: throws them away and resets the connection. Positive:
/// blocks for up to that many seconds. SO_LINGER, socket(7). Go: `SetLinger`.
inline Error set_linger(const Conn& conn, int seconds) {
  const linger value{seconds >= 0, std::max(seconds, 0)};
  return set_option(conn, SOL_SOCKET, sys::linger_seconds, value);
}

/// Asks for a receive buffer of this many bytes; Linux doubles the number for
/// its bookkeeping. SO_RCVBUF. Go: `SetReadBuffer`.
inline Error set_read_buffer(const Socket& socket, int bytes) {
  return set_buffer(socket, SO_RCVBUF, bytes);
}
/// Asks for a send buffer of this many bytes. SO_SNDBUF. Go: `SetWriteBuffer`.
inline Error set_write_buffer(const Socket& socket, int bytes) {
  return set_buffer(socket, SO_SNDBUF, bytes);
}
/// The descriptor, for calls that netlite does not have, or -1 when closed. It
/// is good until close, and non-blocking: see `wait`. Your own write(2) to a
/// peer that has gone raises SIGPIPE; netlite's do not. Go: `SyscallConn`.
inline int native_handle(const Socket& socket) {
  const internal::Use use(socket);
  return use ? use->fd : -1;
}
/// A second descriptor of the socket, dup(2), close-on-exec, non-blocking, and
/// yours to close: the peer sees the end after both closes. Go: `TCPConn.File`.
inline Result<int> duplicate(const Socket& socket) {
  int copy = -1;
  const auto call = [&](auto& s) { return copy = sys::duplicate(s.fd); };
  const Error err = control(socket, "file", "dup", call);
  return {copy, err};
}

/// Makes a Conn from a connected descriptor, which is the Conn's from then on;
/// on an error it stays the caller's. For all who share it, such as a parent
/// process, it becomes non-blocking and without delay. Errors: ENOTSOCK,
/// ENOTCONN and kin, unexpected_address_type. Go: `net.FileConn`.
inline Result<Conn> conn_from(int fd) { return internal::adopt<Conn>(fd); }
/// The same for a listening descriptor; what it accepts has the default
/// keep-alive too. Go: `net.FileListener`.
inline Result<Listener> listener_from(int descriptor) {
  return internal::adopt<Listener>(descriptor);
}
/// The same for a datagram descriptor. Go: `net.FilePacketConn`.
inline Result<PacketConn> packet_conn_from(int descriptor) {
  return internal::adopt<PacketConn>(descriptor);
}

// --- Poller -----------------------------------------------------------------
// One thread, many sockets: it asks which are ready; its calls do not wait.

/// What to wait or watch for, and what has come: a sum of poll(2)'s numbers.
enum Interest : unsigned {
  readable = POLLIN,   ///< something to read or accept, an end, an error
  writable = POLLOUT,  ///< room to write, or an error
  hung_up = POLLHUP,   ///< over in both directions; for one alone see readable
};

/// Waits until your own call on the descriptor may succeed: for `readable`,
/// `writable` or the first of both. For libraries that say "later", like TLS.
/// Takes turns and obeys deadlines and close, like read and write; for both,
/// no deadline counts before its turn. Errors: closed, timed_out, EINVAL.
inline Error wait(const Conn& conn, unsigned interest) {
  const internal::Use use(conn);
  if (!use) return failure("wait", conn);
  if (interest == 0 || interest & ~(readable | writable))
    return failure("wait", conn, sys::error(EINVAL));
  auto& first = interest & readable ? use->reading : use->writing;
  auto& last = interest & writable ? use->writing : use->reading;
  const auto turn = take_turn(first);
  std::unique_lock<std::mutex> second;
  if (&first != &last) second = take_turn(last);
  for (;;) {
    if (use->is_closed()) return failure("wait", conn);
    if (first.due().passed() || last.due().passed())
      return failure("wait", conn, timed_out);
    if (last.ended) return {};
    const auto [ready, err] =
        internal::wait(*use, {&first, &last}, static_cast<short>(interest));
    if (err) return failure("wait", conn, err, "poll");
    if (ready) return {};
  }
}

/// One socket that is ready.
struct Event {
  Socket socket{};     ///< the one that was watched: `Conn(event.socket)`
  unsigned ready = 0;  ///< a sum of `Interest`s
  uint64_t key = 0;    ///< what `watch` was given
};

namespace internal {
struct Watched {
  Socket socket{};
  unsigned interest = 0;
  uint64_t key = 0;
  uint64_t id = 0;  // of this watch; the next one here has another
};

// What is ready, as an Interest. A hang-up and an error can be read.
inline unsigned readiness(unsigned interest, short polled) {
  const auto events = static_cast<unsigned>(polled);
  unsigned ready = events & (readable | writable | hung_up);
  if (events & POLLERR) ready |= interest & (readable | writable);
  if (events & POLLHUP || !ready) ready |= readable;
  return ready;
}

struct PollerState final : Watcher {
  std::mutex mutex{};  // guards all of this
  std::atomic<uint32_t> process{sys::forks.load()};
  bool open = false;
  Descriptor epoll{};
  sys::Bell bell{};
  bool rung = false;
  bool woken = false;              // wait is to return
  std::vector<Watched> watched{};  // by descriptor
  uint32_t watchings = 0;          // how many there were, for ids
  std::vector<sys::Ready> told{};  // what is ready though the kernel is silent

  ~PollerState() { sys::discard(bell); }
  // A forked child begins anew: all of this, mutex included, is the parent's.
  std::unique_lock<std::mutex> lock() {
    if (process != sys::forks) begin_anew();
    return std::unique_lock<std::mutex>(mutex);
  }
  void begin_anew() {
    const std::lock_guard first(of_this_process<std::mutex>());
    if (process == sys::forks) return;
    new (&mutex) std::mutex;
    open = false;
    process = sys::forks.load();
  }
  // Makes what it needs.
  int need() {
    if (open) return 0;
    rung = woken = false;
    watched.clear();
    told.clear();
    sys::discard(bell);
    bell = sys::make_bell();
    if (bell) epoll = Descriptor(sys::epoll_create());
    open =
        bell && (epoll || !sys::has_epoll) &&
        sys::epoll_ctl(epoll.get(), bell.read, POLLIN, UINT64_MAX, false) == 0;
    return open ? 0 : -1;
  }
  void ring() {
    if (!std::exchange(rung, true)) sys::ring(bell);
  }
  // What is watched on a socket, or under an id; or null.
  Watched* find(const SocketState& s) {
    const auto fd = static_cast<size_t>(s.fd);
    if (!open || fd >= watched.size()) return nullptr;
    return state_of(watched[fd].socket).get() == &s ? &watched[fd] : nullptr;
  }
  Watched* find(uint64_t id) {
    const size_t fd = id & 0xffffffff;
    return fd < watched.size() && watched[fd].id == id ? &watched[fd] : nullptr;
  }
  // Swaps what is watched on a socket with `wanted`. The caller drops what was
  // watched before only after releasing the mutex: the last handle to a socket
  // may go with it.
  int change(const SocketState& s, Watched& wanted) {
    const bool known = find(s);
    if (!known && wanted.interest == 0) return 0;
    const auto fd = static_cast<size_t>(s.fd);
    if (watched.size() <= fd) watched.resize(fd + 1);
    const uint64_t id = static_cast<uint64_t>(++watchings) << 32 | fd;
    if (sys::epoll_ctl(epoll.get(), s.fd, wanted.interest, id, known) < 0)
      return -1;
    std::swap(watched[fd], wanted);
    watched[fd].id = id;
    // On unix sockets, Linux hides close_write from those who wait for room.
    const bool ended = s.writing.ended && watched[fd].interest & writable;
    if (ended) told.push_back({id, POLLOUT});
    // And a poll(2) that is under way does not notice any change.
    if (ended || !sys::has_epoll) ring();
    return 0;
  }
  // The socket's watch is registered anew, or dropped before the descriptor
  // goes: with a duplicate of that, epoll would go on reporting.
  void hear(SocketState& s) override {
    Watched anew;  // dropped last, when nothing is locked
    const auto watching = lock();
    if (Watched* now = find(s); now && !s.is_closed()) anew = *now;
    change(s, anew);
  }
  // The events for what is ready and still watched.
  std::vector<Event> collect(std::vector<sys::Ready> ready) {
    if (std::exchange(rung, false)) sys::take_ring(bell);
    for (const sys::Ready& more : std::exchange(told, {})) {
      size_t i = 0;
      while (i < ready.size() && ready[i].id != more.id) ++i;
      if (i == ready.size()) ready.push_back({more.id, 0});
      ready[i].events = static_cast<short>(ready[i].events | more.events);
    }
    std::vector<Event> events;
    for (const sys::Ready& each : ready)
      // The same descriptor under another id is another watch.
      if (const Watched* now = find(each.id); now && each.events)
        events.push_back(
            {now->socket, readiness(now->interest, each.events), now->key});
    return events;
  }
};

// Waits with epoll, or with poll where that is all there is. poll keeps files
// open, so it counts as a call inside each of its sockets: close waits for it.
inline std::error_code look(PollerState& state, int time,
                            std::vector<sys::Ready>& ready) {
  std::unique_lock<std::mutex> lock = state.lock();
  if (state.need() < 0) return sys::last_error();
  std::vector<Watched> watched;
  std::list<Use> inside;
  std::vector<pollfd> fds;
  if (!sys::has_epoll) watched = state.watched;
  if (!sys::has_epoll) fds.push_back({state.bell.read, POLLIN, 0});
  for (const Watched& each : watched) {
    const Use& use = inside.emplace_back(each.socket);
    fds.push_back({use ? use->fd : -1, static_cast<short>(each.interest), 0});
  }
  lock.unlock();
  const int n = sys::has_epoll ? sys::epoll_wait(state.epoll.get(), ready, time)
                               : sys::poll(fds.data(), fds.size(), time);
  const std::error_code why = n < 0 ? sys::last_error() : std::error_code();
  for (size_t i = 0; i < watched.size(); ++i)
    ready.push_back({watched[i].id, fds[i + 1].revents});
  return why.value() == EINTR ? std::error_code() : why;
}

// Notes on a socket who watches it, and drops watchers that have gone.
inline void remember(SocketState& s, const std::shared_ptr<PollerState>& me) {
  const std::lock_guard lock(s.guard);
  s.watchers.remove_if([&](const auto& each) {
    const auto watcher = each.lock();
    return !watcher || watcher == me;
  });
  s.watchers.push_back(me);
}
}  // namespace internal

/// A Poller tells one thread which of many sockets are ready, by epoll(7) on
/// Linux, poll(2) elsewhere. Its first use makes two descriptors. In a forked
/// child it watches nothing. Go's is hidden in the runtime.
class Poller {
 public:
  /// Watches nothing yet.
  Poller() : state_(std::make_shared<internal::PollerState>()) {}
  Poller(Poller&&) = delete;
  /// Watches a socket for a sum of `Interest`s, until `unwatch` or close;
  /// watching it again changes interest and key. Dropping your handle does not
  /// close the socket. Does not block; any thread may call it. If a key is a
  /// pointer, what it points to must outlive the next batch of events. Errors:
  /// `closed`, EINVAL, EMFILE and kin, and those of epoll_ctl(2).
  Error watch(const Socket& socket, unsigned interest, uint64_t key = 0) {
    const internal::Use use(socket);
    if (!use) return failure("watch", socket);
    if (interest & ~(readable | writable | hung_up))
      return failure("watch", socket, sys::error(EINVAL));
    remember(*use, state_);
    internal::Watched wanted{interest ? socket : Socket(), interest, key};
    const auto lock = state_->lock();
    // Whoever closes the socket marks it first, then tells its watchers. So
    // either we see the mark here, or they see us, and make us forget.
    if (use->is_closed()) return failure("watch", socket);
    if (state_->need() < 0 || state_->change(*use, wanted) < 0)
      return failure("watch", socket, sys::last_error(), "epoll");
    return {};
  }
  /// Stops watching a socket. Any thread may call it. Errors: as watch.
  Error unwatch(const Socket& socket) { return watch(socket, 0); }
  /// Waits until something that is watched is ready, and returns at least one
  /// event; `timed_out` at the deadline; no event and no error after `wake`. A
  /// socket that stays ready is reported again, but one that is `writable` only
  /// because of close_write just once. An event is a hint: another thread may
  /// have been faster. wait does not look at the sockets' deadlines: pass the
  /// earliest. Nor does it return when another thread closes a watched socket:
  /// that thread may call `wake`. One thread at a time.
  Result<std::vector<Event>> wait(Deadline deadline = no_deadline) {
    for (;;) {
      std::vector<sys::Ready> ready;
      const int time = internal::poll_time(deadline.when());
      if (const auto why = internal::look(*state_, time, ready))
        return Error(why, {"wait", "", "epoll"});
      const auto lock = state_->lock();
      std::vector<Event> events = state_->collect(std::move(ready));
      const bool woken = std::exchange(state_->woken, false);
      if (woken || !events.empty()) return events;
      if (deadline.passed()) return Error(timed_out, {"wait", ""});
    }
  }
  /// Makes the `wait` under way, or else the next one, return. Any thread may
  /// call it. Errors: EMFILE and kin at the first use.
  Error wake() {
    const auto lock = state_->lock();
    if (state_->need() < 0) return {sys::last_error(), {"wake", "", "epoll"}};
    state_->woken = true;
    state_->ring();
    return {};
  }

 private:
  std::shared_ptr<internal::PollerState> state_;
};

/// Reads like read, but returns would_block where that waits, even for a turn.
inline Result<size_t> try_read(const Conn& conn, Buffer buffer) {
  return read(conn, buffer, Mode::once);
}
/// Writes what there is room for, and returns how much; if none, would_block.
inline Result<size_t> try_write(const Conn& conn, Bytes bytes) {
  return write(conn, bytes, Mode::once);
}
/// The same for several pieces, gathered: {a, b}, or a std::vector<Bytes>.
template <class Pieces = std::initializer_list<Bytes>>
auto try_write(const Conn& conn, const Pieces& pieces)
    -> decltype(write(conn, pieces, Mode::once)) {
  return write(conn, pieces, Mode::once);
}
/// Accepts like accept, but returns would_block instead of waiting. If
/// descriptors run short (`temporary()`), the client stays queued and `wait`
/// reports it again at once: unwatch the listener for a while, or you spin.
inline Result<Conn> try_accept(const Listener& listener) {
  return accept(listener, Mode::once);
}
/// Reads a datagram like read_from, but returns would_block instead of waiting.
inline Packet try_read_from(const PacketConn& packets, Buffer buffer) {
  return read_from(packets, buffer, Mode::once);
}
/// Sends a datagram like write_to, but returns would_block instead of waiting.
inline Result<size_t> try_write_to(const PacketConn& packets, Bytes bytes,
                                   const Addr& to) {
  return write_to(packets, bytes, to, Mode::once);
}

}  // namespace NETLITE_NAMESPACE
}  // namespace netlite

// --- Keys of a std::unordered_map -------------------------------------------
// Equal addresses, and handles of the same socket, have equal hashes.

// clang-format off
template <> struct std::hash<netlite::IP> : netlite::internal::Hash {};
template <> struct std::hash<netlite::Prefix> : netlite::internal::Hash {};
template <> struct std::hash<netlite::Addr> : netlite::internal::Hash {};
template <> struct std::hash<netlite::Socket> : netlite::internal::Hash {};
template <> struct std::hash<netlite::Conn> : netlite::internal::Hash {};
template <> struct std::hash<netlite::Listener> : netlite::internal::Hash {};
template <> struct std::hash<netlite::PacketConn> : netlite::internal::Hash {};
// clang-format on

#undef NETLITE_NAMESPACE
#undef NETLITE_VARIANT
#undef NETLITE_LINUX

#endif  // C++17

#endif  // NETLITE_HPP
