"""Causal convolutions: the right pixels, all of them, whole or piece by piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.layers import HorizontalConv, VerticalConv
from vqvae_jax.layers.causal import columns_left, correlate, rows_above


@pytest.mark.parametrize(
    ("window", "channels", "dilation", "extra"),  # the form changes from 8 channels on
    [
        ((2, 3), 7, 1, (3, 2)),
        ((2, 3), 8, 1, (3, 2)),
        ((1, 4), 11, 1, (0, 3)),
        ((3, 1), 1, 1, (1, 0)),
        ((2, 3), 7, 2, (3, 2)),
        ((2, 3), 8, 3, (0, 1)),
    ],
)
def test_correlate_is_xlas_convolution(window, channels, dilation, extra):
    random = np.random.RandomState(0)
    size = [dilation * (k - 1) + 1 + e for k, e in zip(window, extra, strict=True)]
    x = jnp.asarray(random.randn(2, *size, channels), jnp.float32)
    kernel = jnp.asarray(random.randn(*window, channels, 5), jnp.float32)

    def xla(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "VALID",
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def ours(x, kernel):
        return correlate(x, kernel, dilation)

    @jax.jit
    def both(x, kernel):
        actual, pull = jax.vjp(ours, x, kernel)
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


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("current", [False, True])
def test_vertical_window(current, dilation):
    layer = VerticalConv(1, 4, 2, 3, dilation=dilation, rngs=nnx.Rngs(0))
    assert layer.reach == dilation + 1
    seen = reach(lambda x: layer(rows_above(x, layer.reach, current=current)), 5, 6)
    i, j, row, column = positions(5, 6)
    lowest = i if current else i - 1
    rows = (row == lowest) | (row == lowest - dilation)
    columns = (column == j) | (abs(column - j) == dilation)
    np.testing.assert_array_equal(seen, rows & columns)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("current", [False, True])
def test_horizontal_window(current, dilation):
    layer = HorizontalConv(1, 4, 3, dilation=dilation, rngs=nnx.Rngs(0))
    assert layer.reach == 2 * dilation + 1
    seen = reach(lambda x: layer(columns_left(x, layer.reach, current=current)), 4, 6)
    i, j, row, column = positions(4, 6)
    last = j if current else j - 1
    columns = (column == last) | (column == last - dilation) | (column == last - 2 * dilation)
    np.testing.assert_array_equal(seen, (row == i) & columns)


def test_initial_values_are_bounded_by_what_an_output_sees():
    layer = VerticalConv(5, 64, 3, 7, rngs=nnx.Rngs(0))
    for values in (layer.kernel[...], layer.bias[...]):
        scaled = np.asarray(values) * (5 * 3 * 7) ** 0.5
        assert 0.9 < np.abs(scaled).max() <= 1


def test_bias_at_0_and_no_bias():
    """Neither draws: what is drawn next stays the same."""
    kernels = []
    for bias in ("zeros", None):
        rngs = nnx.Rngs(0)
        layer = HorizontalConv(2, 3, 2, bias=bias, rngs=rngs)
        kernels.append((layer.kernel[...], rngs.params.count[...]))
        framed = jnp.zeros((1, 1, 4, 2))
        np.testing.assert_array_equal(layer(framed), jnp.zeros((1, 1, 3, 3)))
        assert (layer.bias is None) == (bias is None)
    np.testing.assert_array_equal(*(kernel for kernel, _ in kernels))
    assert [count for _, count in kernels] == [1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rngs: VerticalConv(1, 1, 2, 4, rngs=rngs), "width is 4; it must be odd"),
        (lambda rngs: VerticalConv(1, 1, 0, 3, rngs=rngs), r"\(0, 3, 1, 1\); all sizes"),
        (lambda rngs: HorizontalConv(1, 0, 3, rngs=rngs), r"\(1, 3, 1, 0\); all sizes"),
        (lambda rngs: VerticalConv(1, 1, 2, 3, dilation=0, rngs=rngs), "dilation is 0; it must"),
        (lambda rngs: HorizontalConv(1, 1, 2, dilation=0, rngs=rngs), "dilation is 0; it must"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))
