"""A trained tokenizer of audio, applied to audio files."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Int16

from vqvae_jax.commands.common import wav
from vqvae_jax.commands.file_model import FileModel
from vqvae_jax.data.audio_folder import SUFFIXES
from vqvae_jax.errors import CheckpointError
from vqvae_jax.metrics import SISDR, MelDistance, Metric
from vqvae_jax.models import SNAC, AudioTokenizer, SegmentedTokenizer
from vqvae_jax.pixels import pixels_of
from vqvae_jax.report.spectrograms import spectrograms
from vqvae_jax.signals import to_pcm
from vqvae_jax.training.saved import SavedRun

_MAX_SAMPLES = 2**23  # of a recording, which is encoded as a whole: memory grows with it


class AudioModel(FileModel):
    """See `FileModel`; of audio, at the tokenizer's sample rate.

    Recordings are filled up with zeros at their end, and codes with -1, which stands for the value
    0, to few lengths, 4 for each power of two. Where encoder and decoder are causal, the codes are
    exactly those of the recording by itself with its last frame filled up, and the samples exactly
    those of the codes. Where they are not, frames also see what was filled up, as far as the
    networks reach.

    Args:
        run: as there.
        codebooks: likewise.

    Raises:
        CheckpointError: the codes of the tokenizer are not one array.
        ValueError: see `FileModel`.
    """

    noun, suffixes, ending = "recording", SUFFIXES, ".wav"

    def __init__(self, run: SavedRun, codebooks: int | None = None):
        tokenizer: AudioTokenizer = run.model
        if isinstance(tokenizer, SegmentedTokenizer | SNAC):
            raise CheckpointError(
                f"{run.workdir} holds a {type(tokenizer).__name__}, whose codes are not one array; "
                "this command is for models with codes of one rate"
            )
        super().__init__(run, codebooks)
        self.sample_rate = tokenizer.sample_rate
        (self._frame,) = tokenizer.downsampling
        self._step = math.lcm(self._frame, tokenizer.multiple) // self._frame
        self._metrics = audio_metrics(self.sample_rate)

    @property
    def metrics(self) -> Sequence[Metric]:
        """See `FileModel`."""
        return self._metrics

    def read(self, file: Path) -> Int16[np.ndarray, "t c"]:
        """See `FileModel`."""
        from vqvae_jax.data.audio_files import read_audio  # needs an extra

        return to_pcm(read_audio(file, self.sample_rate, self.channels, _MAX_SAMPLES))

    def filled(self, array: Int16[np.ndarray, "t c"]) -> Int16[np.ndarray, "t_out c"]:
        """See `FileModel`."""
        length = self._frame * self._few(self._frames(len(array)))
        return np.pad(array, ((0, length - len(array)), (0, 0)))

    def own_codes(
        self, codes: Int[np.ndarray, " frames *n"], size: tuple[int, ...]
    ) -> Int[np.ndarray, " own *n"]:
        """See `FileModel`."""
        return codes[: self._frames(size[0])]

    def filled_codes(self, codes: Int[np.ndarray, " own *n"]) -> Int[np.ndarray, " frames *n"]:
        """See `FileModel`."""
        end = self._few(len(codes)) - len(codes)
        return np.pad(codes, [(0, end)] + [(0, 0)] * (codes.ndim - 1), constant_values=-1)

    def compare(
        self, x: Int16[np.ndarray, "t c"], back: Float[np.ndarray, "t c"]
    ) -> dict[str, float]:
        """See `FileModel`; of whole frames, if there is one, so that few lengths are compiled."""
        length = len(x) // self._frame * self._frame or len(x)
        return super().compare(x[:length], back[:length])

    def written(self, array: Float[np.ndarray, "t c"]) -> bytes:
        """See `FileModel`: a WAV file."""
        return wav(2 * array - 1, self.sample_rate)

    def pictures(
        self, x: Int16[np.ndarray, "t c"], back: Float[np.ndarray, "t c"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FileModel`: spectrograms."""
        shown = pixels_of(spectrograms(np.stack([x / 2**15, 2 * back - 1])))
        return shown[0], shown[1]

    def described(self, size: Sequence[int]) -> str:
        """See `FileModel`."""
        return f"{size[0]} samples"

    def _frames(self, length: int) -> int:
        return -(-length // self._frame)

    def _few(self, frames: int) -> int:
        """Returns the least of few numbers of frames that is not less than this."""
        steps = -(-frames // self._step)
        unit = 2 ** max(0, (steps - 1).bit_length() - 3)
        return self._step * unit * -(-steps // unit)


def audio_metrics(sample_rate: int) -> tuple[Metric, ...]:
    """Returns what compares recordings with their reconstructions."""
    return SISDR(), MelDistance(sample_rate)
