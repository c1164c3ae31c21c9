"""The program as a user runs it: processes, files, signals."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import vqvae_jax
from tests.end_to_end.programs import KILL, ROOT, assert_same_run, metrics, run, saved_state
from vqvae_jax.data import load_dataset
from vqvae_jax.pixels import to_floats
from vqvae_jax.training.histograms import read_usage
from vqvae_jax.training.saved import load_model


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """90 images of 12 x 12: 12 steps of 8 an epoch, the last of them of 2 images."""
    from tests.conftest import write_small_set

    folder = write_small_set(tmp_path_factory.mktemp("archives"))
    root = tmp_path_factory.mktemp("data")
    load_dataset("tiny", archives=str(folder), data_dir=str(root))
    return root


def command(workdir, data_dir, **settings):
    settings = {
        "data.name": "tiny",
        "data.data_dir": data_dir,
        "training.batch_size": 8,
        "training.max_steps": 40,
        "training.log_every": 5,
        "training.checkpoint_every": 17,
    } | {name.replace("__", "."): value for name, value in settings.items()}
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return ["--config", str(ROOT / "configs" / "mnist.py"), "--workdir", str(workdir), *flags]


# Runs train.py as it would run on accelerators: data on the devices, several steps a dispatch.
ACCELERATED = """
import sys
sys.path.insert(0, {root!r})
from vqvae_jax.training import feed, loop
feed.are_accelerators = loop.are_accelerators = lambda devices: True
loop._STEPS_ON_ACCELERATOR = 4
import train
sys.exit(train.main())
"""


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    result = run(command(workdir, data_dir))
    assert result.returncode == 0, result.stderr
    return workdir, result.stdout


def test_a_run_leaves_what_it_promises(whole_run, data_dir):
    workdir, output = whole_run
    assert "epoch 4/30  step 40" in output
    assert_ends(workdir, output)
    records = metrics(workdir)
    tested = [r for r in records if r["split"] == "test"]
    trained = [r for r in records if r["split"] == "train"]
    assert [(r["step"], r["epoch"]) for r in tested] == [(12, 1), (24, 2), (36, 3), (40, 4)]
    assert [r["step"] for r in trained] == [5, 10, 12, 15, 20, 24, 25, 30, 35, 36, 40]
    assert [r["images"] for r in trained[:3]] == [40, 40, 10]
    assert all(r["images"] == 20 for r in tested)
    promised = {"loss", "reconstruction_loss", "codebook_loss", "commitment_loss", "nmse"}
    promised |= {"mse", "psnr", "quantization_error", "perplexity", "codes_used"}
    assert all(promised <= set(r) for r in records)
    assert tested[-1]["nmse"] < tested[0]["nmse"]
    assert max(r["codes_used"] for r in tested) > 1
    usage = {step: of["codes"] for step, of in read_usage(workdir).items()}
    used = {step: of.used for step, of in usage.items()}
    assert used == {r["step"]: r["codes_used"] for r in tested}
    assert all(of.tokens == 20 * 9 for of in usage.values())
    for name in ("reconstructions.png", "codebook.png", "training.png"):
        Image.open(workdir / name).verify()
    described = json.loads((workdir / "run.json").read_text())
    dataset = load_dataset("tiny", data_dir=str(data_dir))
    assert described["format"] == 2
    assert described["data"]["source"] == dataset.source
    assert described["data"]["digest"] == dataset.digest
    assert described["config"]["training"]["batch_size"] == 8
    assert not list(workdir.glob(".*"))


def assert_ends(workdir, output):
    """Whether the last lines of a finished run say how good it is, where it is, and what next."""
    tested = [record for record in metrics(workdir) if record["split"] == "test"]
    best = min(tested, key=lambda record: record["nmse"])
    first, *others = output.splitlines()[-6:]
    expected = f"{workdir}: best after step {best['step']}, epoch {best['epoch']}: test nmse "
    assert first.startswith(f"{expected}{best['nmse']:.4f}  psnr ")
    pictures = ", ".join(f"{name}.png" for name in ("codebook", "reconstructions", "training"))
    program = f"python -m vqvae_jax {{}} --model {workdir}"
    assert others == [
        f"  checkpoint  {workdir}/checkpoints/{best['step']}.safetensors",
        f"  pictures    {workdir}/{pictures}",
        f"  next        {program.format('report')}",
        f"              {program.format('reconstruct')} --output out FOLDER",
        f"              {program.format('encode')} --output codes.npz FOLDER",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "before"), [(24, True), (17, False), (36, False)])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, data_dir, whole_run, step, before):
    arguments = command(tmp_path / "run", data_dir)
    killed = run(arguments, script=KILL.format(root=str(ROOT), step=step, before=before))
    assert killed.returncode == -signal.SIGKILL
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"steps {17 if before else step} to 40" in resumed.stdout
    assert_same_run(tmp_path / "run", whole_run[0], 40)
    saved = saved_state(tmp_path / "run", 40)
    parts = {".".join(name.split(".")[:2]) for name in saved}
    sums = {"sums.images", "sums.losses", "sums.code_counts"}
    assert parts == {"step", "examples", "state.params", "state.opt_state"} | sums


@pytest.mark.slow
def test_a_killed_run_keeps_the_quantizers_state(tmp_path, data_dir):
    """Averages, usage and the flag that the codes were taken from data; random draws continue."""
    settings = {
        "model__quantizer__kind": "EMAVectorQuantizer",
        "model__quantizer__revival_threshold": 0.5,
        "model__quantizer__kmeans_init": True,
        "model__quantizer__estimator": "nsvq",
        "training__max_steps": 24,
    }
    for name in ("whole", "killed"):
        script = KILL.format(root=str(ROOT), step=17, before=False) if name == "killed" else None
        result = run(command(tmp_path / name, data_dir, **settings), script=script)
        assert result.returncode == (0 if script is None else -signal.SIGKILL), result.stderr
    resumed = run(command(tmp_path / "killed", data_dir, **settings))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "killed", tmp_path / "whole", 24)
    saved = saved_state(tmp_path / "killed", 24)
    assert {
        f"state.variables.quantizer.{name}" for name in ("counts", "sums", "usage", "initialized")
    } <= {*saved}
    loaded = load_model(tmp_path / "killed")
    np.testing.assert_array_equal(
        loaded.quantizer.embeddings[...], saved["state.variables.quantizer.embeddings"]
    )


@pytest.mark.parametrize(
    "config", ["mnist_residual.py", pytest.param("mnist_gumbel.py", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_other_quantizers_train(tmp_path, data_dir, config):
    arguments = command(tmp_path / "run", data_dir, training__max_steps=2)
    result = run([arguments[0], str(ROOT / "configs" / config), *arguments[2:]])
    assert result.returncode == 0, result.stderr
    last = metrics(tmp_path / "run")[-1]
    assert (last["step"], last["split"]) == (2, "test")
    for picture in ("reconstructions", "codebook", "training"):
        with Image.open(tmp_path / "run" / f"{picture}.png") as image:
            assert image.size[0] > 500


def test_settings_that_do_not_fit_the_quantizer_are_refused(tmp_path, data_dir):
    settings = {"model__quantizer": "LFQ", "model__quantizer__embedding_dim": 40}
    result = run(command(tmp_path / "run", data_dir, **settings))
    assert result.returncode == 2
    assert result.stderr.startswith("train.py: model.quantizer.embedding_dim is 40; it must be ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.slow
def test_devices_and_dispatches_do_not_change_a_run(tmp_path, data_dir, whole_run, devices):
    arguments = command(tmp_path / "run", data_dir, training__devices=devices)
    result = run(arguments, script=ACCELERATED.format(root=str(ROOT)))
    assert result.returncode == 0, result.stderr
    assert f"on {devices} cpu device" in result.stdout
    expected = metrics(whole_run[0])
    for ours, theirs in zip(metrics(tmp_path / "run"), expected, strict=True):
        assert (ours["step"], ours["split"]) == (theirs["step"], theirs["split"])
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-3)
    state, wanted = saved_state(tmp_path / "run", 40), saved_state(whole_run[0], 40)
    for name, value in wanted.items():
        if name.startswith("params"):
            np.testing.assert_allclose(state[name], value, rtol=1e-2, atol=1e-3, err_msg=name)


def test_more_devices_than_there_are_is_refused(tmp_path, data_dir):
    result = run(command(tmp_path / "run", data_dir, training__devices=5))
    assert result.returncode == 2
    assert result.stderr.startswith("train.py: training.devices is 5; it must be at most 4, ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_seed_decides_the_run(tmp_path, data_dir, whole_run):
    result = run(command(tmp_path / "run", data_dir, training__seed=1, training__max_steps=5))
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path / "run")[0]["loss"] != metrics(whole_run[0])[0]["loss"]


@pytest.mark.slow
def test_a_finished_run_says_so_and_goes_on_when_asked(tmp_path, data_dir, whole_run):
    workdir = tmp_path / "run"
    assert run(command(workdir, data_dir, training__max_steps=36)).returncode == 0
    before = (workdir / "metrics.jsonl").read_bytes()
    again = run(command(workdir, data_dir, training__max_steps=36))
    assert again.returncode == 0
    assert "this run is finished, 36 steps are done" in again.stdout
    assert_ends(workdir, again.stdout)
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert run(command(workdir, data_dir)).returncode == 0
    assert metrics(workdir) == metrics(whole_run[0])


def test_changed_settings_are_refused(data_dir, whole_run):
    workdir, _ = whole_run
    before = (workdir / "metrics.jsonl").read_bytes()
    result = run(command(workdir, data_dir, training__learning_rate=0.5, training__max_steps=50))
    assert result.returncode == 2
    assert "training.learning_rate was 0.001 and is 0.5" in result.stderr
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_the_trained_model_can_be_loaded(data_dir, whole_run):
    workdir, _ = whole_run
    model = load_model(workdir)
    images = load_dataset("tiny", data_dir=str(data_dir)).test.arrays["image"]
    loss = model(to_floats(jnp.asarray(images))).loss
    best = min((r for r in metrics(workdir) if r["split"] == "test"), key=lambda r: r["nmse"])
    np.testing.assert_allclose(loss, best["loss"], rtol=1e-4)
    saved = saved_state(workdir, best["step"])
    np.testing.assert_array_equal(
        model.quantizer.embeddings[...], saved["state.params.quantizer.embeddings"]
    )
    assert isinstance(model, vqvae_jax.Tokenizer)
    assert len(jax.tree.leaves(model)) == 13


@pytest.mark.slow
def test_a_loss_that_explodes_stops_the_run(tmp_path, data_dir):
    result = run(command(tmp_path / "run", data_dir, training__learning_rate=1e30))
    assert result.returncode == 1
    assert result.stderr.startswith("train.py: the codebook_loss of step 2 is ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


BAD = [
    ([], 2, "--config is missing"),
    (
        ["--config", "configs/none.py"],
        2,
        "train.py: configs/none.py cannot be read: No such file or directory\n",
    ),
    (["--nonsense=1"], 2, "nonsense"),
    (["--config.training.seed=1"], 2, "--config is missing"),
    (
        ["--config=configs/mnist.py", "--config.training.sead=1"],
        2,
        "training.sead is unknown; did you mean training.seed",
    ),
    (
        ["--config=configs/mnist.py", "--config.training.batch_size=many"],
        2,
        "training.batch_size is 'many'; it must be an integer of at least 1",
    ),
    (
        ["--config=configs/mnist.py", "--config.data.name=none", "--config.data.data_dir=."],
        1,
        "no download of none is known",
    ),
]
BAD_IN_OTHER_WAYS = [
    (
        ["--config", "README.md"],
        2,
        "README.md is not a config: it must be Python with get_config()",
    ),
    (
        ["--config=configs/mnist.py", "--workdir=README.md"],
        2,
        "--workdir is README.md; README.md is a file, not a folder",
    ),
    (["--flagfile=none"], 2, "none"),
    (
        ["--config=configs/mnist.py", "--config.model.num_embeddings=64"],
        2,
        "model.num_embeddings is now model.quantizer.num_embeddings",
    ),
    (["--config", "configs/mnist.py", "stray"], 2, "'stray' is not a flag"),
    (
        ["--config=configs/mnist.py", "--config.prior.channels=3"],
        2,
        "this config has no section prior",
    ),
    (
        ["--config=configs/mnist.py", "--config.training.learning_rate=nan"],
        2,
        "training.learning_rate is nan; it must be a finite number above 0",
    ),
    (
        ["--config=configs/mnist.py", "--config.data.archives=none"],
        1,
        "data.archives is none, which does not hold train-images-idx3-ubyte.gz",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [*BAD, *(pytest.param(*case, marks=pytest.mark.slow) for case in BAD_IN_OTHER_WAYS)],
)
def test_bad_input_gets_one_line_and_a_status(arguments, status, message):
    result = run(arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert result.stderr.startswith("train.py: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_batch_larger_than_the_data_is_refused(tmp_path, data_dir):
    result = run(command(tmp_path / "run", data_dir, training__batch_size=91))
    assert result.returncode == 2
    assert "training.batch_size is 91; it must be at most 90" in result.stderr
    assert not (tmp_path / "run").exists()


def test_images_that_the_model_cannot_take_are_refused(tmp_path):
    from tests.conftest import write_small_set

    folder = write_small_set(tmp_path / "archives", size=10)
    arguments = command(tmp_path / "run", tmp_path / "data", data__archives=folder)
    result = run(arguments)
    assert result.returncode == 2
    assert "with H, W multiples of 4, 4" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_wrong_value_in_a_config_file_is_named(tmp_path):
    file = tmp_path / "wrong.py"
    good = (ROOT / "configs" / "mnist.py").read_text()
    file.write_text(good.replace('"batch_size": 128', '"batch_size": 0'))
    result = run(["--config", str(file)])
    assert result.returncode == 2
    assert result.stderr.startswith("train.py: training.batch_size is 0; it must be an integer")
    assert result.stderr.count("\n") == 1


def test_help_lists_every_setting():
    result = run(["--help"])
    assert result.returncode == 0
    assert "--config.training.learning_rate: float; default: 0.001" in result.stdout
