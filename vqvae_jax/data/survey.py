"""The pass over a folder's files that comes before training on them.

It decodes each file once: so it is known which files are damaged, how many examples there are,
their digest and the variance of their values. What it finds is kept, with these or without.
"""

import dataclasses
import hashlib
import io
import itertools
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.arrays import read_arrays, write_arrays
from vqvae_jax.data.cache import value_counts
from vqvae_jax.data.framing import Framing
from vqvae_jax.data.reading import reading
from vqvae_jax.errors import DamagedError, DataError
from vqvae_jax.extras import extra

_log = logging.getLogger(__name__)

SPLITS = ("train", "test")

_FORMAT = 1
_FILE = "survey.safetensors"
_DIGEST_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Survey:
    """The examples that a pass over the files of a split found.

    Attributes:
        files: int32 [N], the place of each example's file among the listed ones.
        shapes: int32 [N, rank], the size of each example along its axes but the last; with random
            crops, of all that its file holds.
        digests: uint8 [N, 16], BLAKE2b of each one's shape and values.
        counts: int64 [256], or [65536] of 16 bits, how often each value occurs, the lowest first.
    """

    files: np.ndarray
    shapes: np.ndarray
    digests: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.files)


Surveys = dict[str, Survey]

# A thread decodes files in a row: at most so many, of at most so many bytes together.
_FILES_AT_A_TIME, _BYTES_AT_A_TIME = 32, 2**18


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """Random access to groups of files: the examples of each file, or why it has none."""

    root: Path
    groups: list[list[str]]
    framing: Framing

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int, /) -> list[Any]:
        return [self._read(name) for name in self.groups[index]]

    def _read(self, name: str) -> Any:
        try:
            return self.framing.read(self.root / name)
        except DataError as error:
            return error


def _grouped(root: Path, names: list[str]) -> list[list[str]]:
    """Divides files into groups that a thread decodes: few, if they are large."""
    groups: list[list[str]] = [[]]
    size = 0
    for name in names:
        more = _size_and_time(root / name)[0]
        if len(groups[-1]) == _FILES_AT_A_TIME or (groups[-1] and size + more > _BYTES_AT_A_TIME):
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += more
    return groups


def _size_and_time(file: Path) -> tuple[int, int]:
    """Returns a file's size and time; 0 and 0 if it is gone, as a link may point to nothing."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def survey(
    root: Path,
    names: Mapping[str, list[str]],
    framings: Mapping[str, Framing],
    sinks: Mapping[str, io.BufferedIOBase],
    max_bad_files: int,
) -> tuple[Surveys, list[str]]:
    """Decodes all files of all splits, once; returns what it found, and what files are damaged.

    Args:
        root: the folder.
        names: the files of each split, relative to it.
        framings: how they are decoded.
        sinks: the files that the values of each split are written to, if any.
        max_bad_files: how many files may be damaged; they are named and skipped.

    Raises:
        DataError: there are more; or a split has no examples.
    """
    with extra("train"):
        from tqdm import tqdm

    found: Surveys = {}
    bad: list[str] = []
    total = sum(map(len, names.values()))
    with tqdm(total=total, unit="files", disable=not sys.stderr.isatty()) as bar:
        for split, files in names.items():
            made = _Found()
            noun = framings[split].noun
            with reading(_Decoded(root, _grouped(root, files), framings[split])) as decoded:
                for place, examples in enumerate(itertools.chain.from_iterable(decoded)):
                    bar.update()
                    if isinstance(examples, DataError):
                        bad.append(str(examples))
                        check_bad(bad[-1], len(bad), max_bad_files)
                        continue
                    for example in examples:
                        made.add(place, example)
                        if split in sinks:
                            sinks[split].write(np.ascontiguousarray(example).data)
            if not made.files:
                raise DataError(f"{root} has no {noun} for the split {split} that can be used")
            found[split] = made.survey()
    return found, bad


def check_bad(line: str, number: int, allowed: int) -> None:
    """Names a damaged file, and gives up if there are too many.

    Args:
        line: what is wrong with it.
        number: how many damaged files there are with it.
        allowed: how many there may be.

    Raises:
        DataError: there are more.
    """
    if number > allowed:
        several = f"{number} files cannot be used, the last one: " if number > 1 else ""
        raise DataError(f"{several}{line}; data.max_bad_files, now {allowed}, allows for some")
    _log.warning("WARNING: %s; it is skipped", line)


class _Found:
    def __init__(self) -> None:
        self.files: list[int] = []
        self._shapes: list[tuple[int, ...]] = []
        self._digests: list[bytes] = []
        self._counts: Any = 0

    def add(self, place: int, example: np.ndarray) -> None:
        self.files.append(place)
        self._shapes.append(example.shape[:-1])
        self._digests.append(example_digest(example))
        self._counts = self._counts + value_counts(example)

    def survey(self) -> Survey:
        digests = np.frombuffer(b"".join(self._digests), np.uint8)
        return Survey(
            files=np.array(self.files, np.int32),
            shapes=np.array(self._shapes, np.int32),
            digests=digests.reshape(-1, _DIGEST_BYTES),
            counts=self._counts,
        )


def example_digest(example: np.ndarray) -> bytes:
    """Returns the BLAKE2b of an example's shape and values."""
    digest = hashlib.blake2b(repr(example.shape).encode(), digest_size=_DIGEST_BYTES)
    digest.update(np.ascontiguousarray(example).data)
    return digest.digest()


def stamp(root: Path, names: Mapping[str, list[str]]) -> str:
    """Returns a digest of the names, sizes and times of files; it changes when any of them does."""
    digest = hashlib.sha256()
    for split, files in names.items():
        for name in files:
            described = repr((split, os.fsencode(name), *_size_and_time(root / name)))
            digest.update(described.encode())
    return digest.hexdigest()


def read_surveys(home: Path, key: str) -> tuple[Surveys, list[str]] | None:
    """Returns what `write_surveys` stored in a folder; None: nothing, something damaged or older.

    Args:
        home: the folder.
        key: what it must have been stored with.
    """
    try:
        arrays, description = read_arrays(home / _FILE)
        if (description["format"], description["key"]) != (_FORMAT, key):
            return None
        names = [field.name for field in dataclasses.fields(Survey)]
        splits = dict.fromkeys(name.partition(".")[0] for name in arrays)
        found = {
            split: Survey(**{name: arrays[f"{split}.{name}"] for name in names}) for split in splits
        }
        return found, [str(line) for line in description["bad"]]
    except (DamagedError, KeyError, TypeError, OSError):
        return None


def write_surveys(home: Path, key: str, surveys: Surveys, bad: list[str]) -> None:
    """Stores surveys in a folder, whole or not at all.

    Args:
        home: the folder.
        key: as for `read_surveys`.
        surveys: by split.
        bad: the damaged files, each in a line.

    Raises:
        OSError: they cannot be written.
    """
    arrays = {
        f"{split}.{name}": array
        for split, survey in surveys.items()
        for name, array in vars(survey).items()
    }
    write_arrays(home / _FILE, arrays, {"format": _FORMAT, "key": key, "bad": bad})
