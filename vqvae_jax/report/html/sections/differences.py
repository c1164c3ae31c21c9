"""The section that sets runs side by side in figures and settings."""

from typing import Any

from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.sections.curves import metrics_of
from vqvae_jax.report.html.sections.settings import flat


def differences(report: Report) -> dict[str, Any]:
    """Lists the figures of each run's best evaluation, and the settings in which runs differ."""
    names = list(dict.fromkeys(name for run in report.runs for name in metrics_of(run)))
    settings = [dict(flat(run.description["config"])) for run in report.runs]
    paths = dict.fromkeys(path for of_run in settings for path in of_run)
    return {
        "runs": [run.name for run in report.runs],
        "figures": [(name, [_figure(run.best, name) for run in report.runs]) for name in names],
        "steps": ["" if run.best is None else run.best["step"] for run in report.runs],
        "settings": [
            (path, [of_run.get(path, "") for of_run in settings])
            for path in paths
            if len({of_run.get(path) for of_run in settings}) > 1
        ],
    }


def _figure(record: Any, name: str) -> str:
    return "" if record is None or name not in record else f"{record[name]:.5g}"
