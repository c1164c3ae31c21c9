"""The files that commands write are what their names promise, or are refused at once."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from tests.conftest import drawn
from vqvae_jax import VQVAE, GatedPixelCNN, commands
from vqvae_jax.__main__ import main
from vqvae_jax.report.samples import classes_in_turn, draw_images
from vqvae_jax.training.saved import SavedRun


@pytest.fixture
def models(monkeypatch):
    """A VQ-VAE and a prior, as the runs that any folder holds."""

    def build():
        rngs = nnx.Rngs(0)
        prior = GatedPixelCNN(5, channels=4, dilations=(1,), num_classes=3, rngs=rngs)
        return VQVAE(1, 4, 5, 0.1, rngs=rngs), prior

    def load_pair(workdir, vqvae):
        description = {"codes": {"maps": {"shape": [2, 3]}}}
        run = SavedRun(workdir, None, None, description, prior)
        return run, SimpleNamespace(model=model)

    model, prior = drawn(build)
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
        (["sample", "--output", "png"], "png has no ending; it must end in .png or"),
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
