"""Image files as pixels: any format, mode, orientation and size, within a limit."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vqvae_jax.errors import DataError
from vqvae_jax.extras import extra

with extra("train"):
    from PIL import ExifTags, Image, ImageOps

# Larger images are refused: a few bytes can unpack to any size.
MAX_PIXELS = 2**27

# In place of PIL's own limit, which at first is only a warning.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_LYING = (5, 6, 7, 8)  # orientations in EXIF with width and height swapped


def read_image(
    file: Path, channels: int, shorter_side: int = 0, least: int = 1
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes an image file: its first frame, upright; what is transparent, over white.

    Args:
        file: a file of any format that PIL reads, whatever its suffix.
        channels: C: 3 for RGB, 1 for gray.
        shorter_side: the length in pixels that the shorter side is scaled to; 0: as it is.
        least: the length that a shorter side below it is scaled up to.

    Returns:
        uint8 [H, W, C].

    Raises:
        DataError: it is no image, is damaged, or has more than MAX_PIXELS.
    """
    try:
        with Image.open(file) as image:
            return image_pixels(image, channels, shorter_side, least)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{file} is no image of a known format") from error
    except Exception as error:  # PIL's decoders raise many kinds
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{file} cannot be read: {' '.join(reason.split())}") from error


def image_pixels(
    image: Any, channels: int, shorter_side: int = 0, least: int = 1
) -> UInt8[np.ndarray, "h w c"]:
    """Returns the pixels of a PIL image; arguments and result as for `read_image`.

    Raises:
        DataError: it has more than MAX_PIXELS, or pixels of another kind.
    """
    size = _checked(image.size)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    width, height = _checked(_scaled(size, shorter_side, least))
    # A JPEG decodes at a half, a quarter or an eighth of its size in a fraction of the time.
    image.draft(None, (2 * width, 2 * height))
    if image.size == size:
        upright = image if orientation == 1 else ImageOps.exif_transpose(image)
        target = _scaled(upright.size, shorter_side, least)
    else:
        upright = ImageOps.exif_transpose(image)
        target = (height, width) if orientation in _LYING else (width, height)
    upright = _in_mode(upright, "RGB" if channels == 3 else "L")
    if upright.size != target:
        upright = upright.resize(target, Image.Resampling.BICUBIC)
    return np.asarray(upright).reshape(*upright.size[::-1], channels)


def _scaled(size: tuple[int, int], shorter_side: int, least: int) -> tuple[int, int]:
    """Returns the width and height that an image of this size is scaled to."""
    shorter = min(size)
    wanted = shorter_side or max(shorter, least)
    width, height = (max(wanted, round(length * wanted / shorter)) for length in size)
    return width, height


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if min(size) < 1 or width * height > MAX_PIXELS:
        raise DataError(
            f"the image would have {width} x {height} pixels; it must have 1 to {MAX_PIXELS}"
        )
    return size


def _in_mode(image: Any, mode: str) -> Any:
    """Converts an image of any mode to RGB or L."""
    if image.mode == "F":
        raise DataError("its pixels are floats; they must be integers of 8 or 16 bits")
    if image.mode in _DEEP:
        deep = np.asarray(image).astype(np.int64)
        if deep.size and not 0 <= deep.min() <= deep.max() < 2**16:
            raise DataError("its pixels are not integers of 8 or 16 bits")
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)
