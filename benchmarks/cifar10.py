"""Trains the residual network of configs/cifar10.py: in float32, in bfloat16 and in PyTorch.

    python benchmarks/cifar10.py --path FOLDER --pytorch .venv-torch/bin/python [--width 256]

FOLDER holds CIFAR-10 as image files, in folders train and test. Every contender trains with each
seed: 1,000 steps of 100 images, which are two epochs, all else as in the config. PyTorch has the
moving averages and revival too; its k-means starts from uniform draws, ours is k-means++. Our runs
are those of train.py, in folders of their own under the workdir, which is for one folder of images:
stopped and started again, the study resumes. Prints the held-out figures at the end: means over
seeds, and their range.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from workers import HERE, table

from vqvae_jax import ImageFolder
from vqvae_jax.data import take

EPOCHS, BATCH = 2, 100
FIGURES = {"mse": ".5f", "nmse": ".4f", "psnr": ".2f", "perplexity": ".0f", "codes_used": ".0f"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--path", required=True, help="folder of the images")
    parser.add_argument("--pytorch", required=True, help="python of an environment with torch")
    parser.add_argument("--workdir", type=Path, default=Path("runs/cifar10_study"))
    parser.add_argument("--width", type=int, default=256, help="channels of the networks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", help="folder of cached data, as for train.py")
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)

    contenders = {
        "float32": lambda seed: ours(options, "float32", seed),
        "bfloat16": lambda seed: ours(options, "bfloat16", seed),
        "PyTorch": lambda seed: pytorch(options, seed),
    }
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for seed in range(options.seeds):
        for name, run in contenders.items():
            results[name].append(run(seed))
            print(f"{name}, seed {seed}: {results[name][-1]}", file=sys.stderr, flush=True)
    rows = [
        [name, *(spread([run[figure] for run in runs], form) for figure, form in FIGURES.items())]
        for name, runs in results.items()
    ]
    print(table([f"width {options.width}", *FIGURES], rows))


def ours(options: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    """The held-out figures of a run of train.py, or of what is left of it."""
    workdir = options.workdir / f"{precision}_width{options.width}_seed{seed}"
    if not (done := last(workdir)):
        settings = {
            "data.kind": "ImageFolder",
            "data.path": options.path,
            "data.data_dir": options.data_dir,
            "model.encoder.width": options.width,
            "model.decoder.width": options.width,
            "training.batch_size": BATCH,
            "training.num_epochs": EPOCHS,
            "training.precision": precision,
            "training.seed": seed,
        }
        subprocess.run(
            [
                sys.executable,
                str(HERE.parent / "train.py"),
                f"--config={HERE.parent / 'configs' / 'cifar10.py'}",
                f"--workdir={workdir}",
                *(
                    f"--config.{name}={value}"
                    for name, value in settings.items()
                    if value is not None
                ),
            ],
            check=True,
            stdout=sys.stderr,
        )
        done = last(workdir)
    return {figure: done[figure] for figure in FIGURES}


def last(workdir: Path) -> dict[str, Any]:
    """The held-out figures after the last epoch; empty if the run has not come to it."""
    log = workdir / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    ends = [line for line in lines if line["split"] == "test" and line["epoch"] == EPOCHS]
    return ends[-1] if ends else {}


def pytorch(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The same of PyTorch, from a file if it is done."""
    file = options.workdir / f"pytorch_width{options.width}_seed{seed}.json"
    if not file.exists():
        data = ImageFolder(path=options.path, data_dir=options.data_dir).load()
        settings = {"width": options.width, "batch_size": BATCH, "epochs": EPOCHS}
        with tempfile.TemporaryDirectory() as folder:
            pixels = Path(folder) / "images.npz"
            images = {
                split: take(source, np.arange(len(source)))["image"]
                for split, source in (("train", data.train), ("test", data.test))
            }
            np.savez(pixels, **images)
            worker = [str(HERE / "cifar10_pytorch.py"), str(pixels), str(seed)]
            done = subprocess.run(
                [options.pytorch, *worker, json.dumps(settings)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        file.write_text(done.stdout)
    return json.loads(file.read_text())


def spread(values: list[float], form: str) -> str:
    """The mean, and the range of several."""
    middle = f"{mean(values):{form}}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
