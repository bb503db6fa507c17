# SPDX-License-Identifier: Apache-2.0
"""Backends behind a network that fails. Each stands in a network namespace of its own, at the far end of a veth pair,
and the gateway outside; a link then loses what killing a process never does: packets, without a reset or an ICMP message.

- dark: the far end of the link is taken down, and nothing passes, either way;
- mute: in the namespace the way back is a black hole. The backend gets every request, and nobody gets its answers;
- narrow: a token bucket (tbf) with room for few packets. What does not fit waits, and what does not fit there is lost,
  which the test counts. netem would say how much of both, but many kernels are built without it.

The servers are threads of this process: a socket belongs to the namespace of the thread that made it, so only making the
listener needs to be inside. Names and addresses are of this process, and the finalizer takes the links and the
namespaces away. It needs root and iproute2."""
import ctypes
import json
import os
import subprocess
import threading
import time

import pytest
from conftest import SANITIZED
from test_backends import PNG, SLACK, Backend, Load, ready
from tools import Scripted, log_lines, metric, need, wait_for

pytestmark = pytest.mark.xdist_group("network")

CLONE_NEWNET = 0x40000000
RUN_SECONDS = 4 if SANITIZED else 2  # after so long without an answer a run is over


def ip(*args, program="ip"):
    """Runs it, and gives what it prints. Where the kernel or the container has no such thing, the test is skipped."""
    done = subprocess.run([program, *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot be used here: {program} {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


class Box(Backend):
    """A backend in a namespace of its own."""

    def __init__(self, number):
        pid = os.getpid()
        self.near, self.far = f"rt{pid}n{number}", f"rt{pid}f{number}"
        self.space = f"render-test-{pid}-{number}"
        net = f"198.{18 + (pid >> 8) % 2}.{pid % 256}"  # of the block for such tests, RFC 2544
        self.here, self.address = f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}"
        ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.space)
        ip("address", "add", self.here + "/30", "dev", self.near)
        ip("-n", self.space, "address", "add", self.address + "/30", "dev", self.far)
        ip("link", "set", self.near, "up")
        ip("-n", self.space, "link", "set", self.far, "up")
        super().__init__()

    def start(self):
        made = []

        def inside():
            with open(f"/run/netns/{self.space}", "rb") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET) == 0:
                    made.append(Scripted(self.script, port=self.port, host=self.address))
        thread = threading.Thread(target=inside)  # it ends there, and so nothing else is in the namespace
        thread.start()
        thread.join()
        self.server = made[0]
        self.port = self.server.port

    def dark(self, yes):
        ip("-n", self.space, "link", "set", self.far, "down" if yes else "up")

    def mute(self, yes):
        ip("-n", self.space, "route", "add" if yes else "del", "blackhole", self.here + "/32")

    def narrow(self):
        bucket = ["root", "tbf", "rate", "200mbit", "burst", "16kb", "limit", "32kb"]
        ip("-n", self.space, "qdisc", "add", "dev", self.far, *bucket, program="tc")
        ip("qdisc", "add", "dev", self.near, *bucket, program="tc")

    def lost(self):
        told = ip("-n", self.space, "-s", "-j", "qdisc", "show", "dev", self.far, program="tc")
        return json.loads(told)[0]["drops"]


@pytest.fixture
def boxes():
    need("ip", "tc")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    spaces = [f"render-test-{os.getpid()}-{number}" for number in range(3)]
    made = []
    try:
        for space in spaces:
            ip("netns", "add", space)
        for number in range(3):
            made.append(Box(number))
        yield made
        assert not [box.server.problems for box in made if box.server.problems]
    finally:
        for box in made:
            box.kill()
            subprocess.run(["ip", "link", "delete", box.near], capture_output=True, check=False)
        for space in spaces:  # those that were never made are not there
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def start(start_gateway, boxes):
    lines = [f"  - {{name: box{i}, type: http, url: 'http://{box.address}:{box.port}/generate', slots: 4, health: /health, "
             f"models: [flux/dev], timeout: {RUN_SECONDS}s}}\n" for i, box in enumerate(boxes)]
    server = start_gateway(config="store: {pack_size: 4MiB, min_free: 0}\nlimits: {rate: 0}\nengines:\n" + "".join(lines))
    wait_for("all are in rotation", lambda: all(ready(server, f"box{i}") for i in range(3)))
    return server


@pytest.mark.parametrize("way", ["dark", "mute"])
def test_a_link_that_loses_everything_costs_no_request(boxes, start_gateway, way):
    """Runs that wait for an answer when it happens end with their timeout and go on elsewhere; then the backend is out of
    rotation and the load does not notice. It is back within two seconds, and gets work."""
    box = boxes[1]
    lose = getattr(box, way)
    server = start(start_gateway, boxes)
    load = Load(server)
    wait_for("it has worked", lambda: box.served >= 20 or load.failed())

    go, held = threading.Event(), []

    def hold(request):
        held.append(request)
        assert go.wait(60)
        request.answer(200, PNG)
    box.act = hold
    wait_for("a run is in its hands", lambda: held or load.failed())
    lose(True)
    since = time.monotonic()
    box.act = None
    go.set()  # its answers are sent into the dark
    wait_for("it is out of rotation", lambda: ready(server, "box1") == 0)
    out = time.monotonic() - since
    lost = wait_for("the runs that were lost go on elsewhere", lambda: [
        line for line in log_lines(server) if line["event"] == "attempt failed"])
    load.more(60)
    assert not load.failed(), load.failed()[:5]
    assert {(line["backend"], line["then"]) for line in lost} == {("box1", "on another backend")}
    assert "backend_timeout" in {line["code"] for line in lost}

    lose(False)
    since = time.monotonic()
    wait_for("it is in rotation", lambda: ready(server, "box1") == 1)
    back = time.monotonic() - since
    served = box.served
    wait_for("it gets work", lambda: box.served >= served + 10 or load.failed())
    load.stop()
    print(f"out after {out:.2f} s, back after {back:.2f} s, {len(load.answers)} answers")
    assert not load.failed(), load.failed()[:5]
    assert out < 3 * SLACK and back < 2 * SLACK
    assert metric(server, "render_generations_failed_total") == 0


def test_a_link_that_loses_some_costs_no_request(boxes, start_gateway):
    """All three links are narrow: packets wait and are lost, and every answer is whole."""
    for box in boxes:
        box.narrow()
    server = start(start_gateway, boxes)
    load = Load(server)
    load.more(30 if SANITIZED else 90)
    load.stop()
    lost = [box.lost() for box in boxes]
    print("packets lost:", lost, len(load.answers), "answers")
    assert not load.failed(), load.failed()[:5]
    assert min(lost) > 0
    assert metric(server, "render_generations_failed_total") == 0
