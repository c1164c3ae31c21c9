"""Times encoding and decoding 10,000 images with configs/mnist.py's model, beside PyTorch's.

    python benchmarks/encoding.py --pytorch .venv-torch/bin/python

In one batch, or in many, one after the other; ours jitted and on one device. PyTorch runs eager and
with channels_last, as it ships and with glibc told to keep memory.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from networks import NETWORKS
from workers import KEEP_MEMORY, Worker, answer_all, table

IMAGES, BATCHES = 10_000, (10_000, 500, 50)
SIZES = {name: size for name, size in NETWORKS["mnist"].items() if name not in ("batch", "size")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pytorch", help="python of an environment with torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", choices=("ours", "eager", "channels_last"))
    options = parser.parse_args()
    if options.worker:
        reconstruct = ours() if options.worker == "ours" else pytorch(options.worker)
        answer_all(lambda batch: {"seconds": seconds(reconstruct, batch)})
        return
    if not options.pytorch:
        parser.error("--pytorch is missing: the python of an environment with torch")

    workers = {"ours": Worker(sys.executable, "encoding.py", "--worker", "ours", env={})}
    for kept, env in (("", {}), (", memory kept", KEEP_MEMORY)):
        for mode in ("eager", "channels_last"):
            workers[f"PyTorch {mode}{kept}"] = Worker(
                options.pytorch, "encoding.py", "--worker", mode, env=env
            )
    rows = []
    for batch in BATCHES:
        times: dict[str, list[float]] = {name: [] for name in workers}
        for worker in workers.values():
            worker.ask(batch=batch)
        for _ in range(options.rounds):
            for name, worker in workers.items():
                times[name].append(worker.ask(batch=batch)["seconds"])
        rows.append([str(batch), *(f"{median(taken):.2f}" for taken in times.values())])
    for worker in workers.values():
        worker.close()
    print(table(["s for 10,000 images, batches of", *workers], rows))


def seconds(reconstruct: Callable[[int, int], Any], batch: int) -> float:
    """The time that all images take, all of them done."""
    start = time.perf_counter()
    done = [reconstruct(first, first + batch) for first in range(0, IMAGES, batch)]
    for images in done:
        if hasattr(images, "block_until_ready"):
            images.block_until_ready()
    return time.perf_counter() - start


def ours() -> Callable[[int, int], Any]:
    import jax
    import numpy as np
    from flax import nnx
    from networks_ours import build

    from vqvae_jax.training.process import keep_memory

    keep_memory()
    graphdef, state = nnx.split(build("mnist", **SIZES))
    images = np.random.RandomState(0).rand(IMAGES, 28, 28, 1).astype(np.float32) - 0.5

    @jax.jit
    def decoded(state: nnx.State, images: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, state)
        return model.decode(model.encode(images))

    return lambda first, end: decoded(state, images[first:end])


def pytorch(mode: str) -> Callable[[int, int], Any]:
    import torch
    from networks_pytorch import build

    layout = torch.contiguous_format if mode == "eager" else torch.channels_last
    model = build("mnist", **SIZES).to(memory_format=layout)
    images = (torch.rand(IMAGES, 1, 28, 28) - 0.5).contiguous(memory_format=layout)

    def reconstruct(first: int, end: int) -> torch.Tensor:
        with torch.no_grad():
            z = model.encoder(images[first:end]).permute(0, 2, 3, 1)
            codes = model.vq_layer.distances(z).argmin(-1)
            values = model.vq_layer.embeddings(codes).permute(0, 3, 1, 2)
            return model.decoder(values.contiguous(memory_format=layout))

    return reconstruct


if __name__ == "__main__":
    main()
