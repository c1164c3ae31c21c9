"""Batches of training images, on the devices that will compute with them."""

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from vqvae_jax.parallel import are_accelerators, mesh_for, replicated, split

# A data set of more bytes stays with the host, although there are accelerators.
_MAX_BYTES_ON_ACCELERATOR = 2**30


class Feed:
    """Takes batches out of a data set.

    On accelerators the whole set lies on every device, and only indices travel; on CPUs the images
    themselves do, since that is the same memory.

    Args:
        images: uint8 [N, H, W, C].
        devices: all that batches are split over.
    """

    def __init__(self, images: np.ndarray, devices: list[jax.Device]):
        self._images, self._devices = images, devices
        self._on_devices = None
        if are_accelerators(devices) and images.nbytes <= _MAX_BYTES_ON_ACCELERATOR:
            mesh = mesh_for(devices, len(devices))
            self._on_devices = jax.device_put(images, replicated(mesh))
            self._gather = jax.jit(
                lambda images, indices: images[indices], out_shardings=split(mesh, axis=1)
            )

    def take(self, indices: np.ndarray, mesh: Mesh) -> UInt8[Array, "steps b h w c"]:
        """The images at indices int [S, B], each of the S batches split over `mesh`."""
        if self._on_devices is not None and mesh.size == len(self._devices):
            return self._gather(self._on_devices, jax.device_put(indices, split(mesh, axis=1)))
        return jax.device_put(self._images[indices], split(mesh, axis=1))
