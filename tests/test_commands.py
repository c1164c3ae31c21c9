"""The files that commands write are what their names promise, or are refused at once."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile
from flax import nnx
from PIL import Image

from tests.conftest import drawn
from tests.signals import small_audio_tokenizer
from vqvae_jax import VQVAE, GatedPixelCNN, TransformerPrior, commands
from vqvae_jax.__main__ import main
from vqvae_jax.report.samples import classes_in_turn, draw_examples, draw_images
from vqvae_jax.training.saved import SavedRun


@pytest.fixture
def models(monkeypatch):
    """A VQ-VAE and a prior, as the runs that any folder holds."""

    def build():
        rngs = nnx.Rngs(0)
        prior = GatedPixelCNN(5, channels=4, dilations=(1,), num_classes=3, rngs=rngs)
        return VQVAE(1, 4, 5, 0.1, rngs=rngs), prior

    return held(monkeypatch, *drawn(build), [2, 3])


@pytest.fixture(params=[None, 3])
def of_signals(monkeypatch, request):
    """Likewise an audio tokenizer and its prior, without and with classes."""

    def build():
        prior = TransformerPrior(
            5,
            (8,),
            channels=4,
            num_layers=1,
            num_heads=1,
            num_codebooks=2,
            num_classes=request.param,
            rngs=nnx.Rngs(0),
        )
        return small_audio_tokenizer(), prior

    return held(monkeypatch, *drawn(build), [7])


def held(monkeypatch, model, prior, shape):
    def load_pair(workdir, vqvae):
        run = SavedRun(workdir, None, None, {"codes": {"maps": {"shape": shape}}}, prior)
        return run, SimpleNamespace(model=model)

    monkeypatch.setattr(commands.priors, "load_pair", load_pair)
    return model, prior


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")],
)
def test_samples_are_of_the_format_of_their_name(tmp_path, models, name, is_one):
    assert (
        main(["sample", "--workdir", "any", "--number", "6", "--output", str(tmp_path / name)]) == 0
    )
    with Image.open(tmp_path / name) as picture:
        assert picture.format == is_one
        picture.verify()


def test_samples_are_pixels_too(tmp_path, models):
    output = tmp_path / "a.npy"
    assert main(["sample", "--workdir", "any", "--number", "6", "--output", str(output)]) == 0
    pixels = np.load(output)
    labels = classes_in_turn(models[1], 6)
    images = draw_images(*models, 6, (2, 3), key=jax.random.key(0), labels=labels)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.clip(np.round((images + 0.5) * 255), 0, 255))
    assert len(np.unique(pixels)) > 10


def test_samples_of_signals_are_wav_files(tmp_path, of_signals, capsys):
    output = tmp_path / "drawn" / "here"
    arguments = ["sample", "--workdir=any", "--number=11", "--top-k=3", "--temperature=0.5"]
    assert main([*arguments, f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"{output}: 11 signals\n"
    labels = classes_in_turn(of_signals[1], 11)
    options = {"labels": labels, "top_k": 3, "temperature": 0.5}
    signals = draw_examples(*of_signals, 11, (7,), key=jax.random.key(0), **options)
    assert signals.shape == (11, 7 * 6, 1)
    assert np.abs(signals).max() > 1  # some are clipped
    names = [f"{index:02}.wav" for index in range(11)]
    if labels is not None:
        names = [f"{label}_{name}" for label, name in zip(labels, names, strict=True)]
    assert sorted(file.name for file in output.iterdir()) == names
    for name, signal in zip(names, signals, strict=True):
        assert soundfile.info(output / name).subtype == "PCM_16"
        written, rate = soundfile.read(output / name, dtype="int16", always_2d=True)
        assert rate == 800
        expected = np.clip(signal.astype(np.float64) * 2**15, -(2**15), 2**15 - 1)
        np.testing.assert_allclose(written, expected, atol=1)


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_samples_of_signals_are_no_pictures(tmp_path, of_signals, capsys, name):
    output = tmp_path / name
    assert main(["sample", "--workdir=any", f"--output={output}"]) == 2
    expected = f"vqvae_jax: {output} ends in {output.suffix}; for signals it must be a folder\n"
    assert capsys.readouterr().err == expected
    assert [*tmp_path.iterdir()] == []


def test_samples_of_images_are_no_folder(tmp_path, models, capsys):
    output = tmp_path / "png"
    assert main(["sample", "--workdir=any", f"--output={output}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vqvae_jax: {output} has no ending; it must end in .png or .jpg or")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("number", "words"), [(1, "1 image"), (6, "6 images")])
def test_what_was_written_is_counted(tmp_path, models, capsys, number, words):
    output = tmp_path / "a.npy"
    assert main(["sample", "--workdir=any", f"--number={number}", f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"{output}: {words}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["sample", "--output", "a.bmp"],
            "a.bmp ends in .bmp; it must end in .png or .jpg or .jp",
        ),
        (["sample", "--output", "a.png.gz"], "a.png.gz ends in .gz; it must end in .png or"),
        (["compress", "a.gz", "a.png"], "a.png ends in .png; it must end in .vq"),
        (["compress", "a.gz", "a.gz"], "a.gz ends in .gz; it must end in .vq"),
        (
            ["decompress", "a.vq", "a.png"],
            "a.png ends in .png; it must end in .npy or .gz or .idx or .idx3-ubyte, or have no "
            "ending\n",
        ),
    ],
)
def test_other_endings_are_refused_before_anything_is_loaded(capsys, arguments, message):
    assert main([*arguments, "--workdir", "none"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vqvae_jax: {message}")
    assert error.count("\n") == 1
    assert not Path(arguments[-1]).exists()
