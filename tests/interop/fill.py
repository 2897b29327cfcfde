#!/usr/bin/env python3
"""Fills a frame with the answers of a page: what is printed is what runs.

  python3 tests/interop/fill.py PAGE FRAME OUT

A line `// … stop a server?` of the frame becomes the code under that heading of
the page, and `// … stop a server? (2)` the second block of it. Includes stay
out: the frame has its own, outside of its namespaces. What a page fixes and a
test must choose - the address and the time - becomes a variable of the frame.
"""
# SPDX-License-Identifier: MIT
import os
import re
import sys

CHOSEN = {'"127.0.0.1:9988"': "address", r"\b(2|30)s\b": "patience"}


def answer(page, heading, number):
    """Its text, and in which line of the page it begins."""
    start = page.find(f"\n### {heading}\n")
    end = page.find("\n### ", start + 1)
    code = list(re.finditer(r"^```cpp\n(.*?)^```$", page[start:end or None],
                            re.M | re.S))
    if start < 0 or len(code) < number:
        sys.exit(f"the page has no {heading!r} ({number})")
    block = code[number - 1]
    line = page.count("\n", 0, start + block.start(1)) + 1
    text = re.sub("^#include .*", "", block[1], flags=re.M)
    for fixed, variable in CHOSEN.items():
        text = re.sub(fixed, variable, text)
    return text, line


def fill(page, frame):
    with open(page, encoding="utf-8") as file:
        answers = file.read()
    with open(frame, encoding="utf-8") as file:
        lines = file.read().splitlines()
    text = f'#line 1 "{os.path.abspath(frame)}"\n'
    for number, line in enumerate(lines, 2):
        found = re.fullmatch(r"\s*// (… .*\?)(?: \((\d)\))?", line)
        if found:
            code, at = answer(answers, found[1], int(found[2] or 1))
            line = (f'#line {at} "{os.path.abspath(page)}"\n{code}'
                    f'#line {number} "{os.path.abspath(frame)}"')
        text += line + "\n"
    return text


if __name__ == "__main__":
    with open(sys.argv[3], "w", encoding="utf-8") as out:
        out.write(fill(sys.argv[1], sys.argv[2]))
