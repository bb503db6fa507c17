#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares api/openapi.yaml with what the programs do.

usage: openapi_check.py REQUEST_FIELDS OPENAPI_YAML

REQUEST_FIELDS is the program that prints the parser's table (src/request/request_fields.c). Checked are: every
field of every task (type, range, default, enum, required, and that other tasks refuse it), the vocabulary
(tasks, formats, backends, states, types, error codes, limits), and that the file is sound in itself (references,
operation ids, path parameters, an Error body for every refusal). Prints TAP."""
import json
import re
import subprocess
import sys

import yaml

SCHEMAS = {"t2i": "T2iRequest", "i2i": "I2iRequest", "edit": "EditRequest", "t2v": "T2vRequest", "i2v": "I2vRequest"}
METHODS = ("get", "head", "post", "put", "delete")


class Contract:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.root = yaml.safe_load(file)

    def resolve(self, node):
        """What a reference points to, with what stands beside it laid over; anything else as it is."""
        while isinstance(node, dict) and "$ref" in node:
            target = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**target, **beside}
        return node

    def schema(self, name):
        return self.root["components"]["schemas"][name]

    def flatten(self, schema):
        """(properties, required) of a schema and everything in its allOf."""
        schema = self.resolve(schema)
        properties, required = {}, set(schema.get("required", []))
        for part in schema.get("allOf", []):
            inner, needed = self.flatten(part)
            properties.update(inner)
            required |= needed
        properties.update(schema.get("properties", {}))
        return properties, required


def same(got, want, what):
    if got != want or isinstance(got, bool) != isinstance(want, bool):
        return [f"{what}: the contract says {got!r}, the program {want!r}"]
    return []


def check_range(schema, field, low, high):
    return same(schema.get(low), field.get("min", 0), low) + same(schema.get(high), field.get("max", 0), high)


def check_field(contract, schema, field, table):
    """Everything that a schema must say about one row."""
    kind = field["type"]
    types = {"integer": "integer", "number": "number", "boolean": "boolean", "loras": "array"}
    problems = same(schema.get("type"), types.get(kind, "string"), "type")
    if kind in ("integer", "number"):
        problems += check_range(schema, field, "minimum", "maximum")
    elif kind == "text":
        problems += check_range(schema, field, "minLength", "maxLength")
    elif kind == "loras":
        problems += check_range(schema, field, "minItems", "maxItems")
        properties, required = contract.flatten(schema["items"])
        problems += same(sorted(properties), sorted(f["name"] for f in table["lora"]), "names")
        for inner in table["lora"]:
            problems += check_field(contract, contract.resolve(properties[inner["name"]]), inner, table)
            problems += same(inner["name"] in required, bool(inner["required"]), "required")
    elif kind == "name":
        problems += same(sorted(schema.get("enum", [])), sorted(field["enum"]), "enum")
    elif kind == "backend":
        problems += same(schema.get("enum"), table["backends"], "enum")
    if kind != "format":
        problems += same(schema.get("default"), field.get("default"), "default")
    fallback = field["fallback"] if field["fallback"] in ("preset", "drawn") else None
    problems += same(schema.get("x-render-default"), fallback, "x-render-default")
    return [f"{field['name']}: {problem}" for problem in problems]


def check_format(schema, modality, table):
    names = [row["name"] for row in table["formats"] if row["modality"] == modality]
    problems = same(schema.get("enum"), names, "formats") + same(schema.get("default"), names[0], "default format")
    for row in table["formats"]:
        size = f"`{row['name']}` {row['width']}x{row['height']}"
        if row["modality"] == modality and size not in schema["description"]:
            problems.append(f"the description does not say {size}")
    return problems


def check_task(contract, table, task):
    problems = []
    properties, required = contract.flatten(contract.schema(SCHEMAS[task]))
    rows = {field["name"]: field for field in table["fields"] if task in field["tasks"]}
    others = {field["name"] for field in table["fields"]} - set(rows)
    for name in others:
        if properties.get(name) is not False:
            problems.append(f"{name}: {task} does not take it, so its schema must be false")
    for name in set(properties) - set(rows) - others:
        problems.append(f"{name}: not in the program's table")
    for name, field in rows.items():
        if not isinstance(properties.get(name), dict):
            problems.append(f"{name}: missing")
            continue
        problems += check_field(contract, contract.resolve(properties[name]), field, table)
        problems += [f"{name}: {p}" for p in same(name in required, task in field["required"], "required")]
    modality = "video" if task.endswith("v") else "image"
    problems += check_format(contract.resolve(properties["format"]), modality, table)
    return problems


def check_vocabulary(contract, table):
    problems = []
    for name, key in (("Modality", "modalities"), ("Task", "tasks"), ("Backend", "backends"),
                      ("ModelStatus", "model_statuses"), ("OutputType", "media"), ("ErrorCode", "error_codes")):
        problems += [f"{name}: {p}" for p in same(contract.schema(name).get("enum"),
                     [value for value in table[key] if value != "ok"], "enum")]
    upload = contract.schema("UploadRequest")["properties"]["bytes"]
    problems += same(upload["maximum"], table["upload_bytes"], "upload bytes")
    problems += same([f"#/components/schemas/{SCHEMAS[task]}" for task in table["tasks"]],
                     [part["$ref"] for part in contract.schema("GenerationRequest")["anyOf"]], "request schemas")
    return problems


def every_node(node, path="#"):
    yield path, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from every_node(value, f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}")


def check_references(contract):
    nodes = dict(every_node(contract.root))
    used = {node["$ref"] for node in nodes.values() if isinstance(node, dict) and isinstance(node.get("$ref"), str)}
    problems = [f"{ref}: points nowhere" for ref in used if ref not in nodes]
    for section in ("schemas", "responses", "headers", "parameters"):
        for name in contract.root["components"][section]:
            if f"#/components/{section}/{name}" not in used:
                problems.append(f"{section}/{name}: used nowhere")
    return problems


def check_response(contract, where, status, response):
    response = contract.resolve(response)
    problems = [] if response.get("description") else [f"{where} {status}: no description"]
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    refusal = int(status) >= 400 and "/head" not in where and where != "/health/ready/get"
    if refusal and schema.get("$ref") != "#/components/schemas/Error":
        problems.append(f"{where} {status}: the body is not Error")
    return problems


def check_operations(contract):
    problems, ids = [], []
    for path, item in contract.root["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            where = f"{path}/{method}"
            ids.append(operation["operationId"])
            names = {contract.resolve(p)["name"] for p in item.get("parameters", []) + operation.get("parameters", [])
                     if contract.resolve(p)["in"] == "path"}
            problems += same(names, set(re.findall(r"{(\w+)}", path)), f"{where}: path parameters")
            statuses = operation["responses"]
            if not any(status.startswith("2") or status == "101" for status in statuses):
                problems.append(f"{where}: never succeeds")
            if operation.get("security") != [] and "401" not in statuses:
                problems.append(f"{where}: needs a key, but has no 401")
            for status, response in statuses.items():
                problems += check_response(contract, where, status, response)
    if len(set(ids)) != len(ids):
        problems.append("an operationId is there twice")
    return problems + ([] if len(ids) > 15 else [f"only {len(ids)} operations"])


def main():
    program, path = sys.argv[1:]
    table = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    contract = Contract(path)
    checks = [(f"the fields of {task}", check_task(contract, table, task)) for task in table["tasks"]]
    checks.append(("the vocabulary", check_vocabulary(contract, table)))
    checks.append(("references", check_references(contract)))
    checks.append(("operations", check_operations(contract)))
    print(f"1..{len(checks)}")
    for number, (name, problems) in enumerate(checks, 1):
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems:
            print(f"# {problem}")
    return 1 if any(problems for _, problems in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
