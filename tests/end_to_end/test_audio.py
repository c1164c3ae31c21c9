"""Audio files: encoded, decoded, reconstructed and evaluated by a tokenizer of audio."""

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx
from PIL import Image

from tests.conftest import drawn
from tests.data.recordings import RATE, hostile_files, tone, write_tones
from tests.end_to_end.programs import ROOT, metrics, run
from tests.signals import small_audio_tokenizer
from vqvae_jax import (
    SISDR,
    VQVAE,
    AbsoluteError,
    AudioTokenizer,
    GroupedResidualVQ,
    MelDistance,
    PooledQuantizer,
    ResidualVQ,
    ResNetDecoder,
    ResNetEncoder,
    SegmentedTokenizer,
    Tokenizer,
    VectorQuantizer,
    load_model,
    save_pretrained,
)
from vqvae_jax.__main__ import main
from vqvae_jax.commands.audio_model import AudioModel
from vqvae_jax.errors import DataError
from vqvae_jax.training.saved import SavedRun

LENGTHS = {"a": 100, "b": 101, "deep/c": 20, "deep/d": 500}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with recordings, and a tokenizer."""
    root = tmp_path_factory.mktemp("audio")
    write_tones(root / "tones", LENGTHS)
    save_pretrained(drawn(small_audio_tokenizer), root / "model")
    return root


@pytest.fixture(scope="module")
def model(root):
    return load_model(root / "model")


def command(root, name, *arguments):
    return main([name, "--model", str(root / "model"), *map(str, arguments)])


def read(file):
    """A WAV file, float64 [T, C] in units of 16 bits."""
    assert soundfile.info(file).subtype == "PCM_16"
    signal, rate = soundfile.read(file, always_2d=True)
    assert rate == RATE
    return signal * 2**15


def reconstructed(model, file, codebooks=2):
    """A recording, its codes and what they give, by itself, its last frame filled up."""
    x = soundfile.read(file, dtype="float32", always_2d=True)[0]
    filled = np.pad(x, ((0, -len(x) % 6), (0, 0)))
    codes = model.encode(jnp.asarray(filled[None]))
    back = np.asarray(model.decode(codes[..., :codebooks], length=len(x)))[0]
    return x, np.asarray(codes[0]), np.clip(back, -1, 1)


@pytest.mark.parametrize("longest", [None, 168])
def test_recordings_of_any_length_come_back(root, model, longest, tmp_path, capsys, monkeypatch):
    """The codes and the samples of a causal tokenizer are those of each recording by itself.

    Also if it takes them in pieces.
    """
    if longest is not None:
        monkeypatch.setattr("vqvae_jax.commands.audio_model._WHOLE", longest)
    files, codes = root / "tones", tmp_path / "codes.npz"
    assert command(root, "encode", files, "--output", codes) == 0
    with np.load(codes) as found:
        assert found["__sizes__"].dtype == np.int32
        names = [name for name in found if not name.startswith("__")]
        for name, size in zip(names, found["__sizes__"], strict=True):
            assert size.tolist() == [LENGTHS[name.removesuffix(".wav")]]
            np.testing.assert_array_equal(found[name], reconstructed(model, files / name)[1])
    assert command(root, "decode", codes, "--output", tmp_path / "back") == 0
    assert command(root, "reconstruct", files, "--output", tmp_path / "direct") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{codes}: the codes of 4 recordings",
        f"{tmp_path / 'back'}: 4 recordings",
        f"{tmp_path / 'direct'}: 4 recordings",
    ]
    for name, length in LENGTHS.items():
        back = read(tmp_path / "back" / f"{name}.wav")
        _, _, expected = reconstructed(model, files / f"{name}.wav")
        assert back.shape == (length, 1)
        np.testing.assert_allclose(back, np.clip(expected * 2**15, -(2**15), 2**15 - 1), atol=1)
        np.testing.assert_array_equal(back, read(tmp_path / "direct" / f"{name}.wav"))


def test_the_first_codebooks_can_be_decoded_alone(root, model, tmp_path):
    file, codes = root / "tones" / "a.wav", tmp_path / "codes.npz"
    assert command(root, "encode", file, "--output", codes) == 0
    for output, arguments in (("one", ["decode", codes]), ("two", ["reconstruct", file])):
        given = [*arguments, "--codebooks", 1, "--output", tmp_path / output]
        assert command(root, *given) == 0
        _, _, first = reconstructed(model, file, 1)
        np.testing.assert_allclose(read(tmp_path / output / "a.wav"), first * 2**15, atol=1)


def test_other_rates_and_channels_are_converted(root, tmp_path):
    signal = np.repeat(tone(600, rate=2 * RATE), 2, axis=1)
    soundfile.write(tmp_path / "a.flac", signal, 2 * RATE)
    assert command(root, "reconstruct", tmp_path / "a.flac", "--output", tmp_path / "x") == 0
    assert read(tmp_path / "x" / "a.wav").shape == (300, 1)


def test_hostile_files_are_named_and_the_others_go_on(root, tmp_path, capsys):
    refused = hostile_files(tmp_path)
    write_tones(tmp_path, {"good": 60})
    sheet = tmp_path / "sheet.png"
    given = ["reconstruct", tmp_path, "--output", tmp_path / "out", "--sheet", sheet]
    assert command(root, *given) == 1
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}: 1 recording\n"
    lines = sorted(err.splitlines())
    assert len(lines) == len(refused)
    for line, (name, reason) in zip(lines, sorted(refused.items()), strict=True):
        assert line.startswith(f"vqvae_jax: {tmp_path / name}.wav {reason}")
    with Image.open(sheet) as picture:
        assert picture.size[1] > 2 * 128


def test_what_has_no_room_is_named_and_the_others_go_on(root, tmp_path, capsys, monkeypatch):
    encode = AudioModel.encode

    def without_room(model, arrays):
        if len(arrays[0]) > 300:
            raise DataError("JAX gave up on (504, 1): RESOURCE_EXHAUSTED")
        return encode(model, arrays)

    monkeypatch.setattr(AudioModel, "encode", without_room)
    files, codes = root / "tones", tmp_path / "codes.npz"
    for arguments in (
        ["encode", files, "--output", codes],
        ["reconstruct", files, "--output", tmp_path / "out"],
        ["evaluate", files],
    ):
        assert command(root, *arguments) == 1
        out, err = capsys.readouterr()
        assert err == "vqvae_jax: deep/d.wav: JAX gave up on (504, 1): RESOURCE_EXHAUSTED\n"
        assert "3 recordings" in out


def test_names_that_no_file_of_codes_can_hold_are_refused(root, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    name = os.fsencode(tmp_path / "x") + b"/caf\xe9.wav"
    shutil.copy(root / "tones" / "a.wav", name)
    assert command(root, "encode", tmp_path / "x", "--output", tmp_path / "codes.npz") == 1
    err = capsys.readouterr().err
    assert err.endswith("caf\\udce9.wav' is no name in UTF-8, as a file of codes needs it\n")
    assert err.count("\n") == 1
    assert not (tmp_path / "codes.npz").exists()


def codebooks(dim):
    return [VectorQuantizer(dim, 5, rngs=nnx.Rngs(seed)) for seed in range(2)]


def save_with(make, folder):
    """Saves the small tokenizer with another quantizer."""

    def build():
        base = small_audio_tokenizer()
        parts = base.encoder, make(), base.decoder, base.likelihood
        return AudioTokenizer(*parts, sample_rate=RATE)

    save_pretrained(drawn(build), folder)


def test_lengths_are_those_that_pooled_quantizers_take(root, tmp_path):
    save_with(lambda: ResidualVQ([PooledQuantizer(q, 4) for q in codebooks(8)]), tmp_path / "model")
    given = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "x")]
    assert main(["reconstruct", *given, str(root / "tones")]) == 0
    assert read(tmp_path / "x" / "b.wav").shape == (101, 1)


def test_the_first_codes_of_groups_are_no_code(root, tmp_path, capsys):
    save_with(
        lambda: GroupedResidualVQ([ResidualVQ(codebooks(4)) for _ in range(2)]), tmp_path / "model"
    )
    file = str(root / "tones" / "a.wav")
    given = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "x"), file]
    assert main(["reconstruct", "--codebooks=2", *given]) == 2
    assert "decodes from all 4 together" in capsys.readouterr().err
    assert main(["reconstruct", "--codebooks=4", *given]) == 0


def printed(capsys):
    """The metrics that a command printed."""
    first, *lines = capsys.readouterr().out.splitlines()
    return first, dict(line.strip().split(": ") for line in lines)


def test_evaluation_of_files_is_per_sample_and_per_recording(root, model, capsys):
    files = [root / "tones" / f"{name}.wav" for name in "ab"]
    assert command(root, "evaluate", *files, "--codebooks", 1) == 0
    first, found = printed(capsys)
    assert first == "2 recordings, from 1 codebook:"
    errors, si_sdr, mel = [], [], []
    for file in files:
        x, _, y = (of[None] for of in reconstructed(model, file, 1))
        errors.append(((x - y) ** 2).ravel() / 4)
        x, y = (jnp.asarray(of[:, :96]) for of in (x, y))  # whole frames
        si_sdr.append(float(SISDR()(x, y)[0]))
        mel.append(float(MelDistance(RATE)(x, y)[0]))
    np.testing.assert_allclose(float(found["mse"]), np.concatenate(errors).mean(), rtol=1e-3)
    np.testing.assert_allclose(float(found["si_sdr"]), np.mean(si_sdr), atol=0.01)
    np.testing.assert_allclose(float(found["mel_distance"]), np.mean(mel), atol=0.01)
    assert found["codes_used"].endswith(" of 5")
    rate = np.log2(5) * (17 + 17) * RATE / (100 + 101) / 1000
    np.testing.assert_allclose(float(found["kbit/s of the codes"]), rate, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "FILE", "--resize", "8", "--output", "x.npz"], "--resize is for images; "),
        (["reconstruct", "FILE", "--pad", "8", "--output", "x"], "--pad is for images; "),
        (["evaluate", "FILE", "--codebooks", "3"], "codebooks is 3; it must be from 1 to 2"),
        (["evaluate"], "holds an exported model, without the data"),
        (["encode", "none.wav", "--output", "x.npz"], "none.wav cannot be read: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(root, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    file = str(root / "tones" / "a.wav")
    assert command(root, *(file if one == "FILE" else one for one in arguments)) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_models_whose_files_cannot_be_used_are_refused(root, tmp_path, capsys):
    def segmented():
        base = small_audio_tokenizer()
        parts = base.encoder, base.quantizer, base.decoder, base.likelihood
        return SegmentedTokenizer(*parts, sample_rate=RATE)

    def of_many_channels():
        rngs = nnx.Rngs(0)
        return Tokenizer(
            ResNetEncoder(5, 4, width=4, rngs=rngs),
            VectorQuantizer(4, 6, rngs=rngs),
            ResNetDecoder(5, 4, width=4, rngs=rngs),
            AbsoluteError(5, data_variance=1.0),
        )

    for build, message in (
        (segmented, "holds a SegmentedTokenizer, whose codes are not one array; this command is"),
        (of_many_channels, "holds a model of 2 axes and 5 channels; this command is for gray or"),
        (lambda: VQVAE(1, 3, 6, 0.1, rngs=nnx.Rngs(0)), "the model has a single codebook"),
    ):
        save_pretrained(drawn(build), tmp_path / "model")
        arguments = ["--model", f"{tmp_path / 'model'}", "--output", f"{tmp_path / 'x'}"]
        assert main(["reconstruct", *arguments, "--codebooks=1", f"{root / 'tones'}"]) in (1, 2)
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_few_lengths_are_compiled(model):
    commanded = AudioModel(SavedRun(Path("any"), None, None, {}, model))
    frames = np.arange(1, 4097)
    filled = [len(commanded.filled_codes(np.zeros(n, np.int32))) for n in frames]
    assert np.all(filled >= frames)
    assert np.all(filled <= 1.25 * frames)
    assert len(set(filled)) <= 8 + 4 * 9
    for n in (1, 5, 6, 7, 100, 1000):
        samples = np.zeros((n, 1), np.int16)
        assert len(commanded.filled(samples)) == 6 * filled[-(-n // 6) - 1]


@pytest.mark.slow
def test_a_run_on_recordings_evaluates_them(tmp_path, capsys):
    lengths = {f"{digit}_{of}": 900 + 90 * of for digit in range(3) for of in range(6)}
    write_tones(tmp_path / "tones", lengths, rate=8000)
    settings = {
        "data.path": tmp_path / "tones",
        "data.data_dir": tmp_path / "data",
        "data.seconds": 0.08,
        "data.test_pattern": r"_[0-1]\.wav$",
        "model.encoder.width": 4,
        "model.decoder.width": 4,
        "training.batch_size": 4,
        "training.max_steps": 3,
        "training.evaluate_every": 1,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    config = ROOT / "configs" / "speech_digits.py"
    result = run(["--config", config, "--workdir", tmp_path / "run", *flags])
    assert result.returncode == 0, result.stderr
    assert f"--output out {tmp_path / 'tones'}" in result.stdout
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["config"]["data"]["kind"] == "AudioFolder"
    model = ["--model", f"{tmp_path / 'run'}"]
    assert main(["evaluate", *model]) == 0
    first, found = printed(capsys)
    assert first == "6 held-out recordings of tones:"
    last = metrics(tmp_path / "run")[-1]
    for name in ("si_sdr", "mel_distance", "spectral_error"):
        np.testing.assert_allclose(float(found[name]), last[name], rtol=1e-3)
    assert float(found["kbit/s of the codes"]) == 3.0
    assert main(["evaluate", *model, "--codebooks", "6"]) == 0
    first, same = printed(capsys)
    assert first == "6 held-out recordings of tones, from 6 codebooks:"
    for name in ("si_sdr", "mel_distance", "perplexity", "codes_used"):
        assert same[name] == found[name] or abs(float(same[name]) - float(found[name])) < 1e-2
    assert main(["evaluate", *model, "--codebooks", "2"]) == 0
    assert printed(capsys)[1]["kbit/s of the codes"] == "1"
