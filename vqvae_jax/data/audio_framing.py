"""How audio files become examples of one length."""

import dataclasses
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int16

from vqvae_jax.checks import check_choice, check_integer
from vqvae_jax.data.framing import Framing
from vqvae_jax.signals import to_pcm


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioFraming(Framing):
    """How recordings of any length become examples of one length.

    Args:
        sample_rate: samples per second; recordings of other rates are resampled.
        seconds: the length of an example; shorter recordings are filled up with silence at their
            end; None: the recordings' own, which must be the same for all.
        crop: the part of a recording that is an example: its center; random, another part in every
            epoch (held out: the center); or tiles, all parts one after the other, each an example.
        channels: 1, the mean of all channels, or 2; a single channel is repeated.
        loudness: root mean square, in dB relative to the largest value, that recordings are scaled
            to; to less where it would take them beyond that value; None: they are not scaled.

    Raises:
        ValueError: an argument out of its range.
    """

    entry: ClassVar[str] = "audio"
    noun: ClassVar[str] = "recording"
    sizing: ClassVar[str] = "seconds"
    dtype: ClassVar[np.dtype] = np.dtype(np.int16)

    sample_rate: int
    seconds: float | None = None
    crop: str = "random"
    channels: int = 1
    loudness: float | None = None

    def __post_init__(self) -> None:
        check_integer("sample_rate", self.sample_rate, 1, 2**20)
        check_choice("crop", self.crop, ("center", "random", "tiles"))
        if self.channels not in (1, 2):
            raise ValueError(f"channels is {self.channels!r}; it must be 1 or 2")
        if self.seconds is not None and not 1 <= self.seconds * self.sample_rate <= 2**26:
            raise ValueError(
                f"seconds is {self.seconds}; it must be from {1 / self.sample_rate:g} to "
                f"{2**26 // self.sample_rate}"
            )
        if self.seconds is None and self.crop != "center":
            raise ValueError(f"crop is {self.crop!r}; without seconds it must be 'center'")
        if self.loudness is not None and not -100 <= self.loudness <= 0:
            raise ValueError(f"loudness is {self.loudness} dB; it must be from -100 to 0, or None")

    @property
    def samples_per_second(self) -> int:
        """See `Framing`."""
        return self.sample_rate

    @property
    def spatial(self) -> tuple[int] | None:
        """See `Framing`: the samples of an example."""
        return None if self.seconds is None else (round(self.seconds * self.sample_rate),)

    @property
    def reads_examples(self) -> bool:
        """See `Framing`."""
        return self.spatial is None or self.crop == "tiles"

    @property
    def held_out(self) -> "AudioFraming":
        """See `Framing`."""
        crop = "center" if self.crop == "random" else self.crop
        return dataclasses.replace(self, crop=crop)

    @property
    def reading(self) -> str:
        """See `Framing`; crops of any length, other than tiles, are of the same recordings."""
        return repr(
            self if self.crop == "tiles" else dataclasses.replace(self, seconds=None, crop="center")
        )

    @property
    def reader(self) -> str:
        """See `Framing`."""
        return f"{version('soundfile')} {version('soxr')}"

    def read(self, file: Path) -> Int16[np.ndarray, "n t c"]:
        """Decodes an audio file into its tiles, or else into itself.

        Raises:
            DataError: it cannot be decoded.
        """
        from vqvae_jax.data.audio_files import read_audio  # needs an extra

        return self.parts(to_pcm(self._scaled(read_audio(file, self.sample_rate, self.channels))))

    def parts(self, signal: Int16[np.ndarray, "t c"]) -> Int16[np.ndarray, "n t_out c"]:
        """Returns the tiles of a signal, or the signal."""
        if self.spatial is None or self.crop != "tiles":
            return signal[None]
        (size,) = self.spatial
        # The rest of a long recording is left out, if it is less than half of an example.
        count = max(1, math.floor(len(signal) / size + 0.5))
        return _filled(signal[: count * size], count * size).reshape(count, size, -1)

    def center(self, whole: Int16[np.ndarray, "t c"]) -> Int16[np.ndarray, "t_out c"]:
        """See `Framing`."""
        return self._cut(whole, self._room(whole) // 2)

    def draw(
        self, whole: Int16[np.ndarray, "t c"], random: np.random.RandomState
    ) -> Int16[np.ndarray, "t_out c"]:
        """See `Framing`."""
        if self.crop != "random":
            return self.center(whole)
        return self._cut(whole, random.randint(self._room(whole) + 1))

    def described(self, spatial: Sequence[int]) -> str:
        """See `Framing`."""
        return f"{spatial[0]} samples"

    def _room(self, whole: np.ndarray) -> int:
        """Returns by how many samples a signal is longer than an example."""
        return 0 if self.spatial is None else max(0, len(whole) - self.spatial[0])

    def _cut(self, whole: np.ndarray, start: int) -> np.ndarray:
        """Returns the example of a signal that begins at a sample."""
        size = len(whole) if self.spatial is None else self.spatial[0]
        return _filled(whole[start : start + size], size)

    def _scaled(self, signal: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t c"]:
        loudest = np.max(np.abs(signal))
        if self.loudness is None or loudest == 0:
            return signal
        now = np.sqrt(np.mean(signal**2, dtype=np.float64))
        return signal * np.float32(min(10 ** (self.loudness / 20) / now, 1 / loudest))


def _filled(signal: np.ndarray, size: int) -> np.ndarray:
    """Returns a signal with zeros at its end, if it is shorter than this."""
    return np.pad(signal, ((0, max(0, size - len(signal))), (0, 0)))
