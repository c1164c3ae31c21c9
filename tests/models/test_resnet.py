"""The residual networks of the paper: shapes, parameters, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import (
    EMAVectorQuantizer,
    ResNetDecoder,
    ResNetEncoder,
    SquaredError,
    Tokenizer,
    TokenizerTask,
)
from vqvae_jax.parallel import mesh_for, place, split


def pair(channels=3, dim=5, **options):
    rngs = nnx.Rngs(0)
    encoder = ResNetEncoder(channels, dim, **options, rngs=rngs)
    return encoder, ResNetDecoder(channels, dim, **options, rngs=rngs)


def number_of_parameters(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_images_are_divided_and_come_back(factor, channels, normalize):
    encoder, decoder = nnx.eval_shape(
        lambda: pair(channels, width=8, downsampling=factor, normalize=normalize)
    )
    assert encoder.downsampling == decoder.downsampling == (factor, factor)
    x = jax.ShapeDtypeStruct((2, 64, 96, channels), jnp.float32)
    z = nnx.eval_shape(lambda encoder, x: encoder(x), encoder, x)
    assert z.shape == (2, 64 // factor, 96 // factor, 5)
    assert nnx.eval_shape(lambda decoder, z: decoder(z), decoder, z).shape == x.shape


def test_the_network_is_that_of_the_paper():
    """Two 4x4 convolutions, two blocks of 3x3 and 1x1, all 256 wide; and the two projections."""
    encoder, decoder = nnx.eval_shape(lambda: pair(3, 64))
    block = (9 * 256 + 1) * 256 + (256 + 1) * 256
    down = (16 * 3 + 1) * 256 + (16 * 256 + 1) * 256
    assert number_of_parameters(encoder) == down + 2 * block + (256 + 1) * 64
    up = (16 * 256 + 1) * 256 + 16 * 256 * 3 + 3
    assert number_of_parameters(decoder) == (9 * 64 + 1) * 256 + 2 * block + up


@pytest.mark.parametrize("normalize", [False, True])
def test_every_parameter_learns(normalize):
    encoder, decoder = drawn(lambda: pair(3, 4, width=8, downsampling=2, normalize=normalize))
    x = jnp.asarray(np.random.RandomState(0).randn(2, 8, 8, 3), jnp.float32)
    graphdef, params = nnx.split((encoder, decoder))

    @jax.jit
    def gradients(params):
        def loss(params):
            encoder, decoder = nnx.merge(graphdef, params)
            return jnp.mean((decoder(encoder(x)) - x) ** 2)

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(params)):
        assert np.abs(leaf).max() > 0, path


@pytest.mark.slow
def test_a_tokenizer_of_them_learns():
    """Ten steps on eight images lower the loss by half."""
    rngs = nnx.Rngs(0)
    encoder, decoder = pair(3, 8, width=16, num_blocks=1)
    quantizer = EMAVectorQuantizer(8, 32, kmeans_init=True, rngs=rngs)
    model = Tokenizer(encoder, quantizer, decoder, SquaredError(3, 0.08))
    task = TokenizerTask(model, optax.adam(1e-2))
    rows, columns = np.mgrid[:16, :16]
    colors = np.random.RandomState(0).randint(0, 10, (8, 1, 1, 3))
    images = (rows[..., None] + columns[..., None]) * colors
    batch = {"image": jnp.asarray(images.clip(0, 255), jnp.uint8)}
    mesh = mesh_for(jax.devices(), 8)
    batch = place(batch, split(mesh))
    state = task.init(jax.random.key(0), batch)
    step = jax.jit(lambda state, key: task.train_step(state, batch, key, mesh))
    losses = []
    for number in range(10):
        state, sums = step(state, jax.random.key(number))
        losses.append(task.metrics(sums)["loss"])
    assert losses[-1] < losses[0] / 2, losses


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"downsampling": 3}, "downsampling is 3; it must be one of 2, 4, 8, 16, 32"),
        ({"downsampling": 64}, "downsampling is 64; it must be one of"),
        ({"width": 0}, "width is 0; it must be an integer of at least 1"),
        ({"num_blocks": -1}, "num_blocks is -1; it must be an integer of at least 0"),
        ({"normalize": 1}, "normalize is 1; it must be True or False"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    for kind in (ResNetEncoder, ResNetDecoder):
        with pytest.raises(ValueError, match=message):
            kind(3, 4, **options, rngs=nnx.Rngs(0))
