"""Compares netlite with bare sockets, Go and Asio: they do the same work in
turn, several rounds.

  python3 tests/bench/run.py                 everything; prints the tables
  python3 tests/bench/run.py --write         and puts them into the page
  python3 tests/bench/run.py --rounds 3 UDP  the rows with "UDP" in their name

The programs are built in build/.
"""
# SPDX-License-Identifier: MIT
import argparse
import contextlib
import functools
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import page

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BOUND = 120  # seconds; whatever takes longer hangs
CPUS = sorted(os.sched_getaffinity(0))
ONE, TWO, FREE = (CPUS[:1], CPUS[:1]), (CPUS[:1], CPUS[-1:]), (CPUS, CPUS)

options = argparse.Namespace()
rows = {}  # name: what is measured
benches = []  # (names of rows, {label: what gives their values})


# ---------------------------------------------------------------------------
# Running programs. Each is ended by its own number, in whatever state it is.

@contextlib.contextmanager
def running(words, cpus=CPUS, before=(), stderr=None):
    """A program in pipes: "raw ping tcp ...", or an argv that is complete.
    "raw+" is raw with keep-alive probes, "raw?" raw that polls."""
    env = dict(os.environ)
    argv = words
    if isinstance(words, str):
        name, *rest = words.split()
        if name == "raw+":
            env["BENCH_KEEPALIVE"] = "1"
        if name == "raw?":
            env["BENCH_POLL"] = "1"
        argv = [*before, program(name.rstrip("+?")), *rest]
    child = subprocess.Popen(
        [str(word) for word in argv], env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def program(name):
    return options.programs / ("bench-" + name)


def finish(child):
    """Ends a program's input and gives the rest of its output."""
    out, _ = child.communicate(timeout=BOUND)
    if child.returncode:
        sys.exit(f"{child.args}: exit code {child.returncode}")
    return out


@contextlib.contextmanager
def serving(words, cpus=CPUS, before=()):
    with running(words, cpus, before) as server:
        address = server.stdout.readline().strip()
        if not address:
            sys.exit(f"{words}: the server has died")
        yield server, address


def pair(server, client, cpus=FREE):
    """The number that a client prints; AT stands for the server's address."""
    with serving(server, cpus[0]) as (peer, address):
        with running(client.replace("AT", address), cpus[1]) as child:
            number = float(finish(child))
        finish(peer)
    return number


@contextlib.contextmanager
def busy_cpus():
    with contextlib.ExitStack() as stack:
        for cpu in CPUS:
            stack.enter_context(
                running([sys.executable, "-c", "while True: pass"], [cpu]))
        yield


# ---------------------------------------------------------------------------
# What is measured

def row(name, group, unit, more=False, base=None):
    """`base` is whom all are compared with, where it is not plain."""
    rows[name] = {"group": group, "unit": unit, "more": more, "base": base,
                  "samples": {}}
    return name


def bench(names, runs):
    """Each run gives as many values as there are names."""
    benches.append((names, runs))


def scaled(count, least=1):
    """A number of repetitions; the short form does with fewer."""
    return max(count // 20, least) if options.short else count


BOTH = {"raw": "raw", "netlite": "netlite", "Go": "go", "Asio": "asio"}


def bench_ping(name, network, rounds, cpus, how="", hogs=False):
    deadline = how if how == "deadline" else ""
    server = "packets" if network == "udp" else f"answer {network} {deadline}"

    def measure(peer):
        with busy_cpus() if hogs else contextlib.nullcontext():
            return [pair(f"{peer} {server}",
                         f"{peer} ping {network} AT {scaled(rounds, 100)} "
                         f"{how}", cpus)]

    def measure_events():
        return [pair("asio events",
                     f"asio ping-events tcp AT {scaled(rounds, 100)}", cpus)]

    runs = {label: lambda peer=peer: measure(peer)
            for label, peer in BOTH.items()}
    if deadline or network == "udp":
        del runs["Asio"]  # has no deadlines; UDP was left out
    elif network == "tcp" and not how:
        runs["Asio async"] = measure_events
        runs["raw, polling"] = lambda: measure("raw?")
    bench([row(name, "ping", "µs a round trip")], runs)


def bench_bulk(name, network):
    def measure(peer):
        return [pair(f"{peer} source {network} {scaled(2048)}",
                     f"{peer} drain {network} AT", TWO)]

    bench([row(name, "bulk", "GB/s", more=True)],
          {label: lambda peer=peer: measure(peer)
           for label, peer in BOTH.items()})


def bench_rate(name, threads, cpus):
    def measure(peer):
        return [pair(f"{peer} brief {threads}",
                     f"{peer} rate AT {scaled(8000)}", cpus) / 1000]

    peers = {"raw": "raw", "raw, keep-alive": "raw+", **BOTH}
    bench([row(name, "bulk", "1,000 a second", more=True)],
          {label: lambda peer=peer: measure(peer)
           for label, peer in peers.items()})


def bench_one_way():
    def measure(peer):
        with running(f"{peer} oneway {scaled(200000)}", ONE[0]) as child:
            return [float(finish(child)) / 1000]

    bench([row("UDP one way", "bulk", "1,000 a second", more=True)],
          {label: lambda peer=BOTH[label]: measure(peer)
           for label in ["raw", "netlite", "Go"]})


def bench_move():
    """Files and proxies, against every way of doing it by hand."""
    mib = scaled(1024)

    def file(server):
        with tempfile.NamedTemporaryFile() as made:
            made.truncate(mib << 20)
            return [pair(server.replace("FILE", made.name),
                         "raw drain tcp AT", TWO)]

    def proxy(server):
        with serving(f"raw source tcp {mib}") as (source, address):
            speed = pair(server.replace("FROM", address), "raw drain tcp AT")
            finish(source)
            return [speed]

    ways = {"raw 64 KiB": "raw * 64", "raw 256 KiB": "raw * 256",
            "raw kernel": None, "netlite": "netlite *", "Go": "go *"}
    for name, work, kernel, measure in [
            ("send_file", "file FILE", "sendfile", file),
            ("copy as a proxy", "proxy FROM", "splice", proxy)]:
        bench([row(name, "move", "GB/s", more=True)],
              {label: lambda measure=measure, words=(
                  way or "raw * " + kernel).replace("*", work): measure(words)
               for label, way in ways.items()})


MANY = {"raw threads": "raw serve", "netlite serve": "netlite serve",
        "Asio": "asio serve", "Go": "go serve", "raw epoll": "raw events",
        "netlite Poller": "netlite events", "Asio async": "asio events"}


def kib_used(pid):
    """What is resident, its page tables, and a kernel stack a thread."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    resident, tables, threads = (
        int(re.search(rf"{name}:\s*(\d+)", status)[1])
        for name in ["VmRSS", "VmPTE", "Threads"])
    return resident + tables + 16 * threads


def cpu_seconds(pid):
    # The clock of another process, see clock_getcpuclockid(3).
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.contextmanager
def on_port(argv_for, cpus):
    """A server that is told where to listen: its argv, given the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    with running(argv_for(f"{host}:{port}"), cpus,
                 stderr=subprocess.DEVNULL) as server:
        until = time.monotonic() + BOUND
        while server.poll() is None and time.monotonic() < until:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((host, port)).close()
                break
            time.sleep(0.01)
        else:
            sys.exit(f"{server.args}: it does not listen")
        yield server, f"{host}:{port}"


def load(server, connections, seconds, mode, *path, cpus=FREE):
    """Requests a second, median and 99th percentile of the answer's time, KiB
    a connection, CPU milliseconds a second."""
    serve = serving if isinstance(server, str) else on_port
    with serve(server, cpus[0]) as (peer, address):
        before = kib_used(peer.pid)
        words = map(str, ["load", address, connections, seconds, mode, *path])
        with running(" ".join(words), cpus[1]) as many:
            if many.stdout.readline() != "ready\n":
                sys.exit(f"{server}: {connections} connections failed")
            memory = (kib_used(peer.pid) - before) / connections
            cpu = cpu_seconds(peer.pid)
            many.stdin.write("\n")
            many.stdin.flush()
            rate, median, p99 = map(float, many.stdout.readline().split())
            cpu = (cpu_seconds(peer.pid) - cpu) / seconds * 1000
            finish(many)
        return rate, median, p99, memory, cpu


def bench_many():
    table = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for connections in [100, 1000] if options.short else [100, 1000, 5000,
                                                          10000]:
        if connections + 100 > table:
            continue
        name = f"{connections:,} busy"
        names = [row(name, "many", "1,000 requests a second", more=True),
                 row(name + ", p99", "many", "ms"),
                 row(name + ", memory", "many", "KiB a connection",
                     base="raw threads")]

        def measure(server, connections=connections):
            rate, _, p99, memory, _ = load(server, connections, scaled(3),
                                           "busy")
            return rate / 1000, p99 / 1000, memory

        bench(names, {label: lambda server=server, measure=measure:
                      measure(server) for label, server in MANY.items()})


def bench_idle():
    connections = 500 if options.short else 5000

    def measure(server):
        return [load(server, connections, scaled(5), "idle")[4]]

    bench([row("idle: 5,000, a message a second each", "many",
               "ms of CPU a second")],
          {label: lambda server=server: measure(server)
           for label, server in MANY.items()})


def bench_lone():
    def measure(server):
        return load(server, 101, scaled(3), "lone")[1:3]

    bench([row("lone among 100 busy", "many", "µs"),
           row("lone among 100 busy, p99", "many", "µs")],
          {label: lambda server=server: measure(server)
           for label, server in MANY.items()})


NGINX = """daemon off; master_process off;
pid nginx.pid; error_log stderr crit;
events { worker_connections 1000; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;
  uwsgi_temp_path u; scgi_temp_path s;
  server { listen AT; root .; }
}
"""
HAPROXY = """defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen proxy
  bind AT
  server echo TO
"""


def bench_programs():
    """Examples beside the programs that people would take for the same. Each
    has one CPU, and those who ask, and an echo server, the other."""
    def web(size, connections, server):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "file").write_bytes(bytes(size))

            def argv(address):
                config = pathlib.Path(folder, "nginx.conf")
                config.write_text(NGINX.replace("AT", address))
                return {"netlite": [program("web"), folder, address],
                        "nginx": ["nginx", "-p", folder, "-c", config]}[server]

            rate, *_ = load(argv, connections, scaled(3), "busy", "/file",
                            cpus=TWO)
            return [rate / 1000]

    def proxy(server):
        with tempfile.TemporaryDirectory() as folder, \
                serving("raw events", TWO[1]) as (_, echo):

            def argv(address):
                config = pathlib.Path(folder, "haproxy.cfg")
                config.write_text(HAPROXY.replace("AT", address)
                                  .replace("TO", echo))
                return {"netlite": [program("proxy"), "tcp", address, "tcp",
                                    echo],
                        "HAProxy": ["haproxy", "-db", "-f", config]}[server]

            rate, *_ = load(argv, 100, scaled(3), "busy", cpus=TWO)
            return [rate / 1000]

    for name, size, connections in [
            ("web beside nginx: 4 KiB, 100 clients", 4 << 10, 100),
            ("web beside nginx: 1 MiB, 10 clients", 1 << 20, 10)]:
        bench([row(name, "programs", "1,000 answers a second", more=True,
                   base="nginx")],
              {server: functools.partial(web, size, connections, server)
               for server in ["nginx", "netlite"]})
    bench([row("proxy beside HAProxy: 64 bytes, 100 clients", "programs",
               "1,000 answers a second", more=True, base="HAProxy")],
          {server: functools.partial(proxy, server)
           for server in ["HAProxy", "netlite"]})


def bench_calls():
    """System calls, as the kernel counts them, of n more operations. strace
    would slow one end down, which then never has to wait."""
    perf = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o"]
    if not shutil.which("perf") or subprocess.run(
            [*perf, os.devnull, "true"], stderr=subprocess.DEVNULL).returncode:
        print("SKIPPED: perf cannot count system calls", file=sys.stderr)
        return

    def count(server, client):
        """Those of the server, and of both."""
        with tempfile.TemporaryDirectory() as folder:
            logs = [pathlib.Path(folder) / end for end in ["server", "client"]]
            with serving(server, ONE[0], [*perf, logs[0]]) as (peer, address):
                with running(client.replace("AT", address), ONE[1],
                             [*perf, logs[1]]) as child:
                    finish(child)
                finish(peer)
            counts = [int(re.search(r"^(\d+),", log.read_text(), re.M)[1])
                      for log in logs]
        return counts[0], sum(counts)

    def measure(peer, server, client, which):
        n = 1100  # of which ping takes a hundred to warm up
        few, many = (count(f"{peer} {server}",
                           client.replace("*", peer) + f" AT {times}")[which]
                     for times in [n, 2 * n])
        return [(many - few) / n / (1.1 if "ping" in client else 1)]

    server_only, both = 0, 1
    for name, server, client, which, peers in [
            ("round trip, both ends", "answer tcp", "* ping tcp", both, BOTH),
            ("round trip over UDP", "packets", "* ping udp", both,
             ["raw", "netlite", "Go"]),
            ("connection, both ends", "brief", "* rate", both, BOTH),
            ("answer by one of many threads", "serve", "raw ping tcp",
             server_only, BOTH),
            ("answer by one thread for many", "events", "raw ping tcp",
             server_only, ["raw", "netlite", "Asio"])]:
        bench([row(name, "calls", "system calls")],
              {label: lambda words=(BOTH[label], server, client, which):
               measure(*words) for label in peers})


# What a user's compile costs.

def compiler():
    return os.environ.get("CXX") or shutil.which("c++") or "g++"


def compile_cost(*argv):
    """CPU seconds and MiB of a compiler run."""
    child = subprocess.Popen([compiler(), "-std=c++17",
                              f"-I{ROOT / 'include'}", *map(str, argv)])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"cannot compile {argv}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def preprocessed_lines(*argv):
    out = subprocess.run([compiler(), "-std=c++17", "-E",
                          f"-I{ROOT / 'include'}", *map(str, argv)],
                         stdout=subprocess.PIPE, check=True).stdout
    return len(out.splitlines())


def bench_compile():
    names = [row("compile, -O0", "compile", "s of CPU"),
             row("compile, -O0, memory", "compile", "MiB"),
             row("compile, -O2", "compile", "s of CPU"),
             row("preprocessed", "compile", "lines"),
             row("program, -O2, stripped", "compile", "KiB")]

    def measure(name):
        source = HERE / "compile" / (name + ".cpp")
        with tempfile.TemporaryDirectory() as folder:
            made = pathlib.Path(folder) / "made"
            seconds, mib = compile_cost("-O0", "-c", source, "-o", made)
            optimised, _ = compile_cost("-O2", "-c", source, "-o", made)
            compile_cost("-O2", "-s", "-pthread", source, "-o", made)
            size = made.stat().st_size / 1024
        return seconds, mib, optimised, preprocessed_lines(source), size

    bench(names, {label: lambda name=name: measure(name) for label, name in
                  [("raw", "raw"), ("netlite", "netlite"), ("Asio", "asio")]})


def bench_includes():
    """Each header of netlite's alone, and on top of those before it."""
    text = (ROOT / "include" / "netlite.hpp").read_text()
    headers = re.findall(r"^#include <(.*)>", text, re.M)

    @functools.lru_cache(maxsize=None)
    def cost(*included):
        """Milliseconds of CPU, lines."""
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "source.cpp"
            source.write_text("".join(f"#include <{name}>\n"
                                      for name in included))
            seconds = min(compile_cost("-O0", "-c", source, "-o",
                                       source.with_suffix(".o"))[0]
                          for _ in range(3))
            return seconds * 1000, preprocessed_lines(source)

    def measure(label, i):
        which = 1 if "lines" in label else 0
        if "alone" in label:
            return [cost(headers[i])[which] - cost()[which]]
        return [cost(*headers[:i + 1])[which] - cost(*headers[:i])[which]]

    for i, header in enumerate(headers):
        bench([row(f"<{header}>", "includes", "")],
              {label: lambda label=label, i=i: measure(label, i)
               for label in ["alone, ms", "on top, ms", "alone, lines",
                             "on top, lines"]})


def all_benches():
    bench_ping("one CPU", "tcp", 40000, ONE)
    bench_ping("one CPU, a deadline set", "tcp", 40000, ONE, "deadline")
    bench_ping("two CPUs", "tcp", 5000, TWO)
    bench_ping("free placement", "tcp", 5000, FREE)
    bench_ping("a CPU-bound process on each CPU", "tcp", 5000, FREE, "mean",
               hogs=True)
    bench_ping("bursts with pauses, one CPU", "tcp", 6000, ONE, "bursts")
    bench_ping("bursts with pauses, free", "tcp", 2000, FREE, "bursts")
    bench_ping("unix, one CPU", "unix", 40000, ONE)
    bench_ping("UDP, one CPU", "udp", 40000, ONE)
    bench_ping("UDP, free placement", "udp", 5000, FREE)
    bench_bulk("bulk, TCP", "tcp")
    bench_bulk("bulk, unix", "unix")
    bench_one_way()
    bench_rate("connections, one CPU", "", ONE)
    bench_rate("connections, free placement", "", FREE)
    bench_rate("connections, a thread each, one CPU", "threads", ONE)
    bench_move()
    bench_many()
    bench_idle()
    bench_lone()
    bench_programs()
    bench_calls()
    if not options.short:
        bench_compile()
        bench_includes()


# ---------------------------------------------------------------------------

def machine():
    """What the numbers belong to."""
    cpu, info = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError, TypeError):
        info = pathlib.Path("/proc/cpuinfo").read_text()
        cpu = re.search(r"model name\s*: (.*)", info)[1]

    def version(*argv):
        if not shutil.which(argv[0]):
            return "no " + argv[0]
        return subprocess.run(argv, stdout=subprocess.PIPE,
                              text=True).stdout.splitlines()[0]

    virtual = "hypervisor" in info
    return {"cpu": f"{len(CPUS)} × {cpu}" + virtual * " (virtual machine)",
            "system": f"{platform.system()} {platform.release()}",
            "compiler": version(compiler(), "--version"),
            "go": version("go", "version"),
            "date": time.strftime("%Y-%m-%d")}


def measure(chosen):
    """The peers in turn, round after round; who begins changes."""
    for number in range(options.rounds):
        for names, runs in benches:
            if not any(name in chosen for name in names):
                continue
            if number > 0 and rows[names[0]]["group"] in ["calls", "includes"]:
                continue  # always the same
            labels = list(runs)
            turn = number % len(labels)
            for label in labels[turn:] + labels[:turn]:
                print(f"{number + 1}/{options.rounds} {names[0]}: {label}",
                      file=sys.stderr, flush=True)
                for name, value in zip(names, runs[label]()):
                    rows[name]["samples"].setdefault(label, []).append(value)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--short", action="store_true",
                        help="one round with little work")
    parser.add_argument("--write", action="store_true",
                        help="keep the results and renew the page")
    parser.add_argument("--programs", type=pathlib.Path,
                        help="where they are built already")
    parser.add_argument("names", nargs="*", help="parts of rows' names")
    parser.parse_args(namespace=options)
    if options.programs:
        options.programs = options.programs.resolve()
    options.rounds = options.rounds or (1 if options.short else 5)
    if options.short and options.write:
        parser.error("the page shows the long form")

    if not options.programs:
        build = ROOT / "build"
        if not (build / "build.ninja").exists():
            subprocess.run(["meson", "setup", build], cwd=ROOT, check=True)
        subprocess.run(["meson", "compile", "-C", build, "bench"], check=True)
        options.programs = build / "tests" / "bench"

    # What else the machine does shall disturb little, where we may ask for that.
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    # As many descriptors as we may have, but not more than 20,000: ten
    # thousand blocked readers must do with that.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = 20000 if limit == resource.RLIM_INFINITY else min(limit, 20000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    all_benches()
    missing = [name for name in ["Go", "Asio"]
               if not program(name.lower()).exists()]
    missing += [name for name in ["nginx", "HAProxy"]
                if not shutil.which(name.lower())]
    for name in missing:
        print(f"SKIPPED: {name} is missing", file=sys.stderr)
        for _, runs in benches:
            for label in [label for label in runs
                          if label.split()[0] == name]:
                del runs[label]

    chosen = [name for name in rows
              if not options.names or any(part in name
                                          for part in options.names)]
    if not chosen:
        parser.error(f"no row has {' or '.join(options.names)} in its name")
    measure(chosen)
    measured = {name: row for name, row in rows.items() if row["samples"]}
    results = {"machine": machine(), "rows": measured}
    kept = HERE / "results.json"
    if options.write:
        # Rows that were not measured now stay as they were.
        old = json.loads(kept.read_text())["rows"] if kept.exists() else {}
        results["rows"] = {name: measured.get(name, old.get(name))
                           for name in rows if name in {**old, **measured}}
        kept.write_text(page.as_json(results))
        page.write(HERE, results)
    print(page.tables(results))


if __name__ == "__main__":
    main()
