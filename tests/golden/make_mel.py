"""Writes mel.npz: what librosa makes of the cases below.

pip install librosa==0.11.0
python tests/golden/make_mel.py
"""

from pathlib import Path

import librosa
import numpy as np

CASES = {  # sample_rate, window, hop, num_mels, samples
    "short_window": (8000, 32, 8, 5, 203),
    "speech": (16000, 512, 128, 80, 1100),
    "long_window": (24000, 2048, 512, 100, 3000),
    "shorter_than_a_window": (8000, 256, 64, 40, 50),
    "hop_that_does_not_divide": (8000, 250, 77, 20, 1001),
    "hop_above_an_odd_window": (44100, 101, 150, 10, 999),
}


def signal(length):
    """Noise, a tone that grows, and silence at the end."""
    places = np.arange(length)
    tone = 0.5 * np.sin(0.3 * places) * places / length
    noise = 0.1 * np.random.RandomState(0).randn(length)
    return np.where(places < 0.9 * length, tone + noise, 0).astype(np.float32)


if __name__ == "__main__":
    saved = {}
    for name, (sample_rate, window, hop, num_mels, length) in CASES.items():
        x = signal(length)
        saved[f"{name}/arguments"] = np.asarray([sample_rate, window, hop, num_mels])
        saved[f"{name}/x"] = x
        saved[f"{name}/mel"] = librosa.feature.melspectrogram(
            y=x, sr=sample_rate, n_fft=window, hop_length=hop, n_mels=num_mels, power=1.0,
            center=True, pad_mode="reflect",
        ).T  # fmt: skip
    np.savez_compressed(Path(__file__).parent / "mel.npz", **saved)
