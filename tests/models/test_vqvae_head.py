"""The model with a head: its loss, its gradients, what it encodes and what it draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import VQVAE, AutoregressiveHead, CategoricalHead, LogisticMixtureHead

PARTS = {"encoder", "quantizer", "decoder", "head"}
HEADS = {
    "categorical": CategoricalHead,
    "mixture": functools.partial(LogisticMixtureHead, num_mixtures=3),
    "autoregressive": functools.partial(AutoregressiveHead, hidden_dim=8, num_layers=1, size=3),
}


@pytest.fixture(scope="module", params=HEADS)
def model(request):
    return make(HEADS[request.param])


def make(head):
    """Compiled as one: that is faster."""
    return nnx.jit(
        lambda: VQVAE(3, 4, 16, 0.1, 0.25, head=head(5, 3, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(0))
    )()


@pytest.fixture
def integers():
    return np.random.RandomState(0).randint(0, 256, (3, 8, 12, 3)).astype(np.uint8)


@pytest.fixture
def images(integers):
    return jnp.asarray(integers.astype(np.float32) / 255 - 0.5)


def test_loss_is_the_likelihood_and_the_quantizers(model, integers, images):
    output = model(images)
    z = np.asarray(model.encoder(images), np.float64)
    codebook = np.asarray(model.quantizer.embeddings[...], np.float64)
    distances = ((z[..., None, :] - codebook) ** 2).sum(-1)
    chosen = codebook[distances.argmin(-1)]
    features = model.decoder(jnp.asarray(chosen, jnp.float32))
    table = np.asarray(model.head.log_probs(features, jnp.asarray(integers)), np.float64)
    log_p = np.take_along_axis(table, integers.astype(int)[..., None], axis=-1)
    np.testing.assert_allclose(output.reconstruction_loss, -log_p.mean(), rtol=1e-5)
    expected = -log_p.mean() + 1.25 * ((z - chosen) ** 2).mean()
    np.testing.assert_allclose(output.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(output.reconstruction, features, rtol=1e-4, atol=1e-5)


def test_loss_is_exact_where_the_distribution_is_known(images, integers):
    """Logits that no feature moves: -log softmax(bias)[x], whatever the data variance."""
    model = make(CategoricalHead)
    bias = np.random.RandomState(1).randn(3, 256)
    model.head.out.kernel[...] = 0 * model.head.out.kernel[...]
    model.head.out.bias[...] = jnp.asarray(bias.ravel(), jnp.float32)
    log_p = bias - np.log(np.exp(bias).sum(-1, keepdims=True))
    expected = -np.mean([log_p[c, integers[..., c]] for c in range(3)])
    np.testing.assert_allclose(model(images).reconstruction_loss, expected, rtol=1e-5)


def test_decoder_gives_the_heads_features(model, images):
    assert model.decoder.out_dim == model.head.in_dim == 5
    assert model(images).reconstruction.shape == (3, 8, 12, 5)


def test_codes_are_those_of_a_model_without_head(model, images):
    plain = VQVAE(3, 4, 16, 0.1, 0.25, rngs=nnx.Rngs(0))
    codes = model.encode(images)
    np.testing.assert_array_equal(codes, plain.encode(images))
    np.testing.assert_array_equal(codes, model(images).quantized.indices)
    np.testing.assert_array_equal(model.latents(images), plain.latents(images))


def test_decoding_draws_images(model, images):
    codes = model.encode(images)
    drawn = np.asarray(model.decode(codes, key=jax.random.key(0)))
    assert drawn.shape == images.shape
    assert drawn.dtype == np.float32
    assert -0.5 <= drawn.min() < drawn.max() <= 0.5
    values = (drawn + 0.5) * 255
    np.testing.assert_allclose(values, values.round(), atol=1e-4)
    np.testing.assert_array_equal(model.decode(codes, key=jax.random.key(0)), drawn)
    other = np.asarray(model.decode(codes, key=jax.random.key(1)))
    assert (other != drawn).any(axis=(1, 2, 3)).all()


def test_images_are_drawn_from_the_distribution_given_the_codes():
    """Logits so far apart that the most likely value is drawn: that of the code's features."""
    model = make(CategoricalHead)
    model.head.out.kernel[...] = 1e6 * model.head.out.kernel[...]
    codes = jnp.arange(16, dtype=jnp.int32).reshape(2, 2, 4)
    features = model.decoder(model.quantizer.lookup(codes))
    kernel, bias = model.head.out.kernel[...], model.head.out.bias[...]
    logits = np.asarray(features) @ np.asarray(kernel) + np.asarray(bias)
    expected = logits.reshape(2, 8, 16, 3, 256).argmax(-1)
    drawn = model.decode(codes, key=jax.random.key(0))
    np.testing.assert_allclose((np.asarray(drawn) + 0.5) * 255, expected, atol=1e-4)
    assert len(np.unique(expected)) > 10


def test_decoding_needs_a_key(model, images):
    with pytest.raises(ValueError, match="key is None; a model with a head draws images"):
        model.decode(model.encode(images))


def test_head_of_other_images_is_refused():
    with pytest.raises(ValueError, match="in_dim is 3; it must be 1, the head's out_dim"):
        VQVAE(3, 4, 16, 0.1, head=CategoricalHead(5, 1, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))


TERMS = {
    "reconstruction": (lambda output: output.reconstruction_loss, {"encoder", "decoder", "head"}),
    "codebook": (lambda output: output.quantized.codebook_loss, {"quantizer"}),
    "commitment": (lambda output: output.quantized.commitment_loss, {"encoder"}),
    "total": (lambda output: output.loss, PARTS),
}


def gradients(model, images, term):
    graphdef, params = nnx.split(model)
    return jax.jit(jax.grad(lambda params: term(nnx.merge(graphdef, params)(images))))(params)


def test_each_term_moves_its_parts_and_no_other(model, images):
    """And the codebook gets the codebook loss alone, to the bit."""
    found = {name: gradients(model, images, term) for name, (term, _) in TERMS.items()}
    for name, (_, moved) in TERMS.items():
        assert set(found[name]) == PARTS
        for part in PARTS:
            leaves = jax.tree.leaves(found[name][part])
            assert leaves
            for leaf in leaves:
                assert np.isfinite(leaf).all()
                assert np.any(leaf != 0) == (part in moved), (name, part)
    for part, terms in (
        ("quantizer", {"codebook": 1.0}),
        ("head", {"reconstruction": 1.0}),
        ("decoder", {"reconstruction": 1.0}),
        ("encoder", {"reconstruction": 1.0, "commitment": 0.25}),
    ):
        weighted = [
            [weight * leaf for leaf in jax.tree.leaves(found[name][part])]
            for name, weight in terms.items()
        ]
        leaves = jax.tree.leaves(found["total"][part])
        for ours, *theirs in zip(leaves, *weighted, strict=True):
            np.testing.assert_allclose(ours, sum(theirs), rtol=1e-4, atol=1e-6)


def test_straight_through_copies_the_gradient_of_the_features(model, images, integers):
    def likelihood(values):
        return -jnp.mean(model.head(model.decoder(values), jnp.asarray(integers)))

    z = model.encoder(images)
    at_the_decoder = jax.grad(likelihood)(model.quantizer(z).values)
    at_the_encoder = jax.grad(lambda z: likelihood(model.quantizer(z).values))(z)
    assert np.any(at_the_decoder != 0)
    np.testing.assert_array_equal(at_the_encoder, at_the_decoder)


def test_works_without_a_graph(images):
    """Flax's tree mode: no shared variables, nothing mutated."""
    with nnx.set_graph_mode(False):
        model = make(CategoricalHead)
        jitted = nnx.jit(lambda model, images: model(images).loss)(model, images)
    np.testing.assert_allclose(jitted, make(CategoricalHead)(images).loss, rtol=1e-6)
