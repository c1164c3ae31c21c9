"""Ours of released.py, as a worker."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from vqvae_jax.training.process import use_all_cores

use_all_cores()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402
from workers import answer_all  # noqa: E402

import vqvae_jax  # noqa: E402

FOLDER = Path(sys.argv[1])


class Model:
    def load(self) -> None:
        state = vqvae_jax.load_state_dict(FOLDER / "diffusion_pytorch_model.safetensors")
        config = json.loads((FOLDER / "config.json").read_text())
        model = vqvae_jax.from_state_dict("diffusers_vqmodel", state, config)
        graphdef, self.state = nnx.split(model)
        self.encoded = jax.jit(lambda state, x: nnx.merge(graphdef, state).encode(x))
        self.decoded = jax.jit(lambda state, codes: nnx.merge(graphdef, state).decode(codes))

    def warm(self) -> None:
        self.images = np.load(FOLDER / "images.npy")
        codes = np.asarray(self.encoded(self.state, self.images))
        self.codes = np.load(FOLDER / "PyTorch.npz")["codes"]
        images = np.asarray(self.decoded(self.state, self.codes))
        np.savez(FOLDER / "ours.npz", codes=codes, images=images)

    def encode(self) -> None:
        self.encoded(self.state, self.images).block_until_ready()

    def decode(self) -> None:
        self.decoded(self.state, self.codes).block_until_ready()


model = Model()


def answer(what: str) -> dict[str, Any]:
    start = time.perf_counter()
    getattr(model, what)()
    seconds = time.perf_counter() - start
    if what == "load":
        model.warm()
    return {"seconds": seconds}


answer_all(answer)
