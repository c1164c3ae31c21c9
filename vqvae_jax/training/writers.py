"""The contract of what a run's log is written to, beside the run's folder."""

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

Record = dict[str, Any]

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BUCKETS = 512  # as many as Weights & Biases takes


@runtime_checkable
class LogWriter(Protocol):
    """A place that the log of a run is written to; a writer of your own is a subclass.

    A run opens its writers in its first process, and closes them however it ends. An OSError of
    any method ends the run, which resumes from its last checkpoint, as on a full disk.
    """

    @abc.abstractmethod
    def open(self, workdir: Path, resume_step: int) -> None:
        """Begins, or continues, the log of a run.

        Args:
            workdir: the run's folder, which holds its run.json.
            resume_step: the step that the run resumes from, at least 0. Later steps are taken
                again, so what was written of them is to be discarded.
        """

    @abc.abstractmethod
    def write(self, record: Record) -> None:
        """Writes a record, as in metrics.jsonl; those of training and evaluations have `scalars`.

        Args:
            record: "step", "epoch", "images", "split", which is train, test or settings (those that
                a resumed run has changed), and values by name.
        """

    def figures(self, step: int, figures: Mapping[str, bytes]) -> None:
        """Writes the figures of an evaluation; by default, nothing.

        Args:
            step: the step of the evaluation.
            figures: files by name, such as codebook.png; `images` returns those that are images.
        """
        return

    def histograms(self, step: int, counts: Mapping[str, np.ndarray]) -> None:
        """Writes the histograms of an evaluation; by default, nothing.

        Args:
            step: the step of the evaluation.
            counts: int [K] by name, how often each of 0 to K - 1 occurred; see `buckets`.
        """
        return

    def flush(self) -> None:
        """Makes what was written so far survive a crash; by default, nothing."""
        return

    def close(self) -> None:
        """Ends the log; by default, nothing."""
        return


def scalars(record: Record) -> dict[str, float]:
    """Returns the metrics of a record as SPLIT/NAME, sorted; none if it is of settings."""
    if record["split"] == "settings":
        return {}
    names = sorted(record.keys() - {"step", "split", "epoch", "images"})
    return {f"{record['split']}/{name}": record[name] for name in names}


def images(figures: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns the figures that are PNG images, by their names without the suffix."""
    return {
        name.removesuffix(".png"): content
        for name, content in figures.items()
        if content.startswith(_PNG)
    }


def buckets(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups the counts of neighbors into at most 512 buckets of one width.

    Args:
        counts: int [K], K at least 1.

    Returns:
        The buckets' counts, int [B], and their edges, int [B + 1], from 0 to K; the last bucket may
        be narrower.
    """
    width = -(-len(counts) // _MOST_BUCKETS)
    starts = np.arange(0, len(counts), width)
    return np.add.reduceat(counts, starts), np.append(starts, len(counts))
