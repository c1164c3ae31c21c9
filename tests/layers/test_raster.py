"""The stacks of a gated PixelCNN: the same whole or pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from tests.layers.test_gated import make_layer, normal
from vqvae_jax.layers import GatedStack, HorizontalConv, VerticalConv


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


def test_rows_and_their_pixels_are_all_at_once():
    parts = drawn(
        lambda: nnx.List(
            [
                VerticalConv(3, 4, 3, 3, rngs=nnx.Rngs(0)),
                HorizontalConv(3, 4, 2, rngs=nnx.Rngs(0)),
                *(make_layer(dilation, nnx.Rngs(0)) for dilation in (1, 2)),
            ]
        )
    )
    stack = GatedStack(parts[0], parts[1], parts[2:])
    x, condition = normal(2, 4, 5, 3), normal(2, 4, 1, 8, seed=1)
    expected = stack(x, [(condition, None)] * 2)
    cache, previous = stack.start(2, 5, None), jnp.full((2, 3), jnp.nan)
    for i in range(4):
        cache = stack.start_row(cache, i, previous, [(condition[:, i : i + 1], None)] * 2)
        for j in range(5):
            found, cache = stack.step_in_row(cache, j, previous)
            np.testing.assert_allclose(found, expected[:, i, j], rtol=1e-5, atol=1e-5)
            previous = x[:, i, j]
