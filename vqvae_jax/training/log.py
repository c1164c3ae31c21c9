"""The log of a run: metrics.jsonl, one JSON object per line, and the same for TensorBoard."""

import contextlib
import errno
import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from vqvae_jax.errors import CheckpointError
from vqvae_jax.files import naming, write_atomically
from vqvae_jax.training.tensorboard import TensorBoardLog

Record = dict[str, Any]


class Records(contextlib.AbstractContextManager["Records"]):
    """The records of a run's log so far; new ones are kept only in memory.

    Args:
        workdir: the run's folder, which must exist.
        resume_step: the step that the run resumes from; records of later steps are dropped.

    Raises:
        CheckpointError: a whole line of the log is not JSON.

    Attributes:
        records: all records so far, oldest first.
    """

    def __init__(self, workdir: Path, resume_step: int):
        self.records = read_records(workdir, resume_step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def write(self, record: Record) -> None:
        """Appends one record; it holds at least "step" and "split"."""
        self.records.append(record)

    def flush(self) -> None:
        """Makes what was written so far survive a crash of the machine."""


class MetricsLog(Records):
    """Also appends records to <workdir>/metrics.jsonl and <workdir>/tensorboard.

    Records of steps past `resume_step`, and a line cut short by a kill, are dropped when the log is
    opened: the run will write them again.
    """

    def __init__(self, workdir: Path, resume_step: int):
        super().__init__(workdir, resume_step)
        self._path = workdir / "metrics.jsonl"
        write_atomically(self._path, "".join(_line(record) for record in self.records).encode())
        self._tensorboard = TensorBoardLog(workdir / "tensorboard", purge_step=resume_step + 1)
        self._file = self._path.open("ab", buffering=0)  # one write per line, nothing buffered

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        with contextlib.suppress(*() if error is None else (OSError,)):  # the first is the cause
            self._tensorboard.close()

    def write(self, record: Record) -> None:
        """See `Records.write`."""
        super().write(record)
        with naming(self._path):
            line = _line(record).encode()
            if self._file.write(line) < len(line):  # as when a disk fills up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if record["split"] != "settings":
            self._tensorboard.write(record)

    def flush(self) -> None:
        """See `Records.flush`."""
        with naming(self._path):
            os.fsync(self._file.fileno())
        self._tensorboard.flush()


def read_records(workdir: Path, last_step: int) -> list[Record]:
    """Returns the records of a run's log up to a step; none if there is no log.

    Raises:
        CheckpointError: a whole line of the log is not JSON.
    """
    lines = _whole_lines(workdir / "metrics.jsonl")
    return [record for record in lines if record["step"] <= last_step]


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


def _line(record: Record) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _whole_lines(path: Path) -> list[Record]:
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{path}, line {number}, is not JSON: {error}") from error
            if not _is_record(record):
                raise CheckpointError(f"{path}, line {number}, is not a record of a run")
            records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Returns whether a log line is one that `MetricsLog` writes: a split, and numbers by name."""
    if not isinstance(record, dict) or not isinstance(record.get("split"), str):
        return False
    counts = [record.get(name) for name in ("step", "epoch", "images")]
    if record["split"] == "settings":  # of a resumed run, with names or None too
        record = {name: record.get(name) for name in ("step", "epoch", "images")}
    numbers = [value for name, value in record.items() if name != "split"]
    return all(type(count) is int for count in counts) and all(
        isinstance(value, int | float) for value in numbers
    )
