"""Quantizers made of others, and the kinds of vector quantizer, against their formulas."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import some_by_default
from tests.quantizers.compiled import run
from vqvae_jax.quantizers import (
    FSQ,
    LFQ,
    CosineVectorQuantizer,
    EMAVectorQuantizer,
    GroupedResidualVQ,
    GumbelQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SampledVectorQuantizer,
    SimVQ,
    VectorQuantizer,
    diveq,
    nsvq,
    rotation_trick,
    search,
)

DIM, CODES = 3, 5


def several(make, count, dim=DIM, **options):
    return [make(dim, CODES, rngs=nnx.Rngs(seed), **options) for seed in range(count)]


def sample(*shape, dim=DIM, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randn(*shape, dim).astype(np.float32))


def nearest(vectors, codes):
    squares = np.sum((np.asarray(vectors)[..., None, :] - np.asarray(codes)) ** 2, axis=-1)
    return np.argmin(squares, axis=-1)


def codebooks(quantizer):
    return [np.asarray(stage.codebook, np.float64) for stage in quantizer.quantizers]


def values_gradients(quantizer, z, weights, key=None):
    """The gradients of sum(weights * values) to the parameters and to z."""
    graph, params, rest = nnx.split(quantizer, nnx.Param, ...)

    def total(params, z):
        return jnp.sum(weights * nnx.merge(graph, params, rest)(z, key=key).values)

    return jax.jit(jax.grad(total, (0, 1)))(params, z)


def assert_same_state(one, other):
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(one)), jax.tree.leaves(nnx.state(other)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


# VectorQuantizer and its kinds


@pytest.mark.parametrize("masked", [False, True])
def test_vector_is_equation_3(masked):
    quantizer = VectorQuantizer(DIM, CODES, 0.3, codebook_cost=2.0, rngs=nnx.Rngs(0))
    z, codes = np.asarray(sample(2, 4)), np.asarray(quantizer.embeddings[...])
    mask = np.arange(8).reshape(2, 4) % 3 != 1 if masked else np.ones((2, 4), bool)
    indices = nearest(z, codes)
    error = np.mean((z - codes[indices])[mask] ** 2)
    quantized = run(quantizer, z := jnp.asarray(z), jnp.asarray(mask) if masked else None)
    np.testing.assert_array_equal(quantized.indices, np.where(mask, indices, -1))
    np.testing.assert_array_equal(
        quantized.values, np.where(mask[..., None], codes[indices], 0).astype(np.float32)
    )
    for loss in (quantized.codebook_loss, quantized.commitment_loss):
        np.testing.assert_allclose(loss, error, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 2.3 * error, rtol=1e-5)

    graph, state = nnx.split(quantizer)

    def loss(state, z):
        return nnx.merge(graph, state)(z, jnp.asarray(mask) if masked else None).loss

    to_state, to_z = jax.jit(jax.grad(loss, (0, 1)))(state, z)
    difference = np.where(mask[..., None], codes[indices] - z, 0) * 2 / (mask.sum() * DIM)
    np.testing.assert_allclose(to_z, -0.3 * difference, rtol=1e-4, atol=1e-7)
    to_codes = np.zeros_like(codes)
    np.add.at(to_codes, indices, 2.0 * difference)
    np.testing.assert_allclose(to_state["embeddings"][...], to_codes, rtol=1e-4, atol=1e-7)


def test_cosine_takes_the_most_similar():
    quantizer = CosineVectorQuantizer(DIM, 20, rngs=nnx.Rngs(0))
    z, codes = np.asarray(sample(40)), np.asarray(quantizer.embeddings[...], np.float64)
    z_unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    codes_unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    expected = np.argmax(z_unit @ codes_unit.T, axis=1)
    assert np.any(expected != nearest(z, codes))
    quantized = run(quantizer, jnp.asarray(z))
    np.testing.assert_array_equal(quantized.indices, expected)
    np.testing.assert_array_equal(quantizer.encode(100 * jnp.asarray(z)), expected)
    np.testing.assert_allclose(np.linalg.norm(quantized.values, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(quantized.values, codes_unit[expected], rtol=1e-5, atol=1e-6)
    error = np.mean((z_unit - codes_unit[expected]) ** 2)
    np.testing.assert_allclose(quantized.commitment_loss, error, rtol=1e-4)
    np.testing.assert_allclose(quantized.loss, 1.25 * error, rtol=1e-4)


def test_cosine_of_zero_has_a_finite_gradient():
    quantizer = CosineVectorQuantizer(DIM, CODES, rngs=nnx.Rngs(0))
    gradient = jax.jit(jax.grad(lambda z: quantizer(z).loss + jnp.sum(quantizer(z).values)))(
        jnp.zeros((2, DIM))
    )
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("temperature", some_by_default([0.5, 4.0], [0.5]))
def test_sampled_draws_by_distance(temperature):
    quantizer = SampledVectorQuantizer(DIM, CODES, temperature=temperature, rngs=nnx.Rngs(0))
    z, codes = sample(2), np.asarray(quantizer.embeddings[...])
    logits = -np.sum((np.asarray(z)[:, None] - codes) ** 2, axis=-1) / temperature
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    draws = 4000
    many = jnp.broadcast_to(z[:, None], (2, draws, DIM))
    quantized = run(quantizer, many, key=jax.random.key(0))
    for row, p in zip(np.asarray(quantized.indices), probabilities, strict=True):
        shares = np.bincount(row, minlength=CODES) / draws
        bound = 5 * np.sqrt(p * (1 - p) / draws) + 1 / draws
        assert np.all(np.abs(shares - p) <= bound), (shares, p)
    np.testing.assert_array_equal(quantized.values, quantizer.lookup(quantized.indices))
    np.testing.assert_array_equal(quantizer(z).indices, nearest(z, codes))
    np.testing.assert_array_equal(quantizer.encode(z), nearest(z, codes))


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1e-4, 1e-30])
def test_sampled_becomes_the_nearest_as_the_temperature_falls(temperature):
    quantizer = SampledVectorQuantizer(DIM, CODES, temperature=temperature, rngs=nnx.Rngs(0))
    z = sample(20)
    np.testing.assert_array_equal(quantizer(z, key=jax.random.key(0)).indices, quantizer.encode(z))


@pytest.mark.slow
def test_simvq_moves_every_code_by_one_matrix():
    quantizer = SimVQ(DIM, 50, rngs=nnx.Rngs(0))
    frozen, matrix = quantizer.embeddings[...], quantizer.projection[...]
    assert [path for path, _ in nnx.to_flat_state(nnx.state(quantizer, nnx.Param))] == [
        ("projection",)
    ]
    assert matrix.shape == (DIM, DIM)
    assert np.abs(matrix).max() <= DIM**-0.5
    np.testing.assert_allclose(np.std(frozen), DIM**-0.5, rtol=0.2)
    codes = np.asarray(frozen, np.float64) @ np.asarray(matrix, np.float64)
    np.testing.assert_allclose(quantizer.codebook, codes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(quantizer.lookup(jnp.arange(50)), codes, rtol=1e-4, atol=1e-6)
    z = sample(4)
    indices = nearest(z, codes)
    np.testing.assert_array_equal(quantizer.encode(z), indices)

    graph, params, rest = nnx.split(quantizer, nnx.Param, ...)
    gradient = jax.jit(jax.grad(lambda params: nnx.merge(graph, params, rest)(z).loss))(params)
    chosen = np.asarray(frozen, np.float64)[indices]
    expected = chosen.T @ (chosen @ matrix - z) * 2 / z.size
    np.testing.assert_allclose(gradient["projection"][...], expected, rtol=1e-3, atol=1e-5)
    quantizer.projection[...] = matrix - 0.1 * gradient["projection"][...]
    assert np.all(np.any(quantizer.codebook != codes.astype(np.float32), axis=1))
    np.testing.assert_array_equal(quantizer.embeddings[...], frozen)


@pytest.mark.slow
@pytest.mark.parametrize("codebook_dim", [None, 2])
def test_random_projection_is_the_formula_and_learns_nothing(codebook_dim):
    quantizer = RandomProjectionQuantizer(DIM, 9, codebook_dim, rngs=nnx.Rngs(0))
    z = sample(6, 5)
    projected = np.asarray(z, np.float64) @ np.asarray(quantizer.projection[...], np.float64)
    projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
    codes = np.asarray(quantizer.embeddings[...], np.float64)
    assert codes.shape == (9, codebook_dim or DIM)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-6)
    bound = (6 / (DIM + (codebook_dim or DIM))) ** 0.5
    assert 0.5 * bound < np.abs(quantizer.projection[...]).max() <= bound
    quantized = run(quantizer, z, key=jax.random.key(0))
    np.testing.assert_array_equal(quantized.indices, nearest(projected, codes))
    np.testing.assert_array_equal(quantizer.encode(7.0 * z), quantized.indices)
    np.testing.assert_array_equal(quantized.values, codes[quantized.indices].astype(np.float32))
    assert len(np.unique(quantized.indices)) > 2
    assert not jax.tree.leaves(nnx.state(quantizer, nnx.Param))
    assert not quantizer.has_updates
    gradient = jax.jit(jax.grad(lambda z: quantizer(z).loss + jnp.sum(quantizer(z).values)))(z)
    np.testing.assert_array_equal(gradient, np.zeros(z.shape))


# ResidualVQ


def residual_by_hand(z, books):
    """Nearest codes of what is left, in a loop: indices, sums after each, losses of each."""
    residual, total = np.asarray(z, np.float64), np.zeros(z.shape)
    indices, totals, losses = [], [], []
    for codes in books:
        indices.append(nearest(residual, codes))
        total = total + codes[indices[-1]]
        residual = residual - codes[indices[-1]]
        totals.append(total)
        losses.append(np.mean(residual**2))
    return np.stack(indices, -1), totals, losses


@pytest.mark.parametrize("shared", [False, True])
def test_residual_is_a_loop_of_nearest_codes(shared):
    if shared:
        quantizer = ResidualVQ(several(VectorQuantizer, 1), num_quantizers=3)
        books = codebooks(quantizer) * 3
        assert len(nnx.to_flat_state(nnx.state(quantizer))) == 1
    else:
        quantizer = ResidualVQ(several(VectorQuantizer, 3))
        books = codebooks(quantizer)
    assert quantizer.num_codebooks == 3
    z = sample(4, 6)
    indices, totals, losses = residual_by_hand(z, books)
    assert all(len(np.unique(indices[..., i])) > 1 for i in range(3))
    for key in (None, jax.random.key(0)):
        quantized = run(quantizer, z, key=key)
        np.testing.assert_array_equal(quantized.indices, indices)
        np.testing.assert_allclose(quantized.values, totals[-1], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(quantized.codebook_loss, sum(losses), rtol=1e-5)
        np.testing.assert_allclose(quantized.commitment_loss, sum(losses), rtol=1e-5)
        np.testing.assert_allclose(quantized.loss, 1.25 * sum(losses), rtol=1e-5)
    np.testing.assert_array_equal(quantizer.encode(z), indices)
    for depth, total in enumerate(totals, start=1):
        decoded = quantizer.lookup(jnp.asarray(indices[..., :depth]))
        np.testing.assert_allclose(decoded, total, rtol=1e-5, atol=1e-5)


def test_residual_leaves_out_the_codes_at_minus_one():
    quantizer = ResidualVQ(several(VectorQuantizer, 3))
    books = codebooks(quantizer)
    decoded = quantizer.lookup(jnp.array([[1, -1, 4], [2, -1, -1], [-1, -1, -1], [0, 5, 0]]))
    np.testing.assert_allclose(decoded[0], books[0][1] + books[2][4], rtol=1e-5)
    np.testing.assert_allclose(decoded[1], books[0][2], rtol=1e-6)
    np.testing.assert_array_equal(decoded[2], np.zeros(DIM))
    assert np.all(np.isnan(decoded[3]))


def residuals_of(kind):
    if kind == "gumbel":
        return several(GumbelQuantizer, 3)
    if kind == "gumbel_soft":
        return several(GumbelQuantizer, 3, hard=False)
    if kind == "projected":
        inner = several(VectorQuantizer, 3, dim=2)
        return [ProjectedQuantizer(one, DIM, rngs=nnx.Rngs(9)) for one in inner]
    return several(VectorQuantizer, 3)


@pytest.mark.parametrize(
    "kind",
    some_by_default(["vector", "gumbel", "gumbel_soft", "projected"], ["vector", "gumbel"]),
)
def test_gradient_of_the_values_reaches_z_once(kind):
    quantizer = ResidualVQ(residuals_of(kind))
    jacobian = jax.jit(jax.jacobian(lambda z: quantizer(z, key=jax.random.key(0)).values))
    np.testing.assert_allclose(jacobian(sample()), np.eye(DIM), atol=1e-6)


def test_losses_move_each_codebook_towards_its_own_residual_alone():
    quantizer = ResidualVQ(several(VectorQuantizer, 3))
    z, books = sample(6), codebooks(quantizer)
    indices, totals, _ = residual_by_hand(z, books)
    graph, state = nnx.split(quantizer)
    to_state, to_z = jax.jit(jax.grad(lambda state, z: nnx.merge(graph, state)(z).loss, (0, 1)))(
        state, z
    )
    left = [np.asarray(z) - total for total in totals]
    np.testing.assert_allclose(to_z, 0.25 * 2 * sum(left) / z.size, rtol=1e-4, atol=1e-6)
    for i in range(3):
        expected = np.zeros((CODES, DIM))
        np.add.at(expected, indices[:, i], -2 * left[i] / z.size)
        found = to_state["quantizers"][i]["embeddings"][...]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_estimator_is_applied_to_the_sum():
    quantizer = ResidualVQ(several(VectorQuantizer, 3), estimator=rotation_trick)
    z = sample()
    total = quantizer.lookup(quantizer.encode(z))
    found = jax.jit(jax.jacobian(lambda z: quantizer(z).values))(z)
    expected = jax.jit(jax.jacobian(lambda z: rotation_trick(z, total)))(z)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("key", some_by_default([None, 0], [0]))
def test_quantizers_that_learn_from_values_get_their_gradient(key):
    quantizer = ResidualVQ(residuals_of("projected"))
    z, weights = sample(6), sample(6, seed=1)
    key = None if key is None else jax.random.key(key)
    found, to_z = values_gradients(quantizer, z, weights, key)
    np.testing.assert_allclose(to_z, weights, rtol=1e-5, atol=1e-6)
    residual = z
    for i, stage in enumerate(quantizer.quantizers):
        expected, _ = values_gradients(stage, residual, weights)
        residual = residual - stage(residual).values
        for (path, ours), (_, theirs) in zip(
            nnx.to_flat_state(found["quantizers"][i]), nnx.to_flat_state(expected), strict=True
        ):
            np.testing.assert_allclose(ours[...], theirs[...], rtol=1e-4, atol=1e-5)
            assert np.any(theirs[...] != 0) == ("embeddings" not in path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gumbel", "gumbel_soft"])
def test_every_gumbel_in_a_row_learns(kind):
    quantizer = ResidualVQ(residuals_of(kind))
    found, to_z = values_gradients(quantizer, sample(6), sample(6, seed=1), jax.random.key(0))
    np.testing.assert_allclose(to_z, sample(6, seed=1), rtol=1e-5, atol=1e-6)
    for stage in range(3):
        for name in ("kernel", "bias", "embeddings"):
            assert np.any(found["quantizers"][stage][name][...] != 0), (stage, name)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_error_falls_with_the_number_of_codes(shared):
    if shared:  # finer and finer, out of one codebook
        quantizer = ResidualVQ([VectorQuantizer(1, 7, rngs=nnx.Rngs(0))], num_quantizers=3)
        quantizer.quantizers[0].embeddings[...] = jnp.array(
            [[0.0], [1.0], [-1.0], [0.3], [-0.3], [0.1], [-0.1]]
        )
        z = sample(200, dim=1)
    else:
        quantizer, z = ResidualVQ(several(VectorQuantizer, 3, kmeans_init=True)), sample(200)
        quantizer.initialize(z, key=jax.random.key(0))
    indices = quantizer.encode(z)
    errors = [
        float(jnp.mean((z - quantizer.lookup(indices[:, :depth])) ** 2))
        for depth in range(1, quantizer.num_codebooks + 1)
    ]
    assert all(after < 0.8 * before for before, after in itertools.pairwise(errors))


@pytest.mark.slow
def test_quantize_dropout_takes_the_first_quantizers():
    quantizer = ResidualVQ(several(VectorQuantizer, 4), quantize_dropout=True)
    books = codebooks(quantizer)
    z = sample(12, 3)
    indices, totals, _ = residual_by_hand(z, books)
    quantized = run(quantizer, z, key=jax.random.key(0))
    taken = np.asarray(quantized.indices) >= 0
    depths = taken.sum(-1)
    assert len(np.unique(depths)) > 1
    np.testing.assert_array_equal(depths, np.broadcast_to(depths[:, :1], depths.shape))
    np.testing.assert_array_equal(taken, np.arange(4) < depths[..., None])
    np.testing.assert_array_equal(quantized.indices, np.where(taken, indices, -1))
    stacked = np.stack(totals)  # [n, 12, 3, D]
    expected = np.take_along_axis(stacked, depths[None, ..., None] - 1, axis=0)[0]
    np.testing.assert_allclose(quantized.values, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)
    losses = [
        np.mean((np.asarray(z) - total)[depths > i] ** 2)
        for i, total in enumerate(totals)
        if np.any(depths > i)
    ]
    np.testing.assert_allclose(quantized.commitment_loss, sum(losses), rtol=1e-5)
    # With a mask beside it, and at evaluation.
    mask = jnp.asarray(np.arange(36).reshape(12, 3) % 4 != 0)
    masked = run(quantizer, z, mask, key=jax.random.key(0))
    np.testing.assert_array_equal(masked.indices, np.where(mask[..., None], quantized.indices, -1))
    np.testing.assert_array_equal(quantizer(z).indices, indices)
    np.testing.assert_array_equal(quantizer.encode(z), indices)
    one = run(quantizer, z[0, 0], key=jax.random.key(1)).indices  # without a first axis
    np.testing.assert_array_equal(one, np.where(np.arange(4) < np.sum(one >= 0), indices[0, 0], -1))


@pytest.mark.slow
def test_depths_of_quantize_dropout_are_uniform():
    quantizer = ResidualVQ(several(VectorQuantizer, 1), num_quantizers=4, quantize_dropout=True)
    indices = run(quantizer, sample(4000), key=jax.random.key(0)).indices
    counts = np.bincount(np.sum(np.asarray(indices) >= 0, axis=-1), minlength=5)
    assert counts[0] == 0
    assert np.sum((counts[1:] - 1000) ** 2 / 1000) < 21.1  # 3 degrees of freedom, p = 1e-4
    without = ResidualVQ(several(VectorQuantizer, 1), num_quantizers=4)
    assert np.all(without(sample(50), key=jax.random.key(0)).indices >= 0)


@pytest.mark.slow
@pytest.mark.parametrize("dropped", [False, True])
def test_update_hands_each_quantizer_its_residual(dropped):
    quantizer = ResidualVQ(several(EMAVectorQuantizer, 3))
    apart = several(EMAVectorQuantizer, 3)
    z = sample(4, 5)
    indices = quantizer.encode(z)
    if dropped:
        indices = indices.at[1, :, 1:].set(-1).at[2, :, 2:].set(-1).at[3, 0].set(-1)
    residual = z
    for i, stage in enumerate(apart):
        codes = stage.lookup(indices[..., i])
        stage.update(residual, indices[..., i])
        residual = residual - codes
    quantizer.update(z, indices)
    for one, other in zip(quantizer.quantizers, apart, strict=True):
        assert_same_state(one, other)
        assert np.any(one.counts[...] > 0)


def test_noise_in_the_values_reaches_no_later_quantizer():
    quantizer = ResidualVQ(several(VectorQuantizer, 2, estimator=nsvq))
    z = sample(200)
    indices = run(quantizer, z, key=jax.random.key(0)).indices
    np.testing.assert_array_equal(indices, quantizer.encode(z))


@pytest.mark.slow
@pytest.mark.parametrize("outer", [diveq, rotation_trick])
def test_what_learns_from_values_gets_their_gradient_once(outer):
    z, weights, key = sample(6), sample(6, seed=1), jax.random.key(0)

    def gradient(**options):
        inner = several(VectorQuantizer, 2, estimator=diveq)
        return values_gradients(ResidualVQ(inner, **options), z, weights, key)[0]

    for ours, expected in zip(
        jax.tree.leaves(gradient(estimator=outer)), jax.tree.leaves(gradient()), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)  # twice: 2 times as much


def test_estimator_without_effect_is_refused():
    with pytest.raises(ValueError, match="estimator is rotation_trick, which would have no effect"):
        ResidualVQ(several(VectorQuantizer, 2, estimator=rotation_trick))


@pytest.mark.parametrize("compose", [ResidualVQ, ProductQuantizer])
def test_one_quantizer_for_several_places_is_refused(compose):
    with pytest.raises(ValueError, match="a quantizer is given more than once"):
        compose(several(VectorQuantizer, 1) * 2)


@pytest.mark.parametrize("compose", [ResidualVQ, ProductQuantizer])
def test_update_with_another_number_of_indices_is_refused(compose):
    quantizer = compose(several(EMAVectorQuantizer, 3))
    z = sample(4, dim=quantizer.embedding_dim)
    with pytest.raises(ValueError, match=r"indices have shape \(4, 2\); .* must be \(4, 3\)"):
        quantizer.update(z, quantizer.encode(z)[..., :2])


@pytest.mark.slow
def test_update_of_a_shared_codebook_is_one_with_all_residuals():
    quantizer = ResidualVQ(several(EMAVectorQuantizer, 1), num_quantizers=3)
    (alone,) = several(EMAVectorQuantizer, 1)
    z = sample(4, 5)
    indices = quantizer.encode(z)
    residuals = [z, z - alone.lookup(indices[..., 0])]
    residuals.append(residuals[1] - alone.lookup(indices[..., 1]))
    alone.update(jnp.concatenate(residuals), jnp.concatenate(jnp.moveaxis(indices, -1, 0)))
    quantizer.update(z, indices)
    assert_same_state(quantizer.quantizers[0], alone)


# ProductQuantizer and GroupedResidualVQ


@pytest.mark.parametrize("dims", some_by_default([(2, 2), (1, 3)], [(1, 3)]))
@pytest.mark.parametrize("masked", some_by_default([False, True], [True]))
def test_product_is_each_quantizer_on_its_part(dims, masked):
    parts = [VectorQuantizer(dim, CODES, rngs=nnx.Rngs(dim + i)) for i, dim in enumerate(dims)]
    quantizer = ProductQuantizer(parts)
    assert (quantizer.embedding_dim, quantizer.num_codebooks) == (4, 2)
    z = sample(3, 4, dim=4)
    mask = jnp.asarray(np.arange(12).reshape(3, 4) % 3 != 1) if masked else None
    quantized = run(quantizer, z, mask)
    own = [
        part(piece, mask)
        for part, piece in zip(parts, (z[..., : dims[0]], z[..., dims[0] :]), strict=True)
    ]
    np.testing.assert_array_equal(quantized.values, jnp.concatenate([o.values for o in own], -1))
    np.testing.assert_array_equal(quantized.indices, jnp.stack([o.indices for o in own], -1))
    np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)
    if not masked:
        np.testing.assert_array_equal(quantizer.encode(z), quantized.indices)
    counted = np.ones((3, 4), bool) if mask is None else np.asarray(mask)
    error = np.mean(np.asarray(z - quantized.values)[counted] ** 2)  # over all of z
    np.testing.assert_allclose(quantized.codebook_loss, error, rtol=1e-5)
    np.testing.assert_allclose(quantized.commitment_loss, error, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 1.25 * error, rtol=1e-5)
    jacobian = jax.jit(jax.jacobian(lambda z: quantizer(z).values))(z[0, 0])
    np.testing.assert_allclose(jacobian, np.eye(4), atol=1e-6)


def test_product_of_quantizers_of_several_codebooks():
    residual = ResidualVQ(several(VectorQuantizer, 2, dim=2))
    quantizer = ProductQuantizer([residual, several(VectorQuantizer, 1)[0]])
    assert quantizer.num_codebooks == 3
    z = sample(6, dim=5)
    indices = quantizer(z).indices
    np.testing.assert_array_equal(indices[:, :2], residual.encode(z[:, :2]))
    np.testing.assert_array_equal(indices[:, 2], quantizer.quantizers[1].encode(z[:, 2:]))
    np.testing.assert_array_equal(quantizer.lookup(indices), quantizer(z).values)


@pytest.mark.slow
def test_product_updates_and_initializes_each_with_its_part():
    options = {"kmeans_init": True}
    quantizer = ProductQuantizer(several(EMAVectorQuantizer, 2, dim=2, **options))
    apart = several(EMAVectorQuantizer, 2, dim=2, **options)
    z = sample(9, dim=4)
    quantizer.initialize(z, key=jax.random.key(0))
    for part, piece, other in zip(quantizer.quantizers, (z[:, :2], z[:, 2:]), apart, strict=True):
        assert part.initialized[...]
        mean = np.mean(piece, axis=0)
        shares = np.bincount(nearest(piece, part.embeddings[...]), minlength=CODES) / 9
        np.testing.assert_allclose(shares @ part.embeddings[...], mean, rtol=1e-3, atol=1e-4)
        nnx.update(other, nnx.state(part))
        other.update(piece, other.encode(piece))
    quantizer.update(z, quantizer.encode(z))
    for part, other in zip(quantizer.quantizers, apart, strict=True):
        assert_same_state(part, other)


def test_grouped_decodes_the_first_codes_of_every_group():
    groups = [ResidualVQ(several(VectorQuantizer, 3, dim=2)) for _ in range(2)]
    groups[1].quantizers[0].embeddings[...] += 0.5
    quantizer = GroupedResidualVQ(groups)
    assert (quantizer.embedding_dim, quantizer.num_codebooks) == (4, 6)
    z = sample(5, dim=4)
    indices = quantizer.encode(z)
    np.testing.assert_array_equal(quantizer(z).indices, indices)
    np.testing.assert_array_equal(quantizer.lookup(indices), quantizer(z).values)
    for depth in (1, 2, 3):
        first = jnp.concatenate([indices[:, :depth], indices[:, 3 : 3 + depth]], axis=-1)
        expected = [
            residual_by_hand(part, codebooks(group))[1][depth - 1]
            for part, group in zip((z[:, :2], z[:, 2:]), groups, strict=True)
        ]
        decoded = quantizer.lookup(first)
        np.testing.assert_allclose(decoded, np.concatenate(expected, -1), rtol=1e-5, atol=1e-5)


# ProjectedQuantizer


@pytest.mark.parametrize("masked", [False, True])
def test_projected_is_the_formula(masked):
    inner = VectorQuantizer(2, CODES, rngs=nnx.Rngs(0))
    quantizer = ProjectedQuantizer(inner, 4, rngs=nnx.Rngs(1))
    kernels = [
        np.asarray(x[...], np.float64)
        for layer in (quantizer.project_in, quantizer.project_out)
        for x in (layer.kernel, layer.bias)
    ]
    z = sample(3, 4, dim=4)
    projected = np.asarray(z, np.float64) @ kernels[0] + kernels[1]
    codes = np.asarray(inner.embeddings[...], np.float64)
    indices = nearest(projected, codes)
    values = codes[indices] @ kernels[2] + kernels[3]
    mask = np.arange(12).reshape(3, 4) % 3 != 1 if masked else np.ones((3, 4), bool)
    quantized = run(quantizer, z, jnp.asarray(mask) if masked else None)
    np.testing.assert_array_equal(quantized.indices, np.where(mask, indices, -1))
    expected = np.where(mask[..., None], values, 0)
    np.testing.assert_allclose(quantized.values, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)
    error = np.mean((projected - codes[indices])[mask] ** 2)
    np.testing.assert_allclose(quantized.loss, 1.25 * error, rtol=1e-4)
    for kernel, bound in zip(kernels, (0.5, 0.5, 2**-0.5, 2**-0.5), strict=True):
        assert 0.05 * bound < np.abs(kernel).max() <= bound


@pytest.mark.slow
def test_projected_learns_from_the_values():
    quantizer = ProjectedQuantizer(FSQ([5, 5]), DIM, rngs=nnx.Rngs(1))
    found, to_z = values_gradients(quantizer, sample(6), sample(6, seed=1))
    for layer in ("project_in", "project_out"):
        for name in ("kernel", "bias"):
            assert np.any(found[layer][name][...] != 0)
    # W_out's is that of a linear layer given the codes.
    codes = quantizer.quantizer.lookup(quantizer.encode(sample(6)))
    expected = np.asarray(codes).T @ np.asarray(sample(6, seed=1))
    np.testing.assert_allclose(found["project_out"]["kernel"][...], expected, rtol=1e-4, atol=1e-5)
    assert np.all(np.any(to_z != 0, axis=1))


# What the constructors refuse


def vector(dim=DIM, codes=CODES, **options):
    return VectorQuantizer(dim, codes, rngs=nnx.Rngs(0), **options)


def residual(count=2, **options):
    return ResidualVQ([vector(**options) for _ in range(count)])


REFUSED = {
    "vector_dim": (lambda: vector(dim=0), "embedding_dim is 0; it must be an integer of at least"),
    "vector_codes": (lambda: vector(codes=-1), "num_embeddings is -1; it must be an integer of at"),
    "vector_commitment": (
        lambda: vector(commitment_cost=-0.5),
        "commitment_cost is -0.5; it must be a finite number of at least 0",
    ),
    "vector_codebook": (
        lambda: vector(codebook_cost=float("inf")),
        "codebook_cost is inf; it must be a finite number of at least 0",
    ),
    "vector_revival": (
        lambda: vector(revival_threshold=1.0),
        "revival_threshold is 1.0; it must be at least 0 and below 1",
    ),
    "cosine_dim": (
        lambda: CosineVectorQuantizer(0, CODES, rngs=nnx.Rngs(0)),
        "embedding_dim is 0; it must be",
    ),
    "sampled_temperature": (
        lambda: SampledVectorQuantizer(DIM, CODES, temperature=0.0, rngs=nnx.Rngs(0)),
        "temperature is 0.0; it must be a finite number above 0",
    ),
    "sampled_temperature_of_hardly_any": (
        lambda: SampledVectorQuantizer(DIM, CODES, temperature=1e-38, rngs=nnx.Rngs(0)),
        "temperature is 1e-38; it must be a finite number above 0, from 1e-30 to 1e+30",
    ),
    "simvq_commitment": (
        lambda: SimVQ(DIM, CODES, float("nan"), rngs=nnx.Rngs(0)),
        "commitment_cost is nan; it must be",
    ),
    "simvq_dim": (lambda: SimVQ(0, CODES, rngs=nnx.Rngs(0)), "embedding_dim is 0; it must be"),
    "random_dim": (
        lambda: RandomProjectionQuantizer(0, CODES, rngs=nnx.Rngs(0)),
        "embedding_dim is 0; it must be an integer of at least 1",
    ),
    "random_codes": (
        lambda: RandomProjectionQuantizer(DIM, 0, rngs=nnx.Rngs(0)),
        "num_embeddings is 0; it must be an integer of at least 1",
    ),
    "random_codebook_dim": (
        lambda: RandomProjectionQuantizer(DIM, CODES, 0, rngs=nnx.Rngs(0)),
        "codebook_dim is 0; it must be an integer of at least 1",
    ),
    "projected_dim": (
        lambda: ProjectedQuantizer(vector(), 0, rngs=nnx.Rngs(0)),
        "embedding_dim is 0; it must be an integer of at least 1",
    ),
    "residual_empty": (lambda: ResidualVQ([]), "quantizers is empty; there must be at least one"),
    "residual_dims": (
        lambda: ResidualVQ([vector(), vector(dim=2)]),
        "the quantizers' embedding_dim are [3, 2]; they must be the same",
    ),
    "residual_depth": (
        lambda: ResidualVQ([vector(), vector()], quantize_dropout=True, least_depth=3),
        "least_depth is 3; it must be 1 to 2",
    ),
    "residual_multiple": (
        lambda: ResidualVQ([vector()], num_quantizers=5, quantize_dropout=True, depth_multiple=2),
        "depth_multiple is 2; it must divide 5, the number of codebooks",
    ),
    "residual_no_dropout": (
        lambda: ResidualVQ([vector(), vector()], least_depth=2),
        "least_depth is 2; it must be 1 without quantize_dropout",
    ),
    "residual_mixed": (
        lambda: ResidualVQ([FSQ([3, 3, 3]), LFQ(3)]),
        "the quantizers are FSQ, LFQ; if one is a grid, all must be of its class",
    ),
    "residual_number": (
        lambda: ResidualVQ([vector()], num_quantizers=0),
        "num_quantizers is 0; it must be an integer of at least 1",
    ),
    "residual_shared": (
        lambda: ResidualVQ([vector(), vector()], num_quantizers=2),
        "num_quantizers is 2 and there are 2 quantizers; there must be one, for all to share",
    ),
    "residual_nested": (
        lambda: ResidualVQ([residual(), residual()]),
        "a quantizer has several codebooks; each must have one",
    ),
    "product_empty": (lambda: ProductQuantizer([]), "quantizers is empty; there must be at least"),
    "grouped_depths": (
        lambda: GroupedResidualVQ([residual(2), residual(3)]),
        "the groups' num_codebooks are [2, 3]; they must be the same",
    ),
    "grouped_dropout": (
        lambda: GroupedResidualVQ(
            [residual(2), ResidualVQ([vector()], num_quantizers=2, quantize_dropout=True)]
        ),
        "the depths that quantize_dropout draws for the groups are [(), (1, 2)]; they must be",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_out_of_range(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dim", [True, 2.0])
def test_sizes_that_are_no_integers(dim):
    with pytest.raises(ValueError, match=f"embedding_dim is {dim}; it must be an integer"):
        vector(dim=dim)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (residual, (2, 3), "indices have shape (2, 3); their last axis must be 1 to 2"),
        (residual, (2, 0), "indices have shape (2, 0); their last axis must be 1 to 2"),
        (
            lambda: ProductQuantizer([vector(), vector()]),
            (4, 1),
            "indices have shape (4, 1); their last axis must be 2",
        ),
        (
            lambda: GroupedResidualVQ([residual(), residual()]),
            (4, 3),
            "indices have shape (4, 3); their last axis must be 2 times 1 to 2",
        ),
        (
            lambda: GroupedResidualVQ([residual(), residual()]),
            (4, 6),
            "indices have shape (4, 6); their last axis must be 2 times 1 to 2",
        ),
    ],
)
def test_number_of_indices_out_of_range(make, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make().lookup(jnp.zeros(shape, jnp.int32))


# Last, since what is compiled is dropped


@pytest.mark.slow
def test_sampled_in_chunks_draws_the_same(monkeypatch, forget_compiled):
    quantizer = SampledVectorQuantizer(DIM, CODES, temperature=3.0, rngs=nnx.Rngs(0))
    z, key = sample(7), jax.random.key(0)
    whole = run(quantizer, z, key=key).indices
    monkeypatch.setattr(search, "MAX_NUMBERS_CPU", 3 * CODES)
    jax.clear_caches()
    np.testing.assert_array_equal(run(quantizer, z, key=key).indices, whole)
