// Judges the exercise: three clients, and a fourth who comes too late.
#include EXERCISE

#include "../judge.hpp"

namespace {

std::string nth(int client) {
  static const char* const words[] = {"first", "second", "third", "fourth"};
  return words[client];
}

// The port of "Listening on 127.0.0.1:50522".
std::uint16_t port_in(const std::string& line) {
  const std::size_t colon = line.rfind(':');
  if (colon == std::string::npos) return 0;
  return static_cast<std::uint16_t>(std::atoi(line.c_str() + colon + 1));
}

void serves(judge::Learner& learner, std::uint16_t port, int client) {
  const std::string message = "I am the " + nth(client) + ".";
  const std::string expected = "Thanks! Got your message:" + message;
  const std::string who = "The " + nth(client) + " client";

  auto [wire, error] = peers::Wire::dial(port);
  if (error != 0)
    learner.wrong(who + " dialled your server: " + std::strerror(error) + ".",
                  "What does your server do when a talk is over?");
  wire.send(message);
  try {
    wire.receive_all();
  } catch (const peers::Waited&) {
    learner.wrong(who + " wrote " + judge::quoted(message) + " and read " +
                      judge::quoted(wire.got()) +
                      ". Then it waited for the end of the stream, in vain.",
                  "Who closes a connection?");
  }
  if (wire.got() != expected)
    learner.wrong(who + " wrote " + judge::quoted(message) + " and read " +
                      judge::quoted(wire.got()) + ", then the stream " +
                      (wire.was_reset() ? "was reset." : "ended."),
                  "Who talks with that client?");
}

void ends_after_three(judge::Learner& learner, std::uint16_t port) {
  // The fourth may still get into the queue, but nobody may serve it.
  auto [wire, error] = peers::Wire::dial(port);
  if (error == 0) {
    wire.send("I am the fourth.");
    std::string got;
    try {
      got = wire.receive_all();
    } catch (const peers::Waited&) {
      learner.wrong("Three clients were served. Your server goes on.",
                    "Where does it count?");
    }
    if (!got.empty())
      learner.wrong("Three clients were served, and then a fourth: it read " +
                        judge::quoted(got) + ".",
                    "Where does your server count?");
  }
  const auto outcome = learner.wait("Three clients were served.");
  if (outcome.code != 0)
    judge::wrong("Three clients were served. Then serve_three returned " +
                     std::to_string(outcome.code) + ".",
                 "Did anything go wrong?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    judge::Learner learner([] { return serve_three("127.0.0.1:0"); });
    const std::string story = "The judge called serve_three(\"127.0.0.1:0\").";
    const std::string line = learner.line(
        story + "\nIt waits for your server to say where it listens. (Words " +
        "stay in a buffer until\nyour code says std::endl.)");
    const std::uint16_t port = port_in(line);
    if (line.empty())
      judge::wrong(story + "\nYour server returned, and had said nothing.",
                   "How are its clients to know where it listens?");
    if (port == 0)
      judge::wrong(
          story + "\nYour server said " + judge::quoted(line) +
              ".\nNobody can dial port 0: it means \"choose one for me\".",
          "Which port did the system choose, and who knows it?");
    for (int client = 0; client < 3; ++client) serves(learner, port, client);
    ends_after_three(learner, port);
  });
}
