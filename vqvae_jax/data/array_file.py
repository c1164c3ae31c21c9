"""Arrays of images in .npy and .npz files as data sets."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.checks import check_path, check_share
from vqvae_jax.data import cache
from vqvae_jax.data.dataset import DataConfig, Dataset, held_out
from vqvae_jax.data.source import ArraySource, Examples
from vqvae_jax.errors import DataError

_CHUNK = 1024  # images at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArrayFile(DataConfig):
    """Images in a .npy file, or in a .npz file with labels: uint8 [N, H, W, C] or [N, H, W].

    A .npy file is memory-mapped. A .npz file holds "image" and, if there are labels, "label",
    integers [N].

    Args:
        path: the file.
        test_path: a file like it with the held-out images; None: they are held out of the first one
            by a hash of their place in it.
        test_fraction: fraction of the images held out if there is no test_path.

    Raises:
        ValueError: an argument out of its range.
    """

    path: str
    test_path: str | None = None
    test_fraction: float = 0.1

    def __post_init__(self) -> None:
        check_path("path", self.path)
        if self.test_path is not None:
            check_path("test_path", self.test_path)
        check_share("test_fraction", self.test_fraction)

    def load(self) -> Dataset:
        """See `DataConfig.load`.

        Raises:
            DataError: a file is missing, is damaged or holds something else.
        """
        file = Path(self.path).expanduser().absolute()
        arrays = read_arrays(file)
        if self.test_path is None:
            places = [str(place) for place in range(len(arrays["image"]))]
            chosen = held_out(places, self.test_fraction, file)
            splits = {"train": (arrays, ~chosen), "test": (arrays, chosen)}
        else:
            other = read_arrays(Path(self.test_path).expanduser().absolute())
            for path, held in ((file, arrays), (self.test_path, other)):
                if not len(held["image"]):
                    raise DataError(f"{path} holds no images")
            if (there := _form(other)) != (here := _form(arrays)):
                raise DataError(f"{self.test_path} holds {there}; it must hold {here} like {file}")
            splits = {
                split: (held, np.ones(len(held["image"]), bool))
                for split, held in (("train", arrays), ("test", other))
            }
        digest, counts = hashlib.sha256(), np.zeros(256, np.int64)
        sources = {}
        for split, (held, chosen) in splits.items():
            rows = np.flatnonzero(chosen)
            digest.update(repr((split, len(rows), _form(held))).encode())
            for start in range(0, len(rows), _CHUNK):
                part = {name: array[rows[start : start + _CHUNK]] for name, array in held.items()}
                for array in part.values():
                    digest.update(np.ascontiguousarray(array).data)
                if split == "train":
                    counts += cache.value_counts(part["image"])
            sources[split] = held, None if chosen.all() else rows
        name = digest.hexdigest()
        return Dataset(
            name=file.stem,
            source=str(file),
            archives={},
            train=ArraySource(sources["train"][0], f"{name} train", sources["train"][1]),
            test=ArraySource(sources["test"][0], f"{name} test", sources["test"][1]),
            variance=cache.variance_of(counts.tolist()),
            digest=name,
            folder=str(file),
        )


def read_arrays(file: Path) -> Examples:
    """Returns the arrays of a file: "image" [N, H, W, C], and "label" [N] if there is one.

    Raises:
        DataError: the file is missing, is damaged or holds something else.
    """
    try:
        read: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(read, np.ndarray):
            arrays = {"image": read}
        else:
            with read:
                arrays = dict(read)
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # NumPy, zipfile and zlib each raise their own kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{file} is no .npy or .npz file, or is damaged: {reason}") from error
    if "image" not in arrays or {*arrays} - {"image", "label"}:
        held = ", ".join(arrays) or "nothing"
        raise DataError(f"{file} holds {held}; it must hold image, or image and label")
    images = arrays["image"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{file} holds images {images.dtype} {images.shape}; they must be uint8 [N, H, W, C] "
            "or [N, H, W]"
        )
    found = {"image": images if images.ndim == 4 else images[..., None]}
    if "label" in arrays:
        labels = arrays["label"]
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(
                f"{file} holds labels {labels.dtype} {labels.shape}; they must be integers "
                f"({len(images)},)"
            )
        found["label"] = labels.astype(np.int32)
    return found


def _form(arrays: Examples) -> str:
    """Describes what arrays have to have in common."""
    return f"images of {arrays['image'].shape[1:]}" + (" with labels" if "label" in arrays else "")
