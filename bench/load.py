# SPDX-License-Identifier: Apache-2.0
"""Load by wrk, and contests: several servers under the same load, in turns.

A contest runs rounds; in each round every contender has one turn, in an order that moves on by one from
round to round, so that a drift of the machine meets all of them. A ratio is taken inside a round, from
two turns that stand a few seconds apart, and what counts is the median over the rounds."""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass

from procs import BenchError
from servers import BODY, SLOTS

SCRIPT = str(pathlib.Path(__file__).resolve().parent / "wrk.lua")
GRACE_S = 20
BOUND = 0.95  # of a core: then it is the load generator that is measured


@dataclass
class Turn:
    rate: float        # requests/s
    cpu_us: float      # of the contender's processes, a request
    p50_ms: float
    p99_ms: float
    disk_kb: float     # written to files, a request; None: the kernel does not tell
    helpers: float     # the busiest core of wrk and the origin, 0 to 1


def run_wrk(port, path, seconds, key=None, body=BODY, connections=SLOTS):
    """wrk's own account as a dict; `cpu`: the cores that it used. Everything must have gone well. With a key it
    POSTs `body`, or GETs when that is None."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    if key is not None:
        env["BENCH_KEY"] = key
        env.update({} if body is None else {"BENCH_BODY": body})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", SCRIPT,
                          f"http://127.0.0.1:{port}{path}"], env=env, capture_output=True, text=True,
                         timeout=seconds + GRACE_S, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = next((x for x in run.stdout.splitlines() if x.startswith("RESULT ")), None)
    if run.returncode != 0 or line is None:
        raise BenchError(f"wrk failed: {(run.stderr or run.stdout).strip()[-300:]}")
    result = json.loads(line[7:])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result["cpu"] = used / result["seconds"]
    if result["requests"] == 0 or result["status"] or result["socket"]:
        raise BenchError(f"wrk saw errors, so the figure would mean nothing: {line[7:]}")
    return result


def take_turn(child, origin, load, size, settle=None):
    """Runs `load` against `child`. `settle`, when given, waits for work that was put off: its CPU
    counts, its time does not."""
    cpu, disk = child.cpu_s(), child.disk_bytes()
    origin_cpu = origin.child.cpu_s() if origin else 0
    result = load()
    helper = (origin.child.cpu_s() - origin_cpu) / result["seconds"] if origin else 0
    if settle:
        settle()
    requests, after = result["requests"], child.disk_bytes()
    if result["bytes"] < requests * size:
        raise BenchError(f"{result['bytes']} bytes came for {requests} answers of {size}")
    return Turn(rate=requests / result["seconds"],
                cpu_us=(child.cpu_s() - cpu) / requests * 1e6,
                p50_ms=result["p50_us"] / 1e3, p99_ms=result["p99_us"] / 1e3,
                disk_kb=None if disk is None or after is None else (after - disk) / requests / 1024,
                helpers=max(helper, result["cpu"]))


class Contest:
    """`turns`: name -> function that takes one turn. results: name -> list of Turn, one a round."""

    def __init__(self, turns, rounds, limit_s):
        self.results = {name: [] for name in turns}
        names, start, last = list(turns), time.monotonic(), 0
        for i in range(rounds):
            began = time.monotonic()
            if i > 0 and began - start + last > limit_s:
                break
            for name in names[i % len(names):] + names[:i % len(names)]:
                self.results[name].append(turns[name]())
            last = time.monotonic() - began
        self.rounds = len(self.results[names[0]])

    def median(self, name, field="rate"):
        values = [getattr(turn, field) for turn in self.results[name]]
        return None if None in values else statistics.median(values)

    def best(self, names):
        return max(names, key=self.median)

    def ratios(self, name, against):
        return [a.rate / b.rate for a, b in zip(self.results[name], self.results[against])]

    def bound(self):
        """Whether wrk or the origin was the narrow place in any turn."""
        return any(turn.helpers > BOUND for turns in self.results.values() for turn in turns)
