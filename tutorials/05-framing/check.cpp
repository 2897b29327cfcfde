// Judges the exercise: messages cut at every possible place, all at once, a
// byte at a time, cut short, and some that never end.
#include EXERCISE

#include "../judge.hpp"

#include <algorithm>

namespace {

using Strings = std::vector<std::string>;

// What the learner's read_message returned, call after call, to the first
// error; no more than ten times.
struct Answer {
  Strings messages{};
  std::string error{};
  std::string story{};
  std::string calls{};

  std::string words() const {
    std::string text;
    for (const std::string& message : messages)
      text += (text.empty() ? "" : ", then ") + judge::quoted(message, 80);
    if (!error.empty())
      text +=
          (text.empty() ? "" : ", then ") + std::string("the error ") + error;
    return text;
  }
};

// An error as the task calls it.
std::string name_of(const net::Error& err) {
  if (err == net::eof) return "eof";
  if (err == net::unexpected_eof) return "unexpected_eof";
  if (err == net::limit_exceeded) return "limit_exceeded";
  return err.message();
}

std::string as_one(const Strings& texts) {
  std::string all;
  for (const std::string& text : texts)
    all += std::to_string(text.size()) + ":" + text;
  return all;
}

Strings taken_apart(const std::string& all) {
  Strings texts;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t size = std::stoul(all.substr(at));
    at = all.find(':', at) + 1;
    texts.push_back(all.substr(at, size));
    at += size;
  }
  return texts;
}

Answer read_messages(const peers::Script& peer, std::size_t limit) {
  const auto [outcome, story, calls] =
      judge::talk(peer, [limit](int descriptor) {
        net::Reader reader(net::must(net::conn_from(descriptor)));
        Strings texts;
        for (int i = 0; i < 10; ++i) {
          const auto [message, err] = ::read_message(reader, limit);
          if (err) return as_one(texts) + as_one({name_of(err)});
          texts.push_back(message);
        }
        return as_one(texts) + as_one({""});
      });
  Answer answer{taken_apart(outcome.value), {}, story, calls};
  answer.error = answer.messages.back();
  answer.messages.pop_back();
  return answer;
}

std::string without(std::string text, char c) {
  text.erase(std::remove(text.begin(), text.end(), c), text.end());
  return text;
}

// What is wrong with a message; the question of the case when it is not clear.
std::string question_about(const std::string& got, const std::string& right,
                           const std::string& otherwise) {
  if (got == right + "\n") return "Is the empty line part of the message?";
  if (got != right && without(got, '\n') == without(right, '\n'))
    return "What comes after each line of a message?";
  if (got.size() < right.size() && right.compare(0, got.size(), got) == 0)
    return "Where does a message end: after a line, or after an empty one?";
  return otherwise;
}

// The stream has these messages, and ends with this error.
void has(const std::string& stream, const std::vector<std::size_t>& cuts,
         const Strings& messages, const std::string& error,
         const std::string& question, std::size_t limit = 1000) {
  const Answer answer = read_messages(peers::pieces(stream, cuts), limit);
  if (answer.messages == messages && answer.error == error) return;
  const std::string of = limit == 1000 ? "\nYour read_message returned "
                                       : "\nThe limit was " +
                                             judge::counted(limit, "byte") +
                                             ". Your read_message returned ";
  const Answer right{messages, error, {}, {}};
  std::string ask = question;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (i < answer.messages.size() && answer.messages[i] == messages[i])
      continue;
    if (i < answer.messages.size())
      ask = question_about(answer.messages[i], messages[i], question);
    break;
  }
  if (answer.messages.size() == 10)
    ask = "What does read_message return when the stream has ended?";
  judge::wrong(answer.story + of + answer.words() +
                   ".\nIt should have returned " + right.words() + "." +
                   answer.calls,
               ask);
}

void never_ends(const std::string& text, const std::string& question) {
  const Answer answer = read_messages(peers::pieces(text), 1000);
  if (answer.messages.empty() && answer.error == "limit_exceeded") return;
  std::string got = answer.words();
  if (!answer.messages.empty())
    got = "a message of " + judge::counted(answer.messages[0].size(), "byte");
  judge::wrong(answer.story +
                   "\nThe limit was 1000 bytes. Your read_message "
                   "returned " +
                   got +
                   ".\nIt should have returned the error limit_exceeded." +
                   answer.calls,
               question);
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  while (times-- > 0) all += text;
  return all;
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    const std::string two = "To: Bob\nHello!\n\nBye.\n\n";
    const Strings both{"To: Bob\nHello!\n", "Bye.\n"};
    const std::string middle = "Was the peer in the middle of a message?";
    has(two, {}, both, "eof", middle);
    for (std::size_t cut = 1; cut < two.size(); ++cut)
      has(two, {cut}, both, "eof", "What becomes of the rest of a read?");
    has("\nBye.\n\n", {}, {"", "Bye.\n"}, "eof",
        "How long is a message that has no lines?");
    has("To: Bob\nHel", {}, {}, "unexpected_eof",
        "Is half a message a message?");
    has("To: Bob\n", {}, {}, "unexpected_eof",
        "A line has ended, but no message. Can the caller tell that from a "
        "clean end?");
    never_ends(std::string(100000, 'x'),
               "How long may one line be, and who says so?");
    never_ends(repeated("ha\n", 100000),
               "Every line is short. How much memory does your code take, and "
               "who decides that?");
    has("Bye.\n\n", {}, {"Bye.\n"}, "eof",
        "A message of exactly `limit` bytes is allowed. Which of your lines "
        "refuses it, or leaves no room for the empty line behind it?",
        5);
    has("Bye.\n\n", {}, {}, "limit_exceeded", "Is that more than the limit?",
        4);
    has("By\ne\n\n", {}, {}, "limit_exceeded", "Is that more than the limit?",
        4);
  });
}
