"""The gated PixelCNN's layer, against the paper."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax.layers import GatedLayer, HorizontalConv, Linear, VerticalConv


def make_layer(dilation, rngs):
    return GatedLayer(
        VerticalConv(4, 8, 2, 3, dilation=dilation, rngs=rngs),
        HorizontalConv(4, 8, 2, dilation=dilation, rngs=rngs),
        Linear(8, 8, use_bias=False, rngs=rngs),
        Linear(4, 4, rngs=rngs),
    )


def normal(*shape, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randn(*shape), jnp.float32)


@pytest.mark.parametrize("dilation", [1, 2])
def test_layer_is_the_papers(dilation):
    """Equation 4 at every pixel, written out in NumPy."""
    d, layer = dilation, drawn(lambda: make_layer(dilation, nnx.Rngs(0)))
    v, h, to_v, to_h = (normal(2, 4, 5, n, seed=n + k) for k, n in enumerate((4, 4, 8, 8)))
    padded_v = np.pad(v, [(0, 0), (d, 0), (d, d), (0, 0)])
    padded_h = np.pad(h, [(0, 0), (0, 0), (d, 0), (0, 0)])
    down, along = (np.asarray(c.kernel[...]) for c in (layer.vertical, layer.horizontal))
    a_v = np.asarray(layer.vertical.bias[...]) + np.asarray(to_v, np.float64)
    a_h = np.asarray(layer.horizontal.bias[...]) + np.asarray(to_h, np.float64)
    for i in range(4):
        for j in range(5):
            seen = padded_v[:, i : i + d + 1 : d, j : j + 2 * d + 1 : d]
            a_v[:, i, j] += np.einsum("buvc,uvcd->bd", seen, down)
            a_h[:, i, j] += np.einsum("bvc,vcd->bd", padded_h[:, i, j : j + d + 1 : d], along[0])
    a_h += a_v @ np.asarray(layer.across.kernel[...])

    def gate(a):
        return np.tanh(a[..., :4]) / (1 + np.exp(-a[..., 4:]))

    expected_h = gate(a_h) @ np.asarray(layer.out.kernel[...]) + np.asarray(layer.out.bias[...])
    v_next, h_next = layer(v, h, (to_v, to_h))
    np.testing.assert_allclose(v_next, gate(a_v), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(h_next, h + expected_h, rtol=1e-4, atol=1e-5)


def test_no_condition_is_one_of_zeros():
    layer, zeros = drawn(lambda: make_layer(1, nnx.Rngs(0))), jnp.zeros((2, 4, 5, 8))
    v, h = normal(2, 4, 5, 4), normal(2, 4, 5, 4, seed=1)
    for actual, expected in zip(layer(v, h), layer(v, h, (zeros, zeros)), strict=True):
        np.testing.assert_array_equal(actual, expected)
