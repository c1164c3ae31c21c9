"""Helpers that several commands share."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqvae_jax.checks import is_finite
from vqvae_jax.errors import CheckpointError
from vqvae_jax.extras import extra
from vqvae_jax.training.saved import SavedRun, without_run

if TYPE_CHECKING:
    from tqdm import tqdm


def ending(file: Path, *allowed: str) -> str:
    """Returns the suffix of a file to write, in lower case; refuses those of other formats."""
    ending = file.suffix.lower()
    if ending not in allowed:
        given = f"ends in {ending}" if ending else "has no ending"
        must = f"end in {' or '.join(filter(None, allowed))}"
        must += ", or have no ending" if "" in allowed else ""
        raise ValueError(f"{file} {given}; it must {must}")
    return ending


def npy(array: np.ndarray) -> bytes:
    """Returns the content of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def wav(signal: np.ndarray, sample_rate: int) -> bytes:
    """Returns the content of a .wav file, 16-bit PCM.

    Args:
        signal: floats [T, C], clipped to [-1, 1].
        sample_rate: samples per second.
    """
    with extra("audio"):
        import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, signal, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def check_run(run: SavedRun) -> None:
    """Refuses an exported model, which lacks the data and the log of its run."""
    if run.config is None:
        raise without_run(run.workdir)


def described(run: SavedRun, *names: str) -> Any:
    """Returns a value in a run's description; None if it, or an exported model's, has none."""
    value: Any = run.description
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def described_sizes(run: SavedRun, *names: str) -> tuple[int, ...]:
    """Returns sizes in a run's description, which that of an exported model may lack."""
    sizes = described(run, *names)
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise CheckpointError(
            f"{run.workdir} does not say {'.'.join(names)} of the run that trained the model"
        )
    return tuple(sizes)


def check_free(run: SavedRun) -> None:
    """Refuses a prior that has not learned the distribution without a class."""
    dropped = described(run, "config", "prior", "label_dropout")
    if run.model.num_classes is not None and not (is_finite(dropped) and dropped > 0):
        raise CheckpointError(
            f"{run.workdir} holds a prior that was never trained without labels; guidance and bits "
            "per dimension need one that was, with prior.label_dropout above 0"
        )


def bar(total: int | None, noun: str = "image") -> "tqdm[Any]":
    """Returns a progress bar over what is named in a word, which shows only on a terminal."""
    with extra("train"):
        from tqdm import tqdm

    return tqdm(total=total, unit=f"{noun}s", disable=not sys.stderr.isatty())
