"""Reports hear what the model gives."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from tests.signals import small_audio_tokenizer
from vqvae_jax import SISDR, ArraySource, MelDistance
from vqvae_jax.commands import report_audio, reports
from vqvae_jax.signals import to_pcm, to_signal
from vqvae_jax.training.saved import SavedRun

LENGTH = 100  # no multiple of the 6 samples of a frame


def saved(model, **description):
    return SavedRun(Path("run"), None, None, description, model)


@nnx.jit
def expected(model, signals):
    """Codes, reconstructions, those from the first codebook, and what compares them."""
    x = to_signal(signals)
    codes = model.encode(x)
    back, alone = (model.decode(codes[..., :n], length=LENGTH) for n in (2, 1))
    return codes, back, alone, SISDR()(x, back), MelDistance(model.sample_rate)(x, back)


def test_recordings_are_heard_as_the_model_gives_them(monkeypatch):
    monkeypatch.setattr(report_audio, "_BATCH", 2)
    model = drawn(small_audio_tokenizer)
    random = np.random.RandomState(0)
    signals = random.randint(-(2**14), 2**14, (5, LENGTH, 1)).astype(np.int16)
    source = ArraySource({"audio": signals, "label": np.zeros(5, np.uint8)})
    heard = report_audio.heard(saved(model), source, 4)
    codes, back, alone, si_sdr, mel_distance = map(
        np.asarray, expected(model, jnp.asarray(signals[:4]))
    )
    np.testing.assert_array_equal(heard.signals, signals[:4])
    np.testing.assert_array_equal(heard.codes, codes)
    np.testing.assert_allclose(heard.reconstructions, to_pcm(back), atol=1)
    np.testing.assert_allclose(heard.from_first(1, [2, 3]), to_pcm(alone[2:]), atol=1)
    np.testing.assert_allclose(heard.si_sdr, si_sdr, atol=1e-3)
    np.testing.assert_allclose(heard.mel_distance, mel_distance, atol=1e-3)
    assert heard.bit_rate(2) == pytest.approx(800 / 6 * 2 * np.log2(5) / 1000)


@pytest.mark.parametrize(("num_classes", "shape"), [(None, (1, 8)), (3, (3, 2))])
def test_samples_are_drawn_of_each_class(monkeypatch, num_classes, shape):
    def draw(tokenizer, prior, number, spatial, *, key, labels, guidance):
        assert (spatial, prior.num_classes) == ((7,), num_classes)
        of_class = np.zeros(number) if labels is None else labels
        values = (of_class + np.arange(number) / 16 + guidance) / 16
        return np.broadcast_to(values[:, None, None], (number, 42, 1))

    monkeypatch.setattr(report_audio, "draw_examples", draw)
    settings = {"prior": {"label_dropout": 0.5}}
    prior = SimpleNamespace(num_classes=num_classes)
    run = saved(prior, codes={"maps": {"shape": [7]}}, config=settings)
    found = reports._drawn(run, saved(drawn(small_audio_tokenizer)))["drawn_signals"]
    assert found.sample_rate == 800
    assert found.labels == (None if num_classes is None else range(3))
    assert [*found.of_guidance] == ([1.0] if num_classes is None else [1.0, 2.0, 4.0])
    for guidance, signals in found.of_guidance.items():
        number = np.arange(shape[0] * shape[1]).reshape(shape)
        of_class = np.zeros(shape) if num_classes is None else np.arange(3)[:, None]
        values = (of_class + number / 16 + guidance) / 16
        assert (signals.shape, signals.dtype) == ((*shape, 42, 1), np.int16)
        np.testing.assert_array_equal(signals[..., 0, 0], np.round(2**15 * values))
