"""Codes that are hardly used come back as vectors of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from vqvae_jax.quantizers import CosineVectorQuantizer, EMAVectorQuantizer, VectorQuantizer
from vqvae_jax.quantizers.revival import draw_replacements, updated_usage

MAKERS = [VectorQuantizer, EMAVectorQuantizer]


def rows(array):
    return {tuple(row) for row in np.asarray(array).reshape(-1, np.shape(array)[-1])}


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    updates=st.integers(0, 3000),
    vectors=st.floats(0, 20, width=32),
    seed=st.integers(0, 2**16),
)
def test_usage_is_the_formula(counts, updates, vectors, seed):
    usage = np.random.RandomState(seed).rand(len(counts)).astype(np.float32) * 2
    total = sum(counts)
    expected = usage
    if total:
        each = total / len(counts)
        spanned = min(vectors / (vectors + each), 1 - each / 20)
        kept = min(0.99, max((1 + updates) / (20 + updates), spanned))
        expected = kept * usage + (1 - kept) * len(counts) * np.array(counts) / total
    before = jnp.asarray(usage), jnp.asarray(updates, jnp.int32), jnp.asarray(vectors, jnp.float32)
    found = updated_usage(*before, jnp.asarray(counts, jnp.int32), 0.99)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def problem(seed=0, count=20):
    """Vectors, their codes (some -1, some codes themselves), a codebook of 8, who is dead."""
    random = np.random.RandomState(seed)
    codebook = random.randn(8, 2).astype(np.float32)
    z = random.randn(count, 2).astype(np.float32)
    indices = random.randint(-1, 8, count).astype(np.int32)
    z[1], indices[1] = codebook[2], 2
    z[2], indices[2] = np.nextafter(codebook[5], np.float32(9)), 5
    indices[3] = -1
    dead = np.array([True, False, False, True, True, False, False, True])
    return jnp.asarray(dead), jnp.asarray(z), jnp.asarray(indices), jnp.asarray(codebook)


@pytest.mark.parametrize("seed", range(4))
def test_dead_codes_are_replaced_by_vectors_of_the_batch(seed):
    dead, z, indices, codebook = problem(seed)
    replaced, vectors = draw_replacements(jax.random.key(seed), dead, z, indices, codebook)
    np.testing.assert_array_equal(replaced, dead)
    new = rows(vectors[replaced])
    assert len(new) == 4  # no vector twice
    allowed = np.asarray(indices) >= 0
    allowed[1:3] = False  # codes already, one of them to rounding
    assert new <= rows(z[allowed])


def test_draw_is_that_of_the_key():
    arguments = problem(0, 60)
    once, again, other = (
        draw_replacements(jax.random.key(seed), *arguments)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(once, again)
    assert np.any(once[arguments[0]] != other[arguments[0]])


def test_first_axes_do_not_matter():
    dead, z, indices, codebook = problem()
    flat = draw_replacements(jax.random.key(0), dead, z, indices, codebook)
    shaped = draw_replacements(
        jax.random.key(0), dead, z.reshape(4, 5, 2), indices.reshape(4, 5), codebook
    )
    for one, other in zip(flat, shaped, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_does_not_count_is_not_drawn_and_does_no_harm(bad):
    dead, z, indices, codebook = problem()
    z = z.at[3].set(bad)
    replaced, vectors = draw_replacements(jax.random.key(0), dead, z, indices, codebook)
    np.testing.assert_array_equal(replaced, dead)
    assert np.all(np.abs(vectors[replaced]) < 10)


@pytest.mark.parametrize("extra", [False, True])
def test_as_many_as_there_are_vectors(extra):
    codebook = jnp.array([[0.0], [10.0], [20.0], [30.0], [40.0]])
    dead = jnp.array([False, True, True, False, True])
    z, indices = jnp.array([[0.5], [0.0], [0.7]]), jnp.array([0, 0, -1])
    if extra:  # one more vector that may be drawn
        z, indices = jnp.concatenate([z, jnp.array([[0.9]])]), jnp.array([0, 0, -1, 0])
    replaced, vectors = draw_replacements(jax.random.key(0), dead, z, indices, codebook)
    assert int(jnp.sum(replaced)) == 1 + extra
    assert np.all(dead[replaced])
    assert rows(vectors[replaced]) == rows(jnp.array([[0.5], [0.9]])[: 1 + extra])


def test_without_a_vector_nothing_is_replaced():
    dead, z, _, codebook = problem()
    nothing = jnp.full(len(z), -1)
    replaced, _ = draw_replacements(jax.random.key(0), dead, z, nothing, codebook)
    assert not np.any(replaced)
    alive = jnp.zeros(8, jnp.bool_)
    replaced, _ = draw_replacements(jax.random.key(0), alive, z, nothing + 1, codebook)
    assert not np.any(replaced)


def test_probability_goes_with_the_squared_distance_from_the_own_code():
    codebook = jnp.array([[0.0], [100.0], [50.0]])
    z = jnp.array([[1.0], [102.0], [-3.0], [0.0], [7.0]])
    indices = jnp.array([0, 1, 0, 0, -1])
    dead = jnp.array([False, False, True])
    draws = 4000
    _, vectors = jax.vmap(lambda key: draw_replacements(key, dead, z, indices, codebook))(
        jax.random.split(jax.random.key(0), draws)
    )
    drawn = np.asarray(vectors[:, 2, 0])
    shares = np.array([np.mean(drawn == float(x)) for x in z[:, 0]])
    expected = np.array([1, 4, 9, 0, 0]) / 14
    bound = 5 * np.sqrt(expected * (1 - expected) / draws)  # 5 standard deviations
    assert np.all(np.abs(shares - expected) <= bound), (shares, expected)


def batch(t):
    """Vectors near the first two codes of `alive` alone."""
    random = np.random.RandomState(t)
    z = np.where(np.arange(10)[:, None] < 5, 0.0, 10.0) + 0.1 * random.randn(10, 2)
    return jnp.asarray(z, jnp.float32)


def alive(make, threshold):
    """A quantizer that has been trained for long."""
    quantizer = make(2, 4, revival_threshold=threshold, rngs=nnx.Rngs(0))
    quantizer.embeddings[...] = jnp.array([[0.0, 0.0], [10.0, 10.0], [900.0, 0.0], [0.0, 900.0]])
    quantizer.usage_updates[...] = jnp.asarray(10_000, jnp.int32)
    return quantizer


@nnx.jit
def step(quantizer, z, key):
    quantizer.update(z, quantizer.encode(z), key=key)


@pytest.mark.parametrize("make", MAKERS)
def test_dead_codes_are_revived_when_usage_falls_under_the_threshold(make):
    # 0.99^10 > 0.9 > 0.99^11: at the eleventh update and not before.
    quantizer = alive(make, 0.9)
    for t in range(10):
        step(quantizer, batch(t), jax.random.key(t))
        np.testing.assert_array_equal(quantizer.embeddings[...][2:], [[900.0, 0.0], [0.0, 900.0]])
        expected = np.array([2.0, 2.0, 0.0, 0.0]) + 0.99 ** (t + 1) * np.array([-1, -1, 1, 1])
        np.testing.assert_allclose(quantizer.usage[...], expected, rtol=1e-4)
    before = quantizer.usage[...]
    step(quantizer, batch(10), jax.random.key(10))
    new = rows(quantizer.embeddings[...][2:])
    assert len(new) == 2
    assert new <= rows(batch(10))
    np.testing.assert_array_equal(quantizer.usage[...][2:], [1.0, 1.0])
    np.testing.assert_allclose(quantizer.usage[...][:2], 0.99 * before[:2] + 0.02, rtol=1e-5)
    np.testing.assert_allclose(quantizer.embeddings[...][:2], [[0, 0], [10, 10]], atol=0.1)
    if make is EMAVectorQuantizer:
        np.testing.assert_array_equal(quantizer.counts[...][2:], [0.0, 0.0])
        np.testing.assert_array_equal(quantizer.sums[...][2:], np.zeros((2, 2)))
        assert np.all(quantizer.counts[...][:2] > 0)
        assert np.all(np.any(quantizer.sums[...][:2] != 0, axis=1))


@pytest.mark.slow
def test_revived_code_forgets_what_it_had_averaged():
    quantizer = alive(EMAVectorQuantizer, 0.9)
    quantizer.update(jnp.full((4, 2), 800.0), jnp.array([2, 2, 3, 3]), key=jax.random.key(0))
    assert np.all(quantizer.counts[...][2:] > 0)
    quantizer.usage[...] = jnp.array([1.0, 1.0, 0.5, 0.95])
    step(quantizer, batch(0), jax.random.key(1))
    np.testing.assert_array_equal(quantizer.counts[...] == 0, [False, False, True, False])
    np.testing.assert_array_equal(quantizer.sums[...][2], [0.0, 0.0])
    assert rows(quantizer.embeddings[...][2:3]) <= rows(batch(0))
    # From then on it is the mean of its new vectors alone.
    z = jnp.array([[4.0, 6.0], [6.0, 4.0]])
    quantizer.update(z, jnp.array([2, 2]), key=jax.random.key(2))
    np.testing.assert_allclose(quantizer.embeddings[...][2], [5.0, 5.0], rtol=1e-2)


def test_codes_in_use_are_left_alone():
    quantizer = alive(VectorQuantizer, 0.9)
    before = quantizer.embeddings[...]
    quantizer.usage[...] = jnp.array([0.95, 1.0, 1.5, 0.93])
    step(quantizer, batch(0), jax.random.key(0))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)


@pytest.mark.parametrize("make", MAKERS)
def test_the_first_update_revives_what_nothing_chose(make):
    quantizer = make(2, 4, revival_threshold=0.1, rngs=nnx.Rngs(0))
    quantizer.embeddings[...] = alive(make, 0.1).embeddings[...]
    step(quantizer, batch(0), jax.random.key(0))
    assert rows(quantizer.embeddings[...][2:]) <= rows(batch(0))
    np.testing.assert_array_equal(quantizer.usage[...][2:], [1.0, 1.0])


@pytest.mark.parametrize(("tokens", "replaced"), [(0.9, 0), (1.1, 1), (2.6, 2)])
def test_threshold_in_tokens(tokens, replaced):
    quantizer = VectorQuantizer(2, 4, revival_tokens=tokens, rngs=nnx.Rngs(0))
    codes = np.array([[0.0, 0.0], [10.0, 10.0], [900.0, 0.0], [0.0, 900.0]])
    # Of 10 tokens an update, a fair share is 2.5: the codes were used by 4, 4, 1 and 1 of them.
    quantizer.set_codebook(codes, counts=np.array([4, 4, 1, 1]))
    quantizer.usage[...] = jnp.array([1.6, 1.6, 0.404 / 0.99, 1.0 / 0.99])
    step(quantizer, batch(0), jax.random.key(0))
    new = np.any(np.asarray(quantizer.embeddings[...]) != codes, axis=1)
    np.testing.assert_array_equal(new[2:], np.arange(2) < replaced)


def test_a_lower_decay_revives_sooner():
    quantizer = VectorQuantizer(2, 4, revival_threshold=0.4, usage_decay=0.5, rngs=nnx.Rngs(0))
    quantizer.set_codebook(alive(VectorQuantizer, 0.4).embeddings[...])
    step(quantizer, batch(0), jax.random.key(0))
    np.testing.assert_allclose(quantizer.usage[...][2:], 0.5)
    step(quantizer, batch(1), jax.random.key(1))
    assert rows(quantizer.embeddings[...][2:]) <= rows(batch(1))


@pytest.mark.parametrize("make", MAKERS)
def test_revival_needs_a_key(make):
    z, quantizer = batch(0), alive(make, 0.5)
    before = jax.tree.map(jnp.copy, nnx.state(quantizer))
    with pytest.raises(ValueError, match="key is None; with revival, update needs one"):
        quantizer.update(z, jnp.zeros(10, jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(quantizer), before)
    make(2, 4, rngs=nnx.Rngs(0)).update(z, jnp.zeros(10, jnp.int32))


@pytest.mark.slow
def test_codes_from_data_survive_batches_that_are_too_small_to_use_them():
    """8 vectors per update for 64 codes: most are unused in it, and none of them is dead."""
    random = np.random.RandomState(0)
    z = jnp.asarray(random.randn(2048, 4), jnp.float32)
    quantizer = EMAVectorQuantizer(4, 64, revival_threshold=0.1, kmeans_init=True, rngs=nnx.Rngs(0))
    quantizer.initialize(z, key=jax.random.key(0))
    before = quantizer.codebook
    update = nnx.jit(lambda quantizer, z, key: quantizer.update(z, quantizer.encode(z), key=key))
    for i in range(30):
        part = z[random.randint(0, len(z), 8)]
        update(quantizer, part, jax.random.fold_in(jax.random.key(1), i))
    moved = jnp.linalg.norm(quantizer.codebook - before, axis=1)
    assert jnp.sum(moved > 0.5) <= 3  # those that hardly anything chose from the start


def test_without_a_threshold_there_is_no_usage():
    quantizer = VectorQuantizer(2, 4, rngs=nnx.Rngs(0))
    assert not quantizer.has_updates
    assert not hasattr(quantizer, "usage")
    before = quantizer.embeddings[...]
    quantizer.update(batch(0), jnp.zeros(10, jnp.int32), key=jax.random.key(0))
    np.testing.assert_array_equal(quantizer.embeddings[...], before)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("make", MAKERS)
def test_threshold_out_of_range(make, threshold):
    with pytest.raises(ValueError, match=f"revival_threshold is {threshold}; it must be at least"):
        make(2, 4, revival_threshold=threshold, rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_cosine_does_not_draw_what_is_a_code_already():
    quantizer = CosineVectorQuantizer(2, 3, revival_threshold=0.9, rngs=nnx.Rngs(0))
    quantizer.embeddings[...] = jnp.array([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    quantizer.usage[...] = jnp.array([1.0, 1.0, 0.5])
    quantizer.usage_updates[...] = jnp.asarray(10_000, jnp.int32)
    # Three vectors on the first code, and one with an error of its own.
    z = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0], [0.6, 0.8]])
    quantizer.update(z, quantizer.encode(z), key=jax.random.key(0))
    np.testing.assert_allclose(quantizer.embeddings[...][2], [0.6, 0.8], rtol=1e-5)
