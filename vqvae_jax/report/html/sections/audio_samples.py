"""The section of samples of a prior of signals."""

from typing import Any

import numpy as np

from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.sounds import sounds


def audio_samples(report: Report) -> dict[str, Any] | None:
    """Plays samples by class, for each guidance."""
    drawn = report.drawn_signals
    if drawn is None:
        return None
    flat = {guidance: np.concatenate([*rows]) for guidance, rows in drawn.of_guidance.items()}
    of, axes = sounds(flat, drawn.sample_rate)
    labels = drawn.labels
    each = next(iter(drawn.of_guidance.values())).shape[1]
    return {
        "axes": axes,
        "sheets": [
            {
                "guidance": guidance,
                "rows": [
                    {
                        "label": None if labels is None else labels[row],
                        "sounds": of[guidance][row * each : (row + 1) * each],
                    }
                    for row in range(len(rows))
                ],
            }
            for guidance, rows in drawn.of_guidance.items()
        ],
    }
