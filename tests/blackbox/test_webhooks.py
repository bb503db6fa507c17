# SPDX-License-Identifier: Apache-2.0
"""Webhooks from the outside: a receiver that takes, fails, moves, hangs and goes away, verified with the reference library
of Standard Webhooks (npm) for `v1` and with Ed25519 from another library for `v1a`. The schedule beyond its second try
is the unit tests' (virtual time); here it is real time, so no test waits for more than the 5 s between two tries."""
import base64
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from conftest import ROOT, Gateway, program
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tools import Scripted, make_certificate, metric, wait_for

CONFIG = "webhooks: {allow_hosts: [127.0.0.1, localhost]}\nstore: {pack_size: 1MiB}\n"
DELIVERED, FAILED = 0, 9  # exit codes of `render webhooks test`


class Endpoint:
    """A receiver: what a path does is in `pages`, a status or a function; 204 when nothing is said."""

    def __init__(self, certificate=None):
        self.pages = {}
        self.server = Scripted(self.serve, certificate)

    def serve(self, request):
        page = self.pages.get(request.path, 204)
        if callable(page):
            page(request)
        else:
            request.answer(page, kind=None)

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.server.port}{path}"

    def came(self, path):
        return [request for request in self.server.requests if request.path == path]

    def wait(self, path, count=1):
        return wait_for(f"{count} messages at {path}", lambda: len(self.came(path)) >= count and self.came(path))


@pytest.fixture(scope="module")
def endpoint():
    made = Endpoint()
    yield made
    made.server.close()
    assert not made.server.problems


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A gateway whose messages may go to this machine."""
    made = Gateway(tmp_path_factory.mktemp("webhooks") / "data", config=CONFIG)
    yield made
    assert made.stop() == 0, made.log()[-3000:]
    assert "Sanitizer" not in made.log()


# ---- verifying ----

@pytest.fixture(scope="module")
def library():
    """NODE_PATH of the reference library in its pinned version; installed once, kept in build-test/."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    cache = ROOT / "build-test/npm-webhook"
    if not (cache / "node_modules/standardwebhooks").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "tests/blackbox/verifiers/webhook" / name, cache)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=cache, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(cache)
            pytest.skip("npm cannot get standardwebhooks 1.1.1: " + done.stderr.strip().splitlines()[-1])
    return str(cache / "node_modules")


def signed_headers(request):
    return {name: request.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}


def says(library, *cases):
    """What the reference library says to each (secret, headers, body)."""
    lines = "".join(json.dumps({"secret": secret, "headers": headers, "body": body.decode()}) + "\n"
                    for secret, headers, body in cases)
    done = subprocess.run(["node", str(ROOT / "tests/blackbox/verifiers/webhook/verify.js")], input=lines, text=True, check=True,
                          capture_output=True, env={**os.environ, "NODE_PATH": library}, timeout=60)
    return done.stdout.splitlines()


def ed25519_fits(public_key, request):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    entries = [entry.removeprefix("v1a,") for entry in request.headers["webhook-signature"].split() if entry.startswith("v1a,")]
    assert len(entries) == 1
    try:
        key.verify(base64.b64decode(entries[0]), signed)
        return True
    except InvalidSignature:
        return False


# ---- the secret and a test message ----

def test_secrets(server):
    one, other = (server.new_key(tenant)["key"] for tenant in ("one", "other"))
    first = server.get("/webhooks/secret", key=one).json()
    assert set(first) == {"secret", "public_key"}
    assert len(base64.b64decode(first["secret"].removeprefix("whsec_"))) == 32
    answer = server.get("/webhooks/secret", key=one)
    assert answer.json() == first and answer.headers["Cache-Control"] == "no-store"
    theirs = server.get("/webhooks/secret", key=other).json()
    assert theirs["secret"] != first["secret"] and theirs["public_key"] != first["public_key"]
    second = server.post("/webhooks/secret/rotate", key=one).json()
    assert second["previous"] == first["secret"] != second["secret"]
    assert second["public_key"] != first["public_key"]
    assert server.get("/webhooks/secret", key=one).json() == second
    assert server.get("/webhooks/secret", key=other).json() == theirs
    server.secrets |= {first["secret"], second["secret"]}  # of which none may stand in the log


def test_the_secret_survives_a_restart(start_gateway):
    server = start_gateway(CONFIG)
    server.post("/webhooks/secret/rotate")
    before = server.get("/webhooks/secret").json()
    assert server.stop() == 0
    assert start_gateway(CONFIG).get("/webhooks/secret").json() == before


@pytest.mark.parametrize("method,path", [("GET", "/webhooks/secret"), ("POST", "/webhooks/secret/rotate"), ("POST", "/webhooks/test"),
                                         ("POST", "/webhooks/msg_" + "0" * 22 + "/replay")])
def test_who_only_reads_cannot_sign_or_send(server, endpoint, method, path):
    key = server.new_key("reader", scopes=["read"])["key"]
    body = {"json": {"url": endpoint.url("/reader")}} if path.endswith("test") else {}
    assert server.request(method, path, key=key, **body).status_code == 403
    assert server.request(method, path, key=None, **body).status_code == 401
    assert server.get("/webhooks", key=key).status_code == 200
    assert not endpoint.came("/reader")


def ask(server, url, **kw):
    answer = server.post("/webhooks/test", json={"url": url}, **kw)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_message_as_the_reference_library_sees_it(server, endpoint, library):
    key = server.new_key("signed")["key"]
    keys = server.get("/webhooks/secret", key=key).json()
    result = ask(server, endpoint.url("/signed?a=b"), key=key)
    assert result["delivered"] and result["response_status"] == 204 and result["reason"] is None
    request = endpoint.came("/signed?a=b")[0]
    assert request.method == "POST" and request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == result["id"] and "." not in result["id"]
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    assert request.json()["type"] == "webhook.test" and set(request.json()) == {"type", "timestamp", "data"}
    assert not {"authorization", "cookie", "expect"} & set(request.headers)
    good = signed_headers(request)
    assert ed25519_fits(keys["public_key"], request)
    ask(server, endpoint.url("/rotated"), key=key)  # before the rotation, so that the library sees one of each
    rotated = server.post("/webhooks/secret/rotate", key=key).json()
    ask(server, endpoint.url("/rotated"), key=key)
    after = endpoint.came("/rotated")[1]
    assert len(after.headers["webhook-signature"].split()) == 3
    assert ed25519_fits(rotated["public_key"], after) and not ed25519_fits(keys["public_key"], after)
    said = says(library, (keys["secret"], good, request.body),
                (keys["secret"], good, request.body.replace(b"test", b"Test")),
                (keys["secret"], {**good, "webhook-id": "msg_1"}, request.body),
                (keys["secret"], {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}, request.body),
                (rotated["secret"], good, request.body),
                (rotated["secret"], signed_headers(after), after.body),
                (rotated["previous"], signed_headers(after), after.body))
    assert [line == "ok" for line in said] == [True, False, False, False, False, True, True], said


def closes(request):
    request.close()


def moved(endpoint):
    return lambda request: request.answer(308, kind=None, Location=endpoint.url("/elsewhere"))


@pytest.mark.parametrize("name,status,reason", [
    ("500", 500, "the endpoint answered 500"), ("410", 410, "410"), ("moved", 308, "redirects"), ("closes", None, "without an answer"),
    ("resets", None, "connection broke"), ("200", 200, None)])
def test_what_an_endpoint_may_answer(server, endpoint, name, status, reason):
    endpoint.pages["/" + name] = {"moved": moved(endpoint), "closes": closes, "resets": lambda r: r.reset()}.get(name) or int(name)
    result = ask(server, endpoint.url("/" + name))
    assert result["response_status"] == status and result["delivered"] == (reason is None)
    assert (result["reason"] is None) if reason is None else (reason in result["reason"]), result
    assert not endpoint.came("/elsewhere")


PRIVATE = ["https://127.0.0.2/", "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[::1]/", "https://2130706434/",
           "https://0x7f.2/", "https://[::ffff:10.0.0.1]/", "https://a.localhost/", "http://example.com/", "https://example.com:8443/",
           "https://user:password@example.com/", "ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1", "", "https://" + "a" * 2048]


@pytest.mark.parametrize("url", PRIVATE)
def test_urls_that_are_refused(server, url):
    answer = server.post("/webhooks/test", json={"url": url})
    assert answer.status_code == 400 and answer.json()["details"][0]["field"] == "url", answer.text
    answer = submit(server, url, check=False)
    assert answer.status_code == 400 and answer.json()["details"][0]["field"] == "webhook", answer.text


def test_a_name_that_leads_inside(server):
    """Only the resolver knows: nothing is sent, and the answer says no more than that."""
    name = socket.gethostname()
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.settimeout(0)
        result = ask(server, f"https://{name}/")
        assert result["response_status"] is None and not result["delivered"]
        assert result["reason"] in ("the host has no address that messages may go to", "the host name does not resolve")
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url":7}', b'{"url":null}', b'{"url":"https://example.com/\\u0000"}'])
def test_bodies_that_are_refused(server, body):
    assert server.post("/webhooks/test", data=body).status_code == 400


def test_four_tests_at_once(server, endpoint):
    gate = threading.Event()

    def waits(request):
        assert gate.wait(15)
        request.answer(204, kind=None)
    endpoint.pages["/waits"] = waits
    key = server.new_key("hasty")["key"]
    results = []
    askers = [threading.Thread(target=lambda: results.append(ask(server, endpoint.url("/waits"), key=key))) for _ in range(4)]
    for asker in askers:
        asker.start()
    endpoint.wait("/waits", 4)
    answer = server.post("/webhooks/test", key=key, json={"url": endpoint.url("/waits")})
    assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1
    assert ask(server, endpoint.url("/other"))["delivered"]  # another tenant is not held up
    gate.set()
    for asker in askers:
        asker.join()
    assert [result["delivered"] for result in results] == [True] * 4


# ---- messages about jobs ----

def submit(server, webhook, key="", check=True, **fields):
    answer = server.post("/queue", key=key, json={"modality": "image", "family": "builtin", "model": "plasma", "task": "t2i",
                                                  "format": "512", "steps": 1, "prompt": "a", "webhook": webhook, **fields})
    assert not check or answer.status_code == 202, answer.text
    return answer.json()["id"] if check else answer


def deliveries(server, key="", **query):
    answer = server.get("/webhooks", key=key, params={"limit": 200, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


def delivery_of(server, job, **want):
    """The delivery of a job once it is as wanted."""
    def look():
        found = [d for d in deliveries(server) if d["job"] == job]
        return found and all(found[0][name] == value for name, value in want.items()) and found[0]
    return wait_for(f"the delivery of {job} with {want}", look)


def test_a_job_tells_when_it_is_complete(server, endpoint, library):
    key = server.new_key("complete")["key"]
    job = submit(server, endpoint.url("/complete"), key=key)
    request = endpoint.wait("/complete")[0]
    body = request.json()
    assert body["type"] == "job.complete" and body["data"]["id"] == job and body["data"]["status"] == "complete"
    assert len(request.body) < 20000 and server.get(body["data"]["output"], key=None).status_code == 200
    row = delivery_of(server, job, status="delivered")
    assert row["id"] == request.headers["webhook-id"] and row["attempts"] == 1 and row["response_status"] == 204
    assert row["next_attempt_at"] is None and row["reason"] is None and row["tenant"] == "complete"
    secret = server.get("/webhooks/secret", key=key).json()["secret"]
    assert says(library, (secret, signed_headers(request), request.body)) == ["ok"]
    assert metric(server, 'render_webhook_tries_total{outcome="delivered"}') >= 1


def test_the_second_try(server, endpoint, library):
    """After 5 s: the same id and body, another timestamp, a signature of its own. The job is long complete."""
    endpoint.pages["/twice"] = lambda request: request.answer(500 if len(endpoint.came("/twice")) == 1 else 204, kind=None)
    job = submit(server, endpoint.url("/twice"))
    row = delivery_of(server, job, attempts=1)
    assert row["status"] == "pending" and row["response_status"] == 500 and row["next_attempt_at"]
    assert row["reason"] == "the endpoint answered 500"
    assert server.get(f"/jobs/{job}", allow_redirects=False).status_code == 303
    first, second = endpoint.wait("/twice", 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert 5 <= int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) <= 8
    assert delivery_of(server, job, status="delivered")["attempts"] == 2
    secret = server.get("/webhooks/secret").json()["secret"]
    assert says(library, *((secret, signed_headers(r), r.body) for r in (first, second))) == ["ok"] * 2


def test_an_endpoint_that_is_gone(server, endpoint):
    """410: nothing more goes there, until a message is replayed."""
    key = server.new_key("gone")["key"]
    endpoint.pages["/gone"] = 410
    job = submit(server, endpoint.url("/gone"), key=key)
    row = delivery_of(server, job, status="disabled")
    other = submit(server, endpoint.url("/gone"), key=key)
    marker = submit(server, endpoint.url("/marker"), key=key)
    wait_for("the job", lambda: server.get(f"/jobs/{other}", key=key, allow_redirects=False).status_code == 303)
    delivery_of(server, marker, status="delivered")
    assert len(endpoint.came("/gone")) == 1
    endpoint.pages["/gone"] = 204
    assert server.post(f"/webhooks/{row['id']}/replay", key=key).status_code == 202
    assert delivery_of(server, job, status="delivered")["id"] == row["id"]
    third = submit(server, endpoint.url("/gone"), key=key)
    delivery_of(server, third, status="delivered")


def test_a_busy_endpoint_is_left_alone(server, endpoint):
    """429 with Retry-After: the message, and the others of that host, wait as long as asked."""
    endpoint.pages["/busy"] = lambda request: request.answer(429, kind=None, Retry_After="40")
    job = submit(server, endpoint.url("/busy", "localhost"))
    row = delivery_of(server, job, attempts=1)
    created = time.strptime(row["created_at"][:19], "%Y-%m-%dT%H:%M:%S")
    due = time.strptime(row["next_attempt_at"][:19], "%Y-%m-%dT%H:%M:%S")
    assert time.mktime(due) - time.mktime(created) >= 39
    second = submit(server, endpoint.url("/busy", "localhost"))
    marker = submit(server, endpoint.url("/marker"))
    delivery_of(server, marker, status="delivered")
    assert delivery_of(server, second, status="pending")["attempts"] == 0
    assert len(endpoint.came("/busy")) == 1


def test_replay(server, endpoint):
    job = submit(server, endpoint.url("/replay"))
    row = delivery_of(server, job, status="delivered")
    answer = server.post(f"/webhooks/{row['id']}/replay")
    assert answer.status_code == 202 and answer.json() == {"id": row["id"], "status": "pending"}
    first, second = endpoint.wait("/replay", 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert delivery_of(server, job, status="delivered")["attempts"] == 1


def test_other_tenants_deliveries_are_not_there(server, endpoint):
    one, other = (server.new_key(tenant)["key"] for tenant in ("mine", "yours"))
    job = submit(server, endpoint.url("/mine"), key=one)
    row = delivery_of(server, job, status="delivered")  # an administrator sees it
    assert [d["id"] for d in deliveries(server, key=one)] == [row["id"]]
    assert deliveries(server, key=other) == []
    for name in (row["id"], "msg_" + "0" * 22, "msg_x", "nonsense"):
        assert server.post(f"/webhooks/{name}/replay", key=other).status_code == 404
    assert len(endpoint.came("/mine")) == 1


def test_pages(server, endpoint):
    key = server.new_key("pages")["key"]
    jobs = [submit(server, endpoint.url("/pages"), key=key) for _ in range(5)]
    for job in jobs:
        delivery_of(server, job, status="delivered")
    seen, after, pages = [], {}, 0
    while after is not None:
        page = server.get("/webhooks", key=key, params={"limit": 2, **after}).json()
        seen += [d["job"] for d in page["deliveries"]]
        after = {"after": page["next"]} if page["next"] else None
        pages += 1
    assert sorted(seen) == sorted(jobs) and pages == 3
    created = [d["created_at"] for d in deliveries(server, key=key)]
    assert created == sorted(created, reverse=True)
    assert deliveries(server, key=key, status="failed") == []
    assert len(deliveries(server, key=key, status="delivered")) == 5


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "after=x", "after=j_" + "0" * 22, "status=done", "status="])
def test_bad_questions(server, query):
    answer = server.get("/webhooks?" + query)
    assert answer.status_code == 400 and answer.json()["details"][0]["field"] == query.split("=", 1)[0]


def test_a_hanging_endpoint_holds_no_slot(server, endpoint):
    """Jobs run and others' messages go out while an endpoint keeps its connections open, eight of them."""
    gate, slow = threading.Event(), Endpoint()

    def hangs(request):
        assert gate.wait(15)
        request.answer(204, kind=None)
    slow.pages["/hangs"] = hangs
    stuck = [submit(server, slow.url("/hangs")) for _ in range(20)]
    slow.wait("/hangs", 8)
    job = submit(server, endpoint.url("/flows"))
    assert delivery_of(server, job, status="delivered")
    assert len(slow.came("/hangs")) == 8 == slow.server.connections
    gate.set()
    for job in stuck:
        delivery_of(server, job, status="delivered")
    slow.server.close()


def test_nothing_is_lost_when_the_gateway_is_killed(start_gateway, endpoint):
    """Killed while a try is in the air: the next start makes it again, under the same id."""
    arrived = threading.Event()

    def first_hangs(request):
        if not arrived.is_set():
            arrived.set()
            request.wait_left()
            request.close()
        else:
            request.answer(204, kind=None)
    endpoint.pages["/killed"] = first_hangs
    server = start_gateway(CONFIG)
    job = submit(server, endpoint.url("/killed"))
    assert arrived.wait(60)
    server.process.kill()
    server.process.wait()
    again = start_gateway(CONFIG)
    first, second = endpoint.wait("/killed", 2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert delivery_of(again, job, status="delivered")["attempts"] == 1


def test_allowed_hosts_are_read_again(start_gateway, endpoint):
    server = start_gateway("store: {pack_size: 1MiB}\n")
    assert server.post("/webhooks/test", json={"url": endpoint.url("/reload")}).status_code == 400
    server.config_path.write_text(CONFIG)
    server.process.send_signal(1)
    wait_for("the reload", lambda: '"reloaded"' in server.log())
    assert ask(server, endpoint.url("/reload"))["delivered"]


def test_certificates(start_gateway, tmp_path):
    """Who cannot show a certificate that the operator trusts, or that is for its name, gets nothing."""
    certificate = make_certificate(tmp_path, "localhost")
    secure = Endpoint(certificate)
    url = f"https://{{}}:{secure.server.port}/secure"
    trusting = start_gateway(CONFIG.replace("localhost]", f"localhost], ca_file: {certificate[0]}"), name="trusting")
    assert ask(trusting, url.format("localhost"))["delivered"]
    assert ask(trusting, url.format("127.0.0.1"))["reason"] == "the host's certificate is not valid"
    assert ask(start_gateway(CONFIG, name="other"), url.format("localhost"))["reason"] == "the host's certificate is not valid"
    assert len(secure.came("/secure")) == 1
    secure.server.close()
    with pytest.raises(RuntimeError, match="webhooks.ca_file.*nowhere.pem"):
        Gateway(tmp_path / "data", config=f"webhooks: {{ca_file: {tmp_path}/nowhere.pem}}\n")


# ---- the command line ----

def render(server, *words):
    return subprocess.run([program("render"), *words], capture_output=True, text=True, timeout=60, check=False,
                          env={"PATH": os.environ["PATH"], "RENDER_URL": server.url, "RENDER_API_KEY": server.key})


def test_the_command_line(server, endpoint):
    secret = render(server, "webhooks", "secret")
    keys = server.get("/webhooks/secret").json()
    assert secret.stdout == keys["secret"] + "\n" and keys["public_key"] in secret.stderr
    assert json.loads(render(server, "webhooks", "secret", "--json").stdout) == keys
    rotated = json.loads(render(server, "webhooks", "secret", "--rotate", "--json").stdout)
    assert rotated["previous"] == keys["secret"]
    taken = render(server, "webhooks", "test", endpoint.url("/cli"))
    assert taken.returncode == DELIVERED and "204" in taken.stdout
    endpoint.pages["/cli-no"] = 500
    refused = render(server, "webhooks", "test", endpoint.url("/cli-no"))
    assert refused.returncode == FAILED and "answered 500" in refused.stdout
    result = render(server, "webhooks", "test", endpoint.url("/cli-no"), "--json")
    assert result.returncode == FAILED and json.loads(result.stdout)["response_status"] == 500
    assert render(server, "webhooks", "test", "https://10.0.0.1/").returncode == 4
    job = submit(server, endpoint.url("/cli"))
    row = delivery_of(server, job, status="delivered")
    listed = render(server, "webhooks", "list")
    assert listed.returncode == 0 and row["id"] in listed.stdout and job in listed.stdout
    assert json.loads(render(server, "webhooks", "list", "--limit", "1", "--json").stdout)["deliveries"][0]["id"] == row["id"]
    assert row["id"] not in render(server, "webhooks", "list", "--status", "failed").stdout
    assert render(server, "webhooks", "replay", row["id"]).returncode == 0
    endpoint.wait("/cli", 3)
    assert render(server, "webhooks", "replay", "msg_" + "0" * 22).returncode == 4
    for wrong in (["list", "--status", "x"], ["list", "--limit", "0"], ["replay", "x"], ["replay"], ["test"], ["secret", "x"]):
        assert render(server, "webhooks", *wrong).returncode == 1, wrong
