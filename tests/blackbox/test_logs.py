# SPDX-License-Identifier: Apache-2.0
"""What an operator sees: one log line a request, numbers that count, and probes that tell the truth. And what
nobody may see in a log: keys, upload secrets, prompts."""
import base64
import http.client
import json
import os
import pathlib
import re
import signal
import threading

import blake3
import pytest
from conftest import SANITIZED
from prometheus_client.parser import text_string_to_metric_families
from tools import log_lines, metric, picture, request_lines, wait_for

SLOW = dict(path="/video/builtin/plasma/t2v", format="480p", duration=0.5 if SANITIZED else 2, steps=4 if SANITIZED else 10)


def samples(server):
    """{(name, labels): value}, read by Prometheus' own parser; every family has a type and a help text."""
    answer = server.get("/metrics", key=None)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.type in ("counter", "gauge", "histogram") and family.documentation, family
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found, name, **labels):
    return found.get((name, tuple(sorted(labels.items()))), 0)


# ---- the log ----

def test_one_line_a_request(start_gateway):
    server = start_gateway()
    acme = server.new_key("acme")
    asked = [
        (server.generate(seed=1, steps=1, key=acme["key"]), "generate", 200, "POST"),
        (server.generate(seed=-1, key=acme["key"]), "generate", 400, "POST"),
        (server.get("/models", key=None), "models", 401, "GET"), (server.get("/models"), "models", 200, "GET"),
        (server.get("/no/such/path"), "none", 404, "GET"), (server.delete("/models"), "none", 405, "DELETE"),
        (server.request("BREW", "/models"), "none", 405, "OTHER"),
        (server.request("HEAD", "/health/live", key=None), "health_live", 200, "HEAD"),
        (server.get("/a/a_" + "0" * 64, key=None), "asset", 404, "GET"),
        (server.post("/image/builtin/plasma/t2i", data=b"{"), "generate", 400, "POST")]
    for answer, route, status, method in asked:
        assert answer.status_code == status, answer.text
        lines = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])
        assert len(lines) == 1
        line = lines[0]
        assert (line["route"], line["status"], line["method"]) == (route, status, method)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) and line["level"] == "info"
        assert line["ms"] > 0 and line["bytes_out"] == len(answer.content) and line["engine_ms"] >= 0
    made = request_lines(server, request_id=asked[0][0].headers["X-Weyl-Request-Id"])[0]
    assert (made["tenant"], made["key"], made["model"]) == ("acme", acme["id"], "builtin/plasma")
    assert 0 < made["engine_ms"] <= made["ms"] and made["bytes_in"] > 0
    assert abs(made["engine_ms"] / 1000 - float(asked[0][0].headers["x-gpu-seconds"])) < 5
    unknown = request_lines(server, request_id=asked[2][0].headers["X-Weyl-Request-Id"])[0]
    assert "tenant" not in unknown and "key" not in unknown
    ids = [line["request_id"] for line in log_lines(server) if line["event"] == "request"]
    assert len(ids) == len(set(ids)) == len(asked) + 1  # the key's request


def test_a_refused_request_line_is_logged_too(start_gateway):
    server = start_gateway()
    answer = server.get("/models?" + "x" * 9000)
    line = request_lines(server, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert line["status"] == 414 and line["route"] == "none"


def test_text_format(start_gateway):
    server = start_gateway(config="log: {format: text}\n")
    answer = server.generate(seed=1, steps=1)
    request_id = answer.headers["X-Weyl-Request-Id"]
    line = wait_for("the line", lambda: next((x for x in server.log().splitlines() if request_id in x), None))
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  request ", line)
    fields = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line))
    assert fields["route"] == '"generate"' and fields["status"] == "200" and fields["tenant"] == '"admin"'
    assert float(fields["ms"]) > 0 and int(fields["bytes_out"]) == len(answer.content)


def test_levels(start_gateway):
    """At `error` requests leave no line; a reload brings them back."""
    server = start_gateway(config="log: {level: error}\n")
    quiet = server.get("/models").headers["X-Weyl-Request-Id"]
    server.config_path.write_text("log: {level: info}\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: metric(server, "render_reloads_total") == 1)
    told = server.get("/models").headers["X-Weyl-Request-Id"]
    request_lines(server, request_id=told)
    assert quiet not in server.log()


def test_nothing_secret_is_logged(start_gateway):
    """Whatever way a secret takes in: header, path, query, body, a wrong place, an error."""
    server = start_gateway(config="log: {level: debug}\n")
    made = server.new_key("acme")
    content = picture()
    prompt, negative, field = "a-prompt-that-is-private", "another-private-text", "unknown-field-value"
    ticket = server.post("/uploads", json={"content_type": "image/png", "bytes": len(content)}).json()
    token = ticket["upload_url"].rsplit("/", 1)[1]
    secrets = [server.key, made["key"], token, prompt, negative, field, "wrong-key-that-was-sent", "wrong-token-that-was-sent"]
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    server.put(ticket["upload_url"], key=None, data=b"x" * len(content))
    server.put(ticket["upload_url"], key=None, data=content)
    server.put(ticket["upload_url"], key=None, data=content)
    server.get(ticket["upload_url"], key=None)
    server.put("/uploads/wrong-token-that-was-sent", key=None, data=content)
    server.put("/uploads/" + token + "/more", key=None, data=content)
    server.generate(prompt, key=made["key"], negative_prompt=negative, mine=field, steps=1)
    server.generate(prompt, key=made["key"], negative_prompt=negative, mine=field, steps=99999, image=uri)
    server.post("/image/builtin/plasma/t2i", key=made["key"], data=json.dumps({"prompt": prompt})[:-1].encode())
    server.generate(prompt, path="/image/flux/dev/t2i", key=made["key"])
    server.get("/models", key="wrong-key-that-was-sent")
    server.get(f"/models?key={server.key}&api_key={made['key']}", key=None)
    server.get("/" + made["key"], key=None)
    server.get("/a/" + made["key"], key=None)
    server.request("BREW", "/" + server.key, key=None)
    server.post("/keys", json={"tenant": "x", "name": made["key"], "scopes": [server.key]})
    server.post("/keys", data=b'{"name":"' + made["key"].encode())
    last = server.get("/models", key=made["key"], headers={"X-Private": prompt, "Cookie": server.key, "Referer": prompt,
                                                          "User-Agent": prompt, "traceparent": prompt})
    request_lines(server, request_id=last.headers["X-Weyl-Request-Id"])
    assert server.stop() == 0
    log = server.log()
    assert len(log.splitlines()) >= 18
    assert [secret for secret in secrets if secret in log] == []
    assert uri[30:80] not in log


def test_a_line_cannot_be_forged(start_gateway):
    server = start_gateway()
    name = 'x","event":"forged'
    made = server.post("/keys", json={"tenant": "acme", "name": name})
    assert made.status_code == 201
    server.get("/models", key=made.json()["key"])
    server.get("/%0a%7b%22event%22:%22forged%22%7d", key=None)
    assert server.stop() == 0
    assert all(line["event"] != "forged" for line in log_lines(server))


# ---- metrics ----

def test_counters_count(start_gateway):
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 1, models: [builtin/plasma]}\n")
    before = samples(server)
    first = server.generate(seed=1, steps=1)
    server.generate(seed=1, steps=1)  # the same bytes: one object
    video = server.generate(path="/video/builtin/plasma/t2v", format="480p", duration=0.5, steps=1)
    server.generate(seed=-1)
    server.generate(path="/image/flux/dev/t2i")
    server.get("/nowhere")
    content = os.urandom(1000)
    server.put(f"/v1/objects/{blake3.blake3(content).hexdigest()}", data=content)
    slow = threading.Thread(target=lambda: server.generate(**SLOW))
    slow.start()
    wait_for("the slot is taken", lambda: value(samples(server), "render_backend_slots_taken", backend="p") == 1)
    assert server.generate().status_code == 503
    slow.join()
    after = samples(server)

    def moved(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)
    assert moved("render_generations_ok_total") == 4
    assert moved("render_generations_failed_total") == moved("render_generations_cancelled_total") == 0
    assert moved("render_refused_total", reason="no_slot") == 1
    assert moved("render_refused_total", reason="no_backend") == 1
    assert moved("render_requests_total", route="generate", status="2xx") == 4
    assert moved("render_requests_total", route="generate", status="4xx") == 1
    assert moved("render_requests_total", route="generate", status="5xx") == 2
    assert moved("render_requests_total", route="none", status="4xx") == 1
    assert moved("render_objects") == 4
    assert moved("render_object_bytes") >= len(first.content) + len(video.content) + 1000
    assert moved("render_output_bytes_total") >= 2 * len(first.content) + len(video.content)
    assert moved("render_device_seconds_total") >= float(video.headers["x-gpu-seconds"]) > 0
    assert moved("render_request_seconds_count", route="generate") == 7
    assert moved("render_gateway_added_seconds_count") == 4
    assert value(after, "render_backend_slots", backend="p") == 1
    assert value(after, "render_backend_slots_taken", backend="p") == 0
    assert value(after, "render_objects_unsigned") == 0


def test_histograms_are_sound(gateway):
    gateway.generate(steps=1)
    found = samples(gateway)
    counts = {labels: v for (name, labels), v in found.items() if name == "render_request_seconds_count"}
    assert counts
    for labels, count in counts.items():
        buckets = [(float(dict(k)["le"]), v) for (name, k), v in found.items()
                   if name == "render_request_seconds_bucket" and set(labels) <= set(k)]
        buckets.sort()
        assert len(buckets) == 13 and buckets[-1] == (float("inf"), count)
        assert [v for _, v in buckets] == sorted(v for _, v in buckets)


def test_connections_are_counted(start_gateway):
    server = start_gateway()
    import socket
    before = metric(server, "render_connections")
    open_ones = [socket.create_connection((server.host, server.port)) for _ in range(10)]
    wait_for("ten more", lambda: metric(server, "render_connections") == before + 10)
    for one in open_ones:
        one.close()
    wait_for("ten fewer", lambda: metric(server, "render_connections") == before)


# ---- probes ----

def signers(server):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        if "(render-signer)" in stat and int(stat.rsplit(") ", 1)[1].split()[1]) == server.process.pid:
            found.append(int(entry.name))
    return found


def test_ready_tells_of_a_signer_that_is_gone_and_back(start_gateway):
    """Whoever takes the gateway out of service because it is not ready sends no request that would bring the
    signer back: it must come back by itself."""
    server = start_gateway()
    ready = server.get("/health/ready", key=None)
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "checks": {"objects": True, "store": True, "signer": True, "accepting": True}}
    key = server.data / "signing.key"
    key.rename(server.data / "away")  # it cannot start again without
    os.kill(signers(server)[0], signal.SIGKILL)
    wait_for("not ready", lambda: server.get("/health/ready", key=None).status_code == 503)
    answer = server.get("/health/ready", key=None)
    assert answer.status_code == 503 and answer.json()["status"] == "not_ready" and int(answer.headers["Retry-After"]) >= 1
    assert [name for name, well in answer.json()["checks"].items() if not well] == ["signer"]
    assert server.get("/health/live", key=None).status_code == 200
    refused = server.generate(steps=1)
    assert refused.status_code == 503 and refused.json()["error"] == "storage_failed" and refused.json()["retriable"]
    assert metric(server, "render_objects") == 0 and metric(server, "render_output_bytes_total") == 0
    (server.data / "away").rename(key)
    wait_for("ready again", lambda: server.get("/health/ready", key=None).status_code == 200)
    assert len(signers(server)) == 1
    answer = server.generate(steps=1, seed=5)
    assert answer.status_code == 200
    assert server.get(answer.headers["Content-Location"] + "/attestation", key=None).status_code == 200


def test_draining(start_gateway):
    """After SIGTERM what runs is finished; a kept connection is told no; the exit is clean."""
    server = start_gateway()
    results = []
    slow = threading.Thread(target=lambda: results.append(server.generate(**SLOW)))
    slow.start()
    wait_for("it runs", lambda: metric(server, 'render_backend_slots_taken{backend="builtin"}') == 1)
    kept, other = (http.client.HTTPConnection(server.host, server.port, timeout=60) for _ in range(2))

    def ask(method, path, body=None, kept=kept):
        kept.request(method, path, body=body, headers={"Authorization": f"Bearer {server.key}"})
        answer = kept.getresponse()
        return answer, json.loads(answer.read())
    assert ask("GET", "/health/ready")[0].status == 200
    assert ask("GET", "/health/ready", kept=other)[0].status == 200
    server.process.send_signal(signal.SIGTERM)
    seen = None
    while seen is None or seen[0].status == 200:
        seen = ask("GET", "/health/ready")
    assert seen[0].status == 503 and seen[1]["checks"]["accepting"] is False and seen[0].headers["Retry-After"]
    refused, body = ask("POST", "/image/builtin/plasma/t2i", b'{"prompt":"a"}', kept=other)
    assert refused.status == 503 and body["error"] == "draining" and refused.headers["Retry-After"]
    with pytest.raises(OSError):
        http.client.HTTPConnection(server.host, server.port, timeout=5).request("GET", "/health/live")
    kept.close()
    other.close()
    slow.join()
    assert results[0].status_code == 200 and len(results[0].content) > 1000
    assert server.stop() == 0
    assert not SANITIZED or "Sanitizer" not in server.log()
