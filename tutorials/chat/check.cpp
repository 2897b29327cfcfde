// Judges the chat: check PROGRAM starts it, and plays its members: first two,
// then those who cannot behave, then ten of whom one never reads, and at last
// ten who come and go as chance has it.
//
//   check PROGRAM [SEED [SECONDS]]     how chance has it, and for how long
//
// The judge knows nothing of the program but what stands on the page.
#include "../judge.hpp"

#include <deque>
#include <map>
#include <memory>
#include <optional>

namespace {

using namespace std::chrono_literals;

constexpr auto for_all = 60s;  // and what chance gets beyond that
constexpr int crowd = 10;
constexpr std::size_t flood = 24 << 20;        // bytes that one does not read
constexpr std::size_t most_memory = 12 << 20;  // that it may cost the room

const std::string asks_name = "What is your name?";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
bool begins(const std::string& text, const std::string& part) {
  return text.compare(0, part.size(), part) == 0;
}

// How long anybody waits for one thing: five seconds.
peers::Clock::time_point soon() {
  return std::min(peers::Clock::now() + peers::patience / 2, peers::the_end);
}

// -- The program ------------------------------------------------------------

class Program {
 public:
  explicit Program(const std::string& path) {
    judge::Pipe printed;
    pid_ = ::fork();
    if (pid_ < 0) peers::fail("fork");
    if (pid_ == 0) become(path, printed);
    ::setpgid(pid_, pid_);
    from_ = std::move(printed.from);
    ::fcntl(from_.get(), F_SETFL, O_NONBLOCK);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    ::kill(-pid_, SIGKILL);
    if (!has_ended()) ::waitpid(pid_, nullptr, 0);
  }

  int from() const { return from_.get(); }
  const std::string& printed() const { return printed_; }

  // Reads what it prints, so that it never waits for us.
  void hear() {
    char buffer[4096];
    ssize_t n = -1;
    while (from_.get() >= 0 &&
           (n = ::read(from_.get(), buffer, sizeof buffer)) > 0) {
      printed_.append(buffer, static_cast<std::size_t>(n));
      if (printed_.size() > 1 << 20) printed_.erase(0, 1 << 19);
    }
    if (n == 0) from_.reset();
  }

  bool has_ended() {
    has_ended_ = has_ended_ || ::waitpid(pid_, &status_, WNOHANG) == pid_;
    return has_ended_;
  }

  // How it ended, as a sentence.
  std::string end() const {
    if (WIFSIGNALED(status_))
      return "Your program crashed: signal " +
             std::to_string(WTERMSIG(status_)) + ", " +
             ::strsignal(WTERMSIG(status_)) + ".";
    return "Your program ended, with exit code " +
           std::to_string(WEXITSTATUS(status_)) + ".";
  }

  // How much memory it has; 0 where the system does not tell.
  std::size_t memory() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/statm");
    std::size_t all = 0;
    std::size_t resident = 0;
    file >> all >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }

 private:
  [[noreturn]] static void become(const std::string& path,
                                  const judge::Pipe& printed) {
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    ::setpgid(0, 0);
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(printed.to.get(), STDOUT_FILENO);
    ::dup2(printed.to.get(), STDERR_FILENO);
    for (int fd = 3; fd < 1024; ++fd) ::close(fd);
    ::unsetenv("NETLITE_TRACE");
    ::execl(path.c_str(), path.c_str(), "127.0.0.1:0", nullptr);
    ::_exit(127);
  }

  pid_t pid_ = -1;
  int status_ = 0;
  bool has_ended_ = false;
  peers::Descriptor from_{};
  std::string printed_{};
};

// -- The members ------------------------------------------------------------

// What comes at random: each line has a number.
struct Count {
  std::size_t said = 0;
  bool has_ended = false;  // after its last line, and as one should
};
using Counts = std::map<std::string, Count>;

struct Member {
  Member(std::string name_, peers::Wire wire_)
      : name(std::move(name_)), wire(std::move(wire_)) {}

  std::string name;
  peers::Wire wire;
  bool reads = true;
  bool has_ended = false;
  std::string ahead{};
  std::deque<std::string> lines{};
  std::map<std::string, std::size_t> next{};  // numbers, at random

  // Takes what has come; never waits.
  void take() {
    char buffer[65536];
    while (!has_ended) {
      const ssize_t n = ::recv(wire.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
      has_ended = n <= 0;
      was_reset = n < 0;
      if (n > 0) ahead.append(buffer, static_cast<std::size_t>(n));
    }
    std::size_t from = 0;
    for (std::size_t end; (end = ahead.find('\n', from)) != std::string::npos;
         from = end + 1)
      lines.push_back(ahead.substr(from, end - from));
    ahead.erase(0, from);
  }
  bool was_reset = false;
};
using Someone = std::unique_ptr<Member>;

class Play {
 public:
  explicit Play(const std::string& path) : program_(path) {
    const auto until = soon();
    while (port_ == 0 && peers::Clock::now() < until) {
      listen_to_all(until);
      port_ = port_in(program_.printed());
      if (program_.has_ended()) break;
    }
    if (port_ != 0) return;
    const std::string said =
        "\nIt has printed" + judge::printed(program_.printed());
    judge::wrong("The judge called your program with 127.0.0.1:0." +
                     (program_.has_ended() ? "\n" + program_.end() : "") + said,
                 "Which port did the system choose, and how are the members to "
                 "know it?");
  }

  // -- What happens

  void tell(const std::string& sentence) { story_.push_back(sentence); }
  void forget() { story_.clear(); }

  // Somebody who is connected, and has not yet said anything.
  Someone dials(const std::string& name) {
    auto [wire, error] = peers::Wire::dial(port_);
    if (error != 0) {
      tell(name + " dialled your server: " + std::strerror(error) + ".");
      wrong("Who listens there, while the chat goes on?");
    }
    all_.push_back(nullptr);
    auto someone = std::make_unique<Member>(name, std::move(wire));
    all_.back() = someone.get();
    return someone;
  }
  void says(Member& who, const std::string& text) {
    writes(who, text);
    tell(who.name + " wrote " + judge::quoted(text) + ".");
  }
  // Never waits for a server that does not read: then it may be waiting for us.
  bool writes(Member& who, std::string_view text) {
    const auto until = soon();
    while (!text.empty()) {
      const ssize_t n = ::send(who.wire.fd(), text.data(), text.size(),
                               MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n >= 0) {
        text.remove_prefix(static_cast<std::size_t>(n));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
      if (peers::Clock::now() > until) return false;
      listen_to_all(peers::Clock::now() + 5ms);
    }
    return true;
  }
  void leaves(Someone& who, const std::string& how) {
    if (how == "reset") {
      who->wire.reset();
      tell(who->name + " reset the connection.");
    } else {
      who->wire.half_close();
      tell(who->name + " ended its half of the connection.");
    }
  }
  void forgets(Someone& who) {
    all_.erase(std::remove(all_.begin(), all_.end(), who.get()), all_.end());
    who.reset();
  }

  // The next line that somebody reads; none in time, or an end.
  std::optional<std::string> next(Member& who) {
    const auto until = soon();
    while (who.lines.empty() && !who.has_ended && peers::Clock::now() < until &&
           !is_broken())
      listen_to_all(until);
    if (who.lines.empty()) return {};
    std::string line = who.lines.front();
    who.lines.pop_front();
    return line;
  }

  // Somebody reads this line, or the answer is wrong; `ask` may know better
  // what to ask about another line.
  void reads(Member& who, const std::string& line, const std::string& question,
             const std::string& other = {}) {
    const std::optional<std::string> got = next(who);
    if (got == line) {
      tell(who.name + " read " + judge::quoted(line) + ".");
      return;
    }
    if (!got) misses(who, judge::quoted(line), question);
    tell(who.name + " should have read " + judge::quoted(line) + ", but read " +
         judge::quoted(*got) + ".");
    if (begins(*got, who.name + ": "))
      wrong("That line is on " + who.name + "'s screen already. Who typed it?");
    if (contains(line, *got) && begins(line.substr(line.find(' ') + 1), *got))
      wrong("Who wrote that? Can the reader see it?");
    wrong(other.empty() ? question : other);
  }

  void reads_end(Member& who, const std::string& question,
                 const std::string& if_reset = {}) {
    const std::optional<std::string> got = next(who);
    if (!got && who.has_ended && !who.was_reset) {
      tell(who.name + " read the end of the stream.");
      return;
    }
    if (!got)
      misses(who, "the end of the stream",
             who.was_reset && !if_reset.empty() ? if_reset : question);
    tell(who.name + " should have read the end of the stream, but read " +
         judge::quoted(*got) + ".");
    wrong(question);
  }

  [[noreturn]] void misses(const Member& who, const std::string& what,
                           const std::string& question) {
    std::string sentence = who.name;
    if (!who.ahead.empty())
      sentence += " read " + judge::quoted(who.ahead) +
                  ", without the end of a line, and";
    sentence += who.was_reset   ? " found the connection reset, instead of "
                : who.has_ended ? " read the end of the stream, instead of "
                                : " waited for ";
    tell(sentence + what + (who.has_ended ? "." : ", in vain."));
    wrong(question);
  }

  // Everybody who reads does so, and it prints what it prints.
  void listen_to_all(peers::Clock::time_point until) {
    std::vector<pollfd> fds{{program_.from(), POLLIN, 0}};
    for (const Member* each : all_) {
      const bool listens = each->reads && !each->has_ended;
      fds.push_back({listens ? each->wire.fd() : -1, POLLIN, 0});
    }
    const auto left = std::clamp<std::chrono::milliseconds>(
        std::chrono::ceil<std::chrono::milliseconds>(until -
                                                     peers::Clock::now()),
        0ms, 50ms);
    ::poll(fds.data(), static_cast<nfds_t>(fds.size()),
           static_cast<int>(left.count()));
    if (fds[0].revents != 0) program_.hear();
    for (std::size_t i = 0; i < all_.size(); ++i)
      if (fds[i + 1].revents != 0) all_[i]->take();
  }

  Program& program() { return program_; }

  bool is_broken() {
    return program_.has_ended() || contains(program_.printed(), "Sanitizer: ");
  }

  // But if the program has crashed, that is the story.
  [[noreturn]] void wrong(const std::string& question) {
    for (int i = 0; i < 4 && !is_broken(); ++i)
      listen_to_all(peers::Clock::now() + 50ms);
    std::string text;
    const std::size_t first = story_.size() > 8 ? story_.size() - 8 : 0;
    if (first > 0) text = "...\n";
    for (std::size_t i = first; i < story_.size(); ++i)
      text += story_[i] + (i + 1 < story_.size() ? "\n" : "");
    const std::size_t report = program_.printed().find("Sanitizer: ");
    if (report != std::string::npos)
      judge::wrong(
          text + "\nThe sanitizer found: " +
              program_.printed().substr(
                  report + 11, program_.printed().find_first_of("\n(", report) -
                                   report - 11),
          "Which threads use that, and who else may meanwhile?");
    if (program_.has_ended())
      judge::wrong(text + "\n" + program_.end() + "\nIt had printed" +
                       judge::printed(program_.printed()),
                   "A member is a guest. Which of your lines lets one end the "
                   "whole program?");
    judge::wrong(text, question);
  }

 private:
  static std::uint16_t port_in(const std::string& printed) {
    const std::size_t end = printed.rfind('\n') + 1;
    for (std::size_t at = 0; (at = printed.find(':', at)) < end; ++at) {
      const int port = std::atoi(printed.c_str() + at + 1);
      if (port > 0 && port < 65536) return static_cast<std::uint16_t>(port);
    }
    return 0;
  }

  Program program_;
  std::uint16_t port_ = 0;
  std::vector<Member*> all_{};
  std::vector<std::string> story_{};
};

// -- One after the other ----------------------------------------------------

Someone enters(Play& play, const std::string& name,
               const std::string& question) {
  Someone who = play.dials(name);
  play.reads(*who, asks_name, question);
  play.says(*who, name + "\n");
  play.reads(*who, "* " + name + " has joined",
             who->has_ended ? "Who stays with " + name + ", until the end?"
                            : "Who tells " + name + " that the room is open?");
  return who;
}

std::string joined(const std::string& name) {
  return "* " + name + " has joined";
}
std::string left(const std::string& name) { return "* " + name + " has left"; }

void two_talk(Play& play) {
  Someone ann = play.dials("ann");
  play.reads(*ann, asks_name, "What does a newcomer read first?");
  play.says(*ann, "ann\n");
  if (const auto line = play.next(*ann); line != joined("ann")) {
    if (!line)
      play.misses(*ann, judge::quoted(joined("ann")),
                  ann->has_ended ? "Who stays with ann, until she leaves?"
                                 : "Who tells ann that she is in?");
    play.tell("ann read " + judge::quoted(*line) + ".");
    play.wrong("What do all members read when one joins?");
  }
  play.tell("ann read " + judge::quoted(joined("ann")) + ".");
  Someone bob = enters(play, "bob", "Who talks to bob, while ann is here?");
  play.reads(*ann, joined("bob"), "Who tells the others that bob has joined?");
  play.says(*ann, "hello\n");
  play.reads(*bob, "ann: hello", "Who passes on what ann writes?");
  play.says(*bob, "hi ann\n");
  play.reads(*ann, "bob: hi ann", "Who passes on what bob writes?");

  const std::string line = "Where does a line end, and where does a read?";
  play.says(*ann, "half a ");
  play.says(*bob, "listening\n");
  play.reads(*ann, "bob: listening", line);
  play.says(*ann, "line\none\ntwo\n");
  play.reads(*bob, "ann: half a line", line);
  play.reads(*bob, "ann: one", line);
  play.reads(*bob, "ann: two", line);

  play.says(*bob, "bye\n");
  play.leaves(bob, "end");
  play.reads(*ann, "bob: bye",
             "bob's last line had been written. Who reads "
             "it, after his end?");
  play.reads(*ann, left("bob"), "Who tells the others that bob has left?");
  play.reads_end(*bob,
                 "bob has said everything. Who still keeps a handle of his "
                 "connection?");
  play.forgets(bob);
  Someone again = play.dials("bob");
  play.reads(*again, asks_name, "Who talks to bob, while ann is here?");
  play.says(*again, "bob\n");
  play.reads(*again, joined("bob"), "bob had left. Who still keeps his name?");
  play.reads(*ann, joined("bob"), "Who tells the others that bob is back?");
  play.leaves(again, "reset");
  play.reads(*ann, left("bob"),
             "A connection can end without a clean end. Who tells the others "
             "then?");
  play.leaves(ann, "end");
  play.reads_end(*ann,
                 "ann has said everything. What does her connection "
                 "wait for?");
  play.forgets(again);
  play.forgets(ann);
  play.forget();
}

void refuses(Play& play, Someone& ann, const std::string& name,
             const std::string& question) {
  Someone other = play.dials("somebody");
  play.reads(*other, asks_name, "What does a newcomer read first?");
  // So much that a server which closes at once has not read it all.
  play.writes(*other, name + "\n" + std::string(32000, '\n'));
  play.tell("somebody wrote " + judge::quoted(name + "\n") +
            ", and 32000 lines without a word.");
  const auto line = play.next(*other);
  if (!line || !begins(*line, "Sorry")) {
    if (!line) play.misses(*other, "a line \"Sorry, ...\"", question);
    play.tell("somebody read " + judge::quoted(*line) + ".");
    play.wrong(question);
  }
  play.tell("somebody read " + judge::quoted(*line) + ".");
  play.reads_end(*other,
                 "Who ends the connection of somebody who may not come in?",
                 "What had your server not read when it closed?");
  play.forgets(other);
  Someone bob = enters(play, "bob", "Who talks to bob, while ann is here?");
  play.reads(*ann, joined("bob"), question, question);
  play.leaves(bob, "end");
  play.reads(*ann, left("bob"), "Who tells the others that bob has left?");
  play.forgets(bob);
  play.forget();
}

void some_misbehave(Play& play) {
  Someone ann = enters(play, "ann",
                       "Who talks to newcomers, when all others "
                       "have left?");
  refuses(play, ann, "ann", "How many members may be called ann?");
  const std::string names = "What may a name consist of?";
  refuses(play, ann, "", names);
  refuses(play, ann, "a b", names);
  refuses(play, ann, std::string(21, 'x'), "How long may a name be?");

  // Somebody who does not say who it is.
  Someone nobody = play.dials("somebody");
  play.reads(*nobody, asks_name, "What does a newcomer read first?");
  play.leaves(nobody, "end");
  play.reads_end(*nobody,
                 "Somebody will not come in. What does that "
                 "connection wait for?");
  play.forgets(nobody);

  // A line that never ends.
  Someone carl = enters(play, "carl", "Who talks to carl, while ann is here?");
  play.reads(*ann, joined("carl"),
             "Nobody had joined, and nobody can have left.");
  play.writes(*carl, std::string(100000, 'x'));
  play.tell("carl wrote 100000 bytes, without the end of a line.");
  play.reads(*ann, left("carl"), "How long may a line be, and who says so?");
  play.forgets(carl);
  play.leaves(ann, "end");
  play.reads_end(*ann,
                 "ann has said everything. What does her connection "
                 "wait for?");
  play.forgets(ann);
  play.forget();
}

// -- One does not read --------------------------------------------------------

// Lets somebody read no more, and have little room for what comes.
void sleeps(Play& play, Member& who) {
  const int small = 4096;
  ::setsockopt(who.wire.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  who.reads = false;
  play.tell(who.name + " does not read any more.");
}

void one_sleeps(Play& play) {
  std::vector<Someone> all;
  for (int i = 0; i < crowd; ++i) {
    all.push_back(enters(play, "member" + std::to_string(i),
                         "Who talks to a newcomer, while others are here?"));
    for (int j = 0; j < i; ++j)
      play.reads(*all[static_cast<std::size_t>(j)], joined(all.back()->name),
                 "Who tells all others that somebody has joined?");
    play.forget();
  }
  play.tell("Ten members are in the room.");
  Someone sleeper = std::move(all.back());
  all.pop_back();
  sleeps(play, *sleeper);
  for (const Someone& who : all) {
    play.says(*who, "It is me.\n");
    for (const Someone& other : all)
      if (other != who)
        play.reads(*other, who->name + ": It is me.",
                   "Whom does a line reach, and who waits for whom?");
  }
  while (all.size() > 2) {
    Someone who = std::move(all.back());
    all.pop_back();
    play.leaves(who, "end");
    for (const Someone& other : all)
      play.reads(*other, left(who->name),
                 "Who tells all others that somebody has left?");
    play.forgets(who);
  }
  play.forget();

  // Now one writes what the sleeper does not read.
  Member& talker = *all[0];
  Member& listener = *all[1];
  const std::string line(900, '.');
  const std::string asks =
      "One member does not read. Who waits for that one, and who for whom?";
  [[maybe_unused]] const std::size_t before = play.program().memory();
  bool has_left = false;
  const auto is_news = [&](const std::optional<std::string>& got) {
    const bool is_left = got == left(sleeper->name);
    has_left = has_left || is_left;
    return is_left;
  };
  for (std::size_t sent = 0; sent < flood;) {
    play.forget();
    play.tell(sleeper->name + " has not read any of " +
              judge::counted(sent, "byte") + ".");
    std::string lines;
    for (int i = 0; i < 50; ++i) lines += line + "\n";
    sent += lines.size();
    if (!play.writes(talker, lines)) {
      play.tell(talker.name + " could not write any more.");
      play.wrong(asks);
    }
    play.tell(talker.name + " wrote 50 lines of 900 bytes.");
    for (int i = 0; i < 50; ++i) {
      std::optional<std::string> got = play.next(listener);
      if (is_news(got)) got = play.next(listener);
      if (got == talker.name + ": " + line) continue;
      if (!got) play.misses(listener, "line " + std::to_string(i + 1), asks);
      play.tell(listener.name + " read " + judge::quoted(*got) + ".");
      play.wrong(
          "Only one member does not read. Why do others miss "
          "something?");
    }
  }
#ifndef NETLITE_SANITIZED
  const std::size_t after = play.program().memory();
  if (after > before + most_memory) {
    play.forget();
    play.tell(sleeper->name + " has not read any of " +
              judge::counted(flood, "byte") + ". Your program needs\n" +
              std::to_string(after - before) + " bytes more than before.");
    play.wrong("How many lines may wait for one member?");
  }
#endif
  play.leaves(sleeper, "reset");
  while (!has_left && !listener.has_ended) {
    const auto got = play.next(listener);
    if (!got)
      play.misses(listener, left(sleeper->name),
                  "Who tells the others "
                  "that somebody has left who did not read?");
    is_news(got);
  }
  play.forgets(sleeper);
  for (Someone& who : all) play.leaves(who, "end");
  for (Someone& who : all) {
    while (play.next(*who)) continue;
    play.forgets(who);
  }
  play.forget();
}

// -- As chance has it ---------------------------------------------------------

class Chance {
 public:
  Chance(Play& play, unsigned seed, std::chrono::milliseconds time)
      : play_(play),
        random_(seed + 1),
        until_(peers::Clock::now() + time),
        seed_(seed),
        all_(crowd) {
    tell();
  }

  void play() {
    while (peers::Clock::now() < until_) {
      const std::size_t which = random_() % all_.size();
      Someone& who = all_[which];
      if (!who)
        join(who, which + 1 == all_.size());
      else if (random_() % 6 == 0)
        leave(who);
      else if (who->reads)
        talk(*who);
      all_take_notes();
    }
    for (Someone& who : all_)
      if (who) leave(who);
  }

  std::size_t lines() const { return lines_; }

 private:
  void tell() {
    play_.forget();
    play_.tell("Members came and went at random, with seed " +
               std::to_string(seed_) + ".");
  }

  void join(Someone& who, bool will_sleep) {
    const std::string name = "guest" + std::to_string(++guests_);
    who = play_.dials(name);
    bool is_in = false;
    play_.reads(*who, asks_name,
                "Who talks to a newcomer, while others are "
                "here?");
    tell();
    play_.writes(*who, name + "\n");
    for (const auto& other : all_)
      if (other && other != who) who->next[other->name] = unknown;
    while (!is_in) {
      const auto line = play_.next(*who);
      if (!line)
        play_.misses(*who, judge::quoted(joined(name)),
                     "Who tells a newcomer that the room is open?");
      is_in = *line == joined(name);
    }
    counts_[name] = {};
    if (!will_sleep) return;
    const int small = 4096;
    ::setsockopt(who->wire.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    who->reads = false;
  }

  void talk(Member& who) {
    std::string text;
    for (auto more = random_() % 20 + 1; more > 0; --more, ++lines_)
      text += std::to_string(counts_[who.name].said++) + " " +
              std::string(random_() % 900, '.') + "\n";
    if (!play_.writes(who, text)) {
      play_.tell(who.name + " could not write any more.");
      play_.wrong(
          "Who reads what a member writes, and what may keep it from "
          "that?");
    }
    // Now and then everybody has to be told, before it goes on.
    if (random_() % 4 == 0) all_hear(who.name);
  }

  // In five seconds, all who read have read what one has written.
  void all_hear(const std::string& name) {
    const std::size_t said = counts_[name].said;
    for (const Someone& other : all_) {
      if (!other || !other->reads || other->name == name) continue;
      const auto until = soon();
      for (;;) {
        all_take_notes();
        const auto next = other->next.find(name);
        if (next != other->next.end() && next->second == said) break;
        if (peers::Clock::now() > until || other->has_ended) {
          play_.tell(name + " wrote its line " + std::to_string(said - 1) +
                     ".");
          play_.misses(*other, "it",
                       "Some lines do not reach everybody in "
                       "time. Who waits for whom?");
        }
        play_.listen_to_all(until);
      }
    }
  }

  void leave(Someone& who) {
    const std::string name = who->name;
    const bool is_clean = who->reads && random_() % 3 != 0;
    if (is_clean) {
      counts_[name].has_ended = true;
      who->wire.half_close();
      reads_to_the_end(*who);
    } else {
      who->wire.reset();
    }
    play_.forgets(who);
    for (const Someone& other : all_) {
      if (!other || !other->reads) continue;
      const auto until = soon();
      while (other->next.count(name) != 0) {
        all_take_notes();
        if (other->next.count(name) == 0) break;
        if (peers::Clock::now() > until || other->has_ended) {
          play_.tell(name + (is_clean ? " ended its half of the connection."
                                      : " reset the connection."));
          play_.misses(*other, judge::quoted(left(name)),
                       "Who tells the others that somebody has left?");
        }
        play_.listen_to_all(until);
      }
    }
  }

  // Or a close would reset the connection, and its last lines might be lost.
  void reads_to_the_end(Member& who) {
    while (!who.has_ended) {
      const auto line = play_.next(who);
      if (line) note(who, *line);
      if (line || who.has_ended) continue;
      play_.tell(who.name + " ended its half of the connection.");
      play_.misses(who, "the end of the other half",
                   "A member has said everything. What does that connection "
                   "wait for?");
    }
  }

  void all_take_notes() {
    for (const Someone& each : all_) {
      if (!each) continue;
      while (each->reads && !each->lines.empty()) {
        note(*each, each->lines.front());
        each->lines.pop_front();
      }
    }
  }

  // A line that somebody has read: is it the one that has to come next?
  void note(Member& who, const std::string& line) {
    const std::size_t colon = line.find(": ");
    const auto is = [&](const std::string& name) {
      return line == joined(name);
    };
    if (begins(line, "* ") && colon == std::string::npos) {
      const std::string name = line.substr(2, line.find(' ', 2) - 2);
      if (is(name)) {
        who.next[name] = 0;
        return;
      }
      const auto next = who.next.find(name);
      if (line != left(name) || next == who.next.end())
        odd(who, line, "Who can leave? And how often?");
      const Count& count = counts_[name];
      if (count.has_ended && next->second != unknown &&
          next->second != count.said)
        odd(who, line,
            "The last lines of a member come before its end. Does "
            "everybody read them?");
      who.next.erase(name);
      return;
    }
    const std::string name = line.substr(0, colon);
    const auto next = who.next.find(name);
    if (colon == std::string::npos || next == who.next.end())
      odd(who, line, "Who wrote that? Is that member in the room?");
    const auto number =
        static_cast<std::size_t>(std::atoi(line.c_str() + colon + 2));
    if (next->second != unknown && next->second != number) {
      play_.tell("The line of " + name + " that came next has number " +
                 std::to_string(next->second) + ".");
      odd(who, line,
          "Lines got lost, or mixed up. How many threads write to "
          "one member, and when?");
    }
    next->second = number + 1;
  }

  [[noreturn]] void odd(const Member& who, const std::string& line,
                        const std::string& question) {
    play_.tell(who.name + " read " + judge::quoted(line) + ".");
    play_.wrong(question);
  }

  static constexpr std::size_t unknown = ~std::size_t(0);

  Play& play_;
  std::minstd_rand random_;
  peers::Clock::time_point until_;
  unsigned seed_;
  std::vector<Someone> all_;
  Counts counts_{};
  int guests_ = 0;
  std::size_t lines_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::cerr << "usage: check PROGRAM [SEED [SECONDS]]\n", 2;
  const unsigned seed =
      argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  const std::chrono::seconds time(argc > 3 ? std::atoi(argv[3]) : 2);
  return judge::run(__FILE__, [&] {
    // A crowd takes its time on a machine that has much else to do.
    peers::the_end =
        peers::Clock::now() + for_all * (peers::patience / 10s) + time * 2;
    Play play(argv[1]);
    two_talk(play);
    some_misbehave(play);
    one_sleeps(play);
    Chance chance(play, seed, time);
    chance.play();
    enters(play, "zoe", "Who talks to newcomers, when all others have left?");
    if (argc > 3) std::cout << chance.lines() << " lines at random\n";
  });
}
