# SPDX-License-Identifier: Apache-2.0
"""The real gateway, started for the tests. BUILD_DIR says which build (default: build).

`gateway` is one server for the whole run; `start_gateway` starts others with a configuration of their
own. Waiting is always for a line, an answer or an end of process, never for a length of time."""
import os
import pathlib
import signal
import subprocess
import tempfile
import threading

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
SANITIZED = os.environ.get("SANITIZED", "")  # "address" or "thread": things take longer
START_SECONDS = 60


def program(name):
    for place in (BUILD / name, BUILD / "src" / "gateway" / name, BUILD / "src" / "cli" / name,
                  BUILD / "src" / "signer" / name):
        if place.exists():
            return str(place)
    raise FileNotFoundError(f"{name} is not in {BUILD}; run make build")


class Gateway:
    """A running gateway. `get`, `post`, ... send the administrator's key unless key=None or another."""

    def __init__(self, data, config=None, args=(), env=None, preexec=None):
        self.data = pathlib.Path(data)
        self.log_path = self.data.with_suffix(".log")
        command = [program("render-gateway"), "--data", str(self.data), "--listen", "127.0.0.1:0"]
        if config is not None:
            self.config_path = self.data.with_suffix(".yaml")
            self.config_path.write_text(config)
            command += ["--config", str(self.config_path)]
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen(command + list(args), stdout=subprocess.PIPE,
                                        stderr=self.log_file, env={**os.environ, **(env or {})},
                                        preexec_fn=preexec)
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        if not line.startswith("listening on "):
            self.process.wait()
            raise RuntimeError(f"no start (exit {self.process.returncode}): {self.log()[-2000:]}")
        self.url = line.split()[-1]
        self.host, self.port = self.url.removeprefix("http://").rsplit(":", 1)
        self.port = int(self.port)
        self.key = (self.data / "admin.key").read_text().strip()
        self.session = requests.Session()
        self.secrets = {self.key}  # of which none may ever stand in the log

    def log(self):
        return self.log_path.read_text(errors="replace")

    def request(self, method, path, key="", **kw):
        headers = dict(kw.pop("headers", {}) or {})
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key or self.key}")
        url = path if path.startswith("http") else self.url + path
        answer = self.session.request(method, url, headers=headers, timeout=kw.pop("timeout", 120), **kw)
        if method == "POST" and answer.status_code in (200, 201) and path in ("/keys", "/uploads"):
            made = answer.json()
            self.secrets.add(made["key"] if path == "/keys" else made["upload_url"].rsplit("/", 1)[1])
        return answer

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, **kw):
        return self.request("POST", path, **kw)

    def put(self, path, **kw):
        return self.request("PUT", path, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def generate(self, prompt="a red circle", path="/image/builtin/plasma/t2i", format="512",
                 accept=None, key="", query="", **fields):
        headers = {"Accept": accept} if accept else {}
        if len(prompt) > 11:  # shorter ones are words that may stand there for other reasons
            self.secrets.add(prompt)
        return self.post(f"{path}?format={format}{query}", key=key, headers=headers,
                         json={"prompt": prompt, **fields})

    def new_key(self, tenant, scopes=("generate", "upload", "read"), **fields):
        answer = self.post("/keys", json={"tenant": tenant, "name": "test", "scopes": list(scopes), **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def stop(self, sig=signal.SIGTERM, timeout=90):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self.process.stdout.close()
        self.log_file.close()
        self.session.close()
        log = self.log()
        assert not [secret for secret in self.secrets if secret in log]
        return code


@pytest.fixture(scope="session")
def gateway():
    with tempfile.TemporaryDirectory(prefix="render-test-") as folder:
        server = Gateway(pathlib.Path(folder) / "data")
        yield server
        assert server.stop() == 0, server.log()[-3000:]
        log = server.log()
        assert "Sanitizer" not in log, log[-5000:]


@pytest.fixture
def start_gateway(tmp_path):
    """start_gateway(config=None, name="data", ...) -> Gateway; all are stopped at the end."""
    servers = []

    def start(config=None, name="data", **kw):
        server = Gateway(tmp_path / name, config=config, **kw)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            assert server.stop() == 0, server.log()[-3000:]
        assert "Sanitizer" not in server.log(), server.log()[-5000:]
