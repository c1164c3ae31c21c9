"""The task of a tokenizer: what it counts for the log."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import (
    SISDR,
    VQVAE,
    ArraySource,
    AudioTokenizer,
    MelDistance,
    SEANetDecoder,
    SEANetEncoder,
    SpectralError,
    VectorQuantizer,
)
from vqvae_jax.metrics import Evaluator, Totals
from vqvae_jax.tasks import HasHistograms, TokenizerTask


def test_histograms_are_the_uses_of_each_codebooks_codes():
    task = TokenizerTask(VQVAE(1, 2, 3, 0.1, rngs=nnx.Rngs(0)), optax.identity())
    assert isinstance(task, HasHistograms)
    counts = np.array([[5, 0, 2], [3, 4, 0]])
    for given, expected in (
        (counts[0], {"codes": counts[0]}),
        (counts, {"codes_1": counts[0], "codes_2": counts[1]}),
    ):
        found = task.histograms(Totals(images=np.int32(1), losses={}, code_counts=given))
        assert found.keys() == expected.keys()
        for name, of in expected.items():
            np.testing.assert_array_equal(found[name], of)


def test_signals_are_evaluated_by_the_metrics_of_audio():
    options = {"width": 2, "strides": (2, 3), "num_residual": 0, "num_lstm_layers": 0}

    def make():
        rngs = nnx.Rngs(0)
        return AudioTokenizer(
            SEANetEncoder(1, 4, **options, rngs=rngs),
            VectorQuantizer(4, 8, rngs=rngs),
            SEANetDecoder(1, 4, **options, rngs=rngs),
            SpectralError(1, 0.1, 8000, windows=(16, 32), num_mels=(3, 5)),
            sample_rate=8000,
        )

    model = drawn(make)
    x = 0.3 * np.random.RandomState(0).randn(4, 60, 1).astype(np.float32)
    compared = (SISDR(), MelDistance(8000, window=16, num_mels=4))
    task = TokenizerTask(model, optax.identity(), entry="audio", metrics=compared)
    state = dict(zip(("params", "variables"), task.weights, strict=True))
    sums = Evaluator(task.eval_step, jax.devices()[:2])(state, ArraySource({"audio": x}), 2)
    found = task.metrics(sums)
    output = nnx.jit(lambda model, x: model(x))(model, jnp.asarray(x))
    np.testing.assert_allclose(found["spectral_error"], output.reconstruction_loss, rtol=1e-4)
    for metric in compared:
        expected = np.mean(metric(jnp.asarray(x), output.reconstruction))
        np.testing.assert_allclose(found[metric.name], expected, rtol=1e-3, err_msg=metric.name)
