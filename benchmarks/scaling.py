"""Times the training step against its sizes: images per batch, width, codes, pixels.

    python benchmarks/scaling.py --figure scaling.png
    python benchmarks/scaling.py --network resnet

Prints each curve's slope on logarithmic axes (1: twice the size takes twice the time) and draws
them. All else is as networks.py says, but for the curves over pixels: see CURVES.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from train_ours import Training
from workers import machine, table

from vqvae_jax.training.process import keep_memory, use_all_cores

CURVES: dict[str, dict[str, tuple[str, list[int], dict[str, int]]]] = {
    "mnist": {
        "images per batch": ("batch", [16, 32, 64, 128, 256, 512, 1024], {}),
        "codes K": ("codes", [128, 512, 2048, 8192, 32768, 65536], {}),
        "dimension D": ("dim", [8, 16, 32, 64, 128, 256], {}),
        "pixels an image": ("size", [28, 56, 112, 196, 256], {"batch": 32}),
    },
    "resnet": {
        "images per batch": ("batch", [8, 16, 32, 64, 128], {}),
        "width": ("width", [32, 64, 128, 256], {}),
        "codes K": ("codes", [512, 4096, 32768, 262144], {}),
        "pixels an image": ("size", [32, 64, 128, 256], {"batch": 4, "width": 128}),
    },
}


def measure(network: str, sizes: dict[str, int], rounds: int) -> float:
    """Milliseconds per step: the median of rounds of half a second or two steps."""
    training = Training(network, **sizes)
    training.seconds(2)
    steps = max(2, int(0.5 / (training.seconds(2) / 2)))
    return median([1000 * training.seconds(steps) / steps for _ in range(rounds)])


def slopes(sizes: list[float], times: list[float]) -> tuple[float, float]:
    """Returns the slope of a line through all points and between the last two, both logarithmic."""
    x, y = np.log(sizes), np.log(times)
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def draw(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), dpi=120, layout="constrained")
    for axes, (name, curve) in zip(figure.subplots(1, 4), results.items(), strict=True):
        sizes, times = np.array(curve["sizes"]), np.array(curve["ms"])
        axes.loglog(sizes, times, "o-", label=f"measured, slope {curve['slope']:.2f}")
        line = times[-1] * sizes / sizes[-1]
        axes.loglog(sizes, line, ":", color="gray", label="slope 1")
        axes.set_ylim(min(times) / 2, max(times) * 4)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7, loc="upper left")
    figure.axes[0].set_ylabel("ms per step")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=CURVES, default="mnist")
    parser.add_argument("--figure", type=Path, help="file for the picture")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_all_cores()
    keep_memory()

    results: dict[str, Any] = {}
    for name, (argument, values, others) in CURVES[options.network].items():
        times = []
        for value in values:
            times.append(measure(options.network, {**others, argument: value}, options.rounds))
            print(f"{name} {value}: {times[-1]:.1f} ms", file=sys.stderr)
        sizes = [value**2 if argument == "size" else value for value in values]
        slope, last = slopes(sizes, times)
        results[name] = {"sizes": sizes, "ms": times, "slope": slope, "last_slope": last}
    rows = [
        [
            name,
            f"{curve['sizes'][0]} to {curve['sizes'][-1]}",
            f"{curve['ms'][0]:.1f} to {curve['ms'][-1]:.1f}",
            f"{curve['slope']:.2f}",
            f"{curve['last_slope']:.2f}",
        ]
        for name, curve in results.items()
    ]
    print(table(["", "from, to", "ms per step", "slope", "slope at the end"], rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
