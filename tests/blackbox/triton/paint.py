# SPDX-License-Identifier: Apache-2.0
"""What the test models of a real Triton paint: a picture from the words of a prompt, the same one for the same
prompt, size, seed and number of steps. Nothing but numpy and zlib, so that a model starts at once and any
Python can paint the picture again, to compare.

A prompt also gives orders, for tests: `!slow=2` takes two seconds in all, `!fail` ends with an error, `!crash`
kills the model's process, `!nan`, `!shape`, `!cut`, `!text`, `!big=MB` and `!empty` give what is no picture."""
import re
import struct
import zlib

import numpy as np

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (40, 80, 220), "yellow": (240, 210, 50),
           "black": (20, 20, 24), "white": (245, 245, 240), "orange": (240, 140, 40), "purple": (130, 60, 180)}
IHDR_END = 33  # of a PNG: signature and first chunk
SHAPES = ("circle", "square", "moon", "stripe")


def orders(prompt):
    """{"slow": 2.0, "fail": 1.0} of `a cat !slow=2 !fail`."""
    return {name: float(value or 1) for name, value in re.findall(r"!(\w+)(?:=([\d.]+))?", prompt)}


def background(prompt, seed, steps):
    """Corner colours: by the words; the seed and the number of steps turn them."""
    words = re.sub(r"!\S+", "", prompt).split()
    random = np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFF, steps, zlib.crc32(" ".join(words).encode())]))
    return words, random, random.integers(0, 200, (2, 2, 3)).astype(np.float32)


def paint(prompt, width, height, seed, steps, fraction=1.0):
    """uint8 [height, width, 3]. A `fraction` under 1 is the same picture under the noise of the steps to come."""
    words, random, corners = background(prompt, seed, steps)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    pixels = (corners[0, 0] * (1 - y) + corners[1, 0] * y) * (1 - x) + (corners[0, 1] * (1 - y) + corners[1, 1] * y) * x
    colour = COLOURS["white"]
    for word in words[:64]:
        colour = COLOURS.get(word, colour)
        if word in SHAPES:
            pixels[shape(word, random, x[..., 0], y[..., 0])] = colour
    if fraction < 1:
        pixels += random.normal(0, 90 * (1 - fraction), pixels.shape).astype(np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def shape(word, random, x, y):
    cx, cy, size = random.uniform(0.25, 0.75), random.uniform(0.25, 0.75), random.uniform(0.1, 0.25)
    if word == "square":
        return (abs(x - cx) < size) & (abs(y - cy) < size)
    if word == "stripe":
        return abs(y - cy) + 0 * x < size / 3
    disc = (x - cx) ** 2 + (y - cy) ** 2 < size * size
    return disc & ((x - cx - size / 2) ** 2 + (y - cy) ** 2 > size * size) if word == "moon" else disc


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def file_of(rows, width, depth, colour, level=1):
    """A PNG of uint8 [height, bytes a row]: no filter, one IDAT."""
    lines = np.zeros((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    lines[:, 1:] = rows
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, rows.shape[0], depth, colour, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(lines.tobytes(), level)) + chunk(b"IEND", b"")


def png(pixels):
    """Of uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    return file_of(pixels.reshape(height, width * 3), width, 8, 2)


def gray(rows, width, depth):
    """Of the bytes of its rows."""
    return file_of(rows, width, depth, 0)


def encoded(prompt, pixels):
    """The bytes of the answer: a PNG, or what the prompt's orders make of it."""
    told = orders(prompt)
    if "text" in told:
        return b"this is no picture, whatever the tensor says"
    if "empty" in told:
        return b""
    if "big" in told:
        return bytes(int(told["big"] * (1 << 20)))
    whole = png(pixels[:-1] if "shape" in told else pixels)
    return whole[:len(whole) // 2] if "cut" in told else whole
