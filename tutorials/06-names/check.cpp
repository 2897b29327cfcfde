// Judges the exercise: lists of addresses of which none, the first, the second
// or the last answers, and some that are no addresses at all.
#include EXERCISE

#include "../judge.hpp"

namespace {

struct Address {
  std::string text;
  bool answers;
};

// What dial_any should tell of a list: one line for each address that failed,
// then whom it reached, or the first error.
std::string expected(const std::vector<Address>& list) {
  std::string lines, first;
  for (const Address& address : list) {
    if (address.answers) return lines + "connected to " + address.text;
    const std::string message = net::dial("tcp", address.text).error.message();
    if (first.empty()) first = message;
    lines += message + "\n";
  }
  return lines + "none: " + first;
}

std::string as_learner_tells(const std::vector<Address>& list) {
  std::vector<std::string> addrs, failures;
  for (const Address& address : list) addrs.push_back(address.text);
  const auto [conn, err] = ::dial_any(addrs, failures);
  std::string lines;
  for (const std::string& failure : failures) lines += failure + "\n";
  if (err) return lines + "none: " + err.message();
  return lines + "connected to " + net::remote_addr(conn).string();
}

void tries(const std::vector<Address>& list, const std::string& question) {
  std::string story = "The judge gave these addresses:\n";
  for (const Address& address : list)
    story += "  " + address.text +
             (address.answers ? "  (somebody listens there)\n"
                              : "  (nobody to talk to)\n");
  judge::Learner learner([&] { return as_learner_tells(list); });
  const auto outcome = learner.wait(story);
  const std::string right = expected(list);
  if (outcome.value != right)
    judge::wrong(story + "\nYour dial_any told:\n" + outcome.value +
                     "\n\nIt should have told:\n" + right + "\n" +
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
    const Address good{peers::address_of(server), true};
    const Address also{peers::address_of(other), true};
    const Address bad{peers::address_of(closed), false};
    const Address worse{peers::address_of(shut), false};
    const Address nonsense{"::1:80", false};
    tries({good}, "What is there to tell when nothing failed?");
    tries({bad, good}, "Who tries the second address?");
    tries({bad, nonsense, worse, good}, "Which failures did you tell?");
    tries({good, also}, "Was there a reason to go on after the first?");
    tries({bad, worse}, "Which error does the caller want to see?");
  });
}
