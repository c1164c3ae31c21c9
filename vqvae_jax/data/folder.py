"""Folders of image files as data sets."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vqvae_jax.checks import check_choice, check_integer, check_path, check_share
from vqvae_jax.data import cache
from vqvae_jax.data.dataset import DataConfig, Dataset, held_out
from vqvae_jax.data.framing import Framing, check_one_size
from vqvae_jax.data.images import image_source
from vqvae_jax.data.prepared import data_folder
from vqvae_jax.data.survey import SPLITS, Survey
from vqvae_jax.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

_HELD_OUT = ("test", "val", "valid", "validation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder(Framing, DataConfig):
    """A folder of images: JPEG, PNG, WebP, GIF, BMP and TIFF, with any folders inside.

    If it holds folders train and test (or val, valid, validation), those are the splits; else
    images are held out by a hash of their names. If all images lie in folders, the outermost of
    these are their classes.

        photos = vqvae_jax.ImageFolder(path="PHOTOS", size=64, crop="random").load()
        vqvae_jax.train(model, photos.train, photos.test, workdir="runs/photos")

    Gray, palette, CMYK and 16-bit images are converted, transparent ones laid over white, and all
    turned as their EXIF data say.

    Args:
        path: the folder.
        test_fraction: fraction of the images held out if there are no folders train and test.
        max_bad_files: how many files that cannot be decoded are named and skipped; one more is an
            error.
        cache: where decoded pixels are kept: disk, memory, or nowhere: then each is decoded again
            in each epoch.
        data_dir: the folder of cached data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: an argument out of its range.
    """

    path: str
    test_fraction: float = 0.1
    max_bad_files: int = 0
    cache: str = "disk"
    data_dir: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_path("path", self.path)
        if self.data_dir is not None:
            check_path("data_dir", self.data_dir)
        check_share("test_fraction", self.test_fraction)
        check_integer("max_bad_files", self.max_bad_files, 0)
        check_choice("cache", self.cache, ("disk", "memory", "nowhere"))

    def load(self) -> Dataset:
        """See `DataConfig.load`.

        The first time each file is decoded once; what that finds is kept in data_dir.

        Raises:
            DataError: there are no images, too many are damaged, or they differ in size or classes.
            OSError: a folder cannot be read, or written.
        """
        return _load(self)


def list_images(root: Path) -> list[str]:
    """Returns the image files in a folder and the folders inside, relative to it, sorted.

    They are recognized by their suffixes; hidden ones are left out.

    Raises:
        DataError: it is no folder.
        OSError: it cannot be listed.
    """
    if not root.is_dir():
        raise DataError(f"{root} is {'no folder' if root.exists() else 'missing'}")
    return sorted(_files_below(root, Path(), {root.resolve()}))


def _files_below(root: Path, folder: Path, above: set[Path]) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            inside = folder / entry.name
            if entry.is_dir():
                resolved = (root / inside).resolve()
                if resolved not in above:  # a link to a folder around it would never end
                    yield from _files_below(root, inside, above | {resolved})
            elif entry.name.lower().endswith(SUFFIXES):
                yield inside.as_posix()


def _load(config: ImageFolder) -> Dataset:
    from vqvae_jax.data.kept import open_images  # needs an extra

    root = Path(config.path).expanduser().absolute()
    listed = _splits(root, list_images(root), config.test_fraction)
    classes = _classes(listed)
    framings = {"train": config.framing, "test": config.held_out}
    names = {split: [name for name, _ in files] for split, files in listed.items()}
    root_dir = data_folder(config.data_dir)
    opened = open_images(root, names, framings, config.cache, config.max_bad_files, root_dir)
    labels = {
        split: None if classes is None else np.array(classes[split], np.int32)[found.survey.files]
        for split, found in opened.items()
    }
    digest = hashlib.sha256()
    for split, found in opened.items():
        digest.update(repr((split, len(found.survey), labels[split] is None)).encode())
        digest.update(found.survey.digests.tobytes())
        held = labels[split]
        digest.update(b"" if held is None else held.tobytes())
    sizes = {split: _size(config, names[split], found.survey) for split, found in opened.items()}
    if sizes["train"] != sizes["test"]:
        raise DataError(
            f"{root} has images of {sizes['train']} to train on and of {sizes['test']} held out; "
            "data.size gives them one size"
        )
    sources = {
        split: image_source(
            found.pixels,
            framings[split],
            sizes[split],
            labels[split],
            len(found.survey),
            f"{digest.hexdigest()} {split} {framings[split]}",
        )
        for split, found in opened.items()
    }
    return Dataset(
        name=root.name,
        source=str(root),
        archives={},
        **sources,
        variance=cache.variance_of(opened["train"].survey.counts.tolist()),
        digest=digest.hexdigest(),
        folder=str(root),
        data_dir=str(root_dir),
    )


def _size(config: ImageFolder, names: list[str], survey: Survey) -> tuple[int, int]:
    if config.size is not None:
        return config.size, config.size
    return check_one_size(survey.shapes, [names[place] for place in survey.files])


# A file's path, and the part of it below the split's folder.
_Listed = list[tuple[str, str]]


def _splits(root: Path, names: list[str], test_fraction: float) -> dict[str, _Listed]:
    """Divides files by the folders of splits; without these by a hash of their names."""
    if not names:
        raise DataError(f"{root} holds no images ({', '.join(SUFFIXES)})")
    below: dict[str, _Listed] = {folder: [] for folder in ("train", *_HELD_OUT)}
    for name in names:
        folder, _, inside = name.partition("/")
        if inside and folder in below:
            below[folder].append((name, inside))
    if below["train"]:
        test = next((below[folder] for folder in _HELD_OUT if below[folder]), None)
        if test is None:
            raise DataError(
                f"{root} has images in a folder train, but none in {', '.join(_HELD_OUT)}; name "
                f"{root / 'train'} to have some of them held out"
            )
        return {"train": below["train"], "test": test}
    splits: dict[str, _Listed] = {split: [] for split in SPLITS}
    for name, is_held_out in zip(names, held_out(names, test_fraction, root), strict=True):
        splits["test" if is_held_out else "train"].append((name, name))
    return splits


def _classes(listed: Mapping[str, _Listed]) -> dict[str, list[int]] | None:
    """Returns the class of each file, by number; None: they are not all in class folders."""
    folders = {split: [inside.partition("/") for _, inside in of] for split, of in listed.items()}
    if not all(rest for parts in folders.values() for _, _, rest in parts):
        return None
    names = sorted({name for parts in folders.values() for name, _, _ in parts})
    numbers = {name: number for number, name in enumerate(names)}
    return {split: [numbers[name] for name, _, _ in parts] for split, parts in folders.items()}
