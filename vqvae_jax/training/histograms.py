"""The histograms of a run: histograms.jsonl, one line per evaluation, small for any codebook."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.metrics import Usage
from vqvae_jax.training.lines import read_lines

HISTOGRAMS = "histograms.jsonl"

_COUNTED = 4096  # values of a line, of all histograms together


def histograms_line(step: int, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the line of an evaluation.

    Args:
        step: the step of the evaluation.
        counts: int [K] by name, how often each of 0 to K - 1 occurred.
    """
    most = _COUNTED // max(1, len(counts))
    integers = {name: np.asarray(of, np.int64) for name, of in counts.items()}
    usage = {name: Usage.of(of, most).to_json() for name, of in integers.items()}
    return {"step": step, "histograms": usage}


def read_histogram_lines(workdir: Path, last_step: int) -> list[dict[str, Any]]:
    """Returns the lines of a run up to a step, as `histograms_line` made them; none without a file.

    Raises:
        CheckpointError: a whole line is none of these.
    """
    return read_lines(workdir / HISTOGRAMS, last_step, _is_line)


def read_usage(workdir: Path) -> dict[int, dict[str, Usage]]:
    """Returns what the histograms of a run say, by step and by name; empty without a file.

    Raises:
        CheckpointError: as `read_histogram_lines`.
    """
    lines = read_histogram_lines(workdir, sys.maxsize)
    return {line["step"]: _usage(line) for line in lines}


def _usage(line: Mapping[str, Any]) -> dict[str, Usage]:
    return {name: Usage.from_json(of) for name, of in line["histograms"].items()}


def _is_line(line: Any) -> bool:
    try:
        _usage(line)
        return type(line["step"]) is int
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return False
