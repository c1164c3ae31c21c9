"""The two stacks see what their taps should see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.priors import GatedPixelCNN

SIZE = 7


def seen_by_taps(dilations):
    """The offsets that features depend on, followed through the layers."""
    v, h = {(-1, -1), (-1, 0), (-1, 1)}, {(0, -1)}
    for d in dilations:
        v = {(r + a, c + b) for r, c in v for a in (-d, 0) for b in (-d, 0, d)}
        h = {(r, c + b) for r, c in h for b in (-d, 0)} | v
    return h


@pytest.mark.parametrize("dilations", [(1,), (1, 2), (2, 1), (1, 2, 1)])
def test_features_see_all_that_the_taps_reach_and_nothing_else(dilations):
    prior = GatedPixelCNN(3, channels=4, dilations=dilations, rngs=nnx.Rngs(0))
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(1, SIZE, SIZE, 4), jnp.float32)
    weights = jnp.asarray(random.randn(4), jnp.float32)
    classes = jnp.zeros(1, jnp.int32)
    gradients = jax.jit(jax.jacrev(lambda x: prior._features(x, classes, None)[0] @ weights))(x)
    found = np.any(np.asarray(gradients)[:, :, 0] != 0, axis=-1)
    offsets = seen_by_taps(dilations)
    expected = np.zeros((SIZE,) * 4, bool)
    for i, j, r, c in np.ndindex(expected.shape):
        expected[i, j, r, c] = (r - i, c - j) in offsets
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dilations", [(1,), (1, 2), (2, 1), (1, 2, 1)])
def test_there_is_no_blind_spot(dilations):
    reach = 1 + sum(dilations)
    rows_above = {(-r, c) for r in range(1, reach + 1) for c in range(-reach, reach + 1)}
    assert seen_by_taps(dilations) == rows_above | {(0, -c) for c in range(1, reach + 1)}
