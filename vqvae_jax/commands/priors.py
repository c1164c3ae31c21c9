"""The commands that draw from a prior."""

from pathlib import Path

import jax
import numpy as np

from vqvae_jax.commands.common import check_free, described_sizes, ending, npy
from vqvae_jax.files import write_atomically
from vqvae_jax.pixels import pixels_of
from vqvae_jax.priors import Prior
from vqvae_jax.report import figures
from vqvae_jax.report.samples import classes_in_turn, draw_images
from vqvae_jax.training.saved import load_pair
from vqvae_jax.words import counted


def sample(
    workdir: Path,
    vqvae: Path | None,
    output: Path,
    number: int,
    label: int | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    guidance: float,
    seed: int,
) -> None:
    """Draws images and writes them as one picture or as an array of pixels."""
    suffix = ending(output, ".png", ".jpg", ".jpeg", ".webp", ".npy")
    prior_run, vqvae_run = load_pair(workdir, vqvae)
    prior: Prior = prior_run.model
    shape = described_sizes(prior_run, "codes", "maps", "shape")
    labels = _labels(prior, number, label)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
    if guidance != 1:
        check_free(prior_run)
    images = draw_images(
        vqvae_run.model,
        prior,
        number,
        (shape[0], shape[1]),
        key=jax.random.key(seed),
        labels=labels,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
    )
    if suffix == ".npy":
        content = npy(pixels_of(images))
    else:
        content = figures.samples(
            images, labels, f"{counted(number, 'sample')} of {workdir}", suffix[1:]
        )
    write_atomically(output, content)
    print(f"{output}: {counted(number, 'image')}")


def _labels(prior: Prior, number: int, label: int | None) -> np.ndarray | None:
    if prior.num_classes is None:
        if label is not None:
            raise ValueError(f"label is {label}; this prior has no classes: it must not be given")
        return None
    if label is None:
        return classes_in_turn(prior, number)
    if not 0 <= label < prior.num_classes:
        raise ValueError(f"label is {label}; it must be from 0 to {prior.num_classes - 1}")
    return np.full(number, label)
