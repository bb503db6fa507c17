# SPDX-License-Identifier: Apache-2.0
"""Hostile and broken clients, on raw sockets. The server must answer clearly or close, and live on."""
import json
import socket
import time

import pytest


def talk(gateway, data, timeout=30, half_close=False):
    """Sends bytes, returns all that comes until the server closes or `timeout`."""
    with socket.create_connection((gateway.host, gateway.port), timeout=timeout) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while chunk := sock.recv(65536):
                got += chunk
        except (ConnectionResetError, socket.timeout):
            pass
        return got


def head(gateway, method="POST", path="/image/builtin/plasma/t2i", **headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {gateway.host}", f"Authorization: Bearer {gateway.key}",
             "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


@pytest.fixture(autouse=True)
def still_alive(gateway):
    yield
    assert gateway.get("/health/live", key=None).status_code == 200


@pytest.mark.parametrize("path", ["/a/../admin.key", "/a/%2e%2e/admin.key", "/a/..%2fadmin.key", "/a/a_%00",
                                  "/..", "/a//", "//", "/a/" + "x" * 200, "/%", "/%zz", "/a/a_\xe4"])
def test_strange_paths_are_404(gateway, path):
    answer = talk(gateway, head(gateway, "GET", path))
    assert status(answer) in (400, 404), answer[:200]


def test_request_line_over_8_kib_is_414(gateway):
    answer = talk(gateway, head(gateway, "GET", "/models?x=" + "a" * 9000))
    assert status(answer) == 414 and b'"uri_too_long"' in answer


def test_request_line_of_8_kib_passes(gateway):
    assert status(talk(gateway, head(gateway, "GET", "/models?x=" + "a" * 8000))) == 200


def test_header_block_over_32_kib_is_431(gateway):
    answer = talk(gateway, head(gateway, "GET", "/models", X_Long="a" * 33000))
    assert status(answer) == 431 and b'"headers_too_large"' in answer


def test_hundred_fields_pass_and_more_are_431(gateway):
    def fields(n):
        return {f"X-N{i}": "v" for i in range(n - 3)}  # Host, Authorization, Connection make n
    assert status(talk(gateway, head(gateway, "GET", "/models", **fields(100)))) == 200
    assert status(talk(gateway, head(gateway, "GET", "/models", **fields(101)))) == 431


def test_endless_headers_end(gateway):
    assert status(talk(gateway, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 2_000_000)) in (None, 400, 431)


def test_slow_headers_are_cut_off(gateway):
    with socket.create_connection((gateway.host, gateway.port)) as sock:
        sock.settimeout(30)
        started = time.monotonic()
        sock.sendall(b"GET /models HTTP/1.1\r\nHost: x\r\n")
        try:
            while time.monotonic() - started < 25:
                sock.sendall(b"X-Drip: 1\r\n")
                sock.settimeout(0.5)
                try:
                    if sock.recv(1) == b"":
                        break
                except socket.timeout:
                    pass
            else:
                pytest.fail("the connection still lives after 25 s of dripping headers")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert 8 < time.monotonic() - started < 20


@pytest.mark.parametrize("body,error", [
    (b"", "invalid_json"), (b"[1]", "invalid_json"), (b'{"prompt":', "invalid_json"), (b'{"prompt":"a"}x', "invalid_json"),
    (b'{"prompt":"\xff"}', "invalid_json"), (b'{"prompt":"\xed\xa0\x80"}', "invalid_json"),
    (b'{"a":' * 70 + b"1" + b"}" * 70, "invalid_json"), (b'{"prompt":"a\\u0000b"}', None), (b'{"prompt":1e999}', None),
    (b'{"prompt":"a","prompt":"b"}', None), (b"nul", "invalid_json")])
def test_broken_json_is_400(gateway, body, error):
    answer = talk(gateway, head(gateway, Content_Length=len(body)) + body)
    assert status(answer) == 400, answer[:300]
    parsed = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert parsed["error"] in ((error,) if error else ("invalid_json", "invalid_request"))
    assert parsed["details"] and parsed["message"] and parsed["request_id"]


def test_json_over_a_mebibyte_is_413(gateway):
    body = json.dumps({"prompt": "a", "x": "y" * (1 << 20)}).encode()
    answer = talk(gateway, head(gateway, Content_Length=len(body)) + body)
    assert status(answer) == 413, answer[:300]


def test_announced_too_large_is_refused_before_the_body(gateway):
    started = time.monotonic()
    answer = talk(gateway, head(gateway, Content_Length=40 << 20, Expect="100-continue"))
    assert status(answer) == 413 and time.monotonic() - started < 5


def test_chunked_body_too_large_ends(gateway):
    chunk = b"100000\r\n" + b"a" * 0x100000 + b"\r\n"
    answer = talk(gateway, head(gateway, Transfer_Encoding="chunked") + chunk * 40)
    assert status(answer) in (413, None)


def test_lying_content_length_short(gateway):
    """Less comes than announced: no answer but a closed connection, and nothing is generated."""
    answer = talk(gateway, head(gateway, Content_Length=1000) + b'{"prompt":"a"}', half_close=True)
    assert status(answer) in (None, 400, 408)


def test_lying_content_length_long(gateway):
    """More comes than announced: the rest is no part of the request."""
    body = b'{"prompt":"a","steps":1}'
    answer = talk(gateway, head(gateway, path="/image/builtin/plasma/t2i?format=512", Content_Length=len(body)) + body + b"junk")
    assert status(answer) == 200


@pytest.mark.parametrize("headers", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n", b"Content-Length: 99999999999999999999999\r\n"])
def test_ambiguous_lengths_are_refused(gateway, headers):
    raw = (f"POST /image/builtin/plasma/t2i HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n").encode()
    answer = talk(gateway, raw + headers + b"\r\nhello", timeout=5)
    assert status(answer) in (None, 400, 411, 413), answer[:200]


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
                                 b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_nonsense_is_refused(gateway, raw):
    answer = talk(gateway, raw, timeout=3, half_close=True)
    assert status(answer) in (None, 400, 505), answer[:200]


def test_wrong_methods_are_405_with_allow(gateway):
    for method, path, allow in [("DELETE", "/models", "GET, HEAD"), ("GET", "/uploads", "POST"), ("PATCH", "/keys", "POST, GET, HEAD")]:
        answer = gateway.request(method, path)
        assert answer.status_code == 405 and answer.headers["Allow"] == allow


def test_head_has_no_body(gateway):
    answer = gateway.request("HEAD", "/health/ready", key=None)
    assert answer.status_code == 200 and answer.content == b"" and int(answer.headers["Content-Length"]) > 0


def test_pipelined_requests_are_answered_in_order(gateway):
    one = f"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    two = f"GET /a/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    answer = talk(gateway, one + two)
    assert answer.index(b"200 OK") < answer.index(b"404 Not Found")


def test_a_client_that_leaves_stops_its_work(start_gateway):
    """Noticed within 100 ms, and the painter stops between two steps: the slot is free again soon, although
    the whole request takes much longer."""
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 1, models: [builtin/plasma]}\n")
    body = json.dumps({"prompt": "a", "duration": 10, "steps": 50}).encode()

    def metric(name):
        return next(line.split()[-1] for line in server.get("/metrics", key=None).text.splitlines()
                    if line.startswith(name))
    sock = socket.create_connection((server.host, server.port))
    sock.sendall(head(server, path="/video/builtin/plasma/t2v", Content_Length=len(body)) + body)
    while metric('render_backend_slots_taken{backend="p"}') != "1":
        pass
    left = time.monotonic()
    sock.close()
    while metric('render_backend_slots_taken{backend="p"}') != "0":
        assert time.monotonic() - left < 30
    took = time.monotonic() - left
    assert metric("render_generations_cancelled_total") == "1"
    assert metric("render_objects ") == "0"
    print(f"slot free {took * 1000:.0f} ms after the client left")


def test_browsers_of_allowed_origins_only(start_gateway):
    server = start_gateway(config="cors: {origins: ['https://app.example.org']}\n")
    good, bad = {"Origin": "https://app.example.org"}, {"Origin": "https://evil.example.org"}
    preflight = server.request("OPTIONS", "/image/builtin/plasma/t2i", key=None, headers=good)
    assert preflight.status_code == 204 and preflight.headers["Access-Control-Allow-Origin"] == good["Origin"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert server.get("/models", headers=good).headers["Access-Control-Allow-Origin"] == good["Origin"]
    assert "Access-Control-Allow-Origin" not in server.get("/models", headers=bad).headers
    assert "Access-Control-Allow-Origin" not in server.get("/models").headers


def test_trace_context_comes_back(gateway):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert gateway.get("/models", headers={"traceparent": trace}).headers["traceparent"] == trace
    assert "traceparent" not in gateway.get("/models", headers={"traceparent": "nonsense"}).headers
