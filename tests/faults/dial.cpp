// SPDX-License-Identifier: MIT
// Dialling names with several addresses, of which some refuse and some are
// silent; machines without IPv6; clients that are gone before accept.

#include "netlite.hpp"

#include "inject.hpp"

#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using support::Blocked;
using support::TimeLimit;

bool has_ipv6() {
  if (!net::listen("tcp6", "[::1]:0").error) return true;
  MESSAGE("skipped: there is no IPv6 here");
  return false;
}

// What the resolver says of "name.test".
void resolve_to(const std::vector<std::string>& ips) {
  inject::State::get().hosts["name.test"] = ips;
}

std::string name_with_port_of(const net::Listener& listener) {
  return "name.test:" + std::to_string(net::addr(listener).port());
}

// An address that says nothing at all: a listener whose queue is full, so
// that the kernel does not answer whoever dials it.
class Silent {
 public:
  Silent(const std::string& ip, std::uint16_t port) {
    net::ListenOptions options;
    options.backlog = 1;
    const std::string address = net::join_host_port(ip, std::to_string(port));
    listener_ = net::must(net::listen("tcp", address, options));
    for (;;) {
      auto [conn, err] = net::dial_timeout("tcp", address, 200ms);
      if (err == net::timed_out) return;
      queue_.push_back(conn);
    }
  }

 private:
  net::Listener listener_;
  std::vector<net::Conn> queue_;
};

}  // namespace

// https://github.com/ziglang/zig/issues/13677
TEST_CASE_FIXTURE(TimeLimit,
                  "an address that refuses is skipped, with a fresh socket "
                  "for the next" *
                      doctest::description("behaviour 79; bug-case 04")) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  resolve_to({"127.0.0.2", "127.0.0.3", "127.0.0.1"});
  const inject::Faults counting;
  const auto conn = net::must(net::dial("tcp", name_with_port_of(listener)));
  CHECK(net::remote_addr(conn) == net::addr(listener));
  CHECK(inject::count("socket") == 3);
  CHECK(inject::count("connect") == 3);
  CHECK(inject::count("close") == 2);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "when all addresses refuse, the first refusal is told" *
                      doctest::description("behaviour 79")) {
  const support::Refusing refusing;
  resolve_to({"127.0.0.2", "127.0.0.1"});
  const std::string port = net::split_host_port(refusing.address).port;
  const net::Error err = net::dial("tcp", "name.test:" + port).error;
  CHECK(err.message() ==
        "dial tcp 127.0.0.2:" + port + ": connect: connection refused");
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a second family is tried when the first is silent for "
                  "300 ms" *
                      doctest::description("behaviour 77")) {
  if (!has_ipv6()) return;
  const auto listener = net::must(net::listen("tcp", "[::1]:0"));
  const Silent silent("127.0.0.1", net::addr(listener).port());
  resolve_to({"127.0.0.1", "::1"});
  const support::Stopwatch watch;
  const auto conn = net::must(net::dial("tcp", name_with_port_of(listener)));
  CHECK(net::remote_addr(conn) == net::addr(listener));
  CHECK(watch.elapsed() >= 300ms);

  // With that off, the first family has all the time.
  net::DialOptions options;
  options.fallback_delay = net::forever;
  options.timeout = 500ms;
  const support::Stopwatch again;
  const inject::Faults counting;
  const net::Error err =
      net::dial("tcp", name_with_port_of(listener), options).error;
  CHECK(err == net::timed_out);
  CHECK(inject::count("connect") == 1);
  CHECK(again.elapsed() >= 500ms);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a second family is tried at once when the first refuses" *
                      doctest::description("behaviour 75")) {
  if (!has_ipv6()) return;
  const auto listener = net::must(net::listen("tcp", "[::1]:0"));
  resolve_to({"127.0.0.1", "::1"});
  const std::chrono::nanoseconds delays[] = {std::chrono::hours(1),
                                             net::forever};
  for (const std::chrono::nanoseconds delay : delays) {
    net::DialOptions options;
    options.fallback_delay = delay;
    const auto conn =
        net::must(net::dial("tcp", name_with_port_of(listener), options));
    CHECK(net::remote_addr(conn) == net::addr(listener));
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "where both families answer, there is one connection" *
                      doctest::description("behaviour 78")) {
  if (!has_ipv6()) return;
  const auto listener = net::must(net::listen("tcp", ":0"));
  resolve_to({"::1", "127.0.0.1"});
  const inject::Faults counting;
  const auto conn = net::must(net::dial("tcp", name_with_port_of(listener)));
  CHECK(inject::count("connect") == 1);
  CHECK_FALSE(net::accept(listener).error);
  net::set_deadline(listener, 50ms);
  CHECK(net::accept(listener).error == net::timed_out);
}

// The public reports want less than a second here, where dial has only one;
// Go gives an address at least two, and so does netlite.
// https://github.com/golang/go/issues/22225
TEST_CASE_FIXTURE(TimeLimit,
                  "addresses share the time, two seconds each at least" *
                      doctest::description("behaviour 80; bug-case 05")) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const Silent silent("127.0.0.2", net::addr(listener).port());
  resolve_to({"127.0.0.2", "127.0.0.1"});
  const support::Stopwatch watch;
  const auto conn =
      net::must(net::dial_timeout("tcp", name_with_port_of(listener), 5s));
  CHECK(net::remote_addr(conn) == net::addr(listener));
  CHECK(watch.elapsed() >= 2500ms);

  const support::Stopwatch brief;
  CHECK(net::dial_timeout("tcp", name_with_port_of(listener), 1s).error ==
        net::timed_out);
  CHECK(brief.elapsed() >= 1s);
}

// ---------------------------------------------------------------------------
// A resolver that hangs

namespace {

// Nobody is answered until `go`.
class Hanging : public inject::Stop {
 public:
  Hanging() : Stop("getaddrinfo", inject::before, 0, inject::everybody) {}
};

}  // namespace

// https://github.com/nodejs/node/issues/62503
TEST_CASE_FIXTURE(TimeLimit, "dials of one name share a look-up that hangs") {
  resolve_to({"127.0.0.1"});
  Hanging hanging;
  const inject::Faults counting;
  for (int i = 0; i < 800; ++i)
    CHECK(net::dial_timeout("tcp", "name.test:80", 2ms).error ==
          net::timed_out);
  CHECK(inject::count("pthread_create") == 1);
  // It is the same question for "udp", another one for "tcp4".
  CHECK(net::dial_timeout("udp", "name.test:80", 2ms).error == net::timed_out);
  CHECK(inject::count("pthread_create") == 1);
  Blocked other([] { return net::dial_timeout("tcp4", "name.test:", 20s); });
  hanging.reached(2);
  CHECK_FALSE(other.done());
  hanging.go();
}

TEST_CASE_FIXTURE(TimeLimit,
                  "of different look-ups that hang, 64 are under way at most") {
  const auto name = [](int i) { return "name" + std::to_string(i) + ".test"; };
  auto& hosts = inject::State::get().hosts;
  for (int i = 0; i < 1000; ++i) hosts[name(i)] = {"127.0.0.1"};
  Hanging hanging;
  const inject::Faults counting;
  const auto threads = [] { return inject::count("pthread_create"); };
  int asked = 0;
  const auto ask = [&] {
    CHECK(net::lookup_host(name(asked++), 2ms).error == net::timed_out);
  };
  while (threads() < 64 && asked < 900) ask();
  for (int more = 0; more < 20; ++more) ask();
  CHECK(threads() == 64);
  hanging.reached(64);
  // One more waits for its place, as long as it has time.
  Blocked last([&] { return net::lookup_host(name(999), 20s); });
  CHECK_FALSE(last.done());
  hanging.go();
  CHECK_FALSE(last.get().error);
}

// https://github.com/golang/go/issues/6232
TEST_CASE_FIXTURE(TimeLimit,
                  "a resolver that fails without saying why has failed") {
  const inject::Faults faults(
      {{"getaddrinfo", 0, inject::unsaid, inject::always},
       {"getnameinfo", 0, inject::unsaid, inject::always}});
  const auto is_emfile = [](const net::Error& err) {
    return err == std::errc::too_many_files_open;
  };
  for (const net::Deadline deadline : {net::no_deadline, net::Deadline(5s)}) {
    errno = EIO;  // an older one, which says nothing of the resolver
    CHECK(is_emfile(net::lookup_host("name.test", deadline).error));
    CHECK(is_emfile(net::lookup_cname("name.test", deadline).error));
    CHECK(is_emfile(net::lookup_addr("127.0.0.1", deadline).error));
  }
  CHECK(is_emfile(net::lookup_port("tcp", "nosuchservice").error));
  const net::Error err = net::dial("tcp", "name.test:80").error;
  CHECK(is_emfile(err));
  CHECK(err.temporary());
}

// https://github.com/golang/go/issues/10721
TEST_CASE_FIXTURE(TimeLimit, "a machine without IPv6 serves and dials IPv4" *
                                 doctest::description("bug-case 20")) {
  const inject::Faults faults({{"socket", 0, EAFNOSUPPORT, 1}});
  const auto listener = net::must(net::listen("tcp", ":0"));
  CHECK(net::addr(listener).ip().string() == "0.0.0.0");
  resolve_to({"::1", "127.0.0.1"});
  const inject::Faults again({{"socket", 0, EAFNOSUPPORT, 1}});
  const auto conn = net::must(net::dial("tcp", name_with_port_of(listener)));
  CHECK(net::remote_addr(conn).ip().string() == "127.0.0.1");
  const inject::Faults still({{"socket", 0, EAFNOSUPPORT, 1}});
  CHECK(net::listen("tcp6", "[::1]:0").error.message() ==
        "listen tcp6 [::1]:0: socket: address family not supported by "
        "protocol");
}

// https://github.com/tiny-http/tiny-http/issues/283
// https://github.com/hickory-dns/hickory-dns/pull/3726
TEST_CASE_FIXTURE(TimeLimit,
                  "accept goes on to the next client when one has gone" *
                      doctest::description("bug-case 23")) {
  for (const int error : {ECONNABORTED, EINTR, EPROTO}) {
    CAPTURE(error);
    const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
    const auto client =
        net::must(net::dial("tcp", net::addr(listener).string()));
    const inject::Faults faults(
        {{"accept4", 0, error, 3}, {"accept", 0, error, 3}});
    const auto conn = net::must(net::accept(listener));
    CHECK(net::remote_addr(conn) == net::local_addr(client));
    CHECK(inject::count("accept4") + inject::count("accept") == 4);
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "clients that are gone do not put off accept's deadline" *
                      doctest::description("bug-case 23")) {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  net::set_deadline(listener, 100ms);
  const inject::Faults faults({{"accept4", 0, ECONNABORTED, inject::always},
                               {"accept", 0, ECONNABORTED, inject::always}});
  const support::Stopwatch watch;
  CHECK(net::accept(listener).error == net::timed_out);
  CHECK(watch.elapsed() >= 100ms);
}
