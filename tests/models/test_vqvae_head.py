"""The model with a head: its loss, its gradients, what it encodes and what it draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import VQVAE, AutoregressiveHead, CategoricalHead

PARTS = {"encoder", "quantizer", "decoder", "likelihood"}
HEADS = {
    "categorical": CategoricalHead,
    "autoregressive": functools.partial(AutoregressiveHead, hidden_dim=8, num_layers=1, size=3),
}


def make(head):
    return drawn(
        lambda: VQVAE(3, 4, 16, 0.1, 0.25, head=head(5, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    )


@pytest.fixture(scope="module", params=HEADS)
def model(request):
    return make(HEADS[request.param])


@pytest.fixture(scope="module")
def integers():
    return np.random.RandomState(0).randint(0, 256, (3, 8, 12, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(integers):
    return jnp.asarray(integers.astype(np.float32) / 255 - 0.5)


@pytest.fixture(scope="module")
def output(model, images):
    return nnx.jit(lambda model, images: model(images))(model, images)


def test_loss_is_the_likelihood_and_the_quantizers(model, integers, images, output):
    apply = nnx.jit(lambda part, x: part(x))
    z = np.asarray(apply(model.encoder, images), np.float64)
    codebook = np.asarray(model.quantizer.embeddings[...], np.float64)
    distances = ((z[..., None, :] - codebook) ** 2).sum(-1)
    chosen = codebook[distances.argmin(-1)]
    features = apply(model.decoder, jnp.asarray(chosen, jnp.float32))
    log_probs = nnx.jit(lambda head, *given: head.log_probs(*given))
    table = np.asarray(log_probs(model.likelihood, features, jnp.asarray(integers)), np.float64)
    log_p = np.take_along_axis(table, integers.astype(int)[..., None], axis=-1)
    np.testing.assert_allclose(output.reconstruction_loss, -log_p.mean(), rtol=1e-5)
    expected = -log_p.mean() + 1.25 * ((z - chosen) ** 2).mean()
    np.testing.assert_allclose(output.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(output.reconstruction, features, rtol=1e-4, atol=1e-5)


def test_loss_is_exact_where_the_distribution_is_known(images, integers):
    """Logits that no feature moves: -log softmax(bias)[x], whatever the data variance."""
    model = make(CategoricalHead)
    bias = np.random.RandomState(1).randn(3, 256)
    model.likelihood.out.kernel[...] = 0 * model.likelihood.out.kernel[...]
    model.likelihood.out.bias[...] = jnp.asarray(bias.ravel(), jnp.float32)
    log_p = bias - np.log(np.exp(bias).sum(-1, keepdims=True))
    expected = -np.mean([log_p[c, integers[..., c]] for c in range(3)])
    np.testing.assert_allclose(model(images).reconstruction_loss, expected, rtol=1e-5)


def test_decoder_gives_the_heads_features(model, output):
    assert model.decoder.out_dim == model.likelihood.in_dim == 5
    assert output.reconstruction.shape == (3, 8, 12, 5)


def test_codes_are_those_of_a_model_without_head(images):
    """They are, for the same seed."""
    head = nnx.eval_shape(lambda: CategoricalHead(5, 3, rngs=nnx.Rngs(1)))
    plain, model = (VQVAE(3, 4, 16, 0.1, head=h, rngs=nnx.Rngs(0)) for h in (None, head))
    codes = model.encode(images)
    assert codes.shape == (3, 2, 3)
    np.testing.assert_array_equal(codes, plain.encode(images))
    np.testing.assert_array_equal(model.latents(images), plain.latents(images))


def test_codes_are_the_outputs(model, images, output):
    codes = model.encode(images)
    assert len(np.unique(codes)) >= 3
    np.testing.assert_array_equal(codes, output.quantized.indices)


def test_decoding_draws_images(model, images, output):
    decode = nnx.jit(lambda model, codes, key: model.decode(codes, key=key))
    codes = output.quantized.indices
    drawn = np.asarray(decode(model, codes, jax.random.key(0)))
    assert drawn.shape == images.shape
    assert drawn.dtype == np.float32
    assert -0.5 <= drawn.min() < drawn.max() <= 0.5 + 1e-7  # XLA multiplies by 1 / 255
    values = (drawn + 0.5) * 255
    np.testing.assert_allclose(values, values.round(), atol=1e-4)
    np.testing.assert_array_equal(decode(model, codes, jax.random.key(0)), drawn)
    other = np.asarray(decode(model, codes, jax.random.key(1)))
    assert (other != drawn).any(axis=(1, 2, 3)).all()


def test_images_are_drawn_from_the_distribution_given_the_codes():
    """Logits so far apart that the most likely value is drawn: that of the code's features."""
    model = make(CategoricalHead)
    model.likelihood.out.kernel[...] = 1e6 * model.likelihood.out.kernel[...]
    codes = jnp.arange(16, dtype=jnp.int32).reshape(2, 2, 4)
    features = model.decoder(model.quantizer.lookup(codes))
    kernel, bias = model.likelihood.out.kernel[...], model.likelihood.out.bias[...]
    logits = np.asarray(features) @ np.asarray(kernel) + np.asarray(bias)
    expected = logits.reshape(2, 8, 16, 3, 256).argmax(-1)
    drawn = model.decode(codes, key=jax.random.key(0))
    np.testing.assert_allclose((np.asarray(drawn) + 0.5) * 255, expected, atol=1e-4)
    assert len(np.unique(expected)) > 10


def test_decoding_needs_a_key(model, output):
    with pytest.raises(ValueError, match="key is None; a model with a head draws images"):
        model.decode(output.quantized.indices)


def test_head_of_other_images_is_refused():
    with pytest.raises(ValueError, match="in_dim is 3; it must be 1, the head's out_dim"):
        VQVAE(3, 4, 16, 0.1, head=CategoricalHead(5, 1, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))


TERMS = {
    "reconstruction": (
        lambda output: output.reconstruction_loss,
        {"encoder", "decoder", "likelihood"},
    ),
    "codebook": (lambda output: output.quantized.codebook_loss, {"quantizer"}),
    "commitment": (lambda output: output.quantized.commitment_loss, {"encoder"}),
    "total": (lambda output: output.loss, PARTS),
}


@pytest.fixture(scope="module")
def gradients(model, images):
    """The gradients of each term, all of them in one pass."""
    graphdef, params = nnx.split(model)

    def terms(params):
        output = nnx.merge(graphdef, params)(images)
        return jnp.stack([term(output) for term, _ in TERMS.values()])

    found = jax.jit(jax.jacrev(terms))(params)
    return {
        name: jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), found)
        for i, name in enumerate(TERMS)
    }


@pytest.mark.parametrize("name", TERMS)
def test_each_term_moves_its_parts_and_no_other(gradients, name):
    assert set(gradients[name]) == PARTS
    for part in PARTS:
        leaves = jax.tree.leaves(gradients[name][part])
        assert leaves
        for leaf in leaves:
            assert np.isfinite(leaf).all()
            assert np.any(leaf != 0) == (part in TERMS[name][1]), part


@pytest.mark.parametrize(
    ("part", "weights"),
    [
        ("quantizer", {"codebook": 1.0}),
        ("likelihood", {"reconstruction": 1.0}),
        ("decoder", {"reconstruction": 1.0}),
        ("encoder", {"reconstruction": 1.0, "commitment": 0.25}),
    ],
)
def test_total_is_the_weighted_sum_of_the_terms(gradients, part, weights):
    """The likelihood reaches all but the codebook, which gets the codebook loss alone."""
    parts = [[w * leaf for leaf in jax.tree.leaves(gradients[n][part])] for n, w in weights.items()]
    for ours, *theirs in zip(jax.tree.leaves(gradients["total"][part]), *parts, strict=True):
        np.testing.assert_allclose(ours, sum(theirs), rtol=1e-4, atol=1e-6)


def test_straight_through_copies_the_gradient_of_the_features(model, images, integers):
    def likelihood(values):
        return -jnp.mean(model.likelihood(model.decoder(values), jnp.asarray(integers)))

    @jax.jit
    def both(z):
        values = model.quantizer(z).values
        at_the_encoder = jax.grad(lambda z: likelihood(model.quantizer(z).values))
        return jax.grad(likelihood)(values), at_the_encoder(z)

    at_the_decoder, at_the_encoder = both(model.encoder(images))
    assert np.any(at_the_decoder != 0)
    np.testing.assert_allclose(at_the_encoder, at_the_decoder, rtol=1e-5, atol=1e-9)
