# SPDX-License-Identifier: Apache-2.0
"""A real diffusers pipeline with tiny random weights behind a real Triton (make soak: PyTorch is large): real tensors with
real shapes, seeds, steps, guidance and sizes go through, pixel for pixel as NVIDIA's own client gets them."""
import concurrent.futures
import io
import json
import subprocess

import pytest
from PIL import Image
from test_events import follow
from test_jobs import ended, submit
from test_triton import HERE, Triton, Unavailable, front, good, install, pixels_of, python
from tools import wait_for

from server import DIFFUSERS, install_diffusers, site_packages  # test_triton has said where

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("triton")]

MODEL = "flux/dev"
FIELDS = {"prompt": "a lighthouse in the snow", "steps": 3, "seed": 11, "guidance": 7.5}
PATH = f"/image/{MODEL}/t2i"
CONFIG = """\
store: {{pack_size: 4MiB, min_free: 0}}
limits: {{rate: 0}}
mappings:
  - name: diffusers
    model: diffusers
    decoupled: true
    inputs:
      - {{name: prompt, field: prompt, datatype: BYTES}}
      - {{name: negative_prompt, field: negative_prompt, datatype: BYTES, optional: true}}
      - {{name: width, field: width, datatype: INT32}}
      - {{name: height, field: height, datatype: INT32}}
      - {{name: seed, field: seed, datatype: INT64}}
      - {{name: steps, field: steps, datatype: INT32}}
      - {{name: guidance, field: guidance, datatype: FP32}}
    outputs:
      - {{name: pixels, gives: image, datatype: FP32, shape: [1, 3, -1, -1], range: 0..1}}
      - {{name: progress, gives: progress, datatype: FP32}}
      - {{name: device_seconds, gives: device_seconds, datatype: FP64}}
engines:
  - {{name: box0, type: triton, url: '{url}', slots: 4, models: [{model}], mapping: [diffusers]}}
"""


@pytest.fixture(scope="module")
def diffusers(tmp_path_factory):
    try:
        install()
        install_diffusers()
    except Unavailable as error:
        pytest.skip(f"no diffusers behind Triton: {error}")
    log = tmp_path_factory.mktemp("diffusers") / "triton.log"
    server = Triton(log, ("diffusers",), packages=site_packages(DIFFUSERS)).start()
    yield server
    server.kill()


@pytest.fixture
def server(diffusers, start_gateway):
    return front(start_gateway, CONFIG.format(url=diffusers.grpc, model=MODEL))


def direct(diffusers, folder, width, height, **fields):
    folder.mkdir()
    words = [python(), "-B", HERE / "reference.py", "stream", f"127.0.0.1:{diffusers.grpc_port}", "diffusers",
             json.dumps({"width": width, "height": height, **FIELDS, **fields}), folder]
    subprocess.run(words, check=True, timeout=300)
    (picture,) = folder.glob("*-pixels")
    return pixels_of(picture.read_bytes())


@pytest.mark.parametrize("change", [{}, {"seed": 4294967295}, {"steps": 5}, {"guidance": 1.5}, {"negative_prompt": "blurry"},
                                    {"format": "portrait"}], ids=str)
def test_each_parameter_reaches_the_pipeline(diffusers, server, tmp_path, change):
    answer = good(server, server.generate(path=PATH, **{**FIELDS, **change}))
    width, height = Image.open(io.BytesIO(answer.content)).size
    fields = {name: value for name, value in change.items() if name != "format"}
    assert pixels_of(answer.content) == direct(diffusers, tmp_path / "direct", width, height, **fields)
    plain = direct(diffusers, tmp_path / "plain", width, height)
    assert (pixels_of(answer.content) == plain) == (not fields)
    assert 0 < float(answer.headers["x-gpu-seconds"]) < 600


def test_every_step_is_told(server):
    events = follow(server, submit(server, {"family": "flux", "model": "dev", "task": "t2i", "format": "512", **FIELDS}))
    steps = [data["step"] for _, name, data in events if name == "progress"]
    assert steps[:3] == [1, 2, 3] and events[-1][1] == "complete", events


def test_a_cancel_stops_it_between_two_steps(diffusers, server):
    body = {"family": "flux", "model": "dev", "task": "t2i", "format": "512", **FIELDS}
    long = submit(server, {**body, "steps": 50})
    wait_for("the first step", lambda: server.get(f"/jobs/{long['id']}", allow_redirects=False).json().get("progress"))
    other = submit(server, {**body, "steps": 2})
    assert server.post(f"/jobs/{long['id']}/cancel").status_code == 200
    wait_for("the pipeline's word", lambda: diffusers.said("diffusers cancelled"))
    assert ended(server, long)["status"] == "cancelled" and ended(server, other)["status"] == "complete"


def test_several_at_once(server):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: server.generate(path=PATH, **{**FIELDS, "seed": seed, "steps": 2}), range(8)))
    assert [good(server, answer).status_code for answer in answers] == [200] * 8
    assert len({answer.content for answer in answers}) == 8
