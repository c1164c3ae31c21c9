"""The log of a run: metrics.jsonl, one JSON object per line, and what else it is written to."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vqvae_jax.files import write_atomically
from vqvae_jax.training.histograms import HISTOGRAMS, histograms_line, read_histogram_lines
from vqvae_jax.training.lines import JsonLines, read_lines
from vqvae_jax.training.writers import LogWriter, Record

_METRICS = "metrics.jsonl"


class Log(contextlib.AbstractContextManager["Log"]):
    """The log of a run: its records so far, and the writers of what is new.

    Args:
        workdir: the run's folder, which must exist.
        resume_step: the step that the run resumes from; records of later steps are dropped.
        writers: what it is written to; opened here, and closed at the end. The records are those of
            metrics.jsonl, which a `FolderWriter` among them writes.

    Raises:
        CheckpointError: a whole line of the log is not JSON.
        OSError: a writer failed; the methods raise it too.

    Attributes:
        records: all records so far, oldest first.
    """

    def __init__(self, workdir: Path, resume_step: int, writers: Sequence[LogWriter]):
        self.records = read_records(workdir, resume_step)
        self._writers = writers
        with contextlib.ExitStack() as opened:
            for writer in writers:
                writer.open(workdir, resume_step)
                opened.callback(writer.close)
            self._opened = opened.pop_all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*() if error is None else (OSError,)):  # the first is the cause
            self._opened.close()

    def write(self, record: Record) -> None:
        """Appends one record; it holds at least "step" and "split"."""
        self.records.append(record)
        for writer in self._writers:
            writer.write(record)

    def figures(self, step: int, figures: Mapping[str, bytes]) -> None:
        """Writes the figures of an evaluation, by name."""
        for writer in self._writers:
            writer.figures(step, figures)

    def histograms(self, step: int, counts: Mapping[str, np.ndarray]) -> None:
        """Writes the histograms of an evaluation, counts int [K] by name."""
        for writer in self._writers:
            writer.histograms(step, counts)

    def flush(self) -> None:
        """Makes what was written so far survive a crash of the machine."""
        for writer in self._writers:
            writer.flush()


class FolderWriter(LogWriter):
    """Writes metrics.jsonl, histograms.jsonl if there are histograms, and figures to the folder.

    Lines of steps past `resume_step`, and one cut short by a kill, are dropped when it is opened:
    the run will write them again.
    """

    def open(self, workdir: Path, resume_step: int) -> None:
        """See `LogWriter.open`."""
        self._folder = workdir
        records = read_records(workdir, resume_step)
        histograms = read_histogram_lines(workdir, resume_step)
        self._files = {_METRICS: JsonLines(workdir / _METRICS, records)}
        if (workdir / HISTOGRAMS).exists():
            self._files[HISTOGRAMS] = JsonLines(workdir / HISTOGRAMS, histograms)

    def write(self, record: Record) -> None:
        """See `LogWriter.write`."""
        self._files[_METRICS].write(record)

    def figures(self, step: int, figures: Mapping[str, bytes]) -> None:
        """See `LogWriter.figures`: each replaces that of the evaluation before."""
        for name, content in figures.items():
            write_atomically(self._folder / name, content)

    def histograms(self, step: int, counts: Mapping[str, np.ndarray]) -> None:
        """See `LogWriter.histograms`: what `Usage` keeps of them."""
        if HISTOGRAMS not in self._files:
            self._files[HISTOGRAMS] = JsonLines(self._folder / HISTOGRAMS)
        self._files[HISTOGRAMS].write(histograms_line(step, counts))

    def flush(self) -> None:
        """See `LogWriter.flush`."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """See `LogWriter.close`."""
        for file in self._files.values():
            file.close()


def read_records(workdir: Path, last_step: int) -> list[Record]:
    """Returns the records of a run's log up to a step; none if there is no log.

    Raises:
        CheckpointError: a whole line of the log is not JSON.
    """
    return read_lines(workdir / _METRICS, last_step, _is_record)


def stops_early(records: list[Record], monitor: str, patience: int | None, every: int) -> bool:
    """Returns whether the best evaluation was `patience` evaluations ago or more; False with None.

    Args:
        records: a run's log.
        monitor: the held-out metric; lower is better.
        patience: at least 1, or None.
        every: steps between two evaluations; others, where a run was set to pause, do not count.
    """
    values = [
        record.get(monitor, math.inf)
        for record in records
        if record["split"] == "test" and record["step"] % every == 0
    ]
    if patience is None or not values:
        return False
    return len(values) - 1 - values.index(min(values)) >= patience


def epoch_mean(records: list[Record], epoch: int, name: str) -> float:
    """Returns the mean of a training metric over an epoch's images, from that epoch's lines."""
    lines = [
        record for record in records if record["split"] == "train" and record["epoch"] == epoch
    ]
    images = sum(line["images"] for line in lines)
    return sum(line[name] * line["images"] for line in lines) / images


def _is_record(record: Any) -> bool:
    """Returns whether a log line is one that a run writes: a split, and numbers by name."""
    if not isinstance(record, dict) or not isinstance(record.get("split"), str):
        return False
    counts = [record.get(name) for name in ("step", "epoch", "images")]
    if record["split"] == "settings":  # of a resumed run, with names or None too
        record = {name: record.get(name) for name in ("step", "epoch", "images")}
    numbers = [value for name, value in record.items() if name != "split"]
    return all(type(count) is int for count in counts) and all(
        isinstance(value, int | float) for value in numbers
    )
