"""Data sets of the package `datasets` of Hugging Face as sources."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vqvae_jax.data.framed import FramedSource
from vqvae_jax.data.image_framing import ImageFraming
from vqvae_jax.data.stores import Store
from vqvae_jax.errors import DataError


class HuggingFaceSource(FramedSource):
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
        DataError: the dataset has no fingerprint, and none is given; labels are no integers.
        ValueError: an argument out of its range.
    """

    is_thread_safe = False

    def __init__(
        self,
        dataset: Any,
        *,
        image: str = "image",
        label: str | None = None,
        fingerprint: str | None = None,
        **framing: Any,
    ):
        frame = ImageFraming(**framing)
        size = frame.size
        if size is None:
            raise ValueError("size is None; it must be given")
        if frame.crop == "tiles":
            raise ValueError("crop is 'tiles'; it must be 'center' or 'random'")
        known = fingerprint or getattr(dataset, "_fingerprint", None)
        if known is None:
            raise DataError(
                f"a {type(dataset).__name__} has no fingerprint; one must be given, which changes "
                "with its data"
            )
        super().__init__(
            _Rows(dataset, image, frame),
            frame,
            (size, size),
            None if label is None else _column(dataset, label),
            len(dataset),
            f"{known} {image!r} {label!r} {frame}",
        )


@dataclasses.dataclass(frozen=True)
class _Rows(Store):
    """The images in rows, read each time."""

    dataset: Any
    column: str
    framing: ImageFraming

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "h w c"]:
        from vqvae_jax.data.decoding import image_pixels  # needs an extra

        given = self.dataset[index][self.column]
        try:
            image = image_pixels(_picture(given), self.framing.channels, *self.framing.scaling)
        except (DataError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{self.column} of row {index} cannot be used: {error}") from error
        return self.framing.parts(image)[0]


def _picture(given: Any) -> Any:
    """Returns a PIL image, or an array as one."""
    from PIL import Image

    if isinstance(given, Image.Image):
        return given
    pixels = np.asarray(given)
    if pixels.dtype.kind in "iu" and pixels.size and pixels.min() >= 0:
        pixels = pixels if pixels.max() > 255 else pixels.astype(np.uint8)
    is_gray = pixels.ndim == 3 and pixels.shape[2] == 1
    return Image.fromarray(pixels[..., 0] if is_gray else pixels)


def _column(dataset: Any, name: str) -> np.ndarray:
    """Returns a column of integers: int32 [N]."""
    try:
        values = dataset[name]
    except (TypeError, KeyError, IndexError):  # rows alone, or no column without the others
        values = [dataset[index][name] for index in range(len(dataset))]
    try:
        return np.asarray(values, np.int32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} cannot be used as labels: {error}") from error
