# SPDX-License-Identifier: Apache-2.0
"""Every allocation and every write of a request made to fail, once each, by number (tests/support/faults.c).

For each number: arm, send the request, disarm. The request may succeed (then its bytes must be right), be refused with
the contract's error body and a status that says it was not the client's fault, or lose its connection. Afterwards a
plain request must be served and no slot may be lost; or, after a failed sync, the gateway must have stopped by
itself, and a new one must find all that was ever answered.

How many calls a request makes is counted first. Above TRIES of them the numbers are spread; RENDER_SOAK=1 takes all."""
import json
import mmap
import os
import struct
import subprocess
import time
import zlib

import blake3
import pytest
import requests
from conftest import BUILD, SANITIZED, program
from test_life import run

LIBRARY = BUILD / "tests" / "support" / "librdfaults.so"
NONE, ALLOCATION, WRITE = range(3)
EIO, ENOSPC, SHORT = 5, 28, 0
NEVER = 1 << 40
TRIES = 10**9 if os.environ.get("RENDER_SOAK") else 160
OURS = {500, 502, 503, 507}  # what a failure of ours may be called
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8"
                    "cfc0000003010100c9fe92ef0000000049454e44ae426082")


class Faults:
    """The switchboard that the library reads: kind u32, errno i32, countdown i64, fired u32."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(24))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 24)

    def env(self):
        return {"LD_PRELOAD": str(LIBRARY), "RENDER_FAULTS": str(self.path)}

    def arm(self, kind, number, error=0):
        self.map[4:24] = struct.pack("<iqII", error, number, 0, 0)
        self.map[0:4] = struct.pack("<I", kind)

    def disarm(self):
        """Whether the call that was to fail came, and how many calls there were."""
        armed = struct.unpack("<I", self.map[16:20])[0] == 1
        left = struct.unpack("<q", self.map[8:16])[0]
        self.map[0:4] = struct.pack("<I", NONE)
        return armed, left


# ---- the requests, and what they may come to ----

class Client:
    """Sends each kind of request with bytes that were never sent before; keeps what was answered."""

    def __init__(self, server):
        self.server, self.serial, self.kept = server, 0, {}

    def session(self):
        self.serial += 1
        self.server.session = requests.Session()  # the last one's connection may be half dead
        return self.serial

    def image(self):
        """A picture of its own: the same pixels, and a text chunk."""
        text = b"tEXtserial\0" + str(self.serial).encode()
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        return PNG[:33] + chunk + PNG[33:]

    def generate(self):
        seed = self.session()
        answer = self.server.generate(seed=seed, steps=1)
        if answer.status_code == 200:
            self.keep(answer.headers["Content-Location"], answer.content)
        return answer

    def upload(self):
        self.session()
        content = self.image()
        ticket = self.server.post("/uploads", json={"content_type": "image/png", "bytes": len(content)})
        if ticket.status_code != 200:
            return ticket
        answer = self.server.put(ticket.json()["upload_url"], key=None, data=content)
        if answer.status_code in (200, 201):
            self.kept["/a/a_" + blake3.blake3(content).hexdigest()] = content
        return answer

    def put_object(self):
        self.session()
        content = self.image()
        answer = self.server.put("/v1/objects/" + blake3.blake3(content).hexdigest(), data=content)
        if answer.status_code in (200, 201):
            self.kept["/a/a_" + blake3.blake3(content).hexdigest()] = content
        return answer

    def fetch(self):
        self.session()
        path, content = next(iter(self.kept.items()))
        answer = self.server.get(path, key=None)
        if answer.status_code == 200:
            assert answer.content == content
        return answer

    def keep(self, url, content):
        asset = url.rsplit("/", 1)[1]
        assert asset == "a_" + blake3.blake3(content).hexdigest(), "bytes that are not what they are called"
        self.kept["/a/" + asset] = content

    def check_kept(self):
        for path, content in self.kept.items():
            answer = self.server.get(path, key=None)
            assert answer.status_code == 200 and answer.content == content, (path, answer.status_code)


def outcome(send):
    """The answer, None for a lost connection; anything else that is not allowed fails."""
    try:
        answer = send()
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return None
    if answer.status_code >= 300:
        assert answer.status_code in OURS, (answer.status_code, answer.text)
        body = json.loads(answer.content)
        assert body["error"] and body["message"] and body["request_id"].startswith("req_"), body
    return answer


def numbers(total):
    """1 to total, or when that is too many: all of the first half of TRIES, then evenly."""
    if total <= TRIES:
        return range(1, total + 1)
    dense = TRIES // 2
    step = max(1, (total - dense) // (TRIES - dense))
    return [*range(1, dense + 1), *range(dense + 1, total + 1, step)]


def settled(server):
    """No slot is taken any more: the work of a lost connection ends a little after it."""
    until = time.monotonic() + 10
    while True:
        text = requests.get(server.url + "/metrics", timeout=30).text
        if 'render_backend_slots_taken{backend="builtin"} 0' in text:
            return
        assert time.monotonic() < until, text


@pytest.fixture
def faults(tmp_path):
    assert LIBRARY.exists(), "run ninja in the build folder"
    return Faults(tmp_path / "faults")


KINDS = ["generate", "upload", "put_object", "fetch"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_allocation_fails_once(faults, start_gateway, kind):
    server = start_gateway(env=faults.env())
    client = Client(server)
    client.generate()  # whatever is done only once is done
    send = getattr(client, kind)
    assert send().status_code < 300
    settled(server)
    faults.arm(ALLOCATION, NEVER)
    assert send().status_code < 300
    total = NEVER - faults.disarm()[1]
    assert total > 10, "the library is not there"
    fired = refused = 0
    for number in numbers(total + 20):  # a few more: the count differs a little from time to time
        faults.arm(ALLOCATION, number)
        answer = outcome(send)
        fired += faults.disarm()[0]
        refused += answer is None or answer.status_code >= 300
        assert server.process.poll() is None, f"allocation {number}: {server.log()[-2000:]}"
        assert send().status_code < 300, number
        settled(server)
    assert fired > 10 and refused > 0
    client.check_kept()
    assert server.stop() == 0
    scrub = run("scrub", "--data", str(server.data))
    assert scrub.returncode == 0 and " 0 bad" in scrub.stdout, scrub.stdout


@pytest.mark.parametrize("error", [EIO, ENOSPC, SHORT], ids=["EIO", "ENOSPC", "short"])
@pytest.mark.parametrize("durability", ["strict", "relaxed"])
def test_each_write_fails_once(faults, start_gateway, durability, error):
    config = f"durability: {durability}\n"
    server = start_gateway(config=config, env=faults.env())
    client = Client(server)
    client.generate()
    stops = 0
    for kind in ["generate", "upload", "put_object"] if durability == "strict" else ["generate"]:
        send = getattr(client, kind)
        number, fired = 0, True
        while fired:
            number += 1
            assert number < 200
            faults.arm(WRITE, number, error)
            answer = outcome(send)
            until = time.monotonic() + (1 if durability == "relaxed" else 0)
            while durability == "relaxed" and not faults.map[16] and time.monotonic() < until:
                pass  # the sync comes within half a second
            fired = faults.disarm()[0]
            if answer is not None and error == SHORT:
                assert answer.status_code < 300, "a short write is no failure"
            again = 503
            while again >= 300:  # the call may fail a moment before the gateway knows of it
                stops += ended_well(server)
                if server.process.poll() is not None:
                    server = start_gateway(config=config, env=faults.env())
                    client.server = server
                    client.check_kept()
                again = getattr(client, kind)().status_code
                assert again < 300 or (durability == "relaxed" and ended_well(server)), (kind, number, again)
            settled(server)
        assert number > 1, "nothing was written"
    assert error != SHORT or stops == 0
    client.check_kept()
    assert server.stop() == 0
    scrub = run("scrub", "--data", str(server.data))
    assert scrub.returncode == 0 and " 0 bad" in scrub.stdout, scrub.stdout


def ended_well(server):
    """True when the gateway has found its store unsound: then it must end, non-zero, within a second."""
    try:
        ready = requests.get(server.url + "/health/ready", timeout=5)
        if ready.status_code == 200:
            return False
    except requests.ConnectionError:
        pass
    code = server.process.wait(1 + 4 * bool(SANITIZED))
    assert code == 1, (code, server.log()[-2000:])
    assert "a store failed" in server.log()
    return True


STARTS = 10**9 if os.environ.get("RENDER_SOAK") else 6  # each takes a quarter of a second, twice


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("kind,error", [(ALLOCATION, 0), (WRITE, EIO), (WRITE, ENOSPC)], ids=["allocation", "EIO", "ENOSPC"])
def test_a_start_with_a_failing_call(faults, tmp_path, kind, error, first):
    """It works, or it ends with one clear line; and the next start works."""
    total = count_start(faults, tmp_path, kind, first)
    assert total > 5
    for number in list(range(1, total + 1))[:: max(1, total // STARTS)]:
        try_start(faults, tmp_path / f"data-{number}", (kind, number, error), first)


def count_start(faults, tmp_path, kind, first):
    data = tmp_path / f"count-{kind}-{first}"
    if not first:
        run_once(faults, data, (NONE, NEVER, 0))
    return NEVER - run_once(faults, data, (kind, NEVER, 0))[1]


def run_once(faults, data, fault):
    faults.arm(*fault)
    process = subprocess.Popen([program("render-gateway"), "--data", str(data), "--listen", "127.0.0.1:0"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **faults.env()})
    line = process.stdout.readline()
    _, left = faults.disarm()
    if line:
        process.terminate()
    errors = process.communicate(timeout=30)[1].decode(errors="replace")
    return line, left, process.returncode, errors


def try_start(faults, data, fault, first):
    if not first:
        assert run_once(faults, data, (NONE, NEVER, 0))[0]
    line, _, code, errors = run_once(faults, data, fault)
    if line:
        assert code in (0, 1), (fault, code, errors)
    else:
        assert code == 1, (fault, code, errors)
        assert len([text for text in errors.splitlines() if " error " in text or '"error"' in text]) == 1, (fault, errors)
    line, _, code, errors = run_once(faults, data, (NONE, NEVER, 0))
    assert line and code == 0, (fault, code, errors)
