"""Spectrograms: tones are lines at their frequencies, highest first, and levels are decibels."""

import numpy as np
import pytest

from vqvae_jax.report.spectrograms import spectrograms


def tones(cycles, length, amplitude=1.0):
    """Signals [N, length, 2] of so many cycles per 256 samples; the second channel is silent."""
    phase = 2 * np.pi * np.asarray(cycles)[:, None] * np.arange(length) / 256
    sound = 2 * amplitude * np.sin(phase)
    return np.stack([sound, 0 * sound], axis=-1)


@pytest.mark.parametrize(
    ("length", "columns"), [(1, 1), (100, 1), (256, 1), (320, 2), (20000, 128)]
)
def test_as_wide_as_there_are_windows(length, columns):
    assert spectrograms(tones([3], length)).shape == (1, 128, columns, 1)


def test_a_tone_is_a_line_at_its_frequency():
    images = spectrograms(tones([1, 40, 120], 4000))
    for image, cycles in zip(images, [1, 40, 120], strict=True):
        np.testing.assert_array_equal(image[..., 0].argmax(axis=0), 128 - cycles)


def test_levels_are_decibels_below_the_loudest():
    loud, soft, faint = tones([40], 4000), tones([40], 4000, 0.01), tones([40], 4000, 1e-5)
    images = spectrograms(np.concatenate([loud, soft, faint, 0 * loud]))
    np.testing.assert_allclose(images[0, 88], 0.5, atol=1e-3)
    np.testing.assert_allclose(images[1, 88], 0.0, atol=1e-3)  # 40 of the 80 dB
    np.testing.assert_array_equal(images[2:], -0.5)


def test_silence_is_black():
    np.testing.assert_array_equal(spectrograms(np.zeros((2, 500, 1))), -0.5)


def test_a_sweep_rises_from_left_to_right():
    phase = np.cumsum(np.linspace(5, 120, 30000)) * 2 * np.pi / 256
    peaks = spectrograms(np.sin(phase)[None, :, None])[0, :, :, 0].argmax(axis=0)
    assert np.all(np.diff(peaks) <= 0)
    assert peaks[0] > 120
    assert peaks[-1] < 12
