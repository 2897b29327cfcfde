#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests a project: its wrong programs, those that people write, and its page.

    project_test.py wrong PROJECT [WORD]    all, or those whose title has WORD
    project_test.py page jobs               what its page shows, with nc and socat
    project_test.py storm JUDGE PROGRAM     members at random, for 20 seconds; for
                                            a minute if STORM is "full"

Each wrong program must get its own story, and its own question. They stand in
the project's wrong.txt, each as a change of its solution:

    # A title.
    story: words that the judge must say; one or more of these lines
    asks: the end of its question
    root                         only root can try it; others skip it
    -old line
    +new line

Lines with - before them stand together in the solution, one block after the
other; those with + stand there instead. CXX is the compiler. Exit codes: 0 all
as they should be, 1 not so, 77 skipped.
"""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
from wrong_test import (  # noqa: E402
    COURSE, compiled, expect, failed, read, write)

LONG = 240  # seconds; nothing here takes as long, on the slowest machine


def changed(solution, lines):
    """The solution with the lines that begin with - replaced."""
    old, new = [], []
    for line in [*lines, '']:
        if old and (line[:1] != '+' and (new or line[:1] != '-')):
            block = '\n'.join(old) + '\n'
            if block not in solution:
                raise SystemExit(f'the solution has no lines:\n{block}')
            solution = solution.replace(block, ''.join(
                each + '\n' for each in new), 1)
            old, new = [], []
        if line[:1] == '-':
            old.append(line[1:])
        elif line[:1] == '+':
            new.append(line[1:])
    return solution


def test(folder, number, title, lines, solution):
    heads = [line for line in lines if re.match('story: |asks: |root$', line)]
    if 'root' in heads and os.geteuid() != 0:
        print('skipped:', title)
        return
    program = f'{folder}/{number}'
    write(program + '.cpp', changed(solution, lines[len(heads):]))
    compiled('-include', folder + '/common.hpp', program + '.cpp', '-o',
             program).check_returncode()
    done = subprocess.run([folder + '/check', program], text=True, timeout=LONG,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    stories = [head[7:] for head in heads if head.startswith('story: ')]
    question, = [head[6:] for head in heads if head.startswith('asks: ')]
    expect(title, stories, question, done.stdout, done.returncode)


def test_wrong(project, word=''):
    solution = read(project, 'solution.cpp')
    table = [text.splitlines() for text in
             re.split('^# ', read(project, 'wrong.txt'), flags=re.M)[1:]]
    table = [lines for lines in table if word in lines[0]]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        compiled(f'{COURSE}/{project}/check.cpp', COURSE + '/trace.cpp', '-ldl',
                 '-o', folder + '/check').check_returncode()
        # What all have in common, compiled once.
        common = folder + '/common.hpp'
        write(common, '#include "netlite.hpp"\n')
        compiled('-x', 'c++-header', common, '-o',
                 common + '.gch').check_returncode()
        list(pool.map(lambda each: test(folder, each[0], each[1][0],
                                        each[1][1:], solution),
                      enumerate(table)))
    print(f'{len(table)} wrong programs, {len(failed)} failed')


def test_page(project):
    """Its commands, against the solution. Process numbers differ."""
    block = re.search(r'```console\n(.*?)```', read(project, 'README.md'), re.S)
    commands = re.split(r'^\$ ', block.group(1), flags=re.M)[1:]
    for tool in 'nc', 'socat':
        if not shutil.which(tool):
            print('skipped: there is no', tool)
            sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        compiled(f'{COURSE}/{project}/solution.cpp', '-o',
                 folder + '/runner').check_returncode()
        runner = subprocess.Popen([folder + '/runner', 'jobs.sock'], cwd=folder,
                                  stdout=subprocess.PIPE, text=True)
        try:
            runner.stdout.readline()
            for text in commands:
                command, _, shown = text.partition('\n')
                said = subprocess.run(
                    command.replace('/tmp/jobs-9988', folder + '/jobs.sock'),
                    shell=True, timeout=LONG, text=True,
                    stdout=subprocess.PIPE).stdout
                if without_numbers(said) != without_numbers(shown):
                    failed.append(command)
                    print(f'FAILED: {command}\n{said}it should be\n{shown}')
        finally:
            runner.terminate()
            runner.wait(LONG)
        if os.path.exists(folder + '/jobs.sock'):
            failed.append('the file is still there')
            print('FAILED: it leaves its file behind')


def test_storm(judge, program):
    """What comes at random follows from STORM_SEED, which is printed."""
    seed = os.environ.get('STORM_SEED') or str(random.randrange(1 << 30))
    seconds = '60' if os.environ.get('STORM') == 'full' else '20'
    print('STORM_SEED=' + seed, flush=True)
    if subprocess.call([judge, program, seed, seconds]) != 0:
        failed.append('storm')


def without_numbers(text):
    return re.sub(r'^started \d+', 'started N', text, flags=re.M)


def main():
    {'wrong': test_wrong, 'page': test_page, 'storm': test_storm}[sys.argv[1]](
        *sys.argv[2:])
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
