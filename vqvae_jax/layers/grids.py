"""Numbers of 8 bits: a scale times integers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from vqvae_jax.layers.fixed_point import scaled


class Grid(nnx.Module):
    """The numbers scale (q - zero_point) with q from -128 to 127.

    Args:
        features: C, if each channel has its own; 1: all have the same.
    """

    def __init__(self, features: int = 1):
        self.scale = nnx.Variable(jnp.ones(features))
        self.zero_point = nnx.Variable(jnp.zeros(features, jnp.int32))

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Rounds to the grid, halves away from 0."""
        steps = levels(x, self.scale[...])
        return self.values(jnp.clip(steps, -(2.0**30), 2.0**30).astype(jnp.int32))

    def values(self, steps: Int[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Returns scale (q - zero_point) for q - zero_point, cut to the ends of the grid."""
        zero = self.zero_point[...][None, None]
        inside = jnp.clip(steps, -128 - zero, 127 - zero)
        return _product(inside.astype(jnp.float32), self.scale[...][None, None])


def levels(x: Float[Array, "b t c"], scale: Float[Array, " d"]) -> Float[Array, "b t c"]:
    """Returns x / scale rounded to integers, halves away from 0."""
    return jax.lax.round(x / scale[None, None], jax.lax.RoundingMethod.AWAY_FROM_ZERO)


def _product(steps: Array, scale: Array) -> Array:
    """Returns integers of 8 bits and a sign times a scale, rounded once, whatever is added later.

    XLA:CPU makes a product and a sum one operation without a rounding between them. Here both
    products are exact, the one with the first 16 bits of the scale and that with the last 8.
    """
    bits = jax.lax.bitcast_convert_type(scale, jnp.int32)
    first = jax.lax.bitcast_convert_type(bits & ~0xFF, jnp.float32)
    return steps * first + steps * (scale - first)


class Rescaling(nnx.Module):
    """Integers times real factors, rounded to a grid.

    Args:
        inputs: how many grids the integers come from.
        factors: how many factors there are.
        features: see `Grid`.

    Attributes:
        input_scale: the scales of these grids.
        multiplier, exponent: the factors, see `scaled`.
        grid: that of the result.
    """

    def __init__(self, *, inputs: int = 1, factors: int, features: int = 1):
        self.input_scale = nnx.Variable(jnp.ones(inputs))
        self.multiplier = nnx.Variable(jnp.zeros(factors, jnp.int32))
        self.exponent = nnx.Variable(jnp.zeros(factors, jnp.int32))
        self.grid = Grid(features)

    def steps(self, x: Float[Array, "b t c"], index: int = 0) -> Float[Array, "b t c"]:
        """Returns q - zero_point of values of one of the grids."""
        return levels(x, self.input_scale[...][index : index + 1])

    def scaled(self, steps: Int[Array, "b t c"], factors: slice) -> Int[Array, "b t c"]:
        """Returns integers times some of the factors; see `fixed_point.scaled`."""
        multiplier, exponent = self.multiplier[...][factors], self.exponent[...][factors]
        return scaled(steps, multiplier[None, None], exponent[None, None])

    def __call__(self, steps: Int[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Returns integers times all factors, one of each channel, as values of the grid."""
        return self.grid.values(self.scaled(steps, slice(None)))
