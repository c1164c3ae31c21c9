"""The gated PixelCNN's layer, against the paper, and its stacks, whole and pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax.layers import GatedLayer, GatedStack, HorizontalConv, Linear, VerticalConv


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


@pytest.mark.parametrize(("height", "dilations"), [(1, (1, 2)), (3, (2,))])
def test_pixel_by_pixel_is_all_at_once(height, dilations):
    """With a condition at every pixel for one stack, and one of each row for the other."""
    parts = drawn(
        lambda: nnx.List(
            [
                VerticalConv(3, 4, height, 3, rngs=nnx.Rngs(0)),
                HorizontalConv(3, 4, 2, rngs=nnx.Rngs(0)),
                *(make_layer(dilation, nnx.Rngs(0)) for dilation in dilations),
            ]
        )
    )
    graphdef, state = nnx.split(parts)
    x, to_v, to_h = normal(2, 4, 5, 3), normal(2, 4, 5, 8, seed=1), normal(2, 4, 1, 8, seed=2)

    def merged(state):
        above, left, *layers = nnx.merge(graphdef, state)
        return GatedStack(above, left, layers)

    @jax.jit
    def step(state, cache, position, previous):
        def conditions(row):
            rows = [jax.lax.dynamic_slice_in_dim(c, row, 1, axis=1) for c in cache.condition]
            return [tuple(rows)] * len(dilations)

        return merged(state).step(cache, position, previous, conditions)

    conditions = [(to_v, to_h)] * len(dilations)
    expected = jax.jit(lambda state: merged(state)(x, conditions))(state)
    cache, previous = merged(state).start(2, 5, (to_v, to_h)), jnp.full((2, 3), jnp.nan)
    for position in range(20):
        i, j = divmod(position, 5)
        found, cache = step(state, cache, jnp.int32(position), previous)
        np.testing.assert_allclose(found, expected[:, i, j], rtol=1e-5, atol=1e-5)
        previous = x[:, i, j]
