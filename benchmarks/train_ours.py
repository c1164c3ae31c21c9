"""Worker: times training steps, fed and bounded as the training loop does it."""

import collections
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from workers import answer_all

from vqvae_jax import VQVAE
from vqvae_jax.data import ArraySource
from vqvae_jax.parallel import MAX_IN_FLIGHT, all_devices, mesh_for, replicated
from vqvae_jax.tasks import TokenizerTask
from vqvae_jax.training.feed import ArrayFeed
from vqvae_jax.training.process import keep_memory, use_all_cores
from vqvae_jax.training.step import Progress, no_sums, step_on, train_steps


class Training:
    """The model of configs/mnist.py, or of other sizes, on random images.

    Args:
        batch: images per step.
        size: height and width of the images.
        codes: K.
        dim: D.
    """

    def __init__(self, batch: int = 128, size: int = 28, codes: int = 128, dim: int = 16):
        devices = all_devices()
        model = VQVAE(1, dim, codes, 0.0949, rngs=nnx.Rngs(0))
        optimizer = optax.adam(1e-3)
        self._random = np.random.RandomState(0)
        images = self._random.randint(0, 256, (2 * batch, size, size, 1)).astype(np.uint8)
        self._source = ArraySource({"image": images})
        self._batch, self._mesh = batch, mesh_for(devices, batch)
        task = TokenizerTask(model, optimizer)
        first = jax.tree.map(jnp.asarray, self._source[:batch])
        state = task.init(jax.random.key(0), first)
        step = step_on(task, self._mesh)
        sums = no_sums(step, self._mesh, state, first)
        zero = np.zeros((), np.int32)
        progress = Progress(zero, state, sums, zero)
        self._feed = ArrayFeed(self._source, devices)
        self._state = jax.device_put(progress, replicated(self._mesh))
        self._step = jax.jit(
            functools.partial(train_steps, step, 0),
            donate_argnums=0,
        )

    def seconds(self, steps: int) -> float:
        """The time that so many steps take, the last one done."""
        pending: collections.deque[jax.Array] = collections.deque()
        start = time.perf_counter()
        for _ in range(steps):
            indices = self._random.randint(0, len(self._source), (1, self._batch))
            batches = self._feed.take(indices, self._mesh)
            self._state, losses = self._step(self._state, batches)
            pending.append(losses)
            if len(pending) > MAX_IN_FLIGHT:
                np.asarray(pending.popleft())
        jax.block_until_ready(self._state)
        return time.perf_counter() - start


if __name__ == "__main__":
    use_all_cores()
    keep_memory()
    training = Training()

    def answer(steps: int) -> dict[str, Any]:
        return {"seconds": training.seconds(steps)}

    answer_all(answer)
