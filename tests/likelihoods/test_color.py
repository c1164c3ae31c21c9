"""The mixtures of PixelCNN++ against their definition, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled
from vqvae_jax import AutoregressiveColorHead, ColorMixtureHead
from vqvae_jax.likelihoods import ColorMixture

M = 3


def joint(parameters, x):
    """log p(x) of one pixel: a sum over components of products over channels, in float64."""
    parts = np.asarray(parameters, np.float64).reshape(-1, M)
    scaled = (2 * np.asarray(x, np.float64) - 255) / 255
    place = 1
    log_p = parts[0] - np.logaddexp.reduce(parts[0])
    for channel, value in enumerate(scaled):
        mean, scale = parts[place].copy(), np.exp(np.minimum(parts[place + 1], 2))
        place += 2
        for earlier in range(channel):
            mean += np.tanh(parts[place]) * scaled[earlier]
            place += 1
        above = np.inf if x[channel] == 255 else (value + 1 / 255 - mean) / scale
        below = -np.inf if x[channel] == 0 else (value - 1 / 255 - mean) / scale
        with np.errstate(over="ignore"):
            log_p += np.log(1 / (1 + np.exp(-above)) - 1 / (1 + np.exp(-below)))
    assert place == len(parts)
    return np.logaddexp.reduce(log_p)


@pytest.fixture
def pixels():
    random = np.random.RandomState(0)
    x = random.randint(0, 256, (40, 3)).astype(np.uint8)
    x[:4] = [[0, 255, 0], [255, 0, 255], [0, 0, 0], [255, 255, 255]]
    parameters = random.randn(40, ColorMixture(M).size(3)) - 0.5
    return jnp.asarray(parameters, jnp.float32), jnp.asarray(x)


def test_a_pixel_has_the_probability_of_its_definition(pixels):
    parameters, x = pixels
    log_p = jax.jit(ColorMixture(M).of_pixel)(parameters, x)
    assert log_p.shape == (40, 3)
    expected = [joint(*one) for one in zip(parameters, x, strict=True)]
    np.testing.assert_allclose(log_p.sum(1), expected, rtol=1e-4, atol=1e-4)


def test_tables_hold_the_conditional_probabilities(pixels):
    """Each adds up to 1, has the pixel's own value, and depends on earlier channels alone."""
    parameters, x = pixels
    family = ColorMixture(M)
    log_p = jax.jit(family.of_pixel)(parameters, x)
    for channel in range(3):
        of_channel = jax.jit(family.of_channel, static_argnums=2)
        table = of_channel(parameters, x, channel)
        np.testing.assert_allclose(np.exp(table).sum(1), 1, rtol=1e-5)
        own = np.take_along_axis(np.asarray(table), np.asarray(x, int)[:, channel, None], 1)[:, 0]
        np.testing.assert_allclose(own, log_p[:, channel], rtol=1e-5, atol=1e-5)
        later = x.at[:, channel:].set(255 - x[:, channel:])
        np.testing.assert_array_equal(table, of_channel(parameters, later, channel))
        if channel > 0:
            earlier = x.at[:, 0].set(255 - x[:, 0])
            assert np.abs(table - of_channel(parameters, earlier, channel)).max() > 0.01


def test_one_channel_is_a_logistic_mixture(pixels):
    parameters, x = pixels
    family = ColorMixture(M)
    assert family.size(1) == 3 * M
    expected = [joint(*one) for one in zip(parameters[:, : 3 * M], x[:, :1], strict=True)]
    actual = jax.jit(family.of_pixel)(parameters[:, : 3 * M], x[:, :1])[:, 0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [ColorMixtureHead, AutoregressiveColorHead])
def test_gradients_are_finite_at_the_edges(kind):
    head = drawn(lambda: kind(4, 3, num_mixtures=2, rngs=nnx.Rngs(0)))
    x = jnp.asarray(np.random.RandomState(0).choice([0, 255], (2, 4, 4, 3)), jnp.uint8)
    features = jnp.full((2, 4, 4, 4), 3.0)
    graphdef, state = nnx.split(head)

    @jax.jit
    def gradients_of(features):
        return jax.grad(lambda of: nnx.merge(graphdef, state).nll(of, x).sum())(features)

    gradients = gradients_of(features)
    assert np.isfinite(gradients).all()
    assert np.abs(gradients).max() > 0


def test_draws_follow_the_distribution():
    """The first channel's counts, and the second's mean given the first, of 4,000 draws."""
    head = drawn(lambda: ColorMixtureHead(2, 2, num_mixtures=2, rngs=nnx.Rngs(0)), seed=3)
    features = jnp.ones((1, 40, 100, 2))
    drawn_x = run_compiled(ColorMixtureHead.sample, head, features, jax.random.key(0))
    x = np.asarray(drawn_x).reshape(-1, 2).astype(int)
    one = jnp.zeros((1, 1, 1, 2), jnp.uint8)
    table = run_compiled(ColorMixtureHead.log_probs, head, features[:, :1, :1], one)
    first = np.exp(np.asarray(table, np.float64))[0, 0, 0, 0]
    p = first[:128].sum()
    assert abs(np.sum(x[:, 0] < 128) - 4000 * p) < 5 * np.sqrt(4000 * p * (1 - p))
    log_p = np.asarray(run_compiled(ColorMixtureHead.__call__, head, features, drawn_x))
    entropy = -(first * np.log(first)).sum()
    assert abs(-log_p[..., 0].mean() - entropy) < 0.15


def test_reconstructions_need_no_key():
    head = drawn(lambda: ColorMixtureHead(2, 3, num_mixtures=2, rngs=nnx.Rngs(0)))
    features = jnp.ones((1, 4, 4, 2))
    image = run_compiled(ColorMixtureHead.reconstruct, head, features, jax.random.key(0))
    assert image.shape == (1, 4, 4, 3)
    assert -0.5 <= image.min() <= image.max() <= 0.5
