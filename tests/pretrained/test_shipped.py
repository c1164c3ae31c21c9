"""The model that comes with the package: small, and as good as its card says."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import vqvae_jax
from vqvae_jax import from_pretrained
from vqvae_jax.data import sample
from vqvae_jax.pixels import to_floats

FOLDER = Path(vqvae_jax.__file__).parent / "pretrained" / "mnist"


def test_it_is_as_good_as_its_card_says():
    tokenizer = from_pretrained("mnist")
    metrics = json.loads((FOLDER / "config.json").read_text())["run"]["metrics"]
    card = (FOLDER / "README.md").read_text()
    assert f"nmse {metrics['nmse']:.4f}, psnr {metrics['psnr']:.2f} dB" in card
    assert f"{metrics['codes_used']} of {tokenizer.quantizer.num_codes}" in card
    x = to_floats(jnp.asarray(sample.read()[0]["test"]["image"]))
    squares = (tokenizer.decode(tokenizer.encode(x)) - x) ** 2
    nmse = np.asarray(jnp.mean(squares, axis=(1, 2, 3))) / tokenizer.likelihood.data_variance
    error = np.std(nmse) / len(nmse) ** 0.5
    assert abs(np.mean(nmse) - metrics["nmse"]) < 4 * error < metrics["nmse"] / 5


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 200_000
