"""The terms that are added to the loss, against full matrices in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.quantizers import (
    EntropyVectorQuantizer,
    OrthogonalVectorQuantizer,
    VectorQuantizer,
    regularized,
)

DIM, CODES, COUNT = 3, 5, 11


def data(seed=0):
    random = np.random.RandomState(seed)
    return random.randn(COUNT, DIM).astype(np.float32), random.randn(CODES, DIM).astype(np.float32)


def full(z, codebook, temperature, weights):
    """Both entropies from all of [N, K]."""
    squares = np.sum((z[:, None].astype(np.float64) - codebook[None]) ** 2, axis=-1)
    p = np.exp(-squares / temperature)
    p /= p.sum(1, keepdims=True)
    mean = weights @ p
    return np.sum(weights * -np.sum(p * np.log(p), axis=1)), -np.sum(mean * np.log(mean))


@pytest.mark.parametrize("limit", [None, 1, 3 * CODES, 4 * CODES])  # 11 is a multiple of none
@pytest.mark.parametrize("masked", [False, True])
def test_entropies_are_those_of_the_full_matrix(monkeypatch, masked, limit):
    if limit is not None:
        monkeypatch.setattr(regularized, "MAX_NUMBERS", limit)
    z, codebook = data()
    counted = np.arange(COUNT) % 4 != 1 if masked else np.ones(COUNT, bool)
    expected = full(z, codebook, 0.7, counted / counted.sum())
    mask = jnp.asarray(counted)[None] if masked else None
    found = regularized.codebook_entropies(jnp.asarray(z)[None], jnp.asarray(codebook), 0.7, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("limit", [None, 4 * CODES])
def test_gradient_of_the_entropies_is_that_of_the_full_matrix(monkeypatch, limit):
    if limit is not None:
        monkeypatch.setattr(regularized, "MAX_NUMBERS", limit)
    z, codebook = map(jnp.asarray, data())
    weights = jnp.asarray(np.arange(COUNT) % 4 != 1, jnp.float32) / 8

    def slow(z, codebook):
        p = jax.nn.softmax(-jnp.sum((z[:, None] - codebook[None]) ** 2, axis=-1) / 0.7)
        entropies = jnp.sum(jax.scipy.special.entr(p), axis=1)
        return 2 * weights @ entropies - 3 * jnp.sum(jax.scipy.special.entr(weights @ p))

    def fast(z, codebook):
        each, mean = regularized.codebook_entropies(z, codebook, 0.7, weights > 0)
        return 2 * each - 3 * mean

    for found, expected in zip(
        jax.jit(jax.grad(fast, (0, 1)))(z, codebook),
        jax.jit(jax.grad(slow, (0, 1)))(z, codebook),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert np.any(np.abs(expected) > 1e-2)


def test_entropies_far_from_the_origin():
    random = np.random.RandomState(0)
    z, codebook = ((1000 + random.randn(n, 16)).astype(np.float32) for n in (50, 32))
    found = regularized.codebook_entropies(jnp.asarray(z), jnp.asarray(codebook), 1.0)
    expected = full(z, codebook, 1.0, np.full(50, 1 / 50))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_entropies_at_their_bounds():
    z = jnp.array([[0.0], [100.0], [200.0]])
    found = regularized.codebook_entropies(z, z, 1.0)  # each vector sure, all codes used
    np.testing.assert_allclose(found, [0, np.log(3)], atol=1e-6)
    found = regularized.codebook_entropies(z, jnp.zeros((3, 1)), 1.0)  # all codes the same
    np.testing.assert_allclose(found, [np.log(3), np.log(3)], rtol=1e-6)
    nothing = regularized.codebook_entropies(z, z, 1.0, jnp.zeros(3, jnp.bool_))
    np.testing.assert_array_equal(nothing, [0, 0])


def test_gradient_is_finite_where_codes_are_certain():
    z = jnp.array([[0.0], [1e3], [0.0]])
    codebook = jnp.array([[0.0], [1e3], [-1e3]])
    gradients = jax.grad(
        lambda z, codebook: sum(regularized.codebook_entropies(z, codebook, 0.01)), (0, 1)
    )(z, codebook)
    assert np.all(np.isfinite(gradients))


def test_memory_is_bounded():
    def loss(z, codebook):
        each, mean = regularized.codebook_entropies(z, codebook, 1.0)
        return each - mean

    z = jax.ShapeDtypeStruct((100_000, 4), jnp.float32)
    codebook = jax.ShapeDtypeStruct((8_192, 4), jnp.float32)
    step = jax.jit(jax.grad(loss, (0, 1)))
    memory = step.lower(z, codebook).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 600e6  # all probabilities would be 3.3 GB


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (6, 1)])
def test_orthogonality_is_the_distance_of_the_gram_matrix_from_one(shape):
    codebook = np.random.RandomState(0).randn(*shape)
    unit = codebook / np.linalg.norm(codebook, axis=1, keepdims=True)
    expected = np.sum((unit @ unit.T - np.eye(len(unit))) ** 2) / len(unit) ** 2
    found = regularized.orthogonality(jnp.asarray(codebook, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_orthogonal_codes_have_none():
    rotation, _ = np.linalg.qr(np.random.RandomState(0).randn(4, 4))
    codebook = jnp.asarray(rotation[:3] * np.array([[2.0], [0.1], [-5.0]]), jnp.float32)
    np.testing.assert_allclose(regularized.orthogonality(codebook), 0, atol=1e-6)
    same = jnp.tile(codebook[:1], (3, 1))
    np.testing.assert_allclose(regularized.orthogonality(same), 6 / 9, rtol=1e-5)


def losses(make, z, mask=None):
    """The output beside that of a VectorQuantizer with the same codes."""
    plain = VectorQuantizer(DIM, CODES, 0.5, codebook_cost=2.0, rngs=nnx.Rngs(0))
    quantizer = make(DIM, CODES, commitment_cost=0.5, codebook_cost=2.0, rngs=nnx.Rngs(0))
    return plain(z, mask), quantizer(z, mask), quantizer


@pytest.mark.parametrize("masked", [False, True])
def test_entropy_is_added_with_its_weight(masked):
    def make(*sizes, **options):
        return EntropyVectorQuantizer(*sizes, entropy_cost=0.3, temperature=0.7, **options)

    z, _ = data()
    counted = np.arange(COUNT) % 4 != 1 if masked else np.ones(COUNT, bool)
    given = jnp.asarray(np.where(counted[:, None], z, np.nan))
    plain, quantized, quantizer = losses(make, given, jnp.asarray(counted) if masked else None)
    of_vectors, of_mean = full(z, quantizer.embeddings[...], 0.7, counted / counted.sum())
    entropy = of_vectors - of_mean
    np.testing.assert_allclose(quantized.entropy_loss, entropy, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(quantized.loss, plain.loss + 0.3 * entropy, rtol=1e-5)
    for name in ("values", "indices", "codebook_loss", "commitment_loss"):
        np.testing.assert_array_equal(getattr(quantized, name), getattr(plain, name))
    both = 2.0 * quantized.codebook_loss + 0.5 * quantized.commitment_loss
    np.testing.assert_allclose(quantized.loss, both + 0.3 * quantized.entropy_loss, rtol=1e-5)


def test_entropy_moves_encoder_and_codes():
    quantizer = EntropyVectorQuantizer(
        DIM, CODES, commitment_cost=0.0, codebook_cost=0.0, rngs=nnx.Rngs(0)
    )
    graph, state = nnx.split(quantizer)
    to_state, to_z = jax.jit(jax.grad(lambda state, z: nnx.merge(graph, state)(z).loss, (0, 1)))(
        state, jnp.asarray(data()[0])
    )
    assert np.all(np.any(to_z != 0, axis=1))
    assert np.all(np.any(to_state["embeddings"][...] != 0, axis=1))  # used or not


def test_orthogonality_is_added_with_its_weight():
    def make(*sizes, **options):
        return OrthogonalVectorQuantizer(*sizes, orthogonality_cost=0.3, **options)

    plain, quantized, quantizer = losses(make, jnp.asarray(data()[0]))
    codes = np.asarray(quantizer.embeddings[...], np.float64)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    orthogonality = np.sum((codes @ codes.T - np.eye(CODES)) ** 2) / CODES**2
    np.testing.assert_allclose(quantized.loss, plain.loss + 0.3 * orthogonality, rtol=1e-5)
    for name in ("values", "indices", "codebook_loss", "commitment_loss", "entropy_loss"):
        np.testing.assert_array_equal(getattr(quantized, name), getattr(plain, name))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (EntropyVectorQuantizer, {"entropy_cost": -1.0}, "entropy_cost is -1.0; it must be"),
        (EntropyVectorQuantizer, {"temperature": 0.0}, "temperature is 0.0; it must be"),
        (EntropyVectorQuantizer, {"commitment_cost": -1.0}, "commitment_cost is -1.0"),
        (OrthogonalVectorQuantizer, {"orthogonality_cost": float("nan")}, "orthogonality_cost is"),
        (OrthogonalVectorQuantizer, {"codebook_cost": -1.0}, "codebook_cost is -1.0"),
    ],
)
def test_arguments_out_of_range(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(DIM, CODES, rngs=nnx.Rngs(0), **options)
