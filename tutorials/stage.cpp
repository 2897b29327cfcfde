// Starts the programs of a step and shows what they say and do, line by line:
// words after ">", system calls indented, how they ended after "*". The second
// thread of a server to call is server/2. tutorials/run builds and uses it.
//
//   stage [--alone] [--calls] [--step N] [--asked WORDS] [--trace FILE]
//         NAME PROGRAM [ARG...] [-- ...]
//
// It shows the story: waiting is folded into the call that waited, options into
// one line, and what only looks something up is left out. --calls shows every
// call as the kernel saw it. No line has more than 80 columns.
//
// The programs enter one after the other: the next when all others wait, so
// that a server listens before its client dials. When nobody but the first is
// left, or everybody waits for somebody else, they are ended. --alone shows a
// single program for as long as it runs; --step and --asked, the words after
// tutorials/run, are for advice; --trace keeps the calls in a file, for
// pictures. NETLITE_COLOUR=1 asks for colours. The argument @server stands for
// the number of the process that plays the server: for signals.
//
// Order. A call is traced when it has returned, so the lines of two programs
// may arrive the wrong way round. They are held for a moment and sorted by
// time: a call that acts (send) counts when it begins, one that waits (recv)
// when it ends. A cause thus always stands before its effect.

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
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
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;
constexpr Nanoseconds millisecond = 1000000;
constexpr int look_again = 25;                      // ms, at the latest
constexpr Nanoseconds held_for = 25 * millisecond;  // before lines are shown
constexpr std::size_t columns = 80;
constexpr Nanoseconds quiet_for = 200 * millisecond;  // before the next enters
constexpr Nanoseconds worth_telling = 10 * millisecond;  // of waiting
constexpr Nanoseconds stuck_for = 2000 * millisecond;
constexpr Nanoseconds at_most = 30000 * millisecond;  // for the whole play
constexpr Nanoseconds patience = 1000 * millisecond;  // SIGTERM to SIGKILL
constexpr int port_is_taken = 75;  // an exit code that tutorials/run knows

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
      if (i == 8 && fields[i] == "?") continue;
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
  // Its process and its number there.
  using Thread = std::pair<int, int>;
  Thread thread() const {
    return {std::atoi(fields_[3].c_str()), std::atoi(fields_[4].c_str())};
  }
  const std::string& descriptor() const { return fields_[5]; }
  const std::string& result() const { return fields_[8]; }
  bool failed_with(const char* error) const { return fields_[9] == error; }
  bool failed() const { return fields_[9] != "-" && !must_wait(); }
  // It may wait, and has not returned.
  bool has_begun() const { return result() == "?"; }
  // And will return, whatever happens.
  bool has_limit() const {
    return has_begun() && is({"poll", "ppoll", "select", "pselect", "epoll"}) &&
           !says("forever");
  }
  // It did not wait, and has to be made again, or its outcome asked for.
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
    return must_wait() || is({"poll", "set", "get", "fcntl", "kill"});
  }
  // Does it say that nobody listens there?
  bool is_refused() const {
    return failed_with("ECONNREFUSED") ||
           says("SO_ERROR, " + std::to_string(ECONNREFUSED)) ||
           says("SO_ERROR, ECONNREFUSED");
  }

  // The address of a unix socket that nobody has made.
  bool found_no_file() const {
    return is({"connect"}) && failed_with("ENOENT");
  }

  bool is(std::initializer_list<const char*> prefixes) const {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const char* p) {
      return fields_[6].compare(0, std::strlen(p), p) == 0;
    });
  }
  bool is_same_as(const Call& other) const {
    return fields_[6] == other.fields_[6] && is_about(other);
  }
  bool is_about(const Call& other) const {
    return thread() == other.thread() && descriptor() == other.descriptor();
  }
  // The file that it made, the address of a unix socket; empty if none.
  std::string file() const {
    const std::size_t path = fields_[7].find(", /");
    const bool has_made = is({"bind"}) && !failed() && path != npos;
    return has_made ? fields_[7].substr(path + 2) : "";
  }
  // The outcome of a connect that did not wait.
  bool is_outcome() const {
    return is({"getsockopt"}) && fields_[7].find("SO_ERROR, ") != npos;
  }
  // Takes it over from another call.
  void set_outcome(const Call& outcome) {
    const std::string& words = outcome.fields_[7];
    std::string error = words.substr(words.rfind(' ') + 1);
    if (!outcome.is_outcome() || error == "0") error = "-";
    fields_[1] = outcome.fields_[0];
    fields_[8] = error == "-" ? "0" : "-1";
    fields_[9] = error;
  }

  // At most so wide, where there are data to shorten.
  std::string text(std::size_t width) const {
    return text(shortened(fields_[7], width - text("").size()));
  }
  // Without what is of no interest the first time: whose call was accepted, how
  // many may queue up for that, which bell is polled as well.
  std::string story(std::size_t width) const {
    if (is({"accept", "listen"})) return text(descriptor());
    if (is({"poll", "ppoll"}))
      return text(descriptor() + fields_[7].substr(fields_[7].rfind(',')));
    return text(width);
  }
  std::string name_and_descriptor() const {
    return fields_[6] + "(" + descriptor() + ")";
  }

  // What a learner would ask about it; it has waited since then.
  std::string note(Nanoseconds since) const {
    const std::string& words = fields_[7];
    if (says(" time more") || says(" times more"))
      return words.substr(words.rfind(", ") + 2);
    const Nanoseconds waited = end() - since;
    const std::string ms = std::to_string(waited / millisecond) + " ms";
    const bool is_long = waited >= worth_telling;
    if (is({"recv", "read"}) && result() == "0")
      return is_long ? "the end, after " + ms : "the end";
    if (is_long) return "waited " + ms;
    if (failed_with("EINPROGRESS")) return "under way";
    if (failed_with("EAGAIN")) return acts() ? "no room yet" : "nothing yet";
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
  static constexpr std::size_t npos = std::string::npos;

  std::string text(const std::string& arguments) const {
    std::string text = fields_[6] + "(" + arguments + ") = " + fields_[8];
    return fields_[9] == "-" ? text : text + " " + fields_[9];
  }

  // Takes letters from the end of what stands in quotes: whole ones, since
  // some are written as \\n or \\x00.
  static std::string shortened(std::string text, std::size_t width) {
    const std::size_t begin = text.find('"');
    std::size_t end = text.rfind('"');
    if (text.size() <= width || begin == end) return text;
    if (text.compare(end, 4, "\"...") != 0) text.insert(end + 1, "...");
    std::vector<std::size_t> letters;
    for (std::size_t at = begin + 1; at < end; at += text[at] != '\\'      ? 1
                                                     : text[at + 1] == 'x' ? 4
                                                                           : 2)
      letters.push_back(at);
    while (letters.size() > 1 && text.size() - (end - letters.back()) > width)
      letters.pop_back();
    return text.erase(letters.back(), end - letters.back());
  }

  bool says(const std::string& words) const {
    const std::size_t at = fields_[7].find(words);
    return at != std::string::npos && at + words.size() == fields_[7].size();
  }

  std::vector<std::string> fields_ = std::vector<std::string>(10);
};

struct Line {
  enum Kind { words, call, remark };
  Nanoseconds time = 0;
  std::size_t actor = 0;
  Kind kind = words;
  std::string text{};
  Call what{};
  std::string note{};
  bool is_quiet = false;  // no part of the story
};

// Makes a story of the calls of one thread.
class Story {
 public:
  // Adds a call; gives the lines that it makes.
  std::vector<Line> add(const Call& call) {
    std::vector<Line> lines;
    begun_ = call.has_begun() ? call : Call();
    if (call.has_begun()) return lines;
    if (call.is({"kill"})) {
      // Its program says so.
    } else if (call.is({"set", "get", "fcntl"}) && !is_awaited(call)) {
      count_option(call, lines);
    } else if (call.is({"poll", "ppoll"})) {
      note_poll(call);
    } else {
      if (!call.is({"bind", "connect"})) tell_options(lines);
      end_waiting(call, lines);
    }
    return lines;
  }

  // It says something, or has ended, so it does not wait any more.
  std::vector<Line> pause() {
    std::vector<Line> lines;
    tell_options(lines);
    begun_ = {};
    for (const Wait& wait : waits_) lines.push_back(in_vain(wait));
    waits_.clear();
    return lines;
  }

  bool waits() const { return begun_.has_begun(); }
  bool waits_with_limit() const { return begun_.has_limit(); }

  // The call that waits: the one for which it polls, if we know that.
  std::string where() {
    const auto wait = find(begun_);
    const Call& call = wait == waits_.end() ? begun_ : wait->call;
    return call.name_and_descriptor();
  }

 private:
  // A call that has to be made again, and the poll before that; or one that
  // polls before its first try.
  struct Wait {
    Call call;
    Nanoseconds since;
    Nanoseconds until;
    Call poll{};  // the last one, if any
  };

  std::vector<Wait>::iterator find(const Call& call) {
    return std::find_if(waits_.begin(), waits_.end(), [&](const Wait& wait) {
      return wait.call.is_about(call);
    });
  }

  bool is_awaited(const Call& call) {
    const auto wait = find(call);
    return wait != waits_.end() && wait->call.is({"connect"});
  }

  void note_poll(const Call& poll) {
    auto wait = find(poll);
    if (wait == waits_.end())
      wait = waits_.insert(wait, {poll, poll.start(), 0, {}});
    wait->until = poll.end();
    wait->poll = poll;
  }

  void end_waiting(const Call& call, std::vector<Line>& lines) {
    Nanoseconds since = call.start();
    const auto wait = find(call);
    if (wait != waits_.end()) {
      const Wait ended = *wait;
      waits_.erase(wait);
      if (ended.call.is({"connect"}) && !call.is({"close"})) {
        lines.push_back(connected(ended, call));
        if (call.is({"set", "get", "fcntl"})) return;
      } else if (ended.call.is_same_as(call) || ended.call.is({"poll"})) {
        since = ended.since;
      } else {
        lines.push_back(in_vain(ended));
      }
    }
    if (call.must_wait())
      waits_.push_back({call, since, call.end(), {}});
    else
      lines.push_back(told(call, call.time(), call.note(since)));
  }

  // How the connect ended is what getsockopt says; and if nobody asked, well.
  static Line connected(const Wait& wait, const Call& next) {
    Call call = wait.call;
    call.set_outcome(next);
    return told(call, wait.since, call.note(wait.since));
  }

  // When its time was up, the poll says so.
  static Line in_vain(const Wait& wait) {
    const Nanoseconds waited = wait.until - wait.since;
    const bool has_expired = wait.poll.result() == "0";
    const Call& call = has_expired ? wait.poll : wait.call;
    Line line = told(call, wait.until, call.note(call.start()));
    line.is_quiet = true;
    if (waited >= worth_telling)
      line.note =
          "waited " + std::to_string(waited / millisecond) + " ms, in vain";
    return line;
  }

  void count_option(const Call& call, std::vector<Line>& lines) {
    if (!call.is({"set"})) return;
    if (call.failed()) return lines.push_back(told(call, call.time(), ""));
    if (options_ && !last_option_.is_about(call)) tell_options(lines);
    last_option_ = call;
    ++options_;
  }

  void tell_options(std::vector<Line>& lines) {
    if (!options_) return;
    Line line = told(last_option_, last_option_.time(), "");
    line.is_quiet = true;
    if (options_ > 1) {
      line.text = "setsockopt(" + last_option_.descriptor() + ", ...)";
      line.note = std::to_string(options_) + " options";
    }
    options_ = 0;
    lines.push_back(line);
  }

  static Line told(const Call& call, Nanoseconds time,
                   const std::string& note) {
    Line line;
    line.time = time;
    line.kind = Line::call;
    line.what = call;
    line.note = note;
    return line;
  }

  Call begun_{};
  std::vector<Wait> waits_{};
  int options_ = 0;
  Call last_option_{};
};

struct Actor {
  std::string name{};
  std::vector<char*> command{};
  enum { waiting_to_enter, on_stage, gone } where = waiting_to_enter;
  pid_t pid = 0;
  int from = -1;         // what it says and does
  std::string unread{};  // a line that has not ended
  Nanoseconds last = 0;  // the time of its last line
  std::map<Call::Thread, Story> stories{};
  std::vector<Call::Thread> threads{};  // in the order of their first call
  bool sent_off = false;                // ended by us, which is no failure
  int code = 0;

  // A thread that waits for another one makes no call that would tell so: it
  // is enough when one of them waits for the world.
  Story* waiting() {
    for (auto& [thread, story] : stories)
      if (story.waits()) return &story;
    return nullptr;
  }

  bool goes_on_by_itself() const {
    return where == on_stage &&
           std::any_of(stories.begin(), stories.end(), [](const auto& each) {
             return each.second.waits_with_limit();
           });
  }

  // The first is the program itself, the next is its number 2.
  std::string name_of(Call::Thread thread) {
    const auto found = std::find(threads.begin(), threads.end(), thread);
    const auto number = found - threads.begin() + 1;
    if (found == threads.end()) threads.push_back(thread);
    return number == 1 ? name : name + "/" + std::to_string(number);
  }
};

class Stage {
 public:
  std::vector<Actor> actors{};
  bool alone = false;
  bool calls = false;
  std::string step = "N";
  std::string asked = "N";
  std::FILE* trace = nullptr;

  // Whoever is ended leaves the files of its unix sockets behind.
  ~Stage() {
    struct stat status {};
    for (const std::string& file : files_)
      if (::lstat(file.c_str(), &status) == 0 && S_ISSOCK(status.st_mode))
        ::unlink(file.c_str());
  }

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
        std::fprintf(stderr, "run: this takes too long; stopped here\n");
        return send_off(), show(), 1;
      }
    }
    show();
    show_count();
    std::fflush(stdout);
    advise();
    if (taken_) return port_is_taken;
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

  bool everybody_waits(Nanoseconds quiet) {
    if (now() - heard_ <= quiet) return false;
    for (Actor& actor : actors)
      if (actor.where == Actor::on_stage && !actor.waiting()) return false;
    return true;
  }

  void go_on() {
    for (Actor& actor : actors)
      if (actor.where == Actor::waiting_to_enter) return enter(actor);
    if (std::any_of(actors.begin(), actors.end(),
                    [](const Actor& a) { return a.goes_on_by_itself(); }))
      return;
    if (actors[0].where == Actor::on_stage && actors.size() > 1 &&
        count(Actor::on_stage) == 1) {
      remark(0, true,
             "would wait forever in " + actors[0].waiting()->where() +
                 "; stopped here");
      send_off();
    } else if (everybody_waits(stuck_for)) {
      for (std::size_t i = 0; i < actors.size(); ++i)
        if (actors[i].where == Actor::on_stage)
          remark(i, false,
                 "waits forever in " + actors[i].waiting()->where() +
                     "; stopped here");
      stuck_ = true;
      send_off();
    }
  }

  void enter(Actor& actor) {
    int ends[2];
    if (::pipe(ends) != 0) fail("pipe");
    actor.last = heard_ = now();  // before anything that it does
    for (char*& word : actor.command)
      if (word && *word == '@') word = number_of(word);
    actor.pid = ::fork();
    if (actor.pid < 0) fail("fork");
    if (actor.pid == 0) become(actor, ends[1]);
    if (!alone) ::setpgid(actor.pid, actor.pid);
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    actor.from = ends[0];
    actor.where = Actor::on_stage;
  }

  // Only Linux tells of threads that have not called anything yet.
  static bool has_one_thread(const Actor& actor) {
    const std::string path = "/proc/" + std::to_string(actor.pid) + "/task";
    struct stat tasks {};
    if (::stat(path.c_str(), &tasks) == 0) return tasks.st_nlink <= 3;
    return actor.stories.size() == 1;
  }

  // The process of another actor, who is on the stage.
  char* number_of(char* word) {
    for (const Actor& actor : actors)
      if (actor.where == Actor::on_stage && actor.name == word + 1)
        return numbers_.emplace_back(std::to_string(actor.pid)).data();
    return word;
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
    if (!is_call || !line.empty()) {
      if (has_one_thread(actor)) pause(i);  // else who knows which
      hold({++actor.last, i, Line::words, line});
    }
    if (!is_call) return;
    actor.name_of(call.thread());
    if (trace) std::fputs(call.line(actor.name).c_str(), trace);
    if (!call.file().empty()) files_.insert(call.file());
    actor.last = call.time();
    std::vector<Line> story = actor.stories[call.thread()].add(call);
    if (call.has_begun()) return;
    if (!calls) {
      hold(i, std::move(story));
    } else {
      hold({actor.last, i, Line::call, "", call, call.note(call.start()),
            call.is_housekeeping()});
    }

    if (i == 0 && call.failed_with("EADDRINUSE")) {
      taken_ = true;
      is_file_ = call.text(columns).find(", /") != std::string::npos;
    }
    if (call.is_refused() || call.found_no_file()) refused_ = true;
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
    pause(i);
    if (trace)
      std::fprintf(trace, "%lld\t%lld\t%s\t%ld\t1\t-1\texit\t\t%d\t%s\n",
                   static_cast<long long>(heard_),
                   static_cast<long long>(heard_), actor.name.c_str(),
                   static_cast<long>(actor.pid), WEXITSTATUS(status),
                   WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "-");
    if (WIFSIGNALED(status)) {
      actor.code = 128 + WTERMSIG(status);
      remark(i, false,
             "was ended by signal " + std::to_string(WTERMSIG(status)) + ": " +
                 ::strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0 || actor.name == "broken") {
      // A mistake that nobody noticed ends with 0, and its page says so.
      actor.code = WEXITSTATUS(status);
      remark(i, actor.code == 0,
             "ended with exit code " + std::to_string(actor.code));
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
    const Nanoseconds since = now();
    while (count(Actor::on_stage) != 0) {
      look_and_listen();
      if (now() - since > patience) tell(SIGKILL);
    }
    for (Actor& actor : actors) actor.where = Actor::gone;
  }

  void tell(int signal) const {
    for (const Actor& actor : actors)
      if (actor.where == Actor::on_stage)
        ::kill(alone ? actor.pid : -actor.pid, signal);
  }

  void remark(std::size_t i, bool is_quiet, const std::string& text) {
    actors[i].last = std::max(actors[i].last, heard_) + 1;
    hold({actors[i].last, i, Line::remark, text, {}, "", is_quiet});
  }

  // Who waits has not said it: that was a thread that is gone by now.
  void pause(std::size_t i) {
    for (auto& [thread, story] : actors[i].stories) {
      if (story.waits() && actors[i].where == Actor::on_stage) continue;
      std::vector<Line> lines = story.pause();
      if (!calls) hold(i, std::move(lines));
    }
  }

  void hold(std::size_t i, std::vector<Line> lines) {
    for (Line& line : lines) {
      line.actor = i;
      hold(std::move(line));
    }
  }

  void hold(Line line) {
    if (held_.empty()) held_since_ = now();
    held_.push_back(std::move(line));
  }

  void show() {
    std::stable_sort(
        held_.begin(), held_.end(),
        [](const Line& a, const Line& b) { return a.time < b.time; });
    for (const Line& line : held_) show_or_count(line);
    held_.clear();
    std::fflush(stdout);
  }

  // What a program does over and over is shown once, and counted.
  void show_or_count(const Line& line) {
    // (A busy machine may make it wait in a call that does not wait.)
    const bool is_plain = line.note.empty() || line.what.acts();
    const bool is_again =
        line.kind == Line::call && is_plain && line.actor == last_.actor &&
        line.what.thread() == last_.what.thread() && words_of(line) == words_;
    if (is_again) {
      ++again_;
      return;
    }
    show_count();
    last_ = line;
    words_ = line.kind == Line::call ? words_of(line) : "";
    show(line);
  }

  void show_count() {
    const int times = std::exchange(again_, 0);
    if (times < 3) {
      for (int i = 0; i < times; ++i) show(last_);
      return;
    }
    Line count = last_;
    count.text = "... " + std::to_string(times) + " times more";
    count.note.clear();
    count.is_quiet = true;
    show(count);
  }

  static std::string words_of(const Line& line) {
    return line.text.empty() ? line.what.text(columns) : line.text;
  }

  void show(const Line& line) {
    static const char* const mark[] = {"> ", "", "* "};
    const bool is_call = line.kind == Line::call;
    Actor& actor = actors[line.actor];
    std::string start =
        is_call ? actor.name_of(line.what.thread()) : actor.name;
    const auto indent = static_cast<std::size_t>(width_) + (is_call ? 5 : 1);
    start.resize(std::max(indent, start.size() + 1), ' ');
    const std::size_t room =
        columns - start.size() - std::strlen(mark[line.kind]);
    std::string text = line.text;
    if (is_call && text.empty()) {
      const std::size_t rest =
          room - (line.note.empty() ? 0 : line.note.size() + 2);
      text = calls ? line.what.text(rest) : line.what.story(rest);
    }
    do {
      std::string part = text.substr(0, end_of_line(text, room));
      text.erase(0, part.size());
      text.erase(0, text.find_first_not_of(' '));
      if (!line.note.empty()) part = noted(part, line.note, room);
      std::printf("%s%s%s\n", painted(start, name_colour(line)).c_str(),
                  mark[line.kind], painted(part, colour(line)).c_str());
    } while (!text.empty());
  }

  // Where to break it, best between words.
  static std::size_t end_of_line(const std::string& text, std::size_t room) {
    if (text.size() <= room) return text.size();
    const std::size_t space = text.rfind(' ', room);
    return space == std::string::npos || space < room / 2 ? room : space;
  }

  // So that notes stand below each other.
  static std::string noted(std::string text, const std::string& note,
                           std::size_t room) {
    constexpr std::size_t notes_at = 50;
    const std::size_t at = std::min(notes_at, room - note.size());
    text.resize(std::max(at, text.size() + 2), ' ');
    return text + note;
  }

  std::string painted(const std::string& text, const char* colour) const {
    return colour_ && *colour ? colour + text + "\033[0m" : text;
  }
  static const char* name_colour(const Line& line) {
    static const char* const of_actor[] = {"\033[36m", "\033[35m", "\033[33m",
                                           "\033[32m"};
    return of_actor[line.actor % 4];
  }
  static const char* colour(const Line& line) {
    if (line.kind == Line::words) return "\033[1m";
    if (line.is_quiet) return "\033[2m";
    return line.kind == Line::remark || line.what.failed() ? "\033[31m" : "";
  }

  void advise() const {
    if (taken_) {
      const char* other = is_file_ ? "/tmp/hello-9989" : "127.0.0.1:9989";
      const std::string again = alone ? "sh tutorials/run " + step + " " +
                                            actors[0].name + " " + other
                                      : "PORT=9989 sh tutorials/run " + asked;
      std::fprintf(stderr,
                   "run: that %s is taken; end what listens there, or: %s\n",
                   is_file_ ? "file" : "port", again.c_str());
    } else if (alone && refused_ && actors[0].code != 0) {
      std::fprintf(stderr,
                   "run: nobody listens there; first start, in another "
                   "terminal: sh tutorials/run %s server\n",
                   step.c_str());
    }
  }

  std::deque<std::string> numbers_{};
  std::set<std::string> files_{};
  std::deque<Line> held_{};
  Nanoseconds held_since_ = 0;
  Line last_{};            // that was shown,
  std::string words_{};    // its call,
  int again_ = 0;          // and how often that came once more
  Nanoseconds heard_ = 0;  // when somebody last said or did something
  bool stuck_ = false;
  bool taken_ = false;
  bool is_file_ = false;  // what is taken, and no port
  bool refused_ = false;
  bool colour_ = std::getenv("NETLITE_COLOUR") != nullptr;
  int width_ = 0;
};

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: stage [--alone] [--calls] [--step N] [--asked WORDS] "
               "[--trace FILE] NAME PROGRAM [ARG...] [-- ...]\n");
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
    } else if (option == "--calls") {
      stage.calls = true;
    } else if (option == "--step" && i + 1 < argc) {
      stage.step = argv[++i];
    } else if (option == "--asked" && i + 1 < argc) {
      stage.asked = argv[++i];
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
