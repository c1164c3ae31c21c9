"""The section of a page's training curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vqvae_jax.extras import extra
from vqvae_jax.report.html.content import Report, RunRecord

with extra("train"):
    from bokeh.embed import components
    from bokeh.models import HoverTool, LogTicker, PrintfTickFormatter
    from bokeh.palettes import Colorblind8
    from bokeh.plotting import figure
    from markupsafe import Markup

_BESIDE = {"step", "epoch", "split", "images", "images_per_second"}
_DASHES = {"train": "dashed", "test": "solid"}


def curves(report: Report) -> dict[str, Any] | None:
    """Draws each metric that a run has been evaluated by, of all runs over each other."""
    names = list(dict.fromkeys(name for run in report.runs for name in metrics_of(run)))
    if not names:
        return None
    plots = {name: _plot(name, report.runs) for name in names}
    script, places = components(plots)
    return {
        "script": Markup(script),
        "plots": [(name, Markup(places[name])) for name in names],
        "names": names,
        "rows": [
            (run.name, record["step"], [_number(record.get(name)) for name in names])
            for run in report.runs
            for record in run.log
            if record["split"] == "test"
        ],
    }


def metrics_of(run: RunRecord) -> list[str]:
    """Returns the names of the metrics of a run's evaluations that are not always 0.

    The monitor comes first.
    """
    evaluated = [record for record in run.log if record["split"] == "test"]
    names = dict.fromkeys(name for record in evaluated for name in record if name not in _BESIDE)
    kept = [name for name in names if any(record.get(name) for record in evaluated)]
    return sorted(kept, key=lambda name: name != run.monitor)


def _plot(name: str, runs: Sequence[RunRecord]) -> Any:
    values = [record[name] for run in runs for record in run.log if name in record]
    is_log = 0 < min(values) < max(values) / 4
    plot = plot_over_steps(name, y_axis_type="log" if is_log else "linear")
    if isinstance(plot.yaxis[0].ticker, LogTicker):
        plot.yaxis[0].ticker.update(mantissas=[1, 2, 5], num_minor_ticks=0)
    plot.yaxis.formatter = PrintfTickFormatter(format="%.3g")
    for run, color in zip(runs, Colorblind8 * (1 + len(runs) // 8), strict=False):
        for split, dash in _DASHES.items():
            records = [r for r in run.log if r["split"] == split and name in r]
            if not records:
                continue
            label = split if len(runs) == 1 else run.name
            data = _columns(name, records)
            marks = plot.scatter("step", "value", source=data, size=5, color=color)
            line = plot.line("step", "value", source=data, line_width=1.5, legend_label=label)
            line.glyph.update(line_color=color, line_dash=dash)
            tip = [("", f"{run.name}, {split}"), ("step", "@step"), (name, "@value{0.00000}")]
            plot.add_tools(HoverTool(renderers=[marks], tooltips=tip))
    (legend,) = plot.legend
    legend.update(click_policy="hide", orientation="horizontal", border_line_color=None, ncols=2)
    plot.add_layout(legend, "below")  # where it covers no curve
    return plot


def plot_over_steps(title: str, **options: Any) -> Any:
    """Returns a plot without curves yet."""
    plot = figure(
        height=300,
        sizing_mode="stretch_width",
        title=title,
        x_axis_label="step",
        tools="pan,box_zoom,wheel_zoom,reset",
        active_scroll=None,
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    return plot


def _columns(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "step": [record["step"] for record in records],
        "value": [record[name] for record in records],
    }


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.5g}" if math.isfinite(value) else str(value)
