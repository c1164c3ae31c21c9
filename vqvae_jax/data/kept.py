"""The contents of files: kept from an earlier start, or decoded in a pass over the files."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vqvae_jax.data import cache
from vqvae_jax.data.framing import Framing
from vqvae_jax.data.stores import FileStore, FlatStore, Store
from vqvae_jax.data.survey import (
    Survey,
    Surveys,
    check_bad,
    example_digest,
    read_surveys,
    stamp,
    survey,
    write_surveys,
)
from vqvae_jax.errors import DataError
from vqvae_jax.files import exclusively, naming
from vqvae_jax.words import counted

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Opened:
    """The contents of a split's files, and the survey of them."""

    survey: Survey
    store: Store


@dataclasses.dataclass(frozen=True)
class _Files:
    """Files, and how they are decoded.

    Attributes:
        root: their folder.
        names: those of each split, relative to it.
        framings: how those of each split are decoded.
        max_bad_files: how many of them may be damaged.
    """

    root: Path
    names: Mapping[str, list[str]]
    framings: Mapping[str, Framing]
    max_bad_files: int

    def decoded(self, files: Mapping[str, io.BufferedIOBase]) -> tuple[Surveys, list[str]]:
        """Decodes all of them, and writes the values of each split to a file, if it has one."""
        number = sum(map(len, self.names.values()))
        _log.info("decoding %s of %s once", counted(number, "file"), self.root)
        return survey(self.root, self.names, self.framings, files, self.max_bad_files)

    def check(self, bad: list[str]) -> None:
        """Names the files that a pass before found damaged.

        Raises:
            DataError: there are more than max_bad_files.
        """
        for number, line in enumerate(bad, start=1):
            check_bad(line, number, self.max_bad_files)

    def opened(self, surveys: Surveys, flat: Mapping[str, np.ndarray | Path]) -> dict[str, Opened]:
        """Returns what the files hold, given where the values are; else they are read each time."""
        return {
            split: Opened(found, self._store(split, found, flat.get(split)))
            for split, found in surveys.items()
        }

    def _store(self, split: str, found: Survey, flat: np.ndarray | Path | None) -> Store:
        framing = self.framings[split]
        if flat is not None:
            return FlatStore(flat, found.shapes, framing)
        return FileStore(self.root, self.names[split], found.files, found.digests, framing)


def open_files(
    root: Path,
    names: Mapping[str, list[str]],
    framings: Mapping[str, Framing],
    keep: str,
    max_bad_files: int,
    data_dir: Path,
) -> dict[str, Opened]:
    """Opens the files of each split, after a pass over them if that is necessary.

    Args:
        root: the folder of the files.
        names: the files of each split, relative to it.
        framings: how they are decoded.
        keep: disk, memory or nowhere: where the decoded values are kept.
        max_bad_files: how many files may be damaged.
        data_dir: the folder under which the pass's result, and the values, are kept.

    Raises:
        DataError: too many files are damaged, or a split has no examples.
        OSError: a file is gone, or the values cannot be written.
    """
    files = _Files(root, names, framings, max_bad_files)
    if keep == "memory":
        buffers = {split: io.BytesIO() for split in names}
        surveys, _ = files.decoded(buffers)
        return files.opened(
            surveys,
            {
                split: np.frombuffer(buffers[split].getbuffer(), framings[split].dtype)
                for split in names
            },
        )
    how = repr([framing.reading for framing in framings.values()])
    place = _digest(os.fsencode(root).hex(), how)[:16]
    home = cache.folder_of(f"{root.name or 'root'}.{place}", data_dir)
    key = _digest(stamp(root, names), how, framings["train"].reader)
    with exclusively(home.with_name(f"{home.name}.lock")):
        if keep == "disk":
            return _on_disk(files, home, key)
        known = read_surveys(home, key)
        if known is not None:
            files.check(known[1])
        else:
            known = files.decoded({})
            try:
                with _replacing(home) as draft:
                    write_surveys(draft, key, *known)
            except OSError as error:
                _log.warning("what was found in %s is not kept: %s", root, error)
    return files.opened(known[0], {})


def _on_disk(files: _Files, home: Path, key: str) -> dict[str, Opened]:
    flat = {split: home / f"{split}.values" for split in files.names}
    known = read_surveys(home, key)
    if known is not None:
        files.check(known[1])
        with contextlib.suppress(DataError, OSError):
            opened = files.opened(known[0], flat)
            if all(map(_is_intact, opened.values())):
                return opened
        if any(file.exists() for file in flat.values()):
            _log.warning("WARNING: what is cached in %s is damaged; it is decoded again", home)
    with naming(home), _replacing(home) as draft:
        with contextlib.ExitStack() as stack:
            written = {
                split: stack.enter_context((draft / file.name).open("wb"))
                for split, file in flat.items()
            }
            known = files.decoded(written)
        write_surveys(draft, key, *known)
    return files.opened(known[0], flat)


def _is_intact(opened: Opened) -> bool:
    digests = (example_digest(opened.store[index]) for index in range(len(opened.survey)))
    return b"".join(digests) == opened.survey.digests.tobytes()


@contextlib.contextmanager
def _replacing(home: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces another, unless something is raised."""
    draft = home.with_name(f".{home.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(home, ignore_errors=True)
        draft.replace(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
