# SPDX-License-Identifier: Apache-2.0
"""What several tests need: pictures, a scripted HTTP server to stand behind or beside the gateway, and
reading metrics and logs. Waiting is for an event, with a limit that only a failure reaches."""
import base64
import io
import json
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib

import pytest
from PIL import Image

WAIT_SECONDS = 60


def need(*programs):
    """Skips the test when a program is not there: scripts/install-deps must bring it."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; scripts/install-deps test brings it")


def wait_for(what, condition, seconds=WAIT_SECONDS):
    """The first true value of condition()."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.005)


# ---- pictures ----

def picture(width=64, height=48, kind="PNG", seed=1):
    """Noise, so that no two are the same and none compresses to nothing."""
    noise = random.Random(f"{seed} {width} {height}").randbytes(width * height * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(out, kind)
    return out.getvalue()


def data_uri(content, kind="png"):
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(size, width=64, height=48):
    """A sound PNG of exactly `size` bytes: text chunks fill it up."""
    base = picture(width, height)
    fill, chunks = size - len(base), []
    while fill > 0:  # libpng takes no text chunk over 8 MB
        part = fill if fill <= 5_000_000 else 4_000_000
        chunks.append(png_chunk(b"tEXt", b"Comment\0" + b"x" * (part - 12 - 8)))
        fill -= part
    return base[:33] + b"".join(chunks) + base[33:]


def png_large():
    """1024 x 1024 in 16 bits with alpha, not compressed: 8.4 MB, all of them picture."""
    rows = b"".join(b"\0" + random.Random(row).randbytes(1024 * 8) for row in range(1024))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 16, 6, 0, 0, 0)) + \
        png_chunk(b"IDAT", zlib.compress(rows, 0)) + png_chunk(b"IEND", b"")


def peak_kib(server):
    """The most memory that the gateway has had so far."""
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def png_bomb(width=60000, height=60000):
    """A small file that says it is a huge picture."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + \
        png_chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + png_chunk(b"IEND", b"")


# ---- what the gateway tells ----

def metric(server, name):
    """The value of the sample that is written `name` (labels included); 0 when there is none."""
    for line in server.get("/metrics", key=None).text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    return 0.0


def log_lines(server):
    """Every line is JSON, but for what the signer of a sanitizer build says about itself at its start."""
    return [json.loads(line) for line in server.log().splitlines() if "sanitizer build" not in line]


def request_lines(server, count=1, **fields):
    """The request log's lines with these fields, once there are `count`."""
    def find():
        lines = [line for line in server.log().splitlines() if line.startswith("{") and line.endswith("}")]
        found = [line for line in map(json.loads, lines)
                 if line.get("event") == "request" and all(line.get(k) == v for k, v in fields.items())]
        return found if len(found) >= count else None
    return wait_for(f"{count} log lines with {fields}", find)


def resident_kib(pid):
    """Pss: what the process costs the machine."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


# ---- a scripted HTTP server ----

class Request:
    """One request at a scripted server. The script answers with `answer` or writes `send` itself."""

    def __init__(self, server, sock, head, body):
        self.server, self.sock, self.body = server, sock, body
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = {name.lower(): value.strip() for name, value in
                        (line.split(":", 1) for line in lines[1:] if line)}
        self.closed = False

    def json(self):
        return json.loads(self.body)

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, status=200, body=b"", kind="image/png", **headers):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"] + ([f"Content-Type: {kind}"] if kind else [])
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self):
        """Closes with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.closed = True
        self.sock.close()

    def wait_left(self):
        """Waits until the other side closes; the time.monotonic() when it did, None when it did not."""
        self.sock.settimeout(WAIT_SECONDS)
        try:
            while self.sock.recv(4096):
                pass
        except socket.timeout:
            return None
        except OSError:
            pass
        return time.monotonic()


class Scripted:
    """An HTTP/1.1 server that does what script(request) says, one thread a connection. Keeps all
    `requests`, and counts `connections`, also those that never sent one. With `certificate`, TLS."""

    def __init__(self, script, certificate=None, port=0, host="127.0.0.1"):
        self.script = script
        self.requests, self.problems, self.connections = [], [], 0
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.listener = socket.create_server((host, port), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        assert not self.problems, self.problems

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            sock.settimeout(WAIT_SECONDS)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            while True:
                request = self.read(sock)
                if request is None:
                    break
                self.requests.append(request)
                self.script(request)
                if request.closed:
                    return
            sock.close()
        except OSError:  # the other side left, which is its right
            sock.close()
        except Exception as error:  # pylint: disable=broad-except
            self.problems.append(repr(error))
            sock.close()

    def read(self, sock):
        got = b""
        while b"\r\n\r\n" not in got:
            more = sock.recv(65536)
            if not more:
                return None
            got += more
        head, body = got.split(b"\r\n\r\n", 1)
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                       if line.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            body += sock.recv(1 << 20)
        return Request(self, sock, head, body)


def make_certificate(folder, *names):
    """A self-signed certificate for these names or addresses, made by openssl: (certificate, key)."""
    need("openssl")
    certificate, key = folder / "tls.crt", folder / "tls.key"
    alternatives = ",".join(("IP:" if name[0].isdigit() else "DNS:") + name for name in names)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=test",
                    "-addext", f"subjectAltName={alternatives}"], check=True, capture_output=True)
    return str(certificate), str(key)
