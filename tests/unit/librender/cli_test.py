# SPDX-License-Identifier: Apache-2.0
"""The program `render` against the stub gateway: every command, every exit code, what is written where.
Also examples/generate.c, as its reader would run it.

usage: cli_test.py RENDER EXAMPLE    (prints TAP)
"""
import json
import os
import pathlib
import pty
import shutil
import stat
import subprocess
import sys
import tempfile

import stub_gateway as stub

RENDER = os.path.abspath(sys.argv[1])
EXAMPLE = os.path.abspath(sys.argv[2])
SERVER, PORT = stub.start()
URL = f"http://127.0.0.1:{PORT}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
KEY = "rk_test"
KEY_B64 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def render(*arguments, env=None, **options):
    """Runs `render` in the current folder; text in and out."""
    environment = {"PATH": os.environ["PATH"], "RENDER_URL": URL, "RENDER_API_KEY": KEY,
                   "LC_ALL": "C.UTF-8", **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    environment.update(env or {})
    options.setdefault("input", "")
    return subprocess.run([RENDER, *arguments], env=environment, capture_output=True, text=True,
                          timeout=60, check=False, **options)


def expect(result, code, out=None, err=None):
    """The exit code, and words in what was printed."""
    told = f"exit {result.returncode}\nstdout: {result.stdout}\nstderr: {result.stderr}"
    assert result.returncode == code, told
    for words, text in ((out, result.stdout), (err, result.stderr)):
        if words == "":
            assert text == "", told
        elif words is not None:
            assert words in text, f"no {words!r} in\n{told}"
    return result


def test_help_and_version():
    expect(render(), 1, out="usage: render COMMAND", err="")
    for arguments in (["help"], ["--help"], ["-h"]):
        expect(render(*arguments), 0, out="Exit codes: 0 good", err="")
    expect(render("--version"), 0, out="render 0.")
    for command in (["generate"], ["models"], ["upload"], ["fetch"], ["verify"], ["keys", "create"],
                    ["keys", "list"], ["keys", "revoke"], ["completion"], ["jobs", "submit"], ["jobs", "list"],
                    ["jobs", "show"], ["jobs", "cancel"], ["jobs", "watch"], ["jobs", "export"]):
        text = expect(render("help", *command), 0, out="usage: render " + " ".join(command)).stdout
        assert text == expect(render(*command, "--help"), 0).stdout
        assert "--url" in text
        assert all(len(line) <= 100 for line in text.splitlines()), text
    expect(render("help", "nonsense"), 1, err="there is no command 'nonsense'")


def test_wrong_arguments():
    rows = [
        (["nonsense"], "there is no command 'nonsense'"),
        (["--url", "x"], "the command comes first"),
        (["keys"], "render keys create"),
        (["keys", "nonsense"], "render keys revoke"),
        (["generate"], "PROMPT: is missing"),
        (["generate", "a", "b"], "one argument too many"),
        (["models", "x"], "takes no such argument"),
        (["models", "--nonsense"], "--nonsense: there is no such option; see `render help models`"),
        (["models", "-x"], "there is no such option"),
        (["models", "--json=1"], "takes no value"),
        (["models", "--url"], "a value must follow"),
        (["models", "--url", "a", "--url", "b"], "given twice"),
        (["models", "--key", "rk_secret"], "can be read by every user"),
        (["models", "--url", "ftp://x"], "cannot use the URL 'ftp://x'"),
        (["generate", "p", "--seed", "-1"], "--seed: a whole number from 0 to 4294967295"),
        (["generate", "p", "--seed", "4294967296"], "--seed: a whole number"),
        (["generate", "p", "--count", "5"], "--count: a whole number from 1 to 4"),
        (["generate", "p", "--count", "0"], "--count"),
        (["generate", "p", "--steps", "x"], "--steps"),
        (["generate", "p", "--set", "novalue"], "write FIELD=VALUE"),
        (["generate", "p", "--set", "=1"], "write FIELD=VALUE"),
        (["generate", "p", "--type", "gif"], "--type: png, webp or jpeg"),
        (["generate", "p", "--video", "-o", "x.png"], "a video is an MP4"),
        (["generate", "p", "-o", "x.mp4"], "give --video as well"),
        (["generate", "p", "-o", "-", "--json"], "-o -: writes one output"),
        (["generate", "p", "-o", "-", "--count", "2"], "-o -: writes one output"),
        (["generate", "p", "-m", "plasma"], "family/model"),
        (["fetch", "nonsense"], "is no asset"),
        (["fetch", "a_x", "-o", "-", "--json"], "does not go with"),
        (["keys", "create"], "give --tenant NAME and --name TEXT"),
        (["keys", "create", "--tenant", "a", "--name", "b", "--expires", "soon"], "30m, 12h or 7d"),
        (["keys", "create", "--tenant", "a", "--name", "b", "--expires", "0d"], "30m, 12h or 7d"),
        (["keys", "revoke", "rk_0123"], "Consider this key as leaked"),
        (["keys", "revoke", "../x"], "is no key id"),
        (["jobs"], "render jobs submit"),
        (["jobs", "submit"], "PROMPT: is missing"),
        (["jobs", "submit", "p", "--ttl", "59"], "--ttl: a whole number from 60 to 86400"),
        (["jobs", "submit", "p", "--ttl", "86401"], "--ttl: a whole number"),
        (["jobs", "submit", "p", "-o", "x.png"], "--output: goes with --wait"),
        (["jobs", "submit", "p", "--no-attestation"], "--no-attestation: goes with --wait"),
        (["jobs", "submit", "p", "--idempotency-key", "x" * 65], "1 to 64 characters"),
        (["jobs", "submit", "p", "--count", "5"], "--count: a whole number from 1 to 4"),
        (["jobs", "list", "--limit", "1001"], "--limit: a whole number from 1 to 1000"),
        (["jobs", "show"], "ID: is missing"),
        (["jobs", "show", "../keys"], "this is no job's id"),
        (["jobs", "cancel", "a_0123456789abcdef"], "this is no job's id"),
        (["jobs", "watch", "nonsense"], "'nonsense' is no job's id"),
        (["jobs", "watch", *["j_0123456789ab"] * 65], "one argument too many"),
        (["completion", "csh"], "bash, zsh or fish"),
        (["verify", "x"], "whose signature do you trust?"),
        (["verify", "x", "--key", "a", "--jwks", "b"], "not both"),
    ]
    for arguments, words in rows:
        expect(render(*arguments), 1, err=words)
    sets = [word for _ in range(65) for word in ("--set", "a=1")]
    expect(render("generate", "p", *sets), 1, err="at most 64 times")
    expect(render("models", env={"RENDER_API_KEY": "two words"}), 1, err="or the key")


def test_generate_and_verify():
    result = expect(render("generate", "a red circle", "-o", "circle.png", "--seed", "7"), 0, err="",
                    out="circle.png  image/png, 3 bytes, seed 7\n")
    assert "attestation  circle.png.intoto.json" in result.stdout
    assert pathlib.Path("circle.png").read_bytes() == b"abc"
    assert stat.S_IMODE(os.stat("circle.png").st_mode) == 0o644
    expect(render("fetch", "/.well-known/jwks.json", "-o", "keys.json"), 0, err="")
    no_network = {"RENDER_URL": "http://127.0.0.1:1"}
    for how in (["--jwks", "keys.json"], ["-k", KEY_B64]):
        expect(render("verify", "circle.png", *how, env=no_network), 0, err="",
               out=f"circle.png: verified\n  signed by  {stub.KEY_ID}\n")
    expect(render("verify", "circle.png", env={"RENDER_JWKS": "keys.json", **no_network}), 0)
    shutil.copy("circle.png.intoto.json", "other.json")
    expect(render("verify", "circle.png", "-a", "other.json", "-j", "keys.json"), 0)
    found = json.loads(expect(render("verify", "circle.png", "-j", "keys.json", "--json"), 0).stdout)
    assert found["verified"] is True and found["statement"]["subject"][0]["name"] == "out.png"

    pathlib.Path("circle.png").write_bytes(b"abb")  # one flipped bit
    result = expect(render("verify", "circle.png", "-j", "keys.json"), 9, out="circle.png: NOT VERIFIED: ")
    assert "signature  good" in result.stdout and "file       not checked, or another one" in result.stdout
    found = json.loads(expect(render("verify", "circle.png", "-j", "keys.json", "--json"), 9).stdout)
    assert found["verified"] is False and found["subject_ok"] is False and found["problem"]
    expect(render("verify", "circle.png", "-k", "3d4017c3e843895a92b70aa74d1b7ebc"
                  "9c982ccf2ec4968cc0cd55f12af4660c"), 9, out="signature  not good")
    expect(render("verify", "circle.png", "-k", "zz"), 1, err="the trusted keys cannot be read")
    expect(render("verify", "missing.png", "-j", "keys.json"), 8, err="cannot open missing.png")
    os.unlink("circle.png.intoto.json")
    expect(render("verify", "circle.png", "-j", "keys.json"), 8, err="cannot open circle.png.intoto.json")
    expect(render("verify", "circle.png", "-j", "missing.json"), 8, err="cannot open missing.json")


def test_generate_fields():
    pathlib.Path("in.png").write_bytes(PNG)
    expect(render("generate", "--steps=9", "-m", "flux/dev", "--set", "cfg=2.5", "--set", "sampler=euler",
                  "--set", 'lora=[{"id":"x"}]', "--set", "lightning=true", "--format", "512", "--backend",
                  "torch", "--image", "in.png", "-oout.webp", "--no-attestation", "--", "-dashed"), 0, err="")
    last = stub.Handler.last
    assert last["path"] == "/image/flux/dev/i2i?format=512&backend=torch"
    assert last["headers"]["Accept"] == "image/webp"
    assert last["headers"]["Authorization"] == "Bearer " + KEY
    body = last["json"]
    assert body.pop("image").startswith("data:image/png;base64,iVBOR")
    assert body == {"steps": 9, "cfg": 2.5, "sampler": "euler", "lora": [{"id": "x"}], "lightning": True,
                    "prompt": "-dashed"}
    assert not os.path.exists("out.webp.intoto.json")
    expect(render("generate", "-", "--type", "jpeg", env={"RENDER_MODEL": "a/b"}, input="from stdin\n"), 0,
           out="a_6437b3ac3846.jpg  image/jpeg")
    last = stub.Handler.last
    expect(render("generate", "waves", "--video", "-o", "w.mp4", "--no-attestation", "-q"), 0,
           out="w.mp4  video/mp4", err="")
    assert stub.Handler.last["path"] == "/video/builtin/plasma/t2v"


def test_generate_many_and_json():
    expect(render("generate", "p", "--count", "3", "-o", "dir.d/many.png"), 8, err="cannot create")
    os.mkdir("dir.d")
    expect(render("generate", "p", "--count", "3", "-o", "dir.d/many.png"), 0, err="")
    assert sorted(os.listdir("dir.d")) == [f"many-{i}.png{s}" for i in (1, 2, 3)
                                           for s in ("", ".intoto.json")]
    result = expect(render("generate", "p", "--count", "2", "-o", "dir.d/x", "--json", "--save-jwks",
                           "jwks.json"), 0, err="")
    found = json.loads(result.stdout)
    assert [row["file"] for row in found["outputs"]] == ["dir.d/x-1", "dir.d/x-2"]
    assert [row["seed"] for row in found["outputs"]] == [10, 11]
    assert found["outputs"][0]["attestation"] == "dir.d/x-1.intoto.json"
    assert found["request_id"] == stub.REQUEST_ID
    assert found["device"] == "cpu" and found["device_seconds"] == 0.25 and found["duration_ms"] == 12.5
    assert json.loads(pathlib.Path("jwks.json").read_text()) == stub.JWKS


def test_where_output_goes():
    data = subprocess.run([RENDER, "generate", "p", "-o", "-", "--url", URL], capture_output=True,
                          timeout=60, check=True, input=b"")
    assert data.stdout == b"abc" and data.stderr == b""
    expect(render("generate", "p", "-o", "/dev/null", "--no-attestation"), 0)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # written to, not replaced
    pathlib.Path("old.png").write_bytes(b"old")
    expect(render("generate", "case:status:500", "-o", "old.png"), 6)
    assert pathlib.Path("old.png").read_bytes() == b"old"
    assert os.listdir(".").count("old.png.new") == 0
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([RENDER, "models", "--url", URL], stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=60, check=False)
    assert result.returncode == 8 and "cannot write to standard output" in result.stderr
    expect(render("generate", "p", "-o", "x/y/z.png"), 8, err="x/y/z.png")


def test_every_exit_code():
    rows = [("case:status:400", 4, "steps: 1 to 150"), ("case:status:401", 3, "send a valid API key"),
            ("case:status:403", 3, "lacks the scope"), ("case:status:404", 4, "nothing is here"),
            ("case:status:429", 5, "try again in 7 s"), ("case:status:503", 5, "try again in 7 s"),
            ("case:status:500", 6, "request id: " + stub.REQUEST_ID), ("case:html", 6, "not from a Render"),
            ("case:cut", 6, "cut off"), ("case:redirect", 6, "elsewhere")]
    for prompt, code, words in rows:
        expect(render("generate", prompt, "-o", "x.png"), code, out="", err=words)
        result = expect(render("generate", prompt, "-o", "x.png", "--json"), code, err=words)
        found = json.loads(result.stdout)
        assert found["exit_code"] == code and words in found["message"]
        assert found.get("retry_after_s") == (7 if code == 5 else None)
    assert not os.path.exists("x.png")
    expect(render("models", "--url", "http://127.0.0.1:1"), 2, err="is render-gateway running there?")
    expect(render("generate", "case:status:401", env={"RENDER_API_KEY": ""}), 3, err="no key was sent")


def test_keys_come_from_files():
    pathlib.Path("good.key").write_text("  rk_fromfile \nsecond line\n", encoding="ascii")
    os.chmod("good.key", 0o600)
    expect(render("models", "--key-file", "good.key"), 0, err="")
    assert stub.Handler.last["headers"]["Authorization"] == "Bearer rk_fromfile"
    expect(render("models", "--key-file", "-", input="rk_stdin\n"), 0, err="")
    assert stub.Handler.last["headers"]["Authorization"] == "Bearer rk_stdin"
    os.chmod("good.key", 0o644)
    expect(render("models", "--key-file", "good.key"), 0, err="chmod 600")
    expect(render("models", "--key-file", "good.key", "--quiet"), 0, err="")
    pathlib.Path("empty.key").write_text("\n", encoding="ascii")
    expect(render("models", "--key-file", "empty.key", "-q"), 1, err="holds no key")
    expect(render("models", "--key-file", "missing.key"), 8, err="cannot open missing.key")
    expect(render("models", env={"RENDER_API_KEY": ""}), 0)
    assert "Authorization" not in stub.Handler.last["headers"]


def test_models_upload_fetch():
    result = expect(render("models"), 0, err="", out="builtin/plasma")
    assert "not available" in [line for line in result.stdout.splitlines() if "flux/dev" in line][0]
    assert json.loads(expect(render("models", "--json"), 0).stdout) == stub.MODELS
    pathlib.Path("in.png").write_bytes(PNG)
    expect(render("upload", "in.png"), 0, out=f"{URL}/a/a_" + "0" * 22 + "\n", err="")
    found = json.loads(expect(render("upload", "in.png", "--json"), 0).stdout)
    assert found == {"asset_url": f"{URL}/a/a_" + "0" * 22}
    pathlib.Path("text.png").write_text("not a picture", encoding="ascii")
    expect(render("upload", "text.png"), 1, err="is not a PNG, JPEG or WebP file")
    expect(render("upload", "missing.png"), 8, err="cannot open missing.png")
    expect(render("fetch", stub.ASSET), 0, out="a_6437b3ac3846.png  image/png, 3 bytes")
    expect(render("fetch", stub.ASSET, "-o", "f.png", "--attestation"), 0, out="f.png.intoto.json")
    assert json.loads(pathlib.Path("f.png.intoto.json").read_text()) == stub.ENVELOPE
    expect(render("fetch", f"{URL}/a/{stub.ASSET}", "-o", "-"), 0, out="abc", err="")
    found = json.loads(expect(render("fetch", stub.ASSET, "--json"), 0).stdout)
    assert found["bytes"] == 3 and found["attestation"] is None
    expect(render("fetch", "a_1234567890123456"), 4, err="nothing is here")


def test_keys():
    key = "rk_" + "A" * 30 + "000000"
    result = expect(render("keys", "create", "--tenant", "acme", "--name", "ci", "--expires", "7d"), 0,
                    out=key + "\n", err="shown this once")
    assert result.stdout == key + "\n"
    assert stub.Handler.last["json"] == {"tenant": "acme", "name": "ci", "expires_in_s": 604800,
                                         "scopes": ["generate", "upload", "read"]}
    result = expect(render("keys", "create", "--tenant", "acme", "--name", "ci", "--scopes", "read,admin",
                           "-o", "new.key"), 0, err="written to new.key")
    assert key not in result.stdout + result.stderr
    assert stub.Handler.last["json"]["scopes"] == ["read", "admin"]
    assert pathlib.Path("new.key").read_text(encoding="ascii") == key + "\n"
    assert stat.S_IMODE(os.stat("new.key").st_mode) == 0o600
    found = json.loads(expect(render("keys", "create", "--tenant", "t", "--name", "n", "--json"), 0).stdout)
    assert found["key"] == key
    found = json.loads(expect(render("keys", "create", "--tenant", "t", "--name", "n", "--json", "-o",
                                     "k2"), 0).stdout)
    assert "key" not in found and found["file"] == "k2"
    expect(render("keys", "list"), 0, out="rk_abcdefghi", err="")
    assert json.loads(expect(render("keys", "list", "--json"), 0).stdout) == {"keys": [stub.KEY]}
    expect(render("keys", "revoke", stub.KEY["id"]), 0, out="is revoked")
    assert json.loads(expect(render("keys", "revoke", stub.KEY["id"], "--json"), 0).stdout)["revoked"]
    expect(render("keys", "revoke", "key_1234567890123456"), 4, err="nothing is here")


def test_jobs_submit():
    result = expect(render("jobs", "submit", "a red circle", "--priority", "low", "--ttl", "3600", "--webhook",
                           "https://hooks.example/x", "--set", "cfg=2.5", "--seed", "7", "--format", "512"), 0,
                    err="queued, position 1, about 2 s\n")
    assert result.stdout == "j_0123456789complete\n"
    assert stub.Handler.last["json"] == {
        "cfg": 2.5, "modality": "image", "family": "builtin", "model": "plasma", "task": "t2i", "format": "512",
        "priority": "low", "webhook": "https://hooks.example/x", "ttl": 3600, "prompt": "a red circle", "seed": 7}
    found = json.loads(expect(render("jobs", "submit", "p", "--json"), 0, err="").stdout)
    assert found["id"] == "j_0123456789complete" and found["position"] == 1
    expect(render("jobs", "submit", "case:status:429"), 5, out="", err="try again in 7 s")


def test_jobs_submit_and_wait():
    result = expect(render("jobs", "submit", "p", "--wait", "-o", "out.webp", "--save-jwks", "k.json"), 0,
                    out="out.webp  image/png, 3 bytes, seed 7\n", err="j_0123456789complete\n")
    assert "attestation  out.webp.intoto.json" in result.stdout
    assert pathlib.Path("out.webp").read_bytes() == b"abc" and os.path.exists("k.json")
    found = json.loads(expect(render("jobs", "submit", "p", "-w", "--json", "-o", "x.png"), 0, err="").stdout)
    assert found["job"]["status"] == "complete" and found["outputs"][0]["file"] == "x.png"
    for key, code, words in (("j_0123456789error", 6, "j_0123456789error ended as error: the engine ?[31mfailed"),
                             ("j_0123456789cancelled", 10, "ended as cancelled: the work was cancelled")):
        expect(render("jobs", "submit", "p", "--wait", "--idempotency-key", key, "-o", "y.png"), code, out="", err=words)
        found = json.loads(expect(render("jobs", "submit", "p", "--wait", "--idempotency-key", key, "--json"), code).stdout)
        assert found["exit_code"] == code
    assert not os.path.exists("y.png")


def test_jobs_list_show_cancel():
    result = expect(render("jobs", "list"), 0, err="there are more: --after j_0000000001running\n",
                    out="j_0000000000queued        queued     builtin/plasma   2026-11-22T11:48:16 position 3\n")
    assert "running    builtin/plasma   2026-11-22T11:48:16 25%" in result.stdout
    result = expect(render("jobs", "list", "--status", "error", "--limit", "1"), 0, err="", out="the engine ?[31mfailed")
    assert stub.Handler.last["path"] == "/jobs?status=error&limit=1"
    assert "next" in json.loads(expect(render("jobs", "list", "--json", "--after", "j_0000000002complete"), 0).stdout)
    result = expect(render("jobs", "show", "j_0123456789complete"), 0, err="", out="status         complete\n")
    assert 'request        {"prompt": "p"}\n' in result.stdout and "started_at" not in result.stdout
    assert json.loads(expect(render("jobs", "show", "j_0123456789running", "--json"), 0).stdout)["status"] == "running"
    expect(render("jobs", "show", "j_0123456789unknown"), 4, err="nothing is here")
    expect(render("jobs", "cancel", "j_0123456789queued"), 0, out="j_0123456789queued is cancelled\n")
    expect(render("jobs", "cancel", "j_0123456789complete"), 4, out="", err="status 409")
    assert json.loads(expect(render("jobs", "cancel", "j_0123456789queued", "--json"), 0).stdout)["status"] == "cancelled"


def test_jobs_watch():
    result = expect(render("jobs", "watch", "j_0123456789running"), 0, err="")
    assert result.stdout.splitlines() == [
        "j_0123456789running queued, position 1, about 3 s", "j_0123456789running started",
        "j_0123456789running running 50%, step 10", "j_0123456789running preview",
        f"j_0123456789running complete {URL}/a/{stub.ASSET}"]
    result = expect(render("jobs", "watch", "j_0123456789running", "j_0123456789error", "--json"), 6, err="")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for name, last in (("j_0123456789running", "complete"), ("j_0123456789error", "error")):
        mine = [line for line in lines if line["job_id"] == name]
        assert [line["event_id"] for line in mine] == [1, 2, 3, 4, 5] and mine[-1]["event"] == last
    assert {line["data"]["code"] for line in lines if line["event"] == "error"} == {"backend_failed"}
    expect(render("jobs", "watch", "j_0123456789cancelled", "-q"), 10, out="error cancelled: the work was cancelled")
    expect(render("jobs", "watch", "j_0123456789unknown"), 4, out="", err="j_0123456789unknown: nothing is here")
    result = expect(render("jobs", "watch"), 0, err="")  # all that are queued or running
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"j_0000000000queued", "j_0000000001running"}
    expect(render("jobs", "watch", "--url", "http://127.0.0.1:1"), 2, err="cannot reach")


def test_jobs_watch_on_a_terminal():
    leader, follower = pty.openpty()
    child = subprocess.Popen([RENDER, "jobs", "watch", "j_0123456789running", "j_0123456789error", "--url", URL],
                             stdout=follower, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                             env={"TERM": "xterm", "PATH": os.environ["PATH"]})
    os.close(follower)
    drawn = b""
    try:
        while piece := os.read(leader, 4096):
            drawn += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(leader)
    assert child.communicate(timeout=60)[1] == b"" and child.returncode == 6
    assert b"\x1b[2A" in drawn  # two rows, drawn anew in place
    last = drawn.decode().split("\x1b[2A")[-1].splitlines()
    assert "j_0123456789running       complete   [####################]" in last[0], last
    assert "j_0123456789error         error" in last[1] and "error backe" in last[1], last
    assert all(len(line.replace("\x1b[K", "")) <= 80 for line in last)


def test_jobs_export():
    result = expect(render("jobs", "export"), 0, err="j_0000000003unknown is gone since it was listed")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [job["id"] for job in found] == ["j_0000000000queued", "j_0000000001running", "j_0000000002complete",
                                            "j_0000000004error"]
    assert all(job["request"] == {"prompt": "p"} for job in found)
    result = expect(render("jobs", "export", "--status", "complete"), 0, err="")
    assert len(result.stdout.splitlines()) == 1
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([RENDER, "jobs", "export", "--url", URL], stdout=full, stderr=subprocess.PIPE, text=True,
                                timeout=60, check=False)
    assert result.returncode == 8 and "cannot write to standard output" in result.stderr


def test_progress_is_for_terminals():
    leader, follower = pty.openpty()
    child = subprocess.Popen([RENDER, "generate", "p", "-o", "p.png", "--url", URL], stderr=follower,
                             stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                             env={"TERM": "xterm", "PATH": os.environ["PATH"]})
    out, _ = child.communicate(timeout=60)
    os.close(follower)
    drawn = b""
    try:
        while piece := os.read(leader, 4096):
            drawn += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(leader)
    assert child.returncode == 0 and b"\x1b" not in out
    assert b"builtin/plasma" in drawn and drawn.endswith(b"\r\x1b[K"), drawn
    expect(render("generate", "p", "-o", "p.png"), 0, err="")  # a pipe gets none


def test_completion():
    for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
        script = expect(render("completion", shell), 0, err="").stdout
        pathlib.Path("complete." + shell).write_text(script, encoding="ascii")
        if shutil.which(check[0]):
            subprocess.run([*check, "complete." + shell], check=True, timeout=60)

    def complete(*words):
        line = " ".join(f"'{word}'" for word in words)
        command = (f"source complete.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _render; "
                   'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.split()

    assert complete("render", "ge") == ["generate"]
    assert complete("render", "") == ["generate", "jobs", "models", "backends", "upload", "fetch", "verify", "reveal",
                                      "keys", "webhooks", "completion", "help"]
    assert complete("render", "keys", "") == ["create", "list", "revoke"]
    assert complete("render", "jobs", "") == ["submit", "list", "show", "cancel", "watch", "export"]
    assert complete("render", "jobs", "list", "--status", "c") == ["complete", "cancelled"]
    assert complete("render", "jobs", "submit", "--pri") == ["--priority"]
    assert complete("render", "keys", "create", "--te") == ["--tenant"]
    assert complete("render", "generate", "p", "--type", "") == ["png", "webp", "jpeg"]
    assert complete("render", "completion", "f") == ["fish"]
    pathlib.Path("some.png").write_bytes(b"")
    assert complete("render", "verify", "som") == ["some.png"]
    assert complete("render", "generate", "p", "-o", "som") == ["some.png"]
    assert "--seed" in complete("render", "generate", "p", "--s")


def test_example():
    def example(*arguments):
        return subprocess.run([EXAMPLE, *arguments], capture_output=True, text=True, timeout=60, check=False)

    expect(example(), 1, err="usage: ")
    expect(example(URL, "a red circle", "out.png"), 0, out="\nverified\n", err="")
    assert pathlib.Path("out.png").read_bytes() == b"abc"
    expect(example(URL, "case:status:503", "out.png"), 5, err="busy: every slot")
    expect(example("nonsense", "p", "out.png"), 1, err="not an http(s) URL")
    expect(example(URL, "p", "missing/out.png"), 1, err="missing/out.png")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failures = 0
    home = os.getcwd()
    os.umask(0o022)
    for number, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                test()
                print(f"ok {number} - {name}", flush=True)
            except Exception as error:  # a test that fails must not hide the others
                failures += 1
                print(f"not ok {number} - {name}")
                for line in f"{type(error).__name__}: {error}".splitlines():
                    print("# " + line, flush=True)
            finally:
                os.chdir(home)
    SERVER.released.set()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
