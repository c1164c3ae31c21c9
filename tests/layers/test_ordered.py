"""What is rounded to 8 bits is the same float32 however XLA fuses: compiled as users compile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.layers.test_conv1d import pieces_of
from vqvae_jax.layers import Conv1d, causal
from vqvae_jax.layers.grids import Grid
from vqvae_jax.layers.ordered import OrderedConv1d

pytestmark = pytest.mark.usefixtures("optimized")
RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize(("size", "stride", "groups"), [(3, 1, 2), (4, 2, 8)])
def test_products_are_added_one_by_one(size, stride, groups):
    options = {"stride": stride, "groups": groups, "padding": causal(size, stride)}
    layer = OrderedConv1d(Conv1d(8, 16, size, **options, rngs=nnx.Rngs(0)))
    x = RANDOM.randn(1, 40, 8).astype(np.float32)
    kernel, bias = (np.asarray(variable[...]) for variable in (layer.kernel, layer.bias))
    padded = np.concatenate([np.zeros((size - stride, 8), np.float32), x[0]])
    first = np.arange(16) // (16 // groups) * (8 // groups)
    sums = np.zeros((40 // stride, 16), np.float32)
    for tap in range(size):
        for channel in range(8 // groups):
            window = padded[tap : tap + 40 - stride + 1 : stride]
            sums = sums + window[:, first + channel] * kernel[tap, channel]
    computed = jax.jit(layer)(jnp.asarray(x))
    np.testing.assert_array_equal(computed[0], sums + bias)
    np.testing.assert_array_equal(pieces_of(layer, jnp.asarray(x), (20, 20)), computed)


def test_values_of_a_grid_are_rounded_before_they_are_added():
    grid = Grid()
    grid.scale[...] = jnp.asarray([0.13676928], jnp.float32)
    steps = RANDOM.randint(-128, 128, (1, 500, 16)).astype(np.int32)
    x = RANDOM.randn(1, 500, 16).astype(np.float32)
    computed = jax.jit(lambda steps, x: x + grid.values(steps))(steps, x)
    np.testing.assert_array_equal(computed, x + steps.astype(np.float32) * np.float32(0.13676928))


def test_a_grid_rounds_halves_away_from_0_and_has_ends():
    grid = Grid()
    grid.scale[...], grid.zero_point[...] = jnp.asarray([0.5]), jnp.asarray([28])
    x = jnp.asarray([[[0.25, -0.25, 0.74, -0.75, 1e6, -1e30]]]).swapaxes(1, 2)
    np.testing.assert_array_equal(grid(x)[0, :, 0], [0.5, -0.5, 0.5, -1.0, 49.5, -78.0])
