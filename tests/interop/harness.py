"""What the cases share: programs that end with their case, ports that are
learned and never guessed, and waiting for events instead of for time.

A case has one bound for all it does, `Case.bound`: whatever blocks longer -
a read, a child that does not end - is interrupted and fails.
"""
# SPDX-License-Identifier: MIT
import fcntl
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import unittest

PROGRAMS = {}  # the programs under test, by name; run.py fills it

GREETING = b"Hello Server! Greetings."
ANSWER = b"Thanks! Got your message:" + GREETING
LARGE = 10_000_000


def have(program):
    """Is there such a program, and is it the one that we mean?"""
    if not shutil.which(program):
        return False
    if program != "nc":
        return True
    usage = subprocess.run(["nc", "-h"], capture_output=True, timeout=20)
    # Netcats are many; -N and -U mark OpenBSD's, also as others ship it.
    return b"Shutdown the network socket" in usage.stderr + usage.stdout


def needs(program):
    """Skips a case, or a class of cases, by the name of what is missing."""
    return unittest.skipUnless(have(program), f"{program} is not installed")


def large():
    """The 10 MB that peer.cpp and peer.go write when told to fill."""
    block = bytearray()
    state = 1
    while len(block) < 65521:  # a prime: no buffer's size divides it
        state = (state * 1664525 + 1013904223) % 2**32
        block.append(state >> 24)
    return (bytes(block) * (LARGE // len(block) + 1))[:LARGE]


def receive_all(sock):
    """Reads a socket to its end."""
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def reset(sock):
    """Closes a TCP socket so that its peer sees a reset: SO_LINGER of 0."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


def unread_by_peer(sock):
    """How much of what was sent the peer has not taken yet: SIOCOUTQ."""
    size = fcntl.ioctl(sock, termios.TIOCOUTQ, struct.pack("i", 0))
    return struct.unpack("i", size)[0]


def tcp_state(port):
    """The state of the one IPv4 connection of this local port, as the kernel
    numbers them (8 is CLOSE_WAIT); None when there is none. proc(5)."""
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                return int(fields[3], 16)
    return None


class TooLate(Exception):
    """The bound of a case has passed."""


class Background:
    """A call that goes on beside the case. One that never ends holds nobody."""

    def __init__(self, call, *arguments):
        def run():
            self.value = call(*arguments)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self):
        self.thread.join()
        return self.value


class Peer:
    """A running peer.cpp or peer.go: tell it what to do, get what came."""

    def __init__(self, case, *argv):
        self.case = case
        self.child = case.start(*argv, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        self.transcript = []

    def say(self, command):
        self.child.stdin.write(command.encode() + b"\n")
        self.child.stdin.flush()

    def tell(self, command):
        """Gives value, error text and error classes."""
        self.say(command)
        line = self.child.stdout.readline().decode(errors="backslashreplace")
        self.case.assertTrue(line, f"the peer has died of: {command}")
        self.transcript.append((command, line.rstrip("\n")))
        return line.rstrip("\n").split("\t")

    def do(self, command):
        """The same for what must succeed; gives the value."""
        value, error, _ = self.tell(command)
        self.case.assertEqual(error, "", command)
        return value

    def local_port(self, name):
        return int(self.do(f"ends {name}").split()[0].rsplit(":", 1)[1])


class Case(unittest.TestCase):
    bound = 120  # seconds; a busy machine needs a few

    def setUp(self):
        def late(*_):
            raise TooLate(f"not done after {self.bound} s")

        signal.signal(signal.SIGALRM, late)
        # Again each second, for what goes on after a part of it has failed.
        signal.setitimer(signal.ITIMER_REAL, self.bound, 1)
        self.dir = tempfile.mkdtemp(prefix="nl-", dir="/tmp")  # short: sun_path
        self.addCleanup(shutil.rmtree, self.dir)
        self.sock = self.dir + "/s.sock"

    def tearDown(self):
        signal.setitimer(signal.ITIMER_REAL, 0)

    # Programs. Each is ended by its own number, in whatever state it is.

    def start(self, *argv, **options):
        argv = [PROGRAMS.get(argv[0], argv[0]), *map(str, argv[1:])]
        child = subprocess.Popen(argv, start_new_session=True, **options)

        def end():
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # and its own children
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass

        self.addCleanup(end)
        return child

    def run_program(self, *argv, input=b"", code=0):
        """Runs a program to its end, which is this code; gives its output or,
        where it must fail, its complaint."""
        child = self.start(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
        out, err = child.communicate(input)
        self.assertEqual(child.returncode, code, err.decode())
        return out if code == 0 else err.decode()

    def serve(self, *argv, announced=rb"[Ll]istening on (\S+)", says="stderr",
              **options):
        """Starts a server that must live to the end of the case, and gives it
        together with the address that it announces there."""
        options[says] = subprocess.PIPE
        child = self.start(*argv, **options)

        def check():
            self.assertIn(child.poll(), (None, 0), f"{argv[0]} has died")

        self.addCleanup(check)
        return child, self.announced(getattr(child, says), announced)

    def announced(self, pipe, pattern):
        """Reads lines until one matches, and gives what it tells."""
        seen = b""
        for line in iter(pipe.readline, b""):
            seen += line
            if found := re.search(pattern, line):
                return found[1].decode()
        self.fail(f"no {pattern!r} in {seen!r}")

    def peer(self, program="peer"):
        return Peer(self, program)

    def in_the_world(self, *argv):
        """The same command in a world whose names we know, see world/run;
        skips the case where there can be none."""
        tests = pathlib.Path(__file__).resolve().parent.parent
        world = ["sh", tests / "world" / "run"]
        no_world = subprocess.run([*world, "true"], stdout=subprocess.PIPE)
        if no_world.returncode:
            self.skipTest(no_world.stdout.decode().strip())
        return [*world, PROGRAMS.get(argv[0], argv[0]), *argv[1:]]

    # Sockets of our own, which means Python's.

    def listener(self, family=socket.AF_INET, kind=socket.SOCK_STREAM,
                 address=None):
        """A listening socket and what to dial it by."""
        sock = socket.socket(family, kind)
        self.addCleanup(sock.close)
        if family == socket.AF_UNIX:
            sock.bind(address or self.sock)
            sock.listen()
            return sock, address or self.sock
        sock.bind((address or "127.0.0.1", 0))
        sock.listen()
        return sock, "%s:%d" % sock.getsockname()[:2]

    def connect(self, address, kind=socket.SOCK_STREAM):
        """A connection to "host:port", or to a path."""
        if address.startswith("/"):
            sock = socket.socket(socket.AF_UNIX, kind)
            self.addCleanup(sock.close)
            sock.connect(address)
            return sock
        host, port = address.rsplit(":", 1)
        sock = socket.create_connection((host.strip("[]"), int(port)))
        self.addCleanup(sock.close)
        return sock

    def accept(self, listener):
        sock, _ = listener.accept()
        self.addCleanup(sock.close)
        return sock

    def refusing(self, family=socket.AF_INET, host="127.0.0.1"):
        """A port that refuses: taken, so that nobody else gets it meanwhile,
        but nobody listens."""
        sock = socket.socket(family)
        self.addCleanup(sock.close)
        sock.bind((host, 0))
        return sock.getsockname()[1]

    def wait_until(self, condition):
        """For what gives no sign of itself: looks again and again. The end
        comes from the bound of the case."""
        while not condition():
            select.select([], [], [], 0.002)
