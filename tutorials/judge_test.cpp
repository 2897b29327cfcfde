// What a learner's code may do to the judge, and what the judge makes of it.
// It must survive everything, say it in a clear word, and leave nothing behind.
#include "judge.hpp"

#include <iostream>
#include <string>
#include <vector>

namespace {

int failed = 0;

void expect(const std::string& what, bool is_so, const std::string& seen) {
  if (is_so) return;
  ++failed;
  std::cout << "FAILED: " << what << "\n" << seen << "\n\n";
}

// What the judge says when a learner does this; nothing when it has passed.
template <class F>
std::string verdict_on(F f, judge::Outcome* outcome = nullptr) {
  try {
    judge::Learner learner(f);
    const judge::Outcome seen = learner.wait("The peer did nothing.");
    if (outcome) *outcome = seen;
    return {};
  } catch (const judge::Verdict& verdict) {
    return verdict.text;
  }
}

template <class F>
void says(const std::string& what, const std::vector<std::string>& words, F f) {
  const std::string text = verdict_on(f);
  for (const std::string& word : words)
    expect(what + " is told: " + word, text.find(word) != std::string::npos,
           text);
}

void what_returns_is_passed_on() {
  judge::Outcome outcome;
  std::string text = verdict_on(
      [] {
        std::cout << "printed";
        return 7;
      },
      &outcome);
  expect("an exit code", text.empty() && outcome.code == 7, text);
  expect("what was printed", outcome.printed == "printed", outcome.printed);

  const std::string every_byte("a\0b\n..", 6);
  text = verdict_on([&] { return every_byte; }, &outcome);
  expect("a text", text.empty() && outcome.value == every_byte, outcome.value);
  text = verdict_on([] { return std::string(); }, &outcome);
  expect("an empty text", text.empty() && outcome.value.empty(), text);
}

void what_does_not_return_is_told() {
  says("exit", {"called exit(0): that ends the whole program", "Bye."},
       []() -> int {
         std::cout << "Bye." << std::endl;
         std::exit(0);
       });
  says("_exit", {"ended the whole program, with exit code 3"},
       []() -> std::string { ::_exit(3); });
  says("a signal",
       {"crashed: signal 6, Aborted", "It had printed \"farewell\"."},
       []() -> int {
         std::cout << "farewell" << std::endl;
         std::abort();
       });
  says("a throw", {"threw an exception that nobody caught: int."},
       []() -> int { throw 42; });
  says("an exception", {"nobody caught: std::out_of_range, \"nothing there\""},
       []() -> int { throw std::out_of_range("nothing there"); });
  says("an exception in a thread",
       {"nobody caught: std::runtime_error, \"no\""}, [] {
         std::thread([] { throw std::runtime_error("no"); }).join();
         return 0;
       });
  says("a thread that nobody joins", {"called std::terminate"}, [] {
    std::thread([] { ::pause(); });
    return 0;
  });
#ifndef NETLITE_SANITIZED  // their own memory has no such limit
  says("a loop that eats memory", {"caught: std::bad_alloc"}, [] {
    std::string all;
    for (;;) all.append(1 << 20, 'x');
    return all;
  });
#endif
  says("a loop that prints", {"more than 16 MiB", "Which loop"}, []() -> int {
    const std::string line(4096, 'x');
    for (;;) std::cout << line << std::endl;
  });
}

void what_hangs_is_ended() {
  const auto usual = peers::patience;
  peers::patience = std::chrono::seconds(1);
  says(
      "a loop",
      {"within 1 second.", "It had printed \"round and round\".", "Which loop"},
      []() -> int {
        std::cout << "round and round" << std::endl;
        for (volatile bool on = true; on;) continue;
        return 0;
      });
  says("one that has stopped", {"did not return"}, []() -> int {
    std::raise(SIGSTOP);
    return 0;
  });
  says("one that sleeps", {"within 1 second.", "if not for the network"}, [] {
    std::this_thread::sleep_for(std::chrono::minutes(1));
    return 0;
  });
  says("one that has returned", {"returned, but its program did not end"}, [] {
    std::atexit([] { ::pause(); });
    return 0;
  });
  peers::patience = usual;
}

void what_it_printed_is_shown_in_lines() {
  const auto shows = [](const std::string& printed, const std::string& words) {
    const std::string shown = judge::printed(printed);
    expect("printed is shown as" + words, shown == words, shown);
  };
  shows("", " nothing.");
  shows("\n", " \"\".");
  shows("one", " \"one\".");
  shows("one\n", " \"one\".");
  shows("one \n\ntwo\r\n", ":\n  \"one \"\n  \"\"\n  \"two\\r\"");
  std::string many, last;
  for (char line = 'a'; line <= 'j'; ++line) {
    many += std::string(1, line) + "\n";
    if (line > 'b') last += std::string("\n  \"") + line + "\"";
  }
  shows(many, ":\n  ..." + last);
}

void a_story_fits_the_screen() {
  const std::string word(10, 'x');
  const auto wraps = [](const std::string& text, const std::string& lines) {
    const std::string wrapped = judge::wrapped(text);
    expect("wrapped to: " + lines, wrapped == lines, wrapped);
  };
  const std::string seven = word + " " + word + " " + word + " " + word + " " +
                            word + " " + word + " " + word;  // 76 columns
  wraps("", "");
  wraps(seven + " yy\n\nThe end", seven + " yy\n\nThe end");
  wraps(seven + " yyy", seven + "\nyyy");
  wraps(seven + " " + seven, seven + "\n" + seven);
  wraps("  " + seven + " yyy", "  " + seven + "\n      yyy");
  const std::string endless(100, 'y');
  wraps(endless, endless);
  wraps("  " + endless + " y\n" + word, "  " + endless + "\n      y\n" + word);
}

void much_of_anything_costs_no_waiting() {
  const std::size_t much = 1 << 22;
  judge::Outcome outcome;
  std::string text = verdict_on(
      [] {
        std::cout << std::string(much, 'p') << std::endl;
        return std::string(much, 'v');
      },
      &outcome);
  expect("much that is printed and returned",
         text.empty() && outcome.printed.size() == much + 1 &&
             outcome.value.size() == much,
         text);
}

void what_it_must_not_touch() {
  expect("a signal to its whole group does not reach the judge",
         verdict_on([] {
           return ::kill(0, SIGTERM);
         }).find("signal 15, Terminated") != std::string::npos,
         "");
  judge::Outcome outcome;
  verdict_on(
      [] {
        std::string word;
        return std::cin >> word ? 1 : 0;
      },
      &outcome);
  expect("it reads nothing from the terminal", outcome.code == 0, "");
  expect("it may use up descriptors", verdict_on([] {
                                        while (::dup(0) >= 0) continue;
                                        return 0;
                                      }).empty(),
         "");

  // A process that it starts is ended with it: nobody holds this pipe then.
  judge::Pipe held;
  const std::string text = verdict_on([] {
    if (::fork() == 0)
      for (;;) ::pause();
    return 0;
  });
  expect("a process that stays does not keep the judge waiting", text.empty(),
         text);
  held.to.reset();
  expect("what it has started is gone",
         peers::wait_for(held.from.get(), POLLIN, peers::deadline()), "");
  expect("what it has started tells nothing", verdict_on([] {
                                                if (::fork() == 0) std::exit(3);
                                                return 0;
                                              }).empty(),
         "");
}

void what_it_prints_meanwhile() {
  judge::Learner learner([]() -> int {
    std::cout << "one" << std::endl;
    std::cout << "two" << std::endl;
    std::abort();
  });
  const auto has = [](const char* word) {
    return [word](const std::string& printed) {
      return printed.find(word) != std::string::npos;
    };
  };
  expect("the second line", learner.prints(has("two")), learner.printed());
  expect("a third does not come", !learner.prints(has("three")), "");
  try {
    learner.wrong("The judge waits for three.", "");
  } catch (const judge::Verdict& verdict) {
    expect("a crash instead of a line is told",
           verdict.text.find("three.\nYour code crashed") != std::string::npos,
           verdict.text);
  }
}

// Its calls, and the one that it sits in.
void what_it_calls() {
  const auto usual = peers::patience;
  peers::patience = std::chrono::seconds(1);
  const auto listener = peers::socket_on_free_port(peers::Doing::listening);
  const std::uint16_t port = peers::port_of(listener.get(), ::getsockname);
  // It has connected, without waiting; has sent; and asks before it tries.
  const auto text = verdict_on([&]() -> int {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = peers::loopback(port);
    ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    for (int i = 0; i < 12; ++i) ::send(fd, "x", 1, 0);
    char byte;
    ::recv(fd, &byte, 1, MSG_DONTWAIT);
    ::send(fd, "y", 1, 0);
    pollfd fds{fd, POLLIN, 0};
    ::poll(&fds, 1, -1);
    return 0;
  });
  const auto tells = [&](const std::string& what, const std::string& words) {
    expect(what, text.find(words) != std::string::npos, text);
  };
  tells("the call that it sits in", "It sat in recv(");
  tells("the first calls are left out, and that is told",
        "The calls that your code made:\n  ...\n  send(");
  tells("the last ones are there", "\"y\", 1) = 1\n");
  peers::patience = usual;
}

// What the guard makes of a judge that does this.
template <class F>
void guard_says(const std::string& what, int code, const std::string& words,
                F f) {
  judge::Pipe said;
  const pid_t guard = ::fork();
  if (guard == 0) {
    ::dup2(said.to.get(), STDOUT_FILENO);
    judge::guard::begin();
    f(*judge::guard::word);
    ::pause();
  }
  said.to.reset();
  std::string text(4096, '\0');
  int status = 0;
  ::waitpid(guard, &status, 0);
  const ssize_t n = ::read(said.from.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  text = text.empty() ? text : judge::without_end(text);
  expect(what, WIFEXITED(status) && WEXITSTATUS(status) == code, text);
  expect(what + " is told", text.find(words) != std::string::npos, text);
  expect(what + " fits", judge::wrapped(text) == text, text);
}

void what_happens_around_main() {
  using Word = judge::guard::Word;
  guard_says("a verdict", 77, "", [](Word& word) {
    word.verdict = 77;
    ::_exit(0);
  });
  guard_says("an end before main", 1, "ended the program before main,",
             [](Word&) { ::_exit(0); });
  guard_says("a crash before main", 1,
             "crashed: signal 6, Aborted, before main,",
             [](Word&) { std::abort(); });
  guard_says("an end beside main", 1,
             "ended the program in the judge's own process,", [](Word& word) {
               word.is_in_main = true;
               std::exit(0);
             });
  guard_says("a crash of the judge", 99, "The judge crashed: signal 6, Aborted",
             [](Word& word) {
               word.is_in_main = true;
               std::abort();
             });
  guard_says("a wait before main", 1, "waited for ten seconds before main,",
             [](Word& word) { word.seconds = 1; });
  guard_says("a judge that does not end", 99, "did not come to its end.",
             [](Word& word) {
               word.is_in_main = true;
               word.seconds = 1;
             });
}

}  // namespace

int main() {
  judge::Trace::get();
  what_returns_is_passed_on();
  what_does_not_return_is_told();
  what_hangs_is_ended();
  what_it_printed_is_shown_in_lines();
  a_story_fits_the_screen();
  much_of_anything_costs_no_waiting();
  what_it_must_not_touch();
  what_it_prints_meanwhile();
  what_it_calls();
  what_happens_around_main();
  return failed == 0 ? 0 : 1;
}
