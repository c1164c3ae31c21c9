"""Metrics of audio against their formulas in float64, and silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax import PSNR, SISDR, SSIM, MelDistance, MelSpectrogram

RANDOM = np.random.RandomState(0)
X = 0.1 + 0.2 * RANDOM.randn(3, 200, 2)
Y = 0.5 * X + np.asarray([0.001, 0.05, 0.4])[:, None, None] * RANDOM.randn(3, 200, 2)


def measured(metric, *signals):
    return np.asarray(jax.jit(metric)(*(jnp.asarray(of, jnp.float32) for of in signals)))


def si_sdr(x, y):
    """The ratio of the projection of y on x to what is left of y, both without their means."""
    x, y = x - x.mean(), y - y.mean()
    left = y - (projected := np.outer(x, x) @ y / (x @ x))
    return 10 * np.log10((projected @ projected) / (left @ left))


def test_si_sdr_is_its_formula():
    expected = [
        np.mean([si_sdr(x[:, c], y[:, c]) for c in range(2)]) for x, y in zip(X, Y, strict=True)
    ]
    np.testing.assert_allclose(measured(SISDR(), X, Y), expected, rtol=1e-4, atol=1e-3)


def test_si_sdr_knows_neither_scale_nor_mean_of_the_reconstruction():
    np.testing.assert_allclose(
        measured(SISDR(), X, 3 * Y - 0.2), measured(SISDR(), X, Y), atol=1e-2
    )


@pytest.mark.parametrize("x", [0 * X, 0 * X + 0.5])
def test_silence_is_finite(x):
    np.testing.assert_allclose(measured(SISDR(), x, x), 0, atol=1e-3)
    assert np.all(measured(SISDR(), x, Y) < -50)
    found = measured(SISDR(), X, x)
    assert np.all(np.isfinite(found))
    assert np.all(found <= 0.1)
    assert np.all(measured(SISDR(), X, X) > 60)


def test_mel_distance_is_its_formula():
    metric, mel = MelDistance(8000, window=64, num_mels=6), MelSpectrogram(8000, 64, 16, 6)

    def decibels(x):
        mels = mel(jnp.asarray(x.transpose(0, 2, 1), jnp.float32))
        return 20 * np.log10(np.maximum(np.asarray(mels, np.float64), 1e-5))

    expected = np.mean(abs(decibels(X) - decibels(Y)), axis=(1, 2, 3))
    np.testing.assert_allclose(measured(metric, X, Y), expected, rtol=1e-4)
    np.testing.assert_array_equal(measured(metric, X, X), 0)
    loud = 0.2 * RANDOM.randn(1, 200, 1)
    np.testing.assert_allclose(measured(metric, loud, 10 * loud), 20, rtol=1e-4)


def test_metrics_are_of_their_own_kind_of_data():
    for metric in (SISDR(), MelDistance(8000)):
        assert metric.takes((100, 1))
        assert not metric.takes((28, 28, 1))
    for metric in (PSNR(), SSIM()):
        assert metric.takes((28, 28, 1))
        assert not metric.takes((100, 1))


def test_values_come_in_the_range_of_the_metric():
    values = jnp.asarray([-1.5, -0.5, 0.0, 0.5, 1.5]).reshape(1, -1, 1)
    np.testing.assert_array_equal(SISDR().scaled(values, (-1.0, 1.0)), values)
    np.testing.assert_allclose(SISDR().scaled(values, (-0.5, 0.5)), 2 * values)
    images = PSNR().scaled(values[..., None], (-1.0, 1.0)).ravel()
    np.testing.assert_allclose(images, [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "sample_rate is 0; it must be"),
        ((8000, 2), "window is 2; it must be an integer of at least 4"),
        ((8000, 64, 0), "num_mels is 0; it must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MelDistance(*arguments)
