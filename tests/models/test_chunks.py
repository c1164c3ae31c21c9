"""Large batches on CPUs are encoded and decoded a few examples at a time, with the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import VQVAE, ResidualVQ, VectorQuantizer
from vqvae_jax.models import chunks


@pytest.fixture
def model():
    return VQVAE(1, 4, 16, 0.1, rngs=nnx.Rngs(0))


@pytest.fixture
def images():
    return jnp.asarray(np.random.RandomState(0).rand(11, 12, 20, 1).astype(np.float32) - 0.5)


@pytest.fixture
def whole(monkeypatch):
    """Returns what a function gives for all examples at once."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "_POSITIONS", 10**9)
            return function(*arguments)

    return call


@pytest.fixture(autouse=True)
def _four_at_a_time(monkeypatch):
    monkeypatch.setattr(chunks, "_POSITIONS", 4 * 12 * 20)


def codes_and_images(model, images, mask=None):
    codes = model.encode(images, mask)
    return codes, model.decode(codes)


@pytest.mark.parametrize("compiled", [False, True])
def test_equals_the_whole(model, images, whole, compiled):
    function = nnx.jit(codes_and_images) if compiled else codes_and_images
    expected_codes, expected = whole(codes_and_images, model, images)
    codes, decoded = function(model, images)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(decoded, expected, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_masks_and_several_codebooks(images, whole, compiled):
    books = [VectorQuantizer(4, 16, rngs=nnx.Rngs(i)) for i in range(2)]
    model = VQVAE(1, 4, 16, 0.1, quantizer=ResidualVQ(books), rngs=nnx.Rngs(0))
    mask = jnp.asarray(np.random.RandomState(1).rand(11, 3, 5) < 0.5)
    function = nnx.jit(codes_and_images) if compiled else codes_and_images
    expected_codes, expected = whole(codes_and_images, model, images, mask)
    codes, decoded = function(model, images, mask)
    assert np.all((np.asarray(codes) == -1) == ~mask[..., None])
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_allclose(decoded, expected, atol=1e-6)


def test_gradient_of_decoding(model, images, whole):
    """The codes are not traced, but the parameters are."""
    graphdef, params = nnx.split(model)
    codes = model.encode(images)

    def loss(params):
        return jnp.sum(nnx.merge(graphdef, params).decode(codes) ** 2)

    expected = whole(jax.grad(loss), params)
    for ours, theirs in zip(
        jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_at_a_time_if_examples_are_large(model, images, whole, monkeypatch):
    monkeypatch.setattr(chunks, "_POSITIONS", 1)
    np.testing.assert_array_equal(model.encode(images), whole(model.encode, images))


@pytest.mark.usefixtures("unchecked")
def test_a_mask_of_another_batch_is_refused(model, images):
    with pytest.raises(ValueError, match="mask has shape"):
        model.encode(images, jnp.ones((12, 3, 5), bool))


def test_memory_of_ten_thousand_images(monkeypatch):
    """Encoding is compiled with temporary arrays for 50 images, beside a copy of the batch."""
    monkeypatch.undo()
    graphdef, state = nnx.split(VQVAE(1, 64, 512, 0.1, rngs=nnx.Rngs(0)))
    images = jax.ShapeDtypeStruct((10_000, 28, 28, 1), jnp.float32)
    encode = jax.jit(lambda state, images: nnx.merge(graphdef, state).encode(images))
    memory = encode.lower(state, images).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 100 * 2**20
