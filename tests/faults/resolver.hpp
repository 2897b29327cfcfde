// SPDX-License-Identifier: MIT
// A resolver that says what a test wants. A program that includes this, once,
// asks nobody else: it defines the calls itself.
#ifndef NETLITE_TESTS_FAULTS_RESOLVER_HPP
#define NETLITE_TESTS_FAULTS_RESOLVER_HPP

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace resolver {

// What getaddrinfo was asked.
struct Question {
  std::string host;
  std::string service;
  int family;
};

// One entry of its list. The family says what the address is, be it true or
// not; without an address there is none in the list, either.
struct Entry {
  int family;
  std::string ip;
  int port = 0;
};

// What it says: an EAI_... number, or 0 and a list.
struct Answer {
  int error = 0;
  std::vector<Entry> list{};
};

struct State {
  std::mutex mutex{};
  std::vector<Question> asked{};
  std::function<Answer(const Question&)> answer{};
};
inline State state;

// Those of its lists that nobody has given back yet.
inline std::atomic<int> lists{0};

// From now on the resolver says this, and nobody has asked it anything yet.
inline void says(std::function<Answer(const Question&)> answer) {
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.asked.clear();
  state.answer = std::move(answer);
}

// These addresses, whoever asks; those of the family that is asked for.
inline void says(std::vector<std::string> ips) {
  says([ips = std::move(ips)](const Question& question) {
    Answer answer;
    for (const std::string& ip : ips) {
      const int family = ip.find(':') == ip.npos ? AF_INET : AF_INET6;
      if (question.family == AF_UNSPEC || question.family == family)
        answer.list.push_back({family, ip});
    }
    if (answer.list.empty()) answer.error = EAI_NONAME;
    return answer;
  });
}

// What it was asked since.
inline std::vector<Question> asked() {
  const std::lock_guard<std::mutex> lock(state.mutex);
  return state.asked;
}

// As long as one lives, the resolver says nothing. Then it knows no name.
class Silence {
 public:
  Silence() {
    says([shared = shared_](const Question&) {
      std::unique_lock<std::mutex> lock(shared->mutex);
      shared->changed.wait(lock, [&] { return shared->over; });
      return Answer{EAI_NONAME};
    });
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->over = true;
    shared_->changed.notify_all();
  }

 private:
  struct Shared {
    std::mutex mutex{};
    std::condition_variable changed{};
    bool over = false;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

inline addrinfo* make_entry(const Entry& entry, addrinfo* next) {
  auto* made = new addrinfo{};
  made->ai_family = entry.family;
  made->ai_next = next;
  if (entry.ip.empty()) return made;
  auto* address = new sockaddr_in6{};
  made->ai_addr = reinterpret_cast<sockaddr*>(address);
  made->ai_addrlen = sizeof *address;
  in_addr four{};
  if (::inet_pton(AF_INET, entry.ip.c_str(), &four) == 1) {
    reinterpret_cast<sockaddr_in*>(address)->sin_addr = four;
    made->ai_addrlen = sizeof(sockaddr_in);
  } else {
    ::inet_pton(AF_INET6, entry.ip.c_str(), &address->sin6_addr);
  }
  // Family and port have the same places in both.
  address->sin6_family = static_cast<sa_family_t>(entry.family);
  address->sin6_port = htons(static_cast<std::uint16_t>(entry.port));
  return made;
}

}  // namespace resolver

#ifndef __THROW
#define __THROW
#endif

extern "C" int getaddrinfo(const char* host, const char* service,
                           const addrinfo* hints, addrinfo** found) {
  const resolver::Question question{host ? host : "", service ? service : "",
                                    hints->ai_family};
  std::function<resolver::Answer(const resolver::Question&)> answer;
  {
    const std::lock_guard<std::mutex> lock(resolver::state.mutex);
    resolver::state.asked.push_back(question);
    answer = resolver::state.answer;
  }
  const resolver::Answer said = answer(question);
  *found = nullptr;
  for (auto entry = said.list.rbegin(); entry != said.list.rend(); ++entry)
    *found = resolver::make_entry(*entry, *found);
  resolver::lists += *found != nullptr;
  return said.error;
}

extern "C" void freeaddrinfo(addrinfo* list) __THROW {
  resolver::lists -= list != nullptr;
  while (list) {
    addrinfo* const next = list->ai_next;
    delete reinterpret_cast<sockaddr_in6*>(list->ai_addr);
    delete std::exchange(list, next);
  }
}

// A name for every address, or else what getaddrinfo would say.
extern "C" int getnameinfo(const sockaddr* address, socklen_t size, char* host,
                           socklen_t host_size, char*, socklen_t, int) {
  std::function<resolver::Answer(const resolver::Question&)> answer;
  {
    const std::lock_guard<std::mutex> lock(resolver::state.mutex);
    answer = resolver::state.answer;
  }
  static_cast<void>(size);
  const resolver::Answer said = answer({"", "", address->sa_family});
  if (said.error) return said.error;
  std::strncpy(host, "name.test", host_size);
  return 0;
}

#endif  // NETLITE_TESTS_FAULTS_RESOLVER_HPP
