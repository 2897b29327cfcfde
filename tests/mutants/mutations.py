"""Small faults, made from the text of a C++ header, one at a time.

Knows no more of C++ than where comments, strings, directives and the bodies of
functions are, and the layout that clang-format gives: operators of two operands
stand between spaces. What does not compile is for others to find.
"""
# SPDX-License-Identifier: MIT
import bisect
import collections
import hashlib
import random
import re

# A fault: where it is, and what its line was and becomes. Lines are told by
# their text, since numbers change.
Mutant = collections.namedtuple(
    "Mutant", "key kind section function line old new start end text")

HIDDEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*",
    re.S | re.M)
BANNER = re.compile(r"^// [-=]{70,}\n// ([^\n]+)$", re.M)
CONTROL = re.compile(r"\s*(?:else\b|case\b[^;{}]*?[^:]:(?!:)|default\s*:"
                     r"|(?:if|while|for|switch)\b\s*(?:constexpr\s*)?\()")


SCOPE = re.compile(
    r"(?:(?:inline|friend)\s+)*(?:namespace|extern|class|struct|union)\b")


def blank(match):
    """As many characters that say nothing; a string stays a string."""
    text = match[0]
    inner = re.sub(r"[^\n]", " ", text)
    return '"' + inner[1:-1] + '"' if text[0] == '"' else inner


def closing(text, start):
    """Where the bracket that opens at start is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "({[") - (text[i] in ")}]")
        if depth == 0:
            return i
    return len(text)


def without_template(head):
    """The head of a declaration without template<...> and attributes."""
    head = re.sub(r"\[\[.*?\]\]", "", head, flags=re.S).strip()
    while head.startswith("template"):
        depth, i = 0, head.find("<")
        for i in range(i, len(head)):
            depth += (head[i] == "<") - (head[i] == ">")
            if depth == 0:
                break
        head = head[i + 1:].strip()
    return head


def bodies(code):
    """The bodies of functions: (start, end, name), by where they are."""
    found, i, last = [], 0, 0
    while i < len(code):
        if code[i] in ";}":
            last = i + 1
        elif code[i] == "{":
            head = without_template(code[last:i])
            scope = SCOPE.match(head)
            last = i + 1
            if not scope:  # a function, an enum, or the value of a variable
                end = closing(code, i)
                name = re.search(r"([\w:~]+|operator\W+?)\s*\(", head)
                if name:
                    found.append((i + 1, end, name[1]))
                i, last = end, end + 1
        i += 1
    return found


def statements(code, start, end):
    """The simple statements of a body, (start, end), without their semicolon
    and without the if, else, for or while before them."""
    stack, first, i = [0], start, start
    while i < end:
        c = code[i]
        if c in "([":
            stack[-1] += 1
        elif c in ")]":
            stack[-1] -= 1
        elif c == "{":
            stack.append(0)
            first = i + 1
        elif c == "}":
            if len(stack) > 1:
                stack.pop()
            first = i + 1
        elif c == ";":
            if stack[-1] == 0:
                at = first
                while control := CONTROL.match(code, at, i):
                    at = control.end()
                    if code[at - 1] == "(":
                        at = closing(code, at - 1) + 1
                text = code[at:i]
                yield at + len(text) - len(text.lstrip()), i
            first = i + 1 if stack[-1] == 0 else first
        i += 1


DECLARES = re.compile(
    r"(?:const|constexpr|static|auto|using|typedef|static_assert|struct"
    r"|class)\b"
    r"|[\w:]+(?:<.*>)?(?:::\w+)?(?:\s*[*&])*\s+[*&]*\w+\s*(?:[=({\[,]|$)", re.S)
LOCK = re.compile(r"(?:const\s+)?std::(?:lock_guard|scoped_lock)\b")
LEAVES = re.compile(r"(?:return|break|continue|throw|goto|delete|default)\b")


def left_out(code, start, end):
    for at, stop in statements(code, start, end):
        text = code[at:stop]
        if LOCK.match(text):
            yield "a lock left out", at, stop, ""
        elif text == "continue" or text == "break":
            yield ("a loop goes on or ends", at, stop,
                   "break" if text == "continue" else "continue")
        elif found := re.match(r"return\s+(?!\{\}$)", text):
            yield "nothing returned", at + found.end(), stop, "{}"
        elif text and not LEAVES.match(text) and not DECLARES.match(text):
            yield "a statement left out", at, stop, ""


def conditions(code, start, end):
    for found in re.compile(r"\b(?:if|while)\s*\(").finditer(code, start, end):
        first, last = found.end(), closing(code, found.end() - 1)
        first += code[first:last].rfind(";") + 1
        inside = code[first:last]
        if re.search(r"[^=!<>]=[^=]", inside):  # declares what it asks for
            continue
        space = inside[:len(inside) - len(inside.lstrip())]
        for kind, new in (("a condition turned", f"!({inside.strip()})"),
                          ("a condition never true", "false"),
                          ("a condition always true", "true")):
            yield kind, first, last, space + new


# What is replaced by what, between function bodies' braces.
SWAPS = [
    ("a comparison off by one",
     {" < ": [" <= "], " <= ": [" < "], " > ": [" >= "], " >= ": [" > "]}),
    ("a comparison turned", {" == ": [" != "], " != ": [" == "]}),
    ("and for or", {" && ": [" || "], " || ": [" && "]}),
    ("arithmetic", {" + ": [" - "], " - ": [" + "], " += ": [" -= "],
                    " -= ": [" += "], "++": ["--"], "--": ["++"]}),
    ("bits", {" | ": [" & "], " & ": [" | "], " |= ": [" &= "],
              " &= ": [" |= "]}),
    ("a choice", {" ? ": [" && false ? ", " || true ? "]}),
    ("true for false", {"true": ["false"], "false": ["true"]}),
    ("another extreme", {"std::min": ["std::max"], "std::max": ["std::min"],
                         "notify_all": ["notify_one"]}),
]


def swaps(code, start, end):
    for kind, words in SWAPS:
        pattern = "|".join(
            (r"\b" + re.escape(w) + r"\b" if w[0].isalpha() else re.escape(w))
            for w in sorted(words, key=len, reverse=True))
        for found in re.compile(pattern).finditer(code, start, end):
            for new in words[found[0]]:
                yield kind, found.start(), found.end(), new


def numbers(code, start, end):
    for found in re.compile(r"(?<![\w.'])\d+(?![\w.'])").finditer(
            code, start, end):
        value = int(found[0])
        if code.endswith("seconds(", start, found.start()):
            if value:
                yield "a time ten times as long", *found.span(), found[0] + "0"
            continue
        yield "a number off by one", *found.span(), str(value + 1)
        if value:
            yield "a number off by one", *found.span(), str(value - 1)


def negations(code, start, end):
    alone = re.compile(r"(?<=[\s(!])!(?=[\w(])")
    for found in alone.finditer(code, start, end):
        yield "a not left out", *found.span(), ""


def mutants(text, active):
    """All faults of the header, in the order of its text; active are the lines
    that this build compiles."""
    code = HIDDEN.sub(blank, text)
    starts = [0] + [m.end() for m in re.finditer("\n", text)]
    sections = [(m.start(), m[1].rstrip(" .")) for m in BANNER.finditer(text)]
    seen = collections.Counter()
    for start, end, function in bodies(code):
        before = [title for at, title in sections if at < start]
        for make in (left_out, conditions, swaps, numbers, negations):
            for kind, at, stop, new in make(code, start, end):
                line = bisect.bisect(starts, at)
                last = bisect.bisect(starts, max(at, stop - 1))
                if line not in active:
                    continue
                from_, to = starts[line - 1], text.find("\n", starts[last - 1])
                old = text[from_:to]
                changed = text[from_:at] + new + text[stop:to]
                identity = (function, kind, old.strip(), changed.strip())
                seen[identity] += 1
                key = hashlib.sha1(
                    repr((identity, seen[identity])).encode()).hexdigest()[:12]
                yield Mutant(key, kind, before[-1] if before else "",
                             function, line, old, changed, at, stop, new)


def chosen(all_mutants, seed):
    """The faults in the order in which to try them: of each kind as many, and
    one of a line before another of the same line."""
    chance = random.Random(seed)
    kinds = collections.defaultdict(list)
    for each in all_mutants:
        kinds[each.kind].append(each)
    for each in kinds.values():
        chance.shuffle(each)
    order, used, later = [], set(), []
    while any(kinds.values()):
        for kind in sorted(kinds):
            while kinds[kind]:
                each = kinds[kind].pop()
                if each.old in used:
                    later.append(each)
                    continue
                used.add(each.old)
                order.append(each)
                break
    return order + later
