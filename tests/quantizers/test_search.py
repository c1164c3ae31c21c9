"""The search for codes, against NumPy and against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import some_by_default
from vqvae_jax.quantizers import search


@given(
    shape=st.sampled_from([(1,), (5,), (2, 3), (2, 1, 4)]),
    num_embeddings=st.integers(1, 9),
    dim=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_nearest_code_is_the_nearest(shape, num_embeddings, dim, seed):
    random = np.random.RandomState(seed)
    z = random.randn(*shape, dim).astype(np.float32)
    codebook = random.randn(num_embeddings, dim).astype(np.float32)
    wide = (z[..., None, :].astype(np.float64) - codebook.astype(np.float64)) ** 2
    distances = wide.sum(-1)
    indices = search.nearest_code(jnp.asarray(z), jnp.asarray(codebook))
    assert indices.dtype == jnp.int32
    chosen = np.take_along_axis(distances, np.asarray(indices)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, distances.min(-1), rtol=1e-4, atol=1e-5)


def test_first_of_equal_codes_wins():
    codebook = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    z = jnp.array([[0.0, 1.0], [0.5, 0.5]])
    np.testing.assert_array_equal(search.nearest_code(z, codebook), [1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("limit", some_by_default([1, 7 * 19, 7 * 20, 7 * 60], [7 * 19]))
def test_search_in_chunks_finds_the_same(monkeypatch, forget_compiled, limit):
    random = np.random.RandomState(0)
    z = jnp.asarray(random.randn(3, 20, 3).astype(np.float32))
    codebook = jnp.asarray(random.randn(7, 3).astype(np.float32))
    whole = search.nearest_code(z, codebook)
    monkeypatch.setattr(search, "MAX_NUMBERS", limit)
    jax.clear_caches()
    np.testing.assert_array_equal(search.nearest_code(z, codebook), whole)


@pytest.mark.parametrize("codes", [1, 2, 1023, 8192, 8193, 20_000])
def test_search_is_the_argmin_of_the_whole_matrix(codes):
    random = np.random.RandomState(codes)
    z = jnp.asarray(random.randn(70, 8).astype(np.float32))
    codebook = random.randn(codes, 8).astype(np.float32)
    codebook[random.randint(0, codes, codes // 3)] = codebook[0]  # ties
    for offset in (0.0, 5.0):  # with 5, all codes are further away than the origin
        found = search.nearest_code(z, jnp.asarray(codebook + np.float32(offset)))
        distances = ((np.asarray(z, np.float64)[:, None] - codebook - offset) ** 2).sum(-1)
        np.testing.assert_array_equal(found, distances.argmin(1))


def exact(z, codebook):
    """The nearest codes of float32 arrays, in float64."""
    wide = np.asarray(z, np.float64)[:, None] - np.asarray(codebook, np.float64)
    return np.sum(wide**2, axis=-1).argmin(1)


@pytest.mark.parametrize(("origin", "spread"), [(100, 0.1), (1000, 1), (-3e5, 300)])
@pytest.mark.parametrize(("codes", "dim"), [(128, 16), (128, 1), (9000, 16)])
def test_search_far_from_the_origin(codes, dim, origin, spread):
    random = np.random.RandomState(0)
    z, codebook = (
        (origin + spread * random.randn(n, dim)).astype(np.float32) for n in (500, codes)
    )
    np.testing.assert_array_equal(search.nearest_code(z, codebook), exact(z, codebook))


@pytest.mark.parametrize("far", [1e4, 1e6, 1e30])
@pytest.mark.parametrize("codes", [5, 128, 9000])
def test_codes_far_away_disturb_no_others(codes, far):
    random = np.random.RandomState(0)
    z, codebook = (random.randn(n, 16).astype(np.float32) for n in (500, codes))
    codebook[1::3] = far
    np.testing.assert_array_equal(search.nearest_code(z, codebook), exact(z, codebook))


@pytest.mark.parametrize("codes", [128, 9000])
def test_vectors_far_from_all_codes(codes):
    random = np.random.RandomState(0)
    codebook = (0.001 * random.randn(codes, 16)).astype(np.float32)
    z = (10 * random.randn(500, 16)).astype(np.float32)
    np.testing.assert_array_equal(search.nearest_code(z, codebook), exact(z, codebook))


@pytest.mark.parametrize("codes", [3, 9000])
def test_vectors_that_are_no_numbers_disturb_no_others(codes):
    random = np.random.RandomState(0)
    z = random.randn(4, 5).astype(np.float32)
    codebook = jnp.asarray(random.randn(codes, 5).astype(np.float32))
    expected = np.array(search.nearest_code(jnp.asarray(z), codebook))
    z[1], z[2, 3] = np.nan, np.inf
    found = search.nearest_code(jnp.asarray(z), codebook)
    np.testing.assert_array_equal(found[np.array([0, 3])], expected[[0, 3]])
    assert np.all((found >= 0) & (found < codes))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("codes", [4, 9000])
def test_code_that_is_no_number_is_what_all_vectors_get(codes, bad):
    random = np.random.RandomState(0)
    codebook = random.randn(codes, 2).astype(np.float32)
    codebook[2:, 1] = bad
    codebook[0] = 2e38  # finite
    found = search.nearest_code(jnp.asarray(random.randn(5, 2), jnp.float32), jnp.asarray(codebook))
    np.testing.assert_array_equal(found, np.full(5, 2))


def test_drawn_codes_follow_the_distances():
    codebook = jnp.array([[0.0], [1.0], [3.0]])
    z = jnp.full((20_000, 1), 0.4)
    drawn = search.sample_code(z, codebook, 0.7, jax.random.key(0))
    p = np.exp(-(np.array([0.4, 0.6, 2.6]) ** 2) / 0.7)
    frequencies = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(frequencies, p / p.sum(), atol=0.015)  # four standard deviations


def test_draws_do_not_depend_on_where_the_origin_is():
    random = np.random.RandomState(0)
    z, codebook = (jnp.asarray(random.randint(-32, 32, (n, 4)) / 8, jnp.float32) for n in (500, 32))
    drawn = search.sample_code(z, codebook, 0.7, jax.random.key(0))
    far = search.sample_code(z + 4096, codebook + 4096, 0.7, jax.random.key(0))  # both exact
    np.testing.assert_array_equal(far, drawn)


@pytest.mark.parametrize(("codes", "mib"), [(8_192, 16), (20_000, 64)])
def test_search_holds_a_bounded_number_of_distances(codes, mib):
    z = jax.ShapeDtypeStruct((100_000, 4), jnp.float32)
    codebook = jax.ShapeDtypeStruct((codes, 4), jnp.float32)
    memory = jax.jit(search.nearest_code).lower(z, codebook).compile().memory_analysis()
    assert memory.temp_size_in_bytes < mib * 2**20  # all distances would be 3.3 GB and more


def test_search_runs_in_float32_for_bfloat16():
    # In bfloat16 both distances would be 0.
    codebook = jnp.array([[1.0039], [1.0]], jnp.float32)
    np.testing.assert_array_equal(
        search.nearest_code(jnp.ones((1, 1), jnp.bfloat16), codebook), [1]
    )
