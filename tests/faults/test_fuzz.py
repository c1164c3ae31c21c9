"""Nonsense in every file that is read: one line, and neither a hang nor much memory."""

import gzip
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from configs import mnist, mnist_prior
from tests.conftest import idx_bytes
from tests.data.recordings import audio_bytes, tone
from tests.end_to_end.programs import ROOT
from tests.pretrained.files import weight_files
from vqvae_jax.arrays import write_arrays
from vqvae_jax.coding.container import pack
from vqvae_jax.data.idx import read_idx
from vqvae_jax.errors import DataError
from vqvae_jax.training.checkpoint import save_checkpoint
from vqvae_jax.training.histograms import histograms_line

pytestmark = pytest.mark.faults

SECONDS = int(os.environ.get("FUZZ_SECONDS", "20"))
IDX = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


def seeds(folder):
    """A good file for each target."""
    write_arrays(folder / "codes", {"train_codes": np.zeros((2, 3), np.int32)}, {"digest": "a"})
    state = {"params": np.zeros((2, 3), np.float32), "step": np.zeros((), np.int32)}
    save_checkpoint(folder, 1, state, {"note": 1}, is_logged=True, monitor=0.5)
    record = {"step": 1, "epoch": 1, "split": "train", "images": 8, "loss": 0.5}
    return {
        "idx": [gzip.compress(IDX), IDX],
        "idx_inside": [IDX, IDX[:4] + np.array([1, 2**15, 2**15], ">u4").tobytes()],
        "audio": [audio_bytes(tone(50), kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF")],
        "config": [
            json.dumps(file.get_config().to_dict()).encode() for file in (mnist, mnist_prior)
        ],
        "codes": [(folder / "codes").read_bytes()],
        "checkpoint": [(folder / "checkpoints" / "1.safetensors").read_bytes()],
        "compressed": [pack({"images": 3, "models": "a"}, [np.arange(5, dtype=np.uint32)])],
        "weights": [file.read_bytes() for file in weight_files(folder)],
        "records": [json.dumps(record).encode() + b"\n"],
        "histograms": [json.dumps(histograms_line(1, {"codes": np.arange(5)})).encode() + b"\n"],
    }


TARGETS = (
    "idx",
    "idx_inside",
    "audio",
    "config",
    "codes",
    "checkpoint",
    "compressed",
    "weights",
    "records",
    "histograms",
)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzzed_bytes_are_refused_in_one_line(tmp_path, target):
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (tmp_path / "seeds").mkdir()
    for index, content in enumerate(seeds(tmp_path / "seeds")[target]):
        (corpus / str(index)).write_bytes(content)
    options = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=0", "-max_len=8192"]
    result = subprocess.run(
        [sys.executable, ROOT / "tests" / "faults" / "fuzz.py", target, *options, corpus],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    runs = [line for line in result.stderr.splitlines() if line.startswith("Done ")]
    print(target, runs)
    assert runs


def test_a_bomb_stops_early(tmp_path):
    """10 GB of zeros behind a header that declares 24 bytes; and one that declares them all."""
    path = tmp_path / "bomb.gz"
    piece = gzip.compress(bytes(100 * 2**20))
    with path.open("wb") as file:
        file.write(gzip.compress(IDX))
        for _ in range(100):
            file.write(piece)  # a gzip file may have several members
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="declares 24 bytes of elements and holds more"):
        read_idx(path, axes=3)
    all_of_it = IDX[:4] + (100).to_bytes(4, "big") + (10240).to_bytes(4, "big") * 2
    path.write_bytes(gzip.compress(all_of_it) + path.read_bytes())
    message = "declares 100 x 10240 x 10240 bytes; at most 1073741824 are read"
    with pytest.raises(DataError, match=message):
        read_idx(path, axes=3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
