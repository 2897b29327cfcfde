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

#include <sys/resource.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <type_traits>

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
};

// Text without the end of its last line.
inline std::string without_end(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// The answer is wrong: what happened, what that means, and one question.
[[noreturn]] inline void wrong(const std::string& story,
                               const std::string& question) {
  throw Verdict{is_wrong, story + "\n\n" + question};
}

/// This machine lacks something; says what.
[[noreturn]] inline void skip(const std::string& why) {
  throw Verdict{skipped, why};
}

// -- The trace of the learner -----------------------------------------------

// Every call of the learner goes to a file that has no name any more.
class Trace {
 public:
  static Trace& get() {
    static Trace trace;
    return trace;
  }

  // The last calls of a process, one a line.
  std::string calls_of(pid_t pid) const {
    constexpr std::size_t shown = 12;
    std::vector<std::string> calls;
    for (const Line& line : lines_of(pid)) {
      const std::string call = words(line);
      if (!call.empty()) calls.push_back(call);
    }
    const std::size_t first = calls.size() > shown ? calls.size() - shown : 0;
    std::string text;
    for (std::size_t i = first; i < calls.size(); ++i)
      text += "\n  " + calls[i];
    return text;
  }

  // The call that a process sits in, such as `recv(3)`: when it polls for one
  // that it has tried, that one. Empty when it sits in none.
  std::string waiting(pid_t pid) const {
    Line tried, last;
    for (const Line& line : lines_of(pid)) {
      if (line[error] == "EAGAIN" || line[error] == "EINPROGRESS") tried = line;
      last = line;
    }
    if (last.empty() || last[result] != begun) return {};
    const bool is_poll = last[call].find("poll") != std::string::npos;
    const bool is_known =
        is_poll && !tried.empty() && tried[descriptor] == last[descriptor];
    return (is_known ? tried : last)[call] + "(" + last[descriptor] + ")";
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
  enum Column { process = 3, descriptor = 5, call, arguments, result, error };
  static constexpr const char* begun = "?";  // the result of what may wait
  static constexpr int high = 100;           // see peers::out_of_the_way

  // What a process has called, but for what the judge did in it: the judge's
  // descriptors have high numbers.
  std::vector<Line> lines_of(pid_t pid) const {
    std::string all;
    char buffer[4096];
    ssize_t n;
    for (off_t at = 0; (n = ::pread(fd_, buffer, sizeof buffer, at)) > 0;
         at += n)
      all.append(buffer, static_cast<std::size_t>(n));

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

// -- The learner ------------------------------------------------------------

/// What became of the learner's code.
struct Outcome {
  int code = 0;           // what its function returned, or the exit code
  std::string value{};    // what its function returned, as text
  std::string printed{};  // all that it printed
};

/// A Learner is a process that runs the learner's code. Its function gives an
/// int, for functions that give an exit code, or a text.
class Learner {
 public:
  template <class F>
  explicit Learner(F f) {
    int printed[2];
    int value[2];
    if (::pipe(printed) != 0 || ::pipe(value) != 0) peers::fail("pipe");
    for (int* fd : {&printed[0], &printed[1], &value[0], &value[1]})
      *fd = peers::out_of_the_way(*fd);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) peers::fail("fork");
    if (pid_ == 0) {
      ::setpgid(0, 0);  // so that what it starts is ended with it
      ::dup2(peers::out_of_the_way(::open("/dev/null", O_RDONLY)),
             STDIN_FILENO);
      ::dup2(printed[1], STDOUT_FILENO);
      ::dup2(printed[1], STDERR_FILENO);
      for (const int fd : {printed[0], printed[1], value[0]}) ::close(fd);
      be_careful();
      std::exit(call(f, value[1]));
    }
    ::setpgid(pid_, pid_);
    ::close(printed[1]);
    ::close(value[1]);
    printed_ = peers::Descriptor(printed[0]);
    value_ = peers::Descriptor(value[0]);
  }
  Learner(const Learner&) = delete;
  Learner& operator=(const Learner&) = delete;
  ~Learner() { end(); }

  /// Readable, or hung up, when the learner's function is over.
  int over() const { return value_.get(); }

  /// The next line that it prints; what there is, when it ends before.
  std::string line(const std::string& story) {
    const auto deadline = peers::Clock::now() + peers::patience;
    std::size_t end;
    while ((end = outcome_.printed.find('\n', seen_)) == std::string::npos) {
      if (!read(printed_, outcome_.printed, deadline, story)) {
        wait(story);
        break;
      }
    }
    const std::string text = outcome_.printed.substr(seen_, end - seen_);
    seen_ = end == std::string::npos ? outcome_.printed.size() : end + 1;
    return text;
  }

  /// Waits until its function has returned. Any other end, or none, is a wrong
  /// answer; `story` says what happened so far.
  Outcome wait(const std::string& story) {
    if (ended_) return outcome_;
    const auto deadline = peers::Clock::now() + peers::patience;
    while (read(printed_, outcome_.printed, deadline, story)) {
    }
    while (read(value_, outcome_.value, deadline, story)) {
    }
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    ended_ = true;
    if (WIFSIGNALED(status)) crashed(story, WTERMSIG(status));
    outcome_.code = WEXITSTATUS(status);
    if (outcome_.value.empty() || outcome_.value.back() != returned)
      left(story);
    outcome_.value.pop_back();
    return outcome_;
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

 private:
  // Said last, by a function that has returned.
  static constexpr char returned = '.';

  // What it throws ends its process, as it would end the learner's program.
  template <class F>
  static int call(F& f, int value) noexcept {
    if constexpr (std::is_same_v<decltype(f()), int>) {
      const int code = f();
      tell(value, {returned});
      return code;
    } else {
      tell(value, f());
      tell(value, {returned});
      return 0;
    }
  }

  static void tell(int value, const std::string& text) {
    std::size_t at = 0;
    while (at < text.size()) {
      const ssize_t n = ::write(value, text.data() + at, text.size() - at);
      if (n < 0) std::abort();
      at += static_cast<std::size_t>(n);
    }
  }

  // A loop that eats memory shall not eat the machine's; and if the judge is
  // killed, its learner goes with it.
  static void be_careful() {
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const rlimit file{rlim_t(1) << 24, rlim_t(1) << 24};  // of the trace
    ::setrlimit(RLIMIT_FSIZE, &file);
    std::signal(SIGXFSZ, SIG_IGN);
#ifndef NETLITE_SANITIZED  // sanitizers reserve more than any machine has
    const rlimit memory{rlim_t(1) << 30, rlim_t(1) << 30};
    ::setrlimit(RLIMIT_AS, &memory);
#endif
  }

  // Reads some; false at the end.
  bool read(const peers::Descriptor& fd, std::string& text,
            peers::Clock::time_point deadline, const std::string& story) {
    if (!peers::wait_for(fd.get(), POLLIN, deadline)) hung(story);
    char buffer[16384];
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n <= 0) return false;
    text.append(buffer, static_cast<std::size_t>(n));
    constexpr std::size_t enough = 1 << 24;
    if (text.size() > enough) {
      end();
      judge::wrong(story + "\nYour code gave more than 16 MiB, and went on.",
                   "Which loop never ends?");
    }
    return true;
  }

  [[noreturn]] void hung(const std::string& story) {
    end();
    const std::string its_calls = calls();
    const std::size_t last = its_calls.rfind("\n  ");
    const bool is_busy = time_used_ > peers::patience / 10 ||
                         (last != std::string::npos &&
                          its_calls.find("EAGAIN", last) == std::string::npos);
    judge::wrong(
        story + "\nYour code did not come back within " +
            counted(std::size_t(peers::patience.count()), "second") + "." +
            its_words() + its_calls,
        is_busy ? "It does not wait for anybody. Which loop never ends?"
                : "What is it waiting for, and who would have to give that?");
  }

  [[noreturn]] void crashed(const std::string& story, int signal) const {
    judge::wrong(story + "\nYour code crashed: signal " +
                     std::to_string(signal) + ", " + ::strsignal(signal) + "." +
                     its_words() + calls(),
                 "Which of your lines ran last?");
  }

  [[noreturn]] void left(const std::string& story) const {
    judge::wrong(story +
                     "\nYour code did not return: it ended the whole program, "
                     "with exit code " +
                     std::to_string(outcome_.code) + "." + its_words() +
                     calls(),
                 "Which of your lines does that, and what should it do "
                 "instead?");
  }

  // The last words that it printed, as a paragraph.
  std::string its_words() const {
    constexpr std::size_t shown = 1000;
    std::string words = without_end(outcome_.printed);
    if (words.empty()) return {};
    if (words.size() > shown)
      words = "... " + words.substr(words.size() - shown);
    return "\nIt had printed:\n" + words;
  }

  void end() {
    if (std::exchange(ended_, true)) return;
    ::kill(-pid_, SIGKILL);
    rusage used{};
    while (::wait4(pid_, nullptr, 0, &used) < 0 && errno == EINTR) {
    }
    time_used_ = std::chrono::seconds(used.ru_utime.tv_sec) +
                 std::chrono::microseconds(used.ru_utime.tv_usec);
  }

  pid_t pid_ = -1;
  bool ended_ = false;
  std::chrono::microseconds time_used_{0};  // computing, until it was ended
  peers::Descriptor printed_{};
  peers::Descriptor value_{};
  std::size_t seen_ = 0;
  Outcome outcome_{};
};

/// What became of a learner's function that was given a connection.
struct Talk {
  Outcome outcome;
  std::string story;  // what the peer did
  std::string calls;  // what the learner did
};

/// Gives the learner's function a connected descriptor - for net::conn_from -
/// and plays a script to it.
template <class F>
Talk talk(const peers::Script& script, F f) {
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
  std::string story;
  try {
    script(wire);
    wire.close();
    story = wire.story();
  } catch (const peers::Waited& waited) {
    story = wire.story() + "\n" + waited.what();
  }
  return {learner.wait(story), story, learner.calls()};
}

// -- The page ---------------------------------------------------------------

// The folder of a step, from the path of its check.cpp.
inline std::string folder_of(const std::string& file) {
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

// A hint of the page: what is folded under "Hint 1".
inline std::string hint(const std::string& folder, const std::string& number) {
  std::ifstream page(folder + "/README.md");
  std::string hint;
  std::string line;
  bool inside = false;
  while (std::getline(page, line)) {
    if (line.find("</details>") != std::string::npos) inside = false;
    if (inside && !(line.empty() && hint.empty())) hint += line + "\n";
    if (line.find("<summary>Hint " + number + "<") != std::string::npos)
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

/// Runs a check, and tells what came of it.
template <class Check>
int run(const char* file, Check check) {
  const std::string folder = folder_of(file);
  const std::string step = folder.substr(folder.rfind('/') + 1);
  const std::string number = std::to_string(std::atoi(step.c_str()));
  try {
    Trace::get();
    check();
  } catch (const Verdict& verdict) {
    std::cout << (verdict.code == skipped
                      ? headline(step, "skipped", "\033[2m")
                      : headline(step, "not yet", "\033[1;33m"))
              << '\n'
              << verdict.text << '\n';
    if (verdict.code != is_wrong) return verdict.code;
    const char* level = std::getenv("HINT");
    if (level && *level)
      std::cout << "\nHint " << level << ". " << hint(folder, level) << '\n';
    else
      std::cout << "\n(For a hint: sh tutorials/run " << number << " hint)\n";
    return verdict.code;
  } catch (const std::exception& failure) {
    std::cout << step << ": the judge is broken, not you: " << failure.what()
              << '\n';
    return broken;
  }
  std::cout << headline(step, "solved", "\033[1;32m");
  return passed;
}

}  // namespace judge

#endif  // NETLITE_TUTORIALS_JUDGE_HPP
