// Judges the exercise: a peer that cuts its text at every possible place, one
// that says more than the limit, and one that vanishes.
#include EXERCISE

#include "../judge.hpp"

namespace {

const std::string text = "hello, world";

// What the learner's read_all returned.
struct Answer {
  std::string given{};
  std::string error{};
  std::size_t left = 0;  // what it has not read
  std::string story{};
  std::string calls{};

  [[noreturn]] void wrong(const std::string& what,
                          const std::string& question) const {
    judge::wrong(story + "\nYour read_all returned " + what + "." + calls,
                 question);
  }
};

// How many bytes are left in a connection, up to its end. Those of its calls
// that stand under a high number are not the learner's.
std::size_t left_in(const peers::Descriptor& fd) {
  std::size_t left = 0;
  char buffer[16384];
  const auto until = peers::deadline();
  while (peers::wait_for(fd.get(), POLLIN, until)) {
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0)
      left += static_cast<std::size_t>(n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
      break;
  }
  return left;
}

Answer read_all_from(const peers::Script& peer, std::size_t limit,
                     const std::string& question_when_it_hangs = {}) {
  const auto [outcome, story, calls] = judge::talk(
      peer,
      [limit](int descriptor) {
        const peers::Descriptor same(::fcntl(descriptor, F_DUPFD, 100));
        auto conn = net::must(net::conn_from(descriptor));
        auto [given, err] = ::read_all(conn, limit);
        return std::to_string(left_in(same)) + '\n' + err.message() + '\n' +
               given;
      },
      question_when_it_hangs);
  const std::string& value = outcome.value;
  const std::size_t left = value.find('\n') + 1;
  const std::size_t end = value.find('\n', left);
  return {value.substr(end + 1), value.substr(left, end - left),
          std::stoul(value), story, calls};
}

// Whoever takes a short read for the end reads on after a long one.
bool takes_a_short_read_for_the_end() {
  const auto long_text = peers::pieces(std::string(100, 'x'));
  return read_all_from(long_text, 1000).given.size() == 100;
}

bool begins_with(const std::string& longer, const std::string& part) {
  return longer.compare(0, part.size(), part) == 0;
}

std::string question_about(const std::string& given) {
  if (given.size() > text.size())
    return "How many bytes of the buffer are new, and what knows that?";
  if (!begins_with(text, given) || given.empty())
    return "Where are the other pieces?";
  return takes_a_short_read_for_the_end()
             ? "A read returned less than there was room for. Must that have "
               "been the last?"
             : "What does `read` return when nothing more will ever come?";
}

void cut_at(const std::vector<std::size_t>& cuts) {
  const Answer answer = read_all_from(peers::pieces(text, cuts), 1000);
  if (answer.given != text)
    answer.wrong(judge::quoted(answer.given), question_about(answer.given));
  if (!answer.error.empty())
    answer.wrong("all of it, and also an error: " + answer.error,
                 "Is the end of the stream a failure, for somebody who wanted "
                 "everything?");
}

void more_than(std::size_t limit) {
  const std::string long_text(200000, 'x');
  const Answer answer = read_all_from(
      peers::pieces(long_text), limit,
      "What does a read return that has room for no bytes, and how often?");
  const std::size_t size = answer.given.size();
  const std::string story = answer.story + "\nThe limit was " +
                            judge::counted(limit, "byte") +
                            ", your read_all returned " + std::to_string(size);
  if (size > limit)
    judge::wrong(story + "." + answer.calls,
                 size - limit < 64
                     ? "How much room may the last read have?"
                     : "What ends your loop when the peer never stops?");
  if (size < limit)
    judge::wrong(story + "." + answer.calls,
                 "There was more. Why did it stop?");
  if (const std::size_t read = long_text.size() - answer.left; read > limit)
    judge::wrong(story + ". But it had read " + judge::counted(read, "byte") +
                     "." + answer.calls,
                 "What happened to the bytes after the limit?");
  if (!answer.error.empty())
    judge::wrong(
        story + ", and also an error: " + answer.error + "." + answer.calls,
        "Did anything go wrong, or was that what the caller wanted?");
}

void reset() {
  const Answer answer = read_all_from(peers::reset_after(text, 3), 1000);
  const std::string error =
      answer.error.empty() ? "no error" : "the error " + answer.error;
  const std::string what = judge::quoted(answer.given) + " and " + error;
  if (answer.error.empty())
    answer.wrong(what + ", as if that were all",
                 "How do the two endings differ, for `read`?");
  if (answer.given != "hel")
    answer.wrong(what, "Where is what the peer had said before?");
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
