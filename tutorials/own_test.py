#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the programs "From an empty file" as their pages say, and tries them
with the tools that the pages name.

    own_test.py STEP

CXX is the compiler. Exit codes: 0 as the page says, 1 not so, 77 skipped.
"""
import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LONG = 120  # seconds; nothing here takes as long, on the slowest machine

failed = []


def expect(what, true, *seen):
    if not true:
        failed.append(what)
        print('FAILED:', what, *seen, sep='\n')


def need(tool):
    if not shutil.which(tool):
        print('skipped: there is no', tool)
        sys.exit(77)


def built(step, program):
    """own.cpp, by the line of the page, except for where things are."""
    with open(f'{TOP}/tutorials/{step}/README.md', encoding='utf-8') as file:
        section = file.read().partition('### From an empty file')[2]
    line = re.search(r'^c\+\+ (.*) (\w+)\.cpp -o \2 && \./\2', section, re.M)
    expect('the page says how to build it', line)
    expect('the page links to own.cpp', '[own.cpp](own.cpp)' in section)
    expect('the page names a tool', re.search('`(curl|socat) ', section))
    subprocess.run(
        [*os.environ.get('CXX', 'c++').split(),
         *os.environ.get('NETLITE_FLAGS', '').split(),
         *line.group(1).split(), '-Wall', '-Wextra', '-Werror',
         f'tutorials/{step}/own.cpp', '-o', program], cwd=TOP, check=True)


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, timeout=LONG)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def web_server(folder):
    """Python's, as on the page; its port, which was free."""
    with open(folder + '/a file.txt', 'w', encoding='utf-8') as file:
        file.write('x')
    server = subprocess.Popen(
        [sys.executable, '-u', '-m', 'http.server', '0', '--bind',
         '127.0.0.1'], cwd=folder, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL)
    try:
        yield re.search(r'port (\d+)', server.stdout.readline()).group(1)
    finally:
        server.kill()
        server.wait()


# -- The programs -------------------------------------------------------------

def fetch(program, folder):
    with web_server(folder) as port:
        code, text, err = output(program, '127.0.0.1:' + port)
        _, page, _ = output('curl', '-s', f'http://127.0.0.1:{port}/')
    expect('fetch says how it went', code == 0 and
           text.startswith('HTTP/1.0 200 OK\n'), code, text, err)
    expect('and has the page that curl has', 'a%20file.txt' in page and
           text.endswith('\n\n' + page), text, page)
    code, text, err = output(program, '127.0.0.1:' + port)
    expect('without a server it tells so', code == 1 and
           'connection refused' in err, code, text, err)


def web(program, _):
    server = subprocess.Popen([program, '127.0.0.1:0'], text=True,
                              stdout=subprocess.PIPE)
    try:
        port = re.search(r'Listening on .*:(\d+)', server.stdout.readline())
        address = ('127.0.0.1', int(port.group(1)))
        url = f'http://127.0.0.1:{address[1]}/'
        with socket.create_connection(address) as silent:
            page = output('curl', '-s', url)[1]
            expect('curl has its page, after a silent client',
                   page == 'Hello from my server!\n', page)
            expect('the silent client was sent away', silent.recv(1) == b'')
        socket.create_connection(address).close()
        rude = socket.create_connection(address)
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack('ii', 1, 0))
        rude.close()
        page = output('curl', '-s', url)[1]
        expect('none of them ends the server', 'Hello' in page, page)
        told = [server.stdout.readline() for _ in range(5)]
        expect('each ending is told in a line of its own',
               'silent' in told[0] and 'has its page' in told[1] and
               'without a word' in told[2] and 'reset' in told[3] and
               'has its page' in told[4], *told)
    finally:
        server.kill()
        server.wait()


def head(program, folder):
    with web_server(folder) as port:
        code, text, err = output(program, 'localhost:' + port)
        _, lines, _ = output('curl', '-sI', f'http://localhost:{port}/')

    def but_date(words):
        return [line for line in words.split('\n')
                if line.strip() and not line.startswith('Date:')]
    expect('head prints what curl -I prints', code == 0 and
           but_date(text) == but_date(lines), text, lines)
    expect('nothing but refusals is told before', all(
        'connection refused' in line for line in err.splitlines()), err)
    code, text, err = output(program, '::1:80')
    expect('an address that is none', code == 1 and err, text, err)


def counting(program, _):
    server = subprocess.Popen([program, '127.0.0.1:0'], text=True,
                              stdout=subprocess.PIPE)
    try:
        port = re.search(r'Listening on .*:(\d+)',
                         server.stdout.readline()).group(1)
        url = f'http://127.0.0.1:{port}/'
        with subprocess.Popen(['curl', '-sN', url], text=True,
                              stdout=subprocess.PIPE) as curl:
            first = curl.stdout.readline()
            server.send_signal(signal.SIGINT)
            for _ in range(LONG * 10):  # until the door is closed
                late = output('curl', '-s', url)[0]
                if late == 7:
                    break
            rest = curl.communicate(timeout=LONG)[0]
        expect('whoever comes after the signal is refused', late == 7, late)
        expect('whoever was in gets all lines', first + rest ==
               ''.join(f'{i}\n' for i in range(1, 6)), first, rest)
        told = server.communicate(timeout=LONG)[0]
        expect('then it says goodbye, and ends with 0', told == 'Goodbye.\n'
               and server.returncode == 0, told, server.returncode)
    finally:
        server.kill()
        server.wait()


def mailbox(program, folder):
    def box(name, sends_back):
        box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        box.bind(folder + name)
        box.settimeout(LONG)
        asked = subprocess.Popen(
            [program, folder + name, 'Hi!'], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        question, name = box.recvfrom(100)
        expect('it asks, and has a name', question == b'Hi!' and name and
               os.path.exists(name), question, name)
        if sends_back:
            box.sendto(b'Ho!', name)
        text, err = asked.communicate(timeout=LONG)
        expect('its file is gone', not os.path.exists(name), name)
        return asked.returncode, text, err

    code, text, err = box('/mailbox', True)
    expect('the answer is printed', (code, text) == (0, 'Ho!\n'), text, err)
    code, text, err = box('/silent', False)
    expect('without an answer it tells so', code == 1 and
           'i/o timeout' in err, code, text, err)
    before = set(os.listdir('/tmp'))
    code, text, err = output(program, folder + '/silent', 'Hi!')
    expect('a mailbox that has died refuses', code == 1 and
           'connection refused' in err, code, text, err)
    left = [name for name in set(os.listdir('/tmp')) - before
            if name.startswith('ask-')]
    expect('no file is left then', not left, *left)


def main():
    step = sys.argv[1]
    if step != '13-unix':
        need('curl')
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(folder + '/files')
        built(step, folder + '/program')
        {'02-client': fetch, '04-errors': web, '06-names': head,
         '10-shutdown': counting, '13-unix': mailbox}[step](
            folder + '/program', folder + '/files')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
