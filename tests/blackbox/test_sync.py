# SPDX-License-Identifier: Apache-2.0
"""The sync tier: POST a generation, receive the bytes."""
import hashlib
import io
import json
import re
import subprocess

import blake3
import pytest
from PIL import Image

from conftest import ROOT

IMAGE_FORMATS = {"1024": (1024, 1024), "512": (512, 512), "portrait": (768, 1024), "portrait-wide": (576, 1024),
                 "landscape": (1024, 768), "landscape-wide": (1024, 576)}
VIDEO_FORMATS = {"720p": (1280, 720), "720p-portrait": (720, 1280), "480p": (832, 480),
                 "480p-portrait": (480, 832), "square": (640, 640)}


def picture(answer):
    assert answer.status_code == 200, answer.text[:500]
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    return image


def test_answer_carries_everything_the_contract_names(gateway):
    answer = gateway.generate(seed=7)
    image = picture(answer)
    assert image.format == "PNG" and image.size == (512, 512)
    headers = answer.headers
    assert headers["Content-Type"] == "image/png"
    assert int(headers["Content-Length"]) == len(answer.content)
    assert re.fullmatch(r"req_[A-Za-z0-9]+", headers["X-Weyl-Request-Id"])
    assert headers["X-Weyl-Seed"] == "7"
    assert re.fullmatch(r"\d+", headers["X-Weyl-Duration-Ms"])
    assert re.fullmatch(r"\d+\.\d{9}", headers["x-gpu-seconds"]) and float(headers["x-gpu-seconds"]) > 0
    assert headers["x-gpu-device"] == "cpu"
    name = blake3.blake3(answer.content).hexdigest()
    assert headers["Content-Location"] == f"{gateway.url}/a/a_{name}"
    again = gateway.get(headers["Content-Location"], key=None)
    assert again.content == answer.content


def test_same_request_and_seed_same_pixels(gateway):
    first, second = gateway.generate(seed=3), gateway.generate(seed=3)
    assert picture(first).tobytes() == picture(second).tobytes()
    assert picture(gateway.generate(seed=4)).tobytes() != picture(first).tobytes()


def test_a_seed_is_drawn_and_reported(gateway):
    first, second = gateway.generate(), gateway.generate()
    assert first.headers["X-Weyl-Seed"] != second.headers["X-Weyl-Seed"]
    replay = gateway.generate(seed=int(first.headers["X-Weyl-Seed"]))
    assert replay.content == first.content


@pytest.mark.parametrize("accept,kind", [
    (None, "PNG"), ("*/*", "PNG"), ("image/*", "PNG"), ("image/webp", "WEBP"), ("image/jpeg", "JPEG"),
    ("image/png;q=0.5, image/webp;q=0.8", "WEBP"), ("text/html, image/jpeg;q=0.1", "JPEG")])
def test_accept_chooses_the_type(gateway, accept, kind):
    assert picture(gateway.generate(seed=1, accept=accept)).format == kind


@pytest.mark.parametrize("accept", ["text/html", "video/mp4", "image/gif", "image/png;q=0, image/webp;q=0, image/jpeg;q=0"])
def test_nothing_acceptable_is_406(gateway, accept):
    answer = gateway.generate(accept=accept)
    assert answer.status_code == 406 and answer.json()["error"] == "not_acceptable"


@pytest.mark.parametrize("name,size", IMAGE_FORMATS.items())
def test_image_formats(gateway, name, size):
    assert picture(gateway.generate(format=name, steps=1, accept="image/jpeg")).size == size


def probe(content):
    out = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json", "-"],
                         input=content, capture_output=True, check=True)
    assert out.stderr == b""
    return json.loads(out.stdout)


@pytest.mark.parametrize("name,size", VIDEO_FORMATS.items())
def test_video_formats(gateway, name, size):
    answer = gateway.generate(path="/video/builtin/plasma/t2v", format=name, duration=0.5, steps=2)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "video/mp4"
    info = probe(answer.content)
    stream = info["streams"][0]
    assert (stream["width"], stream["height"]) == size
    assert float(info["format"]["duration"]) == pytest.approx(0.5, abs=0.05)


def test_image_to_video(gateway):
    source = gateway.generate(seed=2).headers["Content-Location"]
    answer = gateway.generate(path="/video/builtin/plasma/i2v", format="480p", duration=0.5, image=source)
    assert answer.status_code == 200, answer.text
    assert probe(answer.content)["streams"][0]["codec_type"] == "video"


def test_count_gives_parts(gateway):
    import email
    answer = gateway.generate(count=3, seed=4294967295)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("multipart/mixed; boundary=")
    message = email.message_from_bytes(
        b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.content)
    parts = message.get_payload()
    assert [part["X-Weyl-Seed"] for part in parts] == ["4294967295", "0", "1"]
    for part in parts:
        body = part.get_payload(decode=True)
        assert Image.open(io.BytesIO(body)).size == (512, 512)
        assert part["Content-Location"].endswith("a_" + blake3.blake3(body).hexdigest())
        assert int(part["Content-Length"]) == len(body)


@pytest.mark.parametrize("count", [1, 4])
def test_json_with_asset_urls(gateway, count):
    answer = gateway.generate(count=count, seed=11, accept="application/json, image/webp;q=0.5")
    body = answer.json()
    assert answer.status_code == 200 and len(body["outputs"]) == count
    for index, output in enumerate(body["outputs"]):
        asset = gateway.get(output["url"], key=None)
        assert output["content_type"] == asset.headers["Content-Type"] == "image/webp"
        assert output["seed"] == 11 + index and output["bytes"] == len(asset.content)
        assert output["blake3"] == blake3.blake3(asset.content).hexdigest()
        assert output["sha256"] == hashlib.sha256(asset.content).hexdigest()
        assert (output["width"], output["height"]) == (512, 512)


def test_image_to_image_starts_from_the_image(gateway):
    source = gateway.generate(prompt="a blue square", seed=5)
    url = source.headers["Content-Location"]
    near = picture(gateway.generate(path="/image/builtin/plasma/i2i", image=url, strength=0, seed=9))
    far = picture(gateway.generate(path="/image/builtin/plasma/i2i", image=url, strength=1, seed=9))
    assert near.convert("RGB").tobytes() == picture(source).convert("RGB").tobytes()
    assert far.convert("RGB").tobytes() != picture(source).convert("RGB").tobytes()


def data_uri(image, kind="png"):
    import base64
    out = io.BytesIO()
    image.save(out, kind)
    return f"data:image/{kind};base64," + base64.b64encode(out.getvalue()).decode()


def test_edit_keeps_black_bit_for_bit(gateway):
    source = Image.effect_noise((512, 512), 90).convert("RGB")
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (100, 120, 300, 340))
    answer = gateway.generate(path="/image/builtin/plasma/edit", prompt="a red circle", seed=1,
                              image=data_uri(source), mask=data_uri(mask))
    edited = picture(answer).convert("RGB")
    changed = 0
    before, after, keep = source.load(), edited.load(), mask.load()
    for y in range(512):
        for x in range(512):
            if keep[x, y] == 0:
                assert after[x, y] == before[x, y], (x, y)
            else:
                changed += after[x, y] != before[x, y]
    assert changed > 0.9 * 200 * 220


def test_model_hub_ids_are_aliases(start_gateway, tmp_path):
    shipped = (ROOT / "api" / "catalogue.yaml").read_text()
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(shipped.replace("  - id: builtin/plasma\n", "  - id: builtin/plasma\n    alias: Some-Org/Plasma.1-test\n"))
    server = start_gateway(config=f"catalogue: {catalogue}\n")
    by_name = server.generate(seed=1)
    by_id = server.generate(path="/image/Some-Org/Plasma.1-test/t2i", seed=1)
    assert by_name.status_code == by_id.status_code == 200, by_id.text
    assert by_name.content == by_id.content
    assert server.get("/models/aliases").json()["aliases"]["Some-Org/Plasma.1-test"] == "builtin/plasma"
    # the shipped ones resolve too; no backend is configured for this one
    answer = server.generate(path="/image/black-forest-labs/FLUX.1-schnell/t2i")
    assert answer.status_code == 503 and answer.json()["error"] == "model_unavailable"


def test_no_backend_is_503_with_retry_after(gateway):
    answer = gateway.generate(path="/image/flux/schnell/t2i")
    assert answer.status_code == 503
    assert answer.json()["error"] == "model_unavailable" and int(answer.headers["Retry-After"]) > 0
    answer = gateway.generate(query="&backend=tensorrt")
    assert answer.status_code in (400, 503)


@pytest.mark.parametrize("path,code", [
    ("/image/nobody/nothing/t2i", "model_not_found"), ("/audio/builtin/plasma/t2i", "not_found"),
    ("/image/builtin/plasma/t2v", "not_found"), ("/video/builtin/plasma/t2i", "not_found"),
    ("/image/builtin/plasma/paint", "not_found"), ("/video/flux/schnell/t2v", "model_not_found"),
    ("/image/zimage/turbo/i2i", "not_found")])
def test_unknown_models_and_tasks_are_404(gateway, path, code):
    answer = gateway.generate(path=path)
    assert answer.status_code == 404 and answer.json()["error"] == code


def test_all_problems_at_once_and_nothing_stored(gateway):
    objects = int(re.search(r"^render_objects (\d+)", gateway.get("/metrics").text, re.M)[1])
    answer = gateway.post("/image/builtin/plasma/i2i?format=huge", json={
        "prompt": "", "steps": 0, "seed": -1, "guidance": "high", "count": 9, "sampler": "nope"})
    body = answer.json()
    assert answer.status_code == 400 and body["error"] == "invalid_request"
    fields = {problem["field"] for problem in body["details"]}
    assert fields == {"prompt", "steps", "seed", "guidance", "count", "sampler", "format", "image"}
    assert all(problem["constraint"] and problem["message"] for problem in body["details"])
    assert body["request_id"] == answer.headers["X-Weyl-Request-Id"]
    assert int(re.search(r"^render_objects (\d+)", gateway.get("/metrics").text, re.M)[1]) == objects


def test_unknown_fields_are_kept(gateway):
    assert gateway.generate(seed=1, my_own_field={"a": 1}).status_code == 200


def test_capacity_is_503_with_the_alternate_link(start_gateway):
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 1, models: [builtin/plasma]}\n")
    import threading
    first = []
    slow = threading.Thread(target=lambda: first.append(
        server.generate(path="/video/builtin/plasma/t2v", format="720p", duration=4, steps=20)))
    slow.start()
    while 'render_backend_slots_taken{backend="p"} 1' not in server.get("/metrics").text:
        assert slow.is_alive(), first
    answer = server.generate()
    assert answer.status_code == 503 and answer.json()["error"] == "capacity_exhausted"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Link"] == f'<{server.url}/queue>; rel="alternate"'
    slow.join()
    assert first[0].status_code == 200
