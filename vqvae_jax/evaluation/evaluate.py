"""Held-out metrics: one pass over a whole split."""

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE

# Batches that may be dispatched and not yet done.
_MAX_IN_FLIGHT = 8

EvaluateStep = Callable[[nnx.State, Totals, UInt8[Array, "b h w c"]], Totals]


def evaluate_step(
    graphdef: nnx.GraphDef[VQVAE],
    params: nnx.State,
    totals: Totals,
    images: UInt8[Array, "b h w c"],
) -> Totals:
    """Adds one batch's sums to `totals`. A pure function; to be jitted with `graphdef` bound."""
    model = nnx.merge(graphdef, params)
    return totals + Totals.of(model(to_floats(images)), model.quantizer.num_embeddings)


def evaluate(
    step: EvaluateStep,
    params: nnx.State,
    images: np.ndarray,
    *,
    batch_size: int,
    num_embeddings: int,
) -> Totals:
    """The sums of a model's metrics over all of `images`; `Metrics.from_totals` averages them.

    Args:
        step: `evaluate_step`, jitted, with the model's graphdef bound.
        params: the model's parameters.
        images: uint8 [N, H, W, C], N at least 1.
        batch_size: images at a time; changes the result by rounding only.
        num_embeddings: K.
    """
    totals = Totals.zeros(num_embeddings)
    for start in range(0, len(images), batch_size):
        totals = step(params, totals, jax.device_put(images[start : start + batch_size]))
        if start // batch_size % _MAX_IN_FLIGHT == 0:
            jax.block_until_ready(totals)
    return totals
