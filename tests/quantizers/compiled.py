"""How the tests call a quantizer."""

import jax
import jax.numpy as jnp


def run(quantizer, z, mask=None, key=None):
    """A call, compiled as one: faster than operation by operation."""
    call = jax.jit(lambda z, mask, key: quantizer(z, mask, key=key))
    return call(jnp.asarray(z), mask, key)
