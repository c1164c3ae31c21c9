"""Runs are exported, and every command takes what was exported in place of the run."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from tests.conftest import drawn
from tests.data.pictures import pattern
from tests.pretrained.runs import NMSE, STEP, write_prior, write_vqvae
from vqvae_jax import (
    VQVAE,
    GatedPixelCNN,
    Tokenizer,
    from_pretrained,
    load_model,
    sample_codes,
    save_pretrained,
)
from vqvae_jax.__main__ import main
from vqvae_jax.weights import weights_digest


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Runs of a VQ-VAE and a prior, and both exported."""
    root = tmp_path_factory.mktemp("runs")
    write_prior(root / "prior", root / "vqvae", write_vqvae(root / "vqvae"))
    for name in ("vqvae", "prior"):
        assert main(["export", "--model", f"{root / name}", "--output", f"{root / name}-out"]) == 0
    return root


def test_a_tokenizer_codes_as_its_run_does(root):
    images = jax.random.uniform(jax.random.key(0), (5, 8, 12, 1)) - 0.5
    models = [load_model(root / "vqvae"), from_pretrained(root / "vqvae-out")]
    models += [from_pretrained(root / "vqvae"), load_model(root / "vqvae-out")]
    codes = [np.asarray(model.encode(images)) for model in models]
    assert len(np.unique(codes[0])) > 1
    for one, model in zip(codes, models, strict=True):
        np.testing.assert_array_equal(one, codes[0])
        assert weights_digest(model) == weights_digest(models[0])


def test_a_prior_and_its_tokenizer_are_those_of_the_run(root):
    prior, again = (from_pretrained(root / name) for name in ("prior", "prior-out"))
    assert type(again) is GatedPixelCNN
    assert weights_digest(again) == weights_digest(prior)
    draws = [sample_codes(one, 3, (2, 2), key=jax.random.key(1)) for one in (prior, again)]
    np.testing.assert_array_equal(*draws)
    within = from_pretrained(root / "prior-out" / "tokenizer")
    assert weights_digest(within) == weights_digest(load_model(root / "vqvae"))


def test_the_run_is_described_without_places(root):
    for folder in (root / "vqvae-out", root / "prior-out"):
        text = "".join(path.read_text() for path in folder.glob("*.[jm][sd]*"))
        assert "SECRET" not in text
        assert str(root) not in text
        assert f"| metrics.nmse | {NMSE} |" in text
        run = json.loads((folder / "config.json").read_text())["run"]
        assert run["step"] == STEP
        assert run["metrics"] == {"nmse": NMSE}
        assert run["data"]["train_images"] == 20


@pytest.mark.slow
def test_the_commands_give_what_they_give_for_the_run(root, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.fromarray(pattern(7, 9)).convert("L").save(tmp_path / "in" / "a.png")
    printed = []
    for name in ("vqvae", "vqvae-out"):
        model, out = ["--model", f"{root / name}"], tmp_path / name
        out.mkdir()
        capsys.readouterr()
        assert main(["encode", *model, "--output", f"{out / 'c.npz'}", f"{tmp_path / 'in'}"]) == 0
        other = tmp_path / "vqvae" / "c.npz"  # the codes of the one are the codes of the other
        assert main(["decode", *model, "--output", f"{out}", f"{other}"]) == 0
        assert main(["evaluate", *model, f"{tmp_path / 'in'}"]) == 0
        printed.append(capsys.readouterr().out.replace(str(out), ""))
    assert "nmse" in printed[0]
    assert printed[0] == printed[1]
    images = [np.asarray(Image.open(tmp_path / of / "a.png")) for of in ("vqvae", "vqvae-out")]
    assert images[0].shape == (7, 9)
    np.testing.assert_array_equal(*images)


def test_an_exported_prior_draws_alone(root, tmp_path):
    shutil.copytree(root / "prior-out", tmp_path / "alone")
    images = []
    for folder in (root / "prior", tmp_path / "alone"):
        file = tmp_path / f"{folder.name}.npy"
        arguments = ["--number", "3", "--seed", "5", "--output", f"{file}"]
        assert main(["sample", "--model", f"{folder}", *arguments]) == 0
        images.append(np.load(file))
    assert images[0].shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(*images)


@pytest.mark.slow
def test_an_exported_prior_compresses(root, tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    np.save(tmp_path / "in.npy", images)
    model = ["--model", f"{root / 'prior-out'}"]
    assert main(["compress", *model, f"{tmp_path / 'in.npy'}", f"{tmp_path / 'a.vq'}"]) == 0
    assert main(["decompress", *model, f"{tmp_path / 'a.vq'}", f"{tmp_path / 'out.npy'}"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), images)


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "--model", "vqvae-out"],
        ["evaluate", "--model", "vqvae-out"],
        ["evaluate", "--model", "prior-out"],
        ["report", "--model", "vqvae-out"],
        ["report", "--model", "prior-out"],
        ["compare", "vqvae", "vqvae-out"],
        ["export", "--model", "vqvae-out", "--output", "again"],
    ],
)
def test_what_needs_the_run_says_so(root, monkeypatch, capsys, arguments):
    monkeypatch.chdir(root)
    assert main(arguments) == 1
    folder = arguments[2]
    assert capsys.readouterr().err == (
        f"vqvae_jax: {folder} holds an exported model, without the data and the log of its run; "
        "this command needs the folder of the run itself\n"
    )


def test_what_is_not_at_hand_is_said(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prior = ["--model", f"{root / 'prior'}"]
    assert main(["export", *prior, "--vqvae", "gone", "--output", "out"]) == 1
    assert capsys.readouterr().err == "vqvae_jax: gone holds no run\n"
    save_pretrained(from_pretrained(root / "prior-out"), "bare")
    assert main(["sample", "--model", "bare", "--output", "a.npy"]) == 1
    assert "bare/tokenizer does not exist; --vqvae names" in capsys.readouterr().err
    given = ["sample", "--model", "bare", "--vqvae", f"{root / 'vqvae-out'}", "--output", "a.npy"]
    assert main(given) == 1
    assert capsys.readouterr().err == (
        "vqvae_jax: bare does not say codes.maps.shape of the run that trained the model\n"
    )
    assert main(["encode", "--model", "bare", "--output", "c.npz", "."]) == 1
    assert capsys.readouterr().err == "vqvae_jax: bare holds a GatedPixelCNN, not a tokenizer\n"


def test_runs_of_any_form_are_no_surprise(root, tmp_path, capsys):
    """A file from elsewhere may say anything of its run."""
    shutil.copytree(root / "prior-out", tmp_path / "odd")
    file = tmp_path / "odd" / "config.json"
    config = json.loads(file.read_text())
    for run in ({"codes": 3}, {"codes": {"maps": []}}, {"codes": {"maps": {"shape": "ab"}}}):
        file.write_text(json.dumps(config | {"run": run}))
        arguments = ["--output", f"{tmp_path / 'a.npy'}"]
        assert main(["sample", "--model", f"{tmp_path / 'odd'}", *arguments]) == 1
        assert "odd does not say codes.maps.shape of the run" in capsys.readouterr().err


def test_pixels_are_converted_to_the_tokenizer_s_own_range(tmp_path):
    base = drawn(lambda: VQVAE(1, 3, 6, 0.1, rngs=nnx.Rngs(0)))
    parts = base.encoder, base.quantizer, base.decoder, base.likelihood
    model = Tokenizer(*parts, value_range=(-1.0, 3.0))
    save_pretrained(model, tmp_path / "wide")
    pixels = pattern(8, 8)[..., :1]
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
    arguments = ["--model", f"{tmp_path / 'wide'}", "--output", f"{tmp_path / 'out'}"]
    assert main(["reconstruct", *arguments, f"{tmp_path / 'a.png'}"]) == 0
    x = jnp.asarray(pixels[None], jnp.float32) / 255 * 4 - 1
    y = (np.asarray(model.decode(model.encode(x)))[0, ..., 0] + 1) / 4
    found = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(found, np.round(np.clip(y, 0, 1) * 255))
    assert len(np.unique(found)) > 1
