// Judges the exercise: a peer that says goodbye, one that vanishes, one that
// falls silent, and one that is slow but never silent for long.
#include EXERCISE

#include "../judge.hpp"

namespace {

const std::string text = "hello, world";

void ends(const peers::Script& peer, const std::string& how,
          const std::string& question) {
  for (int tries = 1;; ++tries) {
    const auto [outcome, story, calls] = judge::talk(peer, [](int descriptor) {
      return ::ending(net::must(net::conn_from(descriptor)));
    });
    if (outcome.value == how) return;
    // A busy machine may be silent for half a second by itself; not thrice.
    if (outcome.value == "silent" && tries < 3) continue;
    judge::wrong(story + "\nYour `ending` said " +
                     judge::quoted(outcome.value) + ", but this was " +
                     judge::quoted(how) + "." + calls,
                 question);
  }
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    ends(peers::pieces(text, {3, 7}), "done",
         "Which error says that nothing more will ever come?");
    ends(peers::reset_after(text, 3), "reset",
         "Which error did `read` give, and what does it equal?");
    ends(peers::never_read(), "silent",
         "Which error does a deadline give when it has passed?");
    ends(peers::drip(text, std::chrono::milliseconds(60)), "done",
         "From when do you count the half second?");
  });
}
