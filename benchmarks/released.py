"""Compares a full-size VQGAN of released shape, with random weights, with diffusers' VQModel.

    python benchmarks/released.py --pytorch PYTHON [--size 256] [--batch 1] [--rounds 5]

PYTHON is an interpreter with torch, diffusers and safetensors. It draws the weights of a VQGAN with
downsampling 16 (72 million numbers, as taming-transformers' vqgan_imagenet_f16_1024 has), writes
them by save_pretrained, and computes; we read that folder and must compute the same. Printed are
the times of loading, encoding (images to codes) and decoding (codes to images), medians of rounds
in turn; the peak memory of each process; how many codes differ, where two are equally near but for
rounding; and the largest difference of the images that the same codes give.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from workers import KEEP_MEMORY, Worker, in_turn, machine, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pytorch", required=True, metavar="PYTHON")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = np.random.RandomState(0).rand(options.batch, options.size, options.size, 3)
        np.save(Path(folder, "images.npy"), (2 * images - 1).astype(np.float32))
        theirs = Worker(options.pytorch, "released_pytorch.py", folder, env={})
        ours = Worker(sys.executable, "released_ours.py", folder, env=KEEP_MEMORY)
        both = ("encode", "decode")
        contenders = {"PyTorch": (theirs, both), "ours": (ours, both)}
        loaded, medians, results = in_turn(folder, contenders, options.rounds)
    rows = []
    for name in contenders:
        numbers = [loaded[name]["seconds"], *(medians[name, w] for w in ("encode", "decode"))]
        rows.append([name, *(f"{n:.2f}" for n in numbers), str(loaded[name]["peak_mb"])])
    print(table(["", "load, s", "encode, s", "decode, s", "peak, MB"], rows))
    for what in ("encode", "decode"):
        print(f"{what}: {medians['PyTorch', what] / medians['ours', what]:.2f} x")
    one, other = (results[name] for name in contenders)
    difference = np.abs(one["images"] - other["images"]).max()
    differ = int(np.count_nonzero(one["codes"] != other["codes"]))
    said = {"codes": one["codes"].size, "differ": differ, "difference": float(difference)}
    print(json.dumps({**machine(), **said}))
    if differ > one["codes"].size / 100 or difference > 1e-4:
        sys.exit("the two do not compute the same")


if __name__ == "__main__":
    main()
