"""Initial codes from data: set once, with a warning where they are missing."""

import warnings

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool


def overwrite(variable: nnx.Variable, value: Array, due: Bool[Array, ""]) -> None:
    """Sets a variable to a value, in the variable's type, if due."""
    before = variable[...]
    variable[...] = jnp.where(due, value.astype(before.dtype), before)


def warn_unless_initialized(initialized: Bool[Array, ""]) -> None:
    """Warns, also when compiled, if a codebook learns before its intended initialization."""
    if isinstance(initialized, jax.core.Tracer):
        jax.lax.cond(
            initialized,
            lambda flag: None,
            lambda flag: jax.debug.callback(_warn, flag),
            initialized,
        )
    else:
        _warn(initialized)


def _warn(initialized: Array) -> None:
    if not initialized:  # vmap makes both branches of a condition run
        warnings.warn(
            "a quantizer with kmeans_init=True is updated before it is initialized: call "
            "initialize(z, key=key) with the first batch, or skip_initialization()",
            stacklevel=2,
        )
