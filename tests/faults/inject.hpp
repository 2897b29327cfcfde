// SPDX-License-Identifier: MIT
// Makes BSD calls fail. A program that includes this defines the libc's
// symbols itself, and the header's calls come here; the real ones are a
// dlsym(3) away. To be included once a program, without _FORTIFY_SOURCE.
//
//   const inject::Faults faults({{"accept4", 1, ECONNABORTED}});
//   net::accept(listener);  // its second accept4 fails once
//   CHECK(inject::count("accept4") == 3);
//
// Nothing is counted and nothing fails outside the scope of a Faults, nor in
// a thread that lives inside the scope of an Exempt.
//
// What else may happen between two steps of a thread is made certain by a Stop:
//
//   inject::Stop stop("recv", inject::behind);
//   ... another thread reads ...
//   stop.reached();  // it has made its recv, and stands there
//   net::close(conn);
//   stop.go();
#ifndef NETLITE_TESTS_FAULTS_INJECT_HPP
#define NETLITE_TESTS_FAULTS_INJECT_HPP

#include <dlfcn.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace inject {

// Instead of an error: the call moves one byte at most.
constexpr int cut = 1 << 20;
// For the resolver: EAI_SYSTEM, and errno does not say why.
constexpr int unsaid = 1 << 21;
// As `times`: from there on the call always fails.
constexpr int always = 1 << 30;

struct Fault {
  std::string call;
  int first = 0;  // the occurrence that it begins with; they count from 0
  int error = 0;  // an errno, an EAI_... for getaddrinfo and kin, or `cut`
  int times = 1;
};

// Where a Stop is relative to a call.
enum Where { before, behind };

struct Place {
  std::string call;
  Where where;
  int pass;  // so many calls pass it first
  int stop;  // so many stop then; later ones pass again
  int standing = 0;
  bool open = false;
};

struct State {
  std::mutex mutex;
  bool active = false;
  std::vector<Fault> faults{};
  std::map<std::string, std::vector<long>> calls{};  // what each noted
  std::vector<Place*> places{};
  std::condition_variable changed;  // at the places
  // Names that the resolver knows without asking anybody.
  std::map<std::string, std::vector<std::string>> hosts{
      {"one.test", {"127.0.0.1"}},
      {"two.test", {"127.0.0.2", "127.0.0.1"}},
      {"both.test", {"::1", "127.0.0.1"}}};
  std::map<std::string, std::string> services{{"test", "7"}};

  static State& get() {
    static State& state = *new State;
    return state;
  }
};

// What each of the calls noted, such as the milliseconds that poll was given.
inline std::vector<long> noted(const std::string& call) {
  State& state = State::get();
  const std::lock_guard<std::mutex> lock(state.mutex);
  return state.calls[call];
}

inline int count(const std::string& call) {
  return static_cast<int>(noted(call).size());
}

// How many there were of each.
inline std::map<std::string, int> counts() {
  State& state = State::get();
  const std::lock_guard<std::mutex> lock(state.mutex);
  std::map<std::string, int> all;
  for (const auto& [call, notes] : state.calls)
    if (!notes.empty()) all[call] = static_cast<int>(notes.size());
  return all;
}

class Faults {
 public:
  explicit Faults(std::vector<Fault> faults = {}) {
    State& state = State::get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.faults = std::move(faults);
    state.calls.clear();
    state.active = true;
  }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  ~Faults() {
    State& state = State::get();
    const std::lock_guard<std::mutex> lock(state.mutex);
    state.active = false;
  }
};

inline thread_local bool exempt = false;
struct Exempt {
  Exempt() { exempt = true; }
  Exempt(const Exempt&) = delete;
  Exempt& operator=(const Exempt&) = delete;
  ~Exempt() { exempt = false; }
};

// Stops the threads that come to a place before or behind a call. Without
// Faults, and in spite of an Exempt.
class Stop {
 public:
  Stop(const char* call, Where where, int pass = 0, int stop = 1)
      : place_{call, where, pass, stop} {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.places.push_back(&place_);
  }
  Stop(const Stop&) = delete;
  Stop& operator=(const Stop&) = delete;
  ~Stop() {
    go();
    std::unique_lock<std::mutex> lock(state_.mutex);
    state_.changed.wait(lock, [&] { return place_.standing == 0; });
  }

  // Waits until so many threads stand there.
  void reached(int threads = 1) const {
    std::unique_lock<std::mutex> lock(state_.mutex);
    state_.changed.wait(lock, [&] { return place_.standing >= threads; });
  }
  // Lets them go on; nobody stops there any more.
  void go() {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    place_.open = true;
    auto& all = state_.places;
    all.erase(std::remove(all.begin(), all.end(), &place_), all.end());
    state_.changed.notify_all();
  }

 private:
  State& state_ = State::get();
  Place place_;
};
constexpr int everybody = INT_MAX;

// One call that is counted, from its beginning to its end; what is to become of
// it: 0 or a fault's `error`.
class Call {
 public:
  explicit Call(const char* name, long note = 0) : name_(name) {
    State& state = State::get();
    std::unique_lock<std::mutex> lock(state.mutex);
    pass(state, lock, before);
    if (exempt || !state.active) return;
    auto& calls = state.calls[name];
    const int now = static_cast<int>(calls.size());
    calls.push_back(note);
    for (const Fault& each : state.faults)
      if (error == 0 && each.call == name && now >= each.first &&
          now - each.first < each.times)
        error = each.error;
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    const int kept = errno;
    State& state = State::get();
    std::unique_lock<std::mutex> lock(state.mutex);
    pass(state, lock, behind);
    errno = kept;
  }

  int error = 0;

 private:
  void pass(State& state, std::unique_lock<std::mutex>& lock, Where where) {
    for (Place* here : state.places) {
      if (here->call != name_ || here->where != where) continue;
      if (here->pass-- > 0 || here->stop-- <= 0) continue;
      ++here->standing;
      state.changed.notify_all();
      state.changed.wait(lock, [&] { return here->open; });
      --here->standing;
      return state.changed.notify_all();
    }
  }

  const char* name_;
};

}  // namespace inject

#ifndef __THROW
#define __THROW
#endif

// With 64-bit file offsets, glibc's headers give some calls another symbol.
#ifdef __USE_FILE_OFFSET64
#define INJECT_FILE_CALL(name) name "64"
#else
#define INJECT_FILE_CALL(name) name
#endif

#define INJECT_NEXT(name, symbol) \
  static const auto next =        \
      reinterpret_cast<decltype(&::name)>(::dlsym(RTLD_NEXT, symbol))

// A call that gives -1 and errno (or `failed`), and does nothing then.
#define INJECT(result, name, symbol, parameters, arguments, failed) \
  extern "C" result name parameters {                               \
    INJECT_NEXT(name, symbol);                                      \
    const inject::Call call(#name);                                 \
    if (call.error == 0) return next arguments;                     \
    errno = call.error;                                             \
    return failed;                                                  \
  }
#define INJECT_CALL(name, parameters, arguments) \
  INJECT(int, name, #name, parameters, arguments, -1)
// The same, and one of the arguments is noted.
#define INJECT_NOTED(name, parameters, arguments, note) \
  extern "C" int name parameters {                      \
    INJECT_NEXT(name, #name);                           \
    const inject::Call call(#name, note);               \
    if (call.error == 0) return next arguments;         \
    errno = call.error;                                 \
    return -1;                                          \
  }

INJECT_CALL(socket, (int a, int b, int c)__THROW, (a, b, c))
INJECT_CALL(socketpair, (int a, int b, int c, int d[2])__THROW, (a, b, c, d))
INJECT_CALL(bind, (int a, const sockaddr* b, socklen_t c)__THROW, (a, b, c))
INJECT_CALL(listen, (int a, int b)__THROW, (a, b))
INJECT_CALL(accept, (int a, sockaddr* b, socklen_t* c), (a, b, c))
INJECT_CALL(accept4, (int a, sockaddr* b, socklen_t* c, int d), (a, b, c, d))
INJECT_CALL(shutdown, (int a, int b)__THROW, (a, b))
INJECT_CALL(getsockname, (int a, sockaddr* b, socklen_t* c)__THROW, (a, b, c))
INJECT_CALL(getpeername, (int a, sockaddr* b, socklen_t* c)__THROW, (a, b, c))
INJECT_NOTED(setsockopt,
             (int a, int b, int c, const void* d, socklen_t e)__THROW,
             (a, b, c, d, e), c)
INJECT_CALL(getsockopt, (int a, int b, int c, void* d, socklen_t* e)__THROW,
            (a, b, c, d, e))
INJECT_NOTED(poll, (pollfd * a, nfds_t b, int c), (a, b, c), c)
INJECT_CALL(eventfd, (unsigned a, int b)__THROW, (a, b))
INJECT_CALL(pipe, (int a[2])__THROW, (a))
INJECT_CALL(epoll_create1, (int a)__THROW, (a))
INJECT_CALL(epoll_ctl, (int a, int b, int c, epoll_event* d)__THROW,
            (a, b, c, d))
INJECT_NOTED(epoll_wait, (int a, epoll_event* b, int c, int d), (a, b, c, d), d)
#ifdef __USE_LARGEFILE64
extern "C" int lstat64(const char* a, struct stat64* b) __THROW {
  INJECT_NEXT(lstat64, "lstat64");
  const inject::Call call("lstat");
  if (call.error == 0) return next(a, b);
  return errno = call.error, -1;
}
#else
INJECT_CALL(lstat, (const char* a, struct stat* b)__THROW, (a, b))
#endif
INJECT_CALL(chmod, (const char* a, mode_t b)__THROW, (a, b))
INJECT_CALL(fchmod, (int a, mode_t b)__THROW, (a, b))
INJECT_CALL(unlink, (const char* a)__THROW, (a))
INJECT(char*, getcwd, "getcwd", (char* a, size_t b)__THROW, (a, b), nullptr)
INJECT(unsigned, if_nametoindex, "if_nametoindex", (const char* a)__THROW, (a),
       0)
INJECT(char*, if_indextoname, "if_indextoname", (unsigned a, char* b)__THROW,
       (a, b), nullptr)
INJECT(int, pthread_create, "pthread_create",
       (pthread_t * a, const pthread_attr_t* b, void* (*c)(void*), void* d)
           __THROW,
       (a, b, c, d), call.error)

// Calls that move bytes may be cut short.
#define INJECT_MOVE(name, parameters, shorten, arguments) \
  extern "C" ssize_t name parameters {                    \
    INJECT_NEXT(name, #name);                             \
    const inject::Call call(#name);                       \
    if (call.error != 0 && call.error != inject::cut) {   \
      errno = call.error;                                 \
      return -1;                                          \
    }                                                     \
    if (call.error == inject::cut) shorten;               \
    return next arguments;                                \
  }

INJECT_MOVE(recv, (int a, void* b, size_t c, int d), c = 1, (a, b, c, d))
INJECT_MOVE(send, (int a, const void* b, size_t c, int d), c = 1, (a, b, c, d))
INJECT_MOVE(read, (int a, void* b, size_t c), c = 1, (a, b, c))
INJECT_MOVE(write, (int a, const void* b, size_t c), c = 1, (a, b, c))

// A message is cut by its receiver alone.
extern "C" ssize_t recvfrom(int a, void* b, size_t c, int d, sockaddr* e,
                            socklen_t* f) {
  INJECT_NEXT(recvfrom, "recvfrom");
  const inject::Call call("recvfrom");
  if (call.error == 0) return next(a, b, c, d, e, f);
  return errno = call.error, -1;
}
extern "C" ssize_t sendto(int a, const void* b, size_t c, int d,
                          const sockaddr* e, socklen_t f) {
  INJECT_NEXT(sendto, "sendto");
  const inject::Call call("sendto");
  if (call.error == 0) return next(a, b, c, d, e, f);
  return errno = call.error, -1;
}

extern "C" ssize_t sendmsg(int a, const msghdr* b, int c) {
  INJECT_NEXT(sendmsg, "sendmsg");
  const inject::Call call("sendmsg");
  if (call.error == 0) return next(a, b, c);
  if (call.error != inject::cut) return errno = call.error, -1;
  const iovec* piece = b->msg_iov;
  while (piece->iov_len == 0) ++piece;
  iovec first_byte{piece->iov_base, 1};
  msghdr head = *b;
  head.msg_iov = &first_byte;
  head.msg_iovlen = 1;
  return next(a, &head, c);
}

extern "C" ssize_t recvmsg(int a, msghdr* b, int c) {
  INJECT_NEXT(recvmsg, "recvmsg");
  const inject::Call call("recvmsg", c);
  if (call.error == 0) return next(a, b, c);
  return errno = call.error, -1;
}

// A connect that was interrupted goes on by itself.
extern "C" int connect(int a, const sockaddr* b, socklen_t c) {
  INJECT_NEXT(connect, "connect");
  const inject::Call call("connect");
  if (call.error == 0) return next(a, b, c);
  const bool begins = call.error == EINTR || call.error == EINPROGRESS;
  if (begins && next(a, b, c) < 0 && errno != EINPROGRESS) return -1;
  return errno = call.error, -1;
}

// A close that fails has released the descriptor all the same.
extern "C" int close(int a) {
  INJECT_NEXT(close, "close");
  const inject::Call call("close");
  if (const int result = next(a); call.error == 0) return result;
  return errno = call.error, -1;
}

extern "C" int open(const char* a, int b, ...) {
  INJECT_NEXT(open, INJECT_FILE_CALL("open"));
  va_list more;
  va_start(more, b);
  const auto mode = b & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  const inject::Call call("open", b);
  if (call.error == 0) return next(a, b, mode);
  return errno = call.error, -1;
}

// Whatever a command takes, it fits a pointer.
extern "C" int fcntl(int a, int b, ...) {
  INJECT_NEXT(fcntl, INJECT_FILE_CALL("fcntl"));
  va_list more;
  va_start(more, b);
  void* const argument = va_arg(more, void*);
  va_end(more);
  const inject::Call call("fcntl", b);
  if (call.error == 0) return next(a, b, argument);
  return errno = call.error, -1;
}

namespace inject {

// The resolver tells by what it returns, and by errno where that is EAI_SYSTEM.
inline int resolver_says(int error) {
  if (error != unsaid) errno = EIO;
  return error == unsaid ? EAI_SYSTEM : error;
}

// The lists of the libc's that nobody has given back yet.
inline std::atomic<int> lists{0};

// What a call says that may have made one.
template <class List>
int made(int error, List* list) {
  lists += error == 0 && list;
  return error;
}

}  // namespace inject

extern "C" int getifaddrs(ifaddrs** found) __THROW {
  INJECT_NEXT(getifaddrs, "getifaddrs");
  const inject::Call call("getifaddrs");
  if (call.error != 0) return errno = call.error, -1;
  const int error = next(found);
  return inject::made(error, *found);
}
extern "C" void freeifaddrs(ifaddrs* list) __THROW {
  INJECT_NEXT(freeifaddrs, "freeifaddrs");
  inject::lists -= list != nullptr;
  next(list);
}

extern "C" int getaddrinfo(const char* a, const char* b, const addrinfo* c,
                           addrinfo** found) {
  INJECT_NEXT(getaddrinfo, "getaddrinfo");
  const inject::Call call("getaddrinfo");
  if (call.error != 0) return inject::resolver_says(call.error);
  const auto& services = inject::State::get().services;
  const auto service = services.find(b ? b : "");
  if (service != services.end()) b = service->second.c_str();
  const auto& hosts = inject::State::get().hosts;
  const auto host = hosts.find(a ? a : "");
  *found = nullptr;
  if (host == hosts.end()) {
    const int error = next(a, b, c, found);
    return inject::made(error, *found);
  }
  int none = 0;
  for (const std::string& ip : host->second) {
    addrinfo** last = found;
    while (*last) last = &(*last)->ai_next;
    const int error = next(ip.c_str(), b, c, last);
    if (error == EAI_ADDRFAMILY) none = EAI_NODATA;  // not of this family
    if (error && !none) return error;
  }
  return inject::made(*found ? 0 : none, *found);
}

extern "C" void freeaddrinfo(addrinfo* list) __THROW {
  INJECT_NEXT(freeaddrinfo, "freeaddrinfo");
  inject::lists -= list != nullptr;
  next(list);
}

extern "C" int getnameinfo(const sockaddr* a, socklen_t b, char* c, socklen_t d,
                           char* e, socklen_t f, int g) {
  INJECT_NEXT(getnameinfo, "getnameinfo");
  const inject::Call call("getnameinfo");
  if (call.error != 0) return inject::resolver_says(call.error);
  sockaddr_in in{};
  std::memcpy(&in, a, std::min(size_t{b}, sizeof in));
  if (!c || in.sin_family != AF_INET || in.sin_addr.s_addr != htonl(0x7f000001))
    return next(a, b, c, d, e, f, g);
  return std::snprintf(c, d, "one.test") < 0 ? EAI_SYSTEM : 0;
}

#endif  // NETLITE_TESTS_FAULTS_INJECT_HPP
