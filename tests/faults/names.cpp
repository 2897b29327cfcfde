// SPDX-License-Identifier: MIT
// What netlite asks the resolver, and what it makes of what the resolver says.

#include "netlite.hpp"

#include "resolver.hpp"

#include <string>
#include <vector>

#include "../support.hpp"

namespace {

using support::Blocked;
using support::TimeLimit;

constexpr struct {
  const char* network;
  int family;
} networks[] = {{"tcp", AF_UNSPEC}, {"tcp4", AF_INET}, {"tcp6", AF_INET6},
                {"udp", AF_UNSPEC}, {"udp4", AF_INET}, {"udp6", AF_INET6}};

bool has_ipv6() { return !net::listen("tcp6", "[::1]:0").error; }

// The families in which a name was asked for, since the resolver was told what
// to say. (What an earlier test has given up on may still be asked.)
std::vector<int> families(const std::string& name) {
  std::vector<int> all;
  for (const resolver::Question& each : resolver::asked())
    if (each.host == name) all.push_back(each.family);
  return all;
}

}  // namespace

// https://github.com/golang/go/issues/45024
TEST_CASE_FIXTURE(TimeLimit, "a name is asked for in the family that counts") {
  for (const auto& each : networks) {
    CAPTURE(std::string(each.network));
    if (each.family == AF_INET6 && !has_ipv6()) continue;
    // A resolver that is broken for every other question.
    const std::string ip = each.family == AF_INET6 ? "::1" : "127.0.0.1";
    const auto answer = [&](const resolver::Question& question) {
      if (question.family != each.family) return resolver::Answer{EAI_FAIL};
      const int family = each.family == AF_INET6 ? AF_INET6 : AF_INET;
      return resolver::Answer{0, {{family, ip}}};
    };
    const auto check = [&](const auto& result) {
      CHECK_FALSE(result.error);
      CHECK(net::local_addr(result.value).ip().string() == ip);
      CHECK(families("name.test") == std::vector<int>{each.family});
      resolver::says(answer);
    };
    resolver::says(answer);
    if (each.network[0] == 't') {
      const auto listening = net::listen(each.network, "name.test:0");
      check(listening);
      const std::string address =
          "name.test:" + std::to_string(net::addr(listening.value).port());
      check(net::dial(each.network, address));
      check(net::dial_timeout(each.network, address, support::generous));
    } else {
      check(net::listen_packet(each.network, "name.test:0"));
      check(net::dial(each.network, "name.test:9"));
      check(net::dial_timeout(each.network, "name.test:9", support::generous));
    }
    for (const net::Deadline when : {net::no_deadline, net::Deadline(1h)}) {
      const auto addr =
          net::must(net::resolve(each.network, "name.test:80", when));
      CHECK(addr.ip().string() == ip);
    }
    CHECK(families("name.test") == std::vector<int>{each.family, each.family});
  }
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a server takes the IPv4 address of a name that has both") {
  resolver::says([](const resolver::Question&) {
    return resolver::Answer{0, {{AF_INET6, "::1"}, {AF_INET, "127.0.0.1"}}};
  });
  const auto listener = net::must(net::listen("tcp", "name.test:0"));
  CHECK(net::addr(listener).ip().string() == "127.0.0.1");
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a local address passes over those that it cannot reach") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  resolver::says([](const resolver::Question&) {
    return resolver::Answer{0, {{AF_INET6, "::1"}, {AF_INET, "127.0.0.1"}}};
  });
  net::DialOptions options;
  options.local = net::must(net::resolve("tcp", "127.0.0.1:0"));
  const auto conn = net::must(net::dial(
      "tcp", "name.test:" + std::to_string(net::addr(listener).port()),
      options));
  CHECK(net::remote_addr(conn) == net::addr(listener));
}

// https://github.com/heimdal/heimdal/pull/1009
TEST_CASE_FIXTURE(TimeLimit,
                  "a resolver that says nothing useful is an error") {
  const std::vector<resolver::Entry> lists[] = {
      {},
      {{AF_UNIX, "127.0.0.1", 80}},
      {{AF_UNSPEC, "127.0.0.1", 80}, {AF_APPLETALK, "::1", 80}},
      {{AF_INET, ""}},
      {{AF_INET6, ""}, {AF_UNSPEC, ""}},
  };
  for (const auto& list : lists) {
    CAPTURE(&list - lists);
    resolver::says([&](const resolver::Question&) {
      return resolver::Answer{0, list};
    });
    for (const net::Deadline when : {net::no_deadline, net::Deadline(1h)}) {
      CHECK(net::lookup_host("name.test", when).error == net::no_such_host);
      CHECK(net::lookup_cname("name.test", when).error == net::no_such_host);
      CHECK(net::resolve("tcp", "name.test:80", when).error ==
            net::no_such_host);
      CHECK(net::lookup_port("tcp", "service", when).error ==
            net::unknown_port);
    }
    CHECK(net::dial("tcp", "name.test:80").error == net::no_such_host);
    CHECK(net::dial("udp", "name.test:80").error == net::no_such_host);
    CHECK(net::dial("tcp4", "name.test:80").error == net::no_such_host);
    CHECK(net::listen("tcp", "name.test:80").error == net::no_such_host);
    CHECK(net::dial("tcp", "127.0.0.1:service").error == net::unknown_port);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "among useless answers the useful one is taken") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const int port = net::addr(listener).port();
  resolver::says([&](const resolver::Question&) {
    return resolver::Answer{0,
                            {{AF_UNIX, "127.0.0.5", 7},
                             {AF_INET, ""},
                             {AF_INET, "127.0.0.1", port},
                             {AF_INET, "127.0.0.1", port},
                             {AF_UNSPEC, "::2", 8}}};
  });
  CHECK(net::must(net::lookup_host("name.test")) ==
        std::vector<std::string>{"127.0.0.1"});
  CHECK(net::must(net::lookup_port("tcp", "service")) == port);
  const auto conn = net::must(net::dial("tcp", "name.test:service"));
  CHECK(net::remote_addr(conn) == net::addr(listener));
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a service's name is looked up within the deadline") {
  // A name of its own: whoever asked for it next might hear what was given up.
  const resolver::Silence silence;
  const auto is_late = [](const net::Error& err) {
    CHECK(err == net::timed_out);
    CHECK(err.message().find("lookup ") != std::string::npos);
  };
  for (const char* network : {"tcp", "udp", "tcp4", "udp6"}) {
    const std::string address =
        network[3] == '6' ? "[::1]:silent" : "127.0.0.1:silent";
    is_late(net::dial_timeout(network, address, 20ms).error);
    net::DialOptions options;
    options.deadline = 20ms;
    is_late(net::dial(network, address, options).error);
    is_late(net::resolve(network, address, 20ms).error);
    is_late(net::lookup_port(network, "silent", 20ms).error);
  }
  CHECK(net::lookup_port("tcp", "silent", 0s).error == net::timed_out);
  // What is known by heart needs nobody.
  CHECK(net::must(net::lookup_port("tcp", "http", 0s)) == 80);
  CHECK(net::must(net::lookup_port("tcp", "7", 0s)) == 7);
}

TEST_CASE_FIXTURE(TimeLimit, "an answer is there as soon as it comes") {
  resolver::says({"127.0.0.1"});
  const net::Deadline far(1h);  // a test that waited for it would not end
  CHECK_FALSE(net::lookup_host("name.test", far).error);
  CHECK(net::lookup_cname("name.test", far).error == net::no_such_host);
  CHECK(net::must(net::lookup_addr("127.0.0.1", far)).size() == 1);
  CHECK_FALSE(net::resolve("tcp", "name.test:80", far).error);
  CHECK_FALSE(net::dial_timeout("udp", "name.test:80", 1h).error);
  CHECK(net::must(net::lookup_port("tcp", "service", far)) == 0);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a look-up that ends by an exception is no answer") {
  resolver::says(
      [](const resolver::Question&) -> resolver::Answer { throw 1; });
  CHECK(net::lookup_host("name.test", 1h).error == net::task_failed);
  CHECK(net::lookup_port("tcp", "service", 1h).error == net::task_failed);
  CHECK(net::lookup_addr("127.0.0.1", 1h).error == net::task_failed);
}

TEST_CASE_FIXTURE(TimeLimit, "a name that DNS cannot know is not asked for") {
  const std::string label(63, 'a');
  const std::string longest =
      label + "." + label + "." + label + "." + label.substr(2);
  REQUIRE(longest.size() == 253);
  const auto is_asked = [](const std::string& name) {
    resolver::says({"127.0.0.1"});
    const net::Error err = net::lookup_host(name).error;
    const bool asked = !families(name).empty();
    CHECK(asked == !err);
    return asked;
  };
  for (const std::string& name :
       {label, longest, longest + ".", label + ".", std::string("a-b_c.1")}) {
    CAPTURE(name);
    CHECK(is_asked(name));
  }
  for (const std::string& name :
       {label + "a", "x." + label + "a", label + "a.x", longest + "a",
        longest + "a.", longest + "..", std::string("a..b"), std::string("-a"),
        std::string("a-"), std::string("a.-b"), std::string("a.."),
        std::string("127.1"), std::string("0x7f.1"), std::string("1.2.3.4%lo"),
        std::string("[::1]"), std::string("a b"), std::string("a\0b", 3),
        std::string()}) {
    CAPTURE(name);
    CHECK_FALSE(is_asked(name));
  }
}

TEST_CASE_FIXTURE(TimeLimit, "each list of the resolver's is given back") {
  const std::vector<resolver::Entry> lists[] = {
      {{AF_INET, "127.0.0.1"}, {AF_INET, "127.0.0.1"}},
      {{AF_INET6, ""}, {AF_UNIX, "127.0.0.1", 80}},
  };
  const auto done = [](const auto&) {};  // whatever came out
  for (const auto& list : lists) {
    CAPTURE(&list - lists);
    resolver::says([&](const resolver::Question&) {
      return resolver::Answer{0, list};
    });
    for (const net::Deadline when : {net::no_deadline, net::Deadline(1h)}) {
      done(net::lookup_host("name.test", when));
      done(net::lookup_cname("name.test", when));
      done(net::lookup_port("tcp", "service", when));
      done(net::resolve("tcp", "name.test:80", when));
    }
    done(net::dial("udp", "name.test:80"));
    done(net::listen("tcp", "name.test:0"));
    CHECK(resolver::asked().size() >= 10);
    CHECK(resolver::lists.load() == 0);
  }
}
