"""The example `scan` with listeners of ours, and with nobody."""
# SPDX-License-Identifier: MIT
import json
import socket
import subprocess
import sys

from harness import PROGRAMS
from with_examples import ExampleCase


class Scan(ExampleCase):
    def scan(self, *arguments):
        """What is open, and how often it failed in which words."""
        child = self.start("scan", *arguments, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        out, err = (text.decode().splitlines() for text in child.communicate())
        self.assertEqual(child.returncode, 0, err)
        return ([int(line.removesuffix(" open")) for line in out],
                {line.split(" ", 1)[1]: int(line.split()[0]) for line in err})

    def scan_in_a_world(self, prepare, *arguments):
        """The same in a network where nobody else is; `prepare` is Python,
        and keeps its sockets."""
        out = self.run_program(*self.in_the_world(
            sys.executable, "-c", "import json, socket, subprocess, sys\n"
            f"{prepare}\n"
            "done = subprocess.run(sys.argv[1:], capture_output=True)\n"
            "print(json.dumps([done.stdout.decode(), done.stderr.decode()]))",
            PROGRAMS["scan"], *map(str, arguments)))
        return json.loads(out)

    def test_scan_finds_open_ports_in_their_order(self):
        listeners = [self.listener()[0] for _ in range(20)]
        ports = sorted(each.getsockname()[1] for each in listeners)
        found, failed = self.scan("127.0.0.1", ports[0], ports[-1])
        # Somebody else may listen in between.
        self.assertEqual([port for port in found if port in ports], ports)
        self.assertEqual(found, sorted(found))
        self.assertEqual(len(found) + sum(failed.values()),
                         ports[-1] - ports[0] + 1)

    def test_scan_takes_a_port_for_closed_until_somebody_listens(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        self.assertEqual(self.scan("127.0.0.1", port, port),
                         ([], {"connection refused": 1}))
        sock.listen()
        self.assertEqual(self.scan("127.0.0.1", port, port), ([port], {}))

    def test_scan_gives_up_a_port_that_says_nothing(self):
        """The queue of this one is full, so it does not even refuse."""
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        self.connect("%s:%d" % sock.getsockname())
        port = sock.getsockname()[1]
        self.assertEqual(self.scan("127.0.0.1", port, port),
                         ([], {"i/o timeout": 1}))

    def test_scan_waits_for_many_silent_ports_at_a_time(self):
        """One after the other, these would take four minutes."""
        out, err = self.scan_in_a_world("""if True:
            listeners, first_ones = [], []
            for port in range(2000, 2250):
                listeners.append(socket.create_server(("127.0.0.2", port),
                                                      backlog=0))
                first_ones.append(socket.create_connection(("127.0.0.2", port)))
            listeners.append(socket.create_server(("127.0.0.2", 2250)))
            """, "127.0.0.2", 2000, 2300)
        self.assertEqual(out, "2250 open\n")
        self.assertEqual(err, "50 connection refused\n250 i/o timeout\n")

    def test_scan_finds_what_is_there_among_all_ports_and_no_more(self):
        ports = [1, 80, 1024, 1025, 32768, 65535]
        prepare = (f"listeners = [socket.create_server(('127.0.0.2', port))"
                   f" for port in {ports}]")
        out, err = self.scan_in_a_world(prepare, "127.0.0.2", 0, 65535)
        self.assertEqual(out, "".join(f"{port} open\n" for port in ports))
        self.assertEqual(err, "65529 connection refused\n")
        out, err = self.scan_in_a_world(prepare, "127.0.0.2")
        self.assertEqual(out, "1 open\n80 open\n1024 open\n")
        self.assertEqual(err, "1021 connection refused\n")

    def test_scan_understands_names_of_hosts_and_of_services(self):
        out, err = self.scan_in_a_world(
            "listener = socket.create_server(('', 80))",
            "multi.test", "http", "https")
        self.assertEqual((out, err), ("80 open\n", "363 connection refused\n"))

    def test_scan_explains_its_usage_and_its_errors(self):
        self.usage("scan")
        self.usage("scan", "127.0.0.1", "1")
        self.usage("scan", "127.0.0.1", "1", "2", "3")
        self.usage("scan", "127.0.0.1", "2", "1")
        for arguments, why in (
                (("127.1",), "lookup 127.1: no such host"),
                (("127.0.0.1", "1", "65536"), "address 65536: invalid port"),
                (("127.0.0.1", "nosuch", "2"),
                 "address tcp/nosuch: unknown port")):
            self.assertEqual(self.run_program("scan", *arguments, code=1),
                             f"scan: {why}\n")
