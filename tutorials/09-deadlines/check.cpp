// Judges the exercise: clients that are quick, that drip, that leave, and that
// say nothing; and a look at the clock. A deadline is never early, so nobody
// may be called too slow within half a second, however busy the machine is. If
// a quick client is called so later, or a slow one only after a second and a
// half, all begins anew, three times at most: that may be the machine's fault.
#include EXERCISE

#include "../judge.hpp"

namespace {

using peers::Clock;
using std::chrono::milliseconds;

constexpr milliseconds half(500);
constexpr milliseconds quick(300);  // what is sent by then is in time
constexpr milliseconds moment(100);
constexpr milliseconds late(1500);         // three times as long as allowed
constexpr milliseconds long_enough(3000);  // six times
constexpr int clients = 6;
const std::string too_slow = "Too slow.\n";
const std::string hello = "Hello!\n";
const std::string drops = "I am slow, but I never stop.\n";

// What became of one client.
struct Visit {
  bool is_in = true;         // it was not refused
  bool is_answered = false;  // or its connection was closed
  std::size_t sent = 0;
  milliseconds sent_in{0};
  std::string got{};
  milliseconds took{0};  // from before it dialled
  // The same in pauses: on a busy machine, these take longer, too.
  milliseconds waited{0};

  bool is_served(const std::string& text) const { return got == text; }
  bool is_told() const { return got == too_slow; }
  bool is_early() const { return is_answered && took < half; }
  bool is_late() const { return waited > late; }
};

std::string after(milliseconds took) {
  return " after " + std::to_string(took.count()) + " ms";
}

milliseconds since(Clock::time_point began) {
  return std::chrono::floor<milliseconds>(Clock::now() - began);
}

// Thrown when the machine may have been at fault.
struct Again {};
int tries = 0;

// The server's clients, each when the one before is done.
class Door {
 public:
  Door()
      : listener_(peers::socket_on_free_port(peers::Doing::listening)),
        port_(peers::port_of(listener_.get(), ::getsockname)),
        learner_([this] { return serve_here(); }) {
    listener_.reset();  // only the learner has it
  }

  // Sends a text byte by byte, with pauses between, until it is answered, or
  // long enough has passed.
  Visit visit(const std::string& text, milliseconds pause = milliseconds(0)) {
    ++visitors_;
    Visit visit;
    const auto began = Clock::now();
    auto [wire, error] = peers::Wire::dial(port_);
    visit.is_in = error == 0;
    if (!visit.is_in) return visit;
    const int over = learner_.over();
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (pause.count() > 0 && i > 0 &&
          peers::wait_for(wire.fd(), POLLIN, Clock::now() + pause, over))
        break;
      if (i > 0) visit.waited += pause;
      wire.send(text.substr(i, 1));
      ++visit.sent;
    }
    visit.sent_in = since(began);
    for (milliseconds more(0); more < long_enough; more += moment) {
      visit.is_answered =
          peers::wait_for(wire.fd(), POLLIN, Clock::now() + moment, over);
      if (visit.is_answered) break;
      visit.waited += moment;
    }
    visit.took = since(began);
    if (!visit.is_answered) {
      waiting_.push_back(std::move(wire));
      return visit;
    }
    wire.set_over(over);
    try {
      visit.got = wire.receive_all();
    } catch (const peers::Waited&) {
      wrong(who() + " read " + judge::quoted(wire.got()) +
                ". Then it waited for the end of the stream, in vain.",
            "Who closes the connection?");
    }
    // A server that is gone has not answered anybody.
    visit.is_in = !visit.got.empty() ||
                  !peers::wait_for(over, POLLIN, Clock::now() + half);
    told_ += visit.is_told();
    return visit;
  }
  // Dials, and closes without a word.
  void leave() {
    ++visitors_;
    peers::Wire::dial(port_);
  }

  std::string who() const {
    static const char* const words[] = {"first",  "second", "third",
                                        "fourth", "fifth",  "sixth"};
    return std::string("The ") + words[visitors_ - 1] + " client";
  }
  bool is_first() const { return visitors_ == 1; }
  int told() const { return told_; }
  std::string waiting_call() const {
    const std::string call = learner_.waiting_call();
    return call.empty() ? "" : "\nYour server sits in " + call + ".";
  }
  [[noreturn]] void wrong(const std::string& story,
                          const std::string& question) {
    learner_.wrong(story, question);
  }
  judge::Outcome end(const std::string& story) { return learner_.wait(story); }
  std::string calls() const { return learner_.calls(); }

 private:
  int serve_here() {
    const int low = ::dup(listener_.get());
    listener_.reset();
    return ::serve(net::must(net::listener_from(low)), clients);
  }

  peers::Descriptor listener_;
  std::uint16_t port_;
  int visitors_ = 0;
  int told_ = 0;
  std::vector<peers::Wire> waiting_{};
  judge::Learner learner_;
};

// Nobody serves any more, though clients still come.
[[noreturn]] void is_over(Door& door, const std::string& story,
                          const std::string& question) {
  const auto outcome = door.end(story);
  judge::wrong(story + "\nYour serve had returned " +
                   std::to_string(outcome.code) + "." + door.calls(),
               question);
}

std::string drip(const Door& door, const Visit& visit) {
  return door.who() + " sent a byte every 100 ms, " +
         peers::counted(visit.sent, "byte") + " in all.";
}

// The dripper has had its way for as long as it liked. Is there any limit?
[[noreturn]] void has_dripped(Door& door, const Visit& visit) {
  const std::string story =
      drip(door, visit) + " Your server put up with that for " +
      std::to_string(visit.took.count()) + " ms, and sent it all back.";
  const Visit silent = door.visit("");
  const std::string then = story + "\n" + door.who();
  if (!silent.is_in)
    is_over(door, then + " was not let in any more.",
            "Whose time does a deadline of the listener limit?");
  if (!silent.is_answered)
    door.wrong(then + " said nothing. It still waits" + after(silent.took) +
                   "." + door.waiting_call(),
               "Which of your lines limits the time of a client?");
  door.wrong(story,
             "From when do you count: from its last byte, or from accept?");
}

// It was told too early that it was too slow.
[[noreturn]] void is_early(Door& door, const std::string& story,
                           const Visit& visit) {
  const std::string early = story + "\nIt was answered " +
                            judge::quoted(visit.got) + after(visit.took) + ".";
  const auto at_once = half / 10;
  if (door.is_first() && visit.took < at_once)
    door.wrong(early, "Is that deadline to come, or has it passed?");
  const std::string shared =
      "Whose half second was that, and when does the next one's begin?";
  if (visit.took < at_once) door.wrong(early, shared);
  const Visit silent = door.visit("");
  if (silent.is_in && silent.is_answered && silent.took < at_once)
    door.wrong(
        early + "\n" + door.who() + " was answered" + after(silent.took) + ".",
        shared);
  door.wrong(early, "How long may a client take?");
}

// Whoever is too slow has to go, not before its time, and with a word.
void is_dropped(Door& door, const std::string& story, const Visit& visit) {
  const std::string got = "\nIt read " + judge::quoted(visit.got) +
                          after(visit.took) + ", then the end.";
  if (visit.is_told() && visit.is_early()) is_early(door, story, visit);
  if (visit.is_told() && visit.is_late() && tries < 3) throw Again();
  if (visit.is_told() && visit.is_late())
    door.wrong(story + got, "How long may a client take?");
  if (visit.is_told()) return;
  if (visit.got.empty())
    door.wrong(story + got,
               "Who tells it? And may you write when the deadline of the "
               "connection has passed?");
  if (drops.compare(0, visit.got.size() - 1, visit.got, 0,
                    visit.got.size() - 1) == 0)
    door.wrong(story + got, "Was that a whole line?");
  door.wrong(story + got, "What should it be told?");
}

// Whoever is quick is served.
void is_served(Door& door, const Visit& visit) {
  const std::string story = door.who() + " sent " + judge::quoted(hello) +
                            (visit.sent == hello.size() ? "" : " slowly") + ".";
  if (!visit.is_in)
    is_over(door, door.who() + " was not served any more.",
            "May one client's end be the end of all?");
  if (visit.is_told() && visit.is_early()) is_early(door, story, visit);
  if (visit.is_served(hello)) return;
  if (visit.is_told() && tries < 3) throw Again();
  if (visit.is_told() && visit.sent_in > quick) return;
  const std::string question =
      "What does your server wait for, when the line is complete?";
  if (visit.is_told())
    door.wrong(story + "\nIt was answered " + judge::quoted(visit.got) +
                   after(visit.took) + ".",
               question);
  if (!visit.is_answered)
    door.wrong(story + " It has no answer" + after(visit.took) + "." +
                   door.waiting_call(),
               question);
  door.wrong(
      story + "\nIt read " + judge::quoted(visit.got) + ", then the end.",
      "What should a quick client be sent?");
}

void judge_serve() {
  ++tries;
  Door door;
  is_served(door, door.visit(hello));

  const Visit dripper = door.visit(drops, moment);
  if (dripper.is_in && dripper.is_served(drops)) has_dripped(door, dripper);
  if (!dripper.is_in)
    is_over(door, drip(door, dripper) + " Then its connection was gone.",
            "May one client's end be the end of all?");
  if (!dripper.is_answered)
    door.wrong(drip(door, dripper) + " It has no answer" + after(dripper.took) +
                   "." + door.waiting_call(),
               "What does your loop do when a read fails?");
  is_dropped(door, drip(door, dripper), dripper);

  is_served(door, door.visit(hello, milliseconds(30)));
  door.leave();
  const Visit silent = door.visit("");
  const std::string story = door.who() + " said nothing.";
  if (!silent.is_in)
    is_over(door, story + " Then its connection was gone.",
            "May one client's end be the end of all?");
  if (!silent.is_answered)
    door.wrong(story + " It still waits" + after(silent.took) + "." +
                   door.waiting_call(),
               "When does a client's half second begin?");
  is_dropped(door, story, silent);
  is_served(door, door.visit(hello));

  const std::string all =
      "Six clients came. " + std::to_string(door.told()) +
      " of them were told that they were too slow; one left without a word.";
  const int counted = door.end(all).code;
  if (counted != door.told())
    judge::wrong(all + "\nYour serve returned " + std::to_string(counted) +
                     "." + door.calls(),
                 counted == door.told() + 1
                     ? "Was the one that left too slow?"
                     : "How many clients were too slow?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    for (;;) try {
        return judge_serve();
      } catch (const Again&) {
      }
  });
}
