#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays the first six steps on the machine that tests/world/run makes: its
/etc/hosts has two lines for localhost, and IPv6 may be missing. There, too, the
pages say what is the case, all solutions are right, and whatever needs IPv6 is
passed over by its name. NETLITE_BUILT has the programs.
"""
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import pages_test  # noqa: E402

GREETING = 'Received: Thanks! Got your message:Hello Server! Greetings.'
NEEDS_IPV6 = 'skipped: this needs IPv6, which this machine lacks'


def expect(what, true, *seen):
    if not true:
        pages_test.problem('\n'.join(map(str, ('FAILED: ' + what, *seen))))


def run(*words):
    return subprocess.run(
        ['sh', 'tutorials/run', *words], cwd=pages_test.TOP, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)


def has_ipv6():
    with open('/proc/net/if_inet6', encoding='utf-8') as file:
        return ' lo\n' in file.read()


def as_the_page_says(step):
    for block in pages_test.blocks(step, ['transcript', 'parting']):
        pages_test.test_block(step, block)
    pages_test.test_predict(step)


def without_ipv6():
    done = run('6')
    expect('step 6 does not need IPv6', done.returncode == 0 and
           GREETING in done.stdout, done.stdout, done.stderr)
    for words in ['broken'], ['picture', 'broken'], ['predict']:
        done = run('6', *words)
        expect(f'run 6 {words}: its mistake does', done.returncode == 77 and
               NEEDS_IPV6 in done.stderr, done.returncode, done.stderr)
    expect('guesses at the rest are counted',
           'You guessed 0 of 2.' in done.stdout, done.stdout)


def judged_right(step):
    done = subprocess.run(
        [os.path.join(os.environ['NETLITE_BUILT'], step + '-solution')],
        env={**os.environ, 'NETLITE_PATIENCE': '120'}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    expect(f'the solution of {step} passes', done.returncode == 0 and
           f'{step}: solved.' in done.stdout, done.stdout)


def a_name_with_two_addresses():
    with subprocess.Popen(
            ['sh', 'tutorials/run', '6', 'server'], cwd=pages_test.TOP,
            stdout=subprocess.PIPE, text=True) as server:
        any('Listening on' in line for line in server.stdout)
        done = run('6', 'names', 'localhost:9988')
        server.terminate()
        server.stdout.read()
    tried = re.findall(r'> Trying (.*):9988$', done.stdout, re.M)
    expect('each address of localhost is tried, until one answers',
           GREETING in done.stdout and
           tried == ['[::1]'] * has_ipv6() + ['127.0.0.1'],
           done.stdout, done.stderr)


def main():
    for step in pages_test.steps()[:6]:
        if step == '06-names' and not has_ipv6():
            without_ipv6()
        else:
            as_the_page_says(step)
        judged_right(step)
    a_name_with_two_addresses()
    for text in pages_test.problems:
        print(text)
    sys.exit(1 if pages_test.problems else 0)


if __name__ == '__main__':
    main()
