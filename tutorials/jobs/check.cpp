// Judges the job runner: check PROGRAM starts it, sends it jobs, keeps it busy,
// and replaces it ten times meanwhile. Like its clients, the judge knows
// nothing of the program but what stands on the page.
#include "../judge.hpp"

#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>

namespace {

using namespace std::chrono_literals;

constexpr int jobs = 1000;
constexpr int clients = 16;
constexpr int restarts = 10;
constexpr auto at_most = 60s;  // for all of it
constexpr unsigned nobody = 65534;

std::string program;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}
template <class Test>
bool comes_true(Test test, peers::Clock::time_point until = peers::deadline()) {
  while (!test()) {
    if (peers::Clock::now() > until) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// A folder that is gone at the end, also when the judge is killed: a process
// that nobody interrupts waits for that. It ends the jobs that are left, too:
// each runner has a session of its own, which its jobs belong to.
class Folder {
 public:
  Folder() {
    const char* temporary = std::getenv("TMPDIR");
    path_ = std::string(temporary ? temporary : "/tmp") + "/jobs-XXXXXX";
    if (!::mkdtemp(path_.data())) peers::fail("mkdtemp");
    ::chmod(path_.c_str(), 0755);  // another user shall find the socket
    janitor_ = ::fork();
    if (janitor_ < 0) peers::fail("fork");
    if (janitor_ == 0) wait_and_clean();
    alive_.from.reset();
  }
  ~Folder() {
    alive_.to.reset();
    ::waitpid(janitor_, nullptr, 0);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void remember(pid_t session) const {
    if (::write(alive_.to.get(), &session, sizeof session) < 0)
      peers::fail("write");
  }

 private:
  [[noreturn]] void wait_and_clean() {
    ::setsid();
    alive_.to.reset();
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    std::vector<pid_t> sessions;
    pid_t session = 0;
    while (::read(alive_.from.get(), &session, sizeof session) > 0)
      sessions.push_back(session);
    std::error_code none;
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc", none)) {
      const int process = std::atoi(entry.path().filename().c_str());
      const pid_t its = process > 1 ? ::getsid(process) : 0;
      if (its > 1 && std::count(sessions.begin(), sessions.end(), its) > 0)
        ::kill(process, SIGKILL);
    }
    ::execlp("rm", "rm", "-rf", path_.c_str(), nullptr);
    ::_exit(1);
  }

  std::string path_{};
  judge::Pipe alive_{};
  pid_t janitor_ = -1;
};

// -- The program ------------------------------------------------------------

class Runner {
 public:
  Runner(const std::string& path, std::string words)
      : words_(std::move(words)) {
    const std::string mine = program;
    pid_ = ::fork();
    if (pid_ < 0) peers::fail("fork");
    if (pid_ > 0) return;
    ::setsid();
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    const int out = ::open(words_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(::open("/dev/null", O_RDONLY), 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    for (int fd = 3; fd < 256; ++fd) ::close(fd);
    ::unsetenv("NETLITE_TRACE");
    ::execl(mine.c_str(), "jobs", path.c_str(), nullptr);
    ::_exit(127);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner() {
    if (has_ended()) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  bool has_ended() {
    return has_ended_ ||
           (has_ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_);
  }
  bool ended_well() {
    return has_ended() && WIFEXITED(status_) && WEXITSTATUS(status_) == 0;
  }
  void tell(int signal) const { ::kill(pid_, signal); }
  pid_t pid() const { return pid_; }

  // `It ended with exit code 1, and had printed ...`
  std::string story() {
    const std::string printed = judge::printed(text_of(words_));
    if (!has_ended()) return "It has printed" + printed;
    return (WIFSIGNALED(status_)
                ? "It was ended by signal " + std::to_string(WTERMSIG(status_))
                : "It ended with exit code " +
                      std::to_string(WEXITSTATUS(status_))) +
           ", and had printed" + printed;
  }

  // How many sockets it has open; -1 where the system does not tell.
  int sockets() const {
    int count = 0;
    const std::string folder = "/proc/" + std::to_string(pid_) + "/fd/";
    if (::access(folder.c_str(), R_OK) != 0) return -1;
    for (int fd = 0; fd < 1024; ++fd) {
      char target[64] = "";
      const std::string link = folder + std::to_string(fd);
      count += ::readlink(link.c_str(), target, sizeof target - 1) > 0 &&
               std::strncmp(target, "socket:", 7) == 0;
    }
    return count;
  }

 private:
  std::string words_;
  pid_t pid_ = -1;
  bool has_ended_ = false;
  int status_ = 0;
};

// -- A client ---------------------------------------------------------------

// What came of a request.
struct Answer {
  int error = 0;  // of the connect
  bool in_time = true;
  std::string text{};

  bool has(const std::string& line) const {
    return contains("\n" + text, "\n" + line);
  }
  std::string story() const {
    if (error) return "could not connect: " + std::string(std::strerror(error));
    return "read" + (text.empty() ? " nothing" : judge::printed(text)) +
           (in_time ? "" : "\nand waited for the end of the stream, in vain");
  }
};

class Client {
 public:
  explicit Client(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address),
                  sizeof address) != 0)
      answer_.error = errno;
  }
  Client& send(const std::string& text) {
    if (answer_.error == 0 &&
        ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0)
      answer_.error = errno;
    return *this;
  }
  // Reads to the end of the stream, or to a line that begins so.
  Answer read(const std::string& last = {}) {
    const auto until = peers::deadline();
    while (answer_.error == 0 && (last.empty() || !answer_.has(last))) {
      if (!peers::wait_for(fd_.get(), POLLIN, until)) {
        answer_.in_time = false;
        break;
      }
      char buffer[4096];
      const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (n <= 0) break;
      answer_.text.append(buffer, static_cast<std::size_t>(n));
    }
    return answer_;
  }
  int fd() const { return fd_.get(); }
  int error() const { return answer_.error; }

 private:
  peers::Descriptor fd_;
  Answer answer_{};
};

Answer ask(const std::string& path, const std::string& request) {
  return Client(path).send(request + "\n").read();
}

// The number that stands behind a word, such as that of "out".
int number_in(const Answer& answer, const std::string& word) {
  const std::size_t at = ("\n" + answer.text).find("\n" + word + " ");
  return at == std::string::npos
             ? 0
             : std::atoi(answer.text.c_str() + at + word.size() + 1);
}

// -- The judge --------------------------------------------------------------

class Trial {
 public:
  void judge() {
    peers::the_end = peers::Clock::now() +
                     std::max<std::chrono::seconds>(at_most, peers::patience);
    runner_ = started();
    if (!comes_true([&] { return runner_->has_ended() || answers(); }))
      judge::wrong("Nobody answers at PATH. " + runner_->story(),
                   "Who listens there?");
    if (runner_->has_ended())
      judge::wrong("The judge started your runner. " + runner_->story(),
                   "When does a server end?");
    runs_jobs();
    refuses_nonsense();
    serves_many();
    keeps_deadlines();
    refuses_others();
    is_replaced();
    keeps_all_under_load();
    stops();
  }

 private:
  std::unique_ptr<Runner> started() {
    auto runner = std::make_unique<Runner>(
        path_, folder_.file("words-" + std::to_string(++runners_)));
    folder_.remember(runner->pid());
    return runner;
  }
  bool answers() const { return Client(path_).error() == 0; }
  Answer ask(const std::string& request) const { return ::ask(path_, request); }

  static std::string asked(const std::string& request, const Answer& answer) {
    return "A client asked " + judge::quoted(request) + ", and " +
           answer.story();
  }

  void runs_jobs() const {
    const std::string request = "run 5 echo hello; echo oops >&2; exit 3";
    const Answer answer = ask(request);
    const std::string story = asked(request, answer);
    if (!answer.in_time)
      judge::wrong(story, answer.text.empty()
                              ? "Where does a request end?"
                              : "Who closes the connection, and when?");
    if (answer.has("refused"))
      judge::wrong(story,
                   "Which words does your runner know, and what does it "
                   "do with a line that begins with run?");
    if (number_in(answer, "started") <= 0)
      judge::wrong(story,
                   "How does the client learn that its job will be run?");
    if (!answer.has("out hello\n"))
      judge::wrong(story, "Where does the job's output go?");
    if (!answer.has("out oops\n"))
      judge::wrong(story,
                   "A program has two outputs. Where does the second go?");
    if (!answer.has("done 3\n"))
      judge::wrong(story,
                   "Which code did the command end with, and who asks "
                   "the system for it?");
    Client slow(path_);
    slow.send("run 5 ec");
    const Answer quick = ask("run 5 echo quick");
    if (!quick.has("out quick\n") || peers::wait_for(slow.fd(), POLLIN, {}))
      judge::wrong("While one client had written half a line, another one " +
                       quick.story(),
                   "Who serves the others, while a client thinks?");
    const Answer whole = slow.send("ho whole\n").read();
    if (!whole.has("out whole\n"))
      judge::wrong("A client wrote \"run 5 ec\", then \"ho whole\\n\", and " +
                       whole.story(),
                   "Where does a request end?");
  }

  void refuses_nonsense() const {
    for (const char* request : {"walk the dog", "run", "run fast echo no"}) {
      const Answer answer = ask(request);
      if (!answer.has("refused") || answer.has("started"))
        judge::wrong(asked(request, answer),
                     "What becomes of a request that makes no sense?");
    }
  }

  void serves_many() const {
    Client slow(path_);
    slow.send("run 9 sleep 2\n").read("started");
    const auto begun = peers::Clock::now();
    const Answer answer = ask("run 5 echo quick");
    const bool was_first = !peers::wait_for(slow.fd(), POLLIN, {});
    if (!answer.has("out quick\n") ||
        (!was_first && peers::Clock::now() - begun < 9s))
      judge::wrong(
          "While a job of 2 seconds ran, another client asked for a "
          "quick one, and " +
              answer.story() +
              (was_first ? "" : "\nThat came after the slow one."),
          "Who serves the others, while a job runs?");
  }

  void keeps_deadlines() const {
    const std::string request = "run 1 sleep 40 & echo $!; sleep 41";
    const auto begun = peers::Clock::now();
    const Answer answer = ask(request);
    const std::string story = asked(request, answer);
    const auto took = peers::Clock::now() - begun;
    if (!answer.in_time)
      judge::wrong(story, "What does your runner wait for, and until when?");
    if (!answer.has("late"))
      judge::wrong(story, "What is the client told when time is up?");
    if (took < 990ms) judge::wrong(story, "Was the second over by then?");
    const int left = number_in(answer, "out");
    if (left > 0 &&
        !comes_true([&] { return is_gone(left); }, peers::Clock::now() + 5s)) {
      ::kill(left, SIGKILL);
      judge::wrong(
          story + "\nAnd the sleep that it had started is still there.",
          "A shell starts programs. How does one end them all?");
    }
    const std::string quiet = "run 1 exec >/dev/null 2>&1; sleep 42";
    const Answer later = ask(quiet);
    if (!later.has("late"))
      judge::wrong(asked(quiet, later),
                   "A job can close its output and go on. Until when?");
  }
  // What has ended and is somebody's child still has a number.
  static bool is_gone(int process) {
    const std::string status =
        text_of("/proc/" + std::to_string(process) + "/stat");
    const std::size_t end = status.rfind(')');
    return ::kill(process, 0) != 0 ||
           (end != std::string::npos && status.compare(end, 3, ") Z") == 0);
  }

  // A process of another user asks; only root can start one.
  void refuses_others() const {
    if (::geteuid() != 0) {
      std::cerr << "(Whether other users are refused was not tried: only root "
                   "can do that.)\n";
      return;
    }
    struct stat before {};
    ::stat(path_.c_str(), &before);
    ::chmod(path_.c_str(), 0666);  // so that all hangs on the runner
    for (const char* request : {"run 5 id -u", "replace"}) {
      judge::Pipe answer;
      const pid_t child = ::fork();
      if (child == 0) {
        if (::setgid(nobody) != 0 || ::setuid(nobody) != 0) ::_exit(1);
        const std::string text = ::ask(path_, request).text;
        ::_exit(::write(answer.to.get(), text.data(), text.size()) < 0);
      }
      answer.to.reset();
      Answer got;
      char buffer[4096];
      for (ssize_t n;
           (n = ::read(answer.from.get(), buffer, sizeof buffer)) > 0;)
        got.text.append(buffer, static_cast<std::size_t>(n));
      ::waitpid(child, nullptr, 0);
      if (got.has("started") || contains(got.text, std::string(1, '\0')))
        judge::wrong("Somebody else, user " + std::to_string(nobody) +
                         ", asked " + judge::quoted(request) + ", and " +
                         got.story(),
                     "Who is calling, and for whom does your runner work?");
    }
    ::chmod(path_.c_str(), before.st_mode & 0777);
  }

  // Another one is started, while a job runs.
  void is_replaced() {
    Client slow(path_);
    slow.send("run 9 sleep 1; echo slept\n").read("started");
    auto next = started();
    replaced(std::move(next), "a job ran");
    const Answer answer = slow.read();
    if (!answer.has("out slept\n") || !answer.has("done 0\n"))
      judge::wrong(
          "A job of a second had begun when a second runner was "
          "started. Its client " +
              answer.story(),
          "Who finishes a conversation that has begun?");
    old_one_leaves();
  }

  static const char* question_about(const Answer& answer) {
    if (answer.error) return "For how long does nobody listen?";
    return "Who finishes a conversation that has begun?";
  }

  // The new one has the path when it, or the old one, says so: nobody is
  // turned away meanwhile.
  void replaced(std::unique_ptr<Runner> next, const std::string& meanwhile) {
    const auto until = peers::deadline();
    for (;;) {
      const Answer answer = ask("run 5 echo $PPID");
      if (!answer.has("done 0\n"))
        judge::wrong("A second runner was started while " + meanwhile +
                         ". Then a client " + answer.story() +
                         "\nThe second one: " + next->story(),
                     question_about(answer));
      if (next->has_ended())
        judge::wrong("A second runner was started. " + next->story(),
                     "Who has the listener, and how does it travel?");
      if (number_in(answer, "out") != runner_->pid()) break;
      if (peers::Clock::now() > until)
        judge::wrong(
            "A second runner was started, but the first one goes on "
            "serving all. The second one: " +
                next->story(),
            "What does a runner do when it has been replaced?");
    }
    old_.push_back(std::move(runner_));
    runner_ = std::move(next);
  }

  void old_one_leaves() {
    for (const auto& old : old_) {
      comes_true([&] { return old->has_ended(); });
      if (!old->has_ended())
        judge::wrong(
            "It was replaced, its jobs are done, and it is still "
            "there. " +
                old->story(),
            "What does a runner do when it has been replaced?");
      if (!old->ended_well())
        judge::wrong("It was replaced. " + old->story(),
                     "Did anything go wrong?");
    }
    old_.clear();
  }

  // Clients ask for all jobs, each of which leaves its number in a file.
  void keeps_all_under_load() {
    const int before = idle_sockets();
    const std::string log = folder_.file("log");
    std::atomic<int> next{0}, done{0};
    std::atomic<bool> is_over{false};
    std::mutex mutex;
    std::string first;  // what went wrong
    std::string question;
    std::vector<char> acknowledged(jobs, 0);
    const auto work = [&] {
      for (int job; !is_over && (job = next++) < jobs; ++done) {
        const std::string request =
            "run 20 echo " + std::to_string(job) + " >>" + log;
        const Answer answer = ask(request);
        acknowledged[std::size_t(job)] = answer.has("started");
        if (answer.has("started") && answer.has("done 0\n")) continue;
        const std::lock_guard<std::mutex> lock(mutex);
        if (first.empty()) {
          first = "a client asked for job " + std::to_string(job) + ", and " +
                  answer.story();
          question = question_about(answer);
        }
        is_over = true;
      }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < clients; ++i) threads.emplace_back(work);
    struct Join {
      std::atomic<bool>& is_over;
      std::vector<std::thread>& threads;
      ~Join() {
        is_over = true;
        for (auto& thread : threads) thread.join();
      }
    };
    {
      Join join{is_over, threads};
      for (int i = 1; i <= restarts && !is_over; ++i) {
        comes_true([&] { return is_over || done >= i * jobs / (restarts + 1); },
                   peers::the_end - 5s);
        if (!is_over) replaced(started(), "1,000 jobs came in");
      }
      comes_true([&] { return is_over || done >= jobs; }, peers::the_end - 5s);
    }
    if (!first.empty())
      judge::wrong("During the restarts under load, " + first, question);
    if (done < jobs)
      judge::wrong("Of 1,000 jobs, only " + std::to_string(done) +
                       " were done when the judge's time was up.",
                   "What takes so long, when a job takes a moment?");
    ran_once(log, acknowledged);
    old_one_leaves();
    // The last one may have come when all was done.
    for (int i = 0; i < 10; ++i) ask("run 20 true");
    const int after = idle_sockets();
    if (before >= 0 && after > before)
      judge::wrong("When idle, the first runner had " +
                       peers::counted(std::size_t(before), "socket") +
                       " open, and the last one has " + std::to_string(after) +
                       ".",
                   "Which descriptor does nobody close?");
  }

  static void ran_once(const std::string& log,
                       const std::vector<char>& acknowledged) {
    std::vector<int> times(acknowledged.size(), 0);
    std::ifstream file(log);
    for (std::size_t job; file >> job;)
      if (job < times.size()) ++times[job];
    for (std::size_t job = 0; job < times.size(); ++job) {
      if (!acknowledged[job] || times[job] == 1) continue;
      const std::string number = std::to_string(job);
      if (times[job] == 0)
        judge::wrong("The client of job " + number +
                         " was told that it had "
                         "started and was done. But it never ran.",
                     "When may your runner say started?");
      judge::wrong("Job " + number + " was acknowledged once, and ran " +
                       std::to_string(times[job]) + " times.",
                   "Who has started it the second time?");
    }
  }

  // When everything is done, and what is closed has been closed.
  int idle_sockets() {
    int count = runner_->sockets();
    comes_true(
        [&] {
          const int now = runner_->sockets();
          return std::exchange(count, std::min(count, now)) <= now && now <= 2;
        },
        peers::Clock::now() + 500ms);
    return count;
  }

  void stops() {
    runner_->tell(SIGTERM);
    comes_true([&] { return runner_->has_ended(); });
    if (!runner_->has_ended())
      judge::wrong("It was sent SIGTERM, and is still there.",
                   "Who closes the listener when somebody asks it to stop?");
    if (!runner_->ended_well())
      judge::wrong("It was sent SIGTERM. " + runner_->story(),
                   "How does a server end that was asked to?");
    if (::access(path_.c_str(), F_OK) == 0)
      judge::wrong("It ended on SIGTERM, and its file is still there.",
                   "Whose is the file, after ten restarts?");
  }

  Folder folder_{};
  std::string path_ = folder_.file("jobs.sock");
  int runners_ = 0;
  std::unique_ptr<Runner> runner_{};
  std::vector<std::unique_ptr<Runner>> old_{};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: check PROGRAM\n", judge::broken;
  program = argv[1];
  return judge::run(__FILE__, [] { Trial().judge(); });
}
