"""Compares a trained codec of speech with Opus and Codec2, on the recordings held out of its run.

    apt-get install opus-tools codec2
    pip install pesq pystoi
    python benchmarks/speech.py --model runs/speech_digits [--samples runs/speech_digits_prior]

Each recording has its true length, and the loudness that the model sees. Most are shorter than a
second: the headers of a file would weigh more than its sound, and PESQ would refuse them. So ten of
one speaker are joined to one signal, the same for each codec. Ours decodes the first codebooks of
the same codes. The bits per second are those of the files, Opus's with its container, and of ours
those of the codes, packed without a header. What comes back is moved by up to 0.1 s to where it
correlates best with the original. Codec2 keeps no phase, so SI-SDR says nothing of it; PESQ
(narrow-band, up to 4.5) and STOI (up to 1) compare as listeners do, if roughly.

With the run of a prior, a classifier that is trained here on the training recordings says how many
of its samples are the digit that was asked for.
"""

import argparse
import contextlib
import dataclasses
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from flax import nnx
from speech_classifier import recognized, trained
from speech_codecs import SAMPLE_RATE, aligned, check_programs, codec2, opus
from workers import table

from vqvae_jax import SISDR, AudioFolder, MelDistance, Tokenizer
from vqvae_jax.commands.file_model import check_codebooks
from vqvae_jax.data.listing import list_files, splits_of
from vqvae_jax.report.samples import draw_examples
from vqvae_jax.signals import to_pcm, to_signal
from vqvae_jax.training.process import keep_memory
from vqvae_jax.training.saved import SavedRun, load_data, load_pair, load_run

JOINED = 10
OTHERS = {
    "Opus, 6 kbit/s, 20 ms": opus(6, 20),
    "Opus, 6 kbit/s, 60 ms": opus(6, 60),
    "Codec2, 3.2 kbit/s": codec2(3200, 160),
    "Codec2, 1.2 kbit/s": codec2(1200, 320),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the run of a tokenizer")
    parser.add_argument("--codebooks", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument(
        "--speaker", default=r"_([^_/]+)_", help="finds the speaker in a recording's name"
    )
    parser.add_argument("--output", type=Path, help="a folder for what a few recordings become")
    parser.add_argument("--samples", type=Path, help="the run of a prior over the model's codes")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1, 2, 3], help="of samples")
    parser.add_argument("--number", type=int, default=200, help="of the samples")
    parser.add_argument("--epochs", type=int, default=30, help="of the classifier")
    options = parser.parse_args()
    check_programs()
    keep_memory()
    run = load_run(options.model, Tokenizer)
    if run.model.sample_rate != SAMPLE_RATE:
        sys.exit(f"{options.model} is of {run.model.sample_rate} Hz; Codec2 takes {SAMPLE_RATE}")
    if run.model.likelihood.out_dim != 1:
        sys.exit(f"{options.model} is of {run.model.likelihood.out_dim} channels; it must be of 1")
    try:
        for count in options.codebooks:
            check_codebooks(run.model, count)
    except ValueError as error:
        sys.exit(str(error))
    load_data(run)  # that they are still those of the run
    signals = list(joined(run, options.speaker))
    seconds = sum(map(len, signals)) / SAMPLE_RATE
    print(f"{len(signals)} signals, {seconds:.0f} s together")
    codes = encoded(run.model, signals)
    coded = {}
    for count in options.codebooks:
        kept = codes[..., :count]
        frames = sum(-(-len(signal) // run.model.downsampling[0]) for signal in signals)
        sizes = run.model.quantizer.codebook_sizes[:count]
        bits = frames * sum(math.ceil(math.log2(size)) for size in sizes)
        coded[f"ours, {count} codebooks"] = decoded(run.model, kept, signals), bits
    for name, codec in OTHERS.items():
        pairs = [codec(signal) for signal in signals]
        coded[name] = [back for back, _ in pairs], 8 * sum(size for _, size in pairs)
    rows = [
        [name, f"{bits / seconds / 1000:.2f}", *scores(signals, backs)]
        for name, (backs, bits) in coded.items()
    ]
    header = ["", "kbit/s", "SI-SDR, dB", "mel, dB", "PESQ", "of", "STOI", "delay, ms"]
    print(table(header, rows))
    used = [len(np.unique(stage[stage >= 0])) for stage in np.moveaxis(codes, -1, 0)]
    print(f"codes used by each stage: {', '.join(map(str, used))}")
    if options.output is not None:
        write(options.output, signals, {name: backs for name, (backs, _) in coded.items()})
    if options.samples is not None:
        judge(options.samples, options.guidance, options.number, options.epochs)


def joined(run: SavedRun, speaker: str) -> Iterator[np.ndarray]:
    """The held-out recordings at their own lengths, int16 [T], ten of a speaker in one."""
    config: Any = run.config.data
    if not isinstance(config, AudioFolder):
        sys.exit(f"{run.workdir} was trained on a {run.config.data_kind}; it must be AudioFolder")
    root = Path(config.path).expanduser()
    names = list_files(root, config.suffixes)
    held_out = splits_of(root, names, config.test_fraction, "recording", config.test_pattern)
    whole = dataclasses.replace(config, seconds=None, crop="center").framing
    speakers: dict[str, list[np.ndarray]] = {}
    for name, _ in held_out["test"]:
        found = re.search(speaker, name)
        recording = whole.read(root / name)[0, :, 0]
        speakers.setdefault(found[1] if found else "", []).append(recording)
    for recordings in speakers.values():
        for start in range(0, len(recordings), JOINED):
            yield np.concatenate(recordings[start : start + JOINED])


def encoded(model: Tokenizer, signals: list[np.ndarray]) -> np.ndarray:
    """The codes of signals, int32 [N, frames, num_codebooks]; -1 beyond their ends."""
    longest = max(map(len, signals))
    graphdef, state = nnx.split(model)
    one = jax.jit(lambda state, x: nnx.merge(graphdef, state).encode(x))
    codes = np.concatenate(
        [
            one(state, to_signal(np.pad(signal, (0, longest - len(signal))))[None, :, None])
            for signal in signals
        ]
    )
    for row, signal in zip(codes, signals, strict=True):
        row[-(-len(signal) // model.downsampling[0]) :] = -1
    return codes


def decoded(model: Tokenizer, codes: np.ndarray, signals: list[np.ndarray]) -> list[np.ndarray]:
    """The signals that codes are decoded to, int16 [T], each at its own length."""
    graphdef, state = nnx.split(model)
    one = jax.jit(lambda state, codes: nnx.merge(graphdef, state).decode(codes))
    return [
        to_pcm(np.asarray(one(state, row[None]))[0, : len(signal), 0])
        for row, signal in zip(codes, signals, strict=True)
    ]


def scores(signals: list[np.ndarray], backs: list[np.ndarray]) -> list[str]:
    """The cells of a codec: SI-SDR, mel distance, PESQ and of how many signals, STOI, delay."""
    from pesq import PesqError, pesq  # the options are known without them
    from pystoi import stoi

    si_sdr, mel = SISDR(), MelDistance(SAMPLE_RATE)
    found: dict[str, list[float]] = {"si_sdr": [], "mel": [], "pesq": [], "stoi": [], "delay": []}
    for signal, back in zip(signals, backs, strict=True):
        moved, delay = aligned(signal, back, SAMPLE_RATE // 10)
        one, other = (np.float32(of) / 2**15 for of in (signal, moved))
        x, y = (jnp.asarray(of)[None, :, None] for of in (one, other))
        found["si_sdr"].append(float(si_sdr(x, y)[0]))
        found["mel"].append(float(mel(x, y)[0]))
        found["stoi"].append(float(stoi(one, other, SAMPLE_RATE)))
        found["delay"].append(1000 * delay / SAMPLE_RATE)
        with contextlib.suppress(PesqError):  # too short, or silent
            found["pesq"].append(float(pesq(SAMPLE_RATE, one, other, "nb")))
    means = {name: np.mean(of) if of else math.nan for name, of in found.items()}
    return [
        f"{means['si_sdr']:.2f}",
        f"{means['mel']:.2f}",
        f"{means['pesq']:.2f}",
        str(len(found["pesq"])),
        f"{means['stoi']:.3f}",
        f"{np.median(found['delay']):.1f}",
    ]


def write(folder: Path, signals: list[np.ndarray], coded: dict[str, list[np.ndarray]]) -> None:
    """Writes the first, the middle and the last signal, and what each codec makes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in sorted({0, len(signals) // 2, len(signals) - 1}):
        for name, backs in {"original": signals, **coded}.items():
            words = "_".join(re.findall(r"[\w.]+", name))
            soundfile.write(folder / f"{index:02d}_{words}.wav", backs[index], SAMPLE_RATE)
    print(f"{folder}: recordings as the codecs give them back")


def judge(workdir: Path, guidances: list[float], number: int, epochs: int) -> None:
    """Prints how many samples of a prior a classifier recognizes, for each guidance."""
    prior, tokenizer = load_pair(workdir)
    data = load_data(prior)
    classifier = trained(data, epochs)
    examples = [data.test[index] for index in range(len(data.test))]
    x = np.asarray(to_signal(np.stack([example["audio"] for example in examples])))
    labels = np.array([example["label"] for example in examples])
    print(f"held-out recordings recognized: {100 * recognized(classifier, x, labels):.1f} %")
    graphdef, state = nnx.split(tokenizer.model)
    through = jax.jit(lambda state, x: _reconstructed(nnx.merge(graphdef, state), x))
    rebuilt = np.concatenate([through(state, part) for part in np.array_split(x, len(x) // 30)])
    print(f"reconstructed: {100 * recognized(classifier, rebuilt, labels):.1f} %")
    asked = np.arange(number) % prior.model.num_classes
    shape = prior.description["codes"]["maps"]["shape"]
    options = {"key": jax.random.key(0), "labels": asked}
    for guidance in guidances:
        drawn = draw_examples(
            tokenizer.model, prior.model, number, shape, guidance=guidance, **options
        )
        share = 100 * recognized(classifier, drawn, asked)
        print(f"{number} samples, guidance {guidance:g}: {share:.1f} %")


def _reconstructed(model: Tokenizer, x: jax.Array) -> jax.Array:
    return model.decode(model.encode(x))[:, : x.shape[1]]


if __name__ == "__main__":
    main()
