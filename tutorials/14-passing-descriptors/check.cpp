// Judges the exercise: eleven workers, each of which replaces the one before,
// while clients dial all the time; and one client who is in the middle of its
// conversation each time.
#include EXERCISE

#include "../judge.hpp"

#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <optional>

namespace {

using namespace std::chrono_literals;

constexpr int restarts = 10;
const std::string message = "Hello Server! Greetings.";
const std::string thanks = "Thanks! Got your message:" + message;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string nth(int worker) { return "worker " + std::to_string(worker + 1); }
std::string capital(std::string text) {
  return text[0] = static_cast<char>(std::toupper(text[0])), text;
}

// -- The nursery ------------------------------------------------------------

// How a worker came to its end. The judge's own descriptors do not count.
struct Ending {
  char how = 'l';  // it returned, crashed, or left in another way
  int code = 0;    // what work returned; a signal; an exit code
  int before = 0;  // open sockets
  int after = 0;
};

int open_sockets() {
  int count = 0;
  for (int fd = 0; fd < 100; ++fd) {
    struct stat status {};
    count += ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
  }
  return count;
}

// A process without threads, which starts workers: those who are forked off a
// process with threads may start none, say sanitizers. One byte asks for a
// worker; what it tells has one of these a line.
//   + PROCESS           it is there
//   - PROCESS WORDS     and how it ended: returned CODE BEFORE AFTER, or
//                       crashed SIGNAL, or left CODE
class Nursery {
 public:
  Nursery(const std::string& address, const std::string& door)
      : learner_([this, address, door] { return live(address, door); }) {
    asks_.from.reset();
    tells_.to.reset();
    ::fcntl(tells_.from.get(), F_SETFL, O_NONBLOCK);
  }

  judge::Learner& learner() { return learner_; }

  pid_t start() {
    if (::write(asks_.to.get(), "+", 1) != 1) peers::fail("write");
    while (started_.empty()) listen();
    const pid_t worker = started_.back();
    started_.clear();
    return worker;
  }

  // Nothing while it lives.
  std::optional<Ending> ending(pid_t worker) {
    listen(0ms);
    for (const auto& [pid, ending] : endings_)
      if (pid == worker) return ending;
    return {};
  }
  std::optional<Ending> wait(pid_t worker) {
    const auto until = peers::deadline();
    while (!ending(worker) && peers::Clock::now() < until) listen(20ms);
    return ending(worker);
  }

 private:
  // In the nursery's own process.
  int live(const std::string& address, const std::string& door) {
    asks_.to.reset();
    for (;;) {
      char byte;
      const auto soon = peers::Clock::now() + 20ms;
      if (peers::wait_for(asks_.from.get(), POLLIN, soon)) {
        if (::read(asks_.from.get(), &byte, 1) != 1) return 0;
        const pid_t worker = ::fork();
        if (worker == 0) begin(address, door);
        tell("+ " + std::to_string(worker));
      }
      int status = 0;
      for (pid_t gone; (gone = ::waitpid(-1, &status, WNOHANG)) > 0;) {
        const std::string who = "- " + std::to_string(gone);
        if (WIFSIGNALED(status))
          tell(who + " crashed " + std::to_string(WTERMSIG(status)));
        else
          tell(who + " left " + std::to_string(WEXITSTATUS(status)));
      }
    }
  }

  // In a worker's process.
  [[noreturn]] void begin(const std::string& address, const std::string& door) {
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    asks_.from.reset();
    const int before = open_sockets();
    const int code = work(address, door);
    tell("- " + std::to_string(::getpid()) + " returned " +
         std::to_string(code) + " " + std::to_string(before) + " " +
         std::to_string(open_sockets()));
    ::_exit(0);
  }

  void tell(const std::string& line) {
    const std::string whole = line + "\n";
    if (::write(tells_.to.get(), whole.data(), whole.size()) < 0) ::_exit(1);
  }

  // In the judge's.
  void listen(std::chrono::milliseconds limit = 10s) {
    const auto until = peers::Clock::now() + limit;
    if (!peers::wait_for(tells_.from.get(), POLLIN, until)) return;
    char buffer[4096];
    const ssize_t n = ::read(tells_.from.get(), buffer, sizeof buffer);
    if (n == 0) throw std::runtime_error("the nursery has gone");
    if (n > 0) heard_.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end; (end = heard_.find('\n')) != std::string::npos;) {
      take(heard_.substr(0, end));
      heard_.erase(0, end + 1);
    }
  }

  void take(const std::string& line) {
    char how[16] = "";
    int pid = 0;
    Ending ending;
    std::sscanf(line.c_str() + 1, "%d %15s %d %d %d", &pid, how, &ending.code,
                &ending.before, &ending.after);
    if (line[0] == '+') return started_.push_back(pid);
    ending.how = how[0];
    endings_.emplace_back(pid, ending);
  }

  judge::Pipe asks_{};
  judge::Pipe tells_{};
  judge::Learner learner_;
  std::string heard_{};
  std::vector<pid_t> started_{};
  std::vector<std::pair<pid_t, Ending>> endings_{};
};

// -- Clients ----------------------------------------------------------------

// A client who has been greeted, or why not.
struct Client {
  peers::Wire wire;
  std::string failure;
  pid_t worker = 0;
};

std::string end_of(const peers::Wire& wire) {
  return wire.was_reset() ? std::strerror(ECONNRESET) : "the end of the stream";
}

Client greeted(std::uint16_t port) {
  auto [wire, error] = peers::Wire::dial(port);
  Client client{std::move(wire), error ? std::strerror(error) : ""};
  std::string line;
  while (error == 0 && (line.empty() || line.back() != '\n')) {
    const std::string byte = client.wire.receive(1);
    if (byte.empty()) break;
    line += byte;
  }
  if (std::sscanf(line.c_str(), "I am worker %d.", &client.worker) != 1 &&
      client.failure.empty())
    client.failure = end_of(client.wire);
  return client;
}

// Its answer, to the end of the stream.
std::string answer_to(Client& client) {
  client.wire.send(message);
  return client.wire.receive_all();
}

// Dials all the time, from a thread of its own, until it is not served.
class Crowd {
 public:
  explicit Crowd(std::uint16_t port)
      : thread_([this, port] {
          while (!is_over_ && failure_.empty()) dial(port);
        }) {}
  ~Crowd() { end(); }
  void end() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  bool has_failed() const { return has_failed_; }
  std::size_t served() const { return served_; }
  const std::string& failure() const { return failure_; }  // after end

 private:
  void dial(std::uint16_t port) {
    try {
      Client client = greeted(port);
      if (client.worker == 0)
        failure_ = client.failure;
      else if (answer_to(client) != thanks)
        failure_ = "no answer but " + judge::quoted(client.wire.got());
      else
        ++served_;
    } catch (const std::exception&) {
      return;  // time is up, which others tell better
    }
    has_failed_ = !failure_.empty();
  }

  std::string failure_{};
  std::atomic<bool> has_failed_{false};
  std::atomic<bool> is_over_{false};
  std::atomic<std::size_t> served_{0};
  std::thread thread_;
};

// The number of the socket that listens on a port of 127.0.0.1: two sockets
// have two. 0 where the system does not tell.
unsigned long socket_on(std::uint16_t port) {
  std::ifstream table("/proc/net/tcp");
  char start[64];
  std::snprintf(start, sizeof start, ": 0100007F:%04X 00000000:0000 0A", port);
  for (std::string line; std::getline(table, line);) {
    const std::size_t at = line.find(start);
    unsigned long number = 0;
    if (at == std::string::npos) continue;
    std::sscanf(line.c_str() + at + std::strlen(start),
                " %*s %*s %*s %*s %*s %lu", &number);
    return number;
  }
  return 0;
}

// The door of the workers: a name without a file on Linux, a file elsewhere.
class Door {
 public:
#if defined(__linux__) && !defined(NETLITE_PORTABLE)
  Door() : address_("@judge-" + std::to_string(::getpid())) {}
#else
  Door() {
    const char* temporary = std::getenv("TMPDIR");
    folder_ = std::string(temporary ? temporary : "/tmp") + "/judge-XXXXXX";
    if (!::mkdtemp(folder_.data())) peers::fail("mkdtemp");
    address_ = folder_ + "/door";
  }
  ~Door() {
    ::unlink(address_.c_str());
    ::rmdir(folder_.c_str());
  }
#endif
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  const std::string& address() const { return address_; }
  bool is_open() const {
    if (!folder_.empty()) return ::access(address_.c_str(), F_OK) == 0;
    std::ifstream table("/proc/net/unix");
    const std::string all{std::istreambuf_iterator<char>(table), {}};
    return all.empty() || contains(all, " " + address_ + "\n");
  }
  // Gives a worker time to open it, after it has begun to serve.
  void wait_until_open() const {
    const auto until = peers::Clock::now() + 1s;
    while (!is_open() && peers::Clock::now() < until)
      std::this_thread::sleep_for(2ms);
  }

 private:
  std::string folder_{};
  std::string address_{};
};

// -- The judge --------------------------------------------------------------

class Trial {
 public:
  explicit Trial(const peers::Descriptor& keeps_port)
      : port_(peers::port_of(keeps_port.get(), ::getsockname)),
        nursery_(peers::address_of(keeps_port), door_.address()) {}

  void judge() {
    begin(0);
    listener_ = socket_on(port_);
    crowd_.emplace(port_);
    for (int i = 1; i <= restarts; ++i) replace(i);
    crowd_->end();
    if (crowd_->has_failed()) missed(restarts, crowd_->failure());
  }

 private:
  std::string calls(int i) const {
    return judge::Trace::get().calls_of(workers_.at(std::size_t(i)));
  }
  std::string waiting(int i) const {
    return judge::Trace::get().waiting(workers_.at(std::size_t(i)));
  }
  std::string its_calls(int i) const {
    const std::string all = calls(i);
    return all.empty() ? "" : "\nThe calls of " + nth(i) + ":" + all;
  }
  std::optional<Ending> ending(int i) {
    return nursery_.ending(workers_.at(std::size_t(i)));
  }
  // What was printed since the last worker began; it may be on its way.
  std::string printed() {
    const auto soon = peers::Clock::now() + 200ms;
    const auto words = [&] {
      return nursery_.learner().printed().substr(said_);
    };
    while (words().empty() && peers::Clock::now() < soon)
      std::this_thread::sleep_for(5ms);
    return "\nIt had printed" + judge::printed(words());
  }
  static std::string ended(int i, const Ending& ending) {
    const std::string code = std::to_string(ending.code);
    const std::string who = capital(nth(i));
    if (ending.how == 'r') return who + " returned " + code + ".";
    if (ending.how == 'c')
      return who + " crashed: signal " + code + ", " +
             ::strsignal(ending.code) + ".";
    return who + " left its work, with exit code " + code + ".";
  }

  // Starts a worker, and waits until a client has met it.
  void begin(int i) {
    said_ = nursery_.learner().printed().size();
    workers_.push_back(nursery_.start());
    try {
      for (;;) {
        Client client = greeted(port_);
        if (client.worker == workers_.back()) {
          answer_to(client);
          return;
        }
        if (ending(i)) ended_at_once(i);
        if (client.worker == 0 && i > 0) missed(i, client.failure);
        if (client.worker == 0) std::this_thread::sleep_for(1ms);
        if (client.worker != 0) answer_to(client);
        if (peers::Clock::now() > peers::deadline() - 1s)
          throw peers::Waited("");
      }
    } catch (const peers::Waited&) {
      nobody_greets(i);
    }
  }

  void replace(int i) {
    slow_.emplace(greeted(port_));
    if (slow_->worker == 0) missed(i, slow_->failure);
    door_.wait_until_open();
    begin(i);
    same_socket(i);
    finishes(i - 1, i);
    if (crowd_->has_failed()) missed(i, crowd_->failure());
    has_left(i - 1, i);
  }

  // Somebody who has been greeted by the old one, and took its time.
  void finishes(int i, int next) {
    std::string got;
    try {
      got = answer_to(*slow_);
    } catch (const peers::Waited&) {
      got = slow_->wire.got();
    }
    if (got != thanks)
      judge::wrong(
          "A client was greeted by " + nth(i) + ". When " + nth(next) +
              " was there, the client wrote " + judge::quoted(message) +
              " and read " + judge::quoted(got) + ", then the stream " +
              (slow_->wire.was_reset() ? "was reset." : "ended.") +
              its_calls(i),
          "Who finishes a conversation that " + nth(i) + " has begun?");
    slow_.reset();
  }

  // A descriptor that has travelled is the same socket.
  bool is_new_socket() {
    const unsigned long now = socket_on(port_);
    return now != listener_ && now != 0 && listener_ != 0;
  }
  void same_socket(int i) {
    if (is_new_socket())
      judge::wrong(capital(nth(i)) + " listens on the same port as " +
                       nth(i - 1) +
                       " did, but on another socket: it has opened the port "
                       "anew." +
                       its_calls(i),
                   "For how long does nobody listen?");
  }

  // The old one is done, and has left nothing open.
  void has_left(int i, int next) {
    const auto end = nursery_.wait(workers_.at(std::size_t(i)));
    const std::string story = capital(nth(next)) + " serves.";
    if (!end)
      judge::wrong(
          story + " But " + nth(i) + " did not return" +
              (waiting(i).empty() ? "." : ", it sits in " + waiting(i) + ".") +
              its_calls(i),
          "Both have the listener now. How does " + nth(i) +
              " know that it is done?");
    if (end->how != 'r' || end->code != 0)
      judge::wrong(story + " " + ended(i, *end) + printed() + its_calls(i),
                   "What went wrong, after the listener was passed on?");
    if (end->after > end->before)
      judge::wrong(
          capital(nth(i)) + " began with " +
              peers::counted(std::size_t(end->before), "socket") +
              " open, and ended with " + std::to_string(end->after) +
              ". A server that does so a thousand times has no descriptors "
              "left." +
              its_calls(i),
          "Which descriptor does nobody close?");
  }

  // Somebody dialled, and was not served. If the old worker has hung up on
  // the slow client as well, or if the new one does not come to serve, that is
  // the story.
  [[noreturn]] void missed(int i, const std::string& failure) {
    const auto soon = peers::Clock::now() + 200ms;
    if (slow_ && slow_->worker != 0 &&
        peers::wait_for(slow_->wire.fd(), POLLIN, soon))
      finishes(i - 1, i);
    while (peers::Clock::now() < peers::deadline() - 500ms) {
      if (ending(i)) ended_at_once(i);
      if (contains(waiting(i), "accept")) break;
      std::this_thread::sleep_for(5ms);
    }
    judge::wrong("While " + nth(i) + " took over from " + nth(i - 1) +
                     ", a client dialled, and got: " + failure + "." +
                     (is_new_socket() ? "\nAs to " + nth(i) +
                                            ", it has opened the port anew."
                                      : "") +
                     its_calls(i - 1) + its_calls(i),
                 "For how long does nobody listen?");
  }

  // A worker has ended before it served anybody.
  [[noreturn]] void ended_at_once(int i) {
    const Ending end = *ending(i);
    if (end.how == 'c')
      judge::wrong(ended(i, end) + printed() + its_calls(i),
                   "Which of its lines ran last?");
    const std::string story = (i > 0 ? capital(nth(i - 1)) + " served. Then " +
                                           nth(i) + " was started. "
                                     : "The judge started worker 1. ") +
                              ended(i, end) + printed();
    if (i == 0)
      judge::wrong(story + its_calls(i),
                   "Who should listen, if not the first?");
    const std::string mine = calls(i);
    const std::string theirs = calls(i - 1);
    if (contains(mine, "recv(3, \"\\x00\""))
      judge::wrong(story + its_calls(i),
                   "Which call takes only the byte, and which one takes what "
                   "came with it?");
    if (contains(theirs, "EBADF"))
      judge::wrong(story + its_calls(i - 1),
                   "What is the descriptor of a listener that is closed?");
    if (contains(mine, "EADDRINUSE") && contains(mine, "bind(") &&
        contains(mine.substr(mine.rfind("bind(")), ", " + door_.address()))
      judge::wrong(story + its_calls(i),
                   "At whose door did it want to listen, and who was still "
                   "there?");
    if (contains(mine, "EADDRINUSE"))
      judge::wrong(
          story + its_calls(i),
          i > 1 && (contains(mine, "ECONNREFUSED") || contains(mine, "ENOENT"))
              ? "At which door does the third one knock, and who "
                "opens it?"
              : "Who has that port already, and how could it give it "
                "to you?");
    if (contains(theirs, "send(") && !contains(theirs, "sendmsg("))
      judge::wrong(story + its_calls(i - 1),
                   "What does the number of a descriptor mean in another "
                   "process?");
    judge::wrong(story + its_calls(i - 1) + its_calls(i),
                 "What did it wait for at the door, and what came?");
  }

  [[noreturn]] void nobody_greets(int i) {
    const std::string call = waiting(i);
    const std::string sits =
        call.empty() ? "" : " " + capital(nth(i)) + " sits in " + call + ".";
    if (i == 0)
      judge::wrong(
          "The judge started worker 1, and dialled. Nobody greeted "
          "it." +
              sits + its_calls(i),
          "Who serves, while the worker waits at its door?");
    judge::wrong(
        capital(nth(i)) + " was started, while a client of " + nth(i - 1) +
            " was in the middle of its conversation. Then " + nth(i) +
            " greeted nobody." + sits + its_calls(i - 1) + its_calls(i),
        "What does it wait for, and must that last as long as the slowest "
        "client?");
  }

  std::uint16_t port_;
  Door door_{};
  std::optional<Client> slow_{};
  std::optional<Crowd> crowd_{};  // goes after those whom it dials
  Nursery nursery_;
  std::vector<pid_t> workers_{};
  unsigned long listener_ = 0;
  std::size_t said_ = 0;
};

// Keeps a port for a worker: bound, and nobody listens.
peers::Descriptor kept_port() {
  peers::Descriptor fd(
      peers::out_of_the_way(::socket(AF_INET, SOCK_STREAM, 0)));
  const sockaddr_in address = peers::loopback(0);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof address) != 0)
    peers::fail("bind");
  return fd;
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    const peers::Descriptor port = kept_port();
    Trial(port).judge();
  });
}
