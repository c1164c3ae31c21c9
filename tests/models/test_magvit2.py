"""MAGVIT-v2's networks: shapes, layers against NumPy, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import MAGVIT2Decoder, MAGVIT2Encoder
from vqvae_jax.layers import AdaptiveGroupNorm, SubpixelUpsample

random = np.random.RandomState(0)


@pytest.mark.parametrize("channels", [(4,), (8, 4, 12)])
def test_images_are_divided_and_come_back(channels):
    factor = 2 ** (len(channels) - 1)
    options = {"channels": channels, "num_blocks": 1}
    encoder, decoder = nnx.eval_shape(
        lambda: (
            MAGVIT2Encoder(3, 5, **options, rngs=nnx.Rngs(0)),
            MAGVIT2Decoder(3, 5, **options, rngs=nnx.Rngs(0)),
        )
    )
    assert encoder.downsampling == decoder.downsampling == (factor, factor)
    x = jax.ShapeDtypeStruct((2, 16, 24, 3), jnp.float32)
    z = nnx.eval_shape(lambda encoder, x: encoder(x), encoder, x)
    assert z.shape == (2, 16 // factor, 24 // factor, 5)
    assert nnx.eval_shape(lambda decoder, z: decoder(z), decoder, z).shape == x.shape


@pytest.mark.parametrize("side", [1, 3])
def test_the_adaptive_norm_is_that_of_numpy(side):
    """Each image's own style; of one position, whose variance has no estimate, the variance 0."""
    norm = drawn(lambda: AdaptiveGroupNorm(64, 3, rngs=nnx.Rngs(0)))
    x = (random.randn(2, 4, 5, 64) * 3 + 1).astype(np.float32)
    z = random.randn(2, side, side, 3).astype(np.float32)
    groups = x.reshape(2, 20, 32, 2).astype(np.float64)
    normalized = groups - groups.mean((1, 3), keepdims=True)
    normalized /= np.sqrt((normalized**2).mean((1, 3), keepdims=True) + 1e-6)
    vectors = z.reshape(2, -1, 3).astype(np.float64)
    variance = vectors.var(1, ddof=1) if side > 1 else np.zeros((2, 3))
    scale, bias = (
        vector @ np.asarray(linear.kernel[...]) + np.asarray(linear.bias[...])
        for linear, vector in (
            (norm.gamma, np.sqrt(variance + 1e-6)),
            (norm.beta, vectors.mean(1)),
        )
    )
    expected = normalized.reshape(x.shape) * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(norm(jnp.asarray(x), jnp.asarray(z)), expected, atol=1e-5)


def test_channels_become_pixels_row_by_row():
    layer = drawn(lambda: SubpixelUpsample(2, rngs=nnx.Rngs(0)))
    x = jnp.asarray(random.randn(1, 3, 4, 2), jnp.float32)
    before, after = np.asarray(layer.conv(x)), np.asarray(layer(x))
    assert after.shape == (1, 6, 8, 2)
    for row in range(2):
        for column in range(2):
            first = 2 * (2 * row + column)
            np.testing.assert_array_equal(
                after[:, row::2, column::2], before[..., first : first + 2]
            )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": 0}, "num_blocks is 0; it must be an integer of at least 1"),
        ({"channels": ()}, r"channels is \(\); it must be a list of integers"),
        ({"channels": (1, 0)}, "channels is 0; it must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    for kind in (MAGVIT2Encoder, MAGVIT2Decoder):
        with pytest.raises(ValueError, match=message):
            kind(3, 4, **options, rngs=nnx.Rngs(0))
