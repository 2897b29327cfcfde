// Judges the exercise: lists of addresses of which none, the first, the second
// or the last answers, and some that are no addresses at all.
#include EXERCISE

#include "../judge.hpp"

namespace {

struct Address {
  std::string text;
  const peers::Descriptor* listener = nullptr;  // where somebody listens
};
using Addresses = std::vector<Address>;

// What dial_any should tell of a list, or did tell.
struct Told {
  Strings failures{};
  std::string connected{};
  std::string error{};

  std::string words() const {
    std::string text;
    for (const std::string& failure : failures)
      text += "\n  the failure: " + failure;
    if (!connected.empty()) text += "\n  a connection to " + connected;
    if (!error.empty()) text += "\n  the error: " + error;
    if (error.empty() && connected.empty())
      text += "\n  no error, but no connection either";
    return text;
  }
};

Told expected(const Addresses& list) {
  Told told;
  for (const Address& address : list) {
    if (address.listener) return {told.failures, address.text, {}};
    const std::string message = net::dial("tcp", address.text).error.message();
    if (told.error.empty()) told.error = message;
    told.failures.push_back(message);
  }
  return told;
}

// The learner's answer travels as lines: its errors have none of their own.
std::string as_learner_tells(const Addresses& list) {
  Strings addrs, failures;
  for (const Address& address : list) addrs.push_back(address.text);
  const auto [conn, err] = ::dial_any(addrs, failures);
  std::string lines = net::remote_addr(conn).string() + "\n";
  lines += err.message() + "\n";
  for (const std::string& failure : failures)
    lines += failure.substr(0, failure.find('\n')) + "\n";
  return lines;
}

Told parsed(const std::string& text) {
  Strings lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return {{lines.begin() + 2, lines.end()}, lines[0], lines[1]};
}

// Who was dialled; the judge takes those calls, so that they count once.
bool was_dialled(const Address& address) {
  if (!address.listener) return false;
  bool was = false;
  while (peers::wait_for(address.listener->get(), POLLIN, {})) {
    peers::Descriptor call(::accept(address.listener->get(), nullptr, nullptr));
    was = true;
  }
  return was;
}

// The first one in the list that would answer.
std::size_t answering(const Addresses& list) {
  std::size_t i = 0;
  while (i < list.size() && !list[i].listener) ++i;
  return i;
}

std::string question_about(const Addresses& list,
                           const std::vector<bool>& dialled, const Told& told,
                           const Told& right) {
  const std::size_t good = answering(list);
  const bool has_good = good < list.size();
  for (std::size_t i = good + 1; i < list.size(); ++i)
    if (dialled[i]) return "Was there a reason to go on after the first?";
  if (has_good && !dialled[good])
    return good == 1 ? "Who tries the second address?"
                     : "Who tries the addresses after that one?";
  if (has_good && (!told.error.empty() || told.connected.empty()))
    return "One of them answered. What does the caller want to have, then?";
  if (!has_good && told.error.empty())
    return "None of them answered. How is the caller to know?";
  if (told.failures.size() > right.failures.size())
    return "What is there to tell when nothing failed?";
  if (told.failures.size() < right.failures.size())
    return "Which failures did your code leave out?";
  if (told.failures != right.failures)
    return "What does the error itself say of each failure?";
  return "Which of the errors should the caller see, when all have failed?";
}

void tries(const Addresses& list) {
  std::string story = "The judge called dial_any with these addresses:";
  for (const Address& address : list)
    story += "\n  " + address.text +
             (address.listener ? "  (somebody listens there)"
                               : "  (nobody to talk to)");
  judge::Learner learner([&] { return as_learner_tells(list); });
  const Told told = parsed(learner.wait(story).value);
  const Told right = expected(list);
  std::vector<bool> dialled;
  for (const Address& address : list) dialled.push_back(was_dialled(address));
  const std::string question = question_about(list, dialled, told, right);
  if (told.words() == right.words() &&
      question != "Was there a reason to go on after the first?")
    return;
  if (told.words() == right.words())
    judge::wrong(story +
                     "\nIt returned what it should, but then it dialled "
                     "another one." +
                     learner.calls(),
                 question);
  judge::wrong(story + "\nIt returned:" + told.words() +
                   "\nIt should have returned:" + right.words() +
                   learner.calls(),
               question);
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    using peers::Doing;
    const auto server = peers::socket_on_free_port(Doing::listening);
    const auto other = peers::socket_on_free_port(Doing::listening);
    const auto closed = peers::socket_on_free_port(Doing::nothing);
    const auto shut = peers::socket_on_free_port(Doing::nothing);
    const Address good{peers::address_of(server), &server};
    const Address also{peers::address_of(other), &other};
    const Address bad{peers::address_of(closed), nullptr};
    const Address worse{peers::address_of(shut), nullptr};
    const Address nonsense{"::1:80", nullptr};
    tries({good});
    tries({bad, good});
    tries({bad, nonsense, worse, good});
    tries({good, also});
    tries({bad, worse});
  });
}
