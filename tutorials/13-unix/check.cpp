// Judges the exercise: a path where nothing is, or what a dead server left, or
// something that must not be touched. The learner's code runs in a folder of
// its own, which goes when the judge goes.
#include "netlite.hpp"
// What the exercise is about, and so does by itself.
#define replace_stale write_this_yourself

#include EXERCISE

#include "../judge.hpp"

#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

namespace {

const std::string name = "hello";  // the path, in that folder
const std::string called = "The judge called serve_here(\"hello\"). ";

// -- The folder ---------------------------------------------------------------

// Removed also by a signal, such as Ctrl-C.
char folder[64];
char paths[2][80];

void clear() {
  for (const char* path : paths) ::unlink(path);
}

class Folder {
 public:
  Folder() {
    const char* where = std::getenv("TMPDIR");
    if (!where || std::strlen(where) > 40) where = "/tmp";
    std::snprintf(folder, sizeof folder, "%s/judge-XXXXXX", where);
    if (!::mkdtemp(folder)) peers::fail("mkdtemp");
    ::chmod(folder, 0755);  // another user may call
    std::snprintf(paths[0], sizeof paths[0], "%s/%s", folder, name.c_str());
    std::snprintf(paths[1], sizeof paths[1], "%s/moved", folder);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
      std::signal(signal, [](int which) {
        remove();
        ::_exit(128 + which);
      });
  }
  ~Folder() { remove(); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

 private:
  static void remove() {
    clear();
    ::rmdir(folder);
  }
};

// -- Sockets ------------------------------------------------------------------

sockaddr_un address_of(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  return address;
}

peers::Descriptor new_socket(int type) {
  peers::Descriptor fd(peers::out_of_the_way(::socket(AF_UNIX, type, 0)));
  if (fd.get() < 0) peers::fail("socket");
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

bool connects(const peers::Descriptor& fd, const char* path) {
  const sockaddr_un address = address_of(path);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                   sizeof address) == 0;
}

// A socket at the path, which lives for as long as it is kept.
peers::Descriptor living(int type, int backlog = SOMAXCONN) {
  peers::Descriptor fd = new_socket(type);
  const sockaddr_un address = address_of(paths[0]);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address),
             sizeof address) != 0)
    peers::fail("bind");
  if (type == SOCK_STREAM && ::listen(fd.get(), backlog) != 0)
    peers::fail("listen");
  return fd;
}

// What is at the path: which file, and of what kind.
struct File {
  ino_t number = 0;
  mode_t kind = 0;
  bool operator==(const File& other) const {
    return number == other.number && kind == other.kind;
  }
  explicit operator bool() const { return kind != 0; }
};
File file_at(const char* path) {
  struct stat status {};
  if (::lstat(path, &status) != 0) return {};
  return {status.st_ino, status.st_mode & S_IFMT};
}

// -- The learner --------------------------------------------------------------

// Its code runs in the folder, so that its path is short, and the same for
// everybody.
int served() {
  if (::chdir(folder) != 0) peers::fail("chdir");
  ::umask(0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    std::signal(signal, SIG_DFL);
  return ::serve_here(name);
}

// Looks again and again until it is so, or the learner is over; false then.
template <class Test>
bool becomes(judge::Learner& learner, Test is_so) {
  const auto until = peers::deadline();
  while (!is_so()) {
    const auto soon = peers::Clock::now() + std::chrono::milliseconds(5);
    if (peers::wait_for(learner.over(), POLLIN, soon) ||
        peers::Clock::now() > until)
      return is_so();
  }
  return true;
}

// Who calls: another user than the learner's, where the judge may choose. The
// system notes down who calls at the moment of the call.
constexpr uid_t nobody = 65534;
struct Caller {
  peers::Descriptor fd = new_socket(SOCK_STREAM);
  uid_t user = ::getuid();
  bool dials(const char* path) {
#ifdef __linux__
    const bool is_other = ::geteuid() == 0 && ::seteuid(nobody) == 0;
#else
    const bool is_other = false;
#endif
    const bool is_through = connects(fd, path);
    if (is_other) {
      if (::seteuid(0) != 0) peers::fail("seteuid");
      user = nobody;
    }
    return is_through;
  }
};

// A client at the path, and what it is told.
void is_served(judge::Learner& learner, const std::string& story,
               const std::string& otherwise, const char* path = paths[0]) {
  Caller caller;
  if (!becomes(learner, [&] { return caller.dials(path); })) {
    const auto outcome = learner.wait(story, otherwise);
    judge::wrong(story + "\nNobody could dial it. Your serve_here returned " +
                     std::to_string(outcome.code) + ", and printed" +
                     judge::printed(outcome.printed) + learner.calls(),
                 otherwise);
  }
  const uid_t user = caller.user;
  peers::Wire wire(std::move(caller.fd));
  wire.set_over(learner.over());
  const std::string right = "You are user " + std::to_string(user) + ".\n";
  std::string got;
  try {
    got = wire.receive_all();
  } catch (const peers::Waited&) {
    learner.wrong(story + " A client dialled, and read " +
                      judge::quoted(wire.got()) +
                      ". Then it waited for the end of the stream, in vain.",
                  "Who closes the connection?");
  }
  if (got != right)
    learner.wrong(story + " A client of user " + std::to_string(user) +
                      " dialled, and read " + judge::quoted(got) +
                      ". It should have read " + judge::quoted(right) + ".",
                  "Who is at the other end, and which call knows?");
}

void returns_well(judge::Learner& learner, const std::string& story) {
  const std::string client = story + " A client was served.";
  const auto outcome =
      learner.wait(client, "How many clients does it have to serve?");
  if (outcome.code != 0)
    judge::wrong(client + "\nThen your serve_here returned " +
                     std::to_string(outcome.code) + ", and had printed" +
                     judge::printed(outcome.printed),
                 "Did anything go wrong?");
}

// -- The cases ----------------------------------------------------------------

void serves(const std::string& story, const std::string& otherwise) {
  judge::Learner learner(served);
  is_served(learner, called + story, otherwise);
  returns_well(learner, called + story);
  if (file_at(paths[0]))
    judge::wrong(called + story +
                     " A client was served. Then the file of your server was "
                     "still there.",
                 "Who removes that file, and when?");
}

// The file at the path is somebody else's: it has to stay.
void leaves_alone(const std::string& story, const std::string& question,
                  const std::string& when_it_hangs) {
  const File before = file_at(paths[0]);
  judge::Learner learner(served);
  const auto is_changed = [&] { return !(file_at(paths[0]) == before); };
  const auto is_wrong = [&] {
    // What it does next is part of the story.
    becomes(learner, [&] { return !learner.waiting_call().empty(); });
    const std::string end = file_at(paths[0]) ? ", and made its own." : ".";
    learner.wrong(called + story + "\nYour code removed that file" + end,
                  question);
  };
  if (becomes(learner, is_changed)) is_wrong();
  const auto outcome = learner.wait(called + story, when_it_hangs);
  if (is_changed()) is_wrong();
  const std::string end = called + story + "\nYour serve_here returned " +
                          std::to_string(outcome.code) + ", and printed" +
                          judge::printed(outcome.printed);
  if (outcome.code != 1)
    judge::wrong(end, "Could it serve anybody? How is its caller to know?");
  if (outcome.printed.empty())
    judge::wrong(end, "It could not listen. Who is told why?");
}

void replaces_a_dead_one() {
  living(SOCK_STREAM);  // and dies at once
  serves("A server had listened there, and had been killed.",
         "Nobody lives there any more. Who will ever remove that file?");
}

void leaves_a_living_one_alone() {
  const auto server = living(SOCK_STREAM);
  leaves_alone("Another server was listening there.",
               "Somebody lives there. How can your code find out before it "
               "removes anything?",
               "Somebody else listens there. What is there to wait for?");
  clear();
}

void leaves_a_file_alone() {
  std::ofstream(paths[0]) << "My diary.\n";
  leaves_alone("There was a file with text in it, and no socket.",
               "Was that file a socket at all? Who answers when you dial "
               "one that is not?",
               "What is there to wait for?");
  clear();
}

void leaves_a_mailbox_alone() {
  const auto mailbox = living(SOCK_DGRAM);
  leaves_alone(
      "The socket of a living program was there, for datagrams "
      "(unixgram).",
      "Not every dial that fails is refused. What did this one say?",
      "What is there to wait for?");
  clear();
}

// Its queue is full. (Where that refuses a caller, nobody can tell it from a
// dead one by one dial.)
void does_not_wait_for_a_busy_one() {
#ifdef __linux__
  const auto server = living(SOCK_STREAM, 0);
  std::vector<peers::Descriptor> queue;
  do queue.push_back(new_socket(SOCK_STREAM));
  while (queue.size() < 8 && connects(queue.back(), paths[0]));
  leaves_alone("A server was listening there, too busy to accept anybody.",
               "It did not open within your time. Is whoever is busy dead?",
               "Somebody lives there, but does not open. How long should your "
               "code knock?");
  clear();
#endif
}

// Somebody else has taken over the path meanwhile.
void removes_only_its_own() {
  const std::string story =
      "While it waited for a client, its file was moved away, and another "
      "server began to listen at that path.";
  judge::Learner learner(served);
  if (!becomes(learner, [&] {
        return file_at(paths[0]) &&
               learner.waiting_call().compare(0, 6, "accept") == 0;
      })) {
    const auto outcome = learner.wait(called);
    judge::wrong(called + "Your serve_here returned " +
                     std::to_string(outcome.code) +
                     " before anybody had called it.",
                 "Who does it serve?");
  }
  if (::rename(paths[0], paths[1]) != 0) peers::fail("rename");
  const auto server = living(SOCK_STREAM);
  const File theirs = file_at(paths[0]);
  is_served(learner, called + story, "Who serves that client?", paths[1]);
  returns_well(learner, called + story);
  if (!(file_at(paths[0]) == theirs))
    judge::wrong(called + story +
                     " A client was served. Then the other server's file was "
                     "gone.",
                 "Is the file at that path still yours when you leave?");
  clear();
}

}  // namespace

int main() {
  return judge::run(__FILE__, [] {
    const Folder here;
    leaves_a_living_one_alone();
    serves("Nothing was there.", "What keeps it from listening there?");
    replaces_a_dead_one();
    leaves_a_file_alone();
    leaves_a_mailbox_alone();
    removes_only_its_own();
    does_not_wait_for_a_busy_one();
  });
}
