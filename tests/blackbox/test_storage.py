# SPDX-License-Identifier: Apache-2.0
"""Assets, attestations, uploads and objects."""
import base64
import hashlib
import io
import json
import os
import re

import blake3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image


def png(width=64, height=48, kind="PNG"):
    out = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def asset(gateway):
    answer = gateway.generate(seed=21)
    assert answer.status_code == 200
    return answer.headers["Content-Location"], answer.content


def test_asset_is_immutable_and_public(gateway, asset):
    url, content = asset
    answer = gateway.get(url, key=None)
    assert answer.content == content
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["ETag"] == f'"{blake3.blake3(content).hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head = gateway.request("HEAD", url, key=None)
    assert head.content == b"" and head.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("spec,first,last", [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-7", -7, None),
                                             ("bytes=5-99999999", 5, None)])
def test_ranges(gateway, asset, spec, first, last):
    url, content = asset
    answer = gateway.get(url, key=None, headers={"Range": spec})
    expected = content[first:] if last is None else content[first:last + 1]
    assert answer.status_code == 206 and answer.content == expected
    start = len(content) + first if first < 0 else first
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(content)}"


def test_ranges_that_do_not_fit_or_do_not_count(gateway, asset):
    url, content = asset
    answer = gateway.get(url, key=None, headers={"Range": f"bytes={len(content)}-"})
    assert answer.status_code == 416 and answer.headers["Content-Range"] == f"bytes */{len(content)}"
    for spec in ("bytes=0-1,5-6", "lines=1-2", "bytes=9-2", "bytes=a-b"):
        answer = gateway.get(url, key=None, headers={"Range": spec})
        assert answer.status_code == 200 and answer.content == content, spec


def test_conditional_requests(gateway, asset):
    url, content = asset
    first = gateway.get(url, key=None)
    etag, modified = first.headers["ETag"], first.headers["Last-Modified"]

    def ask(**headers):
        return gateway.get(url, key=None, headers={k.replace("_", "-"): v for k, v in headers.items()})
    for answer in (ask(If_None_Match=etag), ask(If_None_Match=f'"x", {etag}'), ask(If_None_Match="*"),
                   ask(If_Modified_Since=modified)):
        assert answer.status_code == 304 and answer.content == b"" and answer.headers["ETag"] == etag
    assert ask(If_None_Match='"other"').status_code == 200
    assert ask(If_Match='"other"').status_code == 412
    assert ask(If_Match=etag).status_code == 200
    assert ask(Range="bytes=0-9", If_Range=etag).status_code == 206
    assert ask(Range="bytes=0-9", If_Range='"other"').content == content


@pytest.mark.parametrize("name", ["a_" + "0" * 64, "a_" + "0" * 22, "a_x", "b_" + "0" * 64, "a_" + "F" * 64])
def test_unknown_assets_are_404(gateway, name):
    assert gateway.get(f"/a/{name}", key=None).status_code == 404
    assert gateway.get(f"/a/{name}/attestation", key=None).status_code == 404


def unb64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_attestation_verifies_with_other_peoples_code(gateway, asset):
    url, content = asset
    envelope = gateway.get(url + "/attestation", key=None).json()
    jwk = gateway.get("/.well-known/jwks.json", key=None).json()["keys"][0]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = envelope["signatures"][0]
    Ed25519PublicKey.from_public_bytes(unb64url(jwk["x"])).verify(base64.b64decode(signature["sig"]), pae)
    assert signature["keyid"] == jwk["kid"]
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digest = statement["subject"][0]["digest"]
    assert digest["sha256"] == hashlib.sha256(content).hexdigest()
    assert digest["blake3"] == blake3.blake3(content).hexdigest()


def test_attestation_does_not_show_the_prompt(gateway):
    answer = gateway.generate(prompt="the secret of the golden lighthouse", seed=1)
    envelope = gateway.get(answer.headers["Content-Location"] + "/attestation", key=None).json()
    assert b"lighthouse" not in base64.b64decode(envelope["payload"])


# ---- uploads ----

def ticket(gateway, content, kind="image/png", **kw):
    return gateway.post("/uploads", json={"content_type": kind, "bytes": len(content)}, **kw)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_upload_and_use(gateway, kind):
    content = png(kind=kind)
    answer = ticket(gateway, content, f"image/{kind.lower()}")
    assert answer.status_code == 200
    urls = answer.json()
    assert gateway.get(urls["asset_url"], key=None).status_code == 404
    put = gateway.put(urls["upload_url"], key=None, data=content)
    assert put.status_code == 201, put.text
    stored = gateway.get(urls["asset_url"], key=None)
    assert stored.content == content and stored.headers["Content-Type"] == f"image/{kind.lower()}"
    assert gateway.get(put.headers["Content-Location"], key=None).content == content
    used = gateway.generate(path="/image/builtin/plasma/i2i", image=urls["asset_url"], strength=0.3)
    assert used.status_code == 200, used.text


def test_upload_url_works_once(gateway):
    content = png()
    urls = ticket(gateway, content).json()
    assert gateway.put(urls["upload_url"], key=None, data=content).status_code == 201
    assert gateway.put(urls["upload_url"], key=None, data=content).status_code == 410


def test_upload_of_another_length_is_refused_and_may_be_tried_again(gateway):
    content = png()
    urls = ticket(gateway, content).json()
    for wrong in (content[:-1], content + b"x", b""):
        assert gateway.put(urls["upload_url"], key=None, data=wrong).status_code == 400, len(wrong)

    def chunks(data):
        yield data
    assert gateway.put(urls["upload_url"], key=None, data=chunks(content + b"x")).status_code == 400
    assert gateway.put(urls["upload_url"], key=None, data=chunks(content)).status_code == 201


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>hello</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
                                     b"GIF89a" + b"\0" * 40, png(kind="JPEG")])
def test_uploads_are_what_they_claim(gateway, content):
    urls = ticket(gateway, content, "image/png").json()
    answer = gateway.put(urls["upload_url"], key=None, data=content, headers={"Content-Type": "image/png"})
    assert answer.status_code == 415, answer.text
    assert gateway.get(urls["asset_url"], key=None).status_code == 404


def test_decompression_bomb_is_refused(gateway):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000)) + chunk(b"IEND", b"")
    urls = ticket(gateway, bomb).json()
    assert gateway.put(urls["upload_url"], key=None, data=bomb).status_code == 415


@pytest.mark.parametrize("body,fields", [
    ({}, {"content_type", "bytes"}), ({"content_type": "image/gif", "bytes": 0}, {"content_type", "bytes"}),
    ({"content_type": "image/png", "bytes": 52428801}, {"bytes"}), ({"content_type": 7, "bytes": "many"}, {"content_type", "bytes"})])
def test_upload_requests_are_checked(gateway, body, fields):
    answer = gateway.post("/uploads", json=body)
    assert answer.status_code == 400 and {p["field"] for p in answer.json()["details"]} == fields


def test_the_largest_upload(gateway):
    """50 MiB are streamed: the memory of the server stays far below that."""
    def resident():
        status = open(f"/proc/{gateway.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    import struct
    import zlib
    base = png()
    filler = 52428800 - len(base) - 12
    text = b"tEXt" + b"Comment\0" + b"x" * (filler - 8)
    content = base[:33] + struct.pack(">I", filler) + text + struct.pack(">I", zlib.crc32(text)) + base[33:]
    assert len(content) == 52428800
    before = resident()
    urls = ticket(gateway, content).json()
    assert gateway.put(urls["upload_url"], key=None, data=content).status_code == 201
    if not os.environ.get("SANITIZED"):
        assert resident() - before < 16 * 1024
    assert hashlib.sha256(gateway.get(urls["asset_url"], key=None).content).digest() == hashlib.sha256(content).digest()


# ---- objects ----

def test_objects_by_hash(gateway):
    content = os.urandom(100_000)
    name = blake3.blake3(content).hexdigest()
    path = f"/v1/objects/{name}"
    assert gateway.get(path).status_code == 404
    assert gateway.put(path, data=content).status_code == 201
    assert gateway.put(path, data=content).status_code == 200
    assert gateway.get(path).content == content
    assert gateway.request("HEAD", path).headers["Content-Length"] == str(len(content))
    assert gateway.get(path, key=None).status_code == 401
    assert gateway.get(f"/a/a_{name}", key=None).status_code == 404  # no picture: not on the public route


def test_object_under_a_wrong_name_is_422_and_not_stored(gateway):
    content = os.urandom(1000)
    name = blake3.blake3(content + b"x").hexdigest()
    answer = gateway.put(f"/v1/objects/{name}", data=content)
    assert answer.status_code == 422 and answer.json()["error"] == "hash_mismatch"
    assert gateway.get(f"/v1/objects/{name}").status_code == 404
    assert gateway.get(f"/v1/objects/{blake3.blake3(content).hexdigest()}").status_code == 404


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65536, 3_000_000, 20_000_000])
def test_objects_of_every_size(gateway, size):
    content = os.urandom(size)
    name = blake3.blake3(content).hexdigest()
    assert gateway.put(f"/v1/objects/{name}", data=content).status_code == 201
    assert gateway.get(f"/v1/objects/{name}").content == content


def test_tenants_do_not_see_each_others_objects(gateway):
    ours, theirs = gateway.new_key("ours")["key"], gateway.new_key("theirs")["key"]
    content = os.urandom(5000)
    path = f"/v1/objects/{blake3.blake3(content).hexdigest()}"
    assert gateway.put(path, key=ours, data=content).status_code == 201
    assert gateway.get(path, key=theirs).status_code == 404
    assert gateway.put(path, key=theirs, data=content).status_code == 201  # as if nobody had it
    assert gateway.get(path, key=theirs).content == content
