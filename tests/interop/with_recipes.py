"""The answers of tutorials/how-do-i.md, with the programs that they name."""
# SPDX-License-Identifier: MIT
import os
import resource
import select
import signal
import socket
import subprocess
import unittest

from harness import (PROGRAMS, Background, Case, large, needs, receive_all,
                     reset)


def needs_recipes(program, package):
    """Skips what could not be built, by the name of the library."""
    return unittest.skipUnless(os.path.exists(PROGRAMS[program]),
                               f"{package} is not installed")


class RecipeCase(Case):
    def recipe(self, name, address="127.0.0.1:0", *arguments, **options):
        """Starts a server, which may end as it likes, in a folder of the
        case's own."""
        child = self.start("recipes", name, address, *arguments, cwd=self.dir,
                           stderr=subprocess.PIPE, **options)
        return child, self.announced(child.stderr, rb"Listening on (\S+)")

    def called(self, address):
        """A client that is being served, and by which process."""
        client = self.connect(address)
        name = b""
        while not name.endswith(b"\n"):
            piece = client.recv(100)
            self.assertTrue(piece, "turned away")
            name += piece
        return client, int(name)

    def says_again(self, client, text):
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), text)

    def refuses(self, address):
        try:
            self.connect(address).close()
        except ConnectionRefusedError:
            return True
        return False


class Stop(RecipeCase):
    def test_a_signal_stops_a_server_that_lets_its_client_finish(self):
        for number in signal.SIGINT, signal.SIGTERM:
            server, address = self.recipe("stop")
            client, _ = self.called(address)
            server.send_signal(number)
            self.wait_until(lambda: self.refuses(address))
            self.says_again(client, b"one last word")
            self.assertEqual(server.wait(), 0)

    def test_a_server_that_ends_by_itself_does_not_wait_for_a_signal(self):
        server, address = self.recipe("stop", "127.0.0.1:0", "late")
        self.assertEqual(server.stderr.read().decode(),
                         f"recipes: accept tcp {address}: i/o timeout\n")
        self.assertEqual(server.wait(), 1)


class Restart(RecipeCase):
    """Clients come all the time, and one stays for as long as it goes on."""

    def setUp(self):
        super().setUp()
        self.over = False
        self.served_by = set()

    def come_and_go(self, address):
        while not self.over:
            client, name = self.called(address)
            self.says_again(client, b"hello")
            client.close()
            self.served_by.add(name)

    def replaced(self, recipe, linger=0):
        old, address = self.recipe(recipe)
        stays, name = self.called(address)
        self.assertEqual(name, old.pid)
        clients = [Background(self.come_and_go, address) for _ in range(3)]
        olds = []
        for _ in range(4):
            olds.append(old)
            old, again = self.recipe(recipe)
            self.assertEqual(again, address)
            self.wait_until(lambda: old.pid in self.served_by or
                            not all(each.thread.is_alive()
                                    for each in clients))
        self.over = True
        for each in clients:
            each.result()  # nobody was turned away
        self.assertEqual([each.wait() for each in olds[1:]], [0, 0, 0])
        # Longer than a server waits for its handlers unless told otherwise.
        self.assertFalse(select.select([stays], [], [], linger)[0])
        self.says_again(stays, b"still here")
        self.assertEqual(olds[0].wait(), 0)
        return old, address

    def test_a_restart_turns_nobody_away_and_cuts_nobody_off(self):
        self.replaced("restart", linger=6)

    def test_one_after_the_other_a_server_is_replaced_and_stopped(self):
        server, address = self.replaced("both")
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        self.assertTrue(self.refuses(address))
        self.assertEqual(os.listdir(self.dir), [])

    def test_a_server_replaces_one_that_was_killed(self):
        old, address = self.recipe("restart")
        old.kill()
        old.wait()
        _, again = self.recipe("restart", address)
        self.assertEqual(again, address)
        self.called(again)


class Serve(RecipeCase):
    def test_a_server_asks_for_all_the_descriptors_that_it_may_have(self):
        few, many = 64, 400
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))

        def little():
            resource.setrlimit(resource.RLIMIT_NOFILE, (few, 2 * many))

        _, address = self.recipe("many", preexec_fn=little)
        clients = [self.called(address)[0] for _ in range(many)]
        for client in clients:
            self.says_again(client, b"hello")

    def test_processes_share_a_port(self):
        first, address = self.recipe("shared")
        second, same = self.recipe("shared", address)
        self.assertEqual(same, address)
        names = {self.called(address)[1] for _ in range(64)}
        self.assertEqual(names, {first.pid, second.pid})

    def test_who_is_refused_hears_why(self):
        _, address = self.recipe("refuse")
        client = self.connect(address)
        client.sendall(large())
        self.assertEqual(receive_all(client), b"Sorry, we are full.\n")

    @needs("nc")
    def test_nc_is_refused_without_a_reset(self):
        _, address = self.recipe("refuse")
        self.assertEqual(
            self.run_program("nc", "-N", *address.split(":"), input=large()),
            b"Sorry, we are full.\n")

    def test_one_thread_serves_many(self):
        _, address = self.recipe("one_thread")
        clients = [self.connect(address) for _ in range(20)]
        for client in clients:
            client.sendall(b"hello")
        reset(clients.pop())
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), b"")


class Time(RecipeCase):
    def test_gives_up_where_nothing_moves_and_only_there(self):
        listener, upstream = self.listener()
        _, address = self.recipe("idle", "127.0.0.1:0", upstream)
        moving = self.connect(address), self.accept(listener)
        silent = self.connect(address), self.accept(listener)
        # One direction is enough to keep both alive.
        while len(select.select(silent, [], [], 0)[0]) < 2:
            moving[0].sendall(b"x")
            self.assertEqual(moving[1].recv(1), b"x")
        self.assertEqual([end.recv(1) for end in silent], [b"", b""])
        moving[1].sendall(b"y")
        self.assertEqual(moving[0].recv(1), b"y")


class Loops(RecipeCase):
    """Programs that print what comes, from a loop of somebody else's."""

    def prints(self, *argv):
        listener, address = self.listener()
        child = self.start(*argv, address, stdout=subprocess.PIPE)
        server = self.accept(listener)
        printed = Background(child.communicate)
        for text in b"one", b"two", large():
            server.sendall(text)
        server.close()
        self.assertEqual(printed.result()[0], b"onetwo" + large())
        self.assertEqual(child.returncode, 0)

    @unittest.skipUnless(hasattr(select, "epoll"), "there is no epoll")
    def test_epoll_watches_a_connection(self):
        self.prints("recipes", "epoll")

    @needs_recipes("recipes_uv", "libuv1-dev")
    def test_libuv_watches_a_connection(self):
        self.prints("recipes_uv")


@needs("systemd-socket-activate")
class Systemd(RecipeCase):
    def test_systemd_starts_a_server_when_the_first_client_calls(self):
        _, path = self.serve(
            "systemd-socket-activate", "-l", self.sock, PROGRAMS["recipes"],
            "systemd", "127.0.0.1:0", announced=rb"Listening on (\S+) as 3")
        for _ in range(3):
            client, _ = self.called(path)
            self.says_again(client, b"hello")


class WithoutSystemd(RecipeCase):
    def test_a_server_opens_its_own_port_when_no_socket_was_passed(self):
        for pid in None, "1":  # that was for somebody else
            env = dict(os.environ, LISTEN_FDS="1", LISTEN_PID=pid or "")
            _, address = self.recipe("systemd", env=env)
            self.says_again(self.called(address)[0], b"hello")


@needs("haproxy")
class HAProxy(RecipeCase):
    def front(self, server, *options):
        """HAProxy, on a socket that we have opened for it."""
        listener, address = self.listener()
        config = os.path.join(self.dir, "haproxy.cfg")
        with open(config, "w") as file:
            file.write(f"""
global
  maxconn 50
defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
listen front
  bind fd@{listener.fileno()}
  server mine {server} send-proxy {' '.join(options)}
""")
        self.start("haproxy", "-db", "-f", config,
                   pass_fds=[listener.fileno()], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
        return address

    def test_a_server_learns_who_is_behind_HAProxy(self):
        _, server = self.recipe("haproxy")
        front = self.front(server)
        for _ in range(3):
            client = self.connect(front)
            self.says_after_its_name(client, b"hello" * 100)

    def says_after_its_name(self, client, text):
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        name = "%s:%d\n" % client.getsockname()
        self.assertEqual(receive_all(client), name.encode() + text)


class ProxyLine(RecipeCase):
    def test_a_server_reads_the_line_before_all_else(self):
        server, address = self.recipe("haproxy")
        for line, name in (
                (b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443",
                 b"203.0.113.7:4711"),
                (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443",
                 b"[2001:db8::7]:4711"),
                (b"PROXY UNKNOWN", b"nobody"),
                (b"PROXY UNKNOWN ffff::1 ffff::2 1 2", b"nobody")):
            client = self.connect(address)
            client.sendall(line + b"\r\nhello")
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), name + b"\nhello")
        for line, error in (
                (b"GET / HTTP/1.1", b"protocol error"),
                (b"PROXY TCP4 203.0.113.7", b"protocol error"),
                (b"PROXY TCP4 203.0.113.7 192.0.2.1 70000 443",
                 b"protocol error"),
                (b"PROXY TCP4 here there 4711 443", b"invalid IP address"),
                (b"x" * 200, b"limit")):
            client = self.connect(address)
            client.sendall(line + b"\r\n")
            client.shutdown(socket.SHUT_WR)
            self.assertIn(error, server.stderr.readline())


@needs("openssl")
@needs_recipes("recipes_tls", "libssl-dev")
class TLS(RecipeCase):
    def setUp(self):
        super().setUp()
        self.key, self.certificate = self.dir + "/key", self.dir + "/cert"
        self.run_program(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out",
            self.certificate, "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost")

    def openssl_server(self):
        """Says each line backwards."""
        server = self.start(
            "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert",
            self.certificate, "-key", self.key, "-rev", "-naccept", "1",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return server, self.announced(server.stdout, rb"ACCEPT (\S+)")

    def recipe_server(self, name="server"):
        server = self.start("recipes_tls", name, "127.0.0.1:0",
                            self.certificate, self.key, stderr=subprocess.PIPE)
        return server, self.announced(server.stderr, rb"Listening on (\S+)")

    def start_client(self, name, address, trusts=True):
        trusted = {"SSL_CERT_FILE": self.certificate} if trusts else {}
        return self.start("recipes_tls", name, address,
                          env=dict(os.environ, **trusted),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def client(self, *arguments, **options):
        child = self.start_client(*arguments, **options)
        out, err = child.communicate()
        return out.decode(), err.decode(), child.returncode

    def test_a_client_talks_to_openssl_and_tells_when_it_is_cut_off(self):
        server, address = self.openssl_server()
        client = self.start_client("client", address)
        self.assertEqual(client.stdout.readline(), b"olleH\n")
        server.kill()
        self.assertEqual(client.communicate(),
                         (b"", b"recipes_tls: unexpected EOF\n"))

    def test_a_client_trusts_no_stranger(self):
        _, address = self.openssl_server()
        out, err, code = self.client("client", address, trusts=False)
        self.assertIn("certificate verify failed", err)
        self.assertEqual((out, code), ("", 1))

    def test_openssl_talks_to_a_server(self):
        _, address = self.recipe_server()
        said = self.run_program(
            "openssl", "s_client", "-connect", address, "-quiet",
            "-verify_return_error", "-CAfile", self.certificate,
            "-servername", "localhost", "-verify_hostname", "localhost",
            "-ign_eof", input=b"Hello\n")
        self.assertEqual(said, b"Hello\n")

    def test_a_client_and_a_server_talk(self):
        server, address = self.recipe_server()
        self.assertEqual(self.client("client", address), ("Hello\n", "", 0))
        self.assertEqual(server.wait(), 0)

    def test_a_talk_that_is_cut_off_has_not_ended(self):
        _, address = self.recipe_server("cut")
        self.assertEqual(self.client("client", address),
                         ("", "recipes_tls: unexpected EOF\n", 1))

    def test_a_library_that_takes_a_descriptor_waits_by_netlite(self):
        server, address = self.openssl_server()
        client = self.start_client("greet", address)
        self.assertEqual(client.stdout.readline(), b"olleH\n")
        server.kill()
        self.assertEqual(client.communicate(),
                         (b"", b"recipes_tls: unexpected EOF\n"))

    def test_a_library_that_takes_a_descriptor_keeps_the_deadline(self):
        _, address = self.listener()
        out, err, code = self.client("silent", address)
        self.assertRegex(err, "^recipes_tls: wait tcp .*: i/o timeout\n$")
        self.assertEqual((out, code), ("", 1))

    def test_a_library_that_takes_a_descriptor_reads_to_the_end(self):
        server, address = self.recipe_server()
        self.assertEqual(self.client("greet", address), ("Hello\n", "", 0))
        self.assertEqual(server.wait(), 0)
