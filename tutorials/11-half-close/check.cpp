// Judges the exercise: two peers, Ann and Bob, talk through the learner's
// relay. They answer before anybody ends, end one half each, send a megabyte
// both ways at once, and one of them resets.
#include EXERCISE

#include "../judge.hpp"

#include <algorithm>

namespace {

// One end of a conversation.
struct Friend {
  std::string name;
  std::string place;
  peers::Wire wire;
};

using Ends = std::pair<peers::Wire, peers::Wire>;

Ends connected() {
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  auto theirs =
      peers::Wire::dial(peers::port_of(listener.get(), ::getsockname));
  if (theirs.second != 0)
    throw std::system_error(theirs.second, std::system_category(), "connect");
  return {std::move(theirs.first), peers::Wire::accept(listener)};
}

const std::string how_many =
    "How many bytes did your read return, and how many do you write?";

// The learner's relay, with Ann at `a` and Bob at `b`; or the other way round.
class Scene {
 public:
  explicit Scene(bool is_mirrored, Ends a = connected(), Ends b = connected())
      : ann{"Ann", is_mirrored ? "b" : "a", std::move(a.second)},
        bob{"Bob", is_mirrored ? "a" : "b", std::move(b.second)},
        learner_([&] {
          ann.wire.close();
          bob.wire.close();
          const Ends& first = is_mirrored ? b : a;
          const Ends& second = is_mirrored ? a : b;
          const int descriptors[] = {::dup(first.first.fd()),
                                     ::dup(second.first.fd())};
          a.first.close();
          b.first.close();
          const net::Conn conn_a = net::must(net::conn_from(descriptors[0]));
          const net::Conn conn_b = net::must(net::conn_from(descriptors[1]));
          const net::Error err = relay(conn_a, conn_b);
          return err ? err.message() : std::string();
        }) {
    ann.wire.set_over(learner_.over());
    bob.wire.set_over(learner_.over());
    story_ = "Ann, at `" + ann.place + "`, and Bob, at `" + bob.place +
             "`, talked through your relay.";
  }

  Friend ann;
  Friend bob;

  void writes(Friend& who, const std::string& text) {
    who.wire.send(text);
    tell(who.name + " wrote " + judge::quoted(text) + ".");
  }
  void ends(Friend& who) {
    who.wire.half_close();
    tell(who.name + " ended its half of the connection.");
  }
  void resets(Friend& who) {
    who.wire.reset();
    tell(who.name + " reset the connection.");
  }

  // Whether somebody reads this; if not, that is told.
  bool reads(Friend& who, const std::string& text) {
    std::string got;
    while (got.size() < text.size() && !who.wire.has_ended() && comes(who))
      got += who.wire.receive(1);
    if (got == text) return tell(who.name + " read it."), true;
    if (text.compare(0, got.size(), got) != 0) {
      tell(who.name + " read " + judge::quoted(got) + ".");
      wrong(how_many);
    }
    tell(who.name +
         (got.empty() ? "" : " read " + judge::quoted(got) + ", and") +
         (who.wire.was_reset()   ? " found the connection reset."
          : who.wire.has_ended() ? " read the end of the stream."
                                 : " waited for it, in vain."));
    return false;
  }

  // Whether somebody reads the end of the stream, and a clean one.
  bool reads_end(Friend& who) {
    std::string more;
    while (more.empty() && !who.wire.has_ended() && comes(who))
      more = who.wire.receive(1);
    if (!more.empty()) {
      tell(who.name + " read more bytes, which nobody had sent.");
      wrong(how_many);
    }
    tell(who.name + (who.wire.was_reset()   ? " found the connection reset."
                     : who.wire.has_ended() ? " read the end of the stream."
                                            : " waited for more, in vain."));
    return who.wire.has_ended() && !who.wire.was_reset();
  }

  void tell(const std::string& sentence) { story_ += "\n" + sentence; }

  [[noreturn]] void wrong(const std::string& question) {
    learner_.wrong(story_, question);
  }

  // The error that the relay has returned, in words.
  std::string returned(const std::string& question) {
    return learner_.wait(story_, question).value;
  }

 private:
  // Whether anything comes. Nobody waits longer than the judge, or than the
  // learner's code can be seen to do nothing.
  bool comes(const Friend& who) {
    const auto soon = peers::Clock::now() + peers::patience / 5;
    for (const auto until = peers::deadline(); peers::Clock::now() < until;) {
      const auto next = peers::Clock::now() + std::chrono::milliseconds(100);
      if (peers::wait_for(who.wire.fd(), POLLIN, next)) return true;
      if (peers::Clock::now() > soon && !learner_.waiting_call().empty())
        return false;
    }
    return false;
  }

  judge::Learner learner_;
  std::string story_{};
};

// -- What can be wrong with a first word, or with an answer ------------------

[[noreturn]] void first_word_is_lost(Scene& scene) {
  if (scene.bob.wire.has_ended()) scene.wrong("Who has ended anything so far?");
  scene.ends(scene.ann);
  if (scene.reads(scene.bob, "ping"))
    scene.wrong(
        "When may the first bytes go on: when they come, or when all "
        "have come?");
  scene.ends(scene.bob);
  if (scene.reads(scene.bob, "ping"))
    scene.wrong("Why do Ann's words have to wait for Bob's end?");
  scene.wrong("What becomes of the bytes that Ann sends?");
}

[[noreturn]] void answer_is_lost(Scene& scene) {
  if (scene.ann.wire.has_ended()) scene.wrong("Who has ended anything so far?");
  scene.ends(scene.ann);
  if (scene.reads(scene.ann, "pong"))
    scene.wrong("Why does Bob's answer have to wait for Ann's end?");
  scene.wrong("Who carries what Bob sends?");
}

[[noreturn]] void second_answer_is_lost(Scene& scene) {
  scene.writes(scene.ann, "Well?");
  if (scene.reads(scene.ann, "pong!"))
    scene.wrong("Bob has more to say. Who says that they take turns?");
  scene.wrong("Does each direction go on after its first bytes?");
}

// -- The scenes ---------------------------------------------------------------

void talk_and_end(bool is_mirrored) {
  Scene scene(is_mirrored);
  Friend& ann = scene.ann;
  Friend& bob = scene.bob;
  scene.writes(ann, "ping");
  if (!scene.reads(bob, "ping")) first_word_is_lost(scene);
  scene.writes(bob, "pong");
  if (!scene.reads(ann, "pong")) answer_is_lost(scene);
  scene.writes(bob, "pong!");
  if (!scene.reads(ann, "pong!")) second_answer_is_lost(scene);

  scene.ends(ann);
  if (!scene.reads_end(bob))
    scene.wrong(bob.wire.was_reset()
                    ? "Ann has ended as one should. Why is Bob's connection "
                      "reset?"
                    : "How does Bob learn that Ann has said everything?");
  scene.writes(bob, "The answer.");
  if (!scene.reads(ann, "The answer."))
    scene.wrong(ann.wire.has_ended()
                    ? "Ann has ended one direction. Who has ended the other?"
                    : "Ann has ended one direction. Who still serves the "
                      "other?");
  scene.ends(bob);
  if (!scene.reads_end(ann))
    scene.wrong(ann.wire.was_reset()
                    ? "Bob has ended as one should. Why is Ann's connection "
                      "reset?"
                    : "How does Ann learn that Bob has said everything?");
  const std::string error =
      scene.returned("Both have ended. What does relay still wait for?");
  if (error.empty()) return;
  scene.tell("Your relay returned the error \"" + error + "\".");
  scene.wrong("Did anything go wrong?");
}

// How much of a text has come, in words.
std::string as_story(const Friend& who, const std::string& got,
                     const std::string& sent) {
  if (got == sent) return who.name + " read all of it.";
  const std::size_t same = static_cast<std::size_t>(
      std::mismatch(got.begin(),
                    got.begin() + static_cast<std::ptrdiff_t>(
                                      std::min(got.size(), sent.size())),
                    sent.begin())
          .first -
      got.begin());
  std::string text = who.name + " read " + judge::counted(got.size(), "byte");
  if (same < std::min(got.size(), sent.size()))
    text += ", and they differ from byte " + std::to_string(same) + " on";
  return text + (who.wire.was_reset()   ? ". Then the connection was reset."
                 : who.wire.has_ended() ? ". Then the stream ended."
                                        : ", and waited for more, in vain.");
}

// A megabyte that looks well among the calls.
std::string megabyte(unsigned seed) {
  std::string text = peers::noise(seed, 1 << 20);
  for (char& c : text)
    c = static_cast<char>('a' + static_cast<unsigned char>(c) % 26);
  return text;
}

// One each way, at the same time.
void talk_at_once() {
  Scene scene(false);
  const std::string from_ann = megabyte(1);
  const std::string from_bob = megabyte(2);
  const auto quietly = [](const auto& act) {
    return std::thread([act] {
      try {
        act();
      } catch (const peers::Waited&) {  // the bytes that came tell the story
      }
    });
  };
  std::thread all[] = {quietly([&] {
                         scene.ann.wire.send(from_ann);
                         scene.ann.wire.half_close();
                       }),
                       quietly([&] {
                         scene.bob.wire.send(from_bob);
                         scene.bob.wire.half_close();
                       }),
                       quietly([&] { scene.ann.wire.receive_all(); }),
                       quietly([&] { scene.bob.wire.receive_all(); })};
  for (std::thread& each : all) each.join();
  scene.tell(
      "Each of them wrote 1048576 bytes, at the same time, and ended "
      "its half.");
  const std::string& to_ann = scene.ann.wire.got();
  const std::string& to_bob = scene.bob.wire.got();
  scene.tell(as_story(scene.ann, to_ann, from_bob));
  scene.tell(as_story(scene.bob, to_bob, from_ann));
  if (to_ann.size() < from_bob.size() || to_bob.size() < from_ann.size())
    scene.wrong("Where are the bytes that are missing?");
  if (to_ann != from_bob || to_bob != from_ann)
    scene.wrong("A read fills a part of the buffer. Which bytes do you write?");
  scene.returned("Both have ended. What does relay still wait for?");
}

void one_resets(bool is_mirrored) {
  Scene scene(is_mirrored);
  scene.writes(scene.ann, "ping");
  if (!scene.reads(scene.bob, "ping")) first_word_is_lost(scene);
  scene.resets(scene.ann);
  if (scene.reads_end(scene.bob))
    scene.wrong("Ann had not said everything. How can Bob tell?");
  if (!scene.bob.wire.was_reset())
    scene.wrong("Ann is gone. Who ends the direction that waits for Bob?");
  const std::string error =
      scene.returned("Nobody is left. What does relay still wait for?");
  if (!error.empty()) return;
  scene.tell("Your relay returned no error.");
  scene.wrong("What did the read return when Ann was gone?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    talk_and_end(false);
    talk_and_end(true);
    talk_at_once();
    one_resets(false);
    one_resets(true);
  });
}
