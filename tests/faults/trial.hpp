// SPDX-License-Identifier: MIT
// How every_call.cpp plays its scenes: what may befall which BSD call, what
// must come out of it, and a process of its own for each time.
#ifndef NETLITE_TESTS_FAULTS_TRIAL_HPP
#define NETLITE_TESTS_FAULTS_TRIAL_HPP

#include "netlite.hpp"

#include "inject.hpp"

#include <sys/mman.h>
#include <sys/wait.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <set>

#include "../support.hpp"

// What the sanitizers and gcov have for a process that ends by _exit.
extern "C" {
[[gnu::weak]] int __lsan_do_recoverable_leak_check();
[[gnu::weak]] void __gcov_dump();
}

namespace trial {

using inject::cut;
using inject::Fault;

// ---------------------------------------------------------------------------
// What may befall a call: the ERRORS of its man page

struct Call {
  const char* name;
  std::vector<int> errors;
  bool moves = false;  // bytes, and may move fewer than it was asked to
};

inline const std::vector<int> of_accept = {
    EAGAIN,      EBADF,        ECONNABORTED, EFAULT,          EINTR,
    EINVAL,      EMFILE,       ENFILE,       ENOBUFS,         ENOMEM,
    ENOTSOCK,    EOPNOTSUPP,   EPERM,        EPROTO,          ENETDOWN,
    ENOPROTOOPT, EHOSTDOWN,    ENONET,       EHOSTUNREACH,    ENETUNREACH,
    ENOSR,       ECONNREFUSED, ETIMEDOUT,    ESOCKTNOSUPPORT, EPROTONOSUPPORT};
inline const std::vector<int> of_recv = {
    EAGAIN, EBADF,  ECONNREFUSED, ECONNRESET, EFAULT,   EINTR,
    EINVAL, ENOMEM, ENOTCONN,     ENOTSOCK,   ETIMEDOUT};
inline const std::vector<int> of_send = {
    EAGAIN, EACCES,   EALREADY, EBADF,      ECONNRESET, EDESTADDRREQ,
    EFAULT, EINTR,    EINVAL,   EISCONN,    EMSGSIZE,   ENOBUFS,
    ENOMEM, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EPERM,      EPIPE};
inline const std::vector<int> of_options = {EBADF, EFAULT, EINVAL, ENOPROTOOPT,
                                            ENOTSOCK};
inline const std::vector<int> of_paths = {EACCES, ELOOP,   ENAMETOOLONG, ENOENT,
                                          ENOMEM, ENOTDIR, EROFS,        EPERM};

inline const std::vector<Call> calls = {
    {"socket",
     {EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM,
      EPROTONOSUPPORT}},
    {"socketpair",
     {EAFNOSUPPORT, EFAULT, EMFILE, ENFILE, EOPNOTSUPP, EPROTONOSUPPORT}},
    {"bind",
     {EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EFAULT, EINVAL, ELOOP,
      ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR, ENOTSOCK, EROFS}},
    {"listen", {EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP}},
    {"accept", of_accept},
    {"accept4", of_accept},
    {"connect",
     {EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY,
      EBADF, ECONNREFUSED, EFAULT, EHOSTUNREACH, EINPROGRESS, EINTR, EISCONN,
      ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT}},
    {"shutdown", {EBADF, EINVAL, ENOTCONN, ENOTSOCK}},
    {"getsockname", {EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK}},
    {"getpeername", {EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK}},
    {"setsockopt", of_options},
    {"getsockopt", of_options},
    {"recv", of_recv, true},
    {"recvfrom", of_recv},
    {"recvmsg", of_recv},
    {"send", of_send, true},
    {"sendto", of_send},
    {"sendmsg", of_send, true},
    {"poll", {EFAULT, EINTR, EINVAL, ENOMEM}},
    {"open",
     {EACCES, EFAULT, EINTR, EINVAL, EISDIR, ELOOP, EMFILE, ENAMETOOLONG,
      ENFILE, ENODEV, ENOENT, ENOMEM, ENOTDIR, ENXIO, EOVERFLOW, EPERM}},
    {"read", {EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR}, true},
    // Only bells are written, and they cannot fail: an eventfd or a pipe that
    // is full is readable, which is what the write is for.
    {"write", {EINTR}},
    {"close", {EBADF, EINTR, EIO, ENOSPC, EDQUOT}},
    {"lstat", of_paths},
    {"chmod", of_paths},
    {"unlink", of_paths},
    {"fchmod", {EBADF, EIO, EPERM, EROFS}},
    {"getcwd", {EACCES, ENAMETOOLONG, ENOENT, ENOMEM, ERANGE}},
    {"getifaddrs", {EACCES, EMFILE, ENFILE, ENOBUFS, ENOMEM}},
    {"if_nametoindex", {ENODEV, EMFILE, ENFILE}},
    {"if_indextoname", {ENXIO, EMFILE, ENFILE}},
    {"getaddrinfo",
     {EAI_ADDRFAMILY, EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY,
      EAI_NODATA, EAI_NONAME, EAI_SERVICE, EAI_SOCKTYPE, EAI_SYSTEM}},
    {"getnameinfo",
     {EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY, EAI_NONAME,
      EAI_OVERFLOW, EAI_SYSTEM}},
    {"pthread_create", {EAGAIN, EINVAL, EPERM}},
#ifdef NETLITE_PORTABLE
    {"pipe", {EFAULT, EMFILE, ENFILE}},
    {"fcntl", {EBADF, EINVAL, EMFILE, EPERM}},
#else
    {"eventfd", {EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM}},
    {"fcntl", {EBADF, EINVAL, EMFILE, EPERM}},
    {"epoll_create1", {EINVAL, EMFILE, ENFILE, ENOMEM}},
    {"epoll_ctl",
     {EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM}},
    {"epoll_wait", {EBADF, EFAULT, EINTR, EINVAL}},
#endif
};

// ---------------------------------------------------------------------------
// What must come out

enum class Fate {
  same,     // what comes out without the fault: it is made good, or ignored
  told,     // the fault, as the error's code
  instead,  // the rule's own code
};

struct Rule {
  std::string call;  // "": any
  Fate fate = Fate::same;
  int error = 0;        // 0: any, but for an interruption or a cut
  int occurrence = -1;  // -1: any
  std::error_code code{};

  bool fits(const Fault& fault) const {
    return (call.empty() || call == fault.call) &&
           (error == fault.error ||
            (error == 0 && fault.error != EINTR && fault.error != cut)) &&
           (occurrence < 0 || occurrence == fault.first);
  }
};

using Rules = std::vector<Rule>;

inline Rule same(const char* call, int error = 0, int occurrence = -1) {
  return {call, Fate::same, error, occurrence};
}
inline Rule told(const char* call, int occurrence = -1) {
  return {call, Fate::told, 0, occurrence};
}
inline Rule instead(const char* call, std::error_code code, int error = 0,
                    int occurrence = -1) {
  return {call, Fate::instead, error, occurrence, code};
}
inline std::error_code as_code(int error) {
  return {error, std::system_category()};
}

// The first that fits counts.
inline const Rules rules = {
    same("", cut),
    same("", EINTR),
    // Would block: the call waits, finds the socket ready, and tries again.
    same("recv", EAGAIN),
    same("recvfrom", EAGAIN),
    same("recvmsg", EAGAIN),
    same("send", EAGAIN),
    same("sendto", EAGAIN),
    same("sendmsg", EAGAIN),
    same("accept", EAGAIN),
    same("accept4", EAGAIN),
    same("connect", EINPROGRESS),
    // No bell: the call looks up now and then by itself.
    same("eventfd"),
    same("pipe"),
    // It makes a bell non-blocking; or a descriptor close-on-exec that has
    // come over a socket, where it was born so on Linux.
    same("fcntl"),
    same("read"),
    // Defaults that a system refuses, names that it does not tell.
    same("setsockopt"),
    same("getsockname"),
    same("getpeername"),
    same("if_indextoname"),
    // A descriptor that was spent anyway.
    same("close"),
    // The file's mode is set once more after bind, by chmod.
    same("fchmod"),
    // A file that nobody can look at is not removed.
    same("lstat"),
    same("unlink"),
    same("getcwd"),
    told(""),
};

inline bool asks_resolver(const Fault& fault) {
  return fault.call == "getaddrinfo" || fault.call == "getnameinfo";
}

inline std::error_code as_code(const Fault& fault) {
  if (!asks_resolver(fault)) return as_code(fault.error);
  if (fault.error == EAI_NODATA) return net::no_such_host;
  if (fault.error == EAI_SYSTEM) return as_code(EIO);
  return {fault.error, net::resolver_category()};
}

// ---------------------------------------------------------------------------
// Scenes

// What a process that played a scene leaves to the one that judges.
struct Report {
  int counts[64];
  std::error_code code;
  char wrong[1024];  // what was not as it should be
  bool ended;
};

class Trial {
 public:
  Trial(std::vector<Fault> faults, Report& report)
      : faults_(std::move(faults)), report_(report) {}

  // Makes the call that is tried. Any error of it but the two that are bare
  // must begin its story like this.
  template <class F>
  net::Error run(const std::string& story, F call) {
    net::Error err;
    {
      const inject::Faults armed(faults_);
      err = call();
      for (std::size_t i = 0; i < calls.size(); ++i)
        report_.counts[i] = inject::count(calls[i].name);
    }
    report_.code = err.code();
    if (err && err != net::eof && err != net::would_block)
      check(err.message().compare(0, story.size(), story) == 0,
            "it said: " + err.message() + ", not: " + story);
    return err;
  }

  void check(bool right, const std::string& what) {
    if (right) return;
    const std::size_t size = std::strlen(report_.wrong);
    std::snprintf(report_.wrong + size, sizeof report_.wrong - size, "%s; ",
                  what.c_str());
  }

 private:
  std::vector<Fault> faults_;
  Report& report_;
};

struct Scene {
  std::string name;
  std::function<void(Trial&)> play;
  std::vector<Fault> path{};  // what leads it here, also when all is well
  Rules own{};
  bool messages = false;

  Scene& after(std::vector<Fault> faults) {
    path = std::move(faults);
    return *this;
  }
  // Where it knows better than `rules`.
  Scene& but(Rules better) {
    own = std::move(better);
    return *this;
  }
  // A message goes whole or not at all.
  Scene& in_messages() {
    messages = true;
    return *this;
  }
};

class Scenes {
 public:
  Scene& add(std::string name, std::function<void(Trial&)> play) {
    all_.push_back({std::move(name), std::move(play)});
    return all_.back();
  }
  auto begin() { return all_.begin(); }
  auto end() { return all_.end(); }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

 private:
  std::vector<Scene> all_;
};

inline std::error_code fate(const Scene& scene, const Fault& fault,
                            const std::error_code& clean) {
  for (const Rules* list : {&scene.own, &rules})
    for (const Rule& rule : *list)
      if (rule.fits(fault))
        return rule.fate == Fate::same   ? clean
               : rule.fate == Fate::told ? as_code(fault)
                                         : rule.code;
  return {};
}

// A look-up that was left to itself may still be on its way home.
inline bool leaks(const std::set<int>& before) {
  const auto more = [&] { return support::open_descriptors() != before; };
  for (int tries = 0; more() && tries < 200; ++tries)
    std::this_thread::sleep_for(10ms);
  return more();
}

// To look for lost memory takes long; `thorough` does it.
[[noreturn]] inline void play_and_exit(const Scene& scene, const Fault* fault,
                                       bool thorough, Report& report) {
  ::alarm(static_cast<unsigned>(support::generous / 1s));
  std::vector<Fault> faults = scene.path;
  if (fault) faults.insert(faults.begin(), *fault);
  Trial trial(faults, report);
  const std::set<int> before = support::open_descriptors();
  try {
    scene.play(trial);
  } catch (const std::exception& exception) {
    trial.check(false, exception.what());
  } catch (...) {
    trial.check(false, "an exception");
  }
  trial.check(!leaks(before), "a descriptor was left open");
  trial.check(inject::lists == 0, "a list was not given back");
  if (thorough && __lsan_do_recoverable_leak_check)
    trial.check(__lsan_do_recoverable_leak_check() == 0, "memory was lost");
  if (__gcov_dump) __gcov_dump();
  report.ended = true;
  ::_exit(0);
}

inline Report play(const Scene& scene, const Fault* fault = nullptr,
                   bool thorough = true) {
  void* const room = ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(room != MAP_FAILED);
  auto* report = new (room) Report{};
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) play_and_exit(scene, fault, thorough, *report);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  Report copy = *report;
  ::munmap(room, sizeof(Report));
  if (!copy.ended)
    std::snprintf(copy.wrong, sizeof copy.wrong, "it hung or crashed: %s",
                  ::strsignal(WTERMSIG(status)));
  return copy;
}

// ---------------------------------------------------------------------------
// Every fault in its turn

struct Tally {
  int scenes = 0;
  int pairs = 0;
};

inline std::string name_of(const Scene& scene, const Fault& fault) {
  const char* what = fault.error == cut     ? "one byte"
                     : asks_resolver(fault) ? ::gai_strerror(fault.error)
                                            : ::strerror(fault.error);
  return scene.name + ": " + fault.call + " number " +
         std::to_string(fault.first + 1) + ": " + what +
         (fault.times > 1 ? ", again and again" : "");
}

// What may befall one occurrence of a call.
inline std::vector<Fault> faults_of(const Scene& scene, const Call& call,
                                    int occurrence) {
  std::vector<Fault> faults;
  for (const int error : call.errors) {
    faults.push_back({call.name, occurrence, error});
    if (error == EINTR) faults.push_back({call.name, occurrence, error, 3});
  }
  if (call.moves && !scene.messages)
    faults.push_back({call.name, occurrence, cut});
  return faults;
}

// One fault in one scene; false when that did not end by itself.
inline bool try_one(const Scene& scene, const Fault& fault, bool thorough,
                    const std::error_code& clean) {
  const Report report = play(scene, &fault, thorough);
  CHECK_MESSAGE(report.wrong[0] == '\0', name_of(scene, fault)
                                             << ": " << report.wrong);
  CHECK_MESSAGE(report.code == fate(scene, fault, clean),
                name_of(scene, fault)
                    << ": it said: " << report.code.message());
  return report.ended;
}

inline void try_all(const Scenes& scenes, Tally& tally) {
  // Made before the first child, or else a child's reports would name them by
  // addresses of its own.
  net::category(), net::resolver_category();
  for (const Scene& scene : scenes) {
    const Report clean = play(scene);
    CHECK_MESSAGE(clean.wrong[0] == '\0', scene.name << ": " << clean.wrong);
    bool ended = clean.wrong[0] == '\0';
    const int before = tally.pairs;
    for (std::size_t i = 0; i < calls.size(); ++i)
      for (int k = 0; k < clean.counts[i]; ++k) {
        int tried = 0;
        // Where one hangs, the others will.
        for (const Fault& fault : faults_of(scene, calls[i], k))
          if (ended) ended = try_one(scene, fault, ++tried == 2, clean.code);
        tally.pairs += tried;
      }
    CHECK_MESSAGE(tally.pairs > before, scene.name << " tries nothing");
    ++tally.scenes;
  }
}

}  // namespace trial

#endif  // NETLITE_TESTS_FAULTS_TRIAL_HPP
