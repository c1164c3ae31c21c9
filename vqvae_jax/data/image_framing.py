"""How image files become examples of one size."""

import dataclasses
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from vqvae_jax.checks import check_choice, check_flag, check_integer
from vqvae_jax.data.framing import Framing


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFraming(Framing):
    """How images of any size become examples of one size.

    Args:
        size: S, the height and width of an example in pixels; None: the images' own, which must be
            the same for all.
        resize: length in pixels that the shorter side is scaled to first, at least size; 0: not at
            all, but for images that are smaller than size; None: size, or for tiles 0.
        crop: the part of an image that is an example: its center; random, another part in every
            epoch (held out: the center); or tiles, all parts beside each other, each an example.
        flip: whether training mirrors half of the examples, drawn in every epoch.
        channels: 3 for RGB, 1 for gray; the others are converted.

    Raises:
        ValueError: an argument out of its range.
    """

    entry: ClassVar[str] = "image"
    noun: ClassVar[str] = "image"
    sizing: ClassVar[str] = "size"
    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)

    size: int | None = None
    resize: int | None = None
    crop: str = "center"
    flip: bool = False
    channels: int = 3

    def __post_init__(self) -> None:
        if self.size is not None:
            check_integer("size", self.size, 1, 2**14)
        if self.resize is not None:
            check_integer("resize", self.resize, 0, 2**14)
        check_choice("crop", self.crop, ("center", "random", "tiles"))
        check_flag("flip", self.flip)
        if self.channels not in (1, 3):
            raise ValueError(f"channels is {self.channels!r}; it must be 3 or 1")
        if self.resize and self.size is not None and self.resize < self.size:
            raise ValueError(f"resize is {self.resize}; it must be 0, or at least {self.size}")
        if self.size is None and self.crop != "center":
            raise ValueError(f"crop is {self.crop!r}; without a size it must be 'center'")

    @property
    def spatial(self) -> tuple[int, int] | None:
        """See `Framing`: S and S."""
        return None if self.size is None else (self.size, self.size)

    @property
    def reads_examples(self) -> bool:
        """See `Framing`."""
        return not self.flip and self.crop != "random"

    @property
    def held_out(self) -> "ImageFraming":
        """See `Framing`."""
        crop = "center" if self.crop == "random" else self.crop
        return dataclasses.replace(self, crop=crop, flip=False)

    @property
    def reading(self) -> str:
        """See `Framing`."""
        return repr(dataclasses.replace(self, flip=False))

    @property
    def reader(self) -> str:
        """See `Framing`."""
        return version("pillow")

    @property
    def scaling(self) -> tuple[int, int]:
        """The arguments shorter_side and least of `decoding.read_image`."""
        if self.resize is not None:
            return self.resize, self.size or 1
        return 0 if self.size is None or self.crop == "tiles" else self.size, self.size or 1

    def read(self, file: Path) -> UInt8[np.ndarray, "n h w c"]:
        """Decodes an image file into the examples that it holds; with random crops, into itself.

        Raises:
            DataError: it cannot be decoded.
        """
        from vqvae_jax.data.decoding import read_image  # needs an extra

        return self.parts(read_image(file, self.channels, *self.scaling))

    def parts(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "n h_out w_out c"]:
        """Returns an image's examples, from the image after scaling."""
        if self.size is None or self.crop == "random":
            return image[None]
        if self.crop == "center":
            return self.center(image)[None]
        size, (height, width) = self.size, image.shape[:2]
        top, left = height % size // 2, width % size // 2
        return np.stack(
            [
                image[y : y + size, x : x + size]
                for y in range(top, height - size + 1, size)
                for x in range(left, width - size + 1, size)
            ]
        )

    def center(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h_out w_out c"]:
        """Returns the center of an image, of the examples' size."""
        if self.size is None:
            return image
        top, left = ((length - self.size) // 2 for length in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]

    def draw(
        self, image: UInt8[np.ndarray, "h w c"], random: np.random.RandomState
    ) -> UInt8[np.ndarray, "h_out w_out c"]:
        """Returns an example of an image, with what is random in it drawn."""
        if self.crop == "random" and self.size is not None:
            top, left = (random.randint(length - self.size + 1) for length in image.shape[:2])
            image = image[top : top + self.size, left : left + self.size]
        if self.flip and random.randint(2):
            image = image[:, ::-1]
        return image

    def described(self, spatial: Sequence[int]) -> str:
        """See `Framing`."""
        height, width = spatial
        return f"{width} x {height} pixels"
