"""With curl, which speaks HTTP to a netlite server of ten lines (http.cpp)."""
# SPDX-License-Identifier: MIT
from harness import Case, needs


@needs("curl")
class Curl(Case):
    def fetch(self, *arguments):
        return self.run_program("curl", "--silent", "--show-error", "--fail",
                                "--noproxy", "*", *arguments).decode()

    def test_curl_fetches_a_page(self):
        _, address = self.serve("http", "tcp", "127.0.0.1:0")
        self.assertEqual(self.fetch(f"http://{address}/a/page?of=netlite"),
                         "GET /a/page?of=netlite HTTP/1.1")

    def test_curl_fetches_pages_by_name_and_in_both_families(self):
        _, address = self.serve("http", "tcp", ":0")
        port = address.rsplit(":", 1)[1]
        for host in "localhost", "127.0.0.1", "[::1]":
            self.assertEqual(self.fetch("--globoff", f"http://{host}:{port}/"),
                             "GET / HTTP/1.1")

    def test_curl_fetches_a_page_over_a_unix_socket(self):
        self.serve("http", "unix", self.sock)
        self.assertEqual(
            self.fetch("--unix-socket", self.sock, "http://somewhere/page"),
            "GET /page HTTP/1.1")

    def test_curl_fetches_fifty_pages_at_a_time(self):
        _, address = self.serve("http", "tcp", "127.0.0.1:0")
        pages = self.fetch("--parallel", f"http://{address}/[1-50]")
        self.assertEqual(pages.count("HTTP/1.1"), 50)
        for i in range(1, 51):
            self.assertIn(f"GET /{i} HTTP/1.1", pages)

    def test_a_request_without_end_gets_no_page(self):
        _, address = self.serve("http", "tcp", "127.0.0.1:0")
        client = self.connect(address)
        client.sendall(b"GET / HTTP/1.1\r\n")
        client.shutdown(1)
        self.assertEqual(client.recv(100), b"")
        self.assertIn("GET", self.fetch(f"http://{address}/"))
