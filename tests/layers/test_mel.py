"""Mel spectrograms: librosa's, and with a gradient where there is silence."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax import MelSpectrogram
from vqvae_jax.layers.mel import stft

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mel.npz")
CASES = sorted({key.partition("/")[0] for key in GOLDEN})


def golden(name):
    arguments, x, expected = (GOLDEN[f"{name}/{of}"] for of in ("arguments", "x", "mel"))
    return MelSpectrogram(*map(int, arguments)), jnp.asarray(x), expected


@pytest.mark.parametrize("name", CASES)
def test_amplitudes_are_those_of_librosa(name):
    mel, x, expected = golden(name)
    np.testing.assert_allclose(mel(x), expected, rtol=0, atol=1e-5 * expected.max())
    logs = np.log(np.maximum(expected, 1e-5))
    np.testing.assert_allclose(mel.log(x), logs, rtol=0, atol=1e-4)


def test_signals_are_treated_one_by_one():
    mel, x, expected = golden("speech")
    several = jnp.stack([x, 0 * x, -x]).reshape(3, 1, -1)
    actual = jax.jit(mel)(several)
    assert actual.shape == (3, 1, *expected.shape)
    for i, one in enumerate([x, 0 * x, -x]):
        np.testing.assert_allclose(actual[i, 0], mel(one), rtol=1e-5, atol=1e-6)
    assert mel(several[:0]).shape == (0, 1, *expected.shape)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_sample_is_enough(length):
    x = jnp.linspace(0.5, 1, length)
    reflected = np.pad(np.asarray(x), 8, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(np.pi * np.arange(16) / 8)
    windows = np.stack([reflected[t * 4 : t * 4 + 16] for t in range(1 + length // 4)])
    expected = np.fft.rfft(windows * hann)
    np.testing.assert_allclose(stft(x, 16, 4), expected, rtol=0, atol=1e-5)


def test_silence_has_a_gradient_and_noise_the_right_one():
    mel = MelSpectrogram(8000, 32, 8, 5)

    def loss(x):
        return jnp.sum(mel.log(x))

    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros(64)), 0)
    random = np.random.RandomState(0)
    x, direction = (jnp.asarray(random.randn(64), jnp.float32) for _ in range(2))
    difference = (loss(x + 1e-2 * direction) - loss(x - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose(jax.grad(loss)(x) @ direction, difference, rtol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 32, 8, 5), "sample_rate is 0; it must be"),
        ((8000, 1, 8, 5), "window is 1; it must be"),
        ((8000, 32, 0, 5), "hop is 0; it must be"),
        ((8000, 32, 8, 0), "num_mels is 0; it must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MelSpectrogram(*arguments)
