// SPDX-License-Identifier: MIT
// Corners into which only a fault leads: bytes that come with an error, a
// descriptor that is sent in the middle of something else.

#include "netlite.hpp"

#include <string>
#include <string_view>

#include "../support.hpp"

namespace {

using support::Blocked;
using support::Connected;
using support::TimeLimit;

// A Reader of "abc", of which an error comes with the last bytes.
net::Reader failing(const net::Error& err) {
  std::string_view all = "abc";
  return net::Reader([=](net::Buffer room) mutable {
    const std::size_t n = all.copy(room.data(), room.size());
    all.remove_prefix(n);
    return net::Result<std::size_t>{n, err};
  });
}

}  // namespace

TEST_CASE_FIXTURE(TimeLimit, "bytes that come with an error are not dropped") {
  const net::Error errors[] = {net::eof, net::timed_out, net::truncated,
                               std::errc::connection_reset};
  for (const net::Error& err : errors) {
    CAPTURE(err.message());
    const bool end = err == net::eof;
    const net::Error in_the_end = end ? net::Error() : err;
    const net::Error too_early = end ? net::Error(net::unexpected_eof) : err;
    const net::Pipe ends = net::pipe();
    net::Reader copied = failing(err);
    const auto [n, copy_err] = net::copy(ends.first, copied);
    CHECK(n == 3);
    CHECK(copy_err == in_the_end);
    char buffer[8];
    CHECK(net::must(net::read_full(ends.second, {buffer, 3})) == 3);
    CHECK(std::string(buffer, 3) == "abc");

    const auto [all, all_err] = failing(err).read_all(100);
    CHECK(all == "abc");
    CHECK(all_err == in_the_end);

    const auto [size, full_err] = failing(err).read_full(buffer);
    CHECK(size == 3);
    CHECK(full_err == too_early);

    net::Reader lines = failing(err);
    const auto [line, line_err] = lines.read_line();
    CHECK(line + std::string(lines.buffered()) == "abc");
    CHECK(line_err == too_early);
  }
}

// A message that was cut is what the network itself makes of this.
TEST_CASE_FIXTURE(TimeLimit, "what fitted of a cut message is copied") {
  const Connected from("unixpacket", "");
  const std::string message(300 * 1024, 'x');
  net::must(net::set_write_buffer(from.client, 1 << 20));
  const auto [sent, err] = net::write(from.client, message);
  if (err) {
    MESSAGE("skipped: no such long messages here: " << err.message());
    return;
  }
  const net::Pipe to = net::pipe();
  Blocked copying([&] { return net::copy(to.first, from.server); });
  std::string got(message.size(), '\0');
  net::set_read_deadline(to.second, support::generous);
  std::size_t size = 0;
  while (size < 200 * 1024)
    size += net::must(net::read(to.second, {&got[size], got.size() - size}));
  const auto [copied, copy_err] = copying.get();
  CHECK(copy_err == net::truncated);
  CHECK(copied >= 200 * 1024);
}

TEST_CASE_FIXTURE(TimeLimit,
                  "a descriptor does not get into another thread's write") {
  const Connected ends("unix", "");
  const std::string much(4 << 20, 'x');
  Blocked writing([&] { return net::write(ends.client, much); });
  REQUIRE_FALSE(writing.done());
  Blocked sending([&] { return net::send_descriptor(ends.client, 0); });
  std::string got(much.size(), '\0');
  CHECK(net::must(net::read_full(ends.server, got)) == much.size());
  CHECK(got == much);
  const auto [fd, err] = net::receive_descriptor(ends.server);
  CHECK_FALSE(err);
  CHECK(fd >= 0);
  ::close(fd);
  CHECK_FALSE(sending.get());
  CHECK_FALSE(writing.get().error);
}
