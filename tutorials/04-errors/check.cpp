// Judges the exercise: a peer that says goodbye, one that vanishes, two that
// fall silent, and one that is slow but never silent for long.
#include EXERCISE

#include "../judge.hpp"

namespace {

const std::string text = "hello, world";

bool is_an_ending(const std::string& word) {
  return word == "done" || word == "reset" || word == "silent";
}

// How long its last wait was that ended in vain, in milliseconds, as it asked
// for; 0 when its calls do not tell.
int last_wait(const std::string& calls) {
  const std::size_t end = calls.rfind(" ms) = 0");
  if (end == std::string::npos) return 0;
  return std::atoi(calls.c_str() + calls.rfind(' ', end - 1));
}

// Half a second, or what a busy machine has left of it.
bool is_half_a_second(int wait) {
  return wait == 0 || (wait > 300 && wait < 700);
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
    const int wait = how == "silent" ? last_wait(calls) : 0;
    if (outcome.value == how && is_half_a_second(wait)) return;
    // A busy machine may be silent for half a second by itself; not thrice.
    if (outcome.value == "silent" && wait < 700 && tries < 3) continue;
    if (outcome.value == how)
      judge::wrong(story +
                       "\nYour `ending` returned \"silent\" when nothing "
                       "had come for " +
                       std::to_string(wait) + " ms." + calls,
                   "How many milliseconds are half a second, and for which of "
                   "your reads?");
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
    ends(
        [](peers::Wire& wire) {
          wire.send(std::string_view(text).substr(0, 3));
          wire.wait_until_over();
        },
        "silent",
        "Which error does `read` return when the deadline has passed?",
        "The peer will never say more. Who ends the wait?");
    ends(peers::drip(text, std::chrono::milliseconds(60)), "done",
         "From when do you count the half second?");
  });
}
