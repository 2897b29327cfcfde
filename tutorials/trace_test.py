#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Traces trace_test.cpp and programs of other people.

    trace_test.py calls       the same calls, however the program was built
    trace_test.py lines       threads, children, signals, sinks
    trace_test.py story       the stage understands calls that wait by themselves
    trace_test.py preload     programs that exist already: curl, nc, python3

CXX is the compiler. Exit codes: 0 as it should be, 1 not, 77 skipped.
"""
import difflib
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = [os.path.join(HERE, name)
           for name in ('trace_test.cpp', 'trace.cpp')]
CXX = os.environ.get('CXX', 'c++').split()
LIMIT = 120  # seconds, for anything

# What `trace_test talk` does, with the ports left out.
TALK = r'''
socket(AF_INET, SOCK_STREAM) = 3
setsockopt(3, SO_REUSEADDR, 1) = 0
bind(3, 127.0.0.1:0) = 0
listen(3, 5) = 0
getsockname(3, 127.0.0.1:PORT) = 0
socket(AF_INET, SOCK_STREAM) = 4
connect(4, 127.0.0.1:PORT) = 0
accept(3, 127.0.0.1:PORT) = 5
fcntl(4, F_GETFL) = 2
fcntl(4, F_SETFL, O_NONBLOCK) = 0
recv(4, ..., 1) = -1 EAGAIN
send(4, "a\x09b\n\"c\\\x01", 8) = 8
poll({5 POLLIN}, forever) = 1
recv(5, "a\x09b\n\"c\\\x01", 64, MSG_PEEK) = 8
recv(5, "a\x09b\n\"c\\\x01", 64) = 8
sendmsg(4, "head", 2 pieces) = 8
recvfrom(5, "headbody", 64, -) = 8
writev(5, "head", 2 pieces) = 8
recvmsg(4, "headbody") = 8
write(5, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"..., 40) = 40
read(4, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"..., 64) = 40
poll({4 POLLIN POLLOUT, 6 POLLIN}, 20 ms) = 2
select({5}, {5}, 1500 ms) = 1
epoll_create() = 7
epoll_ctl(7, ADD, {4 POLLOUT}) = 0
epoll_wait(7, {4 POLLOUT}, forever) = 1
epoll_ctl(7, DEL, {4}) = 0
close(7) = 0
poll({4 POLLIN}, 30 ms) = 0
dup(4) = 6
close(6) = 0
shutdown(4, SHUT_WR) = 0
recv(5, "", 1) = 0
close(5) = 0
close(4) = 0
close(4) = -1 EBADF
send(0, "\x00", 1) = -1 ENOTSOCK
close(3) = 0
socket(AF_INET, SOCK_STREAM) = 3
setsockopt(3, SO_RCVTIMEO, 0.5 s) = 0
setsockopt(3, SO_SNDTIMEO, 3.00004 s) = 0
connect(3, 127.0.0.1:PORT) = -1 ECONNREFUSED
send(3, ..., 1048576) = -1 EPIPE
close(3) = 0
socket(AF_INET, SOCK_DGRAM) = 3
sendto(3, "hi", 2, 127.0.0.1:PORT) = 2
close(3) = 0
socket(AF_UNIX, SOCK_STREAM) = 3
connect(3, /no\x09such/folder) = -1 ENOENT
getpeername(3, -) = -1 ENOTCONN
getpeername(3, 3 times more) = -1 ENOTCONN
close(3) = 0
socket(AF_INET, SOCK_DGRAM) = 3
socket(AF_INET, SOCK_DGRAM) = 4
bind(3, 127.0.0.1:0) = 0
getsockname(3, 127.0.0.1:PORT) = 0
sendto(4, "hi", 2, 127.0.0.1:PORT) = 2
sendto(4, "hi", 2, 127.0.0.1:PORT) = 2
recvmsg(3, "hi", 127.0.0.1:PORT) = 2
recvmsg(3, "h", 127.0.0.1:PORT, MSG_TRUNC) = 1
socketpair(AF_UNIX, SOCK_STREAM, {5, 6}) = 0
sendmsg(5, "!", {SCM_RIGHTS 4 3}) = 1
recvmsg(6, "!", {SCM_RIGHTS 7 8}) = 1
close(3) = 0
close(4) = 0
close(5) = 0
close(6) = 0
close(7) = 0
close(8) = 0
kill(PROCESS, 28) = 0
getaddrinfo(localhost, NULL) = 0
getaddrinfo(127.0.0.1, no such) = -8 EAI_SERVICE
'''.lstrip()

# Which of these calls may wait: their sockets' mode decides. For how long is told
# where the call says so.
BEGUN = '''
connect(4)
accept(3)
poll({5 POLLIN}, forever)
recv(5)
recv(5)
recvfrom(5)
writev(5)
write(5)
poll({4 POLLIN POLLOUT, 6 POLLIN}, 20 ms)
select({5}, {5}, 1500 ms)
epoll_wait(7, {}, forever)
poll({4 POLLIN}, 30 ms)
recv(5)
send(0)
connect(3)
send(3)
sendto(3)
connect(3)
sendto(4)
sendto(4)
recvmsg(3)
recvmsg(3)
sendmsg(5)
recvmsg(6)
getaddrinfo()
getaddrinfo()
'''

folder = tempfile.mkdtemp(prefix='netlite trace ')
problems = []


def expect(what, true, *seen):
    if not true:
        problems.append(what)
        print('FAILED:', what, *seen, sep='\n')


def build(name, *flags, compiler=CXX):
    """Builds trace_test; None where the compiler lacks what a flag needs."""
    program = os.path.join(folder, name)
    command = [*compiler, '-std=c++17', '-Wall', '-Wextra', '-pthread', *flags,
               '-o', program]
    nothing = subprocess.run([*command, '-x', 'c++', '-'], text=True,
                             input='int main() {}', stderr=subprocess.PIPE,
                             timeout=LIMIT)
    if nothing.returncode != 0:
        print(f'left out, {name}:', nothing.stderr)
        return None
    done = subprocess.run([*command, *SOURCES, '-ldl'], text=True,
                          stderr=subprocess.PIPE, timeout=LIMIT)
    expect(f'{name} compiles without a warning',
           done.returncode == 0 and not done.stderr, done.stderr)
    return program


def compilers():
    yield '', CXX
    if shutil.which('clang++') and 'clang' not in CXX[-1]:
        yield 'clang ', ['clang++']


def trace(*command, **changes):
    """A program's lines, each a list of cells, and how it ended."""
    path = os.path.join(folder, 'lines')
    if os.path.exists(path):
        os.remove(path)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=LIMIT,
        env={**os.environ, 'NETLITE_TRACE': path, **changes})
    expect(f'{command[0]} succeeds', done.returncode == 0, done.returncode,
           done.stderr)
    with open(path, encoding='utf-8') as file:
        lines = file.read().split('\n')
    expect('the last line is whole', lines.pop() == '')
    cells = [line.split('\t') for line in lines]
    for line in cells:
        expect('a line has ten columns', len(line) == 10, line)
        expect('a call ends after it has begun', int(line[0]) <= int(line[1]),
               line)
    return cells


def words(cells):
    text = ''
    for line in cells:
        if line[8] == '?':
            continue
        error = '' if line[9] == '-' else ' ' + line[9]
        text += f'{line[6]}({line[7]}) = {line[8]}{error}\n'
    text = re.sub(r'kill\(\d+', 'kill(PROCESS', text)
    return re.sub(r'127\.0\.0\.1:[1-9]\d*', '127.0.0.1:PORT', text)


def the_same_calls(name, seen):
    expect(f'{name} shows the same calls', seen == TALK, ''.join(
        difflib.unified_diff(TALK.splitlines(True), seen.splitlines(True))))


def test_calls():
    for prefix, compiler in compilers():
        for kind, flags in (
                ('plain', ['-O0']),
                ('fortified', ['-O2', '-U_FORTIFY_SOURCE',
                               '-D_FORTIFY_SOURCE=2']),
                ('address', ['-g', '-fsanitize=address,undefined']),
                ('thread', ['-g', '-fsanitize=thread'])):
            program = build(prefix + kind, *flags, compiler=compiler)
            if program:
                the_same_calls(prefix + kind, words(trace(program, 'talk')))
    a_static_program()
    program = os.path.join(folder, 'fortified')
    symbols = subprocess.run(['nm', program], stdout=subprocess.PIPE,
                             text=True, check=True).stdout
    expect('a fortified program has the checked calls in it',
           '__recv_chk' in symbols)


def a_static_program():
    program = os.path.join(folder, 'static')
    nothing = subprocess.run([*CXX, '-static', '-x', 'c++', '-', '-o', program],
                             input='int main() {}', text=True,
                             stderr=subprocess.PIPE, timeout=LIMIT)
    if nothing.returncode != 0:
        print('left out, static:', nothing.stderr)
        return
    done = subprocess.run(['sh', '-c', '''set -e
        $CXX -std=c++17 -Wall -Wextra -c -DTRACE_WRAP "$1" -o trace.o
        $CXX -std=c++17 -pthread -static "$0" trace.o $(nm trace.o |
          sed -n 's/.* T __wrap_/-Wl,--wrap=/p') -o static''', *SOURCES],
        cwd=folder, env={**os.environ, 'CXX': ' '.join(CXX)}, text=True,
        stderr=subprocess.PIPE, timeout=LIMIT)
    expect('a static program can have the trace', done.returncode == 0,
           done.stderr)
    if done.returncode == 0:
        the_same_calls('static', words(trace(program, 'talk')))


def test_lines():
    program = build('plain', '-O1')
    begun = [f'{line[6]}({line[7]})' for line in trace(program, 'talk')
             if line[8] == '?']
    expect('what may wait is told when it begins',
           begun == BEGUN.split('\n')[1:-1], begun)
    several_threads_and_processes(program)
    the_thread_sanitizer_sees_sockets()
    sent = [line for line in trace(program, 'child') if line[6] != 'socketpair' and line[8] != '?']
    expect('a child is told under its own number',
           [line[6] for line in sent] == ['send', 'recv'] and
           sent[0][3] != sent[1][3], sent)
    received = trace(program, 'handler')
    expect('signal handlers may call', sum(
        int(line[8]) for line in received
        if line[6] == 'recv' and line[8] != '?') >= 500)
    expect('a program that closes all does not close the trace',
           words(trace(program, 'closes')).endswith('send(3, "on", 2) = 2\n'))
    what_people_see(program)
    no_sink(program)


def several_threads_and_processes(program):
    path = os.path.join(folder, 'crowd')
    crowds = [subprocess.Popen([program, 'crowd'],
                               env={**os.environ, 'NETLITE_TRACE': path})
              for _ in range(3)]
    expect('crowds succeed', [crowd.wait(LIMIT) for crowd in crowds] == [0] * 3)
    sent = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            cells = line.rstrip('\n').split('\t')
            expect('no line is torn', len(cells) == 10, line)
            if cells[6] == 'send' and cells[8] != '?':
                key = cells[3], cells[4]
                sent[key] = sent.get(key, 0) + 1
    expect('each thread of each process has told all', len(sent) == 12 and
           set(sent.values()) == {250}, sent)


def the_thread_sanitizer_sees_sockets():
    """It knows that what comes before a send comes before its recv."""
    for prefix, compiler in compilers():
        program = build(prefix + 'thread', '-fsanitize=thread', '-g',
                        compiler=compiler)
        if program:
            trace(program, 'handover')


def what_people_see(program):
    done = subprocess.run([program, 'talk'], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=LIMIT,
                          env={**os.environ, 'NETLITE_TRACE': '1'})
    lines = done.stderr.splitlines()
    expect('people see a line a call', len(lines) == TALK.count('\n'),
           done.stderr)
    for line in lines:
        expect('with time, name and call', re.match(
            r' *\d+\.\d{3}  plain +\w+\(.*\) = -?\d+', line), line)
    expect('and how long it was blocked',
           re.search(r'poll\(\{4 POLLIN\}, 30 ms\) = 0 +blocked \d+ ms$',
                     done.stderr, re.M), done.stderr)


def no_sink(program):
    for where in (None, '', '0', '/dev/full', '/no/such/folder/trace', '/'):
        environment = {**os.environ, 'NETLITE_TRACE': where or ''}
        if where is None:
            del environment['NETLITE_TRACE']
        done = subprocess.run([program, 'talk'], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True,
                              timeout=LIMIT, env=environment)
        expect(f'NETLITE_TRACE={where} changes nothing',
               done.returncode == 0 and not done.stderr, done.stderr)


STORY = '''
client socket(AF_INET, SOCK_STREAM) = 3
client connect(3, 127.0.0.1:PORT) = 0
client send(3, "Hello", 5) = 5
client recv(3, "Thanks!", 64) = 7
client close(3) = 0
client > Thanked.
server socket(AF_INET, SOCK_STREAM) = 3
server setsockopt(3, SO_REUSEADDR, 1) = 0
server bind(3, 127.0.0.1:PORT) = 0
server listen(3) = 0
server accept(3) = 4
server recv(4, "Hello", 64) = 5
server write(4, "Thanks!", 7) = 7
server close(4) = 0
server * would wait forever in accept(3); stopped here
'''.lstrip()

# Nobody is ended within a call that ends by itself.
PATIENT = STORY.replace(
    'server * would wait forever in accept(3); stopped here\n',
    'server close(3) = 0\nserver > Nobody came.\n')

# Threads are numbered as they appear.
CREW = '''
client1 socket(AF_INET, SOCK_STREAM) = 3
client1 connect(3, 127.0.0.1:PORT) = 0
client1 send(3, "Hello", 5) = 5
client1 recv(3, "Thanks!", 64) = 7
client1 close(3) = 0
client1 > Thanked.
client2 socket(AF_INET, SOCK_STREAM) = 3
client2 connect(3, 127.0.0.1:PORT) = 0
client2 send(3, "Hello", 5) = 5
client2 recv(3, "Thanks!", 64) = 7
client2 close(3) = 0
client2 > Thanked.
server socket(AF_INET, SOCK_STREAM) = 3
server setsockopt(3, SO_REUSEADDR, 1) = 0
server bind(3, 127.0.0.1:PORT) = 0
server listen(3) = 0
server accept(3) = 4
server accept(3) = 4
server close(3) = 0
server/2 setsockopt(4, ...) 2 options
server/2 recv(4, "Hello", 64) = 5
server/2 write(4, "Thanks!", 7) = 7
server/2 close(4) = 0
server/3 setsockopt(4, ...) 2 options
server/3 recv(4, "Hello", 64) = 5
server/3 write(4, "Thanks!", 7) = 7
server/3 close(4) = 0
'''.lstrip()

# While the first thread waits, another one says something, and is gone before
# anybody reads it.
LATE = r'''#!/bin/sh
printf '1\t1\tlate\t1\t%s\n' \
  '1\t3\taccept\t3, -\t-1\tEAGAIN' \
  '1\t3\tpoll\t{3 POLLIN}, forever\t?\t-' \
  '2\t5\tclose\t5\t0\t-' | sed 's/\\t/\t/g'
echo Goodbye.
exec sleep 1000
'''
LATE_STORY = '''
server > Goodbye.
server * would wait forever in accept(3); stopped here
server/2 close(5) = 0
'''.lstrip()


def test_story():
    """Bare programs have the story that netlite's have."""
    program = build('plain', '-O1')
    stage = os.path.join(folder, 'stage')
    subprocess.run([*CXX, '-std=c++17', os.path.join(HERE, 'stage.cpp'), '-o',
                    stage], check=True, timeout=LIMIT)
    late = os.path.join(folder, 'late')
    with open(late, 'w', encoding='utf-8') as file:
        file.write(LATE)
    os.chmod(late, 0o755)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])

    def expect_story(what, story, play):
        done = subprocess.run(
            [stage, *({'trace_test': program, 'late': late}.get(word, word)
                      for word in play.replace('PORT', port).split())],
            stdout=subprocess.PIPE, text=True, timeout=LIMIT)
        lines = re.sub(' +', ' ', done.stdout.replace(port, 'PORT'))
        lines = re.sub(r' waited \d+ ms', '', lines).splitlines(True)
        told = ''.join(sorted(lines, key=lambda line: line.split()[0]))
        expect(what, done.returncode == 0 and told == story, ''.join(
            difflib.unified_diff(story.splitlines(True),
                                 told.splitlines(True))))
        width = max(map(len, done.stdout.splitlines()))
        expect('no line is wider than 80 columns', width <= 80, done.stdout)

    expect_story('a bare server and its client have a story', STORY,
                 'server trace_test server PORT'
                 ' -- client trace_test client PORT')
    expect_story('who has a time limit does not wait forever', PATIENT,
                 'server trace_test patient PORT'
                 ' -- client trace_test client PORT')
    expect_story('who waits has not said it', LATE_STORY,
                 'server late -- client /bin/sh -c true')
    expect_story('each thread of a server has its part', CREW,
                 'server trace_test crew PORT'
                 + 2 * ' -- client trace_test client PORT')


# -- Other people's programs --------------------------------------------------

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'hello\n')

    def log_message(self, *_):
        pass


ASK = '''
import socket
with socket.create_connection(('127.0.0.1', %d)) as conn:
    conn.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    while conn.recv(100): pass
'''


def test_preload():
    library = os.path.join(folder, 'trace.so')
    done = subprocess.run(
        [*CXX, '-std=c++17', '-O2', '-shared', '-fPIC', SOURCES[1], '-ldl',
         '-o', library], stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    expect('trace.cpp makes a library', done.returncode == 0, done.stderr)
    server = http.server.HTTPServer(('127.0.0.1', 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    for command in (['curl', '-s', f'http://127.0.0.1:{port}/'],
                    ['python3', '-c', ASK % port],
                    ['sh', '-c', 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | '
                     f'exec nc 127.0.0.1 {port}']):
        name = 'nc' if 'exec nc' in command[-1] else command[0]
        if not shutil.which(name):
            print('left out, since it is not installed:', name)
            continue
        seen = words(line for line in trace(*command, LD_PRELOAD='trace.so',
                                        LD_LIBRARY_PATH=folder)
                     if line[2].startswith(name))
        for call in (r'socket\(AF_INET, SOCK_STREAM\) = \d+$',
                     r'connect\(\d+, 127\.0\.0\.1:PORT\) = ',
                     r'(send|sendto|write)\(\d+, "GET / HTTP',
                     r'(recv|read)\(\d+, "HTTP/1.0 200 OK',
                     r'close\(\d+\) = 0$'):
            expect(f'{name} shows {call}', re.search(call, seen, re.M), seen)
    server.shutdown()


def main():
    tests = {'calls': test_calls, 'lines': test_lines,
             'story': test_story, 'preload': test_preload}
    if len(sys.argv) != 2 or sys.argv[1] not in tests:
        sys.exit(__doc__)
    if not sys.platform.startswith('linux'):
        sys.exit(77)
    try:
        tests[sys.argv[1]]()
    finally:
        shutil.rmtree(folder)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
