#!/usr/bin/env python3
"""Go's own tests of net, with netlite inside.

  python3 tests/interop/go/run.py [--list] [TIMES]

Builds Go's conformance test of connections, nettest.TestConn, and those of the
standard library's tests of net that need no more than its public face, with the
package in net/, which is Go's net on the outside and netlite inside; and runs
them under the race detector. All come from the Go that is installed; where
there is none, the exit code is 77.

Once, a test may try three times, because a few of Go's measure time; TIMES
from 2 on run each so often, and it must pass each time. README.md names those
that do not, and why. --list tells which of Go's tests are left out, and why.
"""
# SPDX-License-Identifier: MIT
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent.parent
WORLD = ["sh", str(TESTS / "world" / "run")]
VERSION = "go1.19"  # README.md's list is of its tests
SKIPPED = 77


def skip(why):
    print("skipped:", why)
    sys.exit(SKIPPED)


def go_env():
    """The environment for building with Go, without asking any server."""
    if not shutil.which("go"):
        skip("go is not installed")
    told = json.loads(subprocess.run(["go", "env", "-json"], check=True,
                                     stdout=subprocess.PIPE).stdout)
    root = pathlib.Path(told["GOROOT"])
    for needed in "net/net_test.go", "vendor/golang.org/x/net/nettest":
        if not (root / "src" / needed).exists():
            skip(f"Go's {needed} is not installed")
    flags = f"{os.environ.get('CXXFLAGS', '')} -std=c++17 -O1 -g"
    return root, told["GOVERSION"], dict(
        os.environ, GO111MODULE="off", GOFLAGS="", GOPROXY="off",
        GOTOOLCHAIN="local", CGO_ENABLED="1",
        CGO_CXXFLAGS=flags, CGO_LDFLAGS=os.environ.get("LDFLAGS", ""),
        GOCACHE=told["GOCACHE"])


def shadow(root, work):
    """A Go whose standard library has one package more, netlite: only what
    lies there may use what Go's tests use."""
    (work / "src").mkdir()
    for each in root.iterdir():
        if each.name != "src":
            (work / each.name).symlink_to(each)
    for each in (root / "src").iterdir():
        (work / "src" / each.name).symlink_to(each)
    package = work / "src" / "netlite"
    shutil.copytree(HERE / "net", package)
    # Go builds again when a file of the package has changed, but no other.
    shutil.copy(TESTS.parent / "include" / "netlite.hpp", package)
    return package


def adapt(package, env):
    """Adds Go's tests of net to the package; (kept, left out and why)."""
    told = subprocess.run(["go", "run", HERE / "adapt" / "adapt.go", package],
                          env=env, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.splitlines()
    return ([line[5:] for line in told if line.startswith("kept ")],
            [line[5:] for line in told if line.startswith("left ")])


def conformance_tests():
    """How many README.md says there are: tests times kinds of connections."""
    tests, kinds = re.search(r"(\d+) tests of (\d+) kinds of connections",
                             (HERE / "README.md").read_text()).groups()
    return int(tests) * int(kinds)


def conforms(program, times):
    """Runs nettest's test of connections so often."""
    told = subprocess.run(
        [program, "-test.v", "-test.run=^TestConformance$",
         f"-test.count={times}", f"-test.timeout={times + 2}m"],
        text=True, errors="replace", stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    results = re.findall(r"^ +--- (\w+): TestConformance/[^/]+/", told.stdout,
                         re.M)
    passed, wanted = results.count("PASS"), times * conformance_tests()
    print(f"nettest.TestConn: {passed} of {wanted} passed")
    if told.returncode or not len(results) == passed == wanted:
        print(told.stdout[-20000:])
        return False
    return True


def attempt(program, name):
    """Runs one of Go's tests of net: (result, what it printed)."""
    try:
        told = subprocess.run(
            [program, "-test.v", f"-test.run=^{name}$", "-test.timeout=60s",
             "-flaky"], text=True, errors="replace", timeout=90,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as late:
        return "FAIL", str(late)
    if "netlite was not called" in told.stdout:
        return "ELSEWHERE", told.stdout
    found = re.search(rf"^--- (\w+): {name} ", told.stdout, re.M)
    if not found or told.returncode and found[1] != "FAIL":
        return "FAIL", told.stdout
    return found[1], told.stdout


def judge(program, name, times, known):
    """Runs a test as often as wanted: (name, result, what it printed)."""
    for _ in range(times if times > 1 else 3):
        result, told = attempt(program, name)
        # Once, a pass ends the tries; of many, a failure does.
        if name in known or (result != "FAIL") == (times == 1):
            break
    return name, result, told


def explained():
    """The tests that README.md says do not pass."""
    return set(re.findall(r"^\| `(Test\w+)`", (HERE / "README.md").read_text(),
                          re.M))


def run_all(program, names, times):
    """Runs Go's tests of net, inside of the world."""
    known, count, good = explained(), {}, True
    with concurrent.futures.ThreadPoolExecutor(2) as two:
        for name, result, told in two.map(
                lambda name: judge(program, name, times, known), names):
            count[result] = count.get(result, 0) + 1
            if name in known and result == "PASS":
                print(f"{name} passes: README.md says it does not")
            elif name in known and result != "ELSEWHERE":
                print(f"{name} does not pass, as README.md explains")
            elif result not in ("PASS", "ELSEWHERE"):
                good = False
                print(f"{name}: {result}", told[-5000:], sep="\n")
    print(f"net's own tests: {count.get('PASS', 0)} of "
          f"{len(names) - count.get('ELSEWHERE', 0)} passed; "
          f"{count.get('ELSEWHERE', 0)} more do not touch netlite")
    return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("times", nargs="?", type=int, default=1)
    options = parser.parse_args()
    if options.inside:
        program, names = options.inside
        return not run_all(program, names.split(), options.times)

    root, version, env = go_env()
    with tempfile.TemporaryDirectory(prefix="nl-") as work:
        work = pathlib.Path(work)
        package, names = shadow(root, work), []
        env["GOROOT"] = str(work)
        if version.startswith(VERSION):
            names, left = adapt(package, env)
        else:
            (package / "face_test.go").unlink()
        if options.list:
            print(*left, sep="\n")
            return 0
        program = work / "netlite.test"
        # The race detector wants a program at a fixed place. Go asks for one
        # by itself, unless CXX is more than one word, such as "ccache c++".
        subprocess.run(["go", "test", "-race", "-vet=off",
                        "-ldflags=-extldflags=-no-pie", "-c", "-o", program,
                        "netlite"], cwd=work, env=env, check=True)
        good = conforms(program, options.times)
        if not names:
            print(f"net's own tests are not run: this is {version}, and "
                  f"README.md knows those of {VERSION}")
        elif subprocess.run([*WORLD, "true"]).returncode == 0:
            good &= subprocess.run(
                [*WORLD, sys.executable, __file__, str(options.times),
                 "--inside", program, " ".join(names)],
                cwd=package).returncode == 0
        return not good


if __name__ == "__main__":
    sys.exit(main())
