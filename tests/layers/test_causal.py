"""Causal convolutions: the right pixels, all of them, whole or piece by piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.layers import GatedLayer, HorizontalConv, VerticalConv
from vqvae_jax.layers.causal import columns_left, correlate, rows_above


@pytest.mark.parametrize(
    ("window", "channels", "extra"),  # the form changes from 8 channels on
    [((2, 3), 7, (3, 2)), ((2, 3), 8, (3, 2)), ((1, 4), 11, (0, 3)), ((3, 1), 1, (1, 0))],
)
def test_correlate_is_xlas_convolution(window, channels, extra):
    random = np.random.RandomState(0)
    size = [k + e for k, e in zip(window, extra, strict=True)]
    x = jnp.asarray(random.randn(2, *size, channels), jnp.float32)
    kernel = jnp.asarray(random.randn(*window, channels, 5), jnp.float32)

    def xla(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    @jax.jit
    def both(x, kernel):
        actual, pull = jax.vjp(correlate, x, kernel)
        expected, pull_expected = jax.vjp(xla, x, kernel)
        return (actual, *pull(expected)), (expected, *pull_expected(expected))

    (actual, *gradients), (expected, *expected_gradients) = both(x, kernel)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def reach(function, height, width):
    """[H, W, H, W]: whether the output at a pixel depends on the input at another."""
    x = jnp.asarray(np.random.RandomState(0).rand(height, width), jnp.float32)
    jacobian = jax.jacobian(lambda x: jnp.sum(function(x[None, :, :, None])[0], axis=-1))
    return np.asarray(jax.jit(jacobian)(x)) != 0


def positions(height, width):
    i, j = np.arange(height), np.arange(width)
    return (
        i[:, None, None, None],
        j[None, :, None, None],
        i[None, None, :, None],
        j[None, None, None, :],
    )


@pytest.mark.parametrize("current", [False, True])
def test_vertical_window(current):
    layer = VerticalConv(1, 4, 2, 3, rngs=nnx.Rngs(0))
    seen = reach(lambda x: layer(rows_above(x, 2, current=current)), 5, 6)
    i, j, row, column = positions(5, 6)
    lowest = i if current else i - 1
    np.testing.assert_array_equal(
        seen, (row <= lowest) & (row > lowest - 2) & (abs(column - j) <= 1)
    )


@pytest.mark.parametrize("current", [False, True])
def test_horizontal_window(current):
    layer = HorizontalConv(1, 4, 3, rngs=nnx.Rngs(0))
    seen = reach(lambda x: layer(columns_left(x, 3, current=current)), 4, 6)
    i, j, row, column = positions(4, 6)
    last = j if current else j - 1
    np.testing.assert_array_equal(seen, (row == i) & (column <= last) & (column > last - 3))


@pytest.fixture
def layer():
    return GatedLayer(4, rngs=nnx.Rngs(0))


@pytest.fixture
def inputs():
    random = np.random.RandomState(1)
    return tuple(jnp.asarray(random.randn(2, 4, 5, n), jnp.float32) for n in (4, 4, 8))


def test_gated_layer_is_the_papers(layer, inputs):
    """Equation 4 at every pixel, written out in NumPy."""
    v, h, condition = (np.asarray(x, np.float64) for x in inputs)
    down, along = (np.asarray(c.kernel[...]) for c in (layer.vertical, layer.horizontal))
    padded_v = np.pad(v, [(0, 0), (1, 0), (1, 1), (0, 0)])
    padded_h = np.pad(h, [(0, 0), (0, 0), (1, 0), (0, 0)])
    a_v = np.zeros((2, 4, 5, 8)) + np.asarray(layer.vertical.bias[...]) + condition
    a_h = np.zeros((2, 4, 5, 8)) + np.asarray(layer.horizontal.bias[...])
    for i in range(4):
        for j in range(5):
            a_v[:, i, j] += np.einsum("buvc,uvcd->bd", padded_v[:, i : i + 2, j : j + 3], down)
            a_h[:, i, j] += np.einsum("bvc,vcd->bd", padded_h[:, i, j : j + 2], along[0])
    a_h += a_v @ np.asarray(layer.across.kernel[...])

    def gate(a):
        return np.tanh(a[..., :4]) / (1 + np.exp(-a[..., 4:]))

    expected_h = gate(a_h) @ np.asarray(layer.out.kernel[...]) + np.asarray(layer.out.bias[...])
    v_next, h_next = layer(*inputs)
    np.testing.assert_allclose(v_next, gate(a_v), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(h_next, h + expected_h, rtol=1e-4, atol=1e-5)


def test_piece_by_piece(layer, inputs):
    """Row after row and pixel after pixel, with a window of what came before."""
    v, h, condition = inputs
    expected_v, expected_h = layer(v, h, condition)
    above = jnp.zeros((2, 1, 5, 4))
    for i in range(4):
        framed = jnp.concatenate([above, v[:, i : i + 1]], axis=1)
        v_next, across = layer.vertical_rows(framed, condition[:, i : i + 1])
        np.testing.assert_allclose(v_next[:, 0], expected_v[:, i], rtol=1e-5, atol=1e-6)
        above, left = framed[:, 1:], jnp.zeros((2, 1, 1, 4))
        for j in range(5):
            framed = jnp.concatenate([left, h[:, i : i + 1, j : j + 1]], axis=2)
            h_next = layer.horizontal_pixels(framed, across[:, :, j : j + 1])
            np.testing.assert_allclose(h_next[:, 0, 0], expected_h[:, i, j], rtol=1e-5, atol=1e-6)
            left = framed[:, :, 1:]


def test_initial_values_are_bounded_by_what_an_output_sees():
    layer = VerticalConv(5, 64, 3, 7, rngs=nnx.Rngs(0))
    for values in (layer.kernel[...], layer.bias[...]):
        scaled = np.asarray(values) * (5 * 3 * 7) ** 0.5
        assert 0.9 < np.abs(scaled).max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rngs: VerticalConv(1, 1, 2, 4, rngs=rngs), "width is 4; it must be odd"),
        (lambda rngs: VerticalConv(1, 1, 0, 3, rngs=rngs), r"\(0, 3, 1, 1\); all of it"),
        (lambda rngs: HorizontalConv(1, 0, 3, rngs=rngs), r"\(1, 3, 1, 0\); all of it"),
        (lambda rngs: GatedLayer(4, 2, rngs=rngs), "size is 2; it must be odd and at least 3"),
        (lambda rngs: GatedLayer(4, 1, rngs=rngs), "size is 1; it must be odd and at least 3"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))
