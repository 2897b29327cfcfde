"""With OpenBSD's netcat."""
# SPDX-License-Identifier: MIT
import subprocess
import zlib

from harness import ANSWER, GREETING, LARGE, Case, large, needs


@needs("nc")
class Nc(Case):
    def calls(self, *arguments, say=b""):
        """nc as a client that says something, and -N: that it has finished."""
        client = self.start("nc", "-N", *arguments, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
        client.stdin.write(say)
        client.stdin.close()
        return client

    def listens(self, *arguments):
        """nc as a server: gives it, and its port or path."""
        return self.serve("nc", "-N", "-v", "-l", *arguments,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          announced=rb"(?:Bound|Listening) on .*?(\S+)$")

    def test_a_server_answers_nc(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        port = peer.do("addr l").split(":")[1]
        client = self.calls("127.0.0.1", port, say=GREETING)
        peer.do("accept c l")
        heard = peer.do("read_full c %d" % len(GREETING))
        self.assertEqual(heard, "24 " + GREETING.decode())
        peer.do("write c " + ANSWER.decode())
        peer.do("close c")
        self.assertEqual(client.stdout.read(), ANSWER)
        self.assertEqual(client.wait(), 0)

    def test_a_server_on_any_address_answers_nc_in_both_families(self):
        peer = self.peer()
        peer.do("listen l tcp :0")
        port = peer.do("addr l").rsplit(":", 1)[1]
        for host in "127.0.0.1", "::1":
            client = self.calls(host, port, say=b"hi")
            peer.do("accept c l")
            self.assertEqual(peer.do("read_full c 2"), "2 hi")
            self.assertEqual(peer.do("ends c").count(host), 2)
            peer.do("close c")
            self.assertEqual(client.wait(), 0)

    def test_a_server_answers_nc_over_a_unix_socket(self):
        peer = self.peer()
        peer.do(f"listen l unix {self.sock}")
        client = self.calls("-U", self.sock, say=GREETING)
        peer.do("accept c l")
        self.assertEqual(peer.do("read_full c 24"), "24 " + GREETING.decode())
        peer.do("write c " + ANSWER.decode())
        peer.do("close c")
        self.assertEqual(client.stdout.read(), ANSWER)

    def test_a_client_talks_to_a_listening_nc(self):
        server, port = self.listens("127.0.0.1", 0)
        peer = self.peer()
        peer.do(f"dial c tcp 127.0.0.1:{port}")
        peer.do("write c " + GREETING.decode())
        self.assertEqual(server.stdout.read(len(GREETING)), GREETING)
        server.stdin.write(ANSWER)
        server.stdin.close()
        heard = peer.do("read_full c %d" % len(ANSWER))
        self.assertEqual(heard, "%d %s" % (len(ANSWER), ANSWER.decode()))
        self.assertEqual(peer.tell("read c 1")[1], "EOF")
        peer.do("close c")
        self.assertEqual(server.wait(), 0)

    def test_a_client_talks_to_a_listening_nc_over_a_unix_socket(self):
        server, _ = self.listens("-U", self.sock)
        self.announced(server.stderr, rb"(Listening)")
        peer = self.peer()
        peer.do(f"dial c unix {self.sock}")
        peer.do("write c " + GREETING.decode())
        self.assertEqual(server.stdout.read(len(GREETING)), GREETING)
        server.stdin.write(b"hi")
        server.stdin.close()
        self.assertEqual(peer.do("read_full c 2"), "2 hi")
        self.assertEqual(peer.tell("read c 1")[1], "EOF")

    def test_nc_finishes_first_and_still_hears_the_answer(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        client = self.calls("127.0.0.1", peer.do("addr l").split(":")[1],
                            say=b"all of it")
        peer.do("accept c l")
        self.assertEqual(peer.do("drain c"), "9 %d" % zlib.crc32(b"all of it"))
        peer.do("write c and the answer")
        peer.do("close c")
        self.assertEqual(client.stdout.read(), b"and the answer")

    def test_a_server_finishes_first_and_still_hears_nc(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        client = self.start("nc", "-N", "127.0.0.1",
                            peer.do("addr l").split(":")[1],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer.do("accept c l")
        peer.do("write c all of it")
        peer.do("close_write c")
        self.assertEqual(client.stdout.read(9), b"all of it")
        client.stdin.write(b"and the answer")
        client.stdin.close()
        self.assertEqual(peer.do("read_full c 14"), "14 and the answer")
        self.assertEqual(peer.tell("read c 1")[1], "EOF")

    def test_a_client_that_finishes_ends_a_listening_nc(self):
        server, port = self.listens("127.0.0.1", 0)
        peer = self.peer()
        peer.do(f"dial c tcp 127.0.0.1:{port}")
        peer.do("write c all of it")
        peer.do("close_write c")
        self.assertEqual(server.stdout.read(), b"all of it")
        self.assertEqual(server.wait(), 0)
        self.assertEqual(peer.tell("read c 1")[1], "EOF")

    def test_ten_megabytes_from_nc_arrive_whole(self):
        data = large()
        for network, arguments in self.places():
            peer, client_arguments = self.listening(network, arguments)
            client = self.start("nc", "-N", *client_arguments,
                                stdin=subprocess.PIPE)
            peer.do("accept c l")
            peer.say("drain c")
            client.stdin.write(data)
            client.stdin.close()
            answer = peer.child.stdout.readline().decode().split("\t")[0]
            self.assertEqual(answer, f"{LARGE} {zlib.crc32(data)}")

    def test_ten_megabytes_to_nc_arrive_whole(self):
        for network, arguments in self.places():
            peer, client_arguments = self.listening(network, arguments)
            client = self.start("nc", "-d", *client_arguments,
                                stdout=subprocess.PIPE)
            peer.do("accept c l")
            peer.say(f"fill c {LARGE}")
            peer.say("close c")
            self.assertEqual(zlib.crc32(client.stdout.read()),
                             zlib.crc32(large()))

    def places(self):
        return ("tcp", "127.0.0.1:0"), ("unix", self.sock)

    def listening(self, network, address):
        """A netlite server, and the arguments that lead nc to it."""
        peer = self.peer()
        peer.do(f"listen l {network} {address}")
        where = peer.do("addr l")
        return peer, ["-U", where] if network == "unix" else where.split(":")

    def test_a_port_scan_by_nc_is_a_connection_that_says_nothing(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        port = peer.do("addr l").split(":")[1]
        self.run_program("nc", "-z", "127.0.0.1", port)
        peer.do("accept c l")
        self.assertEqual(peer.tell("read c 1")[1], "EOF")

    def test_datagrams_from_nc_are_answered(self):
        peer = self.peer()
        peer.do("listen_packet u udp 127.0.0.1:0")
        client = self.start("nc", "-u", "127.0.0.1",
                            peer.do("addr u").split(":")[1],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        client.stdin.write(b"ping")
        client.stdin.flush()
        size, text, sender = peer.do("read_from u 100").split(" ")
        self.assertEqual((size, text), ("4", "ping"))
        peer.do(f"write_to u udp {sender} pong")
        self.assertEqual(client.stdout.read(4), b"pong")

    def test_datagrams_to_nc_are_answered(self):
        server, port = self.listens("-u", "127.0.0.1", 0)
        peer = self.peer()
        peer.do(f"dial c udp 127.0.0.1:{port}")
        peer.do("write c ping")
        self.assertEqual(server.stdout.read(4), b"ping")
        server.stdin.write(b"pong")
        server.stdin.flush()
        self.assertEqual(peer.do("read c 100"), "4 pong")

    def test_unixgram_datagrams_from_nc_are_answered(self):
        peer = self.peer()
        peer.do(f"listen_packet u unixgram {self.sock}")
        client = self.start("nc", "-u", "-U", "-s", f"{self.dir}/nc.sock",
                            self.sock, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
        client.stdin.write(b"ping")
        client.stdin.flush()
        self.assertEqual(peer.do("read_from u 100"),
                         f"4 ping {self.dir}/nc.sock")
        peer.do(f"write_to u unixgram {self.dir}/nc.sock pong")
        self.assertEqual(client.stdout.read(4), b"pong")
