// Judges the exercise: greet() where nobody listens, where a peer answers, and
// where one resets the connection or hangs up, between two greetings or after.
// The page does not know the word "peer" yet; there, it is the judge.
#include EXERCISE

#include "../judge.hpp"

namespace {

// The second answer is shorter: what is left of the first would show.
const std::vector<std::string> names{"Annabel", "Bob"};

std::string hello(std::size_t name) {
  return "Hello Server! I am " + names[name] + ".";
}
std::string thanks(std::size_t name) {
  return "Thanks! Got your message:" + hello(name);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string seen(const judge::Outcome& outcome) {
  return "\nYour greet returned " + std::to_string(outcome.code) +
         ", and printed" + judge::printed(outcome.printed);
}

// Something failed; the error has these words for it.
void must_be_told(const std::string& story, const judge::Outcome& outcome,
                  const std::string& words, const std::string& question) {
  const std::string saw = story + seen(outcome);
  const bool is_told = contains(outcome.printed, words);
  if (outcome.code == 0)
    judge::wrong(saw + "\nA program that returns 0 says: all went well.",
                 is_told ? "It printed the error. What did it do after that?"
                         : question);
  if (outcome.printed.empty())
    judge::wrong(saw, "Whoever runs it: how should they know why?");
  if (!is_told)
    judge::wrong(saw + "\nThat does not tell why it went wrong.",
                 "Which words does the error itself have for it?");
  if (outcome.code != 1)
    judge::wrong(saw, "Which exit code did the task ask for?");
}

// The error of this call was printed. Nothing may follow it.
void must_be_last(const std::string& saw, const std::string& printed,
                  const std::string& words, const std::string& call) {
  const std::size_t end = printed.find('\n', printed.find(words));
  const std::string rest = printed.substr(std::min(end, printed.size()));
  if (rest.find_first_not_of(" \r\n") == std::string::npos) return;
  for (const char* error : {"network connection", "EOF", "refused", "tcp"})
    if (contains(rest, error))
      judge::wrong(saw, "You printed the error of `" + call +
                            "`, and then a second one. What did greet do "
                            "between the two?");
  judge::wrong(saw, "What else did greet have to do, after the error of `" +
                        call + "`?");
}

void nobody_listens() {
  const auto nobody = peers::socket_on_free_port(peers::Doing::nothing);
  const std::string address = peers::address_of(nobody);
  const std::string story = "Nobody listens on " + address + ".";

  judge::Learner learner([&] { return greet(address, names); });
  const auto outcome = learner.wait(story);
  must_be_told(story, outcome, "connection refused",
               "How can greet know that it did not?");
  if (contains(outcome.printed, "Received"))
    judge::wrong(story + seen(outcome) + "\nBut nothing was received.",
                 "What should greet not do any more, once it has failed?");
  must_be_last(story + seen(outcome), outcome.printed, "connection refused",
               "dial");
}

// Hears a greeting. Whoever dials again says nothing more here.
bool hears(peers::Wire& wire, const peers::Descriptor& listener,
           std::size_t name) {
  peers::wait_for(wire.fd(), POLLIN, peers::deadline(), listener.get());
  if (peers::wait_for(listener.get(), POLLIN, {})) return false;
  const std::size_t before = wire.got().size();
  wire.receive(hello(name).size());
  return wire.got().substr(before) == hello(name);
}

// The next greeting may not come before this one has been answered. Who waits
// for the answer sends nothing meanwhile.
void waits_for_its_answer(judge::Learner& learner, const peers::Wire& wire) {
  learner.wait_until_it_waits(wire.fd());
  char byte;
  if (::recv(wire.fd(), &byte, 1, MSG_PEEK) > 0)
    learner.wrong(wire.story() +
                      "\nBob's greeting came before the judge had answered "
                      "Annabel's.",
                  "When does greet print the first answer?");
}

void is_greeted_by_all(judge::Learner& learner, peers::Wire& wire,
                       const peers::Descriptor& listener) {
  for (std::size_t name = 0; name < names.size(); ++name) {
    const std::size_t before = wire.got().size();
    if (hears(wire, listener, name)) {
      if (name == 0) waits_for_its_answer(learner, wire);
      wire.send(thanks(name));
      continue;
    }
    const std::string got = wire.got().substr(before);
    // Who hangs up may be about to dial again.
    if (got.empty())
      peers::wait_for(listener.get(), POLLIN, peers::deadline(),
                      learner.over());
    if (peers::wait_for(listener.get(), POLLIN, {}))
      learner.wrong(wire.story() + " Then your greet dialled it once more.",
                    "How many greetings can one connection carry?");
    if (!got.empty())
      learner.wrong(wire.story() + "\nThe judge expected " +
                        judge::quoted(hello(name)) + ", and got " +
                        judge::quoted(got) + ".",
                    "What should greet say, and for whom?");
    const std::string story = wire.story() + "\nIt waited for " + names[name] +
                              ", but the connection ended.";
    judge::wrong(story + seen(learner.wait(story)),
                 name == 0 ? "What does the server need to hear first?"
                           : "Who greets the server for the others?");
  }
}

// What is printed after an answer, in the same word, is not part of it.
bool has_something_behind(const std::string& printed, std::size_t name) {
  const std::size_t end = printed.find(thanks(name)) + thanks(name).size();
  return end < printed.size() && !std::strchr("\n\"' .,)", printed[end]);
}

void somebody_answers() {
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::string address = peers::address_of(listener);

  judge::Learner learner([&] { return greet(address, names); });
  peers::Wire wire = judge::caller(learner, listener);
  const std::string story = judge::played(wire, [&](peers::Wire&) {
    is_greeted_by_all(learner, wire, listener);
    wire.wait_until_over();
  });
  const auto outcome = learner.wait(story);
  const std::string saw = story + seen(outcome);
  for (std::size_t name = 0; name < names.size(); ++name) {
    if (!contains(outcome.printed, thanks(name)))
      judge::wrong(saw, "Where is the answer to " + names[name] + "?");
    if (has_something_behind(outcome.printed, name))
      judge::wrong(saw,
                   "How many bytes of the buffer belong to this answer, and "
                   "what knows that?");
  }
  if (outcome.code != 0) judge::wrong(saw, "Did anything go wrong?");
}

// The peer answers the first greeting, and is gone before greet can go on: what
// it does next, it does in vain.
void somebody_leaves_early() {
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::string address = peers::address_of(listener);

  judge::Learner learner([&] { return greet(address, names); });
  peers::Wire wire = judge::caller(learner, listener);
  const std::string story = judge::played(wire, [&](peers::Wire&) {
    wire.receive(hello(0).size());
    learner.hold();
    wire.send(thanks(0));
    wire.wait_until_sent();
    wire.reset();
    learner.go_on();
  });
  const auto outcome = learner.wait(story);
  // Some systems throw away what had arrived before the reset.
  if (!contains(outcome.printed, thanks(0))) return;
  const std::string words = "write tcp";
  const std::string saw =
      story + "\nThat was before Bob's greeting was sent." + seen(outcome);
  if (!contains(outcome.printed, words))
    judge::wrong(saw,
                 "Which call was the first to fail, and who looks at its "
                 "error?");
  must_be_told(story, outcome, words, "How can greet know that it did not?");
  must_be_last(saw, outcome.printed, words, "write");
}

// The peer answers the first greeting, and then vanishes in its own way.
void somebody_leaves(const peers::Script& leave, const std::string& words,
                     const std::string& question) {
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::string address = peers::address_of(listener);

  judge::Learner learner([&] { return greet(address, names); });
  peers::Wire wire = judge::caller(learner, listener);
  const std::string story = judge::played(wire, [&](peers::Wire&) {
    wire.receive(hello(0).size());
    wire.send(thanks(0));
    wire.receive(hello(1).size());
    leave(wire);
  });
  const auto outcome = learner.wait(story);
  must_be_told(story, outcome, words, question);
  if (contains(outcome.printed, "Received: \n"))
    judge::wrong(story + seen(outcome) + "\nBut Bob got no answer.",
                 "What should greet not do any more, once it has failed?");
}

}  // namespace

int main() {
  peers::me = "The judge";
  return judge::run(__FILE__, [] {
    nobody_listens();
    somebody_answers();
    somebody_leaves_early();
    somebody_leaves([](peers::Wire& wire) { wire.reset(); }, "connection reset",
                    "Which call found out that the judge was gone?");
    somebody_leaves([](peers::Wire& wire) { wire.close(); }, "EOF",
                    "What does `read` return when the judge has hung up?");
  });
}
