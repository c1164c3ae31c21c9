"""Data sets of the package `datasets` of Hugging Face as sources."""

import functools
from typing import Any

import jax
import numpy as np

from vqvae_jax.data.framing import Framing
from vqvae_jax.data.source import Examples
from vqvae_jax.errors import DataError


class HuggingFaceSource:
    """The images of a `datasets.Dataset`, or of anything else with rows that are mappings.

        photos = datasets.load_dataset("imagefolder", data_dir="PHOTOS")["train"]
        source = vqvae_jax.HuggingFaceSource(photos, size=64, crop="random", flip=True)

    Its examples have "image", uint8 [S, S, C], and "label", int32 [], if a column is named for it.

    Args:
        dataset: rows by index, in which an image is a PIL image or an array [H, W, C] or [H, W].
        image: the column of the images.
        label: the column of their labels, integers; None: no labels.
        fingerprint: see `DataSource`; None: that of the dataset.
        framing: size (which must be given), resize, crop (center or random), flip and channels, as
            for `ImageFolder`.

    Raises:
        DataError: the dataset has no fingerprint, and none is given.
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        image: str = "image",
        label: str | None = None,
        fingerprint: str | None = None,
        **framing: Any,
    ):
        self._dataset, self._image, self._label = dataset, image, label
        self._framing = Framing(**framing)
        size = self._framing.size
        if size is None:
            raise ValueError("size is None; it must be given")
        if self._framing.crop == "tiles":
            raise ValueError("crop is 'tiles'; it must be 'center' or 'random'")
        known = fingerprint or getattr(dataset, "_fingerprint", None)
        if known is None:
            raise DataError(
                f"a {type(dataset).__name__} has no fingerprint; one must be given, which changes "
                "with its data"
            )
        self.fingerprint = f"{known} {image!r} {label!r} {self._framing}"
        shape = (size, size, self._framing.channels)
        self.spec = {"image": jax.ShapeDtypeStruct(shape, np.dtype(np.uint8))}
        if label is not None:
            self.spec["label"] = jax.ShapeDtypeStruct((), np.dtype(np.int32))

    def __len__(self) -> int:
        return len(self._dataset)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """All labels: int32 [N]."""
        return np.asarray(self._dataset[self._label], np.int32)

    def __getitem__(self, index: int, /) -> Examples:
        """Returns an example; of random crops, the center.

        Raises:
            DataError: its image cannot be used.
        """
        row, image = self._row(index)
        return self._example(row, self._framing.center(image))

    def draw(self, index: int, random: np.random.RandomState) -> Examples:
        """Returns an example for training, with what is random in it drawn.

        Raises:
            DataError: its image cannot be used.
        """
        row, image = self._row(index)
        if self._framing.crop == "center":
            image = self._framing.center(image)
        return self._example(row, self._framing.draw(image, random))

    def _row(self, index: int) -> tuple[Any, np.ndarray]:
        from PIL import Image

        from vqvae_jax.data.decoding import image_pixels

        row = self._dataset[index]
        given = row[self._image]
        try:
            image = given
            if not isinstance(given, Image.Image):
                pixels = np.asarray(given)
                if pixels.dtype.kind in "iu" and pixels.size and pixels.min() >= 0:
                    pixels = pixels if pixels.max() > 255 else pixels.astype(np.uint8)
                is_gray = pixels.ndim == 3 and pixels.shape[2] == 1
                image = Image.fromarray(pixels[..., 0] if is_gray else pixels)
            return row, image_pixels(image, self._framing.channels, *self._framing.scaling)
        except (DataError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{self._image} of row {index} cannot be used: {error}") from error

    def _example(self, row: Any, image: np.ndarray) -> Examples:
        example = {"image": image}
        if self._label is not None:
            example["label"] = np.asarray(row[self._label], np.int32)
        return example
