// The judge of an exercise. It runs the learner's code in a process of its
// own, so that it survives whatever happens there, plays the peer, and says
// what it saw.
//
//   #include EXERCISE                       // the learner's file
//   #include "../judge.hpp"
//
//   int main() {
//     return judge::run(__FILE__, [] {
//       judge::Learner learner([] { return greet("127.0.0.1:1"); });
//       const auto outcome = learner.wait("Nobody listens on port 1.");
//       if (outcome.code == 0) judge::wrong("...", "... ?");
//     });
//   }
//
// Exit codes: 0 passed, 1 the answer is wrong, 77 skipped, 99 the judge itself
// is broken. HINT=1 (2, 3) adds that hint, from the step's page.
#ifndef NETLITE_TUTORIALS_JUDGE_HPP
#define NETLITE_TUTORIALS_JUDGE_HPP

#include "peers.hpp"

#include <cxxabi.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <atomic>
#include <cctype>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>
#include <typeinfo>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NETLITE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NETLITE_SANITIZED 1
#endif
#endif

namespace judge {

using peers::counted;
using peers::quoted;

// -- Verdicts ---------------------------------------------------------------

enum Code { passed = 0, is_wrong = 1, skipped = 77, broken = 99 };

struct Verdict {
  Code code;
  std::string text;
  std::string place{};  // the line that crashed, as a paragraph
};

// Text without the end of its last line, or of its sentence.
inline std::string without_end(std::string text, char end = '\n') {
  while (!text.empty() && text.back() == end) text.pop_back();
  return text;
}

// What was printed, as the end of a sentence: one line in quotes, several of
// them below each other; the last ones, if there are many.
inline std::string printed(const std::string& text) {
  constexpr std::size_t shown = 8;
  constexpr std::size_t width = 400;
  std::vector<std::string> lines;
  for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    lines.push_back(judge::quoted(text.substr(at, end - at), width));
  }
  if (lines.empty()) return " nothing.";
  if (lines.size() == 1) return " " + lines[0] + ".";
  const std::size_t first = lines.size() - std::min(lines.size(), shown);
  std::string all = first > 0 ? ":\n  ..." : ":";
  for (std::size_t i = first; i < lines.size(); ++i) all += "\n  " + lines[i];
  return all;
}

// Lines of at most 79 columns, broken between words. What goes on from an
// indented line is indented more.
inline std::string wrapped(std::string text) {
  constexpr std::size_t columns = 79;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::size_t begin = std::min(text.find_first_not_of(' ', at), end);
    std::size_t space = text.rfind(' ', at + columns);
    if (space == std::string::npos || space < begin)
      space = text.find(' ', std::max(begin, at + columns));
    if (end - at <= columns || space > end) {
      at = end + 1;
      continue;
    }
    const std::string indent(begin > at ? begin - at + 4 : 0, ' ');
    text.replace(space, 1, "\n" + indent);
    at = space + 1;
  }
  return text;
}

/// The answer is wrong: what happened, what that means, and one question.
[[noreturn]] inline void wrong(const std::string& story,
                               const std::string& question) {
  throw Verdict{is_wrong, story + "\n\n" + question, {}};
}

/// This machine lacks something; says what.
[[noreturn]] inline void skip(const std::string& why) {
  throw Verdict{skipped, why, {}};
}

// -- The guard --------------------------------------------------------------

// The exercise is part of this program. Its global variables may do anything
// before main, or from threads beside it: exit, throw, crash or wait for ever.
// So all of this happens in a second process. The first one is the guard, out
// of reach: it waits, but not for ever, and believes nothing but a verdict.
namespace guard {

// What the judge tells the guard; it is in both processes.
struct Word {
  std::atomic<int> seconds{10};  // that the judge may still take
  std::atomic<bool> is_in_main{false};
  std::atomic<int> verdict{-1};
};
inline Word* word = nullptr;
inline pid_t ward = -1;

/// How long the judge may take from now on.
inline void allow(std::chrono::seconds time) {
  if (word) word->seconds = static_cast<int>(time.count());
}

// Nothing is said by a check that only looks for a line, see place_of_crash.
inline int say(Code code, const std::string& text) {
  if (!std::getenv("NETLITE_WHERE")) {
    std::fputs(wrapped(text).c_str(), stdout);
    std::fflush(stdout);
  }
  return code;
}

// The exit code, when the judge has ended in this way.
inline int verdict_on(int status) {
  if (word->verdict >= 0) return word->verdict;
  const bool is_late = word->seconds <= 0;
  const std::string crashed = WIFSIGNALED(status)
                                  ? "crashed: signal " +
                                        std::to_string(WTERMSIG(status)) +
                                        ", " + ::strsignal(WTERMSIG(status))
                                  : "";
  if (word->is_in_main && !crashed.empty())
    return say(broken,
               "The judge " + (is_late ? "did not come to its end" : crashed) +
                   ". If your exercise.hpp has no variables outside of all "
                   "functions, the judge is broken, not you.\n");
  return say(is_wrong, "not yet.\n\nYour exercise.hpp " +
                           (is_late           ? "waited for ten seconds"
                            : crashed.empty() ? "ended the program"
                                              : crashed + ",") +
                           (word->is_in_main ? " in the judge's own process"
                                             : " before main") +
                           ", where nobody had called it.\n\n"
                           "Which of its variables stand outside of all "
                           "functions?\n");
}

inline void on_second(int) {
  if (--word->seconds > 0)
    ::alarm(1);
  else
    ::kill(ward, SIGKILL);
}

/// Goes on in a second process; the guard ends as that has told.
inline void begin() {
  void* const shared = ::mmap(nullptr, sizeof(Word), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) peers::fail("mmap");
  word = new (shared) Word;
  ward = ::fork();
  if (ward < 0) peers::fail("fork");
  if (ward == 0) {
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    return;
  }
  std::signal(SIGALRM, on_second);
  ::alarm(1);
  int status = 0;
  while (::waitpid(ward, &status, 0) < 0 && errno == EINTR) continue;
  ::_exit(verdict_on(status));
}

#ifdef EXERCISE
__attribute__((constructor(101))) inline void begin_before_all() { begin(); }
#endif

}  // namespace guard

// -- The trace of the learner -----------------------------------------------

// Every call of the learner goes to a file that has no name any more.
class Trace {
 public:
  static Trace& get() {
    static Trace trace;
    return trace;
  }

  // The last calls of a process, one a line; behind a line of dots when there
  // were more.
  std::string calls_of(pid_t pid) const {
    constexpr std::size_t shown = 12;
    std::vector<std::string> calls;
    for (const Line& line : lines_of(pid)) {
      const std::string text = words(line);
      if (!text.empty()) calls.push_back(text);
    }
    const std::size_t first = calls.size() > shown ? calls.size() - shown : 0;
    std::string text = first > 0 ? "\n  ..." : "";
    for (std::size_t i = first; i < calls.size(); ++i)
      text += "\n  " + calls[i];
    return text;
  }

  // A call that failed in the same way again and again, until it did not.
  struct Failures {
    int tries = 0;
    std::chrono::milliseconds first_pause{0};  // after the first of them
    std::chrono::milliseconds last_pause{0};
  };
  Failures failures(pid_t pid, const char* name, const char* failure) const {
    Failures all;
    long long end = 0;  // ns
    for (const Line& line : lines_of(pid)) {
      if (line[call] != name || line[result] == begun) continue;
      const std::chrono::nanoseconds pause(std::atoll(line[its_start].c_str()) -
                                           end);
      const auto ms = std::chrono::floor<std::chrono::milliseconds>(pause);
      if (all.tries > 0) all.last_pause = ms;
      if (all.tries == 1) all.first_pause = ms;
      if (line[error] != failure && all.tries > 0) break;
      if (line[error] != failure) continue;
      // `3, 7 times more` stands for seven calls.
      int more = 1;
      std::sscanf(line[arguments].c_str(), "%*d, %d times more", &more);
      all.tries += more;
      end = std::atoll(line[its_end].c_str());
    }
    return all;
  }

  // How much has been traced so far.
  off_t size() const { return ::lseek(fd_, 0, SEEK_END); }

  // How many of its threads have called something.
  std::size_t threads(pid_t pid) const {
    std::vector<std::string> threads;
    for (const Line& line : lines_of(pid)) threads.push_back(line[its_thread]);
    std::sort(threads.begin(), threads.end());
    const auto end = std::unique(threads.begin(), threads.end());
    return static_cast<std::size_t>(end - threads.begin());
  }

  // The call that a process sits in, such as `recv(3)`: when it polls, the one
  // that it last made there in that direction. Of its threads, the first that
  // sits in one. Empty when none does.
  std::string waiting(pid_t pid) const {
    struct Thread {
      std::map<std::string, Line> in{}, out{};  // by descriptor
      Line last{};
    };
    std::map<int, Thread> threads;
    for (const Line& line : lines_of(pid)) {
      Thread& thread = threads[std::atoi(line[its_thread].c_str())];
      if (is_any(line, {"accept", "recv", "read"}))
        thread.in[line[descriptor]] = line;
      if (is_any(line, {"connect", "send", "write"}))
        thread.out[line[descriptor]] = line;
      if (is_any(line, {"close"})) {
        thread.in.erase(line[descriptor]);
        thread.out.erase(line[descriptor]);
      }
      thread.last = line;
    }
    for (const auto& [number, thread] : threads) {
      Line call_now = thread.last;
      if (call_now[result] != begun) continue;
      if (is_any(call_now, {"poll", "ppoll"})) {
        const std::string& of = call_now[arguments];
        const std::string first = of.substr(0, of.find_first_of(",}"));
        const bool is_out = first.find("POLLOUT") != std::string::npos;
        const auto& made = is_out ? thread.out : thread.in;
        const auto found = made.find(call_now[descriptor]);
        if (found != made.end()) call_now = found->second;
      }
      return call_now[call] + "(" + call_now[descriptor] + ")";
    }
    return {};
  }

 private:
  Trace() {
    const char* folder = std::getenv("TMPDIR");
    std::string name = std::string(folder ? folder : "/tmp") + "/judge-XXXXXX";
    const int fd = ::mkstemp(name.data());
    if (fd < 0) return;
    // The first call of all, fcntl(2), has the trace open the file, too.
    ::setenv("NETLITE_TRACE", name.c_str(), 1);
    fd_ = peers::out_of_the_way(fd);
    ::unlink(name.c_str());
  }

  using Line = std::vector<std::string>;
  enum Column {
    its_start,
    its_end,
    process = 3,
    its_thread,
    descriptor,
    call,
    arguments,
    result,
    error
  };
  static constexpr const char* begun = "?";  // the result of what may wait
  static constexpr int high = 100;           // see peers::out_of_the_way

  static bool is_any(const Line& line,
                     std::initializer_list<const char*> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const char* p) {
      return line[call].compare(0, std::strlen(p), p) == 0;
    });
  }

  // What a process has called, but for what the judge did in it: the judge's
  // descriptors have high numbers. The last lines will do, however much a loop
  // has written; but the judge, who waits for many clients, writes more.
  std::vector<Line> lines_of(pid_t pid) const {
    for (off_t enough = 1 << 16;; enough *= 4) {
      std::vector<Line> lines = last_lines_of(pid, enough);
      if (lines.size() > 200 || enough >= std::min<off_t>(size(), 1 << 22))
        return lines;
    }
  }
  std::vector<Line> last_lines_of(pid_t pid, off_t bytes) const {
    std::string all(static_cast<std::size_t>(bytes), '\0');
    const ssize_t n = ::pread(fd_, all.data(), all.size(),
                              std::max<off_t>(0, size() - bytes));
    all.resize(static_cast<std::size_t>(std::max<ssize_t>(0, n)));

    std::vector<Line> lines;
    Line line(1);
    for (const char c : all) {
      if (c == '\t') {
        line.emplace_back();
      } else if (c != '\n') {
        line.back() += c;
      } else {
        if (line.size() == error + 1 && line[process] == std::to_string(pid) &&
            std::atoi(line[descriptor].c_str()) < high)
          lines.push_back(line);
        line.assign(1, "");
      }
    }
    return lines;
  }

  // `recv(3, "hel", 1024) = 3`, if it is part of the story.
  static std::string words(const Line& line) {
    if (line[result] == begun) return {};
    const bool is_story = line[arguments].find("SO_ERROR") != std::string::npos;
    for (const char* quiet : {"set", "get", "fcntl"})
      if (!is_story && line[call].compare(0, std::strlen(quiet), quiet) == 0)
        return {};
    const std::string failed = line[error] == "-" ? "" : " " + line[error];
    return line[call] + "(" + line[arguments] + ") = " + line[result] + failed;
  }

  int fd_ = -1;
};

// -- The line that crashed --------------------------------------------------

// The learner's file, and the check that it is judged by, as the compiler knew
// them.
#ifdef EXERCISE
inline const char* exercise_file = EXERCISE;
#else
inline const char* exercise_file = "";
#endif
inline std::string check_file;

// The folder of a step, from the path of its check.cpp.
inline std::string folder_of(const std::string& file) {
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

// A sanitizer's name for what went wrong, in words.
inline std::string in_plain_words(const std::string& kind) {
  if (kind.find("overflow") != std::string::npos)
    return kind == "stack-overflow" ? "the calls never end"
                                    : "it reaches beyond its memory";
  if (kind.find("use-after") != std::string::npos)
    return "what it uses is gone by then";
  if (kind == "SEGV") return "there is nothing at that address";
  return kind;
}

// What the file has in this line.
inline std::string line_of(const std::string& path, int number) {
  std::ifstream file(path);
  std::string line;
  while (number-- > 0 && std::getline(file, line)) continue;
  const std::size_t begin = line.find_first_not_of(" \t");
  return begin == std::string::npos ? "" : line.substr(begin);
}

/// Whether the thread sanitizer has seen two threads use one variable at once.
inline const std::string race = "WARNING: ThreadSanitizer: data race";
inline bool has_race(const std::string& printed) {
  return printed.find(race) != std::string::npos;
}

/// The first line of the exercise that a sanitizer's report names; as a
/// paragraph, empty when there is none.
inline std::string place_in(const std::string& report) {
  const std::string address = "ERROR: AddressSanitizer: ";
  const std::string undefined = "runtime error: ";
  std::size_t at = report.find(address);
  const std::size_t other = report.find(undefined);
  std::string why;
  if (at != std::string::npos) {
    const std::size_t kind = at + address.size();
    why = in_plain_words(
        report.substr(kind, report.find_first_of(" \n", kind) - kind));
    const std::size_t failed = report.find("Assertion '");
    if (failed < at)
      why = report.substr(failed, report.find('\n', failed) - failed);
  } else if (other != std::string::npos) {
    at = report.rfind('\n', other) + 1;
    const std::size_t words = other + undefined.size();
    why = report.substr(words, report.find('\n', words) - words);
  } else if (has_race(report)) {
    at = report.find(race);
    why = "one of the two";
  }
  const std::string path = exercise_file;
  const std::string name = path.substr(path.rfind('/') + 1);
  if (at == std::string::npos || name.empty()) return {};
  at = report.find(name + ":", at);
  if (at == std::string::npos) return {};
  const int number = std::atoi(report.c_str() + at + name.size() + 1);
  return "\nThat was line " + std::to_string(number) + " of your " + name +
         ": " + without_end(why, '.') + ".\n    " +
         line_of(path[0] == '/' ? path : folder_of(check_file) + "/" + path,
                 number);
}

// What a command prints.
inline std::string output_of(const std::string& command) {
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (!pipe) return {};
  std::string text;
  char buffer[4096];
  std::size_t n;
  while ((n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0)
    text.append(buffer, n);
  ::pclose(pipe);
  return text;
}

inline std::string in_quotes(const std::string& text) {
  std::string quote = "'";
  for (const char c : text) quote += c == '\'' ? "'\\''" : std::string(1, c);
  return quote + "'";
}

// Builds the check once more, with the sanitizers that name the line, and runs
// it; empty where the compiler has none.
inline std::string place_of_crash() {
  if (check_file.empty() || std::getenv("NETLITE_WHERE")) return {};
  std::cerr << "looking for the line that crashed ..." << std::endl;
  guard::allow(std::chrono::minutes(5));
  const std::string include = folder_of(check_file) + "/../../include";
  return without_end(output_of(
      "folder=$(mktemp -d) || exit; trap 'rm -rf \"$folder\"' EXIT\n"
      "ulimit -t 30\n"
      "${CXX:-c++} -std=c++17 -g -fsanitize=address,undefined "
      "-fno-sanitize-recover=undefined -D_GLIBCXX_ASSERTIONS -pthread -I" +
      in_quotes(include) +
      " -DEXERCISE=" + in_quotes(std::string("\"") + exercise_file + "\"") +
      " " + in_quotes(check_file) +
      " -o \"$folder/check\" >/dev/null 2>&1 &&\n"
      "NETLITE_WHERE=1 UBSAN_OPTIONS=print_stacktrace=1 "
      "ASAN_OPTIONS=handle_abort=1:handle_sigill=1:detect_leaks=0 "
      "\"$folder/check\" 2>/dev/null"));
}

// -- The learner's process --------------------------------------------------

// How the learner's function came to its end. Its process says it last.
enum Ending : char { returned = 'r', threw = 't', called_exit = 'x' };

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe(ends) != 0) peers::fail("pipe");
    from = peers::Descriptor(peers::out_of_the_way(ends[0]));
    to = peers::Descriptor(peers::out_of_the_way(ends[1]));
  }
  peers::Descriptor from{};
  peers::Descriptor to{};
};

// What runs in the process of the learner.
namespace child {

inline int value = -1;  // the pipe to the judge
inline pid_t self = -1;
inline bool has_told = false;
constexpr int longest_trace = 1 << 24;

// A process that the learner starts has nothing to tell.
inline void tell(const std::string& text, Ending how) {
  if (::getpid() != self || std::exchange(has_told, true)) return;
  const std::string all = text + char(how);
  for (std::size_t at = 0; at < all.size();) {
    const ssize_t n = ::write(value, all.data() + at, all.size() - at);
    if (n < 0 && errno != EINTR) ::_exit(1);
    if (n > 0) at += static_cast<std::size_t>(n);
  }
}

// `std::out_of_range, "..."`: the type of what was thrown, and its words.
inline std::string exception() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (!type) return {};
  int status = 0;
  char* const name =
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  const std::string text = name ? name : type->name();
  std::free(name);
  try {
    throw;
  } catch (const std::exception& failure) {
    return text + ", " + judge::quoted(failure.what(), 200);
  } catch (...) {
    return text;
  }
}

[[noreturn]] inline void terminated() {
  tell(exception(), threw);
  ::_exit(1);
}

// A loop that eats memory shall not eat the machine's; and if the judge is
// killed, its learner goes with it.
inline void be_careful() {
#ifdef __linux__
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  const rlimit file{longest_trace, longest_trace};
  ::setrlimit(RLIMIT_FSIZE, &file);
  std::signal(SIGXFSZ, SIG_IGN);
#ifndef NETLITE_SANITIZED  // sanitizers reserve more than any machine has
  const rlimit memory{rlim_t(1) << 30, rlim_t(1) << 30};
  ::setrlimit(RLIMIT_AS, &memory);
#endif
}

// What it throws ends its process, as it would end the learner's program.
template <class F>
std::string value_of(F& f) noexcept {
  if constexpr (std::is_same_v<decltype(f()), int>)
    return std::to_string(f());
  else
    return f();
}

template <class F>
[[noreturn]] void live(F& f, const Pipe& printed, const Pipe& to_judge) {
  ::setpgid(0, 0);  // so that what it starts is ended with it
  ::dup2(peers::out_of_the_way(::open("/dev/null", O_RDONLY)), STDIN_FILENO);
  ::dup2(printed.to.get(), STDOUT_FILENO);
  ::dup2(printed.to.get(), STDERR_FILENO);
  ::close(printed.to.get());
  value = to_judge.to.get();
  self = ::getpid();
  be_careful();
  std::set_terminate(terminated);
  std::atexit([] { tell({}, called_exit); });
  tell(value_of(f), returned);
  ::close(value);
  std::exit(0);
}

}  // namespace child

// -- The learner ------------------------------------------------------------

/// What became of the learner's code.
struct Outcome {
  int code = 0;           // what its function returned, as a number
  std::string value{};    // and as text
  std::string printed{};  // all that it printed
};

/// A Learner is a process that runs the learner's code. Its function returns an
/// int, for functions that return an exit code, or a text.
///
/// A thread reads whatever comes from it, whenever that is: nothing that the
/// learner prints or returns, however long, waits for the judge.
class Learner {
 public:
  template <class F>
  explicit Learner(F f) {
    Pipe printed;
    Pipe value;
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) peers::fail("fork");
    if (pid_ == 0) child::live(f, printed, value);
    ::setpgid(pid_, pid_);
    ++learners;
    for (Pipe* pipe : {&printed, &value})
      ::fcntl(pipe->from.get(), F_SETFL, O_NONBLOCK);
    printed_ = std::move(printed.from);
    value_ = std::move(value.from);
    thread_ = std::thread([this] { watch(); });
  }
  Learner(const Learner&) = delete;
  Learner& operator=(const Learner&) = delete;
  ~Learner() { end(); }

  /// Readable, or hung up, when the learner's function is over.
  int over() const { return over_.from.get(); }

  /// Sends it a signal.
  void tell(int signal) { ::kill(pid_, signal); }
  /// Whether that signal has ended it, when it is over.
  bool ended_by(int signal) {
    if (!peers::wait_for(over(), POLLIN, {}) || !ends_in_time()) return false;
    end();
    return WIFSIGNALED(status_) && WTERMSIG(status_) == signal;
  }

  /// Stops it, wherever it is, until it shall go on: what is done meanwhile has
  /// been done before its next step.
  void hold() {
    siginfo_t info{};
    tell(SIGSTOP);
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info,
                    WSTOPPED | WEXITED | WNOWAIT) != 0 &&
           errno == EINTR)
      continue;
  }
  void go_on() { tell(SIGCONT); }

  /// Waits until it waits: sits in a call, has ended, or there is something to
  /// read from it. Should nothing tell of its calls, a moment.
  void wait_until_it_waits(int fd) const {
    const auto until = peers::Clock::now() + std::chrono::seconds(3);
    const auto look = std::chrono::milliseconds(20);
    while (peers::Clock::now() < std::min(until, peers::the_end) &&
           !peers::wait_for(fd, POLLIN, peers::Clock::now() + look, over()) &&
           waiting_call().empty())
      continue;
  }

  /// Waits until what it has printed is such; no longer than it can still
  /// print something.
  template <class Test>
  bool prints(Test is_such) {
    const auto until = peers::deadline();
    for (int idle = 0; idle < 2 && peers::Clock::now() < until;) {
      std::unique_lock<std::mutex> lock(mutex_);
      const auto is_done = [&] { return has_ended_ || is_such(got_.printed); };
      if (changed_.wait_for(lock, std::chrono::milliseconds(100), is_done))
        return is_such(got_.printed);
      lock.unlock();
      idle = waiting_call().empty() ? 0 : idle + 1;
    }
    return false;
  }

  /// What it has printed so far.
  std::string printed() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return got_.printed;
  }

  /// Waits until its function has returned. Any other end, or none, is a wrong
  /// answer; `story` says what happened so far. A check that knows better what
  /// to ask when nothing ends has a question of its own.
  Outcome wait(const std::string& story, const std::string& question = {}) {
    const bool in_time = ends_in_time();
    const std::string call = in_time ? "" : waiting_call();
    end();
    // It may have ended by itself at the last moment.
    if (!in_time && WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL)
      hung(story, call, question);
    const std::string& value = got_.value;
    if (said_too_much_)
      judge::wrong(story + "\nYour code wrote more than 16 MiB, and went on.",
                   "Which loop never ends?");
    if (WIFSIGNALED(status_)) crashed(story);
    if (value.empty() || value.back() != returned) left(story);
    Outcome outcome = got_;
    outcome.value.pop_back();
    outcome.code = std::atoi(outcome.value.c_str());
    return outcome;
  }

  /// The answer is wrong. But if the function is over because it crashed, that
  /// is the story.
  [[noreturn]] void wrong(const std::string& story,
                          const std::string& question) {
    const auto soon = peers::Clock::now() + std::chrono::milliseconds(100);
    if (peers::wait_for(over(), POLLIN, soon)) wait(story);
    judge::wrong(story + calls(), question);
  }

  /// Its calls, as a paragraph.
  std::string calls() const {
    const std::string calls = Trace::get().calls_of(pid_);
    return calls.empty() ? "" : "\nThe calls that your code made:" + calls;
  }

  /// How many of its threads have called something, so far as the judge
  /// remembers.
  std::size_t threads() const { return Trace::get().threads(pid_); }

  /// See Trace::failures.
  Trace::Failures failures(const char* call, const char* error) const {
    return Trace::get().failures(pid_, call, error);
  }

  /// Whether its function is over.
  bool is_over() const { return peers::wait_for(over(), POLLIN, {}); }

  /// The call that it sits in, such as `recv(3)`; empty when it sits in none,
  /// or goes from one to the next.
  std::string waiting_call() const {
    const off_t size = Trace::get().size();
    const std::string call = Trace::get().waiting(pid_);
    if (call.empty() || size >= child::longest_trace) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return Trace::get().size() == size ? call : "";
  }

 private:
  static constexpr std::size_t enough = 1 << 24;
  inline static int learners = 0;

  std::string last_call() const {
    const std::string calls = Trace::get().calls_of(pid_);
    const std::size_t last = calls.rfind("\n  ");
    return last == std::string::npos ? "" : calls.substr(last + 3);
  }

  // -- What the thread does

  void watch() {
    const auto soon = started_ + std::chrono::seconds(2);
    for (bool has_told = false; !reap();) {
      pollfd fds[] = {{printed_.get(), POLLIN, 0}, {value_.get(), POLLIN, 0}};
      const bool is_silent = fds[0].fd < 0 && fds[1].fd < 0;
      ::poll(fds, 2, is_silent ? 1 : 50);
      read(printed_, got_.printed);
      read(value_, got_.value);
      if (value_.get() < 0) over_.to.reset();
      if (!has_told && peers::Clock::now() > soon) {
        has_told = true;
        tell_that_it_waits();
      }
    }
  }

  // Reads what is there, but leaves time for other things.
  void read(peers::Descriptor& fd, std::string& text) {
    char buffer[65536];
    ssize_t n = -1;
    for (int times = 0; times < 16; ++times) {
      if (fd.get() < 0 || (n = ::read(fd.get(), buffer, sizeof buffer)) < 0)
        return;
      const std::lock_guard<std::mutex> lock(mutex_);
      text.append(buffer, static_cast<std::size_t>(n));
      said_too_much_ = said_too_much_ || text.size() > enough;
      changed_.notify_all();
      if (n == 0 || said_too_much_) fd.reset();
      if (said_too_much_) ::kill(-pid_, SIGKILL);
    }
  }

  // Takes the process away when it has ended, and what it has started as well.
  bool reap() {
    siginfo_t info{};
    const int how = WEXITED | WNOHANG | WNOWAIT;
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, how) != 0 ||
        info.si_pid == 0)
      return false;
    ::kill(-pid_, SIGKILL);
    read(printed_, got_.printed);
    read(value_, got_.value);
    const std::lock_guard<std::mutex> lock(mutex_);
    rusage used{};
    ::wait4(pid_, &status_, 0, &used);
    for (const timeval& time : {used.ru_utime, used.ru_stime})
      time_used_ += std::chrono::seconds(time.tv_sec) +
                    std::chrono::microseconds(time.tv_usec);
    has_ended_ = true;
    over_.to.reset();
    changed_.notify_all();
    return true;
  }

  void tell_that_it_waits() const {
    const std::string call = waiting_call();
    const std::string last = last_call();
    std::string text = "still waiting: ";
    if (!call.empty())
      text += "your code sits in " + call + " ...\n";
    else if (!last.empty())
      text += "the last call of your code was " + last + " ...\n";
    else
      text += "your code has made no call yet ...\n";
    std::cerr << wrapped(text) << std::flush;
  }

  // -- What the judge makes of it

  void end() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!has_ended_) ::kill(-pid_, SIGKILL);
    }
    if (thread_.joinable()) thread_.join();
  }

  bool ends_in_time() {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto has_ended = [this] { return has_ended_; };
    return changed_.wait_until(lock, peers::deadline(), has_ended);
  }

  [[noreturn]] void hung(const std::string& story, const std::string& call,
                         const std::string& question) {
    const auto waited = peers::Clock::now() - started_;
    const auto seconds = std::chrono::round<std::chrono::seconds>(waited);
    const auto count = static_cast<std::size_t>(seconds.count());
    const bool has_returned =
        !got_.value.empty() && got_.value.back() == returned;
    // A machine that has much else to do leaves little even to a busy loop.
    const bool is_busy = time_used_ > waited / (call.empty() ? 50 : 4);
    std::string end = "Your code did not return within " +
                      counted(count, "second") + "." +
                      (call.empty() ? "" : " It sat in " + call + ".");
    if (has_returned)
      end = "Your function returned, but its program did not end.";
    else if (count == 0)
      end = "The judge's time is up: it has called your code " +
            counted(static_cast<std::size_t>(learners), "time") + " by now.";
    judge::wrong(story + "\n" + end + its_words() + calls(),
                 !question.empty() ? question
                 : is_busy
                     ? "It does not wait for anybody. Which loop never ends?"
                     : question_about(call));
  }

  static std::string question_about(const std::string& call) {
    if (call.empty()) return "What does it wait for, if not for the network?";
    if (call.compare(0, 6, "accept") == 0)
      return "Who would have to call it now?";
    return "What is it waiting for, and who would have to send that?";
  }

  [[noreturn]] void crashed(const std::string& story) const {
    const int signal = WTERMSIG(status_);
    const std::string place = place_of_crash();
    judge::wrong(story + "\nYour code crashed: signal " +
                     std::to_string(signal) + ", " + ::strsignal(signal) + "." +
                     place + its_words() + calls(),
                 place.empty() ? "Which of your lines ran last?"
                               : "What does that line use, and is it there?");
  }

  [[noreturn]] void left(const std::string& story) const {
    const std::string& value = got_.value;
    const std::string code = std::to_string(WEXITSTATUS(status_));
    const std::string place = place_in(got_.printed);
    if (!place.empty())
      throw Verdict{is_wrong,
                    story + "\nYour code crashed." + place + calls() +
                        "\n\nWhat does that line use, and is it there?",
                    place};
    if (!value.empty() && value.back() == threw)
      judge::wrong(story + "\nYour code " + thrown() + its_words() + calls(),
                   "Which of your lines does that, and what should happen "
                   "instead?");
    judge::wrong(story +
                     (value.empty() ? "\nYour code ended the whole program, "
                                      "with exit code " +
                                          code + "."
                                    : "\nYour code called exit(" + code +
                                          "): that ends the whole program.") +
                     its_words() + calls(),
                 "Which of your lines does that? How does a function end, and "
                 "only that?");
  }

  std::string thrown() const {
    const std::string words = got_.value.substr(0, got_.value.size() - 1);
    if (words.empty())
      return "called std::terminate, as a std::thread does that nobody has "
             "joined.";
    return "threw an exception that nobody caught: " + words + ".";
  }

  // The last words that it printed, as a paragraph.
  std::string its_words() const {
    const bool is_silent = got_.printed.empty();
    return is_silent ? "" : "\nIt had printed" + judge::printed(got_.printed);
  }

  const peers::Clock::time_point started_ = peers::Clock::now();
  pid_t pid_ = -1;
  Pipe over_{};
  peers::Descriptor printed_{};
  peers::Descriptor value_{};

  // The thread writes these.
  std::mutex mutex_{};
  std::condition_variable changed_{};
  bool has_ended_ = false;
  bool said_too_much_ = false;
  int status_ = 0;
  std::chrono::microseconds time_used_{0};
  Outcome got_{};  // what it has said so far
  std::thread thread_{};
};

/// What became of a learner's function that was given a connection.
struct Talk {
  Outcome outcome;
  std::string story;  // what the peer did
  std::string calls;  // what the learner did
};

/// The connection of a learner who has to dial this peer. Keep it until the
/// learner's end: what it waits for shall not change before that is told.
inline peers::Wire caller(Learner& learner, const peers::Descriptor& listener) {
  try {
    return peers::Wire::accept(listener, learner.over());
  } catch (const peers::Waited& waited) {
    const std::string story = peers::me + " listened on " +
                              peers::address_of(listener) + ". " +
                              waited.what();
    const Outcome outcome = learner.wait(story);
    wrong(story + "\nYour code returned " + std::to_string(outcome.code) +
              ", and printed" + printed(outcome.printed),
          "Whom has it dialled?");
  }
}

/// Plays a script to the learner, and tells what the peer did.
inline std::string played(peers::Wire& wire, const peers::Script& script) {
  try {
    script(wire);
    if (!wire.stays()) wire.close();
    return wire.story();
  } catch (const peers::Waited& waited) {
    return wire.story() + "\n" + waited.what();
  }
}

/// Gives the learner's function a connected descriptor - for net::conn_from -
/// and plays a script to it. For `question` see Learner::wait.
template <class F>
Talk talk(const peers::Script& script, F f, const std::string& question = {}) {
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::uint16_t port = peers::port_of(listener.get(), ::getsockname);
  auto theirs = peers::Wire::dial(port);
  if (theirs.second != 0)
    throw std::system_error(theirs.second, std::system_category(), "connect");
  peers::Wire wire = peers::Wire::accept(listener);

  Learner learner([&] {
    wire.close();
    const int descriptor = ::dup(theirs.first.fd());
    theirs.first.close();
    return f(descriptor);
  });
  wire.set_over(learner.over());
  const std::string story = played(wire, script);
  const Outcome outcome = learner.wait(story, question);
  return {outcome, story, learner.calls()};
}

// -- The page ---------------------------------------------------------------

// A hint of the page: what is folded under "Hint 1".
inline std::string hint(const std::string& folder, const std::string& number) {
  std::ifstream page(folder + "/README.md");
  std::string hint;
  std::string line;
  bool inside = false;
  while (std::getline(page, line)) {
    if (line.find("</details>") != std::string::npos) inside = false;
    if (inside && !(line.empty() && hint.empty())) hint += line + "\n";
    for (const char* end : {"<", ":"})
      if (line.find("<summary>Hint " + number + end) != std::string::npos)
        inside = true;
  }
  return hint.empty() ? "There is no hint " + number + "." : without_end(hint);
}

// The first line: which step, and how it went; coloured where run asks for it.
inline std::string headline(const std::string& step, const char* how,
                            const char* colour) {
  const std::string line = step + ": " + how + ".";
  if (!std::getenv("NETLITE_COLOUR")) return line + "\n";
  return std::string(colour) + line + "\033[0m\n";
}

// What came of a check, in words, and its exit code.
inline int tell(const std::string& step, const Verdict& verdict) {
  std::cout << (verdict.code == skipped
                    ? headline(step, "skipped", "\033[2m")
                    : headline(step, "not yet", "\033[1;33m"))
            << '\n'
            << wrapped(verdict.text) << '\n';
  if (verdict.code != is_wrong) return verdict.code;
  const char* level = std::getenv("HINT");
  if (level && *level)
    std::cout << "\nHint " << level << ":\n"
              << hint(folder_of(check_file), level) << '\n';
  else
    // A project is called by its name.
    std::cout << "\n(For a hint: sh tutorials/run "
              << (std::isdigit(static_cast<unsigned char>(step[0]))
                      ? std::to_string(std::atoi(step.c_str()))
                      : step)
              << " hint)\n";
  return verdict.code;
}

// What came of a check.
template <class Check>
int verdict_of(const char* file, Check check) {
  check_file = file;
  const std::string folder = folder_of(file);
  const std::string step = folder.substr(folder.rfind('/') + 1);
  if (const char* seconds = std::getenv("NETLITE_PATIENCE"))
    peers::patience = std::chrono::seconds(std::atoi(seconds));
  peers::the_end = peers::deadline();
  guard::allow(peers::patience + std::chrono::seconds(10));
  try {
    Trace::get();
    check();
  } catch (const Verdict& verdict) {
    if (!std::getenv("NETLITE_WHERE")) return tell(step, verdict);
    std::cout << verdict.place;
    return verdict.code;
  } catch (const std::exception& failure) {
    std::cout << step << ": the judge is broken, not you: " << failure.what()
              << '\n';
    return broken;
  }
  std::cout << headline(step, "solved", "\033[1;32m");
  return passed;
}

/// Runs a check, and tells what came of it. It has ten seconds, or
/// NETLITE_PATIENCE: tests on slow machines have more. Its exit code is that of
/// the program, whatever the exercise's global variables do at their end.
template <class Check>
int run(const char* file, Check check) {
  if (guard::word) guard::word->is_in_main = true;
  const int code = verdict_of(file, check);
  std::cout.flush();
  if (guard::word) guard::word->verdict = code;
  ::_exit(code);
}

}  // namespace judge

#endif  // NETLITE_TUTORIALS_JUDGE_HPP
