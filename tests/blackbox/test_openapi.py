# SPDX-License-Identifier: Apache-2.0
"""The server against its own contract, api/openapi.yaml: the file is sound, every operation in it is served,
every route that is served stands in it, and whatever is answered here is documented: status, headers, type, and
the schema of every JSON body. An undocumented answer fails."""
import json
import re

import blake3
import pytest
import yaml
from conftest import ROOT
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from tools import Scripted, picture, png_of_size, request_lines

SPEC = yaml.safe_load((ROOT / "api/openapi.yaml").read_text())
METHODS = ("get", "head", "post", "put", "delete")
OPERATIONS = {(method, path): SPEC["paths"][path][method]
              for path in SPEC["paths"] for method in METHODS if method in SPEC["paths"][path]}
REGISTRY = Registry().with_resource("urn:spec", DRAFT202012.create_resource(SPEC))
# Answers that any route may give, as info.description says, and that no operation repeats.
EVERYWHERE = {400, 405, 408, 413, 414, 431, 500, 503}
# Documented statuses that no request of this file brings about, and why.
NOT_HERE = {
    ("generate", 429): "test_attack.py: more fetches at once than a tenant may have",
    ("createUpload", 429): "10,000 unused URLs; tests/unit/store has it",
    ("createUpload", 503): "a failed database; tests/unit/store has it", ("createUpload", 507): "the same",
    ("createKey", 503): "the same", ("createKey", 507): "the same",
    ("createKey", 409): "100,000 keys; tests/unit/store has it",
    ("putUpload", 503): "a failed object store; tests/unit/cas has it", ("putObject", 503): "the same",
    ("putObject", 413): "over 4 GiB; refused by Content-Length in test_announced_size_of_an_object",
    ("getReady", 503): "test_logs.py: a gateway that drains",
}
SEEN = set()  # (operationId, status)


def pointer(*parts):
    return "urn:spec#/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def resolve(node):
    while "$ref" in node:
        target = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def problems_of(schema, value):
    checker = Draft202012Validator(schema, registry=REGISTRY, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def where(node, *parts):
    """The pointer of a response, header or schema, through one reference."""
    return (node["$ref"].removeprefix("#/").split("/") if "$ref" in node else list(parts))


def check_headers(response, place, answer):
    for name, header in response.get("headers", {}).items():
        at = where(header, *place, "headers", name)
        text = answer.headers.get(name)
        if text is None:
            assert not resolve(header).get("required"), f"the header {name} is missing"
            continue
        kind = resolve(header)["schema"].get("type")
        value = int(text) if kind == "integer" else float(text) if kind == "number" else text
        found = problems_of({"$ref": pointer(*at, "schema")}, value)
        assert not found, f"{name}: {text}: {found}"


def check_body(response, place, answer):
    if not answer.content:
        assert answer.request.method == "HEAD" or "content" not in response, "the documented body is missing"
        return
    content = response.get("content", {})
    kind = answer.headers["Content-Type"].split(";")[0]
    # An object is served under what it is by content.
    known = kind if kind in content else "application/octet-stream" if "application/octet-stream" in content else None
    assert known, f"a body of type {kind} is not documented"
    if kind == "application/json":
        found = problems_of({"$ref": pointer(*place, "content", known, "schema")}, answer.json())
        assert not found, (found, answer.text[:1000])


def conforms(answer, method, path, status):
    """The answer has this status, and everything about it stands in the contract."""
    assert answer.status_code == status, (answer.status_code, answer.text[:800])
    operation = OPERATIONS[method, path]
    SEEN.add((operation["operationId"], status))
    documented = operation["responses"]
    assert str(status) in documented, f"{operation['operationId']} does not document {status}"
    response = documented[str(status)]
    place = where(response, "paths", path, method, "responses", str(status))
    response = resolve(response)
    assert re.fullmatch(r"req_[A-Za-z0-9]+", answer.headers["X-Weyl-Request-Id"])
    check_headers(response, place, answer)
    check_body(response, place, answer)
    if status >= 400 and answer.content and operation["operationId"] != "getReady":
        body = answer.json()
        assert body["request_id"] == answer.headers["X-Weyl-Request-Id"]
        assert status != 400 or body["details"], body
    return answer


# ---- the file ----

def test_the_file_is_valid_openapi_3_1():
    assert SPEC["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(SPEC).iter_errors()] == []


def test_its_schemas_are_valid_and_its_examples_fit():
    for name, schema in SPEC["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        for example in schema.get("examples", []):
            assert problems_of({"$ref": pointer("components", "schemas", name)}, example) == [], name
    body = OPERATIONS["post", "/{modality}/{family}/{model}/{task}"]["requestBody"]["content"]["application/json"]
    for task, example in body["examples"].items():
        name = task.capitalize() + "Request"
        assert problems_of({"$ref": pointer("components", "schemas", name)}, example["value"]) == [], task
    error = SPEC["components"]["responses"]["Invalid"]["content"]["application/json"]["example"]
    assert problems_of({"$ref": pointer("components", "schemas", "Error")}, error) == []


def test_it_names_the_answers_of_every_route():
    text = SPEC["info"]["description"]
    assert [status for status in sorted(EVERYWHERE) if not re.search(rf"\b{status}\b", text)] == []


def test_the_server_serves_the_file_itself(gateway):
    answer = conforms(gateway.get("/openapi.yaml", key=None), "get", "/openapi.yaml", 200)
    assert answer.content == (ROOT / "api/openapi.yaml").read_bytes()


def routes_of_the_server():
    source = (ROOT / "src/gateway/routes.c").read_text()
    found = re.findall(r'\{\s*RD_HTTP_([A-Z]+),\s*"([^"]+)"', source)
    assert len(found) > 15
    return {(method.lower(), path) for method, path in found}


def test_every_route_of_the_server_is_documented():
    assert routes_of_the_server() - set(OPERATIONS) == set()
    # HEAD is GET's, so it has no row of its own.
    assert {o for o in OPERATIONS if o[0] != "head"} - routes_of_the_server() == set()
    assert {path for method, path in OPERATIONS if method == "head"} <= {p for m, p in OPERATIONS if m == "get"}


FILLED = {"modality": "image", "family": "builtin", "model": "plasma", "task": "t2i", "token": "x" * 30,
          "asset": "a_" + "0" * 64, "hash": "0" * 64, "id": "key_" + "0" * 22}


@pytest.mark.parametrize("method,path", OPERATIONS)
def test_every_documented_operation_is_served(gateway, method, path):
    """Not by a row for something else, and not by none: the log says which route took it."""
    answer = gateway.request(method.upper(), path.format(**FILLED), key=None, data=b"" if method != "get" else None)
    assert answer.status_code != 405
    assert "no such path" not in answer.text
    line = request_lines(gateway, request_id=answer.headers["X-Weyl-Request-Id"])[0]
    assert line["route"] != "none"
    needs_key = OPERATIONS[method, path].get("security", SPEC["security"]) != []
    assert (answer.status_code == 401) == needs_key, answer.status_code
    if needs_key and method != "head":
        conforms(answer, method, path, 401)


# ---- generation ----

GENERATE = "/{modality}/{family}/{model}/{task}"


def generated(answer, status):
    return conforms(answer, "post", GENERATE, status)


@pytest.mark.parametrize("accept", ["image/png", "image/webp", "image/jpeg", "application/json"])
def test_generate_images(gateway, accept):
    answer = generated(gateway.generate(seed=1, steps=1, accept=accept), 200)
    assert answer.headers["Content-Type"] == accept
    for name in ("X-Weyl-Seed", "X-Weyl-Duration-Ms", "x-gpu-seconds", "x-gpu-device"):
        assert name in answer.headers
    assert ("Content-Location" in answer.headers) == (accept != "application/json")


def test_generate_several_and_a_video(gateway):
    assert "multipart/mixed" in generated(gateway.generate(count=2, steps=1), 200).headers["Content-Type"]
    generated(gateway.generate(path="/video/builtin/plasma/t2v", format="480p", duration=0.5, steps=1), 200)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"prompt":"a"', b'{"prompt":"\xff"}', b"{}", b'{"prompt":1,"steps":1e9}',
                                  b'{"prompt":"a","image":"b"}', b'{"prompt":"a","prompt":"b"}', b'{"prompt":null}'])
def test_generate_bad_bodies(gateway, body):
    answer = generated(gateway.post("/image/builtin/plasma/t2i", data=body), 400)
    assert answer.json()["details"]


def test_generate_refusals(gateway):
    small = gateway.new_key("small", scopes=["read"])["key"]
    generated(gateway.generate(key=small), 403)
    generated(gateway.generate(path="/image/no/such/t2i"), 404)
    generated(gateway.generate(path="/image/builtin/plasma/t2v"), 404)
    generated(gateway.generate(accept="text/html"), 406)
    generated(gateway.post("/image/builtin/plasma/t2i", data=b" " * (33 << 20)), 413)
    answer = generated(gateway.generate(path="/image/flux/dev/t2i"), 503)
    assert int(answer.headers["Retry-After"]) >= 1


def test_generate_when_the_engine_fails(start_gateway):
    def script(request):
        if request.json()["request"]["prompt"] == "late":
            request.wait_left()
        elif request.json()["request"]["prompt"] == "busy":
            request.answer(503)
        else:
            request.answer(500)
    with Scripted(script) as engine:
        server = start_gateway(config="engines:\n  - {name: box, type: http, models: [flux/dev], timeout: 300ms, "
                                      f"url: 'http://127.0.0.1:{engine.port}/'}}\n")
        generated(server.generate("fails", path="/image/flux/dev/t2i"), 502)
        generated(server.generate("late", path="/image/flux/dev/t2i"), 504)
        answer = generated(server.generate("busy", path="/image/flux/dev/t2i"), 503)
        assert answer.json()["error"] == "capacity_exhausted" and 'rel="alternate"' in answer.headers["Link"]


def test_a_full_disk(start_gateway):
    """More must stay free than any disk has."""
    server = start_gateway(config="store: {min_free: 1TiB}\n")
    if server.generate(steps=1).status_code == 200:
        pytest.fail("this disk has over 1 TiB free; no disk of a test machine does")
    generated(server.generate(steps=1), 507)
    content = picture()
    name = blake3.blake3(content).hexdigest()
    conforms(server.put(f"/v1/objects/{name}", data=content), "put", "/v1/objects/{hash}", 507)
    ticket = server.post("/uploads", json={"content_type": "image/png", "bytes": len(content)}).json()
    conforms(server.put(ticket["upload_url"], key=None, data=content), "put", "/uploads/{token}", 507)


# ---- models, service ----

@pytest.mark.parametrize("path", ["/models", "/models/aliases", "/models/loras", "/health/live", "/health/ready", "/metrics",
                                  "/.well-known/jwks.json", "/"])
def test_what_it_tells(gateway, path):
    conforms(gateway.get(path), "get", path, 200)
    head = gateway.request("HEAD", path)
    assert head.status_code == 200 and head.content == b""


# ---- uploads, assets ----

def test_uploads(gateway):
    content = picture()
    body = {"content_type": "image/png", "bytes": len(content)}
    ticket = conforms(gateway.post("/uploads", json=body), "post", "/uploads", 200).json()
    for bad in (b"", b"7", b"{}", json.dumps({**body, "bytes": 0}).encode(), json.dumps({**body, "bytes": True}).encode(),
                json.dumps({**body, "content_type": "text/html"}).encode()):
        conforms(gateway.post("/uploads", data=bad), "post", "/uploads", 400)
    conforms(gateway.post("/uploads", data=b" " * ((1 << 20) + 1)), "post", "/uploads", 413)
    small = gateway.new_key("small", scopes=["read"])["key"]
    conforms(gateway.post("/uploads", key=small, json=body), "post", "/uploads", 403)

    def put(url, data, status):
        return conforms(gateway.put(url, key=None, data=data), "put", "/uploads/{token}", status)
    put(ticket["upload_url"], content[:-1], 400)
    put(ticket["upload_url"], b"x" * len(content), 415)
    put("/uploads/" + "x" * 30, content, 404)
    answer = put(ticket["upload_url"], content, 201)
    assert answer.json()["asset_url"] == ticket["asset_url"]
    assert gateway.get(answer.headers["Content-Location"], key=None).content == content
    put(ticket["upload_url"], content, 410)
    largest = gateway.post("/uploads", json={**body, "bytes": 52428800})
    conforms(largest, "post", "/uploads", 200)
    conforms(gateway.post("/uploads", json={**body, "bytes": 52428801}), "post", "/uploads", 400)


def test_assets(gateway):
    made = gateway.generate(seed=1, steps=1)
    url, size = made.headers["Content-Location"], len(made.content)

    def get(status, url=url, **headers):
        answer = gateway.get(url, key=None, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return conforms(answer, "get", "/a/{asset}", status)
    whole = get(200)
    for name in ("ETag", "Cache-Control", "Last-Modified", "Accept-Ranges"):
        assert name in whole.headers, name
    assert get(206, Range="bytes=5-9").content == made.content[5:10]
    assert "ETag" in get(304, If_None_Match=whole.headers["ETag"]).headers
    get(412, If_Match='"x"')
    assert get(416, Range=f"bytes={size}-").headers["Content-Range"] == f"bytes */{size}"
    get(404, url="/a/a_" + "0" * 64)

    def head(status, url=url, **headers):
        answer = gateway.request("HEAD", url, key=None, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return conforms(answer, "head", "/a/{asset}", status)
    assert head(200).headers["Content-Length"] == str(size)
    head(304, If_None_Match="*")
    head(412, If_Match='"x"')
    head(404, url="/a/a_" + "0" * 64)
    conforms(gateway.get(url + "/attestation", key=None), "get", "/a/{asset}/attestation", 200)
    reveal = "/a/{asset}/reveal"
    conforms(gateway.get(url + "/reveal"), "get", reveal, 200)
    conforms(gateway.get(url + "/reveal", key=None), "get", reveal, 401)
    conforms(gateway.get(url + "/reveal", key=gateway.new_key("acme", scopes=["upload"])["key"]), "get", reveal, 403)
    conforms(gateway.get("/a/a_" + "0" * 64 + "/reveal"), "get", reveal, 404)
    for other in ("/a/a_" + "0" * 64, "/a/a_" + "1" * 22, "/a/nonsense"):
        conforms(gateway.get(other + "/attestation", key=None), "get", "/a/{asset}/attestation", 404)


# ---- objects ----

def test_objects(gateway):
    path = "/v1/objects/{hash}"
    content = picture(seed="objects")
    name = blake3.blake3(content).hexdigest()
    url = "/v1/objects/" + name
    read_only, upload_only = (gateway.new_key("small", scopes=[s])["key"] for s in ("read", "upload"))
    for status in (201, 200):
        conforms(gateway.put(url, data=content), "put", path, status)
    conforms(gateway.put("/v1/objects/" + name.upper(), data=content), "put", path, 400)
    conforms(gateway.put("/v1/objects/" + name[:-1], data=content), "put", path, 400)
    conforms(gateway.put(url, data=content[:-1]), "put", path, 422)
    conforms(gateway.put(url, key=read_only, data=content), "put", path, 403)
    whole = conforms(gateway.get(url), "get", path, 200)
    conforms(gateway.get(url, headers={"Range": "bytes=0-0"}), "get", path, 206)
    conforms(gateway.get(url, headers={"If-None-Match": whole.headers["ETag"]}), "get", path, 304)
    conforms(gateway.get(url, headers={"If-Match": '"x"'}), "get", path, 412)
    conforms(gateway.get(url, headers={"Range": f"bytes={len(content)}-"}), "get", path, 416)
    conforms(gateway.get(url, key=upload_only), "get", path, 403)
    conforms(gateway.get("/v1/objects/" + "0" * 64), "get", path, 404)
    conforms(gateway.get("/v1/objects/nonsense"), "get", path, 404)

    def head(status, **kw):
        return conforms(gateway.request("HEAD", kw.pop("url", url), **kw), "head", path, status)
    assert head(200).headers["Content-Length"] == str(len(content))
    head(304, headers={"If-None-Match": "*"})
    head(412, headers={"If-Match": '"x"'})
    head(401, key=None)
    head(403, key=upload_only)
    head(404, url="/v1/objects/" + "0" * 64)


def test_announced_size_of_an_object(gateway):
    """4 GiB and a byte are refused by their Content-Length; nobody waits for them."""
    import http.client
    connection = http.client.HTTPConnection(gateway.host, gateway.port, timeout=30)
    connection.putrequest("PUT", "/v1/objects/" + "0" * 64)
    connection.putheader("Authorization", f"Bearer {gateway.key}")
    connection.putheader("Content-Length", str((4 << 30) + 1))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert problems_of({"$ref": pointer("components", "schemas", "Error")}, json.loads(answer.read())) == []
    connection.close()


# ---- keys ----

@pytest.mark.parametrize("body", [
    {}, {"tenant": "a"}, {"tenant": "UPPER", "name": "x"}, {"tenant": "a" * 65, "name": "x"}, {"tenant": "a", "name": 7},
    {"tenant": "a", "name": "x", "scopes": []}, {"tenant": "a", "name": "x", "scopes": ["fly"]},
    {"tenant": "a", "name": "x", "scopes": "read"}, {"tenant": "a", "name": "x", "expires_in_s": 0},
    {"tenant": "a", "name": "x", "expires_in_s": 316224001}, {"tenant": "a", "name": "x", "expires_in_s": "1"},
    {"tenant": "a", "name": "y" * 65}])
def test_bad_key_requests(gateway, body):
    """What the schema refuses, the server refuses, and names the field."""
    answer = conforms(gateway.post("/keys", json=body), "post", "/keys", 400)
    assert answer.json()["details"], answer.text
    if body.get("name") != "y" * 65:  # counted in bytes, which a schema cannot say
        assert problems_of({"$ref": pointer("components", "schemas", "KeyRequest")}, body)


def test_keys(gateway):
    made = conforms(gateway.post("/keys", json={"tenant": "acme", "name": "x", "expires_in_s": 316224000}),
                    "post", "/keys", 201).json()
    conforms(gateway.post("/keys", json={"tenant": "a" * 64, "name": "é" * 32, "expires_in_s": None}), "post", "/keys", 201)
    for bad in (b"", b"[]", b'{"tenant":'):
        conforms(gateway.post("/keys", data=bad), "post", "/keys", 400)
    conforms(gateway.post("/keys", data=b" " * ((1 << 20) + 1)), "post", "/keys", 413)
    conforms(gateway.post("/keys", key=made["key"], json={"tenant": "acme", "name": "x"}), "post", "/keys", 403)
    conforms(gateway.get("/keys"), "get", "/keys", 200)
    generate_only = gateway.new_key("acme", scopes=["generate"])["key"]
    conforms(gateway.get("/keys", key=generate_only), "get", "/keys", 403)
    url = f"/keys/{made['id']}"
    conforms(gateway.delete(url, key=generate_only), "delete", "/keys/{id}", 403)
    conforms(gateway.delete("/keys/key_" + "0" * 22), "delete", "/keys/{id}", 404)
    conforms(gateway.delete(url), "delete", "/keys/{id}", 204)
    revoked = next(k for k in gateway.get("/keys").json()["keys"] if k["id"] == made["id"])
    assert revoked["revoked_at"]


# ---- the field table, from the outside ----

def limits():
    """(task, field, value, good) for both sides of each range of the request schemas."""
    for task in ("T2iRequest", "T2vRequest"):
        properties = {}
        for part in SPEC["components"]["schemas"][task]["allOf"]:
            properties.update(resolve(part)["properties"])
        for field, schema in properties.items():
            if schema is False:
                continue
            schema = resolve(schema)
            step = 1 if schema.get("type") == "integer" else 0.001
            for bound, sign in (("minimum", -1), ("maximum", 1)):
                if bound in schema:
                    yield task[:3].lower(), field, schema[bound] + sign * step, False
            for value in schema.get("enum", [])[:2]:
                yield task[:3].lower(), field, value + "x", False
            if schema.get("type") in ("integer", "number", "string", "boolean", "array"):
                yield task[:3].lower(), field, {"an": "object"}, False


@pytest.mark.parametrize("task", ["t2i", "t2v"])
def test_what_the_schema_refuses_the_server_refuses(gateway, task):
    modality = "image" if task == "t2i" else "video"
    tried = 0
    for _, field, value, _ in (case for case in limits() if case[0] == task):
        body = {"prompt": "a", field: value}
        assert problems_of({"$ref": pointer("components", "schemas", task.capitalize() + "Request")}, body), body
        answer = generated(gateway.post(f"/{modality}/builtin/plasma/{task}", json=body), 400)
        assert any(p["field"] == field for p in answer.json()["details"]), (body, answer.text)
        tried += 1
    assert tried > 30


def test_every_documented_answer_was_seen():
    """Runs last in this file: a status that is documented and never given would be a promise nobody keeps."""
    documented = {(op["operationId"], int(status)) for op in OPERATIONS.values() for status in op["responses"]}
    if len(SEEN) < 40:
        pytest.fail("run the whole file: this test counts what the others saw")
    assert documented - SEEN - set(NOT_HERE) == set()
    assert set(NOT_HERE) & SEEN == set(), "it can be brought about after all: take it off the list"
