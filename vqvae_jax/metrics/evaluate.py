"""Held-out metrics: one pass over all examples of a source."""

import collections
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from vqvae_jax.data import DataSource, InOrder, read_batches
from vqvae_jax.parallel import (
    MAX_IN_FLIGHT,
    mesh_for,
    place,
    place_share,
    process_share,
    replicated,
    split,
)


class Evaluator:
    """Computes sums over a source, on several devices.

    Args:
        sums_of: maps a state, a batch of examples and a mesh to the batch's sums, a pytree of
            arrays; a pure function, such as a task's `eval_step`.
        devices: devices that batches are split over.
    """

    def __init__(self, sums_of: Callable[[Any, Any, Mesh], Any], devices: Sequence[jax.Device]):
        self._devices = devices
        self._sums_on = functools.cache(
            lambda mesh: jax.jit(lambda state, batch: sums_of(state, batch, mesh))
        )

    def __call__(
        self,
        state: Any,
        source: DataSource,
        batch_size: int,
        after_each: Callable[[], object] = lambda: None,
    ) -> Any:
        """Computes the sums over a source.

        Args:
            state: as `sums_of` takes it.
            source: the examples, at least 1.
            batch_size: examples at a time; changes the result only by rounding, unless a loss is
                not a mean over examples, such as the entropy over a batch.
            after_each: called after every batch; may raise.

        Returns:
            The sums, as NumPy arrays.

        Raises:
            DataError: an example cannot be read.
        """
        total: Any = None
        pending: collections.deque[Any] = collections.deque()
        order = InOrder(len(source), batch_size)
        with read_batches(source, order, share=process_share()) as batches:
            for number in range(len(order)):
                mesh = mesh_for(self._devices, len(order[number]))
                state = place(state, replicated(mesh))
                batch = place_share(next(batches), split(mesh))
                pending.append(self._sums_on(mesh)(state, batch))
                if len(pending) > MAX_IN_FLIGHT:
                    total = _added(total, pending.popleft())
                after_each()
        for sums in pending:
            total = _added(total, sums)
        return total


def _added(total: Any, sums: Any) -> Any:
    sums = jax.device_get(sums)
    return sums if total is None else jax.tree.map(operator.add, total, sums)
