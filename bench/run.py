# SPDX-License-Identifier: Apache-2.0
"""The benchmark table: one run, ratios, everything on 127.0.0.1. `make bench` builds and calls it.

    bench/run.py [--build DIR] [--write] [--quick] [--only ROW,...] [--list]

Prints the table, and with --write also makes docs/benchmarks.md of it. Takes ten minutes or so; --quick, a
minute or so, only shows that everything works. The parts: rows.py measures, load.py runs contests under
wrk, servers.py starts what is measured, procs.py keeps and reads processes, report.py prints.

Every part has a time limit; when the machine is slow it takes fewer rounds, and the table says how many.
A part that cannot be measured leaves a row that says why, and the exit status is then 1; goals that are
not met do not change it: the table says so. Data is written to a folder inside the build folder, so on
the same disk, and removed; 10 GiB must be free there."""
import argparse
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import document
import engine_rows
import queue_rows
import rows
from procs import TICKS, BenchError, dead, guard, stop_all
from report import Report

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUNDS, SECONDS = 5, 3
FREE_BYTES_MIN = 10 << 30
DESCRIPTORS = queue_rows.STREAMS + 500

# name, seconds at most, what runs. Together under eleven minutes.
PARTS = (
    ("start", 10, rows.start),
    ("memory", 20, rows.memory),
    ("cas", 35, rows.ingest),
    ("proxy-64k", 90, lambda b, r, s: b.peak(rows.proxied(b, r, rows.KIB64, s))),
    ("latency", 40, lambda b, r, s: rows.latency(b, r, b.peak_or_fail(), s)),
    ("proxy-1.5m", 95, lambda b, r, s: rows.proxied(b, r, rows.MB15, s)),
    ("asset-64k", 28, lambda b, r, s: rows.assets(b, r, rows.KIB64, s)),
    ("asset-1.5m", 28, lambda b, r, s: rows.assets(b, r, rows.MB15, s)),
    ("enqueue", 45, queue_rows.enqueue),
    ("started", 20, queue_rows.started),
    ("streams", 30, queue_rows.streams),
    ("million", 60, queue_rows.million),
    ("polling", 28, queue_rows.polling),
    ("triton", 40, engine_rows.forwarded),
    ("triton-1.5m", 40, engine_rows.added),
    ("triton-dies", 25, engine_rows.one_dies),
)


class Bench:
    """What every part needs to know."""

    def __init__(self, options, work):
        self.build = pathlib.Path(options.build).resolve()
        self.work, self.quick = work, options.quick
        self.rounds, self.seconds = (1, 1) if options.quick else (ROUNDS, SECONDS)
        self.log = os.path.join(work, "log")
        # nginx stands in sbin, which a user's PATH may leave out
        self.nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self.peak_rate = None

    def folder(self, name):
        return tempfile.mkdtemp(prefix=name + "-", dir=self.work)

    def peak(self, rate):
        self.peak_rate = rate

    def peak_or_fail(self):
        if self.peak_rate is None:
            raise BenchError("half of the peak is not known: proxy-64k did not run")
        return self.peak_rate

    def check(self):
        needed = ("src/gateway/render-gateway", "src/signer/render-signer", "bench/bench-origin",
                  "bench/bench-latency", "bench/cas_ingest", "bench/bench-enqueue", "bench/bench-streams", "bench/bench-fill")
        missing = [str(self.build / name) for name in needed if not (self.build / name).exists()]
        missing += [name for name, there in (("nginx", self.nginx), ("wrk", shutil.which("wrk")),
                                             ("beanstalkd", shutil.which("beanstalkd")))
                    if not there]
        if missing:
            raise BenchError(f"missing: {', '.join(missing)}; 'make bench' builds and installs them")
        free = shutil.disk_usage(self.work).free
        if free < FREE_BYTES_MIN:
            raise BenchError(f"{free >> 30} GiB are free where {self.build} is; 10 are needed")


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
            raise BenchError(f"the limit of open files is {hard}; {DESCRIPTORS} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


def cpu_busy_s():
    """CPU time of everything on the machine, but idle and waiting for the disk; and stolen time."""
    with open("/proc/stat", encoding="ascii") as file:
        t = [int(x) / TICKS for x in file.readline().split()[1:9]]
    return t[0] + t[1] + t[2] + t[5] + t[6], t[7]


def own_cpu_s():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def measure(bench, report, only):
    for name, limit_s, part in PARTS:
        if only and name not in only:
            continue
        print(f"  {name} ...", end=" ", flush=True, file=sys.stderr)
        began = time.monotonic()
        try:
            part(bench, report, limit_s)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
        except (BenchError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            why = f"{type(error).__name__}: {error}{dead()}"
            report.not_measured(name, why)
            print(f"failed: {why}", file=sys.stderr)
        finally:
            stop_all()


def arguments():
    parser = argparse.ArgumentParser(description="measures the table of docs/benchmarks.md")
    parser.add_argument("--build", default=str(ROOT / "build"), type=os.path.abspath, help="a release build (default: build)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true",
                        help="one short round of everything; the figures mean nothing")
    parser.add_argument("--only", default="", help="parts to run, with commas; see --list")
    parser.add_argument("--list", action="store_true", help="name the parts")
    options = parser.parse_args()
    options.only = [name for name in options.only.split(",") if name]
    unknown = set(options.only) - {name for name, *_ in PARTS}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.write and (options.quick or options.only):
        parser.error("--write takes a whole run: not with --quick or --only")
    if "latency" in options.only and "proxy-64k" not in options.only:
        options.only.append("proxy-64k")  # it runs at half of what that finds
    return options


def main():
    options = arguments()
    if options.list:
        print("\n".join(name for name, *_ in PARTS))
        return 0
    guard()
    work = tempfile.mkdtemp(prefix="bench-", dir=options.build)
    try:
        bench, report = Bench(options, work), Report()
        bench.check()
        raise_descriptors()
        machine = document.machine(bench)
        began, (busy, stolen), own = time.monotonic(), cpu_busy_s(), own_cpu_s()
        measure(bench, report, options.only)
        wall = time.monotonic() - began
        (busy_after, stolen_after), capacity = cpu_busy_s(), wall * os.cpu_count()
        others = max(0.0, busy_after - busy - (own_cpu_s() - own)) / capacity
        run = document.Run(wall_s=wall, others=others, stolen=(stolen_after - stolen) / capacity,
                           quick=options.quick)
        print(document.text(report, machine, run, short=True))
        if options.write and not report.failed:
            (ROOT / "docs/benchmarks.md").write_text(document.text(report, machine, run, short=False),
                                                     encoding="utf-8")
        if options.write and report.failed:
            print("bench: docs/benchmarks.md is left as it was: not everything was measured", file=sys.stderr)
        return 1 if report.failed else 0
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        stop_all()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
