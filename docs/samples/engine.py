#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The smallest server that an engine of type http can be (docs/http-engine.md): a POST with JSON comes
in, a PNG goes out. Put a model where paint() is.  usage: engine.py [HOST:PORT]   (default 127.0.0.1:9000)"""
import http.server
import json
import struct
import sys
import time
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def paint(prompt, width, height, seed):
    """A colour gradient that depends on the prompt and the seed."""
    hue = zlib.crc32(prompt.encode()) ^ seed
    red, green = hue & 255, hue >> 8 & 255
    return [bytes((red, green, y * 255 // height)) * width for y in range(height)]


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the gateway keeps its connections

    def do_POST(self):
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if job["media"] != "image/png":  # this one makes nothing else; the gateway answers 502
            self.send_error(406)
            return
        started = time.monotonic()
        body = png(job["width"], job["height"],
                   paint(job["request"]["prompt"], job["width"], job["height"], job["seed"]))
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Device", "example:0")
        self.send_header("X-Device-Seconds", f"{time.monotonic() - started:.6f}")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9000").rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), Engine)
    print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
    server.serve_forever()
