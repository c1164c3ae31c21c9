"""Integers of every type, and the rows that they choose."""

import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.tables import as_int32, lookup


def test_lookup_says_what_is_out_of_range():
    codebook = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        lookup(codebook, jnp.array([2, -1, 0, 3])),
        [[4.0, 5.0], [0.0, 0.0], [0.0, 1.0], [np.nan, np.nan]],
    )


@pytest.mark.usefixtures("unchecked")
def test_integers_beyond_int32_are_none_of_a_row():
    """Which they were, where they wrapped."""
    for beyond in (
        np.array([2**32, 2**31]),
        np.array([2**64 - 1, 2**63], np.uint64),
        jnp.array([2**32 - 1, 2**31], jnp.uint32),
    ):
        assert np.isnan(lookup(jnp.ones((3, 2)), as_int32("indices", beyond))).all()
    np.testing.assert_array_equal(as_int32("indices", np.array([-(2**32), 2])), [-(2**31), 2])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("wrong", [jnp.array([0.5]), np.array([True]), [0, 1.0]])
def test_no_integers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"labels have type (float|bool).*; they must be int"):
        as_int32("labels", wrong)


@pytest.mark.usefixtures("unchecked")
def test_no_table_is_refused():
    with pytest.raises(ValueError, match=r"codebook has shape \(3,\); it must be \[K, D\]"):
        lookup(jnp.ones(3), jnp.array([0]))
