"""Decoded data sets: memory-mapped uint8 arrays, with their digest and their variance.

They are in a canonical order, by the digest of each image and its label: the batches of a run
depend on the data alone, not on their order in an archive, TFDS or a download.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data.source import Examples, Splits

_FORMAT = 1
_DESCRIPTION = "description.json"


def folder_of(name: str, root: Path, digest: str | None = None) -> Path:
    """Returns the folder in which a data set is cached.

    Args:
        name: the data set's name.
        root: the data folder.
        digest: None for the set that the name now refers to; or that of one it referred to before.
    """
    return root / "vqvae_jax" / (name if digest is None else f"{name}.{digest[:16]}")


def describe(splits: Splits, provenance: dict[str, Any]) -> tuple[Splits, dict[str, Any]]:
    """Puts splits in canonical order, and adds their digest and variance to their provenance."""
    splits = {name: _canonical(split) for name, split in splits.items()}
    variance = variance_of(value_counts(splits["train"]["image"]).tolist())
    return splits, {"digest": _digest(splits), "variance": variance, **provenance}


def write(folder: Path, splits: Splits, description: dict[str, Any]) -> None:
    """Stores what `describe` gave, whole or not at all.

    Args:
        folder: where; any previous content is replaced.
        splits: "train" and "test".
        description: the splits' description.

    Raises:
        OSError: it cannot be written.
    """
    stored = {"format": _FORMAT, "description": description, "checksum": _checksum(description)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, split in splits.items():
            np.save(draft / f"{name}_images.npy", split["image"])
            np.save(draft / f"{name}_labels.npy", split["label"])
        (draft / _DESCRIPTION).write_text(json.dumps(stored, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was first; its copy will do
            os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: Path) -> tuple[Splits, dict[str, Any]] | None:
    """Returns the splits and the description that `write` stored; None if missing or damaged.

    The pixels are memory-mapped and verified against their digest.
    """
    description = read_description(folder)
    if description is None:
        return None
    try:
        splits = {
            name: {
                "image": np.load(folder / f"{name}_images.npy", mmap_mode="r"),
                "label": np.load(folder / f"{name}_labels.npy"),
            }
            for name in ("train", "test")
        }
        whole = description["digest"] == _digest(splits)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError):
        return None
    return (splits, description) if whole else None


def read_description(folder: Path) -> dict[str, Any] | None:
    """Returns the description that `write` stored; None if it is missing or damaged."""
    try:
        stored = json.loads((folder / _DESCRIPTION).read_text())
        description: dict[str, Any] = stored["description"]
        known = (stored["format"], stored["checksum"]) == (_FORMAT, _checksum(description))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return description if known else None


def value_counts(values: np.ndarray) -> np.ndarray:
    """Returns how often each value occurs in uint8 or int16 [...]: int64 [256] or [65536]."""
    limits = np.iinfo(values.dtype)
    flat = values.reshape(-1)
    shifted = flat if limits.min == 0 else flat.astype(np.int32) - limits.min
    return np.bincount(shifted, minlength=limits.max - limits.min + 1)


def _canonical(split: Examples) -> Examples:
    keys = [
        hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()
        for image, label in zip(split["image"], split["label"], strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return {"image": np.ascontiguousarray(split["image"][order]), "label": split["label"][order]}


def _digest(splits: Splits) -> str:
    """Returns the SHA-256 of the shapes, pixels and labels of both splits."""
    digest = hashlib.sha256()
    for name in ("train", "test"):
        for array in (splits[name]["image"], splits[name]["label"]):
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _checksum(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def variance_of(counts: Sequence[int]) -> float:
    """Returns the population variance of x / 255, or of x / 65536, correctly rounded.

    Args:
        counts: how often x has each of 256 values, or of 65536.
    """
    steps = 255 if len(counts) == 256 else len(counts)
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    return (second * total - first * first) / (total * total * steps * steps)
