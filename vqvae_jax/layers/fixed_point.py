"""Products of integers with real factors, in integers of 32 bits: the same on every device."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def fixed_point(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns multipliers m and exponents e, int32, with m 2^(e - 31) close to factors above 0.

    Args:
        factors: float64 of any shape; m is in [2^30, 2^31).
    """
    fractions, exponents = np.frexp(np.asarray(factors, np.float64))
    multipliers = np.floor(fractions * 2.0**31 + 0.5)
    full = multipliers == 2.0**31
    multipliers = np.where(full, 2.0**30, multipliers)
    return multipliers.astype(np.int32), (exponents + full).astype(np.int32)


def scaled(
    x: Int[Array, "*shape"], multiplier: Int[Array, "*factors"], exponent: Int[Array, "*factors"]
) -> Int[Array, "*shape"]:
    """Returns x m 2^(e - 31), rounded twice as in Jacob et al. 2018 (arXiv:1712.05877, 2.2).

    First x m 2^(max(e, 0) - 31) is rounded, halves up; then that times 2^min(e, 0), halves away
    from 0.

    Args:
        x: int32, in absolute value below 2^(31 - max(e, 0)).
        multiplier: m, at least 0, of a shape that broadcasts to that of x.
        exponent: e, at least -31.
    """
    shifted = x << jnp.maximum(exponent, 0)
    negative = shifted < 0
    high = _high_product(jnp.abs(shifted).astype(jnp.uint32), multiplier, negative)
    places = jnp.maximum(-exponent, 0).astype(jnp.uint32)
    half = (jnp.ones_like(places) << places) >> 1
    size = ((high + half) >> places).astype(jnp.int32)
    return jnp.where(negative, -size, size)


def _high_product(x: Array, multiplier: Array, negative: Array) -> Array:
    """Returns |x| m 2^-31, uint32, with halves rounded up in the number with the sign.

    The product has 64 bits: the words are put together from products of 16 bits each.
    """
    m = multiplier.astype(jnp.uint32)
    x_high, x_low = x >> 16, x & 0xFFFF
    m_high, m_low = m >> 16, m & 0xFFFF
    lowest, cross = x_low * m_low, x_high * m_low
    middle = (lowest >> 16) + (cross & 0xFFFF) + x_low * m_high
    low = (middle << 16) | (lowest & 0xFFFF)
    high = x_high * m_high + (cross >> 16) + (middle >> 16)
    rounded = low + (2**30 - negative.astype(jnp.uint32))
    carried = high + (rounded < low).astype(jnp.uint32)
    return (carried << 1) | (rounded >> 31)
