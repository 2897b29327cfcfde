#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws small traces with site/picture, and compares what is in the picture.

A trace here has the columns that trace.cpp writes, with spaces between. Times
are in ns.
"""
import difflib
import os
import re
import subprocess
import sys
import tempfile

PICTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       'site/picture')

problems = []


def problem(*text):
    problems.append(text)
    print('FAILED:', *text, sep='\n')


def drawn(trace, *options):
    with tempfile.NamedTemporaryFile('w', suffix='.trace') as file:
        for line in trace.strip().split('\n'):
            *head, rest = line.split(' ', 7)
            file.write('\t'.join(head + rest.rsplit(' ', 2)) + '\n')
        file.flush()
        return subprocess.run(
            [sys.executable, PICTURE, *options, file.name], check=True,
            stdout=subprocess.PIPE, text=True).stdout


def expect(what, trace, events, in_text=(), in_svg=()):
    seen = drawn(trace, '--events')
    if seen != events:
        problem(what, ''.join(difflib.unified_diff(
            events.splitlines(True), seen.splitlines(True), 'wanted', 'is')))
    text, svg = drawn(trace), drawn(trace, '--svg')
    for words in in_text:
        if words not in text:
            problem(what, f'as text lacks: {words}', text)
    for words in in_svg:
        if words not in svg:
            problem(what, f'as SVG lacks: {words}', svg)
    if max(map(len, text.splitlines())) > 80:
        problem(what, 'is wider than 80 columns', text)
    width = re.search(r'width="(\d+)"', svg).group(1)
    if int(width) > 640:
        problem(what, f'is {width} pixels wide')
    return text


# -- Streams: whoever cuts them -----------------------------------------------

expect('a stream', '''
1 2 client 7 7 3 connect 3, 127.0.0.1:80 -1 EINPROGRESS
3 4 client 7 7 3 getsockname 3, 127.0.0.1:4000 0 -
2 5 server 8 8 3 accept 3, 127.0.0.1:4000 5 -
10 11 client 7 7 3 send 3, "abc", 3 3 -
12 13 client 7 7 3 send 3, "defg", 4 4 -
14 50000014 server 8 8 5 poll {5 POLLIN}, forever 1 -
9 50000020 server 8 8 5 recv 5, "abcde", 5 5 -
50000021 50000022 server 8 8 5 recv 5, "fg", 5 2 -
50000023 50000024 client 7 7 3 close 3 0 -
50000025 50000026 server 8 8 5 recv 5, ..., 5 -1 ECONNRESET
50000027 50000028 server 8 8 5 close 5 0 -
50000029 50000029 server 8 8 3 poll {3 POLLIN}, forever ? -
''', '''client: connect 3 127.0.0.1:80
client: send 3 "abc"
client: send 3 "defg"
client: close 3
server: accept 3 = 5
server: recv 5 "abcde"
server: recv 5 "fg"
server: recv 5: ECONNRESET
server: close 5
client: connect 3 127.0.0.1:80 -> server: accept 3 = 5
client: send 3 "abc" -> server: recv 5 "abcde" (3 bytes)
client: send 3 "defg" -> server: recv 5 "abcde" (2 bytes)
client: send 3 "defg" -> server: recv 5 "fg" (2 bytes)
client: close 3 -> server: recv 5: ECONNRESET (reset)
''', ['waits 50 ms', '3 + 2 bytes -->', 'reset -->', 'waits forever',
      '":" means that a program waits'])


# -- Threads ------------------------------------------------------------------

# Thread 2 only looks after things. Thread 3 serves the first client, and has
# ended when thread 4 begins; so they share a lane. Thread 5 waits forever.
text = expect('threads', '''
1 2 server 8 1 3 socket AF_INET, SOCK_STREAM 3 -
3 4 server 8 1 3 bind 3, 127.0.0.1:80 0 -
5 6 server 8 1 3 listen 3, 5 0 -
7 8 server 8 2 3 getsockname 3, 127.0.0.1:80 0 -
9 9 server 8 2 3 poll {3 POLLIN}, 10 ms 1 -
10 11 one 7 1 3 connect 3, 127.0.0.1:80 0 -
10 12 server 8 1 3 accept 3, 127.0.0.1:4000 5 -
13 14 one 7 1 3 send 3, "abc", 3 3 -
15 15 server 8 3 5 recv 5 ? -
15 16 server 8 3 5 recv 5, "abc", 9 3 -
17 18 server 8 3 5 close 5 0 -
19 20 one 7 1 3 recv 3, "", 9 0 -
21 22 two 9 1 3 connect 3, 127.0.0.1:80 0 -
21 23 server 8 1 3 accept 3, 127.0.0.1:4001 5 -
24 25 two 9 1 3 send 3, "def", 3 3 -
26 27 server 8 4 5 recv 5, "def", 9 3 -
28 29 server 8 1 3 accept 3, 127.0.0.1:4002 6 -
30 30 server 8 5 6 recv 6 ? -
31 32 server 8 4 5 send 5, "ghi", 3 3 -
33 34 two 9 1 3 recv 3, "ghi", 9 3 -
''', '''one: connect 3 127.0.0.1:80
one: connect 3 127.0.0.1:80 -> server: accept 3 = 5
one: recv 3: end of stream
one: send 3 "abc"
one: send 3 "abc" -> server/3: recv 5 "abc" (3 bytes)
server/3: close 5
server/3: close 5 -> one: recv 3: end of stream (end of stream)
server/3: recv 5 "abc"
server/4: recv 5 "def"
server/4: send 5 "ghi"
server/4: send 5 "ghi" -> two: recv 3 "ghi" (3 bytes)
server: accept 3 = 5
server: accept 3 = 5
server: accept 3 = 5 -> server/3
server: accept 3 = 5 -> server/4
server: accept 3 = 6
server: bind 3 127.0.0.1:80
server: listen 3
server: socket = 3
two: connect 3 127.0.0.1:80
two: connect 3 127.0.0.1:80 -> server: accept 3 = 5
two: recv 3 "ghi"
two: send 3 "def"
two: send 3 "def" -> server/4: recv 5 "def" (3 bytes)
''', ['waits forever', '-->  server/3'], ['class="thread"'])
at = {line.find(name) for line in text.splitlines()
      for name in ('server/3', 'server/4') if name in line}
if len(at) != 1:
    problem('threads that do not overlap share a lane', text)
if 'server/5' not in text:
    problem('a thread that waits has a lane', text)


# -- Many that are alike ------------------------------------------------------

# The fifth of nine has another story than the rest.
CROWD = '1 2 server 8 1 3 listen 3, 5 0 -\n'
for i in range(1, 10):
    t = 20 * i
    CROWD += f'''{t} {t + 1} client{i} {i + 10} 1 3 connect 3, 127.0.0.1:80 0 -
{t + 1} {t + 2} server 8 1 3 accept 3, 127.0.0.1:{4000 + i} {i + 4} -
{t + 2} {t + 3} client{i} {i + 10} 1 3 getsockname 3, 127.0.0.1:{4000 + i} 0 -
{t + 4} {t + 5} server 8 {i + 1} {i + 4} send {i + 4}, "abc", 3 3 -
''' + (f'{t + 6} {t + 7} client5 15 1 3 recv 3, ..., 3 -1 ECONNRESET\n'
       if i == 5 else
       f'{t + 6} {t + 7} client{i} {i + 10} 1 3 recv 3, "abc", 3 3 -\n')
expect('many that are alike', CROWD, '''client1: connect 3 127.0.0.1:80
client1: connect 3 127.0.0.1:80 -> server: accept 3 = 5
client1: recv 3 "abc"
client2: connect 3 127.0.0.1:80
client2: connect 3 127.0.0.1:80 -> server: accept 3 = 6
client2: recv 3 "abc"
client5: and 6 more
client5: connect 3 127.0.0.1:80
client5: connect 3 127.0.0.1:80 -> server: accept 3 = 9
client5: recv 3: ECONNRESET
server/2: send 5 "abc"
server/2: send 5 "abc" -> client1: recv 3 "abc" (3 bytes)
server/3: send 6 "abc"
server/3: send 6 "abc" -> client2: recv 3 "abc" (3 bytes)
server/6: send 9 "abc"
server: accept 3 = 5
server: accept 3 = 5 -> server/2
server: accept 3 = 6
server: accept 3 = 6 -> server/3
server: accept 3 = 9
server: accept 3 = 9 -> server/6
server: listen 3
''', ['and 6 more'], ['and 6 more</text>'])


# -- Datagrams ----------------------------------------------------------------

# Two clients say the same. The second datagram of one is lost, its third comes
# before its fourth, one is empty, and one finds too little room.
expect('datagrams', '''
1 2 server 8 1 3 socket AF_INET, SOCK_DGRAM 3 -
3 4 server 8 1 3 bind 3, 127.0.0.1:53 0 -
5 6 one 7 1 3 socket AF_INET, SOCK_DGRAM 3 -
7 8 one 7 1 3 connect 3, 127.0.0.1:53 0 -
9 10 one 7 1 3 getsockname 3, 127.0.0.1:4001 0 -
11 12 two 9 1 3 socket AF_INET, SOCK_DGRAM 3 -
13 14 two 9 1 3 sendto 3, "abc", 3, 127.0.0.1:53 3 -
15 16 one 7 1 3 send 3, "abc", 3 3 -
17 18 server 8 1 3 recvmsg 3, "abc", 127.0.0.1:4001 3 -
19 20 server 8 1 3 recvfrom 3, "abc", 9, 127.0.0.1:4002 3 -
21 22 server 8 1 3 sendto 3, "for two", 7, 127.0.0.1:4002 7 -
23 24 server 8 1 3 sendto 3, "for one", 7, 127.0.0.1:4001 7 -
25 26 one 7 1 3 recv 3, "for one", 9 7 -
27 28 two 9 1 3 recvfrom 3, "for two", 9, 127.0.0.1:53 7 -
29 30 one 7 1 3 send 3, "lost", 4 4 -
31 32 one 7 1 3 send 3, "", 0 0 -
33 34 one 7 1 3 send 3, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"..., 1000 1000 -
35 36 server 8 1 3 recvmsg 3, "", 127.0.0.1:4001 0 -
37 38 server 8 1 3 recvmsg 3, "xxxxxxxxx", 127.0.0.1:4001, MSG_TRUNC 9 -
39 40 one 7 1 3 sendto 3, "to nobody", 9, 127.0.0.1:54 9 -
''', '''one: connect 3 127.0.0.1:53
one: recv 3 "for one"
one: send 3 ""
one: send 3 "" -> server: recvmsg 3 "" (0 bytes)
one: send 3 "abc"
one: send 3 "abc" -> server: recvmsg 3 "abc" (3 bytes)
one: send 3 "lost"
one: send 3 "lost" -> nothing (4 bytes)
one: send 3 "xxxxxxxxxxxxxxxxxxxxxxxxxxxx"...
one: send 3 "xxxxxxxxxxxxxxxxxxxxxxxxxxxx"... -> server: recvmsg 3 "xxxxxxxxx" (9 of 1000 bytes)
one: sendto 3 "to nobody"
one: sendto 3 "to nobody" -> nothing (9 bytes)
one: socket = 3
server: bind 3 127.0.0.1:53
server: recvfrom 3 "abc"
server: recvmsg 3 ""
server: recvmsg 3 "abc"
server: recvmsg 3 "xxxxxxxxx"
server: sendto 3 "for one"
server: sendto 3 "for one" -> one: recv 3 "for one" (7 bytes)
server: sendto 3 "for two"
server: sendto 3 "for two" -> two: recvfrom 3 "for two" (7 bytes)
server: socket = 3
two: recvfrom 3 "for two"
two: sendto 3 "abc"
two: sendto 3 "abc" -> server: recvfrom 3 "abc" (3 bytes)
two: socket = 3
''', ['x-- 4 bytes  send 3 "lost"', '<-- 9 of 1000 bytes'],
       ['class="lost"'])


# Of those that are only counted, some are lost.
DROPS = '''1 2 server 8 1 3 socket AF_INET, SOCK_DGRAM 3 -
3 4 server 8 1 3 bind 3, 127.0.0.1:53 0 -
5 5 client 7 1 3 socket AF_INET, SOCK_DGRAM 3 -
6 6 client 7 1 3 connect 3, 127.0.0.1:53 0 -
''' + ''.join(f'{t} {t} client 7 1 3 send 3, "abc", 3 3 -\n'
              for t in range(10, 20)) + '''20 21 server 8 1 3 recvmsg 3, "abc", 127.0.0.1:4001 3 -
22 23 server 8 1 3 recvmsg 3, "abc", 127.0.0.1:4001 3 -
'''
expect('many that are lost', DROPS, '''server: socket = 3
server: bind 3 127.0.0.1:53
server: recvmsg 3 "abc"
server: recvmsg 3 "abc"
client: socket = 3
client: connect 3 127.0.0.1:53
client: send 3 "abc"
client: 9 times more
client: send 3 "abc" -> server: recvmsg 3 "abc" (3 bytes)
client: 9 times more -> nothing (8 lost)
''', ['x-- 8 lost'], ['class="lost"', '8 lost</text>'])


# What a thread does over and over is drawn once; all bytes are counted.
SPIN = '''1 2 server 8 1 3 accept 3, 127.0.0.1:4000 5 -
0 1 client 7 1 3 connect 3, 127.0.0.1:80 0 -
''' + ''.join(f'{t} {t} server 8 1 3 accept 3, - -1 EMFILE\n'
              f'{t} {t} client 7 1 3 send 3, "a", 1 1 -\n'
              for t in range(10, 110)) + '''120 121 client 7 1 3 send 3, "b", 1 1 -
122 123 server 8 1 5 recv 5, "aaa", 200 100 -
124 125 server 8 1 5 recv 5, "b", 100 1 -
'''
expect('what is done over and over', SPIN, '''client: connect 3 127.0.0.1:80
client: send 3 "a"
client: 99 times more
client: send 3 "b"
server: accept 3 = 5
server: accept 3: EMFILE
server: 99 times more
server: recv 5 "aaa"
server: recv 5 "b"
client: connect 3 127.0.0.1:80 -> server: accept 3 = 5
client: send 3 "a" -> server: recv 5 "aaa" (1 byte)
client: send 3 "b" -> server: recv 5 "b" (1 byte)
''')


# -- Unix sockets -------------------------------------------------------------

# Two doors; the second client's is opened first. And a pair.
expect('addresses that are files', '''
1 2 server 8 1 3 socket AF_UNIX, SOCK_STREAM 3 -
3 4 server 8 1 3 bind 3, /tmp/front.sock 0 -
5 6 server 8 1 4 socket AF_UNIX, SOCK_STREAM 4 -
7 8 server 8 1 4 bind 4, back.sock 0 -
9 10 one 7 1 3 socket AF_UNIX, SOCK_STREAM 3 -
11 12 one 7 1 3 connect 3, /tmp/front.sock 0 -
13 14 two 9 1 3 socket AF_UNIX, SOCK_STREAM 3 -
15 16 two 9 1 3 connect 3, back.sock 0 -
17 18 server 8 1 4 accept 4, - 5 -
19 20 server 8 1 3 accept 3, - 6 -
21 22 one 7 1 3 send 3, "one", 3 3 -
23 24 server 8 1 6 recv 6, "one", 9 3 -
25 26 server 8 1 0 socketpair AF_UNIX, SOCK_STREAM, {8, 9} 0 -
27 28 server 8 1 8 send 8, "self", 4 4 -
29 30 server 8 1 9 recv 9, "self", 9 4 -
''', '''one: connect 3 /tmp/front.sock
one: connect 3 /tmp/front.sock -> server: accept 3 = 6
one: send 3 "one"
one: send 3 "one" -> server: recv 6 "one" (3 bytes)
one: socket = 3
server: accept 3 = 6
server: accept 4 = 5
server: bind 3 /tmp/front.sock
server: bind 4 back.sock
server: recv 6 "one"
server: recv 9 "self"
server: send 8 "self"
server: send 8 "self" -> server: recv 9 "self" (4 bytes)
server: socket = 3
server: socket = 4
server: socketpair = 8, 9
two: connect 3 back.sock
two: connect 3 back.sock -> server: accept 4 = 5
two: socket = 3
''', [], ['class="note"'])


# -- Descriptors that travel --------------------------------------------------

# The listener goes to the worker, who accepts; a second one is dropped, since
# the worker reads the byte without it. What boss has closed is open still.
expect('descriptors that travel', '''
1 2 boss 8 1 3 socket AF_INET, SOCK_STREAM 3 -
3 4 boss 8 1 3 bind 3, 127.0.0.1:80 0 -
5 6 boss 8 1 3 listen 3, 5 0 -
7 8 worker 9 1 3 socket AF_UNIX, SOCK_STREAM 3 -
9 10 worker 9 1 3 connect 3, b.sock 0 -
11 12 boss 8 1 4 accept 4, - 6 -
13 14 boss 8 1 6 sendmsg 6, "!", 1 pieces, {SCM_RIGHTS 3} 1 -
15 16 boss 8 1 3 close 3 0 -
17 18 worker 9 1 3 recvmsg 3, "!", {SCM_RIGHTS 5} 1 -
19 20 client 7 1 3 connect 3, 127.0.0.1:80 0 -
21 22 worker 9 1 5 accept 5, 127.0.0.1:4000 7 -
23 24 client 7 1 3 send 3, "abc", 3 3 -
25 26 worker 9 1 7 recv 7, "abc", 9 3 -
27 28 boss 8 1 6 sendmsg 6, "?", 1 pieces, {SCM_RIGHTS 6} 1 -
29 30 worker 9 1 3 recv 3, "?", 9 1 -
''', '''boss: accept 4 = 6
boss: bind 3 127.0.0.1:80
boss: close 3
boss: listen 3
boss: sendmsg 6 "!"
boss: sendmsg 6 "!" -> worker: recvmsg 3 "!" (descriptor 3 -> 5)
boss: sendmsg 6 "?"
boss: sendmsg 6 "?" -> worker: recv 3 "?" (1 byte, descriptor lost)
boss: socket = 3
client: connect 3 127.0.0.1:80
client: connect 3 127.0.0.1:80 -> worker: accept 5 = 7
client: send 3 "abc"
client: send 3 "abc" -> worker: recv 7 "abc" (3 bytes)
worker: accept 5 = 7
worker: connect 3 b.sock
worker: connect 3 b.sock -> boss: accept 4 = 6
worker: recv 3 "?"
worker: recv 7 "abc"
worker: recvmsg 3 "!"
worker: socket = 3
''', ['descriptor 3 -> 5 -->'], ['descriptor 3 \u2192 5</text>'])

# A connection that travels goes on: its end comes with the last close.
expect('a connection that travels', '''
1 2 boss 8 1 0 socketpair AF_UNIX, SOCK_STREAM, {3, 4} 0 -
3 4 client 7 1 3 connect 3, 127.0.0.1:80 0 -
5 6 boss 8 1 5 accept 5, 127.0.0.1:4000 6 -
7 8 boss 8 1 3 sendmsg 3, "!", 1 pieces, {SCM_RIGHTS 6} 1 -
9 10 boss 8 1 4 recvmsg 4, "!", {SCM_RIGHTS 9} 1 -
11 12 boss 8 1 6 close 6 0 -
13 14 boss 8 1 9 send 9, "abc", 3 3 -
15 16 client 7 1 3 recv 3, "abc", 9 3 -
17 18 boss 8 1 9 close 9 0 -
19 20 client 7 1 3 recv 3, "", 9 0 -
''', '''boss: socketpair = 3, 4
boss: accept 5 = 6
boss: sendmsg 3 "!"
boss: recvmsg 4 "!"
boss: close 6
boss: send 9 "abc"
boss: close 9
client: connect 3 127.0.0.1:80
client: recv 3 "abc"
client: recv 3: end of stream
boss: sendmsg 3 "!" -> boss: recvmsg 4 "!" (descriptor 6 -> 9)
client: connect 3 127.0.0.1:80 -> boss: accept 5 = 6
boss: send 9 "abc" -> client: recv 3 "abc" (3 bytes)
boss: close 9 -> client: recv 3: end of stream (end of stream)
''')


# -- Signals and ends ---------------------------------------------------------

# A signal arrives at the first thread of its process. Who was sent one, or
# fails, has an end.
expect('a signal', '''
1 2 server 8 1 3 listen 3, 5 0 -
3 4 client 7 1 3 connect 3, 127.0.0.1:80 -1 ECONNREFUSED
5 5 client 7 1 -1 exit  1 -
7 8 stop 9 1 0 kill 8, SIGTERM 0 -
9 10 server 8 1 3 close 3 0 -
11 12 server 8 1 0 kill 8, SIGUSR1 0 -
13 13 server 8 1 -1 exit  0 -
14 14 stop 9 1 -1 exit  0 -
''', '''client: connect 3 127.0.0.1:80: ECONNREFUSED
client: exit code 1
server: SIGTERM
server: close 3
server: exit code 0
server: kill server SIGUSR1
server: listen 3
stop: kill server SIGTERM
stop: kill server SIGTERM -> server: SIGTERM
''', ['<--'], ['class="signal"'])

sys.exit(1 if problems else 0)
