"""The commands that write a run, or several, as one HTML file."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.commands.common import described, ending
from vqvae_jax.commands.image_model import ImageModel
from vqvae_jax.data import DataSource, take
from vqvae_jax.files import check_parent, write_atomically
from vqvae_jax.models import Tokenizer, has_images
from vqvae_jax.pixels import pixels_of, to_floats
from vqvae_jax.precision import wide
from vqvae_jax.report.html import Drawn, HeldOut, Report, RunRecord, comparison_of, report_of
from vqvae_jax.report.samples import draw_images
from vqvae_jax.training.histograms import read_usage
from vqvae_jax.training.log import read_records
from vqvae_jax.training.saved import (
    SavedRun,
    load_data,
    load_description,
    load_pair,
    load_run,
)
from vqvae_jax.words import counted

_LOOKED_AT, _NUMBERS = 1024, 2**24  # held-out images, and their numbers where they are large
_COMPARED = 12
_BATCH = 64
_CLASSES, _SAMPLES = 10, 8  # rows of samples, and how many in each
_GUIDANCES = [1.0, 2.0, 4.0]


def report(
    workdir: Path,
    against: Sequence[Path],
    vqvae: Path | None,
    output: Path | None,
    **moved: str | None,
) -> None:
    """Writes the report of a run, with the curves of others, to <workdir>/report.html."""
    file = _to_write(output or workdir / "report.html")
    runs = [_record(folder) for folder in _apart([workdir, *against])]
    held_out, drawn = {}, None
    if _is_prior(runs[0]):
        drawn = _drawn(*load_pair(workdir, vqvae))
    else:
        run = load_run(workdir, Tokenizer)
        if has_images(run.model):
            source = load_data(run, **moved).test
            held_out[str(workdir)] = _held_out(run, source, _LOOKED_AT)
    content = Report(runs, held_out, drawn)
    _write(file, report_of(content), f"the report of {workdir}")


def compare(runs: Sequence[Path], output: Path, **moved: str | None) -> None:
    """Writes a page that compares runs: figures, settings, curves and the same images."""
    file = _to_write(output)
    if len(runs) < 2:
        raise ValueError(f"{runs[0]} is given; there must be at least 2 runs to compare")
    records = [_record(folder) for folder in _apart(runs)]
    tokenizers = [load_run(run.name, Tokenizer) for run in records if not _is_prior(run)]
    alike = [run for run in tokenizers if has_images(run.model)]
    alike = [run for run in alike if _digest(run) == _digest(alike[0])]
    held_out = {}
    if alike:
        source = load_data(alike[0], **moved).test
        held_out = {str(run.workdir): _held_out(run, source, _COMPARED) for run in alike}
    _write(file, comparison_of(Report(records, held_out)), f"{counted(len(runs), 'run')} compared")


def _to_write(file: Path) -> Path:
    ending(file, ".html")
    check_parent(file)
    return file


def _write(file: Path, page: bytes, what: str) -> None:
    write_atomically(file, page)
    print(f"{file}: {what}, {len(page) / 2**20:.1f} MB")


def _apart(folders: Sequence[Path]) -> Sequence[Path]:
    """Returns folders of runs, which must differ."""
    for folder in folders:
        if [other.resolve() for other in folders].count(folder.resolve()) > 1:
            raise ValueError(f"{folder} is given twice; the runs must differ")
    return folders


def _record(workdir: Path) -> RunRecord:
    config, description = load_description(workdir)
    log = read_records(workdir, sys.maxsize)
    return RunRecord(str(workdir), description, log, config.monitor, read_usage(workdir))


def _is_prior(run: RunRecord) -> bool:
    return "prior" in run.description["config"]


def _digest(run: SavedRun) -> str:
    return run.description["data"]["digest"]


def _held_out(run: SavedRun, source: DataSource, most: int) -> HeldOut:
    """Has a run's tokenizer look at the first held-out images, `most` at most."""
    model = ImageModel(run)
    quantizer = model.tokenizer.quantizer
    pixels = math.prod(source.spec["image"].shape)
    count = min(len(source), most, max(16, _NUMBERS // pixels))
    images = take(source, np.arange(count))["image"]

    def decode(codes: np.ndarray) -> np.ndarray:
        given = codes if quantizer.num_codebooks is not None else codes[..., 0]
        return pixels_of(model.decode([*given]), (0.0, 1.0))

    codes, decoded, distances = [], [], []
    for start in range(0, count, _BATCH):
        batch = images[start : start + _BATCH]
        indices = model.encode([*batch])
        given = jnp.asarray(batch), jnp.asarray(indices)
        distances.append(np.asarray(_distances(model.tokenizer, *given)))
        codes.append(indices if quantizer.num_codebooks is not None else indices[..., None])
        decoded.append(decode(codes[-1]))
    return HeldOut(
        images=images,
        codes=np.concatenate(codes),
        reconstructions=np.concatenate(decoded),
        distances=np.concatenate(distances),
        num_embeddings=quantizer.num_embeddings,
        decode=decode,
    )


@nnx.jit
def _distances(model: Tokenizer, images: Array, codes: Array) -> Array:
    """Returns the squared distances [B, h, w] between latents and their codes' values."""
    latents = wide(model.latents(to_floats(images, model.value_range)))
    return jnp.sum((latents - wide(model.quantizer.lookup(codes))) ** 2, axis=-1)


def _drawn(prior_run: SavedRun, vqvae_run: SavedRun) -> Drawn | None:
    """Draws samples of each class, with more and more guidance where the prior allows it."""
    prior, vqvae = prior_run.model, vqvae_run.model
    if not has_images(vqvae):
        return None
    rows, labels, guidances = _SAMPLES, None, [1.0]
    if prior.num_classes is not None:
        rows = min(_CLASSES, prior.num_classes)
        labels = list(range(rows))
        if described(prior_run, "config", "prior", "label_dropout") > 0:
            guidances = _GUIDANCES
    shape = prior_run.description["codes"]["maps"]["shape"]

    def samples(guidance: float) -> np.ndarray:
        images = draw_images(
            vqvae,
            prior,
            rows * _SAMPLES,
            (shape[0], shape[1]),
            key=jax.random.key(0),
            labels=None if labels is None else np.repeat(labels, _SAMPLES),
            guidance=guidance,
        )
        pixels = pixels_of(images)
        return pixels.reshape(rows, _SAMPLES, *pixels.shape[1:])

    return Drawn(labels, {guidance: samples(guidance) for guidance in guidances})
