"""Compares a full-size EnCodec of 24 kHz, with random weights, with transformers' EncodecModel.

    python benchmarks/audio.py --pytorch PYTHON [--seconds 60] [--rounds 5]

PYTHON is an interpreter with torch, transformers and safetensors. It draws the weights of EnCodec
(15 million numbers, 32 codebooks), writes them by save_pretrained, and computes; we read that
folder and must compute the same. Printed are the times of loading, encoding (a signal to codes) and
decoding (codes to a signal), medians of rounds in turn, and how many times as fast as real time
that is; the peak memory of each process; how many codes differ, where two are equally near but for
rounding; and the largest difference of the signals that the same codes give. Ours also streams: 8
frames at a time, 107 ms, each piece computed when the one before it is done.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from workers import KEEP_MEMORY, Worker, in_turn, machine, table

SAMPLE_RATE = 24_000
WHOLE = ("encode", "decode")
STREAMED = ("encode_pieces", "decode_pieces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pytorch", required=True, metavar="PYTHON")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.RandomState(0).randn(1, round(options.seconds * SAMPLE_RATE), 1)
        np.save(Path(folder, "audio.npy"), (0.3 * noise).clip(-1, 1).astype(np.float32))
        theirs = Worker(options.pytorch, "audio_pytorch.py", folder, env={})
        ours = Worker(sys.executable, "audio_ours.py", folder, env=KEEP_MEMORY)
        contenders = {"PyTorch": (theirs, WHOLE), "ours": (ours, WHOLE + STREAMED)}
        loaded, medians, results = in_turn(folder, contenders, options.rounds)
    rows = []
    for name, kinds in (("PyTorch", WHOLE), ("ours", WHOLE), ("ours, streamed", STREAMED)):
        worker = name.partition(",")[0]
        seconds = [medians[worker, what] for what in kinds]
        factors = [f"{options.seconds / each:.1f} x real time" for each in seconds]
        fixed = [f"{loaded[worker]['seconds']:.2f}", str(loaded[worker]["peak_mb"])]
        rows.append([name, *(f"{each:.2f}" for each in seconds), *factors, *fixed])
    header = ["", "encode, s", "decode, s", "encode", "decode", "load, s", "peak, MB"]
    print(table(header, rows))
    for what in WHOLE:
        print(f"{what}: {medians['PyTorch', what] / medians['ours', what]:.2f} x")
    report(results["PyTorch"], results["ours"])


def report(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> None:
    """Prints how far the results agree; ends the program if they do not."""
    frames, samples = ours["streamed"].shape[1], ours["pieces"].shape[1]
    differ = int(np.count_nonzero(theirs["codes"] != ours["codes"]))
    said = {
        "codes": theirs["codes"].size,
        "differ": differ,
        "differ_streamed": int(np.count_nonzero(ours["streamed"] != ours["codes"][:, :frames])),
        "largest": float(abs(theirs["audio"]).max()),
        "difference": float(abs(theirs["audio"] - ours["audio"]).max()),
        "difference_streamed": float(abs(ours["pieces"] - ours["audio"][:, :samples]).max()),
    }
    print(json.dumps({**machine(), **said}))
    least = 1e-4 * said["largest"]
    if (
        max(differ, said["differ_streamed"]) > said["codes"] / 100
        or max(said["difference"], said["difference_streamed"]) > least
    ):
        sys.exit("they do not compute the same")


if __name__ == "__main__":
    main()
