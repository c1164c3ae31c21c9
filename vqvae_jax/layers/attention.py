"""Self-attention between the positions of a feature map."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.layers.linear import Linear
from vqvae_jax.layers.residual import GroupNorm
from vqvae_jax.layers.resnet import Norm
from vqvae_jax.precision import wide

# Attention weights of one example that are held at a time: all of a map of 45 x 45.
_MOST_WEIGHTS = 2**22


def attend(
    query: Float[Array, "b n c"], key: Float[Array, "b m c"], value: Float[Array, "b m c"]
) -> Float[Array, "b n c"]:
    """Computes softmax(query key^T / sqrt(C)) value, the softmax in float32.

    Of many queries, only some are computed at a time, so that the weights [B, N, M] never exist.
    """
    at_a_time = max(1, _MOST_WEIGHTS // key.shape[1])

    def of_some(query: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        scores = wide(jnp.einsum("bnc,bmc->bnm", query / math.sqrt(query.shape[-1]), key))
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        return jnp.einsum("bnm,bmc->bnc", weights, value)

    if query.shape[1] <= at_a_time:
        return of_some(query)
    # Recomputed for the gradient, so that the weights are not kept either.
    rows = jax.lax.map(
        jax.checkpoint(lambda row: of_some(row[:, None])[:, 0]),
        query.swapaxes(0, 1),
        batch_size=at_a_time,
    )
    return rows.swapaxes(0, 1)


class SelfAttention(nnx.Module):
    """x + W attention(q(norm(x)), k(norm(x)), v(norm(x))) + b, with one head over all positions.

    As in the VQGAN (Esser et al. 2020, arXiv:2012.09841).

    Args:
        features: C, channels of x, at least 1.
        norm: makes the normalization.
        rngs: `params` draws the initial values.
    """

    def __init__(self, features: int, *, norm: Norm = GroupNorm, rngs: nnx.Rngs):
        self.norm = norm(features)
        self.query, self.key, self.value, self.out = (
            Linear(features, features, rngs=rngs) for _ in range(4)
        )

    def __call__(
        self, x: Float[Array, "b *spatial c"], *given: Any
    ) -> Float[Array, "b *spatial c"]:
        """Maps [B, *spatial, C] to the same shape; what else is given conditions the norm."""
        normalized = self.norm(x, *given)
        positions = normalized.reshape(len(x), -1, x.shape[-1])
        projected = (project(positions) for project in (self.query, self.key, self.value))
        return x + self.out(attend(*projected)).reshape(x.shape)
