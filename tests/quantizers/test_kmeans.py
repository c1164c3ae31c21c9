"""k-means and the codes it begins with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.quantizers import CosineVectorQuantizer, EMAVectorQuantizer, VectorQuantizer
from vqvae_jax.quantizers.kmeans import kmeans as kmeans_with_counts
from vqvae_jax.quantizers.kmeans import kmeans_plus_plus

# Some tests update what was never initialized.
pytestmark = pytest.mark.filterwarnings("ignore:a quantizer with kmeans_init")


def kmeans(*arguments):
    return kmeans_with_counts(*arguments)[0]


def clusters(each=12, seed=0):
    """16 clusters on a grid of width 10, their spread 0.1: the vectors, shuffled, and whose."""
    random = np.random.RandomState(seed)
    centres = 10.0 * np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(16, 2)
    labels = random.permutation(np.repeat(np.arange(16), each))
    vectors = centres[labels] + 0.1 * random.randn(16 * each, 2)
    return vectors.astype(np.float32), labels, centres


def nearest(vectors, centres):
    return np.argmin(np.sum((vectors[:, None] - centres[None]) ** 2, axis=-1), axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_seeds_are_vectors_one_in_each_cluster(seed):
    vectors, _, centres = clusters()
    counted = jnp.ones(len(vectors), jnp.bool_)
    seeds = np.asarray(kmeans_plus_plus(jax.random.key(seed), jnp.asarray(vectors), counted, 16))
    np.testing.assert_array_equal(np.sort(nearest(seeds, centres)), np.arange(16))
    assert {tuple(row) for row in seeds} <= {tuple(row) for row in vectors}


def test_centres_are_the_means_of_the_clusters():
    vectors, labels, centres = clusters()
    counted = jnp.ones(len(vectors), jnp.bool_)
    found = np.asarray(kmeans(jax.random.key(0), jnp.asarray(vectors), counted, 16))
    means = np.stack([vectors[labels == k].mean(0) for k in range(16)])
    np.testing.assert_allclose(found[np.argsort(nearest(found, centres))], means, atol=1e-4)


def test_counts_are_of_the_vectors_nearest_to_each_centre():
    vectors, labels, _ = clusters()
    counted = labels % 4 != 0
    arguments = (jax.random.key(0), jnp.asarray(vectors), jnp.asarray(counted), 5)
    centres, counts = kmeans_with_counts(*arguments)
    chosen = nearest(vectors[counted], np.asarray(centres))
    np.testing.assert_array_equal(counts, np.bincount(chosen, minlength=5))


def test_centres_are_those_of_lloyd_from_the_seeds():
    random = np.random.RandomState(1)
    vectors = random.randn(40, 3).astype(np.float32)
    counted = random.rand(40) < 0.8
    arguments = (jax.random.key(2), jnp.asarray(vectors), jnp.asarray(counted), 5)
    kept, codes = vectors[counted].astype(np.float64), np.array(kmeans_plus_plus(*arguments))
    for _ in range(10):
        chosen = nearest(kept, codes)
        codes = np.stack([kept[chosen == k].mean(0) for k in range(5)])
    np.testing.assert_allclose(kmeans(*arguments), codes, rtol=1e-4, atol=1e-5)


def test_next_seed_is_drawn_by_squared_distance():
    # From the first seed at 0 the others are at 1, 2 and 3: odds of 1, 4 and 9.
    vectors = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    counted = jnp.ones(4, jnp.bool_)
    pairs = jax.vmap(lambda key: kmeans_plus_plus(key, vectors, counted, 2))(
        jax.random.split(jax.random.key(0), 4000)
    )[..., 0]
    first = np.bincount(np.asarray(pairs[:, 0], int), minlength=4) / 4000
    np.testing.assert_allclose(first, [0.25] * 4, atol=5 * (0.25 * 0.75 / 4000) ** 0.5)
    second = np.asarray(pairs[:, 1], int)[np.asarray(pairs[:, 0]) == 0]
    shares = np.bincount(second, minlength=4) / len(second)
    expected = np.array([0, 1, 4, 9]) / 14
    bound = 5 * np.sqrt(expected * (1 - expected) / len(second))
    assert np.all(np.abs(shares - expected) <= bound), (shares, expected)


@pytest.mark.parametrize("bad", [np.nan, 1e30])
def test_vectors_that_do_not_count_are_never_taken(bad):
    vectors, labels, centres = clusters()
    counted = np.random.RandomState(3).rand(len(vectors)) < 0.7
    vectors[~counted] = bad
    arguments = (jnp.asarray(vectors), jnp.asarray(counted), 16)
    for function in (kmeans_plus_plus, kmeans):
        found = np.asarray(function(jax.random.key(0), *arguments))
        np.testing.assert_array_equal(np.sort(nearest(found, centres)), np.arange(16))
    means = np.stack([vectors[counted & (labels == k)].mean(0) for k in range(16)])
    np.testing.assert_allclose(found[np.argsort(nearest(found, centres))], means, atol=1e-4)


def test_zero_is_no_seed_where_the_vectors_left_out_are_zero():
    vectors = jnp.array([[0.0], [5.0], [0.0], [6.0]])
    counted = jnp.array([False, True, False, True])
    for seed in range(3):
        seeds = kmeans_plus_plus(jax.random.key(seed), vectors, counted, 4)
        assert set(np.asarray(seeds)[:, 0]) == {5.0, 6.0}


@pytest.mark.slow
@pytest.mark.parametrize("function", [kmeans_plus_plus, kmeans])
def test_fewer_distinct_vectors_than_codes(function):
    vectors = jnp.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]] * 2)
    codes = np.asarray(function(jax.random.key(0), vectors, jnp.ones(6, jnp.bool_), 5))
    assert {tuple(row) for row in codes} == {(1.0, 2.0), (3.0, 4.0)}
    one = np.asarray(function(jax.random.key(0), vectors[:1], jnp.ones(1, jnp.bool_), 5))
    np.testing.assert_array_equal(one, np.tile([[1.0, 2.0]], (5, 1)))


@pytest.mark.slow
def test_centres_are_those_of_the_key():
    vectors = jax.random.normal(jax.random.key(9), (30, 2))
    counted = jnp.ones(30, jnp.bool_)
    once, again, other = (kmeans(jax.random.key(s), vectors, counted, 6) for s in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert np.any(once != other)


@pytest.mark.slow
def test_initialize_takes_the_centres_once():
    vectors, _, centres = clusters()
    quantizer = VectorQuantizer(2, 16, kmeans_init=True, rngs=nnx.Rngs(0))
    assert quantizer.has_initialization
    assert not quantizer.initialized[...]
    z = jnp.asarray(vectors).reshape(3, -1, 2)
    quantizer.initialize(z, key=jax.random.key(0))
    assert quantizer.initialized[...]
    found = np.asarray(quantizer.embeddings[...])
    expected = kmeans(jax.random.key(0), jnp.asarray(vectors), jnp.ones(len(vectors), bool), 16)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[np.argsort(nearest(found, centres))], centres, atol=0.2)
    quantizer.initialize(z + 1, key=jax.random.key(1))
    np.testing.assert_array_equal(quantizer.embeddings[...], found)
    assert quantizer.initialized[...]


def test_initialize_leaves_out_the_masked():
    vectors, _, centres = clusters()
    mask = np.random.RandomState(3).rand(len(vectors)) < 0.7
    vectors[~mask] = np.nan
    quantizer = EMAVectorQuantizer(2, 16, kmeans_init=True, rngs=nnx.Rngs(0))
    quantizer.initialize(jnp.asarray(vectors), jnp.asarray(mask), key=jax.random.key(0))
    found = np.asarray(quantizer.embeddings[...])
    np.testing.assert_array_equal(np.sort(nearest(found, centres)), np.arange(16))


def test_initialize_waits_for_a_batch_in_which_something_counts():
    quantizer = VectorQuantizer(2, 2, kmeans_init=True, rngs=nnx.Rngs(0))
    before = quantizer.embeddings[...]
    z = jnp.array([[3.0, 0.0], [0.0, 1.0]])
    quantizer.initialize(z, jnp.zeros(2, jnp.bool_), key=jax.random.key(0))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)
    assert not quantizer.initialized[...]
    quantizer.initialize(z, key=jax.random.key(0))
    assert quantizer.initialized[...]
    assert sorted(map(tuple, np.asarray(quantizer.embeddings[...]).tolist())) == [(0, 1), (3, 0)]


def test_initialize_normalises_for_the_cosine():
    quantizer = CosineVectorQuantizer(2, 2, kmeans_init=True, rngs=nnx.Rngs(0))
    z = jnp.array([[3.0, 0.0], [500.0, 0.0], [0.0, 0.01], [0.0, 7.0]])
    quantizer.initialize(z, key=jax.random.key(0))
    codes = sorted(map(tuple, np.asarray(quantizer.embeddings[...]).tolist()))
    np.testing.assert_allclose(codes, [[0.0, 1.0], [1.0, 0.0]], atol=1e-6)


def test_initialize_does_nothing_unless_asked_for():
    quantizer = VectorQuantizer(2, 3, rngs=nnx.Rngs(0))
    before = quantizer.embeddings[...]
    assert not quantizer.has_initialization
    quantizer.initialize(jnp.ones((5, 2)), key=jax.random.key(0))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)


@pytest.mark.slow
def test_nothing_but_initialize_takes_centres():
    quantizer = EMAVectorQuantizer(2, 3, kmeans_init=True, rngs=nnx.Rngs(0))
    before = quantizer.embeddings[...]
    z = jnp.array([[5.0, 5.0], [6.0, 5.0]])
    quantizer(z)
    quantizer(z, key=jax.random.key(0))
    quantizer.encode(z)
    quantizer.lookup(jnp.array([0, 1]))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)
    quantizer.update(z, jnp.array([-1, -1]))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)
    assert not quantizer.initialized[...]


def test_flag_survives_split_and_merge():
    quantizer = VectorQuantizer(2, 3, kmeans_init=True, rngs=nnx.Rngs(0))
    z = jax.random.normal(jax.random.key(0), (9, 2))
    for done in (False, True):
        quantizer = nnx.merge(*nnx.split(quantizer))
        assert bool(quantizer.initialized[...]) is done
        assert quantizer.has_initialization
        quantizer.initialize(z, key=jax.random.key(0))
    before = quantizer.embeddings[...]

    @nnx.jit
    def again(quantizer):
        quantizer.initialize(-z, key=jax.random.key(1))

    again(quantizer)
    np.testing.assert_array_equal(quantizer.embeddings[...], before)
