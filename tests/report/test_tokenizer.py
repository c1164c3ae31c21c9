"""The pictures of a run are given what their titles say."""

import functools
import io

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from tests.conftest import drawn, run_compiled
from tests.signals import small_audio_tokenizer
from vqvae_jax import VQVAE, AutoregressiveHead, CategoricalHead, SquaredError
from vqvae_jax.data import ArraySource
from vqvae_jax.report import figures
from vqvae_jax.report.spectrograms import spectrograms
from vqvae_jax.report.tokenizer import tokenizer_figures

HEADS = {
    "reconstruction": None,
    "the mean of p(x | z)": CategoricalHead,
    "a draw from p(x | z)": functools.partial(
        AutoregressiveHead, hidden_dim=4, num_layers=1, size=3
    ),
}


def in_numpy(model, images):
    """Images of the codes of images, in [-0.5, 0.5]: of a head, the means."""
    floats = jnp.asarray(images / 255 - 0.5, jnp.float32)
    decoded = model.decoder(model.quantizer.lookup(model.encode(floats)))
    if isinstance(model.likelihood, SquaredError):
        return np.asarray(decoded)
    p = np.exp(np.asarray(model.likelihood.log_probs(decoded), np.float64))
    return p @ np.arange(256) / 255 - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("shown", HEADS)
def test_reconstructions_show_what_is_written_above_them(monkeypatch, shown):
    def build():
        head = HEADS[shown] and HEADS[shown](3, 1, rngs=nnx.Rngs(0))
        return VQVAE(1, 4, 5, 0.1, head=head, rngs=nnx.Rngs(0))

    model = drawn(build)
    images = np.random.RandomState(0).randint(0, 256, (3, 8, 12, 1)).astype(np.uint8)
    given = []

    def reconstructions(*arguments):
        given.extend(arguments)
        return original(*arguments)

    original = figures.reconstructions
    monkeypatch.setattr(figures, "reconstructions", reconstructions)
    records = [
        {"step": 1, "split": split, "loss": 1.0, model.likelihood.monitor: 1.0}
        | {"perplexity": 1.0, "codes_used": 1}
        for split in ("train", "test")
    ]
    held_out = ArraySource({"image": images})
    written = tokenizer_figures(model, held_out, "image", np.ones(5, int), records, "title")
    assert {*written} == {"reconstructions.png", "codebook.png", "training.png"}
    originals, reconstructed, title, label = given
    assert (title, label) == ("title", shown)
    np.testing.assert_allclose(originals, images / 255 - 0.5, atol=1e-6)
    if shown == "a draw from p(x | z)":
        integers = (reconstructed + 0.5) * 255
        np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
        assert len(np.unique(integers.round())) > 100
    else:
        np.testing.assert_allclose(reconstructed, in_numpy(model, images), rtol=1e-3, atol=1e-4)
    with Image.open(io.BytesIO(written["reconstructions.png"])) as picture:
        assert picture.format == "PNG"


def _back(model, x):
    return model.decode(model.encode(x), length=x.shape[1])


@pytest.mark.slow
def test_recordings_are_shown_as_spectrograms(monkeypatch):
    model = drawn(small_audio_tokenizer)
    samples = np.random.RandomState(0).randint(-9000, 9000, (3, 400, 1)).astype(np.int16)
    given = []
    original = figures.reconstructions
    monkeypatch.setattr(
        figures, "reconstructions", lambda *given_: given.extend(given_) or original(*given_)
    )
    records = [
        {"step": 1, "split": split, "loss": 1.0, model.likelihood.monitor: 1.0}
        | {"perplexity": 1.0, "codes_used": 1}
        for split in ("train", "test")
    ]
    held_out = ArraySource({"audio": samples})
    counts = np.ones((2, 5), int)
    written = tokenizer_figures(model, held_out, "audio", counts, records, "title")
    assert [*written] == ["reconstructions.png", "codebook.png", "training.png"]
    x = samples / 2**15
    back = run_compiled(_back, model, jnp.asarray(x, jnp.float32))
    expected = spectrograms(np.concatenate([x, back]))
    originals, reconstructed, title, label = given
    assert (title, label) == ("title", "reconstruction (spectrograms)")
    np.testing.assert_allclose(originals, expected[:3], atol=1e-3)
    np.testing.assert_allclose(reconstructed, expected[3:], atol=1e-2)
    for content in written.values():
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "PNG"
