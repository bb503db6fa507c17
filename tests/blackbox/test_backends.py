# SPDX-License-Identifier: Apache-2.0
"""Several backends at once: which of them gets work, what becomes of a run whose backend fails, and what is
never called a picture. The backends are scripted HTTP servers; each can be killed and started again."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib

import pytest
from conftest import SANITIZED, program
from test_engine_http import config as engine_config
from test_jobs import BOX, ended, job, submit
from tools import Scripted, data_uri, log_lines, metric, picture, png_chunk, wait_for

PATH = "/image/flux/dev/t2i"
PNG = picture(512, 512)
SLACK = 10 if SANITIZED else 1


class Backend:
    """A server that paints what it is asked for, until it is told otherwise: `act(request)` replaces the painting,
    `well` is what its /health says. kill() closes it with every connection, as the end of a process does."""

    def __init__(self, act=None):
        self.act, self.well, self.served, self.sockets = act, True, 0, set()
        self.port = 0
        self.start()

    def start(self):
        self.server = Scripted(self.script, port=self.port)
        self.port = self.server.port

    def script(self, request):
        self.sockets.add(request.sock)
        if request.path == "/health":
            request.answer(200 if self.well else 503, b"", None)
            return
        self.served += 1
        if self.act is not None:
            self.act(request)
        else:
            request.answer(200, PNG)

    def kill(self):
        self.server.close()
        for sock in self.sockets:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()
            except OSError:
                pass
        self.sockets.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()
        assert not self.server.problems, self.server.problems


def config(*backends, slots=8, more="", rest=""):
    """box0, box1, ...; `backends` may hold None, which leaves a number out."""
    lines = [f"  - {{name: box{i}, type: http, url: 'http://127.0.0.1:{b.port}/generate', slots: {slots}, health: /health, "
             f"models: [flux/dev]{more}}}\n" for i, b in enumerate(backends) if b is not None]
    return "store: {pack_size: 4MiB, min_free: 0}\nlimits: {rate: 0}\n" + rest + "engines:\n" + "".join(lines)


def ready(server, name):
    return metric(server, f'render_backend_ready{{backend="{name}"}}')


def ask(server, **fields):
    return server.generate("a cat", path=PATH, **fields)


def job_of(server):
    """A job, when it has ended."""
    return ended(server, submit(server, BOX))


def render(server, *args):
    done = subprocess.run([program("render"), *args, "--url", server.url, "--key-file", str(server.data / "admin.key")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Load:
    """So many clients, each asking again as soon as it has its answer."""

    def __init__(self, server, clients=6):
        self.server, self.going, self.answers = server, True, []
        self.pool = concurrent.futures.ThreadPoolExecutor(clients)
        self.running = [self.pool.submit(self.client, n) for n in range(clients)]

    def client(self, number):
        import requests
        with requests.Session() as session:
            seed = number * 1_000_000
            while self.going:
                seed += 1
                answer = session.post(self.server.url + PATH + "?format=512", json={"prompt": "a cat", "seed": seed},
                                      headers={"Authorization": f"Bearer {self.server.key}"}, timeout=60)
                self.answers.append((answer.status_code, answer.text[:200] if answer.status_code != 200 else ""))

    def more(self, count):
        goal = len(self.answers) + count
        wait_for(f"{count} more answers", lambda: len(self.answers) >= goal or self.failed())

    def failed(self):
        return [answer for answer in self.answers if answer[0] != 200]

    def stop(self):
        self.going = False
        for client in self.running:
            client.result()
        self.pool.shutdown()


# ---- one of several fails ----

def test_a_dead_backend_of_three_costs_no_request(start_gateway):
    """Killed under load, started again under load: nobody notices, and it gets work again."""
    with Backend() as one, Backend() as two, Backend() as three:
        server = start_gateway(config=config(one, two, three))
        load = Load(server)
        load.more(60)
        two.kill()
        load.more(60)
        wait_for("it is out of rotation", lambda: ready(server, "box1") == 0)
        load.more(60)
        two.start()
        wait_for("it is in rotation", lambda: ready(server, "box1") == 1)
        served = two.served
        wait_for("it gets work", lambda: two.served > served or load.failed())
        load.stop()
        assert not load.failed() and len(load.answers) > 180
        assert metric(server, "render_generations_failed_total") == 0


def test_a_run_goes_on_elsewhere(start_gateway):
    """Whichever is asked first; a reset is seen by nobody but the log."""
    with Backend(lambda request: request.reset()) as bad, Backend() as good:
        server = start_gateway(config=config(bad, good))
        wait_for("the bad one was tried", lambda: ask(server).status_code != 200 or bad.served > 0)
        assert [ask(server).status_code for _ in range(4)] == [200] * 4
        attempts = [line for line in log_lines(server) if line["event"] == "attempt failed"]
        assert attempts and all(line["backend"] == "box0" and line["code"] == "backend_failed" and
                                line["then"] == "on another backend" and line["why"] for line in attempts)
        assert metric(server, "render_generations_failed_total") == 0
        assert metric(server, "render_objects") == 1  # the same picture each time, and nothing of the failures


def test_a_job_goes_on_elsewhere(start_gateway):
    with Backend(lambda request: request.answer(500, b"CUDA error", "text/plain")) as bad, Backend() as good:
        server = start_gateway(config=config(bad, good))
        wait_for("the bad one was tried", lambda: job_of(server)["status"] != "complete" or bad.served > 0)
        last = job_of(server)
        assert last["status"] == "complete" and good.served >= 1 and metric(server, "render_objects") == 1
        jobs = server.get("/jobs").json()["jobs"]
        assert max(job["attempts"] for job in jobs) == 2 and {job["status"] for job in jobs} == {"complete"}


def test_a_call_that_became_a_job_goes_on_elsewhere(start_gateway):
    """It took longer than sync.wait, so it was answered with 202; then its backend failed."""
    go = threading.Event()

    def slow(request):
        assert go.wait(60)
        request.reset()
    with Backend(slow) as bad, Backend(slow) as other:
        server = start_gateway(config=config(bad, other, rest="sync: {wait: 100ms}\n"))
        answer = ask(server)
        assert answer.status_code == 202, answer.text
        (other if bad.served else bad).act = None
        go.set()
        now = ended(server, answer.json())
        assert (now["status"], now["attempts"]) == ("complete", 2) and bad.served == other.served == 1


def test_the_breaker_opens_and_is_seen(start_gateway):
    """After ten runs, half of which failed, it gets none; metrics and `render backends` say so."""
    with Backend(lambda request: request.answer(500, b"CUDA error", "text/plain")) as bad, Backend() as good:
        server = start_gateway(config=config(bad, good))
        state = 'render_backend_breaker_state{backend="box0"}'
        wait_for("the breaker opens", lambda: ask(server).status_code != 200 or metric(server, state) == 1)
        assert bad.served == 10
        assert [ask(server).status_code for _ in range(10)] == [200] * 10 and bad.served == 10
        assert metric(server, 'render_backend_breaker_state{backend="box1"}') == 0
        table = render(server, "backends")
        assert re.search(r"^box0 +http +0/8 +http://127.0.0.1:\d+/generate +breaker open: 10 of 10 failed; probed in \d+ s$",
                         table, re.MULTILINE), table
        assert re.search(r"^box1 .* ready$", table, re.MULTILINE), table
        told = json.loads(render(server, "backends", "--json"))["backends"]
        assert told[0]["breaker"]["state"] == "open" and 0 < told[0]["breaker"]["retry_after_seconds"] <= 60
        assert told[1]["breaker"]["state"] == "closed" and told[0]["ready"] and told[0]["why"] is None


def test_unready_leaves_and_returns_within_two_seconds(start_gateway):
    with Backend() as box:
        server = start_gateway(config=config(box))
        assert ask(server).status_code == 200
        for well in (False, True):
            changed = time.monotonic()
            box.well = well
            wait_for("it is noticed", lambda: ready(server, "box0") == well)
            took = time.monotonic() - changed
            print(f"{'ready' if well else 'unready'} after {took:.2f} s")
            assert took < 2 * SLACK
            answer = ask(server)
            assert answer.status_code == (200 if well else 503), answer.text
            if not well:
                assert answer.json()["error"] == "backend_not_ready" and answer.json()["retriable"] is True
                assert "not ready: " in render(server, "backends")
        told = [line["event"] for line in wait_for("both changes are in the log", lambda: [
            lines for lines in [[line for line in log_lines(server) if line["event"].startswith("backend is")]]
            if len(lines) == 3])[0]]
        assert told == ["backend is ready", "backend is not ready", "backend is ready"]
        assert box.served == 2  # health is never a run


# ---- the only one fails ----

def test_a_failure_is_repeated(start_gateway):
    statuses = [502, 503, 200]
    with Scripted(lambda request: request.answer(statuses[len(engine.requests) - 1], PNG)) as engine:
        server = start_gateway(config=engine_config(engine.port, slots=1))
        now = ended(server, submit(server, BOX))
        assert now["status"] == "complete" and now["attempts"] == 3 and len(engine.requests) == 3


def test_a_failure_that_stays_ends_the_job_after_four_attempts(start_gateway):
    with Scripted(lambda request: request.answer(502)) as engine:
        server = start_gateway(config=engine_config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the second attempt", lambda: len(engine.requests) == 2)
        now = wait_for("the wait", lambda: (now := job(server, made))["status"] == "queued" and now)
        assert now["attempts"] == 2 and now["error"] is None
        now = ended(server, made)
        assert now["status"] == "error" and now["attempts"] == 4 and len(engine.requests) == 4
        assert now["error"]["code"] == "backend_failed" and now["error"]["retriable"]


def test_what_would_fail_again_is_not_repeated(start_gateway):
    with Scripted(lambda request: request.answer(400)) as engine:
        server = start_gateway(config=engine_config(engine.port, slots=1))
        now = ended(server, submit(server, BOX))
        assert now["status"] == "error" and now["attempts"] == 1 and len(engine.requests) == 1


# ---- what is no picture ----

def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def lying_png():
    """The header says 512 x 512; the pixels are of half of it."""
    pixels = zlib.compress((b"\0" + b"\x55" * 512) * 256)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 512, 512, 8, 0, 0, 0, 0)) + \
        png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


JPEG, WEBP = picture(512, 512, "JPEG"), picture(512, 512, "WEBP")
NO_PICTURES = {
    "a text": (b"<html>out of memory</html>" * 100, "image/png", "not what its Content-Type says"),
    "a JPEG": (JPEG, "image/png", "not what its Content-Type says"),
    "a PNG that ends early": (PNG[:-40], "image/png", "ends early"),
    "a PNG of which a bit is wrong": (flip(PNG, len(PNG) // 2), "image/png", "the PNG is damaged"),
    "a PNG with half of its pixels": (lying_png(), "image/png", "pixels are missing"),
    "a PNG of another size": (picture(512, 496), "image/png", "512 x 496 pixels; 512 x 512"),
    "a PNG with something behind": (PNG + b"PK\3\4", "image/png", "bytes follow its end"),
    "a JPEG that ends early": (JPEG[:-500], "image/jpeg", "the JPEG is damaged"),
    "a WebP that ends early": (WEBP[:-500], "image/webp", "the WebP is damaged"),
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One gateway with one backend, whose behaviour the test sets."""
    from conftest import Gateway
    with Backend() as box:
        server = Gateway(tmp_path_factory.mktemp("one") / "data", config=config(box))
        yield server, box
        assert server.stop() == 0
        assert "Sanitizer" not in server.log()


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_never_called_one(one, name):
    server, box = one
    bytes_, kind, why = NO_PICTURES[name]
    totals = ("render_objects", "render_output_bytes_total", "render_device_seconds_total")
    before = [metric(server, total) for total in totals]
    failed = metric(server, "render_generations_failed_total")
    box.act = lambda request: request.answer(200, bytes_, kind, X_Device_Seconds="3.5")
    answer = ask(server, accept=kind)
    box.act = lambda request: request.answer(200, JPEG if "jpeg" in kind else WEBP if "webp" in kind else PNG, kind)
    after = [metric(server, total) for total in totals]
    assert [ask(server, accept=kind).status_code for _ in range(2)] == [200, 200]  # which keeps the breaker closed
    assert (answer.status_code, answer.json()["error"], answer.json()["retriable"]) == (502, "backend_failed", True)
    assert "Content-Location" not in answer.headers and "x-gpu-seconds" not in answer.headers
    assert after == before
    assert metric(server, "render_generations_failed_total") == failed + 1
    line = wait_for("the log line", lambda: [line for line in log_lines(server) if line.get("request_id") ==
                                             answer.headers["X-Weyl-Request-Id"] and line.get("error")])[0]
    assert why in line["error"], line


def test_a_job_of_which_no_backend_makes_a_picture(start_gateway):
    """One clear error; nothing stored, nothing charged. It is not asked for again: it cost device time once."""
    boxes = [Backend(lambda request: request.answer(200, PNG[:-40], X_Device_Seconds="2")) for _ in range(3)]
    server = start_gateway(config=config(*boxes))
    now = job_of(server)
    assert now["status"] == "error" and now["attempts"] == 1 and now["output"] is None
    assert now["error"]["code"] == "backend_failed" and now["error"]["retriable"] is True
    assert now["gpu_seconds"] is None and now["gpu_source"] is None
    assert sorted(box.served for box in boxes) == [0, 0, 1]
    assert metric(server, "render_objects") == 0 and metric(server, "render_device_seconds_total") == 0
    for box in boxes:
        box.server.close()


def test_a_job_that_fails_everywhere(start_gateway):
    """Four attempts on four backends, one after the other without a pause, and then it is over."""
    boxes = [Backend(lambda request: request.reset()) for _ in range(4)]
    server = start_gateway(config=config(*boxes))
    now = job_of(server)
    assert now["status"] == "error" and now["attempts"] == 4 and now["error"]["retriable"] is True
    assert [box.served for box in boxes] == [1] * 4
    for box in boxes:
        box.server.close()


def test_a_success_after_the_deadline_is_none(start_gateway):
    def late(request):
        time.sleep(1.3)  # what it is about: more than the deadline
        request.answer(200, PNG)
    with Backend(late) as box:
        server = start_gateway(config=config(box, rest="jobs: {deadline: 1s}\n"))
        answer = ask(server)
        assert (answer.status_code, answer.json()["error"], answer.json()["retriable"]) == (504, "backend_timeout", True)
        assert metric(server, "render_objects") == 0 and metric(server, "render_device_seconds_total") == 0


# ---- reload ----

def test_a_reload_drops_nothing(start_gateway):
    """Under load, one of three backends goes and another one comes, again and again. Each reload takes less than
    100 ms, and the two that stay keep their connections."""
    with Backend() as one, Backend() as two, Backend() as three, Backend() as four:
        configs = config(one, two, three, None), config(one, two, None, four)
        server = start_gateway(config=configs[0])
        load = Load(server)
        load.more(40)
        kept = len({request.sock for request in one.server.requests if request.path == "/generate"})
        for n in range(6):
            server.config_path.write_text(configs[(n + 1) % 2])
            os.kill(server.process.pid, signal.SIGHUP)
            wait_for("it is reloaded", lambda: metric(server, "render_reloads_total") == n + 1)
            fresh = four if n % 2 == 0 else three
            served = fresh.served
            wait_for("the one that came gets work", lambda: fresh.served > served or load.failed())
        load.more(20)
        load.stop()
        assert not load.failed(), load.failed()[:5]
        took = [line["ms"] for line in log_lines(server) if line["event"] == "reloaded"]
        print("reloads took", took, "ms;", len(load.answers), "requests")
        assert len(took) == 6 and (SANITIZED or max(took) < 100)
        now = len({request.sock for request in one.server.requests if request.path == "/generate"})
        assert now <= max(kept, 8)  # as many as it has slots: none was opened anew
        listed = [b["name"] for b in server.get("/backends").json()["backends"] if not b["retired"]]
        assert listed == ["box0", "box1", "box2"]


# ---- what can be done at all ----

def test_a_task_that_no_backend_does(start_gateway):
    """The mapping has no row for a source picture, so the model does t2i here and no i2i."""
    server = start_gateway(config="""store: {pack_size: 4MiB, min_free: 0}
mappings:
  - name: words
    inputs: [{name: PROMPT, field: prompt, datatype: BYTES}]
    outputs: [{name: IMAGE, gives: image, datatype: BYTES}]
engines:
  - {name: box0, type: triton, url: "grpc://127.0.0.1:1", models: [sdxl/base], mapping: [words]}
""")
    answer = server.generate("a cat", path="/image/sdxl/base/i2i", image=data_uri(PNG))
    assert answer.status_code == 503 and answer.json()["error"] == "model_unavailable", answer.text
    assert answer.json()["retriable"] is False and "does this task" in answer.json()["message"]
    answer = server.generate("a cat", path="/image/sdxl/base/t2i")
    assert answer.status_code == 503 and answer.json()["error"] == "backend_not_ready", answer.text
    models = {m["id"]: m for m in server.get("/models").json()["models"]}
    assert models["sdxl/base"]["available"] and not models["flux/dev"]["available"]
    assert server.get("/backends").json()["backends"][0]["why"]


def test_no_credentials_are_shown(start_gateway):
    with Backend() as box:
        server = start_gateway(config=config(box).replace("generate'", "generate?key=se-cret'"))
        told = server.get("/backends").text + render(server, "backends")
        assert f"http://127.0.0.1:{box.port}/generate" in told
        assert "se-cret" not in told and ask(server).status_code == 200
