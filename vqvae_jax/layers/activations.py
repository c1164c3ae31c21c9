"""Activations of audio networks, as layers."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.streaming import Layer


class ELU(Layer):
    """x where x > 0, exp(x) - 1 elsewhere (Clevert et al. 2015, arXiv:1511.07289)."""

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape."""
        return nnx.elu(x)


class LeakyReLU(Layer):
    """x where x > 0, slope x elsewhere (Maas et al. 2013, Rectifier nonlinearities).

    Args:
        slope: the slope below 0.
    """

    def __init__(self, slope: float):
        self.slope = slope

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape."""
        return nnx.leaky_relu(x, self.slope)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape, in [-1, 1]."""
        return jnp.tanh(x)


class Snake(Layer):
    """x + sin^2(alpha x) / alpha, alpha learned per channel (Ziyin et al. 2020, arXiv:2006.08195).

    Args:
        features: C, at least 1; alpha is 1 at first. 1e-9 is added to the denominator.
    """

    def __init__(self, features: int):
        self.alpha = nnx.Param(jnp.ones(check_integer("features", features)))

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Maps [B, T, C] to the same shape."""
        alpha = self.alpha[...][None, None]
        return x + jnp.sin(alpha * x) ** 2 / (alpha + 1e-9)
