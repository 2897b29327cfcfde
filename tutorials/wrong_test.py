#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges wrong answers, those that people make: each must get its own story,
and its own question.

    wrong_test.py STEP [WORD]    all of a step, or those whose title has WORD

They stand in the step's wrong.txt, one after the other:

    # A title.
    story: words that the judge must say; one or more of these lines
    asks: the end of its question
    needs: thread                   the sanitizer without which nobody sees it
    inline int greet(...) {...}     what stands in exercise.hpp instead

PORT stands for any port. The judge has ten seconds, so it never takes half a
minute, even on a busy machine; longer only where it builds the check again, to
find a line. The untouched exercise gets the question that the page shows.
"""
import functools
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

COURSE = os.path.dirname(os.path.abspath(__file__))
LONG = 30     # seconds
LONGER = 120  # with a check that is built again

failed = []


def read(*path):
    with open(os.path.join(COURSE, *path), encoding='utf-8') as file:
        return file.read()


def answers(step):
    """(title, stories, question, code) of each that can be judged here."""
    for text in re.split(r'^# ', read(step, 'wrong.txt'), flags=re.M)[1:]:
        title, *lines = text.splitlines()
        heads = [line for line in lines
                 if re.match('story: |asks: |needs: ', line)]
        if any(line.startswith('needs: ') and not sanitizer(step)
               for line in heads):
            print('skipped, for it needs a sanitizer:', title)
            continue
        yield (title,
               [line[7:] for line in heads if line.startswith('story: ')],
               [line[6:] for line in heads if line.startswith('asks: ')][0],
               '\n'.join(lines[len(heads):]) + '\n')


def with_answer(step, code):
    """The exercise with another function in the place of its last one."""
    text = read(step, 'exercise.hpp')
    return text[:text.rindex('\ninline ') + 1] + code


def write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def compiled(*arguments):
    return subprocess.run(
        [*os.environ.get('CXX', 'c++').split(), '-std=c++17', '-pthread',
         *os.environ.get('NETLITE_FLAGS', '').split(),
         '-I', COURSE + '/../include', *arguments],
        stderr=subprocess.PIPE, text=True)


@functools.lru_cache(None)
def sanitizer(step):
    """The options that a step's check is built with, as tutorials/run does:
    where the compiler has that sanitizer, and it works."""
    try:
        name = re.search('^check (.*)$', read(step, 'sanitizers'), re.M)[1]
    except FileNotFoundError:
        return []
    options = ['-g', '-O1', '-fno-omit-frame-pointer', '-fsanitize=' + name]
    with tempfile.TemporaryDirectory() as folder:
        source, program = folder + '/probe.cpp', folder + '/probe'
        write(source, 'int main() { int* p = new int; delete p; return *p; }')
        if compiled(source, *options, '-o', program).returncode != 0:
            return []
        report = subprocess.run([program], stderr=subprocess.PIPE, text=True)
    return options if 'probe.cpp:1' in report.stderr else []


def prepare(folder, step):
    """What all judges have in common, compiled once: the calls' trace, and the
    headers. (A third of the time of this test.)"""
    write(folder + '/common.hpp', f'''#include "netlite.hpp"
#define EXERCISE ""
#include "{COURSE}/judge.hpp"
#undef EXERCISE
''')
    for arguments in (['-c', COURSE + '/trace.cpp', '-o', folder + '/trace.o'],
                      ['-x', 'c++-header', folder + '/common.hpp', '-o',
                       folder + '/common.hpp.gch']):
        compiled(*sanitizer(step), *arguments).check_returncode()


def build(folder, step, text, prepared):
    """The judge of this exercise.hpp, and what the compiler says of it."""
    exercise, program = folder + '/exercise.hpp', folder + '/check'
    write(exercise, text)
    write(program + '.cpp', f'''#define EXERCISE "{exercise}"
#include "{COURSE}/{step}/check.cpp"
const bool is_told = (judge::exercise_file = EXERCISE, true);
''')
    return program, compiled(
        *sanitizer(step), '-include', prepared + '/common.hpp',
        program + '.cpp', prepared + '/trace.o', '-ldl', '-o', program)


def said_by(program, **changes):
    """What a judge says, and its exit code."""
    began = time.monotonic()
    try:
        done = subprocess.run([program], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=LONGER,
                              env={**os.environ, **changes})
    except subprocess.TimeoutExpired:
        return f'The judge has not answered within {LONGER} seconds.', -1
    took = time.monotonic() - began
    if took > LONG and 'looking for the line' not in done.stdout:
        return f'{done.stdout}That took {took:.0f} seconds.', -1
    return done.stdout, done.returncode


def judged(step, text, prepared):
    with tempfile.TemporaryDirectory() as folder:
        program, compiler = build(folder, step, text, prepared)
        if compiler.returncode != 0:
            return compiler.stderr, compiler.returncode
        return said_by(program)


def in_one_line(paragraph):
    """The judge breaks its lines where they become too wide."""
    return ' '.join(paragraph.split())


def expect(title, stories, question, said, exit_code):
    """It is refused, with its stories and its question, in lines that fit."""
    plain = '\n'.join(map(in_one_line, said.split('\n\n'))) + '\n'
    plain = re.sub(r'127\.0\.0\.1:\d{3,}', '127.0.0.1:PORT', plain)
    plain = re.sub(r'listen\(3, \d+\)', 'listen(3, N)', plain)
    plain = re.sub(r'within \d+ seconds', 'within 10 seconds', plain)
    missing = [words for words in (*map(in_one_line, stories), question + '\n')
               if words not in plain]
    wide = [line for line in said.splitlines() if len(line) > 79]
    if exit_code != 1 or missing or wide:
        failed.append(title)
        print(f'FAILED: {title}\nexit code {exit_code}, missing: {missing}, '
              f'too wide: {wide}\n'
              f'{said}', flush=True)


def test(step, answer, prepared):
    title, stories, question, code = answer
    expect(title, stories, question,
           *judged(step, with_answer(step, code), prepared))


def test_untouched(step, prepared):
    said, exit_code = judged(step, read(step, 'exercise.hpp'), prepared)
    question = said.split('\n\n')[-2]
    if exit_code != 1 or question not in read(step, 'README.md'):
        failed.append('untouched')
        print(f'FAILED: the page does not show what the judge says at first\n'
              f'{said}')


def test_seed(step, code, prepared):
    """The same number, the same story, and another one for another number.
    (If the machine is so busy that an answer is late, it asks once more.)"""
    def story(seed):
        said, _ = said_by(program, SEED=str(seed))
        return ''.join(re.findall('^  received .*', said, re.M))

    with tempfile.TemporaryDirectory() as folder:
        program, _ = build(folder, step, with_answer(step, code), prepared)
        stories = {story(7), story(7)}
        if len(stories) > 1:
            stories.add(story(7))
        if len(stories) > 2 or story(8) in stories:
            failed.append('SEED')
            print('FAILED: the story does not follow from SEED:', *stories,
                  sep='\n')


def main():
    step, word = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ''
    table = [answer for answer in answers(step) if word in answer[0]]
    if not word and len({answer[2] for answer in table}) < 6:
        failed.append('too few')
        print('FAILED: there are less than six questions')
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, step)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda answer: test(step, answer, folder), table))
        if not word:
            test_untouched(step, folder)
        for _, stories, _, code in table:
            if any('SEED=' in story for story in stories):
                test_seed(step, code, folder)
    print(f'{len(table)} wrong answers, {len(failed)} failed')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
