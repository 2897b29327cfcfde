#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Answers DNS questions (RFC 1035) on 127.0.0.1:53 while a command runs.

python3 nameserver.py COMMAND...    exits as the command does

Knows the names below, keeps silent about slow.test and the name of 192.0.2.99,
fails for servfail.test, and says of any other name that it does not exist.
"""
import ipaddress
import socket
import struct
import subprocess
import sys
import threading

A, CNAME, PTR, AAAA = 1, 5, 12, 28
SERVFAIL, NXDOMAIN = 2, 3

RECORDS = {
    "four.test": {A: ["127.0.0.1"]},
    "six.test": {AAAA: ["::1"]},
    "both.test": {A: ["127.0.0.1"], AAAA: ["::1"]},
    "twice.test": {A: ["127.0.0.1", "127.0.0.1"]},
    "empty.test": {},  # exists, but has no address
    "alias.test": {CNAME: ["both.test"]},
    "alias2.test": {CNAME: ["alias.test"]},
    "dangling.test": {CNAME: ["no-such-host.test"]},
}
REVERSE = {"192.0.2.1": "one.test", "2001:db8::1": "six.one.test"}
for ip, name in REVERSE.items():
    RECORDS[ipaddress.ip_address(ip).reverse_pointer] = {PTR: [name]}
SILENT = ["slow.test", "99.2.0.192.in-addr.arpa"]


def pack_name(name):
    labels = [label.encode() for label in name.split(".")]
    return b"".join(bytes([len(x)]) + x for x in labels) + b"\0"


def pack_record(name, kind, data):
    if kind in (A, AAAA):
        data = ipaddress.ip_address(data).packed
    else:
        data = pack_name(data)
    return pack_name(name) + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


def unpack_question(packet):
    """The name asked for, the type, and the question's bytes."""
    labels, at = [], 12
    while packet[at]:
        end = at + 1 + packet[at]
        labels.append(packet[at + 1:end].decode("latin-1"))
        at = end
    kind, = struct.unpack_from("!H", packet, at + 1)
    return ".".join(labels).lower(), kind, packet[12:at + 5]


def answer(packet):
    """The reply to a question; None for silence."""
    name, kind, question = unpack_question(packet)
    if name in SILENT:
        return None
    found = []
    while kind != CNAME and CNAME in RECORDS.get(name, {}):
        target = RECORDS[name][CNAME][0]
        found.append((name, CNAME, target))
        name = target
    for data in RECORDS.get(name, {}).get(kind, []):
        found.append((name, kind, data))
    code = 0 if name in RECORDS else NXDOMAIN
    if name == "servfail.test":
        code = SERVFAIL
    # The flags 0x8180: a reply, and the server does ask others.
    head = struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0)
    records = [pack_record(*record) for record in found]
    return packet[:2] + head + question + b"".join(records)


def serve(server):
    while True:
        packet, client = server.recvfrom(512)
        reply = answer(packet)
        if reply:
            server.sendto(reply, client)


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    status = subprocess.call(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)


main()
