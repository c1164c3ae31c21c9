"""Folders of audio: which files, which splits, which classes, and how they become examples."""

import logging

import numpy as np
import pytest
import soundfile
import soxr

from tests.data.recordings import RATE, audio_bytes, hostile_files, tone, write_tones
from vqvae_jax import ArraySource, AudioFolder
from vqvae_jax.data import take
from vqvae_jax.data.audio_files import read_audio
from vqvae_jax.data.framed import FramedSource
from vqvae_jax.errors import DataError

LENGTHS = {
    f"{digit}_{name}_{of}": 60 + 20 * of for digit in (3, 7) for name in "ab" for of in range(3)
}


@pytest.fixture
def speech(tmp_path):
    """Twelve recordings of 60, 80 and 100 samples, and their samples."""
    return tmp_path / "speech", write_tones(tmp_path / "speech", LENGTHS)


@pytest.fixture
def load(tmp_path):
    def load(path, **settings):
        given = {"sample_rate": RATE, "seconds": 0.1, "data_dir": str(tmp_path / "data")}
        return AudioFolder(path=str(path), **{"test_pattern": "_0", **given, **settings}).load()

    return load


def everything(source):
    return take(source, np.arange(len(source)))


def test_a_pattern_in_the_names_says_what_is_held_out(speech, load):
    folder, samples = speech
    data = load(folder, test_pattern=r"_2\.wav$", crop="center")
    assert (data.entry, data.noun, data.shape, data.sample_rate) == (
        "audio",
        "recording",
        (80, 1),
        800,
    )
    held = [samples[name] for name in sorted(LENGTHS) if name.endswith("2")]
    found = everything(data.test)["audio"]
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, [signal[10:90] for signal in held])
    assert len(data.train) == 8


def test_folders_are_the_splits_and_the_classes(tmp_path, load):
    names = {
        f"{split}/{word}/{i}": 80 for split in ("train", "test") for word in "ba" for i in "01"
    }
    samples = write_tones(tmp_path / "x", names)
    data = load(tmp_path / "x", test_pattern=None, crop="center")
    for split in ("train", "test"):
        examples = everything(getattr(data, split))
        assert examples["label"].tolist() == [0, 0, 1, 1]
        expected = [samples[f"{split}/{word}/{i}"] for word in "ab" for i in "01"]
        np.testing.assert_array_equal(examples["audio"], expected)


def test_else_a_hash_of_the_names_holds_some_out(speech, load):
    data = load(speech[0], test_pattern=None, test_fraction=0.4, crop="center")
    assert len(data.train) + len(data.test) == 12
    assert 2 <= len(data.test) <= 8
    assert [*data.train.spec] == ["audio"]


@pytest.mark.parametrize("pattern", [r"(\d)_[^/]*$", r"^\d"])
def test_a_pattern_in_the_names_says_the_class(speech, load, pattern):
    data = load(speech[0], label_pattern=pattern)
    assert everything(data.train)["label"].tolist() == [0] * 4 + [1] * 4
    assert everything(data.test)["label"].tolist() == [0, 0, 1, 1]


def test_short_recordings_end_in_silence(speech, load):
    folder, samples = speech
    found = everything(load(folder, crop="center").test)["audio"]
    for signal, name in zip(found, sorted(name for name in LENGTHS if "_0" in name), strict=True):
        np.testing.assert_array_equal(signal[:60], samples[name])
        np.testing.assert_array_equal(signal[60:], 0)


def test_tiles_are_all_of_a_recording(tmp_path, load):
    """Each piece is an example; a last one of less than half of the length is left out."""
    samples = write_tones(tmp_path / "x", {"a": 199, "b": 200, "c": 30, "d_0": 80})
    found = everything(load(tmp_path / "x", crop="tiles").train)["audio"]
    filled = np.concatenate([samples["b"], np.zeros((40, 1), np.int16)])
    parts = [*samples["a"][:160].reshape(2, 80, 1), *filled.reshape(3, 80, 1)]
    np.testing.assert_array_equal(found[:5], parts)
    np.testing.assert_array_equal(found[5], np.pad(samples["c"], ((0, 50), (0, 0))))


def test_random_crops_depend_on_the_generator_alone(speech, load):
    folder, samples = speech
    data = load(folder, seconds=0.05)
    assert isinstance(data.train, FramedSource)
    first, same, other = (
        data.train.draw(1, np.random.RandomState(seed))["audio"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    whole = samples["3_a_2"]
    assert any(np.array_equal(first, whole[start : start + 40]) for start in range(61))
    np.testing.assert_array_equal(data.train[1]["audio"], whole[30:70])
    np.testing.assert_array_equal(data.test[0]["audio"], samples["3_a_0"][10:50])


@pytest.mark.parametrize("keep", ["disk", "memory", "nowhere"])
@pytest.mark.parametrize("crop", ["center", "random", "tiles"])
def test_examples_are_the_same_wherever_they_are_kept(speech, load, keep, crop):
    settings = {"seconds": 0.05, "crop": crop, "label_pattern": r"^\d"}
    data = load(speech[0], **settings)
    kept, again = (load(speech[0], **settings, cache=keep) for _ in range(2))
    assert data.digest == kept.digest == again.digest
    assert data.variance == again.variance
    for split in ("train", "test"):
        source, other = getattr(data, split), getattr(again, split)
        assert source.fingerprint == other.fingerprint
        for name, array in everything(source).items():
            np.testing.assert_array_equal(array, everything(other)[name])
    is_array = keep != "nowhere" and crop == "tiles"
    assert isinstance(again.train, ArraySource if is_array else FramedSource)
    if crop == "tiles":
        samples = everything(data.train)["audio"].astype(np.float64) / 2**16
        np.testing.assert_allclose(data.variance, samples.var(), rtol=1e-9)


def test_crops_of_any_length_are_of_the_same_data(speech, load):
    short, long = (load(speech[0], seconds=s, crop="random") for s in (0.02, 0.5))
    assert short.digest == long.digest
    assert short.train.fingerprint != long.train.fingerprint
    assert short.test[0]["audio"].shape == (16, 1)
    padded = long.train.draw(0, np.random.RandomState(0))["audio"]
    assert padded.shape == (400, 1)
    assert not padded[-1].any()


def test_flac_without_its_length_is_named(tmp_path):
    """As encoders leave it that write into a pipe."""
    content = bytearray(audio_bytes(tone(500), "FLAC"))
    content[21] &= 0xF0  # the lower 4 of the 36 bits of the number of samples, in STREAMINFO
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(DataError, match="its header does not say how many samples it has"):
        read_audio(tmp_path / "a.flac", RATE, 1)


def test_the_length_that_counts_is_that_of_the_result(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.hstack([tone(8000)] * 2), 10 * RATE)
    monkeypatch.setattr("vqvae_jax.data.audio_files._BLOCK", 999)
    found = read_audio(tmp_path / "a.wav", RATE, 1, longest=800)
    assert found.shape == (800, 1)
    np.testing.assert_allclose(found, soxr.resample(tone(8000), 10 * RATE, RATE), atol=1e-4)
    with pytest.raises(DataError, match=r"it has 8000 samples, at 8000 per .* at most 7990"):
        read_audio(tmp_path / "a.wav", RATE, 1, longest=799)


@pytest.mark.parametrize("rate", [400, 1000, 2400])
def test_a_resampled_tone_is_the_same_tone(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate, rate=rate), rate, subtype="FLOAT")
    found = read_audio(tmp_path / "a.wav", RATE, 1)
    assert found.shape == (RATE, 1)
    middle = slice(100, -100)  # resampling knows nothing beyond the ends
    np.testing.assert_allclose(found[middle], tone(RATE)[middle], atol=2e-3)


def test_channels_are_averaged_or_repeated(tmp_path):
    left, right = tone(80), tone(80, 90)
    soundfile.write(tmp_path / "2.wav", np.hstack([left, right]), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "1.wav", left, RATE, subtype="FLOAT")
    mono, stereo = (read_audio(tmp_path / "2.wav", RATE, number) for number in (1, 2))
    np.testing.assert_allclose(mono, (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(stereo, np.hstack([left, right]), atol=1e-6)
    repeated = read_audio(tmp_path / "1.wav", RATE, 2)
    np.testing.assert_allclose(repeated, np.hstack([left, left]), atol=1e-6)
    with pytest.raises(DataError, match="it has 2 channels; it must have 1 or 3"):
        read_audio(tmp_path / "2.wav", RATE, 3)


def test_recordings_are_scaled_to_one_loudness(tmp_path, load):
    """Silence stays silent, and what would be clipped is as loud as it can be."""
    spike = np.where(np.arange(400) == 200, 0.1, 0.0)[:, None]
    signals = {"a": tone(80, amplitude=0.5), "b": 1e-3 * tone(80), "c": 0 * spike, "d_0": spike}
    (tmp_path / "x").mkdir()
    for name, signal in signals.items():
        soundfile.write(tmp_path / "x" / f"{name}.wav", signal, RATE, subtype="FLOAT")
    data = load(tmp_path / "x", loudness=-20.0, crop="center")
    loud, faint, silent = everything(data.train)["audio"].astype(np.float64) / 2**15
    for signal in (loud, faint):
        np.testing.assert_allclose(np.sqrt(np.mean(signal**2)), 0.1, rtol=1e-3)
    assert not silent.any()
    assert everything(data.test)["audio"].max() == 2**15 - 1


def test_damaged_files_are_named_counted_and_skipped(speech, load, caplog):
    folder, _ = speech
    intact = load(folder)
    refused = hostile_files(folder)
    with pytest.raises(DataError, match=r"\.wav cannot be .*; data.max_bad_files, now 0, allows"):
        load(folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        data = load(folder, max_bad_files=len(refused), cache="nowhere")
    assert (len(data.train), len(data.test)) == (len(intact.train), len(intact.test))
    lines = sorted(record.getMessage() for record in caplog.records)
    for line, (name, reason) in zip(lines, sorted(refused.items()), strict=True):
        assert line.startswith(f"WARNING: {folder / name}.wav {reason}")
        assert line.endswith("; it is skipped")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": None, "crop": "center"}, r"has 80 samples, .*; data.seconds gives them one"),
        (
            {"test_pattern": "none"},
            r"'none' is found in the names of 0 of the 12 files of .*; both",
        ),
        ({"label_pattern": r"_(x)"}, r"'_\(x\)' is not found in the name of 3_a_1\.wav"),
        ({"channels": 2, "test_pattern": None, "test_fraction": 0.0}, "holds 12 recordings, of wh"),
    ],
)
def test_what_does_not_fit_is_named(speech, load, settings, message):
    with pytest.raises(DataError, match=message):
        load(speech[0], **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0; it must be"),
        ({"seconds": 1e-4}, "seconds is 0.0001; it must be from 0.00125 to"),
        ({"seconds": None}, "crop is 'random'; without seconds it must be 'center'"),
        ({"crop": "left"}, "crop is 'left'; it must be"),
        ({"channels": 3}, "channels is 3; it must be 1 or 2"),
        ({"loudness": 1.0}, "loudness is 1.0 dB; it must be from -100 to 0, or None"),
        ({"test_pattern": "("}, r"test_pattern is '\('; it must be a regular expression"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AudioFolder(**{"path": "x", "sample_rate": RATE, "seconds": 0.1, **settings})


def test_a_folder_without_audio_is_named(tmp_path, load):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no recordings \(\.wav, \.flac"):
        load(tmp_path / "empty")
