# SPDX-License-Identifier: Apache-2.0
"""The rows of real engines: a real Triton (tests/blackbox/triton/server.py) on this machine, behind the gateway and asked
directly. Its model answers with a picture that it has ready, so that what is measured is the way to it and back.

Everything shares this machine's cores: the load, the gateway, Triton's frontend and its model's interpreter. So a ratio is
not what the gateway costs on a machine of its own; the CPU of a request is."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import servers
from load import Contest, Turn, run_wrk, take_turn
from procs import BenchError, children, wait_until
from report import plural, spread

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/blackbox/triton"))
import server as real  # noqa: E402  pylint: disable=wrong-import-position

AT_ONCE = 16
RATE_GOAL, ADDED_GOAL_US, P99_GOAL, CPU_GOAL_US = 0.9, 1000, 1.5, 120
LIGHT, HEAVY = "/image/flux/schnell/t2i?format=512", "/image/flux/schnell/t2i?format=1024"
LIGHT_BODY, HEAVY_BODY = '{"prompt": "a wall", "steps": 4}', '{"prompt": "a wall !heavy", "steps": 4}'
HEAVY_RATE, STEADY_RATE = 20, 150  # requests/s
FIELDS = {"prompt": "a wall", "width": 512, "height": 512, "seed": 7, "steps": 4}
DIRECT, OVER_GRPC, OVER_HTTP = "tritonclient", "gateway, gRPC", "gateway, HTTP"

MAPPING = """\
mappings:
  - name: blank
    model: blank
    inputs:
      - {name: prompt, field: prompt, datatype: BYTES}
      - {name: seed, field: seed, datatype: INT64}
      - {name: steps, field: steps, datatype: INT32}
      - {name: width, field: width, datatype: INT32}
      - {name: height, field: height, datatype: INT32}
    outputs:
      - {name: image, gives: image, datatype: BYTES}
"""


class Triton:
    """One of procs.children, so that it ends whatever happens."""

    def __init__(self, bench):
        self.name, self.dir = "tritonserver", bench.folder("triton")
        self.log = os.path.join(self.dir, "log")
        self.server = real.Triton(self.log, ("blank",))
        children.append(self)
        self.server.start()

    @property
    def popen(self):
        return self.server.process

    def alive(self):
        return self.server.process is not None and self.server.process.poll() is None

    def stop(self):
        if self in children:
            children.remove(self)
        self.server.kill()


def tritons(bench, count):
    try:
        real.install()
        return [Triton(bench) for _ in range(count)]
    except (real.Unavailable, RuntimeError) as error:
        raise BenchError(f"no Triton: {error}") from None


def gateway(bench, urls, durability="strict"):
    lines = [f"  - {{name: box{i}, type: triton, url: '{url}', slots: {AT_ONCE}, models: [flux/schnell], "
             f"mapping: [blank]}}\n" for i, url in enumerate(urls)]
    head = f"durability: {durability}\nlog: {{level: warn}}\nlimits: {{rate: 0}}\n"
    made = servers.Gateway(bench, f"{head}{MAPPING}engines:\n{''.join(lines)}")
    for i in range(len(urls)):
        wait_until(lambda i=i: made.metrics()[f'render_backend_ready{{backend="box{i}"}}'] == 1, 10, f"box{i} is ready")
    return made


# ---- requests/s ----

def direct_turn(triton, seconds):
    words = [real.python(), "-B", str(real.HERE / "reference.py"), "load", f"127.0.0.1:{triton.server.grpc_port}", "blank",
             json.dumps(FIELDS), str(AT_ONCE), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f"tritonclient: {done.stderr.strip()[-300:]}")
    got = json.loads(done.stdout)
    return Turn(rate=got["requests"] / got["seconds"], cpu_us=got["cpu_us"], p50_ms=got["us"]["p50"] / 1e3,
                p99_ms=got["us"]["p99"] / 1e3, disk_kb=None, helpers=0)


def gateway_turn(bench, url):
    made = gateway(bench, [url])
    try:
        run_wrk(made.port, LIGHT, 1, made.key, LIGHT_BODY, AT_ONCE)
        return take_turn(made.child, None,
                         lambda: run_wrk(made.port, LIGHT, bench.seconds, made.key, LIGHT_BODY, AT_ONCE), 100)
    finally:
        made.stop()


def forwarded(bench, report, limit_s):
    (triton,) = tritons(bench, 1)
    contest = Contest({DIRECT: lambda: direct_turn(triton, bench.seconds),
                       OVER_GRPC: lambda: gateway_turn(bench, triton.server.grpc),
                       OVER_HTTP: lambda: gateway_turn(bench, triton.server.http)}, bench.rounds, limit_s)
    triton.stop()
    report.contest("Triton, a ready picture", contest)
    how = (f"a real Triton on this machine's CPU, whose model answers with a ready PNG of 512 x 512 in black and white; "
           f"{AT_ONCE} at once, {bench.seconds} s, {plural(contest.rounds, 'round')}; load: NVIDIA's tritonclient over "
           f"gRPC, which is Python ({contest.median(DIRECT, 'cpu_us'):,.0f} us CPU a request), against wrk through the gateway, strict")
    for name, goal in ((OVER_GRPC, RATE_GOAL), (OVER_HTTP, None)):
        ratios = contest.ratios(name, DIRECT)
        report.add(f"requests/s to Triton, {name}", f"at least {goal}" if goal else "",
                   f"{contest.median(name):,.0f}/s; tritonclient directly {contest.median(DIRECT):,.0f}/s", spread(ratios),
                   statistics.median(ratios) >= goal if goal else None, how)
    for name, goal in ((OVER_GRPC, CPU_GOAL_US), (OVER_HTTP, None)):
        used = contest.median(name, "cpu_us")
        report.add(f"CPU of a forwarded small request, {name}", f"under {goal} us" if goal else "", f"{used:,.0f} us", "",
                   used < goal if goal else None,
                   "gateway and signer, from the same turns: request, tensors, the picture looked at to its last byte, "
                   "stored, signed, synced, answered")


# ---- time added to 1.5 MB ----

def timetable(bench, port, request, rate, seconds, during=None):
    """bench-latency's account. Nothing may have gone wrong."""
    path = os.path.join(bench.work, "engine-request")
    with open(path, "w", encoding="ascii", newline="") as file:
        file.write(request)
    began = threading.Timer(seconds / 3, during) if during else None
    if began:
        began.start()
    run = subprocess.run([str(bench.build / "bench/bench-latency"), str(port), path, str(rate), str(seconds),
                          str(AT_ONCE)], capture_output=True, text=True, timeout=seconds + 30, check=False)
    if began:
        began.join()
    if run.returncode != 0:
        raise BenchError(run.stderr.strip() or f"bench-latency ended with {run.returncode}")
    return json.loads(run.stdout)


def http_request(port, path, body, key=None):
    head = f"Authorization: Bearer {key}\r\n" if key else ""
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}")


def infer_request(port):
    """What the gateway asks, as Triton's own HTTP takes it: the answer is the bytes of the picture."""
    kinds = {"prompt": "BYTES", "seed": "INT64"}
    fields = {**FIELDS, "prompt": "a wall !heavy", "width": 1024, "height": 1024}
    inputs = [{"name": name, "shape": [1], "datatype": kinds.get(name, "INT32"), "data": [value]}
              for name, value in fields.items()]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "image", "parameters": {"binary_data": True}}]})
    return http_request(port, "/v2/models/blank/infer", body)


def p50(result):
    if result["bad"] or result["unanswered"]:
        raise BenchError(f"answers were wrong or missing: {result}")
    return result["us"]["p50"]


def added(bench, report, limit_s):
    start = time.monotonic()
    (triton,) = tritons(bench, 1)
    strict = f"{OVER_GRPC}, strict"
    over = {strict: gateway(bench, [triton.server.grpc]),
            f"{OVER_GRPC}, relaxed": gateway(bench, [triton.server.grpc], "relaxed"),
            f"{OVER_HTTP}, strict": gateway(bench, [triton.server.http])}
    _, content = over[strict].generate(HEAVY, HEAVY_BODY)
    root = bench.folder("files")
    with open(os.path.join(root, "asset.png"), "wb") as file:
        file.write(content)
    nginx = servers.Nginx(bench, servers.FILES, root=root)
    get = f"GET /asset.png HTTP/1.1\r\nHost: 127.0.0.1:{nginx.ports[0]}\r\n\r\n"
    times = {name: [] for name in ("copy", "direct", *over)}
    while len(times["copy"]) < bench.rounds:
        times["copy"].append(p50(timetable(bench, nginx.ports[0], get, HEAVY_RATE, bench.seconds)))
        times["direct"].append(p50(timetable(bench, triton.server.http_port, infer_request(triton.server.http_port),
                                             HEAVY_RATE, bench.seconds)))
        for name, made in over.items():
            request = http_request(made.port, HEAVY, HEAVY_BODY, made.key)
            times[name].append(p50(timetable(bench, made.port, request, HEAVY_RATE, bench.seconds)))
        each = (time.monotonic() - start) / len(times["copy"])
        if time.monotonic() - start + each > limit_s:
            break
    for each in (nginx, *over.values(), triton):
        each.stop()
    for name in over:
        more = [a - b - c for a, b, c in zip(times[name], times["direct"], times["copy"])]
        judged = name == strict
        report.add(f"time added to Triton's 1.5 MB, {name}, p50", f"under {ADDED_GOAL_US:,} us" if judged else "",
                   f"{statistics.median(more):,.0f} us ({min(more):,.0f} to {max(more):,.0f}) beyond a copy of "
                   f"{statistics.median(times['copy']):,.0f} us; directly {statistics.median(times['direct']):,.0f} us", "",
                   statistics.median(more) < ADDED_GOAL_US if judged else None,
                   f"{HEAVY_RATE}/s on a fixed timetable, {plural(len(more), 'round')} of {bench.seconds} s, a PNG of "
                   f"{len(content):,} bytes: through the gateway, less straight to Triton's HTTP, less the same bytes "
                   f"as a file from nginx (the copy that any gateway makes once more)")


# ---- one of three dies ----

def one_dies(bench, report, limit_s):
    del limit_s
    three = tritons(bench, 3)
    made = gateway(bench, [each.server.grpc for each in three])
    request = http_request(made.port, LIGHT, LIGHT_BODY, made.key)
    seconds = max(3, bench.seconds)
    whole = timetable(bench, made.port, request, STEADY_RATE, seconds)
    dying = timetable(bench, made.port, request, STEADY_RATE, seconds, three[0].server.kill)
    after = timetable(bench, made.port, request, STEADY_RATE, seconds)
    for each in (made, *three):
        each.stop()
    failed = sum(run["bad"] + run["unanswered"] for run in (whole, dying, after))
    ratios = [run["us"]["p99"] / whole["us"]["p99"] for run in (dying, after)]
    how = (f"three Tritons over gRPC, {STEADY_RATE}/s on a fixed timetable for {seconds} s each time: all three; one killed "
           f"with SIGKILL after a third of the time; two and the dead one")
    report.add("one of three backends dies, failed requests", "0", f"{failed} of {3 * seconds * STEADY_RATE:,}", "",
               failed == 0, how)
    report.add("one of three backends is dead, p99", f"under {P99_GOAL}",
               f"{after['us']['p99'] / 1e3:.1f} ms; all three {whole['us']['p99'] / 1e3:.1f} ms; while it dies "
               f"{dying['us']['p99'] / 1e3:.1f} ms", f"{ratios[1]:.2f}", ratios[1] < P99_GOAL, how)
