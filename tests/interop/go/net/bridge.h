// netlite for C, and so for Go: what its sockets do, and what they say of it.
// SPDX-License-Identifier: MIT
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A Conn, a Listener or a PacketConn.
typedef struct nl_socket nl_socket;

// Text of any bytes. What netlite answers is for the caller to free.
typedef struct {
  char* data;
  size_t size;
} nl_text;

// What a call returns: nothing (no data) when all went well, or else the story
// of its error, a line a field:
// category, code, operation, network, local, remote, message.
typedef nl_text nl_error;

// In nanoseconds, where 0 is netlite's default; local is an address or "".
typedef struct {
  int64_t timeout;
  int64_t until;  // a deadline, so long from now
  int has_deadline;
  int64_t fallback_delay;
  int64_t keep_alive;
  nl_text local;
  uintptr_t control;  // a Go function that sees the descriptor, or 0
} nl_dial_options;

enum nl_kind { nl_conn, nl_listener, nl_packet_conn };
enum nl_direction { nl_both, nl_reads, nl_writes };
enum nl_option {
  nl_no_delay,
  nl_keep_alive,
  nl_linger,
  nl_read_buffer,
  nl_write_buffer,
  nl_unlink_on_close
};

nl_error nl_dial(nl_text network, nl_text address,
                 const nl_dial_options* options, nl_socket** conn);
nl_error nl_listen(nl_text network, nl_text address, uintptr_t control,
                   nl_socket** listener);
nl_error nl_listen_packet(nl_text network, nl_text address, uintptr_t control,
                          nl_socket** packets);
nl_error nl_accept(nl_socket* listener, nl_socket** conn);
nl_error nl_pipe(nl_socket** first, nl_socket** second);
nl_error nl_adopt(int descriptor, enum nl_kind kind, nl_socket** socket);

nl_error nl_read(nl_socket* conn, void* data, size_t size, size_t* n);
nl_error nl_write(nl_socket* conn, const void* data, size_t size, size_t* n);
nl_error nl_read_from(nl_socket* packets, void* data, size_t size, size_t* n,
                      nl_text* from);
nl_error nl_write_to(nl_socket* packets, const void* data, size_t size,
                     nl_text to, size_t* n);
nl_error nl_join_group(nl_socket* packets, nl_text group,
                       nl_text interface_name);

nl_error nl_close(nl_socket* socket);
nl_error nl_close_read(nl_socket* conn);
nl_error nl_close_write(nl_socket* conn);
nl_error nl_set_deadline(nl_socket* socket, enum nl_direction direction,
                         int64_t from_now, int never);
nl_error nl_set(nl_socket* socket, enum nl_option option, int64_t value);
nl_error nl_duplicate(nl_socket* socket, int* descriptor);
int nl_descriptor(nl_socket* socket);

// "network address".
nl_text nl_local_addr(nl_socket* socket);
nl_text nl_remote_addr(nl_socket* socket);

// Waits until a call of one's own is worth making.
nl_error nl_wait(nl_socket* socket, enum nl_direction direction);

// Drops the handle; the last one of a socket closes it.
void nl_drop(nl_socket* socket);

// Names.
nl_error nl_split_host_port(nl_text address, nl_text* host, nl_text* port);
nl_text nl_join_host_port(nl_text host, nl_text port);
nl_error nl_parse_ip(nl_text text, nl_text* ip);
nl_error nl_parse_prefix(nl_text text, nl_text* ip, nl_text* prefix);
nl_error nl_resolve(nl_text network, nl_text address, nl_text* found);
nl_error nl_lookup_port(nl_text network, nl_text service, int* port);
nl_error nl_lookup_host(nl_text host, nl_text* lines);

#ifdef __cplusplus
}
#endif
#endif
