"""The example `dns` with dnsmasq, beside dig, and with servers that lie."""
# SPDX-License-Identifier: MIT
import errno
import socket
import struct
import subprocess

from harness import Background, needs
from with_examples import ExampleCase

A, CNAME, AAAA = 1, 5, 28
HOME = b"\x7f\0\0\1"
POINTER = b"\xc0\x0c"  # to the name in the question
ANSWER, CUT = 0x8180, 0x200

RECORDS = (
    "--host-record=four.test,192.0.2.4",
    "--host-record=six.test,2001:db8::6",
    "--host-record=both.test,192.0.2.4,2001:db8::6",
    "--cname=alias.test,both.test",
    "--cname=alias2.test,alias.test",
    "--txt-record=empty.test,no address",
    *(f"--host-record=many.test,192.0.2.{i},2001:db8::{i:x}"
      for i in range(1, 100)))


def record(data, kind=A, name=POINTER, ttl=60, size=None):
    return name + struct.pack("!HHIH", kind, 1, ttl,
                              len(data) if size is None else size) + data


def reply(question, *records, flags=ANSWER, count=None, number=None):
    """An answer to a question; or something else, where told to."""
    return ((number or question[:2]) +
            struct.pack("!HHHHH", flags, 1,
                        len(records) if count is None else count, 0, 0) +
            question[12:] + b"".join(records))


def kind_of(question):
    return struct.unpack("!H", question[-4:-2])[0]


class Dns(ExampleCase):
    def dns(self, name, address, code=0):
        out = self.run_program("dns", name, address, code=code)
        return out if code else out.decode().splitlines()

    def refuses(self, name, address, why):
        self.assertRegex(self.dns(name, address, code=1),
                         f"^dns: lookup {name}: {why}\n$")

    def sockets(self):
        """One for datagrams and one for streams, of the same port."""
        while True:
            packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listener = socket.socket()
            self.addCleanup(packets.close)
            self.addCleanup(listener.close)
            packets.bind(("127.0.0.1", 0))
            try:
                listener.bind(packets.getsockname())
                return packets, listener
            except OSError as err:  # another one has the port for streams
                self.assertEqual(err.errno, errno.EADDRINUSE)

    def server(self, answers, over_tcp=None):
        """A name server on a port of its own: `answers` makes datagrams of a
        question, and `over_tcp` what goes through a connection. Gives also
        the list of the questions that came as datagrams."""
        packets, listener = self.sockets()
        questions = []

        def serve_packets():
            question, client = packets.recvfrom(65536)
            while question:
                questions.append(question)
                for packet in answers(question):
                    packets.sendto(packet, client)
                question, client = packets.recvfrom(65536)

        def serve_streams():
            while True:
                with listener.accept()[0] as client:
                    size = client.recv(2)
                    if not size:
                        return
                    client.sendall(over_tcp(client.recv(
                        struct.unpack("!H", size)[0])))

        def stop():
            packets.sendto(b"", packets.getsockname())
            serving.result()
            if over_tcp:
                socket.create_connection(listener.getsockname()).close()
                streaming.result()

        serving = Background(serve_packets)
        if over_tcp:
            listener.listen()
            streaming = Background(serve_streams)
        self.addCleanup(stop)
        return "127.0.0.1:%d" % packets.getsockname()[1], questions

    def dnsmasq(self):
        """It takes no port of the system's choice. So take one that was free a
        moment ago, and another one when somebody was quicker."""
        while True:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            child = self.start(
                "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-hosts",
                "--no-resolv", "--local=/test/", "--local-ttl=60",
                "--bind-interfaces", "--listen-address=127.0.0.1",
                f"--port={port}", *RECORDS, stderr=subprocess.PIPE)
            for line in child.stderr:
                if b"started" in line:
                    return port
                self.assertIn(b"in use", line)

    # dnsmasq

    @needs("dnsmasq")
    @needs("dig")
    def test_dns_finds_what_dig_finds_at_dnsmasq(self):
        port = self.dnsmasq()
        for name in ("four.test", "six.test", "both.test", "both.test.",
                     "BOTH.test", "alias.test", "alias2.test", "many.test"):
            with self.subTest(name):
                dug = self.run_program(
                    "dig", "@127.0.0.1", "-p", port, "+noall", "+answer",
                    name, "A", name, "AAAA").decode()
                found = {" ".join(line.split()) for line in dug.splitlines()}
                lines = self.dns(name, f"127.0.0.1:{port}")
                self.assertEqual(set(lines), found)
                self.assertEqual(len(lines), len(found))

    @needs("dnsmasq")
    def test_dns_tells_what_dnsmasq_does_not_know(self):
        address = f"127.0.0.1:{self.dnsmasq()}"
        self.refuses("nosuch.test", address, "no such host")
        self.refuses("empty.test", address, "no such host")
        self.refuses("elsewhere.example", address, "server misbehaving")

    def test_dns_understands_the_name_server_of_our_world(self):
        def dns(name, code=0):
            out = self.run_program(
                *self.in_the_world("dns", name, "127.0.0.1:53"), code=code)
            return out if code else out.decode().splitlines()

        self.assertEqual(dns("alias2.test"),
                         ["alias2.test. 60 IN CNAME alias.test.",
                          "alias.test. 60 IN CNAME both.test.",
                          "both.test. 60 IN A 127.0.0.1",
                          "both.test. 60 IN AAAA ::1"])
        for name, why in (("empty.test", "no such host"),
                          ("nosuch.test", "no such host"),
                          ("servfail.test", "server misbehaving"),
                          ("slow.test", "read udp .*: i/o timeout")):
            self.assertRegex(dns(name, 1), f"^dns: lookup {name}: {why}\n$")

    # Asking again

    def test_dns_asks_again_with_a_new_number_what_was_lost(self):
        heard = []

        def third_time(question):
            heard.append(question)
            return [reply(question, record(HOME))] if len(heard) > 2 else []

        address, questions = self.server(third_time)
        self.assertEqual(self.dns("a.test", address),
                         ["a.test. 60 IN A 127.0.0.1"])
        self.assertEqual(len({q[2:] for q in questions[:3]}), 1)
        self.assertEqual(len({q[:2] for q in questions[:3]}), 3)

    def test_dns_gives_up_after_three_questions(self):
        address, questions = self.server(lambda question: [])
        self.refuses("a.test", address, "read udp .*: i/o timeout")
        self.assertEqual(len(questions), 3)

    def test_dns_tells_that_nobody_is_there(self):
        packets, _ = self.sockets()
        packets.connect(("127.0.0.1", 9))  # it hears nobody else
        self.refuses("a.test", "127.0.0.1:%d" % packets.getsockname()[1],
                     "read udp .*: connection refused")

    # TCP

    def test_dns_asks_over_tcp_for_what_was_cut(self):
        def whole(question):
            message = reply(question, *[
                record(bytes([10, 0, i // 256, i % 256])) for i in range(3000)
                if kind_of(question) == A])
            return struct.pack("!H", len(message)) + message

        address, _ = self.server(
            lambda question: [reply(question, record(HOME), flags=ANSWER | CUT)],
            whole)
        self.assertEqual(self.dns("a.test", address),
                         [f"a.test. 60 IN A 10.0.{i // 256}.{i % 256}"
                          for i in range(3000)])

    def test_dns_tells_what_went_wrong_over_tcp(self):
        def cut(question):
            return [reply(question, flags=ANSWER | CUT)]

        messages = [b"", b"\0", b"\0\x40abc", b"\0\0"]
        wanted = iter([each for each in messages for _ in range(3)])
        address, _ = self.server(cut, lambda question: next(wanted))
        for _ in messages:
            self.refuses("a.test", address, "(unexpected )?EOF")
        address, _ = self.server(cut)
        self.refuses("a.test", address, "dial tcp .*: connection refused")

    # Lies

    def test_dns_is_not_fooled_by_answers_to_something_else(self):
        forged = record(b"\6\6\6\6")

        def lies(question):
            other = question[:12] + b"\5other\4test\0" + question[-4:]
            wrong_number = bytes([question[0] ^ 1, question[1]])
            return [reply(question, forged, number=wrong_number),
                    reply(other, forged),
                    reply(question[:-4] + b"\0\x10\0\1", forged),
                    reply(question[:-2] + b"\0\3", forged),
                    reply(question, forged, flags=0x0100),
                    reply(question, forged, flags=ANSWER | 0x2800),
                    question, b"", question[:2], question[:11],
                    question[:-1], b"\0" * 600,
                    reply(question, *([record(HOME)]
                                      if kind_of(question) == A else []))]

        address, _ = self.server(lies)
        self.assertEqual(self.dns("a.test", address),
                         ["a.test. 60 IN A 127.0.0.1"])

    def test_dns_does_not_listen_to_another_sender(self):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(stranger.close)
        stranger.bind(("127.0.0.1", 0))
        packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(packets.close)
        packets.bind(("127.0.0.1", 0))
        child = self.start("dns", "a.test", "127.0.0.1:%d" %
                           packets.getsockname()[1], stdout=subprocess.PIPE)
        for _ in range(2):
            question, client = packets.recvfrom(512)
            stranger.sendto(reply(question, record(b"\6\6\6\6")), client)
            packets.sendto(reply(question, *([record(HOME)] if
                                             kind_of(question) == A else [])),
                           client)
        self.assertEqual(child.communicate()[0], b"a.test. 60 IN A 127.0.0.1\n")
        self.assertEqual(child.returncode, 0)

    def test_dns_refuses_answers_that_make_no_sense(self):
        here = 12 + len(b"\1a\4test\0") + 4  # where the records begin
        loop = struct.pack("!H", 0xc000 | here)
        forth = struct.pack("!H", 0xc000 | here + 2)
        label = b"\77" + b"x" * 63
        said = []
        address, _ = self.server(
            lambda question: [reply(question, *said[0], count=said[1])])
        for what, records, count in (
                ("a name that points to itself", [record(HOME, name=loop)], 1),
                ("one that points forth",
                 [record(HOME, name=forth + b"\1a\0")], 1),
                ("two that point to each other",
                 [record(HOME, name=forth + loop)], 1),
                ("a label and back to it",
                 [record(HOME, name=b"\1a" + loop)], 1),
                ("a name into nowhere", [record(HOME, name=b"\xff\xff")], 1),
                ("a label of an unknown kind",
                 [record(HOME, name=b"\x40" + b"x" * 64 + b"\0")], 1),
                ("a name too long", [record(HOME, name=label * 5 + b"\0")], 1),
                ("an alias that points to itself",
                 [record(struct.pack("!H", 0xc000 | here + 12), CNAME)], 1),
                ("an alias cut short", [record(b"\5ab", CNAME)], 1),
                ("less than it says", [record(HOME, size=5)], 1),
                ("much less than it says", [record(HOME, size=65535)], 1),
                ("fewer records than it says", [record(HOME)], 2),
                ("no records", [], 65535),
                ("half a record", [record(HOME)[:7]], 1),
                ("half a name", [b"\7abc"], 1),
                ("half a pointer", [b"\xc0"], 1)):
            with self.subTest(what):
                said[:] = records, count
                self.refuses("a.test", address,
                             "(unexpected EOF|protocol error)")

    def test_dns_survives_an_answer_cut_at_any_byte(self):
        records = [record(b"\1b" + POINTER, CNAME), record(HOME)]
        missing = []

        def cut(question):
            whole = reply(question, *records)
            return [whole[:len(whole) - len(missing)]]

        address, _ = self.server(cut)
        self.dns("a.test", address)
        while len(missing) < len(b"".join(records)):
            missing.append("one more")
            self.refuses("a.test", address, "unexpected EOF")

    def test_dns_shows_names_as_harmless_text(self):
        name = b"\5\x1b[31m\3a.b\2\xff\0\0"
        address, _ = self.server(lambda question: [
            reply(question, record(name, CNAME), record(HOME, name=name))
            if kind_of(question) == A else reply(question)])
        self.assertEqual(self.dns("a.test", address),
                         ["a.test. 60 IN CNAME ?[31m.a?b.??.",
                          "?[31m.a?b.??. 60 IN A 127.0.0.1"])

    def test_dns_passes_over_records_that_it_does_not_know(self):
        address, _ = self.server(lambda question: [reply(
            question, record(b"text", 16), record(b"", 41), record(b"12345", A),
            record(HOME, AAAA), record(b"\0" * 16, A), record(b"\0", CNAME),
            record(HOME, kind_of(question)))])
        self.assertEqual(self.dns("a.test", address),
                         ["a.test. 60 IN A 127.0.0.1"])

    def test_dns_explains_its_usage_and_its_errors(self):
        self.usage("dns")
        self.usage("dns", "a.test")
        self.usage("dns", "a.test", "127.0.0.1:53", "more")
        for name in "..", "a..test", "x" * 64:
            self.refuses(name, "127.0.0.1:53", "no such host")
        self.refuses("a.test", "127.0.0.1",
                     "dial udp: address 127.0.0.1: missing port in address")
