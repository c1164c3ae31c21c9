"""Files of a run with one JSON object per line, which a kill leaves whole."""

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqvae_jax.errors import CheckpointError
from vqvae_jax.files import naming, write_atomically


class JsonLines:
    """A file of JSON lines, to be appended to.

    Args:
        path: the file.
        kept: the lines that it begins with, in place of those that it has.

    Raises:
        OSError: it cannot be written; the methods raise it too.
    """

    def __init__(self, path: Path, kept: Sequence[Mapping[str, Any]] = ()):
        self._path = path
        write_atomically(path, "".join(map(_line, kept)).encode())
        self._file = path.open("ab", buffering=0)  # one write per line, nothing buffered

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends a line."""
        with naming(self._path):
            line = _line(values).encode()
            if self._file.write(line) < len(line):  # as when a disk fills up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Makes what was written so far survive a crash of the machine."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_lines(path: Path, last_step: int, is_valid: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """Returns the lines up to a step, without one that a kill has cut short; none without a file.

    Args:
        path: the file.
        last_step: the greatest "step" of a line.
        is_valid: returns whether JSON values are a line of such a file; that has a "step".

    Raises:
        CheckpointError: a whole line is not valid.
    """
    if not path.exists():
        return []
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{path}, line {number}, is not JSON: {error}") from error
            if not is_valid(values):
                raise CheckpointError(f"{path}, line {number}, is not a record of a run")
            if values["step"] <= last_step:
                lines.append(values)
    return lines


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"
