"""The section of a run's settings and data."""

from collections.abc import Iterator, Mapping
from typing import Any

from vqvae_jax.report.html.content import Report


def settings(report: Report) -> dict[str, Any]:
    """Lists the settings of the run, its data, and all else that run.json holds."""
    description = report.runs[0].description
    return {"rows": list(flat(description["config"])), "data": list(flat(description["data"]))}


def flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yields the settings of nested sections with their paths, as text."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", str(value)
