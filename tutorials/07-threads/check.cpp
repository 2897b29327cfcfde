// Judges the exercise: two clients who talk in turns, one who resets, and then
// fifty who all stay until the last of them has its answer. Built with the
// thread sanitizer, where there is one, it also hears of races.
#include EXERCISE

#include "../judge.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

using std::chrono::milliseconds;

// The learner's serve_all, with a listener that the judge has made.
class Server {
 public:
  explicit Server(int clients)
      : listener_(peers::socket_on_free_port(peers::Doing::listening)),
        port_(peers::port_of(listener_.get(), ::getsockname)),
        learner([this, clients] {
#ifdef __GLIBC__
          ::mallopt(M_ARENA_MAX, 1);  // its memory is limited
#endif
          const int descriptor = ::dup(listener_.get());
          listener_.reset();
          return serve_all(net::must(net::listener_from(descriptor)), clients);
        }) {
    listener_.reset();
  }

  peers::Wire dial(const std::string& story) {
    auto [wire, error] = peers::Wire::dial(port_);
    if (error != 0)
      learner.wrong(story + " The next one was turned away: " +
                        std::strerror(error) + ".",
                    "How many clients shall be accepted?");
    wire.set_over(learner.over());
    return std::move(wire);
  }

  // Waits for the echo of this text; false when none comes: all of the
  // learner's threads wait for something else.
  bool echoes(peers::Wire& wire, const std::string& text) {
    const std::size_t before = wire.got().size();
    const auto until = peers::deadline();
    int idle = 0;
    while (wire.got().size() < before + text.size() && idle < 15) {
      const auto soon =
          std::min(peers::Clock::now() + milliseconds(100), until);
      peers::wait_for(wire.fd(), POLLIN, soon, learner.over());
      if (peers::wait_for(wire.fd(), POLLIN, {})) {
        if (wire.receive(1).empty()) return false;
      } else if (learner.is_over() || peers::Clock::now() >= until) {
        return false;
      } else {
        idle = learner.waiting_call().empty() ? 0 : idle + 1;
      }
    }
    return wire.got().substr(before) == text;
  }

  // The client ends the conversation properly.
  void ends(peers::Wire& wire, const std::string& story) {
    wire.half_close();
    try {
      wire.receive_all();
    } catch (const peers::Waited&) {
      learner.wrong(story +
                        "\nOne of them ended its half, and waited for the end "
                        "of the stream, in vain.",
                    "Who closes a connection?");
    }
  }

 private:
  peers::Descriptor listener_;
  std::uint16_t port_;

 public:
  judge::Learner learner;
};

// It has returned: without a race, and with this count?
void has_counted(Server& server, const std::string& story, int right,
                 const std::string& too_many) {
  const auto outcome = server.learner.wait(story);
  if (judge::has_race(outcome.printed)) {
    const std::string place = judge::place_in(outcome.printed);
    judge::wrong(story +
                     "\nMeanwhile the thread sanitizer saw a race: two threads "
                     "used the same variable\nat the same time, and at least "
                     "one of them changed it." +
                     place,
                 "Which threads use it, and what keeps them from doing so at "
                 "once?");
  }
  if (outcome.code == right) return;
  judge::wrong(
      story + "\nYour serve_all returned " + std::to_string(outcome.code) + ".",
      outcome.code > right ? too_many
      : outcome.code == 0
          ? "Had all threads ended when you looked at the count?"
          : "Two threads add 1 at the same moment. How much more is "
            "that?");
}

void two_at_once() {
  const std::string hello = "I am the first.", other = "I am the second.";
  Server server(2);
  judge::Learner& learner = server.learner;
  std::string story = "The first client";
  peers::Wire first = server.dial(story);
  first.send(hello);
  if (!server.echoes(first, hello))
    learner.wrong(story + " wrote " + judge::quoted(hello) + " and read " +
                      judge::quoted(first.got()) + ".",
                  "Who talks to that client, and when?");

  story += " got its echo, and stayed.";
  peers::Wire second = server.dial(story);
  second.send(other);
  if (!server.echoes(second, other))
    learner.wrong(
        story + "\nThe second one wrote " + judge::quoted(other) +
            " and waited for its echo, in vain.",
        learner.threads() > 1
            ? "A thread serves the first client. Who waits for its end?"
            : "Who serves the second client while the first one is served?");

  story += "\nThe second one got its echo, too.";
  const std::string again = "Still here.";
  first.send(again);
  if (!server.echoes(first, again)) {
    const bool is_astray = peers::wait_for(second.fd(), POLLIN, {}) &&
                           second.receive(again.size()) == again;
    learner.wrong(story + "\nThen the first one wrote " + judge::quoted(again) +
                      (is_astray ? ", and the second one received it!"
                                 : ", and got no answer."),
                  "Which connection does a thread use: its own, or whatever a "
                  "variable holds by then?");
  }

  const std::string all = "Two clients got their echoes.";
  server.ends(first, all);
  server.ends(second, all);
  has_counted(server, all + " Both ended the conversation.", 2,
              "How many clients were there?");
}

void one_resets() {
  const std::string hello = "Hello!";
  Server server(3);
  std::string story = "Three clients came and got their echoes.";
  for (int client = 0; client < 3; ++client) {
    peers::Wire wire = server.dial(story);
    wire.send(hello);
    if (!server.echoes(wire, hello))
      server.learner.wrong("The next client wrote " + judge::quoted(hello) +
                               " and got no answer.",
                           "Who talks to that client?");
    if (client == 1)
      wire.reset();
    else
      server.ends(wire, story);
  }
  has_counted(server, story + " The second one reset its connection.", 2,
              "What does echo tell you about the client that reset?");
}

void many_at_once() {
  constexpr int clients = 50;
  Server server(clients);
  const std::string story = "50 clients came, and all stayed.";
  std::vector<peers::Wire> wires;
  for (int client = 0; client < clients; ++client) {
    wires.push_back(server.dial(story));
    wires.back().send("I am number " + std::to_string(client) + ".");
  }
  for (int client = 0; client < clients; ++client) {
    if (server.echoes(wires[std::size_t(client)],
                      "I am number " + std::to_string(client) + "."))
      continue;
    server.learner.wrong(
        story + " Number " + std::to_string(client) + " got no echo.",
        "How many threads may run at a time?");
  }
  for (peers::Wire& wire : wires) server.ends(wire, story);
  has_counted(server, "50 clients came at once, got their echoes, and went.",
              clients, "How many clients were there?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    two_at_once();
    one_resets();
    many_at_once();
  });
}
