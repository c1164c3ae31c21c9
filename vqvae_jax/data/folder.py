"""Folders of files as data sets: what those of images and of audio share."""

import abc
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from vqvae_jax.checks import check_choice, check_integer, check_path, check_share
from vqvae_jax.data import cache
from vqvae_jax.data.dataset import DataConfig, Dataset
from vqvae_jax.data.framed import framed_source
from vqvae_jax.data.framing import Framing, one_size
from vqvae_jax.data.listing import classes_of, list_files, splits_of
from vqvae_jax.data.prepared import data_folder
from vqvae_jax.errors import DataError

Frames = TypeVar("Frames", bound=Framing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileFolder(DataConfig):
    """A folder of files, with any folders inside.

    If it holds folders train and test (or val, valid, validation), those are the splits; else
    files are held out by a hash of their names. If all files lie in folders, the outermost of
    these are their classes.

    Args:
        path: the folder.
        test_fraction: fraction of the files held out if there are no folders train and test.
        max_bad_files: how many files that cannot be decoded are named and skipped; one more is an
            error.
        cache: where what is decoded is kept: disk, memory, or nowhere: then each file is decoded
            again in each epoch.
        data_dir: the folder of cached data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: an argument out of its range.
    """

    suffixes: ClassVar[Sequence[str]]

    path: str
    test_fraction: float = 0.1
    max_bad_files: int = 0
    cache: str = "disk"
    data_dir: str | None = None

    def __post_init__(self) -> None:
        check_path("path", self.path)
        if self.data_dir is not None:
            check_path("data_dir", self.data_dir)
        check_share("test_fraction", self.test_fraction)
        check_integer("max_bad_files", self.max_bad_files, 0)
        check_choice("cache", self.cache, ("disk", "memory", "nowhere"))

    @property
    @abc.abstractmethod
    def framing(self) -> Framing:
        """How the files become examples."""

    @property
    def patterns(self) -> tuple[str | None, str | None]:
        """The patterns of `splits_of` and `classes_of`."""
        return None, None

    def load(self) -> Dataset:
        """See `DataConfig.load`.

        The first time each file is decoded once; what that finds is kept in data_dir.

        Raises:
            DataError: there are no files, too many are damaged, or they differ in size or classes.
            OSError: a folder cannot be read, or written.
        """
        return _load(self, self.framing)


def only(kind: type[Frames], config: FileFolder) -> Frames:
    """Returns the settings of a framing alone, of a folder's settings."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # framings are dataclasses
    return kind(**{field.name: getattr(config, field.name) for field in fields})


def _load(config: FileFolder, framing: Framing) -> Dataset:
    from vqvae_jax.data.kept import open_files  # needs an extra

    root = Path(config.path).expanduser().absolute()
    test_pattern, label_pattern = config.patterns
    listed_names = list_files(root, config.suffixes)
    if not listed_names:
        raise DataError(f"{root} holds no {framing.noun}s ({', '.join(config.suffixes)})")
    listed = splits_of(root, listed_names, config.test_fraction, framing.noun, test_pattern)
    classes = classes_of(listed, label_pattern)
    framings = {"train": framing, "test": framing.held_out}
    names = {split: [name for name, _ in files] for split, files in listed.items()}
    root_dir = data_folder(config.data_dir)
    opened = open_files(root, names, framings, config.cache, config.max_bad_files, root_dir)
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
    sizes = {
        split: framing.spatial
        or one_size(
            framing, found.survey.shapes, [names[split][place] for place in found.survey.files]
        )
        for split, found in opened.items()
    }
    if sizes["train"] != sizes["test"]:
        raise DataError(
            f"{root} has {framing.noun}s of {framing.described(sizes['train'])} to train on and of "
            f"{framing.described(sizes['test'])} held out; data.{framing.sizing} gives them one "
            "size"
        )
    sources = {
        split: framed_source(
            found.store,
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
        sample_rate=framing.samples_per_second,
    )
