"""Bits per dimension, against NumPy in float64 over all images at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from tests.priors.conftest import KINDS
from vqvae_jax import (
    VQVAE,
    ArraySource,
    AutoregressiveHead,
    CategoricalHead,
    ResidualVQ,
    VectorQuantizer,
)
from vqvae_jax.metrics.bits import BitsPerDim, bits_per_dim
from vqvae_jax.pixels import to_floats

pytestmark = pytest.mark.usefixtures("optimized")

AUTOREGRESSIVE = functools.partial(AutoregressiveHead, hidden_dim=8, num_layers=1, size=3)


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).randint(0, 256, (12, 8, 12, 1)).astype(np.uint8)


def models(make_head, kind, num_codebooks=None, num_classes=None):
    """A VQ-VAE and a prior."""

    def build():
        rngs, quantizer = nnx.Rngs(0), None
        if num_codebooks is not None:
            quantizer = ResidualVQ([VectorQuantizer(4, 5, rngs=rngs) for _ in range(num_codebooks)])
        head = make_head(3, 1, rngs=rngs)
        vqvae = VQVAE(1, 4, 5, 0.1, quantizer=quantizer, head=head, rngs=rngs)
        return vqvae, KINDS[kind](
            5, num_codebooks=num_codebooks, num_classes=num_classes, rngs=rngs
        )

    return drawn(build)


def in_numpy(vqvae, prior, images):
    """The bits of pixels and of codes, divided by the numbers of all images."""

    @nnx.jit
    def outputs(vqvae, prior, images):
        codes = vqvae.encode(to_floats(images))
        features = vqvae.decoder(vqvae.quantizer.lookup(codes))
        return codes, vqvae.likelihood.log_probs(features, images), prior(codes)

    codes, *logits = outputs(vqvae, prior, jnp.asarray(images))
    assert len(np.unique(codes)) > 2
    bits = []
    for table, chosen in zip(logits, (images, codes), strict=True):
        p = np.exp(np.asarray(table, np.float64))
        p /= p.sum(axis=-1, keepdims=True)
        taken = np.take_along_axis(p, np.asarray(chosen, int)[..., None], axis=-1)
        bits.append(-np.log2(taken).sum() / images.size)
    return bits


@pytest.fixture(scope="module")
def independent(images):
    vqvae, prior = models(CategoricalHead, "pixelcnn")
    return vqvae, prior, in_numpy(vqvae, prior, images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "devices"),
    [
        (3, 4),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(1, 1), (3, 1), (64, 1), (1, 4), (64, 4)]
        ),
    ],
)
def test_bits_are_those_of_numpy(independent, images, batch_size, devices):
    vqvae, prior, (pixels, codes) = independent
    bits = bits_per_dim(
        vqvae, prior, ArraySource({"image": images}), jax.devices()[:devices], batch_size
    )
    assert bits.images == 12
    np.testing.assert_allclose(bits.pixels, pixels, rtol=1e-5)
    np.testing.assert_allclose(bits.codes, codes, rtol=1e-5)
    assert bits.total == bits.pixels + bits.codes


@pytest.mark.slow
def test_bits_of_several_codebooks_and_of_pixels_that_depend(images):
    """An autoregressive head, a residual quantizer, and a prior asked for no class."""
    vqvae, prior = models(AUTOREGRESSIVE, "transformer", num_codebooks=2, num_classes=3)
    pixels, codes = in_numpy(vqvae, prior, images)
    bits = bits_per_dim(vqvae, prior, ArraySource({"image": images}), jax.devices(), 6)
    np.testing.assert_allclose([bits.pixels, bits.codes], [pixels, codes], rtol=1e-5)


def test_uniform_models_take_log2_of_their_values(independent, images):
    """8 bits per pixel, and log2 of 5 codes for each of the 16 pixels of a position."""
    vqvae, prior = (nnx.clone(model) for model in independent[:2])
    for layer in (vqvae.likelihood.out, prior.outputs[0]):
        layer.kernel[...], layer.bias[...] = 0 * layer.kernel[...], 0 * layer.bias[...]
    bits = bits_per_dim(vqvae, prior, ArraySource({"image": images}), jax.devices()[:1])
    np.testing.assert_allclose(bits.pixels, 8, rtol=1e-5)
    np.testing.assert_allclose(bits.codes, np.log2(5) / 16, rtol=1e-5)
    np.testing.assert_allclose(bits.total, 8 + np.log2(5) / 16, rtol=1e-5)


def test_total_is_the_sum():
    assert BitsPerDim(pixels=1.25, codes=0.5, images=3).total == 1.75


def test_model_without_a_head_is_refused(independent, images):
    prior = independent[1]
    vqvae = nnx.eval_shape(lambda: VQVAE(1, 4, 5, 0.1, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="the VQ-VAE has no head"):
        bits_per_dim(vqvae, prior, ArraySource({"image": images}), jax.devices())


@pytest.mark.parametrize("shape", [(2, 8, 12, 3), (2, 6, 12, 1)])
def test_images_that_do_not_fit_are_refused(independent, shape):
    vqvae, prior, _ = independent
    with pytest.raises(ValueError, match=r"x has shape .*; it must be \[B, H, W, 1\]"):
        bits_per_dim(
            vqvae, prior, ArraySource({"image": np.zeros(shape, np.uint8)}), jax.devices()[:1]
        )
