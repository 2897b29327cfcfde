"""The example `web` with curl, with a browser, and with clients that nobody
would want."""
# SPDX-License-Identifier: MIT
import os
import select
import socket
import struct
import zlib

from harness import (PROGRAMS, Background, large, needs, receive_all,
                     reset)
from with_examples import ExampleCase

LETTERS = b"abcdefghijklmnopqrstuvwxyz"


def picture():
    """A PNG file: three pixels by two, red."""
    def chunk(kind, data):
        return (struct.pack("!I", len(data)) + kind + data +
                struct.pack("!I", zlib.crc32(kind + data)))

    return (b"\x89PNG\r\n\x1a\n" +
            chunk(b"IHDR", struct.pack("!IIBBBBB", 3, 2, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress((b"\0" + b"\xff\0\0" * 3) * 2)) +
            chunk(b"IEND", b""))


def get(target, *headers, method="GET"):
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *headers, "",
                        "")).encode("latin-1")


class Answer:
    """The next answer on a connection: each says how long it is."""

    def __init__(self, stream, method="GET"):
        self.status = int(stream.readline().split()[1])
        self.headers = {}
        for line in iter(stream.readline, b"\r\n"):
            name, value = line.decode().split(":", 1)
            self.headers[name] = value.strip()
        size = int(self.headers["Content-Length"])
        self.body = stream.read(0 if method == "HEAD" else size)


class Web(ExampleCase):
    def setUp(self):
        super().setUp()
        self.folder = self.dir + "/site"
        os.makedirs(self.folder + "/docs")
        for name, content in (("index.html", b"<p>Welcome"),
                              ("docs/index.html", b"<p>Documents"),
                              ("letters.txt", LETTERS),
                              ("empty", b""),
                              ("two words.txt", b"both"),
                              ("large", large())):
            with open(f"{self.folder}/{name}", "wb") as file:
                file.write(content)
        with open(self.dir + "/secret", "wb") as file:
            file.write(b"SECRET")
        self.server, self.address = self.serve("web", self.folder,
                                               "127.0.0.1:0")

    def curl(self, *arguments, code=0):
        return self.run_program("curl", "-sS", "--noproxy", "*",
                                "--path-as-is", *arguments, code=code)

    def url(self, path):
        return f"http://{self.address}/{path}"

    def ask(self, request, method="GET"):
        """The one answer on a connection of its own."""
        client = self.connect(self.address)
        client.sendall(request)
        return Answer(client.makefile("rb"), method)

    def reads_little(self, room=4096):
        """A connection that holds few bytes which nobody has read."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        host, port = self.address.split(":")
        client.connect((host, int(port)))
        return client

    # curl

    @needs("curl")
    def test_curl_fetches_files_over_one_connection(self):
        out = self.curl("-w", "\n%{http_code} %{num_connects}\n",
                        self.url(""), self.url("letters.txt?of=netlite"),
                        self.url("docs/"), self.url("nosuch"),
                        self.url("two%20words.txt"), self.url("%65mpty"))
        self.assertEqual(out.splitlines(), [
            b"<p>Welcome", b"200 1", LETTERS, b"200 0", b"<p>Documents",
            b"200 0", b"", b"404 0", b"both", b"200 0", b"", b"200 0"])

    @needs("curl")
    def test_curl_fetches_ten_megabytes_and_goes_on_where_it_had_stopped(self):
        self.assertEqual(self.curl(self.url("large")), large())
        with open(self.dir + "/copy", "wb") as copy:
            copy.write(large()[:1234567])
        self.curl("-C", "-", "-o", self.dir + "/copy", self.url("large"))
        with open(self.dir + "/copy", "rb") as copy:
            self.assertEqual(copy.read(), large())

    @needs("curl")
    def test_curl_fetches_ranges(self):
        for asked, status, body, told in (
                ("0-0", 206, b"a", "0-0/26"),
                ("2-5", 206, b"cdef", "2-5/26"),
                ("20-", 206, b"uvwxyz", "20-25/26"),
                ("20-99", 206, b"uvwxyz", "20-25/26"),
                ("-3", 206, b"xyz", "23-25/26"),
                ("-99", 206, LETTERS, "0-25/26"),
                ("26-", 416, b"", "*/26"),
                ("5-2", 416, b"", "*/26"),
                ("-0", 416, b"", "*/26"),
                ("-", 200, LETTERS, None),
                ("a-b", 200, LETTERS, None),
                ("0-1,4-5", 200, LETTERS, None),
                ("0-99999999999999999999999", 200, LETTERS, None)):
            with self.subTest(asked):
                head, got = self.curl(
                    "-i", "-H", f"range: bytes={asked}",
                    self.url("letters.txt")).split(b"\r\n\r\n", 1)
                self.assertEqual(int(head.split()[1]), status)
                self.assertEqual(got, body)
                self.assertEqual(b"Content-Range" in head, told is not None)
                if told:
                    self.assertIn(f"\r\nContent-Range: bytes {told}\r\n",
                                  head.decode() + "\r\n")
        self.assertEqual(self.curl("-r", "0-", "-w", "%{http_code}",
                                   self.url("empty")), b"416")

    @needs("curl")
    def test_curl_asks_for_heads(self):
        heads = self.curl("-I", "-r", "2-5", self.url("letters.txt"),
                          self.url("large"), self.url("nosuch"),
                          "-w", "%{num_connects}\n").decode()
        self.assertEqual([line for line in heads.splitlines() if
                          line.startswith(("HTTP", "Content-L")) or
                          line.isdigit()],
                         ["HTTP/1.1 200 OK", "Content-Length: 26", "1",
                          "HTTP/1.1 200 OK", "Content-Length: 10000000", "0",
                          "HTTP/1.1 404 Not Found", "Content-Length: 0", "0"])

    @needs("curl")
    def test_curl_fetches_fifty_pages_at_a_time(self):
        pages = self.curl("--parallel", self.url("letters.txt?[1-50]"))
        self.assertEqual(pages, LETTERS * 50)

    @needs("curl")
    def test_curl_of_old_gets_its_page_and_the_end(self):
        out = self.curl("--http1.0", "-w", "\n%{num_connects}\n",
                        self.url("letters.txt"), self.url("letters.txt"))
        self.assertEqual(out, (LETTERS + b"\n1\n") * 2)

    # A browser

    @needs("chromium")
    def test_a_browser_shows_a_page_with_a_picture_and_a_style_sheet(self):
        with open(self.folder + "/red pixels.png", "wb") as file:
            file.write(picture())
        with open(self.folder + "/docs/style.css", "w") as file:
            file.write("p { color: rgb(1, 2, 3) }")
        with open(self.folder + "/docs/index.html", "w") as file:
            file.write("""<!DOCTYPE html><title>Documents</title>
                <link rel="stylesheet" href="style.css">
                <p>Grüße <img src="/red%20pixels.png"><script src="seen.js">
                </script>""")
        with open(self.folder + "/docs/seen.js", "w") as file:
            file.write("""onload = () => {
                const p = document.querySelector("p");
                const img = document.querySelector("img");
                document.title = getComputedStyle(p).color + " " +
                    img.naturalWidth + "x" + img.naturalHeight; }""")
        seen = self.run_program(
            "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--no-proxy-server", "--disable-dev-shm-usage",
            f"--user-data-dir={self.dir}/browser", "--dump-dom",
            self.url("docs/"))
        self.assertIn("<title>rgb(1, 2, 3) 3x2</title>", seen.decode())

    # Answers

    def test_web_tells_browsers_what_they_get(self):
        for name, kind in (("a.html", "text/html"), ("a.css", "text/css"),
                           ("a.js", "text/javascript"), ("a.txt", "text/plain"),
                           ("a.svg", "image/svg+xml"), ("a.png", "image/png"),
                           ("a.jpg", "image/jpeg"), ("a.md", "text/plain"),
                           ("a.unknown", None), ("a", None)):
            open(f"{self.folder}/{name}", "wb").close()
            answer = self.ask(get("/" + name))
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers.get("Content-Type"), kind)

    def test_web_refuses_what_is_no_request_for_a_file(self):
        for request, status in (
                (get("/", method="POST"), 405),
                (get("/", method="get"), 405),
                (get("*", method="OPTIONS"), 405),
                (b"GET /\r\n\r\n", 400),
                (b"GET / HTTP/2.0\r\n\r\n", 400),
                (b"GET  HTTP/1.1\r\n\r\n", 400),
                (b"\r\n", 400),
                (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n\n", 400),
                (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", 431),
                (get("/", "X: " + "a" * 20000), 431),
                (get("/", *["X: y"] * 5000), 431)):
            with self.subTest(request[:40]):
                answer = self.ask(request)
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.body, b"")
                self.assertEqual(answer.headers.get("Allow"),
                                 "GET, HEAD" if status == 405 else None)

    def test_nothing_outside_of_the_folder_is_served(self):
        os.symlink(self.dir + "/secret", self.folder + "/out")
        os.symlink("..", self.folder + "/up")
        os.symlink("letters.txt", self.folder + "/in")
        os.symlink("loop", self.folder + "/loop")
        os.mkdir(self.folder + "/nothing")
        os.mkdir(self.folder + "2")
        with open(self.folder + "2/secret", "wb") as file:
            file.write(b"SECRET")
        os.mkfifo(self.folder + "/fifo")
        for target, status in (
                ("/in", 200), ("/docs/../letters.txt", 200),
                ("/docs/%2e%2e/letters.txt", 200), ("//letters.txt", 200),
                ("/../secret", 404), ("/%2e%2e/secret", 404),
                ("/..%2fsecret", 404), ("/docs/../../secret", 404),
                ("/../site2/secret", 404), ("/%2e%2e/site/letters.txt", 200),
                ("/out", 404), ("/up/secret", 404), ("/loop", 404),
                (f"/{self.dir}/secret", 404), ("..", 404), ("2/secret", 404),
                ("/..", 404), ("/docs", 404), ("/nothing/", 404),
                ("/letters.txt/", 404), ("/fifo", 404), ("/" + "a/" * 4000, 404),
                ("/letters.txt%00", 400), ("/letters.txt%00.png", 400),
                ("/letters.txt\0", 400), ("/%", 400), ("/%zz", 400),
                ("/%2", 404), ("/%252e%252e/secret", 404),
                ("/..\\secret", 404), ("/%c0%ae%c0%ae/secret", 404),
                ("?", 404), ("http://x/../secret", 404)):
            with self.subTest(target[:60]):
                answer = self.ask(get(target))
                self.assertEqual(answer.status, status)
                self.assertNotIn(b"SECRET", answer.body)

    @needs("setpriv")
    def test_web_does_not_show_what_it_may_not_read(self):
        os.chmod(self.folder + "/letters.txt", 0)
        # Root may read everything, unless it gave that away.
        humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        _, self.address = self.serve(
            *(humble if os.geteuid() == 0 else []), PROGRAMS["web"],
            self.folder, "127.0.0.1:0")
        self.assertEqual(self.ask(get("/letters.txt")).status, 403)

    # Clients that speak in a way of their own

    def test_pipelined_requests_are_answered_in_their_order(self):
        client = self.connect(self.address)
        for i in range(26):
            client.sendall(get("/letters.txt", f"Range: bytes={i}-{i}") +
                           get("/nosuch") + get("/large", method="HEAD"))
        stream = client.makefile("rb")
        for i in range(26):
            self.assertEqual(Answer(stream).body, LETTERS[i:i + 1])
            self.assertEqual(Answer(stream).status, 404)
            self.assertEqual(Answer(stream, "HEAD").status, 200)

    def test_a_request_may_come_in_any_two_pieces(self):
        client = self.connect(self.address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = client.makefile("rb")
        request = get("/letters.txt", "Range: bytes=2-5")
        for cut in range(len(request)):
            client.sendall(request[:cut])
            client.sendall(request[cut:])
            self.assertEqual(Answer(stream).body, b"cdef")

    def test_a_request_may_come_byte_by_byte_and_with_bare_ends_of_line(self):
        client = self.connect(self.address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in get("/letters.txt").replace(b"\r", b""):
            client.send(bytes([byte]))
        self.assertEqual(Answer(client.makefile("rb")).body, LETTERS)

    def test_a_connection_ends_when_it_was_said_to(self):
        for request in (get("/", "Connection: close"),
                        get("/", "connection:Close"),
                        b"GET / HTTP/1.0\r\n\r\n"):
            client = self.connect(self.address)
            client.sendall(request)
            stream = client.makefile("rb")
            answer = Answer(stream)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers["Connection"], "close")
            self.assertEqual(stream.read(), b"")

    def test_a_body_is_not_taken_for_a_request(self):
        body = get("/letters.txt")
        for request in (
                get("/", f"Content-Length: {len(body)}"),
                get("/", f"content-length: {len(body)}", method="POST"),
                get("/", "Transfer-Encoding: chunked")):
            client = self.connect(self.address)
            client.sendall(request + body)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client).count(b"HTTP/1.1 "), 1)

    def test_a_header_without_end_is_refused_and_heard_out(self):
        client = self.connect(self.address)
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 10000000)
        client.shutdown(socket.SHUT_WR)
        self.assertRegex(receive_all(client),
                         b"^HTTP/1.1 431 .*\r\nConnection: close\r\n")

    def test_a_client_that_has_finished_still_gets_its_answer(self):
        client = self.connect(self.address)
        client.sendall(get("/letters.txt"))
        client.shutdown(socket.SHUT_WR)
        self.assertTrue(receive_all(client).endswith(b"\r\n\r\n" + LETTERS))

    def test_web_survives_clients_that_reset(self):
        for request in b"", b"GET", get("/large"):
            client = self.connect(self.address)
            client.sendall(request)
            reset(client)
        self.assertEqual(self.ask(get("/letters.txt")).body, LETTERS)

    def test_long_lines_are_read_without_much_ado(self):
        for value in ("bytes=" + "9" * 15000, " " * 15000,
                      "bytes=1-" + "0" * 15000 + "1", "-" * 15000):
            answer = self.ask(get("/letters.txt", "Range: " + value))
            self.assertEqual(answer.body, LETTERS)

    def test_slow_clients_are_dropped_and_delay_nobody_but_steady_ones(self):
        with open(self.folder + "/zeros", "wb") as file:
            file.truncate(20_000_000)
        steady = self.reads_little(room=200_000)
        steady.sendall(get("/zeros", "Connection: close"))

        def take_slowly():
            taken = 0
            while piece := steady.recv(65536):
                taken += len(piece)
                select.select([], [], [], 0.05)
            return taken

        takes = Background(take_slowly)
        silent = self.connect(self.address)
        starts = self.connect(self.address)
        starts.sendall(b"GET / HTTP/1.1\r\n")
        idle = self.connect(self.address)
        idle.sendall(get("/"))
        takes_nothing = self.reads_little()
        takes_nothing.sendall(get("/large"))
        dripping = self.connect(self.address)

        def drip():
            try:
                while not select.select([dripping], [], [], 0.1)[0]:
                    dripping.send(b"X")
                return dripping.recv(1)
            except ConnectionError:
                return b""

        drips = Background(drip)
        self.assertEqual(self.ask(get("/letters.txt")).body, LETTERS)
        self.assertEqual(receive_all(silent), b"")
        self.assertEqual(receive_all(starts), b"")
        self.assertTrue(receive_all(idle).endswith(b"<p>Welcome"))
        self.assertEqual(drips.result(), b"")
        self.assertRegex(self.server.stderr.readline(),
                         rb"^web: write tcp .*: i/o timeout\n$")
        self.assertLess(len(receive_all(takes_nothing)), len(large()))
        self.assertGreater(takes.result(), 20_000_000)

    def test_a_file_that_shrinks_ends_the_connection(self):
        client = self.reads_little()
        client.sendall(get("/large"))
        self.assertEqual(client.recv(8), b"HTTP/1.1")
        os.truncate(self.folder + "/large", 0)
        self.assertLess(len(receive_all(client)), len(large()))
        self.assertEqual(self.server.stderr.readline(),
                         b"web: unexpected EOF\n")

    def test_web_explains_its_usage_and_its_errors(self):
        self.usage("web")
        self.usage("web", self.folder, "127.0.0.1:0", "more")
        err = self.run_program("web", self.folder, self.address, code=1)
        self.assertEqual(err, f"web: listen tcp {self.address}: bind: address "
                              "already in use\n")
        err = self.run_program("web", self.dir + "/nosuch", ":0", code=1)
        self.assertRegex(err, "^web: .*No such file or directory.*nosuch")
