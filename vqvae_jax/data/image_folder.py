"""Folders of image files as data sets."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from vqvae_jax.data.folder import FileFolder, only
from vqvae_jax.data.image_framing import ImageFraming

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageFraming, FileFolder):
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

    suffixes: ClassVar[Sequence[str]] = SUFFIXES

    def __post_init__(self) -> None:
        ImageFraming.__post_init__(self)
        FileFolder.__post_init__(self)

    @property
    def framing(self) -> ImageFraming:
        """See `FileFolder`."""
        return only(ImageFraming, self)
