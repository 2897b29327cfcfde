// Starts the programs of a step and shows what they say and do, line by line:
// words after ">", system calls indented, how they ended after "*".
// tutorials/run builds and uses it.
//
//   stage [--alone] [--step N] [--trace FILE] NAME PROGRAM [ARG...] [-- ...]
//
// The programs enter one after the other: the next when all others wait, so
// that a server listens before its client dials. When nobody but the first is
// left, or everybody waits for somebody else, they are ended. --alone shows a
// single program for as long as it runs; --step names the step in advice;
// --trace keeps the calls in a file, for pictures. NETLITE_COLOUR=1 asks for
// colours.
//
// Order. A call is traced when it has returned, so the lines of two programs
// may arrive the wrong way round. They are held for a moment and sorted by
// time: a call that acts (send) counts when it begins, one that waits (recv)
// when it ends. A cause thus always stands before its effect.

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;
constexpr Nanoseconds millisecond = 1000000;
constexpr int look_again = 25;                        // ms, at the latest
constexpr Nanoseconds held_for = 25 * millisecond;    // before lines are shown
constexpr Nanoseconds quiet_for = 200 * millisecond;  // before the next enters
constexpr Nanoseconds stuck_for = 2000 * millisecond;
constexpr Nanoseconds at_most = 30000 * millisecond;  // for the whole play
constexpr Nanoseconds patience = 1000 * millisecond;  // SIGTERM to SIGKILL

Nanoseconds now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

volatile std::sig_atomic_t stopped_by = 0;

// One line of the trace. Its columns: start, end, program, process, thread,
// descriptor, call, arguments, result, error.
class Call {
 public:
  // Takes a call off the end of a line. What is left are words, of a program
  // that called before it had ended its line.
  static bool take(std::string& line, Call& call) {
    std::vector<std::string> fields(1);
    for (const char c : line) {
      if (c == '\t')
        fields.emplace_back();
      else
        fields.back() += c;
    }
    if (fields.size() < 10) return false;
    fields.erase(fields.begin(), fields.end() - 10);
    fields[0].erase(0, fields[0].find_last_not_of("0123456789") + 1);
    for (const std::size_t i : {0u, 1u, 3u, 4u, 5u, 8u}) {
      if (fields[i].empty() || fields[i].size() > 18 ||
          fields[i].find_first_not_of("-0123456789") != std::string::npos)
        return false;
    }
    std::size_t size = 9;
    for (const std::string& field : fields) size += field.size();
    line.erase(line.size() - size);
    call.fields_ = std::move(fields);
    return true;
  }

  Nanoseconds start() const { return std::atoll(fields_[0].c_str()); }
  Nanoseconds end() const { return std::atoll(fields_[1].c_str()); }
  bool failed_with(const char* error) const { return fields_[9] == error; }
  bool failed() const { return fields_[9] != "-" && !must_wait(); }
  bool must_wait() const {
    return failed_with("EAGAIN") || failed_with("EINPROGRESS");
  }
  bool acts() const {
    return is({"connect", "send", "write", "shutdown", "close"});
  }
  // The time that decides where its line stands.
  Nanoseconds time() const { return acts() ? start() : end(); }
  // Something that every program must do, and no part of its story.
  bool is_housekeeping() const {
    return must_wait() || is({"poll", "set", "get", "fcntl"});
  }
  // Does it say that nobody listens there?
  bool is_refused() const {
    return failed_with("ECONNREFUSED") ||
           says("SO_ERROR, " + std::to_string(ECONNREFUSED)) ||
           says("SO_ERROR, ECONNREFUSED");
  }

  std::string text() const {
    std::string text = fields_[6] + "(" + fields_[7] + ") = " + fields_[8];
    return fields_[9] == "-" ? text : text + " " + fields_[9];
  }

  // What a learner would ask about it.
  std::string note() const {
    const Nanoseconds waited = (end() - start()) / millisecond;
    if (waited >= 50 || (is({"poll"}) && waited >= 1))
      return "waited " + std::to_string(waited) + " ms";
    if (failed_with("EINPROGRESS")) return "under way";
    if (failed_with("EAGAIN")) return acts() ? "no room yet" : "nothing yet";
    if (is({"recv", "read"}) && fields_[8] == "0") return "the end";
    if (says("SO_ERROR, 0")) return "connected";
    if (is_refused()) return "refused";
    return {};
  }

  // The line as it was, under the name that the program has on this stage.
  std::string line(const std::string& name) const {
    std::string line = fields_[0];
    for (std::size_t i = 1; i < fields_.size(); ++i)
      line += "\t" + (i == 2 ? name : fields_[i]);
    return line + "\n";
  }

 private:
  bool is(std::initializer_list<const char*> prefixes) const {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const char* p) {
      return fields_[6].compare(0, std::strlen(p), p) == 0;
    });
  }
  bool says(const std::string& words) const {
    const std::size_t at = fields_[7].find(words);
    return at != std::string::npos && at + words.size() == fields_[7].size();
  }

  std::vector<std::string> fields_;
};

struct Line {
  enum Kind { words, call, remark };
  Nanoseconds time = 0;
  std::size_t actor = 0;
  Kind kind = words;
  std::string text{};
  Call what{};
};

struct Actor {
  std::string name{};
  std::vector<char*> command{};
  enum { waiting_to_enter, on_stage, gone } where = waiting_to_enter;
  pid_t pid = 0;
  int from = -1;          // what it says and does
  std::string unread{};   // a line that has not ended
  Nanoseconds last = 0;   // the time of its last line
  bool waits = false;     // it is blocked, by its last call
  bool sent_off = false;  // ended by us, which is no failure
  int code = 0;
};

class Stage {
 public:
  std::vector<Actor> actors{};
  bool alone = false;
  std::string step = "N";
  std::FILE* trace = nullptr;

  // Returns an exit code: that of the program that failed, if any.
  int play() {
    for (const Actor& actor : actors)
      width_ = std::max(width_, static_cast<int>(actor.name.size()));

    const Nanoseconds began = now();
    enter(actors[0]);
    while (count(Actor::gone) < actors.size()) {
      look_and_listen();
      if (!held_.empty() && now() - held_since_ > held_for) show();
      if (stopped_by) return send_off(), show(), 128 + stopped_by;
      if (alone) continue;
      if (could_not_start()) break;
      if (everybody_waits(quiet_for)) go_on();
      if (now() - began > at_most) {
        std::fprintf(stderr, "run: this takes too long; run ends it\n");
        return send_off(), show(), 1;
      }
    }
    show();
    advise();
    int code = stuck_ ? 1 : 0;
    for (const Actor& actor : actors)
      if (!actor.sent_off) code = std::max(code, actor.code);
    return code;
  }

 private:
  template <class Where>
  std::size_t count(Where where) const {
    return static_cast<std::size_t>(
        std::count_if(actors.begin(), actors.end(),
                      [&](const Actor& a) { return a.where == where; }));
  }

  // Without a server, no client.
  bool could_not_start() const {
    return actors[0].where == Actor::gone && actors[0].code != 0 &&
           count(Actor::waiting_to_enter) == actors.size() - 1;
  }

  bool everybody_waits(Nanoseconds quiet) const {
    for (const Actor& actor : actors)
      if (actor.where == Actor::on_stage && !actor.waits) return false;
    return now() - heard_ > quiet;
  }

  void go_on() {
    for (Actor& actor : actors)
      if (actor.where == Actor::waiting_to_enter) return enter(actor);
    if (actors[0].where == Actor::on_stage && actors.size() > 1 &&
        count(Actor::on_stage) == 1) {
      remark(0, "would wait for ever; run ends it");
      send_off();
    } else if (everybody_waits(stuck_for)) {
      for (std::size_t i = 0; i < actors.size(); ++i)
        if (actors[i].where == Actor::on_stage)
          remark(i, "waits for ever; run ends it");
      stuck_ = true;
      send_off();
    }
  }

  void enter(Actor& actor) {
    int ends[2];
    if (::pipe(ends) != 0) fail("pipe");
    actor.last = heard_ = now();  // before anything that it does
    actor.pid = ::fork();
    if (actor.pid < 0) fail("fork");
    if (actor.pid == 0) become(actor, ends[1]);
    if (!alone) ::setpgid(actor.pid, actor.pid);
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    actor.from = ends[0];
    actor.where = Actor::on_stage;
  }

  // In the child: all that it prints comes to us, the trace in between.
  [[noreturn]] void become(const Actor& actor, int to) const {
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // should we be killed
#endif
    ::setenv("NETLITE_TRACE", "/dev/stderr", 1);
    if (!alone) {
      ::setpgid(0, 0);  // so that what it starts is ended with it
      ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    }
    ::dup2(to, STDOUT_FILENO);
    ::dup2(to, STDERR_FILENO);
    // The first descriptor that it opens shall be number 3, as on the pages.
    for (int fd = 3; fd < 256; ++fd) ::close(fd);
    ::execv(actor.command[0], actor.command.data());
    fail(actor.command[0]);
  }

  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "run: %s: %s\n", what, std::strerror(errno));
    std::_Exit(1);
  }

  void look_and_listen() {
    std::vector<pollfd> fds;
    for (const Actor& actor : actors) fds.push_back({actor.from, POLLIN, 0});
    ::poll(fds.data(), static_cast<nfds_t>(fds.size()), look_again);
    for (std::size_t i = 0; i < actors.size(); ++i) {
      if (fds[i].revents != 0) hear(i);
      if (actors[i].where == Actor::on_stage) reap(i);
    }
  }

  // Reads what there is; false when there is nothing.
  bool hear(std::size_t i) {
    Actor& actor = actors[i];
    char buffer[4096];
    const ssize_t n = ::read(actor.from, buffer, sizeof buffer);
    if (n < 0) return false;
    if (n == 0) {
      ::close(actor.from);
      actor.from = -1;
      return false;
    }
    heard_ = now();
    actor.unread.append(buffer, static_cast<std::size_t>(n));
    for (;;) {
      const std::size_t end = actor.unread.find('\n');
      if (end == std::string::npos) return true;
      take(i, actor.unread.substr(0, end));
      actor.unread.erase(0, end + 1);
    }
  }

  void take(std::size_t i, std::string line) {
    Actor& actor = actors[i];
    Call call;
    const bool is_call = Call::take(line, call);
    actor.waits = is_call && call.must_wait();
    if (!is_call || !line.empty())
      hold({++actor.last, i, Line::words, line, {}});
    if (!is_call) return;
    actor.last = call.time();
    hold({actor.last, i, Line::call, call.text(), call});

    if (i == 0 && call.failed_with("EADDRINUSE")) taken_ = true;
    if (call.is_refused()) refused_ = true;
    if (trace) std::fputs(call.line(actor.name).c_str(), trace);
  }

  void reap(std::size_t i) {
    Actor& actor = actors[i];
    int status = 0;
    if (::waitpid(actor.pid, &status, WNOHANG) != actor.pid) return;
    while (hear(i)) continue;
    if (!actor.unread.empty()) take(i, std::exchange(actor.unread, {}));
    actor.where = Actor::gone;
    heard_ = now();
    if (actor.sent_off) return;
    if (WIFSIGNALED(status)) {
      actor.code = 128 + WTERMSIG(status);
      remark(i, "was ended by signal " + std::to_string(WTERMSIG(status)) +
                    ": " + ::strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
      actor.code = WEXITSTATUS(status);
      remark(i, "ended with exit code " + std::to_string(actor.code));
    }
  }

  // Ends whoever is still there, all at once: nobody shall see another one go.
  void send_off() {
    for (Actor& actor : actors)
      actor.sent_off |= actor.where == Actor::on_stage;
    tell(SIGSTOP);
    for (const Actor& actor : actors) {
      siginfo_t stopped;
      if (actor.where == Actor::on_stage)
        ::waitid(P_PID, static_cast<id_t>(actor.pid), &stopped,
                 WSTOPPED | WEXITED | WNOWAIT);
    }
    tell(SIGTERM);
    tell(SIGCONT);
    const Nanoseconds asked = now();
    while (count(Actor::on_stage) != 0) {
      look_and_listen();
      if (now() - asked > patience) tell(SIGKILL);
    }
    for (Actor& actor : actors) actor.where = Actor::gone;
  }

  void tell(int signal) const {
    for (const Actor& actor : actors)
      if (actor.where == Actor::on_stage)
        ::kill(alone ? actor.pid : -actor.pid, signal);
  }

  void remark(std::size_t i, const std::string& text) {
    actors[i].last = std::max(actors[i].last, heard_) + 1;
    hold({actors[i].last, i, Line::remark, text, {}});
  }

  void hold(Line line) {
    if (held_.empty()) held_since_ = now();
    held_.push_back(std::move(line));
  }

  void show() {
    std::stable_sort(
        held_.begin(), held_.end(),
        [](const Line& a, const Line& b) { return a.time < b.time; });
    for (const Line& line : held_) show(line);
    held_.clear();
    std::fflush(stdout);
  }

  void show(const Line& line) const {
    static const char* const of_actor[] = {"\033[36m", "\033[35m", "\033[33m",
                                           "\033[32m"};
    const char* name_colour = of_actor[line.actor % 4];
    const char* colour = "";
    if (line.kind == Line::words)
      colour = "\033[1m";
    else if (line.kind == Line::remark || line.what.failed())
      colour = "\033[31m";
    else if (line.what.is_housekeeping())
      colour = "\033[2m";
    const char* plain = "\033[0m";
    if (!colour_) name_colour = colour = plain = "";

    static const char* const mark[] = {"> ", "    ", "* "};
    const std::string name = actors[line.actor].name;
    const std::string note =
        line.kind == Line::call ? line.what.note() : std::string();
    std::printf("%s%-*s%s %s%s%-*s%s", name_colour, width_, name.c_str(), plain,
                mark[line.kind], colour, note.empty() ? 0 : 50,
                line.text.c_str(), plain);
    std::printf("%s%s\n", note.empty() ? "" : "  ", note.c_str());
  }

  void advise() const {
    if (taken_) {
      std::fprintf(stderr,
                   "run: that port is taken; end what listens there, or: %s\n",
                   alone ? ("sh tutorials/run " + step + " " + actors[0].name +
                            " localhost:9989")
                               .c_str()
                         : ("PORT=9989 sh tutorials/run " + step).c_str());
    } else if (alone && refused_) {
      std::fprintf(stderr,
                   "run: nobody listens there; first start, in another "
                   "terminal: sh tutorials/run %s server\n",
                   step.c_str());
    }
  }

  std::deque<Line> held_{};
  Nanoseconds held_since_ = 0;
  Nanoseconds heard_ = 0;  // when somebody last said or did something
  bool stuck_ = false;
  bool taken_ = false;
  bool refused_ = false;
  bool colour_ = std::getenv("NETLITE_COLOUR") != nullptr;
  int width_ = 0;
};

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: stage [--alone] [--step N] [--trace FILE] NAME PROGRAM "
               "[ARG...] [-- ...]\n");
  std::exit(2);
}

// Two of the same name get numbers.
void number(std::vector<Actor>& actors) {
  std::multiset<std::string> names;
  for (const Actor& actor : actors) names.insert(actor.name);
  std::multiset<std::string> seen;
  for (Actor& actor : actors) {
    const std::string name = actor.name;
    seen.insert(name);
    if (names.count(name) > 1) actor.name += std::to_string(seen.count(name));
  }
}

}  // namespace

int main(int argc, char** argv) {
  Stage stage;
  int i = 1;
  for (; i < argc && std::strncmp(argv[i], "--", 2) == 0; ++i) {
    const std::string option = argv[i];
    if (option == "--alone") {
      stage.alone = true;
    } else if (option == "--step" && i + 1 < argc) {
      stage.step = argv[++i];
    } else if (option == "--trace" && i + 1 < argc) {
      stage.trace = std::fopen(argv[++i], "w");
      if (!stage.trace) return std::perror(argv[i]), 1;
    } else {
      usage();
    }
  }
  for (bool first = true; i < argc; ++i) {
    if (std::strcmp(argv[i], "--") == 0) {
      first = true;
    } else if (std::exchange(first, false)) {
      stage.actors.emplace_back().name = argv[i];
    } else {
      stage.actors.back().command.push_back(argv[i]);
    }
  }
  if (stage.actors.empty()) usage();
  for (Actor& actor : stage.actors) {
    if (actor.command.empty()) usage();
    actor.command.push_back(nullptr);
  }
  number(stage.actors);

  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE})
    std::signal(signal, [](int which) { stopped_by = which; });
  const int code = stage.play();
  if (stage.trace) std::fclose(stage.trace);
  if (code == 0 && std::ferror(stdout)) {
    if (stopped_by) return 128 + stopped_by;
    std::fprintf(stderr, "run: cannot write to standard output\n");
    return 1;
  }
  return code;
}
