"""The commands that evaluate runs on their data."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from vqvae_jax.checks import is_finite
from vqvae_jax.commands.common import check_free, check_run, described
from vqvae_jax.commands.image_model import ImageModel
from vqvae_jax.commands.images import batches_of, cut
from vqvae_jax.data.image_files import image_files
from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.metrics import PSNR, SSIM, Evaluator
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import all_devices
from vqvae_jax.priors import Prior
from vqvae_jax.quantizers import Quantizer
from vqvae_jax.tasks import PriorTask, TokenizerTask
from vqvae_jax.training.codes import load_codes
from vqvae_jax.training.saved import SavedRun, load_data, load_pair, load_run
from vqvae_jax.words import counted

_BATCH = 128
_METRICS = (PSNR(), SSIM())


def extract(workdir: Path, **moved: str | None) -> None:
    """Writes the codes of both splits under a VQ-VAE to <workdir>/codes.safetensors."""
    run = load_run(workdir, Tokenizer)
    check_run(run)
    file = workdir / "codes.safetensors"
    codes = load_codes(run.model, load_data(run, **moved), file)
    print(f"{file}: codes {codes.train_codes.shape} to train on, {codes.test_codes.shape} held out")


def evaluate(
    workdir: Path,
    inputs: Sequence[Path],
    resize: int,
    pad: int,
    vqvae: Path | None,
    **moved: str | None,
) -> int:
    """Prints the metrics of a run on its held-out split; of a VQ-VAE, on image files if given.

    Returns how many of these could not be used.
    """
    run = load_run(workdir, nnx.Module)
    if isinstance(run.model, Prior):
        if inputs:
            raise ValueError(f"{inputs[0]} is given; {workdir} holds a prior, which takes no files")
        _evaluate_prior(workdir, vqvae, moved)
        return 0
    if inputs:
        for name, value in moved.items():
            if value is not None:
                raise ValueError(f"{name} is given; it is for held-out data, not for {inputs[0]}")
        return _evaluate_files(run, inputs, resize, pad)
    check_run(run)
    data = load_data(run, **moved)
    metrics = [metric for metric in _METRICS if metric.takes(data.shape)]
    task = TokenizerTask(run.model, optax.identity(), metrics=metrics)
    state = dict(zip(("params", "variables"), task.weights, strict=True))
    sums = Evaluator(task.eval_step, all_devices())(state, data.test, _BATCH)
    found = task.metrics(sums)
    print(f"{counted(found.pop('images'), 'held-out image')} of {data.name}:")
    codes = jax.eval_shape(run.model.encode, jax.ShapeDtypeStruct((1, *data.shape), float))
    pixels = math.prod(data.shape[:-1])
    _print(found, run.model.quantizer, codes.size, pixels)
    return 0


def _evaluate_files(run: SavedRun, inputs: Sequence[Path], resize: int, pad: int) -> int:
    """Prints the metrics of image files, of any size."""
    model, files = ImageModel(run), image_files(inputs)
    quantizer = model.tokenizer.quantizer
    done = tokens = pixels = 0
    squares = 0.0
    counts: Any = 0
    of_images: dict[str, list[float]] = {metric.name: [] for metric in _METRICS}
    for batch in batches_of(files, model, resize, pad):
        codes = model.encode([one.array for one in batch])
        counts = counts + np.asarray(quantizer.code_counts(jnp.asarray(codes)), np.int64)
        for one, image in zip(batch, model.decode([*codes]), strict=True):
            x = cut(one.array, one).astype(np.float32) / 255
            back = cut(image, one)
            squares += float(np.sum((x - back) ** 2, dtype=np.float64))
            done, pixels = done + 1, pixels + math.prod(one.size)
            for name, value in _compared(*map(jnp.asarray, (x[None], back[None]))).items():
                of_images[name].append(float(value))
        tokens += codes.size
    if done:
        mse = squares / (pixels * model.channels)
        variance = described(model.run, "data", "variance")
        found = {
            "mse": mse,
            **({"nmse": mse / variance} if is_finite(variance) and variance > 0 else {}),
            "psnr": -10 * math.log10(max(mse, sys.float_info.min)),
            **{name: float(np.mean(values)) for name, values in of_images.items() if values},
            "perplexity": float(np.mean(quantizer.perplexity(jnp.asarray(counts, jnp.int32)))),
            "codes_used": int(np.count_nonzero(counts)),
        }
        print(f"{counted(done, 'image')}:")
        _print(found, quantizer, tokens, pixels)
    return len(files) - done


@jax.jit
def _compared(images: Array, others: Array) -> dict[str, Array]:
    """Compares an image with its reconstruction, both [1, H, W, C] in [0, 1]."""
    shape = images.shape[1:]
    return {of.name: of(images, others)[0] for of in _METRICS if of.takes(shape)}


def _print(found: Mapping[str, float], quantizer: Quantizer, tokens: int, pixels: int) -> None:
    for name, value in found.items():
        shown = f"{value} of {quantizer.num_codes}" if name == "codes_used" else f"{value:.5g}"
        print(f"  {name}: {shown}")
    bits = tokens * math.log2(quantizer.num_embeddings) / pixels
    print(f"  bits per pixel of the codes: {bits:.4g}")


def _evaluate_prior(workdir: Path, vqvae: Path | None, moved: Mapping[str, str | None]) -> None:
    prior_run, vqvae_run = load_pair(workdir, vqvae)
    check_run(prior_run)
    prior: Prior = prior_run.model
    data = load_data(prior_run, **moved)
    if not isinstance(vqvae_run.model.likelihood, PixelHead):
        codes = load_codes(vqvae_run.model, data, vqvae_run.workdir / "codes.safetensors")
        task = PriorTask(prior, optax.identity(), vqvae_run.model, codes.test_codes.shape[1:])
        state = task.init(jax.random.key(0), jax.tree.map(jnp.asarray, codes.test[:1]))
        sums = Evaluator(task.eval_step, all_devices())(state, codes.test, 128)
        print(task.summary(task.metrics(sums)))
        print("no bits per dimension: the VQ-VAE has no distribution of pixels (model.likelihood)")
        return
    check_free(prior_run)
    bits = bits_per_dim(vqvae_run.model, prior, data.test, all_devices())
    held_out = counted(bits.images, "held-out image")
    print(f"bits per dimension of {held_out}, at most: {bits.total:.4f}")
    print(f"  -log2 p(x | z): {bits.pixels:.4f}")
    print(f"  -log2 p(z):     {bits.codes:.4f}")
