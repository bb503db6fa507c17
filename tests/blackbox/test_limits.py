# SPDX-License-Identifier: Apache-2.0
"""Many at once, much at once, nonsense at length, and a disk that ends: what it costs, and that it is survived."""
import concurrent.futures
import json
import os
import random
import resource
import signal
import socket
import subprocess

import blake3
import pytest
from conftest import SANITIZED
from tools import metric, picture, resident_kib, wait_for

CONNECTIONS = 2000
IDLE_KIB = 16  # the most that a connection may cost before its first request
# After one it costs more: libmicrohttpd zeroes its whole memory for the next request (48 KiB, which the limits of
# request line and header block need), and so makes it resident.
KEPT_KIB = 52


def many_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"this machine allows {hard} descriptors a process; {wanted} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=60)


def read_answer(sock):
    """(status, headers, body) of one answer with a Content-Length."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(65536)
        if not more:
            return None, {}, got
        got += more
    head, body = got.split(b"\r\n\r\n", 1)
    headers = {k.strip().lower(): v.strip() for k, v in (line.split(b":", 1) for line in head.split(b"\r\n")[1:])}
    length = int(headers.get(b"content-length", 0))
    while len(body) < length:
        body += sock.recv(65536)
    return int(head.split(b" ")[1]), headers, body


# ---- connections ----

def test_idle_connections_cost_little(start_gateway):
    """New ones, and ones that are kept after an answer: what the process' proportional memory grows by."""
    many_descriptors(CONNECTIONS)
    server = start_gateway()
    warm = connect(server)
    warm.sendall(b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
    read_answer(warm)
    before = resident_kib(server.process.pid)
    sockets = [connect(server) for _ in range(CONNECTIONS)]
    wait_for("all are taken", lambda: metric(server, "render_connections") >= CONNECTIONS)
    new = (resident_kib(server.process.pid) - before) / CONNECTIONS
    for sock in sockets:
        sock.sendall(f"GET /models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n\r\n".encode())
    for sock in sockets:
        assert read_answer(sock)[0] == 200
    kept = (resident_kib(server.process.pid) - before) / CONNECTIONS
    print(f"memory per idle connection: new {new:.1f} KiB, kept after a request {kept:.1f} KiB")
    assert server.get("/health/live", key=None).status_code == 200
    for sock in sockets:
        sock.close()
    wait_for("all are gone", lambda: metric(server, "render_connections") < 10)
    if not SANITIZED:
        assert new < IDLE_KIB, f"{new:.1f} KiB for a connection that was only opened"
        assert kept < KEPT_KIB, f"{kept:.1f} KiB for a connection that is kept after a request"


# ---- much at once ----

def test_slow_uploads_at_once(start_gateway):
    """32 uploads whose bytes come piece by piece, in turns: none waits for another, others are served between
    the pieces, nothing is held in memory, and every one arrives whole."""
    server = start_gateway()
    size = 2_000_000
    contents = [os.urandom(size) for _ in range(32)]
    names = [blake3.blake3(content).hexdigest() for content in contents]
    before = resident_kib(server.process.pid)
    sockets = [connect(server) for _ in contents]
    for sock, name in zip(sockets, names):
        sock.sendall(f"PUT /v1/objects/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
                     f"Content-Length: {size}\r\n\r\n".encode())
    pieces = 20
    for piece in range(pieces):
        for sock, content in zip(sockets, contents):
            sock.sendall(content[piece * size // pieces:(piece + 1) * size // pieces - (piece == pieces - 1)])
        if piece % 5 == 4:
            assert server.generate(steps=1).status_code == 200
            assert metric(server, "render_exchanges") == 33
    grown = resident_kib(server.process.pid) - before
    for name in names:  # a byte is missing: nothing is there yet
        assert server.get(f"/v1/objects/{name}").status_code == 404
    for sock, content in zip(sockets, contents):
        sock.sendall(content[-1:])
    for sock, content, name in zip(sockets, contents, names):
        assert read_answer(sock)[0] == 201
        sock.close()
        assert server.get(f"/v1/objects/{name}").content == content
    print(f"32 uploads of {size} bytes in flight: {grown} KiB")
    if not SANITIZED:
        assert grown < 32 * 1024, f"{grown} KiB for 64 MB of uploads: they are held in memory"


def test_uploads_that_end_early_leave_nothing(start_gateway):
    server = start_gateway()
    content = os.urandom(300_000)
    name = blake3.blake3(content).hexdigest()
    for cut in range(0, 300_000, 10_000):
        with connect(server) as sock:
            sock.sendall(f"PUT /v1/objects/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
                         f"Content-Length: {len(content)}\r\n\r\n".encode() + content[:cut])
    wait_for("all are over", lambda: metric(server, "render_exchanges") == 1)
    assert metric(server, "render_objects") == 0 and metric(server, "render_object_bytes") == 0
    assert server.get(f"/v1/objects/{name}").status_code == 404
    assert server.put(f"/v1/objects/{name}", data=content).status_code == 201


def test_many_generations_on_two_slots(start_gateway):
    """200 at once: each is answered, by a picture or by 503 with Retry-After; no slot is lost, and both are used."""
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 2, models: [builtin/plasma]}\n")
    body = b'{"prompt":"a","steps":1}'
    request = (f"POST /image/builtin/plasma/t2i?format=512 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
               f"Content-Length: {len(body)}\r\nAccept: application/json\r\n\r\n").encode() + body
    sockets = [connect(server) for _ in range(200)]
    for sock in sockets:
        sock.sendall(request)
    answers = [read_answer(sock) for sock in sockets]
    for sock in sockets:
        sock.close()
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}, sorted(set(statuses))
    for status, headers, content in answers:
        if status == 503:
            assert json.loads(content)["error"] == "capacity_exhausted" and int(headers[b"retry-after"]) >= 1
    assert statuses.count(200) >= 2
    assert metric(server, 'render_backend_slots_taken{backend="p"}') == 0
    assert metric(server, "render_generations_ok_total") == statuses.count(200)
    assert metric(server, 'render_refused_total{reason="no_slot"}') == statuses.count(503)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # both slots work
        assert [a.status_code for a in pool.map(lambda n: server.generate(seed=n, steps=1), range(2))] == [200, 200]


def test_many_that_leave(start_gateway):
    """100 clients that ask for a long video and leave at once: two slots, nothing stored, all free again."""
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 2, models: [builtin/plasma]}\n")
    body = b'{"prompt":"a","duration":10,"steps":50}'
    request = (f"POST /video/builtin/plasma/t2v HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
               f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    for n in range(100):
        with connect(server) as sock:
            sock.sendall(request[:len(request) - n % 7])  # some before they are through
    wait_for("all are over", lambda: metric(server, "render_exchanges") == 1, seconds=120)
    assert metric(server, 'render_backend_slots_taken{backend="p"}') == 0
    assert metric(server, "render_objects") == 0
    assert server.generate(steps=1).status_code == 200


# ---- nonsense at length ----

def requests_to_spoil(server):
    """Valid requests of every route, as they go over the wire."""
    auth = f"Host: x\r\nAuthorization: Bearer {server.key}\r\n"

    def post(path, body, method="POST"):
        return f"{method} {path} HTTP/1.1\r\n{auth}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    content = picture(16, 16)
    name = blake3.blake3(content).hexdigest()
    asset = server.generate(steps=1).headers["Content-Location"].removeprefix(server.url)
    uri = b'"data:image/png;base64,' + __import__("base64").b64encode(content) + b'"'
    last = "Connection: close\r\n" + auth
    return [
        post("/image/builtin/plasma/t2i?format=512", b'{"prompt":"a red circle","steps":1,"seed":7,"guidance":3.5,"lora":[]}'),
        post("/image/builtin/plasma/i2i?format=512&backend=builtin", b'{"prompt":"a","steps":1,"strength":0.5,"image":' + uri + b"}"),
        post("/image/builtin/plasma/edit?format=512", b'{"prompt":"a","steps":1,"image":' + uri + b',"mask":' + uri + b"}"),
        post("/uploads", b'{"content_type":"image/png","bytes":100}'), post(f"/v1/objects/{name}", content, "PUT"),
        post("/keys", b'{"tenant":"acme","name":"x","scopes":["read"],"expires_in_s":60}'),
        f"GET {asset} HTTP/1.1\r\n{last}Range: bytes=5-99\r\nIf-Range: \"x\"\r\nIf-None-Match: W/\"a\", *\r\n\r\n".encode(),
        f"GET {asset}/attestation HTTP/1.1\r\n{last}\r\n".encode(), f"HEAD /v1/objects/{name} HTTP/1.1\r\n{last}\r\n".encode(),
        f"GET /models HTTP/1.1\r\n{last}traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n".encode(),
        f"DELETE /keys/key_{'0' * 22} HTTP/1.1\r\n{last}\r\n".encode(), f"OPTIONS /models HTTP/1.1\r\n{last}Origin: x\r\n\r\n".encode(),
        f"PUT /uploads/{'x' * 32} HTTP/1.1\r\n{last}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode(),
        f"GET /metrics HTTP/1.1\r\n{auth}\r\nGET / HTTP/1.1\r\n{last}\r\n".encode()]


BITS = [b"\r\n", b"\0", b":", b" ", b"%", b"{", b"}", b'"', b"\xff", b"..", b"/", b"-1", b"99999999999999999999",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"bytes=-",
        b"\\u0000", b"1e999", b"null", b"[" * 70, b"A" * 3000]


def spoil(generator, data):
    """One to four small damages."""
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        kind = generator.randrange(6)
        if kind == 0 and data:
            at = generator.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1:]
        elif kind == 1:
            data = data[:at] + generator.choice(BITS) + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + generator.randint(1, 20):]
        elif kind == 3:
            other = generator.randrange(len(data) + 1)
            data = data[:at] + data[other:other + generator.randint(1, 60)] + data[at:]
        elif kind == 4:
            data = data[:at]
        else:
            data = data[:at] + generator.randbytes(generator.randint(1, 8)) + data[at:]
    return data


def answers_to(server, data, leaves=True):
    """The statuses of all answers to these bytes. `leaves`: the client closes its side after them."""
    with connect(server) as sock:
        got = b""
        try:
            sock.sendall(data)
            if leaves:
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                got += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


def test_spoiled_requests(start_gateway):
    """Seeded damage to valid requests of every route. Whatever comes back is an answer that a client can have
    deserved, never a failure of ours; and afterwards nothing is lost, held, or grown."""
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 64, models: [builtin/plasma]}\n")
    count, seed = (400 if SANITIZED else 2000), int(os.environ.get("SPOIL_SEED", "1"))
    good = requests_to_spoil(server)
    seen, bad = {}, []

    def work(worker):
        generator = random.Random(f"{seed} {worker}")
        for n in range(count // 8):
            data = spoil(generator, generator.choice(good[:3] + good[3:] * 4))  # painting takes most of the time
            for status in answers_to(server, data) or [None]:
                seen[status] = seen.get(status, 0) + 1
                if status is not None and status >= 500 and status not in (503, 505):
                    bad.append((worker, n, status, data))
    for data in good:  # whole, they are understood
        assert all(status < 500 and status not in (None, 405, 431) for status in answers_to(server, data, leaves=False)), data
    wait_for("all are over", lambda: metric(server, "render_exchanges") == 1)
    before = resident_kib(server.process.pid)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    print(f"answers to {count} spoiled requests: {dict(sorted(seen.items(), key=str))}")
    assert not bad, bad[:3]
    assert seen.get(400, 0) > 20 and seen.get(200, 0) > 5 and seen.get(404, 0) > 5
    wait_for("all are over", lambda: metric(server, "render_exchanges") == 1)
    assert metric(server, 'render_backend_slots_taken{backend="p"}') == 0
    assert server.get("/health/ready", key=None).status_code == 200
    assert server.generate(steps=1).status_code == 200
    assert '"level":"error"' not in server.log(), [x for x in server.log().splitlines() if '"error"' in x][:3]
    grown = resident_kib(server.process.pid) - before
    assert SANITIZED or grown < 32 * 1024, f"{grown} KiB grown"


# ---- a disk that ends ----

@pytest.fixture
def small_disk(tmp_path):
    """small_disk(mebibytes) mounts a tmpfs of this size, or makes the one there is so large; its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(mebibytes):
        options = f"size={mebibytes}m,mode=0700" + (",remount" if os.path.ismount(folder) else "")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        return folder
    yield size
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk, start_gateway):
    """Objects of three ways in, until there is no room: 507, nothing half there, all that was answered readable;
    with room again, served again, without a restart; and a restart finds everything."""
    config = "store: {pack_size: 1MiB, own_file_over: 256KiB, min_free: 0}\n"
    disk = small_disk(12)
    server = start_gateway(config=config, name="disk/data")
    kept, refused = {}, set()
    generator = random.Random(1)
    for n in range(400):
        content = generator.randbytes(generator.choice([100, 5_000, 60_000, 200_000, 400_000]))
        path = f"/v1/objects/{blake3.blake3(content).hexdigest()}"
        answer = server.put(path, data=content)
        assert answer.status_code in (201, 507), answer.text
        if answer.status_code == 201:
            kept[path] = content
            continue
        refused.add(path)
        assert answer.json()["error"] == "insufficient_storage" and answer.json()["retriable"] is True
        assert server.process.poll() is None, "the gateway stopped"
        if len(refused) >= 20:
            break
    assert len(refused) >= 20, "the disk never became full"
    failed = server.generate(steps=1, format="1024")
    assert failed.status_code in (200, 507)
    assert metric(server, "render_objects") == len(kept) + (failed.status_code == 200)
    for path, content in kept.items():
        assert server.get(path).content == content
    for path in refused:
        assert server.get(path).status_code == 404
    small_disk(64)
    for n in range(20):
        content = generator.randbytes(100_000)
        path = f"/v1/objects/{blake3.blake3(content).hexdigest()}"
        assert server.put(path, data=content).status_code == 201, "there is room again"
        kept[path] = content
    assert server.generate(steps=1).status_code == 200
    assert server.stop() == 0
    again = start_gateway(config=config, name="disk/data")
    for path, content in kept.items():
        assert again.get(path).content == content
    for path in refused:
        assert again.get(path).status_code == 404
    assert again.stop() == 0
    assert disk.exists()


def test_a_file_that_may_not_grow(start_gateway):
    """A limit on a file's size, as quotas set them: an object that needs a larger file is refused with 507, and the
    gateway goes on."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # what it does to others: it kills
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
    server = start_gateway(config="store: {pack_size: 1MiB, own_file_over: 256KiB, min_free: 0}\n", preexec=limit)
    small, large = os.urandom(100_000), os.urandom(5_000_000)
    paths = [f"/v1/objects/{blake3.blake3(content).hexdigest()}" for content in (small, large)]
    assert server.put(paths[0], data=small).status_code == 201
    answer = server.put(paths[1], data=large)
    assert answer.status_code == 507 and answer.json()["error"] == "insufficient_storage", answer.text
    assert server.get(paths[1]).status_code == 404
    assert server.get(paths[0]).content == small
    assert server.generate(steps=1).status_code == 200
    assert server.get("/health/ready", key=None).status_code == 200


def test_what_must_stay_free_stays_free(start_gateway):
    """store.min_free by reload: refused before anything is written, and no more after the next reload."""
    server = start_gateway(config="store: {min_free: 1TiB}\n")
    content = os.urandom(1000)
    path = f"/v1/objects/{blake3.blake3(content).hexdigest()}"
    answer = server.put(path, data=content)
    assert answer.status_code == 507 and answer.json()["error"] == "insufficient_storage"
    assert server.get(path).status_code == 404
    assert server.generate(steps=1).status_code == 507
    assert metric(server, "render_objects") == 0 and metric(server, 'render_backend_slots_taken{backend="builtin"}') == 0
    assert server.get("/health/live", key=None).status_code == 200
