"""Checkpoints: everything that determines how a run continues, written whole or not at all.

A checkpoint is one file, <workdir>/checkpoints/<step>.safetensors, with a digest of every leaf. A
damaged one is never used and never deleted: the previous one is used, and the log says so.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from vqvae_jax.arrays import read_arrays, read_description, write_arrays
from vqvae_jax.errors import CheckpointError, DamagedError

Tree = TypeVar("Tree")

_log = logging.getLogger(__name__)

# The version of a run's files. 1, which some files do not state, had other names for the state's
# parts and the monitor; 0 was a folder per checkpoint.
FORMAT = 2

_LATEST_KEPT = 2
_DESCRIBED = {"step", "is_logged", "monitor", "run"}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read back.

    Attributes:
        path: its file.
        step: how many steps were taken.
        is_logged: whether the log and evaluation that follow the step are done too.
        monitor: the held-out metric at this step; None if there was no evaluation.
        run: JSON values that describe the run.
        arrays: the leaves of the state by path, such as params.encoder.convs.0.kernel.
    """

    path: Path
    step: int
    is_logged: bool
    monitor: float | None
    run: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def restore(self, like: Tree) -> Tree:
        """Restores the state.

        Args:
            like: a pytree of the same structure, shapes and types; or a part of one.

        Returns:
            A pytree like `like`.

        Raises:
            CheckpointError: a leaf is missing, or has another shape or type.
        """
        leaves = []
        for name, leaf in _named_leaves(like).items():
            if name not in self.arrays:
                raise CheckpointError(f"{self.path} has no {name}")
            value = self.arrays[name]
            if (value.shape, value.dtype) != (leaf.shape, leaf.dtype):
                raise CheckpointError(
                    f"{self.path} holds {name} as {value.dtype} {value.shape}, "
                    f"not {leaf.dtype} {leaf.shape}"
                )
            leaves.append(jax.device_put(value))
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def save_checkpoint(
    workdir: Path,
    step: int,
    state: Any,
    run: dict[str, Any],
    *,
    is_logged: bool,
    monitor: float | None,
) -> None:
    """Writes a checkpoint, and deletes those that are neither the latest two nor the best.

    Args:
        workdir: the run's folder.
        step: how many steps were taken.
        state: a pytree of arrays.
        run: JSON values that describe the run.
        is_logged: see `Checkpoint`.
        monitor: see `Checkpoint`; finite.

    Raises:
        OSError: it cannot be written; earlier ones still exist.
    """
    folder = _folder(workdir)
    folder.mkdir(exist_ok=True)
    description = {
        "format": FORMAT,
        "step": step,
        "is_logged": is_logged,
        "monitor": monitor,
        "run": run,
    }
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(state).items()}
    write_arrays(_path(folder, step), arrays, description)
    monitored = {}
    for other in _steps(folder):
        try:
            monitored[other] = _description(_path(folder, other))["monitor"]
        except DamagedError as error:
            _log.warning("WARNING: %s", error)
    kept = {*sorted(monitored)[-_LATEST_KEPT:], *_best_first(monitored)[:1]}
    for other in monitored.keys() - kept:
        _path(folder, other).unlink(missing_ok=True)


def checkpoint_file(workdir: Path, step: int) -> Path:
    """Returns the file of the checkpoint after a step, which need not exist."""
    return _path(_folder(workdir), step)


def latest_checkpoint(workdir: Path) -> Checkpoint | None:
    """Returns the latest intact checkpoint of a run; None if there are no checkpoints.

    Raises:
        CheckpointError: there are some, but none is intact; or one has another format.
    """
    return _first_whole(_folder(workdir), lambda monitored: sorted(monitored, reverse=True))


def best_checkpoint(workdir: Path) -> Checkpoint | None:
    """Returns the intact checkpoint with the lowest held-out metric.

    Returns:
        The checkpoint; None if no evaluation has been saved.

    Raises:
        CheckpointError: there are checkpoints, but none with an evaluation is intact; or one has
            another format.
    """
    return _first_whole(_folder(workdir), _best_first)


def described_run(workdir: Path) -> dict[str, Any] | None:
    """Returns the run's description in the latest checkpoint where it is intact, or None."""
    folder = _folder(workdir)
    for step in reversed(_steps(folder)):
        with contextlib.suppress(DamagedError):
            return _description(_path(folder, step))["run"]
    return None


def set_damaged_aside(workdir: Path) -> None:
    """Renames damaged checkpoints, so that a resumed run neither keeps nor replaces them."""
    folder = _folder(workdir)
    for step in _steps(folder):
        path = _path(folder, step)
        try:
            _description(path)
            read_arrays(path)
        except DamagedError as error:
            taken = len(list(folder.glob(f"{path.name}.damaged*")))
            aside = path.with_name(f"{path.name}.damaged{taken or ''}")
            path.replace(aside)
            _log.warning("WARNING: %s; it is now %s", error, aside.name)


def _first_whole(
    folder: Path, ranked: Callable[[dict[int, float | None]], list[int]]
) -> Checkpoint | None:
    if older := [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]:
        raise _other_format(older[0], 0)
    damage: DamagedError | None = None
    monitored: dict[int, float | None] = {}
    for step in _steps(folder):
        try:
            monitored[step] = _description(_path(folder, step))["monitor"]
        except DamagedError as error:
            _log.warning("WARNING: %s; it is skipped", error)
            damage = error
    for step in ranked(monitored):
        try:
            arrays, described = read_arrays(_path(folder, step))
        except DamagedError as error:
            _log.warning("WARNING: %s; it is skipped", error)
            damage = error
        else:
            described = {name: described[name] for name in _DESCRIBED}
            return Checkpoint(_path(folder, step), arrays=arrays, **described)
    if damage is not None:
        raise CheckpointError(f"no checkpoint in {folder} is left to resume from: {damage}")
    return None


def _description(path: Path) -> dict[str, Any]:
    description = read_description(path)
    if not isinstance(description, dict) or "is_logged" not in description:
        raise DamagedError(f"{path} is not a checkpoint")
    version = description.pop("format", 1)
    if version != FORMAT:
        raise _other_format(path, version)
    if {*description} != _DESCRIBED:
        raise DamagedError(f"{path} is not a checkpoint")
    return description


def _other_format(path: Path, version: Any) -> CheckpointError:
    return CheckpointError(
        f"{path} has format {version!r}; this version of vqvae_jax reads format {FORMAT}: use "
        "another --workdir, or the version of vqvae_jax that wrote it"
    )


def _best_first(monitored: dict[int, float | None]) -> list[int]:
    ranked = sorted((monitor, step) for step, monitor in monitored.items() if monitor is not None)
    return [step for _, step in ranked]


def _folder(workdir: Path) -> Path:
    return workdir / "checkpoints"


def _path(folder: Path, step: int) -> Path:
    return folder / f"{step}.safetensors"


def _steps(folder: Path) -> list[int]:
    """Returns the steps with a checkpoint file, intact or not."""
    names = [path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors")]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a pytree by path, such as params.encoder.convs.0.kernel."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): leaf
        for path, leaf in paths
    }
