"""Small image files of every kind."""

import struct
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 36


def pattern(height=HEIGHT, width=WIDTH, seed=0):
    """uint8 [height, width, 3]: smooth, so that JPEG keeps it, and different along each axis."""
    offset = np.random.RandomState(seed).randint(0, 60, 3)
    rows, columns = np.mgrid[:height, :width]
    plane = 90 * rows / height + 70 * columns / width
    return (plane[..., None] + offset).astype(np.uint8)


def write(folder, sizes, suffix=".png"):
    """Writes images of these sizes (height, width) by name, and returns their pixels."""
    pixels = {}
    for seed, (name, size) in enumerate(sizes.items()):
        file = folder / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels[name] = pattern(*size, seed)
        Image.fromarray(pixels[name]).save(file)
    return pixels


def header_of_png(width, height):
    """A PNG file that says that it has so many pixels, and holds a few bytes of them."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
