# SPDX-License-Identifier: Apache-2.0
"""The gateway in front of a real Triton (triton/server.py), over gRPC and over HTTP: what NVIDIA's own client gets is
what the gateway gives; steps and previews arrive as events; a cancel reaches the model; servers that are killed,
stopped or unloaded cost nobody a request. Left out, in the open, where that server cannot be had."""
import base64
import concurrent.futures
import http.client
import io
import json
import subprocess
import sys
import threading
import time
import zlib

import pytest
from PIL import Image
from conftest import ROOT, SANITIZED, program
from test_events import follow
from test_jobs import ended, submit
from tools import data_uri, metric, wait_for

sys.path.insert(0, str(ROOT / "tests/blackbox/triton"))
from server import HERE, Triton, Unavailable, install, python  # noqa: E402  pylint: disable=wrong-import-position

pytestmark = pytest.mark.xdist_group("triton")  # one server for all

# Models of the catalogue, and which of the server's stands behind each.
FILE, PIXELS, FLOATS, STREAM = "flux/schnell", "sdxl/base", "flux/dev2", "flux/dev"
SERVED = {FILE: "painter", PIXELS: "painter_rgb", FLOATS: "painter_float", STREAM: "painter_stream"}
FIELDS = {"prompt": "a red circle and a blue stripe", "seed": 5, "steps": 4}
READY_SECONDS = 8 if SANITIZED else 3  # out of rotation, and back: 2 on a machine that does nothing else
PROTOCOLS = ("grpc", "http")


def inputs(*more, **change):
    rows = {"prompt": "BYTES", "negative_prompt": "BYTES, optional: true", "seed": "INT64", "steps": "INT32",
            "width": "INT32", "height": "INT32", "guidance": "FP32", **change}
    made = [f"      - {{name: {name}, field: {name}, datatype: {kind}}}" for name, kind in rows.items() if kind]
    return "    inputs:\n" + "\n".join([*made, *(f"      - {{{row}}}" for row in more)]) + "\n"


FILES = ("name: image, field: image, datatype: BYTES, optional: true",
         "name: mask, field: mask, datatype: BYTES, optional: true")
RAW = ("name: image, field: image, datatype: UINT8, shape: [-1, -1, 3], optional: true",
       "name: mask, field: mask, datatype: UINT8, shape: [-1, -1, 1], optional: true")
OUTPUTS = {
    FILE: ("name: image, gives: image, datatype: BYTES",),
    PIXELS: ("name: pixels, gives: image, datatype: UINT8, shape: [-1, -1, 3]",),
    FLOATS: ("name: pixels, gives: image, datatype: FP32, shape: [1, 3, -1, -1], range: 0..1",),
    STREAM: ("name: image, gives: image, datatype: BYTES", "name: progress, gives: progress, datatype: FP32",
             "name: preview, gives: preview, datatype: BYTES", "name: device, gives: device, datatype: BYTES",
             "name: device_seconds, gives: device_seconds, datatype: FP64"),
}
MORE = {FILE: FILES, PIXELS: RAW, FLOATS: (), STREAM: ()}


def mapping(model, server_model=None, **change):
    """One for `model`, named as it is with a dash. `change` replaces the datatype of an input; None takes it away."""
    decoupled = "    decoupled: true\n" if model == STREAM else ""
    outputs = "".join(f"      - {{{row}}}\n" for row in OUTPUTS[model])
    return (f"  - name: {model.replace('/', '-')}\n    models: [{model}]\n    model: {server_model or SERVED[model]}\n"
            f"{decoupled}{inputs(*MORE[model], **change)}    outputs:\n{outputs}")


def config(urls, models=(FILE, PIXELS, FLOATS), slots=4, more="", mappings=None):
    text = "store: {pack_size: 4MiB, min_free: 0}\nlimits: {rate: 0}\nmappings:\n"
    text += mappings or "".join(mapping(model) for model in models)
    text += "engines:\n"
    for number, url in enumerate(urls):
        names = ", ".join(model.replace("/", "-") for model in models)
        text += (f"  - {{name: box{number}, type: triton, url: '{url}', slots: {slots}, models: [{', '.join(models)}], "
                 f"mapping: [{names}]{more}}}\n")
    return text


def is_ready(server, name="box0"):
    return metric(server, f'render_backend_ready{{backend="{name}"}}') == 1


def front(start_gateway, text, ready=("box0",), **kw):
    """A gateway whose engines have proved ready."""
    server = start_gateway(config=text, **kw)
    for name in ready:
        wait_for(f"{name} is ready", lambda name=name: is_ready(server, name))
    return server


def generate(server, model=FILE, task="t2i", **fields):
    return server.generate(path=f"/image/{model}/{task}", **{**FIELDS, **fields})


def good(server, answer):
    assert answer.status_code == 200, answer.text + "\n" + server.log()[-1000:]
    return answer


def pixels_of(content):
    return Image.open(io.BytesIO(content)).convert("RGB").tobytes()


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    try:
        install()
    except Unavailable as error:
        pytest.skip(f"no Triton: {error}")
    server = Triton(tmp_path_factory.mktemp("triton") / "triton.log").start()
    yield server
    server.kill()


def url_of(server, protocol):
    return server.grpc if protocol == "grpc" else server.http


@pytest.fixture
def reference(triton, tmp_path):
    """What tritonclient gets: reference(how, model, ...) -> {"0-image": bytes, ...}."""
    def ask(how, model, **fields):
        port = triton.http_port if how == "http" else triton.grpc_port
        fields = {"width": 512, "height": 512, **FIELDS, **fields}
        folder = tmp_path / "reference"
        folder.mkdir(exist_ok=True)
        subprocess.run([python(), "-B", HERE / "reference.py", how, f"127.0.0.1:{port}", SERVED[model], json.dumps(fields),
                        folder], check=True, timeout=60)
        got = {path.name: path.read_bytes() for path in folder.iterdir()}
        for path in folder.iterdir():
            path.unlink()
        return got
    return ask


# ---- pictures ----

@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_pictures_are_those_that_nvidias_client_gets(triton, reference, start_gateway, protocol):
    server = front(start_gateway, config([url_of(triton, protocol)]))
    for model in (FILE, PIXELS, FLOATS):
        answer = generate(server, model)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "image/png"
        (direct,) = reference(protocol, model, guidance=3.5).values()
        assert pixels_of(answer.content) == pixels_of(direct), model
        assert (answer.content == direct) == (model == FILE)  # a file passes as it is
        assert server.get(answer.headers["Content-Location"], key=None).content == answer.content
    portrait = generate(server, PIXELS, format="portrait")
    size = Image.open(io.BytesIO(portrait.content)).size
    assert size[0] < size[1], size
    assert pixels_of(portrait.content) == pixels_of(reference(protocol, PIXELS, width=size[0], height=size[1])["0-pixels"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_types_are_encoded_and_several_have_seeds_in_turn(triton, start_gateway, protocol):
    server = front(start_gateway, config([url_of(triton, protocol)]))
    png = generate(server, FILE)
    for model in (FILE, PIXELS):
        webp = generate(server, model, accept="image/webp")
        assert webp.status_code == 200 and Image.open(io.BytesIO(webp.content)).format == "WEBP"
        near = zip(pixels_of(webp.content)[::997], pixels_of(png.content)[::997])
        assert sum(abs(a - b) for a, b in near) / (512 * 512 * 3 / 997) < 8
    outputs = generate(server, FILE, count=3, seed=4294967295, accept="application/json").json()["outputs"]
    assert [output["seed"] for output in outputs] == [4294967295, 0, 1]
    assert len({output["asset"] for output in outputs}) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_source_pictures_and_masks_reach_the_model(triton, reference, start_gateway, protocol):
    server = front(start_gateway, config([url_of(triton, protocol)]))
    out = io.BytesIO()
    source = Image.effect_noise((512, 512), 80).convert("RGB")
    source.save(out, "PNG")
    answer = generate(server, FILE, "i2i", image=data_uri(out.getvalue()))
    assert answer.status_code == 200, answer.text
    turned = FIELDS["seed"] ^ zlib.crc32(out.getvalue())  # as the model does with a source's bytes
    assert answer.content == reference(protocol, FILE, seed=turned)["0-image"]
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (0, 0, 512, 256))
    mask_file = io.BytesIO()
    mask.save(mask_file, "PNG")
    answer = good(server, generate(server, PIXELS, "edit", image=data_uri(out.getvalue()),
                                   mask=data_uri(mask_file.getvalue())))
    painted = Image.open(io.BytesIO(reference(protocol, PIXELS)["0-pixels"])).convert("RGB")
    painted.paste(source.crop((0, 256, 512, 512)), (0, 256))
    assert pixels_of(answer.content) == painted.tobytes()


# ---- streams ----

@pytest.fixture
def streaming(triton, start_gateway):
    return front(start_gateway, config([triton.grpc], (FILE, STREAM), slots=8))


def job(model, **fields):
    family, name = model.split("/")
    return {"family": family, "model": name, "task": "t2i", "format": "512", **FIELDS, **fields}


def test_steps_and_previews_arrive_as_events(streaming, reference):
    prompt = "a red circle and a moon !slow=1"  # events of progress keep a distance
    events = follow(streaming, submit(streaming, job(STREAM, prompt=prompt)))
    told = [data for _, name, data in events if name == "progress"]
    assert [round(data["progress"], 2) for data in told][:3] == [0.25, 0.5, 0.75], events
    assert [data["step"] for data in told][:3] == [1, 2, 3]
    direct = reference("stream", STREAM, prompt=prompt)
    (preview,) = [data["frame"] for _, name, data in events if name == "preview"]
    assert base64.b64decode(preview.split(",")[1]) == next(v for k, v in direct.items() if k.endswith("preview"))
    assert events[-1][1] == "complete", events[-1]
    output = streaming.get(events[-1][2]["output"], key=None)
    assert output.content == direct["3-image"]


def test_the_devices_own_time_is_told_and_marked(streaming):
    answer = generate(streaming, STREAM)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gpu-device"] == "cpu:0" and 0 < float(answer.headers["x-gpu-seconds"]) < 10
    other = generate(streaming, FILE, prompt="a blue square !slow=0.2")
    assert "x-gpu-device" not in other.headers and 0.2 <= float(other.headers["x-gpu-seconds"]) < 10

    def statement(made):
        path = made.headers["Content-Location"] + "/attestation"
        return base64.b64decode(streaming.get(path, key=None).json()["payload"]).decode()
    assert '"engine"' in statement(answer) and '"measured"' in statement(other)


def test_a_cancel_reaches_the_model_and_the_others_go_on(triton, streaming):
    before = triton.said("painter_stream cancelled")
    long = submit(streaming, job(STREAM, prompt="a green moon !slow=60", steps=50))
    others = [submit(streaming, job(STREAM, prompt="a white circle !slow=1", seed=seed)) for seed in range(3)]
    wait_for("the first step", lambda: streaming.get(f"/jobs/{long['id']}", allow_redirects=False).json().get("progress"))
    assert streaming.post(f"/jobs/{long['id']}/cancel").status_code == 200
    wait_for("the model's word", lambda: triton.said("painter_stream cancelled") == before + 1)
    assert ended(streaming, long)["status"] == "cancelled"
    assert [ended(streaming, made)["status"] for made in others] == ["complete"] * 3
    assert triton.said("painter_stream cancelled") == before + 1


def leave(triton, server, model, prompt):
    """A sync call whose client closes the connection once the model has it."""
    before = triton.said(f"{SERVED[model]} began")
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", f"/image/{model}/t2i?format=512", json.dumps({**FIELDS, "prompt": prompt}),
                       {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"})
    wait_for("the model has it", lambda: triton.said(f"{SERVED[model]} began") == before + 1)
    connection.close()


@pytest.mark.parametrize("model", (FILE, STREAM))
def test_a_client_that_leaves_stops_the_model(triton, streaming, model):
    before = triton.said(f"{SERVED[model]} cancelled")
    leave(triton, streaming, model, "a green moon !slow=60")
    wait_for("the model's word", lambda: triton.said(f"{SERVED[model]} cancelled") == before + 1)
    assert generate(streaming, model).status_code == 200


def test_a_deadline_ends_the_call_and_the_model(triton, start_gateway):
    server = front(start_gateway, config([triton.grpc], (FILE, STREAM), more=", timeout: 500ms"))
    for model in (FILE, STREAM):
        before = triton.said(f"{SERVED[model]} cancelled")
        answer = generate(server, model, prompt="a green moon !slow=60")
        assert (answer.status_code, answer.json()["error"]) == (504, "backend_timeout"), answer.text
        wait_for("the model's word", lambda: triton.said(f"{SERVED[model]} cancelled") == before + 1)


# ---- failures ----

BAD = {  # model: orders that the prompt gives, each of which makes no picture
    FILE: ("!fail", "!refuse", "!cut", "!text", "!empty", "!shape"),
    PIXELS: ("!fail", "!shape"),
    FLOATS: ("!nan", "!shape"),
    STREAM: ("!fail", "!silent", "!cut", "!text", "!twice"),
}


@pytest.mark.parametrize("protocol,model", [(p, m) for m in BAD for p in PROTOCOLS if (p, m) != ("http", STREAM)])
def test_what_is_no_picture_is_an_error_and_is_not_stored(triton, start_gateway, protocol, model):
    server = front(start_gateway, config([url_of(triton, protocol)], (model,)))
    assert generate(server, model).status_code == 200
    stored = metric(server, "render_objects")
    for order in BAD[model]:
        answer = generate(server, model, prompt=f"a red circle {order}")
        assert (answer.status_code, answer.json()["error"]) == (502, "backend_failed"), (order, answer.text)
        for _ in range(2):  # half of ten results that fail would open the breaker
            assert generate(server, model).status_code == 200, order
    assert metric(server, "render_objects") == stored  # the good ones are all the same


def test_an_empty_last_response_ends_a_stream(streaming, reference):
    answer = generate(streaming, STREAM, prompt="a red circle !late_final")
    assert answer.status_code == 200, answer.text
    plain = reference("stream", STREAM, prompt="a red circle !late_final")
    assert answer.content == plain["3-image"]


def test_a_model_whose_process_dies(triton, start_gateway):
    triton.load("painter_fragile")
    text = config([triton.grpc], (FILE,), mappings=mapping(FILE, "painter_fragile"))
    server = front(start_gateway, text)
    assert generate(server).status_code == 200
    answer = generate(server, prompt="a red circle !crash")
    assert (answer.status_code, answer.json()["error"]) == (502, "backend_failed"), answer.text
    triton.unload("painter_fragile")
    triton.load("painter_fragile")
    wait_for("the model paints again", lambda: generate(server).status_code == 200)


# ---- health ----

MISFITS = [({"seed": None}, "input seed"), ({"steps": "INT64"}, "input steps"),
           ({"prompt": "BYTES, shape: [1, 1]"}, "input prompt")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("change,words", MISFITS)
def test_a_mapping_that_does_not_fit_is_told(triton, start_gateway, protocol, change, words):
    text = config([url_of(triton, protocol)], (FILE,), mappings=mapping(FILE, **change))
    server = front(start_gateway, text, ready=())
    wait_for("the log says so", lambda: words in server.log())
    assert not is_ready(server)
    assert generate(server).status_code == 503
    shown = subprocess.run([program("render"), "backends"], env={"RENDER_URL": server.url, "RENDER_API_KEY": server.key},
                           capture_output=True, text=True, timeout=30, check=False)
    assert shown.returncode == 0 and "box0" in shown.stdout and words in shown.stdout, shown


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_that_is_unloaded_and_one_that_is_missing(triton, start_gateway, protocol):
    server = front(start_gateway, config([url_of(triton, protocol)], (FLOATS,)))
    triton.unload("painter_float")
    wait_for("it is out", lambda: not is_ready(server), READY_SECONDS)
    assert generate(server, FLOATS).status_code == 503
    triton.load("painter_float")
    wait_for("it is back", lambda: is_ready(server), READY_SECONDS)
    assert generate(server, FLOATS).status_code == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_falls_silent(triton, start_gateway, protocol):
    server = front(start_gateway, config([url_of(triton, protocol)]))
    triton.pause()
    try:
        wait_for("it is out", lambda: not is_ready(server), READY_SECONDS)
        assert generate(server).status_code == 503
    finally:
        triton.resume()
    wait_for("it is back", lambda: is_ready(server), READY_SECONDS)
    assert generate(server).status_code == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_health_makes_no_inference(triton, start_gateway, protocol):
    """Requests are counted by the server itself: those of the gateway's clients, and no other."""
    before = triton.inferences("painter_rgb")
    server = front(start_gateway, config([url_of(triton, protocol)], (PIXELS,)))
    triton.unload("painter_float")  # probes go on: what they see is seen here
    triton.load("painter_float")
    assert triton.inferences("painter_rgb") == before
    assert generate(server, PIXELS).status_code == 200
    assert triton.inferences("painter_rgb") == before + 1


# ---- several ----

class Load:
    """Clients that ask one after the other until they are told to stop; what they got."""

    def __init__(self, server, clients=4):
        self.server, self.over = server, threading.Event()
        self.answers, self.times = [], []
        self.pool = concurrent.futures.ThreadPoolExecutor(clients)
        self.all = [self.pool.submit(self.run, number) for number in range(clients)]

    def run(self, number):
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=60)
        seed = number << 16
        while not self.over.is_set():
            seed += 1
            began = time.monotonic()
            connection.request("POST", f"/image/{FILE}/t2i?format=512", json.dumps({**FIELDS, "seed": seed}),
                               {"Authorization": f"Bearer {self.server.key}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            self.answers.append((answer.status, content[:300] if answer.status != 200 else b""))
            self.times.append(time.monotonic() - began)

    def more(self, count=20):
        """Waits until so many more were answered."""
        until = len(self.answers) + count
        wait_for(f"{count} more answers", lambda: len(self.answers) >= until)

    def stop(self):
        self.over.set()
        for one in self.all:
            one.result(90)
        return [answer for answer in self.answers if answer[0] != 200]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_servers_that_die_and_come_back_under_load(triton, start_gateway, tmp_path, protocol):
    servers = [Triton(tmp_path / f"triton{number}.log", ("painter",)).start(ready=False) for number in range(2)]
    try:
        for each in servers:
            each.wait_ready()
        names = ("box0", "box1", "box2")
        server = front(start_gateway, config([url_of(each, protocol) for each in (*servers, triton)], (FILE,)), names)
        load = Load(server)
        load.more()
        servers[0].kill()
        wait_for("box0 is out", lambda: not is_ready(server), READY_SECONDS)
        load.more()
        servers[1].kill()
        wait_for("box1 is out", lambda: not is_ready(server, "box1"), READY_SECONDS)
        load.more()
        servers[0].start()
        wait_for("box0 is back", lambda: is_ready(server), READY_SECONDS)
        load.more()
        assert load.stop() == []
        assert servers[0].inferences("painter") > 0 or metric(server, 'render_backend_breaker_state{backend="box0"}') > 0
    finally:
        for each in servers:
            each.kill()
