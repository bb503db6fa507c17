# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured, and the two that stand around them, all on 127.0.0.1.

    Origin    bench-origin: the engine that answers at once, with bodies that all differ
    Nginx     proxies to an origin (two ways), or serves files (two ways)
    Gateway   render-gateway, with its signer, on a data folder of its own that stop() removes

nginx_config() is the whole configuration and what docs/benchmarks.md shows: Debian's own settings
(workers by core, sendfile, tcp_nopush), connections kept on both sides, and the access log off as the
gateway's is."""
import http.client
import os
import shutil
import socket
import subprocess

from procs import BenchError, Child, children, tail, wait_until

MODEL_PATH = "/image/flux/schnell/t2i"
BODY = '{"prompt": "a lighthouse in the snow", "steps": 4}'
SLOTS = 64  # and connections of every load: as many as the gateway's engine takes at a time
READY_S = 10

NGINX = """\
{user}worker_processes auto; daemon off; pid {dir}/nginx.pid; error_log stderr;
worker_rlimit_nofile 4096; events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type image/png;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {servers}
}}
"""
PROXY = """\
upstream origin {{ server 127.0.0.1:{origin}; keepalive {slots}; keepalive_requests 1000000; }}
  proxy_http_version 1.1; proxy_set_header Connection "";
  server {{ listen 127.0.0.1:{ports[0]}; location / {{ proxy_pass http://origin; }} }}
  server {{ listen 127.0.0.1:{ports[1]}; proxy_max_temp_file_size 0;
           location / {{ proxy_pass http://origin; }} }}"""
FILES = """\
root {root};
  server {{ listen 127.0.0.1:{ports[0]}; }}
  server {{ listen 127.0.0.1:{ports[1]}; open_file_cache max=100; open_file_cache_valid 60s; }}"""


def free_ports(count):
    """Ports that were free a moment ago: nginx cannot be asked to choose."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def nginx_config(directory, servers):
    user = "user root; " if os.geteuid() == 0 else ""
    return NGINX.format(user=user, dir=directory, servers=servers)


class Origin:
    def __init__(self, bench, size):
        self.child = Child([str(bench.build / "bench/bench-origin"), "0", str(size)], bench.log)
        self.port, self.size = int(self.child.line("listening on ")), size

    def stop(self):
        self.child.stop()


class Nginx:
    """One nginx with two servers, `ports`."""

    def __init__(self, bench, servers, **facts):
        self.dir = bench.folder("nginx")
        for _attempt in range(3):  # another process may take a port first
            self.ports = free_ports(2)
            conf = os.path.join(self.dir, "nginx.conf")
            with open(conf, "w", encoding="utf-8") as file:
                file.write(nginx_config(self.dir, servers.format(ports=self.ports, **facts)))
            self.child = Child([bench.nginx, "-c", conf, "-e", bench.log], bench.log)
            wait_until(lambda: answers(self.ports[1]) or not self.child.alive(), READY_S, "nginx")
            if self.child.alive():
                return
            self.child.stop()
        raise BenchError(f"nginx does not start: {tail(bench.log)}")

    def stop(self):
        self.child.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def engine_config(origin, durability):
    return (f"durability: {durability}\nlog: {{level: warn}}\nlimits: {{rate: 0}}\n"
            f"engines:\n  - {{name: origin, type: http, url: \"http://127.0.0.1:{origin.port}/\", "
            f"slots: {SLOTS}, models: [flux/schnell]}}\n")


class Gateway:
    """Without `config` it runs on its defaults: the built-in engine, strict, a line a request."""

    def __init__(self, bench, config=None):
        self.dir = bench.folder("gateway")
        self.data = os.path.join(self.dir, "data")
        self.argv, self.log = [str(bench.build / "src/gateway/render-gateway"), "--data", self.data, "--listen",
                               "127.0.0.1:0"], bench.log
        if config is not None:
            path = os.path.join(self.dir, "gateway.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config)
            self.argv += ["--config", path]
        self.start()

    def start(self):
        """Once more, on the same data."""
        self.child = Child(self.argv, self.log)
        self.port = int(self.child.line("listening on http://127.0.0.1:"))
        with open(os.path.join(self.data, "admin.key"), encoding="ascii") as file:
            self.key = file.read().strip()

    def ask(self, method, path, body=None):
        """One exchange on a connection of its own: (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": "Bearer " + self.key, "Content-Type": "application/json"}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def metrics(self):
        """Every line of /metrics: name with labels -> value."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def generate(self, path=MODEL_PATH, body=BODY):
        status, headers, content = self.ask("POST", path, body)
        if status != 200:
            raise BenchError(f"a generation was answered with {status}: {content[:300]!r}")
        return headers, content

    def halt(self):
        """Its data stays."""
        code = self.child.stop()
        if code != 0:
            raise BenchError(f"render-gateway ended with {code}: {tail(self.log)}")

    def kill(self):
        """With SIGKILL; its data stays."""
        self.child.popen.kill()
        self.child.popen.wait()
        self.child.stop()

    def stop(self):
        code = self.child.stop() if self.child in children else 0
        shutil.rmtree(self.dir, ignore_errors=True)
        # The next turn must not pay for what this one leaves to the disk.
        subprocess.run(["sync", "-f", os.path.dirname(self.dir)], check=False)
        if code != 0:
            raise BenchError(f"render-gateway ended with {code}: {tail(self.log)}")

