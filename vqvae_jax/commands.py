"""The commands of `python -m vqvae_jax`."""

import io
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqvae_jax.data.idx import read_idx, write_idx
from vqvae_jax.errors import CheckpointError, DataError
from vqvae_jax.extras import extra
from vqvae_jax.files import write_atomically
from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.metrics import Evaluator
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import all_devices
from vqvae_jax.pixels import to_integers
from vqvae_jax.priors import Prior
from vqvae_jax.report import figures
from vqvae_jax.report.samples import classes_in_turn, draw_images
from vqvae_jax.tasks import PriorTask
from vqvae_jax.training.codes import load_codes
from vqvae_jax.training.saved import SavedRun, load_data, load_pair, load_run
from vqvae_jax.words import counted

with extra("train"):
    from tqdm import tqdm


def extract(workdir: Path, archives: str | None, data_dir: str | None) -> None:
    """Writes the codes of both splits under a VQ-VAE to <workdir>/codes.safetensors."""
    run = load_run(workdir, Tokenizer)
    file = workdir / "codes.safetensors"
    codes = load_codes(run.model, load_data(run, archives, data_dir), file)
    print(f"{file}: codes {codes.train_codes.shape} to train on, {codes.test_codes.shape} held out")


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
    ending = _ending(output, ".png", ".jpg", ".jpeg", ".webp", ".npy")
    prior_run, vqvae_run = load_pair(workdir, vqvae)
    prior: Prior = prior_run.model
    shape = prior_run.description["codes"]["maps"]["shape"]
    labels = _labels(prior, number, label)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
    if guidance != 1:
        _check_free(prior_run)
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
    if ending == ".npy":
        content = _npy(np.asarray(to_integers(jnp.asarray(images))))
    else:
        content = figures.samples(
            images, labels, f"{counted(number, 'sample')} of {workdir}", ending[1:]
        )
    write_atomically(output, content)
    print(f"{output}: {counted(number, 'image')}")


def evaluate(workdir: Path, vqvae: Path | None, archives: str | None, data_dir: str | None) -> None:
    """Prints the bits per dimension of the held-out split."""
    prior_run, vqvae_run = load_pair(workdir, vqvae)
    prior: Prior = prior_run.model
    data = load_data(prior_run, archives, data_dir)
    if not isinstance(vqvae_run.model.likelihood, PixelHead):
        codes = load_codes(vqvae_run.model, data, vqvae_run.workdir / "codes.safetensors")
        task = PriorTask(prior, optax.identity(), vqvae_run.model, codes.test_codes.shape[1:])
        state = task.init(jax.random.key(0), jax.tree.map(jnp.asarray, codes.test[:1]))
        sums = Evaluator(task.eval_step, all_devices())(state, codes.test, 128)
        print(task.summary(task.metrics(sums)))
        print("no bits per dimension: the VQ-VAE has no distribution of pixels (model.likelihood)")
        return
    _check_free(prior_run)
    bits = bits_per_dim(vqvae_run.model, prior, data.test.arrays["image"], all_devices())
    held_out = counted(bits.images, "held-out image")
    print(f"bits per dimension of {held_out}, at most: {bits.total:.4f}")
    print(f"  -log2 p(x | z): {bits.pixels:.4f}")
    print(f"  -log2 p(z):     {bits.codes:.4f}")


def compress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Compresses the images of an IDX file."""
    _ending(target, ".vq")
    from vqvae_jax import coding

    prior_run, vqvae_run = load_pair(workdir, vqvae)
    _check_free(prior_run)
    images = read_idx(source, axes=3)[..., None]
    expected = tuple(prior_run.description["data"]["image_shape"])
    if images.shape[1:] != expected:
        raise DataError(f"{source} holds images of {images.shape[1:]}; they must be of {expected}")
    with _bar(len(images)) as bar:
        content = coding.compress(vqvae_run.model, prior_run.model, images, bar.update)
    write_atomically(target, content)
    rate = f", {8 * len(content) / images.size:.4f} bits per dimension" if images.size else ""
    print(f"{target}: {counted(len(images), 'image')} in {len(content)} bytes{rate}")


def decompress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Writes the images of a compressed file as an IDX file."""
    _ending(target, ".gz", ".idx", ".idx3-ubyte", "")
    from vqvae_jax import coding

    prior_run, vqvae_run = load_pair(workdir, vqvae)
    height, width, channels = prior_run.description["data"]["image_shape"]
    with _bar(None) as bar:
        images = coding.decompress(
            vqvae_run.model,
            prior_run.model,
            source.read_bytes(),
            (height, width, channels),
            str(source),
            bar.update,
        )
    write_idx(target, images[..., 0])
    print(f"{target}: {counted(len(images), 'image')}")


def _ending(file: Path, *allowed: str) -> str:
    """Returns the suffix of a file to write, in lower case; refuses those of other formats."""
    ending = file.suffix.lower()
    if ending not in allowed:
        given = f"ends in {ending}" if ending else "has no ending"
        must = f"end in {' or '.join(filter(None, allowed))}"
        must += ", or have no ending" if "" in allowed else ""
        raise ValueError(f"{file} {given}; it must {must}")
    return ending


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


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


def _check_free(run: SavedRun) -> None:
    """Refuses a prior that has not learned the distribution without a class."""
    assert run.config.prior is not None
    if run.config.prior.conditional and run.config.prior.label_dropout == 0:
        raise CheckpointError(
            f"{run.workdir} holds a prior that was never trained without labels; guidance and bits "
            "per dimension need one that was, with prior.label_dropout above 0"
        )


def _bar(total: int | None) -> "tqdm":
    return tqdm(total=total, unit="images", disable=not sys.stderr.isatty())
