// Judges the exercise: a peer that says goodbye, one that vanishes, one that
// falls silent, and one that is slow but never silent for long.
#include EXERCISE

#include "../judge.hpp"

namespace {

const std::string text = "hello, world";

bool is_an_ending(const std::string& word) {
  return word == "done" || word == "reset" || word == "silent";
}

void ends(const peers::Script& peer, const std::string& how,
          const std::string& question,
          const std::string& question_when_it_hangs = {}) {
  for (int tries = 1;; ++tries) {
    const auto [outcome, story, calls] = judge::talk(
        peer,
        [](int descriptor) {
          return ::ending(net::must(net::conn_from(descriptor)));
        },
        question_when_it_hangs);
    if (outcome.value == how) return;
    // A busy machine may be silent for half a second by itself; not thrice.
    if (outcome.value == "silent" && tries < 3) continue;
    judge::wrong(
        story + "\nYour `ending` returned " + judge::quoted(outcome.value) +
            ", but this was " + judge::quoted(how) + "." + calls,
        is_an_ending(outcome.value) ? question
                                    : "Which three words does the task have?");
  }
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    ends(peers::pieces(text, {3, 7}), "done",
         "Which error says that nothing more will ever come?");
    ends(peers::reset_after(text, 3), "reset",
         "Which error did `read` return, and what does it equal?");
    ends(peers::never_read(), "silent",
         "Which error does `read` return when the deadline has passed?",
         "The peer will never say anything. Who ends the wait?");
    ends(peers::drip(text, std::chrono::milliseconds(60)), "done",
         "From when do you count the half second?");
  });
}
