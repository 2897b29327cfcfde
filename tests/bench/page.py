"""Puts results into words: tables, a plot, and which targets are reached.

  python3 tests/bench/page.py    renews the page from the results that are kept
"""
# SPDX-License-Identifier: MIT
import json
import math
import pathlib
import statistics

GROUPS = {
    "ping": "Ping-pong",
    "bulk": "Bulk and connections",
    "move": "Moving bytes",
    "many": "Many connections",
    "programs": "Beside real programs",
    "calls": "System calls",
    "compile": "A user's compile",
    "includes": "Include by include",
}

# Who is compared with whom, where it is not simply "raw".
BASES = {"netlite serve": "raw threads", "Asio": "raw threads",
         "Go": "raw threads", "netlite Poller": "raw epoll",
         "Asio async": "raw epoll"}

# Row, whose, compared with whom, how much at most or at least.
TARGETS = [
    ("one CPU", "netlite", "raw", 1.13),
    ("one CPU, a deadline set", "netlite", "raw", 1.17),
    ("one CPU", "netlite", "Go", 1),
    ("free placement", "netlite", "raw", 1.03),
    ("a CPU-bound process on each CPU", "netlite", "raw", 1.1),
    ("bursts with pauses, one CPU", "netlite", "raw", 1.15),
    ("bursts with pauses, free", "netlite", "raw", 1.15),
    ("UDP, one CPU", "netlite", "raw", 1.15),
    ("UDP, one CPU", "netlite", "Go", 1),
    ("UDP one way", "netlite", "raw", 0.95),
    ("UDP one way", "netlite", "Go", 1),
    ("bulk, TCP", "netlite", "raw", 0.98),
    ("bulk, unix", "netlite", "raw", 0.98),
    ("connections, one CPU", "netlite", "raw", 0.97),
    ("connections, one CPU", "netlite", "raw, keep-alive", 0.97),
    ("connections, free placement", "netlite", "raw", 0.97),
    ("connections, one CPU", "netlite", "Go", 1),
    ("send_file", "netlite", "raw", 0.95),
    ("copy as a proxy", "netlite", "raw", 0.95),
    ("1,000 busy", "netlite serve", "raw threads", 0.95),
    ("1,000 busy", "netlite Poller", "raw epoll", 0.95),
    ("1,000 busy", "netlite Poller", "Go", 1),
    ("10,000 busy", "netlite serve", "raw threads", 0.95),
    ("10,000 busy", "netlite Poller", "raw epoll", 0.95),
    ("10,000 busy", "netlite Poller", "Go", 1),
    ("10,000 busy, memory", "netlite serve", "raw threads", 1.1),
    ("10,000 busy, memory", "netlite Poller", "Go", 1),
    ("idle: 5,000, a message a second each", "netlite serve", "raw threads",
     1.1),
    ("lone among 100 busy", "netlite serve", "raw threads", 1),
    ("lone among 100 busy", "netlite Poller", "raw epoll", 1),
    ("compile, -O0", "netlite", "Asio", 0.25),
    ("compile, -O0, memory", "netlite", "Asio", 0.33),
]

COLOURS = {"netlite": "netlite", "netlite serve": "netlite",
           "netlite Poller": "netlite", "Go": "go", "Asio": "asio",
           "Asio async": "asio"}
STYLE = """
  .plot { font: 12px system-ui, sans-serif;
    --netlite: #1b66a3; --go: #9a5b00; --asio: #5f6b76 }
  .plot text { fill: var(--ladder, #1f2328) }
  @media (prefers-color-scheme: dark) {
    .plot { --netlite: #6cb2ee; --go: #e0a030; --asio: #a3adb3 }
    .plot text { fill: var(--ladder, #e6edf3) }
  }
"""


def number(value):
    """Three digits that mean something."""
    if abs(value) < 0.005 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def base_of(row, label):
    """Whose samples a label's are divided by: None for a yardstick itself."""
    samples = row["samples"]
    for base in [row["base"], "raw", BASES.get(label)]:
        if base in samples and base != label:
            return None if label.startswith("raw ") else base
    if label.startswith("raw"):
        return None
    return best(row, [each for each in samples if each.startswith("raw")])


def best(row, labels):
    choose = max if row["more"] else min
    return choose(labels, default=None,
                  key=lambda each: statistics.median(row["samples"][each]))


def ratio(row, label, base):
    """The median of the ratios of each round."""
    if base == "raw" and "raw" not in row["samples"]:
        base = base_of(row, label)
    pairs = zip(row["samples"].get(label, []), row["samples"].get(base, []))
    ratios = [ours / theirs for ours, theirs in pairs if theirs > 0]
    return statistics.median(ratios) if ratios else None


def cell(row, label):
    samples = row["samples"].get(label)
    if not samples:
        return "–"
    if row["group"] == "includes":  # differences: small ones are noise
        return f"{round(statistics.median(samples)):,}"
    text = number(statistics.median(samples))
    if len(samples) > 1 and min(samples) != max(samples):
        text += f" ({number(min(samples))}–{number(max(samples))})"
    times = ratio(row, label, base_of(row, label))
    return text if times is None else f"**{times:.2f}** · {text}"


def table(results, group):
    rows = {name: row for name, row in results["rows"].items()
            if row["group"] == group}
    labels = list(dict.fromkeys(label for row in rows.values()
                                for label in row["samples"]))
    lines = ["| | | " + " | ".join(labels) + " |",
             "|---|---|" + "---:|" * len(labels)]
    for name, row in rows.items():
        unit = row["unit"] + (" ↑" if row["more"] else " ↓")
        if name.startswith("<"):
            name, unit = f"`{name}`", ""
        cells = " | ".join(cell(row, label) for label in labels)
        lines.append(f"| {name} | {unit} | {cells} |")
    return "\n".join(lines)


def targets(results):
    lines = ["| row | who | against | wanted | measured | |",
             "|---|---|---|---:|---:|---|"]
    for name, label, base, bound in TARGETS:
        row = results["rows"].get(name)
        measured = row and ratio(row, label, base)
        if not measured:
            continue
        reached = measured >= bound if row["more"] else measured <= bound
        sign = "≥" if row["more"] else "≤"
        lines.append(f"| {name} | {label} | {base} | {sign} {bound:.2f} | "
                     f"{measured:.2f} | "
                     f"{'reached' if reached else '**not reached**'} |")
    return "\n".join(lines)


def described(results):
    told = results["machine"]
    return (f"{told['cpu']}, {told['system']}; {told['compiler']}; "
            f"{told['go']}; {told['date']}.")


def parts(results):
    groups = {row["group"] for row in results["rows"].values()}
    return {"machine": described(results), "targets": targets(results),
            **{group: table(results, group) for group in GROUPS
               if group in groups}}


def tables(results):
    return "\n\n".join(f"## {GROUPS.get(name, name.capitalize())}\n\n{text}"
                       for name, text in parts(results).items())


def plot(results):
    """Speeds against raw as dots, on a logarithmic axis: right is faster."""
    rows = [(name, row) for name, row in results["rows"].items()
            if row["group"] in ["ping", "bulk", "move", "many"]
            and not name.endswith(("memory", "p99"))]
    low, high, left, width, step = 0.25, 4, 270, 460, 20

    def x(times):
        times = min(max(times, low), high)
        return left + width * math.log(times / low) / math.log(high / low)

    height = 60 + step * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" '
           f'viewBox="0 0 {left + width + 20} {height}" role="img" '
           f'aria-label="Speed of netlite, Go and Asio against raw sockets">',
           f"<style>{STYLE}</style>"]
    tick = low
    while tick <= high:
        strong = 1 if tick == 1 else 0.3
        out.append(f'<path d="M{x(tick):.1f} 40V{height - 10}" '
                   f'stroke="#8b949e" opacity="{strong}"/>'
                   f'<text x="{x(tick):.1f}" y="34" text-anchor="middle">'
                   f'{tick:g}×</text>')
        tick *= 2
    legend = [("netlite", "●"), ("netlite Poller", "◆"), ("Go", "●"),
              ("Asio", "●"), ("Asio async", "◆")]
    at = left
    for label, sign in legend:
        out.append(f'<text x="{at}" y="14"><tspan '
                   f'style="fill:var(--{COLOURS[label]})">{sign}'
                   f'</tspan> {label}</text>')
        at += 8 * len(label) + 30
    for i, (name, row) in enumerate(rows):
        y = 52 + step * i
        out.append(f'<text x="{left - 14}" y="{y + 4}" text-anchor="end">'
                   f'{name}</text>')
        for label in sorted(row["samples"],
                            key=lambda each: each.startswith("netlite")):
            if label not in COLOURS:
                continue
            times = ratio(row, label, base_of(row, label))
            if not times:
                continue
            times = times if row["more"] else 1 / times
            colour = COLOURS[label]
            if label in ["netlite Poller", "Asio async"]:
                shape = f'<path d="m{x(times):.1f} {y - 5} 5 5-5 5-5-5z"'
            else:
                shape = f'<circle cx="{x(times):.1f}" cy="{y}" r="4"'
            out.append(f'{shape} style="fill:var(--{colour})"><title>{label}: '
                       f'{times:.2f}</title></{shape[1:].split()[0]}>')
    return "\n".join(out + ["</svg>", ""])


def as_json(results):
    """One line a row and label, so that a difference can be read."""
    def compact(value):
        return json.dumps(value, ensure_ascii=False)

    rows = []
    for name, row in results["rows"].items():
        samples = ",\n".join(
            f"   {compact(label)}: "
            f"[{', '.join(f'{value:.4g}' for value in values)}]"
            for label, values in row["samples"].items())
        head = compact({key: row[key] for key in ["group", "unit", "more",
                                                 "base"]})
        rows.append(f" {compact(name)}: {head[:-1]}, \"samples\": {{\n"
                    f"{samples}}}}}")
    return (f'{{"machine": {compact(results["machine"])},\n"rows": {{\n' +
            ",\n".join(rows) + "}}\n")


def write(folder, results):
    """Renews what stands between `<!-- NAME -->` and `<!-- end -->`."""
    readme = folder / "README.md"
    text = readme.read_text()
    for name, part in parts(results).items():
        start = f"<!-- {name} -->\n"
        if start not in text:
            raise SystemExit(f"{readme} has no {start}")
        before, rest = text.split(start)
        rest = rest[rest.index("<!-- end -->"):]
        text = f"{before}{start}\n{part}\n\n{rest}"
    readme.write_text(text)
    (folder / "plot.svg").write_text(plot(results))


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    write(here, json.loads((here / "results.json").read_text()))
