# SPDX-License-Identifier: Apache-2.0
"""What a stranger can check about an output: offline, by `render verify` and by a verifier that shares no code
with it (verifiers/verify_attestation.py: securesystemslib, cryptography). Both must accept what was signed, and
both must refuse it after any change: each case below is given to both."""
import base64
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys

import blake3
import pytest
from conftest import ROOT, program
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from tools import need

VERIFIER = ROOT / "tests/blackbox/verifiers/verify_attestation.py"
OK, USAGE, IO, UNVERIFIED = 0, 1, 8, 9


class Made:
    """One output in a folder of its own: the file, its envelope beside it, the keys."""

    def __init__(self, folder, gateway, answer, suffix="png"):
        self.folder, self.answer = folder, answer
        self.file, self.jwks = folder / f"made.{suffix}", folder / "keys.json"
        self.envelope = folder / f"made.{suffix}.intoto.json"
        self.file.write_bytes(answer.content)
        self.envelope.write_bytes(gateway.get(answer.headers["Content-Location"] + "/attestation", key=None).content)
        self.jwks.write_bytes(gateway.get("/.well-known/jwks.json", key=None).content)

    def copy(self, folder):
        other = object.__new__(Made)
        other.__dict__.update(self.__dict__, folder=folder, **{
            name: folder / getattr(self, name).name for name in ("file", "jwks", "envelope")})
        for name in ("file", "jwks", "envelope"):
            shutil.copy(getattr(self, name), folder)
        return other

    def dsse(self):
        return json.loads(self.envelope.read_text())

    def statement(self):
        return json.loads(base64.b64decode(self.dsse()["payload"]))

    def write(self, dsse):
        self.envelope.write_text(json.dumps(dsse))

    def render(self, *more, keys=True):
        """`render verify`, with nothing to ask: no gateway, no key of one."""
        words = [program("render"), "verify", str(self.file)] + (["--jwks", str(self.jwks)] if keys else []) + list(more)
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env={
            "PATH": os.environ["PATH"], "RENDER_URL": "http://127.0.0.1:1",
            **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}})

    def other(self):
        return subprocess.run([sys.executable, str(VERIFIER), str(self.file), str(self.envelope), str(self.jwks)],
                              capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def original(gateway, tmp_path_factory):
    answer = gateway.generate("a lighthouse nobody shall read of", seed=77, steps=4)
    assert answer.status_code == 200
    return Made(tmp_path_factory.mktemp("original"), gateway, answer)


@pytest.fixture
def made(original, tmp_path):
    return original.copy(tmp_path)


def test_it_is_accepted(made):
    result = made.render()
    assert result.returncode == OK, result.stderr
    assert result.stdout.startswith(f"{made.file}: verified\n") and result.stderr == ""
    assert "builtin/plasma" in result.stdout and made.answer.headers["X-Weyl-Request-Id"] in result.stdout
    assert made.other().returncode == 0, made.other().stderr
    quiet = made.render("-q")
    assert quiet.returncode == OK and quiet.stdout == f"{made.file}: verified\n"
    report = json.loads(made.render("--json").stdout)
    assert report["verified"] and report["signature_ok"] and report["statement_ok"] and report["subject_ok"]
    assert report["problem"] is None and report["statement"] == made.statement()


def test_the_key_alone_is_enough(made):
    x = json.loads(made.jwks.read_text())["keys"][0]["x"]
    raw = base64.urlsafe_b64decode(x + "=")
    for text in (raw.hex(), base64.b64encode(raw).decode(), x):
        assert made.render("--key", text, keys=False).returncode == OK, text
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    assert made.render("--key", stranger, keys=False).returncode == UNVERIFIED
    for unsound in (bytes(32).hex(), raw.hex()[:-2], raw.hex() + "00", "", "key"):
        assert made.render("--key", unsound, keys=False).returncode == USAGE, unsound


def test_base64url_and_unknown_members_are_read(made):
    """Verifiers must take both alphabets, and ignore what they do not know."""
    dsse = made.dsse()
    dsse["payload"] = dsse["payload"].replace("+", "-").replace("/", "_")
    dsse["signatures"][0]["sig"] = dsse["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    dsse["later"] = {"a": 1}
    made.write(dsse)
    assert made.render().returncode == OK


def test_another_signature_beside_it_does_no_harm(made):
    dsse = made.dsse()
    dsse["signatures"].insert(0, {"keyid": "someone", "sig": base64.b64encode(bytes(64)).decode()})
    made.write(dsse)
    assert made.render().returncode == OK
    assert made.other().returncode == 0


# ---- refusals: (what is changed, which of signature/statement/subject still hold) ----

def flip(path, offset, bit=0):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def flip_in(made, name, offset):
    dsse = made.dsse()
    where = dsse if name == "payload" else dsse["signatures"][0]
    content = bytearray(base64.b64decode(where[name]))
    content[offset] ^= 1
    where[name] = base64.b64encode(content).decode()
    made.write(dsse)


def new_key(made):
    x = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).rstrip(b"=").decode()
    import hashlib
    text = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":")).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    made.jwks.write_text(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}]}))


def sign_again(made, change):
    """A statement that was changed and signed by another key, whose id says it is the gateway's."""
    dsse, statement = made.dsse(), made.statement()
    change(statement)
    payload, kind = json.dumps(statement).encode(), dsse["payloadType"].encode()
    key = Ed25519PrivateKey.generate()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    dsse["payload"] = base64.b64encode(payload).decode()
    dsse["signatures"][0]["sig"] = base64.b64encode(key.sign(pae)).decode()
    made.write(dsse)


def edit_dsse(made, change):
    dsse = made.dsse()
    change(dsse)
    made.write(dsse)


CHANGES = {
    "first bit of the file": (lambda m: flip(m.file, 0), True),
    "a bit in the middle of the file": (lambda m: flip(m.file, m.file.stat().st_size // 2, 3), True),
    "last bit of the file": (lambda m: flip(m.file, -1, 7), True),
    "a byte more": (lambda m: m.file.write_bytes(m.file.read_bytes() + b"\0"), True),
    "a byte less": (lambda m: m.file.write_bytes(m.file.read_bytes()[:-1]), True),
    "no bytes": (lambda m: m.file.write_bytes(b""), True),
    "first bit of the statement": (lambda m: flip_in(m, "payload", 0), False),
    "a bit in the middle of the statement": (lambda m: flip_in(m, "payload", len(m.statement()) // 2), False),
    "last bit of the statement": (lambda m: flip_in(m, "payload", -1), False),
    "first bit of the signature": (lambda m: flip_in(m, "sig", 0), False),
    "last bit of the signature": (lambda m: flip_in(m, "sig", -1), False),
    "another key": (new_key, False),
    "forged by another key": (lambda m: sign_again(m, lambda s: s["subject"][0].update(name="x")), False),
    "payload type": (lambda m: edit_dsse(m, lambda d: d.update(payloadType="application/vnd.in-toto+jsoN")), False),
    "no signatures": (lambda m: edit_dsse(m, lambda d: d.update(signatures=[])), False),
    "an empty signature": (lambda m: edit_dsse(m, lambda d: d["signatures"][0].update(sig="")), False),
    "signature cut": (lambda m: edit_dsse(m, lambda d: d["signatures"][0].update(sig=d["signatures"][0]["sig"][:84])), False),
    "an envelope cut in half": (lambda m: m.envelope.write_bytes(m.envelope.read_bytes()[:m.envelope.stat().st_size // 2]), False),
    "an envelope without its last byte": (lambda m: m.envelope.write_bytes(m.envelope.read_bytes().rstrip()[:-1]), False),
    "an empty envelope": (lambda m: m.envelope.write_bytes(b""), False),
    "an envelope of something else": (lambda m: m.envelope.write_text('{"a": 1}'), False),
    "an envelope that is a list": (lambda m: m.envelope.write_text("[1]"), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_refused_after_a_change(made, name):
    change, signature_holds = CHANGES[name]
    change(made)
    result = made.render()
    assert result.returncode == UNVERIFIED, (result.returncode, result.stdout, result.stderr)
    first, *rest = result.stdout.splitlines()
    assert first.startswith(f"{made.file}: NOT VERIFIED: ") and len(first) > len(f"{made.file}: NOT VERIFIED: ") + 5
    assert (f"  signature  {'good' if signature_holds else 'not good'}") in rest
    assert "verified\n" not in result.stdout.replace("NOT VERIFIED", "")
    report = json.loads(made.render("--json").stdout)
    assert report["verified"] is False and report["signature_ok"] is signature_holds and report["problem"]
    assert not report["subject_ok"]
    other = made.other()
    assert other.returncode == 1, (other.returncode, other.stderr)


def test_the_output_of_another_request_does_not_pass(made, gateway):
    other = gateway.generate("something else", seed=78, steps=1)
    made.envelope.write_bytes(gateway.get(other.headers["Content-Location"] + "/attestation", key=None).content)
    result = made.render()
    assert result.returncode == UNVERIFIED and "  signature  good" in result.stdout
    assert made.other().returncode == 1


def test_what_is_missing_is_not_a_verdict(made):
    """A file that cannot be read and keys that are none are other exit codes than a refusal."""
    assert made.render(keys=False).returncode == USAGE
    assert "whose signature do you trust" in made.render(keys=False).stderr
    made.jwks.write_text("{}")
    assert made.render().returncode == USAGE and "keys" in made.render().stderr
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    made.jwks.unlink()
    assert made.render().returncode == IO
    for path in (made.envelope, made.file):
        path.unlink()
        result = made.render("--key", stranger, keys=False)
        assert result.returncode == IO and str(path) in result.stderr


# ---- what is signed is true, and what it is about opens ----

def test_the_statement_agrees_with_the_answer(original):
    headers, statement = original.answer.headers, original.statement()
    predicate = statement["predicate"]
    parameters = predicate["buildDefinition"]["externalParameters"]
    metadata = predicate["runDetails"]["metadata"]
    subject = statement["subject"][0]
    assert len(statement["subject"]) == 1
    assert subject["digest"]["blake3"] == blake3.blake3(original.answer.content).hexdigest()
    assert headers["Content-Location"].endswith("a_" + subject["digest"]["blake3"])
    assert metadata["invocationId"] == headers["X-Weyl-Request-Id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["startedOn"])
    assert metadata["startedOn"] <= metadata["finishedOn"]
    text = json.dumps(parameters)
    assert (parameters["family"], parameters["model"], parameters["task"]) == ("builtin", "plasma", "t2i")
    assert re.search(r'"seed": "?77"?\b', text) and re.search(r'"steps": 4\b', text), text
    assert "lighthouse" not in json.dumps(statement)
    device = next(b for b in predicate["runDetails"]["byproducts"] if b["name"] == "device-time")["annotations"]
    assert device["device"] == headers["x-gpu-device"] and device["source"] == "cpu" and device["outputs"] == 1
    assert device["seconds"] == float(headers["x-gpu-seconds"]) > 0


def test_several_outputs_have_statements_of_their_own(gateway):
    answer = gateway.generate(count=3, seed=5, steps=1, accept="application/json").json()
    for index, output in enumerate(answer["outputs"]):
        statement = json.loads(base64.b64decode(gateway.get(output["attestation"], key=None).json()["payload"]))
        assert statement["subject"][0]["digest"] == {"sha256": output["sha256"], "blake3": output["blake3"]}
        assert re.search(rf'"seed": "?{5 + index}"?\b', json.dumps(statement)), index


def test_sources_stand_in_the_statement_by_their_digest(gateway, original):
    import hashlib
    source = original.answer.headers["Content-Location"]
    answer = gateway.generate(path="/image/builtin/plasma/i2i", image=source, seed=1, steps=1)
    statement = json.loads(base64.b64decode(
        gateway.get(answer.headers["Content-Location"] + "/attestation", key=None).json()["payload"]))
    materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert hashlib.sha256(original.answer.content).hexdigest() in {m.get("digest", {}).get("sha256") for m in materials}


@pytest.mark.parametrize("accept,kind", [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")])
def test_every_kind_verifies_and_opens(gateway, tmp_path, accept, kind):
    made = Made(tmp_path, gateway, gateway.generate(seed=3, steps=2, accept=accept), kind.lower())
    assert made.render().returncode == OK and made.other().returncode == 0
    image = Image.open(io.BytesIO(made.file.read_bytes()))
    image.load()
    assert image.format == kind and image.size == (512, 512)
    if kind == "PNG":
        need("pngcheck")
        checked = subprocess.run(["pngcheck", "-q", str(made.file)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and checked.stdout == "", checked.stdout
    flip(made.file, made.file.stat().st_size // 2)
    assert made.render().returncode == UNVERIFIED


def test_a_video_verifies_and_opens(gateway, tmp_path):
    need("ffprobe")
    answer = gateway.generate(path="/video/builtin/plasma/t2v", format="480p", duration=0.5, steps=1)
    made = Made(tmp_path, gateway, answer, "mp4")
    assert made.render().returncode == OK and made.other().returncode == 0
    out = subprocess.run(["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(made.file)], capture_output=True,
                         text=True, check=True)
    assert out.stderr == "" and json.loads(out.stdout)["streams"][0]["codec_type"] == "video"
    assert struct.unpack(">4s", made.file.read_bytes()[4:8])[0] == b"ftyp"
    flip(made.file, made.file.stat().st_size // 2)
    assert made.render().returncode == UNVERIFIED


# ---- prompts: private, and the owner can reveal them ----

def test_the_owner_can_reveal_a_prompt(gateway, tmp_path):
    prompt = "a red lighthouse, \"quoted\" and \u00e4\u00f6\u00fc"
    answer = gateway.generate(prompt=prompt, negative_prompt="fog", seed=5)
    asset = answer.headers["Content-Location"]
    salts = gateway.get(asset + "/reveal").json()["salts"]
    envelope = gateway.get(asset + "/attestation", key=None).json()
    parameters = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["buildDefinition"]["externalParameters"]
    for field, text in (("prompt", prompt), ("negative_prompt", "fog")):
        commitment = hashlib.sha256(bytes.fromhex(salts[field]) + text.encode()).hexdigest()
        assert parameters[field] == {"commitment": "sha256:" + commitment}
    assert len(set(salts.values())) == 3
    # with the command line: the owner's `reveal`, anybody's `verify`
    picture, keys = tmp_path / "p.png", tmp_path / "keys.json"
    picture.write_bytes(answer.content)
    (tmp_path / "p.png.intoto.json").write_text(json.dumps(envelope))
    keys.write_text(gateway.get("/.well-known/jwks.json", key=None).text)
    env = {**os.environ, "RENDER_URL": gateway.url, "RENDER_API_KEY": gateway.key}
    salt = subprocess.run([program("render"), "reveal", asset], env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert salt == salts["prompt"]
    for text, code in ((prompt, 0), (prompt + " ", 9), ("", 9)):
        done = subprocess.run([program("render"), "verify", str(picture), "--jwks", str(keys), "--prompt", text, "--salt", salt],
                              capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr


def test_only_the_maker_gets_a_salt_that_fits(gateway):
    mine, other = gateway.new_key("revealer")["key"], gateway.new_key("stranger")["key"]
    answer = gateway.generate(prompt="a quiet harbour", seed=77, key=mine)
    path = answer.headers["Content-Location"] + "/reveal"
    salt = gateway.get(path, key=mine).json()["salts"]["prompt"]
    assert gateway.get(path, key=None).status_code == 401
    assert gateway.get(path, key=other).status_code == 404
    # the same output made by another tenant: it owns the bytes too, yet its salt opens nothing
    again = gateway.generate(prompt="a quiet harbour", seed=77, key=other)
    assert again.content == answer.content
    assert gateway.get(path, key=other).json()["salts"]["prompt"] != salt
