"""A trained tokenizer of images, applied to image files."""

import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vqvae_jax.checks import check_integer
from vqvae_jax.commands.file_model import FileModel
from vqvae_jax.data.decoding import read_image
from vqvae_jax.data.image_folder import SUFFIXES
from vqvae_jax.extras import extra
from vqvae_jax.metrics import PSNR, SSIM
from vqvae_jax.pixels import pixels_of
from vqvae_jax.training.saved import SavedRun

with extra("train"):
    from PIL import Image

_log = logging.getLogger(__name__)

_MANY_SIZES, _FEW_SIZES_BY = 10, 64


class ImageModel(FileModel):
    """See `FileModel`; of gray or RGB images, padded with their last row and column.

    Args:
        run: as there.
        codebooks: likewise.
        resize: the length in pixels that the shorter side of images is scaled to; 0: as it is.
        pad: what their sizes are padded to multiples of, beside those that the model needs.

    Raises:
        ValueError: an argument is out of its range.
    """

    noun, suffixes, ending = "image", SUFFIXES, ".png"
    metrics = (PSNR(), SSIM())
    remedy = "; --resize makes images smaller"

    def __init__(self, run: SavedRun, codebooks: int | None = None, resize: int = 0, pad: int = 1):
        super().__init__(run, codebooks)
        self._shorter_side = check_integer("resize", resize, 0, 2**14)
        self._pad = check_integer("pad", pad, 1, 2**14)
        self._shapes: set[tuple[int, ...]] = set()

    def read(self, file: Path) -> UInt8[np.ndarray, "h w c"]:
        """See `FileModel`."""
        return read_image(file, self.channels, self._shorter_side)

    def filled(self, array: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h_out w_out c"]:
        """See `FileModel`."""
        whole = padded(array, [math.lcm(by, self._pad) for by in self.tokenizer.downsampling])
        is_new = whole.shape not in self._shapes
        self._shapes.add(whole.shape)
        if is_new and len(self._shapes) == _MANY_SIZES and self._pad < _FEW_SIZES_BY:
            _log.warning(
                "each size takes seconds to compile; --pad %d makes fewer sizes", _FEW_SIZES_BY
            )
        return whole

    def written(self, array: Float[np.ndarray, "h w c"]) -> bytes:
        """See `FileModel`: a PNG file."""
        pixels = pixels_of(array, (0.0, 1.0))
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def pictures(
        self, x: UInt8[np.ndarray, "h w c"], back: Float[np.ndarray, "h w c"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `FileModel`."""
        return x, pixels_of(back, (0.0, 1.0))

    def described(self, size: Sequence[int]) -> str:
        """See `FileModel`."""
        height, width = size
        return f"{width} x {height} pixels"


def padded(image: np.ndarray, multiples: Sequence[int]) -> np.ndarray:
    """Pads an image [H, W, C] to multiples of two numbers, with its last row and column."""
    ends = [-length % by for length, by in zip(image.shape[:2], multiples, strict=True)]
    return np.pad(image, [(0, end) for end in ends] + [(0, 0)], mode="edge")
