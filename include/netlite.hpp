// netlite.hpp - Go's net package told in C++17: sockets in one header.
// SPDX-License-Identifier: MIT
//
// What this is
//
//   Copy this file into your project, include it, compile: nothing to link,
//   nothing to configure. With `namespace net = netlite;` a line such as
//
//     auto [conn, err] = net::dial("tcp", "localhost:9988");
//
//   is the same in Go and in C++. Free functions act on sockets; errors are
//   values that tell the whole story; nothing throws unless you ask (`must`).
//
// How to read it
//
//   The interface comes first and the machine second, in the same order:
//   errors, addresses and names, connections, listeners, packets, unix
//   extras, helpers, concurrency, poller. Between them stands netlite::sys:
//   one small function per BSD call, named after its man page. It is the only
//   place that touches the kernel and the only one with #if.
//
//   Three ideas carry everything else; look for them under "Connections" in
//   the machine:
//     1. A handle is shared. A socket counts the calls inside it, so its
//        descriptor is released only when the last of them has left.
//     2. Every call that may block is tried, and waits until it is worth
//        trying, in one single place: internal::attempt, internal::wait.
//     3. A thread that waits can be kicked: by close, and by a deadline that
//        somebody moved.

#ifndef NETLITE_HPP
#define NETLITE_HPP

#define NETLITE_VERSION_MAJOR 0
#define NETLITE_VERSION_MINOR 1
#define NETLITE_VERSION_PATCH 0

// ---------------------------------------------------------------------------
// Headers and platform
//
// Two macros are yours to define, for the compiler (-D...), not in the code:
//   NETLITE_TRACE     compiles in the trace of every BSD call; it then runs
//                     when the environment has NETLITE_TRACE=1 or =FILE.
//   NETLITE_PORTABLE  uses the portable half of netlite::sys on Linux too; for
//                     all files of a program or none, as -fno-exceptions is.
// (std::min and std::max come with <string> in every known library; <algorithm>
// would add a tenth to the time that this header takes to compile.)

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
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

// Functions live in an inline namespace named after the build. A traced and
// an untraced translation unit thus never share a function body, as the one
// definition rule demands, while the types - your Conn - are the same in both.
#ifdef NETLITE_TRACE
#define NETLITE_BUILD traced
#else
#define NETLITE_BUILD untraced
#endif

/// Go's net package told in C++17.
namespace netlite {

// ---------------------------------------------------------------------------
// Errors

class Addr;

namespace internal {
struct Story;
struct Socket;
struct Access;

// What an Error can be compared with, beside another one.
template <class T>
using if_cause = std::enable_if_t<std::is_error_code_enum<T>::value ||
                                      std::is_error_condition_enum<T>::value ||
                                      std::is_same_v<T, std::error_code> ||
                                      std::is_same_v<T, std::error_condition>,
                                  int>;
}  // namespace internal

/// The conditions that netlite itself reports, as values of `category()`.
/// Compare an Error with them: `err == netlite::eof`.
enum Errc {
  eof = 1,          ///< the peer ended its stream; Go's `io.EOF`
  unexpected_eof,   ///< the stream ended in the middle of what was asked for
  closed,           ///< this side has closed the socket; Go's `net.ErrClosed`
  timed_out,        ///< the deadline has passed; `os.ErrDeadlineExceeded`
  would_block,      ///< a `try_` call would have to wait
  truncated,        ///< a message was cut to the buffer
  limit_exceeded,   ///< a line or stream is longer than its limit
  task_failed,      ///< an exception ended a task of a Group
  no_descriptor,    ///< a message came without a descriptor
  unknown_network,  ///< not one of tcp, tcp4, tcp6, udp, ..., unixpacket
  missing_address,  ///< dial needs an address
  missing_port,     ///< "host" where "host:port" is needed
  too_many_colons,  ///< "::1:80"; an IPv6 address stands in brackets
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
  write_to_connected,        ///< write_to on a socket that has its one peer
};

/// What the resolver said, as values of `resolver_category()`. The other
/// values of that category are the EAI_... numbers of getaddrinfo(3).
enum ResolverErrc {
  no_such_host = EAI_NONAME,  ///< the name does not exist
};

}  // namespace netlite

template <>
struct std::is_error_code_enum<netlite::Errc> : std::true_type {};
template <>
struct std::is_error_code_enum<netlite::ResolverErrc> : std::true_type {};

namespace netlite {

/// The category of `Errc`, named "netlite".
const std::error_category& category() noexcept;
/// The category of resolver failures, named "resolver".
const std::error_category& resolver_category() noexcept;

/// Makes `std::error_code code = netlite::eof;` work.
inline std::error_code make_error_code(Errc code) noexcept {
  return {code, category()};
}
/// Makes `std::error_code code = netlite::no_such_host;` work.
inline std::error_code make_error_code(ResolverErrc code) noexcept {
  return {code, resolver_category()};
}

/// An Error tells the whole story of a call that failed: operation, network,
/// both ends, cause. It is nil - false, `if (err)` - when all went well.
///
/// Errors are values: copy them, keep them, compare them. A nil error and
/// `eof` allocate nothing. Go counterpart: `error`, mostly `*net.OpError`.
class Error {
 public:
  /// A nil error: nothing went wrong.
  Error() noexcept = default;
  /// An error that is only its cause, as `eof` is.
  Error(std::error_code code) noexcept : code_(code) {}
  /// The same for a condition, `return netlite::closed;`, or for any other
  /// enum that is registered as an error code.
  template <class Code,
            std::enable_if_t<std::is_error_code_enum_v<Code>, int> = 0>
  Error(Code code) noexcept : code_(code) {}
  /// An error with its story, as netlite's own calls make it.
  Error(std::error_code code, internal::Story story);

  /// True when something went wrong.
  explicit operator bool() const noexcept { return bool(code_); }
  /// The cause: a value of `category()`, of `resolver_category()`, or an
  /// errno in `std::system_category()`.
  const std::error_code& code() const noexcept { return code_; }
  /// The whole story in Go's words, such as
  /// `dial tcp 127.0.0.1:9988: connect: connection refused`; "" when nil.
  std::string message() const;

  /// What was asked for: "dial", "read", "accept" ...; "" when unknown.
  const std::string& op() const noexcept;
  /// The network as the caller named it, such as "tcp4"; "" when unknown.
  const std::string& network() const noexcept;
  /// This end, where it is known.
  const Addr& local() const noexcept;
  /// The other end, where it is known.
  const Addr& remote() const noexcept;
  /// What the cause is about: "connect", "lookup x"; "" when it needs none.
  const std::string& subject() const noexcept;

  /// True when time ran out: a deadline, ETIMEDOUT, EAGAIN. Go: `Timeout()`.
  bool timeout() const noexcept;
  /// True when the same call may succeed later: time ran out, or the machine
  /// is short of descriptors or memory. Go: `Temporary()`.
  bool temporary() const noexcept;

  /// Same cause? The stories may differ.
  friend bool operator==(const Error& a, const Error& b) noexcept {
    return a.code_ == b.code_;
  }
  /// Same cause - `err == netlite::eof`, or a code - or same kind of cause,
  /// `err == std::errc::connection_refused`?
  template <class Cause, internal::if_cause<Cause> = 0>
  friend bool operator==(const Error& err, const Cause& cause) noexcept {
    return err.code_ == cause;
  }
  /// The opposite.
  template <class Cause>
  friend auto operator!=(const Error& err, const Cause& cause) noexcept
      -> decltype(!(err == cause)) {
    return !(err == cause);
  }
  /// Prints `err.message()`.
  template <class Traits>
  friend std::basic_ostream<char, Traits>& operator<<(
      std::basic_ostream<char, Traits>& out, const Error& err) {
    return out << err.message();
  }

 private:
  const internal::Story& story() const noexcept;

  std::error_code code_;
  std::shared_ptr<const internal::Story> story_;
};

/// What a call gives, always together with an Error:
/// `auto [conn, err] = net::dial("tcp", "localhost:9988");`
template <class T>
struct [[nodiscard]] Result {
  T value{};      ///< meaningful when there is no error, or as the call says
  Error error{};  ///< nil when all went well
};

/// What `must` throws; its `what()` is the error's message.
struct Failure : std::runtime_error {
  /// Makes the exception of an error.
  explicit Failure(const Error& err)
      : std::runtime_error(err.message()), error(err) {}
  Error error;  ///< the whole story
};

/// Does nothing for a nil error, or throws a Failure that carries it. Where
/// exceptions are off it prints the message and aborts. Made for small
/// programs and tests.
void must(const Error& err);
/// Gives the value of a result, or throws likewise:
/// `auto conn = net::must(net::dial("tcp", address));`
template <class T>
T must(Result<T> result) {
  must(result.error);
  return std::move(result.value);
}

// ---------------------------------------------------------------------------
// Addresses and names

/// An IP is an IPv4 or IPv6 address, or nothing (default-constructed). The
/// classes count an IPv4-mapped address (RFC 4291, 2.5.5.2) as IPv4. Go:
/// `net.IP`, `netip.Addr`.
class IP {
 public:
  /// No address.
  IP() = default;
  /// An address of `size` bytes, 4 or 16, in network order; another size
  /// makes the empty IP. `zone` names the interface of a link-local address;
  /// IPv4 has none.
  IP(const unsigned char* bytes, std::size_t size, std::string_view zone = {});

  /// True for anything but the empty IP.
  explicit operator bool() const noexcept { return size_ != 0; }
  /// Four bytes?
  bool is4() const noexcept { return size_ == 4; }
  /// Sixteen bytes?
  bool is6() const noexcept { return size_ == 16; }
  /// An IPv4-mapped address, IPv4 in IPv6 clothes?
  bool is4_in_6() const noexcept;
  /// 0.0.0.0 or ::, which mean "any address of this machine"?
  bool is_unspecified() const noexcept;
  /// 127.0.0.0/8 or ::1, this machine itself?
  bool is_loopback() const noexcept;
  /// 10/8, 172.16/12, 192.168/16 (RFC 1918) or fc00::/7 (RFC 4193)?
  bool is_private() const noexcept;
  /// 224.0.0.0/4 or ff00::/8, a group?
  bool is_multicast() const noexcept;
  /// 169.254.0.0/16 or fe80::/10, good on one link only?
  bool is_link_local_unicast() const noexcept;
  /// 224.0.0.0/24 or ff02::/16 and kin?
  bool is_link_local_multicast() const noexcept;
  /// ff01::/16 and kin?
  bool is_interface_local_multicast() const noexcept;
  /// Any unicast address but the above (private ones included) and
  /// 255.255.255.255?
  bool is_global_unicast() const noexcept;

  /// The bytes in network order; `size()` of them.
  const unsigned char* data() const noexcept { return bytes_; }
  /// 0, 4 or 16 bytes.
  std::size_t size() const noexcept { return size_; }
  /// The interface of a link-local IPv6 address, "eth0" in fe80::1%eth0.
  const std::string& zone() const noexcept { return zone_; }
  /// The IPv4 address inside an IPv4-mapped one; any other as it is.
  IP unmap() const { return is4_in_6() ? IP(bytes_ + 12, 4) : *this; }
  /// The shortest text (RFC 5952 for IPv6); "" for the empty IP.
  std::string string() const;

  /// Same bytes, same zone? (An IPv4 address and its mapped form are two.)
  friend bool operator==(const IP& a, const IP& b) noexcept {
    return a.size_ == b.size_ && std::memcmp(a.bytes_, b.bytes_, 16) == 0 &&
           a.zone_ == b.zone_;
  }
  /// The opposite.
  friend bool operator!=(const IP& a, const IP& b) noexcept {
    return !(a == b);
  }

 private:
  bool starts(std::size_t size, const char* bytes, int bits) const noexcept;

  unsigned char bytes_[16] = {};
  std::uint8_t size_ = 0;
  std::string zone_;
};

/// A Prefix is a block of addresses, "192.168.0.0/16". Go: `net.IPNet`,
/// `netip.Prefix`.
class Prefix {
 public:
  /// No block.
  Prefix() = default;
  /// The block of the addresses that share the first `bits` bits of `ip`;
  /// no block when it does not have so many.
  Prefix(IP ip, int bits);
  /// The address as it was written, with all its bits.
  const IP& ip() const noexcept { return ip_; }
  /// How many leading bits the block's addresses share: 0 to 32 or 128.
  int bits() const noexcept { return bits_; }
  /// The block's first address: the other bits are zero.
  IP masked() const;
  /// Is this address, of the same family, in the block?
  bool contains(const IP& ip) const;
  /// The block as text, "192.168.0.0/16"; "" for no block.
  std::string string() const {
    return ip_ ? masked().string() + "/" + std::to_string(bits_) : "";
  }

 private:
  IP ip_;
  int bits_ = 0;
};

/// An Addr is one end of a connection: IP and port, or a unix socket's name.
/// Go: `net.Addr` (`*net.TCPAddr`, `*net.UDPAddr`, `*net.UnixAddr`).
class Addr {
 public:
  /// No address at all.
  Addr() = default;
  /// An address of "tcp" or "udp".
  Addr(std::string_view network, IP ip, std::uint16_t port);
  /// An address of "unix", "unixgram" or "unixpacket": a file's path, or an
  /// abstract name written "@name" (Linux).
  Addr(std::string_view network, std::string_view path);

  /// True when there is an address.
  explicit operator bool() const noexcept { return !network_.empty(); }
  /// "tcp", "udp", "unix", "unixgram", "unixpacket" or "pipe".
  std::string_view network() const noexcept { return network_; }
  /// The IP; empty for a unix socket, and where none was named.
  const IP& ip() const noexcept { return ip_; }
  /// The port, 0 to 65535, in the machine's own byte order.
  std::uint16_t port() const noexcept { return port_; }
  /// The unix socket's path or "@name"; "@" alone when it has no name.
  const std::string& path() const noexcept { return path_; }
  /// True for a unix socket without a name: nobody can dial or answer it.
  bool unnamed() const noexcept { return path_ == "@"; }
  /// "127.0.0.1:80", "[::1]:80", "/tmp/s.sock", "@name".
  std::string string() const;

  /// Same network, same place?
  friend bool operator==(const Addr& a, const Addr& b) noexcept {
    return a.network_ == b.network_ && a.ip_ == b.ip_ && a.port_ == b.port_ &&
           a.path_ == b.path_;
  }
  /// The opposite.
  friend bool operator!=(const Addr& a, const Addr& b) noexcept {
    return !(a == b);
  }
  /// Prints `addr.string()`.
  template <class Traits>
  friend std::basic_ostream<char, Traits>& operator<<(
      std::basic_ostream<char, Traits>& out, const Addr& addr) {
    return out << addr.string();
  }

 private:
  std::string_view network_;  // points to a literal of `internal::networks`
  IP ip_;
  std::uint16_t port_ = 0;
  std::string path_;
};

/// A Deadline is a point on the steady clock. A duration means "from now":
/// zero or less has passed already, and one past the clock's end (292 years)
/// never comes. Signals, partial progress and changes of the wall clock do not
/// move it; it never fires early.
class Deadline {
 public:
  /// The clock that never jumps.
  using Clock = std::chrono::steady_clock;

  /// At this point in time.
  constexpr Deadline(Clock::time_point when) : when_(when) {}
  /// The same, counted in other units.
  template <class Duration>
  Deadline(std::chrono::time_point<Clock, Duration> when);
  /// So long from now.
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now);

  /// The point in time.
  constexpr Clock::time_point when() const { return when_; }
  /// Is it no_deadline?
  constexpr bool never() const { return when_ == Clock::time_point::max(); }
  /// Is it now or past?
  bool passed() const { return !never() && Clock::now() >= when_; }

 private:
  Clock::time_point when_;
};

/// The deadline that never comes; clears one that was set.
inline constexpr Deadline no_deadline{Deadline::Clock::time_point::max()};

/// What `split_host_port` gives: `auto [host, port, err] = ...`.
struct [[nodiscard]] HostPort {
  std::string host;  ///< without brackets
  std::string port;  ///< a number or a service's name, as it was written
  Error error{};     ///< nil when the address could be split
};

/// A network interface of this machine. Go: `net.Interface`.
struct Interface {
  unsigned index = 0;           ///< counts from 1
  std::string name;             ///< "lo", "eth0"
  unsigned flags = 0;           ///< IFF_UP, IFF_LOOPBACK ... of netdevice(7)
  std::vector<Prefix> addrs{};  ///< each with its network's prefix length
};

/// Splits "host:port", "[host]:port" or "[ipv6%zone]:port" without looking at
/// what the two are. Does not block. Errors: missing_port, too_many_colons,
/// missing_bracket, unexpected_..._bracket. Go: `net.SplitHostPort`.
HostPort split_host_port(std::string_view address);

/// Joins host and port to "host:port", or "[host]:port" when the host has a
/// colon. Go: `net.JoinHostPort`.
std::string join_host_port(std::string_view host, std::string_view port);

/// Reads an IP address: IPv4 as four decimal numbers without leading zeros,
/// IPv6 as in RFC 4291, with an optional %zone. Does not block. Error:
/// invalid_ip. Stricter than inet_addr(3), which takes "127.1" and "010.0.0.1".
/// Go: `netip.ParseAddr`.
Result<IP> parse_ip(std::string_view text);

/// Reads a prefix in CIDR notation, "10.0.0.1/8" (RFC 4632). Does not block.
/// Error: invalid_prefix. Go: `net.ParseCIDR`.
Result<Prefix> parse_prefix(std::string_view text);

inline namespace NETLITE_BUILD {

/// Finds the port of a service, "http" or "8080", for "tcp", "udp" and kin;
/// "" is port 0. Knows a few names by heart and asks services(5) for the rest.
/// Errors: invalid_port (not in 0..65535), unknown_port, unknown_network.
/// Go: `net.LookupPort`.
Result<int> lookup_port(std::string_view network, std::string_view service);

/// Resolves an address to the one that `listen` would take: of several, the
/// first IPv4 address. Blocks while the resolver looks up a name. Errors: the
/// resolver's, those of a bad address, timed_out. Go: `net.ResolveTCPAddr`
/// and its siblings.
Result<Addr> resolve(std::string_view network, std::string_view address,
                     Deadline deadline = no_deadline);

/// Finds all addresses of a host, in the order to try them (RFC 6724).
/// Blocks in getaddrinfo(3), until the deadline; a name that DNS cannot know,
/// "127.1", is refused at once. Error: no_such_host, other resolver errors,
/// timed_out. Go: `net.LookupHost`.
Result<std::vector<std::string>> lookup_host(std::string_view host,
                                             Deadline deadline = no_deadline);

/// Finds the names of an IP address. Blocks in getnameinfo(3), until the
/// deadline. Errors as lookup_host, and invalid_ip. Go: `net.LookupAddr`.
Result<std::vector<std::string>> lookup_addr(std::string_view ip,
                                             Deadline deadline = no_deadline);

/// Finds the canonical name of a host, at the end of its aliases. Blocks and
/// fails as lookup_host; an IP address has none: no_such_host. Go:
/// `net.LookupCNAME`.
Result<std::string> lookup_cname(std::string_view host,
                                 Deadline deadline = no_deadline);

/// Lists the network interfaces with their addresses, getifaddrs(3). Does not
/// block. Go: `net.Interfaces`.
Result<std::vector<Interface>> interfaces();

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Connections

/// What Conn and Listener have in common: a Handle refers to a socket, and
/// copies of it refer to the same one. The last copy closes it - what Go
/// programs write as `defer conn.Close()`. All calls on one handle may come
/// from any thread. A default-constructed handle refers to nothing; calls on
/// it give `closed`. After fork(2), use a handle in one of the processes only.
class Handle {
 public:
  /// Refers to nothing.
  Handle() = default;
  /// True when it refers to a socket, be it open or closed.
  explicit operator bool() const noexcept { return bool(socket_); }
  /// Same socket?
  friend bool operator==(const Handle& a, const Handle& b) noexcept {
    return a.socket_ == b.socket_;
  }
  /// The opposite.
  friend bool operator!=(const Handle& a, const Handle& b) noexcept {
    return !(a == b);
  }
  /// Some order, so that a std::map or std::set may have handles as keys.
  friend bool operator<(const Handle& a, const Handle& b) noexcept {
    return a.socket_ < b.socket_;
  }

 private:
  friend struct internal::Access;
  std::shared_ptr<internal::Socket> socket_;
};

/// One end of a connection. Go counterpart: `net.Conn`.
class Conn : public Handle {
 public:
  /// Refers to nothing.
  Conn() = default;
  /// A handle, as an Event has one, for what it is.
  explicit Conn(Handle handle) : Handle(std::move(handle)) {}
};

/// What waits for connections. Go counterpart: `net.Listener`.
class Listener : public Handle {
 public:
  /// Refers to nothing.
  Listener() = default;
  /// A handle, as an Event has one, for what it is.
  explicit Listener(Handle handle) : Handle(std::move(handle)) {}
};

/// A socket for datagrams: it hears from anybody, and each datagram names its
/// sender. Go counterpart: `net.PacketConn`.
class PacketConn : public Conn {
 public:
  /// Refers to nothing.
  PacketConn() = default;
  /// A handle, as an Event has one, for what it is.
  explicit PacketConn(Handle handle) : Conn(std::move(handle)) {}
};

namespace internal {

template <class T>
inline constexpr bool is_byte =
    std::is_same_v<T, char> || std::is_same_v<T, signed char> ||
    std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>;

// What data() of a container points to; void when there is no such thing.
template <class C, class = void>
struct Element {
  using type = void;
};
template <class C>
struct Element<C, std::void_t<decltype(std::declval<C&>().data()),
                              decltype(std::declval<C&>().size())>> {
  using type = std::remove_pointer_t<decltype(std::declval<C&>().data())>;
};

template <class T>
inline constexpr bool is_text =
    std::is_convertible_v<const T&, std::string_view> && !std::is_array_v<T> &&
    !std::is_null_pointer_v<T>;

// A function of the user's, kept. (std::function would do the same; its
// header alone costs a quarter of the compile time of this one.)
template <class R, class A>
class Callback {
 public:
  Callback() = default;
  template <class F, std::enable_if_t<std::is_invocable_v<F&, A>, int> = 0>
  Callback(F f) {
    // A pointer or std::function that holds nothing is no function.
    if constexpr (std::is_constructible_v<F, std::nullptr_t> &&
                  std::is_constructible_v<bool, F&>)
      if (!f) return;
    state_ = std::make_shared<F>(std::move(f));
    call_ = [](void* state, A a) -> R {
      // R may be void: what f returns is dropped then.
      return static_cast<R>((*static_cast<F*>(state))(a));
    };
  }
  // False also for one that was moved from.
  explicit operator bool() const { return bool(state_); }
  R operator()(A a) const { return call_(state_.get(), a); }

 private:
  std::shared_ptr<void> state_;
  R (*call_)(void*, A) = nullptr;
};

}  // namespace internal

/// The bytes to write: text (whatever std::string_view takes), a container or
/// array of bytes, or pointer and size. A view: it owns nothing.
class Bytes {
 public:
  /// No bytes.
  Bytes() = default;
  /// `size` bytes at `data`.
  Bytes(const void* data, std::size_t size) : data_(data), size_(size) {}
  /// A C string, without its NUL; an array that has none is written whole.
  template <std::size_t N>
  Bytes(const char (&text)[N]) : Bytes(text, ::strnlen(text, N)) {}
  /// Text, NULs included.
  Bytes(std::string_view text) : Bytes(text.data(), text.size()) {}
  /// std::string, const char* and whatever else converts to std::string_view.
  template <class T, std::enable_if_t<internal::is_text<T>, int> = 0>
  Bytes(const T& text) : Bytes(std::string_view(text)) {}
  /// std::vector, std::array, std::span of bytes.
  template <class C, std::enable_if_t<
                         !internal::is_text<C> &&
                             internal::is_byte<std::remove_cv_t<
                                 typename internal::Element<const C>::type>>,
                         int> = 0>
  Bytes(const C& container) : Bytes(container.data(), container.size()) {}
  /// unsigned char[N], std::byte[N]: all of it.
  template <class T, std::size_t N,
            std::enable_if_t<internal::is_byte<std::remove_cv_t<T>> &&
                                 !std::is_same_v<std::remove_cv_t<T>, char>,
                             int> = 0>
  Bytes(T (&array)[N]) : Bytes(array, N) {}
  /// char buffer[1024] does not know how many of its bytes were filled.
  template <std::size_t N>
  Bytes(char (&)[N]) {
    static_assert(N == 0,
                  "How much of this char array shall be written? "
                  "Say write(conn, {buffer, n}), or pass a string.");
  }

  /// Where they are.
  const char* data() const { return static_cast<const char*>(data_); }
  /// How many they are.
  std::size_t size() const { return size_; }

 private:
  const void* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The room to read into: an array or container of bytes - its size decides,
/// it never grows - or pointer and size.
class Buffer {
 public:
  /// `size` bytes at `data`.
  Buffer(void* data, std::size_t size) : data_(data), size_(size) {}
  /// char[N], unsigned char[N], std::byte[N]: all of it.
  template <class T, std::size_t N,
            std::enable_if_t<internal::is_byte<T>, int> = 0>
  Buffer(T (&array)[N]) : Buffer(array, N) {}
  /// std::array, std::vector, std::string, std::span: all of it.
  template <class C, std::enable_if_t<
                         internal::is_byte<typename internal::Element<C>::type>,
                         int> = 0>
  Buffer(C&& container) : Buffer(container.data(), container.size()) {}

  /// Where the room is.
  char* data() const { return static_cast<char*>(data_); }
  /// How many bytes it takes.
  std::size_t size() const { return size_; }

 private:
  void* data_;
  std::size_t size_;
};

/// Sees a descriptor after socket(2), before bind(2) and connect(2), to set
/// options early; an error ends the attempt. Go: `Dialer.Control`.
using Control = internal::Callback<Error, int>;

/// How to dial; the defaults are Go's. C++20 writes `{.timeout = 2s}`.
/// Go counterpart: `net.Dialer`.
struct DialOptions {
  /// For the whole dial, look-up included. 0: none; negative: passed already.
  std::chrono::nanoseconds timeout{0};
  /// The same as a point in time; the earlier of the two counts.
  Deadline deadline = no_deadline;
  /// The address of this end; none: the system chooses. A unix one with an
  /// empty path: Linux makes up an abstract name, at which this end can be
  /// answered (Go gives it none).
  Addr local{};
  /// How long the second address family waits for the first when a name has
  /// both (RFC 8305). 0: 300 ms; negative: one after the other.
  std::chrono::nanoseconds fallback_delay{0};
  /// Idle time and interval of TCP's keep-alive probes, rounded up to whole
  /// seconds. 0: 15 s; negative: no probes.
  std::chrono::nanoseconds keep_alive{0};
  /// False lets TCP hold back small writes (Nagle's algorithm, RFC 896).
  bool no_delay = true;
  Control control{};  ///< sets options before bind and connect
};

/// How to listen; the defaults are Go's. Go: `net.ListenConfig`.
struct ListenOptions {
  /// How many connections may wait for accept. 0: as many as the system
  /// allows (Linux: net.core.somaxconn).
  int backlog = 0;
  /// Lets other sockets share the port (SO_REUSEPORT).
  bool reuse_port = false;
  /// As in DialOptions, for the connections that are accepted.
  std::chrono::nanoseconds keep_alive{0};
  /// File mode of a unix socket, such as 0600; negative: as umask(2) says.
  int mode = -1;
  /// Replaces a unix socket's file that nobody listens on any more. Never
  /// removes anything but a socket, nor one that answers.
  bool replace_stale = false;
  Control control{};  ///< sets options before bind and connect
};

/// What `pipe` gives: `auto [a, b, err] = net::pipe();`.
struct [[nodiscard]] Pipe {
  Conn first;     ///< one end
  Conn second;    ///< the other
  Error error{};  ///< nil when there are two
};

inline namespace NETLITE_BUILD {

/// Connects to an address. `network` is tcp, tcp4, tcp6, udp, udp4, udp6,
/// unix, unixgram or unixpacket; `address` is "host:port", or a path or
/// "@name" for unix. Blocks until connected, refused, or the deadline of the
/// options.
///
/// A name may have several addresses: they are tried in turn, and the second
/// family gets its chance after 300 ms or when the first has failed (RFC
/// 8305); when all fail, the first error is told. An empty host means this
/// machine: 127.0.0.1, or ::1 for tcp6 and udp6. Never returns a connection to
/// itself. Errors: those of connect(2), timed_out, the resolver's, and those of
/// a bad address. Go: `net.Dial`, `Dialer.Dial`.
Result<Conn> dial(std::string_view network, std::string_view address,
                  const DialOptions& options = {});

/// Dials within a time limit, look-up included. 0: no limit; negative: passed
/// already. Go: `net.DialTimeout`.
template <class Rep, class Period>
Result<Conn> dial_timeout(std::string_view network, std::string_view address,
                          std::chrono::duration<Rep, Period> timeout);

/// Makes two connected ends within this process: socketpair(2). Bytes written
/// to one are read from the other. Errors: EMFILE and kin. Go: `net.Pipe`,
/// except that the kernel buffers here, so a write need not wait for the read.
Pipe pipe();

/// Reads what is there, at least one byte, at most the buffer. Blocks until
/// there is something. Returns the count; `eof` after the last byte, and
/// again each time; `closed`, `timed_out`, or what recv(2) says. Of a datagram
/// or unixpacket socket reads one message - 0 is an empty datagram - and
/// gives `truncated` when it did not fit. An empty buffer gives 0 at once.
/// Go: `Conn.Read`.
Result<std::size_t> read(const Conn& conn, Buffer buffer);

/// Reads until the buffer is full. Errors as read; the count is what was read
/// before. A stream that ends before the first byte gives `eof`, one that
/// ends later `unexpected_eof`. Go: `io.ReadFull`.
Result<std::size_t> read_full(const Conn& conn, Buffer buffer);

/// Writes all the bytes, in one piece even when other threads write too.
/// Blocks until the kernel has taken them (not: until the peer has read them).
/// With an error, the count says how many it took: `closed`, `timed_out`, or
/// what send(2) says, EPIPE when the peer has gone. Never raises SIGPIPE. No
/// bytes are written to a stream without asking it: 0 even when the peer has
/// gone (Go: EPIPE). On a datagram or unixpacket socket sends one message. Go:
/// `Conn.Write`.
Result<std::size_t> write(const Conn& conn, Bytes bytes);

/// The same for `size` bytes at `data`.
inline Result<std::size_t> write(const Conn& conn, const void* data,
                                 std::size_t size) {
  return write(conn, Bytes(data, size));
}

/// Gathers several pieces into one write, `write(conn, {head, body})`, with
/// sendmsg(2). Go: `net.Buffers`.
Result<std::size_t> write(const Conn& conn,
                          std::initializer_list<Bytes> pieces);

/// Closes the socket for all its handles. Wakes every call that is blocked on
/// it with `closed`; the descriptor is released when the last of them has
/// left. Written bytes still reach the peer; unread ones make the peer see a
/// reset (RFC 1122, 4.2.2.13). Does not block, except for whoever leaves last
/// where SO_LINGER is set. A second close gives `closed`. Go: `Conn.Close`,
/// `Listener.Close`.
Error close(const Handle& handle);

/// Ends what we read: a blocked read gets `eof`. shutdown(2), SHUT_RD. Errors:
/// `closed`, ENOTCONN when the connection is over. Go: `TCPConn.CloseRead`.
Error close_read(const Conn& conn);

/// Ends what we write: the peer reads `eof` after the last byte, and may go on
/// writing. shutdown(2), SHUT_WR. Errors as close_read. Go:
/// `TCPConn.CloseWrite`.
Error close_write(const Conn& conn);

/// The address of this end; stays valid after close. Go: `LocalAddr`.
const Addr& local_addr(const Handle& handle);

/// The address of the other end; stays valid after close. Empty for a
/// PacketConn, which has no one peer. Go: `RemoteAddr`.
const Addr& remote_addr(const Conn& conn);

/// Sets the deadline of all reads and writes (on a Listener: of accept), now
/// and later, also of calls that are blocked already. A call that finds it
/// passed gives `timed_out`, even when data waits; move or clear it
/// (`no_deadline`), and the connection works on. Does not block. Error:
/// `closed`. Go: `SetDeadline`.
Error set_deadline(const Handle& handle, Deadline deadline);
/// The same for reads and accept only. Go: `SetReadDeadline`.
Error set_read_deadline(const Handle& handle, Deadline deadline);
/// The same for writes only. Go: `SetWriteDeadline`.
Error set_write_deadline(const Handle& handle, Deadline deadline);

/// Sends small writes at once (the default), or lets TCP hold them back while
/// earlier ones are under way (Nagle). TCP_NODELAY. Errors of this and all
/// other options: `closed`, or what setsockopt(2) says, EINVAL for a number
/// that makes no sense. Go: `SetNoDelay`.
Error set_no_delay(const Conn& conn, bool on);

/// Probes a silent peer after `idle`, then every `interval`, and gives up
/// after `count` probes (0: the system's number, 9 on Linux); durations are
/// rounded up to seconds, and one that is not positive turns the probes off.
/// tcp(7). Go: `SetKeepAliveConfig`.
Error set_keep_alive(const Conn& conn, std::chrono::nanoseconds idle,
                     std::chrono::nanoseconds interval, int count = 0);

/// What close does with bytes that were written but not yet sent. Negative
/// (the default): returns at once, the system goes on sending. 0: throws them
/// away and resets the connection. Positive: close blocks for so many seconds
/// while they are sent. SO_LINGER, socket(7). Go: `SetLinger`.
Error set_linger(const Conn& conn, int seconds);

/// Asks for a receive buffer of so many bytes; Linux doubles the number for
/// its book-keeping. SO_RCVBUF. Go: `SetReadBuffer`.
Error set_read_buffer(const Handle& handle, int bytes);
/// Asks for a send buffer of so many bytes. SO_SNDBUF. Go: `SetWriteBuffer`.
Error set_write_buffer(const Handle& handle, int bytes);

/// Sets any other option: setsockopt(2).
template <class T>
Error set_option(const Handle& handle, int level, int name, const T& value);
/// Asks for any option: getsockopt(2), `get_option<int>(conn, level, name)`.
template <class T>
Result<T> get_option(const Handle& handle, int level, int name);

/// The descriptor, for calls that netlite does not have; it stays netlite's
/// and is good until close. -1 when closed. Go: `SyscallConn`.
int native_handle(const Handle& handle);

/// A second descriptor of the same socket (close-on-exec, non-blocking), for
/// the caller to close. The peer sees the end only when both are closed.
/// dup(2). Go: `TCPConn.File`.
Result<int> duplicate(const Handle& handle);

/// Makes a Conn of a connected descriptor, which belongs to it from then on;
/// with an error it stays the caller's. It becomes close-on-exec, and, for all
/// who share it, such as a parent process, non-blocking and without delay as
/// `set_no_delay` says. Errors: ENOTSOCK, ENOTCONN and kin,
/// unexpected_address_type. Go: `net.FileConn`.
Result<Conn> conn_from(int descriptor);
/// The same for a listening descriptor; what it accepts also gets the default
/// keep-alive. Go: `net.FileListener`.
Result<Listener> listener_from(int descriptor);
/// The same for a datagram descriptor. Go: `net.FilePacketConn`.
Result<PacketConn> packet_conn_from(int descriptor);

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Listeners

inline namespace NETLITE_BUILD {

/// Opens a socket that waits for connections. `network` is tcp, tcp4, tcp6,
/// unix or unixpacket. An empty host serves IPv6 and IPv4 alike; port 0 lets
/// the system choose: ask `addr(listener)`. A unix listener makes the file
/// and, when closed, removes it if it is still its own. Does not block unless
/// the host is a name. Errors: those of bind(2) - EADDRINUSE when somebody
/// listens there - and those of a bad address. Go: `net.Listen`,
/// `ListenConfig.Listen`.
Result<Listener> listen(std::string_view network, std::string_view address,
                        const ListenOptions& options = {});

/// Waits for the next connection. Blocks until there is one. One client's
/// misfortune (ECONNABORTED and kin) is no error, the wait goes on; a machine
/// short of descriptors (EMFILE and kin) is: `temporary()`, and the client
/// stays queued. Several threads may accept. Go: `Listener.Accept`.
Result<Conn> accept(const Listener& listener);

/// The address the listener has, with the real port when 0 was asked for.
/// Go: `Listener.Addr`.
inline const Addr& addr(const Listener& listener) {
  return local_addr(listener);
}

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Packets

/// What `read_from` gives: `auto [n, from, err] = net::read_from(...)`.
struct [[nodiscard]] Packet {
  std::size_t size = 0;  ///< how many bytes came
  Addr from;             ///< who sent them
  Error error{};         ///< nil when all of them fitted
};

inline namespace NETLITE_BUILD {

/// Opens a datagram socket. `network` is udp, udp4, udp6 or unixgram. An empty
/// host hears both families. A multicast address opens its port for sharing;
/// join the group next. A unixgram socket's file stays after close. Errors as
/// listen. Go: `net.ListenPacket`, `net.ListenMulticastUDP`.
Result<PacketConn> listen_packet(std::string_view network,
                                 std::string_view address,
                                 const ListenOptions& options = {});

/// Reads one datagram and tells who sent it (nobody: a unixgram sender without
/// a name). Blocks until one comes. `truncated` when it was longer than the
/// buffer: the rest is gone. An empty datagram has size 0. Errors as read.
/// recvfrom(2). Go: `ReadFrom`.
Packet read_from(const Conn& packets, Buffer buffer);

/// Sends one datagram, whole or not at all: EMSGSIZE when it is too long
/// (UDP over IPv4: above 65,507 bytes). A UDP peer that has gone is no error.
/// write_to_connected on a socket that was dialled. sendto(2). Go: `WriteTo`.
Result<std::size_t> write_to(const Conn& packets, Bytes bytes, const Addr& to);

/// Joins a multicast group, on the named interface or on one that the system
/// chooses. ip(7), ipv6(7), RFC 3678. Errors of this and the next: ENODEV for
/// an unknown interface, EADDRINUSE when joined already, EADDRNOTAVAIL when
/// not joined, EINVAL, no_suitable_address for a group of the other family.
/// Go: `ipv4.PacketConn.JoinGroup`.
Error join_group(const Conn& packets, const IP& group,
                 const std::string& interface_name = "");
/// Leaves a multicast group again. Go: `ipv4.PacketConn.LeaveGroup`.
Error leave_group(const Conn& packets, const IP& group,
                  const std::string& interface_name = "");
/// How many routers a multicast datagram may pass: 0 (this machine) to 255.
/// Go: `ipv4.PacketConn.SetMulticastTTL`.
Error set_multicast_ttl(const Conn& packets, int hops);
/// Whether this machine hears its own multicast datagrams (the default).
/// Go: `ipv4.PacketConn.SetMulticastLoopback`.
Error set_multicast_loopback(const Conn& packets, bool on);
/// The interface that multicast datagrams leave by. Error: ENODEV.
/// Go: `ipv4.PacketConn.SetMulticastInterface`.
Error set_multicast_interface(const Conn& packets, const std::string& name);

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Unix extras

/// The process at the other end of a unix socket, as it was at connect time.
struct Credentials {
  long pid = -1;     ///< -1 where the system does not tell
  unsigned uid = 0;  ///< the user's number
  unsigned gid = 0;  ///< the group's number
};

inline namespace NETLITE_BUILD {

/// Sends a copy of a descriptor over a unix connection, with one byte that
/// carries it. Blocks as write. unix(7), SCM_RIGHTS.
Error send_descriptor(const Conn& conn, int descriptor);

/// Receives one descriptor, close-on-exec, with the byte that carries it; it
/// is the caller's to close. Never takes more than one: a second in the same
/// message is closed, and told by `truncated` beside the first. no_descriptor
/// when the byte came alone: the value is -1 whenever there is none. Blocks as
/// read. unix(7), SCM_RIGHTS.
Result<int> receive_descriptor(const Conn& conn);

/// Who is at the other end? unix(7), SO_PEERCRED; getpeereid(3).
Result<Credentials> peer_credentials(const Conn& conn);

/// Whether close removes a unix listener's file: yes for one that `listen`
/// made, no for one of `listener_from`. For a quick restart hand the descriptor
/// to the new process, say no here and close; say yes there. Does not block.
/// Errors: `closed`, unexpected_address_type. Go:
/// `UnixListener.SetUnlinkOnClose`.
Error set_unlink_on_close(const Listener& listener, bool on);

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Helpers

/// A Reader reads ahead from a connection, to find lines and frames in the
/// stream. What a call could not use stays for the next, whatever the error
/// was: after a timeout just call again. One thread at a time. Its calls block:
/// beside a Poller, use try_read and a buffer of your own. Go counterpart:
/// `bufio.Reader`.
class Reader {
 public:
  /// Reads from this connection, which others should leave to it.
  explicit Reader(Conn conn) : conn_(std::move(conn)) {}
  /// Takes over what was read ahead; there is no copying of that.
  Reader(Reader&&) = default;
  /// The same.
  Reader& operator=(Reader&&) = default;

  /// The connection.
  const Conn& conn() const { return conn_; }
  /// What was read ahead and not used yet.
  std::string_view buffered() const { return ahead_; }

 private:
  friend struct internal::Access;
  Conn conn_;
  std::string ahead_;
};

inline namespace NETLITE_BUILD {

/// Reads up to and including `end`, at most `limit` bytes. At the end of the
/// stream gives what is left with `unexpected_eof`, nothing with `eof`.
/// limit_exceeded when `end` is not among the next `limit` bytes; they stay.
/// Other errors as read. Go: `bufio.Reader.ReadString`.
Result<std::string> read_until(Reader& reader, char end,
                               std::size_t limit = 65536);

/// Reads a line and takes the "\n" or "\r\n" off. Errors as read_until.
/// Go: `textproto.Reader.ReadLine`.
Result<std::string> read_line(Reader& reader, std::size_t limit = 65536);

/// Reads what was read ahead, or else from the connection. As read(conn).
Result<std::size_t> read(Reader& reader, Buffer buffer);

/// Reads until the buffer is full. As read_full(conn).
Result<std::size_t> read_full(Reader& reader, Buffer buffer);

/// Reads to the end of the stream. When more than `limit` bytes come, gives
/// those with limit_exceeded, and the one byte that told. With other errors,
/// as of read, gives what came before. Go: `io.ReadAll`.
Result<std::string> read_all(const Conn& conn, std::size_t limit);
/// The same, with what was read ahead in front.
Result<std::string> read_all(Reader& reader, std::size_t limit);

/// Copies from one connection to another until the first ends, which datagrams
/// never do. Blocks. Returns how many bytes were written. Errors as read and
/// write. Go: `io.Copy`.
Result<std::uint64_t> copy(const Conn& to, const Conn& from);
/// The same, with what was read ahead in front.
Result<std::uint64_t> copy(const Conn& to, Reader& from);

/// Writes a file, from the descriptor's position to its end. Blocks. Returns
/// how many bytes were written. Errors as write, and those of read(2).
/// Go: `io.Copy`.
Result<std::uint64_t> send_file(const Conn& to, int descriptor);
/// The same for the file at a path; also errors of open(2).
Result<std::uint64_t> send_file(const Conn& to, const std::string& path);

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Concurrency

namespace internal {
struct GroupState;
}

/// A Group counts tasks that run in threads of their own. Its destructor waits
/// for them. Go counterpart: `sync.WaitGroup`, `errgroup.Group`.
class Group {
 public:
  /// `limit` is how many tasks may run at a time; 0: any number.
  explicit Group(std::size_t limit = 0);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  /// Waits for the tasks that still run; `wait` also tells how they ended.
  ~Group();

 private:
  friend struct internal::Access;
  std::shared_ptr<internal::GroupState> state_;
};

/// Is told of what happened to one client while the server goes on.
using Report = internal::Callback<void, const Error&>;

/// How to serve.
struct ServeOptions {
  /// How many connections are served at a time; the next ones wait in the
  /// listener's queue. 0: any number.
  std::size_t max_connections = 0;
  /// How long handlers may go on after the listener was closed; then their
  /// connections are closed too.
  std::chrono::nanoseconds grace{std::chrono::seconds(5)};
  /// Hears of failed accepts, failed thread starts, and what handlers return
  /// or throw, from one thread at a time: it should be quick.
  Report on_error{};
};

/// Waits until all tasks of the group have ended. Returns the first failure:
/// an Error that a task returned, alone or in a Result, or task_failed for an
/// exception. Go: `errgroup.Group.Wait`.
Error wait(Group& group);

inline namespace NETLITE_BUILD {

/// Runs `f(args...)` in a thread of its own; copies the arguments. Blocks
/// while the group is at its limit - for ever, if it is a task of the full
/// group that calls. An exception ends only that task. Errors, after which the
/// task does not run: what pthread_create(3) says, ENOMEM, task_failed when an
/// exception ended its move to the thread. Go: `go f(args)`.
template <class F, class... Args>
Error go(Group& group, F f, Args... args);

/// Accepts connections and runs a copy of `handler` for each, in a thread of
/// its own. Blocks until the listener is closed and its handlers have ended;
/// then returns nil. One client's misfortune - a reset, an exception in its
/// handler, a thread that cannot start, a full descriptor table - costs that
/// client at most, and `on_error` hears of it. A deadline of the listener ends
/// it too, with `timed_out`. Go: `http.Server.Serve`.
template <class Handler>
Error serve(const Listener& listener, Handler handler,
            const ServeOptions& options = {});

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Poller: one thread, many connections

namespace internal {
struct PollerState;
}

/// What to watch a handle for, and what has come: a sum of these.
enum Interest : unsigned {
  readable = 1,  ///< there is something to read or accept, or an end
  writable = 2,  ///< there is room to write
  hung_up = 4,   ///< the connection is over; reading tells why
};

/// One handle that is ready.
struct Event {
  Handle handle;          ///< the one that was watched: `Conn(event.handle)`
  unsigned ready = 0;     ///< a sum of `Interest`s
  std::uint64_t key = 0;  ///< what `watch` was given
};

/// A Poller tells one thread which of many handles are ready: epoll(7) on
/// Linux, poll(2) elsewhere. Go has none: there it hides in the runtime.
class Poller {
 public:
  /// Watches nothing; `make_poller` makes a real one.
  Poller() = default;

 private:
  friend struct internal::Access;
  std::shared_ptr<internal::PollerState> state_;
};

inline namespace NETLITE_BUILD {

/// Makes a Poller. Errors: EMFILE and kin, of epoll_create(2) and eventfd(2).
Result<Poller> make_poller();

/// Watches a handle for a sum of `Interest`s, until `unwatch` or close;
/// watching it again changes interest and key. The Poller has a handle of its
/// own: dropping yours does not close the socket. Any thread may call it; it
/// does not block. Errors: `closed`, EINVAL for what is no sum of `Interest`s,
/// and those of epoll_ctl(2).
Error watch(const Poller& poller, const Handle& handle, unsigned interest,
            std::uint64_t key = 0);

/// Stops watching a handle. Any thread may call it. Errors as watch.
Error unwatch(const Poller& poller, const Handle& handle);

/// Waits until something that is watched is ready, and gives at least one
/// event; `timed_out` at the deadline; no event and no error after `wake`. As
/// long as a handle is ready, it is told again. An event is a hint: another
/// thread may have been faster. One thread at a time.
Result<std::vector<Event>> wait(const Poller& poller,
                                Deadline deadline = no_deadline);

/// Makes the `wait` under way, or else the next one, return. Any thread may
/// call it.
Error wake(const Poller& poller);

/// Reads as read, but gives would_block instead of waiting - for bytes, or for
/// another thread that is reading.
Result<std::size_t> try_read(const Conn& conn, Buffer buffer);
/// Writes what there is room for, and returns how much; would_block when
/// there is none.
Result<std::size_t> try_write(const Conn& conn, Bytes bytes);
/// Accepts as accept, but gives would_block instead of waiting. When the
/// machine is short of descriptors the client stays queued and `wait` tells of
/// it again at once: unwatch the listener until some are free, lest it spin.
Result<Conn> try_accept(const Listener& listener);
/// Reads a datagram as read_from, but gives would_block instead of waiting.
Packet try_read_from(const Conn& packets, Buffer buffer);

}  // namespace NETLITE_BUILD

}  // namespace netlite

// ===========================================================================
// The machine, part one: netlite::sys, the BSD calls
//
// One small function a call, named after its man page, returning what the
// call returns: -1 and errno for a failure. Whatever differs between systems
// is decided here, and so are three policies:
//   EINTR          a call that a signal interrupted is made again, except
//                  connect (the attempt goes on by itself), close (the
//                  descriptor is gone already) and poll (its caller looks at
//                  the clock first).
//   close-on-exec  and non-blocking, from birth where the system can.
//   SIGPIPE        never: MSG_NOSIGNAL, or SO_NOSIGPIPE where that is missing.

namespace netlite {
namespace sys {

/// A socket address as the kernel wants it.
struct Address {
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
  // Where an address says itself how long it is, getnameinfo(3) and the
  // multicast options insist on that (RFC 3493, 3.4).
  void set_size(std::size_t bytes) {
    size = static_cast<socklen_t>(bytes);
#ifdef SIN6_LEN
    any.sa_len = static_cast<std::uint8_t>(bytes);
#endif
  }
};

inline std::error_code last_error() { return {errno, std::system_category()}; }

inline bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

// The end of must: an exception, or where there are none, of the program.
[[noreturn]] inline void fail(const Error& err) {
#ifdef __cpp_exceptions
  throw Failure(err);
#else
  const std::string line = err.message() + "\n";
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) std::abort();
  std::abort();
#endif
}

inline namespace NETLITE_BUILD {

#ifdef NETLITE_TRACE
// The trace: one line a call. The arguments are put into words only after the
// call, so that what it received can be shown; errno is left as it was.
namespace trace {

inline std::int64_t now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// Where the lines go: nowhere, to stderr for people, to a file for programs.
struct Sink {
  int fd = -1;
  bool for_people = true;
  const std::int64_t start = now();

  Sink() {
    const char* where = std::getenv("NETLITE_TRACE");
    if (!where || !*where || std::string_view(where) == "0") return;
    for_people = std::string_view(where) == "1";
    fd = STDERR_FILENO;
    if (for_people) return;
    // A high number: the program's own descriptors keep theirs.
    const int file =
        ::open(where, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    fd = ::fcntl(file, F_DUPFD_CLOEXEC, 250);
    if (fd < 0) fd = file;
    if (fd != file) ::close(file);
  }
  static const Sink& get() {
    static const Sink sink;
    return sink;
  }
};

// Threads are numbered in the order of their first call.
inline int thread() {
  static std::atomic<int> threads{0};
  thread_local const int number = ++threads;
  return number;
}

#ifdef __linux__
inline const char* program() { return program_invocation_short_name; }
#else
inline const char* program() { return ::getprogname(); }
#endif

inline std::string error_name(int error) {
#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
  if (const char* name = ::strerrorname_np(error)) return name;
#endif
#endif
  return "errno " + std::to_string(error);
}

// getaddrinfo(3) and getnameinfo(3) return what went wrong.
inline std::string resolver_error_name(long code) {
  switch (code) {
    case EAI_AGAIN: return "EAI_AGAIN";
    case EAI_FAIL: return "EAI_FAIL";
    case EAI_NONAME: return "EAI_NONAME";
    case EAI_SERVICE: return "EAI_SERVICE";
    case EAI_SYSTEM: return "EAI_SYSTEM";
    default: return "EAI_" + std::to_string(code);
  }
}

// Text with everything that would break a line or a column escaped.
inline std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    char escaped[5];
    const bool plain = c >= ' ' && c <= '~';
    std::snprintf(escaped, sizeof escaped, "\\x%02x",
                  static_cast<unsigned char>(c));
    out += plain       ? std::string(1, c)
           : c == '\n' ? "\\n"
           : c == '\r' ? "\\r"
                       : escaped;
  }
  return out;
}

// The first bytes of some data as a C string literal.
inline std::string quote(const void* data, long size) {
  if (size < 0) return "...";
  const auto shown = static_cast<std::size_t>(std::min(size, 32L));
  std::string text(static_cast<const char*>(data), shown);
  for (std::size_t at = 0; at < text.size(); ++at)
    if (text[at] == '"' || text[at] == '\\') text.insert(at++, "\\");
  return "\"" + printable(text) + (size > 32 ? "\"..." : "\"");
}

inline std::string words(const Address& address) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (address.family() != AF_UNIX &&
      ::getnameinfo(&address.any, address.size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
    return join_host_port(host, port);
  const auto head = offsetof(sockaddr_un, sun_path);
  if (address.family() != AF_UNIX || address.size <= head) return "-";
  std::string path(address.un.sun_path, address.size - head);
  return path[0] == '\0' ? "@" + path.substr(1) : path.c_str();
}
inline std::string words(const msghdr& message, long size) {
  return quote(message.msg_iov->iov_base,
               std::min(size, static_cast<long>(message.msg_iov->iov_len)));
}
inline std::string words(const std::string& text) { return text; }
inline std::string words(const char* text) { return text ? text : "NULL"; }
template <class Number>
std::string words(Number number) {
  return std::to_string(number);
}
template <class... Parts>
std::string sentence(const Parts&... parts) {
  return (std::string() + ... + words(parts));
}

// "blocked 201 ms", "163 us", or nothing for a call that was quick.
inline std::string duration(std::int64_t ns) {
  if (ns >= 1000000) return "blocked " + std::to_string(ns / 1000000) + " ms";
  return ns >= 50000 ? std::to_string(ns / 1000) + " us" : "";
}

inline void tell(const char* name, int fd, std::string arguments, long result,
                 int error, std::int64_t start) {
  const std::int64_t end = now();
  char line[512];
  arguments = printable(arguments);
  if (arguments.size() > 256) arguments.replace(253, std::string::npos, "...");
  const bool resolver = std::strstr(name, "info") != nullptr;
  const std::string failed = resolver && result != 0
                                 ? resolver_error_name(result)
                             : result < 0 ? error_name(error)
                                          : "";
  int size = 0;
  if (Sink::get().for_people) {
    std::string call = std::string(name) + "(" + arguments +
                       ") = " + std::to_string(result) + " " + failed;
    std::string who = program();
    if (thread() > 1) who += "/" + std::to_string(thread());
    size =
        std::snprintf(line, sizeof line, "%9.3f  %-9s %-68s %s\n",
                      static_cast<double>(start - Sink::get().start) / 1e6,
                      who.c_str(), call.c_str(), duration(end - start).c_str());
  } else {
    size = std::snprintf(
        line, sizeof line, "%lld\t%lld\t%s\t%ld\t%d\t%d\t%s\t%s\t%ld\t%s\n",
        static_cast<long long>(start), static_cast<long long>(end), program(),
        static_cast<long>(::getpid()), thread(), fd, name, arguments.c_str(),
        result, failed.empty() ? "-" : failed.c_str());
  }
  // One write(2) a line keeps the lines of several processes whole.
  const auto most = static_cast<int>(sizeof line) - 1;
  if (size > most) line[most - 1] = '\n';
  if (::write(Sink::get().fd, line,
              static_cast<std::size_t>(std::min(size, most))) < 0)
    return;
}

template <class Call, class Arguments>
auto run(const char* name, int fd, Call call, Arguments arguments) {
  if (Sink::get().fd < 0) return call();
  const std::int64_t start = now();
  const auto result = call();
  const int error = errno;
  tell(name, fd < 0 ? static_cast<int>(result) : fd, arguments(result),
       static_cast<long>(result), error, start);
  errno = error;
  return result;
}

// "SO_REUSEADDR, 1"; the outcome of a connect by its name
inline std::string option(int level, int name, const void* value,
                          std::size_t size) {
  struct Known {
    int level, name;
    const char* words;
  };
  static constexpr Known known[] = {
      {SOL_SOCKET, SO_ERROR, "SO_ERROR"},
      {SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"},
      {SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
      {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
      {SOL_SOCKET, SO_LINGER, "SO_LINGER"},
      {SOL_SOCKET, SO_TYPE, "SO_TYPE"},
      {IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY"},
      {IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL"},
#ifdef TCP_KEEPIDLE
      {IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE"},
#endif
      {IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY"},
  };
  std::string text = std::to_string(level) + "/" + std::to_string(name);
  for (const Known& each : known)
    if (each.level == level && each.name == name) text = each.words;
  int number = 0;
  std::memcpy(&number, value, std::min(size, sizeof number));
  const bool error = level == SOL_SOCKET && name == SO_ERROR && number != 0;
  return text + ", " + (error ? error_name(number) : std::to_string(number));
}

inline std::string socket_kind(int family, int type) {
  return std::string(family == AF_INET    ? "AF_INET, "
                     : family == AF_INET6 ? "AF_INET6, "
                                          : "AF_UNIX, ") +
         (type == SOCK_STREAM  ? "SOCK_STREAM"
          : type == SOCK_DGRAM ? "SOCK_DGRAM"
                               : "SOCK_SEQPACKET");
}

inline std::string watched(const pollfd* fds, std::size_t count) {
  std::string text = "{";
  for (std::size_t i = 0; i < count; ++i) {
    text += (i ? ", " : "") + std::to_string(fds[i].fd);
    if (fds[i].events & POLLIN) text += " POLLIN";
    if (fds[i].events & POLLOUT) text += " POLLOUT";
  }
  return text + "}";
}

inline std::string time(int milliseconds) {
  return milliseconds < 0 ? "for ever" : std::to_string(milliseconds) + " ms";
}

}  // namespace trace
#define NETLITE_TRACED(call, name, fd, ...)  \
  trace::run(                                \
      name, fd, [&] { return call; },        \
      [&]([[maybe_unused]] auto result) {    \
        return trace::sentence(__VA_ARGS__); \
      })
#else
#define NETLITE_TRACED(call, name, fd, ...) (call)
#endif

// Makes a call again for as long as signals interrupt it.
template <class Call>
auto retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// While one lives, its thread is not cancelled, pthread_cancel(3): for calls
// that destructors make, and for those that end what others wait for.
class Uncancelled {
 public:
  Uncancelled() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  Uncancelled(const Uncancelled&) = delete;
  Uncancelled& operator=(const Uncancelled&) = delete;
  ~Uncancelled() { ::pthread_setcancelstate(before_, nullptr); }

 private:
  int before_;
};

// close(2). Not repeated after EINTR: the descriptor is released all the same,
// and its number may be somebody else's by now.
inline int close(int fd) {
  const Uncancelled thread;
  return NETLITE_TRACED(::close(fd), "close", fd, fd);
}

// fcntl(2): the flags of a descriptor that was not born with them.
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
inline int adopt_or_close(int fd) {
  if (fd < 0 || adopt(fd) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

// Abstract unix names, unix(7), are Linux's; elsewhere zeros mean no name. And
// two sockets may hear one group there only with SO_REUSEPORT as well.
#ifdef __linux__
constexpr bool has_abstract_names = true;
constexpr bool groups_need_reuse_port = false;
#else
constexpr bool has_abstract_names = false;
constexpr bool groups_need_reuse_port = true;
#endif

// dup(2), close-on-exec
inline int duplicate(int fd) { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); }

// What the systems have for the three policies. On Linux sockets are born
// non-blocking and close-on-exec: no child that another thread forks in
// between can inherit them.
#ifdef NETLITE_LINUX
constexpr int birth_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
constexpr int receive_flags = MSG_CMSG_CLOEXEC;
inline int born(int fd) { return fd; }
#else
constexpr int birth_flags = 0;
constexpr int receive_flags = 0;
inline int born(int fd) { return adopt_or_close(fd); }
#endif
#ifdef MSG_NOSIGNAL
constexpr int send_flags = MSG_NOSIGNAL;
#else
constexpr int send_flags = 0;
#endif

// socket(2)
inline int socket(int family, int type) {
  return born(NETLITE_TRACED(::socket(family, type | birth_flags, 0), "socket",
                             -1, trace::socket_kind(family, type)));
}

// socketpair(2), pipe(2), and whatever else makes two descriptors
inline int born_pair(int result, int (&fds)[2]) {
  if (result < 0) return result;
  if (born(fds[0]) < 0) return close(fds[1]), -1;
  if (born(fds[1]) < 0) return close(fds[0]), -1;
  return result;
}
inline int socketpair(int (&fds)[2]) {
  return born_pair(
      NETLITE_TRACED(::socketpair(AF_UNIX, SOCK_STREAM | birth_flags, 0, fds),
                     "socketpair", -1, "AF_UNIX, SOCK_STREAM, {", fds[0], ", ",
                     fds[1], "}"),
      fds);
}

inline int bind(int fd, const Address& address) {
  return NETLITE_TRACED(::bind(fd, &address.any, address.size), "bind", fd, fd,
                        ", ", address);
}

inline int listen(int fd, int backlog) {
  return NETLITE_TRACED(::listen(fd, backlog), "listen", fd, fd, ", ", backlog);
}

// accept(2). The peer's address comes with it, for a peer that has reset the
// connection already has no address left to ask for.
inline int accept(int fd, Address& peer) {
  return retry([&] {
    peer = Address();
#ifdef NETLITE_LINUX
    return NETLITE_TRACED(::accept4(fd, &peer.any, &peer.size, birth_flags),
                          "accept", fd, fd, ", ",
                          result < 0 ? "-" : trace::words(peer));
#else
    return born(NETLITE_TRACED(::accept(fd, &peer.any, &peer.size), "accept",
                               fd, fd, ", ",
                               result < 0 ? "-" : trace::words(peer)));
#endif
  });
}

// What accept(2) says about one client that has gone already; Linux hands over
// that client's pending network errors too.
inline bool concerns_one_client(const std::error_code& code) {
  constexpr int errors[] = {ECONNABORTED, ECONNRESET, EPROTO,       ENETDOWN,
                            ENOPROTOOPT,  EHOSTDOWN,  EHOSTUNREACH, ENETUNREACH,
#ifdef ENONET
                            ENONET
#endif
  };
  for (const int error : errors)
    if (code == std::error_code(error, std::system_category())) return true;
  return false;
}

// connect(2). Not repeated after EINTR: the attempt goes on by itself, and
// asking again would be told EALREADY.
inline int connect(int fd, const Address& address) {
  return NETLITE_TRACED(::connect(fd, &address.any, address.size), "connect",
                        fd, fd, ", ", address);
}

inline int shutdown(int fd, int how) {
  return NETLITE_TRACED(::shutdown(fd, how), "shutdown", fd, fd,
                        how == SHUT_RD ? ", SHUT_RD" : ", SHUT_WR");
}

inline int getsockname(int fd, Address& address) {
  return NETLITE_TRACED(::getsockname(fd, &address.any, &address.size),
                        "getsockname", fd, fd, ", ", address);
}
inline int getpeername(int fd, Address& address) {
  return NETLITE_TRACED(::getpeername(fd, &address.any, &address.size),
                        "getpeername", fd, fd, ", ",
                        result < 0 ? "-" : trace::words(address));
}

inline int setsockopt(int fd, int level, int name, const void* value,
                      std::size_t size) {
  return NETLITE_TRACED(
      ::setsockopt(fd, level, name, value, static_cast<socklen_t>(size)),
      "setsockopt", fd, fd, ", ", trace::option(level, name, value, size));
}
inline int setsockopt(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}
inline int getsockopt(int fd, int level, int name, void* value,
                      std::size_t size) {
  auto length = static_cast<socklen_t>(size);
  return NETLITE_TRACED(::getsockopt(fd, level, name, value, &length),
                        "getsockopt", fd, fd, ", ",
                        trace::option(level, name, value, size));
}

// SO_LINGER counts in seconds; but on macOS in ticks, and another option does.
#ifdef SO_LINGER_SEC
constexpr int linger_seconds = SO_LINGER_SEC;
#else
constexpr int linger_seconds = SO_LINGER;
#endif

// TCP's keep-alive probes, tcp(7), in whole seconds; 0 probes: the system's
// number. An accepted socket inherits such options on Linux, not everywhere.
#ifdef NETLITE_LINUX
constexpr bool accepted_inherits = true;
#else
constexpr bool accepted_inherits = false;
#endif
inline int set_keep_alive(int fd, int idle, int interval, int count) {
#ifdef TCP_KEEPIDLE
  constexpr int idle_option = TCP_KEEPIDLE;
#else
  constexpr int idle_option = TCP_KEEPALIVE;  // macOS
#endif
  int result = setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  if (!result) result = setsockopt(fd, IPPROTO_TCP, idle_option, idle);
  if (!result) result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
  if (!result && count)
    result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, count);
  return result;
}

// recv(2) and send(2), of a gigabyte at most: not all systems take more than
// INT_MAX at once.
constexpr std::size_t most_at_once = 1 << 30;
inline ssize_t recv(int fd, void* data, std::size_t size) {
  size = std::min(size, most_at_once);
  return retry([&] {
    return NETLITE_TRACED(::recv(fd, data, size, 0), "recv", fd, fd, ", ",
                          trace::quote(data, result), ", ", size);
  });
}
inline ssize_t send(int fd, const void* data, std::size_t size) {
  size = std::min(size, most_at_once);
  return retry([&] {
    return NETLITE_TRACED(::send(fd, data, size, send_flags), "send", fd, fd,
                          ", ", trace::quote(data, static_cast<long>(size)),
                          ", ", size);
  });
}

// recvmsg(2) and sendmsg(2): several pieces, descriptors
inline ssize_t recvmsg(int fd, msghdr& message) {
  return retry([&] {
    return NETLITE_TRACED(::recvmsg(fd, &message, receive_flags), "recvmsg", fd,
                          fd, ", ", trace::words(message, result));
  });
}
inline ssize_t sendmsg(int fd, const msghdr& message) {
  return retry([&] {
    return NETLITE_TRACED(::sendmsg(fd, &message, send_flags), "sendmsg", fd,
                          fd, ", ", trace::words(message, LONG_MAX), ", ",
                          message.msg_iovlen, " pieces");
  });
}

// recvfrom(2) of one message, and whether it was cut to the room: Linux gives
// its true length when asked to, the others say so in recvmsg's flags.
inline ssize_t recvfrom(int fd, void* data, std::size_t size, Address& from,
                        bool& cut) {
  size = std::min(size, most_at_once);
#ifdef NETLITE_LINUX
  const auto room = static_cast<ssize_t>(size);
  const ssize_t n = retry([&] {
    return NETLITE_TRACED(
        ::recvfrom(fd, data, size, MSG_TRUNC, &from.any, &from.size),
        "recvfrom", fd, fd, ", ", trace::quote(data, std::min(result, room)),
        ", ", size, ", ", result < 0 ? "-" : trace::words(from));
  });
  cut = n > room;
  return std::min(n, room);
#else
  iovec piece{data, size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_name = &from.any;
  message.msg_namelen = from.size;
  const ssize_t n = recvmsg(fd, message);
  from.size = message.msg_namelen;
  cut = (message.msg_flags & MSG_TRUNC) != 0;
  return n;
#endif
}

// sendto(2): one message to an address
inline ssize_t sendto(int fd, const void* data, std::size_t size,
                      const Address& to) {
  return retry([&] {
    return NETLITE_TRACED(
        ::sendto(fd, data, size, send_flags, &to.any, to.size), "sendto", fd,
        fd, ", ", trace::quote(data, static_cast<long>(size)), ", ", size, ", ",
        to);
  });
}

// poll(2), for at most so many milliseconds, negative: for ever. May return
// early, -1 and EINTR: the caller looks at the clock and at the socket.
inline int poll(pollfd* fds, std::size_t count, int milliseconds) {
  return NETLITE_TRACED(::poll(fds, static_cast<nfds_t>(count), milliseconds),
                        "poll", fds[0].fd, trace::watched(fds, count), ", ",
                        trace::time(milliseconds));
}

// What wakes a thread that is blocked in poll: a token sent to one end makes
// the other readable. eventfd(2) needs one descriptor for that, pipe(2) two.
#ifdef NETLITE_LINUX
using WakeToken = std::uint64_t;
inline int wakeup_pair(int (&ends)[2]) {
  return ends[0] = ends[1] =
             ::eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
}
#else
using WakeToken = char;
inline int wakeup_pair(int (&ends)[2]) { return born_pair(::pipe(ends), ends); }
#endif
inline ssize_t wakeup_send(int end) {
  const Uncancelled thread;
  const WakeToken token = 1;
  return retry([&] { return ::write(end, &token, sizeof token); });
}
inline ssize_t wakeup_take(int end) {
  const Uncancelled thread;
  WakeToken token;
  return retry([&] { return ::read(end, &token, sizeof token); });
}

// Files: open(2) for reading, read(2), lstat(2), chmod(2), unlink(2)
inline int open(const std::string& path) {
  if (path.find('\0') != path.npos) return errno = EINVAL, -1;
  return retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
}
inline ssize_t read(int fd, void* data, std::size_t size) {
  return retry([&] { return ::read(fd, data, size); });
}
inline int lstat(const std::string& path, struct stat& found) {
  return ::lstat(path.c_str(), &found);
}
// The mode of a socket that is not bound yet is that of the file to come.
inline int fchmod(int fd, int mode) {
  return ::fchmod(fd, static_cast<mode_t>(mode));
}
inline int chmod(const std::string& path, int mode) {
  return ::chmod(path.c_str(), static_cast<mode_t>(mode));
}
inline int unlink(const std::string& path) { return ::unlink(path.c_str()); }
// getcwd(3) and a name in it
inline std::string absolute(const std::string& path) {
  char here[PATH_MAX];
  if (path[0] == '/' || !::getcwd(here, sizeof here)) return path;
  return std::string(here) + "/" + path;
}
inline pid_t getpid() { return ::getpid(); }

// A name without addresses: to some systems not the same as no such name.
#ifdef EAI_NODATA
constexpr int no_data = EAI_NODATA;
#else
constexpr int no_data = EAI_NONAME;
#endif

// getaddrinfo(3); returns its EAI_... number, and sets errno for EAI_SYSTEM -
// or forgets to, so it must not be an older one. May block for seconds.
inline int getaddrinfo(const char* host, const char* service,
                       const addrinfo& hints, addrinfo** found) {
  errno = 0;
  return NETLITE_TRACED(::getaddrinfo(host, service, &hints, found),
                        "getaddrinfo", -1, host, ", ", service);
}

// getnameinfo(3) for a name; tells and blocks as getaddrinfo.
inline int getnameinfo(const Address& address, char (&name)[NI_MAXHOST]) {
  errno = 0;
  return NETLITE_TRACED(::getnameinfo(&address.any, address.size, name,
                                      sizeof name, nullptr, 0, NI_NAMEREQD),
                        "getnameinfo", -1, address);
}

// A socket on a port hears every group that any socket of the machine joined,
// says Linux, ip(7), unless told to hear only the groups that it joined itself.
inline int hear_joined_only([[maybe_unused]] int fd, int family) {
#ifdef IP_MULTICAST_ALL
  if (family == AF_INET) return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
#endif
#ifdef IPV6_MULTICAST_ALL
  if (family == AF_INET6)
    return setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
#endif
  return family ? 0 : -1;
}

// if_nametoindex(3); a zone may also be written as a number. 0: no such.
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

inline int getifaddrs(ifaddrs** list) { return ::getifaddrs(list); }

// pthread_create(3) of a thread that nobody joins; 0, or an errno.
inline int start_thread(void* (*run)(void*), void* argument) {
  pthread_attr_t detached;
  if (const int error = ::pthread_attr_init(&detached)) return error;
  ::pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = ::pthread_create(&thread, &detached, run, argument);
  ::pthread_attr_destroy(&detached);
  return error;
}

// Who is at the other end of a unix socket; SO_PEERCRED, getpeereid(3).
inline int peer_credentials(int fd, Credentials& out) {
#ifdef __linux__
  ucred peer{};
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, sizeof peer) < 0)
    return -1;
  // What Linux says where nobody is: process 0 of user -1.
  if (peer.uid == static_cast<uid_t>(-1)) return errno = ENOTCONN, -1;
  out = {peer.pid, peer.uid, peer.gid};
  return 0;
#else
  return ::getpeereid(fd, &out.uid, &out.gid);
#endif
}

// Readiness of many: epoll(7), or nothing where there is only poll.
#ifdef NETLITE_LINUX
constexpr bool has_epoll = true;
inline int epoll_create() {
  return NETLITE_TRACED(::epoll_create1(EPOLL_CLOEXEC), "epoll_create", -1, "");
}
// Watches a descriptor for poll's POLLIN and POLLOUT (epoll has the same
// numbers for them); 0 stops watching it.
inline int epoll_watch(int epoll, int fd, unsigned events, bool known) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  const int operation = !events ? EPOLL_CTL_DEL
                        : known ? EPOLL_CTL_MOD
                                : EPOLL_CTL_ADD;
  [[maybe_unused]] const pollfd shown{fd, static_cast<short>(events), 0};
  return NETLITE_TRACED(::epoll_ctl(epoll, operation, fd, &event), "epoll_ctl",
                        epoll, epoll,
                        !events ? ", DEL, "
                        : known ? ", MOD, "
                                : ", ADD, ",
                        trace::watched(&shown, 1));
}
// Fills `ready` with descriptors and what is ready on them.
inline int epoll_wait(int epoll, std::vector<pollfd>& ready, int milliseconds) {
  const auto wait = [&] {
    epoll_event events[256];
    const int n = ::epoll_wait(epoll, events, 256, milliseconds);
    for (int i = 0; i < n; ++i) {
      const auto what = static_cast<short>(events[i].events);
      ready.push_back({events[i].data.fd, what, what});
    }
    return n;
  };
  return NETLITE_TRACED(wait(), "epoll_wait", epoll, epoll, ", ",
                        trace::watched(ready.data(), ready.size()), ", ",
                        trace::time(milliseconds));
}
#else
constexpr bool has_epoll = false;
inline int epoll_create() { return -1; }
inline int epoll_watch(int, int, unsigned, bool) { return 0; }
inline int epoll_wait(int, std::vector<pollfd>&, int) { return -1; }
#endif

// Calls f; returns what an exception said that f let out, or "".
template <class F>
std::string guarded(F f) {
#ifdef __cpp_exceptions
  try {
    f();
  } catch (const std::exception& exception) {
    try {
      return std::string("exception: ") + exception.what();
    } catch (...) {  // no memory for that: it may be what f had not
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

}  // namespace NETLITE_BUILD
}  // namespace sys
}  // namespace netlite

// ===========================================================================
// The machine, part two: the bodies, in the order of the interface

namespace netlite {

// ---------------------------------------------------------------------------
// Errors

namespace internal {

// Everything about a failure but its cause.
struct Story {
  std::string op;
  std::string network;
  std::string subject{};  // stands before the cause: "connect", "lookup x"
  std::string behind{};   // stands behind it: the text that made no sense
  Addr local{};
  Addr remote{};
};

inline const char* text_of(int code) {
  switch (code) {
    case eof: return "EOF";
    case unexpected_eof: return "unexpected EOF";
    case closed: return "use of closed network connection";
    case timed_out: return "i/o timeout";
    case would_block: return "operation would block";
    case truncated: return "message truncated";
    case limit_exceeded: return "limit exceeded";
    case task_failed: return "task failed";
    case no_descriptor: return "no descriptor in the message";
    case unknown_network: return "unknown network";
    case missing_address: return "missing address";
    case missing_port: return "missing port in address";
    case too_many_colons: return "too many colons in address";
    case missing_bracket: return "missing ']' in address";
    case unexpected_open_bracket: return "unexpected '[' in address";
    case unexpected_close_bracket: return "unexpected ']' in address";
    case unknown_port: return "unknown port";
    case invalid_port: return "invalid port";
    case invalid_ip: return "invalid IP address";
    case invalid_prefix: return "invalid CIDR address";
    case no_suitable_address: return "no suitable address found";
    case unexpected_address_type: return "unexpected address type";
    case mismatched_local_address: return "mismatched local address type";
    case non_ipv4_address: return "non-IPv4 address";
    case write_to_connected:
      return "use of WriteTo with pre-connected connection";
    default: return "unknown error";
  }
}

class Category : public std::error_category {
  const char* name() const noexcept override { return "netlite"; }
  std::string message(int code) const override { return text_of(code); }
  // Our deadline is a kind of std::errc::timed_out; ETIMEDOUT is another.
  std::error_condition default_error_condition(
      int code) const noexcept override {
    if (code == timed_out) return std::errc::timed_out;
    if (code == would_block) return std::errc::operation_would_block;
    return {code, *this};
  }
};

class ResolverCategory : public std::error_category {
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int code) const override {
    if (code == no_such_host) return "no such host";
    if (code == EAI_AGAIN || code == EAI_FAIL) return "server misbehaving";
    return ::gai_strerror(code);
  }
};

// "Connection refused" in the middle of a sentence.
inline std::string uncapitalized(std::string text) {
  const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (text.size() > 1 && upper(text[0]) && !upper(text[1]))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

// One T for all, which needs no memory, so it can tell that there is none, and
// is never destroyed: threads may use it while the process exits.
template <class T>
const T& only() noexcept {
  alignas(T) static unsigned char room[sizeof(T)];
  static const T& instance = *new (room) T;
  return instance;
}

}  // namespace internal

inline const std::error_category& category() noexcept {
  return internal::only<internal::Category>();
}

inline const std::error_category& resolver_category() noexcept {
  return internal::only<internal::ResolverCategory>();
}

inline Error::Error(std::error_code code, internal::Story story)
    : code_(code),
      story_(std::make_shared<const internal::Story>(std::move(story))) {}

inline const internal::Story& Error::story() const noexcept {
  return story_ ? *story_ : internal::only<internal::Story>();
}

inline const std::string& Error::op() const noexcept { return story().op; }
inline const std::string& Error::network() const noexcept {
  return story().network;
}
inline const Addr& Error::local() const noexcept { return story().local; }
inline const Addr& Error::remote() const noexcept { return story().remote; }
inline const std::string& Error::subject() const noexcept {
  return story().subject;
}

inline std::string Error::message() const {
  if (!code_) return {};
  const internal::Story& about = story();
  std::string text = about.op;
  if (!about.op.empty()) {
    if (!about.network.empty()) text += " " + about.network;
    if (about.local) text += " " + about.local.string();
    if (about.remote)
      text += (about.local ? "->" : " ") + about.remote.string();
    text += ": ";
  }
  if (!about.subject.empty()) text += about.subject + ": ";
  return text + internal::uncapitalized(code_.message()) + about.behind;
}

inline bool Error::timeout() const noexcept {
  if (code_.category() == std::system_category())
    return sys::would_block(code_.value()) || code_.value() == ETIMEDOUT;
  return code_ == timed_out;
}

inline bool Error::temporary() const noexcept {
  if (timeout() || code_ == would_block) return true;
  const int value = code_.value();
  if (code_.category() == resolver_category()) return value == EAI_AGAIN;
  return code_.category() == std::system_category() &&
         (value == EINTR || value == EMFILE || value == ENFILE ||
          value == ENOBUFS || value == ENOMEM);
}

inline void must(const Error& err) {
  if (err) sys::fail(err);
}

// ---------------------------------------------------------------------------
// Addresses and names

namespace internal {

// The networks by the names that callers give them.
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

// "address X: missing port in address" and kin
inline Error address_error(std::error_code code, std::string_view address) {
  if (address.empty()) return code;
  return {code, {"", "", "address " + std::string(address)}};
}

// "invalid IP address: X" and kin
inline Error parse_error(Errc code, std::string_view text) {
  return {code, {"", "", "", ": " + std::string(text)}};
}

inline Error no_network(const char* op, std::string_view name) {
  return {unknown_network,
          {op, std::string(name), "", " " + std::string(name)}};
}

// inet_pton(3) wants at most four digits a group, but zeros in front of one
// mean nothing; except in an IPv4 tail, where they once meant octal.
inline std::string without_leading_zeros(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 0 || text[i - 1] == ':') {
      const std::string_view group = text.substr(i, text.substr(i).find(':'));
      const bool tail = group.find('.') != group.npos;
      std::size_t zeros = 0;
      while (!tail && zeros + 1 < group.size() && group[zeros] == '0') ++zeros;
      i += zeros;
    }
    out += text[i];
  }
  return out;
}

// The address's bytes, and how many: 4, 16, or 0 when it is none.
inline std::size_t parse_numeric(std::string_view text, unsigned char* bytes) {
  if (text.find('\0') != text.npos) return 0;
  if (::inet_pton(AF_INET, std::string(text).c_str(), bytes) == 1) return 4;
  const std::string plain = without_leading_zeros(text);
  return ::inet_pton(AF_INET6, plain.c_str(), bytes) == 1 ? 16 : 0;
}

}  // namespace internal

inline IP::IP(const unsigned char* bytes, std::size_t size,
              std::string_view zone) {
  if (size != 4 && size != 16) return;
  std::memcpy(bytes_, bytes, size);
  size_ = static_cast<std::uint8_t>(size);
  if (size == 16) zone_ = zone;
}

inline bool IP::is4_in_6() const noexcept {
  return is6() && std::memcmp(bytes_, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0;
}

inline bool IP::is_unspecified() const noexcept {
  static constexpr char zeros[16] = {};
  return starts(4, zeros, 32) || starts(16, zeros, 128);
}

// Are the first bits of an address of this size these?
inline bool IP::starts(std::size_t size, const char* bytes,
                       int bits) const noexcept {
  const unsigned char* mine = is4_in_6() ? bytes_ + 12 : bytes_;
  if ((is4_in_6() ? 4 : size_) != size) return false;
  for (int bit = 0; bit < bits; ++bit)
    if ((mine[bit / 8] ^ bytes[bit / 8]) >> (7 - bit % 8) & 1) return false;
  return true;
}

inline bool IP::is_loopback() const noexcept {
  static constexpr char one[16] = {0, 0, 0, 0, 0, 0, 0, 0,
                                   0, 0, 0, 0, 0, 0, 0, 1};
  return starts(4, "\x7f", 8) || starts(16, one, 128);
}
inline bool IP::is_private() const noexcept {
  return starts(4, "\x0a", 8) || starts(4, "\xac\x10", 12) ||
         starts(4, "\xc0\xa8", 16) || starts(16, "\xfc", 7);
}
inline bool IP::is_multicast() const noexcept {
  return starts(4, "\xe0", 4) || starts(16, "\xff", 8);
}
inline bool IP::is_link_local_unicast() const noexcept {
  return starts(4, "\xa9\xfe", 16) || starts(16, "\xfe\x80", 10);
}
inline bool IP::is_link_local_multicast() const noexcept {
  return starts(4, "\xe0\0\0", 24) ||
         (starts(16, "\xff", 8) && (bytes_[1] & 15) == 2);
}
inline bool IP::is_interface_local_multicast() const noexcept {
  return starts(16, "\xff", 8) && (bytes_[1] & 15) == 1;
}
inline bool IP::is_global_unicast() const noexcept {
  return *this && !starts(4, "\xff\xff\xff\xff", 32) && !is_unspecified() &&
         !is_loopback() && !is_multicast() && !is_link_local_unicast();
}

inline std::string IP::string() const {
  if (!*this) return {};
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(is4() ? AF_INET : AF_INET6, bytes_, text, sizeof text);
  std::string out = text;
  // inet_ntop(3) writes the outdated ::1.2.3.4 for what is ::102:304 now.
  if (is6() && !is4_in_6() && out.find('.') != out.npos) {
    std::snprintf(text, sizeof text, "::%x:%x", bytes_[12] << 8 | bytes_[13],
                  bytes_[14] << 8 | bytes_[15]);
    out = text;
  }
  return zone_.empty() ? out : out + "%" + zone_;
}

inline Prefix::Prefix(IP ip, int bits) {
  if (bits < 0 || bits > static_cast<int>(ip.size()) * 8) return;
  ip_ = std::move(ip);
  bits_ = bits;
}

inline IP Prefix::masked() const {
  unsigned char bytes[16] = {};
  for (int bit = 0; bit < bits_; ++bit)
    bytes[bit / 8] = static_cast<unsigned char>(
        bytes[bit / 8] | (ip_.data()[bit / 8] & 0x80 >> bit % 8));
  return IP(bytes, ip_.size());
}

inline bool Prefix::contains(const IP& ip) const {
  return ip && ip.size() == ip_.size() &&
         Prefix(ip, bits_).masked() == masked();
}

inline Addr::Addr(std::string_view network, IP ip, std::uint16_t port)
    : ip_(std::move(ip)), port_(port) {
  if (const auto* known = internal::find_network(network))
    network_ = known->base;
}

inline Addr::Addr(std::string_view network, std::string_view path)
    : path_(path) {
  if (const auto* known = internal::find_network(network))
    network_ = known->base;
  if (network == "pipe") network_ = internal::pipe_network.base;
}

inline std::string Addr::string() const {
  if (network_ != "tcp" && network_ != "udp") return path_;
  return join_host_port(ip_.string(), std::to_string(port_));
}

inline HostPort split_host_port(std::string_view address) {
  const auto fail = [&](Errc code) {
    return HostPort{{}, {}, internal::address_error(code, address)};
  };
  const std::size_t colon = address.rfind(':');
  if (colon == address.npos) return fail(missing_port);
  std::string_view host = address.substr(0, colon);
  const std::string_view port = address.substr(colon + 1);

  if (address[0] == '[') {
    const std::size_t bracket = address.find(']');
    if (bracket == address.npos) return fail(missing_bracket);
    if (bracket + 1 != colon) {
      const bool more = address.substr(bracket + 1, 1) == ":";
      return fail(more ? too_many_colons : missing_port);
    }
    host = address.substr(1, bracket - 1);
  } else if (host.find(':') != host.npos) {
    return fail(too_many_colons);
  }
  const auto has = [&](char c) {
    return host.find(c) != host.npos || port.find(c) != port.npos;
  };
  if (has('[')) return fail(unexpected_open_bracket);
  if (has(']')) return fail(unexpected_close_bracket);
  return {std::string(host), std::string(port)};
}

inline std::string join_host_port(std::string_view host,
                                  std::string_view port) {
  const std::string tail = ":" + std::string(port);
  if (host.find(':') == host.npos) return std::string(host) + tail;
  return "[" + std::string(host) + "]" + tail;
}

inline Result<IP> parse_ip(std::string_view text) {
  unsigned char bytes[16];
  const std::size_t percent = text.find('%');
  const std::size_t size =
      internal::parse_numeric(text.substr(0, percent), bytes);
  if (percent == text.npos && size != 0) return {IP(bytes, size)};
  if (percent != text.npos && percent + 1 < text.size() && size == 16)
    return {IP(bytes, size, text.substr(percent + 1))};
  return {{}, internal::parse_error(invalid_ip, text)};
}

namespace internal {

// Decimal digits as a number, cut to `most`; -1 when they are something else.
inline int parse_digits(std::string_view text, int most) {
  if (text.empty()) return -1;
  int number = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    number = std::min(number * 10 + (c - '0'), most);
  }
  return number;
}

// A port, perhaps with a sign; -1 when it is no number, 65536 when no port.
inline int parse_port(std::string_view text) {
  const bool minus = text.substr(0, 1) == "-";
  if (minus || text.substr(0, 1) == "+") text.remove_prefix(1);
  const int port = parse_digits(text, 65536);
  return minus && port > 0 ? 65536 : port;
}

struct Service {
  std::string_view protocol;
  std::string_view name;
  int port;
};

// For machines without /etc/services.
inline constexpr Service services[] = {
    {"tcp", "ftp", 21},    {"tcp", "ssh", 22},    {"tcp", "telnet", 23},
    {"tcp", "smtp", 25},   {"tcp", "domain", 53}, {"tcp", "gopher", 70},
    {"tcp", "http", 80},   {"tcp", "pop3", 110},  {"tcp", "imap2", 143},
    {"tcp", "imap3", 220}, {"tcp", "https", 443}, {"tcp", "ftps", 990},
    {"tcp", "imaps", 993}, {"tcp", "pop3s", 995}, {"udp", "domain", 53},
};

// A name that DNS could know: labels of letters, digits, '-' and '_', at most
// 63 each and 253 in all, not just digits (RFC 1035, RFC 3696). Anything else
// is refused without asking: the C library would take 127.1, 2130706433 and
// even 0x7f000001 for addresses.
inline bool is_domain_name(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty() || name.size() > 253 || name.back() == '-') return false;
  bool only_digits = true;
  std::size_t label = 0;
  char last = '.';
  for (const char c : name) {
    const bool digit = c >= '0' && c <= '9';
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!digit && !letter && c != '_' && c != '-' && c != '.') return false;
    if ((c == '.' || c == '-') && last == '.') return false;
    if (c == '.' && last == '-') return false;
    label = c == '.' ? 0 : label + 1;
    if (label > 63) return false;
    only_digits = only_digits && (digit || c == '.');
    last = c;
  }
  in_addr number;
  return !only_digits && !::inet_aton(std::string(name).c_str(), &number);
}

// The bytes of a unix socket's name. A name longer than the room for it, or a
// path with a NUL inside, would quietly become another name: EINVAL, as the
// kernel says.
inline std::error_code unix_to_kernel(const std::string& path,
                                      sys::Address& out) {
  const bool abstract = path[0] == '@';
  const std::size_t room = sizeof out.un.sun_path - (abstract ? 0 : 1);
  if (path.size() > room || (!abstract && path.find('\0') != path.npos))
    return {EINVAL, std::system_category()};
  out.un.sun_family = AF_UNIX;
  std::memcpy(out.un.sun_path, path.data(), path.size());
  if (abstract) out.un.sun_path[0] = '\0';
  // The length counts: an abstract name has no NUL at its end, a path has.
  const std::size_t nul = abstract || path.empty() ? 0 : 1;
  out.set_size(offsetof(sockaddr_un, sun_path) + path.size() + nul);
  return {};
}

inline namespace NETLITE_BUILD {

// An address as the kernel wants it. `family` says for which kind of socket:
// an IPv6 one takes IPv4 addresses in their mapped form (RFC 4291, 2.5.5.2).
inline std::error_code to_kernel(const Addr& addr, int family,
                                 sys::Address& out) {
  out = sys::Address();
  if (family == AF_UNIX) return unix_to_kernel(addr.path(), out);
  const IP ip = addr.ip().unmap();
  if (family == AF_INET) {
    if (ip.is6()) return non_ipv4_address;
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(addr.port());
    std::memcpy(&out.v4.sin_addr, ip.data(), 4);
    out.set_size(sizeof out.v4);
    return {};
  }
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_port = htons(addr.port());
  unsigned char* bytes = out.v6.sin6_addr.s6_addr;
  if (ip.is6()) std::memcpy(bytes, ip.data(), 16);
  if (ip.is4() && !ip.is_unspecified()) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes + 12, ip.data(), 4);
  }
  if (!ip.zone().empty()) out.v6.sin6_scope_id = sys::if_nametoindex(ip.zone());
  // An unknown zone must not become any zone.
  if (!ip.zone().empty() && out.v6.sin6_scope_id == 0 &&
      (ip.is_link_local_unicast() || ip.is_link_local_multicast()))
    return {EINVAL, std::system_category()};
  out.set_size(sizeof out.v6);
  return {};
}

inline IP ip_from_kernel(const sys::Address& from) {
  if (from.family() == AF_INET) {
    unsigned char bytes[4];
    std::memcpy(bytes, &from.v4.sin_addr, sizeof bytes);
    return IP(bytes, 4);
  }
  if (from.family() != AF_INET6) return IP();
  const unsigned scope = from.v6.sin6_scope_id;
  const std::string zone = scope ? sys::if_indextoname(scope) : "";
  return IP(from.v6.sin6_addr.s6_addr, 16, zone).unmap();
}

// The same back; no address at all for the sender that has none.
inline Addr from_kernel(const Network& network, const sys::Address& from) {
  if (from.size == 0) return {};
  if (&network == &pipe_network) return {network.base, network.base};
  if (network.family != AF_UNIX)
    return {network.base, ip_from_kernel(from),
            ntohs(from.family() == AF_INET6 ? from.v6.sin6_port
                                            : from.v4.sin_port)};
  const std::size_t head = offsetof(sockaddr_un, sun_path);
  const std::size_t size = from.size > head ? from.size - head : 0;
  const std::string_view name(from.un.sun_path, size);
  if (size == 0 || (name[0] == '\0' && !sys::has_abstract_names))
    return {network.base, "@"};
  if (name[0] == '\0') return {network.base, "@" + std::string(name.substr(1))};
  return {network.base, name.substr(0, name.find('\0'))};
}

// Has it an Error, as each Result has?
template <class T, class = void>
inline constexpr bool has_error = false;
template <class T>
inline constexpr bool
    has_error<T, std::void_t<decltype(Error(std::declval<T>().error))>> = true;

// Calls f; the error that it returned, alone or in a Result, or an exception
// as one.
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
  err = task_failed;  // all that is said where there is no memory for more
  sys::guarded([&] { err = Error(err.code(), {"", "", "", ": " + what}); });
  return err;
}

// Runs f in a thread of its own, then tells `end` its error: by then f is gone
// with all it owned. 0, or an errno: then neither is called. (new and delete
// by hand: unique_ptr would cost each f 20 ms of the user's compile time.)
template <class F, class End>
int start(F f, End end) {
  struct Task {
    F f;
    End end;
  };
  Task* mine = new (std::nothrow) Task{std::move(f), std::move(end)};
  if (!mine) return ENOMEM;
  const auto thread = [](void* argument) -> void* {
    Task* task = static_cast<Task*>(argument);
    End tell = std::move(task->end);
    const Error err = run(task->f);
    delete task;
    tell(err);
    return nullptr;
  };
  const int error = sys::start_thread(thread, mine);
  if (error) delete mine;
  return error;
}

// What the resolver said of a name.
struct Answer {
  std::error_code why{};
  std::vector<IP> ips{};
  std::string name{};
};

// Asks the resolver, which may block and knows no deadline. When there is one,
// it is asked in a thread of its own, which is left to itself if time is up.
inline Answer ask_within(Deadline deadline, Answer (*ask)(const std::string&),
                         const std::string& name) {
  if (deadline.never()) return ask(name);
  if (deadline.passed()) return {timed_out};
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
    Answer answer{};
  };
  const auto shared = std::make_shared<Shared>();
  const int error =
      start([shared, ask, name] { shared->answer = ask(name); },
            [shared](const Error& failed) {
              const std::lock_guard<std::mutex> lock(shared->mutex);
              if (failed) shared->answer.why = failed.code();
              shared->done = true;
              shared->changed.notify_one();
            });
  if (error) return {std::error_code(error, std::system_category())};
  std::unique_lock<std::mutex> lock(shared->mutex);
  const bool done = shared->changed.wait_until(lock, deadline.when(),
                                               [&] { return shared->done; });
  return done ? std::move(shared->answer) : Answer{timed_out};
}

inline std::error_code resolver_error(int code) {
  // Where errno does not say why, it was seen to be this: Go's issue 6232.
  if (code == EAI_SYSTEM && errno == 0) errno = EMFILE;
  if (code == EAI_SYSTEM) return sys::last_error();
  if (code == sys::no_data) return no_such_host;
  return {code, resolver_category()};
}

inline Answer ask_addresses(const std::string& host) {
  Answer answer;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;  // one answer an address, not three
  hints.ai_flags = AI_CANONNAME;
  addrinfo* found = nullptr;
  if (const int code = sys::getaddrinfo(host.c_str(), nullptr, hints, &found)) {
    answer.why = resolver_error(code);
    return answer;
  }
  if (found->ai_canonname) answer.name = found->ai_canonname;
  for (const addrinfo* each = found; each; each = each->ai_next) {
    sys::Address address;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    IP ip = ip_from_kernel(address);
    bool known = false;
    for (const IP& earlier : answer.ips) known = known || earlier == ip;
    if (!known) answer.ips.push_back(std::move(ip));
  }
  ::freeaddrinfo(found);
  return answer;
}

inline Answer ask_name(const std::string& text) {
  const IP ip = parse_ip(text).value.unmap();
  sys::Address address;
  to_kernel(Addr("tcp", ip, 0), ip.is4() ? AF_INET : AF_INET6, address);
  char name[NI_MAXHOST] = "";
  const int code = sys::getnameinfo(address, name);
  return {code ? resolver_error(code) : std::error_code(), {}, name};
}

inline Error lookup_error(std::error_code why, std::string_view name) {
  return {why, {"", "", "lookup " + std::string(name)}};
}

// All that is to be known of a host: an IP address is taken as it is.
inline Result<Answer> ask(std::string_view host, Deadline deadline) {
  // Go reads an empty zone as none.
  const bool empty_zone = !host.empty() && host.find('%') == host.size() - 1 &&
                          host.find(':') != host.npos;
  const auto literal =
      parse_ip(host.substr(0, host.size() - (empty_zone ? 1 : 0)));
  if (!literal.error) return {{{}, {literal.value}}};
  if (!is_domain_name(host)) return {{}, lookup_error(no_such_host, host)};
  Answer answer = ask_within(deadline, ask_addresses, std::string(host));
  if (answer.why) return {{}, lookup_error(answer.why, host)};
  return {std::move(answer)};
}

// All addresses that a text stands for, in the order to try them.
inline Result<std::vector<Addr>> resolve_all(const Network& network,
                                             std::string_view address,
                                             Deadline deadline) {
  if (network.family == AF_UNIX) return {{Addr(network.base, address)}};
  HostPort parts;
  if (!address.empty()) parts = split_host_port(address);
  if (parts.error) return {{}, parts.error};
  const auto [number, port_error] = lookup_port(network.name, parts.port);
  if (port_error) return {{}, port_error};
  const auto port = static_cast<std::uint16_t>(number);
  if (parts.host.empty()) return {{Addr(network.base, IP(), port)}};

  auto [answer, err] = ask(parts.host, deadline);
  if (err) return {{}, err};
  std::vector<IP>& ips = answer.ips;
  // Half-configured IPv6 can listen on :: and yet not be dialled there.
  const unsigned char any[4] = {};
  if (ips.size() == 1 && ips[0].is6() && ips[0].is_unspecified())
    ips.emplace_back(any, 4);
  std::vector<Addr> addrs;
  for (const IP& ip : ips)
    if (network.family == AF_UNSPEC ||
        ip.unmap().is4() == (network.family == AF_INET))
      addrs.emplace_back(network.base, ip.unmap(), port);
  if (addrs.empty())
    return {{}, address_error(no_suitable_address, parts.host)};
  return {std::move(addrs)};
}

// A server takes one address: of several, the first IPv4 one (or IPv6 one).
inline const Addr& favourite(const std::vector<Addr>& addrs,
                             bool want6 = false) {
  for (const Addr& addr : addrs)
    if (addr.ip().is6() == want6) return addr;
  return addrs.front();
}

}  // namespace NETLITE_BUILD
}  // namespace internal

inline Result<Prefix> parse_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  auto [ip, err] = parse_ip(text.substr(0, slash));
  const int bits = slash == text.npos
                       ? -1
                       : internal::parse_digits(text.substr(slash + 1), 129);
  if (err || !ip.zone().empty() || bits < 0 || bits > (ip.is4() ? 32 : 128))
    return {{}, internal::parse_error(invalid_prefix, text)};
  return {Prefix(std::move(ip), bits)};
}

inline namespace NETLITE_BUILD {

inline Result<int> lookup_port(std::string_view network,
                               std::string_view service) {
  const auto fail = [](Errc code, std::string_view address) {
    return Result<int>{0, internal::address_error(code, address)};
  };
  if (service.empty()) return {0};
  const int number = internal::parse_port(service);
  if (number > 65535) return fail(invalid_port, service);
  if (number >= 0) return {number};
  const auto* known = internal::find_network(network);
  if (!known || known->family == AF_UNIX) return fail(unknown_network, network);

  std::string name(service);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (const internal::Service& each : internal::services)
    if (each.protocol == known->base && each.name == name) return {each.port};
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = known->type;
  addrinfo* found = nullptr;
  // The C library skips blanks in front of a number: no name begins with one.
  int code = EAI_SERVICE;
  if (name.find('\0') == name.npos && name[0] > ' ')
    code = sys::getaddrinfo(nullptr, name.c_str(), hints, &found);
  if (code == 0) {
    sockaddr_in address;
    std::memcpy(&address, found->ai_addr, sizeof address);
    ::freeaddrinfo(found);
    return {ntohs(address.sin_port)};
  }
  const std::string what =
      std::string(known->base) + "/" + std::string(service);
  if (code == EAI_SERVICE || code == EAI_NONAME)
    return fail(unknown_port, what);
  return {0, internal::lookup_error(internal::resolver_error(code), what)};
}

inline Result<Addr> resolve(std::string_view network, std::string_view address,
                            Deadline deadline) {
  const auto* known = internal::find_network(network);
  if (!known) return {{}, internal::no_network("", network)};
  const auto [addrs, err] = internal::resolve_all(*known, address, deadline);
  if (err) return {{}, err};
  // Brackets ask for IPv6: [::] means what it says.
  return {internal::favourite(addrs, address.find('[') != address.npos)};
}

inline Result<std::vector<std::string>> lookup_host(std::string_view host,
                                                    Deadline deadline) {
  const auto [answer, err] = internal::ask(host, deadline);
  if (err) return {{}, err};
  if (!parse_ip(host).error) return {{std::string(host)}};  // as it was written
  std::vector<std::string> addrs;
  for (const IP& ip : answer.ips) addrs.push_back(ip.string());
  return {std::move(addrs)};
}

inline Result<std::string> lookup_cname(std::string_view host,
                                        Deadline deadline) {
  auto [answer, err] = internal::ask(host, deadline);
  if (err) return {{}, err};
  // An address stands for itself, behind no alias.
  if (answer.name.empty())
    return {{}, internal::lookup_error(no_such_host, host)};
  return {std::move(answer.name)};
}

inline Result<std::vector<std::string>> lookup_addr(std::string_view ip,
                                                    Deadline deadline) {
  if (const Error err = parse_ip(ip).error) return {{}, err};
  internal::Answer answer =
      internal::ask_within(deadline, internal::ask_name, std::string(ip));
  if (answer.why) return {{}, internal::lookup_error(answer.why, ip)};
  return {{answer.name}};
}

inline Result<std::vector<Interface>> interfaces() {
  ifaddrs* list = nullptr;
  if (sys::getifaddrs(&list) < 0)
    return {{}, {sys::last_error(), {"interfaces", "", "getifaddrs"}}};
  std::vector<Interface> found;
  for (const ifaddrs* each = list; each; each = each->ifa_next) {
    // A labelled alias, "eth0:1", is no interface of its own.
    const unsigned index = sys::if_nametoindex(each->ifa_name);
    Interface* here = nullptr;
    for (Interface& earlier : found)
      if (earlier.index == index) here = &earlier;
    if (!here) {
      found.push_back({index, each->ifa_name, each->ifa_flags});
      here = &found.back();
    }
    const int family = each->ifa_addr ? each->ifa_addr->sa_family : 0;
    if (family != AF_INET && family != AF_INET6) continue;
    const std::size_t size =
        family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    sys::Address address, mask;
    std::memcpy(&address.storage, each->ifa_addr, size);
    if (each->ifa_netmask) std::memcpy(&mask.storage, each->ifa_netmask, size);
    mask.any.sa_family = address.any.sa_family;
    const IP bits = internal::ip_from_kernel(mask);
    int ones = 0;
    while (ones < static_cast<int>(bits.size()) * 8 &&
           bits.data()[ones / 8] & 0x80 >> ones % 8)
      ++ones;
    here->addrs.emplace_back(internal::ip_from_kernel(address), ones);
  }
  ::freeifaddrs(list);
  return {std::move(found)};
}

}  // namespace NETLITE_BUILD

namespace internal {

// A duration in nanoseconds; one beyond what they can count is cut to it.
template <class Rep, class Period>
std::chrono::nanoseconds saturated(std::chrono::duration<Rep, Period> d) {
  using std::chrono::nanoseconds;
  using Wide = std::chrono::duration<long double, std::nano>;
  const Wide wide = d;
  if (wide >= Wide(nanoseconds::max())) return nanoseconds::max();
  if (wide <= Wide(nanoseconds::min())) return nanoseconds::min();
  // Floats are too coarse to count in: the last ones would round up and over.
  if constexpr (std::is_floating_point_v<Rep>)
    return std::chrono::duration_cast<nanoseconds>(wide);
  else
    return std::chrono::duration_cast<nanoseconds>(d);
}

using Time = Deadline::Clock::time_point;

inline Time time_after(std::chrono::nanoseconds d) {
  const Time now = Deadline::Clock::now();
  return d < Time::max() - now ? now + d : Time::max();
}

// What is left until then in poll's milliseconds, rounded up so that nothing
// is ever early; -1 for ever. poll counts to 24.8 days, so ask again.
inline int poll_time(Time when) {
  if (when == Time::max()) return -1;
  const Time now = Deadline::Clock::now();
  if (when <= now) return 0;
  const auto ms =
      std::chrono::ceil<std::chrono::milliseconds>(when - now).count();
  return ms < INT_MAX ? static_cast<int>(ms) : INT_MAX;
}

}  // namespace internal

template <class Duration>
Deadline::Deadline(std::chrono::time_point<Clock, Duration> when)
    : when_(internal::saturated(when.time_since_epoch())) {}

template <class Rep, class Period>
Deadline::Deadline(std::chrono::duration<Rep, Period> from_now)
    : when_(internal::time_after(internal::saturated(from_now))) {}

// ---------------------------------------------------------------------------
// Connections
//
// A Socket is what handles share. Its state counts the calls inside; close
// marks it at once, and whoever leaves last releases the descriptor. So the
// number cannot become somebody else's under a call.

namespace internal {

// What a thread sleeps on beside its socket: each token sent to one end wakes
// it once. The first thousand threads have one each; later ones share, for
// descriptors are scarcer than threads.
struct Wakeup {
  int take_end = -1;
  int send_end = -1;
  std::size_t users = 0;
};

// All of them. They are kept for the next thread, and never destroyed: some
// thread may still be blocked while the process exits.
struct Wakeups {
  static constexpr std::size_t most = 1024;
  std::mutex mutex;
  std::size_t made = 0;
  Wakeup all[most];

  static Wakeups& get() {
    static Wakeups& wakeups = *new Wakeups;
    return wakeups;
  }
};

// A thread that sleeps in `wait`.
struct Sleeper {
  const Wakeup* wakeup;
  Sleeper* next = nullptr;
  Time until{};
  bool kicked = false;
};

// Reading or writing: each has its queue, its deadline, its sleepers - one of
// the queue, and servers that rest because they are full or the machine is. A
// kick reaches only those who sleep already; a nudge also keeps a server awake
// that is about to rest when a handler ends.
struct Direction {
  std::mutex turn;       // held for a whole read or write
  bool drained = false;  // the last read took all there was
  std::atomic<Time::rep> deadline{Time::max().time_since_epoch().count()};
  Sleeper* sleepers = nullptr;  // a list, under the socket's guard
  std::atomic<std::uint32_t> nudges{0};

  Deadline due() const { return Time(Time::duration(deadline)); }
};

// The file that a unix listener made, and will remove, if there is one.
struct SocketFile {
  std::string path{};
  dev_t device{};
  ino_t inode{};
  pid_t maker{};
};

struct Socket {
  Socket(int descriptor, const Network& of, Addr here, Addr there)
      : fd(descriptor),
        network(of),
        local(std::move(here)),
        remote(std::move(there)) {}

  const int fd;
  const Network& network;  // as the caller named it
  const Addr local;
  const Addr remote;
  SocketFile file;
  std::chrono::nanoseconds keep_alive{0};  // of what a listener accepts

  // For the sleepers, the pollers, the file, deadlines as they change.
  std::mutex guard;
  Direction reading;
  Direction writing;
  std::vector<std::weak_ptr<PollerState>> pollers;  // that watch it

  static constexpr std::uint32_t closing = 1;  // a bit of `state`
  static constexpr std::uint32_t inside = 2;   // one call; the rest counts
  std::atomic<std::uint32_t> state{0};

  bool is_closed() const { return (state & closing) != 0; }
  bool is_stream() const { return network.type == SOCK_STREAM; }
  int family() const {
    if (network.family != AF_UNSPEC) return network.family;
    return local.ip().is6() ? AF_INET6 : AF_INET;
  }

  // Counts a call in, and marks the socket when `mark` is `closing`; false
  // when it is closed already.
  bool enter(std::uint32_t mark = 0) {
    std::uint32_t before = state;
    do {
      if (before & closing) return false;
    } while (!state.compare_exchange_weak(before, (before + inside) | mark));
    return true;
  }
  // Counts a call out; true when it was the last one of a closed socket.
  bool leave() { return (state -= inside) == closing; }
};

// The door to what handles and their kin keep private.
struct Access {
  static Socket* socket(const Handle& handle) { return handle.socket_.get(); }
  template <class H>
  static H handle(std::shared_ptr<Socket> socket) {
    Handle handle;
    handle.socket_ = std::move(socket);
    return H(std::move(handle));
  }
  static std::string& ahead(Reader& reader) { return reader.ahead_; }
  template <class T>
  static auto& state(T& object) {
    return object.state_;
  }
};

// The story of a failure on a socket. `call` names the BSD call for what the
// kernel said; netlite's own conditions speak for themselves.
inline Error failure(const char* op, const Socket* socket, std::error_code code,
                     const char* call = "", bool both_ends = true) {
  if (!socket) return {code, {op, ""}};
  if (code.category() == category()) call = "";
  return {code,
          {op, std::string(socket->network.name), call, "", socket->local,
           both_ends ? socket->remote : Addr()}};
}

inline namespace NETLITE_BUILD {

void forget(PollerState& state, const Socket& s);

// A descriptor that nobody else knows of yet.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Descriptor() { reset(); }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) sys::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

// Removes the file of a unix listener: only in the process that made it, and
// only if it is still the same one. Another server may have taken over the
// path meanwhile; more than one library has removed that server's file.
inline void remove_file(Socket& s) {
  SocketFile file;
  {
    const std::lock_guard<std::mutex> lock(s.guard);
    std::swap(file, s.file);
  }
  struct stat now {};
  if (!file.path.empty() && file.maker == sys::getpid() &&
      sys::lstat(file.path, now) == 0 && now.st_dev == file.device &&
      now.st_ino == file.inode)
    sys::unlink(file.path);
}

// What the last handle does.
inline void release(Socket* socket) {
  if (socket->enter(Socket::closing)) {
    remove_file(*socket);
    sys::close(socket->fd);
  }
  delete socket;
}

template <class H>
H make_handle(Descriptor fd, const Network& network, Addr local,
              Addr remote = {}) {
  auto* socket =
      new Socket(fd.get(), network, std::move(local), std::move(remote));
  fd.release();  // from here on it is the socket's, whatever happens
  return Access::handle<H>(std::shared_ptr<Socket>(socket, release));
}

// A call inside a socket. While one lives, the descriptor stays ours.
class Use {
 public:
  explicit Use(const Handle& handle)
      : socket_(Access::socket(handle)),
        entered_(socket_ && socket_->enter()) {}
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (entered_ && socket_->leave()) sys::close(socket_->fd);
  }
  explicit operator bool() const { return entered_; }
  Socket& operator*() const { return *socket_; }
  Socket* operator->() const { return socket_; }
  // The story of a call that failed; of one that was not let in: closed.
  Error failure(const char* op, std::error_code why = closed,
                const char* call = "", bool both_ends = true) const {
    return internal::failure(op, socket_, why, call, both_ends);
  }

 private:
  Socket* socket_;
  bool entered_;
};

// A wake-up for this thread: an idle one, a new one, or - above a thousand and
// when the descriptor table is full - the one with the fewest users; none when
// there is none at all.
inline Wakeup* take_wakeup() {
  Wakeups& pool = Wakeups::get();
  const std::lock_guard<std::mutex> lock(pool.mutex);
  Wakeup* best = nullptr;
  for (std::size_t i = 0; i < pool.made; ++i)
    if (!best || pool.all[i].users < best->users) best = &pool.all[i];
  int ends[2];
  if ((!best || best->users > 0) && pool.made < Wakeups::most &&
      sys::wakeup_pair(ends) >= 0) {
    best = &pool.all[pool.made++];
    *best = {ends[0], ends[1]};
  }
  if (best) ++best->users;
  return best;
}

inline const Wakeup* my_wakeup() {
  struct Mine {
    Wakeup* wakeup = nullptr;
    ~Mine() {
      if (!wakeup) return;
      const std::lock_guard<std::mutex> lock(Wakeups::get().mutex);
      --wakeup->users;
    }
  };
  thread_local Mine mine;
  if (!mine.wakeup) mine.wakeup = take_wakeup();
  return mine.wakeup;
}

// What a BSD call gave: a count or descriptor, or why not.
struct Outcome {
  ssize_t n = 0;
  std::error_code why{};
};

// Takes a sleeper off the list, and the token of its kick, when it wakes or
// when its thread is cancelled.
struct Asleep {
  Socket& s;
  Direction& direction;
  Sleeper& me;
  ~Asleep() {
    {
      const std::lock_guard<std::mutex> lock(s.guard);
      Sleeper** link = &direction.sleepers;
      while (*link != &me) link = &(*link)->next;
      *link = me.next;
    }
    if (me.kicked && me.wakeup) sys::wakeup_take(me.wakeup->take_end);
  }
};

// The one place where calls wait: until the socket is ready for `events`, or
// the deadline or `limit` has come, or a kick. It may return for no reason:
// the caller looks again at everything. 1 when the socket was ready, else 0.
// `seen` is how many nudges the caller knew of when it decided to wait.
inline Outcome wait(Socket& s, Direction& direction, short events,
                    Time limit = Time::max(),
                    const std::uint32_t* seen = nullptr) {
  Sleeper me{my_wakeup()};
  {
    // Whoever closes marks first and kicks then, under this guard. So either
    // we see the mark here, or they see our name and kick.
    const std::lock_guard<std::mutex> lock(s.guard);
    if (s.is_closed() || (seen && *seen != direction.nudges)) return {};
    me.until = direction.due().when();
    me.next = std::exchange(direction.sleepers, &me);
  }
  // Without events it is a rest: poll passes over a negative descriptor, and
  // what it would tell unasked - POLLERR, POLLHUP - cannot end the rest.
  pollfd fds[2] = {{events ? s.fd : -1, events, 0}, {-1, POLLIN, 0}};
  int time = poll_time(std::min(me.until, limit));
  if (me.wakeup)
    fds[1].fd = me.wakeup->take_end;
  else if (time < 0 || time > 10)
    time = 10;  // nothing to be woken by: look up now and then
  Outcome outcome;
  {
    const Asleep asleep{s, direction, me};
    if (sys::poll(fds, me.wakeup ? 2 : 1, time) < 0 && errno != EINTR)
      outcome.why = sys::last_error();
  }
  // A shared wake-up was meant for another thread, which is on its way to take
  // the token. Look elsewhere for a moment instead of spinning.
  if (!me.kicked && fds[1].revents != 0 && fds[0].revents == 0)
    sys::poll(fds, 1, 1);
  outcome.n = fds[0].revents != 0;
  return outcome;
}

// Wakes those who sleep on a direction until later than `when`; the guard is
// held. (One that moved later needs no kick: the sleeper looks again anyway.)
inline void kick(Direction& direction, Time when = Time::min()) {
  for (Sleeper* each = direction.sleepers; each; each = each->next) {
    if (each->kicked || each->until <= when) continue;
    each->kicked = true;
    if (each->wakeup) sys::wakeup_send(each->wakeup->send_end);
  }
}

enum class Mode { wait, once };  // a try_ call looks once

// Makes a call until it succeeds or fails, waiting while it would block.
// The order of truth: closed, then the deadline, then what the socket says.
// Trying first is one call where there is something. Where the last read has
// left nothing, as epoll(7) explains, waiting first spares the one in vain. (A
// write always tries: poll calls a socket writable late, when a good part of
// its buffer is free, and a short one may fit before.)
template <class Call>
Outcome attempt(Socket& s, Direction& direction, short events, Mode mode,
                Call call) {
  bool try_first = mode == Mode::once || !direction.drained;
  for (bool ready = false;; try_first = true) {
    if (s.is_closed()) return {0, closed};
    if (direction.due().passed()) return {0, timed_out};
    if (try_first) {
      const ssize_t n = call();
      if (n >= 0) return {n};
      const std::error_code why = sys::last_error();
      if (!sys::would_block(why.value()))
        return {0, s.is_closed() ? closed : why};
      if (mode == Mode::once) return {0, would_block};
    }
    // Ready, and yet nothing: another process was faster, or Linux calls a
    // unixgram socket writable whose receiver's queue is full. A pause of a
    // millisecond keeps that from spinning.
    const Outcome waited =
        ready ? wait(s, direction, 0, time_after(std::chrono::milliseconds(1)))
              : wait(s, direction, events);
    if (waited.why) return waited;
    ready = waited.n != 0 && !ready;
  }
}

// One reader, and one writer, at a time; a try_ call does not queue for it.
inline std::unique_lock<std::mutex> take_turn(Direction& direction, Mode mode) {
  if (mode == Mode::wait) return std::unique_lock<std::mutex>(direction.turn);
  return std::unique_lock<std::mutex>(direction.turn, std::try_to_lock);
}

// A call that takes something from the socket.
template <class Call>
Outcome take(const Use& use, Mode mode, Call call) {
  const auto turn = take_turn(use->reading, mode);
  if (!turn) return {0, would_block};
  return attempt(*use, use->reading, POLLIN, mode, call);
}

// Takes what there is: bytes of a stream, or one message.
inline ssize_t receive(const Use& use, Buffer buffer, sys::Address& from,
                       bool& cut) {
  if (!use->is_stream())
    return sys::recvfrom(use->fd, buffer.data(), buffer.size(), from, cut);
  const ssize_t n = sys::recv(use->fd, buffer.data(), buffer.size());
  use->reading.drained = n < static_cast<ssize_t>(buffer.size());
  return n;
}

inline Result<std::size_t> read(const Conn& conn, Buffer buffer, Mode mode) {
  const Use use(conn);
  if (!use) return {0, use.failure("read")};
  if (buffer.size() == 0) return {0};
  sys::Address from;
  bool cut = false;
  const Outcome got =
      take(use, mode, [&] { return receive(use, buffer, from, cut); });
  if (got.why) return {0, use.failure("read", got.why, "read")};
  if (got.n == 0 && use->network.type != SOCK_DGRAM) return {0, eof};
  const auto n = static_cast<std::size_t>(got.n);
  if (cut) return {n, use.failure("read", truncated)};
  return {n};
}

// Reads with `read` until the buffer is full.
template <class Read>
Result<std::size_t> fill(Buffer buffer, Read read) {
  std::size_t have = 0;
  while (have < buffer.size()) {
    const auto [n, err] =
        read(Buffer(buffer.data() + have, buffer.size() - have));
    have += n;
    if (err == eof && have > 0) return {have, unexpected_eof};
    if (err) return {have, err};
  }
  return {have};
}

// Keeps what `read` gives until it gives eof.
template <class Read>
Result<std::string> read_all(const Conn& conn, std::size_t limit, Read read) {
  std::string all;
  for (;;) {
    const std::size_t have = all.size();
    // One byte more than the limit tells whether it is kept.
    all.resize(have + std::min<std::size_t>(65536, limit - have) + 1);
    const auto [n, err] = read(Buffer(&all[have], all.size() - have));
    all.resize(have + n);
    if (err == eof) return {std::move(all)};
    if (err) return {std::move(all), err};
    if (all.size() > limit)
      return {std::move(all),
              failure("read", Access::socket(conn), limit_exceeded)};
  }
}

// Writes what `read` gives until it gives eof. The size of the buffer was
// measured: a loop of 256 KiB is as fast as splice(2) and sendfile(2), and is
// the same on every system.
template <class Read>
Result<std::uint64_t> pump(const Conn& to, Read read) {
  constexpr std::size_t size = 256 * 1024;
  std::vector<char> buffer(size);
  for (std::uint64_t total = 0;;) {
    const auto [n, err] = read(buffer);
    const auto [written, write_err] =
        n ? netlite::write(to, buffer.data(), n) : Result<std::size_t>{};
    total += written;
    if (write_err) return {total, write_err};
    if (err == eof) return {total};
    if (err) return {total, err};
  }
}

// Takes `n` bytes off the front of some pieces.
inline void step_over(std::size_t n, iovec*& pieces, std::size_t& count) {
  for (; count > 1 && n >= pieces->iov_len; ++pieces, --count)
    n -= pieces->iov_len;
  pieces->iov_base = static_cast<char*>(pieces->iov_base) + n;
  pieces->iov_len -= n;
}

// Sends pieces once, or the one piece that has an address.
inline ssize_t send_pieces(int fd, iovec* pieces, std::size_t count,
                           const sys::Address* to) {
  if (to) return sys::sendto(fd, pieces->iov_base, pieces->iov_len, *to);
  if (count == 1) return sys::send(fd, pieces->iov_base, pieces->iov_len);
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
  return sys::sendmsg(fd, message);
}

// Writes all the pieces, a message in one go; the count survives an error.
inline Result<std::size_t> write(const Use& use, iovec* pieces,
                                 std::size_t count, Mode mode = Mode::wait,
                                 const sys::Address* to = nullptr,
                                 const char* op = "write") {
  const auto turn = take_turn(use->writing, mode);
  if (!turn) return {0, use.failure(op, would_block)};
  std::size_t left = 0, written = 0;
  for (std::size_t i = 0; i < count; ++i) left += pieces[i].iov_len;
  for (;;) {
    const Outcome sent = attempt(*use, use->writing, POLLOUT, mode, [&] {
      // An empty message is a message; an empty write to a stream is nothing.
      if (use->is_stream() && left == 0) return ssize_t{0};
      // More than 1,024 pieces at a time are not portable (IOV_MAX). A stream
      // can take them in turn; of a message the kernel says EMSGSIZE.
      const std::size_t most = use->is_stream() ? 1024 : count;
      return send_pieces(use->fd, pieces, std::min(count, most), to);
    });
    if (sent.why) return {written, use.failure(op, sent.why, op)};
    const auto n = static_cast<std::size_t>(sent.n);
    written += n;
    left -= n;
    if (left == 0 || mode == Mode::once || !use->is_stream()) return {written};
    step_over(n, pieces, count);
  }
}

inline iovec to_iovec(Bytes bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

inline Result<std::size_t> write(const Conn& conn, Bytes bytes, Mode mode) {
  const Use use(conn);
  if (!use) return {0, use.failure("write")};
  iovec piece = to_iovec(bytes);
  return write(use, &piece, 1, mode);
}

// Makes a call that does not block, on the descriptor.
template <class Call>
Error control(const Handle& handle, const char* op, const char* name, Call call,
              bool both_ends = true) {
  const Use use(handle);
  if (!use) return use.failure(op, closed, name, both_ends);
  if (call(use->fd) < 0)
    return use.failure(op, sys::last_error(), name, both_ends);
  return {};
}

// The kernel takes a negative size for a huge one.
inline Error set_buffer(const Handle& handle, int name, int bytes) {
  const auto set = [&](int fd) {
    errno = EINVAL;
    return bytes < 0 ? -1 : sys::setsockopt(fd, SOL_SOCKET, name, bytes);
  };
  return control(handle, "set", "setsockopt", set, false);
}

inline Error move_deadlines(const Handle& handle, Deadline deadline,
                            bool reading, bool writing) {
  const Use use(handle);
  // As in Go, deadlines and buffers are this end's, other options both ends'.
  if (!use) return use.failure("set", closed, "", false);
  const std::lock_guard<std::mutex> lock(use->guard);
  const auto move = [&](Direction& direction) {
    direction.deadline = deadline.when().time_since_epoch().count();
    kick(direction, deadline.when());
  };
  if (reading) move(use->reading);
  if (writing) move(use->writing);
  return {};
}

// Whole seconds, rounded up, at most as many as tcp(7) takes.
inline int whole_seconds(std::chrono::nanoseconds d) {
  const auto whole = std::chrono::ceil<std::chrono::seconds>(d).count();
  return static_cast<int>(std::min<std::int64_t>(whole, 32767));
}

// What every TCP connection gets. A refusal is no reason to fail.
inline void set_tcp_defaults(int fd, std::chrono::nanoseconds keep_alive,
                             bool no_delay) {
  if (no_delay) sys::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (keep_alive.count() == 0) keep_alive = std::chrono::seconds(15);
  const int seconds = whole_seconds(keep_alive);
  if (keep_alive.count() > 0) sys::set_keep_alive(fd, seconds, seconds, 0);
}

inline Addr local_of(int fd, const Network& network) {
  sys::Address address;
  if (sys::getsockname(fd, address) < 0) return {};
  return from_kernel(network, address);
}

// Makes a handle of a descriptor that somebody else has opened.
template <class H>
Result<H> adopt(const char* op, int fd) {
  constexpr bool listening = std::is_same_v<H, Listener>;
  constexpr bool datagrams = std::is_same_v<H, PacketConn>;
  const auto fail = [&](std::error_code why, const char* call) {
    return Result<H>{H(), {why, {op, "", call}}};
  };
  int type = 0, listens = 0;
  if (sys::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, sizeof type) < 0 ||
      sys::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, sizeof listens) <
          0)
    return fail(sys::last_error(), "getsockopt");
  sys::Address local, remote;
  if (sys::getsockname(fd, local) < 0)
    return fail(sys::last_error(), "getsockname");
  const int family = local.family();
  const bool ip = family == AF_INET || family == AF_INET6;
  const Network* network = nullptr;
  for (const Network& each : networks)
    if (!network && each.type == type &&
        each.family == (ip ? AF_UNSPEC : family))
      network = &each;
  if (!network || (listens != 0) != listening ||
      (datagrams && type != SOCK_DGRAM))
    return fail(unexpected_address_type, "");
  const bool peer = sys::getpeername(fd, remote) == 0;
  if (!peer && !listening && !datagrams)
    return fail(sys::last_error(), "getpeername");
  if (sys::adopt(fd) < 0) return fail(sys::last_error(), "fcntl");
  // As in Go: what is accepted gets all the defaults, a connection no delay.
  if (network->base == "tcp")
    set_tcp_defaults(fd, std::chrono::nanoseconds(listening ? 0 : -1), true);
  return {make_handle<H>(Descriptor(fd), *network, from_kernel(*network, local),
                         peer ? from_kernel(*network, remote) : Addr())};
}

// Is it any address of this machine, 0.0.0.0 or ::, or none?
inline bool is_any(const Addr& addr) {
  return !addr.ip() || addr.ip().is_unspecified();
}

// Whether an IPv6 socket that will be bound takes IPv4 too (RFC 3493, 5.3).
inline void choose_families(int fd, int family, const Network& network) {
  if (family == AF_INET6)
    sys::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                    network.family == AF_INET6 ? 1 : 0);
}

// One connect under way, and the addresses still to be tried after it.
struct Lane {
  std::vector<Addr> addrs{};
  std::size_t next = 0;  // the one to try next
  bool started = false;
  Descriptor fd{};  // of the connect under way
  Time until{};     // give it up then
  int repeats = 0;  // of the same address
  Error error{};    // the first failure

  bool pending() const { return bool(fd); }
  bool spent() const { return !pending() && next == addrs.size(); }
  const Addr& current() const { return addrs[next - 1]; }
};

// Dials a list of addresses, the second family beside the first, all in one
// thread: a connect that takes its time is left alone, and poll tells.
class Dialer {
 public:
  Dialer(const Network& network, const DialOptions& options, Deadline deadline)
      : network_(network), options_(options), deadline_(deadline) {}

  Result<Conn> dial(std::vector<Addr> addrs) {
    divide(std::move(addrs));
    lanes_[0].started = true;
    for (;;) {
      for (Lane& lane : lanes_)
        while (lane.started && !lane.pending() && !lane.spent())
          if (begin(lane)) return {std::move(conn_)};
      if (!lanes_[1].started &&
          (lanes_[0].spent() || Deadline(second_start_).passed())) {
        lanes_[1].started = true;
      } else if (lanes_[0].spent() && lanes_[1].spent()) {
        return {Conn(), lanes_[0].error};
      } else if (look_at_pending()) {
        return {std::move(conn_)};
      }
    }
  }

 private:
  // The family of the first address goes first; "tcp" gives the other one a
  // lane of its own and a later start (RFC 8305).
  void divide(std::vector<Addr> addrs) {
    auto delay = options_.fallback_delay;
    if (delay.count() == 0) delay = std::chrono::milliseconds(300);
    const bool race = network_.name == "tcp" && delay.count() > 0;
    const bool first_is6 = addrs.front().ip().is6();
    for (Addr& addr : addrs) {
      const bool second = race && addr.ip().is6() != first_is6;
      lanes_[second ? 1 : 0].addrs.push_back(std::move(addr));
    }
    second_start_ = time_after(delay);
  }

  // Starts on the next address of a lane; true when it is connected.
  bool begin(Lane& lane) {
    const std::size_t left = lane.addrs.size() - lane.next++;
    lane.repeats = 0;
    if (deadline_.passed()) return fail(lane, timed_out);
    lane.until = share_of_time(left);
    return connect(lane);
  }

  // Each address gets an equal share of the time left, two seconds at least:
  // one silent address must not use up the time of the good ones.
  Time share_of_time(std::size_t addrs) const {
    if (deadline_.never()) return deadline_.when();
    const Time now = Deadline::Clock::now();
    const Time::duration share =
        (deadline_.when() - now) / static_cast<Time::rep>(addrs);
    const Time::duration least = std::chrono::seconds(2);
    return std::min(deadline_.when(), now + std::max(share, least));
  }

  // Opens a fresh socket - one that failed is spent - and begins to connect.
  bool connect(Lane& lane) {
    const Addr& local = options_.local;
    int family = network_.family;
    if (family == AF_UNSPEC)
      family = lane.current().ip().is6() || local.ip().unmap().is6() ? AF_INET6
                                                                     : AF_INET;
    Descriptor fd(sys::socket(family, network_.type));
    if (!fd) return fail(lane, sys::last_error(), "socket");
    if (options_.control)
      if (const Error err = options_.control(fd.get()))
        return fail(lane, err.code(), err.subject().c_str());
    if (network_.base == "udp")
      sys::setsockopt(fd.get(), SOL_SOCKET, SO_BROADCAST, 1);
    sys::Address address;
    if (local) {
      choose_families(fd.get(), family, network_);
      if (const auto why = to_kernel(local, family, address))
        return fail(lane, why, "bind");
      if (sys::bind(fd.get(), address) < 0)
        return fail(lane, sys::last_error(), "bind");
    }
    if (const auto why = to_kernel(lane.current(), family, address))
      return fail(lane, why, "connect");
    const int error = sys::connect(fd.get(), address) < 0 ? errno : 0;
    lane.fd = std::move(fd);
    if (error == EINPROGRESS || error == EINTR) return false;
    return finish(lane, error);
  }

  // A connect has ended, well or badly; true when it is connected.
  bool finish(Lane& lane, int error) {
    Descriptor fd = std::move(lane.fd);
    if (error) return fail(lane, {error, std::system_category()}, "connect");
    Addr local = local_of(fd.get(), network_);
    Addr remote = lane.current();
    // 0.0.0.0 became 127.0.0.1, a zone its number, a symbolic link its file.
    const IP& ip = remote.ip();
    sys::Address address;
    if ((!ip || ip.is_unspecified() || !ip.zone().empty()) &&
        sys::getpeername(fd.get(), address) == 0)
      remote = from_kernel(network_, address);
    // TCP lets two connects meet in the middle, even one with itself: who
    // dials a free local port may be given that very port for this end.
    if (network_.base == "tcp" && local == remote &&
        options_.local.port() == 0) {
      if (lane.repeats++ < 2) return connect(lane);
      return fail(lane, {ECONNREFUSED, std::system_category()}, "connect");
    }
    if (network_.base == "tcp")
      set_tcp_defaults(fd.get(), options_.keep_alive, options_.no_delay);
    conn_ = make_handle<Conn>(std::move(fd), network_, std::move(local),
                              std::move(remote));
    return true;
  }

  bool fail(Lane& lane, std::error_code why, const char* call = "") {
    if (why.category() == category()) call = "";
    if (!lane.error)
      lane.error = {why,
                    {"dial", std::string(network_.name), call, "",
                     options_.local, lane.current()}};
    return false;
  }

  // Waits for the connects under way, at most until something else is due;
  // true when one is connected.
  bool look_at_pending() {
    pollfd fds[2];
    Lane* lanes[2];
    std::size_t count = 0;
    Time until = lanes_[1].started ? Time::max() : second_start_;
    for (Lane& lane : lanes_) {
      if (!lane.pending()) continue;
      fds[count] = {lane.fd.get(), POLLOUT, 0};
      lanes[count++] = &lane;
      until = std::min(until, lane.until);
    }
    const bool failed =
        sys::poll(fds, count, poll_time(until)) < 0 && errno != EINTR;
    const int why = errno;
    for (std::size_t i = 0; i < count; ++i) {
      if (failed) {
        finish(*lanes[i], why);
      } else if (fds[i].revents != 0) {
        int error = 0;
        if (sys::getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &error,
                            sizeof error) < 0)
          error = errno;
        if (finish(*lanes[i], error)) return true;
      } else if (Deadline(lanes[i]->until).passed()) {
        lanes[i]->fd.reset();
        fail(*lanes[i], timed_out);
      }
    }
    return false;
  }

  const Network& network_;
  const DialOptions& options_;
  const Deadline deadline_;
  Lane lanes_[2]{};
  Time second_start_{};
  Conn conn_{};
};

// Keeps the addresses that a given local address can reach: those of its
// family. Any address, 0.0.0.0 or ::, is of both.
inline Error keep_reachable(const Addr& local, std::vector<Addr>& addrs) {
  if (is_any(local)) return {};
  std::vector<Addr> fitting;
  for (Addr& addr : addrs)
    if (is_any(addr) || addr.ip().is6() == local.ip().unmap().is6())
      fitting.push_back(std::move(addr));
  addrs = std::move(fitting);
  if (addrs.empty()) return address_error(no_suitable_address, local.string());
  return {};
}

}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {

inline Result<Conn> dial(std::string_view network, std::string_view address,
                         const DialOptions& options) {
  const auto fail = [&](const Error& cause) {
    return Result<Conn>{
        Conn(),
        {cause.code(), {"dial", std::string(network), cause.subject()}}};
  };
  const internal::Network* known = internal::find_network(network);
  if (!known) return {Conn(), internal::no_network("dial", network)};
  if (address.empty()) return fail(missing_address);
  const Addr& local = options.local;
  if (local && local.network() != known->base)
    return fail(
        internal::address_error(mismatched_local_address, local.string()));

  Deadline deadline = options.deadline;
  if (options.timeout.count() != 0)
    deadline = std::min(deadline.when(), internal::time_after(options.timeout));
  auto [addrs, err] = internal::resolve_all(*known, address, deadline);
  if (!err) err = internal::keep_reachable(local, addrs);
  if (err) return fail(err);
  return internal::Dialer(*known, options, deadline).dial(std::move(addrs));
}

template <class Rep, class Period>
Result<Conn> dial_timeout(std::string_view network, std::string_view address,
                          std::chrono::duration<Rep, Period> timeout) {
  DialOptions options;
  options.timeout = internal::saturated(timeout);
  return dial(network, address, options);
}

inline Pipe pipe() {
  int fds[2];
  if (sys::socketpair(fds) < 0)
    return {{}, {}, {sys::last_error(), {"pipe", "", "socketpair"}}};
  internal::Descriptor first(fds[0]), second(fds[1]);
  const internal::Network& network = internal::pipe_network;
  const Addr end("pipe", "pipe");
  return {internal::make_handle<Conn>(std::move(first), network, end, end),
          internal::make_handle<Conn>(std::move(second), network, end, end)};
}

inline Result<std::size_t> read(const Conn& conn, Buffer buffer) {
  return internal::read(conn, buffer, internal::Mode::wait);
}

inline Result<std::size_t> read_full(const Conn& conn, Buffer buffer) {
  return internal::fill(buffer, [&](Buffer rest) { return read(conn, rest); });
}

inline Result<std::size_t> write(const Conn& conn, Bytes bytes) {
  return internal::write(conn, bytes, internal::Mode::wait);
}

inline Result<std::size_t> write(const Conn& conn,
                                 std::initializer_list<Bytes> pieces) {
  const internal::Use use(conn);
  if (!use) return {0, use.failure("writev")};
  std::vector<iovec> list;
  for (const Bytes& piece : pieces) list.push_back(internal::to_iovec(piece));
  if (list.empty()) list.push_back({nullptr, 0});
  return internal::write(use, list.data(), list.size(), internal::Mode::wait,
                         nullptr, "writev");
}

inline Error close(const Handle& handle) {
  internal::Socket* s = internal::Access::socket(handle);
  if (!s || !s->enter(internal::Socket::closing))
    return internal::failure("close", s, closed);
  internal::remove_file(*s);
  std::vector<std::weak_ptr<internal::PollerState>> pollers;
  {
    const std::lock_guard<std::mutex> lock(s->guard);
    internal::kick(s->reading);
    internal::kick(s->writing);
    pollers.swap(s->pollers);
  }
  for (const auto& each : pollers)
    if (const auto poller = each.lock()) internal::forget(*poller, *s);
  if (s->leave() && sys::close(s->fd) < 0 && errno != EINTR)
    return internal::failure("close", s, sys::last_error(), "close");
  return {};
}

inline Error close_read(const Conn& conn) {
  return internal::control(conn, "close", "shutdown",
                           [](int fd) { return sys::shutdown(fd, SHUT_RD); });
}

inline Error close_write(const Conn& conn) {
  return internal::control(conn, "close", "shutdown",
                           [](int fd) { return sys::shutdown(fd, SHUT_WR); });
}

inline const Addr& local_addr(const Handle& handle) {
  const internal::Socket* s = internal::Access::socket(handle);
  return s ? s->local : internal::only<Addr>();
}

inline const Addr& remote_addr(const Conn& conn) {
  const internal::Socket* s = internal::Access::socket(conn);
  return s ? s->remote : internal::only<Addr>();
}

inline Error set_deadline(const Handle& handle, Deadline deadline) {
  return internal::move_deadlines(handle, deadline, true, true);
}
inline Error set_read_deadline(const Handle& handle, Deadline deadline) {
  return internal::move_deadlines(handle, deadline, true, false);
}
inline Error set_write_deadline(const Handle& handle, Deadline deadline) {
  return internal::move_deadlines(handle, deadline, false, true);
}

template <class T>
Error set_option(const Handle& handle, int level, int name, const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
  return internal::control(handle, "set", "setsockopt", [&](int fd) {
    return sys::setsockopt(fd, level, name, &value, sizeof value);
  });
}

template <class T>
Result<T> get_option(const Handle& handle, int level, int name) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value{};
  Error err = internal::control(handle, "get", "getsockopt", [&](int fd) {
    return sys::getsockopt(fd, level, name, &value, sizeof value);
  });
  return {value, err};
}

inline Error set_no_delay(const Conn& conn, bool on) {
  return set_option(conn, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

inline Error set_keep_alive(const Conn& conn, std::chrono::nanoseconds idle,
                            std::chrono::nanoseconds interval, int count) {
  if (idle.count() <= 0 || interval.count() <= 0)
    return set_option(conn, SOL_SOCKET, SO_KEEPALIVE, 0);
  return internal::control(conn, "set", "setsockopt", [&](int fd) {
    return sys::set_keep_alive(fd, internal::whole_seconds(idle),
                               internal::whole_seconds(interval), count);
  });
}

inline Error set_linger(const Conn& conn, int seconds) {
  linger value{};
  value.l_onoff = seconds >= 0;
  value.l_linger = std::max(seconds, 0);
  return set_option(conn, SOL_SOCKET, sys::linger_seconds, value);
}

inline Error set_read_buffer(const Handle& handle, int bytes) {
  return internal::set_buffer(handle, SO_RCVBUF, bytes);
}
inline Error set_write_buffer(const Handle& handle, int bytes) {
  return internal::set_buffer(handle, SO_SNDBUF, bytes);
}

inline int native_handle(const Handle& handle) {
  const internal::Use use(handle);
  return use ? use->fd : -1;
}

inline Result<int> duplicate(const Handle& handle) {
  int copy = -1;
  Error err = internal::control(
      handle, "file", "dup", [&](int fd) { return copy = sys::duplicate(fd); });
  return {copy, err};
}

inline Result<Conn> conn_from(int descriptor) {
  return internal::adopt<Conn>("conn_from", descriptor);
}
inline Result<Listener> listener_from(int descriptor) {
  return internal::adopt<Listener>("listener_from", descriptor);
}
inline Result<PacketConn> packet_conn_from(int descriptor) {
  return internal::adopt<PacketConn>("packet_conn_from", descriptor);
}

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Listeners and packets: opening

namespace internal {
inline namespace NETLITE_BUILD {

// Is there a socket's file at this path that nobody listens on?
inline bool is_stale(const std::string& path, const sys::Address& address,
                     int type) {
  struct stat found {};
  if (sys::lstat(path, found) != 0 || !S_ISSOCK(found.st_mode)) return false;
  const Descriptor probe(sys::socket(AF_UNIX, type));
  return probe && sys::connect(probe.get(), address) < 0 &&
         errno == ECONNREFUSED;
}

// bind(2) for a unix socket: with the file mode asked for, and over a dead
// socket's file when that was asked for.
inline int bind_unix(int fd, const sys::Address& address,
                     const std::string& path, int type,
                     const ListenOptions& options) {
  const bool file = !path.empty() && path[0] != '@';
  // The file is born with the socket's own mode: at no time is it open to
  // more than was asked. (Linux; elsewhere only chmod below.)
  if (file && options.mode >= 0) sys::fchmod(fd, options.mode);
  int result = sys::bind(fd, address);
  if (result < 0 && errno == EADDRINUSE && file && options.replace_stale) {
    const bool stale = is_stale(path, address, type);
    if (stale) sys::unlink(path);
    errno = EADDRINUSE;
    if (stale) result = sys::bind(fd, address);
  }
  return result;
}

// Remembers which file bind made. The path is made absolute: the process may
// change its directory before it closes the listener.
inline SocketFile made_file(const std::string& path) {
  struct stat made {};
  if (path.empty() || path[0] == '@' || sys::lstat(path, made) != 0) return {};
  return {sys::absolute(path), made.st_dev, made.st_ino, sys::getpid()};
}

// socket(2) and what comes before bind(2); `family` tells which kind it is.
// "tcp" and "udp" on any address serve both families, with an IPv6 socket that
// takes IPv4 too; a machine without IPv6 serves IPv4.
inline Descriptor open_for_bind(const Network& network, const Addr& addr,
                                int& family) {
  const bool any = is_any(addr);
  family = network.family;
  if (family == AF_UNSPEC) family = any || addr.ip().is6() ? AF_INET6 : AF_INET;
  Descriptor fd(sys::socket(family, network.type));
  if (!fd && errno == EAFNOSUPPORT && network.family == AF_UNSPEC && any) {
    family = AF_INET;
    fd.reset(sys::socket(family, network.type));
  }
  if (fd) choose_families(fd.get(), family, network);
  return fd;
}

// What errno says of a call, before anybody has told what it was made for.
inline Error call_error(const char* call) {
  return {sys::last_error(), {"", "", call}};
}

// What a socket gets before it is bound.
inline Error prepare_to_bind(int fd, const Network& network, bool group,
                             const ListenOptions& options) {
  if (network.base == "tcp" || group)
    sys::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (network.base == "udp") sys::setsockopt(fd, SOL_SOCKET, SO_BROADCAST, 1);
  const bool share =
      options.reuse_port || (group && sys::groups_need_reuse_port);
  if (share && sys::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
    return call_error("setsockopt");
  return options.control ? options.control(fd) : Error();
}

// Opens a socket for an address, and binds it.
inline Error open_and_bind(const Network& network, const Addr& addr,
                           const ListenOptions& options, Descriptor& fd) {
  int family = 0;
  fd = open_for_bind(network, addr, family);
  if (!fd) return call_error("socket");
  const bool group = network.type == SOCK_DGRAM && addr.ip().is_multicast();
  if (Error why = prepare_to_bind(fd.get(), network, group, options))
    return why;
  // A group's datagrams arrive at any address; join_group chooses the group.
  const Addr place = group ? Addr(network.base, IP(), addr.port()) : addr;
  sys::Address name;
  if (const auto why = to_kernel(place, family, name))
    return {why, {"", "", "bind"}};
  const int result = family == AF_UNIX ? bind_unix(fd.get(), name, addr.path(),
                                                   network.type, options)
                                       : sys::bind(fd.get(), name);
  return result < 0 ? call_error("bind") : Error();
}

// Makes what listen and listen_packet give.
template <class H>
Result<H> bind_to(std::string_view network_name, std::string_view address,
                  const ListenOptions& options) {
  constexpr bool packets = std::is_same_v<H, PacketConn>;
  Addr addr;
  const auto fail = [&](const Error& why) {
    return Result<H>{
        H(),
        {why.code(),
         {"listen", std::string(network_name), why.subject(), "", addr}}};
  };
  const Network* network = find_network(network_name);
  if (!network) return {H(), no_network("listen", network_name)};
  const auto [addrs, err] = resolve_all(*network, address, no_deadline);
  if (err) return fail(err);
  addr = favourite(addrs);
  if (packets != (network->type == SOCK_DGRAM))
    return fail(address_error(unexpected_address_type, address));

  Descriptor fd;
  if (const Error why = open_and_bind(*network, addr, options, fd))
    return fail(why);
  if (network->base == "tcp")
    set_tcp_defaults(fd.get(), options.keep_alive, true);
  // From here on a failure removes the file that bind made.
  Addr here = local_of(fd.get(), *network);
  H handle = make_handle<H>(std::move(fd), *network, std::move(here));
  Socket& made = *Access::socket(handle);
  made.keep_alive = options.keep_alive;
  if (network->family == AF_UNIX) made.file = made_file(addr.path());
  if (!made.file.path.empty() && options.mode >= 0 &&
      sys::chmod(addr.path(), options.mode) < 0)
    return fail(call_error("chmod"));
  // The kernel cuts the number to what the system allows.
  const int backlog = options.backlog > 0 ? options.backlog : INT_MAX;
  if (!packets && sys::listen(made.fd, backlog) < 0)
    return fail(call_error("listen"));
  // The file of a unixgram socket stays; we knew of it for failures only.
  if (packets) made.file = {};
  return {std::move(handle)};
}

inline Result<Conn> accept(const Listener& listener, Mode mode) {
  const Use use(listener);
  if (!use) return {Conn(), use.failure("accept")};
  sys::Address peer;
  Outcome got;
  do {
    got = take(use, mode, [&] {
      return static_cast<ssize_t>(sys::accept(use->fd, peer));
    });
  } while (sys::concerns_one_client(got.why));
  if (got.why) return {Conn(), use.failure("accept", got.why, "accept4")};

  Descriptor fd(static_cast<int>(got.n));
  if (!sys::accepted_inherits && use->network.base == "tcp")
    set_tcp_defaults(fd.get(), use->keep_alive, true);
  // Only a listener on any address has to ask which one the client chose.
  const bool any = use->local.ip().is_unspecified();
  Addr local = any ? local_of(fd.get(), use->network) : use->local;
  return {make_handle<Conn>(std::move(fd), use->network, std::move(local),
                            from_kernel(use->network, peer))};
}

}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {

inline Result<Listener> listen(std::string_view network,
                               std::string_view address,
                               const ListenOptions& options) {
  return internal::bind_to<Listener>(network, address, options);
}

inline Result<Conn> accept(const Listener& listener) {
  return internal::accept(listener, internal::Mode::wait);
}

// ---------------------------------------------------------------------------
// Packets

inline Result<PacketConn> listen_packet(std::string_view network,
                                        std::string_view address,
                                        const ListenOptions& options) {
  return internal::bind_to<PacketConn>(network, address, options);
}

}  // namespace NETLITE_BUILD

namespace internal {
inline namespace NETLITE_BUILD {

inline Packet read_from(const Conn& packets, Buffer buffer, Mode mode) {
  const Use use(packets);
  if (!use) return {0, {}, use.failure("read")};
  if (use->is_stream() && buffer.size() == 0) return {0, use->remote};
  sys::Address from;
  bool cut = false;
  const Outcome got =
      take(use, mode, [&] { return receive(use, buffer, from, cut); });
  if (got.why) return {0, {}, use.failure("read", got.why, "recvfrom")};
  Packet packet{static_cast<std::size_t>(got.n),
                use->remote ? use->remote : from_kernel(use->network, from)};
  if (got.n == 0 && use->network.type != SOCK_DGRAM) packet.error = eof;
  if (cut) packet.error = use.failure("read", truncated);
  return packet;
}

// Nil for an open unix socket.
inline Error unix_only(const Use& use, const char* op) {
  if (!use) return use.failure(op);
  if (use->network.family == AF_UNIX) return {};
  return use.failure(op, unexpected_address_type);
}

// An interface's index, or an error that names it.
inline Result<unsigned> find_interface(const Use& use,
                                       const std::string& name) {
  if (const unsigned index = sys::if_nametoindex(name)) return {index};
  return {0, use.failure("set", {ENODEV, std::system_category()},
                         ("interface " + name).c_str())};
}

inline Error change_group(const Conn& packets, const IP& group,
                          const std::string& interface_name, int option) {
  const Use use(packets);
  if (!use) return use.failure("set");
  const int family = group.unmap().is4() ? AF_INET : AF_INET6;
  if (use->network.family != AF_UNSPEC && use->network.family != family)
    return use.failure("set", no_suitable_address);
  sys::Address address;
  to_kernel(Addr("udp", group, 0), family, address);
  group_req request{};
  std::memcpy(&request.gr_group, &address.storage, sizeof address.storage);
  const std::string& name =
      interface_name.empty() ? group.zone() : interface_name;
  if (!name.empty()) {
    const auto [index, err] = find_interface(use, name);
    if (err) return err;
    request.gr_interface = index;
  }
  sys::hear_joined_only(use->fd, family);
  return set_option(packets, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                    option, request);
}

// Sets an option in both its forms on a socket that serves both families.
template <class V4, class V6>
Error set_multicast(const Conn& packets, int v4, const V4& value4, int v6,
                    const V6& value6) {
  const Socket* s = Access::socket(packets);
  if (!s || s->family() == AF_INET)
    return set_option(packets, IPPROTO_IP, v4, value4);
  if (s->network.family == AF_UNSPEC)
    set_option(packets, IPPROTO_IP, v4, value4);
  return set_option(packets, IPPROTO_IPV6, v6, value6);
}

}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {

inline Packet read_from(const Conn& packets, Buffer buffer) {
  return internal::read_from(packets, buffer, internal::Mode::wait);
}

inline Result<std::size_t> write_to(const Conn& packets, Bytes bytes,
                                    const Addr& to) {
  if (!packets) return {0, internal::failure("write", nullptr, closed)};
  const internal::Use use(packets);
  const auto fail = [&](std::error_code why, const std::string& subject) {
    return Result<std::size_t>{0,
                               {why,
                                {"write", std::string(use->network.name),
                                 subject, "", use->local, to}}};
  };
  if (!use) return fail(closed, "");
  if (use->remote) return fail(write_to_connected, "");
  if (!to) return fail(missing_address, "");
  if (to.network() != use->network.base && use->family() == AF_UNIX)
    return fail({EAFNOSUPPORT, std::system_category()}, "");
  if (to.network() != use->network.base)
    return fail(unexpected_address_type, "address " + to.string());
  sys::Address address;
  if (const auto why = internal::to_kernel(to, use->family(), address))
    return fail(why, why == non_ipv4_address ? "address " + to.ip().string()
                                             : "sendto");
  iovec piece = internal::to_iovec(bytes);
  auto [n, err] =
      internal::write(use, &piece, 1, internal::Mode::wait, &address);
  if (!err) return {n};
  return fail(err.code(), err.subject().empty() ? "" : "sendto");
}

inline Error join_group(const Conn& packets, const IP& group,
                        const std::string& interface_name) {
  return internal::change_group(packets, group, interface_name,
                                MCAST_JOIN_GROUP);
}
inline Error leave_group(const Conn& packets, const IP& group,
                         const std::string& interface_name) {
  return internal::change_group(packets, group, interface_name,
                                MCAST_LEAVE_GROUP);
}

inline Error set_multicast_ttl(const Conn& packets, int hops) {
  if (hops < 0) hops = 256;  // what the kernel refuses; -1 it does not
  return internal::set_multicast(packets, IP_MULTICAST_TTL, hops,
                                 IPV6_MULTICAST_HOPS, hops);
}
inline Error set_multicast_loopback(const Conn& packets, bool on) {
  const int value = on ? 1 : 0;
  return internal::set_multicast(packets, IP_MULTICAST_LOOP, value,
                                 IPV6_MULTICAST_LOOP, value);
}
inline Error set_multicast_interface(const Conn& packets,
                                     const std::string& name) {
  const internal::Use use(packets);
  if (!use) return use.failure("set");
  const auto [found, err] = internal::find_interface(use, name);
  if (err) return err;
  const int index = static_cast<int>(found);
  ip_mreqn request{};
  request.imr_ifindex = index;
  return internal::set_multicast(packets, IP_MULTICAST_IF, request,
                                 IPV6_MULTICAST_IF, index);
}

// ---------------------------------------------------------------------------
// Unix extras

inline Error send_descriptor(const Conn& conn, int descriptor) {
  const internal::Use use(conn);
  if (const Error err = internal::unix_only(use, "write")) return err;
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  const std::lock_guard<std::mutex> turn(use->writing.turn);
  const auto sent =
      internal::attempt(*use, use->writing, POLLOUT, internal::Mode::wait,
                        [&] { return sys::sendmsg(use->fd, message); });
  if (sent.why) return use.failure("write", sent.why, "sendmsg");
  return {};
}

inline Result<int> receive_descriptor(const Conn& conn) {
  const internal::Use use(conn);
  if (const Error err = internal::unix_only(use, "read")) return {-1, err};
  int descriptor = -1;
  char byte = 0;
  iovec piece{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  const auto got = internal::take(use, internal::Mode::wait, [&] {
    message = msghdr();
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = room;
    // Not sizeof room: that is rounded up, and on 64 bits holds two.
    message.msg_controllen = CMSG_LEN(sizeof descriptor);
    return sys::recvmsg(use->fd, message);
  });
  if (got.why) return {-1, use.failure("read", got.why, "recvmsg")};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET &&
      header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    sys::close_on_exec(descriptor);
  }
  // More descriptors or more bytes; or one that our table had no room for.
  if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
    return {descriptor, use.failure("read", truncated)};
  if (descriptor >= 0) return {descriptor};
  if (got.n == 0 && use->network.type != SOCK_DGRAM) return {-1, eof};
  return {-1, use.failure("read", no_descriptor)};
}

inline Result<Credentials> peer_credentials(const Conn& conn) {
  const internal::Use use(conn);
  if (const Error err = internal::unix_only(use, "get")) return {{}, err};
  Credentials peer;
  if (sys::peer_credentials(use->fd, peer) < 0)
    return {{}, use.failure("get", sys::last_error(), "getsockopt")};
  return {peer};
}

inline Error set_unlink_on_close(const Listener& listener, bool on) {
  const internal::Use use(listener);
  if (Error err = internal::unix_only(use, "set")) return err;
  internal::SocketFile file;
  if (on) file = internal::made_file(local_addr(listener).path());
  const std::lock_guard<std::mutex> lock(use->guard);
  if (use->is_closed()) return use.failure("set");
  // The one that it made is known better than the path tells now.
  if (!on || use->file.path.empty()) std::swap(use->file, file);
  return {};
}

// ---------------------------------------------------------------------------
// Helpers

inline Result<std::string> read_until(Reader& reader, char end,
                                      std::size_t limit) {
  std::string& ahead = internal::Access::ahead(reader);
  const auto take = [&](std::size_t n) {
    std::string taken = ahead.substr(0, n);
    ahead.erase(0, n);
    return taken;
  };
  for (std::size_t looked = 0;;) {
    const std::size_t at = ahead.find(end, looked);
    if (at < limit) return {take(at + 1)};
    if (ahead.size() >= limit)
      return {{},
              internal::failure("read", internal::Access::socket(reader.conn()),
                                limit_exceeded)};
    looked = ahead.size();
    ahead.resize(looked + 4096);
    const auto [n, err] = read(reader.conn(), {&ahead[looked], 4096});
    ahead.resize(looked + n);
    if (err == eof && looked > 0) return {take(looked), unexpected_eof};
    if (err) return {{}, err};
  }
}

inline Result<std::string> read_line(Reader& reader, std::size_t limit) {
  auto [line, err] = read_until(reader, '\n', limit);
  if (!err) {
    line.pop_back();
    if (!line.empty() && line.back() == '\r') line.pop_back();
  }
  return {std::move(line), err};
}

inline Result<std::size_t> read(Reader& reader, Buffer buffer) {
  std::string& ahead = internal::Access::ahead(reader);
  if (ahead.empty()) return read(reader.conn(), buffer);
  const std::size_t n = ahead.copy(buffer.data(), buffer.size());
  ahead.erase(0, n);
  return {n};
}

inline Result<std::size_t> read_full(Reader& reader, Buffer buffer) {
  return internal::fill(buffer,
                        [&](Buffer rest) { return read(reader, rest); });
}

inline Result<std::string> read_all(const Conn& conn, std::size_t limit) {
  return internal::read_all(conn, limit,
                            [&](Buffer room) { return read(conn, room); });
}
inline Result<std::string> read_all(Reader& reader, std::size_t limit) {
  return internal::read_all(reader.conn(), limit,
                            [&](Buffer room) { return read(reader, room); });
}

inline Result<std::uint64_t> copy(const Conn& to, const Conn& from) {
  return internal::pump(to, [&](Buffer buffer) { return read(from, buffer); });
}

inline Result<std::uint64_t> copy(const Conn& to, Reader& from) {
  return internal::pump(to, [&](Buffer buffer) { return read(from, buffer); });
}

inline Result<std::uint64_t> send_file(const Conn& to, int descriptor) {
  return internal::pump(to, [&](Buffer buffer) -> Result<std::size_t> {
    const ssize_t n = sys::read(descriptor, buffer.data(), buffer.size());
    if (n == 0) return {0, eof};
    if (n < 0) return {0, {sys::last_error(), {"read", "file"}}};
    return {static_cast<std::size_t>(n)};
  });
}

inline Result<std::uint64_t> send_file(const Conn& to,
                                       const std::string& path) {
  const internal::Descriptor fd(sys::open(path));
  if (!fd) return {0, {sys::last_error(), {"open", "", path}}};
  return send_file(to, fd.get());
}

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Concurrency

namespace internal {

struct GroupState {
  explicit GroupState(std::size_t most) : limit(most) {}

  const std::size_t limit;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t running = 0;
  Error first{};

  void begin() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return limit == 0 || running < limit; });
    ++running;
  }
  void end(const Error& err) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (err && !first) first = err;
    --running;
    changed.notify_all();
  }
};

}  // namespace internal

inline Group::Group(std::size_t limit)
    : state_(std::make_shared<internal::GroupState>(limit)) {}

inline Group::~Group() { wait(*this); }

inline Error wait(Group& group) {
  internal::GroupState& state = *internal::Access::state(group);
  std::unique_lock<std::mutex> lock(state.mutex);
  state.changed.wait(lock, [&] { return state.running == 0; });
  return std::exchange(state.first, Error());
}

namespace internal {
inline namespace NETLITE_BUILD {

// What a server knows of its connections.
struct Serving {
  Listener listener;
  ServeOptions options;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Conn> conns{};        // empty handles in the free places
  std::vector<std::size_t> free{};  // places in `conns`
  std::atomic<std::size_t> running{0};

  Serving(Listener on, ServeOptions how)
      : listener(std::move(on)), options(std::move(how)) {}

  std::size_t begin(const Conn& conn) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (free.empty()) {
      conns.emplace_back();
      free.reserve(conns.capacity());  // `end` must not need memory
      free.push_back(conns.size() - 1);
    }
    const std::size_t place = free.back();
    free.pop_back();
    conns[place] = conn;
    ++running;
    return place;
  }

  void end(std::size_t place, const Error& err) {
    report(err);
    {
      Conn ended;  // goes without the mutex: close may take its time
      const std::lock_guard<std::mutex> lock(mutex);
      ended = std::exchange(conns[place], Conn());
    }
    const std::lock_guard<std::mutex> lock(mutex);
    free.push_back(place);
    --running;
    changed.notify_all();
    if (options.max_connections == 0) return;
    // The accept loop may be waiting for room.
    Socket* s = Access::socket(listener);
    const std::lock_guard<std::mutex> guard(s->guard);
    ++s->reading.nudges;
    kick(s->reading);
  }

  void report(const Error& err) {
    if (!err || !options.on_error) return;
    const std::lock_guard<std::mutex> lock(mutex);
    sys::guarded([&] { options.on_error(err); });
  }

  // Rests until there are more nudges than were seen - a handler has ended -
  // or the listener is closed, or `limit`. Others may accept meanwhile.
  void rest(std::uint32_t seen, Time limit) {
    const Use use(listener);
    if (use) wait(*use, use->reading, 0, limit, &seen);
  }

  // The next connection, when there is room for it.
  Result<Conn> next() {
    const Socket* s = Access::socket(listener);
    for (;;) {
      const std::uint32_t seen = s->reading.nudges;
      const bool full =
          options.max_connections && running >= options.max_connections;
      if (!full || s->is_closed() || s->reading.due().passed()) break;
      rest(seen, Time::max());
    }
    return accept(listener, Mode::wait);
  }

  // Lets handlers finish; when their grace is over, closes what they use.
  void finish() {
    const Deadline grace = options.grace;
    const auto idle = [&] { return running == 0; };
    std::unique_lock<std::mutex> lock(mutex);
    if (!changed.wait_until(lock, grace.when(), idle))
      for (const Conn& conn : conns)  // the error of a second close may throw
        sys::guarded([&] { netlite::close(conn); });
    changed.wait(lock, idle);
    // A thread on its way out may still hold us, but nothing of the caller's.
    listener = Listener();
    options = ServeOptions();
  }
};

}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {

template <class F, class... Args>
Error go(Group& group, F f, Args... args) {
  const auto state = internal::Access::state(group);
  auto all = std::make_tuple(std::move(args)...);
  auto task = [f = std::move(f),
               all = std::move(all)]() mutable -> decltype(auto) {
    return std::apply(f, std::move(all));
  };
  state->begin();
  const auto start = [&]() -> Error {  // moving the task may throw
    const int error = internal::start(
        std::move(task), [state](const Error& err) { state->end(err); });
    if (error == 0) return {};
    return {{error, std::system_category()}, {"go", "", "pthread_create"}};
  };
  const Error err = internal::run(start);
  if (err) state->end({});
  return err;
}

template <class Handler>
Error serve(const Listener& listener, Handler handler,
            const ServeOptions& options) {
  if (!listener) return internal::failure("serve", nullptr, closed);
  const auto serving = std::make_shared<internal::Serving>(listener, options);
  // However this ends - accept may find no memory - handlers end before it.
  struct End {
    internal::Serving& serving;
    ~End() { serving.finish(); }
  } const end{*serving};
  Error result;
  auto pause = std::chrono::milliseconds(5);
  for (;;) {
    const auto next = serving->next();
    const Conn& conn = next.value;
    const Error& err = next.error;
    if (err == closed) break;
    if (err == timed_out || (err && !err.temporary())) {
      result = err;
      break;
    }
    if (err) {
      // Out of descriptors or memory: the client stays queued. Trying again
      // at once would keep a core busy until somebody frees some.
      serving->report(err);
      serving->rest(internal::Access::socket(listener)->reading.nudges,
                    internal::time_after(pause));
      pause = std::min(pause * 2, std::chrono::milliseconds(1000));
      continue;
    }
    pause = std::chrono::milliseconds(5);
    const std::size_t place = serving->begin(conn);
    const auto start = [&]() -> Error {  // copying the handler may throw
      const int error = internal::start(
          [handler, conn = conn]() mutable -> decltype(auto) {
            return handler(std::move(conn));
          },
          [serving, place](const Error& why) { serving->end(place, why); });
      if (error == 0) return {};
      return internal::failure("serve", internal::Access::socket(conn),
                               {error, std::system_category()},
                               "pthread_create");
    };
    if (const Error why = internal::run(start)) serving->end(place, why);
  }
  return result;
}

}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Poller

namespace internal {

struct Watched {
  Handle handle{};
  unsigned interest = 0;
  std::uint64_t key = 0;
};

struct PollerState {
  int epoll = -1;
  Wakeup wakeup{-1, -1};
  std::mutex mutex;
  std::vector<Watched> watched{};  // by descriptor
  bool woken = false;
  bool signalled = false;  // a token is under way
};

inline namespace NETLITE_BUILD {

inline void release_poller(PollerState* state) {
  if (state->epoll >= 0) sys::close(state->epoll);
  if (state->wakeup.send_end != state->wakeup.take_end)
    sys::close(state->wakeup.send_end);
  if (state->wakeup.take_end >= 0) sys::close(state->wakeup.take_end);
  delete state;
}

// A hang-up comes unasked, but no event at all would mean "stop watching".
inline unsigned poll_events(unsigned interest) {
  return (interest & readable ? POLLIN : 0u) |
         (interest & writable ? POLLOUT : 0u) |
         (interest & hung_up ? POLLHUP : 0u);
}

// Makes the wait under way look again; the mutex is held.
inline void signal(PollerState& state) {
  if (!std::exchange(state.signalled, true))
    sys::wakeup_send(state.wakeup.send_end);
}

// What is watched of a socket changes to `wanted`; the mutex is held.
inline int change(PollerState& state, const Socket& s, Watched wanted) {
  const auto fd = static_cast<std::size_t>(s.fd);
  if (state.watched.size() <= fd) state.watched.resize(fd + 1);
  Watched& now = state.watched[fd];
  const bool known = Access::socket(now.handle) == &s;
  if (!known && wanted.interest == 0) return 0;
  if (sys::epoll_watch(state.epoll, s.fd, poll_events(wanted.interest), known) <
      0)
    return -1;
  now = std::move(wanted);
  // A poll(2) under way does not know of it yet.
  if (!sys::has_epoll) signal(state);
  return 0;
}

// Before the descriptor of a closed socket is released: a duplicate of it
// would keep epoll telling, and a poll(2) under way keeps the file open.
inline void forget(PollerState& state, const Socket& s) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  change(state, s, {});
}

inline Error set_watch(const std::shared_ptr<PollerState>& state,
                       const Handle& handle, unsigned interest,
                       std::uint64_t key) {
  const Use use(handle);
  if (!use) return use.failure("watch");
  if (interest > (readable | writable | hung_up))
    return use.failure("watch", {EINVAL, std::system_category()});
  {
    const std::lock_guard<std::mutex> lock(state->mutex);
    const Watched wanted{interest ? handle : Handle(), interest, key};
    if (change(*state, *use, wanted) < 0)
      return use.failure("watch", sys::last_error(), "epoll_ctl");
  }
  {
    const std::lock_guard<std::mutex> lock(use->guard);
    auto& pollers = use->pollers;
    auto place = pollers.begin();  // ours, or that of one that has gone
    while (place != pollers.end() && !place->expired() &&
           place->lock() != state)
      ++place;
    if (place == pollers.end())
      pollers.push_back(state);
    else
      *place = state;
  }
  if (!use->is_closed()) return {};
  forget(*state, *use);  // close may have asked for the pollers before
  return use.failure("watch");
}

// Waits with epoll, or with poll where that is all there is.
inline int ready_descriptors(PollerState& state, std::vector<pollfd>& ready,
                             int time) {
  ready.clear();
  if (sys::has_epoll) return sys::epoll_wait(state.epoll, ready, time);
  ready.push_back({state.wakeup.take_end, POLLIN, 0});
  {
    const std::lock_guard<std::mutex> lock(state.mutex);
    for (const Watched& each : state.watched) {
      const Use use(each.handle);
      if (use)
        ready.push_back(
            {use->fd, static_cast<short>(poll_events(each.interest)), 0});
    }
  }
  return sys::poll(ready.data(), ready.size(), time);
}

inline std::vector<Event> collect(PollerState& state,
                                  const std::vector<pollfd>& ready) {
  std::vector<Event> events;
  const std::lock_guard<std::mutex> lock(state.mutex);
  for (const pollfd& each : ready) {
    if (each.revents == 0) continue;
    if (each.fd == state.wakeup.take_end) {
      sys::wakeup_take(each.fd);
      state.signalled = false;
      continue;
    }
    const auto fd = static_cast<std::size_t>(each.fd);
    if (fd >= state.watched.size()) continue;
    const Watched& watched = state.watched[fd];
    const Socket* s = Access::socket(watched.handle);
    if (!s || s->is_closed()) continue;
    unsigned ready_for = 0;
    if (each.revents & POLLIN) ready_for |= readable;
    if (each.revents & POLLOUT) ready_for |= writable;
    if (each.revents & (POLLHUP | POLLERR)) ready_for |= readable | hung_up;
    events.push_back({watched.handle, ready_for, watched.key});
  }
  return events;
}

inline Error no_poller(const char* op) { return {closed, {op, ""}}; }

}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {

inline Result<Poller> make_poller() {
  const auto fail = [](const char* call) {
    return Result<Poller>{{}, {sys::last_error(), {"poller", "", call}}};
  };
  Poller poller;
  auto& state = internal::Access::state(poller);
  state.reset(new internal::PollerState, internal::release_poller);
  state->epoll = sys::epoll_create();
  if (sys::has_epoll && state->epoll < 0) return fail("epoll_create");
  int ends[2];
  if (sys::wakeup_pair(ends) < 0) return fail("eventfd");
  state->wakeup = {ends[0], ends[1]};
  if (sys::epoll_watch(state->epoll, ends[0], POLLIN, false) < 0)
    return fail("epoll_ctl");
  return {std::move(poller)};
}

inline Error watch(const Poller& poller, const Handle& handle,
                   unsigned interest, std::uint64_t key) {
  const auto& state = internal::Access::state(poller);
  if (!state) return internal::no_poller("watch");
  return internal::set_watch(state, handle, interest, key);
}

inline Error unwatch(const Poller& poller, const Handle& handle) {
  return watch(poller, handle, 0, 0);
}

inline Result<std::vector<Event>> wait(const Poller& poller,
                                       Deadline deadline) {
  const auto& state = internal::Access::state(poller);
  if (!state) return {{}, internal::no_poller("wait")};
  std::vector<pollfd> ready;
  for (;;) {
    const int time = internal::poll_time(deadline.when());
    if (internal::ready_descriptors(*state, ready, time) < 0 && errno != EINTR)
      return {{}, {sys::last_error(), {"wait", "", "epoll_wait"}}};
    std::vector<Event> events = internal::collect(*state, ready);
    const std::lock_guard<std::mutex> lock(state->mutex);
    const bool woken = std::exchange(state->woken, false);
    if (!events.empty() || woken) return {std::move(events)};
    if (deadline.passed()) return {{}, {timed_out, {"wait", ""}}};
  }
}

inline Error wake(const Poller& poller) {
  const auto& state = internal::Access::state(poller);
  if (!state) return internal::no_poller("wake");
  const std::lock_guard<std::mutex> lock(state->mutex);
  state->woken = true;
  internal::signal(*state);
  return {};
}

inline Result<std::size_t> try_read(const Conn& conn, Buffer buffer) {
  return internal::read(conn, buffer, internal::Mode::once);
}
inline Result<std::size_t> try_write(const Conn& conn, Bytes bytes) {
  return internal::write(conn, bytes, internal::Mode::once);
}
inline Result<Conn> try_accept(const Listener& listener) {
  return internal::accept(listener, internal::Mode::once);
}
inline Packet try_read_from(const Conn& packets, Buffer buffer) {
  return internal::read_from(packets, buffer, internal::Mode::once);
}

}  // namespace NETLITE_BUILD

}  // namespace netlite

#undef NETLITE_TRACED

#endif  // NETLITE_HPP
