"""Which loss moves which part: the three routes of the gradient, and zeros everywhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import VQVAE

PARTS = {"encoder", "quantizer", "decoder"}
BETA = 0.25


@pytest.fixture
def split_model():
    return nnx.split(drawn(lambda: VQVAE(1, 4, 16, 0.1, BETA, rngs=nnx.Rngs(0))))


@pytest.fixture
def images():
    return jnp.asarray(np.random.RandomState(0).rand(3, 8, 12, 1).astype(np.float32) - 0.5)


TERMS = {
    "reconstruction": (lambda output: output.reconstruction_loss, {"encoder", "decoder"}),
    "codebook": (lambda output: output.quantized.codebook_loss, {"quantizer"}),
    "commitment": (lambda output: output.quantized.commitment_loss, {"encoder"}),
    "quantizer": (lambda output: output.quantized.loss, {"encoder", "quantizer"}),
    "total": (lambda output: output.loss, PARTS),
}


def gradients(split_model, images, term):
    graphdef, params = split_model
    return jax.jit(jax.grad(lambda params: term(nnx.merge(graphdef, params)(images))))(params)


@pytest.mark.parametrize("name", TERMS)
def test_each_term_moves_its_parts_and_no_other(split_model, images, name):
    term, moved = TERMS[name]
    result = gradients(split_model, images, term)
    assert set(result) == PARTS
    for part in PARTS:
        leaves = jax.tree.leaves(result[part])
        assert leaves
        for leaf in leaves:
            if part in moved:
                assert np.any(leaf != 0), part
            else:
                np.testing.assert_array_equal(leaf, 0)


def test_total_is_the_weighted_sum_of_the_terms(split_model, images):
    total = gradients(split_model, images, TERMS["total"][0])
    terms = {name: gradients(split_model, images, term) for name, (term, _) in TERMS.items()}
    expected = jax.tree.map(
        lambda r, e, c: r + e + BETA * c,
        terms["reconstruction"],
        terms["codebook"],
        terms["commitment"],
    )
    for ours, sum_of_terms in zip(jax.tree.leaves(total), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, sum_of_terms, rtol=1e-4, atol=1e-6)


def test_beta_weighs_the_commitment_term(images):
    output = VQVAE(1, 4, 16, 0.1, 3.0, rngs=nnx.Rngs(0))(images)
    quantized = output.quantized
    np.testing.assert_allclose(
        quantized.loss, quantized.codebook_loss + 3.0 * quantized.commitment_loss, rtol=1e-6
    )
    np.testing.assert_allclose(output.loss, output.reconstruction_loss + quantized.loss, rtol=1e-6)


def test_straight_through_copies_the_decoders_gradient_bit_for_bit(split_model, images):
    model = nnx.merge(*split_model)

    def reconstruction_loss(values):
        return jnp.mean((model.decoder(values) - images) ** 2) / model.likelihood.data_variance

    z = model.encoder(images)
    at_the_decoder = jax.grad(reconstruction_loss)(model.quantizer(z).values)
    at_the_encoder = jax.grad(lambda z: reconstruction_loss(model.quantizer(z).values))(z)
    assert np.any(at_the_decoder != 0)
    np.testing.assert_array_equal(at_the_encoder, at_the_decoder)


def test_decoder_sees_the_codes_exactly(split_model, images):
    model = nnx.merge(*split_model)
    quantized = model.quantizer(model.encoder(images))
    np.testing.assert_array_equal(quantized.values, model.quantizer.lookup(quantized.indices))


@pytest.mark.parametrize(
    ("part", "name"),
    [pytest.param("quantizer", "codebook", marks=pytest.mark.slow), ("decoder", "total")],
)
def test_finite_differences_agree(split_model, images, part, name):
    """Where the gradient is the loss's own slope, with no stop-gradient or estimator between."""
    graphdef, params = split_model
    term = TERMS[name][0]
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        wide = jnp.asarray(images, jnp.float64)

        def loss(params):
            return term(nnx.merge(graphdef, params)(wide))

        _assert_finite_differences(loss, params, part)


@pytest.mark.slow
def test_finite_differences_agree_for_the_encoder(split_model, images):
    """The commitment loss with the codes held fixed: what sg makes of it."""
    graphdef, params = split_model
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        wide = jnp.asarray(images, jnp.float64)
        codes = nnx.merge(graphdef, params)(wide).quantized.values

        def fixed(params):
            return jnp.mean((nnx.merge(graphdef, params).encoder(wide) - codes) ** 2)

        def commitment(params):
            return nnx.merge(graphdef, params)(wide).quantized.commitment_loss

        for ours, expected in zip(
            jax.tree.leaves(jax.jit(jax.grad(commitment))(params)),
            jax.tree.leaves(jax.jit(jax.grad(fixed))(params)),
            strict=True,
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
        _assert_finite_differences(fixed, params, "encoder")


def _assert_finite_differences(loss, params, part):
    random = np.random.RandomState(1)
    direction = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), params)
    direction[part] = jax.tree.map(
        lambda leaf: jnp.asarray(random.randn(*leaf.shape)), params[part]
    )
    loss = jax.jit(loss)
    gradient = jax.jit(jax.grad(loss))(params)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    step = 1e-6
    ahead, behind = (
        loss(jax.tree.map(lambda leaf, d, s=sign: leaf + s * step * d, params, direction))
        for sign in (1, -1)
    )
    assert abs(slope) > 1e-3
    np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-4)
