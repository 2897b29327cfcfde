#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays a newcomer with a fresh copy of the project: the first commands, every
kind of mistake, and what must hold on any machine. Each mistake is answered by
one clear line and an exit code that is not 0.

CXX is the compiler; run_test.py leaves nothing behind.
"""
import contextlib
import glob
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from pages_test import projects, steps  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GREETING = 'Thanks! Got your message:Hello Server! Greetings.'
SKIPPED = 77
LONG = 240  # seconds; nothing here takes as long, on the slowest machine
STEPS, PROJECTS = steps(), projects()
ALL = len(STEPS) + len(PROJECTS)

home = tempfile.mkdtemp(prefix='netlite run ')  # a space, as on many machines
project = os.path.join(home, 'a project')
run_file = os.path.join(project, 'tutorials', 'run')
failed = []


def environment(**changes):
    keep = {name: value for name, value in os.environ.items()
            if name in ('PATH', 'CXX', 'LANG', 'TERM')}
    return {**keep, 'HOME': home, 'PORT': str(free_port()), **changes}


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def run(*arguments, before=(), input='', cwd=None, **changes):
    return subprocess.run(
        [*before, 'sh', run_file, *arguments], input=input, cwd=cwd,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=LONG, env=environment(**changes))


def start(*arguments, stdin=subprocess.DEVNULL, **changes):
    """A run in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        ['sh', run_file, *arguments], stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env=environment(**changes))


def expect(what, true, *seen):
    if not true:
        failed.append(what)
        print('FAILED:', what)
        for text in seen:
            print(text)


def words(done):
    """What it said on stderr, without the news about building."""
    return [line for line in done.stderr.splitlines()
            if not line.startswith('run: building ')]


def expect_line(what, done, pattern, lines=1):
    expect(what, done.returncode != 0 and len(words(done)) == lines and
           re.search(pattern, done.stderr), done.returncode, done.stdout,
           done.stderr)


def exercise(step):
    name = step + '.cpp' if step in PROJECTS else 'exercise.hpp'
    return os.path.join(project, 'tutorials', step, name)


def solve(step):
    folder, name = os.path.split(exercise(step))
    shutil.copy(os.path.join(folder, 'solution' + name[-4:]), exercise(step))


def port_of(process):
    """The port that a server says; what else it says is read away."""
    for line in process.stdout:
        match = re.search(r'Listening on .*:(\d+)', line)
        if match:
            return match.group(1)
    return '0'


# -- The tests ----------------------------------------------------------------

def the_first_command_shows_the_greeting():
    done = run('1')
    expect('run 1 succeeds', done.returncode == 0, done.stdout, done.stderr)
    for line in ('server > Listening on 127.0.0.1:',
                 'server > A client has connected.',
                 'server > Received: Hello Server! Greetings.',
                 'client > Received: ' + GREETING):
        expect('run 1 says: ' + line, line in done.stdout, done.stdout)
    for name, calls in (('server', 'socket bind listen accept recv send close'),
                        ('client', 'socket connect send recv close')):
        for call in calls.split():
            expect(f'run 1 shows that the {name} calls {call}',
                   f'{name}     {call}(' in done.stdout, done.stdout)
    for chain in (('listen(', 'connect(', 'accept(3) = 5', '1024) = 24'),
                  ('send(3', '1024) = 24', 'send(5', '1024) = 49')):
        places = [done.stdout.find(call) for call in chain]
        expect('causes stand before their effects', places == sorted(places),
               done.stdout)
    expect('no colours where there is no terminal', '\033' not in done.stdout)
    lines = done.stdout.splitlines()
    expect('the first story has at most 20 lines of 80 columns',
           len(lines) <= 20 and max(map(len, lines)) <= 80, done.stdout)
    expect('waiting is folded into the call that waited, options into one line',
           re.search(r'accept\(3\) = 5 +waited \d+ ms$', done.stdout, re.M) and
           len(re.findall(r'setsockopt\(3, \.\.\.\) +\d options$',
                          done.stdout, re.M)) == 2 and
           'poll' not in done.stdout and 'EAGAIN' not in done.stdout,
           done.stdout)
    again = run('1')
    expect('what is built once is not built again',
           again.returncode == 0 and 'building' not in again.stderr)


def every_call_on_demand():
    done = run('1', 'calls')
    expect('run 1 calls shows every call as the kernel saw it',
           done.returncode == 0 and all(part in done.stdout for part in (
               'accept(3, -) = -1 EAGAIN', 'poll({3 POLLIN',
               'setsockopt(3, TCP_NODELAY, 1) = 0', 'getsockname(3, 127',
               'accept(3, 127.0.0.1:', 'poll({3 POLLOUT}')), done.stdout)
    done = run('1', 'calls', 'broken')
    expect('of any play', 'SO_ERROR, ECONNREFUSED' in done.stdout, done.stdout)
    expect_line('of none that there is not', run('1', 'calls', 'foo'),
                "step 1 has no play 'foo'")


def predictions():
    done = run('1', 'predict', input='about 49\nlisten\ny\n')
    expect('what is predicted right is praised',
           'you: about 49    the run: 49    right!' in done.stdout and
           'you: y    the run: yes    right!' in done.stdout, done.stdout)
    expect('what is predicted wrong gets a sentence', re.search(
        r'you: listen    the run: accept\n  listen opens the door',
        done.stdout), done.stdout)
    first, later = (done.stdout.find(part) for part in
                    ('Which call of the server', 'server > Listening'))
    expect('the questions come before the play', 0 < first < later, done.stdout)
    expect('the guesses are counted', 'You guessed 2 of 3.' in done.stdout)
    expect('who may say yes or no is told so',
           'Does it print "Connected."? (yes or no)\n' in done.stdout,
           done.stdout)
    expect('a mistake that nobody noticed shows its exit code',
           'broken * ended with exit code 0\n' in done.stdout, done.stdout)


def the_newcomers_path():
    done = run('2', 'check')
    expect('the starter fails, and the peer explains',
           done.returncode == 1 and '"hel" "lo, " "world"' in done.stdout and
           'What does `read` return' in done.stdout, done.stdout, done.stderr)
    done = run('2', 'check', HINT='2')
    expect('HINT=2 adds the second hint', 'Hint 2:\n`while' in done.stdout,
           done.stdout)
    done = run('2', 'hint')
    expect('run 2 hint gives the first, and says how to get more',
           'as many reads' in done.stdout and
           '(more: sh tutorials/run 2 hint 2)\n' in done.stdout, done.stdout)
    done = run('2', 'hint', '3')
    expect('after the last hint comes the solution', 'std::min' in done.stdout
           and '(one answer: sh tutorials/run 2 solution)' in done.stdout,
           done.stdout)
    done = run('2', 'solution')
    expect('run 2 solution shows one', 'while (text.size()' in done.stdout)

    done = run('list')
    expect('at first, nothing is solved',
           f'[{"..." * ALL}] 0 of {ALL} solved' in done.stdout, done.stdout)
    expect('then one, with a word of praise',
           f'[###{"..." * (ALL - 1)}] 1 of {ALL}' in
           judged_right('02-client') and 'Well done!' in run('list').stdout)
    done = run('list')
    expect('run list knows it', re.search(r'02-client .* solved$', done.stdout,
                                          re.M), done.stdout)
    done = run('next')
    expect('run next introduces the first that is open', done.returncode == 0 and
           'Step 1. Hello: what a socket is' in done.stdout and
           'tutorials/01-hello/exercise.hpp' in done.stdout and
           'sh tutorials/run 1 check' in done.stdout and
           'not yet' not in done.stdout, done.stdout)
    with open(exercise('01-hello'), 'a', encoding='utf-8') as file:
        file.write('// I begin.\n')
    done = run('next')
    expect('run next judges what has been begun', done.returncode == 1 and
           '01-hello: not yet' in done.stdout, done.stdout)
    solve('01-hello')
    done = run('next')
    expect('run next goes on', done.returncode == 0 and
           '01-hello: solved.' in done.stdout and
           'Step 3. ' in done.stdout, done.stdout)


def judged_right(step):
    solve(step)
    done = run(step if step in PROJECTS else str(int(step[:2])), 'check')
    expect(f'the solution of {step} passes', done.returncode == 0 and
           f'{step}: solved.' in done.stdout, done.stdout, done.stderr)
    return done.stdout


def all_solved():
    for step in STEPS[2:] + PROJECTS:
        text = judged_right(step)
    expect('at the end there is praise, and what to do next',
           f'{ALL} of {ALL} solved' in text and
           'examples/README.md' in text, text)
    for command in ('list', 'next'):
        done = run(command)
        expect(f'{command} knows it', done.returncode == 0 and
               'examples/README.md' in done.stdout, done.stdout)


class Netcat:
    """A terminal with nc in it."""

    def __init__(self, port):
        self.process = subprocess.Popen(
            ['nc', '127.0.0.1', port], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE)

    def types(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def reads(self):
        return '' if self.hears_nothing(LONG) else \
            self.process.stdout.readline()

    def hears_nothing(self, seconds=.3):
        return not select.select([self.process.stdout], [], [], seconds)[0]

    def is_answered(self, line):
        self.types(line)
        return self.reads() == line

    def ctrl_c(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=LONG)


@contextlib.contextmanager
def terminals(step):
    """A step's server, and what opens one more terminal with nc."""
    server = start(step, 'server', '127.0.0.1:0')
    port = port_of(server)
    clients = []

    def another():
        clients.append(Netcat(port))
        return clients[-1]

    try:
        yield server, another
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        for client in clients:
            client.ctrl_c()
        server.communicate(timeout=LONG)


def others_at_the_servers():
    """What the pages of steps 7 to 10 say to try with nc."""
    if not shutil.which('nc'):
        print('left out: nc')
        return
    with terminals('7') as (_, another):
        one, other = another(), another()
        expect('step 7 answers both, in any order',
               other.is_answered('second\n') and one.is_answered('first\n') and
               other.is_answered('third\n'))

    with terminals('8') as (_, another):
        inside = another()
        expect('step 8 lets two in', inside.is_answered('hi\n') and
               another().is_answered('hi\n'))
        third = another()
        third.types('me, too\n')
        expect('and the third waits', third.hears_nothing())
        inside.ctrl_c()
        expect('until one of them goes', third.reads() == 'me, too\n')

    with terminals('9') as (server, another):
        another()
        told = next(line for line in server.stdout if 'dropped after' in line)
        expect('step 9 drops who says nothing, after half a second',
               int(re.search(r'(\d+) ms', told).group(1)) >= 500, told)

    with terminals('10') as (server, another):
        client = another()
        number = next(re.search(r'kill (\d+)', line).group(1)
                      for line in server.stdout if 'To stop me' in line)
        client.types('Hello ')
        says('recv(')(server)
        os.kill(int(number), signal.SIGTERM)
        expect('step 10 stops', says('Stopping')(server))
        client.types('Server!\n')
        expect('but answers who is in the middle',
               client.reads() == 'Hello Server!\n')
        rest = server.communicate(timeout=LONG)[0]
        expect('and ends with 0', server.returncode == 0 and
               'Everybody has been served.' in rest, rest)


def ends_of_others():
    """The page of step 11: nc -N and socat end their half."""
    for tool, *words in ('nc', '-N', '127.0.0.1', 'PORT'), (
            'socat', '-', 'TCP:127.0.0.1:PORT'):
        if not shutil.which(tool) or tool == 'nc' and '-N' not in \
                subprocess.run(['nc', '-h'], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT).stdout:
            print('left out:', tool)
            continue
        server = start('11', 'server', '127.0.0.1:0')
        port = port_of(server)
        done = subprocess.run(
            [tool, *(word.replace('PORT', port) for word in words)],
            input='pear\nfig\n', stdout=subprocess.PIPE, text=True,
            timeout=LONG)
        expect(f'{tool} hears the answer after its end',
               done.stdout == 'fig\npear\n', done.stdout)
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=LONG)


def a_project():
    name = exercise('chat')
    with open(name.replace('.cpp', '.start'), encoding='utf-8') as file:
        begun = file.read()
    server = start('chat', 'run', '127.0.0.1:0')
    expect('run chat runs the program', port_of(server) != '0')
    os.killpg(server.pid, signal.SIGTERM)
    server.communicate(timeout=LONG)
    done = run('chat', 'reset')
    with open(name, encoding='utf-8') as file:
        expect('reset brings a project back', file.read() == begun)
    kept = re.search(r'Your answer is kept in (.*)\n', done.stdout)
    expect('and keeps what was there', kept and os.path.exists(kept.group(1)))
    done = run('chat', 'hint')
    expect('a project has hints', 'Room' in done.stdout and
           'run chat hint 2' in done.stdout, done.stdout)
    done = run('chat', 'check')
    expect('a project is judged', done.returncode == 1 and
           'chat: not yet.' in done.stdout and
           'sh tutorials/run chat hint' in done.stdout, done.stdout)
    done = run('list')
    order = re.findall(r'^(11|chat)', done.stdout, re.M)
    expect('a project stands behind the step that it needs',
           order == ['11', 'chat'], done.stdout)
    expect_line('it has no picture', run('chat', 'picture'),
                'project chat has no')


def the_way_back():
    name = exercise('03-server')
    with open(name.replace('.hpp', '.start'), encoding='utf-8') as file:
        start = file.read()
    with open(name, encoding='utf-8') as file:
        mine = file.read()
    done = run('3', 'reset')
    with open(name, encoding='utf-8') as file:
        expect('reset brings the exercise back', done.returncode == 0 and
               file.read() == start != mine, done.stdout)
    kept = re.search(r'Your answer is kept in (.*)\n', done.stdout)
    expect('and keeps what was there', kept, done.stdout)
    with open(kept.group(1), encoding='utf-8') as file:
        expect('all of it', file.read() == mine)
    os.remove(name)
    run('3', 'reset')
    expect('even a file that is gone comes back', os.path.exists(name))
    expect('and stays solved, as it once was', f'{ALL} of {ALL}' in
           run('list').stdout)
    expect('so that next goes on', 'examples/README.md' in run('next').stdout)
    for garbage in 'garbage\n', 'more garbage\n', 'garbage\n':
        with open(name, 'w', encoding='utf-8') as file:
            file.write(garbage)
        done = run('3', 'check')
        expect('even when something else is tried', done.returncode == 1 and
               f'{ALL} of {ALL}' in run('list').stdout, done.stdout)
        done = run('3', 'reset')
        with open(done.stdout.splitlines()[0][len('Your answer is kept in '):],
                  encoding='utf-8') as file:
            expect('what was tried is kept, too', file.read() == garbage)
    with open(kept.group(1), encoding='utf-8') as file:
        expect('but not in the place of an answer', file.read() == mine)
    expect('the same is not kept twice',
           sum(each.startswith('03-server-exercise')
               for each in os.listdir(os.path.dirname(kept.group(1)))) == 3)
    run('6', 'reset')


def what_a_learner_may_do_to_the_file():
    name = exercise('02-client')
    with open(name, encoding='utf-8') as file:
        good = file.read()

    def judged(text):
        with open(name, 'w', encoding='utf-8') as out:
            out.write(text)
        return run('2', 'check')

    done = judged(good.replace('while', 'int unused;\n  wile')
                  .replace('return', 'retrun'))
    expect('a file that does not compile is told so', done.returncode == 1 and
           'does not compile' in done.stdout and 'wile' in done.stdout,
           done.stdout)
    expect('with its first error, and no more', 'unused' not in done.stdout and
           len(re.findall('error: ', done.stdout)) == 1, done.stdout)
    done = judged(good.replace('while (text.size() < limit) {',
                               'text.data()[1 << 30] = 1; for (;;) {'))
    expect('a crash is told', done.returncode == 1 and
           'Your code crashed: signal' in done.stdout, done.stdout)
    done = judged(good.replace('while', 'int unused; while'))
    expect('a warning is shown, each time', 'unused' in done.stdout and
           'The compiler warns' in run('2', 'check').stdout, done.stdout)
    expect('behind the verdict', re.search(
        '02-client: .*The compiler warns', done.stdout, re.S), done.stdout)
    os.remove(name)
    expect_line('a deleted exercise', run('2', 'check'),
                r'exercise\.hpp is gone.*run 2 reset')
    with open(name, 'w', encoding='utf-8') as file:
        file.write(good)


def mistakes_on_the_command_line():
    expect_line('a step that there is not', run('42'), r'there is no step 42')
    expect_line('step 0', run('0'), r'there is no step 0')
    expect_line('a step of many digits', run('9' * 30), 'there is no step 9+;')
    expect_line('a port that is none', run('1', PORT='80/x'),
                'PORT wants a number')
    expect_line('a CXX that is none', run('1', CXX='g++-of-nobody -O1'),
                "there is no compiler 'g\\+\\+-of-nobody -O1'")
    expect_line('a word instead of a step', run('foo'), r"what is 'foo'\?")
    expect_line('a word that a step does not know', run('1', 'foo'),
                r"step 1 has no 'foo'; it has: bare broken calls check client")
    expect_line('a word with strange letters', run('1', '*/..'),
                r"step 1 has no '\*/\.\.'")
    expect_line('a hint that there is not', run('1', 'hint', '9'), 'no hint 9')
    expect_line('a hint without a number', run('1', 'hint', 'x'), 'a number')
    shutil.rmtree(os.path.join(project, 'tutorials', 'site'),
                  ignore_errors=True)
    expect_line('pictures without what draws them', run('1', 'picture'),
                'no tutorials/site/picture')
    done = run()
    expect('help comes without a word', done.returncode == 0 and
           'sh tutorials/run 1' in done.stdout)
    with open(os.path.join(project, 'tutorials', '01-hello', 'client.cpp'),
              'a', encoding='utf-8') as file:
        file.write('}\n')
    done = run('1')
    expect('a program that does not compile', done.returncode != 0 and
           'could not build tutorials/01-hello/client.cpp' in done.stderr,
           done.stderr)
    shutil.copy(os.path.join(TOP, 'tutorials/01-hello/client.cpp'),
                os.path.join(project, 'tutorials/01-hello/client.cpp'))


def two_terminals():
    server = start('1', 'server', '127.0.0.1:0')
    port = port_of(server)
    done = run('1', PORT=port)
    expect_line('a taken port', done, f'port is taken.*PORT=9989')
    expect('without a server, no client', 'client' not in done.stdout)
    for what in ('picture', 'predict'):
        done = run('1', what, PORT=port)
        expect_line('a taken port, for a ' + what, done,
                    'port is taken.*PORT=9989 sh tutorials/run 1 ' + what)
        expect('which is not the lesson', done.stdout == '', done.stdout)
    expect_line('a second server', run('1', 'server', '127.0.0.1:' + port),
                'port is taken.*127.0.0.1:9989')
    done = run('1', 'client', '127.0.0.1:' + port)
    expect('the client greets from another terminal', GREETING in done.stdout,
           done.stdout, done.stderr)
    rest = server.communicate(timeout=LONG)[0]
    expect('the server has answered, and is done', server.returncode == 0 and
           'Received: Hello' in rest, rest)
    expect_line('a missing server', run('1', 'client', '127.0.0.1:' + port),
                'nobody listens there; first start')


def advice():
    """Whoever failed is told what to do; who tried twice and succeeded is not."""
    with socket.socket() as nobody:
        nobody.bind(('127.0.0.1', 0))
        closed = f'127.0.0.1:{nobody.getsockname()[1]}'
        server = start('3', 'server', '127.0.0.1:0')
        port = port_of(server)
        done = run('6', 'names', closed, '127.0.0.1:' + port)
        expect('no advice for what succeeded', done.returncode == 0 and
               'refused' in done.stdout and not words(done), done.stderr)
        expect_line('advice for what failed', run('6', 'names', closed),
                    'nobody listens there')
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=LONG)


def a_port_without_a_server():
    """The page of step 14: whoever dials waits for a worker."""
    if not shutil.which('nc'):
        return
    port = str(free_port())
    supervisor = start('14', 'supervisor', PORT=port)
    for line in supervisor.stdout:
        if 'Opened' in line:
            break
    with subprocess.Popen(['sh', '-c', f'echo Hello | nc 127.0.0.1 {port}'],
                          stdout=subprocess.PIPE, text=True) as client:
        worker = run('14', 'worker', PORT=port)
        said = client.communicate(timeout=LONG)[0]
    expect('a client waits until there is a worker', worker.returncode == 0 and
           said == 'Thanks! Got your message:Hello\n', worker.stdout, said)
    os.killpg(supervisor.pid, signal.SIGTERM)
    supervisor.communicate(timeout=LONG)


def plays_that_pages_speak_of():
    for play, line in (('11 polite', 'reader > All of it.'),
                       ('14 restart', 'client2    > Received: Thanks! Got'),
                       ('13 letter', 'letter  > Received: Thanks! Got your'),
                       ('13 long', 'invalid argument'),
                       ('13 abstract', 'server > Listening on @hello-'),
                       ('13 packet', 'server > Received: Greetings.')):
        done = run(*play.split())
        expect(f'run {play} says: {line}', line in done.stdout or
               done.returncode == SKIPPED, done.stdout, done.stderr)


def programs_of_others():
    if not sys.platform.startswith('linux'):
        return
    ask = 'import socket; socket.create_connection(("127.0.0.1", %s)).send(b"x")'
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = str(server.getsockname()[1])
        done = run('trace', 'python3', '-c', ask % port)
        expect('run trace shows the calls of any program',
               done.returncode == 0 and
               f'connect(3, 127.0.0.1:{port}) = 0' in done.stderr and
               'send(3, "x", 1) = 1' in done.stderr, done.stderr)
    expect('and ends as it does',
           run('trace', 'sh', '-c', 'exit 7').returncode == 7)
    folder = os.path.join(home, 'my tools')
    os.mkdir(folder)
    with open(folder + '/fetch', 'w', encoding='utf-8') as file:
        file.write('#!/bin/sh\nexit 8\n')
    os.chmod(folder + '/fetch', 0o755)
    for cwd, name in (folder, './fetch'), (home, 'my tools/fetch'):
        done = run('trace', name, cwd=cwd)
        expect(f'{name} is looked for where the learner is',
               done.returncode == 8, done.stderr)
    expect_line('only there', run('trace', './run', cwd=home),
                "there is no program './run'")
    expect_line('trace without a program', run('trace'), 'trace what')
    expect_line('a program that there is not', run('trace', 'no-such-program'),
                "there is no program 'no-such-program'")


def answers_of(*commands, **others):
    """What programs that know nothing of netlite read from a server."""
    for command in commands:
        if not shutil.which(command[0]):
            print('left out, because it is not here:', command[0])
            continue
        done = subprocess.run(command, input='Hello!', stdout=subprocess.PIPE,
                              text=True, timeout=LONG, **others)
        expect(f'{command[0]} talks to the server',
               done.stdout.strip() == 'Thanks! Got your message:Hello!',
               command, done.stdout)


ASK = '''from socket import *; import sys
s = socket(%s); s.connect(%r); s.send(b"Hello!"); print(s.recv(99).decode())
'''


def datagrams_to_and_from_others():
    server = start('12', 'server', '127.0.0.1:0')
    port = int(port_of(server))
    answers_of(['nc', '-u', '-w1', '127.0.0.1', str(port)],
               ['python3', '-c',
                ASK % ('AF_INET, SOCK_DGRAM', ('127.0.0.1', port))])
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=LONG)
    done = run('12', 'check', SEED='8')
    expect('the solution gets through another plan', done.returncode == 0,
           done.stdout)


def start_at(path):
    server = start('13', 'server', path)
    for line in server.stdout:
        if 'Listening on' in line:
            break
    return server


def files_as_addresses():
    path = os.path.join(home, 'hello')
    for how in (signal.SIGTERM, signal.SIGINT):
        server = start_at(path)
        expect('the file is for its user only',
               stat.filemode(os.lstat(path).st_mode) == 'srw-------')
        answers_of(['nc', '-U', '-w1', path],
                   ['socat', '-t9', '-', 'UNIX:hello'],
                   ['python3', '-c', ASK % ('AF_UNIX', path)], cwd=home)
        expect('so does our client', GREETING in run('13', 'client', path).stdout)
        expect('another user may not call', not may_another_user_call(path))
        expect_line('two at one file', run('13', 'server', path),
                    'file is taken.*run 13 server /tmp/hello-9989')
        os.killpg(server.pid, how)
        rest = server.communicate(timeout=LONG)[0]
        expect('the server knows who calls, and its file goes with it',
               'My own user is calling' in rest and not os.path.exists(path),
               rest)
    expect_line('nobody at a file', run('13', 'client', path),
                'nobody listens there; first start')

    port = str(free_port())
    for word in 'letter', 'packet', 'broken', 'again':
        run('13', word, PORT=port)
    expect('no file is left', not [name for name in os.listdir('/tmp')
                                   if name.startswith('hello-' + port)])
    if sys.platform.startswith('linux'):
        for size, error in (107, 'no such file'), (108, 'invalid argument'):
            name = '/tmp/no-such-file-'.ljust(size, 'x')
            expect(f'a path of {size} letters: {error}',
                   error in re.sub('\nclient > ', ' ',
                                   run('13', 'client', name).stdout))


def may_another_user_call(path):
    """Only root can ask that."""
    if os.geteuid() != 0:
        return False
    os.chmod(home, 0o711)
    os.seteuid(65534)
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
        return True
    except PermissionError:
        return False
    finally:
        os.seteuid(0)


def the_checkout_is_as_it_was(before):
    expect('run writes nothing into the checkout', files() == before,
           set(files().items()) ^ set(before.items()))


def files():
    """All files of the checkout, and when they were written."""
    return {path: os.stat(path).st_mtime_ns
            for folder, _, names in os.walk(project)
            for path in [folder, *(os.path.join(folder, name)
                                   for name in names)]}


def for_meson_users():
    """`meson compile learn` stops at the first exercise, with the judge's
    words; meson test tells where the build directory is."""
    build = os.environ.get('NETLITE_LEARN')
    if not build:
        return
    done = subprocess.run(['meson', 'compile', '-C', build, 'learn'],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=LONG)
    expect('learn stops at the first exercise', done.returncode != 0 and
           '01-hello: not yet.' in done.stdout and
           'How can greet know that it did not?' in done.stdout and
           '02-client: not yet.' not in done.stdout, done.stdout)


def on_another_system():
    """What only Linux has is passed over by its name, and there is advice."""
    tools = os.path.join(home, 'macOS')
    os.mkdir(tools)
    with open(tools + '/uname', 'w', encoding='utf-8') as file:
        file.write('#!/bin/sh\necho Darwin\n')
    os.chmod(tools + '/uname', 0o755)
    there = {'PATH': tools + ':' + os.environ['PATH'], 'PORT': '9988'}
    for command, said in (
            ('13 abstract', 'names such as @hello-9988; .*: /tmp/hello-9988'),
            ('13 server @me', 'names such as @me; .*: /tmp/me'),
            ('13 packet', 'no unixpacket; .*: sh tutorials/run 13'),
            *(('14' + word, 'such as @netlite-9988; .*: /tmp/netlite-9988')
              for word in ('', ' broken', ' restart', ' supervisor', ' worker',
                           ' calls', ' predict', ' picture'))):
        done = run(*command.split(), **there)
        expect_line(f'run {command} on macOS', done, f'^run: skipped: .*{said}')
        expect('which is no failure', done.returncode == SKIPPED and
               not done.stdout, done.returncode, done.stdout)
    del there['PORT']
    for command in '10', '13', '14 leak':
        done = run(*command.split(), **there)
        expect(f'run {command} works on macOS, too', done.stdout and
               'skipped' not in done.stderr, done.stdout, done.stderr)


def until(condition):
    end = time.monotonic() + LONG
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def in_home(pattern):
    return {*glob.glob(os.path.join(glob.escape(home), pattern))}


def files_for_now():
    return in_home('tmp/*') | in_home('.cache/netlite/now.*')


def says(words):
    return lambda process: any(words in line for line in process.stdout)


def makes(pattern):
    return lambda _: until(lambda: in_home(pattern))


def processes():
    """Those that began here, where one can see that."""
    found = []
    for name in glob.glob('/proc/[0-9]*/environ'):
        try:
            with open(name, 'rb') as file:
                if f'HOME={home}'.encode() in file.read().split(b'\0'):
                    found.append(name)
        except OSError:
            pass  # it has just ended, or is somebody else's
    return found


def interrupted(what, command, has_begun, how=signal.SIGINT):
    process = start(*command, stdin=subprocess.PIPE,
                    TMPDIR=os.path.join(home, 'tmp'))
    expect(f'{what} begins', has_begun(process))
    kept = in_home('.cache/netlite/*') - files_for_now()
    os.killpg(process.pid, how)  # what a terminal does on Ctrl-C
    rest = process.communicate(timeout=LONG)[0]
    expect(f'{how.name} ends {what}', process.returncode == 128 + how,
           process.returncode, rest)
    expect(f'and no process is left of {what}', until(lambda: not processes()),
           processes())
    expect(f'nor any file of {what}', not files_for_now() and
           in_home('.cache/netlite/*') == kept, files_for_now())


WAITS = '''
#include <unistd.h>
#include <fstream>
inline void wait() { std::ofstream("%s/waits"); for (;;) ::pause(); }
'''


def nothing_is_left_behind():
    interrupted('a play', ['3', 'silent'], says('Hello'))
    interrupted('a mistake', ['8', 'broken'], says('Listening'))
    interrupted('one under a sanitizer', ['7', 'broken'], says('Listening'))
    interrupted('a picture', ['3', 'picture', 'silent'],
                makes('.cache/netlite/now.*.trace'))
    for how in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        interrupted('guessing', ['1', 'predict'], says('Guess in a word'), how)
    name = exercise('02-client')
    with open(name, encoding='utf-8') as file:
        good = file.read()
    with open(name, 'w', encoding='utf-8') as file:
        file.write(WAITS % home + good.replace('while (', 'wait(); while ('))
    interrupted('a build', ['2', 'check'], makes('.cache/netlite/now.*.log'))
    run('2', 'check')  # builds it
    os.remove(home + '/waits')
    interrupted('a check', ['2', 'check'], makes('waits'))
    with open(name, 'w', encoding='utf-8') as file:
        file.write(good)
    interrupted('the check of a project', ['jobs', 'check'],
                makes('tmp/jobs-*/*.sock'))

    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        server = start('3', 'server', '127.0.0.1:0')
        port = port_of(server)
        if how == signal.SIGINT:
            os.killpg(server.pid, how)  # what a terminal does on Ctrl-C
        else:
            server.send_signal(how)
        rest = server.communicate(timeout=LONG)[0]
        expect(f'{how.name} ends it with its exit code',
               server.returncode == 128 + how, server.returncode, rest)
        with socket.socket() as probe:
            expect(f'{how.name} leaves no server behind',
                   probe.connect_ex(('127.0.0.1', int(port))) != 0)


def what_cannot_be_shown_is_told():
    if not os.path.exists('/dev/full'):
        return
    for command, line in ((['1'], 'run: cannot write to standard output'),
                          (['1', 'solution'], 'cat: ')):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            done = subprocess.run(
                ['sh', run_file, *command], stdin=subprocess.DEVNULL,
                stdout=full, stderr=subprocess.PIPE, text=True, timeout=LONG,
                env=environment())
        expect(f'{command}: a full disk is told', done.returncode == 1 and
               len(words(done)) == 1 and words(done)[0].startswith(line),
               done.stderr)


def a_play_that_hangs_comes_to_an_end():
    began = time.monotonic()
    done = run('3', 'silent')
    expect('everybody waits, and run says so', done.returncode == 1 and
           done.stdout.count('waits forever in recv(') == 3, done.stdout)
    expect('and does not wait long', time.monotonic() - began < LONG / 2)


def on_a_terminal():
    try:
        primary, secondary = pty.openpty()
    except OSError as error:
        print('left out: a terminal:', error)
        return
    for changes, coloured in (({'TERM': 'xterm'}, True),
                              ({'TERM': 'xterm', 'NO_COLOR': '1'}, False),
                              ({'TERM': 'dumb'}, False)):
        for command in (['1', 'broken'], ['1', 'check'], ['list'],
                        ['1', 'picture', 'broken']):
            subprocess.run(['sh', run_file, *command], stdout=secondary,
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=environment(**changes), timeout=LONG)
            text = os.read(primary, 65536).decode()
            expect(f'{command}, {changes}: coloured: {coloured}',
                   ('\033[' in text) == coloured, text)


class Terminal:
    """One with a command in it, and somebody at the keyboard."""

    def __init__(self, *command):
        there = environment(TERM='xterm')
        self.pid, self.keyboard = pty.fork()
        if self.pid == 0:
            os.execvpe('sh', ['sh', run_file, *command], there)
        self.shows = ''

    def reads(self):
        try:
            text = os.read(self.keyboard, 65536).decode(errors='replace')
        except OSError:  # the command has ended
            text = ''
        self.shows += text.replace('\r\n', '\n')
        return text

    def answers(self, prompt, text):
        while not self.shows.endswith(prompt) and self.reads():
            continue
        os.write(self.keyboard, text.encode())
        while text not in self.shows and self.reads():  # the echo
            continue

    def ends(self):
        while self.reads():
            continue
        os.close(self.keyboard)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def at_a_terminal():
    try:
        guessing = Terminal('1', 'predict')
    except OSError as error:
        print('left out: a terminal:', error)
        return
    for guess in 'about 49\n', 'listen\n', 'y\n':
        guessing.answers('\n> ', guess)
    code = guessing.ends()
    expect('one can guess at a terminal', code == 0 and
           'You guessed 2 of 3.' in guessing.shows, code, guessing.shows)
    expect('each guess is seen once, and then beside what happened',
           guessing.shows.count('about 49') == 2 and
           'you: about 49    the run: \033[1m49\033[0m    \033[32mright!' in
           guessing.shows, guessing.shows)
    guessing = Terminal('1', 'predict')
    guessing.answers('\n> ', '\x03')
    code = guessing.ends()
    expect('Ctrl-C is no guess', code == 128 + signal.SIGINT and
           'server >' not in guessing.shows, code, guessing.shows)

    for command, line in (
            (['1'], r'\033\[2msetsockopt\(3, \.\.\.\) +5 options\033\[0m\n'),
            (['1'], r'\033\[0maccept\(3\) = 5 +waited \d+ ms\n'),
            (['1', 'calls'], r'\033\[2mpoll\(.*\033\[0m\n'),
            (['1', 'broken'], r'\033\[31mconnect\(.* refused\033\[0m\n'),
            (['1', 'broken'], r'> \033\[1mConnected.\033\[0m\n')):
        play = Terminal(*command)
        play.ends()
        expect(f'run {command} shows, in its colour: {line}',
               re.search(line, play.shows), play.shows)


def on_a_small_machine():
    # A home and a checkout where nothing can be written.
    tmp = os.path.join(home, 'tmp')
    done = run('1', 'broken', HOME='/dev/null', TMPDIR=tmp)
    expect('without a home it builds in TMPDIR', done.returncode == 0 and
           os.listdir(tmp) == [f'netlite-{os.getuid()}'], done.stderr)
    expect_line('nowhere to write', run('1', HOME='/dev/null',
                                        TMPDIR='/dev/null'),
                'cannot write to .*XDG_CACHE_HOME')

    # A machine with the usual commands, but no compiler.
    tools = os.path.join(home, 'tools')
    os.mkdir(tools)
    for name in ('sh id sed tr cat cksum mkdir find basename dirname head rm '
                 'mv printf grep sort awk').split():
        os.symlink(shutil.which(name), os.path.join(tools, name))
    bare = {'PATH': tools, 'CXX': '', 'HOME': tmp}
    expect_line('no compiler, and no way to get one', run('1', **bare),
                r'please install a C\+\+17 compiler')
    with open(tools + '/apt-get', 'w', encoding='utf-8') as file:
        file.write('#!/bin/sh\necho "apt-get $*" >&2\ncase $1 in install)\n'
                   f'  ln -s "{shutil.which("c++")}" "{tools}/c++" ;; esac\n')
    os.chmod(tools + '/apt-get', 0o755)
    with open(tools + '/sudo', 'w', encoding='utf-8') as file:
        file.write('#!/bin/sh\nexec "$@"\n')
    os.chmod(tools + '/sudo', 0o755)
    done = run('1', 'broken', **bare)
    lines = done.stderr.splitlines()
    said = [i for i, line in enumerate(lines) if 'installing one' in line]
    did = [i for i, line in enumerate(lines) if line.startswith('apt-get inst')]
    expect('it says that it installs a compiler, and then does',
           said and did and said[0] < did[0], done.stderr)


def main():
    # Under nohup it is ignored, and a shell cannot trap what is.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.mkdir(project)
    os.mkdir(os.path.join(home, 'tmp'))
    for name in ('include', 'tutorials'):
        shutil.copytree(os.path.join(TOP, name), os.path.join(project, name))
    try:
        for_meson_users()
        the_first_command_shows_the_greeting()
        every_call_on_demand()
        predictions()
        the_newcomers_path()
        all_solved()
        others_at_the_servers()
        ends_of_others()
        a_project()
        the_way_back()
        what_a_learner_may_do_to_the_file()
        nothing_is_left_behind()
        before = files()
        two_terminals()
        a_port_without_a_server()
        plays_that_pages_speak_of()
        advice()
        programs_of_others()
        datagrams_to_and_from_others()
        files_as_addresses()
        what_cannot_be_shown_is_told()
        a_play_that_hangs_comes_to_an_end()
        on_a_terminal()
        at_a_terminal()
        on_another_system()
        on_a_small_machine()
        the_checkout_is_as_it_was(before)
        mistakes_on_the_command_line()
    finally:
        shutil.rmtree(home)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
