// Judges the exercise: four clients are in when the signal comes. A fifth must
// not get in any more. Three of the four finish, and are answered; the last one
// never does, and has to go after a second, not before. A deadline is never
// early. If the three are late, or the last one stays for another second, that
// may be the fault of a busy machine: all begins anew, three times at most.
#include EXERCISE

#include "../judge.hpp"

namespace {

using peers::Clock;
using std::chrono::milliseconds;

constexpr milliseconds grace(1000);
constexpr milliseconds soon(3000);  // more than anybody needs for anything
const std::string greeting = "Your line?\n";

struct Again {};
int tries = 0;

milliseconds since(Clock::time_point then) {
  return std::chrono::floor<milliseconds>(Clock::now() - then);
}

// The server, and how it is called.
class House {
 public:
  House()
      : listener_(peers::socket_on_free_port(peers::Doing::listening)),
        port_(peers::port_of(listener_.get(), ::getsockname)),
        learner_([this] { return serve_here(); }) {
    listener_.reset();  // only the learner has it
  }

  // A client, with half of its line sent.
  peers::Wire& enter() {
    auto [wire, error] = peers::Wire::dial(port_);
    is_let_in_ = error == 0;
    wires_.push_back(std::move(wire));
    wires_.back().set_over(learner_.over());
    wires_.back().send("Half a ");
    return wires_.back();
  }
  // Whether there is something to read, or the end.
  bool is_ready(const peers::Wire& wire, Clock::time_point until) {
    return peers::wait_for(wire.fd(), POLLIN, until, learner_.over());
  }
  // Whether it reads this, and soon.
  bool reads(peers::Wire& wire, const std::string& text) {
    if (!is_ready(wire, Clock::now() + soon)) return false;
    try {
      return wire.receive(text.size()) == text;
    } catch (const peers::Waited&) {
      return false;
    }
  }
  // Whether somebody who comes now is not let in.
  bool is_closed() {
    auto [wire, error] = peers::Wire::dial(port_);
    return error != 0;
  }
  // Whether it serves somebody who comes now.
  bool serves() {
    auto [wire, error] = peers::Wire::dial(port_);
    wire.set_over(learner_.over());
    return error == 0 && reads(wire, greeting);
  }
  // Whether it has gone back to wait for the next client.
  bool waits_again() {
    const std::string calls = learner_.calls();
    const std::size_t tried = calls.rfind("accept(3, -)");
    const std::size_t got = calls.rfind("accept(3, 1");
    return tried != std::string::npos &&
           (got == std::string::npos || got < tried);
  }
  // Whether its code has done something to the listener, which is number 3.
  bool has_acted() {
    const std::string calls = learner_.calls();
    return calls.find("close(3)") != std::string::npos ||
           calls.find("shutdown(3") != std::string::npos;
  }
  bool has_returned(Clock::time_point until = {}) {
    return peers::wait_for(learner_.over(), POLLIN, until);
  }
  // Waits until either is so: a call is told only after its work is done, so
  // that the clients may see a closed door before we hear of it.
  bool acts_or_returns(Clock::time_point until) {
    while (!has_acted() && Clock::now() < until &&
           !has_returned(Clock::now() + milliseconds(5)))
      continue;
    return has_acted() || has_returned();
  }

  std::string who() const {
    static const char* const words[] = {"first", "second", "third", "fourth"};
    return std::string("The ") + words[wires_.size()] + " client";
  }
  bool is_let_in() const { return is_let_in_; }
  judge::Learner& learner() { return learner_; }
  std::vector<peers::Wire>& wires() { return wires_; }

 private:
  int serve_here() {
    const int low = ::dup(listener_.get());
    listener_.reset();
    return ::serve_until_told(net::must(net::listener_from(low)));
  }

  peers::Descriptor listener_;
  std::uint16_t port_;
  bool is_let_in_ = true;
  std::vector<peers::Wire> wires_{};
  judge::Learner learner_;
};

// It has closed the door by itself.
[[noreturn]] void closes_early(House& house, const std::string& story) {
  house.learner().wrong(story + " No signal had been sent yet.",
                        "Until when should your server serve?");
}

// Four clients come; each is greeted while the others are in.
void let_in(House& house) {
  for (int client = 0; client < 4; ++client) {
    const std::string who = house.who();
    peers::Wire& wire = house.enter();
    if (!house.is_let_in()) closes_early(house, who + " was not let in.");
    if (house.reads(wire, greeting)) continue;
    const std::string story = who + " got in, and sent half a line. It read " +
                              judge::quoted(wire.got()) + ".";
    if (house.acts_or_returns(Clock::now() + grace / 2))
      closes_early(house, story);
    house.learner().wrong(
        story, client > 0 ? "How many clients can your server talk to at once?"
                          : "Who talks to that client?");
  }
}

const std::string four =
    "Four clients had each sent half of their line. Then came a SIGTERM.";

// Gives it time to wait for a fifth one: the signal shall find it there. Or
// time to close the door by itself.
void settle(House& house) {
  const auto began = Clock::now();
  const auto moment = grace / 20;
  while (since(began) < moment ||
         (!house.waits_again() && since(began) < 5 * moment))
    std::this_thread::sleep_for(milliseconds(5));
  if (house.has_acted()) closes_early(house, "Four clients got in.");
}

// The signal has come. When is the door closed? Nobody dials before something
// has happened, or a moment has passed: a caller would wake who waits for one.
void closes(House& house, Clock::time_point told) {
  house.acts_or_returns(told + grace / 2);
  const bool by_itself = house.has_acted();
  bool let_in = false;
  while (!house.is_closed() && since(told) < soon && !house.has_returned()) {
    let_in = true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  // Those who are in have news only if it is over.
  if (house.is_ready(house.wires()[3], Clock::now() + milliseconds(50)))
    house.has_returned(Clock::now() + grace);
  if (house.learner().ended_by(SIGTERM))
    judge::wrong(four +
                     "\nIt ended the whole process at once, as it does by "
                     "itself.",
                 "Who has blocked SIGTERM, before the first thread began?");
  const std::string first =
      "What comes first: to close the door, or to wait for those who are in?";
  if (house.has_returned()) {
    if (let_in && since(told) > grace / 2)
      house.learner().wrong(four + "\nOthers got in for as long as it ran.",
                            first);
    return;
  }
  if (house.is_closed()) {
    if (!let_in || by_itself) return;
    if (tries < 3) throw Again();
    house.learner().wrong(
        four +
            "\nFor half a second nothing happened. Then another client "
            "dialled, and got in. Only then was the door closed.",
        "Who wakes the thread that waits in accept?");
  }

  // Still open. What if the four leave?
  const std::string open = four +
                           "\nThree seconds later your server still let "
                           "others in.";
  for (peers::Wire& wire : house.wires()) wire.send("line.\n");
  if (house.has_returned(Clock::now() + soon))
    house.learner().wrong(
        open + " It did not stop before those four had finished.", first);
  house.learner().wrong(open, house.serves()
                                  ? "Which of your lines closes the door?"
                                  : "Who accepts those whom it lets in?");
}

// Three of those who are in finish their line.
void are_answered(House& house, Clock::time_point told) {
  const std::string answer = "Half a line.\n";
  const std::string question =
      "Who was still being served, and how long may they go on?";
  for (std::size_t i = 0; i < 3; ++i) house.wires()[i].send("line.\n");
  for (std::size_t i = 0; i < 3; ++i) {
    peers::Wire& wire = house.wires()[i];
    if (house.reads(wire, answer)) continue;
    const bool is_late = since(told) >= grace;
    const bool is_over = house.has_returned(Clock::now() + grace);
    if (house.learner().ended_by(SIGTERM))
      judge::wrong(four +
                       " And, when the door was closed, another one.\n"
                       "That one ended the whole process.",
                   "What does your code make of a second SIGTERM?");
    if (is_late && tries < 3) throw Again();
    static const char* const words[] = {"first", "second", "third"};
    const std::string story =
        four + "\nThey finished it, but the " + words[i] +
        " of them read no answer" +
        (!house.is_ready(wire, {}) ? ", and waits for one."
         : wire.was_reset()        ? ": it was reset."
                                   : ", only the end.");
    if (is_over)
      judge::wrong(story + " Your process was over." + house.learner().calls(),
                   question);
    house.learner().wrong(story, question);
  }
}

// The last one does not finish.
void ends(House& house, Clock::time_point told) {
  const std::string story =
      four +
      "\nThree of them finished it, and were answered. The last one "
      "stayed.";
  peers::Wire& last = house.wires()[3];
  // In pauses: on a busy machine, these take longer, too.
  bool is_ready = false;
  constexpr milliseconds pause(100);
  for (milliseconds waited(0); !is_ready && waited < 2 * grace; waited += pause)
    is_ready = house.is_ready(last, Clock::now() + pause);
  if (!is_ready && tries < 3) throw Again();
  const milliseconds took = since(told);
  const std::string after = " after " + std::to_string(took.count()) + " ms";
  const std::string question = "How long may the last one keep you?";
  if (!is_ready)
    house.learner().wrong(story + " It is still there" + after + ".", question);
  if (took < grace)
    house.learner().wrong(story + " It was thrown out" + after + ".",
                          "How long may those who are in go on?");
  const auto outcome = house.learner().wait(story);
  if (outcome.code != 0)
    judge::wrong(story + "\nYour serve_until_told returned " +
                     std::to_string(outcome.code) + "." +
                     house.learner().calls(),
                 "Did anything go wrong?");
}

void judge_serve() {
  ++tries;
  House house;
  let_in(house);
  settle(house);
  const auto told = Clock::now();
  house.learner().tell(SIGTERM);
  closes(house, told);
  house.learner().tell(SIGTERM);
  are_answered(house, told);
  ends(house, told);
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    for (;;) {
      try {
        return judge_serve();
      } catch (const Again&) {
        continue;
      }
    }
  });
}
