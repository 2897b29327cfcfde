"""The tools of examples/ with the programs that they are made for."""
# SPDX-License-Identifier: MIT
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import unittest

from harness import (ANSWER, GREETING, Background, Case, large, needs,
                     receive_all, reset, unread_by_peer)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class ExampleCase(Case):
    def echoed(self, sock, message):
        sock.sendall(message)
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(sock), message)

    def usage(self, program, *arguments):
        err = self.run_program(program, *arguments, code=2)
        self.assertRegex(err, f"^usage: {program} ")


class Sources(unittest.TestCase):
    def test_each_example_has_fewer_than_150_lines(self):
        examples = list((ROOT / "examples").glob("*.cpp"))
        self.assertGreater(len(examples), 0)
        for source in examples:
            with self.subTest(source.name):
                self.assertLess(len(source.read_text().splitlines()), 150)


class Greeting(ExampleCase):
    @needs("nc")
    def test_greeting_answers_nc_and_shows_what_it_heard(self):
        server = self.start("greeting", "127.0.0.1:0", stdout=subprocess.PIPE)
        address = self.announced(server.stdout, rb"Listening on (\S+)")
        answer = self.run_program("nc", "-N", *address.split(":"),
                                  input=GREETING)
        self.assertEqual(answer, ANSWER)
        shown = [server.stdout.readline() for _ in range(3)]
        self.assertEqual(shown, [b"Waiting for client...\n",
                                 b"client connected\n",
                                 b"Received: " + GREETING + b"\n"])

    def test_greeting_lets_a_silent_client_delay_nobody(self):
        _, address = self.serve("greeting", "127.0.0.1:0", says="stdout")
        silent = [self.connect(address) for _ in range(50)]
        loud = self.connect(address)
        loud.sendall(GREETING)
        self.assertEqual(receive_all(loud), ANSWER)
        silent[7].sendall(b"me too")
        self.assertEqual(receive_all(silent[7]),
                         b"Thanks! Got your message:me too")

    def test_greeting_survives_a_client_that_resets(self):
        _, address = self.serve("greeting", "127.0.0.1:0", says="stdout",
                                stderr=subprocess.DEVNULL)
        self.connect(address).close()
        for _ in range(5):
            reset(self.connect(address))
        client = self.connect(address)
        client.sendall(GREETING)
        self.assertEqual(receive_all(client), ANSWER)

    @unittest.skipIf(os.environ.get("NETLITE_SPARES_DESCRIPTORS") == "no",
                     "the sanitizer needs descriptors of its own")
    def test_greeting_goes_on_when_it_had_no_descriptor_left(self):
        server, address = self.serve("greeting", "127.0.0.1:0", says="stdout",
                                     stderr=subprocess.DEVNULL)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (12, 12))
        clients = [self.connect(address) for _ in range(20)]
        for client in clients:
            client.sendall(GREETING)
        for client in clients:
            self.assertEqual(receive_all(client), ANSWER)

    def test_greeting_says_when_its_port_is_taken(self):
        _, address = self.listener()
        err = self.run_program("greeting", address, code=1)
        self.assertEqual(err, f"greeting: listen tcp {address}: bind: "
                              "address already in use\n")

    def test_greeting_explains_its_usage(self):
        self.usage("greeting", "a", "b")
        self.usage("greeting", "--help")


class Echo(ExampleCase):
    @needs("nc")
    def test_echo_sends_back_what_nc_sent(self):
        _, address = self.serve("echo", "tcp", "127.0.0.1:0")
        data = large()
        self.assertEqual(
            self.run_program("nc", "-N", *address.split(":"), input=data), data)

    @needs("nc")
    def test_echo_sends_back_what_nc_sent_to_a_unix_socket(self):
        self.serve("echo", "unix", self.sock)
        data = large()
        self.assertEqual(
            self.run_program("nc", "-N", "-U", self.sock, input=data), data)

    @needs("socat")
    def test_echo_keeps_the_messages_of_unixpacket_apart(self):
        self.serve("echo", "unixpacket", self.sock)
        client = self.start("socat", "-", f"UNIX-CONNECT:{self.sock},type=5",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for message in b"one", b"and another":
            client.stdin.write(message)
            client.stdin.flush()
            self.assertEqual(client.stdout.read(len(message)), message)
        packets = self.connect(self.sock, socket.SOCK_SEQPACKET)
        packets.send(b"one")
        packets.send(b"and another")
        self.assertEqual(packets.recv(100), b"one")
        self.assertEqual(packets.recv(100), b"and another")

    @needs("socat")
    def test_echo_answers_datagrams_of_socat(self):
        _, address = self.serve("echo", "udp", "127.0.0.1:0")
        client = self.start("socat", "-", f"UDP:{address}",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for message in b"one", b"and another":
            client.stdin.write(message)
            client.stdin.flush()
            self.assertEqual(client.stdout.read(len(message)), message)

    def test_echo_answers_datagrams_of_any_size_and_goes_on(self):
        _, address = self.serve("echo", "udp", "127.0.0.1:0")
        host, port = address.split(":")
        for size in 0, 1, 1400, 65507:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect((host, int(port)))
                client.send(b"x" * size)
                self.assertEqual(client.recv(65536), b"x" * size)
                client.send(b"nobody waits for the answer to this")

    def test_echo_answers_unixgram_senders_that_have_a_name(self):
        server = self.start("echo", "unixgram", self.sock,
                            stderr=subprocess.PIPE)
        self.announced(server.stderr, rb"listening on (.*)")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
            nobody.sendto(b"whom will you answer?", self.sock)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(self.dir + "/me")
            client.sendto(b"hello", self.sock)
            self.assertEqual(client.recvfrom(100), (b"hello", self.sock))
        server.kill()
        self.assertEqual(server.stderr.read(), b"")

    def test_echo_goes_on_when_a_sender_has_gone(self):
        server, _ = self.serve("echo", "unixgram", self.sock)
        server.send_signal(signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as gone:
            gone.bind(self.dir + "/gone")
            gone.sendto(b"hello", self.sock)
        server.send_signal(signal.SIGCONT)
        self.assertRegex(server.stderr.readline().decode(),
                         "^echo: write unixgram .*/gone: .*refused\n$")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(self.dir + "/me")
            client.sendto(b"hello", self.sock)
            self.assertEqual(client.recv(100), b"hello")

    def test_echo_survives_clients_that_reset(self):
        _, address = self.serve("echo", "tcp", "127.0.0.1:0")
        for _ in range(5):
            client = self.connect(address)
            client.sendall(b"x" * 100000)
            reset(client)
        self.echoed(self.connect(address), b"still there?")

    def test_echo_replaces_the_socket_of_a_server_that_was_killed(self):
        for network in "unix", "unixpacket", "unixgram":
            path = f"{self.dir}/{network}"
            first = self.start("echo", network, path, stderr=subprocess.PIPE)
            self.announced(first.stderr, rb"listening on (.*)")
            first.kill()
            first.wait()
            self.serve("echo", network, path)
            err = self.run_program("echo", network, path, code=1)
            self.assertEqual(err, f"echo: listen {network} {path}: bind: "
                                  "address already in use\n")

    def test_echo_explains_its_usage_and_its_errors(self):
        self.usage("echo")
        self.usage("echo", "tcp")
        self.usage("echo", "tcp", "localhost:0", "more")
        err = self.run_program("echo", "tpc", "localhost:0", code=1)
        self.assertEqual(err, "echo: listen tpc: unknown network tpc\n")
        err = self.run_program("echo", "udp", "localhost", code=1)
        self.assertEqual(err, "echo: listen udp: address localhost: missing "
                              "port in address\n")


class Cat(ExampleCase):
    def cat(self, *arguments):
        return self.start("cat", *arguments, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def listening(self, network="tcp", address="127.0.0.1:0"):
        child = self.cat("-l", network, address)
        return child, self.announced(child.stderr, rb"listening on (\S+)")

    def nc(self, *arguments):
        return self.start("nc", *arguments, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def crosses(self, one, other, data=b"there"):
        """What goes into one program comes out of the other, and back."""
        for source, sink in (one, other), (other, one):
            source.stdin.write(data)
            source.stdin.flush()
            self.assertEqual(sink.stdout.read(len(data)), data)

    @needs("nc")
    def test_cat_talks_to_a_listening_nc(self):
        for network, arguments in (("tcp", ("127.0.0.1", 0)),
                                   ("unix", ("-U", self.sock)),
                                   ("udp", ("-u", "127.0.0.1", 0))):
            with self.subTest(network):
                server = self.nc("-v", "-l", *arguments)
                where = self.announced(
                    server.stderr, rb"Bound.* (\d+)$" if network == "udp" else
                    rb"Listening on .*?(\S+)$")
                client = self.cat(network, where if network == "unix" else
                                  f"127.0.0.1:{where}")
                self.crosses(client, server)

    @needs("nc")
    def test_cat_listens_to_nc(self):
        for network, address, how in (("tcp", "127.0.0.1:0", ()),
                                      ("unix", self.sock, ("-U",)),
                                      ("udp", "127.0.0.1:0", ("-u",))):
            with self.subTest(network):
                server, where = self.listening(network, address)
                client = self.nc(*how, *([where] if network == "unix" else
                                         where.split(":")))
                self.crosses(client, server)

    @needs("socat")
    def test_cat_listens_to_socat_over_unixpacket(self):
        server, _ = self.listening("unixpacket", self.sock)
        client = self.start("socat", "-", f"UNIX-CONNECT:{self.sock},type=5",
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.crosses(client, server)

    @needs("nc")
    def test_cat_carries_ten_megabytes_to_nc_and_back(self):
        data = large()
        server, where = self.listening()
        client = self.nc("-N", *where.split(":"))
        there = Background(server.communicate, data)
        self.assertEqual(client.communicate(data)[0], data)
        self.assertEqual(there.result()[0], data)
        self.assertEqual((client.returncode, server.returncode), (0, 0))

    def test_cat_carries_ten_megabytes_in_both_directions_at_once(self):
        data = large()
        for network in "tcp", "unix":
            server, where = self.listening(
                network, "127.0.0.1:0" if network == "tcp" else self.sock)
            client = self.cat(network, where)
            there = Background(server.communicate, data)
            self.assertEqual(client.communicate(data)[0], data)
            self.assertEqual(there.result()[0], data)

    def test_cat_hears_on_after_its_input_has_ended(self):
        listener, address = self.listener()
        child = self.cat("tcp", address)
        server = self.accept(listener)
        child.stdin.write(b"all of it")
        child.stdin.close()
        self.assertEqual(receive_all(server), b"all of it")
        server.sendall(b"and the answer")
        server.close()
        self.assertEqual(child.stdout.read(), b"and the answer")
        self.assertEqual(child.wait(), 0)

    def test_cat_speaks_on_after_its_peer_has_finished(self):
        listener, address = self.listener()
        child = self.cat("tcp", address)
        server = self.accept(listener)
        server.sendall(b"all of it")
        server.shutdown(socket.SHUT_WR)
        self.assertEqual(child.stdout.read(9), b"all of it")
        child.stdin.write(b"and the answer")
        child.stdin.close()
        self.assertEqual(receive_all(server), b"and the answer")
        self.assertEqual(child.wait(), 0)

    def test_cat_replaces_the_socket_of_one_that_was_killed(self):
        first, _ = self.listening("unix", self.sock)
        first.kill()
        first.wait()
        _, where = self.listening("unix", self.sock)
        self.connect(where)

    def test_cat_listening_for_datagrams_hears_its_peer_only(self):
        child, where = self.listening("udp", "127.0.0.1:0")
        host, port = where.split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            peer.sendto(b"first", (host, int(port)))
            self.assertEqual(child.stdout.read(5), b"first")
            stranger.sendto(b"STRANGER", (host, int(port)))
            peer.sendto(b"second", (host, int(port)))
            self.assertEqual(child.stdout.read(6), b"second")
            child.stdin.write(b"answer")
            child.stdin.flush()
            self.assertEqual(peer.recv(100), b"answer")

    def test_cat_tells_a_reset_at_once_though_its_input_goes_on(self):
        listener, address = self.listener()
        child = self.cat("tcp", address)
        server = self.accept(listener)
        server.sendall(b"x")
        self.assertEqual(child.stdout.read(1), b"x")  # dial has succeeded
        reset(server)
        self.assertEqual(child.wait(), 1)
        self.assertRegex(child.stderr.read().decode(),
                         "^cat: read tcp .*: connection reset by peer\n$")

    def test_cat_tells_that_its_peer_did_not_take_all(self):
        listener, address = self.listener(socket.AF_UNIX)
        child = self.cat("unix", address)
        self.accept(listener).close()
        child.stdin.write(b"x")
        child.stdin.close()
        self.assertEqual(child.wait(), 1)
        self.assertRegex(child.stderr.read().decode(),
                         "^cat: write unix .*: broken pipe\n$")

    def test_cat_tells_that_its_output_is_full(self):
        listener, address = self.listener()
        with open("/dev/full", "wb") as full:
            child = self.start("cat", "tcp", address, stdin=subprocess.PIPE,
                               stdout=full, stderr=subprocess.PIPE)
            self.accept(listener).sendall(b"x")
            self.assertEqual(child.wait(), 1)
            self.assertEqual(child.stderr.read(),
                             b"cat: no space left on device\n")

    def test_cat_tells_what_it_could_not_reach(self):
        port = self.refusing()
        self.assertEqual(
            self.run_program("cat", "tcp", f"127.0.0.1:{port}", code=1),
            f"cat: dial tcp 127.0.0.1:{port}: connect: connection refused\n")
        self.assertEqual(
            self.run_program("cat", "unix", self.sock, code=1),
            f"cat: dial unix {self.sock}: connect: no such file or "
            "directory\n")

    def test_cat_explains_its_usage(self):
        self.usage("cat")
        self.usage("cat", "-l")
        self.usage("cat", "-l", "tcp")
        self.usage("cat", "tcp", "localhost:0", "more")


class Lookup(ExampleCase):
    def lookup(self, *arguments):
        return self.run_program("lookup", *arguments).decode().split()

    def test_lookup_finds_what_Python_finds(self):
        for host in "localhost", socket.gethostname():
            try:
                found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except socket.gaierror:  # a machine that does not know itself
                continue
            self.assertEqual(self.lookup(host), [a[4][0] for a in found])

    def test_lookup_finds_every_address_in_the_order_of_Python(self):
        for name in "multi.test", "both.test", "localhost":
            found = self.run_program(*self.in_the_world(
                sys.executable, "-c", "import socket, sys\n"
                "for found in socket.getaddrinfo(sys.argv[1], None, "
                "type=socket.SOCK_STREAM): print(found[4][0])", name))
            self.assertGreater(found.count(b"\n"), 1)
            self.assertEqual(
                self.run_program(*self.in_the_world("lookup", name)), found)

    @needs("getent")
    def test_lookup_finds_what_getent_finds(self):
        found = self.run_program("getent", "ahosts", "localhost").decode()
        self.assertEqual(sorted(set(self.lookup("localhost"))),
                         sorted({line.split()[0]
                                 for line in found.splitlines()}))

    def test_lookup_gives_an_address_as_it_is(self):
        self.assertEqual(self.lookup("127.0.0.1"), ["127.0.0.1"])
        self.assertEqual(self.lookup("::1"), ["::1"])

    def test_lookup_tells_what_it_did_not_find(self):
        self.assertEqual(self.run_program("lookup", "127.1", code=1),
                         "lookup: lookup 127.1: no such host\n")
        self.assertEqual(self.run_program("lookup", "localhost", "-1", code=1),
                         "lookup: lookup localhost: i/o timeout\n")

    def test_lookup_explains_its_usage(self):
        self.usage("lookup")
        self.usage("lookup", "localhost", "soon")
        self.usage("lookup", "localhost", "")
        self.usage("lookup", "a", "1", "more")
        self.usage("lookup", "-h")


class Proxy(ExampleCase):
    def proxy(self, network, address, to_network, to_address):
        _, where = self.serve("proxy", network, address, to_network, to_address)
        return where

    def ends(self, family=socket.AF_INET, to=socket.AF_INET, name="x"):
        """Both ends of a connection through a proxy: client and server."""
        kinds = {socket.AF_INET: "tcp", socket.AF_UNIX: "unix"}
        listener, address = self.listener(to, address=None if to ==
                                          socket.AF_INET else self.sock + name)
        where = self.proxy(kinds[family], "127.0.0.1:0" if family ==
                           socket.AF_INET else f"{self.dir}/proxy{name}",
                           kinds[to], address)
        client = self.connect(where)
        return client, self.accept(listener)

    def all_ends(self):
        for i, family in enumerate((socket.AF_INET, socket.AF_UNIX)):
            for j, to in enumerate((socket.AF_INET, socket.AF_UNIX)):
                with self.subTest(client=family.name, server=to.name):
                    yield self.ends(family, to, f"{i}{j}")

    @needs("curl")
    def test_curl_reaches_http_server_through_proxy(self):
        with open(f"{self.dir}/page", "wb") as file:
            file.write(large())
        server = self.start(
            sys.executable, "-u", "-m", "http.server", 0, "--bind",
            "127.0.0.1", "--directory", self.dir, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        port = self.announced(server.stdout, rb" port (\d+)")
        where = self.proxy("tcp", "127.0.0.1:0", "tcp", f"localhost:{port}")
        page = self.run_program("curl", "-sS", "--fail", "--noproxy", "*",
                                f"http://{where}/page")
        self.assertEqual(page, large())

    @needs("nc")
    @needs("socat")
    def test_proxy_leads_nc_from_tcp_to_a_unix_socket_of_socat(self):
        server, _ = self.serve(
            "socat", "-d", "-d", f"UNIX-LISTEN:{self.sock}", "EXEC:cat",
            announced=rb"listening on (.*)")
        where = self.proxy("tcp", "127.0.0.1:0", "unix", self.sock)
        data = large()
        self.assertEqual(
            self.run_program("nc", "-N", *where.split(":"), input=data), data)

    def test_proxy_hands_a_half_close_on_in_either_direction(self):
        for client, server in self.all_ends():
            client.sendall(b"all of it")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(server), b"all of it")
            server.sendall(b"and the answer")
            server.close()
            self.assertEqual(receive_all(client), b"and the answer")
        client, server = self.ends(name="again")
        server.sendall(b"all of it")
        server.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b"all of it")
        client.sendall(b"and the answer")
        client.close()
        self.assertEqual(receive_all(server), b"and the answer")

    def test_proxy_hands_ten_megabytes_on_in_both_directions_at_once(self):
        data = large()

        def speak(sock):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        for client, server in self.all_ends():
            speaking = [Background(speak, end) for end in (client, server)]
            hearing = Background(receive_all, server)
            self.assertEqual(receive_all(client), data)
            self.assertEqual(hearing.result(), data)
            for each in speaking:
                each.result()

    def test_proxy_keeps_messages_apart(self):
        listener, address = self.listener(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        where = self.proxy("unixpacket", self.dir + "/p", "unixpacket", address)
        client = self.connect(where, socket.SOCK_SEQPACKET)
        server = self.accept(listener)
        client.send(b"one")
        client.send(b"and another")
        self.assertEqual(server.recv(100), b"one")
        self.assertEqual(server.recv(100), b"and another")

    def test_proxy_hands_a_reset_on_in_either_direction(self):
        for to_server in True, False:
            client, server = self.ends()
            server.sendall(b"x")
            self.assertEqual(client.recv(1), b"x")  # the proxy has both
            reset(client if to_server else server)
            with self.assertRaises(ConnectionResetError):
                (server if to_server else client).recv(1)

    def test_proxy_hands_on_what_a_server_said_before_it_hung_up(self):
        """As one does that refuses the rest of an upload. On unix sockets, for
        there nothing that was sent is lost when the other side writes on."""
        client, server = self.ends(socket.AF_UNIX, socket.AF_UNIX)
        data = large()
        sent = 0
        server.settimeout(0.2)  # no room for more, as far as can be told
        try:
            while True:
                sent += server.send(data[sent:sent + 65536])
        except socket.timeout:
            server.close()
        client.sendall(b"the rest")
        self.wait_until(lambda: unread_by_peer(client) == 0)
        self.assertEqual(receive_all(client), data[:sent])

    def test_proxy_lets_go_of_a_client_that_never_listened(self):
        """The server does not listen either while it answers: without a client
        nobody would ever hear the other."""

        def echo(sock):
            try:
                while piece := sock.recv(65536):
                    sock.sendall(piece)
            except ConnectionError:
                pass

        for client, server in self.all_ends():
            echoing = Background(echo, server)
            client.settimeout(0.2)  # no room for more, as far as can be told
            with self.assertRaises(socket.timeout):
                while True:
                    client.send(bytes(65536))
            reset(client)
            echoing.result()

    def test_proxy_serves_others_when_there_is_nobody_to_hand_on_to(self):
        port = self.refusing()
        server, where = self.serve("proxy", "tcp", "127.0.0.1:0", "tcp",
                                   f"127.0.0.1:{port}")
        for _ in range(3):
            self.assertEqual(self.connect(where).recv(1), b"")
            self.assertEqual(
                server.stderr.readline().decode(),
                f"proxy: dial tcp 127.0.0.1:{port}: connect: connection "
                "refused\n")

    def test_proxy_serves_many_at_a_time(self):
        _, echo = self.serve("echo", "tcp", "127.0.0.1:0")
        where = self.proxy("tcp", "127.0.0.1:0", "tcp", echo)
        clients = [self.connect(where) for _ in range(50)]
        for i, client in enumerate(clients):
            client.sendall(b"%d" % i)
        for i, client in reversed(list(enumerate(clients))):
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), b"%d" % i)

    def test_proxy_explains_its_usage_and_its_errors(self):
        self.usage("proxy")
        self.usage("proxy", "tcp", ":0", "tcp")
        _, taken = self.listener()
        err = self.run_program("proxy", "tcp", taken, "tcp", ":1", code=1)
        self.assertEqual(err, f"proxy: listen tcp {taken}: bind: address "
                              "already in use\n")
