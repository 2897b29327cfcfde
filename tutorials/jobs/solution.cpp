// jobs PATH: runs the jobs that it is sent there, each with a deadline. A
// second one with the same path replaces it, while it works.
#include "netlite.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

namespace net = netlite;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t longest_line = 4096;
constexpr int longest_job = 3600;  // seconds
constexpr int served = SIGUSR1;    // serve has returned

int fail(const net::Error& err) {
  std::cerr << err << std::endl;
  return 1;
}

net::Error say(const net::Conn& conn, const std::string& line) {
  return net::write(conn, line + "\n").error;
}

// -- A job --------------------------------------------------------------------

// A shell in a process group of its own, so that whatever it starts can be
// ended with it, and what it prints.
struct Job {
  pid_t process = -1;
  net::Conn output{};
};

net::Result<Job> start(std::string command) {
  auto [mine, theirs, err] = net::pipe();
  if (err) return err;
  const int out = net::native_handle(theirs);
  fcntl(out, F_SETFL, 0);  // programs expect their output to wait

  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, out, 1);
  posix_spawn_file_actions_adddup2(&files, out, 2);

  std::string shell = "sh", option = "-c";
  char* words[] = {shell.data(), option.data(), command.data(), nullptr};
  Job job{-1, mine};
  const int failed =
      posix_spawn(&job.process, "/bin/sh", &files, &attributes, words, environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (failed) return std::error_code(failed, std::system_category());
  return job;
}

bool has_ended(const Job& job) {
  siginfo_t info{};
  const int how = WEXITED | WNOHANG | WNOWAIT;
  return waitid(P_PID, static_cast<id_t>(job.process), &info, how) != 0 ||
         info.si_pid != 0;
}

// From "started" on, a job is run to its end, even when nobody listens to it
// any more.
net::Error run(const net::Conn& conn, const std::string& command, int seconds) {
  const auto until = Clock::now() + std::chrono::seconds(seconds);
  const auto [job, start_err] = start(command);
  if (start_err) return say(conn, "refused: " + start_err.message());
  say(conn, "started " + std::to_string(job.process));

  net::set_deadline(conn, until + 5s);
  net::set_read_deadline(job.output, until);
  net::Reader reader(job.output);
  for (;;) {
    const auto [line, err] = reader.read_line(longest_line);
    if (!line.empty() || !err) say(conn, "out " + line);
    if (err && err != net::eof && err != net::timed_out)
      kill(-job.process, SIGKILL);  // such as a line that never ends
    if (err) break;
  }
  // It may go on without its output.
  while (!has_ended(job) && Clock::now() < until)
    std::this_thread::sleep_for(2ms);
  const bool is_late = !has_ended(job);
  kill(-job.process, SIGKILL);  // and what it has left behind
  int status = 0;
  waitpid(job.process, &status, 0);
  if (is_late) return say(conn, "late");
  const int code =
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return say(conn, "done " + std::to_string(code));
}

// -- Being replaced -----------------------------------------------------------

// The listener of the one that runs there, or a new one.
net::Result<net::Listener> take_over(const std::string& path) {
  for (;;) {
    const auto [old, nobody] = net::dial("unix", path);
    if (nobody) {
      net::ListenOptions mine;
      mine.mode = 0600;
      mine.replace_stale = true;
      return net::listen("unix", path, mine);
    }
    if (const net::Error err = say(old, "replace")) return err;
    const auto [descriptor, err] = net::receive_descriptor(old);
    if (err == net::eof || err == std::errc::connection_reset)
      continue;  // it has just been replaced by another one
    if (err) return err;
    const auto got = net::listener_from(descriptor);
    if (got.error) return got.error;
    net::set_unlink_on_close(got.value, true);
    if (const net::Error late = say(old, "ready")) return late;
    return got;
  }
}

// Only when the next one is ready may it have the file, and the callers.
net::Error hand_over(const net::Listener& listener, const net::Conn& next,
                     net::Reader& reader) {
  const int descriptor = net::native_handle(listener);
  if (net::Error err = net::send_descriptor(next, descriptor)) return err;
  const auto [word, err] = reader.read_line(longest_line);
  if (err || word != "ready") return err;
  net::set_unlink_on_close(listener, false);
  return net::close(listener);
}

// -- A conversation -----------------------------------------------------------

net::Error handle(const net::Listener& listener, const net::Conn& conn) {
  net::set_read_deadline(conn, Clock::now() + 5s);
  net::Reader reader(conn);
  const auto [line, err] = reader.read_line(longest_line);
  if (err) return say(conn, "refused: " + err.message());
  const auto [peer, peer_err] = net::peer_credentials(conn);
  if (peer_err) return peer_err;
  if (peer.uid != getuid()) return say(conn, "refused: you are somebody else");
  if (line == "replace") return hand_over(listener, conn, reader);

  std::istringstream words(line);
  std::string word, command;
  int seconds = 0;
  words >> word >> seconds >> std::ws;
  std::getline(words, command);
  if (word != "run" || seconds < 1 || seconds > longest_job || command.empty())
    return say(conn, "refused: it is run SECONDS COMMAND");
  return run(conn, command, seconds);
}

void serve_all(const net::Listener& listener) {
  net::ServeOptions options;
  options.max_connections = 64;
  options.grace = net::forever;
  options.on_error = [](const net::Error& err) { fail(err); };
  net::Error err = net::serve(
      listener, [=](net::Conn conn) { return handle(listener, conn); },
      options);
  if (err) fail(err);
  kill(getpid(), served);
}

}  // namespace

int main(int argc, char** argv) {
  const char* path = argc > 1 ? argv[1] : "/tmp/jobs-9988";
  sigset_t signals;
  sigemptyset(&signals);
  for (int each : {SIGINT, SIGTERM, served}) sigaddset(&signals, each);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const auto [listener, err] = take_over(path);
  if (err) return fail(err);
  std::cout << "Serving at " << path << std::endl;
  net::Group group;
  if (net::Error failed = group.go(serve_all, listener)) return fail(failed);
  for (int signal = 0; signal != served;) {
    sigwait(&signals, &signal);
    net::close(listener);
  }
  group.wait();
}
