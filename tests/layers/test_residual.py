"""Group normalization and residual blocks against flax's layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax.layers import Activation, GroupNorm, ResidualBlock

X = jnp.asarray(np.random.RandomState(0).randn(2, 5, 6, 64) * 3 + 1, jnp.float32)


@pytest.mark.parametrize(("features", "groups"), [(64, 32), (48, 16), (7, 1), (96, 32)])
def test_groups_are_the_most_that_divide(features, groups):
    assert GroupNorm(features).num_groups == groups


def test_group_norm_is_that_of_flax():
    ours = drawn(lambda: GroupNorm(64))
    theirs = nnx.GroupNorm(64, num_groups=32, epsilon=1e-6, rngs=nnx.Rngs(0))
    theirs.scale[...], theirs.bias[...] = ours.scale[...], ours.bias[...]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        expected = theirs(X)
    np.testing.assert_allclose(ours(X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 8), (2, 3, 4, 8), (2, 2, 3, 4, 8)])
def test_any_number_of_axes_is_normalized_by_group_and_example(shape):
    x = 5 * jnp.asarray(np.random.RandomState(1).randn(*shape), jnp.float32) + 7
    y = np.asarray(GroupNorm(8)(x)).reshape(shape[0], -1, 8)
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(1), 1, atol=1e-3)


def test_statistics_are_computed_in_float32():
    layer = GroupNorm(64)
    narrow = layer((X + 100).astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    wide = layer((X + 100).astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.02)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_block_is_its_formula(normalize):
    block = drawn(lambda: ResidualBlock(64, normalize=normalize, rngs=nnx.Rngs(0)))

    def conv(layer, x, padding):
        y = jax.lax.conv_general_dilated(
            x,
            layer.kernel[...],
            (1, 1),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + layer.bias[...][None, None, None]

    def act(activation, x):
        return jax.nn.silu(activation.norm(x)) if normalize else jax.nn.relu(x)

    first, second = block.activations
    expected = X + conv(block.narrow, act(second, conv(block.wide, act(first, X), 1)), 0)
    np.testing.assert_allclose(block(X), expected, rtol=1e-3, atol=1e-3)


def test_an_activation_without_norm_has_no_parameters():
    assert not jax.tree.leaves(nnx.state(Activation(8, normalize=False)))
    assert len(jax.tree.leaves(nnx.state(Activation(8, normalize=True)))) == 2
