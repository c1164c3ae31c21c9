"""Trains models and uses trained ones: python -m vqvae_jax COMMAND --help."""

import argparse
import logging
import sys
from pathlib import Path

from vqvae_jax.errors import CheckpointError, ConfigError, DataError, MissingError
from vqvae_jax.training import program
from vqvae_jax.training.interruption import Interrupted, catch_signals, importing

_KNOWN = (CheckpointError, ConfigError, DataError, MissingError, OSError)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    It is 2 for wrong arguments, 128 plus the signal's number if the program was stopped by a
    signal, 1 for other failures, also if only some of the files could not be used.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["train"]:  # its flags are those of the config
        return program.main(arguments[1:], "vqvae_jax")
    logging.getLogger("absl").setLevel(logging.ERROR)
    options = _parser().parse_args(arguments)
    given = {name: value for name, value in vars(options).items() if name != "command"}
    try:
        with importing():  # takes seconds, so only once the arguments are valid
            from vqvae_jax import commands
            from vqvae_jax.training.process import keep_compilations, keep_memory, use_all_cores
        use_all_cores()
        keep_memory()
        keep_compilations()
        failed = getattr(commands, options.command)(**given)
    except (ValueError, *_KNOWN) as error:
        print("vqvae_jax:", *str(error).split(), file=sys.stderr)
        return 1 if isinstance(error, _KNOWN) else 2
    except Interrupted as signal:
        print(f"vqvae_jax: stopped by {signal}", file=sys.stderr)
        return signal.exit_status
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vqvae_jax", description="Trains models and uses trained ones."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("train", help="train a VQ-VAE or a prior", add_help=False)

    def command(name: str, text: str, workdir: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument(
            "--model",
            "--workdir",
            dest="workdir",
            type=Path,
            required=True,
            help=f"folder of the run of {workdir}, or of an exported model",
        )
        return added

    def of_prior(name: str, text: str, of: str = "a prior") -> argparse.ArgumentParser:
        added = command(name, text, of)
        added.add_argument(
            "--vqvae", type=Path, help="folder of its VQ-VAE's run, if that has moved"
        )
        return added

    def with_data(added: argparse.ArgumentParser) -> None:
        for name, text in (
            ("archives", "folder with the data set's IDX archives"),
            ("path", "folder or file of the data"),
            ("data-dir", "TFDS's folder for prepared data"),
        ):
            added.add_argument(f"--{name}", help=f"{text}, if that has moved")

    def resized(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument(
            "--resize",
            type=int,
            default=0,
            metavar="PIXELS",
            help="of images: scale the shorter side to this length first",
        )
        added.add_argument(
            "--pad",
            type=int,
            default=1,
            metavar="PIXELS",
            help="of images: pad sizes to multiples of this, so that fewer must be compiled",
        )
        return added

    def of_files(name: str, text: str) -> argparse.ArgumentParser:
        added = command(name, text, "a VQ-VAE of images or audio")
        added.add_argument(
            "inputs",
            type=Path,
            nargs="+",
            metavar="FILE",
            help="an image or an audio file, as the model is of, or a folder of them",
        )
        return resized(added)

    of_files("encode", "write the codes of images, or of audio files").add_argument(
        "--output", type=Path, required=True, help="the file of codes to write, a .npz"
    )
    decode = command("decode", "write the images or audio files of such codes", "the same VQ-VAE")
    decode.add_argument("source", type=Path, metavar="CODES", help="the file of codes, a .npz")
    reconstruct = of_files("reconstruct", "write images or audio as their codes give them back")
    reconstruct.add_argument(
        "--sheet",
        type=Path,
        help="a picture (.png, .jpg, .webp) of originals and reconstructions; of audio, of their "
        "spectrograms",
    )
    for added in (decode, reconstruct):
        added.add_argument(
            "--output", type=Path, required=True, help="the folder to write PNG or WAV files in"
        )

    of_prior("export", "write the model of a run to use elsewhere", "a model").add_argument(
        "--output", type=Path, required=True, help="the folder to write"
    )
    with_data(command("extract", "write codes.safetensors: the codes of both splits", "a VQ-VAE"))
    evaluate = of_prior("evaluate", "metrics of the held-out split, or of files", "a model")
    evaluate.add_argument(
        "inputs",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="of a VQ-VAE: images or audio files, or folders of them",
    )
    for added in (decode, reconstruct, evaluate):
        added.add_argument(
            "--codebooks",
            type=int,
            metavar="N",
            help="of a residual quantizer: decode from the first N codebooks (all)",
        )
    with_data(resized(evaluate))

    sample = of_prior("sample", "draw images, or signals")
    sample.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a picture (.png, .jpg, .webp) or the pixels, uint8 [N, H, W, C] (.npy); of signals, "
        "the folder to write WAV files in",
    )
    sample.add_argument("--number", type=int, default=64, help="how many (64)")
    sample.add_argument(
        "--label", type=int, help="their class; by default, equally many of each class, in order"
    )
    sample.add_argument("--temperature", type=float, default=1.0, help="at least 0 (1)")
    sample.add_argument(
        "--top-k", type=int, help="draw only from this many of the most probable codes"
    )
    sample.add_argument(
        "--top-p",
        type=float,
        help="draw only from the most probable codes up to this total probability",
    )
    sample.add_argument("--guidance", type=float, default=1.0, help="classifier-free; 1 is none")
    sample.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")

    report = of_prior("report", "write the report of a run as one HTML file", "a model")
    report.add_argument(
        "--against", type=Path, nargs="+", default=[], metavar="RUN", help="runs to compare with"
    )
    report.add_argument(
        "--output", type=Path, help="the file to write, a .html (report.html in the run's folder)"
    )
    text = "write a page that compares runs, as one HTML file"
    compare = commands.add_parser("compare", help=text, description=text)
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    compare.add_argument(
        "--output", type=Path, default=Path("compare.html"), help="the file to write (compare.html)"
    )
    for added in (report, compare):
        with_data(added)

    for name, text, output in (
        (
            "compress",
            "compress the images of a .npy or an IDX file losslessly",
            "the file to write, a .vq",
        ),
        (
            "decompress",
            "decompress such a file into a .npy or an IDX file",
            "the file to write: a .npy; or IDX, gzipped if .gz; plain if .idx, .idx3-ubyte or "
            "without suffix",
        ),
    ):
        added = of_prior(name, text)
        added.add_argument("source", type=Path, metavar="IN", help="the file to read")
        added.add_argument("target", type=Path, metavar="OUT", help=output)
    return parser


def script() -> int:
    """Runs a command as a program of its own, which exits cleanly on signals."""
    catch_signals()
    return main()


if __name__ == "__main__":
    sys.exit(script())
