"""The pure functions, against NumPy and against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.means import mean
from vqvae_jax.quantizers import core


def test_code_sums_leave_out_what_is_no_code():
    z = jnp.arange(8.0).reshape(4, 2)
    sums = core.code_sums(z, jnp.array([1, -1, 1, 5]), 3)
    np.testing.assert_array_equal(sums, [[0, 0], [4, 6], [0, 0]])


def test_norm_and_unit_are_defined_at_zero():
    z = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(core.norm(z), [[5.0], [0.0]])
    np.testing.assert_allclose(core.unit(z), [[0.6, 0.8], [0.0, 0.0]])
    for function in (core.norm, core.unit):
        gradient = jax.grad(lambda z, function=function: jnp.sum(function(z)))(z)
        np.testing.assert_array_equal(gradient[1], 0)
        assert np.all(np.isfinite(gradient))


@pytest.mark.usefixtures("unchecked")
def test_integers_beyond_int32_are_counted_for_no_code():
    for beyond in (np.array([2**32, 2**31]), jnp.array([2**32 - 1, 2**31], jnp.uint32)):
        np.testing.assert_array_equal(core.code_counts(beyond, 3), 0)
    with pytest.raises(ValueError, match=r"indices have type float.*; they must be integers"):
        core.code_counts(jnp.array([0.5]), 3)


def test_code_counts_leaves_out_what_is_no_code():
    indices = jnp.array([[0, 2, 2], [-1, 3, -5]])
    np.testing.assert_array_equal(core.code_counts(indices, 3), [1, 0, 2])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([5, 5, 5, 5], 4.0), ([9, 0, 0], 1.0), ([0, 0], 1.0), ([1, 3], 0.25**-0.25 * 0.75**-0.75)],
)
def test_perplexity(counts, expected):
    np.testing.assert_allclose(core.perplexity(jnp.array(counts)), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32])
def test_small_types_of_indices_count_alike(dtype):
    indices = jnp.array([0, 3, 127], dtype)
    np.testing.assert_array_equal(jnp.nonzero(core.code_counts(indices, 128))[0], [0, 3, 127])
    sums = core.code_sums(jnp.ones((3, 1)), indices, 128)
    np.testing.assert_array_equal(jnp.nonzero(sums[:, 0])[0], [0, 3, 127])


def test_perplexity_of_counts_whose_sum_is_beyond_int32():
    np.testing.assert_allclose(core.perplexity(jnp.full(4, 2**29, jnp.int32)), 4.0, rtol=1e-6)


def test_masked_mean_of_more_numbers_than_int32_holds():
    @jax.jit
    def masked():
        rows = jnp.arange(2**20)[:, None] + jnp.zeros((1, 2**11), jnp.int32)
        values = jnp.where(rows == 0, 2.0**20, 0.0)  # 2^31 of them in the mean
        return mean(values, jnp.ones(2**20, jnp.bool_))

    np.testing.assert_allclose(masked(), 1.0, rtol=1e-5)
