"""The content of a report, as plain arrays and records: what its sections are made from."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vqvae_jax.metrics import Usage
from vqvae_jax.report.alone import alone

_EVALUATIONS = 100  # more would not be seen


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run's own files.

    Attributes:
        name: its folder, as the user named it.
        description: as in run.json.
        log: the records of metrics.jsonl.
        monitor: the held-out metric whose lowest value is best.
        usage: how the codes were used at each evaluation, by its step, and by the name of the
            codebook; empty for a prior, and for runs that did not keep it.
    """

    name: str
    description: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    monitor: str
    usage: Mapping[int, Mapping[str, Usage]] = dataclasses.field(default_factory=dict)

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The record of the best evaluation; None before the first."""
        evaluations = [record for record in self.log if record["split"] == "test"]
        return min(evaluations, key=lambda record: record[self.monitor], default=None)

    @functools.cached_property
    def usage_shown(self) -> dict[int, Mapping[str, Usage]]:
        """The usage at evaluations spread evenly over the run; empty if there is only one."""
        steps = [*self.usage]
        if len(steps) < 2:
            return {}
        places = np.linspace(0, len(steps) - 1, min(len(steps), _EVALUATIONS)).round().astype(int)
        return {steps[place]: self.usage[steps[place]] for place in places}


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out images as a tokenizer sees them.

    Attributes:
        images: uint8 [N, H, W, C], C 1 or 3.
        codes: int32 [N, h, w, n], with an axis of codebooks also where there is only one.
        reconstructions: uint8 [N, H, W, C].
        distances: squared distances between latents and their codes' values, float [N, h, w].
        num_embeddings: K, codes in each codebook.
        decode: maps codes [B, ..., ..., n] to images uint8 [B, ..., ..., C].
    """

    images: np.ndarray
    codes: np.ndarray
    reconstructions: np.ndarray
    distances: np.ndarray
    num_embeddings: int
    decode: Callable[[np.ndarray], np.ndarray]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width in pixels of the patch that a code stands for."""
        (height, width), (rows, columns) = self.images.shape[1:3], self.codes.shape[1:3]
        return height // rows, width // columns

    @functools.cached_property
    def shares(self) -> np.ndarray:
        """How often each code of the first codebook is used, as a share of all tokens [K]."""
        counts = np.bincount(self.codes[..., 0].ravel(), minlength=self.num_embeddings)
        return counts / counts.sum()

    @functools.cached_property
    def most_used(self) -> np.ndarray:
        """The codes of the first codebook that are used, most used first."""
        return np.argsort(-self.shares, kind="stable")[: np.count_nonzero(self.shares)]

    def alone(self, codes: np.ndarray) -> np.ndarray:
        """Returns what codes of the first codebook give by themselves, see `alone.alone`."""
        shape = self.codes.shape
        return alone(self.decode, codes, (shape[1], shape[2]), shape[3])

    def psnr(self) -> np.ndarray:
        """Returns the peak signal-to-noise ratio of each reconstruction in dB [N]."""
        squares = (self.images.astype(np.float32) - self.reconstructions) ** 2
        mse = squares.mean(axis=(1, 2, 3), dtype=np.float64)
        return 20 * math.log10(255) - 10 * np.log10(np.maximum(mse, 1e-3))


@dataclasses.dataclass(frozen=True)
class Heard:
    """Held-out recordings as a tokenizer hears them.

    Attributes:
        signals: int16 [N, T, C].
        codes: int32 [N, t, n], with an axis of codebooks also where there is only one.
        reconstructions: int16 [N, T, C].
        si_sdr: `SISDR` of each reconstruction in dB, float [N].
        mel_distance: `MelDistance` of each reconstruction in dB, float [N].
        sample_rate: samples per second.
        frame_rate: positions of codes per second.
        codebook_sizes: K of each codebook [n].
        decode: maps codes [B, t, n] to signals int16 [B, T, C].
    """

    signals: np.ndarray
    codes: np.ndarray
    reconstructions: np.ndarray
    si_sdr: np.ndarray
    mel_distance: np.ndarray
    sample_rate: int
    frame_rate: float
    codebook_sizes: Sequence[int]
    decode: Callable[[np.ndarray], np.ndarray]

    def bit_rate(self, codebooks: int) -> float:
        """Returns the kbit/s of the first so many codebooks."""
        return self.frame_rate * sum(map(math.log2, self.codebook_sizes[:codebooks])) / 1000

    def from_first(self, codebooks: int, indices: Any) -> np.ndarray:
        """Returns what the first so many codebooks give of some recordings, int16 [M, T, C]."""
        kept = np.arange(self.codes.shape[-1]) < codebooks
        return self.decode(np.where(kept, self.codes[indices], -1))


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Samples of a prior of images.

    Attributes:
        labels: the class of each row of samples [R]; None: a prior without classes.
        of_guidance: by the guidance they were drawn with, samples uint8 [R, M, H, W, C].
    """

    labels: Sequence[int] | None
    of_guidance: Mapping[float, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DrawnSignals:
    """Samples of a prior of signals.

    Attributes:
        labels: the class of each row of samples [R]; None: a prior without classes.
        of_guidance: by the guidance they were drawn with, samples int16 [R, M, T, C].
        sample_rate: samples per second.
    """

    labels: Sequence[int] | None
    of_guidance: Mapping[float, np.ndarray]
    sample_rate: int


@dataclasses.dataclass(frozen=True)
class Report:
    """All that a page may show.

    Attributes:
        runs: the run, or several of them, at least one.
        held_out: what the runs' tokenizers make of the same images, by the runs' names; empty where
            none is a tokenizer of gray or RGB images.
        drawn: samples, if the run is one of a prior of such images.
        heard: what the runs' tokenizers make of the same recordings, by the runs' names; empty
            where none is a tokenizer of signals.
        drawn_signals: samples, if the run is one of a prior of signals.
    """

    runs: Sequence[RunRecord]
    held_out: Mapping[str, HeldOut] = dataclasses.field(default_factory=dict)
    drawn: Drawn | None = None
    heard: Mapping[str, Heard] = dataclasses.field(default_factory=dict)
    drawn_signals: DrawnSignals | None = None
