# SPDX-License-Identifier: Apache-2.0
"""An engine of type http: the gateway in front of a scripted server that behaves well, badly, or not at all.
Nothing of a generation that failed may be stored, and no failure may cost a slot."""
import base64
import concurrent.futures
import json
import socket
import threading
import time

import pytest
from conftest import SANITIZED
from tools import Scripted, data_uri, make_certificate, metric, peak_kib, picture, png_large, request_lines, wait_for

PATH = "/image/flux/dev/t2i"
PNG = picture(512, 512)


def config(*ports, slots=2, more=""):
    lines = [f"  - {{name: box{i}, type: http, url: 'http://127.0.0.1:{port}/generate?x=1', slots: {slots}, "
             f"models: [flux/dev, sdxl/base, wan/default]{more}}}\n" for i, port in enumerate(ports)]
    return "engines:\n" + "".join(lines)


def taken(server, name="box0"):
    return metric(server, f'render_backend_slots_taken{{backend="{name}"}}')


def ask(server, prompt="a cat", **fields):
    return server.generate(prompt, path=PATH, **fields)


def test_a_good_engine(start_gateway):
    def script(request):
        request.answer(200, PNG, X_Device_Seconds="1.25", X_Device="cuda:0")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port))
        answer = server.post(PATH + "?format=512", headers={"traceparent": trace},
                             json={"prompt": "a cat", "seed": 5, "my_field": [1, 2]})
        assert answer.status_code == 200 and answer.content == PNG
        assert answer.headers["x-gpu-seconds"] == "1.250000000" and answer.headers["x-gpu-device"] == "cuda:0"
        assert answer.headers["traceparent"] == trace
        request = engine.requests[0]
        assert (request.method, request.path) == ("POST", "/generate?x=1")
        assert request.headers["x-request-id"] == answer.headers["X-Weyl-Request-Id"]
        assert request.headers["traceparent"] == trace
        assert request.headers["accept"] == "image/png" and "authorization" not in request.headers
        body = request.json()
        assert {k: body[k] for k in ("family", "model", "task", "width", "height", "seed", "media")} == {
            "family": "flux", "model": "dev", "task": "t2i", "width": 512, "height": 512, "seed": 5, "media": "image/png"}
        assert body["request"]["my_field"] == [1, 2] and body["request"]["steps"] == 25  # the model's preset
        assert server.get(answer.headers["Content-Location"], key=None).content == PNG
        assert metric(server, "render_device_seconds_total") == 1.25
        statement = json.loads(base64.b64decode(
            server.get(answer.headers["Content-Location"] + "/attestation", key=None).json()["payload"]))
        assert "1.25" in json.dumps(statement) and "cuda:0" in json.dumps(statement)


def test_device_time_that_an_engine_does_not_tell_is_measured(start_gateway):
    with Scripted(lambda request: request.answer(200, PNG)) as engine:
        server = start_gateway(config=config(engine.port))
        answer = ask(server)
        assert answer.status_code == 200 and 0 < float(answer.headers["x-gpu-seconds"]) < 60
        assert "x-gpu-device" not in answer.headers
        assert "traceparent" not in engine.requests[0].headers


def test_several_pictures_are_several_requests(start_gateway):
    def script(request):
        request.answer(200, picture(512, 512, seed=request.json()["seed"]), X_Device_Seconds="0.5")
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port))
        answer = ask(server, count=3, seed=4294967295, accept="application/json").json()
        assert [r.json()["seed"] for r in engine.requests] == [4294967295, 0, 1]
        assert answer["gpu_seconds"] == 1.5
        assert [o["seed"] for o in answer["outputs"]] == [4294967295, 0, 1]
        assert len({o["asset"] for o in answer["outputs"]}) == 3
        assert len({r.headers["x-request-id"] for r in engine.requests}) == 1


def test_sources_reach_the_engine_as_bytes(start_gateway):
    image, mask = picture(seed="image"), picture(seed="mask")
    with Scripted(lambda request: request.answer(200, PNG)) as engine:
        server = start_gateway(config=config(engine.port))
        answer = server.generate(path="/image/sdxl/base/edit", image=data_uri(image), mask=data_uri(mask))
        assert answer.status_code == 200, answer.text
        body = engine.requests[0].json()
        assert base64.b64decode(body["image"]) == image and base64.b64decode(body["mask"]) == mask


# ---- failures ----

def cut(request, text, length):
    request.send(f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n".encode() + text)
    request.sock.shutdown(socket.SHUT_WR)


def no_end(request):
    request.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + PNG)
    request.sock.shutdown(socket.SHUT_WR)


def broken_chunks(request):
    request.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"1000\r\n" + PNG[:0x1000] + b"\r\n")
    request.sock.shutdown(socket.SHUT_WR)


FAILURES = {
    "500": (lambda r: r.answer(500, b"out of memory on cuda:0", "text/plain"), 502, "backend_failed"),
    "404": (lambda r: r.answer(404, b"{}", "application/json"), 502, "backend_failed"),
    "204": (lambda r: r.answer(204, b""), 502, "backend_failed"),
    "302": (lambda r: r.answer(302, b"", Location="/elsewhere"), 502, "backend_failed"),
    "429": (lambda r: r.answer(429), 503, "capacity_exhausted"),
    "503": (lambda r: r.answer(503, Retry_After="9"), 503, "capacity_exhausted"),
    "408": (lambda r: r.answer(408), 504, "backend_timeout"),
    "504": (lambda r: r.answer(504), 504, "backend_timeout"),
    "reset": (lambda r: r.reset(), 502, "backend_failed"),
    "closed": (lambda r: r.close(), 502, "backend_failed"),
    "reset in the body": (lambda r: (cut(r, PNG[:1000], len(PNG)), r.reset()), 502, "backend_failed"),
    "truncated": (lambda r: cut(r, PNG[:-1], len(PNG)), 502, "backend_failed"),
    "truncated at once": (lambda r: cut(r, b"", len(PNG)), 502, "backend_failed"),
    "broken chunks": (broken_chunks, 502, "backend_failed"),
    "no length": (no_end, 502, "backend_failed"),
    "empty": (lambda r: r.answer(200, b""), 502, "backend_failed"),
    "wrong type": (lambda r: r.answer(200, PNG, "image/jpeg"), 502, "backend_failed"),
    "no type": (lambda r: r.answer(200, PNG, None), 502, "backend_failed"),
    "text that says it is a PNG": (lambda r: r.answer(200, b"<script>alert(1)</script>"), 502, "backend_failed"),
    "JPEG that says it is a PNG": (lambda r: r.answer(200, picture(kind="JPEG")), 502, "backend_failed"),
    "too long": (lambda r: cut(r, PNG, (4 << 30) + 1), 502, "backend_failed"),
    "not HTTP": (lambda r: (r.send(b"220 smtp ready\r\n"), r.close()), 502, "backend_failed"),
    "endless header": (lambda r: (r.send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000), r.close()), 502, "backend_failed"),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """One gateway, and one engine whose behaviour the test sets."""
    from conftest import Gateway
    behaviour = {}
    with Scripted(lambda request: behaviour["script"](request)) as engine:
        server = Gateway(tmp_path_factory.mktemp("engine") / "data", config=config(engine.port))
        yield server, behaviour
        assert server.stop() == 0
        assert "Sanitizer" not in server.log()


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_told_and_leave_nothing(failing, name):
    server, behaviour = failing
    script, status, code = FAILURES[name]
    objects, size = metric(server, "render_objects"), metric(server, "render_object_bytes")
    failed, stored = metric(server, "render_generations_failed_total"), metric(server, "render_output_bytes_total")
    behaviour["script"] = script
    answer = ask(server, seed=1)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.json()["retriable"] is True
    assert "Content-Location" not in answer.headers
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
    assert metric(server, "render_objects") == objects and metric(server, "render_object_bytes") == size
    assert metric(server, "render_generations_failed_total") == failed + 1
    assert metric(server, "render_output_bytes_total") == stored
    assert taken(server) == 0
    line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert line["status"] == status and line.get("error"), line
    recover(server, behaviour)


def recover(server, behaviour):
    """Nothing of a failure stays behind; and two that end well for one that does not keep the breaker closed."""
    behaviour["script"] = lambda request: request.answer(200, PNG)
    assert [ask(server, seed=1).status_code for _ in range(2)] == [200, 200]


def test_what_the_engine_wrote_is_in_the_log_and_not_in_the_answer(failing):
    server, behaviour = failing
    behaviour["script"] = lambda request: request.answer(500, b"secret path /srv/weights\x1b[31m\n", "text/plain")
    answer = ask(server)
    line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert "/srv/weights" in line["error"] and "\x1b" not in line["error"]
    assert "/srv/weights" not in answer.text


def test_one_failure_of_several_pictures_fails_all(failing):
    server, behaviour = failing
    before = metric(server, "render_objects")
    behaviour["script"] = lambda request: request.answer(
        200, picture(512, 512, seed=f"new{request.json()['seed']}")) if request.json()["seed"] < 12 else request.reset()
    answer = ask(server, seed=10, count=4)
    assert answer.status_code == 502, answer.text[:200]
    assert metric(server, "render_objects") == before


def test_an_engine_that_is_not_there_and_then_is(start_gateway):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = start_gateway(config=config(port))
    answer = ask(server)
    assert answer.status_code == 503 and answer.json()["error"] == "backend_not_ready"
    assert metric(server, "render_objects") == 0
    with Scripted(lambda request: request.answer(200, PNG), port=port):
        # The next probe sees it; nobody has to restart anything.
        def comes_back():
            again = ask(server)
            assert again.status_code in (200, 503), again.text
            return again.status_code == 200
        wait_for("it is used again", comes_back, seconds=10)


def test_a_silent_engine_is_given_up_at_its_timeout(start_gateway):
    left = []
    with Scripted(lambda request: left.append(request.wait_left())) as engine:
        server = start_gateway(config=config(engine.port, more=", timeout: 300ms"))
        started = time.monotonic()
        answer = ask(server)
        assert answer.status_code == 504 and answer.json()["error"] == "backend_timeout"
        assert 0.29 < time.monotonic() - started < 10
        wait_for("the engine's connection closed", lambda: left)
        assert taken(server) == 0


@pytest.mark.parametrize("when", ["before the answer", "in the middle of it"])
def test_a_client_that_leaves_takes_the_engine_with_it(start_gateway, when):
    """Within a second the engine sees its connection closed, and the slot is free; nothing is stored."""
    arrived, left = threading.Event(), []

    def script(request):
        if when != "before the answer":
            request.send(f"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {len(PNG)}\r\n\r\n".encode() +
                         PNG[:2000])
        arrived.set()
        left.append(request.wait_left())
        request.close()
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port))
        body = b'{"prompt":"a"}'
        client = socket.create_connection((server.host, server.port))
        client.sendall(f"POST {PATH}?format=512 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert arrived.wait(60)
        assert taken(server) == 1
        closed = time.monotonic()
        client.close()
        took = wait_for("the engine's connection closed", lambda: left)[0] - closed
        print(f"the engine's connection closed {took * 1000:.1f} ms after the client's")
        assert took < (10 if SANITIZED else 1)
        wait_for("the slot is free", lambda: taken(server) == 0)
        assert metric(server, "render_generations_cancelled_total") == 1
        assert metric(server, "render_objects") == 0
        line = request_lines(server, route="generate")[0]
        assert line["client"] == "left"


# ---- slots ----

class Held:
    """An engine that holds every request until it is let go."""

    def __init__(self):
        self.go = threading.Event()
        self.engine = Scripted(self.script)

    def script(self, request):
        assert self.go.wait(60)
        request.answer(200, picture(512, 512, seed=request.json()["seed"]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go.set()
        self.engine.close()


def test_two_backends_share_and_slots_hold(start_gateway):
    """Least loaded first: whatever the order, the two never differ by more than one. The request beyond the
    last slot is refused at once, and the refused one costs nothing."""
    with Held() as one, Held() as two, concurrent.futures.ThreadPoolExecutor(8) as pool:
        server = start_gateway(config=config(one.engine.port, two.engine.port, slots=3))
        running = []
        for n in range(6):
            running.append(pool.submit(ask, server, seed=n))
            wait_for("it runs", lambda: taken(server, "box0") + taken(server, "box1") == n + 1)
            assert abs(taken(server, "box0") - taken(server, "box1")) <= 1
        answer = ask(server)
        assert answer.status_code == 503 and answer.json()["error"] == "capacity_exhausted"
        assert answer.headers["Link"] == f'<{server.url}/queue>; rel="alternate"'
        wait_for("all have come", lambda: len(one.engine.requests) == len(two.engine.requests) == 3)
        one.go.set()
        wait_for("one is free", lambda: taken(server, "box0") == 0)
        assert ask(server, seed=9).status_code == 200 and len(one.engine.requests) == 4
        two.go.set()
        assert [f.result().status_code for f in running] == [200] * 6


def test_the_kind_asked_for(start_gateway):
    with Scripted(lambda r: r.answer(200, PNG, X_Device="t")) as torch, \
            Scripted(lambda r: r.answer(200, PNG, X_Device="n")) as nunchaku:
        server = start_gateway(config="engines:\n" + "".join(
            f"  - {{name: {kind}, type: http, url: 'http://127.0.0.1:{port}/', models: [flux/dev], backend: {kind}}}\n"
            for kind, port in (("torch", torch.port), ("nunchaku", nunchaku.port))))
        for kind in ("torch", "nunchaku", "torch"):
            answer = server.generate(path=PATH, query=f"&backend={kind}")
            assert answer.status_code == 200 and answer.headers["x-gpu-device"] == kind[0]
        assert (len(torch.requests), len(nunchaku.requests)) == (2, 1)
        models = {m["id"]: m for m in server.get("/models").json()["models"]}
        assert models["flux/dev"]["available"] and not models["builtin/plasma"]["available"]


def test_connections_are_kept(start_gateway):
    with Scripted(lambda request: request.answer(200, PNG)) as engine:
        server = start_gateway(config=config(engine.port))
        for n in range(20):
            assert ask(server, seed=n).status_code == 200
        assert len({request.sock for request in engine.requests}) == 1  # probes have connections of their own


def test_a_large_output_streams_through(start_gateway):
    answers = [PNG, big := png_large()]
    with Scripted(lambda request: request.answer(200, answers.pop(0))) as engine:
        server = start_gateway(config=config(engine.port))
        assert ask(server).status_code == 200
        before = peak_kib(server)
        answer = ask(server, format="1024")
        assert answer.status_code == 200 and answer.content == big
        assert SANITIZED or peak_kib(server) - before < 4000, "the picture was held in memory"


# ---- health, TLS, keys ----

def backend(server, name="box0"):
    return next(b for b in server.get("/backends").json()["backends"] if b["name"] == name)


def ready(server):
    return backend(server)["why"] is None


def within_2s(what, condition):
    started = time.monotonic()
    wait_for(what, condition, seconds=30 if SANITIZED else 2)
    print(f"{what} after {time.monotonic() - started:.2f} s")


def test_health_takes_it_out_of_rotation_and_back(start_gateway):
    """By its own path; a request is not needed to notice, and none is sent to it meanwhile."""
    state = {"status": 200}

    def script(request):
        if request.method == "GET":
            request.answer(state["status"], b"", "text/plain")
        else:
            request.answer(200, PNG)
    with Scripted(script) as engine:
        server = start_gateway(config=config(engine.port, more=", health: /alive"))
        wait_for("it is ready", lambda: ready(server))
        assert ask(server).status_code == 200
        state["status"] = 500
        within_2s("out of rotation", lambda: not ready(server))
        assert backend(server)["why"] == f"GET http://127.0.0.1:{engine.port}/alive: answered 500, not 200"
        within_2s("refused", lambda: ask(server).status_code == 503)
        posts = sum(r.method == "POST" for r in engine.requests)
        assert [ask(server).status_code for _ in range(3)] == [503] * 3
        assert sum(r.method == "POST" for r in engine.requests) == posts
        state["status"] = 200
        within_2s("back in rotation", lambda: ask(server).status_code == 200)


def test_a_killed_engine_is_noticed_and_found_again(start_gateway):
    engine = Scripted(lambda request: request.answer(200, PNG))
    server = start_gateway(config=config(engine.port))
    wait_for("it is ready", lambda: ready(server))
    engine.close()
    within_2s("out of rotation", lambda: not ready(server))
    assert "cannot connect" in backend(server)["why"]
    with Scripted(lambda request: request.answer(200, PNG), port=engine.port):
        within_2s("back in rotation", lambda: ready(server))
        wait_for("it serves", lambda: ask(server).status_code == 200)


def test_tls_and_a_key(start_gateway, tmp_path):
    certificate = make_certificate(tmp_path, "127.0.0.1")
    key = tmp_path / "engine.key"
    key.write_text("s3cret-of-the-engine\nnot this line\n", encoding="ascii")
    with Scripted(lambda request: request.answer(200, PNG), certificate=certificate) as engine:
        text = config(engine.port, more=f", ca_file: {certificate[0]}, key_file: {key}").replace("http://", "https://")
        server = start_gateway(config=text)
        wait_for("it is ready", lambda: ready(server))
        assert ask(server).status_code == 200
        assert engine.requests[0].headers["authorization"] == "Bearer s3cret-of-the-engine"
        assert "s3cret" not in server.log() and "s3cret" not in server.get("/backends").text


def test_a_certificate_that_nobody_vouches_for(start_gateway, tmp_path):
    certificate = make_certificate(tmp_path, "127.0.0.1")
    with Scripted(lambda request: request.answer(200, PNG), certificate=certificate) as engine:
        server = start_gateway(config=config(engine.port).replace("http://", "https://"))
        wait_for("it says why", lambda: "certificate is not valid" in (backend(server)["why"] or ""))
        assert ask(server).status_code in (502, 503)
        assert not engine.requests
        engine.problems.clear()  # handshakes that failed


@pytest.mark.parametrize("text, words", [
    ("", "must be a key"), ("two words", "must be a key"), (None, "cannot open key_file")])
def test_a_key_file_that_is_none(start_gateway, tmp_path, text, words):
    key = tmp_path / "engine.key"
    if text is not None:
        key.write_text(text, encoding="ascii")
    with pytest.raises(RuntimeError) as refused:
        start_gateway(config=config(9, more=f", key_file: {key}"))
    assert words in str(refused.value) and str(key) in str(refused.value)
