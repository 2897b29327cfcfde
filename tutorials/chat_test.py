#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests the chat's solution with the clients of others.

    chat_test.py terminals    the page's, with nc and socat
    chat_test.py go           one written in Go

CXX is the compiler. Exit codes: 0 as the page says, 1 not so, 77 skipped.
"""
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

COURSE = os.path.dirname(os.path.abspath(__file__))
LONG = 120  # seconds; nothing here takes as long, on the slowest machine

failed = []


def expect(what, true, *seen):
    if not true:
        failed.append(what)
        print('FAILED:', what, *seen, sep='\n')


def read(name):
    with open(os.path.join(COURSE, 'chat', name), encoding='utf-8') as file:
        return file.read()


def need(tool):
    if not shutil.which(tool):
        print('skipped: there is no', tool)
        sys.exit(77)


class Chat:
    """The solution, at an address of its own."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        program = self.folder.name + '/chat'
        subprocess.run(
            [*os.environ.get('CXX', 'c++').split(), '-std=c++17', '-pthread',
             *os.environ.get('NETLITE_FLAGS', '').split(),
             '-I', COURSE + '/../include', COURSE + '/chat/solution.cpp',
             '-o', program], check=True)
        self.process = subprocess.Popen([program, '127.0.0.1:0'], text=True,
                                        stdout=subprocess.PIPE)
        self.port = re.search(r':(\d+)$',
                              self.process.stdout.readline()).group(1)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


# -- The terminals of the page ------------------------------------------------

class Terminal:
    """Plays one: what the chat does not write, somebody types."""

    def __init__(self, block, names):
        self.command, *self.lines = block.splitlines()
        self.name = self.lines[1]
        self.names = names
        self.at = 0
        self.process = None
        self.unread = b''

    def start(self, port):
        command = self.command[2:].replace('9988', port).split()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def next(self):
        return self.lines[self.at] if self.at < len(self.lines) else None

    def is_of_chat(self, line):
        return re.match(r'\* \w+ has |What is your name\?$', line) or \
            any(line.startswith(name + ': ') for name in self.names)

    def types(self):
        """Whatever comes before the next line of the chat."""
        while self.next() not in (None, '^C') and \
                not self.is_of_chat(self.next()):
            self.process.stdin.write(self.next().encode() + b'\n')
            self.process.stdin.flush()
            self.at += 1

    def leaves(self):
        self.process.terminate()
        self.at += 1

    def reads(self):
        data = os.read(self.process.stdout.fileno(), 4096)
        *lines, self.unread = (self.unread + data).split(b'\n')
        for line in lines:
            expect(f'{self.name} reads: {self.next()}',
                   line.decode() == self.next(), 'but it was', line)
            self.at += 1
            self.types()
        return data


def test_terminals():
    need('nc')
    need('socat')
    blocks = re.findall(r'<!-- terminal -->\n```console\n(.*?)```',
                        read('README.md'), re.S)
    names = [block.splitlines()[2] for block in blocks]
    terminals = [Terminal(block, names) for block in blocks]
    expect('the page shows three terminals', len(terminals) == 3)
    until = time.monotonic() + LONG
    with Chat() as chat, selectors.DefaultSelector() as selector:
        while not failed and any(each.next() for each in terminals):
            # The next one enters when all others wait for that.
            later = [each for each in terminals if not each.process]
            if later and all(each.next() == f'* {later[0].name} has joined'
                             for each in terminals if each.process):
                later[0].start(chat.port)
                selector.register(later[0].process.stdout,
                                  selectors.EVENT_READ, later[0])
            # And one leaves when the others have read all that it wrote.
            for each in terminals:
                if each.next() == '^C' and all(
                        other.next() in (None, '^C', f'* {each.name} has left')
                        for other in terminals if other is not each):
                    each.leaves()
            for key, _ in selector.select(1):
                if not key.data.reads():
                    selector.unregister(key.fileobj)
            if time.monotonic() > until and not failed:
                expect('the terminals go on', False,
                       *(f'{each.name}: {each.next()}' for each in terminals))
        for each in terminals:
            if each.process:
                each.process.kill()
                each.process.communicate()


# -- Go ---------------------------------------------------------------------

GO = '''package main

import ("bufio"; "fmt"; "io"; "net"; "os")

func main() {
	conn, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	lines := bufio.NewReader(conn)
	question, _ := lines.ReadString('\\n')
	fmt.Fprintln(conn, "gopher")
	joined, _ := lines.ReadString('\\n')
	fmt.Fprintln(conn, "hello from Go")
	answer, _ := lines.ReadString('\\n')
	conn.(*net.TCPConn).CloseWrite()
	rest, err := io.ReadAll(lines)
	fmt.Print(question, joined, answer, string(rest), err, "\\n")
}
'''


def test_go():
    need('go')
    with Chat() as chat, socket.create_connection(
            ('127.0.0.1', int(chat.port)), LONG) as ann:
        lines = ann.makefile('rw')

        def reads(line):
            got = lines.readline()
            expect('ann reads ' + line, got == line + '\n', got)
        reads('What is your name?')
        lines.write('ann\n')
        lines.flush()
        reads('* ann has joined')
        source = chat.folder.name + '/main.go'
        with open(source, 'w', encoding='utf-8') as file:
            file.write(GO)
        gopher = chat.folder.name + '/gopher'
        subprocess.run(['go', 'build', '-o', gopher, source], check=True, env={
            'GOCACHE': chat.folder.name + '/cache', **os.environ,
            'GO111MODULE': 'off'})
        with subprocess.Popen([gopher, '127.0.0.1:' + chat.port], text=True,
                              stdout=subprocess.PIPE) as process:
            reads('* gopher has joined')
            reads('gopher: hello from Go')
            lines.write('hello from Python\n')
            lines.flush()
            reads('* gopher has left')
            said = process.communicate(timeout=LONG)[0]
        expect('the gopher reads its lines, and a clean end', said ==
               'What is your name?\n* gopher has joined\n'
               'ann: hello from Python\n<nil>\n', said)


def main():
    {'terminals': test_terminals, 'go': test_go}[sys.argv[1]]()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
