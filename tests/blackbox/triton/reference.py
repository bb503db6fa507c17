#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own client (tritonclient) against one of the models here, for the tests and the bench to compare with.
Run by the Python of build-test/triton, which has it.

    reference.py http|grpc|stream HOST:PORT MODEL '{"prompt": ..., "width": ...}' FOLDER
        one request; each output tensor of each response as FOLDER/N-NAME: BYTES as they are, a raw picture as a PNG
        of it, numbers as text
    reference.py load HOST:PORT MODEL '{...}' CONCURRENCY SECONDS
        as many requests as go through over gRPC; prints {"requests": ..., "seconds": ..., "us": {"p50": ...}, "cpu_us": ...}
"""
import json
import pathlib
import queue
import resource
import sys
import threading
import time

import numpy as np

from paint import png

TYPES = {"prompt": "BYTES", "negative_prompt": "BYTES", "image": "BYTES", "mask": "BYTES", "width": "INT32",
         "height": "INT32", "steps": "INT32", "seed": "INT64", "guidance": "FP32"}
NUMPY = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


def inputs(module, fields):
    made = []
    for name, value in fields.items():
        kind = TYPES[name]
        array = np.array([value.encode()], dtype=np.object_) if kind == "BYTES" else np.array([value], NUMPY[kind])
        tensor = module.InferInput(name, [1], kind)
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def names(result):
    answer = result.get_response()
    return [output["name"] for output in answer["outputs"]] if isinstance(answer, dict) else \
        [output.name for output in answer.outputs]


def write(folder, number, result):
    for name in names(result):
        array = result.as_numpy(name)
        if array.dtype == np.object_:
            content = array.reshape(-1)[0]
        elif array.dtype == np.uint8:
            content = png(array)
        elif array.ndim == 4:
            content = png(np.rint(np.clip(array[0].astype(np.float64), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
        else:
            content = repr(array.reshape(-1)[0].item()).encode()
        (folder / f"{number}-{name}").write_bytes(content)


def one(how, where, model, fields, folder):
    if how == "http":
        import tritonclient.http as http
        write(folder, 0, http.InferenceServerClient(where).infer(model, inputs(http, fields)))
        return
    import tritonclient.grpc as grpc
    client = grpc.InferenceServerClient(where)
    if how == "grpc":
        write(folder, 0, client.infer(model, inputs(grpc, fields)))
        return
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer(model, inputs(grpc, fields), enable_empty_final_response=True)
    for number in range(10000):
        result, error = answers.get(timeout=60)
        if error is not None:
            raise error
        write(folder, number, result)
        if result.get_response().parameters["triton_final_response"].bool_param:
            break
    client.stop_stream()


def load(where, model, fields, concurrency, seconds):
    """One client, one thread a request in flight, as its documentation has it; each request is made anew."""
    import tritonclient.grpc as grpc
    client = grpc.InferenceServerClient(where)
    client.infer(model, inputs(grpc, fields))
    until, times, lock = time.monotonic() + seconds, [], threading.Lock()

    def work():
        mine = []
        while (began := time.monotonic()) < until:
            client.infer(model, inputs(grpc, fields)).as_numpy("image")
            mine.append(time.monotonic() - began)
        with lock:
            times.extend(mine)
    began, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    us = {f"p{p}": round(float(np.percentile(times, p)) * 1e6) for p in (50, 99)}
    print(json.dumps({"requests": len(times), "seconds": wall, "us": us, "cpu_us": used / len(times) * 1e6}))


def main():
    how, where, model = sys.argv[1:4]
    fields = json.loads(sys.argv[4])
    if how == "load":
        load(where, model, fields, int(sys.argv[5]), float(sys.argv[6]))
    else:
        one(how, where, model, fields, pathlib.Path(sys.argv[5]))


if __name__ == "__main__":
    main()
