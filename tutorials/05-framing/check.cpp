// Judges the exercise: messages cut at every possible place, all at once, a
// byte at a time, cut short, and one that claims to be four gigabytes long.
#include EXERCISE

#include "../judge.hpp"

namespace {

std::string frame(const std::string& body) {
  std::string head;
  for (const int shift : {24, 16, 8, 0})
    head += static_cast<char>(body.size() >> shift & 0xff);
  return head + body;
}

// Calls read_frame until it fails: the messages, and the last error.
judge::Talk read_frames(const peers::Script& peer, std::size_t limit) {
  return judge::talk(peer, [limit](int descriptor) {
    const auto conn = net::must(net::conn_from(descriptor));
    std::string all;
    for (int i = 0; i < 10; ++i) {
      const auto [body, err] = ::read_frame(conn, limit);
      if (err) return all + err.message();
      all += "[" + body + "] ";
    }
    return all + "and on and on";
  });
}

void gives(const std::string& stream, const std::vector<std::size_t>& cuts,
           const std::string& expected, const std::string& question,
           std::size_t limit = 1000) {
  const auto [outcome, story, calls] =
      read_frames(peers::pieces(stream, cuts), limit);
  if (outcome.value != expected)
    judge::wrong(story + "\nYour read_frame gave " +
                     judge::quoted(outcome.value) + ", and should have given " +
                     judge::quoted(expected) + "." + calls,
                 question);
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    const std::string two = frame("hello") + frame("world");
    const std::string both = "[hello] [world] EOF";
    gives(two, {1}, both, "How many bytes does a read give?");
    gives(two, {}, both, "Where does the second message begin?");
    for (std::size_t cut = 2; cut < two.size(); ++cut)
      gives(two, {cut}, both, "How many bytes does a read give?");
    gives(frame(""), {}, "[] EOF", "How long is an empty message?");
    const std::string long_body(700, 'x');
    gives(frame(long_body), {400}, "[" + long_body + "] EOF",
          "What do the four bytes of 700 look like?");
    gives(frame("hello").substr(0, 7), {}, "unexpected EOF",
          "Is half a message a message?");
    gives(frame("hello").substr(0, 4), {}, "unexpected EOF",
          "The stream ended where a body was promised. Is that a clean end?");
    gives(frame("hello").substr(0, 2), {}, "unexpected EOF",
          "Is half a length a clean end?");
    gives(
        "\xff\xff\xff\xff"
        "hello",
        {}, "limit exceeded",
        "How much memory does your code ask for, and who decides that?");
    gives(frame("hello"), {}, "[hello] EOF", "Is the limit still allowed?", 5);
    gives(frame("hello"), {}, "limit exceeded", "Is more than the limit?", 4);
  });
}
