// Judges the exercise: it looks for the server's address among the lines that
// it prints, sends three clients there, and a fourth who comes too late.
#include EXERCISE

#include "../judge.hpp"

#include <algorithm>

namespace {

const std::string called = "The judge called serve_three(\"127.0.0.1:0\").";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string nth(int client) {
  static const char* const words[] = {"first", "second", "third", "fourth",
                                      "fifth"};
  return words[client];
}

std::string message(int client) { return "I am the " + nth(client) + "."; }

// The ports that were printed, each after a colon: "127.0.0.1:50522", and each
// once. A line counts when it is whole.
std::vector<int> ports_in(const std::string& printed) {
  std::vector<int> ports;
  const std::size_t end = printed.rfind('\n') + 1;
  for (std::size_t at = 0; (at = printed.find(':', at)) < end; ++at) {
    const char* const digits = printed.c_str() + at + 1;
    const std::size_t count = std::strspn(digits, "0123456789");
    const int port = count < 6 ? std::atoi(digits) : 0;
    const bool is_new =
        std::find(ports.begin(), ports.end(), port) == ports.end();
    if (count > 0 && is_new) ports.push_back(port);
  }
  return ports;
}

// Where the server listens. Without an address to dial, what is wrong?
std::uint16_t port_of(judge::Learner& learner) {
  const auto has_port = [](const std::string& printed) {
    return !ports_in(printed).empty();
  };
  learner.prints(has_port);
  const std::string printed = learner.printed();
  const std::vector<int> ports = ports_in(printed);
  if (!ports.empty() && ports[0] > 0 && ports[0] < 65536)
    return static_cast<std::uint16_t>(ports[0]);

  if (!ports.empty())
    judge::wrong(
        called + "\nYour server printed" + judge::printed(printed) +
            "\nNobody can dial port 0: it means \"choose one for me\".",
        "Which port did the system choose, and who knows it?");
  const std::string call = learner.waiting_call();
  const std::string said = ", and has printed" + judge::printed(printed);
  if (call.empty()) {
    const auto outcome = learner.wait(called);
    judge::wrong(called + "\nYour server returned " +
                     std::to_string(outcome.code) + said + learner.calls(),
                 "How are its clients to know where it listens?");
  }
  judge::wrong(
      called + "\nYour server sits in " + call + said +
          (printed.empty() ? "\n(Words stay in a buffer until your code says "
                             "std::endl.)"
                           : "\nNo address is among its words."),
      "How are its clients to know where it listens?");
}

// One client could not get in.
[[noreturn]] void refused(judge::Learner& learner, int client, int error) {
  const std::string story =
      "The " + nth(client) +
      " client dialled your server: " + std::strerror(error) + ".";
  if (client == 0)
    learner.wrong(
        story + "\nYour server had printed" + judge::printed(learner.printed()),
        "Is that the port which the system chose?");
  const auto has_two = [](const std::string& printed) {
    return ports_in(printed).size() > 1;
  };
  if (learner.prints(has_two))
    learner.wrong(story + "\nYour server had printed more than one address.",
                  "How many listeners does a server need?");
  const auto outcome = learner.wait(story);
  const std::string saw = story + "\nYour serve_three had returned " +
                          std::to_string(outcome.code) + ", and printed" +
                          judge::printed(outcome.printed);
  if (contains(outcome.printed, "use of closed network connection"))
    judge::wrong(saw + learner.calls(),
                 "Which of the two sockets did it close?");
  judge::wrong(saw + learner.calls(),
               "How many clients has it served, and how many should it serve?");
}

// How many clients it has accepted, of those that it tells.
int accepted(const std::string& calls) {
  int count = 0;
  for (std::size_t at = 0; (at = calls.find("accept(", at)) < calls.size();
       at = calls.find('\n', at))
    count +=
        contains(calls.substr(at, calls.find('\n', at) - at), "EAGAIN") ? 0 : 1;
  return count;
}

// Why a client waits in vain, as a question.
std::string question_about(judge::Learner& learner, const peers::Wire& wire,
                           const std::string& call, int client) {
  if (wire.got().empty())
    return contains(call, "accept")
               ? "Whom does it wait for, while a client waits for it?"
               : "What does your server do, while a client waits?";
  if (client == 0 && contains(call, "recv") && accepted(learner.calls()) == 1)
    return "Your code asks the first client again. Which call brings the "
           "second?";
  return "Who closes a connection?";
}

// What one client read, to the end of the stream.
std::string told(judge::Learner& learner, peers::Wire& wire, int client) {
  wire.set_over(learner.over());
  wire.send(message(client));
  try {
    return wire.receive_all();
  } catch (const peers::Waited&) {
    const std::string call = learner.waiting_call();
    learner.wrong(
        "The " + nth(client) + " client wrote " +
            judge::quoted(message(client)) + " and read " +
            judge::quoted(wire.got()) +
            ". Then it waited for the end of the stream, in vain." +
            (call.empty() ? "" : "\nYour server sits in " + call + "."),
        question_about(learner, wire, call, client));
  }
}

void serves(judge::Learner& learner, std::uint16_t port, int client) {
  auto [wire, error] = peers::Wire::dial(port);
  if (error != 0) refused(learner, client, error);
  const std::string got = told(learner, wire, client);
  if (got == "Thanks! Got your message:" + message(client)) return;
  const std::string story = "The " + nth(client) + " client wrote " +
                            judge::quoted(message(client)) + " and read " +
                            judge::quoted(got) + ", then the stream " +
                            (wire.was_reset() ? "was reset." : "ended.");
  if (client > 0 && got.empty()) refused(learner, client, ECONNRESET);
  learner.wrong(story, got.empty() ? "Who talks to that client?"
                                   : "What should that client be told?");
}

// Whether another one, after the three, is served; he may get into the queue.
bool serves_one_more(judge::Learner& learner, std::uint16_t port, int client) {
  auto [wire, error] = peers::Wire::dial(port);
  if (error != 0) return false;
  wire.set_over(learner.over());
  wire.send(message(client));
  try {
    return !wire.receive_all().empty();
  } catch (const peers::Waited&) {
    learner.wrong("Three clients were served. Your server goes on.",
                  "When is its work done?");
  }
}

// Somebody else has the address already.
void tells_that_it_is_taken() {
  const auto holder = peers::socket_on_free_port(peers::Doing::listening);
  const std::string taken = "127.0.0.1:" + std::to_string(peers::port_of(
                                               holder.get(), ::getsockname));
  const std::string story = "Somebody else listens on " + taken +
                            ". The judge called\nserve_three(" +
                            judge::quoted(taken) + ").";
  judge::Learner learner([&] { return serve_three(taken); });
  const auto outcome = learner.wait(story);
  if (outcome.code == 1 && contains(outcome.printed, "address already in use"))
    return;
  judge::wrong(story + "\nIt returned " + std::to_string(outcome.code) +
                   ", and printed" + judge::printed(outcome.printed),
               "How does a server know that it does not listen?");
}

void ends_after_three(judge::Learner& learner, std::uint16_t port) {
  if (serves_one_more(learner, port, 3)) {
    const bool is_endless = serves_one_more(learner, port, 4);
    learner.wrong(std::string("Three clients were served, and then a fourth") +
                      (is_endless ? " and a fifth." : "."),
                  is_endless ? "What ends the loop?"
                             : "From which number does your server count, and "
                               "to which?");
  }
  const auto outcome = learner.wait("Three clients were served.");
  if (outcome.code != 0)
    judge::wrong("Three clients were served. Then serve_three returned " +
                     std::to_string(outcome.code) + ", and had printed" +
                     judge::printed(outcome.printed),
                 "Did anything go wrong?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    judge::Learner learner([] { return serve_three("127.0.0.1:0"); });
    const std::uint16_t port = port_of(learner);
    for (int client = 0; client < 3; ++client) serves(learner, port, client);
    ends_after_three(learner, port);
    tells_that_it_is_taken();
  });
}
