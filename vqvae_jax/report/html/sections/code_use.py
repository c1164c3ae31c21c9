"""The section that shows how the use of the codes has spread over a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.metrics import Usage
from vqvae_jax.metrics.usage import ranks
from vqvae_jax.report.html.content import Report
from vqvae_jax.report.html.sections.curves import plot_over_steps

with extra("train"):
    from bokeh.embed import components
    from bokeh.models import HoverTool, NumeralTickFormatter
    from bokeh.palettes import viridis
    from markupsafe import Markup


def code_use(report: Report) -> dict[str, Any] | None:
    """Draws which part of all tokens the most used codes have, at each evaluation."""
    usage = report.runs[0].usage_shown
    if not usage:
        return None
    first = next(iter(usage.values()))
    titles = {
        name: "share of all tokens" + (f", codebook {number}" if len(first) > 1 else "")
        for number, name in enumerate(first, start=1)
    }
    plots = {
        name: _plot(title, {step: of[name] for step, of in usage.items()})
        for name, title in titles.items()
    }
    script, places = components(plots)
    tables = [
        {
            "title": title,
            "ranks": _bands(first[name].size),
            "rows": [
                (step, of[name].used, [f"{100 * share:.3g} %" for share in _shares(of[name])])
                for step, of in usage.items()
            ],
        }
        for name, title in titles.items()
    ]
    return {
        "script": Markup(script),
        "plots": [(titles[name], Markup(place)) for name, place in places.items()],
        "tables": tables,
    }


def _bands(size: int) -> list[str]:
    """Returns the ranks of the codes between two of `ranks`, as text."""
    ends = ranks(size)
    starts = [1, *(end + 1 for end in ends[:-1])]
    return [
        f"{start:,}" if start == end else f"{start:,} to {end:,}"
        for start, end in zip(starts, ends, strict=True)
    ]


def _shares(usage: Usage) -> list[float]:
    """Returns the share of all tokens that the codes of each band have."""
    return [int(part) / max(1, usage.tokens) for part in np.diff([0, *usage.covered])]


def _plot(title: str, usage: Mapping[int, Usage]) -> Any:
    """Stacks the shares of the bands, those of the most used codes lowest and darkest."""
    plot = plot_over_steps(title, y_range=(0, 1))
    plot.yaxis.formatter = NumeralTickFormatter(format="0 %")
    steps, below = [*usage], np.zeros(len(usage))
    bands = _bands(next(iter(usage.values())).size)
    shares = np.array([_shares(of) for of in usage.values()])
    for band, share, color in zip(bands, shares.T, viridis(len(bands)), strict=True):
        data = {"step": steps, "below": below, "above": below + share, "share": share}
        data = {name: np.round(values, 4).tolist() for name, values in data.items()}
        plot.varea("step", "below", "above", source=data, color=color, legend_label=band)
        line = plot.line("step", "above", source=data, color="white", line_width=1)
        tip = [("rank", band), ("step", "@step"), ("share", "@share{0.0 %}")]
        plot.add_tools(HoverTool(renderers=[line], tooltips=tip))
        below = below + share
    (legend,) = plot.legend
    legend.update(items=legend.items[::-1], title="codes, by rank", border_line_color=None)
    plot.add_layout(legend, "right")
    return plot
