"""Metrics over a whole split, against NumPy over the whole split at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import some_by_default
from vqvae_jax import VQVAE
from vqvae_jax.data import ArraySource
from vqvae_jax.metrics import Evaluator
from vqvae_jax.pixels import to_floats
from vqvae_jax.tasks import TokenizerTask

VARIANCE = 0.08


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", some_by_default([1, 4, 10, 64], [4]))
def test_metrics_are_those_of_the_whole_split(batch_size):
    model = VQVAE(1, 4, 16, VARIANCE, rngs=nnx.Rngs(0))
    images = np.random.RandomState(0).randint(0, 256, (10, 8, 8, 1)).astype(np.uint8)
    task = TokenizerTask(model, optax.identity())
    state = task.init(jax.random.key(0), {"image": jnp.asarray(images)})
    source = ArraySource({"image": images})
    totals = Evaluator(task.eval_step, jax.devices())(state, source, batch_size)
    metrics = task.metrics(totals)

    x = np.asarray(to_floats(jnp.asarray(images)), np.float64)
    output = model(jnp.asarray(images.astype(np.float32) / 255 - 0.5))
    codes = np.asarray(output.quantized.indices)
    counts = np.bincount(codes.ravel(), minlength=16)
    p = counts[counts > 0] / counts.sum()
    mse = ((np.asarray(output.reconstruction, np.float64) - x) ** 2).mean()
    distance = np.asarray(output.latents, np.float64) - np.asarray(output.quantized.values)
    assert metrics["images"] == 10
    assert metrics["codes_used"] == len(p)
    np.testing.assert_array_equal(totals.code_counts, counts)
    expected = {
        "mse": mse,
        "nmse": mse / VARIANCE,
        "reconstruction_loss": mse / VARIANCE,
        "psnr": -10 * np.log10(mse),
        "perplexity": np.exp(-(p * np.log(p)).sum()),
        "quantization_error": (distance**2).mean(),
        "codebook_loss": (distance**2).mean(),
        "commitment_loss": (distance**2).mean(),
        "entropy_loss": 0.0,
        "loss": mse / VARIANCE + 1.25 * (distance**2).mean(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
