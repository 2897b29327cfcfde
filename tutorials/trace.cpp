// Shows the BSD calls of any program, as strace(1) does, but from inside: it
// defines `socket`, `connect`, `poll` ... itself, calls the C library's own,
// and tells what came of them. Compile it beside a program, or, on Linux, load
// it before one that exists already:
//
//   g++ main.cpp trace.cpp -o main && NETLITE_TRACE=1 ./main
//   sh tutorials/run trace nc localhost 9988
//
// For a static program, have the linker put it between:
//
//   g++ -c -DTRACE_WRAP trace.cpp
//   g++ -static main.cpp trace.o $(nm trace.o |
//     sed -n 's/.* T __wrap_/-Wl,--wrap=/p') -o main
//
// NETLITE_TRACE=1 shows people every call on stderr: when it began (ms since
// the first), who made it, arguments, result, and how long it was blocked.
// NETLITE_TRACE=FILE appends a line a call for programs, from any number of
// processes; its columns, with tabs between: start, end (ns of CLOCK_MONOTONIC,
// which all processes share), program, process, thread, descriptor, call,
// arguments, result, error or "-". Calls that may wait have a line before that,
// when they begin; its result is "?", and its arguments may be but a
// descriptor.
//
// What is no socket stays out of it: files, pipes, the bells of netlite; only
// signals that a program sends are told, too. So do
// the calls that the C library makes inside of others, such as getaddrinfo. A
// line is put into words only after its call, so that what it received can be
// shown, and without allocating, so that signal handlers may be traced, too.

// Such builds call __recv_chk and kin, which are defined below. Here, the
// system's headers shall not define `recv` in their own way.
#undef _FORTIFY_SOURCE

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>

namespace {

// -- Text ---------------------------------------------------------------------

// A line's worth of text; what is too long ends in "...".
class Text {
 public:
  const char* c_str() const { return data_; }

  Text& operator<<(char c) {
    if (size_ + 1 < sizeof data_) {
      data_[size_++] = c;
    } else {
      std::memcpy(data_ + size_ - 3, "...", 3);
    }
    return *this;
  }
  Text& operator<<(const char* text) {
    for (text = text ? text : "NULL"; *text; ++text) *this << *text;
    return *this;
  }
  Text& operator<<(long number) {
    char digits[24];
    std::snprintf(digits, sizeof digits, "%ld", number);
    return *this << digits;
  }
  Text& operator<<(int number) { return *this << long{number}; }
  Text& operator<<(std::size_t number) {
    return *this << static_cast<long>(number);
  }

  // With everything escaped that would break a line or a column.
  Text& printable(char c) {
    if (c == '\n') return *this << "\\n";
    if (c == '\r') return *this << "\\r";
    if (c >= ' ' && c <= '~') return *this << c;
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\x%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    return *this << escaped;
  }

 private:
  char data_[257] = {};
  std::size_t size_ = 0;
};

// Text that somebody else wrote: a host's name, a path.
struct Foreign {
  const char* text;
};
Text& operator<<(Text& text, Foreign foreign) {
  if (!foreign.text) return text << "NULL";
  for (const char* c = foreign.text; *c; ++c) text.printable(*c);
  return text;
}

// The first bytes of some data as a C string literal.
struct Data {
  const void* bytes;
  long size;
};
Text& operator<<(Text& text, Data data) {
  constexpr long shown = 32;
  if (data.size < 0 || !data.bytes) return text << "...";
  const char* bytes = static_cast<const char*>(data.bytes);
  text << '"';
  for (long i = 0; i < std::min(data.size, shown); ++i) {
    if (bytes[i] == '"' || bytes[i] == '\\') text << '\\';
    text.printable(bytes[i]);
  }
  return text << (data.size > shown ? "\"..." : "\"");
}

// A buffer, of which at most so much was sent or received.
struct Buffer {
  const void* bytes;
  std::size_t size;
  long used;
};
Text& operator<<(Text& text, Buffer buffer) {
  const long size = static_cast<long>(buffer.size);
  return text << Data{buffer.bytes, std::min(buffer.used, size)} << ", "
              << size;
}

// The first of several pieces, of which so much was sent or received.
struct Pieces {
  const iovec* first;
  std::size_t count;
  long size;
};
Text& operator<<(Text& text, Pieces pieces) {
  if (pieces.count == 0) return text << "...";
  const iovec& first = pieces.first[0];
  return text << Data{first.iov_base,
                      std::min(pieces.size, static_cast<long>(first.iov_len))};
}

// How many there are, unless it is one.
struct Count {
  std::size_t pieces;
};
Text& operator<<(Text& text, Count count) {
  return count.pieces == 1 ? text : text << ", " << count.pieces << " pieces";
}

struct Address {
  const void* bytes;
  std::size_t size;
};
Text& operator<<(Text& text, Address address) {
  sockaddr_storage any{};
  if (!address.bytes) return text << '-';
  std::memcpy(&any, address.bytes, std::min(address.size, sizeof any));
  char host[INET6_ADDRSTRLEN] = "";
  if (any.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(any);
    ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
    return text << host << ':' << long{ntohs(v4.sin_port)};
  }
  if (any.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(any);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    text << '[' << host;
    if (v6.sin6_scope_id) text << '%' << long{v6.sin6_scope_id};
    return text << "]:" << long{ntohs(v6.sin6_port)};
  }
  const std::size_t head = offsetof(sockaddr_un, sun_path);
  if (any.ss_family != AF_UNIX || address.size <= head) return text << '-';
  const char* path = reinterpret_cast<const sockaddr_un&>(any).sun_path;
  const std::size_t size = std::min(address.size, sizeof any) - head;
  if (path[0] == '\0') text << '@';  // an abstract name may hold any bytes
  for (std::size_t i = path[0] == '\0'; i < size; ++i) {
    if (path[i] == '\0' && path[0] != '\0') break;
    text.printable(path[i]);
  }
  return text;
}

// An address that a call fills in; where the program does not ask for it, we
// do.
class Filled {
 public:
  Filled(sockaddr*& address, socklen_t*& size) {
    if (!address || !size) {
      address = reinterpret_cast<sockaddr*>(&own_);
      size = &own_size_;
    }
    bytes_ = address;
    size_ = size;
    room_ = *size;
  }
  Address after(long result) const {
    return {result < 0 ? nullptr : bytes_, std::min(room_, *size_)};
  }

 private:
  sockaddr_storage own_{};
  socklen_t own_size_ = sizeof own_;
  const void* bytes_;
  const socklen_t* size_;
  socklen_t room_;
};

// Where a message goes to, unless the socket is connected.
struct To {
  Address address;
};
Text& operator<<(Text& text, To to) {
  return to.address.bytes ? text << ", " << to.address : text;
}

// What stands beside the data of a message that was sent or received: whose
// address, and the descriptors that travel with it.
struct Envelope {
  const msghdr* message;
  bool is_filled;
};
Text& operator<<(Text& text, Envelope envelope) {
  if (!envelope.is_filled) return text;
  auto* message = const_cast<msghdr*>(envelope.message);
  if (message->msg_namelen > 0)
    text << To{{message->msg_name, message->msg_namelen}};
  for (cmsghdr* each = CMSG_FIRSTHDR(message); each;
       each = CMSG_NXTHDR(message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
      continue;
    text << ", {SCM_RIGHTS";
    int fd;
    for (std::size_t at = 0; CMSG_LEN(at + sizeof fd) <= each->cmsg_len;
         at += sizeof fd) {
      std::memcpy(&fd, CMSG_DATA(each) + at, sizeof fd);
      text << ' ' << fd;
    }
    text << '}';
  }
  return text;
}

// A datagram that was longer than the room for it.
struct Cut {
  bool is_cut;
};
Text& operator<<(Text& text, Cut cut) {
  return cut.is_cut ? text << ", MSG_TRUNC" : text;
}

// -- Numbers that have names --------------------------------------------------

struct Name {
  int number;
  const char* name;
};
#define NAME(number) \
  { number, #number }

constexpr Name errors[] = {
    NAME(EACCES),        NAME(EADDRINUSE),
    NAME(EADDRNOTAVAIL), NAME(EAFNOSUPPORT),
    NAME(EAGAIN),        NAME(EALREADY),
    NAME(EBADF),         NAME(ECONNABORTED),
    NAME(ECONNREFUSED),  NAME(ECONNRESET),
    NAME(EDESTADDRREQ),  NAME(EFAULT),
    NAME(EHOSTUNREACH),  NAME(EINPROGRESS),
    NAME(EINTR),         NAME(EINVAL),
    NAME(EIO),           NAME(EISCONN),
    NAME(EMFILE),        NAME(EMSGSIZE),
    NAME(ENAMETOOLONG),  NAME(ENETDOWN),
    NAME(ENETRESET),     NAME(ENETUNREACH),
    NAME(ENFILE),        NAME(ENOBUFS),
    NAME(ENODEV),        NAME(ENOENT),
    NAME(ENOMEM),        NAME(ENOPROTOOPT),
    NAME(ENOTCONN),      NAME(ENOTDIR),
    NAME(ENOTSOCK),      NAME(EOPNOTSUPP),
    NAME(EPERM),         NAME(EPIPE),
    NAME(EPROTO),        NAME(EPROTONOSUPPORT),
    NAME(EPROTOTYPE),    NAME(EROFS),
    NAME(ETIMEDOUT),     NAME(EEXIST),
};
// getaddrinfo(3) and getnameinfo(3) return what went wrong.
constexpr Name resolver_errors[] = {
    NAME(EAI_AGAIN),   NAME(EAI_FAIL),   NAME(EAI_FAMILY),   NAME(EAI_NONAME),
    NAME(EAI_SERVICE), NAME(EAI_SYSTEM), NAME(EAI_OVERFLOW),
};
constexpr Name families[] = {
    NAME(AF_UNIX),
    NAME(AF_INET),
    NAME(AF_INET6),
};
constexpr Name types[] = {
    NAME(SOCK_STREAM),
    NAME(SOCK_DGRAM),
    NAME(SOCK_SEQPACKET),
    NAME(SOCK_RAW),
};
constexpr Name directions[] = {
    NAME(SHUT_RD),
    NAME(SHUT_WR),
    NAME(SHUT_RDWR),
};
constexpr Name poll_events[] = {
    NAME(POLLIN),
    NAME(POLLPRI),
    NAME(POLLOUT),
};
// Those that a program chooses from call to call.
constexpr Name message_flags[] = {
    NAME(MSG_PEEK),
    NAME(MSG_OOB),
    NAME(MSG_WAITALL),
    NAME(MSG_DONTWAIT),
};
constexpr Name signals[] = {
    NAME(SIGHUP),  NAME(SIGINT),  NAME(SIGQUIT), NAME(SIGKILL),
    NAME(SIGUSR1), NAME(SIGUSR2), NAME(SIGPIPE), NAME(SIGTERM),
};
constexpr Name commands[] = {
    NAME(F_GETFL), NAME(F_SETFL), NAME(F_GETFD),
    NAME(F_SETFD), NAME(F_DUPFD), NAME(F_DUPFD_CLOEXEC),
};
constexpr Name socket_options[] = {
    NAME(SO_ERROR),     NAME(SO_REUSEADDR), NAME(SO_REUSEPORT),
    NAME(SO_BROADCAST), NAME(SO_KEEPALIVE), NAME(SO_LINGER),
    NAME(SO_TYPE),      NAME(SO_RCVBUF),    NAME(SO_SNDBUF),
    NAME(SO_RCVTIMEO),  NAME(SO_SNDTIMEO),
};
constexpr Name tcp_options[] = {
    NAME(TCP_NODELAY),
    NAME(TCP_KEEPINTVL),
    NAME(TCP_KEEPCNT),
#ifdef TCP_KEEPIDLE
    NAME(TCP_KEEPIDLE),
#endif
};
constexpr Name ipv6_options[] = {
    NAME(IPV6_V6ONLY),
};
#ifdef __linux__
constexpr Name epoll_operations[] = {
    {EPOLL_CTL_ADD, "ADD"},
    {EPOLL_CTL_MOD, "MOD"},
    {EPOLL_CTL_DEL, "DEL"},
};
#endif
#undef NAME

// A table of them.
struct Names {
  const Name *first, *last;
  template <std::size_t count>
  Names(const Name (&names)[count]) : first(names), last(names + count) {}
  const Name* begin() const { return first; }
  const Name* end() const { return last; }
};

// A number by its name in a table, or as it is.
struct Named {
  Names names;
  int number;
};
Text& operator<<(Text& text, Named named) {
  for (const Name& each : named.names)
    if (each.number == named.number) return text << each.name;
  return text << named.number;
}

// All flags that are set, each after a separator.
struct Flags {
  Names names;
  int flags;
  const char* separator;
};
Text& operator<<(Text& text, Flags set) {
  for (const Name& each : set.names)
    if (set.flags & each.number) text << set.separator << each.name;
  return text;
}

struct Chosen {
  int flags;
};
Text& operator<<(Text& text, Chosen chosen) {
  return text << Flags{message_flags, chosen.flags, ", "};
}

// What fcntl(2) is to do.
struct Command {
  int command;
  const void* argument;
};
Text& operator<<(Text& text, Command command) {
  text << Named{commands, command.command};
  if (command.command == F_GETFL || command.command == F_GETFD) return text;
  const auto number =
      static_cast<int>(reinterpret_cast<std::uintptr_t>(command.argument));
  const bool waits_not = command.command == F_SETFL && (number & O_NONBLOCK);
  return waits_not ? text << ", O_NONBLOCK" : text << ", " << number;
}

struct Kind {  // of socket, without the flags that may stand beside the type
  int family, type;
};
Text& operator<<(Text& text, Kind kind) {
  return text << Named{families, kind.family} << ", "
              << Named{types, kind.type & 0xf};
}

// "0.5 s".
Text& operator<<(Text& text, const timeval& time) {
  text << static_cast<long>(time.tv_sec);
  long rest = static_cast<long>(time.tv_usec);
  if (rest > 0) text << '.';
  for (long unit = 100000; rest > 0; rest %= unit, unit /= 10)
    text << rest / unit;
  return text << " s";
}

// "SO_REUSEADDR, 1"; the outcome of a connect by its name.
struct Option {
  int level, name;
  const void* value;  // null when it is not known
  std::size_t size;
};
Text& operator<<(Text& text, Option option) {
  const bool is_socket_option = option.level == SOL_SOCKET;
  if (is_socket_option)
    text << Named{socket_options, option.name};
  else if (option.level == IPPROTO_TCP)
    text << Named{tcp_options, option.name};
  else if (option.level == IPPROTO_IPV6)
    text << Named{ipv6_options, option.name};
  else
    text << option.level << '/' << option.name;

  if (!option.value) return text << ", -";
  const bool is_time = is_socket_option && (option.name == SO_RCVTIMEO ||
                                            option.name == SO_SNDTIMEO);
  if (is_time && option.size >= sizeof(timeval)) {
    timeval time;
    std::memcpy(&time, option.value, sizeof time);
    return text << ", " << time;
  }
  int numbers[2] = {};
  std::memcpy(numbers, option.value, std::min(option.size, sizeof numbers));
  text << ", ";
  if (is_socket_option && option.name == SO_LINGER)
    return text << '{' << numbers[0] << ", " << numbers[1] << " s}";
  if (is_socket_option && option.name == SO_ERROR && numbers[0])
    return text << Named{errors, numbers[0]};
  return text << numbers[0];
}

struct Watched {
  const pollfd* fds;
  std::size_t count;
};
Text& operator<<(Text& text, Watched watched) {
  const char* separator = "{";
  for (std::size_t i = 0; i < watched.count; ++i) {
    if (watched.fds[i].fd < 0) continue;
    text << separator << watched.fds[i].fd
         << Flags{poll_events, watched.fds[i].events, " "};
    separator = ", ";
  }
  return text << '}';
}

// How long a call may wait.
struct Limit {
  long milliseconds;
  Limit(long ms) : milliseconds(ms) {}
  Limit(const timespec* t)
      : milliseconds(t ? t->tv_sec * 1000 + t->tv_nsec / 1000000 : -1) {}
  Limit(const timeval* t)
      : milliseconds(t ? t->tv_sec * 1000 + t->tv_usec / 1000 : -1) {}
};
Text& operator<<(Text& text, Limit limit) {
  if (limit.milliseconds < 0) return text << "forever";
  return text << limit.milliseconds << " ms";
}

// -- Telling ------------------------------------------------------------------

std::int64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

// While one lives, the calls of its thread are not told: our own, and those
// that the C library makes inside of getaddrinfo.
thread_local int silences = 0;
struct Silence {
  Silence() { ++silences; }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() { --silences; }
};

// What a call left in errno, and that it can be cancelled, pthread_cancel(3),
// are not changed by our own calls.
struct Unnoticed {
  const int error = errno;
  int cancels = 0;
  Unnoticed() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancels); }
  Unnoticed(const Unnoticed&) = delete;
  Unnoticed& operator=(const Unnoticed&) = delete;
  ~Unnoticed() {
    ::pthread_setcancelstate(cancels, nullptr);
    errno = error;
  }
};

// Where the lines go: nowhere, to stderr for people, to a file for programs.
struct Sink {
  int fd = -1;
  bool for_people = true;
  const std::int64_t start = now();

  Sink() {
    const char* where = std::getenv("NETLITE_TRACE");
    if (!where || !*where || std::strcmp(where, "0") == 0) return;
    for_people = std::strcmp(where, "1") == 0;
    fd = STDERR_FILENO;
    if (for_people) return;
    // A high number: the program's own descriptors keep theirs.
    const int file =
        ::open(where, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    rlimit most{};
    ::getrlimit(RLIMIT_NOFILE, &most);
    const rlim_t high = std::min(most.rlim_cur - 1, rlim_t{250});
    fd = ::fcntl(file, F_DUPFD_CLOEXEC, static_cast<int>(high));
    if (fd < 0) fd = file;
    if (fd != file) ::close(file);
  }
  // The environment is read at the first call.
  static const Sink& get() {
    static const Sink sink;
    return sink;
  }
};

bool is_tracing() {
  if (silences) return false;
  const Unnoticed unnoticed;
  const Silence silence;
  return Sink::get().fd >= 0;
}

// Threads are numbered in the order of their first call.
int thread() {
  static std::atomic<int> threads{0};
  thread_local const int number = ++threads;
  return number;
}

const char* program() {
#ifdef __linux__
  return program_invocation_short_name;
#else
  return ::getprogname();
#endif
}

// "blocked 201 ms", "163 us", or nothing for a call that was quick.
Text duration(std::int64_t ns) {
  Text text;
  if (ns >= 1000000)
    text << "blocked " << static_cast<long>(ns / 1000000) << " ms";
  else if (ns >= 50000)
    text << static_cast<long>(ns / 1000) << " us";
  return text;
}

struct Told {
  const char* name;
  int fd;
  std::int64_t start, end;
  Text arguments{}, result{}, error{};
};

int line_for_people(const Told& told, char* line, std::size_t size) {
  char who[64], call[400];
  std::snprintf(who, sizeof who, thread() > 1 ? "%s/%d" : "%s", program(),
                thread());
  std::snprintf(call, sizeof call, "%s(%s) = %.40s%s%.40s", told.name,
                told.arguments.c_str(), told.result.c_str(),
                *told.error.c_str() ? " " : "", told.error.c_str());
  const Text blocked = duration(told.end - told.start);
  return std::snprintf(
      line, size,
      *blocked.c_str() ? "%9.3f  %-8s %-44s  %s\n" : "%9.3f  %-8s %s\n",
      static_cast<double>(told.start - Sink::get().start) / 1e6, who, call,
      blocked.c_str());
}

int line_for_programs(const Told& told, char* line, std::size_t size) {
  const char* error = told.error.c_str();
  return std::snprintf(
      line, size, "%lld\t%lld\t%s\t%ld\t%d\t%d\t%s\t%s\t%s\t%s\n",
      static_cast<long long>(told.start), static_cast<long long>(told.end),
      program(), static_cast<long>(::getpid()), thread(), told.fd, told.name,
      told.arguments.c_str(), told.result.c_str(), *error ? error : "-");
}

// One write(2) a line keeps the lines of several processes whole.
void tell(const Told& told) {
  char line[640];
  const int size = Sink::get().for_people
                       ? line_for_people(told, line, sizeof line)
                       : line_for_programs(told, line, sizeof line);
  constexpr int most = sizeof line - 1;
  if (size > most) line[most - 1] = '\n';
  if (::write(Sink::get().fd, line,
              static_cast<std::size_t>(std::min(size, most))) < 0)
    return;
}

bool is_any(const char* name, std::initializer_list<const char*> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [name](const char* p) {
    return std::strncmp(name, p, std::strlen(p)) == 0;
  });
}

bool has_limit(const char* name) {
  return is_any(name, {"poll", "ppoll", "select", "pselect", "epoll_wait"});
}

bool may_wait(const char* name, int fd) {
  if (has_limit(name) || is_any(name, {"getaddrinfo", "getnameinfo"}))
    return true;
  return is_any(name, {"accept", "connect", "recv", "read", "send", "write"}) &&
         (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
}

// What waits shall not look as if it did nothing; or as if it did so forever.
template <class Words>
void tell_begin(const char* name, int fd, Words words) {
  const Unnoticed before;
  const Silence silence;
  if (Sink::get().for_people || !may_wait(name, fd)) return;
  const std::int64_t start = now();
  Told told{name, fd, start, start};
  if (has_limit(name))
    words(told.arguments, 0L);
  else if (fd >= 0)
    told.arguments << fd;
  told.result << '?';
  tell(told);
}

// What fails again and again would fill the screen, or the disk: the first
// failure is told, and later how many of the same followed.
struct Failure {
  const char* name;
  int fd, error;
  long more;
  std::int64_t start, end;

  bool is_about(const char* call, int its_fd) const {
    return name && std::strcmp(name, call) == 0 && fd == its_fd;
  }
};
thread_local Failure failing{};

void tell_failures() {
  if (!failing.more) return;
  Told told{failing.name, failing.fd, failing.start, failing.end};
  told.arguments << failing.fd << ", " << failing.more
                 << (failing.more == 1 ? " time more" : " times more");
  told.result << -1;
  told.error << Named{errors, failing.error};
  tell(told);
  failing = {};
}

// Whether a call has failed like the one before it in this thread. (What has to
// wait, EAGAIN, has not failed.)
bool fails_again(const Told& told, int error) {
  if (!failing.is_about(told.name, told.fd) || failing.error != error) {
    tell_failures();
    failing = {};
    if (error && error != EAGAIN)
      failing = {told.name, told.fd, error, 0, told.start, told.end};
    return false;
  }
  if (failing.more++ == 0) failing.start = told.start;
  failing.end = told.end;
  return true;
}

// Makes a call and tells of it. `words` adds its arguments to a text. Where
// there is no descriptor to name, the call's result is one.
template <class Call, class Words>
auto run(const char* name, int fd, Call call, Words words) {
  if (failing.more && !failing.is_about(name, fd)) {
    const Unnoticed before;
    const Silence silence;
    tell_failures();
  }
  if (!failing.more) tell_begin(name, fd, words);
  const std::int64_t start = now();
  const auto result = call();
  const Unnoticed after;
  const Silence silence;
  Told told{name, fd, start, now()};
  if (fd < 0) told.fd = static_cast<int>(result);
  if (fails_again(told, result < 0 && fd >= 0 ? after.error : 0)) return result;
  told.result << static_cast<long>(result);
  if (std::strstr(name, "info") && result != 0)
    told.error << Named{resolver_errors, static_cast<int>(result)};
  else if (result < 0)
    told.error << Named{errors, after.error};
  if (result < 0 && after.error == EFAULT) {
    told.arguments << fd << ", ...";  // they point to nowhere
  } else {
    words(told.arguments, static_cast<long>(result));
  }
  tell(told);
  return result;
}

// -- Which descriptors are sockets --------------------------------------------

// A socket that has been closed counts as well, for as long as its number is
// nobody else's: to close it twice is a mistake worth seeing.
bool is_socket(int fd) {
  static std::atomic<bool> was_socket[1024];
  const Unnoticed unnoticed;
  struct stat status {};
  const bool is_remembered = fd >= 0 && fd < 1024;
  if (::fstat(fd, &status) != 0) return is_remembered && was_socket[fd];
  if (is_remembered) was_socket[fd] = S_ISSOCK(status.st_mode);
  return S_ISSOCK(status.st_mode);
}

// The first socket of a list; -1 when there is none.
int first_socket(const pollfd* fds, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (fds[i].fd >= 0 && is_socket(fds[i].fd)) return fds[i].fd;
  return -1;
}

// What select(2) is asked; its answers come in the same place.
class Selected {
 public:
  Selected(int size, const fd_set* reads, const fd_set* writes, Limit limit)
      : size_(std::min(size, FD_SETSIZE)), limit_(limit) {
    if (reads) reads_ = *reads;
    if (writes) writes_ = *writes;
  }
  int first_socket() const {
    for (int fd = 0; fd < size_; ++fd)
      if ((FD_ISSET(fd, &reads_) || FD_ISSET(fd, &writes_)) && is_socket(fd))
        return fd;
    return -1;
  }
  void add_to(Text& text) const {
    add_to(text, reads_);
    add_to(text << ", ", writes_);
    text << ", " << limit_;
  }

 private:
  void add_to(Text& text, const fd_set& set) const {
    const char* separator = "{";
    for (int fd = 0; fd < size_; ++fd) {
      if (!FD_ISSET(fd, &set)) continue;
      text << separator << fd;
      separator = ", ";
    }
    text << (*separator == '{' ? "{}" : "}");
  }

  int size_;
  Limit limit_;
  fd_set reads_{}, writes_{};
};
Text& operator<<(Text& text, const Selected& selected) {
  selected.add_to(text);
  return text;
}

// epoll(7) is about sockets, and has a descriptor of its own.
bool is_epoll(int fd) {
  const Unnoticed unnoticed;
  struct stat status {};
  if (::fstat(fd, &status) != 0 || (status.st_mode & S_IFMT)) return false;
  char link[64], target[64] = "";
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return ::readlink(link, target, sizeof target - 1) > 0 &&
         std::strstr(target, "eventpoll");
}

#ifdef __linux__
// What epoll reports. A program may keep anything beside it; most keep the
// descriptor there.
struct Ready {
  const epoll_event* events;
  long count;
};
Text& operator<<(Text& text, Ready ready) {
  text << '{';
  for (long i = 0; i < ready.count; ++i) {
    const epoll_event event = ready.events[i];
    text << (i ? ", " : "");
    if (is_socket(event.data.fd)) text << event.data.fd;
    text << Flags{poll_events, static_cast<int>(event.events), " "};
  }
  return text << '}';
}
#endif

// -- The calls ----------------------------------------------------------------

// The C library's own. A sanitizer's comes first, for it has to know, too.
template <class Function>
Function* next(Function*, const char* name) {
  const Unnoticed unnoticed;
  char intercepted[64];
  std::snprintf(intercepted, sizeof intercepted, "__interceptor_%s", name);
  void* found = ::dlsym(RTLD_DEFAULT, intercepted);
  if (!found) found = ::dlsym(RTLD_NEXT, name);
  return reinterpret_cast<Function*>(found);
}

}  // namespace

// The linker knows the functions below under their true names; in here they
// have others, so that they meet none of the system's declarations.
#define TRACE_STRING(text) #text
#define TRACE_PREFIX(prefix) TRACE_STRING(prefix)
#ifdef TRACE_WRAP
#define TRACE_SYMBOL(name) "__wrap_" #name
#define TRACE_DECLARE_REAL(type, name, parameters) \
  extern "C" type real_##name parameters __asm__("__real_" #name);
#define TRACE_REAL(name) real_##name
#else
#define TRACE_SYMBOL(name) TRACE_PREFIX(__USER_LABEL_PREFIX__) #name
#define TRACE_DECLARE_REAL(type, name, parameters)
#define TRACE_REAL(name)                                   \
  [] {                                                     \
    static const auto theirs = next(traced_##name, #name); \
    return theirs;                                         \
  }()
#endif
#define TRACE_DEFINE(type, name, parameters)                            \
  TRACE_DECLARE_REAL(type, name, parameters)                            \
  extern "C" type traced_##name parameters __asm__(TRACE_SYMBOL(name)); \
  type traced_##name parameters

// TRACE_ANY defines a call: something to do before it, what it returns, its
// symbol, the name under which it is told, its parameters and the same as
// arguments, the descriptor that it is about, when it is told, in which words.
#define TRACE_ANY(before, type, symbol, name, parameters, arguments, about, \
                  when, ...)                                                \
  TRACE_DEFINE(type, symbol, parameters) {                                  \
    const auto real = TRACE_REAL(symbol);                                   \
    if (!is_tracing() || !(when)) return real arguments;                    \
    before;                                                                 \
    return run(                                                             \
        name, about, [&] { return real arguments; },                        \
        [&](Text& text, [[maybe_unused]] long result) {                     \
          text << __VA_ARGS__;                                              \
        });                                                                 \
  }
// Calls that only a socket can have; those that files have, too; and those that
// fill in an address.
#define TRACE(type, symbol, name, parameters, arguments, ...)      \
  TRACE_ANY(, type, symbol, name, parameters, arguments, fd, true, \
            fd << ", " << __VA_ARGS__)
#define TRACE_FILE(type, symbol, name, parameters, arguments, ...)          \
  TRACE_ANY(, type, symbol, name, parameters, arguments, fd, is_socket(fd), \
            fd << ", " << __VA_ARGS__)
#define TRACE_NAME(type, symbol, name, parameters, arguments, ...)  \
  TRACE_ANY(const Filled peer(address, length), type, symbol, name, \
            parameters, arguments, fd, true, fd << ", " << __VA_ARGS__)

TRACE_ANY(, int, socket, "socket", (int family, int type, int protocol),
          (family, type, protocol), -1, true, Kind{family, type})
TRACE_ANY(, int, socketpair, "socketpair",
          (int family, int type, int protocol, int* fds),
          (family, type, protocol, fds), -1, true,
          Kind{family, type} << ", {" << fds[0] << ", " << fds[1] << '}')
TRACE(int, bind, "bind", (int fd, const sockaddr* address, socklen_t size),
      (fd, address, size), Address{address, size})
TRACE(int, listen, "listen", (int fd, int backlog), (fd, backlog), backlog)
TRACE(int, connect, "connect",
      (int fd, const sockaddr* address, socklen_t size), (fd, address, size),
      Address{address, size})
TRACE_NAME(int, accept, "accept",
           (int fd, sockaddr* address, socklen_t* length),
           (fd, address, length), peer.after(result))
TRACE_NAME(int, getsockname, "getsockname",
           (int fd, sockaddr* address, socklen_t* length),
           (fd, address, length), peer.after(result))
TRACE_NAME(int, getpeername, "getpeername",
           (int fd, sockaddr* address, socklen_t* length),
           (fd, address, length), peer.after(result))
TRACE(int, setsockopt, "setsockopt",
      (int fd, int level, int name, const void* value, socklen_t size),
      (fd, level, name, value, size), Option{level, name, value, size})
TRACE(int, getsockopt, "getsockopt",
      (int fd, int level, int name, void* value, socklen_t* size),
      (fd, level, name, value, size),
      Option{level, name, result < 0 ? nullptr : value, *size})
TRACE(int, shutdown, "shutdown", (int fd, int how), (fd, how),
      Named{directions, how})

// Receiving
TRACE(ssize_t, recv, "recv", (int fd, void* data, std::size_t size, int flags),
      (fd, data, size, flags), Buffer{data, size, result} << Chosen{flags})
TRACE_NAME(ssize_t, recvfrom, "recvfrom",
           (int fd, void* data, std::size_t size, int flags, sockaddr* address,
            socklen_t* length),
           (fd, data, size, flags, address, length),
           Buffer{data, size, result} << Chosen{flags} << ", "
                                      << peer.after(result))
TRACE(ssize_t, recvmsg, "recvmsg", (int fd, msghdr* message, int flags),
      (fd, message, flags),
      Pieces{message->msg_iov, message->msg_iovlen, result}
          << Chosen{flags} << Envelope{message, result >= 0}
          << Cut{result >= 0 && (message->msg_flags & MSG_TRUNC)})
TRACE_FILE(ssize_t, read, "read", (int fd, void* data, std::size_t size),
           (fd, data, size), Buffer{data, size, result})
TRACE_FILE(ssize_t, readv, "readv", (int fd, const iovec* pieces, int count),
           (fd, pieces, count),
           Pieces{pieces, std::size_t(count), result} << ", " << count
                                                      << " pieces")

// Sending
TRACE(ssize_t, send, "send",
      (int fd, const void* data, std::size_t size, int flags),
      (fd, data, size, flags), Buffer{data, size, LONG_MAX} << Chosen{flags})
TRACE(ssize_t, sendto, "sendto",
      (int fd, const void* data, std::size_t size, int flags,
       const sockaddr* address, socklen_t length),
      (fd, data, size, flags, address, length),
      Buffer{data, size, LONG_MAX} << Chosen{flags} << To{{address, length}})
TRACE(ssize_t, sendmsg, "sendmsg", (int fd, const msghdr* message, int flags),
      (fd, message, flags),
      Pieces{message->msg_iov, message->msg_iovlen, LONG_MAX}
          << Count{message->msg_iovlen} << Chosen{flags}
          << Envelope{message, true})
TRACE_FILE(ssize_t, write, "write",
           (int fd, const void* data, std::size_t size), (fd, data, size),
           Buffer{data, size, LONG_MAX})
TRACE_FILE(ssize_t, writev, "writev", (int fd, const iovec* pieces, int count),
           (fd, pieces, count),
           Pieces{pieces, std::size_t(count), LONG_MAX} << ", " << count
                                                        << " pieces")

// Waiting
TRACE_ANY(, int, poll, "poll", (pollfd * fds, nfds_t count, int limit),
          (fds, count, limit), first_socket(fds, count),
          first_socket(fds, count) >= 0,
          Watched{fds, count} << ", " << Limit(limit))
TRACE_ANY(, int, ppoll, "ppoll",
          (pollfd * fds, nfds_t count, const timespec* limit,
           const sigset_t* set),
          (fds, count, limit, set), first_socket(fds, count),
          first_socket(fds, count) >= 0,
          Watched{fds, count} << ", " << Limit(limit))
TRACE_ANY(const Selected asked(size, reads, writes, limit), int, select,
          "select",
          (int size, fd_set* reads, fd_set* writes, fd_set* others,
           timeval* limit),
          (size, reads, writes, others, limit), asked.first_socket(),
          Selected(size, reads, writes, limit).first_socket() >= 0, asked)
TRACE_ANY(const Selected asked(size, reads, writes, limit), int, pselect,
          "pselect",
          (int size, fd_set* reads, fd_set* writes, fd_set* others,
           const timespec* limit, const sigset_t* set),
          (size, reads, writes, others, limit, set), asked.first_socket(),
          Selected(size, reads, writes, limit).first_socket() >= 0, asked)

// Other names for a descriptor
TRACE_ANY(, int, dup, "dup", (int fd), (fd), fd, is_socket(fd), fd)
TRACE_FILE(int, dup2, "dup2", (int fd, int other), (fd, other), other)

#ifdef __linux__
TRACE_NAME(int, accept4, "accept",
           (int fd, sockaddr* address, socklen_t* length, int flags),
           (fd, address, length, flags), peer.after(result))
TRACE_FILE(int, dup3, "dup3", (int fd, int other, int flags),
           (fd, other, flags), other)
TRACE(int, sendmmsg, "sendmmsg",
      (int fd, mmsghdr* messages, unsigned count, int flags),
      (fd, messages, count, flags), std::size_t{count} << " messages")
TRACE(int, recvmmsg, "recvmmsg",
      (int fd, mmsghdr* messages, unsigned count, int flags, timespec* limit),
      (fd, messages, count, flags, limit), std::size_t{count} << " messages")
TRACE_FILE(ssize_t, sendfile, "sendfile",
           (int fd, int from, off_t* at, std::size_t size),
           (fd, from, at, size), from << ", " << size)

TRACE_ANY(, int, epoll_create, "epoll_create", (int size), (size), -1, true, "")
TRACE_ANY(, int, epoll_create1, "epoll_create", (int flags), (flags), -1, true,
          "")
TRACE_ANY(, int, epoll_ctl, "epoll_ctl",
          (int epoll, int operation, int fd, epoll_event* event),
          (epoll, operation, fd, event), epoll, is_socket(fd),
          epoll << ", " << Named{epoll_operations, operation} << ", {" << fd
                << Flags{poll_events, event ? int(event->events) : 0, " "}
                << '}')
TRACE_ANY(, int, epoll_wait, "epoll_wait",
          (int epoll, epoll_event* events, int most, int limit),
          (epoll, events, most, limit), epoll, true,
          epoll << ", " << Ready{events, result} << ", " << Limit(limit))
TRACE_ANY(, int, epoll_pwait, "epoll_wait",
          (int epoll, epoll_event* events, int most, int limit,
           const sigset_t* set),
          (epoll, events, most, limit, set), epoll, true,
          epoll << ", " << Ready{events, result} << ", " << Limit(limit))
#endif

// The program's own loop that closes all descriptors shall not close ours.
TRACE_DEFINE(int, close, (int fd)) {
  const auto real = TRACE_REAL(close);
  if (!is_tracing()) return real(fd);
  if (fd == Sink::get().fd && fd != STDERR_FILENO) return errno = EBADF, -1;
  if (!is_socket(fd) && !is_epoll(fd)) return real(fd);
  return run(
      "close", fd, [&] { return real(fd); },
      [&](Text& text, long) { text << fd; });
}

TRACE_ANY(, int, kill, "kill", (pid_t process, int signal), (process, signal),
          -1, true, long{process} << ", " << Named{signals, signal})

// fcntl(2) says whether calls wait, O_NONBLOCK. Its last argument is a number,
// a pointer or missing.
TRACE_DEFINE(int, fcntl, (int fd, int command, ...)) {
  const auto real = TRACE_REAL(fcntl);
  va_list list;
  va_start(list, command);
  void* const argument = va_arg(list, void*);
  va_end(list);
  if (!is_tracing() || !is_socket(fd)) return real(fd, command, argument);
  return run(
      "fcntl", fd, [&] { return real(fd, command, argument); },
      [&](Text& text, long) {
        text << fd << ", " << Command{command, argument};
      });
}

// Whatever these two call to find an answer is not told.
TRACE_ANY(const Silence inside, int, getaddrinfo, "getaddrinfo",
          (const char* host, const char* service, const addrinfo* hints,
           addrinfo** found),
          (host, service, hints, found), -1, true,
          Foreign{host} << ", " << Foreign{service})
TRACE_ANY(const Silence inside, int, getnameinfo, "getnameinfo",
          (const sockaddr* address, socklen_t size, char* host,
           socklen_t host_size, char* service, socklen_t service_size,
           int flags),
          (address, size, host, host_size, service, service_size, flags), -1,
          true, Address{address, size})

#ifdef __GLIBC__
// Programs that are compiled with _FORTIFY_SOURCE call these where they know
// how much room there is in the buffer.
extern "C" [[noreturn]] void __chk_fail();

#define TRACE_CHECKED(type, name, parameters, is_enough, arguments) \
  TRACE_DEFINE(type, name, parameters) {                            \
    if (!(is_enough)) __chk_fail();                                 \
    return arguments;                                               \
  }
TRACE_CHECKED(ssize_t, __recv_chk,
              (int fd, void* data, std::size_t size, std::size_t room,
               int flags),
              size <= room, traced_recv(fd, data, size, flags))
TRACE_CHECKED(ssize_t, __recvfrom_chk,
              (int fd, void* data, std::size_t size, std::size_t room,
               int flags, sockaddr* address, socklen_t* length),
              size <= room,
              traced_recvfrom(fd, data, size, flags, address, length))
TRACE_CHECKED(ssize_t, __read_chk,
              (int fd, void* data, std::size_t size, std::size_t room),
              size <= room, traced_read(fd, data, size))
TRACE_CHECKED(int, __poll_chk,
              (pollfd * fds, nfds_t count, int limit, std::size_t room),
              count <= room / sizeof(pollfd), traced_poll(fds, count, limit))
TRACE_CHECKED(int, __ppoll_chk,
              (pollfd * fds, nfds_t count, const timespec* limit,
               const sigset_t* set, std::size_t room),
              count <= room / sizeof(pollfd),
              traced_ppoll(fds, count, limit, set))

// And these where files may be larger than 2 GiB, which they always may be
// where a long has 64 bits.
#ifdef __LP64__
extern "C" int traced_fcntl64(int, int, ...) __asm__(TRACE_SYMBOL(fcntl64))
    __attribute__((alias(TRACE_SYMBOL(fcntl))));
extern "C" ssize_t traced_sendfile64(int, int, off_t*, std::size_t) __asm__(
    TRACE_SYMBOL(sendfile64)) __attribute__((alias(TRACE_SYMBOL(sendfile))));
#endif
#endif
