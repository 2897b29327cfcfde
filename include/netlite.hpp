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
//   errors, addresses and names, connections, listeners. Between them stands
//   `netlite::sys`: one small function per BSD call, named after its man page.
//   It is the only place that touches the kernel and the only one with #if.
//
//   Three ideas carry everything else; look for them in "The machine":
//     1. A handle is shared. A socket counts the calls inside it, so its
//        descriptor is released only when the last of them has left.
//     2. Every call that may block tries first and waits afterwards, in one
//        single place: `internal::wait`.
//     3. A thread that waits can be woken: by close, and by a deadline that
//        somebody moved.

#ifndef NETLITE_HPP
#define NETLITE_HPP

#define NETLITE_VERSION_MAJOR 0
#define NETLITE_VERSION_MINOR 1
#define NETLITE_VERSION_PATCH 0
#define NETLITE_VERSION "0.1.0"

// ---------------------------------------------------------------------------
// Headers and platform
//
// Two macros are yours to define, for the compiler (-D...), not in the code:
//   NETLITE_TRACE     compiles in the trace of every BSD call; it then runs
//                     when the environment has NETLITE_TRACE=1 or =FILE.
//   NETLITE_PORTABLE  uses the portable half of netlite::sys on Linux too.

#include <arpa/inet.h>
#include <fcntl.h>
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

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__) && !defined(NETLITE_PORTABLE)
#define NETLITE_LINUX 1
#include <sys/eventfd.h>
#endif

#ifdef NETLITE_TRACE
#include <cstdio>
#include <cstdlib>
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
inline namespace NETLITE_BUILD {}
namespace internal {
inline namespace NETLITE_BUILD {}
}  // namespace internal
namespace sys {
inline namespace NETLITE_BUILD {}
}  // namespace sys

// ---------------------------------------------------------------------------
// Errors

class Addr;

namespace internal {
struct Story;
struct Socket;
struct Access;
}  // namespace internal

/// The conditions that netlite itself reports, as values of `category()`.
/// Compare an Error with them: `err == netlite::eof`.
enum Errc {
  eof = 1,          ///< the peer ended its stream; Go's `io.EOF`
  unexpected_eof,   ///< the stream ended in the middle of what was asked for
  closed,           ///< this side has closed the socket; Go's `net.ErrClosed`
  timed_out,        ///< the deadline has passed; `os.ErrDeadlineExceeded`
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
  no_suitable_address,       ///< none of the family asked for
  unexpected_address_type,   ///< listen on udp, listen_packet on tcp
  mismatched_local_address,  ///< a local address of another network
  non_ipv4_address,          ///< an IPv6 address for an IPv4 socket
  truncated,                 ///< a datagram was cut to the buffer
};

/// What the resolver said, as values of `resolver_category()`. The other
/// values of that category are the EAI_... numbers of getaddrinfo(3).
enum ResolverErrc {
  no_such_host = EAI_NONAME,  ///< the name does not exist
};

/// The category of `Errc`, named "netlite".
const std::error_category& category() noexcept;
/// The category of resolver failures, named "resolver".
const std::error_category& resolver_category() noexcept;

/// Makes `std::error_code code = netlite::eof;` work.
std::error_code make_error_code(Errc code) noexcept;
/// Makes `std::error_code code = netlite::no_such_host;` work.
std::error_code make_error_code(ResolverErrc code) noexcept;

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
  Error(std::error_code code) noexcept;
  /// The same for a condition, `return netlite::closed;`.
  Error(Errc code) noexcept;
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

  /// True when time ran out: a deadline, ETIMEDOUT, EAGAIN. Go: `Timeout()`.
  bool timeout() const noexcept;
  /// True when the same call may succeed later: time ran out, or the machine
  /// is short of descriptors or memory. Go: `Temporary()`.
  bool temporary() const noexcept;

  /// What the cause speaks of: "connect", "lookup x"; "" when it speaks for
  /// itself.
  const std::string& subject() const noexcept;

  /// Same cause? The stories may differ.
  friend bool operator==(const Error& a, const std::error_code& b) noexcept {
    return a.code_ == b;
  }
  friend bool operator!=(const Error& a, const std::error_code& b) noexcept {
    return !(a.code_ == b);
  }
  /// Same kind of cause, `err == std::errc::connection_refused`?
  friend bool operator==(const Error& a,
                         const std::error_condition& b) noexcept {
    return a.code_ == b;
  }
  friend bool operator!=(const Error& a,
                         const std::error_condition& b) noexcept {
    return !(a.code_ == b);
  }

 private:
  const internal::Story& story() const noexcept;

  std::error_code code_;
  std::shared_ptr<const internal::Story> story_;
};

/// Prints `err.message()`.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(
    std::basic_ostream<char, Traits>& out, const Error& err) {
  return out << err.message();
}

/// What a call gives, always together with an Error:
/// `auto [conn, err] = net::dial("tcp", "localhost:9988");`
template <class T>
struct [[nodiscard]] Result {
  T value{};
  Error error{};
};

/// What `must` throws; its `what()` is the error's message.
struct Failure : std::runtime_error {
  explicit Failure(const Error& err);
  Error error;
};

/// Gives the value of a result, or throws a Failure that carries the error.
/// Where exceptions are off it prints the message and aborts. Made for small
/// programs and tests: `auto conn = net::must(net::dial("tcp", address));`
template <class T>
T must(Result<T> result);
/// The same for a call that gives nothing but an error.
void must(const Error& err);

// ---------------------------------------------------------------------------
// Addresses and names

/// An IP is an IPv4 or IPv6 address, or nothing (default-constructed).
/// Go counterparts: `net.IP`, `netip.Addr`.
class IP {
 public:
  IP() = default;
  /// An address of `size` bytes, 4 or 16, in network order; another size
  /// makes the empty IP. `zone` names the interface of a link-local address.
  IP(const unsigned char* bytes, std::size_t size, std::string_view zone = {});

  /// True for anything but the empty IP.
  explicit operator bool() const noexcept { return size_ != 0; }
  bool is4() const noexcept { return size_ == 4; }
  bool is6() const noexcept { return size_ == 16; }
  /// True for ::ffff:1.2.3.4, an IPv4 address in IPv6 clothes (RFC 4291).
  bool is4_in_6() const noexcept;
  /// True for 0.0.0.0 and ::, which mean "any address of this machine".
  bool is_unspecified() const noexcept;

  /// The bytes in network order; `size()` of them: 0, 4 or 16.
  const unsigned char* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return size_; }
  /// The interface of a link-local IPv6 address, "eth0" in fe80::1%eth0.
  const std::string& zone() const noexcept { return zone_; }

  /// The IPv4 address inside ::ffff:1.2.3.4; any other address as it is.
  IP unmap() const;
  /// The shortest text (RFC 5952 for IPv6); "" for the empty IP.
  std::string string() const;

  friend bool operator==(const IP& a, const IP& b) noexcept {
    return a.size_ == b.size_ && a.bytes_ == b.bytes_ && a.zone_ == b.zone_;
  }
  friend bool operator!=(const IP& a, const IP& b) noexcept {
    return !(a == b);
  }

 private:
  std::array<unsigned char, 16> bytes_{};
  std::uint8_t size_ = 0;
  std::string zone_;
};

/// An Addr is one end of a connection: IP and port, or a unix socket's name.
/// Go counterpart: `net.Addr` (`*net.TCPAddr`, `*net.UDPAddr`,
/// `*net.UnixAddr`).
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
  const IP& ip() const noexcept { return ip_; }
  /// The port, 0 to 65535, in the machine's own byte order.
  std::uint16_t port() const noexcept { return port_; }
  /// The unix socket's path or "@name"; "@" alone when it has no name.
  const std::string& path() const noexcept { return path_; }
  /// True for a unix socket without a name: nobody can dial or answer it.
  bool unnamed() const noexcept { return path_ == "@"; }
  /// "127.0.0.1:80", "[::1]:80", "/tmp/s.sock", "@name".
  std::string string() const;

  friend bool operator==(const Addr& a, const Addr& b) noexcept {
    return a.network_ == b.network_ && a.ip_ == b.ip_ && a.port_ == b.port_ &&
           a.path_ == b.path_;
  }
  friend bool operator!=(const Addr& a, const Addr& b) noexcept {
    return !(a == b);
  }

 private:
  std::string_view network_;  // points to a literal of `internal::networks`
  IP ip_;
  std::uint16_t port_ = 0;
  std::string path_;
};

/// Prints `addr.string()`.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(
    std::basic_ostream<char, Traits>& out, const Addr& addr) {
  return out << addr.string();
}

/// What `split_host_port` gives: `auto [host, port, err] = ...`.
struct [[nodiscard]] HostPort {
  std::string host;
  std::string port;
  Error error{};
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

inline namespace NETLITE_BUILD {
/// Finds the port of a service, "http" or "8080", for "tcp", "udp" and
/// kin; "" is port 0. Knows a few names by heart and asks services(5) for
/// the rest. Errors: invalid_port (not in 0..65535), unknown_port,
/// unknown_network. Go: `net.LookupPort`.
Result<int> lookup_port(std::string_view network, std::string_view service);

/// Resolves an address to the one that `listen` would take: of several, the
/// first IPv4 address. May block in the resolver, getaddrinfo(3), when the
/// host is a name. Go: `net.ResolveTCPAddr` and its siblings.
Result<Addr> resolve(std::string_view network, std::string_view address);
}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Time

/// A Deadline is a point on the steady clock. A duration means "from now":
/// zero or less has passed already, and one past the clock's end (292 years)
/// never comes. Signals, partial progress and changes of the wall clock do not
/// move it; it never fires early.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  /// At this point in time.
  template <class Duration>
  constexpr Deadline(std::chrono::time_point<Clock, Duration> when)
      : when_(when) {}
  /// So long from now.
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now);

  constexpr Clock::time_point when() const { return when_; }
  bool passed() const;

 private:
  Clock::time_point when_;
};

/// The deadline that never comes; clears one that was set.
inline constexpr Deadline no_deadline{Deadline::Clock::time_point::max()};

// ---------------------------------------------------------------------------
// Connections

/// What Conn and Listener have in common: a Handle refers to a socket, and
/// copies of it refer to the same one. The last copy closes it - what Go
/// programs write as `defer conn.Close()`. All calls on one handle may come
/// from any thread. A default-constructed handle refers to nothing; calls on
/// it give `closed`.
class Handle {
 public:
  Handle() = default;
  /// True when it refers to a socket, be it open or closed.
  explicit operator bool() const noexcept { return bool(socket_); }
  friend bool operator==(const Handle& a, const Handle& b) noexcept {
    return a.socket_ == b.socket_;
  }
  friend bool operator!=(const Handle& a, const Handle& b) noexcept {
    return !(a == b);
  }

 private:
  friend struct internal::Access;
  std::shared_ptr<internal::Socket> socket_;
};

/// One end of a connection. Go counterpart: `net.Conn`.
class Conn : public Handle {};

/// What waits for connections. Go counterpart: `net.Listener`.
class Listener : public Handle {};

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
struct Element<C, std::void_t<decltype(std::declval<C&>().size())>> {
  using type = std::remove_pointer_t<decltype(std::declval<C&>().data())>;
};
template <class C>
using ElementOf = typename Element<C>::type;

template <class T>
inline constexpr bool is_text =
    std::is_convertible_v<const T&, std::string_view> && !std::is_array_v<T>;
}  // namespace internal

/// The bytes to write: text (whatever std::string_view takes), a container or
/// array of bytes, or pointer and size. A view: it owns nothing.
class Bytes {
 public:
  Bytes() = default;
  Bytes(const void* data, std::size_t size) : data_(data), size_(size) {}
  Bytes(const char* text) : Bytes(std::string_view(text)) {}
  /// std::string, std::string_view and whatever converts to the latter.
  template <class T, std::enable_if_t<internal::is_text<T>, int> = 0>
  Bytes(const T& text) : Bytes(std::string_view(text)) {}
  Bytes(std::string_view text) : Bytes(text.data(), text.size()) {}
  /// std::vector, std::array, std::span of bytes.
  template <class C, std::enable_if_t<!internal::is_text<C> &&
                                          internal::is_byte<std::remove_cv_t<
                                              internal::ElementOf<const C>>>,
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

  const char* data() const { return static_cast<const char*>(data_); }
  std::size_t size() const { return size_; }

 private:
  const void* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The room to read into: an array or container of bytes - its size decides,
/// it never grows - or pointer and size.
class Buffer {
 public:
  Buffer(void* data, std::size_t size) : data_(data), size_(size) {}
  template <class T, std::size_t N,
            std::enable_if_t<internal::is_byte<T>, int> = 0>
  Buffer(T (&array)[N]) : Buffer(array, N) {}
  template <class C, std::enable_if_t<internal::is_byte<internal::ElementOf<C>>,
                                      int> = 0>
  Buffer(C&& container) : Buffer(container.data(), container.size()) {}

  char* data() const { return static_cast<char*>(data_); }
  std::size_t size() const { return size_; }

 private:
  void* data_;
  std::size_t size_;
};

/// How to dial; the defaults are Go's. C++20 writes `{.timeout = 2s}`.
/// Go counterpart: `net.Dialer`.
struct DialOptions {
  /// For the whole dial, look-up included. 0: none; negative: passed already.
  std::chrono::nanoseconds timeout{0};
  /// The same as a point in time; the earlier of the two counts.
  Deadline deadline = no_deadline;
  /// The address of this end; none: the system chooses.
  Addr local{};
  /// How long the second address family waits for the first when a name has
  /// both (RFC 8305). 0: 300 ms; negative: one after the other.
  std::chrono::nanoseconds fallback_delay{0};
  /// Idle time and interval of TCP's keep-alive probes, rounded up to whole
  /// seconds. 0: 15 s; negative: no probes.
  std::chrono::nanoseconds keep_alive{0};
  /// False lets TCP hold back small writes (Nagle's algorithm, RFC 896).
  bool no_delay = true;
  /// Sees the descriptor after socket(2), before bind(2) and connect(2); an
  /// error ends this attempt. Go: `Dialer.Control`.
  std::function<Error(int descriptor)> control{};
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
  /// Sees the descriptor after socket(2), before bind(2).
  std::function<Error(int descriptor)> control{};
};

/// What `pipe` gives: `auto [a, b, err] = net::pipe();`.
struct [[nodiscard]] Pipe {
  Conn first;
  Conn second;
  Error error{};
};

inline namespace NETLITE_BUILD {
/// Connects to an address. `network` is tcp, tcp4, tcp6, unix or
/// unixpacket; `address` is "host:port", or a path or "@name" for unix.
/// Blocks until connected, refused, or the deadline of the options.
///
/// A name may have several addresses: they are tried in turn, and the
/// second family gets its chance after 300 ms or when the first has failed
/// (RFC 8305); when all fail, the first error is told. An empty host means
/// this machine. Never returns a connection to itself. Errors: those of
/// connect(2), timed_out, the resolver's, and those of a bad address.
/// Go: `net.Dial`, `Dialer.Dial`.
Result<Conn> dial(std::string_view network, std::string_view address,
                  const DialOptions& options = {});

/// Dials within a time limit, look-up included. 0: no limit; negative:
/// passed already. Go: `net.DialTimeout`.
template <class Rep, class Period>
Result<Conn> dial_timeout(std::string_view network, std::string_view address,
                          std::chrono::duration<Rep, Period> timeout);

/// Makes two connected ends within this process: socketpair(2). Bytes
/// written to one are read from the other. Go: `net.Pipe`, except that the
/// kernel buffers here, so a write need not wait for the read.
Pipe pipe();

/// Reads what is there, at least one byte, at most the buffer. Blocks until
/// there is something. Returns the count; `eof` after the last byte, and
/// again each time; `closed`, `timed_out`, or what recv(2) says. On
/// unixpacket reads one message, and `truncated` when it did not fit. An
/// empty buffer gives 0 at once. Go: `Conn.Read`.
Result<std::size_t> read(const Conn& conn, Buffer buffer);

/// Reads until the buffer is full. Errors as read; the count is what was
/// read before. A stream that ends before the first byte gives `eof`, one
/// that ends later `unexpected_eof`. Go: `io.ReadFull`.
Result<std::size_t> read_full(const Conn& conn, Buffer buffer);

/// Writes all the bytes, in one piece even when other threads write too.
/// Blocks until the kernel has taken them (not: until the peer has read
/// them). With an error, the count says how many it took: `closed`,
/// `timed_out`, or what send(2) says, EPIPE when the peer has gone. Never
/// raises SIGPIPE. Go: `Conn.Write`.
Result<std::size_t> write(const Conn& conn, Bytes bytes);

/// The same for data of `size` bytes.
Result<std::size_t> write(const Conn& conn, const void* data, std::size_t size);

/// Gathers several pieces into one write, `write(conn, {head, body})`,
/// with sendmsg(2). Go: `net.Buffers`.
Result<std::size_t> write(const Conn& conn,
                          std::initializer_list<Bytes> pieces);

/// Closes the socket for all its handles. Wakes every call that is blocked
/// on it with `closed`; the descriptor is released when the last of them
/// has left. Written bytes still reach the peer; unread ones make the peer
/// see a reset (RFC 1122, 4.2.2.13). Does not block unless SO_LINGER is
/// set. A second close gives `closed`. Go: `Conn.Close`, `Listener.Close`.
Error close(const Handle& handle);

/// Ends what we read: a blocked read gets `eof`. shutdown(2), SHUT_RD.
/// Go: `TCPConn.CloseRead`.
Error close_read(const Conn& conn);

/// Ends what we write: the peer reads `eof` after the last byte, and may go
/// on writing. shutdown(2), SHUT_WR. Go: `TCPConn.CloseWrite`.
Error close_write(const Conn& conn);

/// The address of this end; stays valid after close. Go: `LocalAddr`.
const Addr& local_addr(const Handle& handle);

/// The address of the other end; stays valid after close. Go: `RemoteAddr`.
const Addr& remote_addr(const Conn& conn);

/// Sets the deadline of all reads and writes (on a Listener: of accept), now
/// and later, also of calls that are blocked already. A call that finds it
/// passed gives `timed_out`, even when data waits; move or clear it
/// (`no_deadline`), and the connection works on. Go: `SetDeadline`.
Error set_deadline(const Handle& handle, Deadline deadline);
/// The same for reads and accept only. Go: `SetReadDeadline`.
Error set_read_deadline(const Handle& handle, Deadline deadline);
/// The same for writes only. Go: `SetWriteDeadline`.
Error set_write_deadline(const Handle& handle, Deadline deadline);
}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Listeners

inline namespace NETLITE_BUILD {
/// Opens a socket that waits for connections. `network` as in dial. An
/// empty host serves IPv6 and IPv4 alike; port 0 lets the system choose:
/// ask `addr(listener)`. A unix listener makes the file and, when closed,
/// removes it if it is still its own. Does not block unless the host is a
/// name. Errors: those of bind(2) - EADDRINUSE when somebody listens there
/// - and those of a bad address. Go: `net.Listen`, `ListenConfig.Listen`.
Result<Listener> listen(std::string_view network, std::string_view address,
                        const ListenOptions& options = {});

/// Waits for the next connection. Blocks until there is one. One client's
/// misfortune (ECONNABORTED and kin) is no error, the wait goes on; a
/// machine short of descriptors (EMFILE and kin) is: `temporary()`, and the
/// client stays queued. Several threads may accept. Go: `Listener.Accept`.
Result<Conn> accept(const Listener& listener);

/// The address the listener has, with the real port when 0 was asked for.
/// Go: `Listener.Addr`.
const Addr& addr(const Listener& listener);
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

namespace netlite::sys {

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
};

inline namespace NETLITE_BUILD {
#ifdef NETLITE_TRACE
// The trace: one line a call. The arguments are put into words only after
// the call, so that what it received can be shown; errno is left as it was.
namespace trace {

inline std::int64_t now() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// Where the lines go: nowhere, to stderr for people, to a file for programs.
struct Sink {
  int fd = -1;
  bool for_people = true;
  std::int64_t start = now();
  Sink() {
    const char* where = std::getenv("NETLITE_TRACE");
    if (!where || !*where || std::string_view(where) == "0") return;
    for_people = std::string_view(where) == "1";
    fd = for_people
             ? STDERR_FILENO
             : ::open(where, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  }
  static Sink& get() {
    static Sink sink;
    return sink;
  }
};

inline const char* program() {
#ifdef __GLIBC__
  return program_invocation_short_name;
#else
  return ::getprogname();
#endif
}

// Threads are numbered in the order of their first call.
inline int thread() {
  static std::atomic<int> threads{0};
  thread_local const int number = ++threads;
  return number;
}

inline std::string error_name(int error) {
  switch (error) {
#define NETLITE_ERRNO(name) \
  case name: return #name;
    NETLITE_ERRNO(EACCES)
    NETLITE_ERRNO(EADDRINUSE)
    NETLITE_ERRNO(EADDRNOTAVAIL)
    NETLITE_ERRNO(EAFNOSUPPORT)
    NETLITE_ERRNO(EAGAIN)
    NETLITE_ERRNO(EBADF)
    NETLITE_ERRNO(ECONNABORTED)
    NETLITE_ERRNO(ECONNREFUSED)
    NETLITE_ERRNO(ECONNRESET)
    NETLITE_ERRNO(EDESTADDRREQ)
    NETLITE_ERRNO(EHOSTUNREACH)
    NETLITE_ERRNO(EINPROGRESS)
    NETLITE_ERRNO(EINTR)
    NETLITE_ERRNO(EINVAL)
    NETLITE_ERRNO(EMFILE)
    NETLITE_ERRNO(EMSGSIZE)
    NETLITE_ERRNO(ENETUNREACH)
    NETLITE_ERRNO(ENFILE)
    NETLITE_ERRNO(ENOENT)
    NETLITE_ERRNO(ENOTCONN)
    NETLITE_ERRNO(EPERM)
    NETLITE_ERRNO(EPIPE)
    NETLITE_ERRNO(EPROTOTYPE)
    NETLITE_ERRNO(ETIMEDOUT)
#undef NETLITE_ERRNO
    default: return "errno " + std::to_string(error);
  }
}

// The first bytes of some data as a C string literal.
inline std::string quote(const void* data, long size) {
  constexpr long shown = 32;
  if (size < 0) return "...";
  std::string text = "\"";
  for (long i = 0; i < std::min(size, shown); ++i) {
    const unsigned char c = static_cast<const unsigned char*>(data)[i];
    char escaped[5];
    std::snprintf(escaped, sizeof escaped,
                  c < ' ' || c > '~' ? "\\x%02x" : "%c", c);
    text += c == '\n'               ? "\\n"
            : c == '\r'             ? "\\r"
            : c == '"' || c == '\\' ? std::string("\\") + escaped
                                    : escaped;
  }
  return text + (size > shown ? "\"..." : "\"");
}

inline std::string words(const Address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    ::inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof text);
    return text + (":" + std::to_string(ntohs(address.v4.sin_port)));
  }
  if (address.family() == AF_INET6) {
    ::inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof text);
    return "[" + std::string(text) +
           "]:" + std::to_string(ntohs(address.v6.sin6_port));
  }
  const auto head = offsetof(sockaddr_un, sun_path);
  if (address.family() != AF_UNIX || address.size <= head) return "-";
  std::string path(address.un.sun_path, address.size - head);
  if (path[0] == '\0') return "@" + path.substr(1);
  return path.c_str();
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

inline void write_line(const std::string& line) {
  // One write(2) a line keeps the lines of several processes whole.
  if (::write(Sink::get().fd, line.data(), line.size()) < 0) return;
}

inline void tell(const char* name, int fd, const std::string& arguments,
                 long result, int error, std::int64_t start) {
  const std::int64_t end = now();
  char line[400];
  if (Sink::get().for_people) {
    std::string call =
        std::string(name) + "(" + arguments + ") = " + std::to_string(result);
    if (result < 0) call += " " + error_name(error);
    std::string who = program();
    if (thread() > 1) who += "/" + std::to_string(thread());
    std::snprintf(line, sizeof line, "%9.3f  %-9s %-68s %s\n",
                  double(start - Sink::get().start) / 1e6, who.c_str(),
                  call.c_str(), duration(end - start).c_str());
  } else {
    std::snprintf(
        line, sizeof line, "%lld\t%lld\t%s\t%ld\t%d\t%d\t%s\t%s\t%ld\t%s\n",
        static_cast<long long>(start), static_cast<long long>(end), program(),
        static_cast<long>(::getpid()), thread(), fd, name, arguments.c_str(),
        result, result < 0 ? error_name(error).c_str() : "-");
  }
  write_line(line);
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

inline std::error_code last_error() { return {errno, std::system_category()}; }

inline bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

// Makes a call again for as long as signals interrupt it.
template <class Call>
auto retry(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// close(2). Not repeated after EINTR: the descriptor is released all the
// same, and its number may be somebody else's by now.
inline int close(int fd) {
  return NETLITE_TRACED(::close(fd), "close", fd, fd);
}

#ifdef NETLITE_LINUX
// Sockets are born non-blocking and close-on-exec: no child that another
// thread forks in between can inherit them.
constexpr int birth_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
// An accepted TCP socket inherits the options of its listener.
constexpr bool accept_inherits_options = true;
constexpr int no_signal = MSG_NOSIGNAL;
inline int raise(int fd) { return fd; }
#else
constexpr int birth_flags = 0;
constexpr bool accept_inherits_options = false;
#ifdef MSG_NOSIGNAL
constexpr int no_signal = MSG_NOSIGNAL;
#else
constexpr int no_signal = 0;
#endif
// Gives a new descriptor the flags that it was not born with.
inline int raise(int fd) {
  if (fd < 0) return fd;
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
#ifdef SO_NOSIGPIPE
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  return fd;
}
#endif

#ifdef NETLITE_TRACE
inline const char* family_name(int family) {
  return family == AF_INET    ? "AF_INET"
         : family == AF_INET6 ? "AF_INET6"
                              : "AF_UNIX";
}
inline const char* type_name(int type) {
  return type == SOCK_STREAM  ? "SOCK_STREAM"
         : type == SOCK_DGRAM ? "SOCK_DGRAM"
                              : "SOCK_SEQPACKET";
}
#endif

// socket(2)
inline int socket(int family, int type) {
  return raise(NETLITE_TRACED(::socket(family, type | birth_flags, 0), "socket",
                              -1, family_name(family), ", ", type_name(type)));
}

// socketpair(2)
inline int socketpair(int (&fds)[2]) {
  const int made = NETLITE_TRACED(
      ::socketpair(AF_UNIX, SOCK_STREAM | birth_flags, 0, fds), "socketpair",
      -1, "AF_UNIX, SOCK_STREAM, {", fds[0], ", ", fds[1], "}");
  if (made < 0) return made;
  if (raise(fds[0]) < 0) return close(fds[1]), -1;
  if (raise(fds[1]) < 0) return close(fds[0]), -1;
  return 0;
}

// bind(2)
inline int bind(int fd, const Address& address) {
  return NETLITE_TRACED(::bind(fd, &address.any, address.size), "bind", fd, fd,
                        ", ", address);
}

// listen(2)
inline int listen(int fd, int backlog) {
  return NETLITE_TRACED(::listen(fd, backlog), "listen", fd, fd, ", ", backlog);
}

// accept(2); the peer's address comes with it, for a peer that has reset
// the connection already has no address left to ask for.
inline int accept(int fd, Address& peer) {
  return retry([&] {
    peer = Address();
#ifdef NETLITE_LINUX
    return NETLITE_TRACED(::accept4(fd, &peer.any, &peer.size, birth_flags),
                          "accept", fd, fd, ", ",
                          result < 0 ? "-" : trace::words(peer));
#else
    return raise(NETLITE_TRACED(::accept(fd, &peer.any, &peer.size), "accept",
                                fd, fd, ", ",
                                result < 0 ? "-" : trace::words(peer)));
#endif
  });
}

// connect(2). Not repeated after EINTR: the attempt goes on by itself, and
// asking again would be told EALREADY.
inline int connect(int fd, const Address& address) {
  return NETLITE_TRACED(::connect(fd, &address.any, address.size), "connect",
                        fd, fd, ", ", address);
}

// shutdown(2)
inline int shutdown(int fd, int how) {
  return NETLITE_TRACED(::shutdown(fd, how), "shutdown", fd, fd, ", ",
                        how == SHUT_RD   ? "SHUT_RD"
                        : how == SHUT_WR ? "SHUT_WR"
                                         : "SHUT_RDWR");
}

// getsockname(2)
inline int getsockname(int fd, Address& address) {
  return NETLITE_TRACED(::getsockname(fd, &address.any, &address.size),
                        "getsockname", fd, fd, ", ", address);
}

// getpeername(2)
inline int getpeername(int fd, Address& address) {
  return NETLITE_TRACED(::getpeername(fd, &address.any, &address.size),
                        "getpeername", fd, fd, ", ",
                        result < 0 ? "-" : trace::words(address));
}

#ifdef NETLITE_TRACE
inline std::string option_name(int level, int option) {
  if (level == SOL_SOCKET) {
    if (option == SO_ERROR) return "SO_ERROR";
    if (option == SO_REUSEADDR) return "SO_REUSEADDR";
    if (option == SO_REUSEPORT) return "SO_REUSEPORT";
    if (option == SO_BROADCAST) return "SO_BROADCAST";
    if (option == SO_KEEPALIVE) return "SO_KEEPALIVE";
  }
  if (level == IPPROTO_TCP && option == TCP_NODELAY) return "TCP_NODELAY";
  if (level == IPPROTO_TCP && option == TCP_KEEPINTVL) return "TCP_KEEPINTVL";
#ifdef TCP_KEEPIDLE
  if (level == IPPROTO_TCP && option == TCP_KEEPIDLE) return "TCP_KEEPIDLE";
#endif
  if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) return "IPV6_V6ONLY";
  return std::to_string(level) + "/" + std::to_string(option);
}
#endif

// setsockopt(2) of a number
inline int setsockopt(int fd, int level, int option, int value) {
  return NETLITE_TRACED(::setsockopt(fd, level, option, &value, sizeof value),
                        "setsockopt", fd, fd, ", ", option_name(level, option),
                        ", ", value);
}

// getsockopt(2) of a number
inline int getsockopt(int fd, int level, int option, int& value) {
  socklen_t size = sizeof value;
  return NETLITE_TRACED(::getsockopt(fd, level, option, &value, &size),
                        "getsockopt", fd, fd, ", ", option_name(level, option),
                        ", ", value);
}

// How long TCP waits in silence before it probes. (tcp(7); macOS has the
// same option under another name.)
inline int set_keep_alive_idle(int fd, int seconds) {
#ifdef TCP_KEEPIDLE
  return setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
#else
  return setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, seconds);
#endif
}

// recv(2)
inline ssize_t recv(int fd, void* data, std::size_t size) {
  return retry([&] {
    return NETLITE_TRACED(::recv(fd, data, size, 0), "recv", fd, fd, ", ",
                          trace::quote(data, result), ", ", size);
  });
}

// recvmsg(2) of one message; `cut` tells whether it was longer than `size`.
inline ssize_t recvmsg(int fd, void* data, std::size_t size, bool& cut) {
  iovec piece{data, size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  const ssize_t n = retry([&] {
    return NETLITE_TRACED(::recvmsg(fd, &message, 0), "recvmsg", fd, fd, ", ",
                          trace::quote(data, result), ", ", size);
  });
  cut = n >= 0 && (message.msg_flags & MSG_TRUNC) != 0;
  return n;
}

// send(2)
inline ssize_t send(int fd, const void* data, std::size_t size) {
  return retry([&] {
    return NETLITE_TRACED(::send(fd, data, size, no_signal), "send", fd, fd,
                          ", ", trace::quote(data, static_cast<long>(size)),
                          ", ", size);
  });
}

// sendmsg(2) of several pieces, at most 1,024 of them (IOV_MAX)
inline ssize_t sendmsg(int fd, iovec* pieces, std::size_t count) {
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen =
      static_cast<decltype(message.msg_iovlen)>(count < 1024 ? count : 1024);
  return retry([&] {
    return NETLITE_TRACED(
        ::sendmsg(fd, &message, no_signal), "sendmsg", fd, fd, ", ",
        trace::quote(pieces->iov_base, static_cast<long>(pieces->iov_len)),
        ", ", count, " pieces");
  });
}

#ifdef NETLITE_TRACE
inline std::string watched(const pollfd* fds, std::size_t count) {
  std::string text = "{";
  for (std::size_t i = 0; i < count; ++i) {
    text += (i ? ", " : "") + std::to_string(fds[i].fd);
    if (fds[i].events & POLLIN) text += " POLLIN";
    if (fds[i].events & POLLOUT) text += " POLLOUT";
  }
  return text + "}";
}
#endif

// poll(2), for at most so many milliseconds, negative: for ever. May return
// early, -1 and EINTR: the caller looks at the clock and at the socket.
inline int poll(pollfd* fds, std::size_t count, int milliseconds) {
  return NETLITE_TRACED(
      ::poll(fds, static_cast<nfds_t>(count), milliseconds), "poll", fds[0].fd,
      watched(fds, count), ", ",
      milliseconds < 0 ? "for ever" : std::to_string(milliseconds) + " ms");
}

// What wakes a thread that is blocked in poll: written to one end, it makes
// the other readable. eventfd(2) needs one descriptor for that, pipe(2) two.
#ifdef NETLITE_LINUX
using WakeToken = std::uint64_t;
inline int wakeup_pair(int (&ends)[2]) {
  return ends[0] = ends[1] =
             ::eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
}
#else
using WakeToken = char;
inline int wakeup_pair(int (&ends)[2]) {
  if (::pipe(ends) < 0) return -1;
  if (raise(ends[0]) < 0) return close(ends[1]), -1;
  if (raise(ends[1]) < 0) return close(ends[0]), -1;
  return 0;
}
#endif
inline ssize_t wakeup_send(int end) {
  const WakeToken token = 1;
  return retry([&] { return ::write(end, &token, sizeof token); });
}
inline ssize_t wakeup_take(int end) {
  WakeToken token;
  return retry([&] { return ::read(end, &token, sizeof token); });
}

// getaddrinfo(3); returns its EAI_... number. May block for seconds.
inline int getaddrinfo(const char* host, const char* service,
                       const addrinfo& hints, addrinfo** found) {
  return NETLITE_TRACED(::getaddrinfo(host, service, &hints, found),
                        "getaddrinfo", -1, host, ", ", service);
}

// if_nametoindex(3); a zone may also be written as a number. 0: no such.
inline unsigned if_nametoindex(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index != 0) return index;
  const bool number = !name.empty() && name.size() < 9 &&
                      name.find_first_not_of("0123456789") == std::string::npos;
  return number ? static_cast<unsigned>(std::stoul(name)) : 0;
}

// if_indextoname(3), or the number where there is no such interface
inline std::string if_indextoname(unsigned index) {
  char name[IF_NAMESIZE];
  return ::if_indextoname(index, name) ? name : std::to_string(index);
}

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
}  // namespace NETLITE_BUILD
}  // namespace netlite::sys

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
  Addr local{};
  Addr remote{};
  std::string subject{};  // what the cause speaks of: "connect", "lookup x"
};

inline const char* text_of(Errc code) {
  switch (code) {
    case eof: return "EOF";
    case unexpected_eof: return "unexpected EOF";
    case closed: return "use of closed network connection";
    case timed_out: return "i/o timeout";
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
    case no_suitable_address: return "no suitable address found";
    case unexpected_address_type: return "unexpected address type";
    case mismatched_local_address: return "mismatched local address type";
    case non_ipv4_address: return "non-IPv4 address";
    case truncated: return "datagram truncated";
  }
  return "unknown error";
}

class Category : public std::error_category {
 public:
  const char* name() const noexcept override { return "netlite"; }
  std::string message(int code) const override {
    return text_of(static_cast<Errc>(code));
  }
  // Our deadline is a kind of std::errc::timed_out; ETIMEDOUT is another.
  std::error_condition default_error_condition(
      int code) const noexcept override {
    if (code == timed_out) return std::errc::timed_out;
    return {code, *this};
  }
};

class ResolverCategory : public std::error_category {
 public:
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int code) const override {
    if (code == no_such_host) return "no such host";
    if (code == EAI_AGAIN || code == EAI_FAIL) return "server misbehaving";
    return ::gai_strerror(code);
  }
};

// "Connection refused" in the middle of a sentence.
inline std::string uncapitalized(std::string text) {
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (text.size() > 1 && is_upper(text[0]) && !is_upper(text[1]))
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace internal

inline const std::error_category& category() noexcept {
  static const internal::Category instance;
  return instance;
}

inline const std::error_category& resolver_category() noexcept {
  static const internal::ResolverCategory instance;
  return instance;
}

inline std::error_code make_error_code(Errc code) noexcept {
  return {code, category()};
}

inline std::error_code make_error_code(ResolverErrc code) noexcept {
  return {code, resolver_category()};
}

}  // namespace netlite

template <>
struct std::is_error_code_enum<netlite::Errc> : std::true_type {};
template <>
struct std::is_error_code_enum<netlite::ResolverErrc> : std::true_type {};

namespace netlite {

inline Error::Error(std::error_code code) noexcept : code_(code) {}

inline Error::Error(Errc code) noexcept : code_(make_error_code(code)) {}

inline Error::Error(std::error_code code, internal::Story story)
    : code_(code),
      story_(std::make_shared<const internal::Story>(std::move(story))) {}

inline const internal::Story& Error::story() const noexcept {
  static const internal::Story none{};
  return story_ ? *story_ : none;
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
  if (!text.empty()) {
    if (!about.network.empty()) text += " " + about.network;
    if (about.local) text += " " + about.local.string();
    if (about.remote) {
      text += about.local ? "->" : " ";
      text += about.remote.string();
    }
    text += ": ";
  }
  if (!about.subject.empty()) text += about.subject + ": ";
  text += internal::uncapitalized(code_.message());
  // Go puts the name of a network that it does not know behind the cause.
  if (code_ == unknown_network && about.subject.empty())
    text += " " + about.network;
  return text;
}

inline bool Error::timeout() const noexcept {
  if (code_.category() == std::system_category())
    return sys::would_block(code_.value()) || code_.value() == ETIMEDOUT;
  return code_ == timed_out;
}

inline bool Error::temporary() const noexcept {
  if (timeout()) return true;
  if (code_.category() == resolver_category())
    return code_.value() == EAI_AGAIN;
  if (code_.category() != std::system_category()) return false;
  switch (code_.value()) {
    case EINTR:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return true;
    default: return false;
  }
}

inline Failure::Failure(const Error& err)
    : std::runtime_error(err.message()), error(err) {}

namespace internal {
[[noreturn]] inline void raise(const Error& err) {
#if defined(__cpp_exceptions)
  throw Failure(err);
#else
  const std::string line = err.message() + "\n";
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) std::abort();
  std::abort();
#endif
}
}  // namespace internal

template <class T>
T must(Result<T> result) {
  if (result.error) internal::raise(result.error);
  return std::move(result.value);
}

inline void must(const Error& err) {
  if (err) internal::raise(err);
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
    {"pipe", "pipe", AF_UNIX, SOCK_STREAM},
};
inline constexpr const Network& pipe_network =
    networks[std::size(networks) - 1];

inline const Network* find_network(std::string_view name) {
  for (const Network& network : networks)
    if (network.name == name && &network != &pipe_network) return &network;
  return nullptr;
}

// "address X: missing port in address" and kin
inline Error address_error(Errc code, std::string_view address) {
  return {code, {"", "", {}, {}, "address " + std::string(address)}};
}

// Four decimal numbers from 0 to 255, without signs or leading zeros.
inline bool parse_ipv4(std::string_view text, unsigned char* bytes) {
  for (int i = 0; i < 4; ++i) {
    if (i > 0) {
      if (text.empty() || text[0] != '.') return false;
      text.remove_prefix(1);
    }
    std::size_t digits = 0;
    unsigned value = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      value = value * 10 + static_cast<unsigned>(text[digits++] - '0');
      if (value > 255) return false;
    }
    if (digits == 0 || (digits > 1 && text[0] == '0')) return false;
    bytes[i] = static_cast<unsigned char>(value);
    text.remove_prefix(digits);
  }
  return text.empty();
}

inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Takes one group of hexadecimal digits, at most ffff, from the front.
inline bool take_group(std::string_view& text, unsigned char* bytes) {
  unsigned value = 0;
  std::size_t digits = 0;
  for (; digits < text.size() && hex_digit(text[digits]) >= 0; ++digits) {
    value = value * 16 + static_cast<unsigned>(hex_digit(text[digits]));
    if (value > 0xffff) return false;
  }
  bytes[0] = static_cast<unsigned char>(value >> 8);
  bytes[1] = static_cast<unsigned char>(value & 0xff);
  text.remove_prefix(digits);
  return digits > 0;
}

// Takes one colon; false when there is none.
inline bool take_colon(std::string_view& text) {
  if (text.empty() || text[0] != ':') return false;
  text.remove_prefix(1);
  return true;
}

// Eight groups of hexadecimal digits; "::" stands for one run of zeros, and
// the last two groups may be written as an IPv4 address (RFC 4291, 2.2).
inline bool parse_ipv6(std::string_view text, unsigned char* bytes) {
  std::size_t at = 0;
  std::size_t gap = 17;  // where the zeros go; 17: no "::" so far
  if (text.substr(0, 2) == "::") {
    gap = 0;
    text.remove_prefix(2);
  }
  while (at < 16 && !text.empty()) {
    if (text.substr(0, text.find(':')).find('.') != text.npos) {
      if (at > 12 || !parse_ipv4(text, bytes + at)) return false;
      at += 4;
      text = {};
      break;
    }
    if (!take_group(text, bytes + at)) return false;
    at += 2;
    if (text.empty()) break;
    if (!take_colon(text) || text.empty()) return false;
    if (take_colon(text)) {
      if (gap != 17) return false;
      gap = at;
    }
  }
  if (!text.empty()) return false;
  if (gap == 17) return at == 16;
  if (at == 16) return false;
  std::memmove(bytes + 16 - (at - gap), bytes + gap, at - gap);
  std::memset(bytes + gap, 0, 16 - at);
  return true;
}

// The longest run of two zero groups or more, as {start, end} in bytes.
inline std::pair<int, int> longest_zeros(const unsigned char* bytes) {
  std::pair<int, int> longest{-1, -1};
  for (int i = 0; i < 16; i += 2) {
    int end = i;
    while (end < 16 && bytes[end] == 0 && bytes[end + 1] == 0) end += 2;
    if (end - i > 2 && end - i > longest.second - longest.first)
      longest = {i, end};
    if (end > i) i = end;
  }
  return longest;
}

inline std::string ipv6_string(const unsigned char* bytes) {
  const auto [start, end] = longest_zeros(bytes);
  std::string text;
  for (int i = 0; i < 16; i += 2) {
    if (i == start) {
      text += "::";
      i = end;
      if (i == 16) break;
    } else if (i > 0) {
      text += ':';
    }
    const unsigned group = static_cast<unsigned>(bytes[i] << 8 | bytes[i + 1]);
    for (int shift = 12; shift >= 0; shift -= 4)
      if (group >> shift || shift == 0)
        text += "0123456789abcdef"[group >> shift & 15];
  }
  return text;
}

inline std::string ipv4_string(const unsigned char* bytes) {
  std::string text = std::to_string(bytes[0]);
  for (int i = 1; i < 4; ++i) text += '.' + std::to_string(bytes[i]);
  return text;
}

}  // namespace internal

inline IP::IP(const unsigned char* bytes, std::size_t size,
              std::string_view zone)
    : zone_(zone) {
  if (size != 4 && size != 16) return;
  std::memcpy(bytes_.data(), bytes, size);
  size_ = static_cast<std::uint8_t>(size);
}

inline bool IP::is4_in_6() const noexcept {
  static constexpr unsigned char prefix[12] = {0, 0, 0, 0, 0,    0,
                                               0, 0, 0, 0, 0xff, 0xff};
  return is6() && std::memcmp(data(), prefix, sizeof prefix) == 0;
}

inline bool IP::is_unspecified() const noexcept {
  static constexpr std::array<unsigned char, 16> zeros{};
  return size_ != 0 && bytes_ == zeros;
}

inline IP IP::unmap() const { return is4_in_6() ? IP(data() + 12, 4) : *this; }

inline std::string IP::string() const {
  if (!*this) return {};
  if (is4()) return internal::ipv4_string(data());
  std::string text = is4_in_6() ? "::ffff:" + internal::ipv4_string(data() + 12)
                                : internal::ipv6_string(data());
  return zone_.empty() ? text : text + "%" + zone_;
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
  if (network_ == "tcp" || network_ == "udp")
    return join_host_port(ip_.string(), std::to_string(port_));
  return path_;
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
  if (internal::parse_ipv4(text, bytes)) return {IP(bytes, 4)};
  const std::size_t percent = text.find('%');
  const std::string_view zone =
      percent == text.npos ? "" : text.substr(percent + 1);
  const bool zone_fits = percent == text.npos || !zone.empty();
  if (zone_fits && internal::parse_ipv6(text.substr(0, percent), bytes))
    return {IP(bytes, 16, zone)};
  return {{}, internal::address_error(invalid_ip, text)};
}

namespace internal {

// A run of digits, perhaps with a sign, as a port; -1 when it is something
// else, 65536 when it is a number but no port.
inline int parse_port(std::string_view text) {
  const bool minus = text.substr(0, 1) == "-";
  if (minus || text.substr(0, 1) == "+") text.remove_prefix(1);
  if (text.empty()) return -1;
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    port = std::min(port * 10 + (c - '0'), 65536);
  }
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

struct FreeAddrInfo {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddrInfo = std::unique_ptr<addrinfo, FreeAddrInfo>;

// A name that DNS could know: labels of letters, digits, '-' and '_', at most
// 63 each and 253 in all, not just digits (RFC 1035, RFC 3696). Anything else
// is refused without asking: the C library would take "127.1" and 2130706433
// for addresses.
inline bool is_domain_name(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty() || name.size() > 253) return false;
  bool has_letter = false;
  std::size_t label = 0;
  char last = '.';
  for (const char c : name) {
    const bool letter =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (c == '.') {
      if (last == '.' || last == '-') return false;
      label = 0;
    } else {
      if (c == '-' && last == '.') return false;
      if (!letter && c != '-' && (c < '0' || c > '9')) return false;
      if (++label > 63) return false;
    }
    has_letter = has_letter || letter || c == '-';
    last = c;
  }
  // inet_aton(3) also takes 0x7f000001: a name to DNS, an address to the C
  // library, so nobody can be asked.
  in_addr number;
  return has_letter && last != '-' &&
         ::inet_aton(std::string(name).c_str(), &number) == 0;
}

// Addresses as the kernel wants them, and back.

// A name longer than the room for it, or a path with a NUL inside, would
// quietly become another name: EINVAL, as the kernel says.
inline std::error_code to_unix(const std::string& path, sys::Address& out) {
  const bool abstract = path[0] == '@';
  const std::size_t room = sizeof out.un.sun_path - (abstract ? 0 : 1);
  if (path.size() > room || (!abstract && path.find('\0') != std::string::npos))
    return std::make_error_code(std::errc::invalid_argument);
  out.un.sun_family = AF_UNIX;
  std::memcpy(out.un.sun_path, path.data(), path.size());
  if (abstract) out.un.sun_path[0] = '\0';
  // The length counts: an abstract name has no NUL at its end, a path has.
  std::size_t size = offsetof(sockaddr_un, sun_path) + path.size();
  if (!abstract && !path.empty()) ++size;
  out.size = static_cast<socklen_t>(size);
  return {};
}

inline namespace NETLITE_BUILD {
// `family` says which kind of socket the address is for: an IPv6 socket
// takes an IPv4 address in its mapped form (RFC 4291, 2.5.5.2).
inline std::error_code to_kernel(const Addr& addr, int family,
                                 sys::Address& out) {
  out = sys::Address();
  if (family == AF_UNIX) return to_unix(addr.path(), out);
  const IP& ip = addr.ip();
  if (family == AF_INET) {
    if (ip.is6() && !ip.is4_in_6()) return non_ipv4_address;
    const IP ip4 = ip.unmap();
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(addr.port());
    std::memcpy(&out.v4.sin_addr, ip4.data(), 4);
    out.size = sizeof out.v4;
    return {};
  }
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_port = htons(addr.port());
  unsigned char* bytes = out.v6.sin6_addr.s6_addr;
  if (ip.is6()) {
    std::memcpy(bytes, ip.data(), 16);
  } else if (ip && !ip.is_unspecified()) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes + 12, ip.data(), 4);
  }
  if (!ip.zone().empty()) out.v6.sin6_scope_id = sys::if_nametoindex(ip.zone());
  out.size = sizeof out.v6;
  return {};
}

inline Addr from_kernel(const Network& network, const sys::Address& from) {
  if (from.family() == AF_INET) {
    unsigned char bytes[4];
    std::memcpy(bytes, &from.v4.sin_addr, sizeof bytes);
    return {network.base, IP(bytes, 4), ntohs(from.v4.sin_port)};
  }
  if (from.family() == AF_INET6) {
    const unsigned scope = from.v6.sin6_scope_id;
    const std::string zone = scope ? sys::if_indextoname(scope) : "";
    return {network.base, IP(from.v6.sin6_addr.s6_addr, 16, zone).unmap(),
            ntohs(from.v6.sin6_port)};
  }
  if (&network == &pipe_network) return {network.base, network.base};
  const std::size_t head = offsetof(sockaddr_un, sun_path);
  const std::size_t size = from.size > head ? from.size - head : 0;
  const std::string_view name(from.un.sun_path, size);
  if (name.empty() || name[0] == '\0')
    return {network.base, "@" + std::string(name.substr(name.empty() ? 0 : 1))};
  return {network.base, name.substr(0, name.find('\0'))};
}

// Asks the resolver, in this thread.
inline std::error_code ask_resolver(const std::string& host,
                                    std::vector<IP>& ips) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;  // one answer an address, not three
  addrinfo* found = nullptr;
  const int code = sys::getaddrinfo(host.c_str(), nullptr, hints, &found);
  const AddrInfo list(found);
  if (code == EAI_SYSTEM) return sys::last_error();
  if (code != 0) return {code, resolver_category()};
  static constexpr Network tcp = networks[0];
  for (const addrinfo* each = found; each; each = each->ai_next) {
    if (each->ai_addrlen > sizeof(sockaddr_storage)) continue;
    sys::Address address;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
    const IP ip = from_kernel(tcp, address).ip();
    bool known = false;
    for (const IP& earlier : ips) known = known || earlier == ip;
    if (!known) ips.push_back(ip);
  }
  return {};
}

// A look-up that must obey a deadline runs in a thread of its own, since
// getaddrinfo has none; when time is up, the thread is left to itself.
struct Lookup {
  std::string host;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::vector<IP> ips;
  std::error_code why;
};

inline void* run_lookup(void* argument) {
  const std::unique_ptr<std::shared_ptr<Lookup>> owner(
      static_cast<std::shared_ptr<Lookup>*>(argument));
  Lookup& lookup = **owner;
  std::vector<IP> ips;
  const std::error_code why = ask_resolver(lookup.host, ips);
  const std::lock_guard<std::mutex> lock(lookup.mutex);
  lookup.ips = std::move(ips);
  lookup.why = why;
  lookup.done = true;
  lookup.changed.notify_one();
  return nullptr;
}

inline std::error_code ask_resolver(const std::string& host, Deadline deadline,
                                    std::vector<IP>& ips) {
  if (deadline.when() == no_deadline.when()) return ask_resolver(host, ips);
  if (deadline.passed()) return timed_out;
  auto lookup = std::make_shared<Lookup>();
  lookup->host = host;
  auto owner = std::make_unique<std::shared_ptr<Lookup>>(lookup);
  if (const int error = sys::start_thread(run_lookup, owner.get()))
    return {error, std::system_category()};
  owner.release();  // run_lookup owns it now
  std::unique_lock<std::mutex> lock(lookup->mutex);
  while (!lookup->done)
    if (lookup->changed.wait_until(lock, deadline.when()) ==
            std::cv_status::timeout &&
        !lookup->done)
      return timed_out;
  ips = std::move(lookup->ips);
  return lookup->why;
}

// All addresses of a host: an IP address as it is, a name by the resolver.
inline Error host_ips(const std::string& host, Deadline deadline,
                      std::vector<IP>& ips) {
  if (const auto literal = parse_ip(host); !literal.error) {
    ips.push_back(literal.value.unmap());
    return {};
  }
  std::error_code why = no_such_host;
  if (is_domain_name(host)) why = ask_resolver(host, deadline, ips);
#ifdef EAI_NODATA
  if (why == std::error_code(EAI_NODATA, resolver_category()))
    why = no_such_host;
#endif
  if (!why) return {};
  return {why, {"", "", {}, {}, "lookup " + host}};
}

// All addresses that a text stands for, in the order to try them.
inline Error resolve_all(const Network& network, std::string_view address,
                         Deadline deadline, std::vector<Addr>& addrs) {
  if (network.family == AF_UNIX) {
    addrs.emplace_back(network.base, address);
    return {};
  }
  HostPort parts;
  if (!address.empty()) parts = split_host_port(address);
  if (parts.error) return parts.error;
  const auto [number, port_error] = lookup_port(network.name, parts.port);
  if (port_error) return port_error;
  const auto port = static_cast<std::uint16_t>(number);
  if (parts.host.empty()) {
    addrs.emplace_back(network.base, IP(), port);
    return {};
  }
  std::vector<IP> ips;
  if (Error err = host_ips(parts.host, deadline, ips)) return err;
  // Half-configured IPv6 can listen on :: and yet not be dialled there.
  if (ips.size() == 1 && ips[0].is6() && ips[0].is_unspecified()) {
    const unsigned char any[4] = {};
    ips.emplace_back(any, 4);
  }
  for (IP& ip : ips)
    if (network.family == AF_UNSPEC || ip.is4() == (network.family == AF_INET))
      addrs.emplace_back(network.base, std::move(ip), port);
  if (addrs.empty()) return address_error(no_suitable_address, parts.host);
  return {};
}

// A server takes one address: of several, the first IPv4 one.
inline const Addr& favourite(const std::vector<Addr>& addrs) {
  for (const Addr& addr : addrs)
    if (!addr.ip().is6()) return addr;
  return addrs.front();
}
}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {
inline Result<int> lookup_port(std::string_view network,
                               std::string_view service) {
  if (service.empty()) return {0};
  const int number = internal::parse_port(service);
  if (number > 65535)
    return {0, internal::address_error(invalid_port, service)};
  if (number >= 0) return {number};
  const auto* known = internal::find_network(network);
  if (!known || known->family == AF_UNIX)
    return {0, internal::address_error(unknown_network, network)};

  std::string name(service);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (const internal::Service& each : internal::services)
    if (each.protocol == known->base && each.name == name) return {each.port};
  addrinfo hints{};
  hints.ai_socktype = known->type;
  addrinfo* found = nullptr;
  if (name.find('\0') == name.npos &&
      sys::getaddrinfo(nullptr, name.c_str(), hints, &found) == 0) {
    const internal::AddrInfo list(found);
    sys::Address address;
    std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    return {ntohs(address.family() == AF_INET6 ? address.v6.sin6_port
                                               : address.v4.sin_port)};
  }
  std::string full(known->base);
  full.append("/").append(service);
  return {0, internal::address_error(unknown_port, full)};
}

inline Result<Addr> resolve(std::string_view network,
                            std::string_view address) {
  const auto* known = internal::find_network(network);
  if (!known) return {{}, {unknown_network, {"", std::string(network)}}};
  std::vector<Addr> addrs;
  if (Error err = internal::resolve_all(*known, address, no_deadline, addrs))
    return {{}, err};
  return {internal::favourite(addrs)};
}
}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Time

namespace internal {

// A duration in nanoseconds; one beyond what they can count is cut to it.
template <class Rep, class Period>
std::chrono::nanoseconds saturated(std::chrono::duration<Rep, Period> d) {
  using std::chrono::nanoseconds;
  using Wide = std::chrono::duration<long double, std::nano>;
  const Wide wide = d;
  if (wide >= Wide(nanoseconds::max())) return nanoseconds::max();
  if (wide <= Wide(nanoseconds::min())) return nanoseconds::min();
  return std::chrono::duration_cast<nanoseconds>(d);
}

inline Deadline::Clock::time_point time_after(std::chrono::nanoseconds d) {
  const auto now = Deadline::Clock::now();
  const auto furthest = Deadline::Clock::time_point::max();
  return d < furthest - now ? now + d : furthest;
}

// What is left until then in poll's milliseconds, rounded up so that nothing
// is ever early; -1 for ever. poll counts to 24.8 days, so ask again.
inline int poll_time(Deadline::Clock::time_point when) {
  if (when == no_deadline.when()) return -1;
  const auto left = when - Deadline::Clock::now();
  if (left.count() <= 0) return 0;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return ms < INT_MAX ? static_cast<int>(ms) : INT_MAX;
}

}  // namespace internal

template <class Rep, class Period>
Deadline::Deadline(std::chrono::duration<Rep, Period> from_now)
    : when_(internal::time_after(internal::saturated(from_now))) {}

inline bool Deadline::passed() const {
  return when_ != no_deadline.when() && Clock::now() >= when_;
}

// ---------------------------------------------------------------------------
// Connections
//
// A Socket is what handles share. `inside` counts the calls that use the
// descriptor: close sets `closing` at once, and whoever leaves last releases
// the number. So it cannot become somebody else's under a call.

namespace internal {

// What a thread sleeps on beside its socket. Each write to `send_end` wakes
// it once. The first thousand threads have one each; later ones share, for
// descriptors are scarcer than threads.
struct Wakeup {
  int take_end;
  int send_end;
};

// All of them. They are kept for the next thread, and never destroyed: some
// thread may still be blocked while the process exits.
struct Wakeups {
  static constexpr std::size_t most = 1024;
  std::mutex mutex;
  std::vector<std::unique_ptr<Wakeup>> all;
  std::vector<Wakeup*> idle;
  std::size_t next_shared = 0;

  static Wakeups& get() {
    static Wakeups& wakeups = *new Wakeups;
    return wakeups;
  }

  void give_back(Wakeup* wakeup) {
    const std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(wakeup);
  }
};

// How many descriptors serve as wake-ups at the moment.
inline std::size_t wakeup_descriptors() {
  Wakeups& wakeups = Wakeups::get();
  const std::lock_guard<std::mutex> lock(wakeups.mutex);
  std::size_t count = 0;
  for (const auto& each : wakeups.all)
    count += each->take_end == each->send_end ? 1 : 2;
  return count;
}

// A thread that sleeps in `wait`.
struct Sleeper {
  Wakeup* wakeup;
  Deadline::Clock::time_point until;
  bool kicked = false;
};

// Reading or writing: each has its queue of one, its deadline, its sleeper.
struct Direction {
  std::mutex turn;  // held for a whole read or write
  std::atomic<Deadline::Clock::rep> deadline{
      no_deadline.when().time_since_epoch().count()};
  Sleeper* sleeper = nullptr;  // under the socket's guard

  Deadline::Clock::time_point when() const {
    return Deadline::Clock::time_point(Deadline::Clock::duration(deadline));
  }
  bool passed() const { return Deadline(when()).passed(); }
};

// The file that a unix listener made.
struct SocketFile {
  std::string path;
  dev_t device;
  ino_t inode;
  pid_t maker;
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
  std::unique_ptr<SocketFile> file;

  std::mutex guard;  // for the sleepers, and deadlines as they change
  Direction reading;
  Direction writing;

  static constexpr std::uint32_t closing = 1;  // a bit of `state`
  static constexpr std::uint32_t inside = 2;   // one call; the rest counts
  std::atomic<std::uint32_t> state{0};

  bool is_closed() const { return (state & closing) != 0; }

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

// The door to what handles keep private.
struct Access {
  static Socket* socket(const Handle& handle) { return handle.socket_.get(); }
  template <class H>
  static H handle(std::shared_ptr<Socket> socket) {
    H made;
    made.socket_ = std::move(socket);
    return made;
  }
};

// The story of a failure on a socket. `call` names the BSD call for what the
// kernel said; netlite's own conditions speak for themselves.
inline Error failure(const char* op, const Socket* socket, std::error_code code,
                     const char* call = "") {
  if (!socket) return {code, {op, ""}};
  if (code.category() == category()) call = "";
  return {code,
          {op, std::string(socket->network.name), socket->local, socket->remote,
           call}};
}

inline namespace NETLITE_BUILD {
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

// Removes the file of a unix listener: only in the process that made it,
// and only if it is still the same one. Another server may have taken over
// the path; two famous libraries removed that server's file.
inline void remove_file(Socket& s) {
  const auto file = std::move(s.file);
  struct stat now {};
  if (file && file->maker == ::getpid() &&
      ::lstat(file->path.c_str(), &now) == 0 && now.st_dev == file->device &&
      now.st_ino == file->inode)
    ::unlink(file->path.c_str());
}

// What the last handle does.
inline void release(Socket* socket) {
  const std::unique_ptr<Socket> owner(socket);
  if (!socket->enter(Socket::closing)) return;
  remove_file(*socket);
  sys::close(socket->fd);
}

template <class H>
H make_handle(Descriptor fd, const Network& network, Addr local,
              Addr remote = {}) {
  auto* socket =
      new Socket(fd.get(), network, std::move(local), std::move(remote));
  fd.release();
  return Access::handle<H>(std::shared_ptr<Socket>(socket, release));
}

// A call inside a socket. While one lives, the descriptor stays ours.
class Use {
 public:
  explicit Use(const Handle& handle) : socket_(Access::socket(handle)) {
    entered_ = socket_ && socket_->enter();
  }
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
                const char* call = "") const {
    return internal::failure(op, socket_, why, call);
  }

 private:
  Socket* socket_;
  bool entered_;
};

// A wake-up for this thread: an idle one, a new one, or - above a thousand
// and when the descriptor table is full - one that others use too. nullptr
// when there is none at all.
inline Wakeup* take_wakeup() {
  Wakeups& pool = Wakeups::get();
  const std::lock_guard<std::mutex> lock(pool.mutex);
  if (!pool.idle.empty()) {
    Wakeup* wakeup = pool.idle.back();
    pool.idle.pop_back();
    return wakeup;
  }
  int ends[2];
  if (pool.all.size() < Wakeups::most && sys::wakeup_pair(ends) >= 0) {
    pool.all.push_back(std::make_unique<Wakeup>(Wakeup{ends[0], ends[1]}));
    return pool.all.back().get();
  }
  if (pool.all.empty()) return nullptr;
  return pool.all[pool.next_shared++ % pool.all.size()].get();
}

inline Wakeup* my_wakeup() {
  struct Mine {
    Wakeup* wakeup = nullptr;
    ~Mine() {
      if (wakeup) Wakeups::get().give_back(wakeup);
    }
  };
  thread_local Mine mine;
  if (!mine.wakeup) mine.wakeup = take_wakeup();
  return mine.wakeup;
}

// The one place where calls wait: until the socket is ready for `events`,
// or the deadline has come, or a kick. It may return for no reason: the
// caller looks again at everything.
inline void wait(Socket& s, Direction& direction, short events) {
  Sleeper me{my_wakeup(), {}};
  {
    // Whoever closes marks first and kicks then, under this guard. So
    // either we see the mark here, or they see our name and kick.
    const std::lock_guard<std::mutex> lock(s.guard);
    if (s.is_closed()) return;
    me.until = direction.when();
    direction.sleeper = &me;
  }
  pollfd fds[2] = {{s.fd, events, 0}, {-1, POLLIN, 0}};
  int time = poll_time(me.until);
  if (me.wakeup) {
    fds[1].fd = me.wakeup->take_end;
  } else if (time < 0 || time > 10) {
    time = 10;  // nothing to be woken by: look up now and then
  }
  sys::poll(fds, me.wakeup ? 2 : 1, time);
  {
    const std::lock_guard<std::mutex> lock(s.guard);
    direction.sleeper = nullptr;
  }
  if (me.kicked && me.wakeup) {
    sys::wakeup_take(me.wakeup->take_end);
  } else if (fds[1].revents != 0) {
    // A shared wake-up was meant for another thread, which is on its way
    // to take the token. Look elsewhere for a moment instead of spinning.
    sys::poll(fds, 1, 1);
  }
}

// Wakes the thread that sleeps on a direction; the guard is held.
inline void kick(Direction& direction) {
  Sleeper* sleeper = direction.sleeper;
  if (!sleeper || sleeper->kicked) return;
  sleeper->kicked = true;
  if (sleeper->wakeup) sys::wakeup_send(sleeper->wakeup->send_end);
}

// What a BSD call gave: a count or descriptor, or why not.
struct Outcome {
  ssize_t n = 0;
  std::error_code why{};
};

// Makes a call until it succeeds or fails, waiting while it would block.
// The order of truth: closed, then the deadline, then what the socket says.
template <class Call>
Outcome attempt(Socket& s, Direction& direction, short events, Call call) {
  for (;;) {
    if (s.is_closed()) return {0, closed};
    if (direction.passed()) return {0, timed_out};
    const ssize_t n = call();
    if (n >= 0) return {n};
    if (!sys::would_block(errno)) return {0, sys::last_error()};
    wait(s, direction, events);
  }
}

inline void set_tcp_defaults(int fd, std::chrono::nanoseconds keep_alive,
                             bool no_delay) {
  if (no_delay) sys::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (keep_alive.count() < 0) return;
  if (keep_alive.count() == 0) keep_alive = std::chrono::seconds(15);
  const auto whole = std::chrono::ceil<std::chrono::seconds>(keep_alive);
  const int seconds =
      static_cast<int>(std::min<std::int64_t>(whole.count(), 32767));
  sys::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  sys::set_keep_alive_idle(fd, seconds);
  sys::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
}

inline Addr local_of(int fd, const Network& network) {
  sys::Address address;
  if (sys::getsockname(fd, address) < 0) return {};
  return from_kernel(network, address);
}

// One connect under way, and the addresses still to be tried after it.
struct Lane {
  std::vector<Addr> addrs;
  std::size_t next = 0;  // the one to try next
  bool started = false;
  Descriptor fd{};                      // of the connect under way
  Deadline::Clock::time_point until{};  // give it up then
  int repeats = 0;                      // of the same address
  Error error{};                        // the first failure

  bool pending() const { return bool(fd); }
  bool spent() const { return !pending() && next == addrs.size(); }
  const Addr& current() const { return addrs[next - 1]; }
};

// Dials a list of addresses, the second family beside the first, all in
// one thread: a connect that takes its time is left alone, and poll tells.
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
          (lanes_[0].spent() || Deadline::Clock::now() >= second_start_)) {
        lanes_[1].started = true;
      } else if (lanes_[0].spent() && lanes_[1].spent()) {
        return {Conn(), lanes_[0].error};
      } else if (look_at_pending()) {
        return {std::move(conn_)};
      }
    }
  }

 private:
  // The family of the first address goes first; "tcp" gives the other one
  // a lane of its own and a later start (RFC 8305).
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

  // Each address gets an equal share of the time left, two seconds at
  // least: one silent address must not use up the time of the good ones.
  Deadline::Clock::time_point share_of_time(std::size_t addrs) const {
    if (deadline_.when() == no_deadline.when()) return deadline_.when();
    const auto now = Deadline::Clock::now();
    const auto share =
        (deadline_.when() - now) / static_cast<Deadline::Clock::rep>(addrs);
    return std::min(deadline_.when(),
                    now + std::max<Deadline::Clock::duration>(
                              share, std::chrono::seconds(2)));
  }

  bool connect(Lane& lane) {
    const Addr& to = lane.current();
    int family = network_.family;
    if (family == AF_UNSPEC)
      family = to.ip().is6() || options_.local.ip().is6() ? AF_INET6 : AF_INET;
    // A fresh socket for each try: one that failed is spent.
    Descriptor fd(sys::socket(family, network_.type));
    if (!fd) return fail(lane, sys::last_error(), "socket");
    if (options_.control)
      if (const Error err = options_.control(fd.get()))
        return fail(lane, err.code(), "control");
    if (network_.base == "udp")
      sys::setsockopt(fd.get(), SOL_SOCKET, SO_BROADCAST, 1);
    sys::Address address;
    if (options_.local) {
      if (const auto why = to_kernel(options_.local, family, address))
        return fail(lane, why, "bind");
      if (sys::bind(fd.get(), address) < 0)
        return fail(lane, sys::last_error(), "bind");
    }
    if (const auto why = to_kernel(to, family, address))
      return fail(lane, why, "connect");
    const int error = sys::connect(fd.get(), address) < 0 ? errno : 0;
    lane.fd = std::move(fd);
    if (error == EINPROGRESS || error == EINTR) return false;
    return finish(lane, {error, std::system_category()});
  }

  // A connect has ended, well or badly; true when it is connected.
  bool finish(Lane& lane, std::error_code why) {
    Descriptor fd = std::move(lane.fd);
    Addr local, remote = lane.current();
    if (!why) {
      local = local_of(fd.get(), network_);
      sys::Address address;
      if (sys::getpeername(fd.get(), address) == 0)
        remote = from_kernel(network_, address);
      // TCP lets two connects meet in the middle, even one with itself: a
      // socket that dials a free local port may be given that very port.
      if (network_.base == "tcp" && local == remote &&
          options_.local.port() == 0)
        why = std::make_error_code(std::errc::connection_refused);
      if (why && lane.repeats++ < 2) return connect(lane);
    }
    if (why) return fail(lane, why, "connect");
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
                    {"dial", std::string(network_.name), options_.local,
                     lane.current(), call}};
    return false;
  }

  // Waits for the connects under way, at most until something else is due;
  // true when one is connected.
  bool look_at_pending() {
    pollfd fds[2];
    Lane* lanes[2];
    std::size_t count = 0;
    auto until = lanes_[1].started ? no_deadline.when() : second_start_;
    for (Lane& lane : lanes_) {
      if (!lane.pending()) continue;
      fds[count] = {lane.fd.get(), POLLOUT, 0};
      lanes[count++] = &lane;
      until = std::min(until, lane.until);
    }
    // The return value is not looked at: after an error, EINTR, revents is
    // not to be trusted, but then it is still zero from above.
    sys::poll(fds, count, poll_time(until));
    for (std::size_t i = 0; i < count; ++i) {
      if (fds[i].revents != 0) {
        int error = 0;
        if (sys::getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, error) < 0)
          error = errno;
        if (finish(*lanes[i], {error, std::system_category()})) return true;
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
  Deadline::Clock::time_point second_start_{};
  Conn conn_{};
};

// Writes all the pieces; the count survives an error.
inline Result<std::size_t> write_all(const Conn& conn, iovec* pieces,
                                     std::size_t count) {
  const Use use(conn);
  if (!use) return {0, use.failure("write")};
  const std::lock_guard<std::mutex> turn(use->writing.turn);
  const bool stream = use->network.type == SOCK_STREAM;
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += pieces[i].iov_len;
  std::size_t written = 0;
  for (;;) {
    const Outcome sent = attempt(*use, use->writing, POLLOUT, [&] {
      // A stream has no empty message to send; a datagram socket has.
      if (stream && written == total) return ssize_t{0};
      return count == 1 ? sys::send(use->fd, pieces->iov_base, pieces->iov_len)
                        : sys::sendmsg(use->fd, pieces, count);
    });
    if (sent.why) return {written, use.failure("write", sent.why, "write")};
    written += static_cast<std::size_t>(sent.n);
    if (written == total || !stream) return {written};
    // Step over what the kernel took.
    auto taken = static_cast<std::size_t>(sent.n);
    for (; count > 1 && taken >= pieces->iov_len; ++pieces, --count)
      taken -= pieces->iov_len;
    pieces->iov_base = static_cast<char*>(pieces->iov_base) + taken;
    pieces->iov_len -= taken;
  }
}

inline iovec to_iovec(Bytes bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

inline Error shut_down(const Conn& conn, int how) {
  const Use use(conn);
  if (!use) return use.failure("close");
  if (sys::shutdown(use->fd, how) < 0)
    return use.failure("close", sys::last_error(), "shutdown");
  return {};
}

inline Error move_deadlines(const Handle& handle, Deadline deadline,
                            bool reading, bool writing) {
  const Use use(handle);
  if (!use) {
    if (const Socket* s = Access::socket(handle))
      return {closed, {"set", std::string(s->network.name), s->local}};
    return use.failure("set");
  }
  const std::lock_guard<std::mutex> lock(use->guard);
  const auto move = [&](Direction& direction) {
    direction.deadline = deadline.when().time_since_epoch().count();
    // One that moved later needs no kick: the sleeper looks again anyway.
    if (direction.sleeper && deadline.when() < direction.sleeper->until)
      kick(direction);
  };
  if (reading) move(use->reading);
  if (writing) move(use->writing);
  return {};
}
}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {
inline Result<Conn> dial(std::string_view network, std::string_view address,
                         const DialOptions& options) {
  const internal::Network* known = internal::find_network(network);
  const auto fail = [&](const Error& cause, const std::string& subject) {
    return Result<Conn>{
        Conn(),
        {cause.code(), {"dial", std::string(network), {}, {}, subject}}};
  };
  if (!known) return fail(unknown_network, "");
  if (address.empty()) return fail(missing_address, "");
  const Addr& local = options.local;
  if (local && local.network() != known->base)
    return fail(mismatched_local_address, "address " + local.string());

  Deadline deadline = options.deadline;
  if (options.timeout.count() != 0)
    deadline = std::min(deadline.when(), internal::time_after(options.timeout));
  std::vector<Addr> addrs;
  if (const Error err = internal::resolve_all(*known, address, deadline, addrs))
    return fail(err, err.subject());
  if (local && local.ip()) {
    std::vector<Addr> fitting;
    for (Addr& addr : addrs)
      if (!addr.ip() || addr.ip().is6() == local.ip().is6())
        fitting.push_back(std::move(addr));
    if (fitting.empty())
      return fail(no_suitable_address, "address " + local.string());
    addrs = std::move(fitting);
  }
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
    return {{}, {}, {sys::last_error(), {"pipe", "", {}, {}, "socketpair"}}};
  internal::Descriptor first(fds[0]), second(fds[1]);
  const Addr end("pipe", "pipe");
  return {internal::make_handle<Conn>(std::move(first), internal::pipe_network,
                                      end, end),
          internal::make_handle<Conn>(std::move(second), internal::pipe_network,
                                      end, end)};
}

inline Result<std::size_t> read(const Conn& conn, Buffer buffer) {
  const internal::Use use(conn);
  if (!use) return {0, use.failure("read")};
  if (buffer.size() == 0) return {0};
  const std::lock_guard<std::mutex> turn(use->reading.turn);
  const int type = use->network.type;
  bool cut = false;
  const auto got = internal::attempt(*use, use->reading, POLLIN, [&] {
    return type == SOCK_STREAM
               ? sys::recv(use->fd, buffer.data(), buffer.size())
               : sys::recvmsg(use->fd, buffer.data(), buffer.size(), cut);
  });
  if (got.why) return {0, use.failure("read", got.why, "read")};
  if (got.n == 0 && type != SOCK_DGRAM) return {0, eof};
  const auto n = static_cast<std::size_t>(got.n);
  if (cut) return {n, use.failure("read", truncated)};
  return {n};
}

inline Result<std::size_t> read_full(const Conn& conn, Buffer buffer) {
  std::size_t have = 0;
  while (have < buffer.size()) {
    const auto [n, err] =
        read(conn, {buffer.data() + have, buffer.size() - have});
    have += n;
    if (err == eof && have > 0) return {have, unexpected_eof};
    if (err) return {have, err};
  }
  return {have};
}

inline Result<std::size_t> write(const Conn& conn, Bytes bytes) {
  iovec piece = internal::to_iovec(bytes);
  return internal::write_all(conn, &piece, 1);
}

inline Result<std::size_t> write(const Conn& conn, const void* data,
                                 std::size_t size) {
  return write(conn, Bytes(data, size));
}

inline Result<std::size_t> write(const Conn& conn,
                                 std::initializer_list<Bytes> pieces) {
  std::vector<iovec> list;
  for (const Bytes& piece : pieces) list.push_back(internal::to_iovec(piece));
  if (list.empty()) list.push_back({nullptr, 0});
  return internal::write_all(conn, list.data(), list.size());
}

inline Error close(const Handle& handle) {
  internal::Socket* s = internal::Access::socket(handle);
  if (!s || !s->enter(internal::Socket::closing))
    return internal::failure("close", s, closed);
  internal::remove_file(*s);
  {
    const std::lock_guard<std::mutex> lock(s->guard);
    internal::kick(s->reading);
    internal::kick(s->writing);
  }
  if (s->leave() && sys::close(s->fd) < 0 && errno != EINTR)
    return internal::failure("close", s, sys::last_error(), "close");
  return {};
}

inline Error close_read(const Conn& conn) {
  return internal::shut_down(conn, SHUT_RD);
}

inline Error close_write(const Conn& conn) {
  return internal::shut_down(conn, SHUT_WR);
}

inline const Addr& local_addr(const Handle& handle) {
  static const Addr none{};
  const internal::Socket* s = internal::Access::socket(handle);
  return s ? s->local : none;
}

inline const Addr& remote_addr(const Conn& conn) {
  static const Addr none{};
  const internal::Socket* s = internal::Access::socket(conn);
  return s ? s->remote : none;
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
}  // namespace NETLITE_BUILD

// ---------------------------------------------------------------------------
// Listeners

namespace internal {
inline namespace NETLITE_BUILD {
// Is there a socket's file at this path that nobody listens on?
inline bool is_stale(const std::string& path, const sys::Address& address,
                     int type) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode))
    return false;
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
  const auto mode = static_cast<mode_t>(options.mode);
  // The file is born with the socket's own mode: at no time is it open to
  // more than was asked. (Linux; elsewhere only chmod below.)
  if (file && options.mode >= 0) ::fchmod(fd, mode);
  int result = sys::bind(fd, address);
  if (result < 0 && errno == EADDRINUSE && file && options.replace_stale) {
    const bool stale = is_stale(path, address, type);
    if (stale) ::unlink(path.c_str());
    errno = EADDRINUSE;
    if (stale) result = sys::bind(fd, address);
  }
  if (result == 0 && file && options.mode >= 0)
    result = ::chmod(path.c_str(), mode);
  return result;
}

// Remembers which file bind made. The path is made absolute: the process
// may change its directory before it closes the listener.
inline std::unique_ptr<SocketFile> made_file(const std::string& path) {
  struct stat made {};
  if (path.empty() || path[0] == '@' || ::lstat(path.c_str(), &made) != 0)
    return nullptr;
  std::string full = path;
  char here[PATH_MAX];
  if (path[0] != '/' && ::getcwd(here, sizeof here))
    full = std::string(here) + "/" + path;
  return std::make_unique<SocketFile>(
      SocketFile{full, made.st_dev, made.st_ino, ::getpid()});
}

// The family of a listening socket. "tcp" on any address serves both, with
// an IPv6 socket that takes IPv4 clients too (RFC 3493, 5.3).
inline int listen_family(const Network& network, const Addr& addr) {
  if (network.family != AF_UNSPEC) return network.family;
  const IP& ip = addr.ip();
  return !ip || ip.is_unspecified() || ip.is6() ? AF_INET6 : AF_INET;
}

// socket(2) and what comes before bind(2). `family` may change: a machine
// without IPv6 serves any address by IPv4.
inline Descriptor listening_socket(const Network& network, const Addr& addr,
                                   int& family) {
  Descriptor fd(sys::socket(family, network.type));
  const IP& ip = addr.ip();
  if (!fd && errno == EAFNOSUPPORT && network.family == AF_UNSPEC &&
      (!ip || ip.is_unspecified())) {
    family = AF_INET;
    fd.reset(sys::socket(family, network.type));
  }
  if (fd && family == AF_INET6)
    sys::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY,
                    network.family == AF_INET6 ? 1 : 0);
  return fd;
}

// What accept(2) says about one client that has gone already; Linux hands
// over that client's pending network errors too.
inline bool concerns_one_client(const std::error_code& code) {
  if (code.category() != std::system_category()) return false;
  switch (code.value()) {
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
#ifdef ENONET
    case ENONET:
#endif
    case EHOSTUNREACH:
    case ENETUNREACH: return true;
    default: return false;
  }
}
}  // namespace NETLITE_BUILD
}  // namespace internal

inline namespace NETLITE_BUILD {
inline Result<Listener> listen(std::string_view network,
                               std::string_view address,
                               const ListenOptions& options) {
  Addr addr;
  const auto fail = [&](const Error& cause, const std::string& subject) {
    return Result<Listener>{
        Listener(),
        {cause.code(), {"listen", std::string(network), addr, {}, subject}}};
  };
  const internal::Network* known = internal::find_network(network);
  if (!known) return fail(unknown_network, "");
  std::vector<Addr> addrs;
  if (const Error err =
          internal::resolve_all(*known, address, no_deadline, addrs))
    return fail(err, err.subject());
  addr = internal::favourite(addrs);
  if (known->type == SOCK_DGRAM)
    return fail(unexpected_address_type, "address " + addr.string());

  int family = internal::listen_family(*known, addr);
  internal::Descriptor fd = internal::listening_socket(*known, addr, family);
  if (!fd) return fail(sys::last_error(), "socket");
  if (family != AF_UNIX) sys::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port)
    sys::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (options.control)
    if (const Error err = options.control(fd.get()))
      return fail(err, "control");

  sys::Address name;
  if (const auto why = internal::to_kernel(addr, family, name))
    return fail(why, "bind");
  const int bound = family == AF_UNIX
                        ? internal::bind_unix(fd.get(), name, addr.path(),
                                              known->type, options)
                        : sys::bind(fd.get(), name);
  if (bound < 0) return fail(sys::last_error(), "bind");
  auto file = family == AF_UNIX ? internal::made_file(addr.path()) : nullptr;
  if (family != AF_UNIX)
    internal::set_tcp_defaults(fd.get(), options.keep_alive, true);
  // The kernel cuts the number to what the system allows.
  const int backlog = options.backlog > 0 ? options.backlog : INT_MAX;
  if (sys::listen(fd.get(), backlog) < 0)
    return fail(sys::last_error(), "listen");
  Addr local = internal::local_of(fd.get(), *known);
  auto listener =
      internal::make_handle<Listener>(std::move(fd), *known, std::move(local));
  internal::Access::socket(listener)->file = std::move(file);
  return {std::move(listener)};
}

inline Result<Conn> accept(const Listener& listener) {
  const internal::Use use(listener);
  if (!use) return {Conn(), use.failure("accept")};
  const std::lock_guard<std::mutex> turn(use->reading.turn);
  sys::Address peer;
  internal::Outcome got;
  do {
    got = internal::attempt(*use, use->reading, POLLIN, [&] {
      return static_cast<ssize_t>(sys::accept(use->fd, peer));
    });
  } while (internal::concerns_one_client(got.why));
  if (got.why) return {Conn(), use.failure("accept", got.why, "accept4")};

  internal::Descriptor fd(static_cast<int>(got.n));
  if (!sys::accept_inherits_options && use->network.base == "tcp")
    internal::set_tcp_defaults(fd.get(), {}, true);
  Addr local = internal::local_of(fd.get(), use->network);
  return {
      internal::make_handle<Conn>(std::move(fd), use->network, std::move(local),
                                  internal::from_kernel(use->network, peer))};
}

inline const Addr& addr(const Listener& listener) {
  return local_addr(listener);
}
}  // namespace NETLITE_BUILD

}  // namespace netlite

#undef NETLITE_TRACED

#endif  // NETLITE_HPP
