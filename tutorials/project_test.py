#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests a project: its wrong programs, those that people write, and its page.

    project_test.py wrong PROJECT [WORD]    all, or those whose title has WORD
    project_test.py page jobs               what its page shows, with nc and socat

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
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

COURSE = os.path.dirname(os.path.abspath(__file__))
LONG = 240  # seconds; nothing here takes as long, on the slowest machine

failed = []


def read(*path):
    with open(os.path.join(COURSE, *path), encoding='utf-8') as file:
        return file.read()


def compiled(*arguments):
    subprocess.run(
        [*os.environ.get('CXX', 'c++').split(), '-std=c++17', '-pthread',
         *os.environ.get('NETLITE_FLAGS', '').split(),
         '-I', COURSE + '/../include', *arguments], check=True)


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


def in_one_line(paragraph):
    return ' '.join(paragraph.split())


def test(folder, number, title, lines, solution):
    heads = [line for line in lines if re.match('story: |asks: |root$', line)]
    if 'root' in heads and os.geteuid() != 0:
        print('skipped:', title)
        return
    source, program = f'{folder}/{number}.cpp', f'{folder}/{number}'
    with open(source, 'w', encoding='utf-8') as file:
        file.write(changed(solution, lines[len(heads):]))
    compiled('-include', folder + '/common.hpp', source, '-o', program)
    done = subprocess.run([folder + '/check', program], text=True, timeout=LONG,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    plain = '\n'.join(map(in_one_line, done.stdout.split('\n\n'))) + '\n'
    missing = [head for head in heads if head != 'root' and in_one_line(
        head.split(': ', 1)[1]) + ('\n' if head[0] == 'a' else '') not in plain]
    wide = [line for line in done.stdout.splitlines() if len(line) > 79]
    if done.returncode != 1 or missing or wide:
        failed.append(title)
        print(f'FAILED: {title}\nexit code {done.returncode}, missing: '
              f'{missing}, too wide: {wide}\n{done.stdout}', flush=True)


def test_wrong(project, word=''):
    solution = read(project, 'solution.cpp')
    table = [text.splitlines() for text in
             re.split('^# ', read(project, 'wrong.txt'), flags=re.M)[1:]]
    table = [lines for lines in table if word in lines[0]]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        compiled(f'{COURSE}/{project}/check.cpp', COURSE + '/trace.cpp', '-ldl',
                 '-o', folder + '/check')
        # What all have in common, compiled once.
        common = folder + '/common.hpp'
        with open(common, 'w', encoding='utf-8') as file:
            file.write('#include "netlite.hpp"\n')
        compiled('-x', 'c++-header', common, '-o', common + '.gch')
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
        compiled(f'{COURSE}/{project}/solution.cpp', '-o', folder + '/runner')
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


def without_numbers(text):
    return re.sub(r'^started \d+', 'started N', text, flags=re.M)


def main():
    {'wrong': test_wrong, 'page': test_page}[sys.argv[1]](*sys.argv[2:])
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
