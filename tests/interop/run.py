#!/usr/bin/env python3
"""netlite among programs that we did not write.

  python3 tests/interop/run.py [-k WORD] [--build DIR] [WITH...]

WITH is nc, socat, python, curl, go, examples, web, dns, scan or recipes; without
one, all of them. -k picks the cases with this word in their names. The programs
under test come from a Meson build directory, or else are compiled first, with
$CXX and $CXXFLAGS.

A case whose program is not installed is skipped by that program's name; the
exit code is 77 if all were. It is 0 when all others passed, and 1 when not.
"""
# SPDX-License-Identifier: MIT
import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

import fill  # noqa: E402
import harness  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECTIONS = ["nc", "socat", "python", "curl", "go", "examples", "web", "dns",
            "scan", "recipes"]
SOURCES = ["tests/interop/peer", "tests/interop/http", "examples/greeting",
           "examples/echo", "examples/cat", "examples/lookup",
           "examples/proxy", "examples/web", "examples/dns", "examples/scan"]
# The answers of the course's page in their frames, and what they link with.
RECIPES = {"recipes": [], "recipes_tls": ["-lssl", "-lcrypto"],
           "recipes_uv": ["-luv"]}


class Result(unittest.TextTestResult):
    """Cases have sentences for names, and end their children also when this
    program is ended by a signal."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def startTestRun(self):
        def end(*_):
            self.stop()
            raise InterruptedError("ended by a signal")

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)

    def getDescription(self, test):
        case = getattr(test, "test_case", test)  # of a part of a case
        name = getattr(case, "_testMethodName", str(test))
        part = test._subDescription() + " of: " if case is not test else ""
        return part + name.replace("test_", "", 1).replace("_", " ")


def compile_one(source, program, *libraries):
    print("compiling", os.path.basename(program), flush=True)
    done = subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17",
                           *os.environ.get("CXXFLAGS", "").split(),
                           f"-I{ROOT}/include", source, "-o", program,
                           "-pthread", *libraries])
    if done.returncode and not libraries:  # which may be missing
        sys.exit(f"{source} does not compile")


def compile_all(directory):
    for source in SOURCES:
        program = os.path.join(directory, source)
        os.makedirs(os.path.dirname(program), exist_ok=True)
        compile_one(f"{ROOT}/{source}.cpp", program)
    for name, libraries in RECIPES.items():
        program = os.path.join(directory, "tests/interop", name)
        with open(program + ".cpp", "w", encoding="utf-8") as out:
            out.write(fill.fill(ROOT / "tutorials" / "how-do-i.md",
                                HERE / f"{name}.cpp"))
        compile_one(program + ".cpp", program, *libraries)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", help="the Meson build directory")
    parser.add_argument("-k", action="append", metavar="WORD",
                        help="only cases with this word in their names")
    parser.add_argument("sections", nargs="*", metavar="WITH")
    options = parser.parse_args()
    for section in options.sections:
        if section not in SECTIONS:
            parser.error(f"WITH is one of: {', '.join(SECTIONS)}")

    # Servers are ended while they run: a finding must not wait for their exit.
    os.environ.setdefault("TSAN_OPTIONS", "halt_on_error=1")
    with tempfile.TemporaryDirectory(prefix="nl-") as own:
        if not options.build:
            compile_all(own)
        for source in SOURCES + [f"tests/interop/{name}" for name in RECIPES]:
            harness.PROGRAMS[os.path.basename(source)] = os.path.join(
                os.path.abspath(options.build or own), source)
        loader = unittest.TestLoader()
        if options.k:
            loader.testNamePatterns = [f"*{word}*" for word in options.k]
        suite = loader.loadTestsFromNames(
            f"with_{section}" for section in options.sections or SECTIONS)
        result = unittest.TextTestRunner(
            sys.stdout, verbosity=2, resultclass=Result).run(suite)

    missing = sorted({why for _, why in result.skipped})
    for why in missing:
        print(f"skipped: {why}")
    if not result.wasSuccessful():
        return 1
    return 77 if missing and not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
