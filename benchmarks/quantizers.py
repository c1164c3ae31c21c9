"""Trains the VQ-VAE of configs/mnist.py with every quantizer, and compares them.

    python benchmarks/quantizers.py --workdir runs/study [--config.data.archives=FOLDER]

Every quantizer gets 10 epochs with the seed 0 and about 7 bits per token; then the best five, and
the plain VectorQuantizer, the seeds 1 and 2. The runs are those of train.py, one after the other,
each in a folder of its own under the workdir: stopped and started again, the study resumes.
Prints a table and writes quantizers.png into the workdir. The ms per step are those of the fastest
100 steps of the runs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from flax import nnx
from workers import HERE, table

from vqvae_jax.components import build_component, completed
from vqvae_jax.training.config_files import read_config

REVIVAL = {"revival_threshold": 0.1, "kmeans_init": True}
_CODEBOOK = {"embedding_dim": 16, "num_embeddings": 128}


def _ema(embedding_dim: int, num_embeddings: int, **settings: Any) -> dict[str, Any]:
    sizes = {"embedding_dim": embedding_dim, "num_embeddings": num_embeddings}
    return {"kind": "EMAVectorQuantizer", **sizes, **settings}


_MOVED_CODES = {"codebook_cost": 0.0, "commitment_cost": 0.0, **REVIVAL}
# The components that take the place of the quantizer of configs/mnist.py.
RUNS: dict[str, dict[str, Any]] = {
    "VectorQuantizer": {"kind": "VectorQuantizer", **_CODEBOOK},
    "EMAVectorQuantizer, with revival": _ema(16, 128, **REVIVAL),
    "diveq, with revival": {
        "kind": "VectorQuantizer", **_CODEBOOK, "estimator": "diveq", **_MOVED_CODES
    },
    "VectorQuantizer, with revival": {"kind": "VectorQuantizer", **_CODEBOOK, **REVIVAL},
    "FSQ (5, 5, 5)": {"kind": "FSQ", "levels": (5, 5, 5)},
    "rotation_trick, with revival": {
        "kind": "VectorQuantizer", **_CODEBOOK, "estimator": "rotation_trick", **REVIVAL
    },
    "CosineVectorQuantizer, with revival": {
        "kind": "CosineVectorQuantizer", **_CODEBOOK, **REVIVAL
    },
    "BSQ": {"kind": "BSQ", "embedding_dim": 7},
    "LFQ": {"kind": "LFQ", "embedding_dim": 7},
    "LFQ, entropy cost 0.01": {"kind": "LFQ", "embedding_dim": 7, "entropy_cost": 0.01},
    "ResidualVQ, 2 of EMA, with revival": {
        "kind": "ResidualVQ", "quantizers": 2 * [_ema(16, 11, **REVIVAL)]
    },
    "ProductQuantizer, 2 of EMA, with revival": {
        "kind": "ProductQuantizer", "quantizers": 2 * [_ema(8, 11, **REVIVAL)]
    },
    "SimVQ": {"kind": "SimVQ", **_CODEBOOK},
    "GumbelQuantizer": read_config("mnist_gumbel")[0]["model"]["quantizer"],
    "EMAVectorQuantizer": _ema(16, 128),
    "nsvq, with revival": {
        "kind": "VectorQuantizer", **_CODEBOOK, "estimator": "nsvq", **_MOVED_CODES
    },
    "EMAVectorQuantizer, beta 4, with revival": _ema(16, 128, commitment_cost=4.0, **REVIVAL),
    "EMAVectorQuantizer with diveq, beta 4, with revival": _ema(
        16, 128, estimator="diveq", commitment_cost=4.0, **REVIVAL
    ),
    "ProjectedQuantizer of EMA, beta 1, with revival": {
        "kind": "ProjectedQuantizer",
        "embedding_dim": 16,
        "quantizer": _ema(8, 128, commitment_cost=1.0, **REVIVAL),
    },
    "ProjectedQuantizer of Cosine, with revival": {
        "kind": "ProjectedQuantizer",
        "embedding_dim": 16,
        "quantizer": {
            "kind": "CosineVectorQuantizer", "embedding_dim": 8, "num_embeddings": 128, **REVIVAL
        },
    },
    "rotation_trick": {"kind": "VectorQuantizer", **_CODEBOOK, "estimator": "rotation_trick"},
    "SampledVectorQuantizer, with revival": {
        "kind": "SampledVectorQuantizer", **_CODEBOOK, "temperature": 0.1, **REVIVAL
    },
    "EntropyVectorQuantizer": {"kind": "EntropyVectorQuantizer", **_CODEBOOK},
    "OrthogonalVectorQuantizer": {"kind": "OrthogonalVectorQuantizer", **_CODEBOOK},
    "GroupedResidualVQ, 2 x 2 of EMA, with revival": {
        "kind": "GroupedResidualVQ",
        "groups": 2 * [{"kind": "ResidualVQ", "quantizers": 2 * [_ema(8, 3, **REVIVAL)]}],
    },
    "RandomProjectionQuantizer": {"kind": "RandomProjectionQuantizer", **_CODEBOOK},
}  # fmt: skip
BASELINE = "VectorQuantizer"
EPOCHS = 10
_PLAIN, _REVIVED, _OTHERS = "black", "tab:blue", "tab:orange"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/study"))
    parser.add_argument("--report", action="store_true", help="of the runs that are done; no more")
    options, flags = parser.parse_known_args()

    if not options.report:
        for name in RUNS:
            train(options.workdir, name, 0, flags)
        best = sorted(RUNS, key=lambda name: result(options.workdir, name, 0)["nmse"])[:5]
        for seed in (1, 2):
            for name in dict.fromkeys([BASELINE, *best]):
                train(options.workdir, name, seed, flags)
    results = {
        name: [done for seed in range(3) if (done := result(options.workdir, name, seed))]
        for name in RUNS
    }
    results = {name: done for name, done in results.items() if done}
    if BASELINE not in results:
        sys.exit(f"{options.workdir} holds no finished run of {BASELINE}, to compare others with")
    ranked = sorted(results, key=lambda name: mean(run["nmse"] for run in results[name]))
    print(report({name: results[name] for name in ranked}))
    draw({name: results[name] for name in ranked}, options.workdir / "quantizers.png")


def folder_of(workdir: Path, name: str, seed: int) -> Path:
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return workdir / f"{'_'.join(words)}_seed{seed}"


def train(workdir: Path, name: str, seed: int, flags: list[str]) -> None:
    """The run, or what is left of it."""
    if result(workdir, name, seed):
        return
    subprocess.run(
        [
            sys.executable,
            str(HERE.parent / "train.py"),
            f"--config={HERE.parent / 'configs' / 'mnist.py'}",
            f"--workdir={folder_of(workdir, name, seed)}",
            f"--config.training.num_epochs={EPOCHS}",
            f"--config.training.seed={seed}",
            "--config.data.allow_sample=False",
            f"--config.model.quantizer={RUNS[name]}",
            *flags,
        ],
        check=True,
    )


def result(workdir: Path, name: str, seed: int) -> dict[str, Any]:
    """The held-out figures after the last epoch, and the ms per step; empty if not done."""
    log = folder_of(workdir, name, seed) / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = [line for line in lines if line["split"] == "test" and line["epoch"] == EPOCHS]
    if not last:
        return {}
    # The fastest logged stretch: what else ran on the machine disturbed it least.
    rate = max(line["images_per_second"] for line in lines if line["split"] == "train")
    return {**last[-1], "ms": 1000 * 128 / rate}


def report(results: dict[str, list[dict[str, Any]]]) -> str:
    """The table: means over seeds, and the range of the nmse where there are several."""
    baseline = mean(run["nmse"] for run in results[BASELINE])
    rows = []
    for name, runs in results.items():
        nmse = [run["nmse"] for run in runs]
        spread = f" ({min(nmse):.4f} to {max(nmse):.4f})" if len(runs) > 1 else ""
        rows.append(
            [
                name,
                f"{mean(nmse):.4f}{spread}",
                f"{mean(nmse) / baseline:.2f}",
                f"{mean(run['perplexity'] for run in runs):.1f}",
                f"{mean(run['codes_used'] for run in runs):.0f} of {codes(name)}",
                f"{min(run['ms'] for run in runs):.0f}",
            ]
        )
    header = ["quantizer", "test nmse", "x baseline", "perplexity", "codes used", "ms per step"]
    return table(header, rows)


def codes(name: str) -> int:
    """The codes of all codebooks."""
    settings = completed(RUNS[name], "quantizer")
    return build_component(settings, "quantizer", rngs=nnx.Rngs(0)).num_codes


def draw(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """The same as a picture: one line a quantizer, the best on top, a dot a seed."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(10, 0.3 * len(results) + 1.2), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for place, (name, runs) in enumerate(results.items()):
        revived = "with revival" in name
        color = _PLAIN if name == BASELINE else _REVIVED if revived else _OTHERS
        for axes, values in zip(
            panels,
            (
                [run["nmse"] for run in runs],
                [run["perplexity"] for run in runs],
                [100 * run["codes_used"] / codes(name) for run in runs],
            ),
            strict=True,
        ):
            axes.plot(values, [place] * len(values), "o", color=color, markersize=5, alpha=0.7)
    baseline = mean(run["nmse"] for run in results[BASELINE])
    panels[0].axvline(baseline, color=_PLAIN, linewidth=0.8)
    panels[0].axvline(0.6 * baseline, color=_PLAIN, linewidth=0.8, linestyle=":")
    panels[0].set_xscale("log")
    panels[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panels[0].xaxis.set_major_formatter("{x:g}")
    panels[0].xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_yticks(range(len(results)), list(results), fontsize=8)
    panels[0].invert_yaxis()
    titles = ("test nmse", "perplexity", "codes used, %")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3, which="both")
        axes.tick_params(axis="x", labelsize=8)
    dot = {"marker": "o", "markersize": 5, "alpha": 0.7, "linestyle": ""}
    line = {"color": _PLAIN, "linewidth": 0.8}
    keys = [
        Line2D([], [], color=_REVIVED, label="with revival, and codes from k-means", **dot),
        Line2D([], [], color=_OTHERS, label="without", **dot),
        Line2D([], [], color=_PLAIN, label=f"the plain {BASELINE}", **dot),
        Line2D([], [], label="its mean", **line),
        Line2D([], [], label="0.6 x its mean", linestyle=":", **line),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()
