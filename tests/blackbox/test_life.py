# SPDX-License-Identifier: Apache-2.0
"""Start, configuration, reload, keys, drain, crash."""
import os
import pathlib
import re
import signal
import subprocess
import threading

import pytest
from conftest import ROOT, SANITIZED, program


def run(*args, **kw):
    return subprocess.run([program("render-gateway"), *args], capture_output=True, text=True, timeout=60, **kw)


def test_first_start_makes_a_private_folder(start_gateway):
    server = start_gateway()
    assert (server.data.stat().st_mode & 0o777) == 0o700
    for name in ("admin.key", "signing.key", "pepper", "prompt.secret"):
        assert ((server.data / name).stat().st_mode & 0o777) == 0o600, name
    assert re.fullmatch(r"rk_[0-9A-Za-z]{36}", server.key)
    assert server.key not in server.log()


def test_second_start_keeps_keys_and_objects(start_gateway):
    first = start_gateway()
    answer = first.generate(seed=1)
    keys = first.get("/.well-known/jwks.json", key=None).json()
    assert first.stop() == 0
    second = start_gateway()
    assert second.key == first.key
    assert second.get("/.well-known/jwks.json", key=None).json() == keys
    path = answer.headers["Content-Location"].removeprefix(first.url)
    assert second.get(path, key=None).content == answer.content
    assert second.get(path + "/attestation", key=None).status_code == 200


@pytest.mark.parametrize("args,text", [
    ([], "--data"), (["--data", "x"], "--listen"), (["--data", "x", "--listen", "nonsense"], "HOST:PORT"),
    (["--data", "x", "--listen", "127.0.0.1:99999"], "HOST:PORT"), (["--bogus"], "--help"), (["dance"], "dance")])
def test_wrong_words_are_explained(args, text):
    result = run(*args)
    assert result.returncode == 2 and text in result.stderr and result.stdout == ""


def test_help_and_version():
    assert "usage:" in run("--help").stdout
    assert re.match(r"render-gateway \d+\.\d+", run("--version").stdout)


@pytest.mark.parametrize("yaml,line,field", [
    ("engines:\n  - {name: a, type: builtin, slots: many}\n", 2, "slots"),
    ("durability: sometimes\n", 1, "durability"), ("thread: 2\n", 1, "thread"), ("\n\nlog: {format: xml}\n", 3, "format"),
    ("engines:\n  - name: a\n    type: http\n    slots: 1\n", 2, "url"), ("a: [", 2, "YAML")])
def test_configuration_errors_name_file_line_and_field(tmp_path, yaml, line, field):
    config = tmp_path / "render.yaml"
    config.write_text(yaml)
    result = run("--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--config", str(config))
    assert result.returncode == 1 and result.stdout == ""
    assert re.search(rf"render\.yaml:{line}", result.stderr), result.stderr
    assert field in result.stderr


def test_start_faults_are_one_clear_line(tmp_path, start_gateway):
    def fails(data, text, *more):
        result = run("--data", str(data), "--listen", "127.0.0.1:0", *more)
        assert result.returncode == 1, result
        lines = [line for line in result.stderr.splitlines() if " error " in line or '"error"' in line]
        assert len(lines) == 1 and text in lines[0], result.stderr
    fails(tmp_path / "missing" / "dir", "missing/dir")
    open_dir = tmp_path / "open"
    open_dir.mkdir(mode=0o755)
    fails(open_dir, "chmod 700")
    (tmp_path / "file").write_text("x")
    fails(tmp_path / "file", "not a directory")
    server = start_gateway()
    fails(server.data, "use")  # in use by another
    result = run("--data", str(tmp_path / "busy"), "--listen", f"127.0.0.1:{server.port}")
    assert result.returncode == 1 and "Address already in use" in result.stderr
    assert server.stop() == 0
    key = server.data / "signing.key"
    good = key.read_bytes()
    key.write_bytes(good[:20])
    fails(server.data, "signing.key")
    key.write_bytes(good)
    key.chmod(0o644)
    fails(server.data, "signing.key")


def test_reload_changes_engines_and_catalogue_without_dropping_a_request(start_gateway, tmp_path):
    shipped = (ROOT / "api" / "catalogue.yaml").read_text()
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(shipped)
    config = f"catalogue: {catalogue}\nengines:\n  - {{name: p, type: builtin, slots: 2, models: [%s]}}\n"
    server = start_gateway(config=config % "builtin/plasma")
    results = []
    slow = threading.Thread(target=lambda: results.append(
        server.generate(path="/video/builtin/plasma/t2v", format="480p", duration=2, steps=10)))
    slow.start()
    while 'slots_taken{backend="p"} 1' not in server.get("/metrics").text:
        assert slow.is_alive(), results
    assert server.generate(path="/image/builtin/fresco/t2i").status_code == 404
    catalogue.write_text(shipped.replace("\nloras:", "\n  - id: builtin/fresco\n    modality: [image]\n    tasks: [t2i]\n"
                                         "    backends: [builtin]\n    status: active\n\nloras:"))
    server.config_path.write_text(config % "builtin/plasma, builtin/fresco")
    server.process.send_signal(signal.SIGHUP)
    while "render_reloads_total 1" not in server.get("/metrics").text:
        pass
    assert server.generate(path="/image/builtin/fresco/t2i", steps=1).status_code == 200
    slow.join()
    assert results[0].status_code == 200
    server.config_path.write_text("engines: 7\n")
    server.process.send_signal(signal.SIGHUP)
    while "render_reload_failures_total 1" not in server.get("/metrics").text:
        pass
    assert server.generate(path="/image/builtin/fresco/t2i", steps=1).status_code == 200
    assert "reload refused" in server.log() and ":1" in server.log()


@pytest.mark.parametrize("engine,text", [
    ("{name: e, type: builtin, models: [nobody/nothing]}", "not in the catalogue"),
    ("{name: e, type: builtin, models: [flux/dev]}", "backend 'builtin'"),
    ("{name: e, type: http, url: 'http://127.0.0.1:9/', models: [zimage/turbo]}", "backend 'torch'")])
def test_engines_must_fit_the_catalogue(tmp_path, engine, text):
    config = tmp_path / "render.yaml"
    config.write_text(f"engines: [{engine}]\n")
    result = run("--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--config", str(config))
    assert result.returncode == 1 and text in result.stderr, result.stderr


def test_drain_finishes_what_runs(start_gateway):
    server = start_gateway()
    results = []
    slow = threading.Thread(target=lambda: results.append(
        server.generate(path="/video/builtin/plasma/t2v", format="480p", duration=2, steps=10)))
    slow.start()
    while 'slots_taken{backend="builtin"} 1' not in server.get("/metrics").text:
        assert slow.is_alive(), results
    assert server.stop() == 0
    slow.join()
    assert results[0].status_code == 200 and len(results[0].content) > 1000


# ---- keys ----

def test_keys_are_shown_once_and_work_by_scope(gateway):
    made = gateway.new_key("acme", scopes=["read"])
    assert re.fullmatch(r"rk_[0-9A-Za-z]{36}", made["key"]) and made["scopes"] == ["read"]
    assert made["key"] not in gateway.get("/keys").text and made["id"] in gateway.get("/keys").text
    assert gateway.get("/models", key=made["key"]).status_code == 200
    refused = gateway.generate(key=made["key"])
    assert refused.status_code == 403 and refused.json()["error"] == "forbidden"
    assert gateway.post("/keys", key=made["key"], json={"tenant": "acme", "name": "x"}).status_code == 403
    blob = b"".join(p.read_bytes() for p in gateway.data.glob("render.db*"))
    assert made["key"].encode() not in blob


def test_revoked_at_once(gateway):
    made = gateway.new_key("acme")
    assert gateway.get("/models", key=made["key"]).status_code == 200
    assert gateway.delete(f"/keys/{made['id']}").status_code == 204
    assert gateway.get("/models", key=made["key"]).status_code == 401


def test_a_tenant_manages_only_its_own_keys(gateway):
    ours, theirs = gateway.new_key("one"), gateway.new_key("two")
    listed = gateway.get("/keys", key=ours["key"]).json()["keys"]
    assert {key["tenant"] for key in listed} == {"one"}
    assert gateway.delete(f"/keys/{theirs['id']}", key=ours["key"]).status_code == 404
    assert gateway.get("/models", key=theirs["key"]).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic abc", "Bearer rk_" + "0" * 36])
def test_wrong_keys_are_401(gateway, header):
    headers = {} if header is None else {"Authorization": header}
    answer = gateway.get("/models", key=None, headers=headers)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"] == "unauthorized"


def test_keys_expire(gateway):
    import time
    made = gateway.new_key("brief", expires_in_s=1)
    until = time.monotonic() + 5
    while gateway.get("/models", key=made["key"]).status_code == 200:
        assert time.monotonic() < until
    assert gateway.get("/models", key=made["key"]).status_code == 401


# ---- crashes ----

@pytest.mark.parametrize("durability", ["strict", "relaxed"])
def test_kill_loses_nothing_that_was_answered(start_gateway, durability):
    """Strict: every answered output survives a kill -9 and verifies. (The kernel lives on, so relaxed
    outputs survive a killed process as well; a power cut is simulated in the store's own tests.)"""
    server = start_gateway(config=f"durability: {durability}\n")
    answered = {}

    def client(seed):
        while True:
            try:
                answer = server.generate(seed=seed, steps=1)
            except Exception:
                return
            if answer.status_code == 200:
                answered[answer.headers["Content-Location"].removeprefix(server.url)] = answer.content
                seed += 100
    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 12:
        pass
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    for thread in threads:
        thread.join()
    again = start_gateway(config=f"durability: {durability}\n")
    assert len(answered) >= 12
    for path, content in answered.items():
        assert again.get(path, key=None).content == content
        for _ in range(100):
            attestation = again.get(path + "/attestation", key=None)
            if attestation.status_code == 200:
                break
        assert attestation.status_code == 200
    assert again.stop() == 0
    scrub = run("scrub", "--data", str(again.data))
    assert scrub.returncode == 0 and " 0 bad" in scrub.stdout


def test_scrub_finds_a_flipped_bit(start_gateway):
    server = start_gateway()
    server.generate(seed=1)
    assert server.stop() == 0
    pack = max((server.data / "objects").rglob("*.pack"), key=lambda p: p.stat().st_size)
    data = bytearray(pack.read_bytes())
    offset = data.index(b"IDAT") + 500
    data[offset] ^= 1
    pack.write_bytes(data)
    result = run("scrub", "--data", str(server.data))
    assert result.returncode == 1 and "bad a_" in result.stdout
    damaged = start_gateway()
    asset = re.search(r"a_[0-9a-f]{64}", result.stdout)[0]
    assert damaged.get(f"/a/{asset}", key=None).status_code == 500


def test_the_signer_can_be_killed(gateway):
    """It is started again, and the next outputs are signed by the same key."""
    def signers():
        out = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text()
            except (OSError, ValueError):
                continue
            if "(render-signer)" in stat and int(stat.rsplit(") ", 1)[1].split()[1]) == gateway.process.pid:
                out.append(int(entry.name))
        return out
    before = signers()
    assert len(before) == 1
    status = pathlib.Path(f"/proc/{before[0]}/status").read_text()
    if not SANITIZED:
        assert re.search(r"Seccomp:\s+2", status)
    assert re.search(r"NoNewPrivs:\s+1", status)
    os.kill(before[0], signal.SIGKILL)
    for attempt in range(200):
        answer = gateway.generate(seed=attempt, steps=1)
        if answer.status_code == 200:
            break
    assert answer.status_code == 200
    assert gateway.get(answer.headers["Content-Location"] + "/attestation", key=None).status_code == 200
    assert len(signers()) == 1 and signers() != before


def test_the_gateway_never_opens_the_signing_key(gateway):
    fds = pathlib.Path(f"/proc/{gateway.process.pid}/fd")
    assert not any("signing.key" in os.readlink(fd) for fd in fds.iterdir())
