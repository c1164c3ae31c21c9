"""Batches of training examples, on the devices that will compute with them."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqvae_jax.data import ArraySource, DataSource, take
from vqvae_jax.parallel import are_accelerators, mesh_for, place, replicated, split
from vqvae_jax.tasks.base import Batch

# A data set larger than this many bytes stays on the host, even with accelerators.
_MAX_BYTES_ON_ACCELERATOR = 2**30


class Feed:
    """Takes batches out of a source.

    On accelerators the arrays of an `ArraySource` are on every device, if they are small enough,
    and only indices are transferred; on CPUs the examples themselves are, since they share memory.

    Args:
        source: the examples.
        devices: all devices that batches are split over.
    """

    def __init__(self, source: DataSource, devices: list[jax.Device]):
        self._source, self._devices = source, devices
        self._on_devices: Any = None
        if not are_accelerators(devices) or not isinstance(source, ArraySource):
            return
        if sum(array.nbytes for array in source.arrays.values()) <= _MAX_BYTES_ON_ACCELERATOR:
            mesh = mesh_for(devices, len(devices))
            self._on_devices = place(source.arrays, replicated(mesh))
            self._gather = jax.jit(_take, out_shardings=split(mesh, axis=1))

    def take(self, indices: np.ndarray, mesh: Mesh) -> Batch:
        """Returns examples [S, B, ...] at indices int [S, B], each batch split over `mesh`."""
        if self._on_devices is not None and mesh.size == len(self._devices):
            return self._gather(self._on_devices, place(indices, split(mesh, axis=1)))
        batches: Any = take(self._source, indices)
        return place(batches, split(mesh, axis=1))


def _take(examples: Any, indices: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], examples)
