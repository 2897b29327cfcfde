// Judges the exercise: greet() where nobody listens, and where a peer does.
#include EXERCISE

#include "../judge.hpp"

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void nobody_listens() {
  const auto nobody = peers::socket_on_free_port(peers::Doing::nothing);
  const std::string address = peers::address_of(nobody);
  const std::string story = "Nobody listens on " + address + ".";

  judge::Learner learner([&] { return greet(address); });
  const auto outcome = learner.wait(story);
  const std::string saw = story + "\nYour greet printed " +
                          judge::quoted(outcome.printed) + " and returned " +
                          std::to_string(outcome.code) + ".";
  if (outcome.code == 0)
    judge::wrong(saw + "\nA program that returns 0 says: all went well.",
                 "How can greet know that it did not?");
  if (!contains(outcome.printed, "connection refused"))
    judge::wrong(saw + "\nNobody can tell from this what went wrong.",
                 "Which words does the error itself have for it?");
  if (outcome.code != 1)
    judge::wrong(saw, "Which exit code did the task ask for?");
  if (contains(outcome.printed, "Received"))
    judge::wrong(saw + "\nBut nothing was received.",
                 "What should greet not do any more, once it has failed?");
}

void somebody_listens() {
  const std::string hello = "Hello Server! Greetings.";
  const std::string thanks = "Thanks! Got your message:" + hello;
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::string address = peers::address_of(listener);

  judge::Learner learner([&] { return greet(address); });
  std::string story = "A peer listened on " + address + ".";
  try {
    peers::Wire wire = peers::Wire::accept(listener);
    wire.receive(hello.size());
    wire.send(thanks);
    wire.close();
    story = wire.story();
  } catch (const peers::Waited& waited) {
    story += std::string("\n") + waited.what();
  }
  const auto outcome = learner.wait(story);
  if (outcome.code != 0 || !contains(outcome.printed, thanks))
    judge::wrong(story + "\nYour greet printed " +
                     judge::quoted(outcome.printed) + " and returned " +
                     std::to_string(outcome.code) + ".",
                 "What does greet do when all is well?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    nobody_listens();
    somebody_listens();
  });
}
