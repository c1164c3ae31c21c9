"""Batches of training examples, on the devices that will compute with them."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vqvae_jax.parallel import are_accelerators, mesh_for, place, replicated, split

# A data set larger than this many bytes stays on the host, even with accelerators.
_MAX_BYTES_ON_ACCELERATOR = 2**30


class Feed:
    """Takes batches out of a data set.

    On accelerators the whole set is on every device, and only indices are transferred; on CPUs the
    examples themselves are, since they share memory.

    Args:
        examples: a pytree of arrays [N, ...].
        devices: all devices that batches are split over.
    """

    def __init__(self, examples: Any, devices: list[jax.Device]):
        self._examples, self._devices = examples, devices
        self._on_devices = None
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(examples))
        if are_accelerators(devices) and size <= _MAX_BYTES_ON_ACCELERATOR:
            mesh = mesh_for(devices, len(devices))
            self._on_devices = place(examples, replicated(mesh))
            self._gather = jax.jit(_take, out_shardings=split(mesh, axis=1))

    def take(self, indices: np.ndarray, mesh: Mesh) -> Any:
        """Returns examples [S, B, ...] at indices int [S, B], each batch split over `mesh`."""
        if self._on_devices is not None and mesh.size == len(self._devices):
            return self._gather(self._on_devices, place(indices, split(mesh, axis=1)))
        return place(_take(self._examples, indices), split(mesh, axis=1))


def _take(examples: Any, indices: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[indices], examples)
