"""The source of images that are framed as they are read."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vqvae_jax.data.framing import Framing
from vqvae_jax.data.pixels import FlatPixels, Pixels
from vqvae_jax.data.source import ArraySource, DataSource, Examples


class ImageSource:
    """Examples "image", uint8 [S, S, C], and "label" if there are labels, int32 [].

    Args:
        pixels: the images.
        framing: how they become examples.
        size: height and width of an example.
        labels: int32 [N]; None: there are none.
        count: N.
        fingerprint: see `DataSource`.
    """

    is_thread_safe = True

    def __init__(
        self,
        pixels: Pixels,
        framing: Framing,
        size: tuple[int, int],
        labels: np.ndarray | None,
        count: int,
        fingerprint: str,
    ):
        self._pixels, self._framing = pixels, framing
        self.labels, self._count, self.fingerprint = labels, count, fingerprint
        self.is_decoded = pixels.are_decoded
        self.spec = {"image": jax.ShapeDtypeStruct((*size, framing.channels), np.dtype(np.uint8))}
        if labels is not None:
            self.spec["label"] = jax.ShapeDtypeStruct((), np.dtype(np.int32))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Examples:
        """Returns an example, of random crops the center.

        Raises:
            DataError: its image cannot be used.
        """
        return self._example(index, self._framing.center(self._pixels[index]))

    def draw(self, index: int, random: np.random.RandomState) -> Examples:
        """Returns an example for training, with what is random in it drawn.

        Raises:
            DataError: its image cannot be used.
        """
        return self._example(index, self._framing.draw(self._pixels[index], random))

    def _example(self, index: int, image: np.ndarray) -> Examples:
        example: dict[str, Any] = {"image": image}
        return example if self.labels is None else example | {"label": self.labels[index]}


def image_source(
    pixels: Pixels,
    framing: Framing,
    size: tuple[int, int],
    labels: np.ndarray | None,
    count: int,
    fingerprint: str,
) -> DataSource:
    """Returns an `ImageSource`; or, if the pixels are examples as they are, an `ArraySource`."""
    if framing.is_random or not isinstance(pixels, FlatPixels):
        return ImageSource(pixels, framing, size, labels, count, fingerprint)
    arrays = {"image": pixels.flat.reshape(count, *size, framing.channels)}
    if labels is not None:
        arrays["label"] = labels
    return ArraySource(arrays, fingerprint)


def labels_of(sources: Sequence[DataSource]) -> list[np.ndarray] | None:
    """Returns the labels of sources' examples; None: they have none."""
    if any("label" not in source.spec for source in sources):
        return None
    return [_labels_of(source) for source in sources]


def _labels_of(source: DataSource) -> np.ndarray:
    if isinstance(source, ArraySource):
        return source.all_of("label")
    if hasattr(source, "labels"):
        return source.labels
    return np.array([source[index]["label"] for index in range(len(source))])
