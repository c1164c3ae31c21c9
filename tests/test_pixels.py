"""Pixels as floats, and back."""

import jax.numpy as jnp
import numpy as np

from vqvae_jax.pixels import to_floats, to_integers


def test_pixels_become_floats():
    pixels = jnp.array([0, 51, 255], jnp.uint8).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(to_floats(pixels).ravel(), [-0.5, -0.3, 0.5], atol=1e-7)
    assert to_floats(pixels).dtype == jnp.float32


def test_every_value_comes_back():
    pixels = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    back = to_integers(to_floats(pixels))
    assert back.dtype == jnp.uint8
    np.testing.assert_array_equal(back, pixels)


def test_what_lies_beyond_is_clipped():
    beyond = jnp.array([-0.7, -0.501, 0.501, 9.0]).reshape(1, 1, 4, 1)
    np.testing.assert_array_equal(to_integers(beyond).ravel(), [0, 0, 255, 255])
