// SPDX-License-Identifier: MIT
// What a connection, reading and writing cost, in BSD calls.

#include "netlite.hpp"

#include "inject.hpp"

#include <map>
#include <optional>
#include <string>

#include "../support.hpp"

namespace {

using inject::count;
using support::Connected;
using support::TimeLimit;

// Reads what is written only when the read is blocked.
std::size_t read_late(const Connected& ends) {
  support::Blocked reading([&] {
    char buffer[16];
    return net::read(ends.server, buffer).value;
  });
  net::must(net::write(ends.client, "late"));
  return reading.get();
}

}  // namespace

// ---------------------------------------------------------------------------
// A connection's life

namespace {

using Counts = std::map<std::string, int>;

// What a descriptor costs that is not born as it shall be.
#ifdef NETLITE_PORTABLE
const Counts upbringing{{"fcntl", 3}};
const char* const accept_call = "accept";
#else
const Counts upbringing{};
const char* const accept_call = "accept4";
#endif

Counts with_upbringing(Counts counts) {
  counts.insert(upbringing.begin(), upbringing.end());
  return counts;
}

}  // namespace

// A connect that has to wait, as all of TCP do; that it is connected is told by
// poll alone: SO_ERROR is asked for only where that tells more.
TEST_CASE_FIXTURE(TimeLimit, "a dial is eight calls, and asks for no error") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const std::string address = net::addr(listener).string();
  const inject::Faults waiting({{"connect", 0, EINPROGRESS}});
  const auto conn = net::must(net::dial("tcp", address));
  CHECK(inject::counts() == with_upbringing({{"socket", 1},
                                             {"connect", 1},
                                             {"poll", 1},
                                             {"getsockname", 1},
                                             {"setsockopt", 4}}));
}

TEST_CASE_FIXTURE(TimeLimit, "a dial that is refused asks why, once") {
  const support::Refusing refusing;
  const inject::Faults counting;
  CHECK(net::dial("tcp", refusing.address).error ==
        std::errc::connection_refused);
  CHECK(count("getsockopt") <= 1);
  CHECK(count("getsockname") == 0);
  CHECK(count("setsockopt") == 0);
  CHECK(count("close") == 1);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "an accept is one call, and one more on any address") {
  for (const std::string host : {"127.0.0.1", "0.0.0.0"}) {
    const auto listener = net::must(net::listen("tcp", host + ":0"));
    const auto port = std::to_string(net::addr(listener).port());
    const auto client = net::must(net::dial("tcp", "127.0.0.1:" + port));
    const inject::Faults counting;
    const auto conn = net::must(net::accept(listener));
    Counts expected = with_upbringing({{accept_call, 1}});
    if (!upbringing.empty()) expected["setsockopt"] = 4;  // not inherited
    if (host == "0.0.0.0") expected["getsockname"] = 1;
    CHECK(inject::counts() == expected);
  }
}

TEST_CASE_FIXTURE(TimeLimit, "a close is one call, by hand or by the last") {
  Connected ends;
  const inject::Faults counting;
  net::must(net::close(ends.client));
  CHECK(inject::counts() == Counts{{"close", 1}});
  ends.server = net::Conn();
  CHECK(inject::counts() == Counts{{"close", 2}});
}

namespace {

// What waits for an act: asleep by then, or else called only after it.
template <class Await, class Act>
auto meet(bool asleep, Await await, Act act) {
  std::optional<support::Blocked<Await>> sleeping;
  if (asleep) sleeping.emplace(await);
  act();
  return asleep ? sleeping->get() : await();
}

// A client dials and asks, a server accepts and answers, and both close.
void converse(const net::Listener& listener, bool asleep) {
  net::Conn client, server;
  char buffer[16];
  const auto reads = [&](const net::Conn& conn) {
    return [&] { return net::read(conn, buffer).error; };
  };
  const auto accept = [&] { return net::accept(listener); };
  server = net::must(meet(asleep, accept, [&] {
    client = net::must(net::dial("tcp", net::addr(listener).string()));
  }));
  net::must(meet(asleep, reads(server),
                 [&] { net::must(net::write(client, "question")); }));
  net::must(meet(asleep, reads(client),
                 [&] { net::must(net::write(server, "answer")); }));
  net::must(net::close(client));
  net::must(net::close(server));
}

}  // namespace

// A bare one is nine calls: nobody can interrupt them.
TEST_CASE_FIXTURE(TimeLimit,
                  "a connection with a question and an answer is 15 calls at "
                  "both ends, and two more for each wait") {
  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  for (const bool asleep : {false, true}) {
    CAPTURE(asleep);
    converse(listener, asleep);  // so the bells are there
    const inject::Faults waiting({{"connect", 0, EINPROGRESS}});
    converse(listener, asleep);
    Counts counts = inject::counts();
    for (const char* of_test : {"pthread_create", "read"})
      counts.erase(of_test);
    Counts expected = {{"socket", 1},
                       {"connect", 1},
                       {"poll", asleep ? 4 : 1},
                       {"getsockname", 1},
                       {"setsockopt", 4},
                       {accept_call, asleep ? 2 : 1},
                       {"send", 2},
                       {"recv", asleep ? 4 : 2},
                       {"close", 2}};
    // At both ends.
    for (const auto& [call, count] : upbringing) expected[call] = 2 * count;
    if (!upbringing.empty()) expected["setsockopt"] = 8;
    CHECK(counts == expected);
  }
}

// ---------------------------------------------------------------------------
// Reading and writing

TEST_CASE_FIXTURE(TimeLimit, "a read with data waiting is one recv") {
  const Connected ends("unix", "");
  net::must(net::write(ends.client, "ready"));
  char buffer[16];
  const inject::Faults counting;
  CHECK(net::must(net::read(ends.server, buffer)) == 5);
  CHECK(count("recv") == 1);
  CHECK(count("poll") == 0);
}

// A first read cannot know, so it looks; it is told that there is nothing.
TEST_CASE_FIXTURE(TimeLimit, "a first read that waits is recv, poll and recv") {
  const Connected ends("unix", "");
  const inject::Faults counting;
  CHECK(read_late(ends) == 4);
  CHECK(count("recv") == 2);
  CHECK(count("poll") == 1);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a read that waits costs one call more than a bare recv once "
                  "a read has emptied the socket") {
  const Connected ends("unix", "");
  CHECK(read_late(ends) == 4);
  const inject::Faults counting;
  CHECK(read_late(ends) == 4);
  CHECK(count("poll") == 1);
  CHECK(count("recv") == 1);
}

TEST_CASE_FIXTURE(TimeLimit, "reads of a long message are one recv each") {
  const Connected ends("unix", "");
  net::must(net::write(ends.client, "four by four"));
  char buffer[4];
  const inject::Faults counting;
  for (int i = 0; i < 3; ++i)
    CHECK(net::must(net::read(ends.server, buffer)) == 4);
  CHECK(count("recv") == 3);
  CHECK(count("poll") == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "a try_read that finds nothing is one recv") {
  const Connected ends("unix", "");
  char buffer[4];
  const inject::Faults counting;
  for (int i = 0; i < 2; ++i)
    CHECK(net::try_read(ends.server, buffer).error == net::would_block);
  CHECK(count("recv") == 2);
  CHECK(count("poll") == 0);
}

TEST_CASE_FIXTURE(TimeLimit, "a write that fits is one call") {
  const Connected ends("unix", "");
  const inject::Faults counting;
  net::must(net::write(ends.client, "fits"));
  CHECK(count("send") == 1);
  net::must(net::write(ends.client, {"so ", "does ", "this"}));
  CHECK(count("sendmsg") == 1);
  CHECK(count("poll") == 0);
}
