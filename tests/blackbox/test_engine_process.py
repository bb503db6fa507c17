# SPDX-License-Identifier: Apache-2.0
"""An engine of type process: the gateway and a script. The first test runs what docs/process-engine.md shows; the
others a script that behaves badly. Nothing of a failure may be stored, no process may be left, nor a file."""
import io
import os
import pathlib
import re
import signal
import sys
import threading
import time

import pytest
import requests
from conftest import ROOT, Gateway
from PIL import Image
from tools import data_uri, metric, picture, request_lines, wait_for

PATH = "/image/flux/dev/t2i"

# What the script does is in the prompt.
SCRIPT = f"""#!{sys.executable}
import json, os, signal, subprocess, sys, time
job = json.load(sys.stdin)
prompt = job["request"]["prompt"]
def give(data):
    with open(job["output"], "wb") as out:
        out.write(data)
good = open(PICTURE, "rb").read()
def hang():
    child = subprocess.Popen(["/bin/sleep", "1000"])
    with open(TOLD + ".new", "w") as out:
        out.write(f"{{os.getpid()}} {{child.pid}} {{os.getcwd()}}")
    os.rename(TOLD + ".new", TOLD)
    time.sleep(1000)
if prompt == "good":
    give(good)
elif prompt == "hang":
    hang()
elif prompt == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()
elif prompt == "memory":
    give(good + bytearray(2 << 30))
elif prompt == "large":
    give(good + bytes(3 << 20))
elif prompt == "crash":
    print("about to fall", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
elif prompt == "status":
    sys.exit("no such device: /dev/secret0")
elif prompt == "garbage":
    os.write(1, os.urandom(100000) + b"\\n{{\\"progress\\": []}}\\n{{{{{{\\n" + b"[" * 3000 + b"\\n")
    give(good)
elif prompt == "nothing":
    pass
elif prompt == "text":
    give(b"<script>alert(1)</script>" * 100)
elif prompt == "torn":
    give(good[:len(good) // 2])
elif prompt == "refused":
    print(json.dumps({{"error": "not this", "retriable": False}}))
elif prompt == "sources":
    assert open(job["image"], "rb").read() == open(IMAGE, "rb").read()
    assert open(job["mask"], "rb").read() == open(MASK, "rb").read()
    give(good)
else:
    sys.exit("not known: " + prompt)
"""


def config(command, more=""):
    return f"engines:\n  - {{name: script, type: process, command: [{command}], " \
           f"models: [flux/dev, sdxl/base], slots: 2{more}}}\n"


def ask(server, prompt, **fields):
    return server.generate(prompt, path=PATH, **fields)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


class Place:
    """A folder with the script and what it needs."""

    def __init__(self, folder):
        self.folder, self.told = folder, folder / "told"
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        (folder / "good.png").write_bytes(picture(512, 512))
        self.image, self.mask = picture(seed="image"), picture(seed="mask")
        (folder / "image.png").write_bytes(self.image)
        (folder / "mask.png").write_bytes(self.mask)
        self.script = folder / "script.py"
        names = {"PICTURE": "good.png", "TOLD": "told", "IMAGE": "image.png", "MASK": "mask.png"}
        text = SCRIPT
        for name, file in names.items():
            text = re.sub(rf"\b{name}\b", repr(str(folder / file)), text)
        self.script.write_text(text)
        self.script.chmod(0o755)

    def hanging(self):
        """(script, its child, their folder), once they are there."""
        wait_for("the script hangs", self.told.exists)
        script, child, folder = self.told.read_text().split()
        self.told.unlink()
        return int(script), int(child), pathlib.Path(folder)

    def nothing_left(self, *pids):
        wait_for("they are gone", lambda: not any(alive(pid) for pid in pids), 10)
        wait_for("no run's folder is left", lambda: not list(self.tmp.glob("render-process-*/[0-9]*")), 10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("process"))


@pytest.fixture(scope="module")
def server(place, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway") / "data",
                      config=config(place.script, ", memory: 1GiB, output: 2MiB") +
                      "store: {pack_size: 4MiB, min_free: 0}\n",
                      env={"TMPDIR": str(place.tmp), "RENDER_TEST_SECRET": "not for scripts"})
    yield gateway
    assert gateway.stop() == 0
    assert "Sanitizer" not in gateway.log()
    assert not list(place.tmp.glob("render-process-*"))


def test_what_the_document_shows(start_gateway, tmp_path):
    text = (ROOT / "docs/process-engine.md").read_text()
    blocks = dict(re.findall(r"^```(yaml|python)\n((?:.*\n)*?)```$", text, re.MULTILINE))
    script = tmp_path / "gradient.py"
    script.write_text(blocks["python"])
    script.chmod(0o755)
    assert len(blocks["python"].splitlines()) <= 20
    server = start_gateway(config=blocks["yaml"].replace("/srv/models/gradient.py", str(script)))
    answer = server.generate("a gradient", path=PATH, seed=200)
    assert answer.status_code == 200, server.log()
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size, image.getpixel((9, 256))) == ("PNG", (512, 512), (127, 200, 128))
    assert answer.headers["x-gpu-device"] == "cpu" and 0 < float(answer.headers["x-gpu-seconds"]) < 60
    several = server.generate("a gradient", path=PATH, seed=200, count=2, accept="application/json").json()
    assert [output["seed"] for output in several["outputs"]] == [200, 201]
    assert several["outputs"][0]["asset"] in answer.headers["Content-Location"]


def test_a_good_script(server, place):
    answer = ask(server, "good")
    assert answer.status_code == 200 and answer.content == (place.folder / "good.png").read_bytes()
    assert float(answer.headers["x-gpu-seconds"]) > 0 and "x-gpu-device" not in answer.headers
    place.nothing_left()


def test_sources_are_files(server, place):
    answer = server.generate("sources", path="/image/sdxl/base/edit", image=data_uri(place.image), mask=data_uri(place.mask))
    assert answer.status_code == 200, server.log()[-2000:]


def test_garbage_on_stdout_costs_no_picture(server):
    assert ask(server, "garbage").status_code == 200


FAILURES = {
    "memory": "MemoryError",
    "large": "File too large",
    "crash": "killed by SIGSEGV: about to fall",
    "status": "ended with status 1: no such device: /dev/secret0",
    "nothing": "wrote no file",
    "text": "is no image/png",
    "torn": "",
    "refused": "the command says: not this",
}


@pytest.mark.parametrize("prompt", FAILURES)
def test_failures_are_told_and_leave_nothing(server, place, prompt):
    objects = metric(server, "render_objects")
    answer = ask(server, prompt)
    assert (answer.status_code, answer.json()["error"]) == (502, "backend_failed"), answer.text
    assert "secret0" not in answer.text and "not this" not in answer.text
    line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert line["error"] and FAILURES[prompt] in line["error"], line
    assert metric(server, "render_objects") == objects
    place.nothing_left()
    for seed in range(3):  # it is as good as before, and its breaker stays closed
        assert ask(server, "good", seed=seed).status_code == 200


def test_who_leaves_cancels_the_whole_group(server, place):
    session = requests.Session()  # a connection of its own, to be closed
    request = requests.Request("POST", server.url + PATH + "?format=512", json={"prompt": "hang"},
                               headers={"Authorization": f"Bearer {server.key}"}).prepare()
    thread = threading.Thread(target=lambda: pytest.raises(requests.exceptions.RequestException, session.send, request,
                                                           timeout=2))
    thread.start()
    script, child, folder = place.hanging()
    assert alive(script) and alive(child) and folder.is_dir()
    assert os.getpgid(script) == os.getpgid(child) == script
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [name for name in pathlib.Path(f"/proc/{script}/environ").read_bytes().split(b"\0") if b"SECRET" in name]
    thread.join()
    place.nothing_left(script, child)
    assert not folder.exists()


def test_a_cancelled_job_kills_the_whole_group(server, place):
    job = server.post("/queue", json={"family": "flux", "model": "dev", "task": "t2i", "prompt": "hang"}).json()["id"]
    script, child, _ = place.hanging()
    from_ = time.monotonic()
    assert server.post(f"/jobs/{job}/cancel").status_code in (200, 202)
    place.nothing_left(script, child)
    assert time.monotonic() - from_ < 5
    wait_for("cancelled", lambda: server.get(f"/jobs/{job}").json()["status"] == "cancelled")


def test_time_is_limited_and_the_deaf_are_killed(place, start_gateway, tmp_path):
    server = start_gateway(config=config(place.script, ", timeout: 1s"), env={"TMPDIR": str(place.tmp)})
    from_ = time.monotonic()
    answer = ask(server, "deaf")
    script, child, _ = place.hanging()
    assert (answer.status_code, answer.json()["error"]) == (504, "backend_timeout")
    assert 3 <= time.monotonic() - from_ < 30
    place.nothing_left(script, child)
    # A gateway that is killed takes its script along; the next one removes its folder.
    thread = threading.Thread(target=lambda: pytest.raises(OSError, ask, server, "hang"))
    thread.start()
    script, child, folder = place.hanging()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    thread.join()
    wait_for("the script is gone", lambda: not alive(script), 10)
    os.kill(child, signal.SIGKILL)  # a child of its own is not ours to find: see the document
    assert folder.exists()
    start_gateway(config=config(place.script), name="other", env={"TMPDIR": str(place.tmp)})
    assert not folder.exists()


def test_a_command_that_is_not_there_is_not_ready(place, start_gateway):
    gone = place.folder / "moving.py"
    server = start_gateway(config=config(gone))
    assert ask(server, "good").status_code in (502, 503)
    place.script.rename(gone)
    try:
        answer = wait_for("it is ready again", lambda: (got := ask(server, "good")).status_code == 200 and got)
        assert answer.content == (place.folder / "good.png").read_bytes()
    finally:
        gone.rename(place.script)
