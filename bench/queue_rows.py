# SPDX-License-Identifier: Apache-2.0
"""The rows of the queue: accepting jobs durably, starting and cancelling them, many event streams, a start with a
million jobs, and polling. Enqueuing stands next to beanstalkd with a sync for each job, polling next to nginx."""
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import time

import servers
from load import Contest, run_wrk, take_turn
from procs import BenchError, Child, memory as memory_of, wait_until
from report import plural, spread

CLIENTS = 64
STREAMS = 10_000
MILLION = 1_000_000
ENQUEUE_RATE, ENQUEUE_P99_MS = 20_000, 20
STARTED_MS, CANCEL_QUEUED_MS, CANCEL_RUNNING_MS = 2, 5, 10
STREAM_KIB, EVENT_MS, START_S, POLL_GOAL = 16, 250, 2, 0.8
SUBMISSION = json.dumps({"modality": "image", "family": "flux", "model": "schnell", "task": "t2i",
                         "prompt": "a lighthouse in the snow", "steps": 4})
PATIENCE_S = 30
# Limits are lifted; nothing serves flux/schnell unless an engine is named, so what is accepted waits.
CONFIG = "log: {level: warn}\nlimits: {rate: 0, burst: 1000000, concurrency: 0, queue_depth: 0}\n"


def with_engine(port):
    return CONFIG + (f"engines:\n  - {{name: scripted, type: http, url: \"http://127.0.0.1:{port}/\", slots: 1, "
                     "models: [flux/schnell]}\n")


def request_text(gateway, method, path, body=""):
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nAuthorization: Bearer {gateway.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")


def write_request(bench, name, text):
    path = os.path.join(bench.work, name)
    with open(path, "w", encoding="ascii", newline="") as file:
        file.write(text)
    return path


class Wire:
    """One kept connection; answers are read by hand, so that the clock is read when their last byte is there."""

    def __init__(self, gateway):
        self.gateway, self.sock, self.data = gateway, socket.create_connection(("127.0.0.1", gateway.port)), b""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(PATIENCE_S)

    def send(self, method, path, body=""):
        self.sock.sendall(request_text(self.gateway, method, path, body).encode())

    def read(self):
        """(status, body) of one answer."""
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next((int(x.split(":")[1]) for x in lines if x.startswith("content-length:")), 0)
        while len(self.data) < length:
            self.more()
        body, self.data = self.data[:length], self.data[length:]
        return int(lines[0].split()[1]), body

    def more(self):
        part = self.sock.recv(65536)
        if not part:
            raise BenchError("the gateway closed a connection")
        self.data += part

    def submit(self):
        """The id of a job that was accepted."""
        self.send("POST", "/queue", SUBMISSION)
        return accepted(self.read())


def accepted(answer):
    if answer[0] != 202:
        raise BenchError(f"a submission was answered with {answer[0]}: {answer[1][:200]!r}")
    return json.loads(answer[1])["id"]


# ---- durable enqueue ----

class Beanstalkd:
    """beanstalkd with a binlog and a sync for each write."""

    def __init__(self, bench):
        self.dir, self.port = bench.folder("beanstalkd"), servers.free_ports(1)[0]
        # It leaves root's rights to nobody else, and needs none.
        self.child = Child(["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), "-b", self.dir, "-f0"], bench.log)
        wait_until(lambda: servers.answers(self.port) or not self.child.alive(), servers.READY_S, "beanstalkd")

    def stop(self):
        self.child.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def run_enqueue(bench, what, port, path, seconds):
    run = subprocess.run([str(bench.build / "bench/bench-enqueue"), what, str(port), path, str(CLIENTS), str(seconds)],
                         capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=False)
    if run.returncode != 0:
        raise BenchError(run.stderr.strip() or f"bench-enqueue ended with {run.returncode}")
    result = json.loads(run.stdout)
    if result["bad"]:
        raise BenchError(f"jobs were refused: {run.stdout.strip()}")
    return {"requests": result["count"], "bytes": 0, **result}


def enqueue(bench, report, limit_s):
    gateway = servers.Gateway(bench, CONFIG)
    beanstalkd = Beanstalkd(bench)
    post = write_request(bench, "post", request_text(gateway, "POST", "/queue", SUBMISSION))
    put = write_request(bench, "put", f"put 0 0 60 {len(SUBMISSION)}\r\n{SUBMISSION}\r\n")

    def turn(child, what, port, path):
        return lambda: take_turn(child, None, lambda: run_enqueue(bench, what, port, path, bench.seconds), 0)

    contest = Contest({"gateway": turn(gateway.child, "http:202", gateway.port, post),
                       "beanstalkd -f0": turn(beanstalkd.child, "beanstalk", beanstalkd.port, put)},
                      bench.rounds, limit_s)
    depth = json.loads(gateway.ask("GET", "/queue")[2])["depth"]["normal"]
    gateway.stop()
    beanstalkd.stop()
    report.contest("enqueue", contest)
    rate, p99 = contest.median("gateway"), contest.median("gateway", "p99_ms")
    ratios = contest.ratios("gateway", "beanstalkd -f0")
    report.add(f"durable enqueue, {CLIENTS} clients", f"{ENQUEUE_RATE:,}/s, p99 under {ENQUEUE_P99_MS} ms, ahead of beanstalkd",
               f"{rate:,.0f}/s, p99 {p99:.1f} ms, {contest.median('gateway', 'cpu_us'):,.0f} us CPU; "
               f"beanstalkd {contest.median('beanstalkd -f0'):,.0f}/s, p99 {contest.median('beanstalkd -f0', 'p99_ms'):.1f} ms",
               spread(ratios), rate >= ENQUEUE_RATE and p99 < ENQUEUE_P99_MS and statistics.median(ratios) > 1,
               f"bench-enqueue, {bench.seconds} s a turn, {plural(contest.rounds, 'round')}; counted when the answer (202, INSERTED) "
               f"is there, which both send after the sync; {depth:,} jobs waited at the end")


# ---- started, cancelled ----

class Held:
    """The scripted engine: takes a request and never answers it."""

    def __init__(self):
        self.listener, self.taken = socket.create_server(("127.0.0.1", 0)), None
        self.port = self.listener.getsockname()[1]

    def take(self):
        """Accepts, and reads the request's first bytes."""
        self.listener.settimeout(PATIENCE_S)
        self.taken, _ = self.listener.accept()
        self.taken.settimeout(PATIENCE_S)
        if not self.taken.recv(65536):
            raise BenchError("the gateway connected, and sent nothing")

    def wait_broken_off(self):
        """Until the gateway has closed the connection."""
        try:
            while self.taken.recv(65536):
                pass
        except ConnectionError:
            pass
        self.taken.close()

    def stop(self):
        self.listener.close()


def percentiles(times):
    ms = sorted(t * 1e3 for t in times)
    return ms[len(ms) // 2], ms[len(ms) * 99 // 100]


def one_run(wire, engine, times):
    """A job from its submission to an idle engine, and its cancelling. The two sockets are looked at together, since
    the engine may have its request before the client has read its answer."""
    began = time.monotonic()
    wire.send("POST", "/queue", SUBMISSION)
    waiting, job, at = {wire.sock, engine.listener}, None, {}
    while waiting:
        ready = select.select(list(waiting), [], [], PATIENCE_S)[0]
        if not ready:
            raise BenchError("a job is not started")
        for sock in ready:
            if sock is wire.sock:
                job = accepted(wire.read())
            else:
                engine.take()
            at[sock] = time.monotonic()
            waiting.discard(sock)
    times["started"].append(at[engine.listener] - at[wire.sock])
    times["since sent"].append(at[engine.listener] - began)
    began = time.monotonic()
    wire.send("POST", f"/jobs/{job}/cancel")
    engine.wait_broken_off()
    times["broken off"].append(time.monotonic() - began)
    if wire.read()[0] != 200:
        raise BenchError("a running job could not be cancelled")
    # The next one finds an idle engine only when this one's end is written.
    wait_until(lambda: json.loads(wire.gateway.ask("GET", "/queue")[2])["running"] == 0, PATIENCE_S, "the slot is free")


def started(bench, report, limit_s):
    engine, times = Held(), {"started": [], "since sent": [], "broken off": [], "queued": []}
    gateway = servers.Gateway(bench, with_engine(engine.port))
    wire, until, count = Wire(gateway), time.monotonic() + limit_s / 2, 20 if bench.quick else 300
    while len(times["started"]) < count and time.monotonic() < until:
        one_run(wire, engine, times)
    wire.submit()
    engine.take()  # it is held: whatever is submitted now waits
    until = time.monotonic() + limit_s / 2
    while len(times["queued"]) < count and time.monotonic() < until:
        job = wire.submit()
        began = time.monotonic()
        wire.send("POST", f"/jobs/{job}/cancel")
        if wire.read()[0] != 200:
            raise BenchError("a queued job could not be cancelled")
        times["queued"].append(time.monotonic() - began)
    gateway.kill()  # a stop would wait for the run that is held
    gateway.stop()
    engine.stop()
    add = lambda what, goal, name, how: report.add(  # noqa: E731
        what, f"p50 under {goal} ms", "p50 {:.2f} ms, p99 {:.2f} ms".format(*percentiles(times[name])), "",
        percentiles(times[name])[0] < goal, f"{len(times[name])} jobs, one after the other; {how}")
    add("queued to started, idle engine", STARTED_MS, "started",
        "from the 202 at the client to the request at the engine, which needs another sync (the lease) and a new connection; "
        "since the submission was sent: p50 {:.2f} ms".format(percentiles(times["since sent"])[0]))
    add("cancel of a queued job", CANCEL_QUEUED_MS, "queued", "to the answer, which comes after the sync")
    add("cancel of a running job", CANCEL_RUNNING_MS, "broken off",
        "until the engine's connection is closed")


# ---- event streams ----

def streams(bench, report, limit_s):
    """All watch one job that waits behind another; cancelling that one starts it."""
    engine, count = Held(), STREAMS // 10 if bench.quick else STREAMS
    gateway = servers.Gateway(bench, with_engine(engine.port))
    wire = Wire(gateway)
    runs = wire.submit()
    engine.take()
    waits = wire.submit()
    events = write_request(bench, "events", request_text(gateway, "GET", f"/jobs/{waits}/events"))
    trigger = write_request(bench, "trigger", request_text(gateway, "POST", f"/jobs/{runs}/cancel"))
    before = memory_of(gateway.child)
    client = subprocess.Popen([str(bench.build / "bench/bench-streams"), str(gateway.port), events, trigger, str(count)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ready = select.select([client.stdout], [], [], limit_s)[0]
        if not ready or client.stdout.readline() != "open\n":
            raise BenchError(f"{count} streams could not be opened: {client.stderr.read() if ready else 'too slow'}")
        full = memory_of(gateway.child)
        out, errors = client.communicate("\n", timeout=limit_s)
        if client.returncode != 0:
            raise BenchError(errors.strip())
    finally:
        client.kill()
        client.wait()
    result = json.loads(out)
    gateway.kill()  # a stop would wait for the run that is held
    gateway.stop()
    engine.stop()
    rss, pss = (full.rss - before.rss) / count, (full.pss - before.pss) / count
    report.add(f"memory, idle event stream, {count:,} of them", f"under {STREAM_KIB} KiB", f"RSS {rss:.1f} KiB, PSS {pss:.1f} KiB", "",
               rss < STREAM_KIB, "growth of the gateway's and signer's memory, after each had its first event; the kernel's socket "
               "buffers are not in it")
    report.add(f"an event reaches {count:,} streams", f"within {EVENT_MS} ms", f"{result['last_ms']:.0f} ms (the first after "
               f"{result['first_ms']:.0f} ms)", "", result["last_ms"] < EVENT_MS,
               "all watch one job that waits; from sending the cancelling of the job before it (two syncs) until the last of "
               "them has read \"started\"; the reader is one thread on the same machine")


# ---- a start with a million jobs ----

def million(bench, report, _limit_s):
    count = MILLION // 10 if bench.quick else MILLION
    gateway = servers.Gateway(bench, CONFIG)
    gateway.halt()
    began = time.monotonic()
    subprocess.run([str(bench.build / "bench/bench-fill"), gateway.data, str(count)], check=True, timeout=300)
    fill_s = time.monotonic() - began
    gateway.start()
    post = write_request(bench, "post", request_text(gateway, "POST", "/queue", SUBMISSION))
    load = subprocess.Popen([str(bench.build / "bench/bench-enqueue"), "http:202", str(gateway.port), post, str(CLIENTS), "5"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    gateway.kill()
    load.wait(PATIENCE_S)
    times = []
    for _ in range(1 if bench.quick else 3):
        began = time.monotonic()
        gateway.start()
        Wire(gateway).submit()
        times.append(time.monotonic() - began)
        rss = memory_of(gateway.child).rss
        depth = json.loads(gateway.ask("GET", "/queue")[2])["depth"]["normal"]
        if depth < count:
            raise BenchError(f"{count - depth} jobs are lost")
        gateway.kill()
    size = os.path.getsize(os.path.join(gateway.data, "render.db"))
    gateway.stop()
    report.add(f"start with {count:,} queued jobs after kill -9", f"under {START_S} s",
               f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}); RSS {rss / 1024:.0f} MiB", "",
               statistics.median(times) < START_S,
               f"{plural(len(times), 'start')}, each after a SIGKILL, the first of them under the load of {CLIENTS} clients; "
               f"from before fork and exec to the 202 of a submission; {depth:,} jobs were there; the database of "
               f"{size >> 20} MiB was filled through the store in {fill_s:.0f} s")


# ---- polling ----

def polling(bench, report, limit_s):
    gateway = servers.Gateway(bench, CONFIG)
    path = f"/jobs/{Wire(gateway).submit()}"
    status, _, content = gateway.ask("GET", path)
    if status != 200:
        raise BenchError(f"a job was answered with {status}")
    root = bench.folder("files")
    with open(os.path.join(root, "job.json"), "wb") as file:
        file.write(content)
    nginx = servers.Nginx(bench, servers.FILES, root=root)

    def turn(child, port, url, key=None):
        return lambda: take_turn(child, None, lambda: run_wrk(port, url, bench.seconds, key, body=None), len(content))

    plain, cached = "nginx, sendfile", "nginx, sendfile and open_file_cache"
    contest = Contest({plain: turn(nginx.child, nginx.ports[0], "/job.json"),
                       cached: turn(nginx.child, nginx.ports[1], "/job.json"),
                       "gateway": turn(gateway.child, gateway.port, path, gateway.key)}, bench.rounds, limit_s)
    nginx.stop()
    gateway.stop()
    report.contest("GET /jobs/{id}", contest)
    best = contest.best([plain, cached])
    ratios = contest.ratios("gateway", best)
    report.add("polling /jobs/{id}", f"at least {POLL_GOAL}",
               f"{contest.median('gateway'):,.0f}/s at {contest.median('gateway', 'cpu_us'):,.0f} us CPU; nginx "
               f"{contest.median(best):,.0f}/s at {contest.median(best, 'cpu_us'):,.0f} us", spread(ratios),
               statistics.median(ratios) >= POLL_GOAL,
               f"a queued job, {len(content)} bytes, with a key; wrk -t1 -c{servers.SLOTS} -d{bench.seconds}s, "
               f"{plural(contest.rounds, 'round')}; against the faster nginx ({best[7:]}), which serves a file of the "
               "same bytes to anybody")
