"""Batch normalization of a trained network."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.precision import wide


class FrozenBatchNorm(nnx.Module):
    """Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167) as it is at evaluation.

        y = (x - mean) / sqrt(variance + 1e-5) scale + bias

    with the mean and the variance of the data that the network was trained on, which stay as they
    are: an example's result depends on no other one.

    Args:
        features: C, channels of x, at least 1.
    """

    def __init__(self, features: int):
        self.scale, self.bias = nnx.Param(jnp.ones(features)), nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.variance = nnx.BatchStat(jnp.ones(features))
        self.batches = nnx.BatchStat(jnp.zeros((), jnp.int32))  # that were averaged

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Normalizes x [B, *spatial, C]; the result has its type."""
        ones = (1,) * (x.ndim - 1)
        scale, bias, mean, variance = (
            wide(given[...]).reshape(*ones, -1)
            for given in (self.scale, self.bias, self.mean, self.variance)
        )
        y = (wide(x) - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias
        return y.astype(x.dtype)
