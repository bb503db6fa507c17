# SPDX-License-Identifier: Apache-2.0
"""Engines of type openai: the gateway in front of a scripted server that answers as stable-diffusion.cpp, vLLM-Omni, SGLang
and LocalAI do, and in front of aimock, a server of OpenAI's API that others wrote. Nothing of a generation that failed may
be stored."""
import base64
import email.parser
import email.policy
import io
import json
import shutil
import socket
import subprocess
import threading

import pytest
from conftest import ROOT, SANITIZED, Gateway
from PIL import Image
from tools import Scripted, data_uri, metric, need, peak_kib, picture, png_large, request_lines, wait_for

PATH = "/image/flux/dev/t2i"
PNG = picture(512, 512)


def config(port, more=""):
    return (f"engines:\n  - {{name: box0, type: openai, url: 'http://127.0.0.1:{port}', slots: 2, "
            f"models: [flux/dev, sdxl/base, wan/default], remote_model: the-model{more}}}\n")


def reply(request, value, status=200):
    request.answer(status, json.dumps(value).encode(), "application/json")


def as_data(content):
    return {"created": 1, "data": [{"b64_json": base64.b64encode(content).decode()}]}


def owned_by(owner):
    return {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]}


class Server:
    """A scripted server: `kind` says which one it looks like, `posts` are its requests for pictures, `script` answers them."""

    MODELS = {"sdcpp": {"data": [{"id": "sd-cpp-local", "object": "model", "owned_by": "local"}]}, "vllm": owned_by("vllm"),
              "sglang": owned_by("sglang"), "localai": {"object": "list", "data": [{"id": "m", "object": "model"}]},
              "other": owned_by("me")}

    def __init__(self, kind="other", script=None):
        self.kind, self.posts, self.other = kind, [], []
        self.script = script or (lambda request: reply(request, as_data(PNG)))
        self.server = Scripted(self.dispatch)
        self.port = self.server.port

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.__exit__(*exc)

    def dispatch(self, request):
        if request.method == "POST":
            self.posts.append(request)
            self.script(request)
        elif request.path == "/health":
            request.answer(404 if self.kind in ("sdcpp", "localai") else 200, b"")
        elif request.path == "/v1/models":
            reply(request, self.MODELS[self.kind])
        elif request.path == "/system" and self.kind == "localai":
            reply(request, {"backends": [], "loaded_models": []})
        elif request.path == "/system":
            reply(request, {"detail": "Not Found"}, 404)
        else:
            self.other.append(request)
            self.script(request)


def form(request):
    """The parts of a multipart/form-data body: {name: (content, type)}."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    assert message.is_multipart() and not message.defects
    return {part.get_param("name", header="content-disposition"): (part.get_payload(decode=True), part.get_content_type())
            for part in message.iter_parts()}


def ready(server):
    wait_for("the backend is ready", lambda: any(m["available"] and m["id"] == "flux/dev"
                                                  for m in server.get("/models").json()["models"]) and
             server.get("/health/ready", key=None).status_code == 200)
    return server


def ask(server, prompt="a cat", path=PATH, **fields):
    """A generation. A gateway that has just started says 503 until its first probe came back."""
    answers = []

    def asked():
        answers.append(server.generate(prompt, path=path, **fields))
        return answers[-1].status_code != 503 or answers[-1].json()["error"] != "backend_not_ready"
    wait_for("the backend is ready", asked)
    return answers[-1]


def test_a_picture(start_gateway, tmp_path):
    (tmp_path / "key").write_text("sk-abc\n")
    with Server() as engine:
        server = start_gateway(config=config(engine.port, f", key_file: {tmp_path}/key"))
        answer = ask(server, seed=5, count=2, steps=7, negative_prompt="dogs", accept="application/json")
        assert answer.status_code == 200, answer.text
        assert [r.json()["seed"] for r in engine.posts] == [5, 6]
        assert engine.posts[0].json()["stream"] is True  # it answered with JSON, and is not asked again
        post = engine.posts[1]
        assert (post.path, post.headers["authorization"]) == ("/v1/images/generations", "Bearer sk-abc")
        assert post.json() == {
            "model": "the-model", "prompt": "a cat", "negative_prompt": "dogs", "n": 1, "size": "512x512", "seed": 6,
            "response_format": "b64_json", "output_format": "png", "num_inference_steps": 7, "guidance_scale": 3.5,
            "true_cfg_scale": 1}
        url = answer.json()["outputs"][0]["url"]
        assert server.get(url, key=None).content == PNG
        assert "sk-abc" not in server.log()


def test_another_type_than_asked_for_is_encoded_here(start_gateway):
    with Server() as engine:
        server = start_gateway(config=config(engine.port))
        for kind in ("webp", "jpeg"):
            answer = ask(server, accept=f"image/{kind}")
            assert answer.status_code == 200 and answer.headers["Content-Type"] == f"image/{kind}"
            image = Image.open(io.BytesIO(answer.content))
            assert image.format == kind.upper() and image.size == (512, 512)
            assert engine.posts[-1].json()["output_format"] == kind


@pytest.mark.parametrize("kind", ["sdcpp", "vllm", "sglang", "localai"])
def test_what_each_server_gets(start_gateway, kind):
    image, mask = picture(512, 512, seed="image"), picture(512, 512, seed="mask")
    with Server(kind) as engine:
        server = start_gateway(config=config(engine.port))
        answer = ask(server, prompt="a cat|hat", seed=7, steps=9, negative_prompt="dogs")
        assert answer.status_code == 200, answer.text
        body = engine.posts[-1].json()
        if kind == "sdcpp":
            head, tail = body["prompt"].split("</sd_cpp_extra_args>")
            extra = json.loads(head.removeprefix("<sd_cpp_extra_args>"))
            assert tail == "a cat|hat" and extra["seed"] == 7 and extra["negative_prompt"] == "dogs"
            assert extra["sample_params"]["sample_steps"] == 9
            assert extra["sample_params"]["guidance"] == {"txt_cfg": 1, "distilled_guidance": 3.5}
        elif kind == "localai":
            assert body["prompt"] == "a cat hat|dogs" and body["step"] == 9 and body["seed"] == 7
        else:
            assert body["prompt"] == "a cat|hat" and body["num_inference_steps"] == 9
        answer = ask(server, path="/image/sdxl/base/edit", image=data_uri(image), mask=data_uri(mask), steps=9)
        assert answer.status_code == 200, answer.text
        parts = form(engine.posts[-1])
        assert parts["image"] == (image, "image/png")
        assert parts["mask_image" if kind == "vllm" else "mask"] == (mask, "image/png")
        assert engine.posts[-1].path == ("/v1/images/inpainting" if kind == "localai" else "/v1/images/edits")


def test_a_mask_reads_right_in_both_conventions(start_gateway):
    mask = io.BytesIO()
    lights = Image.new("L", (512, 512), 0)
    lights.paste(255, (0, 0, 256, 512))
    lights.save(mask, "PNG")
    with Server() as engine:
        server = start_gateway(config=config(engine.port))
        answer = ask(server, path="/image/sdxl/base/edit", image=data_uri(PNG), mask=data_uri(mask.getvalue()))
        assert answer.status_code == 200, answer.text
        sent = Image.open(io.BytesIO(form(engine.posts[0])["mask"][0]))
        assert sent.mode == "RGBA"
        assert sent.getpixel((0, 0)) == (255, 255, 255, 0) and sent.getpixel((511, 0)) == (0, 0, 0, 255)


def events_of(server, prompt):
    job = server.post("/queue", json={"family": "flux", "model": "dev", "task": "t2i", "prompt": prompt,
                                      "format": "512"}).json()["id"]
    text = server.get(f"/jobs/{job}/events", stream=True).content.decode()
    return [dict(line.split(": ", 1) for line in event.split("\n") if ": " in line)
            for event in text.replace("\r\n", "\n").split("\n\n") if event]


def test_partial_pictures_are_previews(start_gateway):
    def script(request):
        assert request.json()["stream"] is True and request.json()["partial_images"] == 3
        lines = []
        for kind, content in (("partial_image", picture(64, 64)), ("partial_image", picture(64, 64, seed=2)),
                              ("completed", PNG)):
            event = {"type": f"image_generation.{kind}", "b64_json": base64.b64encode(content).decode()}
            lines.append(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")
        request.answer(200, "".join(lines).encode(), "text/event-stream")
    with Server(script=script) as engine:
        server = ready(start_gateway(config=config(engine.port)))
        events = events_of(server, "a cat")
        names = [event.get("event") for event in events]
        assert "preview" in names and names.count("progress") >= 1 and names[-1] == "complete", names
        preview = json.loads(next(event["data"] for event in events if event.get("event") == "preview"))
        assert preview["frame"].startswith("data:image/png;base64,")


def test_a_server_that_does_not_stream_is_asked_once(start_gateway):
    def script(request):
        if request.json().get("stream"):
            reply(request, {"error": {"message": "Unknown parameter: 'stream'.", "code": "unknown_parameter"}}, 400)
        else:
            reply(request, as_data(PNG))
    with Server(script=script) as engine:
        server = ready(start_gateway(config=config(engine.port)))
        for _ in range(2):
            assert events_of(server, "a cat")[-1]["event"] == "complete"
        assert [r.json().get("stream") for r in engine.posts] == [True, None, None]


# ---- videos ----

@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    server = Gateway(tmp_path_factory.mktemp("maker") / "data")
    answer = server.generate("waves", path="/video/builtin/plasma/t2v", format="480p", duration=0.5)
    server.stop()
    assert answer.status_code == 200, answer.text
    return answer.content


WAN = """models:
  - {id: wan/default, modality: [video], tasks: [i2v, t2v], backends: [torch], status: active}
"""


def video_gateway(start_gateway, tmp_path, port, more=""):
    (tmp_path / "wan.yaml").write_text(WAN)
    return start_gateway(config=f"catalogue: {tmp_path}/wan.yaml\nengines:\n  - {{name: box0, type: openai, slots: 2, "
                                f"url: 'http://127.0.0.1:{port}', models: [wan/default]{more}}}\n")


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_video_is_submitted_polled_and_fetched(start_gateway, tmp_path, mp4, kind):
    polls = []

    def script(request):
        if request.method == "POST":
            reply(request, {"id": "video_gen_1", "object": "video", "status": "queued", "progress": 0})
        elif request.path == "/v1/videos/video_gen_1/content":
            request.answer(200, mp4, "video/mp4")
        else:
            assert request.path == "/v1/videos/video_gen_1"
            polls.append(1)
            state = {"id": "video_gen_1", "object": "video", "status": "in_progress", "progress": 50}
            if len(polls) > 1:
                state |= {"status": "completed", "progress": 100, "inference_time_s": 3.5}
            reply(request, state)
    with Server(kind, script) as engine:
        server = video_gateway(start_gateway, tmp_path, engine.port)
        answer = ask(server, path="/video/wan/default/t2v", format="480p", duration=2)
        assert answer.status_code == 200, answer.text[:300]
        assert answer.content == mp4 and answer.headers["x-gpu-seconds"] == "3.500000000"
        sent = form(engine.posts[0]) if kind == "vllm" else engine.posts[0].json()
        assert sent["seconds"] == ((b"2", "text/plain") if kind == "vllm" else "2") and engine.posts[0].path == "/v1/videos"


def test_a_video_nobody_waits_for_is_deleted(start_gateway, tmp_path):
    polled, deleted = threading.Event(), []

    def script(request):
        if request.method == "DELETE":
            deleted.append(request.path)
        polled.set()
        reply(request, {"id": "v1", "status": "in_progress"})
    with Server("vllm", script) as engine:
        server = ready_video(video_gateway(start_gateway, tmp_path, engine.port))
        body = b'{"prompt":"a"}'
        client = socket.create_connection((server.host, server.port))
        client.sendall(f"POST /video/wan/default/t2v?format=480p HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for("it is polled", lambda: engine.other)
        client.close()
        wait_for("it is deleted", lambda: deleted)
        assert deleted == ["/v1/videos/v1"]
        wait_for("the slot is free", lambda: metric(server, 'render_backend_slots_taken{backend="box0"}') == 0)


def ready_video(server):
    wait_for("the backend is ready", lambda: server.get("/health/ready", key=None).status_code == 200)
    return server


# ---- failures ----

def cut(request, content):
    body = json.dumps(as_data(content))
    request.send(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body[:-900]}".encode())
    request.close()


FAILURES = {
    "500": (lambda r: reply(r, {"error": {"message": "CUDA out of memory", "type": "server_error", "param": None,
                                          "code": None}}, 500), 502, "backend_failed", "answered 500: CUDA out of memory"),
    "sd.cpp's 500": (lambda r: reply(r, {"error": "generate_image returned no results"}, 500), 502, "backend_failed",
                     "answered 500: generate_image returned no results"),
    "429": (lambda r: reply(r, {"error": {"message": "slow down"}}, 429), 503, "capacity_exhausted", "slow down"),
    "503": (lambda r: r.answer(503, b"<h1>busy</h1>", "text/html"), 503, "capacity_exhausted", "busy"),
    "404": (lambda r: reply(r, {"detail": "Not Found"}, 404), 502, "backend_failed", "answered 404: Not Found"),
    "401": (lambda r: reply(r, {"error": {"message": "bad key"}}, 401), 502, "backend_failed", "is the key in key_file right?"),
    "an HTML page": (lambda r: r.answer(200, b"<html>", "text/html"), 502, "backend_failed", "text/html, not application/json"),
    "cut": (lambda r: cut(r, PNG), 502, "backend_failed", "ended early"),
    "base64 cut": (lambda r: reply(r, {"data": [{"b64_json": base64.b64encode(PNG).decode()[:-3]}]}), 502, "backend_failed",
                   "base64"),
    "no base64": (lambda r: reply(r, {"data": [{"b64_json": "a picture!!!"}]}), 502, "backend_failed", "base64"),
    "picture cut": (lambda r: reply(r, as_data(PNG[:-200])), 502, "backend_failed", ""),
    "text": (lambda r: reply(r, as_data(b"<script>alert(1)</script>")), 502, "backend_failed", "neither PNG"),
    "two": (lambda r: reply(r, {"data": as_data(PNG)["data"] * 2}), 502, "backend_failed", "a second picture"),
    "none": (lambda r: reply(r, {"data": []}), 502, "backend_failed", "holds no picture"),
    "metadata": (lambda r: reply(r, {"data": [{"url": "http://169.254.169.254/latest"}]}), 502, "backend_failed",
                 "not on the engine's own server"),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    with Server() as engine:
        server = Gateway(tmp_path_factory.mktemp("engine") / "data", config=config(engine.port))
        yield server, engine
        assert server.stop() == 0
        assert "Sanitizer" not in server.log()


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_told_and_leave_nothing(failing, name):
    server, engine = failing
    script, status, code, words = FAILURES[name]
    objects = metric(server, "render_objects")
    engine.script = script
    answer = ask(server, seed=1)
    engine.script = lambda request: reply(request, as_data(PNG))
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert metric(server, "render_objects") == objects
    line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert words in line["error"] and words not in answer.text or words == "", line
    # Two that end well for one that does not keep the breaker closed.
    assert [ask(server, seed=1).status_code for _ in range(2)] == [200, 200]


def test_refused_prompts_do_not_open_the_breaker(failing):
    server, engine = failing
    engine.script = lambda request: reply(request, {"error": {
        "message": "Your request was rejected by the safety system.", "type": "image_generation_user_error", "param": None,
        "code": "moderation_blocked"}}, 400)
    answers = [ask(server, seed=n) for n in range(12)]
    assert {a.json()["error"] for a in answers} == {"backend_failed"}
    engine.script = lambda request: reply(request, as_data(PNG))
    assert ask(server).status_code == 200


def test_an_address_on_its_own_server_is_fetched(failing):
    server, engine = failing

    def script(request):
        if request.method == "POST":
            reply(request, {"data": [{"url": f"http://{request.headers['host']}/generated-images/b64.png"}]})
        else:
            assert request.path == "/generated-images/b64.png"
            request.answer(200, PNG)
    engine.script = script
    answer = ask(server)
    engine.script = lambda request: reply(request, as_data(PNG))
    assert answer.status_code == 200 and answer.content == PNG


def test_a_large_picture_streams_through(start_gateway):
    answers = [picture(512, 512), big := png_large()]
    with Server(script=lambda request: reply(request, as_data(answers.pop(0)))) as engine:
        server = start_gateway(config=config(engine.port))
        assert ask(server).status_code == 200
        before = peak_kib(server)
        answer = ask(server, format="1024")
        assert answer.status_code == 200 and answer.content == big
        assert SANITIZED or peak_kib(server) - before < 4000, "the picture was held in memory"


# ---- a server that others wrote ----

@pytest.fixture(scope="module")
def aimock(tmp_path_factory):
    """aimock in its pinned version, on a free port: fixtures by prompt. Installed once, kept in build-test/."""
    need("node", "npm")
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if tuple(int(part) for part in version[1:].split(".")[:2]) < (20, 15):
        pytest.skip(f"aimock 1.43.0 needs Node.js 20.15, here is {version}")
    cache, ours = ROOT / "build-test/npm-aimock", ROOT / "tests/blackbox/verifiers/aimock"
    if not (cache / "node_modules/@copilotkit/aimock").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ours / name, cache)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=cache, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(cache)
            pytest.skip("npm cannot get aimock 1.43.0: " + done.stderr.strip().splitlines()[-1])
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    b64 = base64.b64encode(PNG).decode()
    fixtures.write_text(json.dumps({"fixtures": [
        {"match": {"userMessage": "lighthouse", "endpoint": "image"}, "response": {"image": {"b64Json": b64}}},
        {"match": {"userMessage": "elsewhere", "endpoint": "image"}, "response": {"image": {"url": "https://example.com/1.png"}}},
        {"match": {"userMessage": "forbidden", "endpoint": "image"}, "response": {"status": 400, "error": {
            "message": "rejected by the safety system", "type": "image_generation_user_error",
            "code": "moderation_blocked"}}},
        {"match": {"userMessage": "limited", "endpoint": "image"}, "response": {"status": 429, "error": {
            "message": "Rate limit reached", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}}]}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen(["node", str(cache / "node_modules/@copilotkit/aimock/dist/cli.js"), "-p", str(port), "-f",
                           str(fixtures)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield port
        process.terminate()


def test_aimock(start_gateway, aimock):
    server = start_gateway(config=config(aimock))
    answer = ask(server, prompt="a lighthouse", seed=3)
    assert answer.status_code == 200 and answer.content == PNG
    answer = ask(server, prompt="the same lighthouse at sunset", path="/image/sdxl/base/edit", image=data_uri(PNG),
                 mask=data_uri(PNG))
    assert answer.status_code == 200 and answer.content == PNG, answer.text[:300]
    for prompt, status, code, words in (("elsewhere", 502, "backend_failed", "not on the engine's own server"),
                                        ("forbidden", 502, "backend_failed", "rejected by the safety system"),
                                        ("limited", 503, "capacity_exhausted", "Rate limit reached"),
                                        ("unheard of", 502, "backend_failed", "No fixture matched")):
        answer = ask(server, prompt=prompt)
        assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
        line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
        assert words in line["error"]
    assert ask(server, prompt="a lighthouse again").status_code == 200
