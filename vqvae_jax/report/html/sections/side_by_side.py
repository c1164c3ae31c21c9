"""The section that sets the reconstructions of several runs side by side."""

from typing import Any

from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.page import png


def side_by_side(report: Report) -> dict[str, Any] | None:
    """Shows the held-out images, and below them what each run makes of them."""
    if not report.held_out:
        return None
    first = next(iter(report.held_out.values()))
    rows = [("original", first.images, [""] * len(first.images))]
    for name, held_out in report.held_out.items():
        psnr = [f"{value:.1f} dB" for value in held_out.psnr()]
        rows.append((name, held_out.reconstructions, psnr))
    without = [run.name for run in report.runs if run.name not in report.held_out]
    return {
        "rows": [
            (name, [(png(image), text) for image, text in zip(images, texts, strict=True)])
            for name, images, texts in rows
        ],
        "without": without,
    }
