"""With socat."""
# SPDX-License-Identifier: MIT
import os
import subprocess
import zlib

from harness import ANSWER, GREETING, LARGE, Case, large, needs

# After one direction has ended, socat gives the other so many seconds; its
# half a second is too little for a busy machine.
PATIENT = ("-t", Case.bound)


@needs("socat")
class Socat(Case):
    def calls(self, address):
        return self.start("socat", *PATIENT, "-", address,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def listens(self, address, to="-", pattern=rb"listening on .*?(\d+)$"):
        """socat as a server: gives it, and its port."""
        return self.serve("socat", "-d", "-d", *PATIENT, address, to,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          announced=pattern)

    def greets(self, network, address, to):
        """A socat client gets its greeting answered. `to` leads it there."""
        peer = self.peer()
        peer.do(f"listen l {network} {address}")
        port = peer.do("addr l").rsplit(":", 1)[-1]
        client = self.calls(to.format(port=port))
        client.stdin.write(GREETING)
        client.stdin.close()
        peer.do("accept c l")
        self.assertEqual(peer.do("read_full c 24"), "24 " + GREETING.decode())
        self.assertEqual(peer.tell("read c 1")[1], "EOF")
        peer.do("write c " + ANSWER.decode())
        peer.do("close c")
        self.assertEqual(client.stdout.read(), ANSWER)
        self.assertEqual(client.wait(), 0)

    def greeted(self, network, address, server):
        """A netlite client gets its greeting answered by a socat server, after
        it has said that it has finished."""
        peer = self.peer()
        peer.do(f"dial c {network} {address}")
        peer.do("write c " + GREETING.decode())
        peer.do("close_write c")
        self.assertEqual(server.stdout.read(len(GREETING)), GREETING)
        server.stdin.write(ANSWER)
        server.stdin.close()
        self.assertEqual(peer.do("read_full c %d" % len(ANSWER)),
                         "%d %s" % (len(ANSWER), ANSWER.decode()))
        self.assertEqual(peer.tell("read c 1")[1], "EOF")
        peer.do("close c")
        self.assertEqual(server.wait(), 0)

    def test_a_server_answers_socat(self):
        self.greets("tcp", "127.0.0.1:0", "TCP:127.0.0.1:{port}")

    def test_a_server_answers_socat_over_IPv6(self):
        self.greets("tcp6", "[::1]:0", "TCP6:[::1]:{port}")

    def test_a_server_answers_socat_over_a_unix_socket(self):
        self.greets("unix", self.sock, f"UNIX-CONNECT:{self.sock}")

    def test_a_server_answers_socat_over_an_abstract_name(self):
        name = f"nl-{os.getpid()}"
        self.greets("unix", f"@{name}", f"ABSTRACT-CONNECT:{name}")

    def test_a_server_answers_socat_over_unixpacket(self):
        self.greets("unixpacket", self.sock, f"UNIX-CONNECT:{self.sock},type=5")

    def test_a_client_talks_to_a_listening_socat(self):
        server, port = self.listens("TCP-LISTEN:0,bind=127.0.0.1")
        self.greeted("tcp", f"127.0.0.1:{port}", server)

    def test_a_client_talks_to_a_listening_socat_over_IPv6(self):
        server, port = self.listens("TCP6-LISTEN:0,bind=[::1]")
        self.greeted("tcp", f"[::1]:{port}", server)

    def test_a_client_talks_to_a_listening_socat_over_a_unix_socket(self):
        server, _ = self.listens(f"UNIX-LISTEN:{self.sock}",
                                 pattern=rb"listening on (.*)")
        self.greeted("unix", self.sock, server)

    def test_a_client_talks_to_a_listening_socat_over_an_abstract_name(self):
        name = f"nl-{os.getpid()}"
        server, _ = self.listens(f"ABSTRACT-LISTEN:{name}",
                                 pattern=rb"listening on (.*)")
        self.greeted("unix", f"@{name}", server)

    def test_a_client_talks_to_a_listening_socat_over_unixpacket(self):
        server, _ = self.listens(f"UNIX-LISTEN:{self.sock},type=5",
                                 pattern=rb"listening on (.*)")
        self.greeted("unixpacket", self.sock, server)

    def test_unixpacket_messages_come_back_from_socat_one_by_one(self):
        server, _ = self.listens(f"UNIX-LISTEN:{self.sock},type=5", to="PIPE",
                                 pattern=rb"listening on (.*)")
        peer = self.peer()
        peer.do(f"dial c unixpacket {self.sock}")
        for message in "one", "and another", "x" * 8000:
            peer.do(f"write c {message}")
            self.assertEqual(peer.do("read c 9000"),
                             f"{len(message)} {message}")

    def test_socat_finishes_first_and_still_hears_the_answer(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        client = self.calls("TCP:" + peer.do("addr l"))
        client.stdin.write(b"all of it")
        client.stdin.close()
        peer.do("accept c l")
        self.assertEqual(peer.do("drain c"), "9 %d" % zlib.crc32(b"all of it"))
        peer.do("write c and the answer")
        peer.do("close_write c")
        self.assertEqual(client.stdout.read(), b"and the answer")
        self.assertEqual(client.wait(), 0)

    def test_ten_megabytes_come_back_from_socat_whole(self):
        """Both directions at once: what was not read would block the rest."""
        for network, listen in (("tcp", "TCP-LISTEN:0,bind=127.0.0.1"),
                                ("unix", f"UNIX-LISTEN:{self.sock}")):
            with self.subTest(network):
                # With PIPE, socat waits for itself when the pipe is full.
                _, where = self.listens(listen, to="EXEC:cat",
                                        pattern=rb"listening on (.*)")
                self.comes_back(network, self.sock if network == "unix" else
                                where.split()[-1])

    def comes_back(self, network, address):
        peer = self.peer()
        peer.do(f"dial c {network} {address}")
        peer.do("start in drain c")
        peer.do(f"fill c {LARGE}")
        peer.do("close_write c")
        self.assertEqual(peer.do("join in"), f"{LARGE} {zlib.crc32(large())}")

    def test_ten_megabytes_from_socat_arrive_whole(self):
        data = large()
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        client = self.calls("TCP:" + peer.do("addr l"))
        peer.do("accept c l")
        peer.say("drain c")
        client.stdin.write(data)
        client.stdin.close()
        answer = peer.child.stdout.readline().decode().split("\t")[0]
        self.assertEqual(answer, f"{LARGE} {zlib.crc32(data)}")

    def test_datagrams_come_back_from_socat(self):
        _, port = self.listens("UDP-LISTEN:0,bind=127.0.0.1", to="PIPE")
        peer = self.peer()
        peer.do(f"dial c udp 127.0.0.1:{port}")
        for message in "ping", "a longer one", "x" * 1400:
            peer.do(f"write c {message}")
            self.assertEqual(peer.do("read c 9000"),
                             f"{len(message)} {message}")

    def test_datagrams_from_socat_are_answered(self):
        peer = self.peer()
        peer.do("listen_packet u udp 127.0.0.1:0")
        client = self.calls("UDP:" + peer.do("addr u"))
        client.stdin.write(b"ping")
        client.stdin.flush()
        size, text, sender = peer.do("read_from u 100").split(" ")
        self.assertEqual((size, text), ("4", "ping"))
        peer.do(f"write_to u udp {sender} pong")
        self.assertEqual(client.stdout.read(4), b"pong")

    def test_unixgram_datagrams_from_socat_are_answered(self):
        peer = self.peer()
        peer.do(f"listen_packet u unixgram {self.sock}")
        own = f"{self.dir}/socat.sock"
        client = self.calls(f"UNIX-SENDTO:{self.sock},bind={own}")
        client.stdin.write(b"ping")
        client.stdin.flush()
        self.assertEqual(peer.do("read_from u 100"), f"4 ping {own}")
        peer.do(f"write_to u unixgram {own} pong")
        self.assertEqual(client.stdout.read(4), b"pong")
