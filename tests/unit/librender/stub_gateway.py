# SPDX-License-Identifier: Apache-2.0
"""A gateway made of canned answers, for the tests of librender and of the program `render`.

Prints its port on a line, serves until its standard input ends. Nothing is computed: what is asked for
by name (a prompt, or a path below /case/) says what comes back, also what a real gateway would never
send. GET /last tells the last request but itself as JSON, so that a test can look at what was sent.
"""
import base64
import hashlib
import http.server
import json
import socket
import sys
import threading

REQUEST_ID = "req_0V8zT3kQ1mXw5bYc7nRd2s"
# The known answer of DSSE over a statement about the bytes "abc"; the key is RFC 8032's test 1.
PAYLOAD = (
    '{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"out.png","digest":{"sha256":'
    '"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}],"predicateType":'
    '"https://slsa.dev/provenance/v1","predicate":{}}'
)
SIGNATURE = "KaK8WHqgp+ND6PTMJFEVvIS6COtYZ4tKnypswiJuz7xPVQ6FfcliGE4JhxjJEp56MjhrbCpUX+vIC/enfp88Bw=="
KEY_ID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
ENVELOPE = {
    "payload": base64.b64encode(PAYLOAD.encode()).decode(),
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [{"keyid": KEY_ID, "sig": SIGNATURE}],
}
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": KEY_ID, "use": "sig",
                  "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
BODY = b"abc"
ASSET = "a_6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"  # BLAKE3 of "abc"
ERRORS = {
    400: ("invalid_request", "the request is not valid; details lists what to change"),
    401: ("unauthorized", "send a valid API key as 'Authorization: Bearer <key>'"),
    403: ("forbidden", "this API key lacks the scope that the route needs"),
    404: ("not_found", "nothing is here for this caller"),
    429: ("rate_limited", "too many requests; wait for Retry-After"),
    500: ("internal", "an error inside the gateway; the log has the request id"),
    503: ("capacity_exhausted", "every slot for this model is taken; retry or queue the job"),
    504: ("backend_timeout", "the engine did not answer in time"),
}
KEY = {"id": "key_0V8zT3kQ1mXw5bYc7nRd2s", "tenant": "acme", "name": "ci", "prefix": "rk_abcdefghi",
       "scopes": ["generate", "read"], "created_at": "2026-11-22T11:48:16.042Z", "expires_at": None,
       "revoked_at": None, "last_used_at": "2026-11-22T12:00:00.000Z"}
MODELS = {"models": [
    {"id": "builtin/plasma", "modality": ["image", "video"], "tasks": ["t2i", "i2i", "edit", "t2v", "i2v"],
     "status": "active", "available": True, "backends": ["builtin"]},
    {"id": "flux/dev", "modality": ["image"], "tasks": ["t2i", "i2i"], "status": "active",
     "available": False, "backends": ["nunchaku", "torch"]}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    last = {}
    tries = {}  # how often something was asked for
    waits = {}  # asset -> how many more times its attestation is "not yet"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", kind="application/json", headers=()):
        self.send_response(status)
        if body or status not in (204, 304):
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Weyl-Request-Id", REQUEST_ID)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, status, value, headers=()):
        self.reply(status, json.dumps(value).encode(), headers=headers)

    def reply_error(self, status):
        code, message = ERRORS.get(status, ("other", f"status {status}"))
        error = {"error": code, "message": message, "request_id": REQUEST_ID, "details": []}
        if status == 400:
            error["details"] = [
                {"field": "steps", "constraint": "range", "message": "1 to 150"},
                {"field": "seed", "constraint": "type", "message": "a whole number"}]
        self.reply_json(status, error, [("Retry-After", "7")] if status in (429, 503) else [])

    def raw(self, data):
        """Bytes that no HTTP library would send, then the end of the connection."""
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def case(self, name):
        if name.startswith("status:"):
            self.reply_error(int(name[7:]))
        elif name == "html":
            self.reply(502, b"<html>Bad Gateway \x1b[31m\r\nsecond line", "text/html")
        elif name == "redirect":
            self.reply(301, b"", headers=[("Location", "https://elsewhere.example/")])
        elif name == "cut":
            self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nabc")
        elif name == "garbage":
            self.raw(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif name == "nothing":
            self.raw(b"")
        elif name == "text":
            self.reply(200, b"hello", "text/plain")
        elif name == "bad-error":
            self.reply(400, b'{"message": 7, "details": "x"}')
        elif name == "evil-error":
            self.reply_json(400, {"message": "\x1b[2J\u009b1mred\x07", "details": [
                {"field": "a\nb", "message": "\x1b]0;title\x07"}, "no object", {}] * 20})
        elif name == "large":
            self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
                     + b" " * (17 << 20))
        elif name == "bad-headers":
            self.reply(200, BODY, "image/png", [("X-Weyl-Seed", "-4"), ("x-gpu-seconds", "nan"),
                                                ("X-Weyl-Duration-Ms", "1e999"), ("x-gpu-device", "\x01")])
        elif name == "empty":
            self.reply(200, b"", "image/png")
        elif name == "slow":
            self.server.released.wait(20)
            self.raw(b"")
        else:
            self.reply_error(404)

    def generate(self, body):
        prompt = body.get("prompt", "")
        if prompt.startswith("case:"):
            return self.case(prompt[5:])
        accept = self.headers.get("Accept", "")
        host = self.headers["Host"]
        measured = [("X-Weyl-Seed", str(body.get("seed", 4294967295))), ("X-Weyl-Duration-Ms", "12.5"),
                    ("x-gpu-seconds", "0.25"), ("x-gpu-device", "cpu"), ("Cache-Control", "no-store")]
        if accept.startswith("application/json"):
            rows = [{"asset": ASSET, "url": f"http://{host}/a/{ASSET}", "content_type": "image/png",
                     "bytes": 3 if prompt != "wrong length" else 4, "seed": 10 + i,
                     "sha256": hashlib.sha256(BODY).hexdigest(), "blake3": ASSET[2:]}
                    for i in range(body.get("count", 1))]
            if prompt == "too few":
                rows = rows[:1]
            return self.reply_json(200, {"outputs": rows}, measured)
        kind = "video/mp4" if self.path.startswith("/video/") else accept
        location = f"/a/{ASSET}" if prompt == "relative" else f"http://{host}/a/{ASSET}"
        self.reply(200, BODY, kind, measured + [("Content-Location", location)])

    def keys(self, body):
        if self.command == "POST":
            return self.reply_json(201, {**KEY, **{k: v for k, v in body.items() if k != "expires_in_s"},
                                         "key": "rk_" + "A" * 30 + "000000"})
        if self.command == "GET":
            return self.reply_json(200, {"keys": [KEY]})
        if self.path.endswith("/keys/" + KEY["id"]):
            return self.reply(204)
        self.reply_error(404)

    def uploads(self, body):
        host = self.headers["Host"]
        if self.command == "PUT":
            return self.reply_json(201, {"asset": ASSET}) if self.path.endswith("/token") \
                else self.reply_error(404)
        if self.headers.get("Authorization", "") == "Bearer lies":
            return self.reply_json(200, {"upload_url": 5})
        self.reply_json(200, {"upload_url": f"http://{host}/uploads/token",
                              "asset_url": f"http://{host}/a/a_{'0' * 22}"})

    def attestation(self, asset):
        left = Handler.waits.setdefault(asset, 2 if asset == ASSET else 10 ** 9)
        if left > 0:
            Handler.waits[asset] = left - 1
            headers = [("Retry-After", "1")] if asset != "a_000000000000none" else []
            error = {"error": "not_found", "message": "nothing is here", "request_id": REQUEST_ID}
            return self.reply_json(404, error, headers)
        self.reply_json(200, ENVELOPE)

    def job(self, name):
        """What a job is like is said by its last letters."""
        status = next((s for s in ("queued", "running", "complete", "error", "cancelled") if name.endswith(s)), "queued")
        output = f"http://{self.headers['Host']}/a/{ASSET}" if status == "complete" else None
        failed = {"code": "backend_failed", "message": "the engine \x1b[31mfailed", "retriable": True}
        return {"id": name, "status": status, "position": 3 if status == "queued" else None, "progress": 0.25,
                "eta_seconds": 1.5, "output": output, "seed": 7, "model": "builtin/plasma", "priority": "normal",
                "error": {"error": failed, "cancelled": {"code": "cancelled", "message": "the work was cancelled"}}.get(status),
                "created_at": "2026-11-22T11:48:16.042Z", "started_at": None, "completed_at": None,
                "request": {"prompt": "p"}}

    def jobs(self, path):
        path, _, query = path.partition("?")
        if path == "/queue":
            if "case:" in Handler.last["json"].get("prompt", ""):
                return self.case(Handler.last["json"]["prompt"][5:])
            name = Handler.last["json"].get("idempotency_key") or "j_0123456789complete"
            return self.reply_json(202, {"id": name, "status": "queued", "position": 1, "eta_seconds": 2.5,
                                         "events_url": "x"}, [("Location", "/jobs/" + name)])
        if path == "/jobs":
            return self.list_jobs(dict(pair.split("=") for pair in query.split("&") if pair))
        name, _, rest = path.removeprefix("/jobs/").partition("/")
        if name.endswith("unknown"):
            return self.reply_error(404)
        if rest == "events":
            return self.events(name)
        if rest == "cancel":
            return self.reply_error(409) if name.endswith("complete") else self.reply_json(200, self.job(name[:-6] + "cancelled"))
        job = self.job(name)
        if job["output"]:
            return self.reply_json(303, job, [("Location", job["output"])])
        self.reply_json(200, job)

    def list_jobs(self, query):
        """Five jobs, in pages."""
        names = [f"j_000000000{i}{s}" for i, s in enumerate(("queued", "running", "complete", "unknown", "error"))]
        names = [name for name in names if query.get("status", "") in name]
        start = names.index(query["after"]) + 1 if query.get("after") in names else 0
        page = names[start:start + min(int(query.get("limit", 50)), 2)]
        more = page and page[-1] != names[-1]
        self.reply_json(200, {"jobs": [self.job(name) for name in page], "next": page[-1] if more else None})

    def events(self, name):
        """A stream that breaks after each second event, and tells one twice when it is asked to go on."""
        if name.endswith("html"):
            return self.reply(200, b"<html>", "text/html")
        if name.endswith("busy") and Handler.tries.setdefault(name, 0) < 1:
            Handler.tries[name] += 1
            return self.reply_json(503, {"error": "draining", "message": "m"}, [("Retry-After", "0")])
        last = next((kind for kind in ("error", "cancelled") if name.endswith(kind)), "complete")
        done = {"complete": {"output": f"http://{self.headers['Host']}/a/{ASSET}"},
                "error": {"code": "backend_failed", "message": "it broke"},
                "cancelled": {"code": "cancelled", "message": "the work was cancelled"}}[last]
        story = [("position", {"position": 1, "eta_seconds": 3}), ("started", {}),
                 ("progress", {"progress": 0.5, "step": 10}), ("preview", {"frame": "data:image/png;base64,AAAA"}),
                 ("complete" if last == "complete" else "error", done)]
        after = int(self.headers.get("Last-Event-ID") or 0)
        send = [(number, *event) for number, event in enumerate(story, 1) if number >= after][:3]
        text = ": alive\n\n" + "".join(f"id: {n}\nevent: {e}\ndata: {json.dumps(d)}\n\n" for n, e, d in send)
        if name.endswith("silent"):
            text = ": alive\n\n"
        if name.endswith("flood"):
            text = "data: " + "x" * (2 << 20)
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + text.encode())

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        try:
            body = json.loads(data) if data else {}
        except ValueError:
            body = {}
        path = self.path.removeprefix("/below")
        if path == "/last":
            return self.reply_json(200, Handler.last)
        Handler.last = {"method": self.command, "path": self.path, "headers": dict(self.headers.items()),
                        "length": length, "json": body, "sha256": hashlib.sha256(data).hexdigest()}
        if path == "/echo":
            return self.reply_json(200, Handler.last)
        if path.startswith("/case/"):
            return self.case(path[6:])
        if path.startswith(("/image/", "/video/")):
            return self.generate(body)
        if path.startswith(("/queue", "/jobs")):
            return self.jobs(path)
        if path.startswith("/keys"):
            return self.keys(body)
        if path.startswith("/uploads"):
            return self.uploads(body)
        if path == f"/a/{ASSET}":
            return self.reply(200, BODY, "image/png", [("ETag", f'"{ASSET[2:]}"')])
        if path.endswith("/attestation"):
            return self.attestation(path.split("/")[2])
        if path == "/.well-known/jwks.json":
            return self.reply_json(200, JWKS)
        if path == "/models":
            return self.reply_json(200, MODELS)
        self.reply_error(404)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


def start():
    """The server and its port, serving from a thread."""
    server = Server(("127.0.0.1", 0), Handler)
    server.released = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


if __name__ == "__main__":
    started, port = start()
    print(port, flush=True)
    sys.stdin.read()
    started.released.set()
