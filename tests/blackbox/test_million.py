# SPDX-License-Identifier: Apache-2.0
"""A million jobs through one gateway, from submission to end (make soak): the last ones cost what the first ones
did, in memory and in time. RENDER_SOAK_JOBS takes another number.

They come in rounds: clients hand jobs in for some seconds, then the queue runs empty and everything is measured.
The engine answers at once and always with the same bytes, since what is stored for ever (one row a job, one
entry in memory for each object) may grow. Run it on a machine that does nothing else: the time is CPU time, but a
crowded cache costs that, too."""
import json
import os
import statistics
import subprocess

import pytest
from conftest import BUILD, SANITIZED
from tools import metric, resident_kib, wait_for

JOBS = int(os.environ.get("RENDER_SOAK_JOBS", 1_000_000))
ROUNDS = 20  # at least
MEMORY_KIB = 16 << 10  # that may come: less than 20 bytes a job
SLOWER = 1.25
TICKS = os.sysconf("SC_CLK_TCK")
SUBMISSION = json.dumps({"modality": "image", "family": "flux", "model": "schnell", "task": "t2i", "prompt": "a lighthouse",
                         "steps": 4, "seed": 1})


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def ended(server):
    return int(metric(server, 'render_jobs_ended_total{end="complete"}'))


def one_round(server, request):
    """(jobs, CPU microseconds a job, KiB once the queue is empty)"""
    cpu, before = cpu_s(server.process.pid), ended(server)
    subprocess.run([str(BUILD / "bench/bench-enqueue"), "http:202", str(server.port), str(request), "64", "2"], check=True,
                   capture_output=True, timeout=120)
    done = wait_for("an empty queue", lambda: idle(server) and ended(server), 600)
    return done - before, (cpu_s(server.process.pid) - cpu) * 1e6 / (done - before), resident_kib(server.process.pid)


def idle(server):
    queue = server.get("/queue").json()
    return sum(queue["depth"].values()) == 0 and queue["running"] == 0


@pytest.mark.soak
@pytest.mark.skipif(bool(SANITIZED), reason="figures of a sanitizer build mean nothing")
def test_the_last_of_a_million_jobs_costs_what_the_first_did(start_gateway, tmp_path):
    engine = subprocess.Popen([str(BUILD / "bench/bench-origin"), "0", "1024", "same"], stdout=subprocess.PIPE)
    try:
        port = int(engine.stdout.readline().split()[-1])
        server = start_gateway(config="durability: relaxed\nlog: {level: warn}\nlimits: {rate: 0, queue_depth: 0}\nengines:\n"
                               f"  - {{name: box, type: http, url: 'http://127.0.0.1:{port}/', slots: 64, models: [flux/schnell]}}\n")
        request = tmp_path / "request"
        request.write_bytes(f"POST /queue HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.key}\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(SUBMISSION)}\r\n\r\n{SUBMISSION}".encode())
        rounds = []
        while len(rounds) < ROUNDS or sum(jobs for jobs, *_ in rounds) < JOBS:
            rounds.append(one_round(server, request))
            print(len(rounds), sum(jobs for jobs, *_ in rounds), "{:,} jobs, {:.0f} us a job, {:,} KiB".format(*rounds[-1]), flush=True)
        quarter = len(rounds) // 4
        first, last = rounds[quarter:2 * quarter], rounds[-quarter:]  # by then the database's cache is full
        time_first, time_last = (statistics.median(us for _, us, _ in part) for part in (first, last))
        memory_first, memory_last = (min(kib for *_, kib in part) for part in (first, last))
        print(f"{time_first:.0f} -> {time_last:.0f} us a job, {memory_first:,} -> {memory_last:,} KiB")
        assert time_last < time_first * SLOWER
        assert memory_last < memory_first + MEMORY_KIB
        assert server.stop() == 0
    finally:
        engine.kill()
        engine.wait()
        engine.stdout.close()
