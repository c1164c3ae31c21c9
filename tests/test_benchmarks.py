"""The messages of benchmarks that have nothing to report."""

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_report_without_runs_is_one_line(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["quantizers.py", "--report", f"--workdir={tmp_path}"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(BENCHMARKS / "quantizers.py"), run_name="__main__")
    said = f"{tmp_path} holds no finished run of VectorQuantizer, to compare others with"
    assert left.value.code == said
    assert list(tmp_path.iterdir()) == []


def test_the_picture_has_a_key_of_its_colors(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    monkeypatch.syspath_prepend(BENCHMARKS)
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: kept.append(figure))
    module = runpy.run_path(str(BENCHMARKS / "quantizers.py"))
    runs = {"VectorQuantizer": 0.05, "VectorQuantizer, with revival": 0.03, "SimVQ": 0.04}
    results = {
        name: [{"nmse": nmse, "perplexity": 9.0, "codes_used": 64}] for name, nmse in runs.items()
    }
    module["draw"](results, tmp_path / "quantizers.png")
    (legend,) = kept[0].legends
    key = {handle.get_label(): handle.get_color() for handle in legend.legend_handles}
    drawn = [line.get_color() for line in kept[0].axes[0].lines]
    words = ["the plain VectorQuantizer", "with revival, and codes from k-means", "without"]
    assert drawn[:3] == [key[name] for name in words]
    assert key["its mean"] == drawn[3]
