"""The moving-average codebook against a plain loop over its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.quantizers import (
    EMAVectorQuantizer,
    LaplaceEMACosineVectorQuantizer,
    LaplaceEMAVectorQuantizer,
    QuantizerState,
)

DIM, CODES, STEPS = 3, 6, 50


def make(**options):
    return EMAVectorQuantizer(DIM, CODES, rngs=nnx.Rngs(0), **options)


def by_hand(z, indices, state, decay, epsilon, t):
    """Step t of the formula in float64, code by code, vector by vector."""
    epsilon = epsilon * (1 - decay**t)
    codes, counts, sums = state
    used, added = np.zeros(CODES), np.zeros((CODES, DIM))
    for vector, index in zip(z.reshape(-1, DIM), indices.reshape(-1), strict=True):
        if index >= 0:
            used[index] += 1
            added[index] += vector
    counts = decay * counts + (1 - decay) * used
    sums = decay * sums + (1 - decay) * added
    codes = codes.copy()
    for k in range(CODES):
        if used[k] > 0:
            codes[k] = (sums[k] + epsilon * codes[k]) / (counts[k] + epsilon)
    return codes, counts, sums


@nnx.jit
def step(quantizer, z):
    indices = quantizer(z, key=jax.random.key(0)).indices
    quantizer.update(z, indices)
    return indices


@pytest.mark.parametrize(("decay", "epsilon"), [(0.9, 1e-5), (0.5, 0.1), (0.0, 1e-5)])
def test_fifty_steps_in_which_codes_die_and_return(decay, epsilon):
    quantizer = make(decay=decay, epsilon=epsilon)
    start = np.array(
        [[5, 0, 0], [-5, 0, 0], [0, 5, 0], [0, -5, 0], [0, 0, 5], [0, 0, -5]], np.float64
    )
    quantizer.embeddings[...] = jnp.asarray(start, jnp.float32)
    state = (start, np.zeros(CODES), np.zeros((CODES, DIM)))
    random = np.random.RandomState(0)
    uses = []
    for t in range(STEPS):
        # The clusters in use: all at first, codes 1 and 2 gone from step 10 to 30, 5 never there.
        clusters = [0, 3, 4] if 10 <= t < 30 else [0, 1, 2, 3, 4]
        z = start[random.choice(clusters, (4, 7))] + 0.3 * random.randn(4, 7, DIM)
        indices = np.asarray(step(quantizer, jnp.asarray(z, jnp.float32)))
        distances = np.sum((z[..., None, :] - state[0]) ** 2, axis=-1)
        np.testing.assert_array_equal(indices, np.argmin(distances, axis=-1))
        before = state
        state = by_hand(z, indices, state, decay, epsilon, t + 1)
        for ours, theirs in zip(
            (quantizer.embeddings, quantizer.counts, quantizer.sums), state, strict=True
        ):
            np.testing.assert_allclose(ours[...], theirs, rtol=1e-4, atol=1e-5)
        uses.append(np.bincount(indices.reshape(-1), minlength=CODES))
        if 10 <= t < 30:
            np.testing.assert_array_equal(state[0][1:3], before[0][1:3])
    uses = np.stack(uses)
    assert uses[:10, 1:3].sum(0).min() > 0
    assert uses[10:30, 1:3].max() == 0
    assert uses[30:, 1:3].sum(0).min() > 0
    assert uses[:, 5].max() == 0


@pytest.mark.parametrize("kind", [LaplaceEMAVectorQuantizer, LaplaceEMACosineVectorQuantizer])
def test_laplace_smoothing_moves_every_code(kind):
    quantizer = kind(DIM, CODES, decay=0.5, epsilon=0.1, rngs=nnx.Rngs(0))
    counts, sums = np.ones(CODES), np.array(quantizer.codebook, np.float64)
    random = np.random.RandomState(0)
    for _ in range(3):
        z = random.randn(20, DIM)
        indices = np.asarray(step(quantizer, jnp.asarray(z, jnp.float32)))
        if kind is LaplaceEMACosineVectorQuantizer:
            z /= np.linalg.norm(z, axis=1, keepdims=True)
        uses = np.eye(CODES)[indices]
        counts, sums = (counts + uses.sum(0)) / 2, (sums + uses.T @ z) / 2
        total = counts.sum()
        codes = sums / ((counts + 0.1) / (total + CODES * 0.1) * total)[:, None]
        if kind is LaplaceEMACosineVectorQuantizer:
            codes /= np.linalg.norm(codes, axis=1, keepdims=True)
        np.testing.assert_allclose(quantizer.embeddings[...], codes, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(quantizer.counts[...], counts, rtol=1e-6)


@pytest.mark.slow
def test_code_without_a_use_does_not_move_by_a_bit():
    quantizer = make(decay=0.5)
    first = quantizer.embeddings[...]
    z = jax.random.normal(jax.random.key(0), (8, DIM))
    for _ in range(3):
        quantizer.update(z, jnp.array([0, 0, 1, 1, 1, 3, 3, 0]))
    changed = np.any(np.asarray(quantizer.embeddings[...] != first), axis=1)
    np.testing.assert_array_equal(changed, [True, True, False, True, False, False])
    held = quantizer.embeddings[...]
    quantizer.update(z, jnp.full(8, 5))  # the sums and counts of 0, 1, 3 fade, their codes do not
    np.testing.assert_array_equal(quantizer.embeddings[...][:5], held[:5])
    assert np.all(quantizer.counts[...][jnp.array([0, 1, 3])] > 0)


@pytest.mark.slow
def test_first_code_is_the_mean_of_its_vectors():
    quantizer = make(epsilon=1e-12)
    z = jax.random.normal(jax.random.key(0), (4, DIM))
    quantizer.update(z, jnp.array([2, 2, 2, 2]))
    np.testing.assert_allclose(quantizer.embeddings[...][2], jnp.mean(z, axis=0), rtol=1e-5)


@pytest.mark.slow
def test_many_codes_and_few_vectors_leave_codes_within_the_data():
    quantizer = EMAVectorQuantizer(1, 65_536, decay=0.999, rngs=nnx.Rngs(0))
    quantizer.update(jnp.ones((64, 1)), jnp.arange(64))
    np.testing.assert_allclose(quantizer.embeddings[...][:64], 1.0, rtol=1e-4)
    quantizer = EMAVectorQuantizer(1, 16, decay=0.9999, rngs=nnx.Rngs(0))
    quantizer.update(jnp.ones((4096, 1)), jnp.zeros(4096, jnp.int32).at[0].set(1))
    np.testing.assert_allclose(quantizer.embeddings[...][:2], 1.0, rtol=1e-4)


def test_masked_vectors_take_no_part():
    whole, part = make(), make()
    z = jax.random.normal(jax.random.key(0), (2, 4, DIM))
    indices = jnp.array([[0, 1, -1, 2], [-1, 1, 1, -1]])
    whole.update(z.at[0, 2].set(jnp.nan).at[1, 0].set(1e30), indices)
    kept = indices >= 0
    part.update(z[kept], indices[kept])
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(whole)), jax.tree.leaves(nnx.state(part)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_masked_in_the_call_and_in_the_update():
    quantizer = make()
    z = jax.random.normal(jax.random.key(0), (5, DIM))
    mask = jnp.array([True, True, False, True, False])
    indices = quantizer(z, mask, key=jax.random.key(0)).indices
    quantizer.update(z, indices)
    np.testing.assert_allclose(jnp.sum(quantizer.counts[...]), 0.01 * 3, rtol=1e-5)


@pytest.mark.slow
def test_hardly_used_codes_stay_within_data_far_from_the_origin():
    quantizer = EMAVectorQuantizer(1, 4, decay=0.9999, revival_threshold=0.1, rngs=nnx.Rngs(0))
    codes = np.array([[99.9], [100.0], [100.1], [500.0]])
    quantizer.set_codebook(codes, np.array([1, 1, 1, 0]))
    z = jnp.array([[99.9], [100.0], [100.1], [100.05]] * 4)
    for seed in range(3):  # the last code is revived, and then hardly known
        quantizer.update(z, quantizer.encode(z), key=jax.random.key(seed))
    np.testing.assert_allclose(quantizer.embeddings[...], 100.0, atol=0.11)


@pytest.mark.slow
def test_two_halves_at_once_are_the_whole_batch():
    # The parts of an accumulated step, joined in whatever order, are the batch.
    whole, joined = make(), make()
    z = jax.random.normal(jax.random.key(0), (8, 5, DIM))
    indices = whole(z, key=jax.random.key(0)).indices
    whole.update(z, indices)
    halves = [joined(part, key=jax.random.key(0)).indices for part in (z[:4], z[4:])]
    joined.update(jnp.concatenate([z[4:], z[:4]]), jnp.concatenate(halves[::-1]))
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(whole)), jax.tree.leaves(nnx.state(joined)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_no_gradient_moves_the_codebook():
    quantizer = make(commitment_cost=0.5)
    z = jax.random.normal(jax.random.key(0), (5, DIM))
    assert isinstance(quantizer.embeddings, QuantizerState)
    assert not jax.tree.leaves(nnx.state(quantizer, nnx.Param))
    graph, state = nnx.split(quantizer)

    def loss(state, z):
        return nnx.merge(graph, state)(z, key=jax.random.key(0)).loss

    to_state, to_z = jax.grad(loss, (0, 1))(state, z)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(to_state))
    codes = quantizer.lookup(quantizer.encode(z))
    np.testing.assert_allclose(to_z, 0.5 * 2 * (z - codes) / z.size, rtol=1e-5)
    np.testing.assert_allclose(loss(state, z), 0.5 * np.mean((z - codes) ** 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay is 1.0; it must be at least 0 and below 1"),
        ({"decay": -0.1}, "decay is -0.1; it must be at least 0 and below 1"),
        ({"decay": float("nan")}, "decay is nan; it must be at least 0 and below 1"),
        ({"epsilon": 0.0}, "epsilon is 0.0; it must be a finite number above 0"),
        ({"epsilon": float("inf")}, "epsilon is inf; it must be a finite number above 0"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
