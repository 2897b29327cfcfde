"""With Go: its own net on the other side, and then the same things told to both
programs, which must answer in the very same words."""
# SPDX-License-Identifier: MIT
import functools
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest
import zlib

from harness import (ANSWER, GREETING, LARGE, PROGRAMS, Case, Peer, have,
                     large, reset, tcp_state)


def setUpModule():
    """Builds go/peer.go, without asking any server for anything."""
    if not have("go"):
        raise unittest.SkipTest("go is not installed")
    directory = tempfile.mkdtemp(prefix="nl-")
    unittest.addModuleCleanup(shutil.rmtree, directory)
    PROGRAMS["go-peer"] = f"{directory}/go-peer"
    source = pathlib.Path(__file__).resolve().parent / "go" / "peer.go"
    subprocess.run(
        ["go", "build", "-o", PROGRAMS["go-peer"], source], cwd=directory,
        env=dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=mod",
                 GOPROXY="off", GOTOOLCHAIN="local",
                 GOCACHE=f"{directory}/cache", GOPATH=f"{directory}/path"),
        check=True, timeout=600)


class Crossing(Case):
    """Go and netlite at the two ends of one connection, in both roles."""

    def pairs(self):
        """(server, client, network): connected, as "c" in both."""
        for network, address in (("tcp", "localhost:0"), ("tcp6", "[::1]:0"),
                                 ("unix", self.sock),
                                 ("unixpacket", self.sock)):
            for server, client in (("peer", "go-peer"), ("go-peer", "peer")):
                with self.subTest(network=network, server=server):
                    server, client = self.peer(server), self.peer(client)
                    server.do(f"listen l {network} {address}")
                    client.do(f"dial c {network} " + server.do("addr l"))
                    server.do("accept c l")
                    yield server, client, network
                    server.do("close l")

    def test_the_greeting_crosses_in_both_directions(self):
        for server, client, _ in self.pairs():
            client.do("write c " + GREETING.decode())
            self.assertEqual(server.do("read c 100"), "24 " + GREETING.decode())
            server.do("write c " + ANSWER.decode())
            self.assertEqual(client.do("read c 100"),
                             "%d %s" % (len(ANSWER), ANSWER.decode()))
            server.do("close c")
            self.assertEqual(client.tell("read c 100")[1], "EOF")

    def test_Go_is_greeted_by_the_greeting_server(self):
        _, address = self.serve("greeting", "127.0.0.1:0", says="stdout")
        go = self.peer("go-peer")
        go.do(f"dial c tcp {address}")
        go.do("write c " + GREETING.decode())
        self.assertEqual(go.do("read c 100"),
                         "%d %s" % (len(ANSWER), ANSWER.decode()))
        self.assertEqual(go.tell("read c 100")[1], "EOF")

    def test_both_ends_name_the_same_addresses(self):
        for server, client, network in self.pairs():
            here = server.do("ends c").split()
            there = client.do("ends c").split()
            self.assertEqual(here, there[::-1], network)

    def test_a_half_close_crosses(self):
        for server, client, network in self.pairs():
            client.do("write c all of it")
            client.do("close_write c")
            self.assertEqual(server.do("drain c"),
                             "9 %d" % zlib.crc32(b"all of it"))
            server.do("write c and the answer")
            server.do("close c")
            self.assertEqual(client.do("drain c"),
                             "14 %d" % zlib.crc32(b"and the answer"))

    def test_ten_megabytes_cross_in_both_directions_at_once(self):
        whole = f"{LARGE} {zlib.crc32(large())}"
        for server, client, network in self.pairs():
            if network == "unixpacket":  # a message has its limit
                continue
            for peer in server, client:
                peer.do("start in drain c")
                peer.do(f"start out fill c {LARGE}")
            for peer in server, client:
                self.assertEqual(peer.do("join out"), str(LARGE))
                peer.do("close_write c")
            for peer in server, client:
                self.assertEqual(peer.do("join in"), whole)

    def test_a_reset_crosses(self):
        for server, client, network in self.pairs():
            if not network.startswith("tcp"):
                continue
            client.do("linger c 0")
            client.do("close c")
            self.assertRegex(server.tell("read c 10")[1],
                             "^read tcp.*: read: connection reset by peer$")

    def test_datagrams_cross(self):
        for one, other in (("peer", "go-peer"), ("go-peer", "peer")):
            for network, here, there in (
                    ("udp", "127.0.0.1:0", "127.0.0.1:0"),
                    ("udp", "[::1]:0", "[::1]:0"),
                    ("unixgram", f"{self.dir}/{one}", f"{self.dir}/{other}")):
                a, b = self.peer(one), self.peer(other)
                a.do(f"listen_packet u {network} {here}")
                b.do(f"listen_packet u {network} {there}")
                to, back = b.do("addr u"), a.do("addr u")
                a.do(f"write_to u {network} {to} ping")
                self.assertEqual(b.do("read_from u 100"), f"4 ping {back}")
                b.do(f"write_to u {network} {back} ")
                self.assertEqual(a.do("read_from u 100"), f"0  {to}")
                for path in here, there:
                    if path[0] == "/":
                        os.unlink(path)


def same(case):
    """Makes a test of a case: what it tells to one program, and then to the
    other, must be answered alike."""

    @functools.wraps(case)
    def test(self):
        answers = []
        for program in "go-peer", "peer":
            peer = self.peer(program)
            case(self, peer)
            answers.append(self.comparable(peer.transcript))
            # The other one meets the world as fresh.
            self.doCleanups()
            self.setUp()
        self.assertTrue(any("\t" in line.strip("\t") for line in answers[0]),
                        "no error came up")
        self.maxDiff = None
        self.assertEqual(*answers)

    return test


class Same(Case):
    def comparable(self, transcript):
        """What chance decides gets a name: ports in the order in which they
        come up, the directory, and how much of too much was written."""
        names = {}

        def name(match):
            return names.setdefault(match[0], f"{{{len(names)}}}")

        lines = []
        for command, answer in transcript:
            if "fill" in command or "join" in command:
                answer = re.sub(r"^\d+", "{some}", answer)
            line = f"{command} -> {answer}".replace(self.dir, "{dir}")
            lines.append(re.sub(r"\d{5,}", name, line))
        return lines


class SameNames(Same):
    """Names, in a world where we know what they are."""

    def peer(self, program):
        return Peer(self, *self.in_the_world(program))

    def comparable(self, transcript):
        """The C library does not tell which server it has asked, has an order
        of its own for addresses of one family, and names each once."""
        lines = super().comparable(transcript)
        return [" ".join(sorted(set(line.split())))
                if line.startswith("lookup") and line.endswith("\t\t") else
                line.replace(" on 127.0.0.1:53", "") for line in lines]

    NOBODY = ["no-such-host.test", "no-such-host.invalid", "dangling.test",
              "empty.test", "servfail.test", "-", "a..b", "*", "127.0.0.256"]

    @same
    def test_looking_up_names_that_lead_nowhere(self, peer):
        for name in self.NOBODY:
            peer.tell(f"lookup {name}")

    @same
    def test_dialling_names_that_lead_nowhere(self, peer):
        for name in self.NOBODY:
            for network in "tcp", "tcp4", "tcp6", "udp":
                peer.tell(f"dial c {network} {name}:80")

    @same
    def test_listening_on_names_that_lead_nowhere(self, peer):
        for name in self.NOBODY:
            peer.tell(f"listen l tcp {name}:0")
            peer.tell(f"listen_packet u udp {name}:0")

    @same
    def test_dialling_names_where_nobody_listens(self, peer):
        for name in ("localhost", "only6.test", "both.test", "alias2.test",
                     "[fe80::1%lo]", "[fe80::1]", ""):
            for network in "tcp", "tcp4", "tcp6":
                # Who asks glibc for IPv4 is told 127.0.0.1 for a ::1 in the
                # hosts file. Go asks for both families, and then picks.
                if (name, network) != ("only6.test", "tcp4"):
                    peer.tell(f"dial c {network} {name}:1")
        peer.tell("dial c tcp four.test:1")
        peer.tell("dial c tcp six.test:1")

    @same
    def test_a_name_server_that_is_silent(self, peer):
        peer.tell("dial_within c 100 tcp slow.test:80")
        peer.tell("dial_within c 100 udp slow.test:80")

    @same
    def test_the_addresses_of_names(self, peer):
        for name in ("localhost", "only6.test", "multi.test", "four.test",
                     "six.test", "both.test", "twice.test", "alias2.test",
                     "::1", "127.0.0.1", "no-such-host.test"):
            peer.tell(f"lookup {name}")


class SameWords(Same):
    def connected(self, peer, family=socket.AF_INET,
                  kind=socket.SOCK_STREAM):
        """Lets the program dial Python, as "c"; gives Python's end."""
        listener, address = self.listener(family, kind)
        network = ("tcp" if family == socket.AF_INET else
                   "unix" if kind == socket.SOCK_STREAM else "unixpacket")
        peer.do(f"dial c {network} {address}")
        return self.accept(listener)

    # Opening

    @same
    def test_dialling_a_port_where_nobody_listens(self, peer):
        port = self.refusing()
        for network in "tcp", "tcp4":
            peer.tell(f"dial c {network} 127.0.0.1:{port}")
        for host in "localhost", "", "0.0.0.0", "[::ffff:127.0.0.1]":
            peer.tell(f"dial c tcp {host}:{port}")
        peer.tell(f"dial_within c 5000 tcp 127.0.0.1:{port}")

    @same
    def test_dialling_a_port_where_nobody_listens_over_IPv6(self, peer):
        port = self.refusing(socket.AF_INET6, "::1")
        peer.tell(f"dial c tcp [::1]:{port}")
        peer.tell(f"dial c tcp6 [::1]:{port}")
        peer.tell(f"dial c tcp6 :{port}")

    BAD_ADDRESSES = [
        "localhost", "127.0.0.1", "::1", "::1:80", "[::1]", "[::1", "[::1]80",
        "a]b:80", "a[b:80", "127.0.0.1:80:90", "127.0.0.1:65536",
        "127.0.0.1:-1", "127.0.0.1:123456789", "[::1]:99999", "127.0.0.256:80",
        "127.1:80", "[fe80::1%nosuchif]:80"]

    @same
    def test_dialling_bad_addresses(self, peer):
        for address in ["", *self.BAD_ADDRESSES]:
            for network in "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
                peer.tell(f"dial_within c 5000 {network} {address}")
        for address in ("[::1]:", ":", "224.0.0.1:80", "255.255.255.255:80"):
            for network in "tcp", "tcp4", "tcp6":
                peer.tell(f"dial_within c 5000 {network} {address}")

    @same
    def test_listening_on_bad_addresses(self, peer):
        for address in self.BAD_ADDRESSES:
            for network in "tcp", "tcp4", "tcp6":
                peer.tell(f"listen l {network} {address}")
            for network in "udp", "udp4", "udp6":
                peer.tell(f"listen_packet l {network} {address}")

    @same
    def test_networks_that_do_not_exist(self, peer):
        for network in "foo", "TCP", "tcp5", "http", "unixstream":
            peer.tell(f"dial c {network} 127.0.0.1:80")
            peer.tell(f"listen l {network} 127.0.0.1:0")
            peer.tell(f"listen_packet u {network} 127.0.0.1:0")

    @same
    def test_networks_of_the_other_kind(self, peer):
        peer.tell("listen l udp 127.0.0.1:0")
        peer.tell("listen_packet u tcp 127.0.0.1:0")
        peer.tell("dial c tcp4 [::1]:80")
        peer.tell("dial c tcp6 127.0.0.1:80")

    @same
    def test_dialling_unix_sockets_that_are_none(self, peer):
        with open(f"{self.dir}/file", "w"):
            pass
        os.symlink(f"{self.dir}/nowhere", f"{self.dir}/link")
        os.symlink(f"{self.dir}/loop", f"{self.dir}/loop")
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(f"{self.dir}/stale")
        stale.close()
        for network in "unix", "unixpacket", "unixgram":
            for path in ("none", "file", "file/x", "link", "loop", "stale",
                         "", "a" * 200):
                peer.tell(f"dial c {network} {self.dir}/{path}")
        peer.tell(f"dial c unix @nl-{os.getpid()}-nobody")

    @same
    def test_dialling_unix_sockets_of_another_type(self, peer):
        self.listener(socket.AF_UNIX, socket.SOCK_STREAM, f"{self.dir}/s")
        self.listener(socket.AF_UNIX, socket.SOCK_SEQPACKET, f"{self.dir}/p")
        peer.tell(f"dial c unixpacket {self.dir}/s")
        peer.tell(f"dial c unixgram {self.dir}/s")
        peer.tell(f"dial c unix {self.dir}/p")
        peer.tell(f"dial c unixgram {self.dir}/p")

    def test_dialling_a_unix_socket_whose_queue_is_full(self):
        """Go gives up at once; netlite waits for room, as connect(2) does."""
        self.fill_queue(socket.AF_UNIX, self.sock)
        dial = f"dial_within c 100 unix {self.sock}"
        tried = f"dial unix {self.sock}: "
        self.assertEqual(self.peer("go-peer").tell(dial)[1],
                         f"{tried}connect: resource temporarily unavailable")
        self.assertEqual(self.peer().tell(dial),
                         ["", f"{tried}i/o timeout", "timeout temporary"])

    def fill_queue(self, family, address):
        """A listener whose queue has no room left; gives its address."""
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.listen(0)
        for _ in range(10):
            waiting = socket.socket(family)
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            try:
                waiting.connect(listener.getsockname())
            except BlockingIOError:
                pass
        return listener.getsockname()

    @same
    def test_dialling_without_an_answer_until_time_is_up(self, peer):
        _, port = self.fill_queue(socket.AF_INET, ("127.0.0.1", 0))
        peer.tell(f"dial_within c 100 tcp 127.0.0.1:{port}")
        peer.tell(f"dial_within c -1 tcp 127.0.0.1:{port}")
        peer.tell("dial_within c -1 udp 127.0.0.1:9")

    @same
    def test_listening_where_somebody_does_already(self, peer):
        _, address = self.listener()
        peer.tell(f"listen l tcp {address}")
        peer.tell(f"listen l tcp4 {address}")
        peer.do("listen l tcp 127.0.0.1:0")
        peer.tell("listen m tcp " + peer.do("addr l"))
        peer.do("listen_packet u udp 127.0.0.1:0")
        peer.tell("listen_packet v udp " + peer.do("addr u"))

    @same
    def test_listening_on_addresses_that_are_not_ours(self, peer):
        for address in "198.51.100.77:0", "[2001:db8::77]:0":
            peer.tell(f"listen l tcp {address}")
            peer.tell(f"listen_packet l udp {address}")

    @same
    def test_listening_on_paths_that_are_taken_or_impossible(self, peer):
        self.listener(socket.AF_UNIX)
        with open(f"{self.dir}/file", "w"):
            pass
        for network in "unix", "unixpacket":
            for path in self.sock, f"{self.dir}/file", f"{self.dir}/no/s":
                peer.tell(f"listen l {network} {path}")
            peer.tell(f"listen l {network} {self.dir}/" + "a" * 200)
        peer.tell(f"listen_packet u unixgram {self.sock}")

    # Listeners

    @same
    def test_accepting_from_a_closed_listener(self, peer):
        for network, address in ("tcp", "127.0.0.1:0"), ("unix", self.sock):
            peer.do(f"listen l {network} {address}")
            peer.do("close l")
            peer.tell("accept c l")
            peer.tell("close l")
            peer.tell("deadline l 10")

    @same
    def test_closing_a_listener_wakes_its_accept(self, peer):
        for network, address in ("tcp", "127.0.0.1:0"), ("unix", self.sock):
            peer.do(f"listen l {network} {address}")
            peer.do("start waiting accept c l")
            peer.do("close l")
            peer.tell("join waiting")

    @same
    def test_accepting_until_time_is_up(self, peer):
        for network, address in ("tcp", "127.0.0.1:0"), ("unix", self.sock):
            peer.do(f"listen l {network} {address}")
            peer.do("deadline l 20")
            peer.tell("accept c l")
            peer.tell("accept c l")
            peer.do("deadline l never")
            peer.do("start waiting accept c l")
            peer.do("deadline l -1")
            peer.tell("join waiting")
            peer.do("close l")

    # Streams

    def streams(self, peer):
        """Python's end of a connection of each kind, one after the other."""
        yield self.connected(peer)
        for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
            yield self.connected(peer, socket.AF_UNIX, kind)
            os.unlink(self.sock)

    @same
    def test_reading_after_the_end(self, peer):
        for other in self.streams(peer):
            other.sendall(b"the end")
            other.close()
            peer.tell("read c 100")
            peer.tell("read c 100")
            peer.tell("read c 100")
            peer.tell("read c 0")

    @same
    def test_reading_more_than_there_is(self, peer):
        other = self.connected(peer)
        other.sendall(b"abcdefgh")
        other.close()
        peer.tell("read_full c 5")
        peer.tell("read_full c 5")
        peer.tell("read_full c 5")

    @same
    def test_reading_and_writing_after_a_reset(self, peer):
        other = self.connected(peer)
        other.sendall(b"last words")
        reset(other)
        peer.tell("read c 100")
        peer.tell("read c 100")
        peer.tell("read c 100")
        peer.tell("write c x")
        peer.tell("write c x")

    @same
    def test_writing_after_a_reset(self, peer):
        other = self.connected(peer)
        port = peer.local_port("c")
        peer.transcript.clear()
        reset(other)
        self.wait_until(lambda: tcp_state(port) is None)
        peer.tell("write c x")
        peer.tell("write c x")
        peer.tell("read c 100")

    @same
    def test_writing_after_the_peer_has_closed(self, peer):
        for other in self.streams(peer):
            tcp = other.family == socket.AF_INET
            port = peer.local_port("c") if tcp else None
            other.close()
            peer.tell("write c x")
            if tcp:
                self.wait_until(lambda: tcp_state(port) is None)
            peer.tell("write c x")
            peer.tell("read c 100")

    @same
    def test_a_peer_that_closes_without_reading(self, peer):
        for other in self.streams(peer):
            peer.do("write c never read")
            other.recv(1, socket.MSG_PEEK)
            other.close()
            peer.tell("read c 100")
            peer.tell("read c 100")

    @same
    def test_using_a_closed_connection(self, peer):
        for _ in self.streams(peer):
            peer.do("close c")
            for command in ("read c 100", "read c 0", "write c x", "write c ",
                            "close c", "close_read c", "close_write c",
                            "deadline c 10", "read_deadline c 10",
                            "write_deadline c never", "ends c"):
                peer.tell(command)

    @same
    def test_setting_options_of_a_closed_connection(self, peer):
        self.connected(peer)
        peer.do("close c")
        for command in ("no_delay c", "linger c 0", "read_buffer c 10000",
                        "write_buffer c 10000"):
            peer.tell(command)

    @same
    def test_closing_wakes_a_blocked_read(self, peer):
        for _ in self.streams(peer):
            peer.do("start waiting read c 100")
            peer.do("close c")
            peer.tell("join waiting")

    @same
    def test_closing_wakes_a_blocked_write(self, peer):
        for other in self.streams(peer):
            if other.type == socket.SOCK_SEQPACKET:
                continue
            peer.do("start waiting fill c 100000000")
            other.recv(1, socket.MSG_PEEK)
            peer.do("close c")
            peer.tell("join waiting")

    @same
    def test_reading_until_time_is_up(self, peer):
        for other in self.streams(peer):
            peer.do("read_deadline c 20")
            peer.tell("read c 100")
            other.sendall(b"too late")
            peer.tell("read c 100")
            peer.tell("write c in time")
            peer.do("read_deadline c never")
            peer.tell("read c 100")

    @same
    def test_writing_until_time_is_up(self, peer):
        for _ in self.streams(peer):
            peer.do("write_deadline c -1")
            peer.tell("write c too late")
            peer.do("write_deadline c 50")
            peer.tell("fill c 100000000")  # too long for a message
            peer.do("deadline c never")
            peer.tell("deadline c -5")
            peer.tell("read c 1")

    @same
    def test_a_deadline_moved_under_a_blocked_read(self, peer):
        self.connected(peer)
        peer.do("start waiting read c 100")
        peer.do("deadline c -1")
        peer.tell("join waiting")

    @same
    def test_closed_counts_before_deadline_and_deadline_before_data(self, peer):
        other = self.connected(peer)
        other.sendall(b"data")
        peer.do("deadline c -1")
        peer.tell("read c 100")
        peer.do("close c")
        peer.tell("read c 100")

    @same
    def test_writing_after_close_write(self, peer):
        for _ in self.streams(peer):
            peer.do("close_write c")
            peer.tell("write c x")
            peer.tell("close_write c")

    @same
    def test_reading_after_close_read(self, peer):
        self.connected(peer)
        peer.do("start waiting read c 100")
        peer.do("close_read c")
        peer.tell("join waiting")
        peer.tell("read c 100")

    # Datagrams

    @same
    def test_datagrams_that_are_refused(self, peer):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            port = gone.getsockname()[1]
        peer.do(f"dial c udp 127.0.0.1:{port}")
        peer.tell("write c x")
        peer.tell("read c 100")
        peer.tell("write c x")
        peer.tell("write c x")

    @same
    def test_datagrams_that_are_too_long(self, peer):
        peer.do("listen_packet u udp 127.0.0.1:0")
        peer.do("dial c udp " + peer.do("addr u"))
        peer.tell("fill c 65507")
        peer.tell("fill c 65508")

    @same
    def test_datagrams_without_an_address_or_with_two(self, peer):
        peer.do("listen_packet u udp 127.0.0.1:0")
        address = peer.do("addr u")
        peer.do(f"dial c udp {address}")
        peer.tell(f"write_to c udp {address} x")
        peer.tell("write_to u udp [::1]:9 x")

    @same
    def test_waiting_for_datagrams(self, peer):
        for network, address in (("udp", "127.0.0.1:0"),
                                 ("unixgram", self.sock)):
            peer.do(f"listen_packet u {network} {address}")
            peer.do("deadline u 20")
            peer.tell("read_from u 100")
            peer.do("deadline u never")
            peer.do("start waiting read_from u 100")
            peer.do("close u")
            peer.tell("join waiting")
            peer.tell("read_from u 100")
            peer.tell("close u")

    @same
    def test_a_unixgram_receiver_that_has_gone(self, peer):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(self.sock)
            peer.do(f"dial c unixgram {self.sock}")
            peer.tell("write c x")
        peer.tell("write c x")
        peer.tell("write c x")
        peer.do("listen_packet u unixgram " + self.dir + "/u")
        peer.tell(f"write_to u unixgram {self.sock} x")
        peer.tell(f"write_to u unixgram {self.dir}/none x")
