"""Shapes, round trips and refusals of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import VQVAE, Decoder, Encoder, Tokenizer


@pytest.fixture
def model():
    return VQVAE(3, 4, 16, 0.1, rngs=nnx.Rngs(0))


@pytest.fixture
def images():
    return jnp.asarray(np.random.RandomState(0).rand(2, 12, 20, 3).astype(np.float32) - 0.5)


def test_output(model, images):
    output = model(images)
    assert output.reconstruction.shape == images.shape
    assert output.latents.shape == (2, 3, 5, 4)
    assert output.quantized.indices.shape == (2, 3, 5)
    expected = np.mean((np.asarray(output.reconstruction) - np.asarray(images)) ** 2) / 0.1
    np.testing.assert_allclose(output.reconstruction_loss, expected, rtol=1e-6)


def test_codes_decode_to_the_reconstruction(model, images):
    codes = model.encode(images)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, model(images).quantized.indices)
    np.testing.assert_array_equal(model.decode(codes), model(images).reconstruction)


def test_bfloat16_images_are_computed_in_float32(model, images):
    narrow = images.astype(jnp.bfloat16)
    output, expected = model(narrow), model(narrow.astype(jnp.float32))
    assert output.reconstruction.dtype == jnp.float32
    np.testing.assert_array_equal(output.reconstruction, expected.reconstruction)
    np.testing.assert_allclose(output.loss, expected.loss, rtol=1e-6)


def test_code_out_of_range_is_seen(model):
    assert np.isnan(model.decode(jnp.full((1, 2, 2), 16))).any()


@pytest.mark.slow
def test_works_without_a_graph(images):
    """Flax's tree mode: no shared variables, nothing mutated."""
    with nnx.set_graph_mode(False):
        model = VQVAE(3, 4, 16, 0.1, rngs=nnx.Rngs(0))
        graphdef, params = nnx.split(model)
        step = nnx.jit(nnx.value_and_grad(lambda model, images: model(images).loss))
        loss, gradients = step(model, images)
    np.testing.assert_allclose(loss, nnx.merge(graphdef, params)(images).loss, rtol=1e-6)
    expected = jax.jit(jax.grad(lambda params: nnx.merge(graphdef, params)(images).loss))(params)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_same_seed_same_model(images):
    first, second = (VQVAE(3, 4, 16, 0.1, rngs=nnx.Rngs(7))(images).loss for _ in range(2))
    other = VQVAE(3, 4, 16, 0.1, rngs=nnx.Rngs(8))(images).loss
    assert first == second != other


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", ["__call__", "encode"])
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 12, 20, 1), jnp.float32, r"\(2, 12, 20, 1\); it must be \[B, H, W, 3\]"),
        ((2, 13, 20, 3), jnp.float32, "with H, W multiples of 4, 4"),
        ((2, 12, 22, 3), jnp.float32, "with H, W multiples of 4, 4"),
        ((12, 20, 3), jnp.float32, r"it must be \[B, H, W, 3\]"),
        (
            (2, 12, 20, 3),
            jnp.uint8,
            r"type uint8; it must be floating \(integer pixels: x / 255 - 0.5\)",
        ),
    ],
)
def test_wrong_images_are_named(model, method, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(jnp.zeros(shape, dtype))


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_variance_is_named(variance):
    with pytest.raises(
        ValueError, match=r"data_variance is .*; it must be a finite number above 0"
    ):
        VQVAE(1, 4, 16, variance, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("value_range", [(0.5, -0.5), (0.0, 0.0), (0.0, float("inf"))])
def test_wrong_range_of_values_is_named(model, value_range):
    parts = (model.encoder, model.quantizer, model.decoder, model.likelihood)
    with pytest.raises(ValueError, match=r"value_range is \(.*\); it must be finite, the lowest"):
        Tokenizer(*parts, value_range=value_range)


@pytest.fixture(scope="module")
def parts():
    return {
        "encoder": Encoder(3, 16, rngs=nnx.Rngs(0)),
        "decoder": Decoder(3, 16, rngs=nnx.Rngs(1)),
    }


@pytest.mark.parametrize("kind", ["kernel", "bias"])
@pytest.mark.parametrize(
    ("part", "index", "fan"),
    [
        ("encoder", 0, 3 * 9),
        ("encoder", 1, 32 * 9),
        ("encoder", 2, 64),
        ("decoder", 0, 64 * 9),
        ("decoder", 1, 32 * 9),
        ("decoder", 2, 3 * 9),
    ],
)
def test_initial_values_are_pytorchs(parts, part, index, fan, kind):
    """U(+-1 / sqrt(fan_in)): bounds, mean, variance and kurtosis, each within 5 standard errors."""
    values = getattr(parts[part].convs[index], kind)[...]
    scaled = np.asarray(values, np.float64).ravel() * fan**0.5
    n = scaled.size
    assert np.abs(scaled).max() <= 1
    assert np.abs(scaled).max() > 1 - 5 / n
    assert abs(scaled.mean()) < 5 * (1 / 3 / n) ** 0.5
    assert abs((scaled**2).mean() - 1 / 3) < 5 * (4 / 45 / n) ** 0.5
    assert abs((scaled**4).mean() - 1 / 5) < 5 * (16 / 225 / n) ** 0.5
    assert len(np.unique(scaled)) > 0.9 * n


def test_initial_codebook_is_pytorchs():
    """N(0, 1): first four moments, each within 5 standard errors."""
    codes = np.asarray(VQVAE(1, 64, 512, 0.1, rngs=nnx.Rngs(0)).quantizer.embeddings[...])
    n = codes.size
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((codes.astype(np.float64) ** power).mean() - mean) < 5 * (variance / n) ** 0.5
