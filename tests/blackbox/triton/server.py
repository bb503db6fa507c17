#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Triton Inference Server on this machine's CPU, with the models of this folder.

    tests/blackbox/triton/server.py [--install] [--http PORT] [--grpc PORT] [MODEL...]

Runs until it is interrupted; scripts/triton calls it so. The tests use `Triton`: start, wait until it is ready, kill,
start again on the same ports, read its log. The server's binary is NVIDIA's own, from the PyPI package
nvidia-pytriton, which is installed with the reference client into build-test/triton the first time; --install does
only that. `Unavailable` says why it cannot be had: no network, another kind of machine, a library that is missing.

Its Python backend keeps tensors in /dev/shm under a name that each server gets for itself; what a killed server
leaves there is removed with it."""
import argparse
import http.client
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HOME = ROOT / "build-test/triton"
DIFFUSERS = ROOT / "build-test/diffusers"
PYTHON = "/usr/bin/python3"
MODELS = ("painter", "painter_rgb", "painter_float", "painter_stream")
NUMPY_1_UP_TO = 12  # of Python 3
START_SECONDS, STOP_SECONDS, INSTALL_SECONDS = 60, 20, 400


class Unavailable(Exception):
    """There is no Triton for this machine."""


# ---- installing ----

def site_packages(home=HOME):
    found = list(home.glob("lib/python3.*/site-packages"))
    if not found:
        raise Unavailable(f"{home} has no site-packages")
    return found[0]


def server_folder():
    return site_packages() / "pytriton/tritonserver"


def python():
    return str(HOME / "bin/python")


def install():
    """The server and the reference client in HOME; quick when they are there."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"nvidia-pytriton has no build for {platform.machine()}")
    version = subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True,
                             check=True).stdout.strip()
    if int(version) > NUMPY_1_UP_TO:
        raise Unavailable(f"Triton's Python backend is built for numpy 1, which Python 3.{version} has not")
    install_into(HOME, "requirements.txt", [], put_stub)


def install_diffusers():
    """For make soak: a diffusers pipeline beside Debian's PyTorch, in a folder that sees Debian's packages."""
    if subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, check=False).returncode != 0:
        raise Unavailable("python3-torch is not installed; scripts/install-deps soak brings it")
    install_into(DIFFUSERS, "soak_requirements.txt", ["--system-site-packages"], lambda: None)


def install_into(home, requirements, options, then):
    wanted = (HERE / requirements).read_text()
    mark = home / "requirements.txt"
    if mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(exist_ok=True)
    command([PYTHON, "-m", "venv", *options, home])
    command([home / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
             "-r", HERE / requirements])
    then()
    mark.write_text(wanted)


def put_stub():
    """The Python backend wants the stub of the interpreter whose packages the models use beside it."""
    folder = server_folder()
    version = site_packages().parent.name.removeprefix("python")
    stub = folder / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise Unavailable(f"nvidia-pytriton has no stub for Python {version}")
    missing = [line.split()[0] for line in subprocess.run(["ldd", stub], capture_output=True, text=True,
                                                          check=True).stdout.splitlines() if "not found" in line]
    if missing:
        raise Unavailable(f"{', '.join(missing)} is not installed; scripts/install-deps test brings it")
    shutil.copy(stub, folder / "backends/python/triton_python_backend_stub")


def command(words):
    try:
        subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{words[0]}: {error.stderr.strip()[-300:]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{words[0]}: no end within {INSTALL_SECONDS} s") from None


# ---- running ----

def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Triton:
    """One server. `log()` is what it and its models have said so far."""

    def __init__(self, log_path, models=MODELS, http_port=None, grpc_port=None, packages=None):
        self.log_path, self.models = pathlib.Path(log_path), models
        self.packages = packages or site_packages()  # of the Python that runs the models
        self.http_port, self.grpc_port = http_port or free_port(), grpc_port or free_port()
        self.http, self.grpc = f"http://127.0.0.1:{self.http_port}", f"grpc://127.0.0.1:{self.grpc_port}"
        self.process, self.shm = None, f"render-triton-{os.getpid()}-{self.http_port}"

    def start(self, ready=True):
        """Again on the same ports after stop() or kill()."""
        folder = server_folder()
        words = [folder / "bin/tritonserver", f"--model-repository={HERE / 'models'}",
                 f"--backend-directory={folder / 'backends'}",
                 "--http-address=127.0.0.1", f"--http-port={self.http_port}",
                 "--grpc-address=127.0.0.1", f"--grpc-port={self.grpc_port}", "--allow-metrics=false",
                 "--model-control-mode=explicit", *[f"--load-model={name}" for name in self.models],
                 "--disable-auto-complete-config", "--exit-timeout-secs=2", "--pinned-memory-pool-byte-size=0",
                 f"--backend-config=python,shm-region-prefix-name={self.shm}"]
        # The interpreter inside finds its own library by PATH, whichever else stands first in the caller's.
        env = {**os.environ, "PATH": "/usr/bin:/bin:" + os.environ.get("PATH", ""), "PYTHONPATH": f"{self.packages}:{HERE}",
               "PYTHONDONTWRITEBYTECODE": "1",
               "OPENBLAS_NUM_THREADS": "1", "LD_PRELOAD": ""}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self):
        until = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError("Triton did not become ready:\n" + self.log()[-3000:])
            try:
                if self.ask("GET", "/v2/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)

    def ask(self, method, path, body=None):
        """Status and JSON (or None) of its HTTP interface."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def load(self, model):
        assert self.ask("POST", f"/v2/repository/models/{model}/load", {})[0] == 200, self.log()[-2000:]

    def unload(self, model):
        assert self.ask("POST", f"/v2/repository/models/{model}/unload", {})[0] == 200, self.log()[-2000:]

    def inferences(self, model):
        """How many requests the model has finished, well or not, by the server's own statistics."""
        stats = self.ask("GET", f"/v2/models/{model}/stats")[1]["model_stats"][0]
        return stats["inference_stats"]["success"]["count"] + stats["inference_stats"]["fail"]["count"]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def said(self, text):
        """How many lines of the log have `text`."""
        return sum(text in line for line in self.log().splitlines())

    def kill(self):
        """At once, as by a power cut, with the processes of its models."""
        self.end(signal.SIGKILL, 0)

    def stop(self):
        self.end(signal.SIGTERM, STOP_SECONDS)

    def pause(self):
        """It keeps its connections and answers nothing, until resume()."""
        self.signal_all(signal.SIGSTOP)

    def resume(self):
        self.signal_all(signal.SIGCONT)

    def signal_all(self, what):
        try:
            os.killpg(self.process.pid, what)
        except ProcessLookupError:
            pass

    @staticmethod
    def wait_gone(group):
        """Until nobody is left who could write into /dev/shm. They are dead already; somebody has to reap them."""
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            try:
                os.killpg(group, 0)
            except (ProcessLookupError, PermissionError):
                return
            time.sleep(0.01)

    def end(self, how, seconds):
        if self.process is None:
            return
        if self.process.poll() is None and seconds:
            self.process.send_signal(how)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        self.signal_all(signal.SIGKILL)  # also what a model left behind
        self.process.wait()
        self.wait_gone(self.process.pid)
        self.process = None
        for left in pathlib.Path("/dev/shm").glob(f"{self.shm}*"):
            left.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(prog="scripts/triton", description="a real Triton with the models of the tests")
    parser.add_argument("--install", action="store_true", help="only install it, into build-test/triton")
    parser.add_argument("--http", type=int, default=8000, metavar="PORT")
    parser.add_argument("--grpc", type=int, default=8001, metavar="PORT")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        install()
    except Unavailable as error:
        print(f"triton: {error}", file=sys.stderr)
        return 1
    if options.install:
        return 0
    log = HOME / f"triton-{options.http}.log"
    log.write_bytes(b"")
    server = Triton(log, options.models or MODELS, options.http, options.grpc)
    try:
        server.start()
        print(f"listening on {server.http} and {server.grpc}; log: {log.relative_to(ROOT)}", flush=True)
        threading.Event().wait()
    except (KeyboardInterrupt, SystemExit):
        pass
    except RuntimeError as error:
        print(f"triton: {error}", file=sys.stderr)
        return 1
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
