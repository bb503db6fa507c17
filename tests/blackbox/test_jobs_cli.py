# SPDX-License-Identifier: Apache-2.0
"""`render jobs` and librender's jobs against the real gateway: the life of a job as its owner sees it. Every option and
exit code is in tests/unit/librender/cli_test.py, against a stub."""
import json
import os
import pty
import socket
import subprocess
import threading

import pytest

from conftest import program

FAST = ("--format", "512", "--steps", "1")
LONG = ("--steps", "150")


@pytest.fixture
def cli(gateway, tmp_path):
    """cli(*arguments) -> CompletedProcess, as a tenant of its own."""
    key = gateway.new_key("cli-" + os.urandom(6).hex())["key"]
    env = {**os.environ, "RENDER_URL": gateway.url, "RENDER_API_KEY": key}

    def run(*arguments, code=0, **kw):
        done = subprocess.run([program("render"), "jobs", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True,
                              timeout=120, check=False, **kw)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run.env, run.folder = env, tmp_path
    return run


def test_life_of_a_job(gateway, cli):
    job = cli("submit", "a red circle", "--seed", "7", *FAST).stdout.strip()
    lines = cli("watch", job).stdout.splitlines()
    assert lines[-1].startswith(f"{job} complete {gateway.url}/a/a_")
    shown = json.loads(cli("show", job, "--json").stdout)
    assert shown["status"] == "complete" and shown["seed"] == 7 and shown["request"]["prompt"] == "a red circle"
    assert f"status         complete\n" in cli("show", job).stdout
    assert job in cli("list", "--status", "complete").stdout
    assert job not in cli("list", "--status", "queued").stdout
    assert "the job has ended" in cli("cancel", job, code=4).stderr
    assert cli("watch").stderr == "no job of yours is queued or running\n"
    events = [json.loads(line) for line in cli("watch", job, "--json").stdout.splitlines()]
    assert [event["event"] for event in events] == ["complete"]  # it has ended: the last event alone


def test_submit_and_wait(gateway, cli):
    done = cli("submit", "a red circle", "--seed", "7", "--wait", "-o", "one.webp", *FAST)
    assert "one.webp  image/webp" in done.stdout and done.stderr.startswith("j_")
    same = gateway.generate("a red circle", accept="image/webp", seed=7, steps=1)
    assert (cli.folder / "one.webp").read_bytes() == same.content
    assert (cli.folder / "one.webp.intoto.json").exists()
    cli("submit", "two", "--count", "2", "-w", "-o", "two.png", "--no-attestation", *FAST)
    assert sorted(path.name for path in cli.folder.glob("two*")) == ["two-1.png", "two-2.png"]
    found = json.loads(cli("submit", "a red circle", "-w", "--json", "--save-jwks", "k.json", "-o", "x.png", *FAST).stdout)
    assert found["outputs"][0]["file"] == "x.png" and found["job"]["status"] == "complete"
    verified = subprocess.run([program("render"), "verify", "x.png", "--jwks", "k.json"], cwd=cli.folder, check=False,
                              capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0, verified.stdout


def test_cancel_a_running_job(cli):
    job = cli("submit", "a red circle", *LONG).stdout.strip()
    watcher = subprocess.Popen([program("render"), "jobs", "watch", job], env=cli.env, stdout=subprocess.PIPE, text=True)
    seen = []
    for line in watcher.stdout:
        seen.append(line)
        if " running " in line:
            break
    assert cli("cancel", job).stdout.startswith(job)
    rest = watcher.stdout.read()
    assert watcher.wait(60) == 10 and "error cancelled" in rest, (seen, rest)
    assert json.loads(cli("show", job, "--json").stdout)["status"] == "cancelled"
    assert job in cli("list", "--status", "cancelled").stdout


def test_idempotency_and_refusals(cli):
    first = cli("submit", "p", "--idempotency-key", "order-1", *FAST).stdout
    assert cli("submit", "p", "--idempotency-key", "order-1", *FAST).stdout == first
    assert "another request" in cli("submit", "q", "--idempotency-key", "order-1", *FAST, code=4).stderr
    assert "steps: " in cli("submit", "p", "--steps", "999", code=4).stderr
    assert "nothing is here" in cli("show", "j_0123456789abcdefghijkl", code=4).stderr
    assert "nothing is here" in cli("watch", "j_0123456789abcdefghijkl", code=4).stderr


def test_export(cli):
    ids = [cli("submit", f"picture {number}", "--wait", "--no-attestation", "-o", f"{number}.png", *FAST).stderr.strip()
           for number in range(3)]
    lines = [json.loads(line) for line in cli("export").stdout.splitlines()]
    assert [job["id"] for job in lines] == ids[::-1]
    assert [job["request"]["prompt"] for job in lines] == ["picture 2", "picture 1", "picture 0"]
    assert cli("export", "--status", "error").stdout == ""
    page = json.loads(cli("list", "--limit", "2", "--json").stdout)
    assert [job["id"] for job in page["jobs"]] == ids[:0:-1] and page["next"] == ids[1]
    assert ids[0] in cli("list", "--after", page["next"]).stdout


def test_table_on_a_terminal(cli):
    jobs = [cli("submit", f"picture {number}", *FAST).stdout.strip() for number in range(2)]
    leader, follower = pty.openpty()
    child = subprocess.Popen([program("render"), "jobs", "watch", *jobs], stdout=follower, stdin=subprocess.DEVNULL,
                             env={**cli.env, "TERM": "xterm"})
    os.close(follower)
    drawn = b""
    try:
        while piece := os.read(leader, 4096):
            drawn += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(leader)
    assert child.wait(60) == 0
    last = drawn.decode().split("\x1b[2A")[-1]
    assert all(job in last for job in jobs) and last.count("[####################]") == 2, last


class Forwarder:
    """A port that stays while the gateway behind it changes."""

    def __init__(self, server):
        self.target = (server.host, server.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target)
            except OSError:
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def test_watching_over_a_crash(start_gateway):
    """The gateway is killed while the job runs: after its next start the job runs again, and who watches hears it."""
    server = start_gateway()
    forwarder = Forwarder(server)
    env = {**os.environ, "RENDER_URL": forwarder.url, "RENDER_API_KEY": server.key}
    job = subprocess.run([program("render"), "jobs", "submit", "a red circle", "--steps", "40"], env=env, text=True, timeout=60,
                         capture_output=True, check=True).stdout.strip()
    watcher = subprocess.Popen([program("render"), "jobs", "watch", job, "--json"], env=env, stdout=subprocess.PIPE, text=True)
    events = []
    for line in watcher.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "progress":
            break
    server.process.kill()
    server.process.wait()
    again = start_gateway()
    forwarder.target = (again.host, again.port)
    events += [json.loads(line) for line in watcher.stdout]
    assert watcher.wait(60) == 0
    forwarder.close()
    ids = [event["event_id"] for event in events if event["event"] != "missed"]
    assert ids == sorted(set(ids)) and events[-1]["event"] == "complete"
    assert [event["event"] for event in events].count("started") == 2
