"""Priors as a user has them: the VQ-VAE first, then the prior, then what it is good for."""

import dataclasses
import gzip
import json
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_small_set
from tests.end_to_end.programs import KILL, ROOT, assert_same_run, metrics, run
from vqvae_jax import PixelHead
from vqvae_jax.__main__ import main
from vqvae_jax.arrays import read_arrays
from vqvae_jax.data import load_dataset
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config
from vqvae_jax.training.experiment import train_config
from vqvae_jax.training.flags import parse
from vqvae_jax.training.saved import load_model, load_prior

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Archives of 90 images of 12 x 12, prepared, and room for runs."""
    root = tmp_path_factory.mktemp("prior")
    archives = write_small_set(root / "archives")
    load_dataset("tiny", archives=str(archives), data_dir=str(root / "data"))
    return root


def settings_of(root, vqvae, **settings):
    """Settings of a small run by their paths, such as "training.seed"."""
    return {
        "data.name": "tiny",
        "data.data_dir": root / "data",
        "prior.vqvae": vqvae,
        "prior.channels": 8,
        "vqvae_training.batch_size": 8,
        "vqvae_training.max_steps": 24,
        "training.batch_size": 8,
        "training.max_steps": 40,
        "training.log_every": 5,
        "training.checkpoint_every": 17,
    } | {name.replace("__", "."): value for name, value in settings.items()}


def command(root, workdir, *, vqvae, **settings):
    """The arguments of train.py."""
    flags = [f"--config.{k}={v}" for k, v in settings_of(root, vqvae, **settings).items()]
    config = ROOT / "configs" / "mnist_prior.py"
    return ["--config", config, "--workdir", workdir, *flags]


def train_here(root, workdir, *, vqvae, **settings):
    """Does what train.py does with `command`, in this process."""
    arguments = command(root, workdir, vqvae=vqvae, **settings)
    config, folder, _ = parse([*map(str, arguments)])
    train_config(config, folder)


# python -m vqvae_jax, in a process of its own.
COMMANDS = "import sys; from vqvae_jax.__main__ import main; sys.exit(main())"


@pytest.fixture
def commands(capsys):
    """Runs python -m vqvae_jax in this process: its status, output and errors."""

    def call(*arguments):
        capsys.readouterr()
        status = main([*map(str, arguments)])
        return SimpleNamespace(returncode=status, **capsys.readouterr()._asdict())

    return call


@pytest.fixture(scope="module")
def whole_run(folders):
    """A prior with classes, and the VQ-VAE with a head that it had to train first."""
    workdir, vqvae = folders / "prior", folders / "vqvae"
    settings = {
        "prior__conditional": True,
        "prior__label_dropout": 0.5,
        "model__likelihood": "CategoricalHead",
        "model__likelihood__in_dim": 8,
    }
    arguments = command(folders, workdir, vqvae=vqvae, **settings)
    result = run(arguments)
    assert result.returncode == 0, result.stderr
    return workdir, vqvae, arguments, result.stdout


def test_a_run_leaves_what_it_promises(whole_run, folders):
    workdir, vqvae, _, output = whole_run
    assert f"no run in {vqvae}: training its VQ-VAE there first (30 epochs at most)" in output
    assert f"{vqvae}: 90 images of tiny" in output
    assert "steps 0 to 24" in output
    assert "test bits_per_dim" in output
    assert "epoch 4/20  step 40" in output
    records = metrics(workdir)
    tested = [r for r in records if r["split"] == "test"]
    trained = [r for r in records if r["split"] == "train"]
    assert [r["step"] for r in tested] == [12, 24, 36, 40]
    assert [r["step"] for r in trained] == [5, 10, 12, 15, 20, 24, 25, 30, 35, 36, 40]
    for record in records:
        np.testing.assert_allclose(record["bits_per_image"], record["nll"] * 9 / np.log(2))
    assert tested[-1]["nll"] < tested[0]["nll"]
    for name in ("samples.png", "training.png"):
        with Image.open(workdir / name) as picture:
            picture.verify()
    described = json.loads((workdir / "run.json").read_text())
    assert described["codes"]["source"] == str(vqvae)
    assert described["codes"]["maps"]["shape"] == [3, 3]
    assert described["config"]["prior"]["conditional"]
    assert load_prior(workdir).num_classes == 10
    assert isinstance(load_model(vqvae).likelihood, PixelHead)


@pytest.mark.parametrize(
    ("kind", "step", "before"),
    [
        ("GatedPixelCNN", 17, False),
        ("TransformerPrior", 24, True),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, folders, whole_run, kind, step, before):
    settings = {"prior__kind": kind, "prior__conditional": True, "prior__label_dropout": 0.5}
    if kind == "TransformerPrior":
        settings |= {"prior__num_layers": 2, "prior__dropout": 0.25, "training__schedule": "cosine"}
    whole = tmp_path / "whole"
    train_here(folders, whole, vqvae=whole_run[1], **settings)
    arguments = command(folders, tmp_path / "run", vqvae=whole_run[1], **settings)
    killed = run(arguments, script=KILL.format(root=str(ROOT), step=step, before=before))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"steps {17 if before else step} to 40" in resumed.stdout
    assert_same_run(tmp_path / "run", whole, 40)


def test_a_killed_vqvae_is_finished_first(tmp_path, folders):
    """The prior's command killed while the VQ-VAE trains resumes with the VQ-VAE."""
    arguments = command(folders, tmp_path / "prior", vqvae=tmp_path / "vqvae")
    killed = run(arguments, script=KILL.format(root=str(ROOT), step=12, before=False))
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "prior").exists()
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{tmp_path / 'vqvae'}: 90 images" in resumed.stdout
    assert "steps 12 to 24" in resumed.stdout
    assert "steps 0 to 40" in resumed.stdout


def test_the_vqvae_that_is_there_is_taken_as_it_is(tmp_path, folders, whole_run, capsys):
    """Its own settings count, not those of the prior's config."""
    workdir = tmp_path / "run"
    before = {path: path.stat().st_mtime_ns for path in whole_run[1].rglob("*")}
    settings = {
        "model__quantizer__num_embeddings": 7,
        "training__max_steps": 2,
        "training__devices": 1,
    }
    train_here(folders, workdir, vqvae=whole_run[1], **settings)
    assert before == {path: path.stat().st_mtime_ns for path in whole_run[1].rglob("*")}
    assert (
        "although model.quantizer.num_embeddings was 128 and is 7 in this config"
        in capsys.readouterr().out
    )
    described = json.loads((workdir / "run.json").read_text())
    assert described["config"]["model"]["quantizer"]["num_embeddings"] == 128
    assert described["config"]["model"]["likelihood"]["kind"] == "CategoricalHead"


def test_a_vqvae_trained_further_is_noticed(tmp_path, folders, commands):
    vqvae, workdir = tmp_path / "vqvae", tmp_path / "prior"
    train_here(folders, workdir, vqvae=vqvae, training__max_steps=2)
    of_vqvae = Config.from_dict(json.loads((vqvae / "run.json").read_text())["config"])
    longer = dataclasses.replace(of_vqvae.training, max_steps=60)
    train_config(dataclasses.replace(of_vqvae, training=longer), vqvae)
    with pytest.raises(ConfigError, match="holds another VQ-VAE, or the same one trained"):
        train_here(
            folders, workdir, vqvae=vqvae, training__max_steps=4, vqvae_training__max_steps=60
        )
    sampled = commands("sample", "--workdir", workdir, "--output", tmp_path / "samples.png")
    assert sampled.returncode == 1
    assert "holds another VQ-VAE, or the same one trained further" in sampled.err
    assert sampled.err.count("\n") == 1
    assert not (tmp_path / "samples.png").exists()


def test_early_stopping_stops_and_says_so(tmp_path, folders, whole_run, capsys):
    settings = {"training__learning_rate": 0.5, "training__patience": 2, "training__max_steps": 200}
    workdir = tmp_path / "run"
    train_here(folders, workdir, vqvae=whole_run[1], **settings)
    assert "stopped early: the last 2 evaluations were not better" in capsys.readouterr().out
    values = [r["nll"] for r in metrics(workdir) if r["split"] == "test"]
    assert values.index(min(values)) == len(values) - 3
    assert len(values) < 17
    before = (workdir / "metrics.jsonl").read_bytes()
    train_here(folders, workdir, vqvae=whole_run[1], **settings)
    assert "this run has stopped early" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_samples_are_drawn(tmp_path, whole_run, commands):
    def sample(name, *arguments):
        output = tmp_path / name
        result = commands("sample", "--workdir", whole_run[0], "--output", output, *arguments)
        assert result.returncode == 0, result.err
        with Image.open(output) as picture:
            return np.asarray(picture)

    first = sample("a.png", "--number", 4, "--label", 7)
    np.testing.assert_array_equal(first, sample("b.png", "--number", 4, "--label", 7))
    other = sample("c.png", "--number", 4, "--label", 7, "--seed", 1)
    assert first.shape == other.shape
    assert not np.array_equal(first, other)
    sample("d.png", "--number", 3, "--guidance", 2, "--temperature", 0.5, "--top-k", 3)


def test_a_report_shows_samples_of_each_class(tmp_path, whole_run, commands):
    file = tmp_path / "report.html"
    assert commands("report", "--model", whole_run[0], "--output", file).returncode == 0
    page = file.read_text()
    for guidance in ("1.0", "2.0", "4.0"):
        assert page.count(f'alt="Samples of class 9, guidance {guidance}"') == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--label", "10"], 2, "label is 10; it must be from 0 to 9"),
        (["--number", "0"], 2, "number is 0; it must be an integer of at least 1"),
        (["--top-p", "0"], 2, "top_p is 0.0; it must be in (0, 1]"),
        (["--workdir", "none"], 1, "none holds no run"),
    ],
)
def test_bad_arguments_get_one_line(tmp_path, whole_run, commands, arguments, status, message):
    output = tmp_path / "a.png"
    result = commands("sample", "--workdir", whole_run[0], "--output", output, *arguments)
    assert result.returncode == status
    assert message in result.err
    assert result.err.startswith("vqvae_jax: ")
    assert result.err.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "--workdir", "RUN", "x.npy", "none/x.vq"], "No such folder"),
        (["decompress", "--workdir", "RUN", "x.vq", "none/x.npy"], "No such folder"),
        (["sample", "--workdir", "RUN", "--output", "none/x.png"], "No such folder"),
        (["evaluate", "--workdir", "RUN", "--codebooks", "2"], "holds a prior: leave it out"),
    ],
)
def test_what_cannot_be_done_is_said_first(whole_run, commands, arguments, message):
    result = commands(*(whole_run[0] if one == "RUN" else one for one in arguments))
    assert result.returncode != 0
    assert message in result.err
    assert result.err.count("\n") == 1


def test_what_needs_no_class_needs_to_have_learnt_it(tmp_path, folders, whole_run, commands):
    workdir, png, vq = tmp_path / "run", tmp_path / "out.png", tmp_path / "out.vq"
    settings = {"prior__conditional": True, "training__max_steps": 2}
    train_here(folders, workdir, vqvae=whole_run[1], **settings)
    for arguments in (
        ["sample", "--workdir", workdir, "--guidance", 2, "--output", png],
        ["evaluate", "--workdir", workdir],
        ["compress", "--workdir", workdir, folders / "archives" / "none.gz", vq],
    ):
        refused = commands(*arguments)
        assert refused.returncode == 1
        assert "holds a prior that was never trained without labels" in refused.err
        assert not png.exists()
        assert not vq.exists()


def test_a_vqvae_that_has_moved_is_named(tmp_path, folders, whole_run, commands):
    vqvae, moved, workdir = tmp_path / "vqvae", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(whole_run[1], vqvae)
    train_here(folders, workdir, vqvae=vqvae, training__max_steps=2)
    vqvae.rename(moved)
    lost = commands("evaluate", "--workdir", workdir)
    assert lost.returncode == 1
    assert f"{vqvae} holds no run" in lost.err
    found = commands("evaluate", "--workdir", workdir, "--vqvae", moved)
    assert found.returncode == 0, found.err


def test_codes_are_extracted(whole_run, commands):
    (whole_run[1] / "codes.safetensors").unlink()
    result = commands("extract", "--workdir", whole_run[1])
    assert result.returncode == 0, result.err
    stored, _ = read_arrays(whole_run[1] / "codes.safetensors")
    assert stored["train_codes"].shape == (90, 3, 3)
    assert stored["test_codes"].shape == (20, 3, 3)
    refused = commands("extract", "--workdir", whole_run[0])
    assert refused.returncode == 1
    assert "holds the run of a prior, not of a VQ-VAE" in refused.err


def test_images_come_back_from_a_file_of_the_evaluated_size(tmp_path, folders, whole_run, commands):
    evaluated = commands("evaluate", "--workdir", whole_run[0])
    assert evaluated.returncode == 0, evaluated.err
    lines = evaluated.out.splitlines()
    total, pixels, codes = (float(line.split(":")[1]) for line in lines)
    np.testing.assert_allclose(total, pixels + codes, atol=2e-4)
    trained = min(r["bits_per_dim"] for r in metrics(whole_run[1]) if r["split"] == "test")
    np.testing.assert_allclose(pixels, trained, atol=2e-4)

    source = folders / "archives" / "t10k-images-idx3-ubyte.gz"
    small, back = tmp_path / "small.vq", tmp_path / "back.gz"
    compressed = commands("compress", "--workdir", whole_run[0], source, small)
    assert compressed.returncode == 0, compressed.err
    bits = 8 * small.stat().st_size / (20 * 12 * 12)
    assert f"{bits:.4f} bits per dimension" in compressed.out
    assert abs(bits - total) < 0.01 * total + 8 * 320 / (20 * 12 * 12)
    restored = run(["decompress", "--workdir", whole_run[0], small, back], script=COMMANDS)
    assert restored.returncode == 0, restored.stderr
    assert gzip.decompress(back.read_bytes()) == gzip.decompress(source.read_bytes())

    plain, same = tmp_path / "images", tmp_path / "same.vq"
    plain.write_bytes(gzip.decompress(source.read_bytes()))
    assert commands("compress", "--workdir", whole_run[0], plain, same).returncode == 0
    assert same.read_bytes() == small.read_bytes()
    assert (
        commands("decompress", "--workdir", whole_run[0], small, tmp_path / "out").returncode == 0
    )
    assert (tmp_path / "out").read_bytes() == plain.read_bytes()

    back.unlink()
    damaged = bytearray(small.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    small.write_bytes(damaged)
    for broken in (small, source):
        refused = commands("decompress", "--workdir", whole_run[0], broken, back)
        assert refused.returncode == 1
        assert refused.err.count("\n") == 1
        assert str(broken) in refused.err
        assert not back.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior__dropout": 0.5}, r"^prior\.dropout is unknown; did you mean prior\.label_dropout"),
        (
            {"prior__kind": "TransformerPrior", "prior__num_heads": 3},
            r"^prior\.channels is 8; it must be a multiple of num_heads = 3",
        ),
        ({"training__batch_size": 91}, "training.batch_size is 91; it must be at most 90"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, folders, whole_run, settings, message):
    for vqvae in (whole_run[1], tmp_path / "vqvae"):
        with pytest.raises(ConfigError, match=message):
            train_here(folders, tmp_path / "run", vqvae=vqvae, **settings)
    assert list(tmp_path.iterdir()) == []  # no VQ-VAE was trained before


def test_a_prior_is_not_a_vqvae(tmp_path, folders, whole_run):
    workdir = tmp_path / "run"
    with pytest.raises(ConfigError, match="the run of a prior; it must be a VQ-VAE's"):
        train_here(folders, workdir, vqvae=whole_run[0])
    with pytest.raises(ConfigError, match="the run's own folder"):
        train_here(folders, workdir, vqvae=workdir)
    assert not workdir.exists()
    with pytest.raises(ConfigError, match="holds the run of a VQ-VAE, not of a prior; use anoth"):
        train_here(folders, whole_run[1], vqvae=tmp_path / "vqvae")
    assert not (tmp_path / "vqvae").exists()  # none was trained before
