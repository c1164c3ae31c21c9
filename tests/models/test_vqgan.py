"""The VQGAN's networks: shapes, parameters, attention in pieces, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import FSQ, SquaredError, Tokenizer, VQGANDecoder, VQGANEncoder
from vqvae_jax.layers import SelfAttention, attention


def pair(image_dim=3, dim=5, **options):
    rngs = nnx.Rngs(0)
    encoder = VQGANEncoder(image_dim, dim, **options, rngs=rngs)
    return encoder, VQGANDecoder(image_dim, dim, **options, rngs=rngs)


def number_of_parameters(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_images_are_divided_and_come_back(levels):
    options = {"channels": (4, 8, 8, 12)[:levels], "num_blocks": 1, "attention_levels": (0,)}
    encoder, decoder = nnx.eval_shape(lambda: pair(2, **options))
    factor = 2 ** (levels - 1)
    assert encoder.downsampling == decoder.downsampling == (factor, factor)
    x = jax.ShapeDtypeStruct((2, 16, 24, 2), jnp.float32)
    z = nnx.eval_shape(lambda encoder, x: encoder(x), encoder, x)
    assert z.shape == (2, 16 // factor, 24 // factor, 5)
    assert nnx.eval_shape(lambda decoder, z: decoder(z), decoder, z).shape == x.shape


def test_the_parameters_are_those_of_the_released_model():
    """All but the codebook of taming-transformers' vqgan_imagenet_f16_1024: 72,141,699 in all."""
    options = {"attention_levels": (4,), "z_dim": 256}
    networks = nnx.eval_shape(lambda: pair(3, 256, **options))
    assert sum(map(number_of_parameters, networks)) == 72141699 - 1024 * 256


@pytest.mark.parametrize("remat", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_parameter_learns(remat):
    options = {"channels": (4, 8), "num_blocks": 1, "attention_levels": (1,), "remat": remat}
    encoder, decoder = drawn(lambda: pair(3, 4, **options))
    x = jnp.asarray(np.random.RandomState(0).randn(2, 4, 4, 3), jnp.float32)
    graphdef, params = nnx.split((encoder, decoder))

    @jax.jit
    def gradients(params):
        def loss(params):
            encoder, decoder = nnx.merge(graphdef, params)
            return jnp.mean((decoder(encoder(x)) - x) ** 2)

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(params)):
        if "'key'" in jax.tree_util.keystr(path) and leaf.ndim == 1:
            continue  # a bias of all keys alike changes no weight
        assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
def test_rematerialization_changes_nothing():
    options = {"channels": (4, 8), "num_blocks": 1, "attention_levels": (1,)}
    x = jnp.asarray(np.random.RandomState(0).randn(2, 4, 4, 3), jnp.float32)
    results = []
    for remat in (False, True):
        encoder, _ = drawn(lambda remat=remat: pair(3, 4, **options, remat=remat))
        graphdef, params = nnx.split(encoder)
        loss = jax.jit(jax.value_and_grad(lambda p, g=graphdef: jnp.sum(nnx.merge(g, p)(x) ** 2)))
        results.append(jax.tree.leaves(loss(params)))
    for kept, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(recomputed, kept, rtol=1e-4, atol=1e-3)


def test_attention_is_a_softmax_over_all_positions(monkeypatch):
    layer = drawn(lambda: SelfAttention(6, rngs=nnx.Rngs(0)))
    x = np.random.RandomState(1).randn(2, 3, 5, 6).astype(np.float32)
    normalized = np.asarray(layer.norm(jnp.asarray(x))).reshape(2, 15, 6)
    query, key, value = (
        normalized @ np.asarray(part.kernel[...]) + np.asarray(part.bias[...])
        for part in (layer.query, layer.key, layer.value)
    )
    scores = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(6))
    attended = scores / scores.sum(axis=2, keepdims=True) @ value
    out = attended @ np.asarray(layer.out.kernel[...]) + np.asarray(layer.out.bias[...])
    expected = x + out.reshape(x.shape)
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(attention, "_MOST_WEIGHTS", 4 * 15)  # four queries at a time
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ()}, r"channels is \(\); it must be a list of integers, one per level"),
        ({"channels": (4, 0)}, "channels is 0; it must be an integer of at least 1"),
        ({"num_blocks": 0}, "num_blocks is 0; it must be an integer of at least 1"),
        ({"attention_levels": (5,)}, r"attention_levels is \(5,\); it must be .* from 0 to 4"),
        ({"middle_attention": 1}, "middle_attention is 1; it must be True or False"),
        ({"remat": None}, "remat is None; it must be True or False"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named(options, message):
    for kind in (VQGANEncoder, VQGANDecoder):
        with pytest.raises(ValueError, match=message):
            kind(3, 4, **options, rngs=nnx.Rngs(0))


def test_it_is_a_tokenizers_part():
    encoder, decoder = nnx.eval_shape(lambda: pair(1, 3, channels=(4, 4), num_blocks=1))
    tokenizer = Tokenizer(encoder, FSQ((5, 5, 5)), decoder, SquaredError(1, 0.1))
    codes = nnx.eval_shape(lambda t, x: t.encode(x), tokenizer, jnp.zeros((2, 8, 6, 1)))
    assert codes.shape == (2, 4, 3)
