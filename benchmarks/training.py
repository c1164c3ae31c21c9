"""Times a training step of a model, ours beside PyTorch's, in turns; or its forward direction.

    python benchmarks/training.py --pytorch .venv-torch/bin/python
    python benchmarks/training.py --pytorch .venv-torch/bin/python --network resnet --forward

The models, of networks.py: that of configs/mnist.py; the VQ-VAE paper's residual network, as in
configs/cifar10.py but in batches of 64 and with gradients for the codebook; one of blocks of group
normalization, swish and Conv 3x3, in the style of VQGAN. Every contender is a process of its own.
After a warm-up they take turns, and the median over the rounds counts. PyTorch runs eager, with
channels_last and compiled (channels_last too), each as it ships and with glibc told to keep memory.
A step is forward and backward, and Adam.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from networks import NETWORKS
from workers import KEEP_MEMORY, Worker, machine, table

MODES = ("eager", "channels_last", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pytorch", required=True, help="python of an environment with torch")
    parser.add_argument("--network", choices=NETWORKS, default="mnist")
    parser.add_argument("--forward", action="store_true", help="without backward and Adam")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of a round")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    network, asked = options.network, {"backward": not options.forward}
    batch = NETWORKS[network]["batch"]
    workers = {"ours": Worker(sys.executable, "train_ours.py", network, env={})}
    for kept, env in ((False, {}), (True, KEEP_MEMORY)):
        for mode in MODES:
            name = f"PyTorch {mode}{', memory kept' * kept}"
            workers[name] = Worker(options.pytorch, "train_pytorch.py", network, mode, env=env)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for name, worker in workers.items():
        print(f"warming up: {name}", file=sys.stderr)
        worker.ask(steps=max(2, options.steps // 10), **asked)
    for index in range(options.rounds):
        for name, worker in workers.items():
            answers[name].append(worker.ask(steps=options.steps, **asked))
        print(f"round {index + 1} of {options.rounds} is done", file=sys.stderr)
    for worker in workers.values():
        worker.close()

    ms = {
        name: [1000 * answer["seconds"] / options.steps for answer in given]
        for name, given in answers.items()
    }
    ours = median(ms["ours"])
    rows = [
        [
            name,
            f"{median(times):.1f}",
            f"{min(times):.1f} to {max(times):.1f}",
            f"{1000 * batch / median(times):.0f}",
            f"{median(times) / ours:.2f}",
            str(answers[name][-1]["peak_mb"]),
        ]
        for name, times in ms.items()
    ]
    print(table(["", "ms per step", "range", "images/s", "x ours", "peak MB"], rows))
    best = {
        kept: min(median(ms[name]) for name in ms if name != "ours" and ("kept" in name) == kept)
        for kept in (False, True)
    }
    print(f"\nOurs is {best[False] / ours:.2f} x as fast as PyTorch's best as it ships, ", end="")
    print(f"{best[True] / ours:.2f} x as fast as its best with memory kept.")
    if options.json:
        figures = {"machine": machine(), "steps": options.steps, "ms_per_step": ms}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
