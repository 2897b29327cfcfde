// The scripted peers: the other end of a connection, which does on purpose
// what a network does by accident. The course's checks and the tests use them.
//
//   peers::Peer peer(peers::pieces("hello, world", {3, 7}));
//   auto conn = net::must(net::dial("tcp", peer.address()));
//   ...                            // reads "hel", then "lo, ", then "world"
//
// A script is a function that acts on a Wire, the peer's end of a connection.
// When it returns, the wire is closed. Plain BSD calls, so that a fault in
// netlite cannot hide itself; every wait ends after `patience`, and none lasts
// beyond `the_end`.
#ifndef NETLITE_TUTORIALS_PEERS_HPP
#define NETLITE_TUTORIALS_PEERS_HPP

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace peers {

using Clock = std::chrono::steady_clock;
inline std::chrono::seconds patience{10};
inline Clock::time_point the_end = Clock::time_point::max();
/// What stories call the peer: step 1 does not know that word yet.
inline std::string me = "The peer";

/// Until when somebody waits who begins now.
inline Clock::time_point deadline() {
  return std::min(Clock::now() + patience, the_end);
}

/// Thrown when the other side did not do its part in time; says which.
struct Waited : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* call) {
  throw std::system_error(errno, std::system_category(), call);
}

// -- Words ------------------------------------------------------------------

/// Text as one would write it in C++, cut to what fits a line.
inline std::string quoted(std::string_view text, std::size_t shown = 64) {
  std::string quote = "\"";
  for (const char c : text.substr(0, shown)) {
    const auto byte = static_cast<unsigned char>(c);
    const char* const hex = "0123456789abcdef";
    if (c == '\n')
      quote += "\\n";
    else if (c == '\r')
      quote += "\\r";
    else if (c == '"' || c == '\\')
      quote += std::string("\\") + c;
    else if (byte < ' ' || byte > '~')
      quote += std::string("\\x") + hex[byte / 16] + hex[byte % 16];
    else
      quote += c;
  }
  return quote + (text.size() > shown ? "\"..." : "\"");
}

/// "1 byte", "three pieces": small numbers of pieces read better as words.
inline std::string counted(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}
inline std::string in_words(std::size_t n, const std::string& what) {
  static const char* const words[] = {"no",   "one", "two",   "three", "four",
                                      "five", "six", "seven", "eight", "nine"};
  return n < 10 ? std::string(words[n]) + " " + what + (n == 1 ? "" : "s")
                : counted(n, what);
}

// -- Sockets ----------------------------------------------------------------

/// A descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

/// The same under a high number: the first descriptor of the code that is
/// judged shall be number 3, as on every page.
inline int out_of_the_way(int fd) {
  const int high = ::fcntl(fd, F_DUPFD, 100);
  if (high < 0) return fd;
  ::close(fd);
  return high;
}

/// 127.0.0.1 with a port.
inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline std::uint16_t port_of(int fd, decltype(::getsockname)* which) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (which(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return address.sin_family == AF_INET ? ntohs(address.sin_port)
                                       : std::uint16_t(0);
}

/// A socket on a port of 127.0.0.1 that the system chooses. It listens; or it
/// only keeps the port, so that whoever dials it is refused.
enum class Doing { listening, nothing };
inline Descriptor socket_on_free_port(Doing doing) {
  Descriptor fd(out_of_the_way(::socket(AF_INET, SOCK_STREAM, 0)));
  const sockaddr_in address = loopback(0);
  if (fd.get() < 0) fail("socket");
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof address) != 0)
    fail("bind");
  if (doing == Doing::listening && ::listen(fd.get(), SOMAXCONN) != 0)
    fail("listen");
  return fd;
}

inline std::string address_of(const Descriptor& fd) {
  return "127.0.0.1:" + std::to_string(port_of(fd.get(), ::getsockname));
}

/// Waits until there is something to do, or `over` says that nobody will do
/// anything any more; false when the time is up.
inline bool wait_for(int fd, short events, Clock::time_point until,
                     int over = -1) {
  for (;;) {
    const auto left = std::max<Clock::duration>(until - Clock::now(), {});
    const auto pause = std::chrono::ceil<std::chrono::milliseconds>(left);
    pollfd watched[] = {{fd, events, 0}, {over, POLLIN, 0}};
    const int n = ::poll(watched, 2, static_cast<int>(pause.count()));
    if (n > 0) return true;
    if (n == 0 && pause.count() == 0) return false;
    if (n < 0 && errno != EINTR) fail("poll");
  }
}

// -- The wire ---------------------------------------------------------------

/// A Wire is the peer's end of a connection. It remembers what it did.
class Wire {
 public:
  explicit Wire(Descriptor fd) : fd_(std::move(fd)) {
    ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(fd_.get(), F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    const int on = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  }

  /// The next client of a listening socket; `over` as in set_over.
  static Wire accept(const Descriptor& listener, int over = -1) {
    wait_for(listener.get(), POLLIN, deadline(), over);
    if (!wait_for(listener.get(), POLLIN, {}))
      throw Waited("Nobody dialled it.");
    Descriptor fd(out_of_the_way(::accept(listener.get(), nullptr, nullptr)));
    if (fd.get() < 0) fail("accept");
    Wire wire(std::move(fd));
    wire.set_over(over);
    return wire;
  }

  /// A connection to a port of 127.0.0.1; gives an errno as well, such as
  /// ECONNREFUSED.
  static std::pair<Wire, int> dial(std::uint16_t port) {
    Descriptor fd(out_of_the_way(::socket(AF_INET, SOCK_STREAM, 0)));
    const sockaddr_in address = loopback(port);
    if (fd.get() < 0) fail("socket");
    const bool connected =
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) == 0;
    return {Wire(std::move(fd)), connected ? 0 : errno};
  }

  int fd() const { return fd_.get(); }

  /// Writes all of it; less when the other side has gone.
  void send(std::string_view text) {
    const auto until = deadline();
    std::size_t at = 0;
    while (at < text.size()) {
#ifdef MSG_NOSIGNAL
      const int flags = MSG_NOSIGNAL;
#else
      const int flags = 0;
#endif
      const ssize_t n =
          ::send(fd_.get(), text.data() + at, text.size() - at, flags);
      if (n >= 0) {
        at += static_cast<std::size_t>(n);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (is_over()) break;
        if (!wait_for(fd_.get(), POLLOUT, until, over_)) {
          remember(What::sent, text.substr(0, at));
          throw Waited("Then it had more to write, but you did not read on.");
        }
      } else if (errno != EINTR) {
        break;  // the other side has gone: EPIPE, ECONNRESET
      }
    }
    remember(What::sent, text.substr(0, at));
  }

  /// Reads so many bytes; fewer when the stream ends before.
  std::string receive(std::size_t size) {
    their_end_.reset();  // or we would hold their connection open
    std::string text;
    const auto until = deadline();
    while (text.size() < size && !ended_) {
      const bool is_last = is_over();
      char buffer[16384];
      const ssize_t n = ::recv(fd_.get(), buffer,
                               std::min(sizeof buffer, size - text.size()), 0);
      if (n > 0) {
        text.append(buffer, static_cast<std::size_t>(n));
      } else if (n == 0 || errno == ECONNRESET) {
        ended_ = true;
        was_reset_ = n < 0;
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (is_last) break;
        if (!wait_for(fd_.get(), POLLIN, until, over_)) {
          remember(What::got, text);
          throw Waited("Then it waited for more from you, but nothing came.");
        }
      } else if (errno != EINTR) {
        fail("recv");
      }
    }
    remember(What::got, text);
    return text;
  }

  /// Reads until the stream ends, but no more than a limit.
  std::string receive_all(std::size_t limit = 1 << 24) {
    return receive(limit);
  }

  /// Ends what we write, and goes on reading.
  void half_close() {
    ::shutdown(fd_.get(), SHUT_WR);
    const std::lock_guard<std::mutex> lock(remembering());
    deeds_.push_back({What::half_closed, {}});
    has_ended_its_half_ = true;
  }
  void close() {
    if (fd_.get() < 0) return;
    fd_.reset();
    if (ending_.empty() && !has_ended_its_half_) ending_ = "closed";
  }
  /// Throws the connection away: the other side sees "connection reset".
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fd_.reset();
    ending_ = "reset the connection";
  }

  /// Waits until the other side has read all that we wrote, so that the next
  /// piece arrives by itself. It looks into their receive buffer, when their
  /// end of the connection is in this process; else it just gives them time.
  void wait_until_read() {
    if (their_end_.get() < 0) their_end_ = their_end();
    if (their_end_.get() < 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return;
    }
    const auto until = deadline();
    while (!is_over() && Clock::now() < until) {
      int on_the_way = 0;
      int unread = 0;
#ifdef TIOCOUTQ
      ::ioctl(fd_.get(), TIOCOUTQ, &on_the_way);
#endif
      if (::ioctl(their_end_.get(), FIONREAD, &unread) != 0) return;
      if (on_the_way == 0 && unread == 0) return;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  /// Waits until the other side's system has all that we wrote.
  void wait_until_sent() const {
#ifdef TIOCOUTQ
    const auto until = deadline();
    int on_the_way = 0;
    while (::ioctl(fd_.get(), TIOCOUTQ, &on_the_way) == 0 && on_the_way > 0 &&
           Clock::now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
#endif
  }

  /// `over` becomes readable, or is hung up, when the other side's part is
  /// over: nobody will read any more.
  void set_over(int over) { over_ = over; }
  bool is_over() const { return over_ >= 0 && wait_for(over_, POLLIN, {}); }
  /// Stays connected, and does nothing, until it is over.
  void wait_until_over() {
    if (over_ >= 0) wait_for(over_, POLLIN, deadline());
    stays_ = true;
    ending_ = deeds_.empty() ? "kept the connection open and said nothing"
                             : "kept the connection open";
  }

  /// Whether it waited until it was over, or in vain: it does not close then.
  bool stays() const { return stays_; }
  /// Whether it has read to the end, or to a reset.
  bool has_ended() const { return ended_; }
  bool was_reset() const { return was_reset_; }
  const std::string& got() const { return got_; }

  /// What happened, in that order, as a sentence: `The peer wrote 12 bytes in
  /// three pieces, "hel" "lo, " "world", then closed.`
  std::string story() const {
    std::vector<std::string> parts;
    constexpr std::size_t shown = 8;
    const std::size_t first = deeds_.size() - std::min(deeds_.size(), shown);
    if (first > 0) parts.push_back("did much else");
    for (std::size_t i = first; i < deeds_.size(); ++i)
      parts.push_back(words(deeds_[i]));
    if (!ending_.empty()) parts.push_back(ending_);
    if (parts.empty()) return me + " did nothing.";
    std::string story = me + " " + parts[0];
    for (std::size_t i = 1; i < parts.size(); ++i)
      story += ", then " + parts[i];
    return story + ".";
  }

 private:
  enum class What { sent, got, half_closed };
  struct Deed {
    What what;
    std::vector<std::string> pieces;
  };

  // Two threads may use one wire, each its own direction.
  static std::mutex& remembering() {
    static std::mutex mutex;
    return mutex;
  }

  // What was sent in pieces is one deed, and so is what was read in some.
  void remember(What what, std::string_view text) {
    const std::lock_guard<std::mutex> lock(remembering());
    if (text.empty()) return;
    if (deeds_.empty() || deeds_.back().what != what)
      deeds_.push_back({what, {}});
    std::vector<std::string>& pieces = deeds_.back().pieces;
    if (what == What::sent || pieces.empty())
      pieces.emplace_back(text);
    else
      pieces.back() += text;
    if (what == What::got) got_ += text;
  }

  static std::string words(const Deed& deed) {
    constexpr std::size_t shown = 4;
    if (deed.what == What::half_closed) return "ended its half";
    if (deed.what == What::got)
      return "read " + counted(deed.pieces[0].size(), "byte") + ", " +
             peers::quoted(deed.pieces[0]);
    const std::size_t count = deed.pieces.size();
    std::size_t size = 0;
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      size += deed.pieces[i].size();
      if (i < shown) text += " " + peers::quoted(deed.pieces[i], 32);
    }
    if (count > shown) text += " ...";
    return "wrote " + counted(size, "byte") +
           (count == 1 ? "," : " in " + in_words(count, "piece") + ",") + text;
  }

  // A copy of the other end, if this process has it.
  Descriptor their_end() const {
    const std::uint16_t here = port_of(fd_.get(), ::getsockname);
    const std::uint16_t there = port_of(fd_.get(), ::getpeername);
    for (int fd = 0; fd < 1024; ++fd) {
      if (port_of(fd, ::getsockname) == there &&
          port_of(fd, ::getpeername) == here)
        return Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    }
    return Descriptor();
  }

  Descriptor fd_;
  Descriptor their_end_;
  int over_ = -1;
  bool ended_ = false;
  bool was_reset_ = false;
  bool stays_ = false;
  bool has_ended_its_half_ = false;
  std::vector<Deed> deeds_{};
  std::string got_{};
  std::string ending_{};
};

// -- Scripts ----------------------------------------------------------------

using Script = std::function<void(Wire&)>;

/// Writes the text cut at these places, each piece when the one before has
/// been read.
inline Script pieces(std::string text, std::vector<std::size_t> cuts = {}) {
  return [text, cuts](Wire& wire) {
    std::size_t from = 0;
    for (const std::size_t cut : cuts) {
      wire.send(std::string_view(text).substr(from, cut - from));
      wire.wait_until_read();
      from = cut;
    }
    wire.send(std::string_view(text).substr(from));
  };
}

/// Writes a byte, waits, writes the next: as slow as it likes.
inline Script drip(std::string text, std::chrono::milliseconds interval) {
  return [text, interval](Wire& wire) {
    for (std::size_t i = 0; i < text.size() && !wire.is_over(); ++i) {
      if (i > 0) std::this_thread::sleep_for(interval);
      wire.send(std::string_view(text).substr(i, 1));
    }
  };
}

/// Writes the first n bytes, and when they have been read, resets.
inline Script reset_after(std::string text, std::size_t n) {
  return [text, n](Wire& wire) {
    wire.send(std::string_view(text).substr(0, n));
    wire.wait_until_read();
    wire.reset();
  };
}

/// Writes the first n bytes, ends its half, and reads what comes.
inline Script half_close_after(std::string text, std::size_t n) {
  return [text, n](Wire& wire) {
    wire.send(std::string_view(text).substr(0, n));
    wire.half_close();
    wire.receive_all();
  };
}

/// Is connected, and that is all: whoever writes to it fills the buffers.
inline Script never_read() {
  return [](Wire& wire) { wire.wait_until_over(); };
}

/// Reads everything and answers nothing.
inline Script never_write() {
  return [](Wire& wire) { wire.receive_all(); };
}

/// Writes so many random bytes in pieces of random length, the same for the
/// same seed.
inline std::string noise(unsigned seed, std::size_t size) {
  std::minstd_rand random(seed + 1);
  std::string bytes;
  while (bytes.size() < size)
    bytes += static_cast<char>(static_cast<unsigned char>(random() >> 8));
  return bytes;
}
inline Script garbage(unsigned seed, std::size_t size) {
  return [seed, size](Wire& wire) {
    const std::string bytes = noise(seed, size);
    std::minstd_rand random(seed + 2);
    for (std::size_t at = 0; at < size;) {
      const auto piece = std::min<std::size_t>(size - at, 1 + random() % 4096);
      wire.send(std::string_view(bytes).substr(at, piece));
      at += piece;
    }
  };
}

// -- A peer in a thread -----------------------------------------------------

/// A Peer listens on a port of its own and plays its script to the first who
/// dials it. Its destructor says that it is over, and waits for the script.
class Peer {
 public:
  explicit Peer(Script script)
      : listener_(socket_on_free_port(Doing::listening)) {
    int ends[2];
    if (::pipe(ends) != 0) fail("pipe");
    over_ = Descriptor(ends[0]);
    tell_over_ = Descriptor(ends[1]);
    thread_ = std::thread([this, script] { play(script); });
  }
  ~Peer() { end(); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  std::string address() const { return address_of(listener_); }

  /// Waits for the script to end, and tells what happened.
  std::string end() {
    tell_over_.reset();
    // A peer that nobody has dialled need not wait any longer.
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    return story_;
  }

 private:
  void play(const Script& script) {
    try {
      Wire wire = Wire::accept(listener_);
      wire.set_over(over_.get());
      try {
        script(wire);
        wire.close();
      } catch (const Waited& waited) {
        story_ = wire.story() + " " + waited.what();
        return;
      }
      story_ = wire.story();
    } catch (const std::exception& failure) {
      story_ = failure.what();
    }
  }

  Descriptor listener_;
  Descriptor over_;
  Descriptor tell_over_;
  std::string story_{};
  std::thread thread_{};
};

}  // namespace peers

#endif  // NETLITE_TUTORIALS_PEERS_HPP
