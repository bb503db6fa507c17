# SPDX-License-Identifier: Apache-2.0
"""GET /ws: the handshake, jobs over it, what RFC 6455 forbids, and clients that are slow, many or revoked. The client
is wsproto's state machine over a plain socket, so that frames can also be written wrong. Every frame that is forbidden
is in tests/unit/ws/conn_test.c; here are one of each kind, through the real server."""
import json
import resource
import socket
import struct
import threading
import time

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (AcceptConnection, BytesMessage, CloseConnection, Ping, RejectConnection, Request, RejectData,
                            TextMessage)

from conftest import SANITIZED
from test_clients import Page
from tools import WAIT_SECONDS, metric, need, request_lines, resident_kib, wait_for

FAST = {"family": "builtin", "model": "plasma", "task": "t2i", "format": "512", "steps": 1}
LONG = {**FAST, "format": "1024", "steps": 150}


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


class Socket:
    """One connection. Keeps what was received and not yet asked for."""

    def __init__(self, server, key="", headers=(), protocols=(), receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(WAIT_SECONDS)
        self.sock.connect((server.host, server.port))
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.messages, self.code, self.ended, self.text = [], None, False, ""
        extra = list(headers)
        if key is not None:
            extra.append((b"Authorization", f"Bearer {key or server.key}".encode()))
        self.protocol = None
        self.send_event(Request(host=server.host, target="/ws", subprotocols=list(protocols), extra_headers=extra))
        status, body, accepted = None, b"", False
        while not accepted:
            for event in self.read_events():
                if isinstance(event, AcceptConnection):
                    accepted, self.protocol = True, event.subprotocol
                elif isinstance(event, RejectConnection):
                    status = event.status_code
                elif isinstance(event, RejectData):
                    body += event.data
                else:
                    self.take(event)
            if status and (not self.has_body(status) or self.ended or body.endswith(b"}")):
                self.sock.close()
                raise Refused(status, body)

    @staticmethod
    def has_body(status):
        return status >= 400

    def send_event(self, event):
        self.sock.sendall(self.ws.send(event))

    def read_events(self):
        data = self.sock.recv(65536)
        self.ended = data == b""
        self.ws.receive_data(data or None)
        return list(self.ws.events())

    def take(self, event):
        if isinstance(event, TextMessage):
            self.text += event.data
            if event.message_finished:
                self.messages.append(json.loads(self.text))
                self.text = ""
        elif isinstance(event, Ping):
            self.send_event(event.response())
        elif isinstance(event, CloseConnection):
            self.code = event.code
            if self.ws.state.name == "REMOTE_CLOSING":
                self.send_event(event.response())

    def send(self, **message):
        self.send_event(TextMessage(json.dumps(message)))

    def raw(self, data):
        self.sock.sendall(data)

    def receive(self):
        """The next message."""
        while not self.messages:
            assert not self.ended and self.code is None, f"closed with {self.code}"
            for event in self.read_events():
                self.take(event)
        return self.messages.pop(0)

    def until(self, **fields):
        """All messages up to the first with these fields."""
        found = []
        while not found or any(found[-1].get(name) != value for name, value in fields.items()):
            found.append(self.receive())
        return found

    def closed_with(self):
        """Reads to the end; the close code, None when there was none."""
        while not self.ended and self.code is None:
            try:
                for event in self.read_events():
                    self.take(event)
            except ConnectionError:
                break
        while not self.ended:  # the server ends it
            try:
                self.ended = self.sock.recv(65536) == b""
            except ConnectionError:
                break
        self.sock.close()
        return self.code

    def close(self):
        self.sock.close()


@pytest.fixture
def ws(gateway):
    """ws(...) -> Socket at the gateway; all are closed at the end."""
    opened = []

    def connect(**kw):
        opened.append(Socket(gateway, **kw))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


# ---- the handshake ----

def test_what_is_no_handshake(gateway):
    good = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    rows = [({}, 426, "upgrade_required"), ({**good, "Upgrade": "h2c"}, 426, "upgrade_required"),
            ({**good, "Connection": "keep-alive"}, 426, "upgrade_required"),
            ({**good, "Sec-WebSocket-Version": "8"}, 426, "upgrade_required"),
            ({**good, "Sec-WebSocket-Key": "short"}, 400, "invalid_request"),
            ({**good, "Origin": "https://evil.example"}, 403, "forbidden")]
    for headers, status, error in rows:
        answer = gateway.get("/ws", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        if status == 426:
            assert answer.headers["Upgrade"] == "websocket" and answer.headers["Sec-WebSocket-Version"] == "13"
    assert gateway.get("/ws", headers=good, key=None).status_code == 401
    assert gateway.get("/ws", headers=good, key="rk_" + "a" * 36).status_code == 401
    assert gateway.get("/ws?key=" + gateway.key, headers=good, key=None).status_code == 401
    assert gateway.request("HEAD", "/ws", headers=good).status_code == 426
    assert gateway.post("/ws").status_code == 405
    upload = gateway.new_key("ws-upload", scopes=["upload"])
    assert gateway.get("/ws", headers=good, key=upload["key"]).status_code == 403


def test_key_of_a_browser(gateway, ws):
    one = ws(key=None, protocols=["render.v1", "render.key." + gateway.key])
    assert one.protocol == "render.v1"
    one.send(type="cancel", id=1, job_id="j_0123456789ab")
    assert one.receive()["code"] == "not_found"
    with pytest.raises(Refused, match="401"):
        ws(key=None, protocols=["render.v1", "render.key.rk_" + "a" * 36])
    with pytest.raises(Refused, match="401"):
        ws(key=None, protocols=["render.v1"])


def test_origins(start_gateway):
    server = start_gateway("cors: {origins: ['https://app.example']}\n")
    one = Socket(server, headers=[(b"Origin", b"https://app.example")])
    one.send(type="cancel", id=1, job_id="j_0123456789ab")
    assert one.receive()["code"] == "not_found"
    one.close()
    for origin in (b"https://app.example.evil", b"http://app.example", b"null"):
        with pytest.raises(Refused, match="403"):
            Socket(server, headers=[(b"Origin", origin)])


# ---- jobs ----

def test_one_job(gateway, ws):
    one = ws()
    one.send(type="generate", id="mine", prompt="a red circle", seed=7, **FAST)
    ack = one.receive()
    job = ack["job_id"]
    assert ack == {"type": "ack", "id": "mine", "job_id": job}
    told = one.until(type="complete")
    assert all(message["job_id"] == job for message in told)
    assert "started" in [message["type"] for message in told]
    ids = [message["event_id"] for message in told if message["type"] != "missed"]
    assert ids == sorted(set(ids))
    assert {m["type"] for m in told} <= {"position", "started", "progress", "frame", "complete", "missed"}
    asset = told[-1]["output"].rsplit("/", 1)[1]
    assert gateway.get("/a/" + asset).content.startswith(b"\x89PNG")
    assert gateway.get("/jobs/" + job, allow_redirects=False).status_code == 303


def test_many_jobs_on_one_connection(ws):
    one, count = ws(), 12
    for number in range(count):
        one.send(type="generate", id=number, prompt=f"circle {number}", **FAST)
    jobs, complete = {}, set()
    while len(complete) < count:
        message = one.receive()
        if message["type"] == "ack":
            jobs[message["job_id"]] = message["id"]
        else:
            assert message["job_id"] in jobs  # nothing of a job comes before its ack
            assert message["type"] != "error", message
            if message["type"] == "complete":
                complete.add(message["job_id"])
    assert sorted(jobs.values()) == list(range(count)) and complete == set(jobs)


def test_subscribe(gateway, ws):
    other = gateway.new_key("ws-other")["key"]
    mine = gateway.new_key("ws-mine")["key"]
    first, second, stranger = ws(key=mine), ws(key=mine), ws(key=other)
    first.send(type="generate", id=1, prompt="a red circle", **FAST)
    job = first.receive()["job_id"]
    last = first.until(type="complete")[-1]
    second.send(type="subscribe", id="s", job_id=job)
    assert second.receive() == {"type": "ack", "id": "s", "job_id": job}
    assert second.receive() == last
    second.send(type="subscribe", id="t", job_id=job, after=last["event_id"] - 1)
    assert [message["type"] for message in second.until(type="complete")] == ["ack", "complete"]
    for one, name in ((stranger, job), (second, "j_0123456789abcdefghijkl")):
        one.send(type="subscribe", id="x", job_id=name)
        error = one.receive()
        assert (error["type"], error["id"], error["job_id"], error["code"]) == ("error", "x", name, "not_found")
    stranger.send(type="cancel", id="x", job_id=job)
    assert stranger.receive()["code"] == "not_found"


def test_cancel(ws):
    one = ws()
    one.send(type="generate", id=1, prompt="a red circle", **LONG)
    job = one.receive()["job_id"]
    one.until(type="started")
    one.send(type="cancel", id=2, job_id=job)
    told = one.until(type="ack", id=2)
    told += one.until(type="error") if not any(message["type"] == "error" for message in told) else []
    error = next(message for message in told if message["type"] == "error")
    assert error["job_id"] == job and error["code"] == "cancelled"
    one.send(type="cancel", id=3, job_id=job)
    refused = one.until(id=3)[-1]
    assert (refused["type"], refused["code"]) == ("error", "conflict")


def test_idempotency(ws):
    one = ws()
    for number in range(2):
        one.send(type="generate", id=number, prompt="a red circle", seed=1, idempotency_key="ws-once", **FAST)
    jobs = {message["job_id"] for message in one.until(type="ack", id=1) if message["type"] == "ack"}
    assert len(jobs) == 1
    one.send(type="generate", id=2, prompt="another", idempotency_key="ws-once", **FAST)
    assert one.until(id=2)[-1]["code"] == "idempotency_conflict"


def test_wrong_messages(gateway, ws):
    one = ws()
    one.send(type="generate", id=1, prompt="", steps=9999, **{k: v for k, v in FAST.items() if k != "steps"})
    error = one.receive()
    assert (error["type"], error["id"], error["job_id"], error["code"]) == ("error", 1, None, "invalid_request")
    assert {detail["field"] for detail in error["details"]} == {"prompt", "steps"}
    assert error["request_id"].startswith("req_")
    for text, code in (("nonsense", "invalid_json"), ("[]", "invalid_json"), ("{}", "invalid_request"),
                       ('{"id": 1, "type": "x"}', "invalid_request")):
        one.send_event(TextMessage(text))
        assert one.receive()["code"] == code
    reader = ws(key=gateway.new_key("ws-reader", scopes=["read"])["key"])
    for message in ({"type": "generate", **FAST, "prompt": "p"}, {"type": "cancel", "job_id": "j_0123456789ab"}):
        reader.send(id=1, **message)
        assert reader.receive()["code"] == "forbidden"


# ---- frames ----

@pytest.mark.parametrize("code, data", [
    (1002, b"\xc1\x80\0\0\0\0"), (1002, b"\x83\x80\0\0\0\0"), (1002, b"\x81\x02{}"), (1002, b"\x09\x80\0\0\0\0"),
    (1002, b"\x89\xfe\x00\x7e\0\0\0\0"), (1002, b"\x88\x82\0\0\0\0\x03\xed"), (1003, b"\x82\x80\0\0\0\0"),
    (1007, b"\x81\x82\0\0\0\0\xc3\x28"), (1009, b"\x81\xff" + struct.pack(">Q", (1 << 20) + 1) + b"\0\0\0\0x"),
    (1000, b"\x88\x82\0\0\0\0\x03\xe8")])
def test_forbidden_frames(ws, code, data):
    one = ws()
    one.raw(data)
    assert one.closed_with() == code


def test_clients_that_leave_in_the_middle(gateway, ws):
    before = metric(gateway, "render_ws_connections")
    for data in (b"", b"\x81", b"\x81\xfe", b"\x81\x85\0\0\0\0ab"):
        one = ws()
        one.raw(data)
        one.close()
    wait_for("they are gone", lambda: metric(gateway, "render_ws_connections") <= before)


def test_binary_is_told_why(ws):
    one = ws()
    one.send_event(BytesMessage(b"x"))
    assert one.closed_with() == 1003


# ---- a browser ----

BROWSER = """<!doctype html><html><body><pre id=out>nothing ran</pre><img id=hold src="/hold"><script>
const report = {messages: []};
const socket = new WebSocket("%(url)s".replace("http", "ws") + "/ws", ["render.v1", "render.key.%(key)s"]);
async function end() {
  document.getElementById("out").textContent = JSON.stringify(report);
  await fetch("/done");
}
socket.onopen = () => {
  report.protocol = socket.protocol;
  socket.send(JSON.stringify({type: "generate", id: 1, family: "builtin", model: "plasma", task: "t2i", format: "512",
                              steps: 1, prompt: "ein Kreis, \\u00e4\\u20ac\\ud83d\\ude00"}));
};
socket.onmessage = event => {
  const message = JSON.parse(event.data);
  report.messages.push(message);
  if (message.type == "complete") socket.close(4000, "seen");
};
socket.onclose = event => { report.closed = [event.code, event.reason, event.wasClean]; end(); };
</script></body></html>"""


@pytest.fixture(scope="module")
def page():
    need("chromium")
    made = Page()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_browser_of_an_allowed_origin(start_gateway, page, tmp_path):
    server = start_gateway(f"cors: {{origins: ['{page.origin}']}}\n")
    report = page.visit(server, tmp_path / "profile", BROWSER)
    assert report["protocol"] == "render.v1"
    assert [report["messages"][at]["type"] for at in (0, -1)] == ["ack", "complete"]
    assert report["closed"] == [4000, "seen", True]


def test_a_browser_of_another_origin(start_gateway, page, tmp_path):
    report = page.visit(start_gateway("cors: {origins: ['https://app.example.org']}\n"), tmp_path / "profile", BROWSER)
    assert report["messages"] == [] and report["closed"][0] == 1006


# ---- slow, revoked, many, stopped ----

def test_a_client_that_reads_late(ws):
    """It sends 40,000 requests, more bytes than any socket buffers, before it reads an answer: it is made to wait, and
    loses none."""
    one, count = ws(receive_buffer=4096), 40_000
    text = b'{"id":1,"x":"' + b"x" * 1000 + b'"}'
    frame = b"\x81\xfe" + struct.pack(">H", len(text)) + b"\0\0\0\0" + text
    sender = threading.Thread(target=one.raw, args=(frame * count,))
    sender.start()
    sender.join(2)  # by then it has come to a stop
    assert sender.is_alive()
    assert sum(one.receive()["code"] == "invalid_request" for _ in range(count)) == count
    sender.join()


def test_revoked_key(gateway, ws):
    key = gateway.new_key("ws-revoked")
    one = ws(key=key["key"])
    assert gateway.delete("/keys/" + key["id"]).status_code == 204
    begin = time.monotonic()
    assert one.closed_with() == 1008
    assert time.monotonic() - begin < (1 if not SANITIZED else 5)


def test_a_thousand_idle_connections(start_gateway):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    server = start_gateway()
    many = []
    try:
        many.append(Socket(server))
        before, count = resident_kib(server.process.pid), 1000
        many += [Socket(server) for _ in range(count)]
        each = (resident_kib(server.process.pid) - before) / count
        print(f"{each:.1f} KiB for each connection")
        assert SANITIZED or each < 32
        assert metric(server, "render_ws_connections") == count + 1
        many[500].send(type="generate", id=1, prompt="a red circle", **FAST)
        many[500].until(type="complete")
        assert server.stop() == 0
        assert [one.closed_with() for one in many] == [1001] * (count + 1)
    finally:
        for one in many:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_is_logged_without_the_key(start_gateway):
    server = start_gateway()
    one = Socket(server, key=None, protocols=["render.v1", "render.key." + server.key])
    line = request_lines(server, route="ws")[0]
    assert line["status"] == 101 and line["tenant"] == "admin"
    one.close()
    assert server.key not in server.log()
