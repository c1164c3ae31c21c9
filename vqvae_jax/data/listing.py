"""Which files a folder holds, and the splits and classes that they are of."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vqvae_jax.data.dataset import held_out
from vqvae_jax.data.survey import SPLITS
from vqvae_jax.errors import DataError

_HELD_OUT = ("test", "val", "valid", "validation")

# A file's path, and the part of it below the split's folder.
Listed = list[tuple[str, str]]


def list_files(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Returns the files in a folder and the folders inside, relative to it, sorted.

    Hidden ones are left out.

    Args:
        root: the folder.
        suffixes: in lower case; files with others are left out.

    Raises:
        DataError: it is no folder.
        OSError: it cannot be listed.
    """
    if not root.is_dir():
        raise DataError(f"{root} is {'no folder' if root.exists() else 'missing'}")
    return sorted(_files_below(root, Path(), {root.resolve()}, tuple(suffixes)))


def _files_below(
    root: Path, folder: Path, above: set[Path], suffixes: tuple[str, ...]
) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            inside = folder / entry.name
            if entry.is_dir():
                resolved = (root / inside).resolve()
                if resolved not in above:  # a link to a folder around it would never end
                    yield from _files_below(root, inside, above | {resolved}, suffixes)
            elif entry.name.lower().endswith(suffixes):
                yield inside.as_posix()


def splits_of(
    root: Path, names: Sequence[str], test_fraction: float, noun: str, pattern: str | None = None
) -> dict[str, Listed]:
    """Divides files by a pattern, else by the folders of splits, else by a hash of their names.

    Args:
        root: the folder, for errors.
        names: the files, relative to it; at least one.
        test_fraction: see `held_out`.
        noun: what a file holds, for errors.
        pattern: a regular expression that is found in the names of held-out files; None: there is
            no such pattern.

    Raises:
        DataError: a split has no files.
    """
    if pattern is not None:
        chosen = [re.search(pattern, name) is not None for name in names]
        if all(chosen) or not any(chosen):
            raise DataError(
                f"data.test_pattern {pattern!r} is found in the names of {sum(chosen)} of the "
                f"{len(names)} files of {root}; both splits must have some"
            )
        return _divided(names, chosen)
    below: dict[str, Listed] = {folder: [] for folder in ("train", *_HELD_OUT)}
    for name in names:
        folder, _, inside = name.partition("/")
        if inside and folder in below:
            below[folder].append((name, inside))
    if below["train"]:
        test = next((below[folder] for folder in _HELD_OUT if below[folder]), None)
        if test is None:
            raise DataError(
                f"{root} has {noun}s in a folder train, but none in {', '.join(_HELD_OUT)}; name "
                f"{root / 'train'} to have some of them held out"
            )
        return {"train": below["train"], "test": test}
    return _divided(names, held_out(names, test_fraction, root, noun).tolist())


def _divided(names: Sequence[str], are_held_out: Sequence[bool]) -> dict[str, Listed]:
    splits: dict[str, Listed] = {split: [] for split in SPLITS}
    for name, is_held_out in zip(names, are_held_out, strict=True):
        splits["test" if is_held_out else "train"].append((name, name))
    return splits


def classes_of(
    listed: Mapping[str, Listed], pattern: str | None = None
) -> dict[str, list[int]] | None:
    """Returns the class of each file, by number; None: they have none.

    Args:
        listed: the files of each split.
        pattern: a regular expression whose first group, or else whose match, in a file's name is
            its class; None: the outermost folder is, if all files are in one.

    Raises:
        DataError: the pattern is not found in a name.
    """
    if pattern is None:
        folders = {
            split: [inside.partition("/") for _, inside in of] for split, of in listed.items()
        }
        if not all(rest for parts in folders.values() for _, _, rest in parts):
            return None
        named = {split: [name for name, _, _ in parts] for split, parts in folders.items()}
    else:
        named = {split: [_found(pattern, name) for name, _ in of] for split, of in listed.items()}
    numbers = {
        name: number for number, name in enumerate(sorted({n for of in named.values() for n in of}))
    }
    return {split: [numbers[name] for name in names] for split, names in named.items()}


def _found(pattern: str, name: str) -> str:
    match = re.search(pattern, name)
    if match is None:
        raise DataError(f"data.label_pattern {pattern!r} is not found in the name of {name}")
    return match[1] if match.re.groups and match[1] is not None else match[0]
