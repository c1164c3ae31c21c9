"""A folder of images: trained on, encoded, decoded, reconstructed, evaluated."""

import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import header_of_png, pattern, write
from tests.end_to_end.programs import ROOT, metrics, run
from vqvae_jax import PSNR, SSIM, Tokenizer, load_model
from vqvae_jax.__main__ import main
from vqvae_jax.arrays import read_arrays
from vqvae_jax.commands import reports
from vqvae_jax.data import take
from vqvae_jax.pixels import to_floats
from vqvae_jax.training import checkpoint
from vqvae_jax.training.saved import load_data, load_pair, load_run

SIZES = {"a": (12, 16), "b": (13, 18), "deep/c": (16, 12), "d": (12, 16)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with photos, and a run on them in `run`."""
    root = tmp_path_factory.mktemp("images")
    sizes = {f"train/{index}": (14 + index % 3, 20 - index % 5) for index in range(40)}
    write(root / "photos", sizes | {f"test/{index}": (16, 16) for index in range(6)})
    write(root / "others", SIZES)
    gray = Image.fromarray(pattern(12, 16)).convert("L")
    gray.save(root / "others" / "gray.jpg")
    (root / "others" / "broken.png").write_bytes(b"no image")
    (root / "others" / "bomb.png").write_bytes(header_of_png(100_000, 100_000))
    settings = {
        "data.path": root / "photos",
        "data.data_dir": root / "data",
        "data.size": 12,
        "data.resize": 0,
        "model.encoder.width": 8,
        "model.decoder.width": 8,
        "model.quantizer.num_embeddings": 16,
        "training.batch_size": 8,
        "training.max_steps": 12,
        "training.workers": 0,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    config = ROOT / "configs" / "images.py"
    result = run(["--config", config, "--workdir", root / "run", *flags])
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture(scope="module")
def model(root):
    return load_model(root / "run")


def command(root, name, *arguments):
    return main([name, "--model", str(root / "run"), *map(str, arguments)])


def reconstructed(model, file):
    """An image and its reconstruction, padded at the edge and cut back, one by one: uint8."""
    with Image.open(file) as image:
        x = np.asarray(image.convert("RGB"))
    height, width = x.shape[:2]
    padded = np.pad(x, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="edge")
    y = model.decode(model.encode(to_floats(jnp.asarray(padded[None]))))[0, :height, :width]
    return x, np.clip(np.round((np.asarray(y) + 0.5) * 255), 0, 255).astype(np.uint8)


def read(file):
    with Image.open(file) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


def test_a_run_logs_its_metrics_and_draws_color(root):
    (last,) = (record for record in metrics(root / "run")[-1:] if record["split"] == "test")
    assert 0 < last["nmse"] < 3
    for name in ("reconstructions.png", "codebook.png", "training.png"):
        with Image.open(root / "run" / name) as picture:
            assert picture.size[0] > 300
    described = json.loads((root / "run" / "run.json").read_text())
    assert described["config"]["data"]["kind"] == "ImageFolder"
    assert described["data"]["image_shape"] == [12, 12, 3]


def test_images_of_any_size_come_back(root, model, tmp_path, capsys):
    """Those that can be read; the others are named, and the exit status is 1."""
    sheet = tmp_path / "sheet.png"
    status = command(root, "reconstruct", root / "others", "--output", tmp_path, "--sheet", sheet)
    out, err = capsys.readouterr()
    assert status == 1
    assert out == f"{tmp_path}: 5 images\n"
    lines = sorted(err.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f"vqvae_jax: {root}/others/bomb.png ")
    assert lines[1] == f"vqvae_jax: {root}/others/broken.png is no image of a known format"
    for name in (*(f"{name}.png" for name in SIZES), "gray.jpg"):
        x, expected = reconstructed(model, root / "others" / name)
        found = read((tmp_path / name).with_suffix(".png"))
        assert found.shape == x.shape
        assert np.abs(found - expected).max() <= 1
    assert read(sheet).shape[2] == 3


def test_codes_are_the_models_and_decode_to_the_same(root, model, tmp_path):
    files = [root / "others" / f"{name}.png" for name in SIZES]
    assert command(root, "encode", *files, "--output", tmp_path / "codes.npz") == 0
    with np.load(tmp_path / "codes.npz") as codes:
        for name, (height, width) in SIZES.items():
            of_one = codes[f"{name}.png"]
            assert of_one.dtype == np.int32
            assert of_one.shape == (-(-height // 4), -(-width // 4))
        x, _ = reconstructed(model, files[0])
        np.testing.assert_array_equal(
            codes["a.png"], model.encode(to_floats(jnp.asarray(x[None])))[0]
        )
    assert command(root, "decode", tmp_path / "codes.npz", "--output", tmp_path / "back") == 0
    assert command(root, "reconstruct", *files, "--output", tmp_path / "direct") == 0
    for name in SIZES:
        back, direct = (read(tmp_path / way / f"{name}.png") for way in ("back", "direct"))
        np.testing.assert_array_equal(back, direct)


@pytest.mark.slow
def test_files_and_folders_keep_their_places(root, tmp_path):
    photos = root / "photos" / "test"
    command(root, "reconstruct", photos, root / "others" / "a.png", "--output", tmp_path)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert found == ["others/a.png", *(f"photos/test/{index}.png" for index in range(6))]


@pytest.mark.slow
def test_names_that_differ_in_the_suffix_stay_apart(root, tmp_path):
    folder = tmp_path / "x"
    write(folder, {"a": (12, 12), "b": (12, 12), "a.jpg": (12, 12)})
    Image.fromarray(pattern(12, 12)).save(folder / "a.jpg")
    command(root, "reconstruct", folder, "--output", tmp_path / "y")
    found = sorted(path.name for path in (tmp_path / "y").iterdir())
    assert found == ["a.jpg.png", "a.jpg.png.png", "a.png.png", "b.png.png"]


def test_originals_are_not_written_over(root, tmp_path, capsys):
    folder = tmp_path / "x"
    write(folder, {"a": (12, 12)})
    before = (folder / "a.png").read_bytes()
    assert command(root, "reconstruct", folder, "--output", folder) == 1
    assert "a.png would be written over; choose another --output" in capsys.readouterr().err
    assert (folder / "a.png").read_bytes() == before


def printed(capsys):
    """The metrics that a command printed."""
    first, *lines = capsys.readouterr().out.splitlines()
    return first, dict(line.strip().split(": ") for line in lines)


@pytest.mark.slow
def test_evaluation_of_files_is_per_pixel_and_per_image(root, model, tmp_path, capsys):
    files = [root / "others" / f"{name}.png" for name in SIZES]
    assert command(root, "evaluate", *files) == 0
    first, found = printed(capsys)
    assert first == "4 images:"
    errors, psnr, ssim = [], [], []
    for file in files:
        x, y = (of[None].astype(np.float32) / 255 for of in reconstructed(model, file))
        errors.append(((x - y) ** 2).ravel())
        psnr.append(float(PSNR()(*map(jnp.asarray, (x, y)))[0]))
        ssim.append(float(SSIM()(*map(jnp.asarray, (x, y)))[0]))
    mse = np.concatenate(errors).mean()
    np.testing.assert_allclose(float(found["mse"]), mse, rtol=0.01)
    np.testing.assert_allclose(float(found["psnr"]), -10 * np.log10(mse), atol=0.05)
    np.testing.assert_allclose(float(found["image_psnr"]), np.mean(psnr), atol=0.05)
    np.testing.assert_allclose(float(found["ssim"]), np.mean(ssim), atol=0.01)
    assert found["codes_used"].endswith(" of 16")
    tokens = 2 * 12 + 20 + 12
    pixels = sum(height * width for height, width in SIZES.values())
    np.testing.assert_allclose(
        float(found["bits per pixel of the codes"]), 4 * tokens / pixels, rtol=1e-3
    )


def test_evaluation_of_the_held_out_split_is_that_of_the_run(root, capsys):
    assert command(root, "evaluate") == 0
    first, found = printed(capsys)
    assert first == "6 held-out images of photos:"
    last = metrics(root / "run")[-1]
    for name in ("mse", "nmse", "psnr", "perplexity", "reconstruction_loss"):
        np.testing.assert_allclose(float(found[name]), last[name], rtol=1e-3)
    assert {"image_psnr", "ssim"} <= found.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "FILE", "--output", "x.json"], "x.json ends in .json; it must end in .npz"),
        (["encode", "FILE", "--output", "no/x.npz"], "No such folder"),
        (["encode", "none.png", "--output", "x.npz"], "none.png cannot be read: No such file"),
        (["decode", "FILE", "--output", "x"], "a.png is no file of codes"),
        (["decode", "none.npz", "--output", "x"], "No such file or directory"),
        (["reconstruct", "FILE", "--output", "FILE"], "a.png is a file, not a folder"),
        (["reconstruct", "FILE", "--output", "x", "--pad", "0"], "pad is 0; it must be an integer"),
        (["evaluate", "FILE", "--resize", "-1"], "resize is -1; it must be an integer"),
        (["evaluate", "--archives", "x"], "has data of kind ImageFolder, without archives"),
        (["evaluate", "--resize", "8"], "resize is given; it is for files, and there are none"),
        (["evaluate", "--vqvae", "x"], "vqvae is x; it is for priors, and"),
    ],
)
def test_what_cannot_be_done_is_one_line(root, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    file = str(root / "others" / "a.png")
    assert command(root, *(file if one == "FILE" else one for one in arguments)) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"__model__": np.array("x")}, "the codes of another model"),
        ({"__sizes__": np.zeros((2, 2), np.int32)}, "has sizes int32 (2, 2) of 1 arrays"),
        ({"a.png": np.zeros((3, 4))}, "holds a.png as float64 (3, 4), not as codes"),
        ({"a.png": np.full((3, 4), 16, np.int32)}, "codes from 16 to 16; they must be"),
        ({"a.png": np.zeros((3, 3), np.int32)}, "is 16 x 12 pixels; it must be at most 12 x 12"),
        ({"a.png": None, "../a.png": np.zeros((3, 4), np.int32)}, "no name of a file in a folder"),
    ],
)
def test_wrong_codes_are_refused(root, tmp_path, capsys, change, message):
    file = tmp_path / "codes.npz"
    assert command(root, "encode", root / "others" / "a.png", "--output", file) == 0
    with np.load(file) as read_back:
        codes = dict(read_back) | change
    np.savez(file, **{name: array for name, array in codes.items() if array is not None})
    capsys.readouterr()
    assert command(root, "decode", file, "--output", tmp_path / "back") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_reports_show_what_the_model_makes_of_held_out_images(root, model, tmp_path, monkeypatch):
    shown = []
    for name in ("report_of", "comparison_of"):
        monkeypatch.setattr(reports, name, lambda report: shown.append(report) or b"<page>")
    other = tmp_path / "other"
    shutil.copytree(root / "run", other)
    assert command(root, "report", "--against", other) == 0
    assert (root / "run" / "report.html").read_bytes() == b"<page>"
    output = tmp_path / "both.html"
    assert main(["compare", str(root / "run"), str(other), "--output", str(output)]) == 0
    assert output.read_bytes() == b"<page>"
    test = load_data(load_run(root / "run", Tokenizer)).test
    images = take(test, np.arange(6))["image"]
    x = to_floats(jnp.asarray(images))
    codes, z = model.encode(x), model.latents(x)
    distances = np.sum((np.asarray(z) - np.asarray(model.quantizer.lookup(codes))) ** 2, axis=-1)
    back = np.round((np.clip(np.asarray(model.decode(codes)), -0.5, 0.5) + 0.5) * 255)
    for report, runs in zip(shown, ([root / "run"], [root / "run", other]), strict=True):
        assert [run.name for run in report.runs] == [str(root / "run"), str(other)]
        assert [*report.held_out] == [str(run) for run in runs]
        for held_out in report.held_out.values():
            np.testing.assert_array_equal(held_out.images, images)
            np.testing.assert_array_equal(held_out.codes[..., 0], codes)
            np.testing.assert_allclose(held_out.reconstructions, back, atol=1)
            np.testing.assert_allclose(held_out.distances, distances, rtol=1e-3, atol=1e-5)
            np.testing.assert_array_equal(held_out.decode(held_out.codes), held_out.reconstructions)


def test_a_report_reads_one_checkpoint_once(root, tmp_path, monkeypatch):
    shutil.copytree(root / "run", tmp_path / "other")
    files = []
    monkeypatch.setattr(
        checkpoint, "read_arrays", lambda path: files.append(path) or read_arrays(path)
    )
    monkeypatch.setattr(reports, "report_of", lambda report: b"<page>")
    output = tmp_path / "report.html"
    assert command(root, "report", "--against", tmp_path / "other", "--output", output) == 0
    assert [file.parents[1] for file in files] == [root / "run"]


@pytest.mark.slow
def test_a_report_is_one_page(root):
    assert command(root, "report") == 0
    page = (root / "run" / "report.html").read_text()
    for title in ("Curves", "Reconstructions", "Code maps", "Code atlas", "Use of the codes"):
        assert f"<h2>{title}</h2>" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "RUN"], "there must be at least 2 runs to compare"),
        (["compare", "RUN", "RUN"], "is given twice; the runs must differ"),
        (["compare", "RUN", "none"], "none holds no run"),
        (["compare", "RUN", "none", "--output", "a.pdf"], "a.pdf ends in .pdf; it must end in"),
        (["report", "--model", "none"], "No such folder"),
        (["report", "--model", "RUN", "--against", "RUN"], "is given twice"),
        (["report", "--model", "RUN", "--archives", "x"], "without archives"),
    ],
)
def test_what_has_no_report_is_one_line(root, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([str(root / "run") if one == "RUN" else one for one in arguments]) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_pixels_can_be_padded_to_fewer_sizes(root, tmp_path):
    files = [root / "others" / f"{name}.png" for name in SIZES]
    command(root, "encode", *files, "--output", tmp_path / "codes.npz", "--pad", "16")
    with np.load(tmp_path / "codes.npz") as codes:
        assert {codes[f"{name}.png"].shape for name in SIZES} == {(4, 4), (4, 8)}
    command(root, "decode", tmp_path / "codes.npz", "--output", tmp_path / "back")
    for name, size in SIZES.items():
        assert read(tmp_path / "back" / f"{name}.png").shape == (*size, 3)


@pytest.mark.slow
def test_a_prior_over_a_folder_codes_it_losslessly(root, tmp_path, capsys):
    """Its VQ-VAE, which is trained first, is on the same folder."""
    settings = {
        "data.kind": "ImageFolder",
        "data.path": root / "photos",
        "data.data_dir": root / "data",
        "data.size": 8,
        "data.crop": "tiles",
        "model.encoder.width": 8,
        "model.decoder.width": 8,
        "model.quantizer.num_embeddings": 8,
        "model.likelihood.hidden_dim": 8,
        "model.likelihood.num_layers": 1,
        "prior.channels": 8,
        "prior.vqvae": tmp_path / "vqvae",
        "training.max_steps": 2,
        "training.batch_size": 8,
        "vqvae_training.max_steps": 2,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    config = ROOT / "configs" / "cifar10_likelihood_prior.py"
    result = run(["--config", config, "--workdir", tmp_path / "prior", *flags])
    assert result.returncode == 0, result.stderr
    described = json.loads((tmp_path / "vqvae" / "run.json").read_text())
    assert described["config"]["data"]["kind"] == "ImageFolder"
    assert main(["evaluate", "--model", str(tmp_path / "prior")]) == 0
    bits = float(re.search(r"at most: (\S+)", capsys.readouterr().out)[1])
    moved = tmp_path / "moved"
    shutil.copytree(root / "photos", moved)
    assert main(["evaluate", "--model", str(tmp_path / "prior"), "--path", str(moved)]) == 0
    assert f"at most: {bits:.4f}" in capsys.readouterr().out
    prior, _ = load_pair(tmp_path / "prior")
    images = take(load_data(prior).test, np.arange(12))["image"]
    source, small, back = (tmp_path / name for name in ("images.npy", "small.vq", "back.npy"))
    np.save(source, images)
    model = ["--model", str(tmp_path / "prior")]
    assert main(["compress", *model, str(source), str(small)]) == 0
    assert main(["decompress", *model, str(small), str(back)]) == 0
    np.testing.assert_array_equal(np.load(back), images)
    assert 8 * small.stat().st_size / images.size < 1.3 * bits
    assert main(["decompress", *model, str(small), str(tmp_path / "back.gz")]) == 1
    assert "images with 3 channels; an IDX file has one" in capsys.readouterr().err
    np.save(source, images[:, :4])
    assert main(["compress", *model, str(source), str(small)]) == 1
    assert "holds images of (4, 8, 3); they must be of (8, 8, 3)" in capsys.readouterr().err
