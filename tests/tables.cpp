// SPDX-License-Identifier: MIT
// The conformance tables: what Go's net says, row by row, and what we say.
//
// A check is a function from the cells that go into a call to the cells that
// come out; they are compared with the row. A row whose needs are not met on
// this machine is skipped and counted. A row that is left out on purpose is
// listed with its reason in tables_left_out.md.

#include "netlite.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "support.hpp"

namespace {

using support::Row;

// A socket made without netlite: what a call finds must not depend on what is
// tested. Closed at the end of its scope.
class Plain {
 public:
  Plain() = default;
  explicit Plain(int fd) : fd_(fd) { REQUIRE(fd >= 0); }
  Plain(Plain&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Plain& operator=(Plain&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Plain() { close(); }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

// A socket address for the BSD calls.
struct Name {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

// Of a host that is a number, such as "::1" or "fe80::1%lo".
std::optional<Name> ip_name(const std::string& host) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  Name name;
  std::memcpy(&name.storage, found->ai_addr, found->ai_addrlen);
  name.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return name;
}

// Of a path, or of an abstract name "@...".
Name unix_name(const std::string& path) {
  Name name;
  auto& un = reinterpret_cast<sockaddr_un&>(name.storage);
  REQUIRE(path.size() < sizeof un.sun_path);
  un.sun_family = AF_UNIX;
  std::memcpy(un.sun_path, path.data(), path.size());
  if (path[0] == '@') un.sun_path[0] = '\0';
  name.size = socklen_t(offsetof(sockaddr_un, sun_path) + path.size());
  return name;
}

void set_option(const Plain& socket, int level, int option, int value) {
  REQUIRE(::setsockopt(socket.fd(), level, option, &value, sizeof value) == 0);
}

Plain bound(Name name, int type, bool only6 = false) {
  Plain socket(::socket(name.storage.ss_family, type, 0));
  if (name.storage.ss_family == AF_INET6)
    set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, only6);
  if (name.storage.ss_family != AF_UNIX && type == SOCK_STREAM)
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);  // as servers do
  REQUIRE(::bind(socket.fd(), name.get(), name.size) == 0);
  return socket;
}

Name own_name(const Plain& socket) {
  Name name;
  REQUIRE(::getsockname(socket.fd(), name.get(), &name.size) == 0);
  return name;
}

Plain connected_to(const Plain& listener) {
  Name name = own_name(listener);
  Plain socket(::socket(name.storage.ss_family, SOCK_STREAM, 0));
  REQUIRE(::connect(socket.fd(), name.get(), name.size) == 0);
  return socket;
}

// ---------------------------------------------------------------------------
// Needs

bool can_bind(const std::string& host) {
  std::optional<Name> name = ip_name(host);
  if (!name) return false;
  const int fd = ::socket(name->storage.ss_family, SOCK_DGRAM, 0);
  if (fd < 0) return false;
  const Plain socket(fd);
  return ::bind(fd, name->get(), name->size) == 0;
}

bool localhost_is(const std::string& ip) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, &hints, &found) != 0) return false;
  bool is = false;
  for (const addrinfo* each = found; each; each = each->ai_next) {
    char text[NI_MAXHOST];
    ::getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, nullptr,
                  0, NI_NUMERICHOST);
    is = is || text == ip;
  }
  ::freeaddrinfo(found);
  return is;
}

bool name_server_says_no() {
  addrinfo* found = nullptr;
  const int code =
      ::getaddrinfo("no-such-host.invalid", nullptr, nullptr, &found);
  if (code == 0) ::freeaddrinfo(found);
  return code == EAI_NONAME;
}

bool root_has_no_power() {
  const support::Directory directory;
  const std::string path = directory.path + "/secret";
  const Plain made(::open(path.c_str(), O_CREAT | O_WRONLY, 0));
  return ::access(path.c_str(), R_OK) != 0;
}

bool low_ports_are_privileged() {
  std::ifstream file("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  int first = 1024;
  file >> first;
  return first > 80;
}

bool on_linux() {
  utsname system{};
  return ::uname(&system) == 0 && std::string(system.sysname) == "Linux";
}

bool met(const std::string& need, const Row& row) {
  if (need == "-" || need == "quirk") return true;
  if (need == "unassigned")
    return !can_bind(net::split_host_port(row.at("address")).host);
  static std::map<std::string, bool> known;
  if (const auto it = known.find(need); it != known.end()) return it->second;
  bool& is = known[need];
  if (need == "ipv6") return is = can_bind("::1");
  if (need == "localhost4") return is = localhost_is("127.0.0.1");
  if (need == "localhost6") return is = localhost_is("::1");
  if (need == "dns") return is = name_server_says_no();
  if (need == "services") return is = ::getservbyname("mysql", "tcp");
  if (need == "nonroot") return is = root_has_no_power();
  if (need == "privport") return is = low_ports_are_privileged();
  if (need == "kernel") return is = on_linux();
  FAIL("unknown need: " << need);
  return false;
}

// The first need of a row that is not met here; "" when all are.
std::string unmet_need(const Row& row) {
  const auto needs = row.find("needs");
  if (needs == row.end()) return "";
  // To who may not write to / the kernel says only that: root made the tables.
  if (row.count("address") && row.at("address") == "//" &&
      ::access("/", W_OK) != 0)
    return "writable-root";
  for (const std::string& need : support::split(needs->second, ','))
    if (!met(need, row)) return need;
  return "";
}

// ---------------------------------------------------------------------------
// Situations

void replace(std::string& text, const std::string& from,
             const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos;
       at += to.size())
    text.replace(at, from.size(), to);
}

// Takes a word off the front of a text.
bool take(std::string& text, const std::string& word) {
  const bool is = text.compare(0, word.size(), word) == 0;
  if (is) text.erase(0, word.size());
  return is;
}

// What a row finds: files, sockets, and the words for its placeholders.
class Scene {
 public:
  explicit Scene(const Row& row) {
    std::string address = row.count("address") ? row.at("address") : "";
    words_["{tag}"] = std::to_string(::getpid());
    words_["{dir}"] = dir_.path;
    expand(address);
    if (const auto pad = address.find("{pad:"); pad != address.npos) {
      const std::string word =
          address.substr(pad, address.find('}', pad) + 1 - pad);
      const auto size = std::stoul(word.substr(5));
      words_[word].assign(size - (address.size() - word.size()), 'a');
      expand(address);
    }
    if (row.count("situation")) make(row.at("situation"), address);
  }

  // Puts words for the placeholders.
  void expand(std::string& text) const {
    for (const auto& [placeholder, word] : words_)
      replace(text, placeholder, word);
  }
  Row expand(Row row) const {
    for (auto& cell : row) expand(cell.second);
    return row;
  }

 private:
  // "tcp4-any-listening" is family, address and state.
  void make(std::string situation, const std::string& address) {
    if (situation == "none" || situation == "unix-missing") return;
    if (take(situation, "unixgram-")) {
      make_unix(SOCK_DGRAM, situation, address);
    } else if (take(situation, "unixpacket-")) {
      make_unix(SOCK_SEQPACKET, situation, address);
    } else if (take(situation, "unix-")) {
      make_unix(SOCK_STREAM, situation, address);
    } else {
      const int type = take(situation, "udp") ? SOCK_DGRAM : SOCK_STREAM;
      if (type == SOCK_STREAM) REQUIRE(take(situation, "tcp"));
      const bool only4 = take(situation, "4");
      const bool only6 = take(situation, "6");
      const bool any = take(situation, "-any");
      REQUIRE(take(situation, "-"));
      const bool six = only6 || (!only4 && met("ipv6", {}));
      const char* host =
          six ? (any ? "::" : "::1") : (any ? "0.0.0.0" : "127.0.0.1");
      make_ip(bound(*ip_name(host), type, only6), type, situation);
    }
  }

  void make_ip(Plain socket, int type, const std::string& state) {
    if (type == SOCK_STREAM)
      REQUIRE(::listen(socket.fd(), state == "backlog-full" ? 0 : 16) == 0);
    Name name = own_name(socket);
    char port[NI_MAXSERV];
    ::getnameinfo(name.get(), name.size, nullptr, 0, port, sizeof port,
                  NI_NUMERICSERV);
    words_["{port}"] = port;

    if (state == "closed") return;
    if (state == "backlog-full") {
      keep(connected_to(socket));
    } else if (state == "timewait" || state == "listener-closed-conn-open") {
      Plain client = connected_to(socket);
      Plain server(::accept(socket.fd(), nullptr, nullptr));
      socket.close();
      if (state == "timewait") {
        server.close();
        char byte;
        REQUIRE(::recv(client.fd(), &byte, 1, 0) == 0);
        return;
      }
      keep(std::move(client));
      keep(std::move(server));
      return;
    } else {
      REQUIRE((state == "listening" || state == "bound"));
    }
    keep(std::move(socket));
  }

  void make_unix(int type, const std::string& state,
                 const std::string& address) {
    const std::string path = dir_.path + "/s.sock";
    const std::string link = dir_.path + "/link.sock";
    if (state == "dangling-symlink") {
      REQUIRE(::symlink("nothing", link.c_str()) == 0);
      return;
    }
    if (state == "regular-file") {
      std::ofstream(path) << "precious\n";
      return;
    }
    Plain socket =
        bound(unix_name(state == "listening-path" ? address : path), type);
    if (type != SOCK_DGRAM)
      REQUIRE(::listen(socket.fd(), state == "backlog-full" ? 0 : 16) == 0);
    if (state == "stale") return;
    if (state == "mode0") {
      REQUIRE(::chmod(path.c_str(), 0) == 0);
    } else if (state == "symlink") {
      REQUIRE(::symlink("s.sock", link.c_str()) == 0);
    } else if (state == "backlog-full") {
      keep(connected_to(socket));
    } else {
      REQUIRE((state == "listening" || state == "bound" ||
               state == "listening-path"));
    }
    keep(std::move(socket));
  }

  void keep(Plain socket) { open_.push_back(std::move(socket)); }

  support::Directory dir_;
  std::map<std::string, std::string> words_;
  std::vector<Plain> open_;
};

// Is this what the table says? {eport} stands for any port, {auto} for five
// hexadecimal digits.
bool matches(const std::string& want, const std::string& got) {
  const auto at = want.find('{');
  const bool port = want.compare(std::min(at, want.size()), 7, "{eport}") == 0;
  const bool name = want.compare(std::min(at, want.size()), 6, "{auto}") == 0;
  if (!port && !name) return want == got;
  if (got.compare(0, at, want, 0, at) != 0) return false;
  const std::string chosen = got.substr(at);
  const char* digits = port ? "0123456789" : "0123456789abcdef";
  return chosen.find_first_not_of(digits) == chosen.npos &&
         (port ? !chosen.empty() && chosen != "0" : chosen.size() == 5);
}

// ---------------------------------------------------------------------------
// The count

struct Tally {
  int passed = 0;
  int failed = 0;
  int left_out = 0;
  std::map<std::string, int> skipped;  // by need
};
std::map<std::string, Tally> tallies;

// A row of tables_left_out.md; "*" is a whole table.
struct LeftOut {
  std::string table;
  std::string key;
  std::string reason;
};

std::vector<LeftOut> left_out() {
  std::ifstream file(TEST_DATA "/../tables_left_out.md");
  REQUIRE(file);
  std::vector<LeftOut> rows;
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, 2, "| ") != 0) continue;
    auto cells = support::split(line, '|');
    REQUIRE_MESSAGE(cells.size() == 5, line);
    for (std::string& cell : cells)
      if (cell.size() >= 2) cell = cell.substr(1, cell.size() - 2);
    std::string key = cells[2];
    if (key[0] == '`') key = support::unescape(key.substr(1, key.size() - 2));
    if (cells[1] != "table") rows.push_back({cells[1], key, cells[3]});
  }
  return rows;
}

std::set<std::string> left_out_of(const std::string& table) {
  std::set<std::string> keys;
  for (const LeftOut& row : left_out()) {
    if (row.table != table) continue;
    INFO(table << " " << row.key);
    CHECK_MESSAGE(!row.reason.empty(), "no reason given");
    CHECK_MESSAGE(keys.insert(row.key).second, "listed twice");
  }
  return keys;
}

// What a row is called: its id, or what goes into the call.
std::string key_of(const Row& row, const std::vector<std::string>& columns) {
  std::string key;
  for (const std::string& column : columns)
    key += (column == columns.front() ? "" : ", ") + row.at(column);
  return key;
}

// Checks each row of a table: `call` makes of the row the cells that we give.
template <class Call>
void check_table(const std::string& table,
                 const std::vector<std::string>& key_columns, Call call) {
  Tally& tally = tallies[table];
  std::set<std::string> left = left_out_of(table);
  for (const Row& row : support::table(table)) {
    const std::string key = key_of(row, key_columns);
    if (left.erase(key) || left.count("*")) {
      ++tally.left_out;
      continue;
    }
    if (const std::string need = unmet_need(row); !need.empty()) {
      ++tally.skipped[need];
      continue;
    }
    const Scene scene(row);
    const Row want = scene.expand(row);
    bool same = true;
    for (const auto& cell : call(want)) {
      INFO(table << " " << key << ", column " << cell.first);
      const std::string& expected = want.at(cell.first);
      const bool equal = matches(expected, cell.second);
      if (!equal) CHECK(cell.second == expected);
      same = same && equal;
    }
    ++(same ? tally.passed : tally.failed);
  }
  CHECK(tally.passed > 0);
  for (const std::string& key : left)
    CHECK_MESSAGE(key == "*", table << " has no row " << key);

  // The world has what rows need; an ordinary machine may lack it.
  if (!support::in_world()) return;
  for (const std::string need :
       {"dns", "localhost4", "localhost6", "ipv6", "services"})
    CHECK_MESSAGE(tally.skipped.count(need) == 0,
                  table << ": a row was skipped for " << need);
  if (support::in_world("unprivileged"))
    CHECK(tally.skipped.count("nonroot") == 0);
}

// ---------------------------------------------------------------------------
// What we say, in the words of the tables

std::string flag(bool is) { return is ? "1" : "0"; }

std::string errno_name(int error) {
  switch (error) {
    case EACCES: return "EACCES";
    case EADDRINUSE: return "EADDRINUSE";
    case EADDRNOTAVAIL: return "EADDRNOTAVAIL";
    case EAGAIN: return "EAGAIN";
    case ECONNREFUSED: return "ECONNREFUSED";
    case EINVAL: return "EINVAL";
    case ENETUNREACH: return "ENETUNREACH";
    case ENOENT: return "ENOENT";
    case ENOTDIR: return "ENOTDIR";
    case EPROTOTYPE: return "EPROTOTYPE";
    default: return std::to_string(error);
  }
}

std::string kind_of(const net::Error& err) {
  if (!err) return "";
  if (err == net::unknown_network) return "unknown-network";
  if (err == net::missing_address) return "missing-address";
  if (err == net::timed_out) return "timeout";
  if (err.code().category() == net::category()) return "addr";
  if (err.code().category() == net::resolver_category()) return "dns";
  return "syscall:" + err.subject();
}

std::string classes_of(const net::Error& err) {
  if (err == net::timed_out) return "deadline";
  if (err == net::closed) return "closed";
  if (err == std::errc::no_such_file_or_directory) return "not-exist";
  if (err == std::errc::file_exists) return "exist";
  if (err == std::errc::permission_denied) return "permission";
  return "";
}

// The cells that describe a failure.
Row told(const net::Error& err) {
  const bool kernel = err.code().category() == std::system_category();
  return {{"error", err.message()},
          {"op", err.op()},
          {"kind", kind_of(err)},
          {"errno", err && kernel ? errno_name(err.code().value()) : ""},
          {"is", classes_of(err)},
          {"timeout", flag(err.timeout())},
          {"temporary", flag(err.temporary())},
          {"notfound", flag(err == net::no_such_host)}};
}

Row dial_row(const Row& row) {
  // In Go 0 is no time-out at all; here it is one that has passed.
  const int limit = std::stoi(row.at("timeout_ms"));
  const std::chrono::nanoseconds timeout =
      limit == 0 ? net::forever : std::chrono::milliseconds(limit);
  const support::Stopwatch watch;
  const auto [conn, err] =
      net::dial_timeout(row.at("network"), row.at("address"), timeout);
  if (err == net::timed_out) CHECK(watch.elapsed() >= timeout);
  Row cells = told(err);
  cells["remote_network"] = net::remote_addr(conn).network();
  cells["remote"] = net::remote_addr(conn).string();
  cells["local"] = net::local_addr(conn).string();
  return cells;
}

template <class Listening>
Row listen_row(const net::Result<Listening>& result) {
  Row cells = told(result.error);
  cells["addr_network"] = net::local_addr(result.value).network();
  cells["addr"] = net::local_addr(result.value).string();
  return cells;
}

// An empty network means `otherwise` to Go's three functions.
auto resolve_row(const std::string& otherwise) {
  return [otherwise](const Row& row) -> Row {
    const std::string& network = row.at("network");
    const auto [addr, err] =
        net::resolve(network.empty() ? otherwise : network, row.at("address"));
    return {{"result_network", std::string(addr.network())},
            {"result", addr.string()},
            {"error", err.message()}};
  };
}

}  // namespace

TEST_CASE("split_host_port: every row") {
  check_table("split_host_port", {"input"}, [](const Row& row) -> Row {
    const auto [host, port, err] = net::split_host_port(row.at("input"));
    return {{"host", host}, {"port", port}, {"error", err.message()}};
  });
}

TEST_CASE("join_host_port: every row") {
  check_table("join_host_port", {"host", "port"}, [](const Row& row) -> Row {
    return {{"result", net::join_host_port(row.at("host"), row.at("port"))}};
  });
}

TEST_CASE("parse_ip: every row") {
  check_table("parse_ip", {"input"}, [](const Row& row) -> Row {
    const auto [ip, err] = net::parse_ip(row.at("input"));
    if (err) return {{"ip", ""}, {"is4", ""}, {"addr", ""}, {"addr_zone", ""}};
    // net.ParseIP knows no zones and does not tell ::ffff:1.2.3.4 from
    // 1.2.3.4; netip.ParseAddr does, as we do.
    const bool plain = ip.zone().empty();
    return {{"ip", plain ? ip.unmap().string() : ""},
            {"is4", plain ? flag(ip.unmap().is4()) : ""},
            {"addr", ip.string()},
            {"addr_zone", ip.zone()}};
  });
}

TEST_CASE("lookup_port: every row") {
  check_table("lookup_port", {"network", "service"}, [](const Row& row) -> Row {
    const auto [port, err] =
        net::lookup_port(row.at("network"), row.at("service"));
    return {{"port", err ? "" : std::to_string(port)},
            {"error", err.message()}};
  });
}

TEST_CASE("resolve: every row of the three tables") {
  const std::vector<std::string> key{"network", "address"};
  check_table("resolve_tcp_addr", key, resolve_row("tcp"));
  check_table("resolve_udp_addr", key, resolve_row("udp"));
  check_table("resolve_unix_addr", key, resolve_row("unix"));
}

TEST_CASE("dial: every row of dial_errors") {
  check_table("dial_errors", {"id"}, dial_row);
}

TEST_CASE("listen, listen_packet: every row of listen_errors") {
  check_table("listen_errors", {"id"}, [](const Row& row) {
    const std::string& network = row.at("network");
    const std::string& address = row.at("address");
    if (row.at("call") == "listen_packet")
      return listen_row(net::listen_packet(network, address));
    return listen_row(net::listen(network, address));
  });
}

TEST_CASE("parse_prefix: every row of parse_cidr") {
  check_table("parse_cidr", {"input"}, [](const Row& row) -> Row {
    const auto [prefix, err] = net::parse_prefix(row.at("input"));
    return {{"ip", prefix.ip().unmap().string()},
            {"network", err ? "" : prefix.string()},
            {"error", err.message()}};
  });
}

TEST_CASE("IP: every row of ip_class") {
  check_table("ip_class", {"ip"}, [](const Row& row) -> Row {
    const net::IP ip = net::must(net::parse_ip(row.at("ip")));
    return {
        {"IsUnspecified", flag(ip.is_unspecified())},
        {"IsLoopback", flag(ip.is_loopback())},
        {"IsPrivate", flag(ip.is_private())},
        {"IsMulticast", flag(ip.is_multicast())},
        {"IsLinkLocalUnicast", flag(ip.is_link_local_unicast())},
        {"IsLinkLocalMulticast", flag(ip.is_link_local_multicast())},
        {"IsInterfaceLocalMulticast", flag(ip.is_interface_local_multicast())},
        {"IsGlobalUnicast", flag(ip.is_global_unicast())}};
  });
}

TEST_CASE("lookup_host: every row") {
  check_table("lookup_host", {"host"}, [](const Row& row) -> Row {
    auto [addresses, err] = net::lookup_host(row.at("host"));
    std::sort(addresses.begin(), addresses.end());
    std::string all;
    for (const std::string& each : addresses)
      all += (all.empty() ? "" : " ") + each;
    return {{"addresses", all},
            {"error", err.message()},
            {"notfound", flag(err == net::no_such_host)},
            {"timeout", flag(err.timeout())},
            {"temporary", flag(err.temporary())}};
  });
}

TEST_CASE("no table is forgotten, and no row without a reason") {
  for (const LeftOut& row : left_out()) {
    const auto rows = support::table(row.table).size();
    if (row.key == "*") tallies[row.table].left_out = int(rows);
  }

  // Each row of each file is in one of the counts.
  DIR* files = ::opendir(TEST_DATA);
  REQUIRE(files);
  while (const dirent* file = ::readdir(files)) {
    std::string name = file->d_name;
    const auto dot = name.rfind(".tsv");
    if (dot == name.npos) continue;
    name.resize(dot);
    const Tally& tally = tallies[name];
    int rows = tally.passed + tally.failed + tally.left_out;
    for (const auto& [need, count] : tally.skipped) rows += count;
    CHECK_MESSAGE(rows == int(support::table(name).size()), name);
  }
  ::closedir(files);

  for (const auto& [table, tally] : tallies) {
    std::printf("%-17s %3d passed, %d failed, %d left out", table.c_str(),
                tally.passed, tally.failed, tally.left_out);
    for (const auto& [need, count] : tally.skipped)
      std::printf(", %d skipped for %s", count, need.c_str());
    std::printf("\n");
  }
}
