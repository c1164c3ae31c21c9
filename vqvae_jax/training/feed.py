"""Batches of training examples, on the devices that will compute with them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqvae_jax.data import ArraySource, DataSource, TrainingOrder, read_batches, take
from vqvae_jax.parallel import (
    are_accelerators,
    mesh_for,
    place,
    place_share,
    process_share,
    replicated,
    split,
)
from vqvae_jax.tasks.base import Batch

# A data set larger than this many bytes stays on the host, even with accelerators.
_MAX_BYTES_ON_ACCELERATOR = 2**30

# Returns the next examples [S, B, ...], those at indices int [S, B], each batch split over a mesh.
Feed = Callable[[np.ndarray, Mesh], Batch]


@contextlib.contextmanager
def feeding(
    source: DataSource,
    order: TrainingOrder,
    devices: list[jax.Device],
    *,
    first: int = 0,
    workers: int = 0,
) -> Iterator[Feed]:
    """Yields a function that gives one batch after the other.

    Args:
        source: the examples. Arrays are indexed; other sources are read ahead.
        order: which of them are in which batch.
        devices: all devices that batches are split over.
        first: the batch to begin with.
        workers: processes that read ahead.

    Raises:
        DataError: an example cannot be read.
    """
    if isinstance(source, ArraySource):
        yield ArrayFeed(source, devices).take
        return
    share = process_share()
    with read_batches(source, order, first, workers=workers, share=share) as batches:

        def take_next(indices: np.ndarray, mesh: Mesh) -> Batch:
            ahead = [next(batches) for _ in indices]
            stacked: Any = jax.tree.map(lambda *leaves: np.stack(leaves), *ahead)
            return place_share(stacked, split(mesh, axis=1))

        yield take_next


class ArrayFeed:
    """Takes batches out of arrays.

    On accelerators the arrays are on every device, if they are small enough, and only indices are
    transferred; on CPUs the examples themselves are, since they share memory.
    """

    def __init__(self, source: ArraySource, devices: list[jax.Device]):
        self._source, self._devices = source, devices
        self._on_devices: Any = None
        if are_accelerators(devices) and source.num_bytes <= _MAX_BYTES_ON_ACCELERATOR:
            mesh = mesh_for(devices, len(devices))
            self._on_devices = place(source[:], replicated(mesh))
            self._gather = jax.jit(_take, out_shardings=split(mesh, axis=1))

    def take(self, indices: np.ndarray, mesh: Mesh) -> Batch:
        """See `Feed`."""
        if self._on_devices is not None and mesh.size == len(self._devices):
            return self._gather(self._on_devices, place(indices, split(mesh, axis=1)))
        batches: Any = take(self._source, indices)
        return place(batches, split(mesh, axis=1))


def _take(examples: Any, indices: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], examples)
