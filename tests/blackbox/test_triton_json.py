# SPDX-License-Identifier: Apache-2.0
"""A server of the Open Inference Protocol without the binary tensor extension: a real Triton behind a proxy that takes
the extension out of what it says of itself, and refuses requests that use it."""
import http.server
import threading
import urllib.error
import urllib.request

import pytest
from test_triton import FLOATS, PIXELS, config, front, generate, good, pixels_of, triton  # pylint: disable=unused-import


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.forward(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert "Inference-Header-Content-Length" not in self.headers and b"binary_data" not in body
        self.server.posts.append(body)
        self.forward(body)

    def forward(self, body):
        request = urllib.request.Request(self.server.target + self.path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        text = text.replace(b'"binary_tensor_data",', b"") if self.path == "/v2" else text
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


@pytest.fixture
def plain(triton):  # pylint: disable=redefined-outer-name
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.target, server.posts, server.daemon_threads = triton.http, [], True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("model", [PIXELS, FLOATS])
def test_pictures_as_numbers_in_json(start_gateway, triton, plain, model):  # pylint: disable=redefined-outer-name
    """Pixel by pixel what the binary extension gives."""
    server = front(start_gateway, config([f"http://127.0.0.1:{plain.server_port}"], models=(model,)))
    other = front(start_gateway, config([triton.http], models=(model,)), name="other")
    got, want = good(server, generate(server, model)), good(other, generate(other, model))
    assert pixels_of(got.content) == pixels_of(want.content)
    assert len(plain.posts) == 1
