// Judges the exercise: a peer that cuts its text at every possible place, one
// that says more than the limit, and one that vanishes.
#include EXERCISE

#include "../judge.hpp"

namespace {

const std::string text = "hello, world";

// The learner's read_all, as text: what it gave, and the error's message.
judge::Talk read_all_from(const peers::Script& peer, std::size_t limit) {
  return judge::talk(peer, [limit](int descriptor) {
    auto conn = net::must(net::conn_from(descriptor));
    auto [given, err] = ::read_all(conn, limit);
    return given + '\n' + err.message();
  });
}

void cut_at(const std::vector<std::size_t>& cuts) {
  const auto [outcome, story, calls] =
      read_all_from(peers::pieces(text, cuts), 1000);
  const std::size_t end = outcome.value.rfind('\n');
  const std::string given = outcome.value.substr(0, end);
  const std::string error = outcome.value.substr(end + 1);
  if (given != text)
    judge::wrong(story + "\nYour read_all gave " + judge::quoted(given) +
                     ", the peer had more to say." + calls,
                 "What does `read` give when nothing more will ever come?");
  if (!error.empty())
    judge::wrong(story + "\nYour read_all gave all of it, but also an error: " +
                     error + "." + calls,
                 "Did anything go wrong?");
}

void more_than(std::size_t limit) {
  const std::string long_text(200000, 'x');
  const auto [outcome, story, calls] =
      read_all_from(peers::pieces(long_text), limit);
  const std::size_t size = outcome.value.rfind('\n');
  if (size != limit)
    judge::wrong(story + "\nThe limit was " + judge::counted(limit, "byte") +
                     ", your read_all gave " + std::to_string(size) + "." +
                     calls,
                 "How much room may a read have when some bytes are here "
                 "already?");
}

void reset() {
  const auto [outcome, story, calls] =
      read_all_from(peers::reset_after(text, 3), 1000);
  if (outcome.value != "hel" && outcome.value.rfind("hel\n", 0) != 0)
    judge::wrong(story + "\nYour read_all gave " +
                     judge::quoted(outcome.value) + "." + calls,
                 "Where is what the peer had said before?");
  if (outcome.value == "hel\n")
    judge::wrong(story +
                     "\nYour read_all gave \"hel\" and no error, as if that "
                     "were all." +
                     calls,
                 "How do the two endings differ, for `read`?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    cut_at({3, 7});
    cut_at({});
    for (std::size_t cut = 1; cut < text.size(); ++cut) cut_at({cut});
    cut_at({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    for (const std::size_t limit : {1u, 63u, 64u, 65u, 10000u})
      more_than(limit);
    reset();
  });
}
