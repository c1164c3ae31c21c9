"""Codebooks that start from data or from given codes, and what is averaged beside the codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.quantizers import (
    CosineVectorQuantizer,
    EMACosineVectorQuantizer,
    EMASampledVectorQuantizer,
    EMAVectorQuantizer,
    LaplaceEMAVectorQuantizer,
    SimVQ,
    VectorQuantizer,
)

AVERAGED = {
    "ema": EMAVectorQuantizer,
    "ema_cosine": EMACosineVectorQuantizer,
    "laplace": LaplaceEMAVectorQuantizer,
    "ema_sampled": lambda *sizes, **options: EMASampledVectorQuantizer(
        *sizes, temperature=0.1, **options
    ),
}


def vectors(count, seed=0, dim=3):
    return jnp.asarray(np.random.RandomState(seed).randn(count, dim), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", AVERAGED)
@pytest.mark.parametrize("start", ["kmeans", "codes", "codes and counts"])
def test_one_update_moves_a_code_by_one_minus_decay(name, start):
    """Whatever the sizes of the first batch and of the update's."""
    quantizer = AVERAGED[name](3, 4, decay=0.99, kmeans_init=True, rngs=nnx.Rngs(0))
    if start == "kmeans":
        quantizer.initialize(vectors(400), key=jax.random.key(0))
    else:
        counts = None if start == "codes" else np.array([3, 3, 3, 3])
        quantizer.set_codebook(vectors(4), counts)
    before = np.asarray(quantizer.embeddings[...])
    shares = np.asarray(quantizer.counts[...]) / np.sum(quantizer.counts[...])
    used = np.array([4, 4, 4, 4])
    quantizer.update(jnp.repeat(vectors(4, seed=1), 4, axis=0), jnp.repeat(jnp.arange(4), 4))
    target = np.array(vectors(4, seed=1))
    if "cosine" in name:
        target /= np.linalg.norm(target, axis=1, keepdims=True)
    old, new = 0.99 * 16 * shares, 0.01 * used
    way = (new / (old + new))[:, None]
    if start != "kmeans":
        np.testing.assert_allclose(way, 0.01, rtol=1e-5)
    expected = before + way * (target - before)
    np.testing.assert_allclose(quantizer.embeddings[...], expected, rtol=1e-3, atol=1e-4)
    assert not quantizer.unscaled[...]


@pytest.mark.slow
def test_small_batches_after_kmeans_hardly_raise_the_error():
    quantizer = EMAVectorQuantizer(4, 64, decay=0.999, kmeans_init=True, rngs=nnx.Rngs(0))
    data = vectors(2048, dim=4)
    quantizer.initialize(data, key=jax.random.key(0))

    def error():
        return float(jnp.mean((quantizer(data).values - data) ** 2))

    before = error()
    for seed in range(2):
        z = vectors(16, seed=seed + 1, dim=4)
        quantizer.update(z, quantizer.encode(z))
    assert error() < 1.01 * before


@pytest.mark.slow
def test_counts_are_those_of_the_clusters():
    quantizer = EMAVectorQuantizer(3, 8, kmeans_init=True, revival_threshold=0.1, rngs=nnx.Rngs(0))
    z = vectors(200)
    quantizer.initialize(z, key=jax.random.key(0))
    counts = np.bincount(quantizer.encode(z), minlength=8)
    np.testing.assert_array_equal(quantizer.counts[...], counts)
    np.testing.assert_allclose(quantizer.usage[...], counts * 8 / 200, rtol=1e-6)
    means = quantizer.sums[...] / quantizer.counts[...][:, None]
    np.testing.assert_allclose(means, quantizer.codebook, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [VectorQuantizer, CosineVectorQuantizer, SimVQ, *AVERAGED.values()]
)
def test_given_codes_are_the_codebook(make):
    quantizer = make(3, 4, rngs=nnx.Rngs(0))
    codes = np.asarray(vectors(4))
    quantizer.set_codebook(codes)
    expected = codes
    if isinstance(quantizer, CosineVectorQuantizer):
        expected = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    np.testing.assert_allclose(quantizer.codebook, expected, rtol=1e-6)
    assert quantizer.embeddings[...].dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-42, 1e-50, 1.0, 1e38, 1e300])
def test_only_the_proportions_of_given_counts_matter(size):
    quantizer = EMAVectorQuantizer(2, 8, decay=0.99, rngs=nnx.Rngs(0))
    codes = np.arange(16.0).reshape(8, 2)
    quantizer.set_codebook(codes, np.full(8, size))
    quantizer.update(jnp.asarray(codes + 1, jnp.float32), jnp.arange(8))
    np.testing.assert_allclose(quantizer.codebook, codes + 0.01, atol=1e-5)


@pytest.mark.parametrize("length", [0.01, 1.0, 100.0])
def test_given_codes_of_any_length_are_directions(length):
    quantizer = EMACosineVectorQuantizer(3, 4, decay=0.99, rngs=nnx.Rngs(0))
    quantizer.set_codebook(length * vectors(4))
    np.testing.assert_allclose(jnp.linalg.norm(quantizer.embeddings[...], axis=1), 1, rtol=1e-5)


def test_given_codes_are_not_initialized_again():
    quantizer = VectorQuantizer(3, 4, kmeans_init=True, rngs=nnx.Rngs(0))
    quantizer.set_codebook(vectors(4))
    quantizer.initialize(vectors(50, seed=1), key=jax.random.key(0))
    np.testing.assert_array_equal(quantizer.codebook, vectors(4))


def test_unused_given_codes_are_revived_at_the_first_update_and_others_are_not():
    quantizer = VectorQuantizer(3, 4, revival_threshold=0.1, rngs=nnx.Rngs(0))
    quantizer.set_codebook(vectors(4), counts=np.array([1, 0, 1, 1]))
    z = vectors(20, seed=1)
    quantizer.update(z, jnp.zeros(20, jnp.int32), key=jax.random.key(0))
    changed = np.any(np.asarray(quantizer.codebook != vectors(4)), axis=1)
    np.testing.assert_array_equal(changed, [False, True, False, False])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 3)),), r"codes have shape \(3, 3\); they must be finite, \(4, 3\)"),
        ((np.full((4, 3), np.nan),), r"codes have shape \(4, 3\); they must be finite"),
        ((np.zeros((4, 3)), np.ones(3)), r"counts have shape \(3,\); they must be \(4,\)"),
        ((np.zeros((4, 3)), np.zeros(4)), "at least 0, and not all 0"),
        ((np.zeros((4, 3)), np.array([1, -1, 1, 1])), "at least 0, and not all 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_codes_are_refused(arguments, message):
    quantizer = EMAVectorQuantizer(3, 4, rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.state(quantizer))
    with pytest.raises(ValueError, match=message):
        quantizer.set_codebook(*arguments)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(quantizer), before)


@pytest.mark.parametrize("compiled", [False, True])
def test_update_before_initialize_warns(compiled):
    def update(quantizer, z):
        quantizer.update(z, quantizer.encode(z))

    z, learn = vectors(20), nnx.jit(update) if compiled else update

    def step(quantizer, z):
        learn(quantizer, z)
        jax.effects_barrier()

    quantizer = EMAVectorQuantizer(3, 4, kmeans_init=True, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="updated before it is initialized"):
        step(quantizer, z)
    quantizer.initialize(z, key=jax.random.key(0))
    step(quantizer, z)  # a warning would be an error
    other = EMAVectorQuantizer(3, 4, kmeans_init=True, rngs=nnx.Rngs(0))
    other.skip_initialization()
    step(other, z)
