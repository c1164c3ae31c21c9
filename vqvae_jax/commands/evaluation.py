"""The commands that evaluate runs on their data."""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from vqvae_jax.checks import is_finite
from vqvae_jax.commands.audio_model import audio_metrics
from vqvae_jax.commands.batching import Sized, cut, in_batches
from vqvae_jax.commands.common import check_free, check_run, described
from vqvae_jax.commands.encoding import batches_of, file_model, worked
from vqvae_jax.commands.file_model import FileModel
from vqvae_jax.data import Dataset
from vqvae_jax.data.given_files import given_files
from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.metrics import PSNR, SSIM, Evaluator
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.models import AudioTokenizer, Tokenizer
from vqvae_jax.parallel import all_devices
from vqvae_jax.priors import Prior
from vqvae_jax.quantizers import perplexity
from vqvae_jax.tasks import PriorTask, TokenizerTask
from vqvae_jax.training.codes import load_codes
from vqvae_jax.training.saved import load_data, load_pair, load_run
from vqvae_jax.values import to_values
from vqvae_jax.words import counted

_BATCH = 128


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
    codebooks: int | None,
    vqvae: Path | None,
    **moved: str | None,
) -> int:
    """Prints the metrics of a run on its held-out split; of a tokenizer, on files if given.

    Returns how many of these could not be used.
    """
    run = load_run(workdir, nnx.Module)
    if isinstance(run.model, Prior):
        if inputs:
            raise ValueError(f"{inputs[0]} is given; {workdir} holds a prior, which takes no files")
        if codebooks is not None:
            raise ValueError(f"codebooks is {codebooks}; {workdir} holds a prior: leave it out")
        _evaluate_prior(workdir, vqvae, moved)
        return 0
    if inputs:
        for name, value in moved.items():
            if value is not None:
                raise ValueError(f"{name} is given; it is for held-out data, not for {inputs[0]}")
        model = file_model(run, resize, pad, codebooks)
        files = given_files(inputs, model.suffixes, model.noun)
        return len(files) - _evaluate_examples(model, batches_of(files, model), codebooks)
    for name, is_given in (("resize", resize != 0), ("pad", pad != 1)):
        if is_given:
            raise ValueError(f"{name} is given; it is for files, and there are none")
    if vqvae is not None:
        raise ValueError(f"vqvae is {vqvae}; it is for priors, and {workdir} holds a tokenizer")
    check_run(run)
    data = load_data(run, **moved)
    if codebooks is not None:
        model = file_model(run, codebooks=codebooks)
        held_out = in_batches(_held_out(data, model))
        _evaluate_examples(model, held_out, codebooks, f"held-out {data.noun}", f" of {data.name}")
        return 0
    known = (PSNR(), SSIM()) if data.sample_rate is None else audio_metrics(data.sample_rate)
    metrics = [metric for metric in known if metric.takes(data.shape)]
    task = TokenizerTask(run.model, optax.identity(), entry=data.entry, metrics=metrics)
    state = dict(zip(("params", "variables"), task.weights, strict=True))
    sums = Evaluator(task.eval_step, all_devices())(state, data.test, _BATCH)
    found = task.metrics(sums)
    print(f"{counted(found.pop('images'), f'held-out {data.noun}')} of {data.name}:")
    codes = jax.eval_shape(run.model.encode, jax.ShapeDtypeStruct((1, *data.shape), float))
    tokens = codes.size // (run.model.quantizer.num_codebooks or 1)
    _print(found, run.model, None, tokens / math.prod(data.shape[:-1]))
    return 0


def _held_out(data: Dataset, model: FileModel) -> Iterator[Sized]:
    """Yields the held-out examples of a data set, padded."""
    for index in range(len(data.test)):
        example = data.test[index][data.entry]
        yield Sized(str(index), model.filled(example), example.shape[:-1])


def _evaluate_examples(
    model: FileModel,
    batches: Iterable[list[Sized]],
    codebooks: int | None,
    noun: str | None = None,
    of: str = "",
) -> int:
    """Prints the metrics of examples of any size, and returns how many there were."""
    quantizer = model.tokenizer.quantizer
    done = tokens = positions = 0
    squares = 0.0
    counts: Any = 0
    of_examples: dict[str, list[float]] = {}

    def both(batch: list[Sized]) -> tuple[list[Sized], list[np.ndarray]]:
        codes = model.coded(batch)
        return codes, model.decoded(codes)

    for batch, made in worked(batches, both):
        for one, own, back in zip(batch, *made, strict=True):
            x = cut(one.array, one.size)
            error = np.asarray(to_values(jnp.asarray(x), (0.0, 1.0))) - back
            squares += float(np.sum(error**2, dtype=np.float64))
            padded = jnp.asarray(model.filled_codes(own.array))  # few sizes, and -1 does not count
            counts = counts + np.asarray(quantizer.code_counts(padded), np.int64)
            done, positions = done + 1, positions + math.prod(one.size)
            tokens += math.prod(own.array.shape[: len(one.size)])
            for name, value in model.compare(x, back).items():
                of_examples.setdefault(name, []).append(value)
    if done:
        mse = squares / (positions * model.channels)
        variance = described(model.run, "data", "variance")
        is_image = model.tokenizer.spatial_rank == 2
        used = counts if codebooks is None else counts[:codebooks]
        found = {
            "mse": mse,
            **({"nmse": mse / variance} if is_finite(variance) and variance > 0 else {}),
            **({"psnr": -10 * math.log10(max(mse, sys.float_info.min))} if is_image else {}),
            **{name: float(np.mean(values)) for name, values in of_examples.items()},
            "perplexity": float(np.mean(perplexity(jnp.asarray(used, jnp.int32)))),
            "codes_used": int(np.count_nonzero(used)),
        }
        which = "" if codebooks is None else f", from {counted(codebooks, 'codebook')}"
        print(f"{counted(done, noun or model.noun)}{of}{which}:")
        _print(found, model.tokenizer, codebooks, tokens / positions)
    return done


def _print(
    found: Mapping[str, float], model: Tokenizer, codebooks: int | None, density: float
) -> None:
    """Prints metrics, and the bits of the codes.

    Args:
        found: the metrics.
        model: the tokenizer.
        codebooks: how many of the first codebooks are used; None: all.
        density: latent positions per position of the data.
    """
    sizes = model.quantizer.codebook_sizes[:codebooks]
    for name, value in found.items():
        shown = f"{value} of {sum(sizes)}" if name == "codes_used" else f"{value:.5g}"
        print(f"  {name}: {shown}")
    bits = sum(map(math.log2, sizes)) * density
    if isinstance(model, AudioTokenizer):
        print(f"  kbit/s of the codes: {bits * model.sample_rate / 1000:.4g}")
    else:
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
