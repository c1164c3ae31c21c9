"""The spectral error: its formula, what masks leave, and that it teaches a signal."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.conftest import promoting
from vqvae_jax import MelSpectrogram, SpectralError

RANDOM = np.random.RandomState(0)
X = jnp.asarray(0.3 * RANDOM.randn(2, 120, 2), jnp.float32)
DECODED = X + jnp.asarray(0.1 * RANDOM.randn(2, 120, 2), jnp.float32)
SMALL = functools.partial(SpectralError, 2, 0.09, 8000, windows=(16, 64), num_mels=(3, 10))
LOSS = jax.jit(lambda likelihood, *data: likelihood.loss(*data))


def log_mels(x, window, num_mels):
    """The logarithms of every channel of every signal [B, T, C], one by one."""
    mel = MelSpectrogram(8000, window, window // 4, num_mels)
    log = jax.jit(mel.log)
    logs = [[log(one[:, channel]) for channel in range(x.shape[2])] for one in x]
    return np.asarray(logs, np.float64)


def distance(x, others):
    scales = [(16, 3), (64, 10)]
    return np.mean([np.mean(abs(log_mels(x, *s) - log_mels(others, *s))) for s in scales])


def test_the_loss_is_its_formula():
    likelihood = SMALL(waveform_weight=0.5, mel_weight=2.0)
    error = np.mean(abs(np.asarray(DECODED - X, np.float64))) / 0.3
    expected = 0.5 * error + 2.0 * distance(X, DECODED)
    loss = LOSS(likelihood, DECODED, X)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert likelihood.metrics(float(loss)) == {"spectral_error": float(loss)}


def test_the_loss_of_a_batch_is_the_mean_over_its_examples():
    of_each = [LOSS(SMALL(), DECODED[i : i + 1], X[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(LOSS(SMALL(), DECODED, X), np.mean(of_each), rtol=1e-6)


def test_a_signal_that_is_dropped_whole_is_cut_off():
    mask = jnp.ones((2, 120), bool).at[1].set(False)
    expected = LOSS(SMALL(), DECODED[:1], X[:1])
    np.testing.assert_allclose(LOSS(SMALL(), DECODED, X, mask), expected, rtol=1e-6)


def test_what_the_mask_drops_is_silence():
    mask = jnp.ones((2, 120), bool).at[:, 90:].set(False)
    other = DECODED.at[:, 90:].set(7.0)
    loss, gradient = jax.jit(jax.value_and_grad(SMALL().loss))(other, X, mask)
    np.testing.assert_array_equal(loss, LOSS(SMALL(), DECODED, X, mask))
    np.testing.assert_array_equal(gradient[:, 90:], 0)
    assert np.all(np.isfinite(gradient))
    silent, cut = (of.at[:, 90:].set(0) for of in (DECODED, X))
    logs = [(log_mels(silent, *s), log_mels(cut, *s)) for s in [(16, 3), (64, 10)]]
    kept = [23, 6]  # windows whose centers, 4 and 16 samples apart, come before sample 90
    means = [np.mean(abs(a - b)[:, :, :n]) for (a, b), n in zip(logs, kept, strict=True)]
    expected = np.mean(abs(DECODED - X)[:, :90]) / 0.3 + 0.3 * np.mean(means)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradients_make_a_signal_from_noise():
    likelihood = SMALL()
    optimizer = promoting(optax.adam(optax.cosine_decay_schedule(0.02, 150)))
    start = jnp.asarray(0.01 * np.random.RandomState(1).randn(*X.shape), jnp.float32)

    def step(_, carry):
        decoded, state = carry
        updates, state = optimizer.update(jax.grad(likelihood.loss)(decoded, X), state)
        return optax.apply_updates(decoded, updates), state

    found, _ = jax.lax.fori_loop(0, 150, step, (start, optimizer.init(start)))
    before, after = (LOSS(likelihood, of, X) for of in (start, found))
    assert after < before / 10
    assert np.mean((found - X) ** 2) < np.mean(X**2) / 10


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0; it must be an integer"),
        ({"waveform_weight": -1.0}, "waveform_weight is -1.0; it must be"),
        ({"mel_weight": np.nan}, "mel_weight is nan; it must be"),
        ({"windows": (2, 64)}, "windows is 2; it must be an integer of at least 4"),
        ({"num_mels": (0, 1)}, "num_mels is 0; it must be"),
        ({"num_mels": (1,)}, r"num_mels is \(1,\); it must have as many numbers as windows"),
        ({"windows": (), "num_mels": ()}, "it must have as many .* at least one"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    given = {"sample_rate": 8000, "windows": (16, 64), "num_mels": (3, 10)} | arguments
    with pytest.raises(ValueError, match=message):
        SpectralError(1, 1.0, **given)


@pytest.mark.usefixtures("unchecked")
def test_images_are_refused():
    images = jnp.zeros((1, 4, 4, 2))
    with pytest.raises(ValueError, match=r"x has shape \(1, 4, 4, 2\); a SpectralError takes"):
        LOSS(SMALL(), images, images)
