"""With Python: peers that behave, and peers that do not."""
# SPDX-License-Identifier: MIT
import os
import socket
import subprocess
import sys
import zlib

from harness import (ANSWER, GREETING, LARGE, Background, Case, large,
                     receive_all, reset, tcp_state)

# Connects and waits to be killed, with a byte that it has read, or only seen.
SLEEPER = """
import socket, sys
host, port = sys.argv[1].split(":")
sock = socket.create_connection((host, int(port)))
sock.recv(1, socket.MSG_PEEK if sys.argv[2] == "seen" else 0)
print("ready", flush=True)
sys.stdin.read()
"""

# Accepts one connection and takes nothing from it, until it is killed.
HOLDER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
print("accepted", flush=True)
connection.recv(1, socket.MSG_PEEK)
print("hears", flush=True)
sys.stdin.read()
"""


class Python(Case):
    def serving(self, network="tcp", address="127.0.0.1:0"):
        """A netlite server with one Python client."""
        peer = self.peer()
        peer.do(f"listen l {network} {address}")
        client = self.connect(
            peer.do("addr l"), socket.SOCK_SEQPACKET
            if network == "unixpacket" else socket.SOCK_STREAM)
        peer.do("accept c l")
        return peer, client

    def dialling(self, family=socket.AF_INET):
        """A netlite client of a Python server."""
        listener, address = self.listener(family)
        peer = self.peer()
        peer.do("dial c %s %s" % (
            "tcp" if family == socket.AF_INET else "unix", address))
        return peer, self.accept(listener)

    def test_a_server_answers_Python(self):
        for network, address in (("tcp", "127.0.0.1:0"), ("tcp6", "[::1]:0"),
                                 ("unix", self.sock + "1"),
                                 ("unixpacket", self.sock + "2")):
            with self.subTest(network):
                peer, client = self.serving(network, address)
                client.sendall(GREETING)
                self.assertEqual(peer.do("read c 100"),
                                 "24 " + GREETING.decode())
                peer.do("write c " + ANSWER.decode())
                self.assertEqual(client.recv(100), ANSWER)

    def test_a_client_is_answered_by_Python(self):
        for family in socket.AF_INET, socket.AF_UNIX:
            peer, server = self.dialling(family)
            peer.do("write c " + GREETING.decode())
            self.assertEqual(server.recv(100), GREETING)
            server.sendall(ANSWER)
            self.assertEqual(peer.do("read c 100"),
                             "%d %s" % (len(ANSWER), ANSWER.decode()))

    def test_both_ends_know_each_other_by_the_same_addresses(self):
        peer, client = self.serving()
        local, remote = peer.do("ends c").split()
        self.assertEqual(local, "%s:%d" % client.getpeername())
        self.assertEqual(remote, "%s:%d" % client.getsockname())

    def test_a_client_fetches_a_page_from_http_server(self):
        page = bytes(range(256)) * 400
        with open(f"{self.dir}/page", "wb") as file:
            file.write(page)
        server = self.start(
            sys.executable, "-u", "-m", "http.server", 0, "--bind",
            "127.0.0.1", "--directory", self.dir, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        port = self.announced(server.stdout, rb" port (\d+)")
        peer = self.peer()
        peer.do(f"dial c tcp localhost:{port}")
        peer.do(r"write c GET /page HTTP/1.0\r\n\r\n")
        self.assertEqual(peer.do("read_full c 15"), "15 HTTP/1.0 200 OK")
        # The rest as bytes: the cat of the examples hands them on as they are.
        answer = self.run_program("cat", "tcp", f"localhost:{port}",
                                  input=b"GET /page HTTP/1.0\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(page), head)
        self.assertEqual(body, page)

    def test_a_byte_at_a_time_is_read_as_a_whole(self):
        peer, client = self.serving()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.say("read_full c %d" % len(GREETING))
        for i in range(len(GREETING)):
            client.send(GREETING[i:i + 1])
        self.assertEqual(peer.child.stdout.readline().decode(),
                         f"24 {GREETING.decode()}\t\t\n")

    def test_each_of_many_small_messages_is_answered(self):
        peer, client = self.serving()
        for i in range(300):
            client.sendall(b"%03d" % i)
            self.assertEqual(peer.do("read_full c 3"), "3 %03d" % i)
            peer.do(f"write c {i:03}")
            self.assertEqual(client.recv(100), b"%03d" % i)

    def test_a_half_close_leaves_the_other_half_open(self):
        peer, client = self.serving()
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.do("drain c"), "9 %d" % zlib.crc32(b"all of it"))
        peer.do("write c and the answer")
        peer.do("close_write c")
        self.assertEqual(receive_all(client), b"and the answer")

    def test_a_client_half_closes_and_is_answered(self):
        for family in socket.AF_INET, socket.AF_UNIX:
            peer, server = self.dialling(family)
            peer.do("write c all of it")
            peer.do("close_write c")
            self.assertEqual(receive_all(server), b"all of it")
            server.sendall(b"and the answer")
            server.close()
            self.assertEqual(peer.do("read_full c 14"), "14 and the answer")
            self.assertEqual(peer.tell("read c 1")[1], "EOF")

    def test_ten_megabytes_cross_whole_in_both_directions_at_once(self):
        data = large()
        for family in socket.AF_INET, socket.AF_UNIX:
            peer, server = self.dialling(family)
            peer.do("start in drain c")
            peer.do(f"start out fill c {LARGE}")
            sending = Background(server.sendall, data)
            received = bytearray()
            while len(received) < LARGE:
                received += server.recv(65536)
            sending.result()
            server.close()
            self.assertEqual(peer.do("join out"), str(LARGE))
            self.assertEqual(peer.do("join in"), f"{LARGE} {zlib.crc32(data)}")
            self.assertEqual(received, data)

    def test_a_slow_reader_with_a_small_window_gets_all(self):
        peer, server = self.dialling()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.do(f"start out fill c {LARGE}")
        received = bytearray()
        while len(received) < LARGE:
            received += server.recv(1000)
        self.assertEqual(peer.do("join out"), str(LARGE))
        self.assertEqual(received, large())

    def test_a_client_that_resets_is_told_once(self):
        peer, client = self.serving()
        local, remote = peer.do("ends c").split()
        reset(client)
        self.assertEqual(
            peer.tell("read c 10")[1],
            f"read tcp {local}->{remote}: read: connection reset by peer")
        self.assertEqual(peer.tell("read c 10")[1], "EOF")
        self.assertEqual(peer.tell("write c x")[1],
                         f"write tcp {local}->{remote}: write: broken pipe")

    def test_what_came_before_a_reset_is_read_first(self):
        peer, client = self.serving()
        client.sendall(b"last words")
        reset(client)
        self.assertEqual(peer.do("read c 100"), "10 last words")
        self.assertIn("connection reset by peer", peer.tell("read c 100")[1])

    def test_a_reset_wakes_a_blocked_read(self):
        peer, client = self.serving()
        peer.do("start waiting read c 10")
        reset(client)
        self.assertIn("connection reset by peer", peer.tell("join waiting")[1])

    def test_clients_that_reset_before_accept_cost_nobody_else(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        for _ in range(10):
            reset(self.connect(peer.do("addr l")))
        client = self.connect(peer.do("addr l"))
        client.sendall(b"here I am")
        for _ in range(11):
            peer.do("accept c l")
            heard, err, _ = peer.tell("read c 100")
            if not err:
                break
            self.assertIn("connection reset by peer", err)
        self.assertEqual(heard, "9 here I am")

    def killed(self, peer, byte):
        """Accepts a client that is killed, with a byte "read" or "seen"."""
        client = self.start(sys.executable, "-c", SLEEPER, peer.do("addr l"),
                            byte, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer.do("accept c l")
        peer.do("write c x")
        client.stdout.readline()
        client.kill()
        client.wait()

    def test_a_killed_client_ends_its_stream_and_the_server_goes_on(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        self.killed(peer, "read")
        self.assertEqual(peer.tell("read c 10")[1], "EOF")
        peer.do("close c")
        client = self.connect(peer.do("addr l"))
        peer.do("accept c l")
        client.sendall(b"next")
        self.assertEqual(peer.do("read c 10"), "4 next")

    def test_a_client_killed_with_something_unread_is_a_reset(self):
        peer = self.peer()
        peer.do("listen l tcp 127.0.0.1:0")
        self.killed(peer, "seen")
        self.assertIn("connection reset by peer", peer.tell("read c 10")[1])

    def test_a_killed_server_ends_the_stream_and_then_breaks_the_pipe(self):
        server = self.start(sys.executable, "-c", HOLDER, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
        port = self.announced(server.stdout, rb"(\d+)")
        peer = self.peer()
        peer.do(f"dial c tcp 127.0.0.1:{port}")
        self.announced(server.stdout, rb"(accepted)")
        local, remote = peer.do("ends c").split()
        server.kill()
        server.wait()
        self.assertEqual(peer.tell("read c 10")[1], "EOF")
        self.assertEqual(peer.do("write c x"), "1")  # answered by a reset
        self.wait_until(lambda: tcp_state(peer.local_port("c")) is None)
        self.assertEqual(peer.tell("write c x")[1],
                         f"write tcp {local}->{remote}: write: broken pipe")

    def test_a_blocked_write_ends_when_its_reader_is_killed(self):
        server = self.start(sys.executable, "-c", HOLDER, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
        port = self.announced(server.stdout, rb"(\d+)")
        peer = self.peer()
        peer.do(f"dial c tcp 127.0.0.1:{port}")
        self.announced(server.stdout, rb"(accepted)")
        peer.do("start out fill c 100000000")
        self.announced(server.stdout, rb"(hears)")
        server.kill()
        server.wait()
        written, err, _ = peer.tell("join out")
        self.assertLess(int(written), 100000000)
        self.assertIn("connection reset by peer", err)

    def test_descriptors_pass_to_and_from_Python(self):
        peer, client = self.serving("unix", self.sock)
        with open(f"{self.dir}/file", "w") as file:
            file.write("what is in the file")
        with open(f"{self.dir}/file") as file:
            socket.send_fds(client, [b"x"], [file.fileno()])
        self.assertEqual(peer.do("borrow c"), "what is in the file")

        peer.do(f"lend c {self.dir}/file")
        _, descriptors, _, _ = socket.recv_fds(client, 1, 4)
        self.assertEqual(len(descriptors), 1)
        with open(descriptors[0]) as file:
            self.assertEqual(file.read(), "what is in the file")

    def test_Python_is_known_by_its_credentials(self):
        peer, _ = self.serving("unix", self.sock)
        self.assertEqual(peer.do("credentials c"),
                         f"{os.getpid()} {os.getuid()} {os.getgid()}")

    def test_datagrams_are_answered_and_a_cut_one_is_told(self):
        peer = self.peer()
        peer.do("listen_packet u udp 127.0.0.1:0")
        host, port = peer.do("addr u").split(":")
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.bind(("127.0.0.1", 0))
        me = "%s:%d" % client.getsockname()
        for message in b"ping", b"", b"x" * 65507:
            client.sendto(message, (host, int(port)))
            self.assertEqual(peer.do("read_from u 65536"),
                             f"{len(message)} {message.decode()} {me}")
            peer.do(f"write_to u udp {me} {message.decode()}")
            self.assertEqual(client.recv(65536), message)
        client.sendto(b"too long", (host, int(port)))
        heard, err, _ = peer.tell("read_from u 3")
        self.assertEqual(heard, f"3 too {me}")
        self.assertIn("truncated", err)

    def test_a_refused_datagram_does_not_stop_the_socket(self):
        peer = self.peer()
        peer.do("listen_packet u udp 127.0.0.1:0")
        host, port = peer.do("addr u").split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            refusing = "%s:%d" % gone.getsockname()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.connect((host, int(port)))
        for _ in range(3):
            peer.do(f"write_to u udp {refusing} x")
        client.send(b"still there?")
        self.assertIn("still there?", peer.do("read_from u 100"))
