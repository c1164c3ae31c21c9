"""Data sets as TFDS keeps them, in array_record files, written and read without TensorFlow.

TFDS's own builders decode and write through TensorFlow. This one hands TFDS images that are PNG
already (PIL encodes them) and takes them back undecoded. The result is an ordinary TFDS data set:
for mnist, fashion_mnist and kmnist the very one that `tfds.data_source(name)` expects.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import mnist as stock

from vqvae_jax.data import cache
from vqvae_jax.data.idx import Split, Splits
from vqvae_jax.errors import DamagedError, DataError

STOCK_BUILDERS = {
    "mnist": stock.MNIST,
    "fashion_mnist": stock.FashionMNIST,
    "kmnist": stock.KMNIST,
}
_OWN_VERSION = "1.0.0"


def find(name: str, data_dir: Path) -> Path | None:
    """The folder of the prepared data set `name` under `data_dir`, or None.

    Sets that TFDS wrote in another format than array_record need TensorFlow to be read: they do not
    count.

    Raises:
        DamagedError: its description is damaged.
    """
    return next((folder for folder in _folders(name, data_dir) if _is_readable(folder)), None)


def read(folder: Path) -> tuple[Splits, dict[str, Any]]:
    """Decodes a prepared data set.

    Args:
        folder: as `find` gives it.

    Returns:
        What `cache.describe` gives of it: the splits in canonical order, and their description.

    Raises:
        DamagedError: the files are damaged, or hold something else than grey images with labels.
    """
    with _named(folder):
        builder = tfds.builder_from_directory(folder)
        splits = {}
        for split in ("train", "test"):
            source = builder.as_data_source(
                split=split, decoders={"image": tfds.decode.SkipDecoding()}
            )
            examples = source.__getitems__(range(len(source)))
            images = [_decode(example["image"]) for example in examples]
            labels = [example["label"] for example in examples]
            splits[split] = Split(np.stack(images)[..., None], np.array(labels, np.uint8))
        recorded = builder.info.metadata or {}
        provenance = {
            "source": recorded.get("source", f"prepared by TFDS in {folder}"),
            "archives": recorded.get("archives", {}),
        }
        splits, description = cache.describe(splits, provenance)
        if recorded.get("digest", description["digest"]) != description["digest"]:
            raise ValueError("it holds other images than were written")
    return splits, description


def write(name: str, splits: Splits, description: dict[str, Any], data_dir: Path) -> Path:
    """Prepares a data set, whole or not at all.

    Args:
        name: the data set's name.
        splits: its images and labels.
        description: from `cache.describe`, kept with it.
        data_dir: TFDS's data folder.

    Returns:
        The folder it is in.

    Raises:
        DataError: it cannot be written.
    """
    folder = next((folder for folder in _folders(name, data_dir) if not folder.exists()), None)
    if folder is None:
        raise DataError(f"{data_dir} holds an unreadable {name}; delete it or use another data_dir")
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = _Builder(name, splits, description, folder.parent.parent)
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def set_damaged_aside(name: str, data_dir: Path) -> None:
    """Renames prepared sets that cannot be read, so that there is room for new ones."""
    for folder in _folders(name, data_dir):
        try:
            if _is_readable(folder):
                read(folder)
        except DamagedError:
            aside = tempfile.mkdtemp(prefix=f"{folder.name}.damaged.", dir=folder.parent)
            folder.replace(aside)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turns whatever goes wrong with a prepared data set into an error that names its folder."""
    try:
        yield
    except (OSError, MemoryError, ImportError) as error:
        raise DataError(f"the prepared data set in {folder} cannot be read: {error}") from error
    except Exception as error:  # TFDS, protobuf, array_record and PIL each raise their own kinds
        raise DamagedError(
            f"the prepared data set in {folder} cannot be read ({type(error).__name__}: {error}); "
            "delete the folder to have it prepared anew"
        ) from error


def _folders(name: str, data_dir: Path) -> Iterator[Path]:
    """Where the set may be: TFDS's own place, else (if another format is there) one beside it."""
    version = str(STOCK_BUILDERS[name].VERSION) if name in STOCK_BUILDERS else _OWN_VERSION
    yield data_dir / name / version
    yield data_dir / "array_record" / name / version


def _is_readable(folder: Path) -> bool:
    """Whether there is a set, in the format that needs no TensorFlow."""
    if not (folder / "dataset_info.json").is_file():
        return False
    with _named(folder):
        info = tfds.builder_from_directory(folder).info
    return info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def _decode(png: bytes) -> np.ndarray:
    image = np.asarray(Image.open(io.BytesIO(png)))
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"an image is {image.dtype} {image.shape}, not grey")
    return image


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes arrays that are in memory."""

    def __init__(self, name: str, splits: Splits, description: dict[str, Any], data_dir: Path):
        self.name = name
        self.VERSION = getattr(STOCK_BUILDERS.get(name), "VERSION", tfds.core.Version(_OWN_VERSION))
        self._splits, self._described = splits, description
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        train = self._splits["train"]
        metadata = tfds.core.MetadataDict(self._described)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name}: grey images with labels, in the form of MNIST.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=train.images.shape[1:]),
                    "label": tfds.features.ClassLabel(num_classes=int(train.labels.max()) + 1),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=metadata,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(arrays) for split, arrays in self._splits.items()}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            yield index, {"image": Image.fromarray(image[..., 0]), "label": int(label)}
