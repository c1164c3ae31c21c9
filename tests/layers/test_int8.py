"""Layers of 8-bit integers against their rules in 64 bits, in NumPy; in pieces as whole."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled
from tests.layers.test_conv1d import pieces_of
from vqvae_jax.layers import Conv1d, ConvTranspose1d, LeakyReLU, Residual, causal
from vqvae_jax.layers.fixed_point import fixed_point, scaled
from vqvae_jax.layers.int8 import SUM_BITS, Int8Conv1d, Int8ConvTranspose1d, Int8Residual, int8

RANDOM = np.random.RandomState(0)


def divided(numbers, places):
    """Integers divided by 2^places, rounded, halves away from 0."""
    half = (1 << places) >> 1
    return np.sign(numbers) * ((np.abs(numbers) + half) >> places)


def times(x, factor):
    """int64 times a factor above 0, as an integer of 31 bits and a power of 2, rounded twice."""
    fraction, exponent = np.frexp(np.float64(factor))
    multiplier = int(np.floor(fraction * 2.0**31 + 0.5))
    product = (x << max(int(exponent), 0)) * multiplier
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.sign(nudged) * (np.abs(nudged) >> 31)
    return divided(high, max(-int(exponent), 0))


def on_grid(steps, scale, zero):
    """Values of integers q - zero, cut to 8 bits."""
    return (np.clip(steps, -128 - zero, 127 - zero) * scale).astype(np.float32)


def signal(length, features, scale, zero):
    """Values [1, T, C] of a grid, and their q - zero."""
    steps = RANDOM.randint(-128, 128, (1, length, features)) - zero
    return jnp.asarray(on_grid(steps, scale, zero)), steps


def with_grids(layer, factors, input_scale, scale, zero):
    """Sets the scales and the factors of a layer."""
    rescaling = layer.rescaling
    multiplier, exponent = fixed_point(np.asarray(factors, np.float64))
    for variable, value in (
        (rescaling.multiplier, multiplier),
        (rescaling.exponent, exponent),
        (rescaling.input_scale, input_scale),
        (rescaling.grid.scale, scale),
        (rescaling.grid.zero_point, zero),
    ):
        variable[...] = jnp.broadcast_to(
            jnp.asarray(value, variable.dtype), variable.get_value().shape
        )
    return layer


def weights_of(layer):
    """Draws weights of 8 and biases of 32 bits, and returns them in 64."""
    shape = layer.kernel.get_value().shape
    kernel = RANDOM.randint(-127, 128, shape)
    layer.kernel[...] = jnp.asarray(kernel, jnp.int8)
    if layer.bias is None:
        return kernel, np.zeros(shape[-1], int)
    bias = RANDOM.randint(-2000, 2000, layer.bias.get_value().shape)
    layer.bias[...] = jnp.asarray(bias, jnp.int32)
    return kernel, bias


def test_products_are_those_of_64_bits():
    x = RANDOM.randint(-(2**31) + 1, 2**31, 4000)
    x[:6] = 0, 1, -1, 2**31 - 1, -(2**31) + 1, 2**30
    factors = [*2.0 ** RANDOM.uniform(-20, 0, 60), 0.5, 1 - 2.0**-30, 2.0**-31]
    for factor in factors:
        m, e = (jnp.asarray(number) for number in fixed_point(np.asarray([factor])))
        np.testing.assert_array_equal(scaled(jnp.asarray(x, jnp.int32), m, e), times(x, factor))
    small = np.arange(-300, 300)
    for factor in (2.75, 1 - 2.0**-40):
        m, e = (jnp.asarray(number) for number in fixed_point(np.asarray([factor])))
        given = scaled(jnp.asarray(small, jnp.int32), m, e)
        np.testing.assert_array_equal(given, times(small, factor))


def test_factors_have_31_bits():
    factors = np.concatenate([2.0 ** RANDOM.uniform(-20, 5, 100), [1 - 2.0**-40]])
    multipliers, exponents = fixed_point(factors)
    assert multipliers.min() >= 2**30
    np.testing.assert_allclose(multipliers * 2.0 ** (exponents - 31), factors, rtol=2.0**-31)


@pytest.mark.parametrize(
    ("size", "stride", "dilation", "groups", "features", "use_bias"),
    [(3, 1, 3, 8, 8, False), (4, 2, 1, 2, 6, True)],
)
def test_a_convolution(size, stride, dilation, groups, features, use_bias):
    reach = (size - 1) * dilation + 1
    options = {"stride": stride, "dilation": dilation, "groups": groups, "use_bias": use_bias}
    conv = Conv1d(8, features, size, padding=causal(reach, stride), **options, rngs=nnx.Rngs(0))
    layer = Int8Conv1d(conv)
    kernel, bias = weights_of(layer)
    factors = 0.004 * 2.0 ** RANDOM.uniform(-2, 0, features)
    with_grids(layer, factors, 0.3, 0.11, -17)
    x, steps = signal(12, 8, np.float32(0.3), 9)
    padded = np.concatenate([np.zeros((reach - stride, 8), int), steps[0]])
    inputs = 8 // groups
    expected = np.empty((12 // stride, features), np.float32)
    for at in range(len(expected)):
        window = padded[at * stride : at * stride + reach : dilation]
        for channel in range(features):
            first = channel // (features // groups) * inputs
            total = np.sum(window[:, first : first + inputs] * kernel[..., channel])
            step = times(total + bias[channel], factors[channel])
            expected[at, channel] = on_grid(step, np.float32(0.11), -17)
    computed = run_compiled(lambda layer, x: layer(x), layer, x)
    np.testing.assert_array_equal(computed[0], expected)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(pieces_of(layer, x, (4, 8)), computed)


@pytest.mark.parametrize("frame", [1, 2])
def test_a_transposed_convolution_adds_frames_as_real_numbers(frame):
    conv = ConvTranspose1d(8, 6, 4, stride=2, groups=2, cut=(0, 2), rngs=nnx.Rngs(0))
    layer = Int8ConvTranspose1d(conv, frame)
    kernel, bias = weights_of(layer)
    float_bias = RANDOM.randn(6).astype(np.float32)
    layer.float_bias[...] = jnp.asarray(float_bias)
    factors = 0.003 * 2.0 ** RANDOM.uniform(-1, 0, 6)
    scale, zero = RANDOM.uniform(0.1, 0.2, 6).astype(np.float32), RANDOM.randint(-50, 50, 6)
    with_grids(layer, factors, 0.25, scale, zero)
    x, steps = signal(8, 8, np.float32(0.25), -3)
    expected, rest = [], np.zeros((2, 6), np.float32)
    for start in range(0, 8, frame):
        sums = np.zeros((2 * frame + 2, 6), int) + bias
        for at in range(frame):
            for group in range(2):
                rows = steps[0, start + at, 4 * group : 4 * group + 4]
                taps = kernel[:, 4 * group : 4 * group + 4]
                sums[2 * at : 2 * at + 4, 3 * group : 3 * group + 3] += np.einsum(
                    "i,kio->ko", rows, taps
                )
        y = np.stack([times(sums[:, c], factors[c]) for c in range(6)], axis=1)
        y = on_grid(y, scale, zero)
        y[:2] += rest
        expected.append(y[: 2 * frame])
        rest = y[2 * frame :] - float_bias
    computed = run_compiled(lambda layer, x: layer(x), layer, x)
    np.testing.assert_array_equal(computed[0], np.concatenate(expected))
    np.testing.assert_array_equal(pieces_of(layer, x, (2, 4, 2)), computed)


def test_a_sum_and_an_activation():
    slope = int8(LeakyReLU(0.3))
    with_grids(slope, [0.5 / 0.2, 0.3 * 0.5 / 0.2], 0.5, 0.2, 40)
    x, steps = signal(30, 8, np.float32(0.5), 5)
    changed = np.where(steps >= 0, times(steps, 0.5 / 0.2), times(steps, 0.3 * 0.5 / 0.2))
    changed = np.clip(changed, -128 - 40, 127 - 40)
    computed = run_compiled(lambda layer, x: layer(x), slope, x)
    np.testing.assert_array_equal(computed, on_grid(changed, np.float32(0.2), 40))
    layer = Int8Residual(slope)
    factors = [0.2 / 1.0, 0.5 / 1.0, 1.0 / (2**SUM_BITS * 0.6)]
    with_grids(layer, factors, [0.2, 0.5], 0.6, -20)
    both = times(changed << SUM_BITS, factors[0]) + times(steps << SUM_BITS, factors[1])
    expected = on_grid(times(both, factors[2]), np.float32(0.6), -20)
    computed = run_compiled(lambda layer, x: layer(x), layer, x)
    np.testing.assert_array_equal(computed, expected)
    np.testing.assert_array_equal(pieces_of(layer, x, (10, 20)), computed)


def test_what_would_not_be_exact_is_refused():
    wide = drawn(lambda: Conv1d(129, 2, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"a sum of 516 products; there must be at most 514"):
        Int8Conv1d(wide)
    long = drawn(lambda: ConvTranspose1d(2, 2, 8, stride=2, cut=(0, 6), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"frame is 1; the kernel of 8 must not reach beyond"):
        Int8ConvTranspose1d(long, 1)
    with pytest.raises(TypeError, match="ConvTranspose1d has no counterpart"):
        int8(Residual(long))
