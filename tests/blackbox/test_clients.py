# SPDX-License-Identifier: Apache-2.0
"""Clients that people use: curl as the README writes it, a browser's fetch on a page of another origin, Python's
own http.client, the command line client, and the example program of the C library."""
import html
import http.client
import http.server
import io
import json
import os
import re
import stat
import subprocess
import threading
import urllib.error
import urllib.request

import pytest
from conftest import BUILD, ROOT, program
from PIL import Image
from tools import need, picture, request_lines

OK, USAGE, CONNECT, AUTH, REFUSED, BUSY, SERVER, IO, UNVERIFIED = 0, 1, 2, 3, 4, 5, 6, 8, 9


def opens(content, kind="PNG", size=None):
    image = Image.open(io.BytesIO(content))
    image.load()
    assert image.format == kind and (size is None or image.size == size)
    return image


# ---- curl ----

def documented_curl_lines():
    """What README.md and `make run` tell people to paste; the shell's continuation lines joined."""
    found = []
    for path in (ROOT / "README.md", ROOT / "scripts/run"):
        text = path.read_text().replace("\\\\\n", " ").replace("\\\n", " ") if path.exists() else ""
        found += [line.strip() for line in text.splitlines() if re.match(r"\s*curl\b.*/t2i", line)]
    return found


def test_the_documented_curl_line(gateway, tmp_path):
    need("curl")
    lines = documented_curl_lines()
    assert lines, "neither README.md nor scripts/run shows a curl line"
    for line in lines:
        line = re.sub(r"http://(127\.0\.0\.1|localhost):\d+|\$\{?(url|URL|RENDER_URL)\}?", gateway.url, line)
        line = re.sub(r"\$\{?(key|KEY|RENDER_API_KEY)\}?|\$\(cat [^)]*\)|rk_[A-Za-z0-9.…]+|<key>", gateway.key, line)
        result = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, (line, result.stderr)
        made = [p for p in tmp_path.iterdir() if p.is_file()]
        assert len(made) == 1, (line, made)
        opens(made[0].read_bytes(), made[0].suffix[1:].upper())
        made[0].unlink()


def curl(gateway, *words, **kw):
    need("curl")
    return subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {gateway.key}", *words], capture_output=True,
                          timeout=120, check=False, **kw)


@pytest.mark.parametrize("flags", [["--http1.0"], ["--http1.1"], ["--http2"], ["-H", "Expect: 100-continue"], ["--compressed"],
                                   ["-H", "Transfer-Encoding: chunked"], ["-H", "Connection: close"], ["--path-as-is"]])
def test_curls_ways(gateway, flags):
    result = curl(gateway, *flags, "-f", "-d", '{"prompt":"a","steps":1}', gateway.url + "/image/builtin/plasma/t2i?format=512")
    assert result.returncode == 0, result.stderr
    opens(result.stdout, "PNG", (512, 512))


def test_curl_follows_the_asset_and_resumes(gateway, tmp_path):
    """-C - asks for what is missing; -z and --etag-compare for what has changed."""
    result = curl(gateway, "-D", "-", "-o", str(tmp_path / "whole"), "-d", '{"prompt":"a","steps":1}',
                  gateway.url + "/image/builtin/plasma/t2i?format=512")
    url = re.search(rb"(?i)content-location: (\S+)", result.stdout)[1].decode()
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "part").write_bytes(whole[:1000])
    assert curl(gateway, "-f", "-C", "-", "-o", str(tmp_path / "part"), url).returncode == 0
    assert (tmp_path / "part").read_bytes() == whole
    etag = tmp_path / "etag"
    assert curl(gateway, "--etag-save", str(etag), "-o", os.devnull, url).returncode == 0
    again = curl(gateway, "--etag-compare", str(etag), "-w", "%{http_code}", "-o", os.devnull, url)
    assert again.stdout == b"304"
    head = curl(gateway, "-I", url).stdout.lower()
    assert b"content-length: %d\r\n" % len(whole) in head and b"accept-ranges: bytes" in head


def test_curl_uploads_a_file(gateway, tmp_path):
    file = tmp_path / "p.png"
    file.write_bytes(picture())
    body = json.dumps({"content_type": "image/png", "bytes": file.stat().st_size})
    ticket = json.loads(curl(gateway, "-f", "-d", body, gateway.url + "/uploads").stdout)
    sent = subprocess.run(["curl", "-sS", "-f", "-T", str(file), ticket["upload_url"]], capture_output=True, timeout=60, check=True)
    assert json.loads(sent.stdout)["asset_url"] == ticket["asset_url"]


# ---- a browser ----

PAGE = """<!doctype html><html><body><pre id=out>nothing ran</pre><img id=hold src="/hold"><script>
const out = document.getElementById("out");
async function run() {
  const report = {};
  const headers = {Authorization: "Bearer %(key)s", "Content-Type": "application/json", Accept: "image/png"};
  try {
    const answer = await fetch("%(url)s/image/builtin/plasma/t2i?format=512",
      {method: "POST", headers, body: JSON.stringify({prompt: "a red circle", seed: 41, steps: 2})});
    report.status = answer.status;
    report.seed = answer.headers.get("X-Weyl-Seed");
    report.device = answer.headers.get("x-gpu-seconds");
    report.location = answer.headers.get("Content-Location");
    report.bytes = (await answer.blob()).size;
    const refused = await fetch("%(url)s/image/builtin/plasma/t2i", {method: "POST", headers, body: "{}"});
    report.refusal = [refused.status, (await refused.json()).error];
    const picture = document.createElement("img");
    document.body.append(picture);
    await new Promise((good, bad) => {picture.onload = good; picture.onerror = bad; picture.src = report.location;});
    report.width = picture.naturalWidth;
    report.height = picture.naturalHeight;
  } catch (error) {
    report.error = String(error);
  }
  out.textContent = JSON.stringify(report);
  await fetch("/done");
}
run();
</script></body></html>"""


class Page:
    """Serves the page from an origin of its own. /hold keeps the page's load event back until /done, so that the
    browser prints what the script wrote, whenever it wrote it."""

    def __init__(self):
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # pylint: disable=invalid-name
                if self.path == "/done":
                    page.done.set()
                if self.path == "/hold":
                    page.done.wait(60)
                body = page.body if self.path == "/" else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.done, self.body = threading.Event(), b""
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def visit(self, gateway, folder, text=PAGE):
        """What the page's script found out."""
        self.done.clear()
        self.body = (text % {"key": gateway.key, "url": gateway.url}).encode()
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-extensions", "--disable-background-networking", "--no-proxy-server", f"--user-data-dir={folder}",
                   "--dump-dom", self.origin + "/"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found = re.search(r'<pre id="out">(.*?)</pre>', result.stdout, re.DOTALL)
        assert found, result.stderr[-3000:]
        return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def page():
    need("chromium")
    made = Page()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_browser_of_an_allowed_origin(start_gateway, page, tmp_path):
    server = start_gateway(config=f"cors: {{origins: ['{page.origin}']}}\n")
    report = page.visit(server, tmp_path / "profile")
    assert report.get("error") is None, report
    assert report["status"] == 200 and report["seed"] == "41" and float(report["device"]) > 0
    assert (report["width"], report["height"]) == (512, 512)
    assert report["refusal"] == [400, "invalid_request"]
    assert report["bytes"] == len(server.get(report["location"], key=None).content)
    assert request_lines(server, method="OPTIONS", status=204)


def test_a_browser_of_another_origin(start_gateway, page, tmp_path):
    """The preflight does not name it, so the browser never sends the key."""
    server = start_gateway(config="cors: {origins: ['https://app.example.org']}\n")
    report = page.visit(server, tmp_path / "profile")
    assert "Failed to fetch" in report["error"] and "status" not in report
    assert request_lines(server, method="OPTIONS")
    assert not [line for line in server.log().splitlines() if '"generate"' in line and '"POST"' in line]


# ---- Python's own client ----

def test_urllib(gateway):
    request = urllib.request.Request(gateway.url + "/image/builtin/plasma/t2i?format=512", method="POST",
                                     data=b'{"prompt":"a","seed":9,"steps":1}',
                                     headers={"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        assert answer.status == 200 and answer.headers["X-Weyl-Seed"] == "9"
        opens(answer.read())
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(gateway.url + "/models", timeout=60)
    assert refused.value.code == 401 and json.loads(refused.value.read())["error"] == "unauthorized"


@pytest.mark.parametrize("chunks", [1, 2, 7, 33])
def test_http_client_chunked(gateway, chunks):
    body = b'{"prompt":"a","seed":9,"steps":1}'
    step = -(-len(body) // chunks)
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=60)
    connection.request("POST", "/image/builtin/plasma/t2i?format=512", encode_chunked=True,
                       body=(body[i:i + step] for i in range(0, len(body), step)),
                       headers={"Authorization": f"Bearer {gateway.key}", "Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    assert answer.status == 200
    opens(answer.read())
    connection.request("GET", "/models", headers={"Authorization": f"Bearer {gateway.key}"})  # the same connection
    assert connection.getresponse().status == 200
    connection.close()


def test_http_client_expects_a_go_ahead(gateway):
    """With Expect, 100 comes before the body is sent; a refusal comes instead of it."""
    body = b'{"prompt":"a","steps":1}'
    for key, status in ((gateway.key, 200), ("rk_" + "0" * 36, 401)):
        connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=60)
        connection.putrequest("POST", "/image/builtin/plasma/t2i?format=512")
        for name, value in (("Authorization", f"Bearer {key}"), ("Content-Length", str(len(body))), ("Expect", "100-continue")):
            connection.putheader(name, value)
        connection.endheaders()
        first = connection.sock.recv(65536)
        if status == 200:
            assert first.startswith(b"HTTP/1.1 100 ")
            connection.sock.sendall(body)
            first = connection.sock.recv(65536)
        assert first.startswith(b"HTTP/1.1 %d " % status)
        connection.close()


# ---- the command line client ----

@pytest.fixture
def render(gateway, tmp_path):
    """render(words..., stdin=, env=) in a folder of its own, with the administrator's key."""
    def run(*words, url=gateway.url, key=gateway.key, stdin=None, text=True, **env):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "RENDER_URL": url, **env}
        environment.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        if key:
            environment["RENDER_API_KEY"] = key
        result = subprocess.run([program("render"), *map(str, words)], cwd=tmp_path, capture_output=True, text=text,
                                input=stdin, timeout=120, env=environment, check=False)
        stderr = result.stderr if text else result.stderr.decode()
        assert gateway.key not in stderr and "Sanitizer" not in stderr, stderr
        return result
    return run


def good(result):
    assert result.returncode == OK, (result.returncode, result.stdout, result.stderr)
    return result


@pytest.mark.parametrize("name,kind", [("a.png", "PNG"), ("a.webp", "WEBP"), ("a.jpeg", "JPEG"), ("a.jpg", "JPEG"), ("a.bin", "PNG")])
def test_cli_generates_every_kind(render, tmp_path, name, kind):
    result = good(render("generate", "a red circle", "--format", "512", "--steps", 2, "--seed", 7, "-o", name,
                         "--save-jwks", "keys.json", "--json"))
    report = json.loads(result.stdout)
    output, = report["outputs"]
    assert output["file"] == name and output["seed"] == 7 and output["bytes"] == (tmp_path / name).stat().st_size
    assert report["device"] == "cpu" and report["device_seconds"] > 0 and report["request_id"].startswith("req_")
    opens((tmp_path / name).read_bytes(), kind, (512, 512))
    assert output["attestation"] == name + ".intoto.json"
    good(render("verify", name, "--jwks", "keys.json", url="http://127.0.0.1:1", key=None))


def test_cli_video(render, tmp_path):
    good(render("generate", "waves", "--video", "--format", "480p", "--set", "duration=0.5", "--steps", 1, "-o", "w.mp4"))
    assert (tmp_path / "w.mp4").read_bytes()[4:8] == b"ftyp"
    assert render("generate", "waves", "-o", "x.mp4").returncode == USAGE


def test_cli_count(render, tmp_path):
    report = json.loads(good(render("generate", "ideas", "--count", 3, "--format", "512", "--steps", 1, "--seed", 4294967295,
                                    "-o", "idea.png", "--json")).stdout)
    assert [o["file"] for o in report["outputs"]] == ["idea-1.png", "idea-2.png", "idea-3.png"]
    assert [o["seed"] for o in report["outputs"]] == [4294967295, 0, 1]
    for output in report["outputs"]:
        opens((tmp_path / output["file"]).read_bytes())
        assert (tmp_path / output["attestation"]).exists()
    assert len({(tmp_path / o["file"]).read_bytes() for o in report["outputs"]}) == 3


def test_cli_names_the_file_by_its_content(render, tmp_path):
    good(render("generate", "a", "--format", "512", "--steps", 1, "--no-attestation"))
    made, = tmp_path.glob("*")
    assert re.fullmatch(r"a_[0-9a-f]{12}\.png", made.name)
    opens(made.read_bytes())


def test_cli_pipes(render, tmp_path):
    result = good(render("generate", "-", "--format", "512", "--steps", 1, "-o", "-", stdin=b"a red circle\n", text=False))
    opens(result.stdout)
    assert list(tmp_path.glob("*.png")) == []


def test_cli_from_local_files(render, tmp_path):
    source = Image.effect_noise((512, 512), 80).convert("RGB")
    source.save(tmp_path / "in.png")
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (0, 0, 256, 512))
    mask.save(tmp_path / "mask.png")
    good(render("generate", "at night", "--image", "in.png", "--format", "512", "--steps", 2, "--set", "strength=0", "-o", "same.png"))
    assert opens((tmp_path / "same.png").read_bytes()).convert("RGB").tobytes() == source.tobytes()
    good(render("generate", "a hat", "--image", "in.png", "--mask", "mask.png", "--format", "512", "--steps", 2, "-o", "edit.png"))
    edited = opens((tmp_path / "edit.png").read_bytes()).convert("RGB")
    right = (256, 0, 512, 512)
    assert edited.crop(right).tobytes() == source.crop(right).tobytes()
    assert edited.crop((0, 0, 256, 512)).tobytes() != source.crop((0, 0, 256, 512)).tobytes()
    good(render("generate", "it moves", "--video", "--image", "in.png", "--format", "480p", "--set", "duration=0.5", "--steps", 1,
                "-o", "m.mp4"))
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    for name, code in (("missing.png", IO), ("bad.png", (USAGE, REFUSED, IO))):
        result = render("generate", "x", "--image", name, "-o", "x.png")
        assert result.returncode in (code if isinstance(code, tuple) else (code,)), (name, result.returncode, result.stderr)
        assert name in result.stderr and not (tmp_path / "x.png").exists()


def test_cli_models_upload_fetch(render, gateway, tmp_path):
    assert "builtin/plasma" in good(render("models")).stdout
    models = json.loads(good(render("models", "--json")).stdout)["models"]
    assert {m["id"] for m in models if m["available"]} == {"builtin/plasma"}
    (tmp_path / "up.jpg").write_bytes(picture(kind="JPEG"))
    url = good(render("upload", "up.jpg")).stdout.strip()
    assert url.startswith(gateway.url + "/a/a_")
    good(render("generate", "in oil", "--image", url, "--format", "512", "--steps", 1, "-o", "oil.png"))
    good(render("fetch", url, "-o", "again.jpg"))
    assert (tmp_path / "again.jpg").read_bytes() == (tmp_path / "up.jpg").read_bytes()
    made = json.loads(good(render("generate", "a", "--format", "512", "--steps", 1, "-o", "g.png", "--json")).stdout)["outputs"][0]
    for name in (made["asset_url"], made["asset_url"].rsplit("/", 1)[1], "/a/" + made["asset_url"].rsplit("/", 1)[1]):
        good(render("fetch", name, "-o", "f.png", "--attestation"))
        assert (tmp_path / "f.png").read_bytes() == (tmp_path / "g.png").read_bytes()
        assert (tmp_path / "f.png.intoto.json").exists()
    assert render("fetch", "a_" + "0" * 64, "-o", "no.png").returncode == REFUSED
    assert not (tmp_path / "no.png").exists()


def test_cli_keys(render, gateway, tmp_path):
    made = json.loads(good(render("keys", "create", "--tenant", "acme", "--name", "ci", "--scopes", "read,upload", "--expires", "90d",
                                  "-o", "acme.key", "--json")).stdout)
    key_file = tmp_path / "acme.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert "key" not in made and made["scopes"] == ["upload", "read"] and made["expires_at"]
    assert made["id"] in good(render("keys", "list")).stdout
    assert made["id"] in {k["id"] for k in json.loads(good(render("keys", "list", "--json")).stdout)["keys"]}
    assert "builtin/plasma" in good(render("models", "--key-file", "acme.key", key=None)).stdout
    assert render("generate", "a", "--key-file", "acme.key", key=None).returncode == AUTH
    assert json.loads(good(render("keys", "revoke", made["id"], "--json")).stdout) == {"id": made["id"], "revoked": True}
    assert render("models", "--key-file", "acme.key", key=None).returncode == AUTH
    assert render("keys", "revoke", "key_" + "0" * 22).returncode == REFUSED
    shown = good(render("keys", "create", "--tenant", "acme", "--name", "x")).stdout
    assert gateway.get("/models", key=re.search(r"rk_[0-9A-Za-z]{36}", shown)[0]).status_code == 200


def test_cli_exit_codes_and_words(render, tmp_path):
    wrong_key = "rk_" + "0" * 36
    cases = [
        (AUTH, dict(key=wrong_key), ["models"], "key"), (AUTH, dict(key=None), ["models"], "no key was sent"),
        (CONNECT, dict(url="http://127.0.0.1:1"), ["models"], "render-gateway"),
        (REFUSED, {}, ["generate", "a", "--set", "steps=9999", "--set", "guidance=high"], "guidance"),
        (REFUSED, {}, ["generate", "a", "-m", "no/such"], "no such model"), (BUSY, {}, ["generate", "a", "-m", "flux/dev"], "backend"),
        (USAGE, {}, ["generate"], "PROMPT"), (USAGE, {}, ["dance"], "dance"), (USAGE, {}, ["generate", "a", "--wings"], "--wings"),
        (USAGE, {}, ["generate", "a", "--key", wrong_key], "RENDER_API_KEY"), (USAGE, dict(url="ftp://x"), ["models"], "ftp://x"),
        (IO, {}, ["generate", "a", "--steps", 1, "--format", "512", "-o", "no/such/folder/a.png"], "no/such/folder")]
    for code, kw, words, text in cases:
        result = render(*words, **kw)
        assert result.returncode == code and text in result.stderr, (words, result)
        assert result.stdout == "", words
        asked = render(*words, "--json", **kw)
        assert asked.returncode == code, words
        if code != USAGE:
            report = json.loads(asked.stdout)
            assert report["exit_code"] == code and report["error"] and report["message"], words
    assert list(tmp_path.glob("*.png")) == []
    problems = render("generate", "a", "--set", "steps=9999", "--set", "guidance=high").stderr
    assert "steps" in problems and "guidance" in problems  # each field has its line


def test_cli_busy(start_gateway, render, tmp_path):
    server = start_gateway(config="engines:\n  - {name: p, type: builtin, slots: 1, models: [builtin/plasma]}\n")
    results = []
    slow = threading.Thread(target=lambda: results.append(
        server.generate(path="/video/builtin/plasma/t2v", format="480p", duration=2, steps=20)))
    slow.start()
    while 'slots_taken{backend="p"} 1' not in server.get("/metrics").text:
        assert slow.is_alive(), results
    result = render("generate", "a", "--json", url=server.url, key=server.key)
    report = json.loads(result.stdout)
    assert result.returncode == BUSY == report["exit_code"] and report["retry_after_s"] >= 1
    slow.join()


def test_cli_help_and_completion(render):
    listed = good(render("help")).stdout
    for command in ("generate", "models", "upload", "fetch", "verify", "keys", "completion"):
        assert command in listed
        if command != "keys":
            text = good(render("help", command)).stdout
            assert "xample" in text or command == "models", command
    for shell in ("bash", "zsh", "fish"):
        assert "generate" in good(render("completion", shell)).stdout
    script = good(render("completion", "bash")).stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


# ---- the C library's example ----

def test_the_librender_example(gateway, tmp_path):
    example = BUILD / "src/librender/generate-example"
    if not example.exists():
        pytest.skip(f"{example} is not built; make build builds it")
    env = {**os.environ, "RENDER_API_KEY": gateway.key}
    out = tmp_path / "out.png"
    result = subprocess.run([str(example), gateway.url, "a red circle", str(out)], capture_output=True, text=True, env=env,
                            timeout=120, check=False)
    assert result.returncode == 0 and "verified" in result.stdout, result
    opens(out.read_bytes())
    env["RENDER_API_KEY"] = "rk_" + "0" * 36
    result = subprocess.run([str(example), gateway.url, "a", str(out)], capture_output=True, text=True, env=env, timeout=60, check=False)
    assert result.returncode == AUTH, result
