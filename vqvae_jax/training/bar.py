"""The progress bar of a run."""

import sys
from typing import TYPE_CHECKING, Any

from vqvae_jax.extras import extra

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(images: int, done: int) -> "tqdm[Any]":
    """Returns a bar over the images of a run, which is shown only in a terminal.

    Args:
        images: how many there are in all steps.
        done: how many of them there were before.

    Raises:
        MissingError: tqdm is missing.
    """
    with extra("train"):
        from tqdm import tqdm

    return tqdm(
        total=images,
        initial=done,
        unit="images",
        unit_scale=True,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )
