# SPDX-License-Identifier: Apache-2.0
"""What clients were told survives. The real gateway is killed with SIGKILL, over and over, while clients submit,
cancel and look; after each start everything that any of them was ever told is compared with what there is. And
every sync and every write around a submission is made to fail, once each (tests/support/faults.c).

A promise is: a 202 and its id; an Idempotency-Key that has a job; a cancelling that was acknowledged; an end that
was seen, with its outputs. What was on its way when the process died may have happened or not, but not twice: it
is submitted again with the same key, as a careful client does."""
import http.client
import itertools
import json
import os
import random
import struct
import threading
import time

import blake3
import pytest
import requests
from conftest import SANITIZED, Gateway
from test_faults import EIO, ENOSPC, LIBRARY, OURS, SHORT, WRITE, Faults, outcome
from test_life import run
from tools import Scripted, picture, png_chunk, wait_for

KILLS = int(os.environ.get("RENDER_KILLS", 0)) or (10 if SANITIZED else 200)
ENDED = {"complete", "error", "cancelled"}
FLAT = picture(512, 512)
DENSE = 10**9 if os.environ.get("RENDER_SOAK") else 20
SYNC = 3  # of tests/support/faults.c: fsync and fdatasync alone


# ---- clients that remember ----

def end_of(body):
    """Status and asset; of the output's URL the port is another one in each life."""
    return body["status"], (body["output"] or "").rsplit("/", 1)[-1]


class Job:
    def __init__(self, key):
        self.key, self.status, self.output, self.cancelled = key, None, None, False


class Clients:
    """All that the clients know, over the lives of the gateway. One lock, since several threads learn."""

    def __init__(self):
        self.lock, self.serial = threading.Lock(), itertools.count()
        self.jobs, self.open, self.pending = {}, set(), {}  # id -> Job; ids without an end; key -> body
        self.told = threading.Event()  # somebody was told something in this life

    def begin(self, chance):
        """A submission with a key of its own. One in five is for the built-in engine."""
        serial = next(self.serial)
        model = ("builtin", "plasma") if chance.random() < 0.2 else ("flux", "dev")
        body = {"modality": "image", "family": model[0], "model": model[1], "task": "t2i", "format": "512",
                "steps": 1, "seed": serial, "prompt": "a"}
        with self.lock:
            self.pending[f"key-{serial}"] = body
        return f"key-{serial}", body

    def accepted(self, key, job):
        with self.lock:
            known = self.jobs.setdefault(job, Job(key))
            assert known.key == key, f"{job} is the job of {known.key} and of {key}"
            self.pending.pop(key, None)
            if known.status is None:
                self.open.add(job)
        self.told.set()

    def cancelled(self, job):
        with self.lock:
            known = self.jobs[job]
            assert known.status in (None, "cancelled"), f"{job} was {known.status}, and could be cancelled"
            known.cancelled = True

    def saw(self, job, body):
        """A job as it was answered: an end stays as it is for ever."""
        with self.lock:
            known = self.jobs[job]
            status, output = end_of(body)
            if known.status is not None:
                assert (status, output) == (known.status, known.output), (job, known.status, body)
                return
            if status not in ENDED:
                return
            assert not known.cancelled or status == "cancelled", (job, body)
            assert status != "complete" or output, body
            if status == "error":  # lost as often as it may be tried, by our own kills
                assert body["error"]["code"] == "backend_timeout", body
            known.status, known.output = status, output
            self.open.discard(job)


class Wire:
    """One connection; ask() gives (status, body), or None when the gateway is gone."""

    def __init__(self, server):
        self.key = server.key
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=60)

    def ask(self, method, path, body=None, **headers):
        headers = {"Authorization": "Bearer " + self.key, **{k.replace("_", "-"): v for k, v in headers.items()}}
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None

    def submit(self, clients, key, body):
        answer = self.ask("POST", "/queue", body, Idempotency_Key=f'"{key}"')
        if answer is None:
            return None
        assert answer[0] == 202, answer
        job = json.loads(answer[1])["id"]
        clients.accepted(key, job)
        return job

    def look(self, clients, job):
        answer = self.ask("GET", f"/jobs/{job}")
        if answer is None:
            return None
        assert answer[0] in (200, 303), (job, answer)
        body = json.loads(answer[1])
        clients.saw(job, body)
        return body


def submit_all(wire, clients, chance):
    while wire.submit(clients, *clients.begin(chance)):
        pass


def look_and_cancel(wire, clients, chance):
    while True:
        clients.told.wait(60)
        with clients.lock:
            job = chance.choice(sorted(clients.open)) if clients.open else None
        if job is None or chance.random() < 0.5:
            answer = wire.look(clients, job) if job else wire.ask("GET", "/queue")
        else:
            way = chance.choice([("DELETE", f"/jobs/{job}"), ("POST", f"/jobs/{job}/cancel")])
            answer = wire.ask(*way)
            assert answer is None or answer[0] in (200, 204, 303, 409), (way, answer)
            if answer and answer[0] in (200, 204):
                clients.cancelled(job)
        if answer is None:
            return


def live(server, clients, chance):
    """Some clients at work until the gateway is killed in their midst."""
    problems = []

    def client(work, seed):
        try:
            work(Wire(server), clients, random.Random(seed))
        except AssertionError as problem:
            problems.append(problem)

    clients.told.clear()
    works = [submit_all, submit_all, look_and_cancel]
    threads = [threading.Thread(target=client, args=(work, chance.random())) for work in works]
    for thread in threads:
        thread.start()
    assert clients.told.wait(60)
    time.sleep(chance.random() * 0.06)  # waits for nothing: the moment of the kill is left to the dice
    server.process.kill()
    for thread in threads:
        thread.join(60)
    server.process.wait()
    server.process.stdout.close()
    server.log_file.close()
    assert not problems, problems


def check(server, clients):
    """Whatever was told is so; and what was not answered is asked again with its key."""
    wire = Wire(server)
    for key, body in list(clients.pending.items()):
        job = wire.submit(clients, key, body)
        assert job and wire.submit(clients, key, body) == job
    for job in sorted(clients.open):
        assert wire.look(clients, job), "the gateway is gone"


def check_assets(server, jobs):
    for job in jobs:
        if job.status == "complete":
            answer = server.get("/a/" + job.output, key=None)
            assert answer.status_code == 200 and "a_" + blake3.blake3(answer.content).hexdigest() == job.output


def all_jobs(server):
    """Every job that there is, page by page."""
    found, after = {}, {}
    while True:
        page = server.get("/jobs", params={"limit": 1000, **after}).json()
        for job in page["jobs"]:
            assert found.setdefault(job["id"], job) is job, "listed twice"
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


def instant(request):
    """A picture of its own for each seed: an end that comes at once."""
    request.answer(200, FLAT[:33] + png_chunk(b"tEXt", b"seed\0%d" % request.json()["seed"]) + FLAT[33:])


def settings(port):
    return ("log: {level: warn}\nstore: {pack_size: 1MiB}\nlimits: {rate: 0, queue_depth: 0}\nengines:\n"
            "  - {name: builtin, type: builtin, slots: 2}\n"
            f"  - {{name: box, type: http, url: 'http://127.0.0.1:{port}/', slots: 4, models: [flux/dev]}}\n")


def test_killed_over_and_over(start_gateway, tmp_path):
    clients, chance = Clients(), random.Random(1)
    with Scripted(instant) as engine:
        config = settings(engine.port)
        for _ in range(KILLS):
            server = Gateway(tmp_path / "data", config=config)
            ended = [job for job in clients.jobs.values() if job.status]
            check(server, clients)
            check_assets(server, ended[-5:])
            live(server, clients, chance)
        server = start_gateway(config=config)
        check(server, clients)
        wire = Wire(server)
        wait_for("the end of every job", lambda: all(wire.look(clients, job) for job in sorted(clients.open)) and not clients.open)
        found = all_jobs(server)
        assert set(found) == set(clients.jobs), "lost, or there twice"
        for job, body in found.items():
            clients.saw(job, body)
        check_assets(server, clients.jobs.values())
        ends = [job.status for job in clients.jobs.values()]
        assert len(ends) >= KILLS and ends.count("complete") >= KILLS / 4 and ends.count("cancelled") >= KILLS / 20, ends
        assert server.stop() == 0
        scrub = run("scrub", "--data", str(server.data))
        assert scrub.returncode == 0 and " 0 bad" in scrub.stdout, scrub.stdout


# ---- syncs and writes that fail ----

class Disk(Faults):
    def again(self):
        """How often a file was synced again after its sync had failed."""
        return struct.unpack("<I", self.map[20:24])[0]


class Submitter:
    """Submits one job at a time and, when it runs, waits for its end; remembers what it was told."""

    def __init__(self, runs):
        self.runs, self.jobs, self.serial = runs, {}, 0

    def submit(self, server):
        self.serial += 1
        session = requests.Session()  # the last one's connection may be half dead
        family, model = ("builtin", "plasma") if self.runs else ("flux", "schnell")  # which nothing here serves
        body = {"modality": "image", "family": family, "model": model, "task": "t2i", "format": "512", "steps": 1,
                "seed": self.serial, "prompt": "a"}
        headers = {"Authorization": "Bearer " + server.key}
        answer = outcome(lambda: session.post(server.url + "/queue", json=body, headers=headers, timeout=60))
        if answer is None or answer.status_code != 202:
            return answer
        job = answer.json()["id"]
        self.jobs[job] = None
        until = time.monotonic() + 60
        while self.runs and server.process.poll() is None:  # to its end, or the gateway's
            try:
                seen = session.get(f"{server.url}/jobs/{job}", headers=headers, timeout=60, allow_redirects=False).json()
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                continue
            if seen["status"] in ENDED:
                self.jobs[job] = end_of(seen)
                break
            assert time.monotonic() < until, seen
        return answer

    def check(self, server):
        for job, told in self.jobs.items():
            answer = server.get(f"/jobs/{job}", allow_redirects=False)
            assert answer.status_code in (200, 303), (job, answer.text)
            assert told in (None, end_of(answer.json())), (told, answer.text)


def ended_by_itself(server):
    """Whether the gateway found its store unsound; then it ends within a second, non-zero."""
    began = time.monotonic()
    while server.process.poll() is None:
        try:
            if requests.get(server.url + "/health/ready", timeout=5).status_code == 200:
                return False
        except requests.ConnectionError:
            pass
        assert time.monotonic() - began < 1, "it goes on"
    assert server.process.returncode == 1 and "a store failed" in server.log()
    return True


@pytest.fixture
def disk(tmp_path):
    if SANITIZED:
        pytest.skip("a sanitizer's allocator cannot be preloaded over")
    assert LIBRARY.exists(), "run ninja in the build folder"
    return Disk(tmp_path / "faults")


@pytest.mark.parametrize("kind,error,runs", [(SYNC, EIO, True), (SYNC, ENOSPC, True), (WRITE, EIO, True),
                                             (WRITE, ENOSPC, False), (WRITE, SHORT, True)],
                         ids=["sync-EIO", "sync-ENOSPC", "write-EIO", "write-ENOSPC", "write-short"])
def test_each_sync_and_write_of_a_job_fails_once(disk, start_gateway, kind, error, runs):
    """A failed sync is the end: nothing is accepted any more, the process is gone within a second, and the file is
    not synced again. A failed write may be the end, or the refusal of what it was for. What was told stays. (A full
    disk only around the submission: what belongs to a job that was accepted is tried again after a second.)"""
    config = "log: {level: warn}\nstore: {pack_size: 1MiB}\nlimits: {rate: 0}\n"
    server, submitter = start_gateway(config=config, env=disk.env()), Submitter(runs)
    assert submitter.submit(server).status_code == 202
    number, stops, fired = 0, 0, True
    while fired:
        number += 1 if number < DENSE else 3  # a submission's own come first, what its run writes later
        assert number < 200
        disk.arm(kind, number, error)
        answer = submitter.submit(server)
        fired = disk.disarm()[0]
        stopped = fired and ended_by_itself(server)
        if fired and kind == SYNC:
            assert stopped, f"sync {number} failed, and the gateway went on"
            assert disk.again() == 0, f"sync {number} failed, and was tried again"
        if error == SHORT:
            assert not stopped and answer is not None and answer.status_code == 202, "a short write is no failure"
        stops += stopped
        if stopped:
            server = start_gateway(config=config, env=disk.env())
            submitter.check(server)
        if stopped or answer is None or answer.status_code != 202:
            assert submitter.submit(server).status_code == 202, number
    assert number > 3, "too little was written for a job"
    assert stops >= 3 or kind == WRITE
    submitter.check(server)
    assert server.stop() == 0


def test_nothing_is_promised_after_a_failed_sync(disk, start_gateway):
    """Many clients at once: those that were told 202 have their jobs after the restart, the others may not."""
    config = "log: {level: warn}\nstore: {pack_size: 1MiB}\nlimits: {rate: 0}\n"
    server = start_gateway(config=config, env=disk.env())
    clients, chance = Clients(), random.Random(2)
    wires = [Wire(server) for _ in range(8)]
    bodies = [clients.begin(chance) for _ in range(8 * 50)]
    problems = []

    def client(wire, mine):
        for key, body in mine:
            answer = wire.ask("POST", "/queue", {**body, "family": "flux", "model": "schnell"}, Idempotency_Key=key)
            if answer is None:
                return
            if answer[0] == 202:
                clients.accepted(key, json.loads(answer[1])["id"])
            elif answer[0] not in OURS:
                problems.append(answer)

    disk.arm(SYNC, 20, EIO)
    threads = [threading.Thread(target=client, args=(wire, bodies[i::8])) for i, wire in enumerate(wires)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disk.disarm()[0] and ended_by_itself(server) and disk.again() == 0
    assert clients.jobs and clients.pending and not problems, problems
    server = start_gateway(config=config)
    wire = Wire(server)
    assert all(wire.look(clients, job) for job in clients.jobs)
    assert server.stop() == 0
