"""Times single layers, forward and with backward, beside PyTorch's.

    python benchmarks/layers.py --pytorch .venv-torch/bin/python
    python benchmarks/layers.py --pytorch .venv-torch/bin/python --wide --forms

The layers are those of configs/mnist.py's model, in parts of four images as a training step has
them; or wide ones, as in residual networks, each device with its half of the batch at once.
The floor is the layer's arithmetic at the rate of a matrix product of the same run, over all
devices. PyTorch's figure is the better of eager and channels_last, with memory kept. A layer alone
finds its input in the cache, where in training it may not be.
"""

import argparse
import json
import sys
from statistics import median
from typing import Any

from workers import KEEP_MEMORY, Worker, table

UP = {"stride": 2, "padding": 1, "output_padding": 1}
DOWN = {"stride": 2, "padding": 1}
MNIST: dict[str, dict[str, Any]] = {
    "encoder 1": {"kind": "conv", "size": 28, "in": 1, "out": 32, "k": 3, "options": DOWN},
    "encoder 2": {"kind": "conv", "size": 14, "in": 32, "out": 64, "k": 3, "options": DOWN},
    "encoder 3": {"kind": "conv", "size": 7, "in": 64, "out": 16, "k": 1, "options": {}},
    "decoder 1": {"kind": "conv_transpose", "size": 7, "in": 16, "out": 64, "k": 3, "options": UP},
    "decoder 2": {"kind": "conv_transpose", "size": 14, "in": 64, "out": 32, "k": 3, "options": UP},
    "decoder 3": {
        "kind": "conv_transpose", "size": 28, "in": 32, "out": 1, "k": 3, "options": {"padding": 1}
    },
}  # fmt: skip
for name, spec in MNIST.items():
    spec |= {"relu": not name.endswith("3"), "batch": 128, "part": 4}
WIDE: dict[str, dict[str, Any]] = {
    "3x3, 128 to 128, 32x32": {"batch": 8, "size": 32, "in": 128, "out": 128, "k": 3},
    "3x3, 64 to 64, 64x64": {"batch": 4, "size": 64, "in": 64, "out": 64, "k": 3},
    "3x3, 256 to 256, 16x16": {"batch": 8, "size": 16, "in": 256, "out": 256, "k": 3},
    "4x4 /2, 128 to 256, 16x16": {"batch": 16, "size": 16, "in": 128, "out": 256, "k": 4},
    "1x1, 256 to 256, 16x16": {"batch": 16, "size": 16, "in": 256, "out": 256, "k": 1},
    "4x4 x2, 256 to 128, 8x8": {"batch": 16, "size": 8, "in": 256, "out": 128, "k": 4},
    "3x3, 128 to 3, 64x64": {"batch": 4, "size": 64, "in": 128, "out": 3, "k": 3},
}
for name, spec in WIDE.items():
    stride = 2 if spec["k"] == 4 else 1
    spec |= {"kind": "conv_transpose" if " x2" in name else "conv", "relu": False, "part": None}
    spec["options"] = {"stride": stride, "padding": (spec["k"] - 1) // 2}
MATMUL = {"kind": "matmul", "batch": 128, "rows": 196, "inner": 288, "columns": 64}


def flops(layer: dict[str, Any]) -> int:
    """Returns the operations of the forward direction; each gradient takes as many again."""
    if layer["kind"] == "matmul":
        return 2 * layer["batch"] * layer["rows"] * layer["inner"] * layer["columns"]
    grid = layer["size"]
    if layer["kind"] == "conv":
        grid //= layer["options"].get("stride", 1)
    return 2 * layer["batch"] * grid**2 * layer["k"] ** 2 * layer["in"] * layer["out"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pytorch", required=True, help="python of an environment with torch")
    parser.add_argument(
        "--wide", action="store_true", help="not those of configs/mnist.py, but wide ones"
    )
    parser.add_argument("--forms", action="store_true", help="forms that were not chosen, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=20, help="times a round")
    options = parser.parse_args()

    layers = WIDE if options.wide else MNIST
    ours = Worker(sys.executable, "layers_ours.py", "chosen", env={})
    forms = {
        form: Worker(sys.executable, "layers_ours.py", form, env={})
        for form in ("products", "XLA") * options.forms
    }
    theirs = [
        Worker(options.pytorch, "layers_pytorch.py", mode, env=KEEP_MEMORY)
        for mode in ("eager", "channels_last")
    ]

    def ms(worker: Worker, layer: dict[str, Any], backward: bool, repeat: int) -> float:
        request = {"layer": json.dumps(layer), "backward": backward}
        return 1000 * worker.ask(**request, repeat=repeat)["seconds"] / repeat

    rows, total = [], [0.0] * 3
    rate = 0.0
    for backward in (False, True):
        for name, layer in layers.items():
            contenders = [(worker, layer) for worker in (ours, *theirs, *forms.values())]
            contenders.append((ours, MATMUL))
            times: list[list[float]] = [[] for _ in contenders]
            for worker, what in contenders:
                ms(worker, what, backward, 3)
            for _ in range(options.rounds):
                for taken, (worker, what) in zip(times, contenders, strict=True):
                    taken.append(ms(worker, what, backward, options.repeat))
            mine, *rest, matmul = map(median, times)
            others, in_forms = rest[: len(theirs)], rest[len(theirs) :]
            rate = flops(MATMUL) / matmul
            floor = flops(layer) * (3 if backward else 1) / rate
            if backward:
                total = [sum(pair) for pair in zip(total, (mine, min(others), floor), strict=True)]
            what = f"{name}, with backward" if backward else name
            figures = (mine, min(others), floor, min(others) / mine, *in_forms)
            rows.append([what, *(f"{value:.2f}" for value in figures)])
    sums = [*(f"{value:.1f}" for value in total), f"{total[1] / total[0]:.2f}"]
    rows.append(["all, with backward", *sums, *("" for _ in forms)])
    header = ["ms for a batch", "ours", "PyTorch", "floor", "PyTorch / ours"]
    print(table([*header, *(f"as {form}" for form in forms)], rows))
    print(f"\nThe floor is at {rate / 1e6:.0f} GFLOP/s, that of the last matrix product.")
    for worker in (ours, *theirs, *forms.values()):
        worker.close()


if __name__ == "__main__":
    main()
