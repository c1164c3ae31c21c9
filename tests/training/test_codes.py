"""Codes of a data set: computed once, and again when they are no longer those of the model."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled, small_dataset
from tests.signals import small_audio_tokenizer
from vqvae_jax import VQVAE, AudioTokenizer, SegmentedTokenizer
from vqvae_jax.data import ArraySource
from vqvae_jax.errors import DataError
from vqvae_jax.pixels import to_floats
from vqvae_jax.training import codes as module
from vqvae_jax.training.codes import load_codes


def dataset(size=8, digest="a"):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (7, size, size, 1)).astype(np.uint8)
    return small_dataset(images, train=5, digest=digest)


@pytest.fixture
def model():
    return VQVAE(1, 3, 20, 0.08, rngs=nnx.Rngs(0))


@pytest.fixture
def encodings(monkeypatch):
    """How often the data was encoded."""
    calls, encoded = [], module._encoded
    monkeypatch.setattr(module, "_encoded", lambda *given: calls.append(1) or encoded(*given))
    return calls


def assert_codes(codes, model, data):
    expected = {
        "train_codes": model.encode(to_floats(jnp.asarray(data.train.arrays["image"]))),
        "train_labels": data.train.arrays["label"],
        "test_codes": model.encode(to_floats(jnp.asarray(data.test.arrays["image"]))),
        "test_labels": data.test.arrays["label"],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(codes, name), values)
        assert getattr(codes, name).dtype == values.dtype


def test_codes_are_the_models_and_are_computed_once(tmp_path, model, encodings, monkeypatch):
    monkeypatch.setattr(module, "_EXAMPLES_AT_A_TIME", 2)
    for _ in range(2):
        assert_codes(load_codes(model, dataset(), tmp_path / "codes.safetensors"), model, dataset())
    assert len(encodings) == 1


def test_other_weights_or_other_data_make_them_stale(tmp_path, model, encodings):
    load_codes(model, dataset(), tmp_path / "codes.safetensors")
    embeddings = model.quantizer.embeddings
    embeddings[...] = embeddings[...][::-1]
    assert_codes(load_codes(model, dataset(), tmp_path / "codes.safetensors"), model, dataset())
    turned = ArraySource({name: array[::-1] for name, array in dataset().train.arrays.items()})
    other = dataclasses.replace(dataset(digest="b"), train=turned)
    assert_codes(load_codes(model, other, tmp_path / "codes.safetensors"), model, other)
    assert len(encodings) == 3


@pytest.mark.parametrize("where", [0.05, 0.3, 0.6, 0.95])
def test_a_damaged_file_is_written_anew(tmp_path, model, encodings, where):
    load_codes(model, dataset(), tmp_path / "codes.safetensors")
    path = tmp_path / "codes.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[: int(where * len(whole))], flipped(whole, int(where * len(whole)))):
        path.write_bytes(damaged)
        assert_codes(load_codes(model, dataset(), tmp_path / "codes.safetensors"), model, dataset())
    path.write_bytes(b"")
    assert_codes(load_codes(model, dataset(), tmp_path / "codes.safetensors"), model, dataset())


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_images_that_do_not_fit_are_named(tmp_path, model):
    with pytest.raises(DataError, match="tiny do not fit the model: x has shape"):
        load_codes(model, dataset(size=10), tmp_path / "codes.safetensors")
    assert list(tmp_path.iterdir()) == []


def of_signals(signals):
    splits = [
        ArraySource({"label": np.arange(len(part)), "audio": part})
        for part in np.split(signals, [3])
    ]
    return dataclasses.replace(dataset(), train=splits[0], test=splits[1], sample_rate=8000)


def test_codes_of_signals(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_POSITIONS_AT_A_TIME", 2 * 42)
    model = drawn(small_audio_tokenizer)
    signals = np.random.RandomState(0).randn(5, 42, 1).astype(np.float32)
    data = of_signals(signals)
    codes = load_codes(model, data, tmp_path / "codes.safetensors")
    found = np.concatenate([codes.train_codes, codes.test_codes])
    assert found.shape == (5, 7, 2)
    expected = run_compiled(AudioTokenizer.encode, model, jnp.asarray(signals))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(codes.test_labels, [0, 1])


def test_codes_in_segments_are_no_maps(tmp_path):
    parts = drawn(small_audio_tokenizer)
    model = SegmentedTokenizer(
        parts.encoder, parts.quantizer, parts.decoder, parts.likelihood, sample_rate=800
    )
    data = of_signals(np.zeros((5, 42, 1), np.float32))
    with pytest.raises(DataError, match="codes of a SegmentedTokenizer are SegmentCodes; for a"):
        load_codes(model, data, tmp_path / "codes.safetensors")


def test_geometry_of_images_and_of_signals(model):
    assert module.map_shape(model, dataset(size=12)) == (3, 3)
    data = of_signals(np.zeros((5, 40, 1), np.float32))
    assert module.map_shape(drawn(small_audio_tokenizer), data) == (7,)
