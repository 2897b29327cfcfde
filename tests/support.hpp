// What several test files need: tables, temporary directories, clocks.
#ifndef NETLITE_TESTS_SUPPORT_HPP
#define NETLITE_TESTS_SUPPORT_HPP

#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "netlite.hpp"

namespace net = netlite;
using namespace std::chrono_literals;

namespace support {

// A table of tests/data: one map from column name to text for each row.
// Cells are unescaped (\t \n \r \xHH \\).
using Row = std::map<std::string, std::string>;

inline std::string unescape(const std::string& cell) {
  std::string text;
  for (std::size_t i = 0; i < cell.size(); ++i) {
    if (cell[i] != '\\') {
      text += cell[i];
      continue;
    }
    const char kind = cell[++i];
    if (kind == 'x') {
      text += static_cast<char>(std::stoi(cell.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      text += kind == 't'   ? '\t'
              : kind == 'n' ? '\n'
              : kind == 'r' ? '\r'
                            : '\\';
    }
  }
  return text;
}

inline std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : line) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

inline std::vector<Row> table(const std::string& name) {
  std::ifstream file(std::string(TEST_DATA) + "/" + name + ".tsv");
  REQUIRE_MESSAGE(file, "no such table: " << name);
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> columns = split(line.substr(2), '\t');
  std::vector<Row> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> cells = split(line, '\t');
    Row row;
    for (std::size_t i = 0; i < columns.size(); ++i)
      row[columns[i]] = i < cells.size() ? unescape(cells[i]) : "";
    rows.push_back(row);
  }
  REQUIRE(!rows.empty());
  return rows;
}

// A fresh directory with a short path, gone with all it holds at the end.
struct Directory {
  std::string path;
  Directory() {
    char name[] = "/tmp/nl-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    if (DIR* entries = ::opendir(path.c_str())) {
      while (const dirent* entry = ::readdir(entries)) {
        const std::string file = path + "/" + entry->d_name;
        if (::unlink(file.c_str()) != 0) ::rmdir(file.c_str());
      }
      ::closedir(entries);
    }
    ::rmdir(path.c_str());
  }
};

// How long something took. Tests assert that nothing is early; "late" is
// only ever a generous bound, for test machines are busy.
class Stopwatch {
 public:
  std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start_);
  }

 private:
  std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};
constexpr auto generous = 20s;

// A thread that is joined at the end of its scope.
class Thread {
 public:
  template <class F>
  explicit Thread(F f) : thread_(std::move(f)) {}
  Thread(Thread&&) = default;
  ~Thread() {
    if (thread_.joinable()) thread_.join();
  }
  void join() { thread_.join(); }

 private:
  std::thread thread_;
};

// Waits until another thread of this process sleeps in a system call (state S
// in /proc), so that a test may say "while it is blocked" without a sleep of
// its own. `tid` is that thread's gettid(2).
inline void wait_until_asleep(int tid) {
  const std::string stat = "/proc/self/task/" + std::to_string(tid) + "/stat";
  for (int seen = 0; seen < 3;) {
    std::ifstream file(stat);
    std::string line;
    std::getline(file, line);
    const auto after_name = line.rfind(')');
    const bool asleep =
        after_name != std::string::npos && line[after_name + 2] == 'S';
    seen = asleep ? seen + 1 : 0;
    std::this_thread::yield();
  }
}

// A listener on 127.0.0.1 and both ends of a connection to it.
struct Connected {
  net::Listener listener;
  net::Conn client;
  net::Conn server;

  explicit Connected(const std::string& network = "tcp",
                     const std::string& address = "127.0.0.1:0") {
    listener = net::must(net::listen(network, address));
    client = net::must(net::dial(network, net::addr(listener).string()));
    server = net::must(net::accept(listener));
  }
};

}  // namespace support

#endif  // NETLITE_TESTS_SUPPORT_HPP
