"""The commands that write a run, or several, as one HTML file."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqvae_jax.commands import report_audio, report_images
from vqvae_jax.commands.common import described, ending
from vqvae_jax.files import check_parent, write_atomically
from vqvae_jax.models import AudioTokenizer, Tokenizer, has_images
from vqvae_jax.report.html import Report, RunRecord, comparison_of, report_of
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

_LOOKED_AT, _COMPARED = 1024, 12  # held-out examples
_CLASSES = 10
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
    if _is_prior(runs[0]):
        shown = _drawn(*load_pair(workdir, vqvae))
    else:
        shown = _seen([load_run(workdir, Tokenizer)], _LOOKED_AT, moved)
    _write(file, report_of(Report(runs, **shown)), f"the report of {workdir}")


def compare(runs: Sequence[Path], output: Path, **moved: str | None) -> None:
    """Writes a page that compares runs: figures, settings, curves and the same examples."""
    file = _to_write(output)
    if len(runs) < 2:
        raise ValueError(f"{runs[0]} is given; there must be at least 2 runs to compare")
    records = [_record(folder) for folder in _apart(runs)]
    tokenizers = [load_run(run.name, Tokenizer) for run in records if not _is_prior(run)]
    content = Report(records, **_seen(tokenizers, _COMPARED, moved))
    _write(file, comparison_of(content), f"{counted(len(runs), 'run')} compared")


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


def _has_signals(tokenizer: Tokenizer) -> bool:
    return isinstance(tokenizer, AudioTokenizer)


def _seen(runs: Sequence[SavedRun], most: int, moved: Mapping[str, str | None]) -> dict[str, Any]:
    """Returns what tokenizers make of the same held-out examples, as a `Report` takes it.

    Those on other data than the first, of images and of signals each, are left out.
    """
    kinds = (
        ("held_out", has_images, report_images.held_out),
        ("heard", _has_signals, report_audio.heard),
    )
    seen = {}
    for name, fits, look in kinds:
        alike = [run for run in runs if fits(run.model)]
        alike = [run for run in alike if _digest(run) == _digest(alike[0])]
        if alike:
            source = load_data(alike[0], **moved).test
            seen[name] = {str(run.workdir): look(run, source, most) for run in alike}
    return seen


def _drawn(prior_run: SavedRun, tokenizer_run: SavedRun) -> dict[str, Any]:
    """Returns samples of each class, with more and more guidance where the prior allows it."""
    labels, guidances = None, [1.0]
    if prior_run.model.num_classes is not None:
        labels = range(min(_CLASSES, prior_run.model.num_classes))
        if described(prior_run, "config", "prior", "label_dropout") > 0:
            guidances = _GUIDANCES
    given = prior_run, tokenizer_run, labels, guidances
    if has_images(tokenizer_run.model):
        return {"drawn": report_images.drawn(*given)}
    if _has_signals(tokenizer_run.model):
        return {"drawn_signals": report_audio.drawn(*given)}
    return {}
