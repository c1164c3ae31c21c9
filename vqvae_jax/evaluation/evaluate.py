"""Held-out metrics: one pass over a whole split."""

import collections
import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import MAX_IN_FLIGHT, mesh_for, replicated, split, sum_over_images


class Evaluator:
    """Measures a model on a split, over several devices.

    Args:
        graphdef: the model's structure.
        num_embeddings: K.
        devices: that batches are split over.
    """

    def __init__(
        self, graphdef: nnx.GraphDef[VQVAE], num_embeddings: int, devices: Sequence[jax.Device]
    ):
        self._graphdef, self._num_embeddings, self._devices = graphdef, num_embeddings, devices
        self._totals_of = functools.cache(self._compile)

    def _compile(self, mesh: Mesh) -> jax.stages.Wrapped:
        def totals_of(params: nnx.State, images: UInt8[Array, "b h w c"]) -> Totals:
            output = nnx.merge(self._graphdef, params)(to_floats(images))
            return Totals.of(output, self._num_embeddings)

        return jax.jit(functools.partial(sum_over_images, totals_of, mesh))

    def __call__(self, params: nnx.State, images: np.ndarray, batch_size: int) -> Totals:
        """The sums of the model's metrics over a split; `Metrics.from_totals` averages them.

        Args:
            params: the model's parameters.
            images: uint8 [N, H, W, C], N at least 1.
            batch_size: images at a time; changes the result by rounding only.

        Returns:
            Totals of NumPy arrays.
        """
        totals = jax.device_get(Totals.zeros(self._num_embeddings))
        pending: collections.deque[Totals] = collections.deque()
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            mesh = mesh_for(self._devices, len(batch))
            params = jax.device_put(params, replicated(mesh))
            pending.append(self._totals_of(mesh)(params, jax.device_put(batch, split(mesh))))
            if len(pending) > MAX_IN_FLIGHT:
                totals += jax.device_get(pending.popleft())
        return sum(jax.device_get(list(pending)), totals)
