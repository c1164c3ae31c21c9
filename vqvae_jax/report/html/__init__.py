"""The report of a run as one HTML file, and the page that compares several runs.

A section is a function of a `Report` in a file of its own, which returns what its template needs,
or None where it has nothing to show; an entry in a table below; and a template of the same name in
`templates`.
"""

from vqvae_jax.report.html.content import (
    Drawn,
    DrawnSignals,
    Heard,
    HeldOut,
    Report,
    RunRecord,
)
from vqvae_jax.report.html.page import page
from vqvae_jax.report.html.sections import (
    atlas,
    audio_reconstructions,
    audio_samples,
    code_map,
    code_use,
    codebooks,
    curves,
    differences,
    reconstructions,
    same_recordings,
    samples,
    settings,
    side_by_side,
)

__all__ = [
    "Drawn",
    "DrawnSignals",
    "Heard",
    "HeldOut",
    "Report",
    "RunRecord",
    "comparison_of",
    "report_of",
]

_OF_A_RUN = {
    "curves": curves,
    "reconstructions": reconstructions,
    "audio_reconstructions": audio_reconstructions,
    "codebooks": codebooks,
    "code_map": code_map,
    "code_use": code_use,
    "atlas": atlas,
    "samples": samples,
    "audio_samples": audio_samples,
    "settings": settings,
}
_OF_SEVERAL = {
    "differences": differences,
    "curves": curves,
    "side_by_side": side_by_side,
    "same_recordings": same_recordings,
}


def report_of(report: Report) -> bytes:
    """Returns the report of a run, the first of `report.runs`; the others are for comparison."""
    run = report.runs[0]
    data = run.description["data"]
    lead = [f"Trained on {data['name']} from {data['source']}."]
    if run.best is not None:
        best, step = run.best[run.monitor], run.best["step"]
        lead.append(f"Best held-out {run.monitor}: {best:.5g}, after step {step}.")
    return page(run.name, lead, report, _OF_A_RUN)


def comparison_of(report: Report) -> bytes:
    """Returns the page that compares all runs."""
    return page(f"{len(report.runs)} runs compared", [], report, _OF_SEVERAL)
