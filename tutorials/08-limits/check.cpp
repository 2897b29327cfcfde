// Judges the exercise: a crowd of which eight may come in, then a table of
// descriptors that is full, then a listener that is closed.
#include EXERCISE

#include "../judge.hpp"

#include <list>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

using std::chrono::milliseconds;

constexpr int room = 8;

// CPU time of this process.
milliseconds cpu_time() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  milliseconds sum{0};
  for (const timeval& time : {used.ru_utime, used.ru_stime})
    sum += milliseconds(time.tv_sec * 1000 + time.tv_usec / 1000);
  return sum;
}

// A client. When it is served it has its echo; it may have been turned away.
struct Client {
  peers::Wire wire;
  int number;
};
using Clients = std::list<Client>;

// The learner's serve_all, with a listener that the judge has made, and with so
// many clients.
class Crowd {
 public:
  // `descriptors`: how many the learner may have, 0 for any number.
  Crowd(int clients, rlim_t descriptors)
      : listener_(peers::socket_on_free_port(peers::Doing::listening)),
        learner([this, clients, descriptors] {
#ifdef __GLIBC__
          ::mallopt(M_ARENA_MAX, 1);  // its memory is limited
#endif
          const int descriptor = ::dup(listener_.get());
          listener_.reset();
          const auto listener = net::must(net::listener_from(descriptor));
          if (descriptors > 0) {
            const rlimit few{descriptors, descriptors};
            ::setrlimit(RLIMIT_NOFILE, &few);
          }
          const auto before = peers::Clock::now();
          const milliseconds used = cpu_time();
          const int code = serve_all(listener, clients);
          const auto took = std::chrono::duration_cast<milliseconds>(
              peers::Clock::now() - before);
          return std::to_string(code) + " " +
                 std::to_string((cpu_time() - used).count()) + " " +
                 std::to_string(took.count());
        }) {
    // They come when it waits for them: then it has its bell.
    const auto soon = peers::Clock::now() + std::chrono::seconds(2);
    while (learner.waiting_call().empty() && peers::Clock::now() < soon)
      std::this_thread::sleep_for(milliseconds(1));
    const std::uint16_t port = peers::port_of(listener_.get(), ::getsockname);
    for (int number = 1; number <= clients; ++number) {
      waiting.push_back({peers::Wire::dial(port).first, number});
      waiting.back().wire.set_over(learner.over());
      waiting.back().wire.send(words(number));
    }
    listener_.reset();
  }

  // Waits until that many clients are inside; or until all threads of the
  // learner have waited for something else, and that so many times.
  void wait_for(std::size_t count, int times = 20) {
    const auto until = peers::deadline();
    for (int idle = 0; idle < times && peers::Clock::now() < until;) {
      std::vector<pollfd> fds{{learner.over(), POLLIN, 0}};
      for (const Client& client : waiting)
        fds.push_back({client.wire.fd(), POLLIN, 0});
      const int news = ::poll(fds.data(), fds.size(), 50);
      let_in();
      if (inside.size() >= count || learner.is_over()) break;
      idle = news > 0 || learner.waiting_call().empty() ? 0 : idle + 1;
    }
  }

  // Moves those that have their echo to the others inside.
  void let_in() {
    for (auto each = waiting.begin(); each != waiting.end();) {
      const auto client = each++;
      if (!peers::wait_for(client->wire.fd(), POLLIN, {})) continue;
      const std::string echo = words(client->number);
      Clients& where =
          client->wire.receive(echo.size()) == echo ? inside : turned_away;
      where.splice(where.end(), waiting, client);
    }
  }

  static std::string words(int number) {
    return "I am number " + std::to_string(number) + ".";
  }

  Clients waiting{}, inside{}, turned_away{};

 private:
  peers::Descriptor listener_;

 public:
  judge::Learner learner;
};

struct Ending {
  int code = 0;
  long used = 0, took = 0;  // ms
};
Ending ending_of(Crowd& crowd, const std::string& story) {
  Ending ending;
  const auto outcome = crowd.learner.wait(story);
  std::sscanf(outcome.value.c_str(), "%d %ld %ld", &ending.code, &ending.used,
              &ending.took);
  return ending;
}

std::string served(std::size_t count) {
  return judge::counted(count, "client") + (count == 1 ? " was" : " were") +
         " served at the same time.";
}

void eight_at_a_time() {
  constexpr int clients = 64;
  Crowd crowd(clients, 0);
  std::string story = "64 clients came.";
  crowd.wait_for(room);
  // Would there be a ninth? Whoever has no limit lets him in by now.
  crowd.wait_for(room + 1, 2);
  if (!crowd.turned_away.empty())
    crowd.learner.wrong(story + " Number " +
                            std::to_string(crowd.turned_away.front().number) +
                            " was turned away.",
                        "What does a client cost you that waits in the queue?");
  if (crowd.inside.size() > room) {
    crowd.wait_for(clients);
    judge::wrong(story + " " + served(crowd.inside.size()),
                 "What keeps the ninth out?");
  }
  if (crowd.inside.size() < room)
    crowd.learner.wrong(
        story + " Only " + served(crowd.inside.size()),
        crowd.inside.size() > 1 || crowd.learner.threads() > 1
            ? "How many may be served at a time?"
            : "Who serves the second client while the first one is served?");

  story += " " + served(room);
  for (int left = 1; left <= clients; ++left) {
    crowd.inside.pop_front();
    const auto next = static_cast<std::size_t>(std::min(room, clients - left));
    crowd.wait_for(next);
    if (crowd.inside.size() > room)
      crowd.learner.wrong(
          story + " Then, when one had left, " + served(crowd.inside.size()),
          "What keeps the ninth out?");
    if (crowd.inside.size() < next)
      crowd.learner.wrong(
          story + " Then " + judge::counted(std::size_t(left), "client") +
              " left" +
              (left == 1 ? ". Nobody took its place."
                         : ", one after the other. Nobody took the last one's "
                           "place."),
          "Who may come in when one has left?");
  }
  const Ending ending =
      ending_of(crowd, "64 clients came, were served, and went.");
  if (ending.code != 0)
    judge::wrong(
        "64 clients came, were served, and went.\nYour serve_all "
        "returned " +
            std::to_string(ending.code) + ".",
        "Did anything go wrong?");
}

// It tries for half a second. Whoever makes the pauses longer waits much longer
// at last than at first, even if a busy machine has made the first one longer.
void its_pauses_grow(const Crowd& crowd, const std::string& story) {
  const auto failures = crowd.learner.failures("accept", "EMFILE");
  const milliseconds first = failures.first_pause;
  const milliseconds last = failures.last_pause;
  if (failures.tries < 6 || last > first + first / 2 + milliseconds(20)) return;
  judge::wrong(story + "\nWhile there was no descriptor, your code tried " +
                   std::to_string(failures.tries) +
                   " times. Its first pause was " +
                   std::to_string(first.count()) + " ms long, the last one " +
                   std::to_string(last.count()) + " ms.",
               "That pause was too short. Should the next one be as short?");
}

// Room for the listener, a bell, and four connections; for three where a bell
// takes two descriptors. So they come in two rounds, or three.
void full_table() {
  constexpr std::size_t clients = 7, descriptors = 9;
  Crowd crowd(clients, descriptors);
  crowd.wait_for(clients, 3);
  std::this_thread::sleep_for(milliseconds(500));  // it stays full for a while
  crowd.let_in();
  const std::size_t first = crowd.inside.size();
  std::string story = "7 clients came, but only " + std::to_string(first) +
                      " descriptors were left for them.";
  std::size_t all = first;
  for (bool goes_on = true; goes_on && all < clients;
       all += crowd.inside.size()) {
    crowd.inside.clear();
    crowd.wait_for(clients - all);
    goes_on = !crowd.inside.empty();
  }
  crowd.inside.clear();
  if (all < clients) {
    story += "\nThose " + std::to_string(first) + " left, and then " +
             (all == first ? std::string("nobody")
                           : std::to_string(all - first) + " of the others") +
             " got an echo.";
    crowd.waiting.clear();
    const Ending ending = ending_of(crowd, story);
    judge::wrong(story + "\nYour serve_all returned " +
                     std::to_string(ending.code) + "." + crowd.learner.calls(),
                 ending.code == 0
                     ? "What does your loop count: clients, or tries?"
                     : "Is that error the end of your server?");
  }
  story += " All had their turn.";
  const Ending ending = ending_of(crowd, story);
  if (ending.code != 0)
    judge::wrong(story + "\nYour serve_all returned " +
                     std::to_string(ending.code) + ".",
                 "Did anything go wrong?");
  if (ending.used > 80 && ending.used * 10 > ending.took)
    judge::wrong(story + "\nIt took " + std::to_string(ending.took) +
                     " ms. For " + std::to_string(ending.used) +
                     " ms of them, your code kept a processor busy." +
                     crowd.learner.calls(),
                 "How long do you wait before you try again?");
  its_pauses_grow(crowd, story);
}

void closed_listener() {
  const std::string story =
      "The judge closed the listener, and called "
      "serve_all.";
  judge::Learner learner([] {
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    net::close(listener);
    return serve_all(listener, 1);
  });
  const auto outcome = learner.wait(story, "Will that error ever go away?");
  if (outcome.code != 1)
    judge::wrong(story + "\nIt returned " + std::to_string(outcome.code) + ".",
                 "What should it return after such an error?");
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    eight_at_a_time();
    full_table();
    closed_listener();
  });
}
