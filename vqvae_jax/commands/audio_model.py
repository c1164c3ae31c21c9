"""A trained tokenizer of audio, applied to audio files."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Int16

from vqvae_jax.commands.common import wav
from vqvae_jax.commands.file_model import FileModel, reconstructed
from vqvae_jax.data.audio_folder import SUFFIXES
from vqvae_jax.errors import CheckpointError
from vqvae_jax.metrics import SISDR, MelDistance, Metric
from vqvae_jax.models import SNAC, AudioTokenizer, SegmentedTokenizer
from vqvae_jax.models.audio import StreamState
from vqvae_jax.pixels import pixels_of
from vqvae_jax.quantizers import PooledQuantizer
from vqvae_jax.report.spectrograms import spectrograms
from vqvae_jax.signals import to_pcm
from vqvae_jax.training.saved import SavedRun
from vqvae_jax.values import to_values

# Samples: longer recordings are streamed, a quarter of this at once, by networks that can be. For
# the others, whose memory grows with the length of a recording, there is a limit.
_WHOLE, _MAX_WHOLE = 2**20, 2**23


class AudioModel(FileModel):
    """See `FileModel`; of audio, at the tokenizer's sample rate.

    Recordings are filled up with zeros at their end, and codes with -1, which stands for the value
    0, to few lengths, 4 for each power of two. Where encoder and decoder are causal, the codes are
    exactly those of the recording by itself with its last frame filled up, and the samples exactly
    those of the codes; long ones go through the networks piece by piece. Where they are not causal,
    frames also see what was filled up, as far as the networks reach.

    Args:
        run: as there.
        codebooks: likewise.

    Raises:
        CheckpointError: the codes of the tokenizer are not one array.
        ValueError: see `FileModel`.
    """

    noun, suffixes, ending = "recording", SUFFIXES, ".wav"
    tokenizer: AudioTokenizer

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
        parts = (part for _, part in nnx.iter_graph(tokenizer.quantizer))
        pooled = (part.stride for part in parts if isinstance(part, PooledQuantizer))
        self._step = math.lcm(math.lcm(self._frame, tokenizer.multiple) // self._frame, *pooled)
        self._piece = self._step * max(1, _WHOLE // 4 // (self._step * self._frame))  # frames
        self._streams = _can_stream(tokenizer)
        self._encode_piece, self._decode_piece = (
            jax.jit(function, static_argnums=0) for function in (_encoded_piece, _decoded_piece)
        )
        self._metrics = audio_metrics(self.sample_rate)

    @property
    def metrics(self) -> Sequence[Metric]:
        """See `FileModel`."""
        return self._metrics

    def read(self, file: Path) -> Int16[np.ndarray, "t c"]:
        """See `FileModel`."""
        from vqvae_jax.data.audio_files import MAX_SAMPLES, read_audio  # needs an extra

        longest = MAX_SAMPLES if self._streams else _MAX_WHOLE
        return to_pcm(read_audio(file, self.sample_rate, self.channels, longest))

    def encode(self, arrays: Sequence[np.ndarray]) -> Int[np.ndarray, " b frames *n"]:
        """See `FileModel`."""
        if not self._in_pieces(len(arrays[0]) // self._frame):
            return super().encode(arrays)
        start = self.tokenizer.start_encoding(len(arrays))
        return self._by_pieces(self._encode_piece, arrays, self._piece * self._frame, start)

    def decode(self, codes: Sequence[np.ndarray]) -> Float[np.ndarray, "b t c"]:
        """See `FileModel`."""
        if not self._in_pieces(len(codes[0])):
            decoded = super().decode(codes)
            # Some networks leave out the last samples, which are silence then.
            lacking = len(codes[0]) * self._frame - decoded.shape[1]
            if lacking == 0:
                return decoded
            return np.pad(decoded, ((0, 0), (0, lacking), (0, 0)), constant_values=0.5)
        kept = self._first(codes)
        start = self.tokenizer.start_decoding(len(codes))
        return self._by_pieces(self._decode_piece, kept, self._piece, start)

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
        """See `FileModel`; of whole frames, if there is one, so that fewer lengths are compiled.

        Of a long recording, the means over stretches of nearly equal lengths.
        """
        length = len(x) // self._frame * self._frame or len(x)
        stretches = -(-length // _WHOLE)
        frames = np.linspace(0, length // self._frame, stretches + 1).astype(int)
        ends = [*(frames[:-1] * self._frame), length]
        found = []
        for start, end in itertools.pairwise(ends):
            found.append(super().compare(x[start:end], back[start:end]))
        return {name: sum(of[name] for of in found) / stretches for name in found[0]}

    def written(self, array: Float[np.ndarray, "t c"]) -> bytes:
        """See `FileModel`: a WAV file."""
        return wav(2 * array - 1, self.sample_rate)

    def pictures(
        self, x: Int16[np.ndarray, "t c"], back: Float[np.ndarray, "t c"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FileModel`: spectrograms, of the beginning of long recordings."""
        x, back = x[:_WHOLE], back[:_WHOLE]
        shown = pixels_of(spectrograms(np.stack([x / 2**15, 2 * back - 1])))
        return shown[0], shown[1]

    def described(self, size: Sequence[int]) -> str:
        """See `FileModel`."""
        return f"{size[0]} samples"

    def _frames(self, length: int) -> int:
        return -(-length // self._frame)

    def _in_pieces(self, frames: int) -> bool:
        return self._streams and frames * self._frame > _WHOLE

    def _by_pieces(
        self, function: Any, arrays: Sequence[np.ndarray], size: int, state: StreamState
    ) -> np.ndarray:
        """Joins what a function gives for one piece of the arrays after the other."""
        found = []
        for start in range(0, len(arrays[0]), size):
            piece = [array[start : start + size] for array in arrays]
            result, state = self._on_devices(function, piece, state)
            found.append(result)
        return np.concatenate(found, axis=1)

    def _few(self, frames: int) -> int:
        """Returns the least of few numbers of frames that is not less than this."""
        steps = -(-frames // self._step)
        unit = self._step * 2 ** max(0, (steps - 1).bit_length() - 3)
        if self._in_pieces(unit * -(-frames // unit)):
            unit = self._piece
        return unit * -(-frames // unit)


def audio_metrics(sample_rate: int) -> tuple[Metric, ...]:
    """Returns what compares recordings with their reconstructions."""
    return SISDR(), MelDistance(sample_rate)


def _can_stream(tokenizer: AudioTokenizer) -> bool:
    try:
        tokenizer.start_encoding(1)
        tokenizer.start_decoding(1)
    except ValueError:
        return False
    return True


def _encoded_piece(
    graphdef: nnx.GraphDef, state: nnx.State, data: Int16[Array, "b t c"], stream: StreamState
) -> tuple[Int[Array, " b frames *n"], StreamState]:
    model = nnx.merge(graphdef, state)
    return model.encode_piece(to_values(data, model.value_range), stream)


def _decoded_piece(
    graphdef: nnx.GraphDef, state: nnx.State, codes: Int[Array, " b frames *n"], stream: StreamState
) -> tuple[Float[Array, "b t c"], StreamState]:
    model = nnx.merge(graphdef, state)
    decoded, stream = model.decoded_piece(codes, stream)
    return reconstructed(model, decoded), stream
