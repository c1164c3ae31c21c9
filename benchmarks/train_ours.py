"""Worker: times training steps, fed and bounded as the training loop does it; or losses alone."""

import collections
import functools
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from networks import NETWORKS
from networks_ours import build
from workers import answer_all

from vqvae_jax.data import ArraySource
from vqvae_jax.parallel import MAX_IN_FLIGHT, all_devices, mesh_for, replicated
from vqvae_jax.tasks import TokenizerTask
from vqvae_jax.training.feed import ArrayFeed
from vqvae_jax.training.process import keep_memory, use_all_cores
from vqvae_jax.training.step import Progress, no_sums, step_on, train_steps


class Training:
    """A model of networks.py on random images.

    Args:
        network: its name.
        sizes: those that are to differ from the network's own.
    """

    def __init__(self, network: str = "mnist", **sizes: int):
        devices = all_devices()
        given = {**NETWORKS[network], **sizes}
        batch, size = given.pop("batch"), given.pop("size")
        model = build(network, **given)
        optimizer = optax.adam(1e-3)
        self._random = np.random.RandomState(0)
        shape = (2 * batch, size, size, given["channels"])
        images = self._random.randint(0, 256, shape).astype(np.uint8)
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
        self._evaluate = jax.jit(lambda state, batch: task.eval_step(state, batch, self._mesh))

    def seconds(self, steps: int, backward: bool = True) -> float:
        """The time of so many steps, or batches forward as in an evaluation, the last one done."""
        run = self._train if backward else self._forward
        pending: collections.deque[Any] = collections.deque()
        start = time.perf_counter()
        for _ in range(steps):
            indices = self._random.randint(0, len(self._source), (1, self._batch))
            pending.append(run(self._feed.take(indices, self._mesh)))
            if len(pending) > MAX_IN_FLIGHT:
                jax.device_get(pending.popleft())
        jax.block_until_ready((self._state, list(pending)))
        return time.perf_counter() - start

    def _train(self, batches: Any) -> Any:
        self._state, losses = self._step(self._state, batches)
        return losses

    def _forward(self, batches: Any) -> Any:
        return self._evaluate(self._state.state, jax.tree.map(lambda leaf: leaf[0], batches))


if __name__ == "__main__":
    use_all_cores()
    keep_memory()
    training = Training(sys.argv[1])

    def answer(steps: int, backward: bool) -> dict[str, Any]:
        return {"seconds": training.seconds(steps, backward)}

    answer_all(answer)
