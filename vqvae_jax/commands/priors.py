"""The commands that draw from a prior."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vqvae_jax.commands.common import check_free, described_sizes, ending, npy, wav
from vqvae_jax.files import check_folder, check_parent, write_atomically
from vqvae_jax.models import AudioTokenizer
from vqvae_jax.pixels import centered, pixels_of
from vqvae_jax.priors import Prior
from vqvae_jax.report import figures
from vqvae_jax.report.samples import classes_in_turn, draw_examples
from vqvae_jax.training.saved import load_pair
from vqvae_jax.words import counted

_OF_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".npy")


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
    """Draws images, written as one picture or an array of pixels, or signals, as WAV files."""
    ending(output, *_OF_IMAGES, "")
    prior_run, tokenizer_run = load_pair(workdir, vqvae)
    prior: Prior = prior_run.model
    tokenizer = tokenizer_run.model
    is_audio = isinstance(tokenizer, AudioTokenizer)
    if not is_audio:
        ending(output, *_OF_IMAGES)
        check_parent(output)
    elif output.suffix:
        raise ValueError(f"{output} ends in {output.suffix}; for signals it must be a folder")
    else:
        check_folder("--output", output)
    shape = described_sizes(prior_run, "codes", "maps", "shape")
    labels = _labels(prior, number, label)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
    if guidance != 1:
        check_free(prior_run)
    drawn = draw_examples(
        tokenizer,
        prior,
        number,
        shape,
        key=jax.random.key(seed),
        labels=labels,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
    )
    scaled = np.asarray(centered(jnp.asarray(drawn), tokenizer.value_range))
    if is_audio:
        _write_signals(output, 2 * scaled, labels, tokenizer.sample_rate)
    else:
        _write_images(output, scaled, labels, f"{counted(number, 'sample')} of {workdir}")
    print(f"{output}: {counted(number, 'signal' if is_audio else 'image')}")


def _write_images(output: Path, images: np.ndarray, labels: np.ndarray | None, title: str) -> None:
    suffix = output.suffix.lower()
    if suffix == ".npy":
        content = npy(pixels_of(images))
    else:
        content = figures.samples(images, labels, title, suffix[1:])
    write_atomically(output, content)


def _write_signals(
    folder: Path, signals: np.ndarray, labels: np.ndarray | None, sample_rate: int
) -> None:
    """Writes a file for each signal; its name is its number, after its class if there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(signals) - 1))
    for number, signal in enumerate(signals):
        name = f"{number:0{digits}}.wav"
        if labels is not None:
            name = f"{labels[number]}_{name}"
        write_atomically(folder / name, wav(signal, sample_rate))


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
