"""The section of a prior's samples."""

from typing import Any

import numpy as np

from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.page import png


def samples(report: Report) -> dict[str, Any] | None:
    """Shows samples by class, for each guidance."""
    if report.drawn is None:
        return None
    labels = report.drawn.labels
    return {
        "sheets": [
            {
                "guidance": guidance,
                "rows": [
                    {"label": None if labels is None else labels[row], "image": png(_beside(of))}
                    for row, of in enumerate(images)
                ],
            }
            for guidance, images in report.drawn.of_guidance.items()
        ]
    }


def _beside(images: np.ndarray) -> np.ndarray:
    """Puts images uint8 [M, H, W, C] side by side."""
    return np.concatenate([*np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))], axis=1)
