#!/usr/bin/env python3
"""Makes small faults in the header, one at a time: do the tests notice?

  sh tests/run mutants [N] [SEED | SECTION] [options]

Makes N faults (200), of each kind as many: a condition turned, a comparison off
by one, a statement left out - a bell not rung, an errno not set - a lock left
out, and so on (mutations.py). SEED is a number and gives other ones; SECTION is
a word of a section's title in the header and keeps to it.

For each fault, the test programs of the section where it lies are built and
run until one of them fails: the fault is killed. A hang is a failure too. For a
lock left out, the thread sanitizer looks first. What no program notices has
survived, and is shown with its line: write the missing test, or tell in
equivalent.txt why the change makes no difference.

What was killed once is not tried again, and what has survived is: so the run
can be interrupted, and goes on where it was. Results and programs are kept in
build-mutants/. The exit code is 0 when at least 95 % were killed.

  -j N     so many at a time (2)
  --all    lets all programs try, when those of the section notice nothing
  --fresh  forgets what is known from earlier runs
  --list   shows the faults and does nothing
"""
# SPDX-License-Identifier: MIT
import argparse
import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True

import mutations  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
ROOT = TESTS.parent
HEADER = ROOT / "include" / "netlite.hpp"
WORK = ROOT / "build-mutants"
FLAGS = ["-std=c++17", "-O0", "-w", "-U_FORTIFY_SOURCE", "-pthread",
         "-DDOCTEST_CONFIG_SUPER_FAST_ASSERTS", f"-I{TESTS}",
         f'-DTEST_DATA="{TESTS / "data"}"']
FLAVOURS = {"plain": [], "thread": ["-fsanitize=thread"]}
WANTED = 95  # of a hundred
SKIPPED = "(77)"

# Words of a section's title, and the test programs that must notice a fault
# there; a program also belongs to the sections that its name is a word of.
# world/ is a program where it is known which names and addresses there are.
PROGRAMS = [
    ("error|word", "errors"),
    ("address|name|look|host|port", "addresses world/addresses tables"
                                    " faults/dial faults/names unix"),
    ("kernel", "connections packets unix"),
    ("sys", "sys faults/every_call faults/descriptors connections streams"
            " unix packets poller faults/corners faults/dial"),
    ("time", "connections streams faults/dial faults/times concurrency"
             " poller"),
    ("wait", "connections listeners streams faults/races faults/times"
             " concurrency poller faults/threads faults/costs"),
    ("connection", "connections streams unix options faults/races"
                   " faults/costs faults/threads"),
    ("dial|rac", "connections faults/dial unix addresses world/addresses"
                 " faults/times faults/names"),
    ("listen", "listeners connections packets unix faults/serve"
               " faults/names"),
    ("many|serve|concurren|group", "faults/serve faults/races concurrency"
                                   " faults/threads"),
    ("read|copy|file|help|stream", "streams faults/corners"),
    ("packet|datagram", "packets unix options faults/corners"),
    ("unix", "unix faults/descriptors faults/corners"),
    ("option|adopt", "options connections"),
    ("poll", "poller concurrency"),
    ("key", "addresses errors connections"),
]
AFTER_ALL = ["faults/every_call", "faults/allocations"]

# What all test programs include, in the form that compilers read fast.
COMMON = """#include <doctest/doctest.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <vector>
"""


def compiler(*names):
    for name in names:
        if name and shutil.which(name):
            return name
    sys.exit("mutants: no C++ compiler here")


# clang++ is the fastest; but its thread sanitizer does not know the call by
# which libstdc++'s condition variables wait.
CXX = {"plain": compiler(os.environ.get("CXX"), "clang++", "g++", "c++"),
       "thread": compiler("g++", "c++", "clang++")}


def is_clang(flavour):
    return "clang" in subprocess.run(
        [CXX[flavour], "--version"], stdout=subprocess.PIPE, text=True).stdout


def compile_(flavour, arguments):
    """Compiles; complaints."""
    told = subprocess.run(
        [CXX[flavour], *FLAGS, *FLAVOURS[flavour], *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    return (told.stderr or "no word") if told.returncode else ""


def must_compile(flavour, arguments):
    if complaints := compile_(flavour, arguments):
        sys.exit(f"mutants: cannot compile\n{complaints[-3000:]}")


def source(name):
    return TESTS / f"{name.removeprefix('world/')}.cpp"


def programs(section):
    """The test programs for a section, those that know it best first."""
    title = section.lower()
    if "sys" not in title:
        title = title.split(": ")[0]
    own = [path.stem for path in sorted(TESTS.glob("*.cpp"))
           if path.stem != "main" and path.stem.rstrip("s") in title]
    named = [name for words, names in PROGRAMS
             if re.search(rf"\b(?:{words})", title)
             for name in names.split()]
    order = dict.fromkeys(own + named + AFTER_ALL)
    return [name for name in order if source(name).exists()]


def everything():
    return [str(path.relative_to(TESTS).with_suffix(""))
            for folder in (TESTS, TESTS / "faults")
            for path in sorted(folder.glob("*.cpp")) if path.stem != "main"]


def active_lines():
    """The lines of the header that this build compiles."""
    told = subprocess.run([CXX["plain"], *FLAGS, "-E", "-x", "c++", HEADER],
                          stdout=subprocess.PIPE, check=True, text=True).stdout
    lines, line, here = set(), 0, False
    for text in told.splitlines():
        if marker := re.match(r'# (\d+) "([^"]*)"', text):
            line, here = int(marker[1]), marker[2] == str(HEADER)
            continue
        if here and text.strip():
            lines.add(line)
        line += 1
    return lines


def equivalent():
    """The changes that make no difference, by the diffs in equivalent.txt."""
    text = re.sub("<!--.*?-->", "", (HERE / "equivalent.txt").read_text(),
                  flags=re.S)
    return {tuple(joined(line[1:] for line in diff.splitlines()
                         if line.startswith(sign)) for sign in "-+")
            for diff in re.findall(r"^```diff\n(.*?)^```", text, re.S | re.M)}


def joined(lines):
    return " ".join(line.strip() for line in lines if line.strip())


def change(mutant):
    """A fault as equivalent.txt has it."""
    return joined(mutant.old.splitlines()), joined(mutant.new.splitlines())


class Builds:
    """What is made once: the common part of the programs, and how long each
    takes with the header as it is."""

    def __init__(self):
        self.lock, self.locks, self.times = threading.Lock(), {}, {}
        state = hashlib.sha1(str(CXX).encode())
        for path in [HEADER, *sorted(TESTS.glob("*.?pp")),
                     *sorted((TESTS / "faults").glob("*.?pp"))]:
            state.update(path.read_bytes())
        self.work = WORK / f"once-{state.hexdigest()[:12]}"
        self.work.mkdir(parents=True, exist_ok=True)

    def once(self, name):
        """A lock for what only one thread shall make."""
        with self.lock:
            return self.locks.setdefault(name, threading.Lock())

    def common(self, flavour):
        """Arguments to include the common part, and the main program."""
        clang, prefix = is_clang(flavour), self.work / flavour
        header, main = prefix.with_suffix(".hpp"), prefix.with_suffix(".o")
        made = header.with_suffix(".pch" if clang else ".hpp.gch")
        with self.once(flavour):
            if not main.exists():
                header.write_text(COMMON)
                must_compile(flavour, ["-x", "c++-header", header, "-o", made])
                must_compile(flavour, [f"-I{HEADER.parent}", "-c",
                                       TESTS / "main.cpp", "-o", main])
        return ["-include-pch", made] if clang else ["-include", header], main

    def build(self, name, headers, to, flavour):
        """Builds a test program with the header in a folder; complaints."""
        use, main = self.common(flavour)
        return compile_(flavour, [*use, f"-I{headers}", source(name), main,
                                  "-o", to, "-ldl"])

    def normal(self, name, flavour):
        """How long the program takes with a good header; None when it fails
        with that one too, and so cannot tell a fault."""
        record = self.work / f"{name.replace('/', '-')}-{flavour}.time"
        with self.once((name, flavour)):
            if not record.exists():
                program = record.with_suffix("")
                if complaints := self.build(name, HEADER.parent, program,
                                            flavour):
                    sys.exit(f"{name} does not compile, with the header as it "
                             f"is:\n{complaints[-3000:]}")
                start = time.monotonic()
                why = run(name, program, 900, flavour)
                took = time.monotonic() - start
                program.unlink(missing_ok=True)
                if why and not why.endswith(SKIPPED):
                    sys.exit(f"{name} ({flavour}) {why}, with the header as it "
                             f"is")
                record.write_text(str(-1 if why else took))
                if why:
                    print(f"{name} is left out: it cannot run here")
            took = float(record.read_text())
            return None if took < 0 else took


def limits():
    """What a program with a fault may take of the machine."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Some send files of more than 2 GiB; some have thousands of threads, whose
    # stacks count as data.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))


def run(name, program, limit, flavour):
    """Runs a test program: "" when it passes, or how it failed."""
    steady = ["setarch", os.uname().machine, "-R"] * (flavour == "thread")
    world = ["sh", TESTS / "world" / "run"] * name.startswith("world/")
    child = subprocess.Popen(
        [*steady, *world, program, "--abort-after=1", "--no-colors=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=limits if flavour == "plain" else None,
        env=dict(os.environ, TSAN_OPTIONS="halt_on_error=1 die_after_fork=0"))
    try:
        code = child.wait(limit)
        return "" if code == 0 else f"failed ({code})"
    except subprocess.TimeoutExpired:
        return f"hung ({limit:.0f} s)"
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def try_one(builds, text, mutant, options):
    """The result of a fault: killed, survived, or invalid; and by what."""
    folder = WORK / f"{mutant.key}-{os.getpid()}"
    folder.mkdir(parents=True)
    (folder / "netlite.hpp").write_text(
        text[:mutant.start] + mutant.text + text[mutant.end:])
    names = programs(mutant.section)
    if options.all:
        names += [name for name in everything() if name not in names]
    # The thread sanitizer sees no threads of a forked child.
    flavours = (["thread"] * (mutant.kind == "a lock left out")) + ["plain"]
    try:
        for flavour, name in itertools.product(flavours, names):
            normal = builds.normal(name, flavour)
            if normal is None:
                continue
            if builds.build(name, folder, folder / "program", flavour):
                return "invalid", "does not compile"
            how = run(name, folder / "program", 15 + 5 * normal, flavour)
            if how:
                return "killed", f"{name} {how}"
        return "survived", " ".join(names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shown(mutant, result, by):
    lines = [f"{result}: {mutant.kind}, {HEADER.name}:{mutant.line}, "
             f"{mutant.function} [{mutant.section}]; {by}"]
    if result != "killed":
        lines += [f"  - {line.strip()}" for line in mutant.old.splitlines()]
        lines += [f"  + {line.strip()}" for line in mutant.new.splitlines()]
    return "\n".join(lines)


class Known:
    """The results of earlier runs, one a line."""

    def __init__(self, fresh):
        self.file = WORK / "results.jsonl"
        if fresh and self.file.exists():
            self.file.unlink()
        self.lock, self.results = threading.Lock(), {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                each = json.loads(line)
                self.results[each["key"]] = each

    def add(self, mutant, result, by):
        each = dict(key=mutant.key, kind=mutant.kind, section=mutant.section,
                    result=result, by=by, old=mutant.old, new=mutant.new)
        with self.lock, self.file.open("a") as file:
            self.results[mutant.key] = each
            print(json.dumps(each), file=file)

    def get(self, mutant):
        each = self.results.get(mutant.key, {})
        return each.get("result"), each.get("by")


def summary(results):
    """Counts by section and by kind; the exit code."""
    for what in "section", "kind":
        print()
        for value in sorted({getattr(m, what) for m, _ in results}):
            these = [r for m, r in results if getattr(m, what) == value]
            print(f"  {these.count('killed'):4} of {len(these):4}  {value}")
    killed = sum(result == "killed" for _, result in results)
    print(f"\n{killed} of {len(results)} faults were killed")
    return 100 * killed < WANTED * len(results)


def arguments():
    parser = argparse.ArgumentParser(
        prog="mutants", description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=200)
    parser.add_argument("which", nargs="?", default="1")
    parser.add_argument("-j", type=int, default=2, metavar="N")
    for name in "--all", "--fresh", "--list":
        parser.add_argument(name, action="store_true")
    return parser.parse_args()


def candidates(text, which):
    """The faults to try, in their order, without those that are known to make
    no difference."""
    same, seed, section = equivalent(), 1, which.lower()
    if which.isdigit():
        seed, section = int(which), ""
    order = mutations.chosen(mutations.mutants(text, active_lines()), seed)
    return [each for each in order
            if change(each) not in same and section in each.section.lower()]


def main():
    options = arguments()
    text = HEADER.read_text()
    faults = iter(candidates(text, options.which))
    if options.list:
        for _, each in zip(range(options.count), faults):
            print(shown(each, "fault", ", ".join(programs(each.section))))
        return 0
    WORK.mkdir(exist_ok=True)
    builds, known, results = Builds(), Known(options.fresh), []

    def one(mutant):
        result, by = known.get(mutant)
        if result in ("killed", "invalid"):
            return mutant, result, by
        result, by = try_one(builds, text, mutant, options)
        known.add(mutant, result, by)
        return mutant, result, by

    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        running = set()
        while len(results) < options.count:
            while len(running) < min(options.j, options.count - len(results)):
                each = next(faults, None)
                if each is None:
                    break
                running.add(pool.submit(one, each))
            if not running:
                break
            done, running = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED)
            for mutant, result, by in (each.result() for each in done):
                if result != "invalid":
                    results.append((mutant, result))
                    print(f"{len(results)}. {shown(mutant, result, by)}",
                          flush=True)
    return summary(results)


if __name__ == "__main__":
    sys.exit(main())
