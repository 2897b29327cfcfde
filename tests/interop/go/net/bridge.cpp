// SPDX-License-Identifier: MIT
#include "bridge.h"

#include <cstdlib>
#include <cstring>
#include <netlite.hpp>
#include <string>
#include <variant>

namespace net = netlite;
using std::chrono::nanoseconds;

struct nl_socket {
  std::variant<net::Conn, net::Listener, net::PacketConn> any;
};

// Go's side of a control function: 0, or the errno that ends the attempt.
extern "C" int nl_call_control(uintptr_t control, int descriptor);

namespace {

nl_text copied(const std::string& text) {
  auto* data = static_cast<char*>(std::malloc(text.size() + 1));
  std::memcpy(data, text.c_str(), text.size() + 1);
  return {data, text.size()};
}

std::string given(nl_text text) { return {text.data, text.size}; }

std::string told(const net::Addr& addr) {
  return addr ? std::string(addr.network()) + " " + addr.string() : "";
}

const char* kind_of(const std::error_code& code) {
  if (code.category() == net::category()) return "netlite";
  if (code.category() == net::resolver_category()) return "resolver";
  return "errno";
}

nl_error told(const net::Error& err) {
  if (!err) return {};
  std::string story = kind_of(err.code());
  for (const std::string& field :
       {std::to_string(err.code().value()), std::string(err.op()),
        std::string(err.network()), told(err.local()), told(err.remote()),
        err.message()})
    story += '\n' + field;
  return copied(story);
}

// A socket, when there is one, for Go to keep.
template <class Socket>
nl_error handed_over(const net::Result<Socket>& result, nl_socket** to) {
  if (!result.error) *to = new nl_socket{result.value};
  return told(result.error);
}

nl_error counted(const net::Result<std::size_t>& result, size_t* n) {
  *n = result.value;
  // Go is silent about a message that was cut to the buffer.
  return result.error == net::truncated ? nl_error{} : told(result.error);
}

const net::Conn& conn(nl_socket* socket) {
  return std::get<net::Conn>(socket->any);
}

// What all kinds of sockets can do.
template <class Call>
auto with(nl_socket* socket, Call call) {
  return std::visit(call, socket->any);
}

net::Addr address(nl_text addr) {
  const auto text = given(addr);
  const auto space = text.find(' ');
  if (space == text.npos) return {};
  const auto network = text.substr(0, space), where = text.substr(space + 1);
  if (network.compare(0, 4, "unix") == 0) return net::Addr(network, where);
  const auto [host, port, err] = net::split_host_port(where);
  const auto number = static_cast<std::uint16_t>(std::atoi(port.c_str()));
  return net::Addr(network, net::parse_ip(host).value, number);
}

template <class Options>
void set_control(Options& options, uintptr_t control) {
  if (!control) return;
  options.control = [control](int descriptor) -> net::Error {
    const int code = nl_call_control(control, descriptor);
    return std::error_code(code, std::system_category());
  };
}

net::Deadline from_now(int64_t count) { return nanoseconds(count); }

}  // namespace

nl_error nl_dial(nl_text network, nl_text where, const nl_dial_options* wanted,
                 nl_socket** to) {
  net::DialOptions options;
  const nanoseconds delay(wanted->fallback_delay);
  if (wanted->timeout) options.timeout = nanoseconds(wanted->timeout);
  if (wanted->has_deadline) options.deadline = from_now(wanted->until);
  // Go's negative delay: the second family waits until the first has failed.
  if (delay.count())
    options.fallback_delay = delay.count() > 0 ? delay : delay.max();
  if (wanted->keep_alive) options.keep_alive = nanoseconds(wanted->keep_alive);
  options.local = address(wanted->local);
  set_control(options, wanted->control);
  return handed_over(net::dial(given(network), given(where), options), to);
}

nl_error nl_listen(nl_text network, nl_text where, uintptr_t control,
                   nl_socket** to) {
  net::ListenOptions options;
  set_control(options, control);
  return handed_over(net::listen(given(network), given(where), options), to);
}

nl_error nl_listen_packet(nl_text network, nl_text where, uintptr_t control,
                          nl_socket** to) {
  net::ListenOptions options;
  set_control(options, control);
  return handed_over(net::listen_packet(given(network), given(where), options),
                     to);
}

nl_error nl_accept(nl_socket* listener, nl_socket** to) {
  return handed_over(net::accept(std::get<net::Listener>(listener->any)), to);
}

nl_error nl_pipe(nl_socket** first, nl_socket** second) {
  auto [a, b, err] = net::pipe();
  if (err) return told(err);
  *first = new nl_socket{a};
  *second = new nl_socket{b};
  return {};
}

nl_error nl_adopt(int descriptor, nl_kind kind, nl_socket** to) {
  switch (kind) {
    case nl_conn: return handed_over(net::conn_from(descriptor), to);
    case nl_listener: return handed_over(net::listener_from(descriptor), to);
    default: return handed_over(net::packet_conn_from(descriptor), to);
  }
}

nl_error nl_read(nl_socket* from, void* data, size_t size, size_t* n) {
  return counted(net::read(conn(from), net::Buffer(data, size)), n);
}

nl_error nl_write(nl_socket* to, const void* data, size_t size, size_t* n) {
  return counted(net::write(conn(to), net::Bytes(data, size)), n);
}

nl_error nl_read_from(nl_socket* packets, void* data, size_t size, size_t* n,
                      nl_text* from) {
  auto [got, sender, err] = net::read_from(
      std::get<net::PacketConn>(packets->any), net::Buffer(data, size));
  *n = got;
  *from = copied(told(sender));
  return err == net::truncated ? nl_error{} : told(err);
}

nl_error nl_write_to(nl_socket* packets, const void* data, size_t size,
                     nl_text to, size_t* n) {
  return counted(net::write_to(std::get<net::PacketConn>(packets->any),
                               net::Bytes(data, size), address(to)),
                 n);
}

nl_error nl_join_group(nl_socket* packets, nl_text group,
                       nl_text interface_name) {
  return told(net::join_group(std::get<net::PacketConn>(packets->any),
                              net::parse_ip(given(group)).value,
                              given(interface_name)));
}

nl_error nl_close(nl_socket* socket) {
  return told(with(socket, [](auto& it) { return net::close(it); }));
}

nl_error nl_close_read(nl_socket* socket) {
  return told(net::close_read(conn(socket)));
}

nl_error nl_close_write(nl_socket* socket) {
  return told(net::close_write(conn(socket)));
}

nl_error nl_set_deadline(nl_socket* socket, nl_direction direction,
                         int64_t count, int never) {
  const auto deadline = never ? net::no_deadline : from_now(count);
  return told(with(socket, [&](auto& it) {
    if (direction == nl_reads) return net::set_read_deadline(it, deadline);
    if (direction == nl_writes) return net::set_write_deadline(it, deadline);
    return net::set_deadline(it, deadline);
  }));
}

nl_error nl_set(nl_socket* socket, nl_option option, int64_t value) {
  const auto number = static_cast<int>(value);
  const auto time = nanoseconds(value);
  switch (option) {
    case nl_no_delay: return told(net::set_no_delay(conn(socket), value != 0));
    case nl_keep_alive:
      return told(net::set_keep_alive(conn(socket), time, time));
    case nl_linger: return told(net::set_linger(conn(socket), number));
    case nl_read_buffer:
      return told(with(
          socket, [&](auto& it) { return net::set_read_buffer(it, number); }));
    case nl_write_buffer:
      return told(with(
          socket, [&](auto& it) { return net::set_write_buffer(it, number); }));
    default:
      return told(net::set_unlink_on_close(std::get<net::Listener>(socket->any),
                                           value != 0));
  }
}

nl_error nl_duplicate(nl_socket* socket, int* descriptor) {
  const auto result = with(socket, [](auto& it) { return net::duplicate(it); });
  *descriptor = result.value;
  return told(result.error);
}

int nl_descriptor(nl_socket* socket) {
  return with(socket, [](auto& it) { return net::native_handle(it); });
}

nl_text nl_local_addr(nl_socket* socket) {
  return copied(
      with(socket, [](auto& it) { return told(net::local_addr(it)); }));
}

nl_text nl_remote_addr(nl_socket* socket) {
  return copied(told(net::remote_addr(conn(socket))));
}

nl_error nl_wait(nl_socket* socket, nl_direction direction) {
  const auto ready = direction == nl_reads ? net::readable : net::writable;
  return told(net::wait(conn(socket), ready));
}

void nl_drop(nl_socket* socket) { delete socket; }

nl_error nl_split_host_port(nl_text where, nl_text* host, nl_text* port) {
  const auto result = net::split_host_port(given(where));
  *host = copied(result.host);
  *port = copied(result.port);
  return told(result.error);
}

nl_text nl_join_host_port(nl_text host, nl_text port) {
  return copied(net::join_host_port(given(host), given(port)));
}

nl_error nl_parse_ip(nl_text text, nl_text* ip) {
  const auto result = net::parse_ip(given(text));
  *ip = copied(result.value.string());
  return told(result.error);
}

nl_error nl_parse_prefix(nl_text text, nl_text* ip, nl_text* prefix) {
  const auto result = net::parse_prefix(given(text));
  *ip = copied(result.value.ip().string());
  *prefix = copied(result.value.string());
  return told(result.error);
}

nl_error nl_resolve(nl_text network, nl_text where, nl_text* found) {
  const auto result = net::resolve(given(network), given(where));
  *found = copied(told(result.value));
  return told(result.error);
}

nl_error nl_lookup_port(nl_text network, nl_text service, int* port) {
  const auto result = net::lookup_port(given(network), given(service));
  *port = result.value;
  return told(result.error);
}

nl_error nl_lookup_host(nl_text host, nl_text* lines) {
  const auto result = net::lookup_host(given(host));
  std::string all;
  for (const auto& each : result.value) all += each + '\n';
  *lines = copied(all);
  return told(result.error);
}
