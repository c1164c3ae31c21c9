"""The networks of MaskGIT's VQGAN: shapes, blocks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import MaskGITDecoder, MaskGITEncoder
from vqvae_jax.layers import AveragePool
from vqvae_jax.models.maskgit import MaskGITBlock

random = np.random.RandomState(0)
X = jnp.asarray(random.randn(2, 4, 6, 4), jnp.float32)


def built(kind, channels, **options):
    return nnx.eval_shape(
        lambda: kind(3, 5, channels=channels, num_blocks=1, **options, rngs=nnx.Rngs(0))
    )


@pytest.mark.parametrize("conv_downsample", [False, True])
@pytest.mark.parametrize("channels", [(4,), (8, 4, 12)])
def test_images_are_divided_and_come_back(channels, conv_downsample):
    factor = 2 ** (len(channels) - 1)
    encoder = built(MaskGITEncoder, channels, conv_downsample=conv_downsample)
    decoder = built(MaskGITDecoder, channels)
    assert encoder.downsampling == decoder.downsampling == (factor, factor)
    x = jax.ShapeDtypeStruct((2, 16, 24, 3), jnp.float32)
    z = nnx.eval_shape(lambda encoder, x: encoder(x), encoder, x)
    assert z.shape == (2, 16 // factor, 24 // factor, 5)
    assert nnx.eval_shape(lambda decoder, z: decoder(z), decoder, z).shape == x.shape


def test_where_the_width_changes_the_input_is_not_added():
    block = drawn(lambda: MaskGITBlock(4, 6, rngs=nnx.Rngs(0)))
    y = np.asarray(block.changed(X))
    expected = y + y @ np.asarray(block.shortcut.kernel[...])[0, 0]
    np.testing.assert_allclose(block(X), expected, atol=1e-5)


def test_elsewhere_it_is():
    block = drawn(lambda: MaskGITBlock(4, 4, rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(block(X), block.changed(X) + X, atol=1e-6)
    assert block.shortcut is None


def test_pooling_takes_means():
    x = np.asarray(X)
    expected = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    np.testing.assert_allclose(AveragePool()(X), expected, rtol=1e-6)
    np.testing.assert_array_equal(AveragePool()(X[:, :3, :5]), AveragePool()(X)[:, :1, :2])


def test_the_strided_convolution_pads_as_flax_does():
    encoder = drawn(
        lambda: MaskGITEncoder(3, 5, channels=(4, 4), conv_downsample=True, rngs=nnx.Rngs(0))
    )
    halve = encoder.levels[0].resample
    expected = jax.lax.conv_general_dilated(
        X, halve.kernel[...], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(
        halve(X), np.asarray(expected) + np.asarray(halve.bias[...]), atol=1e-5
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (MaskGITEncoder, {"num_blocks": 0}, "num_blocks is 0; it must be an integer of at least"),
        (MaskGITDecoder, {"channels": []}, r"channels is \[\]; it must be a list"),
        (MaskGITEncoder, {"conv_downsample": 1}, "conv_downsample is 1; it must be True or False"),
    ],
)
def test_wrong_arguments_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(3, 4, **options, rngs=nnx.Rngs(0))
