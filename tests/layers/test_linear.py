"""The linear layer: the product over any leading axes, and its initial values."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.layers import Linear


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 2)])
def test_maps_vectors_behind_any_axes(shape):
    layer = Linear(6, 3, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.array([1.0, -2.0, 0.5])
    x = np.random.RandomState(0).randn(*shape, 6).astype(np.float32)
    expected = x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


def test_initial_values():
    layer = Linear(100, 50, rngs=nnx.Rngs(0))
    assert 0.99 < np.abs(layer.kernel[...]).max() * 100**0.5 <= 1
    np.testing.assert_array_equal(layer.bias[...], 0)
    assert Linear(2, 3, use_bias=False, rngs=nnx.Rngs(0)).bias is None
