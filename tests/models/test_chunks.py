"""Large batches on CPUs are encoded and decoded a few examples at a time, with the same results."""

import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

from vqvae_jax import VQVAE, ResidualVQ, VectorQuantizer
from vqvae_jax.layers import Conv
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


def split_over_devices(kind, images):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(kind,))
    return jax.device_put(images, jax.NamedSharding(mesh, jax.P("batch")))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("count", [10, 16])
def test_devices_keep_their_share(model, kind, compiled, count):
    images = jnp.asarray(np.random.RandomState(0).rand(count, 12, 20, 1), jnp.float32)
    shared = split_over_devices(kind, images)
    encode = nnx.jit(lambda model, x: model.encode(x)) if compiled else type(model).encode
    codes = encode(model, shared)
    np.testing.assert_array_equal(codes, model.encode(images))
    assert codes.sharding.is_equivalent_to(shared.sharding, codes.ndim)


def test_nothing_moves_between_devices(model):
    images = split_over_devices(AxisType.Auto, jnp.zeros((16, 12, 20, 1)))
    graphdef, state = nnx.split(model)
    encode = jax.jit(lambda state, x: nnx.merge(graphdef, state).encode(x))
    program = encode.lower(state, images).compile().as_text()
    assert "while" in program  # in chunks
    assert not re.search("all-gather|all-to-all|collective-permute", program)


@pytest.mark.parametrize(
    ("devices", "count", "number"),
    [(1, 10_007, 201), (1, 50, 1), (1, 0, 1), (2, 10_000, 200), (2, 128, 4), (2, 10_007, 1)],
)
def test_chunks_are_even_where_devices_may_share_them(monkeypatch, devices, count, number):
    monkeypatch.setattr(jax, "local_device_count", lambda backend: devices)
    assert chunks._number_of_chunks(count, 50) == number


@pytest.mark.usefixtures("unchecked")
def test_sizes_may_be_symbolic(model):
    graphdef, state = nnx.split(model)
    shape = jax.export.symbolic_shape("b, 4 * h, 4 * h, 1")
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    encode = jax.jit(lambda x: nnx.merge(graphdef, state).encode(x))
    x = jnp.asarray(np.random.RandomState(0).rand(7, 8, 8, 1), jnp.float32)
    np.testing.assert_array_equal(jax.export.export(encode)(images).call(x), model.encode(x))


@pytest.mark.usefixtures("unchecked")
def test_wide_layers_take_symbolic_sizes():
    layer = Conv(16, 16, 3, padding=1, rngs=nnx.Rngs(0))
    shape = jax.export.symbolic_shape("b, h, h, 16")
    exported = jax.export.export(jax.jit(layer))(jax.ShapeDtypeStruct(shape, jnp.float32))
    x = jnp.asarray(np.random.RandomState(0).rand(2, 8, 8, 16), jnp.float32)
    np.testing.assert_allclose(exported.call(x), layer(x), atol=1e-5)


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
