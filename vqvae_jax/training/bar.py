"""The progress bar of a run."""

import sys
from typing import TYPE_CHECKING, Any

from vqvae_jax.extras import extra

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(examples: int, done: int) -> "tqdm[Any]":
    """Returns a bar over the examples of a run, which is shown only in a terminal.

    Args:
        examples: how many there are in all steps.
        done: how many of them there were before.

    Raises:
        MissingError: tqdm is missing.
    """
    with extra("train"):
        from tqdm import tqdm

    return tqdm(
        total=examples,
        initial=done,
        unit="examples",
        unit_scale=True,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )
