# SPDX-License-Identifier: Apache-2.0
"""GET /jobs/{id}/events: what clients are told, in what order, and what becomes of it when the connection is cut, the
reader is slow, or the gateway restarts. Also with npm's eventsource and a browser's own EventSource. Rings, missed counts
and memory: tests/unit/jobs."""
import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import ROOT, SANITIZED
from test_clients import Page
from test_engine_http import PNG, config
from test_jobs import BOX, LONG, Held, ended, job, running, submit
from tools import WAIT_SECONDS, Scripted, metric, need, wait_for

HEARTBEAT_SECONDS = 15


class Stream:
    """One event stream. Iterating gives (id, name, data) until the stream ends; `comments` are kept."""

    def __init__(self, server, made, after=None, key=None, timeout=WAIT_SECONDS):
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout)
        headers = {"Authorization": f"Bearer {key or server.key}"} | ({"Last-Event-ID": str(after)} if after is not None else {})
        self.connection.request("GET", f"/jobs/{made['id']}/events", headers=headers)
        self.answer = self.connection.getresponse()
        self.comments = []

    def __iter__(self):
        fields = {}
        while line := self.answer.readline():
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, value = line.split(": ", 1)
                fields[name] = value
            elif fields:
                yield int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])
                fields = {}
        assert not fields, "an event was cut"

    def close(self):
        self.connection.close()


def follow(*args, **kw):
    with contextlib.closing(Stream(*args, **kw)) as stream:
        assert stream.answer.status == 200
        return list(stream)


def check_story(events):
    """One attempt from its start to its end, in order."""
    events = [event for event in events if event[1] != "missed"]  # of a slow reader; it has no id
    ids = [event[0] for event in events]
    assert ids == sorted(set(ids)) and None not in ids
    names = [name for _, name, _ in events]
    assert names[-1] == "complete" and names.count("complete") == 1 and "error" not in names
    moving = [data for _, name, data in events if name == "progress"]
    assert [m["progress"] for m in moving] == sorted(m["progress"] for m in moving)
    return names


def test_the_story_of_a_job(gateway):
    made = submit(gateway, LONG)
    with contextlib.closing(Stream(gateway, made)) as stream:
        assert stream.answer.getheader("Content-Type") == "text/event-stream"
        assert stream.answer.getheader("Cache-Control") == "no-store"
        events = list(stream)
    names = check_story(events)
    assert "started" in names and names.count("progress") > 3 and "preview" in names
    started = next(data for _, name, data in events if name == "started")
    preview = next(data for _, name, data in events if name == "preview")
    assert started == {"attempt": 1} and preview["frame"].startswith("data:image/jpeg;base64,")
    assert events[-1][2]["output"] == ended(gateway, made)["output"] and events[-1][2]["gpu_seconds"] > 0


def test_a_job_that_waits_tells_its_position(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        running(server, submit(server, BOX))
        second, third = submit(server, BOX), submit(server, BOX)
        stream = iter(Stream(server, third))
        first = next(stream)
        assert first[1:] == ("position", {"position": 2, "eta_seconds": None})
        assert server.delete(f"/jobs/{second['id']}").status_code == 204
        name, data = next(stream)[1:]
        assert name == "position" and data["position"] == 1
        held.let(2)
        rest = [event[1] for event in stream]
        assert rest[-2:] == ["started", "complete"]


def test_what_has_ended_tells_its_end_alone(start_gateway):
    server = start_gateway(config="engines: [{name: a, type: builtin, slots: 1}]\n")
    done, cancelled = submit(server), submit(server, {**BOX})
    ended(server, done)
    assert server.delete(f"/jobs/{cancelled['id']}").status_code == 204
    told = follow(server, done)
    assert [name for _, name, _ in told] == ["complete"]
    assert follow(server, done, after=told[0][0]) == told  # also to one that has it already
    bad = follow(server, cancelled)
    assert [name for _, name, _ in bad] == ["error"] and bad[0][2]["code"] == "cancelled"
    assert server.stop() == 0
    server = start_gateway()  # from the store, with the same ids
    again = follow(server, done)
    assert [(i, n) for i, n, _ in again] == [(i, n) for i, n, _ in told] and follow(server, cancelled) == bad


def test_a_cut_connection_loses_nothing_and_doubles_nothing(gateway):
    """Cut after every third event and resumed, beside one that is never cut: both are told the same."""
    made = submit(gateway, LONG)
    whole = []
    watcher = threading.Thread(target=lambda: whole.extend(follow(gateway, made)))
    watcher.start()
    pieces, after = [], None
    while not pieces or pieces[-1][1] != "complete":
        stream = Stream(gateway, made, after=after)
        for event in stream:
            pieces.append(event)
            after = event[0]
            if len(pieces) % 3 == 0:
                break
        stream.close()
    watcher.join()
    names = check_story(pieces)
    first = pieces[0][0]
    # Of previews only the newest is kept, and what was dropped says how many in a `missed`.
    kept = [event for event in whole if event[0] >= first and event[1] != "preview"]
    assert [event for event in pieces if event[1] not in ("preview", "missed")] == kept
    assert "started" in names or first > kept[0][0]


def test_events_go_on_over_a_crash(start_gateway):
    held = Held()
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the request", lambda: engine.requests)
        stream = Stream(server, made)
        seen = next(iter(stream))
        assert seen[1:] == ("started", {"attempt": 1})
        server.stop(signal.SIGKILL)
        server = start_gateway(config=config(engine.port, slots=1))
        wait_for("the second request", lambda: len(engine.requests) == 2)
        held.let(2)
        after = follow(server, made, after=seen[0])
        assert [name for _, name, _ in after] in (["started", "complete"], ["complete"])
        ids = [seen[0]] + [event[0] for event in after]
        assert ids == sorted(set(ids))


def test_retries_are_told(start_gateway):
    statuses = [502, 200]
    with Scripted(lambda request: request.answer(statuses.pop(0), PNG)) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        events = follow(server, submit(server, BOX))
        check_story(events)
        assert [data["attempt"] for _, name, data in events if name == "started"] == [1, 2]


def test_a_cancelled_job_says_so(start_gateway):
    with Scripted(lambda request: request.wait_left()) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the request", lambda: engine.requests)
        stream = iter(Stream(server, made))
        next(stream)
        assert server.post(f"/jobs/{made['id']}/cancel").status_code == 200
        last = list(stream)[-1]
        assert last[1] == "error" and last[2]["code"] == "cancelled" and last[2]["retriable"] is False


def test_refusals(start_gateway):
    server = start_gateway(config="engines: []\n")
    other = server.new_key("other")["key"]
    made = submit(server)
    for url, key, headers, status in (
            (f"/jobs/{made['id']}/events", other, {}, 404), ("/jobs/j_" + "0" * 22 + "/events", server.key, {}, 404),
            ("/jobs/nonsense/events", server.key, {}, 404), (f"/jobs/{made['id']}/events", None, {}, 401),
            (f"/jobs/{made['id']}/events", server.key, {"Last-Event-ID": "x"}, 400)):
        assert server.get(url, key=key, headers=headers).status_code == status, url
    head = server.request("HEAD", f"/jobs/{made['id']}/events")
    assert head.status_code == 200 and head.content == b""
    wait_for("no watcher left", lambda: metric(server, "render_event_watchers") == 0)


def test_a_quiet_stream_is_kept_alive(start_gateway):
    """Slow by nature: the heartbeat comes every 15 s."""
    server = start_gateway(config="engines: []\n")
    made = submit(server)
    stream = Stream(server, made)
    next(iter(stream))
    begun = time.monotonic()
    while not (line := stream.answer.readline()).startswith(b":"):
        assert line
    assert HEARTBEAT_SECONDS - 2 < time.monotonic() - begun < HEARTBEAT_SECONDS + 5
    stream.close()


def test_many_streams(start_gateway):
    """Hundreds watch one job; some leave at once, some never read. All others are told the end, and none is left over."""
    held, count = Held(), 100 if SANITIZED else 400
    with Scripted(held) as engine:
        server = start_gateway(config=config(engine.port, slots=1))
        made = submit(server, BOX)
        wait_for("the request", lambda: engine.requests)
        streams = [Stream(server, made) for _ in range(count)]
        assert metric(server, "render_event_watchers") == count
        for stream in streams[::4]:
            stream.answer.close()
            stream.close()
        held.let()
        for n, stream in enumerate(streams):
            if n % 4 != 0:
                assert [name for _, name, _ in stream][-1] == "complete"
                stream.close()
        wait_for("no watcher left", lambda: metric(server, "render_event_watchers") == 0)


def test_streams_that_leave_as_their_job_ends(start_gateway):
    """The end of the job and the leaving of the client, at the same moment, over and over."""
    with Scripted(lambda request: request.answer(200, PNG)) as engine:
        server = start_gateway(config=config(engine.port, slots=8) + "limits: {rate: 0}\n")

        def client(turns):
            for n in range(turns):
                made = submit_raw(server)
                sock = socket.create_connection((server.host, server.port))
                sock.sendall(f"GET /jobs/{made}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode())
                if n % 3:
                    sock.recv(1 << 16)
                sock.close()
        threads = [threading.Thread(target=client, args=(25 if SANITIZED else 60,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for("no watcher left", lambda: metric(server, "render_event_watchers") == 0)
        assert follow(server, submit(server, BOX))[-1][1] == "complete"


def submit_raw(server):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=WAIT_SECONDS)
    connection.request("POST", "/queue", json.dumps(BOX), {"Authorization": f"Bearer {server.key}"})
    made = json.loads(connection.getresponse().read())["id"]
    connection.close()
    return made


def test_a_reader_that_does_not_read(start_gateway):
    """It holds up neither its job nor other readers, and gets the end when it reads at last."""
    server = start_gateway()
    made = submit(server, LONG)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect((server.host, server.port))
    sock.sendall(f"GET /jobs/{made['id']}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode())
    check_story(follow(server, made))
    assert ended(server, made)["status"] == "complete"
    got = b""
    while more := sock.recv(65536):
        got += more
    assert b"event: complete" in got and got.endswith(b"0\r\n\r\n")
    sock.close()


def test_a_stop_ends_all_streams(start_gateway):
    server = start_gateway(config="engines: []\n")
    made = submit(server)
    streams = [Stream(server, made) for _ in range(50)]
    readers = [threading.Thread(target=lambda s=s: list(s)) for s in streams]
    for reader in readers:
        reader.start()
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    for reader in readers:
        reader.join(WAIT_SECONDS)
        assert not reader.is_alive()
    server = start_gateway()
    assert follow(server, made)[-1][1] == "complete"


# ---- other people's clients ----

@pytest.fixture(scope="module")
def eventsource():
    """NODE_PATH of npm's eventsource in its pinned version; installed once, kept in build-test/."""
    need("node", "npm")
    cache, ours = ROOT / "build-test/npm-eventsource", ROOT / "tests/blackbox/verifiers/eventsource"
    if not (cache / "node_modules/eventsource").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ours / name, cache)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=cache, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(cache)
            pytest.skip("npm cannot get eventsource 3.0.7: " + done.stderr.strip().splitlines()[-1])
    return str(cache / "node_modules")


class Cutting:
    """A proxy that adds the key, as the server of a web page does, and cuts each answer after `cut` bytes."""

    def __init__(self, server, cut=None, pages=None):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):  # pylint: disable=invalid-name
                if self.path in (pages or {}):
                    body = pages[self.path]() if callable(pages[self.path]) else pages[self.path]
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                    self.wfile.write(body)
                    return
                proxy.asked.append(self.headers.get("Last-Event-ID"))
                connection = http.client.HTTPConnection(server.host, server.port, timeout=WAIT_SECONDS)
                again = {"Last-Event-ID": self.headers["Last-Event-ID"]} if "Last-Event-ID" in self.headers else {}
                connection.request("GET", self.path, headers={"Authorization": f"Bearer {server.key}", **again})
                answer = connection.getresponse()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type"))
                self.end_headers()
                sent = 0
                with contextlib.suppress(OSError):
                    if proxy.asked == [None]:
                        self.wfile.write(b"retry: 10\n\n")
                    while (cut is None or sent < cut) and (data := answer.read1(512)):
                        sent += self.wfile.write(data)
                connection.close()

            def log_message(self, *_):
                pass
        self.asked = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def node_follow(library, url, key):
    done = subprocess.run(["node", str(ROOT / "tests/blackbox/verifiers/eventsource/follow.js"), url, key], text=True,
                          check=True, capture_output=True, timeout=60, env={**os.environ, "NODE_PATH": library})
    return [(int(e["id"] or 0), e["name"], e["data"]) for e in map(json.loads, done.stdout.splitlines())]


def test_npm_eventsource(gateway, eventsource):
    made = submit(gateway, LONG)
    check_story(node_follow(eventsource, made["events_url"], gateway.key))
    told = node_follow(eventsource, made["events_url"], gateway.key)
    assert [name for _, name, _ in told] == ["complete"]


def test_npm_eventsource_resumes(gateway, eventsource):
    """Its connection is cut again and again; it comes back by itself with Last-Event-ID."""
    made = submit(gateway, {**LONG, "steps": 100})
    with contextlib.closing(Cutting(gateway, cut=700)) as proxy:
        check_story(node_follow(eventsource, f"{proxy.origin}/jobs/{made['id']}/events", "-"))
        assert len(proxy.asked) > 2 and all(proxy.asked[1:])


BROWSER = """<!DOCTYPE html><html><body><pre id="out"></pre><img src="/hold"><script>
const told = [], source = new EventSource("%s");
for (const name of ["position", "started", "progress", "preview", "missed", "complete", "error"])
  source.addEventListener(name, event => {
    if (event.data === undefined) return;
    told.push([Number(event.lastEventId), name, JSON.parse(event.data)]);
    if (name != "complete" && name != "error") return;
    source.close();
    document.getElementById("out").textContent = JSON.stringify(told);
    fetch("/done");
  });
</script></body></html>"""


@pytest.mark.parametrize("cut", [None, 30000])
def test_a_browser(gateway, tmp_path, cut):
    """Chromium's own EventSource, through a proxy that adds the key, which a page cannot send."""
    need("chromium")
    made = submit(gateway, LONG)
    done = threading.Event()
    pages = {"/": (BROWSER % f"/jobs/{made['id']}/events").encode(), "/done": lambda: done.set() or b"",
             "/hold": lambda: done.wait(WAIT_SECONDS) and b"", "/favicon.ico": b""}
    with contextlib.closing(Cutting(gateway, cut, pages)) as proxy:
        page = Page.__new__(Page)  # its own server is not needed
        page.done, page.origin = done, proxy.origin
        events = [tuple(event) for event in page.visit(gateway, tmp_path / "profile", "")]
    assert events[-1][1] == "complete" and job(gateway, made)["status"] == "complete"
    if len(events) > 1:  # it came before the end
        check_story(events)
