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
  // Whoever has something to say to it calls before it begins.
  explicit Server(int clients, const std::string& words = {})
      : listener_(peers::socket_on_free_port(peers::Doing::listening)),
        port_(peers::port_of(listener_.get(), ::getsockname)),
        first(words.empty() ? peers::Wire(peers::Descriptor())
                            : peers::Wire::dial(port_).first),
        learner([this, clients, words] {
#ifdef __GLIBC__
          ::mallopt(M_ARENA_MAX, 1);  // its memory is limited
#endif
          first.send(words);
          first.close();
          const int descriptor = ::dup(listener_.get());
          listener_.reset();
          return serve_all(net::must(net::listener_from(descriptor)), clients);
        }) {
    listener_.reset();
    first.set_over(learner.over());
  }

  peers::Wire dial(const std::string& story) {
    auto [wire, error] = peers::Wire::dial(port_);
    if (error != 0)
      learner.wrong(story + " The next one was turned away: " +
                        std::strerror(error) + ".",
                    "How many clients should be accepted?");
    wire.set_over(learner.over());
    return std::move(wire);
  }

  // Waits for the echo of this text; false when none comes: all of the
  // learner's threads wait for something else.
  bool echoes(peers::Wire& wire, const std::string& text) {
    const std::size_t before = wire.got().size();
    const auto until = peers::deadline();
    int idle = 0;
    while (wire.got().size() < before + text.size() && idle < 10) {
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

  // The clients end their conversations properly, all at once.
  void ends(std::vector<peers::Wire>& wires, const std::string& story) {
    for (peers::Wire& wire : wires) wire.half_close();
    try {
      for (peers::Wire& wire : wires) wire.receive_all();
    } catch (const peers::Waited&) {
      learner.wrong(
          story +
              "\nThen it ended its half, and waited for the end of the "
              "stream, in vain.",
          "Who closes a connection?");
    }
  }

 private:
  peers::Descriptor listener_;
  std::uint16_t port_;

 public:
  peers::Wire first;
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
                 "Which threads use it, and what keeps them, and the main one, "
                 "from doing so at once?");
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
  Server server(2, hello);
  judge::Learner& learner = server.learner;
  std::string story = "The first client";
  std::vector<peers::Wire> wires;
  wires.push_back(std::move(server.first));
  if (!server.echoes(wires[0], hello))
    learner.wrong(story + " wrote " + judge::quoted(hello) + " and read " +
                      judge::quoted(wires[0].got()) + ".",
                  "Who talks to that client, and when?");

  story += " got its echo, and stayed.";
  wires.push_back(server.dial(story));
  wires[1].send(other);
  if (!server.echoes(wires[1], other))
    learner.wrong(
        story + "\nThe second one wrote " + judge::quoted(other) +
            " and waited for its echo, in vain.",
        learner.threads() > 1
            ? "A thread serves the first client. Who waits for its end?"
            : "Who serves the second client while the first one is served?");

  story += "\nThe second one got its echo, too.";
  const std::string again = "Still here.";
  wires[0].send(again);
  if (!server.echoes(wires[0], again)) {
    const bool is_astray = peers::wait_for(wires[1].fd(), POLLIN, {}) &&
                           wires[1].receive(again.size()) == again;
    learner.wrong(story + "\nThen the first one wrote " + judge::quoted(again) +
                      (is_astray ? ", and the second one received it!"
                                 : ", and got no answer."),
                  "Which connection does a thread use: its own, or whatever a "
                  "variable holds by then?");
  }

  server.ends(wires, "Two clients got their echoes.");
  has_counted(server, "Two clients got their echoes, and went.", 2,
              "How many clients were there?");
}

void one_resets() {
  const std::string hello = "Hello!";
  Server server(3);
  for (const char* nth : {"first", "second", "third"}) {
    const std::string story =
        std::string("Of three clients, the ") + nth + " one ";
    std::vector<peers::Wire> wires;
    wires.push_back(server.dial("Three clients came in turn."));
    wires[0].send(hello);
    if (!server.echoes(wires[0], hello))
      server.learner.wrong(
          story + "wrote " + judge::quoted(hello) + " and got no answer.",
          "Who talks to that client?");
    if (nth == std::string("second"))
      wires[0].reset();
    else
      server.ends(wires, story + "got its echo.");
  }
  has_counted(server,
              "Three clients got their echoes. The second one reset its "
              "connection.",
              2, "What does echo tell you about the client that reset?");
}

void many_at_once() {
  constexpr int clients = 50;
  Server server(clients);
  const std::string story = "50 clients came, and all stayed.";
  const auto words = [](int client) {
    return "I am number " + std::to_string(client) + ".";
  };
  std::vector<peers::Wire> wires;
  for (int client = 1; client <= clients; ++client) {
    wires.push_back(server.dial(story));
    wires.back().send(words(client));
  }
  for (int client = 1; client <= clients; ++client) {
    if (server.echoes(wires[std::size_t(client - 1)], words(client))) continue;
    server.learner.wrong(
        story + " Number " + std::to_string(client) + " got no echo.",
        "How many threads may run at a time?");
  }
  server.ends(wires, "50 clients came at once, and got their echoes.");
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
