"""The section that sets the reconstructions of recordings by several runs side by side."""

from typing import Any

from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.sounds import sounds

_RECORDINGS = 4


def same_recordings(report: Report) -> dict[str, Any] | None:
    """Plays held-out recordings, and beside each what each run makes of it."""
    if not report.heard:
        return None
    first = next(iter(report.heard.values()))
    parts = {name: heard.reconstructions[:_RECORDINGS] for name, heard in report.heard.items()}
    of, axes = sounds({None: first.signals[:_RECORDINGS], **parts}, first.sample_rate)
    return {
        "axes": axes,
        "without": [run.name for run in report.runs if run.name not in report.heard],
        "recordings": [
            {
                "original": original,
                "runs": [
                    (name, of[name][index], f"{heard.si_sdr[index]:.1f}")
                    for name, heard in report.heard.items()
                ],
            }
            for index, original in enumerate(of[None])
        ],
    }
