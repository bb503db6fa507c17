# SPDX-License-Identifier: Apache-2.0
"""The queue, from the outside: what may enter and what is said when not, who is next, what cancelling does, and what
restarts, crashes and failing engines leave of a job. Order, fairness and time are the simulator's (tests/simulate);
here is one of each kind through the real server. The events of jobs: test_events.py."""
import concurrent.futures
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import ROOT
from test_engine_http import PNG, config
from test_limits import small_disk  # noqa: F401  pylint: disable=unused-import
from tools import WAIT_SECONDS, Scripted, data_uri, make_certificate, metric, need, picture, wait_for

JOB = {"family": "builtin", "model": "plasma", "task": "t2i", "format": "512", "steps": 1, "prompt": "a"}
LONG = {**JOB, "format": "1024", "steps": 150}
BOX = {**JOB, "family": "flux", "model": "dev", "format": "512"}
ENDED = ("complete", "error", "cancelled")


def submit(server, body=None, status=202, **kw):
    answer = server.post("/queue", json=JOB if body is None else body, **kw)
    assert answer.status_code == status, answer.text
    return answer.json()


def job(server, made, **kw):
    name = made["id"] if isinstance(made, dict) else made
    answer = server.get(f"/jobs/{name}", allow_redirects=False, **kw)
    assert answer.status_code in (200, 303), answer.text
    return answer.json()


def ended(server, made, **kw):
    return wait_for("the job's end", lambda: (now := job(server, made, **kw))["status"] in ENDED and now)


def running(server, made):
    return wait_for("the job's start", lambda: (now := job(server, made))["status"] == "running" and now)


def prompt_of(request):
    return request.json()["request"]["prompt"]


class Held:
    """The script of an engine that answers only when it is let: with a picture, or with another status."""

    def __init__(self):
        self.turns, self.status = threading.Semaphore(0), 200

    def __call__(self, request):
        assert self.turns.acquire(timeout=WAIT_SECONDS)
        request.answer(self.status, PNG if self.status == 200 else b"", "image/png")

    def let(self, count=1):
        self.turns.release(count)


# ---- submitting ----

def test_a_job_from_its_submission_to_its_output(gateway):
    answer = gateway.post("/queue", json={**JOB, "seed": 7, "my_field": {"kept": [1]}})
    made = answer.json()
    assert answer.status_code == 202 and made["status"] == "queued"
    url = f"/jobs/{made['id']}"
    assert answer.headers["Location"] == url and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Link"] == f'<{url}/events>; rel="monitor"'
    assert made["events_url"] == gateway.url + url + "/events"
    now = ended(gateway, made)
    assert now["status"] == "complete" and now["progress"] == 1 and now["error"] is None and now["attempts"] == 1
    assert (now["seed"], now["model"], now["priority"]) == (7, "builtin/plasma", "normal")
    assert now["request"]["my_field"] == {"kept": [1]} and now["gpu_seconds"] > 0
    assert now["created_at"] <= now["started_at"] <= now["completed_at"]
    answer = gateway.get(url, allow_redirects=False)
    assert answer.status_code == 303 and answer.headers["Location"] == now["output"] and "outputs" not in now
    bytes_ = gateway.get(url)  # follows
    assert bytes_.content == gateway.generate("a", steps=1, seed=7).content
    assert gateway.get(now["output"] + "/attestation", key=None).status_code == 200


def test_what_a_job_makes(gateway):
    several = ended(gateway, submit(gateway, {**JOB, "count": 3, "seed": 2**32 - 1}))
    assert several["output"] == several["outputs"][0] and len(set(several["outputs"])) == 3
    webp = ended(gateway, submit(gateway, headers={"Accept": "image/webp"}))
    assert gateway.get(webp["output"], key=None).headers["Content-Type"] == "image/webp"
    video = {"family": "builtin", "model": "plasma", "task": "t2v", "format": "480p", "duration": 0.5, "steps": 1, "prompt": "a"}
    made = ended(gateway, submit(gateway, {**video, "modality": "video"}))
    assert gateway.get(made["output"], key=None).headers["Content-Type"] == "video/mp4"


def test_pictures_of_a_job(start_gateway, tmp_path):
    """From an upload, from an asset, from a data: URI that is not sent back, and from nowhere. While one waits for a host
    that is slow, others are read from the store."""
    certificate = make_certificate(tmp_path, "127.0.0.1")
    server = start_gateway(config=f"fetch: {{allow_hosts: ['127.0.0.1'], ca_file: {certificate[0]}}}\n")
    content = picture()
    ticket = server.post("/uploads", json={"content_type": "image/png", "bytes": len(content)}).json()
    asset = server.put(ticket["upload_url"], key=None, data=content).json()["asset_url"]
    body = {**JOB, "task": "i2i"}
    for image in (ticket["asset_url"], asset):
        assert ended(server, submit(server, {**body, "image": image}))["status"] == "complete"
    made = ended(server, submit(server, {**body, "image": data_uri(picture(200, 200))}))
    assert made["status"] == "complete" and len(made["request"]["image"]) < 100
    assert made["request"]["image"].startswith("data:image/png;base64,...")
    lost = ended(server, submit(server, {**body, "image": "a_" + "0" * 22}))
    assert lost["status"] == "error" and lost["error"]["code"] == "invalid_request" and lost["attempts"] == 1
    assert lost["error"]["message"].startswith("image: ") and not lost["error"]["retriable"]
    asked, go = threading.Event(), threading.Event()

    def slow(request):
        asked.set()
        assert go.wait(WAIT_SECONDS)
        request.answer(200, content)
    with Scripted(slow, certificate) as host:
        made = submit(server, {**body, "image": f"https://127.0.0.1:{host.port}/a.png"})
        assert asked.wait(WAIT_SECONDS)
        try:
            assert server.get("/jobs", timeout=20).status_code == 200
        finally:
            go.set()
        assert ended(server, made)["status"] == "complete"


def test_all_that_is_wrong_at_once(gateway):
    bad = {**JOB, "modality": "video", "priority": "urgent", "webhook": "http://127.0.0.1/", "ttl": 59, "steps": 0, "cfg": 21,
           "format": "7", "backend": "x", "idempotency_key": "a b", "prompt": ""}
    answer = gateway.post("/queue", json=bad)
    assert answer.status_code == 400
    assert {p["field"] for p in answer.json()["details"]} == {
        "modality", "priority", "webhook", "ttl", "steps", "cfg", "format", "backend", "idempotency_key", "prompt"}
    answer = gateway.post("/queue", json={"ttl": 60})
    assert {p["field"] for p in answer.json()["details"]} == {"family", "model", "task"}


@pytest.mark.parametrize("fields,good", [
    ({"ttl": 60}, True), ({"ttl": 86400}, True), ({"ttl": 59}, False), ({"ttl": 86401}, False), ({"ttl": 60.0}, False),
    ({"ttl": True}, False), ({"family": "builtin", "model": "none"}, False), ({"family": "flux", "task": "edit"}, False),
    ({"task": "t2v"}, False), ({"task": "t2v", "format": "480p", "modality": "image"}, False),
    ({"modality": "image"}, True), ({"format": "720p"}, False), ({"backend": "builtin"}, True),
    ({"priority": "low"}, True), ({"priority": "normal"}, True), ({"idempotency_key": "x" * 64}, True),
    ({"webhook": "https://10.0.0.1/"}, False), ({"webhook": "https://[::1]/"}, False), ({"webhook": "ftp://example.com/"}, False),
    ({"webhook": "https://localhost/"}, False), ({"webhook": "https://user:pw@example.com/"}, False)])
def test_values_at_their_limits(gateway, fields, good):
    answer = gateway.post("/queue", json={**JOB, **fields})
    assert answer.status_code == (202 if good else 400), answer.text
    if not good:
        assert {p["field"] for p in answer.json()["details"]} & {*fields, "model", "format"}, answer.text


def test_priority_high_needs_a_plan_and_webhooks_a_host(start_gateway):
    server = start_gateway(config="webhooks: {allow_hosts: ['127.0.0.1']}\ntenants:\n  - {name: acme, priority: high}\n")
    acme, other = server.new_key("acme")["key"], server.new_key("other")["key"]
    assert submit(server, {**JOB, "priority": "high"}, status=403, key=other)["error"] == "plan_required"
    assert job(server, submit(server, {**JOB, "priority": "high"}, key=acme))["priority"] == "high"
    with Scripted(lambda request: request.answer(204)) as receiver:
        submit(server, {**JOB, "webhook": f"http://127.0.0.1:{receiver.port}/"})
        wait_for("the message", lambda: receiver.requests)
        assert receiver.requests[0].json()["type"] == "job.complete"


# ---- idempotency ----

def test_a_key_stands_for_one_job(start_gateway):
    server = start_gateway()
    body, key = {**JOB, "prompt": "once"}, {"Idempotency-Key": "order-1"}
    first = submit(server, body, headers=key)
    ended(server, first)
    for kw in ({"headers": key}, {"headers": {"Idempotency-Key": '"order-1"'}}, {"field": "order-1"}, {"field": "order-1", "headers": key}):
        field = kw.pop("field", None)
        again = server.post("/queue", json={**body, **({"idempotency_key": field} if field else {})}, **kw)
        assert again.status_code == 202 and again.json()["id"] == first["id"]
        assert again.headers["Location"] == f"/jobs/{first['id']}"
    reordered = dict(reversed(list(body.items())))
    assert submit(server, reordered, headers=key)["id"] == first["id"]
    assert submit(server, {**body, "seed": 1}, status=422, headers=key)["error"] == "idempotency_conflict"
    answer = server.post("/queue", json={**body, "idempotency_key": "order-2"}, headers=key)
    assert answer.status_code == 400 and answer.json()["details"][0]["field"] == "idempotency_key"
    other = server.new_key("other")["key"]
    assert submit(server, body, headers=key, key=other)["id"] != first["id"]
    assert server.stop() == 0
    server = start_gateway()
    assert submit(server, body, headers=key)["id"] == first["id"]
    assert submit(server, {**body, "seed": 1}, status=422, headers=key)["error"] == "idempotency_conflict"


def test_a_known_key_comes_before_the_limits(start_gateway):
    server = start_gateway(config="limits: {rate: 0, queue_depth: 1}\n"
                                  "engines:\n  - {name: p, type: builtin, slots: 1, models: [builtin/plasma]}\n")
    video = {"modality": "video", "family": "builtin", "model": "plasma", "task": "t2v", "format": "480p", "duration": 4,
             "steps": 20, "prompt": "slow"}
    slow = submit(server, video)["id"]
    wait_for("the first to run", lambda: server.get(f"/jobs/{slow}", allow_redirects=False).json()["status"] == "running")
    key = {"Idempotency-Key": "order-1"}
    first = submit(server, JOB, headers=key)["id"]
    for kw in ({}, {"headers": {"Idempotency-Key": "order-2"}}):
        refused = server.post("/queue", json=JOB, **kw)
        assert refused.status_code == 429 and refused.json()["error"] == "queue_full", refused.text
        assert refused.headers["Retry-After"] == "1"
    assert submit(server, JOB, headers=key)["id"] == first
    assert submit(server, {**JOB, "seed": 1}, status=422, headers=key)["error"] == "idempotency_conflict"
    refused = server.post("/image/builtin/plasma/t2i", json={"prompt": "a"}, headers={"Idempotency-Key": "order-3"})
    assert refused.status_code == 429 and refused.json()["error"] == "queue_full"
    listed = server.get("/jobs?status=running").json()
    assert [job["id"] for job in listed["jobs"]] == [slow], listed
    server.delete(f"/jobs/{slow}")


def test_what_makes_no_job_takes_a_key_too(start_gateway):
    server = start_gateway()
    ask = {"content_type": "image/png", "bytes": 100}
    asks = [("/uploads", ask, 200), ("/keys", {"tenant": "acme", "name": "app"}, 201), ("/webhooks/secret/rotate", None, 200)]
    first = {}
    for path, body, status in asks:
        kw = {"headers": {"Idempotency-Key": f"once{path}"}, **({"json": body} if body else {})}
        first[path] = server.post(path, **kw)
        assert first[path].status_code == status, first[path].text
        again = server.post(path, **kw)
        assert (again.status_code, again.content) == (status, first[path].content)
        assert again.headers["Cache-Control"] == "no-store"
        assert server.post(path, **{**kw, "headers": {}}).content != first[path].content
    key = {"Idempotency-Key": "once/keys"}
    other = server.post("/keys", json={"tenant": "acme", "name": "another"}, headers=key)
    assert other.status_code == 422 and other.json()["error"] == "idempotency_conflict"
    assert server.post("/uploads", json=ask, headers=key).status_code == 422
    refused = server.post("/uploads", json=ask, headers={"Idempotency-Key": "a b"})
    assert refused.status_code == 400 and refused.json()["details"][0]["field"] == "Idempotency-Key"
    # What was refused is not kept: the key is free for the request put right.
    free = {"Idempotency-Key": "second-try"}
    assert server.post("/uploads", json={**ask, "bytes": 0}, headers=free).status_code == 400
    assert server.post("/uploads", json=ask, headers=free).status_code == 200
    assert len([k for k in server.get("/keys").json()["keys"] if k["name"] == "app"]) == 2
    assert server.stop() == 0
    server = start_gateway()
    assert server.post("/keys", json=asks[1][1], headers=key).content == first["/keys"].content


def test_many_at_once_make_one_key(gateway):
    def make(_):
        while True:
            answer = gateway.post("/keys", json={"tenant": "racer", "name": "x"}, headers={"Idempotency-Key": "race"})
            if answer.status_code != 409:
                return answer.content
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(make, range(32)))) == 1
    assert len([k for k in gateway.get("/keys").json()["keys"] if k["tenant"] == "racer"]) == 1


def test_identical_submissions_at_once_are_one_job(gateway):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for turn in range(5):
            body = {**JOB, "idempotency_key": f"at-once-{turn}"}
            made = list(pool.map(lambda _, b=body: submit(gateway, b)["id"], range(32)))
            assert len(set(made)) == 1
    assert len([j for j in gateway.get("/jobs?limit=1000").json()["jobs"] if j["id"] == made[0]]) == 1


# ---- limits ----

def test_depth(start_gateway):
    server = start_gateway(config="engines: []\nlimits: {queue_depth: 3}\n")
    made = [submit(server) for _ in range(3)]
    answer = server.post("/queue", json=JOB)
    assert answer.status_code == 429 and answer.json()["error"] == "queue_full"
    assert int(answer.headers["Retry-After"]) >= 1 and answer.json()["retriable"]
    assert server.delete(f"/jobs/{made[1]['id']}").status_code == 204
    submit(server)
    submit(server, status=429)
    submit(server, key=server.new_key("other")["key"])  # its own depth
    assert server.get("/queue").json()["depth"] == {"high": 0, "normal": 4, "low": 0}


def test_the_rate_is_exact_under_concurrency(start_gateway):
    """What 16 clients get through together is never more than the burst and what time has added, and nearly that."""
    rate, burst = 50, 20
    server = start_gateway(config=f"engines: []\nlimits: {{rate: {rate}, burst: {burst}}}\n")
    body = json.dumps(JOB)
    headers = {"Authorization": f"Bearer {server.key}"}
    begun = time.monotonic()

    def client(_):
        connection, admitted = http.client.HTTPConnection(server.host, server.port, timeout=60), 0
        while time.monotonic() < begun + 2:
            connection.request("POST", "/queue", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.getheader("RateLimit-Policy") == f'"burst";q={burst};w=1'
            left, reset = map(int, re.fullmatch(r'"burst";r=(\d+);t=(\d+)', answer.getheader("RateLimit")).groups())
            assert left <= burst and (left < burst) == (reset > 0)
            if answer.status == 202:
                admitted += 1
            else:
                assert answer.status == 429 and json.loads(text)["error"] == "rate_limited" and left == 0
                assert int(answer.getheader("Retry-After")) >= 1
        connection.close()
        return admitted
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        admitted = sum(pool.map(client, range(16)))
    took = time.monotonic() - begun
    assert burst + rate * 1.5 <= admitted <= burst + rate * took
    assert server.get("/queue").json()["depth"]["normal"] == admitted
    assert metric(server, 'render_refused_total{reason="rate"}') > 0


def test_concurrency_caps_and_lanes(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=2) + "tenants:\n  - {name: small, concurrency: 1}\n")
        small = server.new_key("small")["key"]
        made = [submit(server, {**BOX, "prompt": name}, key=small) for name in ("1", "2")]
        running(server, made[0])
        answer = server.generate("3", path="/image/flux/dev/t2i", key=small)
        assert answer.status_code == 429 and answer.json()["error"] == "concurrency_limited"
        other = submit(server, {**BOX, "prompt": "other"})
        running(server, other)  # the second slot was free
        assert job(server, made[1])["status"] == "queued"
        for priority in ("low", "normal"):
            submit(server, {**BOX, "prompt": priority, "priority": priority})
        wait_for("two requests", lambda: len(engine.requests) == 2)
        held.let(5)
        wait_for("all", lambda: len(engine.requests) == 5)
        order = [prompt_of(request) for request in engine.requests]
        assert sorted(order[:2]) == ["1", "other"] and order.index("normal") < order.index("low")
        for one in made:
            ended(server, one)


def test_a_batch_does_not_hold_up_another_tenant(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        batch, single = server.new_key("batch")["key"], server.new_key("single")["key"]
        for n in range(200):
            submit(server, {**BOX, "prompt": f"batch {n}"}, key=batch)
        alone = submit(server, {**BOX, "prompt": "single"}, key=single)
        assert job(server, alone)["position"] <= 3
        held.let(4)
        assert ended(server, alone)["status"] == "complete"
        assert "single" in [prompt_of(request) for request in engine.requests[:4]]
        held.let(200)


# ---- asking ----

def test_lists_and_tenants(start_gateway):
    server = start_gateway(config="engines: []\n")
    mine, theirs = server.new_key("mine")["key"], server.new_key("theirs")["key"]
    made = [submit(server, key=mine)["id"] for _ in range(7)]
    foreign = submit(server, key=theirs)["id"]
    assert server.delete(f"/jobs/{made[3]}", key=mine).status_code == 204

    def page(query, key=mine):
        body = server.get("/jobs?" + query, key=key).json()
        return [j["id"] for j in body["jobs"]], body["next"]
    assert page("") == (made[::-1], None)
    assert page("limit=7") == (made[::-1], None)
    first, after = page("limit=3")
    second, after = page(f"limit=3&after={after}")
    third, after = page(f"limit=3&after={after}")
    assert first + second + third == made[::-1] and after is None
    assert page("status=cancelled") == ([made[3]], None) and page("status=complete") == ([], None)
    assert page("status=queued&limit=6") == ([i for i in made[::-1] if i != made[3]], None)
    assert page("", theirs) == ([foreign], None)
    assert page("", None or server.key)[0] == [foreign] + made[::-1]  # the administrator sees all
    assert all("request" not in j for j in server.get("/jobs").json()["jobs"])
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events")):
        for key in (theirs, mine):
            url = f"/jobs/{made[0] if key == theirs else foreign}{path}"
            assert server.request(method, url, key=key).status_code == 404, url
    assert job(server, made[0], key=mine)["status"] == "queued"


def test_the_queue_tells_how_full_it_is(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1) + "tenants:\n  - {name: acme, priority: high}\n")
        assert server.get("/queue").json() == {"depth": {"high": 0, "normal": 0, "low": 0}, "running": 0, "capacity": 1,
                                               "estimated_wait_seconds": 0}
        acme = server.new_key("acme")["key"]
        first = submit(server, BOX)
        running(server, first)
        made = [submit(server, {**BOX, "priority": lane}, key=acme) for lane in ("high", "normal", "low", "low")]
        now = server.get("/queue").json()
        assert now["depth"] == {"high": 1, "normal": 1, "low": 2} and now["running"] == 1 and now["capacity"] == 1
        assert [job(server, one)["position"] for one in made] == [1, 2, 3, 4]
        assert metric(server, 'render_queue_depth{lane="low"}') == 2
        held.let(5)
        ended(server, made[3])
        assert server.get("/queue").json()["running"] == 0


# ---- cancelling ----

def test_cancelling_what_waits(start_gateway):
    server = start_gateway(config="engines: []\n")
    for method, path, status in (("DELETE", "", 204), ("POST", "/cancel", 200)):
        url = f"/jobs/{submit(server)['id']}"
        answer = server.request(method, url + path)
        assert answer.status_code == status
        now = server.get(url).json()
        assert now["status"] == "cancelled" and now["error"]["code"] == "cancelled" and now["attempts"] == 0
        assert now["completed_at"] and not now["error"]["retriable"] and now["output"] is None
        for again, with_path in (("DELETE", ""), ("POST", "/cancel")):
            assert server.request(again, url + with_path).status_code == 409
    for method, path in (("DELETE", ""), ("POST", "/cancel"), ("GET", "")):
        assert server.request(method, "/jobs/j_" + "0" * 22 + path).status_code == 404


def test_cancelling_what_runs_breaks_the_engine_off(start_gateway):
    left = []
    with Scripted(lambda request: left.append(request.wait_left())) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the engine's request", lambda: engine.requests)
        assert server.delete(f"/jobs/{made['id']}").status_code == 409
        begun = time.monotonic()
        answer = server.post(f"/jobs/{made['id']}/cancel")
        assert answer.status_code == 200
        assert answer.json()["status"] == "cancelled" or answer.json()["cancel_requested"] is True
        wait_for("the engine being left", lambda: left)
        assert left[0] - begun < 1
        now = ended(server, made)
        assert now["status"] == "cancelled" and now["output"] is None and now["attempts"] == 1
        assert server.post(f"/jobs/{made['id']}/cancel").status_code == 409
        wait_for("the slot", lambda: server.get("/queue").json()["running"] == 0)
        second = submit(server, BOX)  # the slot serves again
        wait_for("another request", lambda: len(engine.requests) == 2)
        assert server.post(f"/jobs/{second['id']}/cancel").status_code == 200


def test_many_cancel_one_running_job(start_gateway):
    with Scripted(lambda request: request.wait_left()) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the engine's request", lambda: engine.requests)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda _: server.post(f"/jobs/{made['id']}/cancel").status_code, range(8)))
        assert set(seen) <= {200, 409} and 200 in seen
        assert ended(server, made)["status"] == "cancelled"


def test_cancelling_the_built_in_engine_between_steps(gateway):
    made = submit(gateway, LONG)
    running(gateway, made)
    assert gateway.post(f"/jobs/{made['id']}/cancel").status_code == 200
    now = ended(gateway, made)
    assert now["status"] == "cancelled" and now["output"] is None
    assert now["progress"] < 1


# ---- sync calls and the queue ----

def test_prefer(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))

        def ask(prefer, **kw):
            return server.post("/image/flux/dev/t2i?format=512", json={"prompt": "a"}, headers={"Prefer": prefer}, **kw)
        held.let()
        assert ask("wait=60").content == PNG
        for prefer in ("respond-async", "wait=0", "foo, respond-async; bar"):
            answer = ask(prefer)
            assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "respond-async"
            held.let()
            assert ended(server, answer.json())["status"] == "complete"
        late = ask("wait=1")
        assert late.status_code == 202
        assert late.headers["Location"] == f"/jobs/{late.json()['id']}" and "events" in late.headers["Link"]
        held.let()
        assert ended(server, late.json())["status"] == "complete"
        held.status = 400
        held.let()
        assert ask("wait=60").status_code in (400, 502)  # as the engine's refusal is told
        assert len(engine.requests) == 6


def test_the_same_job_for_clients_that_wait(start_gateway):
    """Several wait for one key: one job, and all get its bytes; who comes later too."""
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=2))

        def ask(_):
            return server.post("/image/flux/dev/t2i?format=512", json={"prompt": "a"}, headers={"Idempotency-Key": "k"})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(ask, n) for n in range(4)]
            wait_for("the engine's request", lambda: engine.requests)
            held.let(4)
            assert all(one.result().content == PNG for one in waiting)
        assert ask(0).content == PNG and len(engine.requests) == 1


def test_a_sync_call_that_takes_long_goes_on_as_a_job(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1) + "sync: {wait: 300ms}\n")
        answer = server.generate("long", path="/image/flux/dev/t2i")
        made = answer.json()
        assert answer.status_code == 202 and answer.headers["Location"] == f"/jobs/{made['id']}"
        now = job(server, made)
        assert now["status"] == "running" and now["attempts"] == 1 and now["request"]["prompt"] == "long"
        assert now["request"]["format"] == "512" and now["model"] == "flux/dev"
        held.let()
        now = ended(server, made)
        assert now["status"] == "complete" and len(engine.requests) == 1
        assert server.get(now["output"], key=None).content == PNG
        again = server.generate("long", path="/image/flux/dev/t2i").json()  # and one that is cancelled
        assert server.post(f"/jobs/{again['id']}/cancel").status_code == 200
        assert ended(server, again)["status"] == "cancelled"


@pytest.mark.parametrize("what", ["finish", "cancel"])
def test_clients_that_leave(start_gateway, what):
    held, left = Held(), []

    def script(request):
        if what == "cancel":
            left.append(request.wait_left())
        else:
            held(request)
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port, slots=1) + f"sync: {{on_disconnect: {what}}}\n")
        connection = http.client.HTTPConnection(server.host, server.port)
        connection.request("POST", "/image/flux/dev/t2i?format=512", json.dumps({"prompt": "a"}),
                           {"Authorization": f"Bearer {server.key}"})
        wait_for("the engine's request", lambda: engine.requests)
        connection.close()
        if what == "cancel":
            wait_for("the engine being left", lambda: left)
            wait_for("the slot", lambda: server.get("/queue").json()["running"] == 0)
            assert server.get("/jobs").json()["jobs"] == []
            return
        found = wait_for("the job", lambda: server.get("/jobs").json()["jobs"])
        held.let()
        assert ended(server, found[0])["status"] == "complete" and len(engine.requests) == 1


def test_clients_that_leave_while_they_wait_for_a_job(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        for _ in range(20):
            connection = http.client.HTTPConnection(server.host, server.port)
            connection.request("POST", "/image/flux/dev/t2i?format=512", json.dumps({"prompt": "a"}),
                               {"Authorization": f"Bearer {server.key}", "Prefer": "wait=600"})
            connection.close()
        made = wait_for("the jobs", lambda: (jobs := server.get("/jobs").json()["jobs"]) and jobs)
        held.let(40)
        for one in made:
            assert ended(server, one)["status"] == "complete"  # a job is never lost by its client's leaving


# ---- restarts, reloads, full disks ----

def test_queued_jobs_run_after_a_restart(start_gateway):
    server = start_gateway(config="engines: []\n")
    made = [submit(server, {**JOB, "seed": n}) for n in range(20)]
    cancelled = made.pop()
    assert server.delete(f"/jobs/{cancelled['id']}").status_code == 204
    assert server.stop() == 0
    server = start_gateway()
    for one in made:
        assert ended(server, one)["status"] == "complete"
    assert job(server, cancelled)["status"] == "cancelled"
    assert [j["seed"] for j in server.get("/jobs").json()["jobs"]] == list(range(19, -1, -1))


def test_a_killed_gateway_runs_its_job_again(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the engine's request", lambda: engine.requests)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        server = start_gateway(config=config(engine.port, slots=1))
        wait_for("the second request", lambda: len(engine.requests) == 2)
        assert running(server, made)["attempts"] == 2
        held.let(2)
        now = ended(server, made)
        assert now["status"] == "complete" and now["attempts"] == 2


def test_a_cancelling_survives_a_kill(start_gateway):
    """The wish was durable, the engine's acknowledgement had not come."""
    hangs = threading.Event()

    def script(request):  # never looks whether somebody is still there
        hangs.wait(WAIT_SECONDS)
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the engine's request", lambda: engine.requests)
        assert server.post(f"/jobs/{made['id']}/cancel").status_code == 200
        server.stop(signal.SIGKILL)
        server = start_gateway(config=config(engine.port, slots=1))
        assert ended(server, made)["status"] == "cancelled" and len(engine.requests) == 1
        hangs.set()


def test_a_stopped_gateway_keeps_its_jobs(start_gateway):
    """What runs is broken off after a moment and not counted, on its last attempt too; what waits stays; streams end."""
    statuses, left = [502, 502, 502], []

    def script(request):
        if statuses:
            request.answer(statuses.pop())
        else:
            left.append(request.wait_left())
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = [submit(server, BOX)]
        wait_for("the fourth attempt", lambda: len(engine.requests) == 4)
        made += [submit(server, BOX) for _ in range(3)]
        streams = [server.session.get(f"{server.url}/jobs/{one['id']}/events", stream=True, timeout=60,
                                      headers={"Authorization": f"Bearer {server.key}"}) for one in made]
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 25 and len(left) == 1
        for stream in streams:
            stream.close()
        with Scripted(lambda request: request.answer(200, PNG)) as good:
            server = start_gateway(config=config(good.port, slots=1))
            assert [ended(server, one)["status"] for one in made] == ["complete"] * 4
            assert job(server, made[0])["attempts"] == 4 and job(server, made[1])["attempts"] == 1


def test_a_reload_while_jobs_run(start_gateway):
    """The engine that a job runs on goes away: the job ends on it, the next ones run on the new one."""
    held = Held()
    with Scripted(held) as old, Scripted(lambda request: request.answer(200, PNG)) as new:
        server = start_gateway(config=config(old.port, slots=1))
        made = [submit(server, BOX) for _ in range(3)]
        wait_for("the old engine's request", lambda: old.requests)
        server.config_path.write_text(config(new.port, slots=1).replace("box0", "box1") + "limits: {queue_depth: 1}\n")
        server.process.send_signal(signal.SIGHUP)
        for one in made[1:]:
            assert ended(server, one)["status"] == "complete"
        assert job(server, made[0])["status"] == "running" and len(old.requests) == 1
        held.let()
        assert ended(server, made[0])["status"] == "complete" and len(new.requests) == 2


def test_a_full_disk(small_disk, start_gateway):
    """Nothing new is accepted, nothing that was accepted is lost, and all goes on when there is room."""
    held, big = Held(), "x" * 3000
    with Scripted(held) as engine:
        disk = small_disk(12)
        server = start_gateway(name="disk/data", config=config(engine.port, slots=1) +
                               "store: {pack_size: 1MiB, min_free: 0}\nlimits: {rate: 0}\n")
        made = [submit(server, BOX) for _ in range(3)]
        wait_for("the engine's request", lambda: engine.requests)
        while (refused := server.post("/queue", json={**BOX, "prompt": big})).status_code == 202:
            pass
        assert refused.status_code == 507 and refused.json()["error"] == "insufficient_storage" and refused.json()["retriable"]
        answer = server.delete(f"/jobs/{made[2]['id']}", timeout=20)
        assert answer.status_code in (204, 507)
        assert job(server, made[0])["status"] == "running" and server.get("/health/live", key=None).status_code == 200
        small_disk(64)
        held.let(600)
        assert submit(server, {**BOX, "prompt": big})
        assert ended(server, made[0])["status"] == "complete" and ended(server, made[1])["status"] == "complete"
        assert ended(server, made[2])["status"] == "cancelled"
        for one in server.get("/jobs?limit=1000").json()["jobs"]:
            assert ended(server, one)["status"] in ("complete", "cancelled")


# ---- what the documents say ----

def test_the_documented_lines_work(gateway, tmp_path):
    """Every shell line of docs/jobs.md, in its order."""
    need("curl", "bash")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/jobs.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", "".join(blocks)], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "URL": gateway.url, "KEY": gateway.key}, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "event: complete" in done.stdout and '"cancel' in done.stdout
    assert (tmp_path / "circle.png").read_bytes().startswith(b"\x89PNG")
