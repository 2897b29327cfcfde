#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what the course's pages say with what is the case.

    pages_test.py structure STEP    the step has all its parts, in their form
    pages_test.py project PROJECT   and so has the project
    pages_test.py listings STEP     each listing equals its source
    pages_test.py transcripts STEP  each transcript equals a real run
    pages_test.py calls STEP        it uses only calls that were introduced
    pages_test.py pictures STEP     the picture shows what a run does
    pages_test.py predict STEP      its questions are answered by the runs
    pages_test.py bare STEP         its bare program makes the same calls
    pages_test.py links PAGE        each link leads somewhere
    pages_test.py go STEP           its lines of Go compile
    pages_test.py strace STEP       the trace tells what strace(1) tells
    pages_test.py readme            README.md's programs and lines compile
    pages_test.py commands          what `run help` lists is on a page, too
    pages_test.py answers           those of how-do-i.md compile, each alone,
                                    and lead to each step and project
    pages_test.py update STEP       writes its listings, transcripts, picture and
                                    exercise.start anew

A comment before a fenced block says where the block comes from:

    <!-- listing: client.cpp dial -->            the region [dial] of a file
    <!-- listing: client.cpp -->                 all of it
    <!-- transcript: sh tutorials/run 1 -->      what that command prints
    <!-- transcript: sh tutorials/run 1 broken, exit 1 -->
    <!-- parting: run client, broken broken -->  where two runs part, and
                           four calls of each after that; or ", 2 calls"

A line "..." in a block stands for any lines. Exit codes: 0 as it should be,
1 a page is wrong, 77 skipped.
"""
import difflib
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COURSE = os.path.join(TOP, 'tutorials')
HEADINGS = ['Run it', 'What you saw', 'The one idea', 'The code', 'Break it',
            'Why', 'Your turn', 'Remember', 'Go deeper']
BLOCK = re.compile(r'<!-- (?P<kind>listing|transcript|parting): (?P<what>.*?)'
                   r' -->\n```\w*\n(?P<text>.*?)```\n', re.S)

problems = []
updating = False


def problem(text):
    problems.append(text)


def skip(why):
    if problems:
        sys.exit('\n'.join(problems))
    print('skipped:', why)
    sys.exit(77)


def read(*path):
    with open(os.path.join(COURSE, *path), encoding='utf-8') as file:
        return file.read()


def steps():
    return sorted(name for name in os.listdir(COURSE)
                  if re.match(r'\d\d-', name))


def projects():
    return sorted(name for name in os.listdir(COURSE) if os.path.exists(
        os.path.join(COURSE, name, name + '.start')))


def sources(step):
    return sorted(name for name in os.listdir(os.path.join(COURSE, step))
                  if name.endswith(('.cpp', '.hpp')))


# -- Running ------------------------------------------------------------------

def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def run(command, timeout=240):
    """What a command prints, its exit code, and the port that stood for 9988;
    again where another program was faster to take the port."""
    for _ in range(5):
        port = '9988' if updating else free_port()
        done = subprocess.run(
            command, shell=True, cwd=TOP, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=timeout, env=dict(os.environ, PORT=port))
        if 'port is taken' not in done.stderr:
            break
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    if done.returncode == 77:
        skip(command)
    return done.stdout.replace(port, '9988'), done.returncode


# -- Comparing ----------------------------------------------------------------

def tries_again(line):
    """Whether a call had to wait, and how often it asked, is up to chance."""
    return re.search(r'= -1 EAGAIN|\bpoll\(\{', line)


def plain(line):
    """A line without what differs from run to run."""
    line = re.sub(r'(127\.0\.0\.1|\[::1\]|localhost):(?!9988\b)[1-9]\d*',
                  r'\1:PORT', line)
    line = re.sub(r'\b\d+( time| ms of CPU)s?\b', r'N\1', line)
    line = re.sub(r'(  waited|, after) \d+ ms(, in vain)?$', '', line)
    line = re.sub(r'\b\d+ (ms|lost)\b', r'N \1', line)
    line = re.sub(r'\bkill \d+', 'kill N', line)
    line = re.sub(r'\blisten\((\d+), \d+\)', r'listen(\1, N)', line)
    # How much fits a line depends on how long the wait or the port behind it is.
    line = re.sub(r'("[^"]{,16})[^"]*"\.\.\.', r'\1"...', line)
    line = re.sub(r'("[^"]{,8})[^"]*"\.\.\.(.*(\b127\.0\.0\.1:|/tmp/))',
                  r'\1"...\2', line)
    line = re.sub(r'(> Received )\d+( of 1000\b)', r'\1N\2', line)
    return re.sub(r'\s+', ' ', line).strip()


def by_actor(text):
    """The lines of each thread in their order; how those of two interleave is
    up to chance, too. So is what a program with several threads prints."""
    lines = {}
    several = set(re.findall(r'^(\w+)/\d+  +\w', text, re.M))
    for line in text.splitlines():
        if tries_again(line):
            continue
        actor = re.match(r'([\w/]+)(?: +([>*] )|  +\w)', line)
        who = actor.group(1) if actor else ''
        if who in several and actor.group(2):
            who += ' >'
        if line.strip() != '...':
            lines.setdefault(who, []).append(plain(line))
    return {who: sorted(said) if who.endswith('>') else said
            for who, said in lines.items()}


def is_part(part, whole):
    rest = iter(whole)
    return all(line in rest for line in part)


def equal(shown, real):
    shown_lines, real_lines = by_actor(shown), by_actor(real)
    if re.search(r'^\.\.\.$', shown, re.M):
        return all(is_part(lines, real_lines.get(who, []))
                   for who, lines in shown_lines.items())
    return shown_lines == real_lines


def report(what, shown, real):
    problem(f'{what} is not so. The page (-), and what is (+):\n' + ''.join(
        difflib.unified_diff(
            [plain(line) + '\n' for line in shown.splitlines()
             if not tries_again(line)],
            [plain(line) + '\n' for line in real.splitlines()
             if not tries_again(line)], n=2)))


# -- Blocks -------------------------------------------------------------------

def listing(step, what):
    """A file, or the lines between two comments [region], moved to the left."""
    name, _, region = what.partition(' ')
    lines = read(step, name).splitlines()
    marks = [i for i, line in enumerate(lines)
             if re.fullmatch(r'\s*// \[(\w+)\]', line)]
    if region:
        mine = [i for i in marks if lines[i].strip() == f'// [{region}]']
        if len(mine) != 2:
            problem(f'{step}/{name} has no region [{region}]')
            return ''
        lines = lines[mine[0] + 1:mine[1]]
        indent = min(len(line) - len(line.lstrip())
                     for line in lines if line.strip())
        lines = [line[indent:] for line in lines]
    else:
        lines = [line for i, line in enumerate(lines) if i not in marks]
    return '\n'.join(lines) + '\n'


def transcript(step, what):
    command, _, code = what.partition(', exit ')
    # A page shows the calmest of some runs, the one that asked in vain least.
    text, real_code = min(
        (run(command) for _ in range(5 if updating else 1)),
        key=lambda seen: len(re.findall(r'EAGAIN|poll\(|waited', seen[0])))
    if real_code != int(code or 0):
        problem(f'{command}: exit code {real_code}, the page says {code or 0}')
    return text


def calls_of(step, play, actor, threads=''):
    """The calls of a program, or of its thread such as server/2, that tell its
    story; with r'(/\\d+)?' those of its other threads after that."""
    number = str(int(step[:2]))
    word = '' if play == 'run' else ' ' + play
    text, _ = run(f'sh tutorials/run {number}{word}')
    lines = [line.split(maxsplit=1) for line in text.splitlines()
             if re.match(actor + threads + r'  +\w', line)]
    lines.sort(key=lambda line: int(line[0].partition('/')[2] or 1))
    story = [line for _, line in lines if not tries_again(line) and
             ('SO_ERROR' in line or not re.match(r'[gs]et\w+\(', line))]
    if not story:
        problem(f'{step}: no {actor} in the play {play}')
    return [re.sub(r' +', ' ', re.sub(r'  .*', '', line)) for line in story]


def parting(step, what):
    """Two stories: what they have in common, and what comes then."""
    (play, actor), (other_play, other), (count, _) = [
        part.split() for part in (what + ', 4 calls').split(', ')[:3]]
    good = calls_of(step, play, actor)
    broken = calls_of(step, other_play, other)
    common = 0
    while (common < min(len(good), len(broken)) and
           plain(good[common]) == plain(broken[common])):
        common += 1
    text = ''.join(f'both    {line}\n' for line in good[:common])
    for who, calls in (('good', good), ('broken', broken)):
        mark = '  <- here they part'
        end = common + int(count)
        for line in calls[common:end]:
            text += f'{who:<8}{line:<48}{mark}'.rstrip() + '\n'
            mark = ''
        if len(calls) > end:
            text += f'{who:<8}...\n'
    return text


def real(step, block):
    return {'listing': listing, 'transcript': transcript,
            'parting': parting}[block['kind']](step, block['what'])


def blocks(step, kinds):
    return [block for block in BLOCK.finditer(read(step, 'README.md'))
            if block['kind'] in kinds]


# -- The tests ----------------------------------------------------------------

def test_listings(step):
    found = blocks(step, ['listing'])
    for block in found:
        text = listing(step, block['what'])
        if text != block['text']:
            report(f'listing {block["what"]}', block['text'], text)
    if not any(' ' not in block['what'] for block in found):
        problem('the page does not show a whole program')
    marked = len(re.findall(r'<!-- (?:listing|transcript|parting):',
                            read(step, 'README.md')))
    if marked != len(blocks(step, ['listing', 'transcript', 'parting'])):
        problem('a comment that names a block has none after it')


def test_transcripts(step):
    if 'NETLITE_PORTABLE' in os.environ.get('NETLITE_FLAGS', ''):
        skip('the portable half makes other calls than the pages show')
    found = blocks(step, ['transcript', 'parting'])
    for needed in ('run %d', 'run %d broken', 'run %d check'):
        command = 'sh tutorials/' + needed % int(step[:2])
        if not any(block['what'].split(',')[0] == command for block in found):
            problem(f'the page does not show: {command}')
    for block in found:
        test_block(step, block)


def test_block(step, block):
    # On a busy machine two writes may meet in one read: once more.
    for last in (False, False, True):
        before = len(problems)
        text = real(step, block)
        if re.fullmatch(r'sh tutorials/run \d+( broken)?', block['what']) \
                and max(map(len, text.splitlines())) > 80:
            problem(f'{block["what"]} is wider than 80 columns:\n{text}')
        if len(problems) == before and equal(block['text'], text):
            break
        if last:
            report(f'{block["kind"]} {block["what"]}', block['text'], text)
        else:
            del problems[before:]


def code_of(step):
    return [name for name in sources(step) if name != 'check.cpp']


def test_structure(step):
    files = os.listdir(os.path.join(COURSE, step))
    for name in ('README.md', 'bare.cpp', 'broken.cpp', 'cast', 'check.cpp',
                 'exercise.hpp', 'exercise.start', 'predict', 'solution.hpp'):
        if name not in files:
            problem(f'{step}/{name} is missing')
    if problems:
        return
    page = read(step, 'README.md')
    check_page(page)
    check_exercise(read(step, 'exercise.hpp'), read(step, 'solution.hpp'))
    if read(step, 'exercise.hpp') != read(step, 'exercise.start'):
        problem('exercise.start, for `reset`, is not a copy of exercise.hpp')
    check_questions(read(step, 'predict'))
    for name in code_of(step):
        lines = read(step, name).splitlines()
        for line in lines:
            if len(line) > 72:
                problem(f'{name}: wider than 72 columns: {line}')
        if len(lines) > 60:
            problem(f'{name}: {len(lines)} lines, more than 60')


def test_project(project):
    mine = project + '.cpp'
    page, answer = read(project, 'README.md'), read(project, 'solution.cpp')
    if read(project, mine) != read(project, project + '.start'):
        problem(f'{project}.start, for `reset`, is not a copy of {mine}')
    said = re.search(r'some (\d+) lines', page)
    lines = answer.splitlines()
    if not said or abs(len(lines) - int(said[1])) > 10:
        problem(f'the solution has {len(lines)} lines; what does the page say?')
    for line in read(project, mine).splitlines() + lines:
        if len(line) > 80:
            problem(f'wider than 80 columns: {line}')
    if re.findall(r'<summary>Hint (\d): ', page) != ['1', '2', '3']:
        problem('the page does not have three hints')
    if len(set(re.findall('^asks: (.*)$', read(project, 'wrong.txt'),
                          re.M))) < 6:
        problem('the judge asks fewer than six questions')
    needs = re.match(r'# Project [A-Z]: .*\n\n\*Needs: \[step (\d+)\]', page)
    if not needs:
        problem('the page does not say what it needs')
        return
    known = set(re.findall(r'\bnet::(\w+)', page)).union(
        *(introduced(step) for step in steps() if step[:2] <= needs[1]))
    for name in sorted(set(re.findall(r'\bnet::(\w+)', answer)) - known):
        problem(f'net::{name} is used, and neither a step nor the page tells '
                'of it')
    if words_of(page) > 1000:
        problem(f'the page has {words_of(page)} words, more than 1000')


def words_of(page):
    return len(re.sub(r'```.*?```|<!--.*?-->|<[^>]*>', '', page,
                      flags=re.S).split())


def check_page(page):
    headings = re.findall(r'^## (.*)$', page, re.M)
    wanted = [f'{i}. {name}' for i, name in enumerate(HEADINGS, 1)]
    if headings != wanted:
        problem(f'the headings are {headings}, and should be {wanted}')
        return
    parts = re.split(r'^## .*$', page, flags=re.M)
    bold = re.findall(r'\*\*(\w[^*]*)\*\*', parts[3])
    if len(bold) != 1:
        problem('part 3 shall have one new word, in bold')
    explained = re.findall(r'^## (.*)$', read('glossary.md'), re.M)
    for word in bold:
        if word not in explained:
            problem(f'the word "{word}" is not in glossary.md')
    for number in (1, 2, 3):
        if f'<summary>Hint {number}</summary>' not in parts[7]:
            problem(f'part 7 has no hint {number}')
    if len(re.findall(r'^- ', parts[8], re.M)) != 3:
        problem('part 8 shall have three lines to remember')
    if parts[8].count('<details>') != 2:
        problem('part 8 shall have two questions with folded answers')
    if not re.search(r'What do\s+you\s+think\s+will\s+happen', parts[5]) or \
            'predict`' not in parts[5] or '<details>' not in parts[5]:
        problem('part 5 does not ask before it tells, folded')
    if 'Stevens' not in parts[9] or '<!-- listing: bare.cpp -->' not in parts[9]:
        problem('part 9 does not name a book, or show bare.cpp')
    if not 600 <= words_of(page) <= 1000:
        problem(f'the page has {words_of(page)} words, and should have 600 to '
                '1000')


def check_questions(text):
    """Two or three, about the good run and the broken one."""
    keys = ' '.join(line.split(' ')[0] for line in text.splitlines() if line)
    question = r'ask (answer|count|yes) why'
    if not re.fullmatch(f'play scene( {question})+ play scene( {question})+',
                        keys):
        problem(f'the questions to predict are out of order: {keys}')
    if re.findall('^play (.*)$', text, re.M) != ['run', 'broken']:
        problem('the questions are not about run, then broken')
    for question, key in re.findall(r'^ask (.*)\n(\w+)', text, re.M):
        if question.endswith(' (yes or no)') != (key == 'yes'):
            problem(f'does it say "(yes or no)" where it should? {question}')
    if not 2 <= keys.split().count('ask') <= 3:
        problem('a step has two or three questions to predict')


def check_exercise(exercise, solution):
    """They differ in one place, and there the exercise says what to do."""
    if exercise.count('TODO') != 1 or 'TODO' in solution:
        problem('exercise.hpp has one TODO, solution.hpp none')
    if re.search(r'\breturns 0\b', exercise.replace('\n//', ''), re.I) and \
            'int fail(' not in exercise:
        problem('exercise.hpp returns an exit code, but has no `fail`')
    changes = [op for op in difflib.SequenceMatcher(
        None, exercise.splitlines(), solution.splitlines(),
        autojunk=False).get_opcodes() if op[0] != 'equal']
    if not changes:
        problem('exercise.hpp and solution.hpp are the same')
        return
    lines = exercise.splitlines()
    start = next((i for i, line in enumerate(lines) if 'TODO' in line), 0)
    # Its place goes on to an empty line, or to the end of the function.
    end = next((i for i in range(start, len(lines))
                if lines[i] in ('', '}')), len(lines))
    for _, first, last, other_first, other_last in changes:
        if first < start or last > end:
            problem('exercise.hpp and solution.hpp differ elsewhere than at '
                    'the TODO:\n' + '\n'.join(
                        lines[first:last] +
                        solution.splitlines()[other_first:other_last]))


def introduced(step):
    line = re.search(r'New: (.*?)\*$', read(step, 'README.md'), re.M | re.S)
    if not line:
        problem(f'{step}: the page does not say what is new')
        return set()
    return set(re.findall(r'`(\w+)`', line.group(1)))


def test_calls(step):
    known = set()
    for earlier in steps():
        if earlier <= step:
            known |= introduced(earlier)
    code = ''.join(read(step, name) for name in code_of(step))
    used = set(re.findall(r'\bnet::(\w+)', code))
    for name in sorted(used - known):
        problem(f'net::{name} is used, and no page up to here introduced it')
    for name in sorted(introduced(step) - used):
        problem(f'net::{name} is said to be new, and is not used')
    needs = re.search(r'^\*Needs: (.*?)\. New:', read(step, 'README.md'),
                      re.M | re.S)
    if not needs:
        problem('the page does not say what it needs')
    elif any(other >= step for other in
             re.findall(r'\.\./(\d\d-[\w-]+)/', needs.group(1))):
        problem('the page needs a later step')


def slug(heading):
    text = re.sub(r'[^\w\- ]', '', heading.strip().lower())
    return text.replace(' ', '-')


def test_links(page):
    path = os.path.join(TOP, page)
    with open(path, encoding='utf-8') as file:
        text = re.sub(r'```.*?```|`[^`]*`', '', file.read(), flags=re.S)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'https://[\w.-]+/\S*$|https://[\w.-]+$', target):
            continue
        name, _, anchor = target.partition('#')
        file = os.path.normpath(os.path.join(os.path.dirname(path), name)) \
            if name else path
        if not os.path.exists(file):
            problem(f'{page}: the link {target} leads nowhere')
        elif anchor:
            with open(file, encoding='utf-8') as other:
                headings = re.findall(r'^#+ (.*)$', other.read(), re.M)
            if anchor not in map(slug, headings):
                problem(f'{page}: {target} names no heading')


GO = '''package main
import ("bufio"; "errors"; "fmt"; "io"; "net"; "os"; "os/signal";
	"syscall"; "time")
var _ = []any{io.EOF, bufio.NewReader, errors.Is, fmt.Println, os.Exit,
	signal.Notify, syscall.ECONNRESET, time.Now}
func serve(net.Conn) {}
func main() {}
'''


def test_go(step):
    go = shutil.which('go') or skip('go is not installed')
    text = GO
    fragments = re.findall(r'```go\n(.*?)```', read(step, 'README.md'), re.S)
    for i, fragment in enumerate(fragments):
        used = ''.join(f'_ = {name}\n' for names in
                       re.findall(r'^([\w, ]+) :=', fragment, re.M)
                       for name in names.split(', '))
        given = 'conn net.Conn, listener net.Listener, address string'
        if ':=' not in fragment:
            given += ', err error'
        text += (f'func page{i}({given}) error {{\n'
                 f'{fragment}{used}return nil\n}}\n')
    if not fragments:
        problem('the page does not say how Go does it')
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + '/main.go', 'w', encoding='utf-8') as file:
            file.write(text)
        done = subprocess.run(
            [go, 'build', '-o', '/dev/null', 'main.go'], cwd=folder,
            stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, GO111MODULE='off', HOME=folder,
                     GOCACHE=os.environ.get('GOCACHE', folder + '/cache')))
        if done.returncode != 0:
            problem('the Go on the page does not compile:\n' + done.stderr)


# -- Pictures -----------------------------------------------------------------

def drawn(step):
    number = str(int(step.split('-')[0]))
    svg, code = run(f'sh tutorials/run {number} picture run --svg')
    if code != 0:
        problem(f'tutorials/run {number} picture: exit code {code}')
    return svg


def events(svg):
    """Each program's in their order, then the arrows in any."""
    match = re.search(r'<desc>(.*?)</desc>', svg, re.S)
    return sorted(match.group(1).splitlines() if match else [],
                  key=lambda line: line if ' -&gt; ' in line else '')


def test_pictures(step):
    shutil.which('python3') or skip('python3 is not on the path')
    if '![' not in read(step, 'README.md'):
        problem('the page does not show picture.svg')
    kept = read(step, 'picture.svg')
    if 'class="bar"' not in kept:
        problem('the picture does not show that anybody waits')
    if ': E' in kept and 'class="rung error' not in kept:
        problem('the picture does not show errors in their own colour')
    if int(ElementTree.fromstring(kept).get('width')) > 640:
        problem('the picture is wider than 640 pixels')
    differences = []
    for _ in range(3):
        differences = list(difflib.unified_diff(
            events(kept), events(drawn(step)), 'the picture', 'a run',
            lineterm=''))
        if not differences:
            break
    problems.extend(differences)
    for play in plays(step):
        text, code = run(f'sh tutorials/run {int(step[:2])} picture {play}')
        lines = text.splitlines() or ['nothing']
        if code != 0 or max(map(len, lines)) > 80 or len(lines) < 5:
            problem(f'the picture of {play} ends with {code}, or is wider than '
                    f'80 columns:\n{text}')


def test_predict(step):
    """Whoever knows the answers of one run guesses all of another one right."""
    command = f'sh tutorials/run {int(step[:2])} predict'
    text, code = run(command + ' </dev/null')
    answers = re.findall(r'^  you: \(nothing\)    the run: (.*)$', text, re.M)
    asked = read(step, 'predict').count('\nask ')
    if code or len(answers) != asked or '' in answers:
        problem(f'the run does not answer each question:\n{text}')
        return
    guesses = ' '.join(f"'{guess}'" for guess in answers)
    text, code = run(f"printf '%s\\n' {guesses} | {command}")
    if code or f'You guessed {asked} of {asked}.' not in text:
        problem(f'guesses that are right are called wrong:\n{text}')
    if max(map(len, text.splitlines())) > 80:
        problem(f'it is wider than 80 columns:\n{text}')
    if any(line.endswith(' ') and '>' not in line
           for line in text.splitlines()):
        problem(f'a line ends in a blank:\n{text}')


def plays(step):
    return re.findall(r'^(\w+):', read(step, 'cast'), re.M)


def actors_of(step, play):
    """The programs of a play, as the stage calls them."""
    line = re.search(rf'^{play}: *(.*)$', read(step, 'cast'), re.M).group(1)
    names = [os.path.basename(part.split()[0]) for part in line.split(',')]
    return [name + str(names[:i + 1].count(name)) if names.count(name) > 1
            else name for i, name in enumerate(names)]


def in_own_numbers(calls):
    """Calls with descriptors numbered as they appear, and without the room
    that a read has: a program may keep descriptors of its own, and choose."""
    seen, own = {}, []
    for call in calls:
        name, rest = re.match(r'(\w+)\((.*)', call).groups()
        if name == 'poll':
            continue
        made = re.search(r'= (\d+)$', rest) if name in ('socket', 'accept') \
            else None
        if name != 'socket':
            fd, rest = re.match(r'(\d+)(.*)', rest).groups()
            rest = f'fd{seen.get(fd, fd)}' + rest
        if made:
            seen[made.group(1)] = len(seen)
            rest = rest[:rest.rindex('=')] + f'= fd{seen[made.group(1)]}'
        if name == 'recv':
            rest = re.sub(r', \d+\) =', ') =', rest)
        own.append(name + '(' + plain(rest))
    return own


def test_bare(step):
    """The bare program has the story of the one whose part it plays; and so has
    whatever is said to make the same calls."""
    page = read(step, 'README.md')
    for play in 'bare', *re.findall(
            r'the same calls\s+\(`sh tutorials/run \d+ (\w+)`\)', page):
        names = actors_of(step, play)
        part = actors_of(step, 'run')[names.index(play)]
        for last in (False, False, True):
            ours, other = (in_own_numbers(calls_of(step, *who, r'(/\d+)?'))
                           for who in (('run', part), (play, play)))
            if ours == other:
                break
            if last:
                report(f'the story of {play}.cpp, beside that of {part},',
                       '\n'.join(ours), '\n'.join(other))


# -- strace -------------------------------------------------------------------

NAMES = {'sendto': 'send', 'recvfrom': 'recv', 'accept4': 'accept'}
TRACED = ('socket,bind,listen,accept,accept4,connect,shutdown,getsockname,'
          'getpeername,setsockopt,getsockopt,sendto,recvfrom,sendmsg,recvmsg,'
          'poll,close')


def from_strace(path):
    """The calls of each thread on sockets, as (name, descriptor, result)."""
    files = sorted(glob.glob(path + '.*'),
                   key=lambda name: int(name[len(path) + 1:]))
    return [calls for calls in (in_thread(name, name != files[0])
                                for name in files) if calls]


def in_thread(path, knows_all):
    """Which descriptors are sockets is what the first thread knows; the others
    have no others."""
    calls, sockets = [], set()
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            match = re.match(r'(?:\d+ +)?(\w+)\((?:\[\{fd=)?(\w+).*\) += '
                             r'(-?\d+)(?: (E\w+))?', line)
            if not match:
                continue
            name, fd, result, error = match.groups()
            if name == 'socket':
                fd = result
            if name in ('socket', 'accept', 'accept4') and result != '-1':
                sockets.add(result)
            if name == 'recvmsg':  # those that travelled; here all are sockets
                for passed in re.findall(r'SCM_RIGHTS, cmsg_data=\[(.*?)\]',
                                         line):
                    sockets.update(passed.split(', '))
            if fd in sockets or knows_all:
                calls.append((NAMES.get(name, name), fd, error or result))
            if name == 'close':
                sockets.discard(fd)
    return calls


def test_strace(step):
    strace = shutil.which('strace') or skip('strace is not installed')
    built = os.environ['NETLITE_BUILT']
    if subprocess.run([strace, '-qq', '-o', '/dev/null', 'true'],
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip('strace may not trace here')

    line = re.search(r'^run: (.*)$', read(step, 'cast'), re.M).group(1)
    port = free_port()
    names = re.findall(r'(?:^|, )(?:\S*/)?(\w+)', line)
    by_number, signals = re.subn(
        fr'@({"|".join(names)})\b',
        lambda at: f'@actor{names.index(at[1])}x', line)
    # A process that gets a signal must be the program, and not its strace: -D.
    options = ['-qq', '-ff', *(['-D'] if signals else [])]
    actors = [actor.split() for actor in
              by_number.replace('PORT', port).split(', ')]
    with tempfile.TemporaryDirectory() as folder:
        command = [os.path.join(built, 'stage'), '--trace', folder + '/trace']
        for i, (program, *arguments) in enumerate(actors):
            path = os.path.normpath(os.path.join(step, program))
            command += [f'actor{i}x', strace, *options, '-o',
                        f'{folder}/{i}', '-e', 'trace=' + TRACED,
                        os.path.join(built, path.replace('/', '-')),
                        *arguments, '--']
        subprocess.run(command, cwd=COURSE, timeout=60,
                       stdout=subprocess.DEVNULL)
        with socket.socket() as probe:
            if probe.connect_ex(('127.0.0.1', int(port))) == 0:
                problem('the play is over, and its server still runs')
        with open(folder + '/trace', encoding='utf-8') as file:
            lines = [line.rstrip('\n').split('\t') for line in file]
        for i, (program, *_) in enumerate(actors):
            mine = [cells for cells in lines if cells[2] == f'actor{i}x'
                    and cells[8] != '?'
                    and cells[6] not in ('fcntl', 'kill', 'exit')]
            if any(cells[6] == 'getaddrinfo' for cells in mine):
                continue  # the resolver has sockets of its own
            told = {}
            for cells in mine:
                told.setdefault(cells[4], []).append(
                    (NAMES.get(cells[6], cells[6]), cells[5],
                     cells[9] if cells[9] != '-' else cells[8]))
            told = sorted(told.values())
            seen = sorted(from_strace(f'{folder}/{i}'))
            only_signals = any('@actor' in word for word in actors[i])
            if told != seen or not (told or only_signals):
                problem(f'{program}: the trace (-), and strace (+):\n' +
                        '\n'.join(difflib.unified_diff(
                            [' '.join(call) for part in told for call in part],
                            [' '.join(call) for part in seen for call in part],
                            n=1)))


# -- README.md ----------------------------------------------------------------

def compile_cpp(text, *flags, compiler=os.environ.get('CXX', 'c++')):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'main.cpp')
        with open(source, 'w', encoding='utf-8') as file:
            file.write(text)
        shutil.copy(os.path.join(TOP, 'include/netlite.hpp'), folder)
        done = subprocess.run(
            [*compiler.split(), *flags, 'main.cpp', '-o', 'main'], cwd=folder,
            stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            problem('the page has something that does not compile:\n' +
                    done.stderr[:2000])
            return None
        print(done.stderr, end='')  # what was skipped
        if '-fsyntax-only' in flags:
            return None
        ran = subprocess.run(['./main'], cwd=folder, timeout=30, text=True,
                             stdout=subprocess.PIPE)
        if ran.returncode != 0:
            problem(f'the program of README.md ended with {ran.returncode}')
        return ran.stdout


def test_readme(_=None):
    with open(os.path.join(TOP, 'README.md'), encoding='utf-8') as file:
        page = file.read()

    # The first program, built by the line under it, prints what it shows.
    first = re.search(r'```cpp\n(.*?)```.*?```sh\n(g\+\+.*?)\n(.*?)```.*?'
                      r'```text\n(.*?)```', page, re.S)
    line = re.fullmatch(r'g\+\+ (.*) main.cpp -o main && ./main',
                        first.group(2))
    printed = compile_cpp(first.group(1), *line.group(1).split())
    if printed is not None and printed != first.group(4):
        report('the first program', first.group(4), printed)

    # The lines of the table, each in a block of its own.
    rows = re.findall(r'^\| `(.+?)` \| `(.+?)` \|$', page, re.M)
    if len(rows) < 10:
        problem('README.md has no table of Go and C++')
    # The comments hide nothing.
    compile_lines(re.sub(' *;? *(//.*)?$', '', cpp) + ';' for _, cpp in rows)

    for name, text in re.findall(
            r'<!-- file: (\S+) -->\n```\w*\n(.*?)```', page, re.S):
        with open(os.path.join(TOP, name), encoding='utf-8') as file:
            real_lines = [line.strip() for line in file]
        for line in text.splitlines():
            if line.strip() not in real_lines:
                problem(f'README.md: {name} has no line {line.strip()!r}')


def test_commands(_=None):
    text, _ = run('sh tutorials/run help')
    pages = read('README.md') + read('how-do-i.md') + ''.join(
        read(name, 'README.md') for name in steps() + projects())
    for command in re.findall(r'^sh (tutorials/run(?: [a-z\d]+)+)', text, re.M):
        if not re.search(command.replace(' 1', r' \d+') +
                         r'\b(?! broken)', pages):
            problem(f'{command} is on no page of the course')


# A line that begins a function.
FUNCTION = re.compile(r'^[\w:<>]+[ *&]+\w+\([^;]*\) \{$', re.M)


def test_answers(_=None):
    """By both compilers; and each alone, for what it does not include."""
    before, *answers = re.split('^### ', read('how-do-i.md'), flags=re.M)
    given = re.search(r'^```cpp\n(.*?)^```$', before, re.M | re.S)[1]
    parts = [in_functions(*each) for each in enumerate(answers)]
    if len(answers) < 50:
        problem('how-do-i.md has no answers')
    for name in steps() + projects():
        if not any(f']({name}/README.md)' in answer for answer in answers):
            problem(f'how-do-i.md leads nobody to {name}')
    compilers = {}
    for name in 'g++', 'clang++', os.environ.get('CXX', 'c++'):
        found = shutil.which(name.split()[0])
        if found:
            compilers.setdefault(os.path.realpath(found), name)
    for compiler in compilers.values():
        compile_cpp(given + ''.join(parts), '-std=c++17', '-fsyntax-only',
                    '-Wall', '-Wextra', '-Wno-unused-parameter',
                    '-Wno-unused-variable', '-Werror', compiler=compiler)
    with tempfile.TemporaryDirectory() as folder:
        header = os.path.join(folder, 'given.hpp')
        with open(header, 'w', encoding='utf-8') as file:
            file.write(given)
        subprocess.run([*os.environ.get('CXX', 'c++').split(), '-std=c++17',
                        '-I', os.path.join(TOP, 'include'), '-x', 'c++-header',
                        header, '-o', header + '.gch'], check=True)
        for part in parts:
            compile_cpp(part, '-std=c++17', '-fsyntax-only', '-include', header)


def in_functions(number, answer):
    """Its functions, and its other lines each in a function that has what is
    given. Passed over, by its name, where a library is missing."""
    code = re.findall(r'^```cpp\n(.*?)^```$', answer, re.M | re.S)
    includes = re.findall(r'^#include (.*)$', ''.join(code), re.M)
    text = ''.join(f'#include {each}\n' for each in includes)
    text += f'namespace answer_{number} {{\n'
    for part, lines in enumerate(code):
        lines = re.sub(r'^#include .*\n', '', lines, flags=re.M)
        text += lines if FUNCTION.search(lines) else (
            f'void part_{part}({GIVEN}) {{{{\n{lines}}}}}\n')
    found = ' && '.join(f'__has_include({each})' for each in includes) or 1
    return (f'#if {found}\n{text}}}\n#else\n'
            f'#pragma message("skipped: {answer.splitlines()[0]}")\n#endif\n')


def compile_lines(fragments):
    """Each in a block of its own: what it declares hides what is given."""
    compile_cpp(LINES % (GIVEN, ''.join(f'  {{\n{fragment}\n  }}\n'
                                        for fragment in fragments)),
                '-std=c++17', '-fsyntax-only', '-Werror')


# What lines of a page may use and need not make.
GIVEN = '''net::Conn conn, net::Conn from, net::Conn to, net::Listener listener,
           net::PacketConn packets, net::Addr address, net::Error err,
           char (&buffer)[64], std::string head, std::string body,
           int descriptor'''
LINES = '''#include "netlite.hpp"
#include <csignal>
#include <iostream>
namespace net = netlite;
using namespace std::chrono_literals;
void handle(net::Conn conn);
void given(%s) {
%s}
'''


# -- Updating -----------------------------------------------------------------

def update(step):
    global updating
    updating = True

    def renewed(block):
        if re.search(r'^\.\.\.$', block['text'], re.M):
            print('not renewed, for its "...":', block['what'])
            return block.group(0)
        fence = 'cpp' if block['kind'] == 'listing' else 'text'
        return (f'<!-- {block["kind"]}: {block["what"]} -->\n```{fence}\n'
                f'{real(step, block)}```\n')

    page = BLOCK.sub(renewed, read(step, 'README.md'))
    with open(os.path.join(COURSE, step, 'README.md'), 'w',
              encoding='utf-8') as file:
        file.write(page)
    shutil.copy(os.path.join(COURSE, step, 'exercise.hpp'),
                os.path.join(COURSE, step, 'exercise.start'))
    with open(os.path.join(COURSE, step, 'picture.svg'), 'w',
              encoding='utf-8') as file:
        file.write(drawn(step))


def main():
    tests = {'structure': test_structure, 'project': test_project,
             'listings': test_listings,
             'transcripts': test_transcripts, 'calls': test_calls,
             'links': test_links, 'go': test_go, 'strace': test_strace,
             'readme': test_readme, 'answers': test_answers,
             'commands': test_commands,
             'pictures': test_pictures, 'predict': test_predict,
             'bare': test_bare, 'update': update}
    if len(sys.argv) < 2 or sys.argv[1] not in tests:
        sys.exit(__doc__)
    tests[sys.argv[1]](*sys.argv[2:])
    for text in problems:
        print(text)
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
