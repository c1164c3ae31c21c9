"""Times quantizers, forward and backward, beside those of vector-quantize-pytorch, in turns.

    python3 -m venv .venv-torch
    .venv-torch/bin/pip install torch==2.13.0 numpy vector-quantize-pytorch
    python benchmarks/quantizer_speed.py --pytorch .venv-torch/bin/python

A call takes the gradient of loss + sum(values * weights) with respect to z and the parameters; of
EMA quantizers it also moves the codebook, as that library's forward does in training. Both compute
in float32, with the straight-through estimator, on all cores: ours as one jitted function on one
CPU device. VQ, EMA and RVQ (8 quantizers of EMA) have vectors of 64 numbers, FSQ the levels
(8, 5, 5, 5), LFQ the bits that make K codes, its entropies exact in both.

Every contender is a process of its own. After a warm-up they take turns, and the median over the
rounds counts. The bare product is max(z @ codebook.T) over the codes in jitted JAX, the least that
a search can cost, once for every codebook. A second table has the search alone.
"""

import argparse
import sys
from statistics import median

from workers import Worker, table

SIZES = ((8192, 1024), (65536, 1024), (8192, 8192))
FSQ_SIZES = ((8192, 1000), (65536, 1000))
QUANTIZERS = {
    "VQ": SIZES,
    "EMA": SIZES,
    "RVQ": SIZES[:1],
    "FSQ": FSQ_SIZES,
    "LFQ": SIZES,
}
# How many searches a quantizer makes.
SEARCHES = {"VQ": 1, "EMA": 1, "RVQ": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pytorch", required=True, help="python of the environment with torch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--repeat", type=float, default=0.3, help="seconds a contender's turn takes, or one call"
    )
    options = parser.parse_args()

    ours = Worker(sys.executable, "quantizer_speed_ours.py", env={})
    theirs = Worker(options.pytorch, "quantizer_speed_pytorch.py", env={})

    def medians(contenders: list[tuple[Worker, str]], n: int, k: int) -> list[float]:
        """The medians in ms, of contenders that take turns."""

        def seconds(worker: Worker, what: str, repeat: int) -> float:
            return worker.ask(what=what, n=n, k=k, repeat=repeat)["seconds"] / repeat

        repeats = []
        for worker, what in contenders:
            seconds(worker, what, 2)
            once = seconds(worker, what, 1)
            repeats.append(max(1, min(1000, round(options.repeat / once))))
        times: list[list[float]] = [[] for _ in contenders]
        for _ in range(options.rounds):
            for taken, contender, repeat in zip(times, contenders, repeats, strict=True):
                taken.append(1000 * seconds(*contender, repeat))
        return [median(taken) for taken in times]

    rows = []
    for name, sizes in QUANTIZERS.items():
        for n, k in sizes:
            contenders = [(ours, name), (theirs, name)]
            if name in SEARCHES:
                contenders.append((ours, "bare product"))
            mine, other, *products = medians(contenders, n, k)
            cells = [str(n), str(k), f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.1f}"]
            bare = [SEARCHES[name] * ms for ms in products]
            cells += [f"{bare[0]:.1f}", f"{mine / bare[0]:.2f}"] if bare else ["", ""]
            rows.append([name, *cells])
            print("done:", *rows[-1], file=sys.stderr)
    header = ["forward and backward", "N", "K", "ours, ms", "theirs, ms", "theirs / ours"]
    print(table([*header, "bare product, ms", "ours / bare"], rows))

    rows = []
    names = ("bare product", "nearest_code", "argmin of the whole matrix")
    for n, k in SIZES:
        times = medians([(ours, name) for name in names], n, k)
        rows.append([str(n), str(k), *(f"{ms:.1f}" for ms in times)])
    print(f"\n{table(['search, ms: N', 'K', *names], rows)}")
    for worker in (ours, theirs):
        worker.close()


if __name__ == "__main__":
    main()
