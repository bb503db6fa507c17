# SPDX-License-Identifier: Apache-2.0
"""The machine in words, and the page docs/benchmarks.md around the tables."""
import datetime
import os
import pathlib
import platform
import re
import subprocess
from dataclasses import dataclass

import queue_rows
import servers
from rows import CONNECTIONS

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOISE = 0.05  # of all cores, used by others: from here on the page warns

PAGE = """\
# Benchmarks

Made by `scripts/bench --write`: do not edit. One run of {wall_s:.0f} s on {date}, commit {commit}.

{machine}

{noise}

{table}

A ratio is the median over rounds of two turns taken seconds apart, with the lowest and the highest round
in brackets. "Met" compares that median, unrounded, with the goal; "-" stands where there is no goal, or
where noise was larger than what is judged.

## Behind the requests a second
{details}

CPU is user and system time of the server's processes (nginx: master and workers; gateway: itself and its
signer), from `/proc/PID/stat`; for relaxed durability with the work that it had put off. "To files" is
`write_bytes` of `/proc/PID/io`: with nginx, the answers that spilled into temporary files. The last
column says how full the one core was that wrk, or the engine, could use: at 1.0 they are what is measured.

## What runs
`make bench` installs nginx, wrk and beanstalkd where they are missing, builds (release) and runs `bench/run.py`.

- **The engine that answers at once**: `bench-origin`, one thread, answers each POST with bytes that all
  differ, as `image/png`. The gateway reaches it as an engine of `type: http`:
```yaml
{gateway}```
  Its log is at `warn`, so there is no line a request; nginx's access log is off too.
- **The load**: `wrk -t1 -c{slots} -d3s`, the same POST to each, with a key. A gateway begins each turn with
  an empty store, has one second to warm up, is measured, and stops; its data is removed.
- **nginx** ({nginx_version}) proxies to the same engine in two ways, the goal is against the faster: with
  its default buffering (8 buffers of a page for each connection; what the client does not take at once
  may go to a temporary file), and with `proxy_max_temp_file_size 0`, which never writes one:
```nginx
{nginx_proxy}```
- **Assets**: the same nginx, with `sendfile` and `tcp_nopush`, and once more with `open_file_cache`:
```nginx
{nginx_files}
```
- **Time added**: `bench-latency`, a fixed timetable from {slots} kept connections at half of the peak that
  the strict gateway reached above, straight to the engine and through the gateway in turns. Every latency counts
  from the time at which the request was due, not from when it could be sent; the first tenth is dropped.
- **CAS ingest**: `cas_ingest`: 4 threads, 64 objects on their way at a time, hashed (BLAKE3 and SHA-256),
  counted when durable; against one thread that appends the same bytes to a preallocated file.
- **Memory**: `VmRSS` of `/proc/PID/status` and `Pss` of `smaps_rollup`, gateway and signer together, when
  three readings agree; {connections:,} connections for the figure of one.
- **Start**: from before `fork` to the first 200, asked as soon as `listening on` is printed.
- **The queue**: `bench-enqueue`, {clients} connections, each of which sends the next job when the last one was
  answered; to the gateway as `POST /queue` with a key, to beanstalkd ({beanstalkd_version}) as `put` with the same
  bytes. Both answer after a sync: beanstalkd runs with `-b DIR -f0`. The gateway's limits are lifted, and nothing
  serves the model, so that every job waits, as it does with beanstalkd:
```yaml
{queue}```
- **Started, cancelled**: a scripted engine with one slot that takes a request and never answers; one client.
- **Event streams**: `bench-streams` opens {streams:,} of `GET /jobs/ID/events`, waits for the first event of each,
  and reads them all on one thread.
- **A million jobs**: `bench-fill` writes them through the store; the gateway is killed under load, and started.

The commands that `bench/run.py` starts, so that a single figure can be looked at by hand:
```sh
build/bench/bench-origin 0 65536        # or 1500000; prints its port
build/render-gateway --data DIR --listen 127.0.0.1:0 --config gateway.yaml
nginx -c nginx.conf
BENCH_KEY=$(cat DIR/admin.key) BENCH_BODY='{body}' \\
  wrk -t1 -c{slots} -d3s -s bench/wrk.lua http://127.0.0.1:PORT{path}
wrk -t1 -c{slots} -d3s -s bench/wrk.lua http://127.0.0.1:PORT/a/ASSET
build/bench/bench-latency PORT REQUEST RATE 3 {slots}
build/bench/cas_ingest DIR 65536,16777216 MIB ROUNDS
build/bench/bench-enqueue http:202 PORT REQUEST {clients} 3
build/bench/bench-enqueue beanstalk PORT PUT {clients} 3
build/bench/bench-streams PORT REQUEST TRIGGER {streams}
build/bench/bench-fill DIR 1000000
```

## What the figures do not say
- Client, engine and server share the machine's cores. What wrk and the engine use is the same for both
  sides, so ratios of requests/s are closer to 1 than the servers' own costs are: compare the CPU a request.
- Loopback has no latency, no loss and no TLS. Nothing here is a figure for a network.
- The engine answers at once. A real one takes seconds of GPU time, and none of this is then visible.
- nginx stores nothing; the gateway stores, hashes, signs and, when strict, waits for the disk. Writing back
  pages is partly done by kernel threads, whose CPU is counted for nobody.
- The disk's own cache and the host under a virtual machine decide what `fdatasync` costs; a disk that
  promises more than it keeps makes strict look cheap.
- p50 and p99 "added" are differences of percentiles of two distributions, not percentiles of a difference.
- `/metrics` counts from the end of the request's head to when the answer can begin, less the engine's
  time; it does not see the bytes go out, and its percentiles are interpolated inside histogram buckets.
- The bare append waits for each of its syncs alone; the store has several writes on the way. So with large
  objects a ratio over 1 is no contradiction.
- beanstalkd syncs each job by itself, the gateway many at once: with one client at a time they would be closer.
- Short turns do not show what compaction, retention or a full disk cost.
"""


@dataclass
class Run:
    wall_s: float
    others: float  # of all cores: what other processes used meanwhile
    stolen: float  # of all cores: what the hypervisor gave to others
    quick: bool


def first(pattern, path, otherwise):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return otherwise
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else otherwise


def says(*argv):
    """The first line that a command prints on either stream; empty when it cannot run."""
    try:
        run = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (run.stdout + run.stderr).splitlines()
    return lines[0].strip() if lines and run.returncode in (0, 1) else ""


def disk(folder):
    """File system, and what the kernel says of the device that holds `folder`."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = first(rf"^\S+ \S+ {number} .* - (\S+) ", "/proc/self/mountinfo", "file system unknown")
    base = pathlib.Path(f"/sys/dev/block/{number}").resolve()
    for block in (base, base.parent):  # a partition's queue is its disk's
        if (block / "queue/write_cache").exists():
            cache = (block / "queue/write_cache").read_text(encoding="ascii").strip()
            model = first(r"(.+)", block / "device/model", "").strip()
            return f"{kind} on {block.name}{' (' + model + ')' if model else ''}, {cache} cache"
    return kind


def machine(bench):
    cpu = first(r"^model name\s*: (.*)$", "/proc/cpuinfo", platform.machine())
    memory = int(first(r"^MemTotal: +(\d+)", "/proc/meminfo", "0")) / (1 << 20)
    system = first(r'^PRETTY_NAME="(.*)"$', "/etc/os-release", "Linux")
    nginx = says(bench.nginx, "-v").replace("nginx version: ", "")
    # "wrk debian/4.1.0-3+b2 [epoll] Copyright ...": the version is the second word
    wrk = " ".join(says("wrk", "-v").split()[:2])
    beanstalkd = says("beanstalkd", "-v") or "beanstalkd"
    return {"text": f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB of memory, {system}, kernel "
                    f"{platform.release()}; data on {disk(bench.work)}; {nginx}, {wrk}, {beanstalkd}.",
            "nginx": nginx or "nginx", "beanstalkd": beanstalkd}


def noise(run):
    text = (f"Other processes used {run.others:.0%} of the CPU time meanwhile (kernel threads included), "
            f"the hypervisor kept back {run.stolen:.0%}.")
    if run.quick:
        return text + " **A quick run: it shows that the benchmark works, and nothing else.**"
    if run.others > NOISE or run.stolen > NOISE:
        return text + " **That is much: take a quieter moment before you believe a figure.**"
    return text


def examples():
    """The configurations as they run, with names where the run has ports and folders."""
    class Engine:
        port = "ENGINE"

    facts = {"ports": ("PORT1", "PORT2"), "slots": servers.SLOTS}
    proxy = servers.nginx_config("DIR", servers.PROXY.format(origin="ENGINE", **facts))
    return {"gateway": servers.engine_config(Engine, "strict"), "nginx_proxy": proxy,
            "nginx_files": "  " + servers.FILES.format(root="DIR/files", **facts)}


def commit():
    head = says("git", "rev-parse", "--short=12", "HEAD")
    changed = says("git", "status", "--porcelain", "--untracked-files=no")
    return (head or "unknown") + (" with changes" if changed else "")


def text(report, about, run, short):
    if short:
        parts = [report.table(), report.detail_table() if report.details else "",
                 about["text"], f"{noise(run)} The run took {run.wall_s:.0f} s."]
        return "\n\n".join(part for part in parts if part)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    return PAGE.format(wall_s=run.wall_s, date=date, commit=commit(), machine=about["text"],
                       noise=noise(run), table=report.table(), details=report.detail_table(),
                       slots=servers.SLOTS, nginx_version=about["nginx"], connections=CONNECTIONS,
                       clients=queue_rows.CLIENTS, streams=queue_rows.STREAMS, queue=queue_rows.CONFIG,
                       beanstalkd_version=about["beanstalkd"],
                       body=servers.BODY, path=servers.MODEL_PATH,
                       **examples())
