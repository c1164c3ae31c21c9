"""Parameters with initial values from standard distributions."""

import jax
from flax import nnx


def uniform(shape: tuple[int, ...], fan_in: int, *, rngs: nnx.Rngs) -> nnx.Param:
    """Draws a parameter from U(+-1 / sqrt(fan_in)), PyTorch's initial values."""
    bound = fan_in**-0.5
    return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))


def normal(shape: tuple[int, ...], *, rngs: nnx.Rngs) -> nnx.Param:
    """Draws a parameter from N(0, 1)."""
    return nnx.Param(jax.random.normal(rngs.params(), shape))
