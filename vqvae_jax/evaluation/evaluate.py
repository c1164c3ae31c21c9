"""Held-out metrics: one pass over a whole split."""

import collections
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import MAX_IN_FLIGHT, mesh_for, replicated, split, sum_over_images
from vqvae_jax.quantizers import Quantizer


class Evaluator:
    """Measures a model on a split, over several devices.

    Args:
        graphdef: the model's structure.
        quantizer: the model's; its state is not looked at.
        devices: that batches are split over.
    """

    def __init__(
        self, graphdef: nnx.GraphDef[VQVAE], quantizer: Quantizer, devices: Sequence[jax.Device]
    ):
        self._graphdef, self._quantizer, self._devices = graphdef, quantizer, devices
        self._totals_of = functools.cache(self._compile)

    def _compile(self, mesh: Mesh) -> jax.stages.Wrapped:
        def totals_of(state: Any, images: UInt8[Array, "b h w c"]) -> tuple[Totals, None]:
            output = nnx.merge(self._graphdef, *state)(to_floats(images))
            return Totals.of(output, self._quantizer), None

        return jax.jit(
            lambda state, images: sum_over_images(
                totals_of, mesh, state, images, in_parts=self._quantizer.per_token
            )[0]
        )

    def __call__(self, state: tuple[nnx.State, ...], images: np.ndarray, batch_size: int) -> Totals:
        """The sums of the model's metrics over a split; `Metrics.from_totals` averages them.

        Args:
            state: what `nnx.merge` makes the model of, with the graphdef: parameters and the rest.
            images: uint8 [N, H, W, C], N at least 1.
            batch_size: images at a time; changes the result by rounding only, but for a loss that
                is not a mean over images, such as the entropy over a batch.

        Returns:
            Totals of NumPy arrays.
        """
        totals = jax.device_get(Totals.zeros(self._quantizer))
        pending: collections.deque[Totals] = collections.deque()
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            mesh = mesh_for(self._devices, len(batch))
            state = jax.device_put(state, replicated(mesh))
            pending.append(self._totals_of(mesh)(state, jax.device_put(batch, split(mesh))))
            if len(pending) > MAX_IN_FLIGHT:
                totals += jax.device_get(pending.popleft())
        return sum(jax.device_get(list(pending)), totals)
