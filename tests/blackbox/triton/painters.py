# SPDX-License-Identifier: Apache-2.0
"""The models of the tests' Triton, for its Python backend; paint.py says what they paint and which orders a prompt
can give. One class a model; <model>/1/model.py names it. What a model does is said in the server's log, for the
tests to read there: `painter_stream cancelled <request id>`."""
import os
import threading
import time
import zlib

import numpy as np
import triton_python_backend_utils as pb_utils

from paint import IHDR_END, chunk, encoded, gray, orders, paint, png

PREVIEW_PIXELS = 64


class Asked:
    """The inputs of one request."""

    def __init__(self, request):
        self.id = request.request_id()
        self.prompt = self.take(request, "prompt", b"").decode()
        self.width, self.height = int(self.take(request, "width", 512)), int(self.take(request, "height", 512))
        self.seed, self.steps = int(self.take(request, "seed", 0)), int(self.take(request, "steps", 4))
        self.orders = orders(self.prompt)

    @staticmethod
    def take(request, name, default):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return default if tensor is None else tensor.as_numpy().reshape(-1)[0]

    def paint(self, fraction=1.0):
        return paint(self.prompt, self.width, self.height, self.seed, self.steps, fraction)

    @staticmethod
    def whole(request, name):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()


def log(text):
    pb_utils.Logger.log_info(text)


def failed(text, code=None):
    return pb_utils.TritonError(text, code or pb_utils.TritonError.INTERNAL)


def bytes_tensor(name, value):
    return pb_utils.Tensor(name, np.array([value], dtype=np.object_))


class Unary:
    """One request, one response; a prompt may ask for time, a failure or the end of the process."""

    def initialize(self, args):
        self.name = args["model_name"]
        log(f"{self.name} starts")

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        asked = Asked(request)
        log(f"{self.name} began {asked.id}")
        if "crash" in asked.orders:
            os._exit(3)
        if "fail" in asked.orders:
            return pb_utils.InferenceResponse(error=failed("out of memory on cpu:0, as the prompt asked"))
        if "refuse" in asked.orders:
            return pb_utils.InferenceResponse(
                error=failed("this prompt is refused, as it asked", pb_utils.TritonError.INVALID_ARG))
        until = time.monotonic() + asked.orders.get("slow", 0)
        while time.monotonic() < until:
            if request.is_cancelled():
                log(f"{self.name} cancelled {asked.id}")
                return pb_utils.InferenceResponse(error=failed("cancelled", pb_utils.TritonError.CANCELLED))
            time.sleep(0.005)
        log(f"{self.name} painted {asked.id}")
        return pb_utils.InferenceResponse(output_tensors=[self.output(asked, request)])


class Painter(Unary):
    """BYTES: the file of a PNG. A source picture and a mask, files too, only turn the seed."""

    def output(self, asked, request):
        for name in ("image", "mask"):
            file = asked.whole(request, name)
            asked.seed ^= 0 if file is None else zlib.crc32(file.reshape(-1)[0])
        return bytes_tensor("image", encoded(asked.prompt, asked.paint()))


class Blank:
    """For the bench: a picture that costs the model nothing, and nobody much to look at: 512 x 512 in black and white,
    or with `!heavy` 1024 x 1024 in 16-bit gray, of which 1.5 MB are noise. The seed stands in it, so that no two files
    are the same."""

    def initialize(self, _args):
        noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (1024, 2048), dtype=np.uint8)
        noise[732:] = 0
        self.light, self.heavy = gray(np.zeros((512, 64), np.uint8), 512, 1), gray(noise, 1024, 16)

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        prompt, seed = (pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]
                        for name in ("prompt", "seed"))
        whole = self.heavy if b"!heavy" in prompt else self.light
        return pb_utils.InferenceResponse(output_tensors=[
            bytes_tensor("image", whole[:IHDR_END] + chunk(b"tEXt", b"seed\0%d" % seed) + whole[IHDR_END:])])


class PainterRgb(Unary):
    """UINT8 [height, width, 3], in and out. The source picture stays where the mask is black."""

    def output(self, asked, request):
        pixels, source, mask = asked.paint(), asked.whole(request, "image"), asked.whole(request, "mask")
        if source is not None:
            pixels = (pixels // 2 + source // 2) if mask is None else np.where(mask > 127, pixels, source)
        return pb_utils.Tensor("pixels", pixels[:-1] if "shape" in asked.orders else pixels)


class PainterFloat(Unary):
    """FP32 [1, 3, height, width], from 0 to 1, as diffusion models give it."""

    def output(self, asked, request):
        pixels = asked.paint().astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255)
        if "nan" in asked.orders:
            pixels[0, 0, 0, 0] = np.nan
        return pb_utils.Tensor("pixels", np.ascontiguousarray(pixels[:, :, :-1] if "shape" in asked.orders else pixels))


class PainterStream:
    """Decoupled: a response after each step with how far it is, a preview among them, the picture last. Each request
    has a thread of its own, so that many go on at once; each looks between its steps whether it is cancelled."""

    def initialize(self, args):
        self.name, self.running, self.lock = args["model_name"], 0, threading.Condition()
        log(f"{self.name} starts")

    def execute(self, requests):
        for request in requests:
            with self.lock:
                self.running += 1
            threading.Thread(target=self.run, args=(Asked(request), request.get_response_sender())).start()

    def run(self, asked, sender):
        try:
            self.work(asked, sender)
        finally:
            with self.lock:
                self.running -= 1
                self.lock.notify_all()

    def work(self, asked, sender):
        log(f"{self.name} began {asked.id}")
        final, began = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL, time.thread_time()
        pause = asked.orders.get("slow", 0) / asked.steps
        for step in range(1, asked.steps + 1):
            until = time.monotonic() + pause
            while not sender.is_cancelled() and time.monotonic() < until:
                time.sleep(0.005)
            if sender.is_cancelled():
                log(f"{self.name} cancelled {asked.id}")
                error = failed("cancelled", pb_utils.TritonError.CANCELLED)
                sender.send(pb_utils.InferenceResponse(error=error), flags=final)
                return
            if "crash" in asked.orders and step * 2 > asked.steps:
                os._exit(3)
            if "fail" in asked.orders and step * 2 > asked.steps:
                sender.send(pb_utils.InferenceResponse(error=failed("out of memory on cpu:0, as the prompt asked")),
                            flags=final)
                return
            if step < asked.steps:
                sender.send(pb_utils.InferenceResponse(output_tensors=self.progress(asked, step)))
        if "silent" in asked.orders:  # ends without a picture
            sender.send(flags=final)
            return
        log(f"{self.name} painted {asked.id}")
        answer = pb_utils.InferenceResponse(output_tensors=self.picture(asked, began))
        if "twice" in asked.orders:
            sender.send(answer)
        if "late_final" in asked.orders:  # an answer, and then an empty one that is the last
            sender.send(answer)
            sender.send(flags=final)
        else:
            sender.send(answer, flags=final)

    @staticmethod
    def progress(asked, step):
        tensors = [pb_utils.Tensor("progress", np.array([step / asked.steps], np.float32))]
        if step * 2 >= asked.steps > (step - 1) * 2:  # once, in the middle
            small = paint(asked.prompt, PREVIEW_PIXELS, PREVIEW_PIXELS, asked.seed, asked.steps, step / asked.steps)
            tensors.append(bytes_tensor("preview", png(small)))
        return tensors

    @staticmethod
    def picture(asked, began):
        seconds = time.thread_time() - began
        return [bytes_tensor("image", encoded(asked.prompt, asked.paint())), bytes_tensor("device", b"cpu:0"),
                pb_utils.Tensor("device_seconds", np.array([seconds], np.float64))]

    def finalize(self):
        with self.lock:
            self.lock.wait_for(lambda: self.running == 0, timeout=5)
