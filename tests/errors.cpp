// SPDX-License-Identifier: MIT
// Errors: values that tell the whole story of a call that failed.

#include "netlite.hpp"

#include <cstdlib>
#include <new>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "support.hpp"

// Counts what this thread allocates. (Never inlined, for then g++ would see a
// malloc that meets a delete.)
static thread_local int allocations = 0;

[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size,
                                     const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

// What the C library calls an errno differs from system to system.
extern "C" char* strerror(int) noexcept {
  static char words[] = "Words of this system's own";
  return words;
}

namespace {

using support::Connected;

net::Error of_errno(int value) {
  return std::error_code(value, std::system_category());
}

}  // namespace

TEST_CASE("a nil error is false and has nothing to say") {
  const net::Error err;
  CHECK_FALSE(err);
  CHECK(err.message() == "");
  CHECK(err.op() == "");
  CHECK(err.network() == "");
  CHECK_FALSE(err.local());
  CHECK_FALSE(err.remote());
  CHECK(err.subject() == "");
  CHECK_FALSE(err.timeout());
  CHECK_FALSE(err.temporary());
  CHECK(err == std::error_code());
  CHECK(err != net::eof);
  CHECK_FALSE(net::Error(std::error_code()));
}

TEST_CASE("success, eof and would_block allocate nothing") {
  const net::Pipe p = net::pipe();
  REQUIRE_FALSE(p.error);
  char buffer[4];
  const auto converse = [&] {
    net::must(net::write(p.first, "ping"));
    return net::must(net::read_full(p.second, buffer));
  };
  converse();  // whatever a thread allocates once, it has now
  allocations = 0;
  CHECK(converse() == 4);
  CHECK(allocations == 0);

  const auto listener = net::must(net::listen("tcp", "127.0.0.1:0"));
  const auto packets = net::must(net::listen_packet("udp", "127.0.0.1:0"));
  allocations = 0;
  CHECK(net::try_read(p.second, buffer).error == net::would_block);
  CHECK(net::try_accept(listener).error == net::would_block);
  CHECK(net::try_read_from(packets, buffer).error == net::would_block);
  CHECK(allocations == 0);

  net::must(net::close_write(p.first));
  allocations = 0;
  const auto [n, end] = net::read(p.second, buffer);
  const net::Error copy = end;
  CHECK(copy == net::eof);
  CHECK(n == 0);
  CHECK(allocations == 0);
}

TEST_CASE("errors compare with each other by their causes") {
  const support::Refusing nobody, elsewhere;
  const net::Error refused = net::dial("tcp", nobody.address).error;
  CHECK(refused == net::dial("tcp", elsewhere.address).error);
  CHECK(refused != net::Error(net::eof));
  CHECK(net::Error() == net::Error());
  CHECK(net::eof == net::Error(net::eof));
  CHECK(refused == refused.code());
  CHECK(refused != net::no_such_host);
}

template <class A, class B, class = void>
constexpr bool comparable = false;
template <class A, class B>
constexpr bool comparable<
    A, B, std::void_t<decltype(std::declval<A>() != std::declval<B>())>> = true;

TEST_CASE("an error compares with causes, and with nothing else") {
  CHECK(comparable<net::Error, net::Errc>);
  CHECK(comparable<net::Error, std::errc>);
  CHECK_FALSE(comparable<net::Error, int>);
  CHECK_FALSE(comparable<net::Error, std::string>);
}

TEST_CASE("each enum of error codes makes an error, and none is lost") {
  const net::Error resolver = net::no_such_host;
  CHECK(resolver == net::no_such_host);
  CHECK(resolver.code().category() == net::resolver_category());
  net::Group group;
  net::must(group.go([] { return net::no_such_host; }));
  CHECK(group.wait() == net::no_such_host);
  CHECK_FALSE(std::is_convertible_v<int, net::Error>);
  CHECK_FALSE(std::is_convertible_v<bool, net::Error>);
}

TEST_CASE("eof is bare: its message is just EOF" *
          doctest::description("behaviour 1")) {
  CHECK(net::Error(net::eof).message() == "EOF");
  CHECK(net::Error(net::eof).op() == "");
  CHECK(net::Error(net::unexpected_eof).message() == "unexpected EOF");
}

TEST_CASE("an error tells operation, network, both ends and cause") {
  Connected c;
  const std::string local = net::local_addr(c.client).string();
  const std::string remote = net::remote_addr(c.client).string();
  net::must(net::set_linger(c.server, 0));
  net::must(net::close(c.server));
  char buffer[8];
  const auto [n, err] = net::read(c.client, buffer);
  CHECK(err);
  CHECK(n == 0);
  CHECK(err.op() == "read");
  CHECK(err.network() == "tcp");
  CHECK(err.local() == net::local_addr(c.client));
  CHECK(err.remote() == net::remote_addr(c.client));
  CHECK(err.subject() == "read");
  CHECK(err == std::errc::connection_reset);
  CHECK(err.code() == std::error_code(ECONNRESET, std::system_category()));
  CHECK(err.message() == "read tcp " + local + "->" + remote +
                             ": read: connection reset by peer");
}

TEST_CASE("dial's error names the address and what the kernel said") {
  const support::Refusing nobody;
  const std::string& address = nobody.address;
  const auto [conn, err] = net::dial("tcp", address);
  CHECK_FALSE(conn);
  CHECK(err == std::errc::connection_refused);
  CHECK(err.op() == "dial");
  CHECK(err.remote().string() == address);
  CHECK_FALSE(err.local());
  CHECK(err.message() ==
        "dial tcp " + address + ": connect: connection refused");
}

TEST_CASE("errors name the network asked for, addresses the plain one" *
          doctest::description("behaviour 88")) {
  const struct {
    const char* network;
    const char* address;
    const char* plain;
  } kinds[] = {{"tcp", "127.0.0.1:0", "tcp"},
               {"tcp4", "127.0.0.1:0", "tcp"},
               {"unix", "", "unix"},
               {"unixpacket", "", "unixpacket"}};
  for (const auto& kind : kinds) {
    INFO(kind.network);
    Connected c(kind.network, kind.address);
    CHECK(net::addr(c.listener).network() == kind.plain);
    CHECK(net::local_addr(c.client).network() == kind.plain);
    CHECK(net::remote_addr(c.client).network() == kind.plain);
    CHECK(net::local_addr(c.server).network() == kind.plain);

    const std::string ends = net::local_addr(c.client).string() + "->" +
                             net::remote_addr(c.client).string();
    net::must(net::close(c.client));
    char buffer[1];
    const net::Error err = net::read(c.client, buffer).error;
    CHECK(err.network() == kind.network);
    CHECK(err.message() == std::string("read ") + kind.network + " " + ends +
                               ": use of closed network connection");
  }
}

TEST_CASE("end of stream, time-out, closed by us and reset: four things") {
  char buffer[1];
  Connected ended, idle, shut, cut;
  net::must(net::close(ended.server));
  net::must(net::set_read_deadline(idle.client, 0s));
  net::must(net::close(shut.client));
  net::must(net::set_linger(cut.server, 0));
  net::must(net::close(cut.server));
  const net::Error errors[] = {
      net::read(ended.client, buffer).error,
      net::read(idle.client, buffer).error,
      net::read(shut.client, buffer).error,
      net::read(cut.client, buffer).error,
  };
  const std::error_condition causes[] = {
      std::error_code(net::eof).default_error_condition(),
      std::errc::timed_out,
      std::error_code(net::closed).default_error_condition(),
      std::errc::connection_reset,
  };
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      INFO(errors[i].message());
      CHECK((errors[i] == causes[j]) == (i == j));
    }
}

TEST_CASE("our deadline and the kernel's ETIMEDOUT are both a time-out") {
  const net::Error ours = net::timed_out;
  const net::Error kernels = of_errno(ETIMEDOUT);
  CHECK(ours == std::errc::timed_out);
  CHECK(kernels == std::errc::timed_out);
  CHECK(ours == net::timed_out);
  CHECK(kernels != net::timed_out);
  CHECK(net::Error(net::would_block) == std::errc::operation_would_block);
}

TEST_CASE("which errors are a time-out, and which pass" *
          doctest::description("behaviour 40")) {
  const struct {
    net::Error err;
    bool timeout, temporary;
  } classes[] = {
      {net::timed_out, true, true},
      {of_errno(ETIMEDOUT), true, true},
      {of_errno(EAGAIN), true, true},
      {net::would_block, false, true},
      {of_errno(EMFILE), false, true},
      {of_errno(ENFILE), false, true},
      {of_errno(ENOBUFS), false, true},
      {of_errno(ENOMEM), false, true},
      {net::closed, false, false},
      {net::eof, false, false},
      {of_errno(ECONNREFUSED), false, false},
      {of_errno(EPIPE), false, false},
      {std::error_code(net::no_such_host), false, false},
      {std::error_code(EAI_AGAIN, net::resolver_category()), false, true},
  };
  for (const auto& each : classes) {
    INFO(each.err.message());
    CHECK(each.err.timeout() == each.timeout);
    CHECK(each.err.temporary() == each.temporary);
  }
}

TEST_CASE("what sockets fail with is told in Go's words on every system") {
  const struct {
    int error;
    const char* words;
  } table[] = {
      {EPERM, "operation not permitted"},
      {ENOENT, "no such file or directory"},
      {EINTR, "interrupted system call"},
      {EIO, "input/output error"},
      {EBADF, "bad file descriptor"},
      {EAGAIN, "resource temporarily unavailable"},
      {ENOMEM, "cannot allocate memory"},
      {EACCES, "permission denied"},
      {EFAULT, "bad address"},
      {EEXIST, "file exists"},
      {ENODEV, "no such device"},
      {ENOTDIR, "not a directory"},
      {EISDIR, "is a directory"},
      {EINVAL, "invalid argument"},
      {ENFILE, "too many open files in system"},
      {EMFILE, "too many open files"},
      {ENOSPC, "no space left on device"},
      {EROFS, "read-only file system"},
      {EPIPE, "broken pipe"},
      {ENAMETOOLONG, "file name too long"},
      {ELOOP, "too many levels of symbolic links"},
      {EPROTO, "protocol error"},
      {ENOTSOCK, "socket operation on non-socket"},
      {EDESTADDRREQ, "destination address required"},
      {EMSGSIZE, "message too long"},
      {EPROTOTYPE, "protocol wrong type for socket"},
      {ENOPROTOOPT, "protocol not available"},
      {EPROTONOSUPPORT, "protocol not supported"},
      {EOPNOTSUPP, "operation not supported"},
      {EAFNOSUPPORT, "address family not supported by protocol"},
      {EADDRINUSE, "address already in use"},
      {EADDRNOTAVAIL, "cannot assign requested address"},
      {ENETDOWN, "network is down"},
      {ENETUNREACH, "network is unreachable"},
      {ENETRESET, "network dropped connection on reset"},
      {ECONNABORTED, "software caused connection abort"},
      {ECONNRESET, "connection reset by peer"},
      {ENOBUFS, "no buffer space available"},
      {EISCONN, "transport endpoint is already connected"},
      {ENOTCONN, "transport endpoint is not connected"},
      {ESHUTDOWN, "cannot send after transport endpoint shutdown"},
      {ETIMEDOUT, "connection timed out"},
      {ECONNREFUSED, "connection refused"},
      {EHOSTDOWN, "host is down"},
      {EHOSTUNREACH, "no route to host"},
      {EALREADY, "operation already in progress"},
      {EINPROGRESS, "operation now in progress"},
  };
  for (const auto& each : table) {
    CHECK(of_errno(each.error).message() == each.words);
    CHECK(net::Error(std::errc(each.error)).message() == each.words);
  }
  // What sockets do not know is told as the system tells it, as part of a
  // sentence.
  std::string others = of_errno(ECHILD).code().message();
  others[0] = static_cast<char>(others[0] - 'A' + 'a');
  CHECK(of_errno(ECHILD).message() == others);
}

TEST_CASE("every condition has a text of its own in our category") {
  std::set<std::string> texts;
  for (int code = net::eof; code <= net::write_to_connected; ++code) {
    const std::error_code condition(code, net::category());
    CHECK(condition.category().name() == std::string("netlite"));
    CHECK(condition.message() != "unknown error");
    texts.insert(condition.message());
  }
  CHECK(texts.size() == net::write_to_connected);
  CHECK(std::error_code(4711, net::category()).message() == "unknown error");
  CHECK(std::error_code(-1, net::category()).message() == "unknown error");
}

TEST_CASE("resolver failures are counted apart from errno") {
  const std::error_code none = net::no_such_host;
  CHECK(none.category() == net::resolver_category());
  CHECK(none.category().name() == std::string("resolver"));
  CHECK(none.message() == "no such host");
  const std::error_code again(EAI_AGAIN, net::resolver_category());
  CHECK(again.message() == "server misbehaving");
  // The same number as an errno is another error.
  CHECK(net::Error(none) !=
        std::error_code(none.value(), std::system_category()));

  errno = ENOENT;
  const auto [conn, err] = net::dial("tcp", "127.1:80");
  CHECK(err == net::no_such_host);
  CHECK(err.message() == "dial tcp: lookup 127.1: no such host");
}

TEST_CASE("conditions work as std::error_code and as values") {
  const std::error_code code = net::closed;
  CHECK(code == net::closed);
  CHECK(code.category() == net::category());
  const net::Error err = net::closed;
  CHECK(err == net::closed);
  CHECK(err == code);
  CHECK(err != net::eof);
  CHECK(err != std::errc::bad_file_descriptor);
  const auto fails = []() -> net::Error { return net::limit_exceeded; };
  CHECK(fails() == net::limit_exceeded);
}

TEST_CASE("must gives the value, or throws a Failure that has the error") {
  CHECK(net::must(net::Result<int>{42, {}}) == 42);
  net::must(net::Error());

  const support::Refusing nobody;
  const std::string& address = nobody.address;
  try {
    net::must(net::dial("tcp", address));
    FAIL("did not throw");
  } catch (const net::Failure& failure) {
    CHECK(failure.error == std::errc::connection_refused);
    CHECK(failure.error.remote().string() == address);
    CHECK(failure.what() == failure.error.message());
  }
  CHECK_THROWS_AS(net::must(net::Error(net::eof)), std::runtime_error);
}

TEST_CASE("must gives away a value that cannot be copied") {
  net::Result<std::unique_ptr<int>> result{std::make_unique<int>(7), {}};
  CHECK(*net::must(std::move(result)) == 7);
}

template <class T>
T value_of(const net::Result<T>& result) {
  CHECK_FALSE(result.error);
  return result.value;
}

// An Errc is an int, too.
TEST_CASE("a function that returns a Result says what it means") {
  const auto check = [](auto zero) {
    using T = decltype(zero);
    const auto nothing = []() -> net::Result<T> { return {}; };
    CHECK(value_of(nothing()) == T());
    const auto error = [](auto cause) {
      const auto plain = [&]() -> net::Result<T> { return cause; };
      const auto braced = [&]() -> net::Result<T> { return {cause}; };
      const auto beside = [&]() -> net::Result<T> { return {T(), cause}; };
      for (const net::Result<T>& got : {plain(), braced(), beside()}) {
        CHECK(got.error == cause);
        CHECK(got.value == T());
      }
    };
    error(net::closed);
    error(net::no_such_host);
    error(std::errc::invalid_argument);
    error(std::error_code(net::eof));
    error(net::Error(net::truncated));
  };
  check(std::size_t{});
  check(int{});
  check(char{});
  check(bool{});
  check(double{});
  check(std::string{});
  check(std::vector<std::string>{});

  const auto count = []() -> net::Result<std::size_t> { return 3; };
  CHECK(value_of(count()) == 3);
  const auto word = []() -> net::Result<std::string> { return "word"; };
  CHECK(value_of(word()) == "word");
  const auto both = []() -> net::Result<std::size_t> {
    return {3, net::timed_out};
  };
  CHECK(both().value == 3);
  CHECK(both().error == net::timed_out);
}

// What a temporary tells must not go with it.
TEST_CASE("what an error tells outlives the error") {
  const auto dialled = [] {
    return net::dial("tcp", support::Refusing().address).error;
  };
  const std::string& op = dialled().op();
  const std::string& network = dialled().network();
  const std::string& subject = dialled().subject();
  const net::Addr& local = net::close(net::Conn()).local();
  const net::IP& ip = dialled().remote().ip();
  CHECK(op == "dial");
  CHECK(network == "tcp");
  CHECK(subject == "connect");
  CHECK_FALSE(local);
  CHECK(ip.string() == "127.0.0.1");

  // Whatever the test above makes of it: none of them is a view.
  using net::Error;
  CHECK(std::is_same_v<decltype(std::declval<Error>().op()), std::string>);
  CHECK(std::is_same_v<decltype(std::declval<Error>().network()), std::string>);
  CHECK(std::is_same_v<decltype(std::declval<Error>().subject()), std::string>);
  CHECK(std::is_same_v<decltype(std::declval<Error>().message()), std::string>);
  CHECK(std::is_same_v<decltype(std::declval<Error>().local()), net::Addr>);
  CHECK(std::is_same_v<decltype(std::declval<Error>().remote()), net::Addr>);
}

TEST_CASE("errors and addresses are printed with <<") {
  std::ostringstream out;
  out << net::Error(net::eof) << "; "
      << net::Addr("tcp", net::must(net::parse_ip("::1")), 80);
  CHECK(out.str() == "EOF; [::1]:80");
}

TEST_CASE("an error outlives its socket, copies and moves") {
  net::Error kept;
  std::string text;
  {
    Connected c;
    net::must(net::close(c.client));
    kept = net::close(c.client);
    text = kept.message();
  }
  const net::Error copy = kept;
  net::Error moved = std::move(kept);
  CHECK(copy.message() == text);
  CHECK(moved.message() == text);
  moved = net::Error();
  CHECK_FALSE(moved);
  CHECK(copy == net::closed);
  // What was moved from is still safe to ask.
  CHECK_NOTHROW(kept.message());  // NOLINT(bugprone-use-after-move)
}

TEST_CASE("many threads may ask one error at a time") {
  const support::Refusing nobody;
  const net::Error err = net::dial("tcp", nobody.address).error;
  const std::string text = err.message();
  std::atomic<int> same{0};
  {
    std::vector<support::Thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 200; ++round) {
          const net::Error mine = err;
          same += mine.message() == text;
        }
      });
  }
  CHECK(same == 800);
}
