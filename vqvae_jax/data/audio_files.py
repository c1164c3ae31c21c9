"""Audio files as signals: any format, rate and number of channels, within limits."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vqvae_jax.errors import DataError
from vqvae_jax.extras import extra
from vqvae_jax.words import counted

with extra("audio"):
    import soundfile
    import soxr

# Longer recordings are refused, and those of more channels: headers may say anything.
MAX_SAMPLES = 2**27  # of all channels together: 46 minutes of 48 kHz, 4 hours and 39 of 8 kHz
MAX_CHANNELS = 32
_MAX_RATE = 2**20
_UNKNOWN = 2**63 - 1  # what libsndfile says of a length that it does not know

_BLOCK = 2**18


def read_audio(
    file: Path, sample_rate: int, channels: int, longest: int = MAX_SAMPLES
) -> Float[np.ndarray, "t c"]:
    """Decodes an audio file, and resamples it if necessary, block by block.

    Args:
        file: a file of any format that libsndfile reads, whatever its suffix: WAV, FLAC, OGG, MP3.
        sample_rate: samples per second of the result.
        channels: C. One is the mean of all; several are as many as the file has, or copies of its
            only one.
        longest: the most samples that the result may have, T; at most MAX_SAMPLES / C.

    Returns:
        float32 [T, C]; integers become the numbers from -1 to 1, floats are as they are.

    Raises:
        DataError: it is no audio, is damaged or empty, has numbers that are not finite, other
            channels, or a result that is too long.
    """
    try:
        file.stat()  # says why, as libsndfile does not
        with soundfile.SoundFile(file) as opened:
            rate = opened.samplerate
            if not 1 <= rate <= _MAX_RATE:
                raise DataError(f"it has {rate} samples per second; it must have 1 to {_MAX_RATE}")
            longest = min(longest, MAX_SAMPLES // channels)
            blocks = _decoded(opened, channels, longest * rate // sample_rate)
            found = [*_resampled(blocks, rate, sample_rate, channels)]
    except DataError as error:
        raise DataError(f"{file} cannot be used: {error}") from error
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        why = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise DataError(f"{file} cannot be read: {' '.join(why.split()).rstrip('.')}") from error
    if not found:
        raise DataError(f"{file} cannot be used: it holds no samples")
    signal = np.concatenate(found)
    if not len(signal):
        raise DataError(f"{file} cannot be used: it is too short for {sample_rate} per second")
    return signal


def _decoded(opened: "soundfile.SoundFile", channels: int, most: int) -> Iterator[np.ndarray]:
    """Yields all samples, whatever number of them the header says."""
    if opened.channels > MAX_CHANNELS:
        raise DataError(f"it has {opened.channels} channels; it must have 1 to {MAX_CHANNELS}")
    length, read = max(0, opened.frames), 0
    if length == _UNKNOWN:
        raise DataError("its header does not say how many samples it has; write it once more")
    while length <= most and len(block := opened.read(_BLOCK, "float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise DataError("it has samples that are not finite")
        read += len(block)
        length = max(length, read)
        yield _with_channels(block, channels)
    if length > most:
        raise DataError(
            f"it has {counted(length, 'sample')}, at {opened.samplerate} per second; it must have "
            f"at most {most}"
        )


def _resampled(
    blocks: Iterable[np.ndarray], rate: int, sample_rate: int, channels: int
) -> Iterator[np.ndarray]:
    if rate == sample_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, sample_rate, channels, "float32")
    block = None
    for block in blocks:
        yield stream.resample_chunk(block)
    if block is not None:
        yield stream.resample_chunk(block[:0], last=True)


def _with_channels(signal: np.ndarray, channels: int) -> np.ndarray:
    if signal.shape[1] == channels:
        return signal
    if channels == 1:
        return np.asarray(np.mean(signal, axis=1, keepdims=True, dtype=np.float32))
    if signal.shape[1] == 1:
        return np.repeat(signal, channels, axis=1)
    raise DataError(f"it has {signal.shape[1]} channels; it must have 1 or {channels}")
