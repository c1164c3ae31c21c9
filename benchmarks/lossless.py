"""Compresses the held-out images with a prior and its VQ-VAE, beside general compressors.

    python benchmarks/lossless.py --workdir runs/mnist_likelihood_prior

Every method takes the same images and has to give them back, which is checked. xz and bz2 see the
split as one file of raw pixels, at their best settings; WebP (lossless) and PNG one image at a
time, as they are made for. Compiling is part of our times.
"""

import argparse
import bz2
import io
import lzma
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from workers import table

from vqvae_jax import ArraySource, coding
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.parallel import all_devices
from vqvae_jax.training.process import keep_memory
from vqvae_jax.training.saved import load_data, load_pair

Files = list[bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="the run of a prior")
    parser.add_argument("--number", type=int, help="only so many images")
    parser.add_argument("--archives", help="folder with the data set's archives")
    options = parser.parse_args()
    keep_memory()

    prior, vqvae = load_pair(options.workdir)
    data = load_data(prior, options.archives)
    images = np.ascontiguousarray(data.test.arrays["image"][: options.number])
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
        "WebP": (lambda images: pictures(images, "WEBP", lossless=True, quality=100), opened),
        "PNG": (lambda images: pictures(images, "PNG", optimize=True), opened),
    }
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


def pictures(images: np.ndarray, kind: str, **options: object) -> Files:
    """Each image as a file of its own."""
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0]).save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def opened(files: Files) -> np.ndarray:
    """The images of such files."""
    return np.stack(
        [np.asarray(Image.open(io.BytesIO(content)).convert("L"))[..., None] for content in files]
    )


if __name__ == "__main__":
    main()
