# SPDX-License-Identifier: Apache-2.0
"""Source images: from https URLs, behind the guard that keeps a stranger's URL away from everything inside, and
from data: URIs. A URL that is refused must not even have been connected to: a listener counts."""
import base64
import io
import socket
import threading
import time

import pytest
from conftest import SANITIZED, Gateway
from PIL import Image
from tools import Scripted, data_uri, make_certificate, metric, picture, png_bomb, png_of_size

I2I = "/image/builtin/plasma/i2i"
EDIT = "/image/builtin/plasma/edit"
PNG = picture(512, 512)


def refused(answer, field="image"):
    assert answer.status_code == 400, (answer.status_code, answer.text[:500])
    body = answer.json()
    assert body["error"] == "invalid_request"
    problems = [p for p in body["details"] if p["field"] == field]
    assert problems, body
    return problems[0]


# ---- over https, from a host that the operator allows ----

class Site:
    """An https site: a path and what it does."""

    def __init__(self, folder):
        self.pages = {}
        self.certificate = make_certificate(folder, "localhost", "127.0.0.1")
        self.server = Scripted(self.serve, self.certificate)
        self.url = f"https://localhost:{self.server.port}"

    def serve(self, request):
        page = self.pages[request.path]
        if callable(page):
            page(request)
        else:
            request.answer(200, page)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.server.close()
    assert not made.server.problems


@pytest.fixture(scope="module")
def allowing(site, tmp_path_factory):
    """A gateway that may fetch from this machine, and trusts the site's certificate."""
    server = Gateway(tmp_path_factory.mktemp("allowing") / "data", config=
                     f"fetch: {{allow_hosts: [localhost, 127.0.0.1], ca_file: {site.certificate[0]}}}\n")
    yield server
    assert server.stop() == 0
    assert "Sanitizer" not in server.log()


def test_a_picture_from_a_url(site, allowing):
    for kind in ("PNG", "JPEG", "WEBP"):
        content = picture(512, 512, kind)
        site.pages[f"/{kind}"] = content
        answer = allowing.generate(path=I2I, seed=1, strength=0, image=f"{site.url}/{kind}")
        assert answer.status_code == 200, answer.text
        made = Image.open(io.BytesIO(answer.content)).convert("RGB")
        if kind == "PNG":  # strength 0 keeps every pixel
            assert made.tobytes() == Image.open(io.BytesIO(content)).tobytes()
    request = site.server.requests[-1]
    assert request.method == "GET" and request.headers["user-agent"].startswith("render/")
    assert not {"authorization", "cookie", "referer"} & set(request.headers)


def test_a_mask_from_a_url(site, allowing):
    out = io.BytesIO()
    Image.new("L", (512, 512), 0).save(out, "PNG")
    site.pages["/mask"], site.pages["/image"] = out.getvalue(), PNG
    answer = allowing.generate(path=EDIT, seed=1, image=f"{site.url}/image", mask=f"{site.url}/mask")
    assert answer.status_code == 200, answer.text
    kept = Image.open(io.BytesIO(answer.content)).convert("RGB")
    assert kept.tobytes() == Image.open(io.BytesIO(PNG)).tobytes()  # all black: all kept


def test_both_problems_at_once(site, allowing):
    site.pages["/no"] = lambda request: request.answer(404, b"no", "text/plain")
    answer = allowing.generate(path=EDIT, image=f"{site.url}/no", mask=f"{site.url}/no")
    refused(answer, "image")
    refused(answer, "mask")


def redirect(to):
    return lambda request: request.answer(302, b"", Location=to)


def cut_short(request):
    request.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(PNG)}\r\n\r\n".encode() + PNG[:-100])
    request.close()


def endless(request):
    """More than the limit, with no length announced."""
    request.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n")
    piece = b"\0" * (1 << 20)
    for _ in range(60):
        request.send(piece)
    request.close()


BAD_PAGES = {
    "404": (lambda request: request.answer(404, PNG), "answered 404"),
    "500": (lambda request: request.answer(500, b"no", "text/plain"), "answered 500"),
    "204": (lambda request: request.answer(204), ""),
    "partial": (lambda request: request.answer(206, PNG), ""),
    "empty": (b"", ""),
    "text": (b"<html>log in first</html>", ""),
    "gif": (b"GIF89a" + b"\0" * 100, ""),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ""),
    "header only": (PNG[:20], ""),
    "bomb": (png_bomb(), ""),
    "cut": (cut_short, "early"),
    "reset": (lambda request: request.reset(), ""),
    "too large": (lambda request: (request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 52428801\r\n\r\n"),
                                   request.wait_left(), request.close()), "larger"),
    "endless": (endless, "larger"),
    "endless header": (lambda request: (request.send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000), request.close()), ""),
    "many headers": (lambda request: (request.send(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50_000), request.close()), ""),
    "gzip": (lambda request: request.answer(200, __import__("gzip").compress(PNG), Content_Encoding="gzip"), ""),
    "redirect to http": (redirect("http://localhost:1/x"), ""),
    "redirect to file": (redirect("file:///etc/passwd"), ""),
    "redirect to ftp": (redirect("ftp://localhost/x"), ""),
    "redirect to a private address": (redirect("https://10.0.0.1/x"), ""),
    "redirect to metadata": (redirect("https://169.254.169.254/latest/meta-data/"), ""),
    "redirect with a user": (redirect("https://user:secret@localhost/"), ""),
    "redirect to nothing": (lambda request: request.answer(302), ""),
    "redirect to itself": (redirect("/redirect%20to%20itself"), ""),
}


@pytest.mark.parametrize("name", BAD_PAGES)
def test_what_a_host_may_answer(site, allowing, name):
    page, words = BAD_PAGES[name]
    path = "/" + name.replace(" ", "%20")
    site.pages[path] = page
    objects = metric(allowing, "render_objects")
    problem = refused(allowing.generate(path=I2I, image=site.url + path))
    assert words in problem["message"], problem
    assert metric(allowing, "render_objects") == objects


def test_three_redirects_are_followed_and_no_more(site, allowing):
    for n in range(1, 6):
        site.pages[f"/hop{n}"] = redirect(f"/hop{n - 1}")
    site.pages["/hop0"] = PNG
    assert allowing.generate(path=I2I, seed=1, image=f"{site.url}/hop3").status_code == 200
    refused(allowing.generate(path=I2I, seed=1, image=f"{site.url}/hop4"))


def test_a_certificate_that_is_not_trusted(site, start_gateway):
    server = start_gateway(config="fetch: {allow_hosts: [localhost, 127.0.0.1]}\n")
    before = len(site.server.requests)
    problem = refused(server.generate(path=I2I, image=f"{site.url}/PNG"))
    assert "certificate" in problem["message"]
    assert len(site.server.requests) == before


def test_a_certificate_for_another_name(site, allowing, start_gateway):
    server = start_gateway(config=f"fetch: {{allow_hosts: ['127.0.0.2'], ca_file: {site.certificate[0]}}}\n")
    site.pages["/x"] = PNG
    before = len(site.server.requests)
    refused(server.generate(path=I2I, image=f"https://127.0.0.2:{site.server.port}/x"))
    assert len(site.server.requests) == before
    assert allowing.generate(path=I2I, image=f"https://127.0.0.1:{site.server.port}/x").status_code == 200


def test_a_ca_file_that_is_not_there_is_found_at_start(tmp_path):
    with pytest.raises(RuntimeError, match="fetch.ca_file.*nowhere.pem"):
        Gateway(tmp_path / "data", config=f"fetch: {{ca_file: {tmp_path}/nowhere.pem}}\n")


def test_a_client_that_leaves_while_its_source_is_fetched(site, allowing):
    """The fetch may go on to its own limit, but the work after it is not begun."""
    arrived, go = threading.Event(), threading.Event()

    def slow(request):
        arrived.set()
        assert go.wait(60)
        request.answer(200, PNG)
    site.pages["/slow"] = slow
    objects = metric(allowing, "render_objects")
    body = f'{{"prompt":"a","image":"{site.url}/slow"}}'.encode()
    with socket.create_connection((allowing.host, allowing.port)) as client:
        client.sendall(f"POST {I2I} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {allowing.key}\r\n"
                       f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert arrived.wait(60)
        # Others are served meanwhile.
        assert allowing.generate(steps=1).status_code == 200
    objects = metric(allowing, "render_objects")
    go.set()
    until = time.monotonic() + 60
    while metric(allowing, "render_exchanges") > 1:  # this question is one itself
        assert time.monotonic() < until
    assert metric(allowing, "render_objects") == objects


# ---- the guard, as everybody meets it: nothing is allowed ----

@pytest.fixture(scope="module")
def trap():
    """Listens on every address of this machine and counts who comes."""
    listeners = [socket.create_server(("0.0.0.0", 0))]
    port = listeners[0].getsockname()[1]
    try:
        listeners.append(socket.create_server(("::", port), family=socket.AF_INET6))
    except OSError:
        pass  # no IPv6 here: nothing could come that way
    came = []

    def accept(listener):
        while True:
            try:
                came.append(listener.accept()[1])
            except OSError:
                return
    for listener in listeners:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
    yield port, came
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


HOSTS = ["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0.0.0.0", "0",
         "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
         "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "10.0.0.1", "172.16.0.1", "172.31.255.255",
         "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1",
         "224.0.0.1", "255.255.255.255", "metadata.google.internal", "own-host", "%31%32%37.0.0.1", "①②⑦.0.0.1",
         "127.0.0.1%00.example.com", "127.0.0.1\\.example.com", "example.com@127.0.0.1", "127.0.0.1#example.com"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_way_inside(gateway, trap, host):
    """Refused with the field, at once, and without a connection: with the port that the guard allows (443, where
    nothing could be told), and with the trap's."""
    port, came = trap
    host = socket.gethostname() if host == "own-host" else host
    started = time.monotonic()
    for url in (f"https://{host}/x.png", f"https://{host}:{port}/x.png"):
        problem = refused(gateway.generate(path=I2I, image=url))
        assert problem["message"]
    assert came == []
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:{port}/x.png", "HTTP://127.0.0.1:{port}/", "file:///etc/passwd", "file://localhost/etc/passwd",
    "ftp://127.0.0.1:{port}/x", "gopher://127.0.0.1:{port}/x", "dict://127.0.0.1:{port}/", "https:127.0.0.1:{port}",
    "https:///127.0.0.1:{port}/", "https:/127.0.0.1:{port}/", "//127.0.0.1:{port}/x", "127.0.0.1:{port}/x", "https://",
    "https://user:password@127.0.0.1:{port}/", "https://@127.0.0.1:{port}/", "https://127.0.0.1:{port}#x", "https://127.0.0.1:0/",
    "https://127.0.0.1:99999/", "https://127.0.0.1:{port}\r\nX: y/", "https://127.0.0.1:{port}/\u0000", " https://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/ x", "javascript:alert(1)", "data:text/html,x", "", "a", "/etc/passwd", "/a/../../etc/passwd",
    "a_../x", "/a/a_" + "0" * 64, "a_" + "0" * 22, "blob:https://x/y", "https://" + "a" * 2048 + "/"])
def test_no_other_way_either(gateway, trap, url):
    port, came = trap
    url = url.format(port=port)
    if "\0" in url:  # refused before there is a field
        answer = gateway.generate(path=I2I, image=url)
        assert answer.status_code == 400 and answer.json()["details"][0]["constraint"] == "nul"
        return
    refused(gateway.generate(path=I2I, image=url))
    refused(gateway.generate(path=EDIT, image=data_uri(PNG), mask=url), "mask")
    assert came == []


@pytest.mark.parametrize("value", [None, 7, True, [], {}, ["https://example.com/x.png"]])
def test_an_image_is_text(gateway, value):
    answer = gateway.post(I2I, json={"prompt": "a", "image": value})
    assert refused(answer)["constraint"] == "type"


def test_an_asset_url_of_another_gateway_is_a_url_like_any_other(gateway, trap):
    port, came = trap
    refused(gateway.generate(path=I2I, image=f"http://127.0.0.1:{port}/a/a_" + "0" * 64))
    refused(gateway.generate(path=I2I, image=gateway.url + "/models"))
    refused(gateway.generate(path=I2I, image=gateway.url + ".example.com/a/a_" + "0" * 64))
    assert came == []


def test_messages_do_not_tell_what_is_inside(gateway, trap):
    """An address where something listens and one where nothing does are refused in the same words."""
    port, _ = trap
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    texts = {refused(gateway.generate(path=I2I, image=f"https://{host}/"))["message"]
             for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "[::1]", "169.254.169.254")}
    texts |= {refused(gateway.generate(path=I2I, image=f"https://127.0.0.1:{p}/"))["message"] for p in (port, closed)}
    assert len(texts) <= 2, texts  # by address; by port


# ---- data: URIs ----

def test_the_largest_picture_in_a_request(gateway):
    """20 MiB decoded, in a body of under 32 MiB; a byte more is refused."""
    content = png_of_size(20 << 20)
    assert gateway.generate(path=I2I, steps=1, image=data_uri(content)).status_code == 200
    problem = refused(gateway.generate(path=I2I, steps=1, image=data_uri(png_of_size((20 << 20) + 1))))
    assert problem["constraint"] == "maxLength" and "/uploads" in problem["message"]


def body_of(size, image):
    """A request of exactly `size` bytes, made so by the picture."""
    head = b'{"prompt":"a","steps":1,"image":"'
    mask = b'","mask":"'
    tail = b'"}'
    prefix = b"data:image/png;base64,"
    room = size - len(head) - len(mask) - len(tail) - 2 * len(prefix) - len(image)
    filler = room // 4 * 4
    second = base64.b64encode(png_of_size(filler // 4 * 3))
    assert len(second) == filler
    body = head + prefix + image + mask + prefix + second + tail
    return body[:-1] + b" " * (size - len(body)) + b"}"


def test_the_largest_body(gateway):
    """32 MiB with pictures in it pass; a byte more is 413."""
    first = base64.b64encode(png_of_size(15 << 20))
    for size, status in ((32 << 20, 200), ((32 << 20) + 1, 413)):
        answer = gateway.post(EDIT + "?format=512", data=body_of(size, first))
        assert answer.status_code == status, answer.text[:300]


def test_a_body_over_a_mebibyte_needs_a_picture_for_it(gateway):
    """1 MiB and a byte: with a picture that makes it so it passes, with blanks it does not."""
    small = data_uri(picture()).encode()
    over = (1 << 20) + 1
    body = b'{"prompt":"a","steps":1,"image":"' + small + b'"' + b" " * over + b"}"
    assert gateway.post(I2I, data=body).status_code == 413
    image = data_uri(png_of_size(1 << 20)).encode()
    assert gateway.post(I2I + "?format=512", data=b'{"prompt":"a","steps":1,"image":"' + image + b'"}').status_code == 200


GOOD = base64.b64encode(picture(8, 8)).decode()


@pytest.mark.parametrize("uri,constraint", [
    ("data:image/png;base64," + GOOD[:-1], "format"), ("data:image/png;base64," + GOOD[:-8] + "!!!!AAA=", "format"),
    ("data:image/png;base64," + GOOD[:40] + "\n" + GOOD[40:], "format"), ("data:image/png;base64," + GOOD + "AAAA", None),
    ("data:image/png;base64,", "format"), ("data:image/png;base64," + "=" * 8, "format"),
    ("data:image/png;base64," + "A===", "format"), ("data:image/png," + GOOD, "format"), ("data:image/png;base64" + GOOD, "format"),
    ("data:image/gif;base64," + GOOD, "format"), ("data:text/html;base64," + GOOD, "format"), ("data:;base64," + GOOD, "format"),
    ("data:image/png;charset=x;base64," + GOOD, "format"), ("data:image/png;base64," + GOOD.replace("/", "_"), "format"),
    ("DATA:image/png;base64," + GOOD, "format"),
    (data_uri(picture(kind="JPEG")), "media"), (data_uri(picture(), "jpeg"), "media"), (data_uri(picture(), "webp"), "media"),
    (data_uri(picture()[:60]), None), (data_uri(b"\x89PNG\r\n\x1a\n"), "media"), (data_uri(b"<svg/>"), "media"),
    (data_uri(png_bomb()), "media"), (data_uri(png_bomb(16385, 1)), "media"), (data_uri(png_bomb(8001, 8000)), "media")], ids=range(24))
def test_data_uris_that_are_not_pictures(gateway, uri, constraint):
    answer = gateway.generate(path=I2I, image=uri)
    if constraint is None:  # well-formed outside: what is wrong shows when it is decoded
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            refused(answer)
        return
    assert refused(answer)["constraint"] == constraint


def test_a_picture_that_breaks_in_the_middle(gateway):
    """Its header is sound, its pixels are not: found when it is decoded, and the request's fault."""
    broken = bytearray(picture(512, 512))
    broken[len(broken) // 2] ^= 0xff
    for content, kind in ((bytes(broken), "png"), (picture(512, 512)[:5000], "png"), (picture(512, 512, "WEBP")[:5000], "webp")):
        answer = gateway.generate(path=I2I, image=data_uri(content, kind))
        refused(answer)


def test_jpg_is_jpeg(gateway):
    for name in ("jpg", "jpeg"):
        answer = gateway.generate(path=I2I, steps=1, image=data_uri(picture(kind="JPEG"), name))
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("image,mask", [((512, 512), (64, 64)), ((640, 480), (512, 512)), ((100, 700), (700, 100)), ((1, 1), (1, 1)),
                                        ((16384, 1), (1, 16384))])
def test_sources_of_other_sizes(gateway, image, mask):
    """Whatever the sources' sizes, the output has the size that was asked for."""
    answer = gateway.generate(path=EDIT, steps=1, image=data_uri(picture(*image)), mask=data_uri(picture(*mask)))
    assert answer.status_code == 200, answer.text
    assert Image.open(io.BytesIO(answer.content)).size == (512, 512)


def test_many_pixels_that_are_allowed(gateway):
    """64 million pixels, the most that is taken, in a file of 62 KiB."""
    out = io.BytesIO()
    Image.new("L", (8000, 8000), 255).save(out, "PNG")
    started = time.monotonic()
    answer = gateway.generate(path=I2I, steps=1, image=data_uri(out.getvalue()))
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < (120 if SANITIZED else 20)
