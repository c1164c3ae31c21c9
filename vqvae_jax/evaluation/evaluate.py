"""Held-out metrics: one pass over a whole split."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from vqvae_jax.parallel import MAX_IN_FLIGHT, mesh_for, place, replicated, split


class Evaluator:
    """Adds up sums over a split, over several devices.

    Args:
        totals: of a mesh, weights and a batch of examples, gives the batch's sums; a pure function.
        zeros: gives sums of nothing.
        devices: that batches are split over.
    """

    def __init__(
        self,
        totals: Callable[[Mesh, Any, Any], Any],
        zeros: Callable[[], Any],
        devices: Sequence[jax.Device],
    ):
        self._zeros, self._devices = zeros, devices
        self._totals_on = functools.cache(lambda mesh: jax.jit(functools.partial(totals, mesh)))

    def __call__(
        self,
        weights: Any,
        examples: Any,
        batch_size: int,
        after_each: Callable[[], object] = lambda: None,
    ) -> Any:
        """The sums over a split.

        Args:
            weights: as `totals` takes them.
            examples: a pytree of NumPy arrays [N, ...].
            batch_size: examples at a time; changes the result by rounding only, but for a loss that
                is not a mean over images, such as the entropy over a batch.
            after_each: called after every batch; may raise.

        Returns:
            The sums, as NumPy arrays.
        """
        sums = jax.device_get(self._zeros())
        pending: collections.deque[Any] = collections.deque()
        count = len(jax.tree.leaves(examples)[0])
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            batch = jax.tree.map(lambda leaf, a=start, n=size: leaf[a : a + n], examples)
            mesh = mesh_for(self._devices, size)
            weights = place(weights, replicated(mesh))
            pending.append(self._totals_on(mesh)(weights, place(batch, split(mesh))))
            if len(pending) > MAX_IN_FLIGHT:
                sums += jax.device_get(pending.popleft())
            after_each()
        return sum(jax.device_get(list(pending)), sums)
