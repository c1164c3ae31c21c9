"""Data sets as TFDS keeps them, in array_record files, written and read without TensorFlow.

TFDS's own builders decode and write through TensorFlow. This one gives TFDS images that are already
PNG (encoded by PIL), and reads them back undecoded. The result is an ordinary TFDS data set: for
mnist, fashion_mnist and kmnist, exactly the one that `tfds.data_source(name)` expects.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data import cache, layout
from vqvae_jax.data.source import Examples, Splits
from vqvae_jax.errors import DamagedError, DataError, UnsupportedError
from vqvae_jax.extras import extra

with extra("train"):
    import tensorflow_datasets as tfds
    from PIL import Image
    from tensorflow_datasets.image_classification import mnist as stock

STOCK_BUILDERS = {
    "mnist": stock.MNIST,
    "fashion_mnist": stock.FashionMNIST,
    "kmnist": stock.KMNIST,
}
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}  # by PIL's mode
_LABELS = 2**31  # labels are int32 at most
_SUPPORTED = (
    "supported are the splits train and test, of images of one size, gray or in color with 8 bits "
    "per channel, as 'image', and of integers as 'label'"
)


def read(folder: Path) -> tuple[Splits, dict[str, Any]]:
    """Decodes a prepared data set.

    Args:
        folder: its folder, in array_record format.

    Returns:
        The result of `cache.describe`: the splits in canonical order, and their description.

    Raises:
        UnsupportedError: it is intact, but holds something other than images with labels.
        DamagedError: its files are damaged.
        DataError: they cannot be read.
    """
    with _named(folder):
        builder = tfds.builder_from_directory(folder)
        features = _features(builder.info)
        splits = {split: _split(builder, split, features) for split in ("train", "test")}
        if (first := _size(splits["train"])) != (other := _size(splits["test"])):
            raise _Unsupported(f"images of {first} to train on, and of {other} to test")
        recorded = builder.info.metadata or {}
        provenance = {
            "source": recorded.get("source", f"prepared by TFDS in {folder}"),
            "archives": recorded.get("archives", {}),
            "folder": recorded.get("folder"),
        }
        splits, description = cache.describe(splits, provenance)
        if recorded.get("digest", description["digest"]) != description["digest"]:
            raise ValueError("its images are not those that were written")
    return splits, description


def write(name: str, splits: Splits, description: dict[str, Any], data_dir: Path) -> Path:
    """Prepares a data set, whole or not at all.

    Args:
        name: one of `STOCK_BUILDERS`.
        splits: its images and labels.
        description: from `cache.describe`, stored with it.
        data_dir: TFDS's data folder.

    Returns:
        The folder it is in.

    Raises:
        DataError: it cannot be written.
    """
    folder = next((folder for folder in own_folders(name, data_dir) if not folder.exists()), None)
    if folder is None:
        raise DataError(f"{data_dir} holds a {name} that cannot be read; use another data_dir")
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = _Builder(name, splits, description, folder.parent.parent)
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def own_folders(name: str, data_dir: Path) -> list[Path]:
    """Returns where `write` may put a set."""
    return layout.own_folders(name, str(STOCK_BUILDERS[name].VERSION), data_dir)


def set_damaged_aside(name: str, data_dir: Path) -> None:
    """Renames damaged sets in the places where `write` would put a new one."""
    for folder in own_folders(name, data_dir):
        try:
            if layout.is_readable(folder):
                read(folder)
        except DamagedError:
            aside = tempfile.mkdtemp(prefix=f"{folder.name}.damaged.", dir=folder.parent)
            folder.replace(aside)


class _Unsupported(Exception):  # noqa: N818
    """Describes what an intact set holds that is not supported."""


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Turns any failure with a prepared data set into an error that names its folder."""
    try:
        yield
    except (_Unsupported, tfds.core.utils.version.DatasetVariantBlockedError) as error:
        raise UnsupportedError(
            f"the prepared data set in {folder} is not supported: it holds "
            f"{' '.join(str(error).split())}; {_SUPPORTED}"
        ) from error
    except (OSError, MemoryError, ImportError) as error:
        raise DataError(f"the prepared data set in {folder} cannot be read: {error}") from error
    except Exception as error:  # TFDS, protobuf, array_record and PIL each raise their own kinds
        raise DamagedError(
            f"the prepared data set in {folder} cannot be read ({type(error).__name__}: {error}); "
            "delete the folder to have the data set loaded again"
        ) from error


def _features(info: tfds.core.DatasetInfo) -> tfds.features.FeaturesDict:
    """Returns the two features of a set that are read, after checking them."""
    splits, features = dict(info.splits), dict(info.features)
    for split in ("train", "test"):
        if split not in splits:
            raise _Unsupported(f"the splits {', '.join(splits) or 'none'}, but no {split}")
        if splits[split].num_examples == 0:
            raise _Unsupported(f"no examples in its split {split}")
    image, label = features.get("image"), features.get("label")
    if image is None or label is None:
        raise _Unsupported(f"the features {', '.join(sorted(features))}")
    if not isinstance(image, tfds.features.Image):
        raise _Unsupported(f"an 'image' that is {image}")
    dtype = np.dtype(image.np_dtype)
    if dtype != np.uint8 or image.shape[-1] not in (*_CHANNELS.values(), None):
        raise _Unsupported(f"{dtype.name} images of shape {image.shape}")
    if label.shape != () or not np.issubdtype(label.np_dtype, np.integer):
        raise _Unsupported(f"a 'label' that is {label}")
    return tfds.features.FeaturesDict({"image": image, "label": label})


def _split(builder: Any, split: str, features: tfds.features.FeaturesDict) -> Examples:
    source = builder.as_data_source(
        split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    undecoded = {"image": tfds.decode.SkipDecoding()}
    examples = [
        features.deserialize_example_np(record, decoders=undecoded)
        for record in source.__getitems__(range(len(source)))
    ]
    images = [_decode(example["image"]) for example in examples]
    sizes = sorted({image.shape for image in images})
    if len(sizes) > 1:
        raise _Unsupported(f"images of different sizes, such as {sizes[0]} and {sizes[-1]}")
    labels = np.array([example["label"] for example in examples])
    if not -_LABELS <= labels.min() <= labels.max() < _LABELS:
        raise _Unsupported(f"labels from {labels.min()} to {labels.max()}")
    is_small = labels.min() >= 0 and labels.max() <= 255
    dtype = np.uint8 if is_small else np.int32
    return {"image": np.stack(images), "label": labels.astype(dtype)}


def _size(split: Examples) -> tuple[int, ...]:
    return split["image"].shape[1:]


def _decode(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image)
        if image.mode not in _CHANNELS:
            raise _Unsupported(f"an image of PIL's mode {image.mode}")
    return pixels.reshape(*pixels.shape[:2], _CHANNELS[image.mode])


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds a data set from arrays in memory."""

    def __init__(self, name: str, splits: Splits, description: dict[str, Any], data_dir: Path):
        self.name = name
        self.VERSION = STOCK_BUILDERS[name].VERSION
        self._splits, self._described = splits, description
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        images, labels = self._splits["train"]["image"], self._splits["train"]["label"]
        metadata = tfds.core.MetadataDict(self._described)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name}: images with labels, in the form of MNIST.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=images.shape[1:]),
                    "label": tfds.features.ClassLabel(num_classes=int(labels.max()) + 1),
                }
            ),
            supervised_keys=("image", "label"),
            metadata=metadata,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(arrays) for split, arrays in self._splits.items()}

    def _generate_examples(self, split: Examples) -> Iterator[tuple[int, dict[str, Any]]]:
        examples = zip(split["image"], split["label"], strict=True)
        for index, (image, label) in enumerate(examples):
            yield index, {"image": Image.fromarray(image[..., 0]), "label": int(label)}
