// Judges the exercise: a relay stands between it and whoever knows the answers,
// and loses, doubles and delays datagrams by a plan. The last plan is made from
// a number, SEED: the same number, the same story.
#include EXERCISE

#include "../judge.hpp"

#include <cctype>

namespace {

using peers::Clock;
using std::chrono::milliseconds;
constexpr milliseconds wait{200};
constexpr int most_tries = 5;

// What the relay does with a question that arrives.
enum class Fate {
  answer,  // sends the answer back
  lose,
  twice,  // sends the answer back, and then again
  late,   // sends the answer back when the next question has arrived
  noise,  // sends something that is nobody's answer, and then the answer
  flood,  // sends old answers back, again and again, until it is asked again
};

struct Question {
  int id;
  std::string words;
  std::string answer;
  std::vector<Fate> fates{};  // of its tries; after these it is answered
};
using Questions = std::vector<Question>;

std::string in_short(const std::string& text) {
  return judge::quoted(text, 40);
}

// -- The relay ----------------------------------------------------------------

class Relay {
 public:
  explicit Relay(const Questions& questions)
      : questions_(questions),
        fd_(peers::out_of_the_way(::socket(AF_INET, SOCK_DGRAM, 0))) {
    const sockaddr_in any = peers::loopback(0);
    if (fd_.get() < 0 || ::bind(fd_.get(), as_any(&any), sizeof any) != 0)
      peers::fail("bind");
    ::fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
  }

  std::string address() const { return peers::address_of(fd_); }
  /// Where nobody is any more.
  void leave() { fd_.reset(); }

  /// Plays until the learner is over, or has done what no learner may do.
  void play(int over) {
    const auto until = peers::deadline();
    const auto pause = milliseconds(10);
    while (fault_.empty() && Clock::now() < until) {
      const auto next = is_flooding_ ? Clock::now() + pause : until;
      const bool some = peers::wait_for(fd_.get(), POLLIN, next, over);
      const bool is_last = over >= 0 && peers::wait_for(over, POLLIN, {});
      while (fault_.empty() && hear()) continue;
      if (is_last) return;
      if (!some && is_flooding_) flood();
    }
  }

  /// How often this question came.
  int tries(int id) const {
    int count = 0;
    for (const int each : heard_) count += each == id;
    return count;
  }
  /// Whether it has sent what was not meant for this question.
  bool has_confused() const { return has_confused_; }
  /// What no learner may do, as a question; empty if nothing of the kind.
  const std::string& fault() const { return fault_; }

  std::string story() const {
    constexpr std::size_t shown = 10;
    std::string text;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (events_.size() > shown + 1 && i == shown / 2) {
        text += "\n  ...";
        i = events_.size() - shown / 2;
      }
      text += "\n  " + events_[i];
    }
    return text.empty() ? "\nNothing reached the relay." : "\nThe relay" + text;
  }

 private:
  static const sockaddr* as_any(const sockaddr_in* address) {
    return reinterpret_cast<const sockaddr*>(address);
  }

  bool hear() {
    char buffer[2048];
    socklen_t size = sizeof learner_;
    const ssize_t n = ::recvfrom(fd_.get(), buffer, sizeof buffer, 0,
                                 reinterpret_cast<sockaddr*>(&learner_), &size);
    if (n < 0) return false;
    const std::string text(buffer, static_cast<std::size_t>(n));
    is_flooding_ = false;
    events_.push_back("received " + in_short(text));
    deal_with(text);
    return true;
  }

  void deal_with(const std::string& text) {
    const Question* question = nullptr;
    for (const Question& each : questions_)
      if (text == std::to_string(each.id) + " " + each.words) question = &each;
    if (!question) return not_known(text);
    if (heard_.empty() || heard_.back() != question->id) began_ = Clock::now();
    heard_.push_back(question->id);
    const int nth = tries(question->id);
    if (nth > most_tries + 3) return too_often();
    const auto index = static_cast<std::size_t>(nth - 1);
    const Fate fate =
        index < question->fates.size() ? question->fates[index] : Fate::answer;
    const std::string late = send_held(fate);
    meet(fate, std::to_string(question->id) + " " + question->answer);
    events_.back() += late;
  }

  void meet(Fate fate, const std::string& answer) {
    std::string& event = events_.back();
    switch (fate) {
      case Fate::answer:
        event += " and answered " + in_short(answer);
        send(answer);
        break;
      case Fate::lose: event += " and lost it"; break;
      case Fate::twice:
        event += " and answered " + in_short(answer) + " twice";
        send(answer);
        send(answer);
        has_confused_ = true;
        break;
      case Fate::late:
        event += " and kept the answer " + in_short(answer) + " for later";
        held_.push_back(answer);
        break;
      case Fate::noise:
        event += " and sent an empty datagram, then \"" + answer + "\"";
        send("");
        send(answer);
        break;
      case Fate::flood:
        event +=
            " and lost it; then it sent " + in_short(old_) + " again and again";
        is_flooding_ = has_confused_ = true;
        break;
    }
    if (fate != Fate::flood) old_ = answer;
  }

  // Sends what it has kept; returns how that is told, behind the rest.
  std::string send_held(Fate fate) {
    std::string text;
    for (const std::string& answer : held_) {
      text += fate == Fate::lose ? ", but sent the late answer "
                                 : ", after the late answer ";
      text += in_short(answer);
      has_confused_ = true;
      send(answer);
    }
    held_.clear();
    return text;
  }

  void flood() {
    send(old_);
    if (Clock::now() - began_ > peers::patience * 4 / 10)
      fault_ =
          "Somebody talks to it all the time. When is the wait of one try "
          "over?";
  }

  // Two tries of one question look the same, and have its id.
  void not_known(const std::string& text) {
    for (const Question& each : questions_) {
      if (text == each.words)
        fault_ = "How is the answer to know its question?";
      else if (text.find(" " + each.words) != std::string::npos)
        fault_ = tries(each.id) > 0
                     ? "The answer to your first try may still come. What "
                       "number will it have?"
                     : "Which number did your caller want to have there?";
    }
    if (fault_.empty()) fault_ = "What should a question look like?";
  }

  void too_often() {
    fault_ = Clock::now() - began_ < 2 * wait
                 ? "How long should it wait before it asks again?"
                 : "How often should it ask, when nobody ever answers?";
  }

  void send(const std::string& text) {
    ::sendto(fd_.get(), text.data(), text.size(), 0, as_any(&learner_),
             sizeof learner_);
  }

  const Questions& questions_;
  peers::Descriptor fd_;
  sockaddr_in learner_{};
  std::vector<int> heard_{};
  std::vector<std::string> held_{};
  std::vector<std::string> events_{};
  std::string old_{};
  std::string fault_{};
  bool is_flooding_ = false;
  bool has_confused_ = false;
  Clock::time_point began_{};
};

// -- The learner --------------------------------------------------------------

// What one call of ask returned, and how long that took.
struct Told {
  milliseconds took{};
  std::string error{};
  std::string answer{};

  std::string words() const {
    return error.empty() ? in_short(answer) : "the error " + error;
  }
};

// An error as the task calls it.
std::string name_of(const net::Error& err) {
  if (err == net::timed_out) return "timed_out";
  if (err == std::errc::connection_refused) return "connection refused";
  return err.message();
}

// Asks one question after the other, up to the first error. Each makes three
// lines: milliseconds, error, answer.
std::string asked(const std::string& address, const Questions& questions) {
  const net::Conn conn = net::must(net::dial("udp", address));
  std::string lines;
  for (const Question& question : questions) {
    const auto began = Clock::now();
    const auto [answer, err] = ::ask(conn, question.id, question.words, wait);
    const auto took =
        std::chrono::duration_cast<milliseconds>(Clock::now() - began);
    lines += std::to_string(took.count()) + "\n" + (err ? name_of(err) : "") +
             "\n" + answer.substr(0, answer.find('\n')) + "\n";
    if (err) break;
  }
  return lines;
}

std::vector<Told> parsed(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  std::vector<Told> all;
  for (std::size_t i = 0; i + 2 < lines.size(); i += 3)
    all.push_back({milliseconds(std::atoi(lines[i].c_str())), lines[i + 1],
                   lines[i + 2]});
  return all;
}

// -- The verdict --------------------------------------------------------------

// The tries that were surely without an answer; each of them has its wait.
int in_vain(const Question& question) {
  int count = 0;
  for (const Fate fate : question.fates) {
    if (fate != Fate::lose && fate != Fate::flood) break;
    ++count;
  }
  return std::min(count, most_tries);
}

std::string question_about(const Questions& questions, std::size_t i,
                           const Told& told, const Relay& relay) {
  const Question& question = questions[i];
  const std::string mark = std::to_string(question.id) + " ";
  const int tries = relay.tries(question.id);
  if (told.error == "timed_out" && tries > 1 && told.took < tries * wait)
    return relay.has_confused()
               ? "What came was not its answer. Was the wait over?"
               : "Until when is a deadline good, and what comes after it?";
  if (told.error == "timed_out" && tries == 1)
    return "Datagrams get lost. Who asks again?";
  if (told.error == "timed_out" && tries < most_tries)
    return "How often should it ask?";
  if (!told.error.empty())
    return "Its answer was there. Which of the tries does it belong to, and "
           "does that matter?";
  if (told.answer == mark + question.answer)
    return "Who needs the id, your caller or you?";
  for (const Question& other : questions)
    if (other.id != question.id &&
        told.answer.find(other.answer) != std::string::npos)
      return "Which question is that the answer to?";
  return "What comes after the id in its answer?";
}

std::string called(const Question& question) {
  return "The judge called ask(conn, " + std::to_string(question.id) + ", " +
         in_short(question.words) + ", 200ms)";
}

// Each question gets its answer, and not too early.
void is_answered(const Questions& questions, const std::string& plan = {}) {
  Relay relay(questions);
  judge::Learner learner([&] {
    const std::string address = relay.address();
    relay.leave();
    return asked(address, questions);
  });
  relay.play(learner.over());
  std::string story =
      called(questions[0]) +
      (questions.size() == 1
           ? "."
           : ", then with " +
                 (questions.size() == 2
                      ? "id " + std::to_string(questions[1].id) + " and " +
                            in_short(questions[1].words)
                      : std::to_string(questions.size() - 1) +
                            " other questions") +
                 ".") +
      plan + relay.story();
  if (!relay.fault().empty()) learner.wrong(story, relay.fault());
  const auto outcome = learner.wait(
      story,
      "Who tells your code that a datagram is lost? How long does it "
      "wait?");
  const std::vector<Told> all = parsed(outcome.value);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Question& question = questions[i];
    const Told& told = all[i];
    const std::string of =
        questions.size() == 1 ? "" : " for " + in_short(question.words);
    const auto least = in_vain(question) * wait;
    if (told.error.empty() && told.answer == question.answer) {
      if (told.took >= least) continue;
      judge::wrong(story + "\nYour ask returned " + told.words() + of +
                       " after " + std::to_string(told.took.count()) +
                       " ms. It should have waited 200 ms after each try.",
                   relay.has_confused()
                       ? "What came was not its answer. Was the wait over?"
                       : "How long should it wait before it asks again?");
    }
    judge::wrong(story + "\nYour ask returned " + told.words() + of +
                     ". It should have returned " + in_short(question.answer) +
                     "." + learner.calls(),
                 question_about(questions, i, told, relay));
  }
}

// Nobody answers, and so it gives up in the end.
void gives_up() {
  const Questions questions{
      {9, "tar", "black", std::vector<Fate>(99, Fate::lose)}};
  Relay relay(questions);
  judge::Learner learner([&] {
    const std::string address = relay.address();
    relay.leave();
    return asked(address, questions);
  });
  relay.play(learner.over());
  const std::string story = called(questions[0]) + "." + relay.story();
  if (!relay.fault().empty()) learner.wrong(story, relay.fault());
  const auto outcome = learner.wait(story);
  const Told told = parsed(outcome.value).at(0);
  const int tries = relay.tries(9);
  if (tries == most_tries && told.error == "timed_out" &&
      told.took >= most_tries * wait)
    return;
  const std::string end =
      story + "\nYour ask returned " + told.words() +
      (told.took < tries * wait
           ? " after " + std::to_string(told.took.count()) + " ms."
           : ".");
  if (told.error.empty())
    judge::wrong(end, "Nobody has answered. How is your caller to know?");
  if (tries != most_tries)
    judge::wrong(end, "How often should it ask, when nobody ever answers?");
  if (told.error != "timed_out")
    judge::wrong(end, "Which error tells your caller that nobody answers?");
  judge::wrong(end, "It asked five times. How long may the last answer take?");
}

// Nobody is there, and the system knows it.
void is_refused() {
  const Questions questions{{5, "sky", "blue"}};
  Relay relay(questions);
  const std::string address = relay.address();
  relay.leave();
  const std::string story =
      called(questions[0]) + ". Nobody had a socket at the other end.";
  judge::Learner learner([&] { return asked(address, questions); });
  const auto outcome = learner.wait(story);
  const Told told = parsed(outcome.value).at(0);
  if (told.error == "connection refused") return;
  judge::wrong(story + "\nYour ask returned " + told.words() +
                   ". It should have returned the error connection refused." +
                   learner.calls(),
               "There is news that no wait will change. Which errors does "
               "your code pass on?");
}

// The same number, the same plan.
Questions plan_of(unsigned seed) {
  static const std::pair<const char*, const char*> known[] = {
      {"sky", "blue"},   {"grass", "green"}, {"snow", "white"},
      {"coal", "black"}, {"rust", "brown"},  {"gold", "yellow"},
      {"ash", "grey"},   {"blood", "red"}};
  static const Fate fates[] = {Fate::lose,   Fate::late,  Fate::twice,
                               Fate::answer, Fate::twice, Fate::answer};
  std::minstd_rand random(seed + 1);
  Questions questions;
  int id = 20;
  for (const auto& [words, answer] : known) {
    Question question{++id, words, answer};
    for (int tries = 0; tries < 3; ++tries)
      question.fates.push_back(fates[(random() >> 8) % std::size(fates)]);
    questions.push_back(question);
  }
  return questions;
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    const Question grass{2, "grass", "green"};
    is_answered({{1, "sky", "blue", {Fate::lose}}});
    is_answered({{1, "sky", "blue"}, grass});
    is_answered({{3, "snow", "white", {Fate::late, Fate::lose}}});
    is_answered({{1, "sky", "blue", {Fate::twice}}, grass});
    is_answered({{1, "sky", "blue", {Fate::twice}},
                 {2, "grass", "green", {Fate::lose}}});
    is_answered({{11, "sky", "blue", {Fate::twice}}, {1, "grass", "green"}});
    is_answered({{4, "coal", "black", {Fate::noise}}});
    is_answered({{1, "sky", "blue"}, {2, "grass", "green", {Fate::flood}}});
    gives_up();
    is_refused();
    const char* seed = std::getenv("SEED");
    const std::string number = seed && *seed ? seed : "7";
    is_answered(plan_of(static_cast<unsigned>(std::atoi(number.c_str()))),
                " The relay's plan was that of SEED=" + number + ".");
  });
}
