"""Readers of foreign bytes, for libFuzzer (atheris): python tests/faults/fuzz.py TARGET [OPTIONS].

Each target reads what it is given and may raise only the errors that the program says in one line.
"""

import gzip
import json
import logging
import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vqvae_jax", "safetensors"]):
    from vqvae_jax.arrays import read_arrays
    from vqvae_jax.coding.container import unpack
    from vqvae_jax.data.audio_files import read_audio
    from vqvae_jax.data.idx import read_idx
    from vqvae_jax.errors import CheckpointError, ConfigError, DataError
    from vqvae_jax.pretrained import load_state_dict
    from vqvae_jax.training.checkpoint import latest_checkpoint
    from vqvae_jax.training.config import Config
    from vqvae_jax.training.histograms import read_usage
    from vqvae_jax.training.log import read_records

folder = Path(tempfile.mkdtemp())
(folder / "checkpoints").mkdir()


def config(content):
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(given, dict):
        Config.from_dict(given)


def written(name, read):
    def target(content):
        (folder / name).write_bytes(content)
        read(folder / name)

    return target


TARGETS = {
    "idx": written("images.gz", lambda path: read_idx(path, 3)),
    "idx_inside": lambda content: written("images.gz", lambda path: read_idx(path, 3))(
        gzip.compress(content, compresslevel=1)
    ),
    "audio": written("audio.wav", lambda path: read_audio(path, 800, 1)),
    "config": config,
    "codes": written("codes.safetensors", read_arrays),
    "checkpoint": written("checkpoints/1.safetensors", lambda path: latest_checkpoint(folder)),
    "compressed": lambda content: unpack(content, "images.vq"),
    "weights": written("weights", load_state_dict),
    "records": written("metrics.jsonl", lambda path: read_records(folder, 10)),
    "histograms": written("histograms.jsonl", lambda path: read_usage(folder)),
}


def limit_memory(further):
    """Has the process fail that takes more bytes than it has now, and `further` ones.

    libFuzzer's own limit is on the peak, which a process has from the one that started it.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + further
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main():
    logging.disable(logging.CRITICAL)
    limit_memory(3 * 2**29)  # an IDX header may ask for 2^30
    target = TARGETS[sys.argv.pop(1)]

    def test(content):
        try:
            target(content)
        except (DataError, ConfigError, CheckpointError) as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error

    atheris.Setup(sys.argv, test)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
