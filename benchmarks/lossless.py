"""Compresses the held-out images with a prior and its VQ-VAE, beside general compressors.

    python benchmarks/lossless.py --workdir runs/mnist_likelihood_prior

Every method takes the same images and has to give them back, which is checked. xz and bz2 see the
split as one file of raw pixels, at their best settings. JPEG XL (if imagecodecs is installed), WebP
(both lossless) and PNG see one image at a time, as they are made for; and 256 of them below each
other, which spares small images the headers. Compiling is part of our times.
"""

import argparse
import bz2
import functools
import importlib.util
import io
import lzma
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from workers import table

from vqvae_jax import ArraySource, coding
from vqvae_jax.data import take
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.parallel import all_devices
from vqvae_jax.training.process import keep_memory, use_all_cores
from vqvae_jax.training.saved import load_data, load_pair

Files = list[bytes]
Encoder = Callable[[np.ndarray], bytes]  # of a picture [H, W] or [H, W, 3]
Decoder = Callable[[bytes], np.ndarray]
TOGETHER, MOST = 256, 16383  # images in a picture, and its rows: WebP's limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="the run of a prior")
    parser.add_argument("--number", type=int, help="only so many images")
    parser.add_argument("--archives", help="folder with the data set's archives")
    parser.add_argument("--path", help="folder or file of the images, if that has moved")
    options = parser.parse_args()
    use_all_cores()
    keep_memory()

    prior, vqvae = load_pair(options.workdir)
    data = load_data(prior, archives=options.archives, path=options.path)
    number = min(len(data.test), options.number or len(data.test))
    images = take(data.test, np.arange(number))["image"]
    shape = images.shape[1:]

    def ours(images: np.ndarray) -> Files:
        return [coding.compress(vqvae.model, prior.model, images)]

    def ours_back(files: Files) -> np.ndarray:
        return coding.decompress(vqvae.model, prior.model, files[0], shape)

    def raw(content: bytes) -> np.ndarray:
        return np.frombuffer(content, np.uint8).reshape(-1, *shape)

    best = lzma.PRESET_EXTREME | 9
    methods: dict[str, tuple[Callable[[np.ndarray], Files], Callable[[Files], np.ndarray]]] = {
        "ours": (ours, ours_back),
        "xz": (
            lambda images: [lzma.compress(images.tobytes(), preset=best)],
            lambda files: raw(lzma.decompress(files[0])),
        ),
        "bz2": (
            lambda images: [bz2.compress(images.tobytes(), 9)],
            lambda files: raw(bz2.decompress(files[0])),
        ),
    }
    for kind, (encoded, decoded) in formats("L" if shape[2] == 1 else "RGB").items():
        for together in (1, min(TOGETHER, MOST // shape[0])):
            methods[kind if together == 1 else f"{kind}, {together} together"] = (
                functools.partial(files_of, encoded, together),
                functools.partial(images_of, decoded, shape),
            )
    rows = []
    for name, (compress, decompress) in methods.items():
        start = time.perf_counter()
        files = compress(images)
        middle = time.perf_counter()
        if not np.array_equal(decompress(files), images):
            raise AssertionError(f"{name} does not give the images back")
        end = time.perf_counter()
        size = sum(map(len, files))
        bits = f"{8 * size / images.size:.4f}"
        rows.append([name, str(size), bits, f"{middle - start:.1f}", f"{end - middle:.1f}"])
    header = ["", "bytes", "bits per dimension", "compress, s", "decompress, s"]
    print(table(header, rows))
    bits = bits_per_dim(vqvae.model, prior.model, ArraySource({"image": images}), all_devices())
    print(
        f"evaluated: {bits.total:.4f} bits per dimension, "
        f"{bits.pixels:.4f} for the pixels and {bits.codes:.4f} for the codes"
    )


def formats(mode: str) -> dict[str, tuple[Encoder, Decoder]]:
    """The formats of pictures."""

    def opened(content: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(content)).convert(mode))

    known = {
        "WebP": (functools.partial(saved, "WEBP", lossless=True, quality=100, method=6), opened),
        "PNG": (functools.partial(saved, "PNG", optimize=True), opened),
    }
    if importlib.util.find_spec("imagecodecs") is None:
        return known
    import imagecodecs

    encode = functools.partial(imagecodecs.jpegxl_encode, lossless=True, effort=9)
    return {"JPEG XL": (encode, imagecodecs.jpegxl_decode), **known}


def saved(kind: str, picture: np.ndarray, **options: object) -> bytes:
    """A picture as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def files_of(encoded: Encoder, together: int, images: np.ndarray) -> Files:
    """Files of so many images each, below each other."""
    _, _, width, channels = images.shape
    shape = (-1, width) if channels == 1 else (-1, width, channels)
    return [
        encoded(np.ascontiguousarray(images[start : start + together].reshape(shape)))
        for start in range(0, len(images), together)
    ]


def images_of(decoded: Decoder, shape: tuple[int, ...], files: Files) -> np.ndarray:
    """The images of such files."""
    return np.concatenate([decoded(content).reshape(-1, *shape) for content in files])


if __name__ == "__main__":
    main()
