"""`vqvae_jax.train`: networks of a user's own, on arrays in memory and other sources."""

import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.end_to_end.programs import metrics, saved_state
from tests.training.test_log import Calls
from vqvae_jax import FSQ, SquaredError, Tokenizer
from vqvae_jax.errors import CheckpointError, ConfigError, DataError
from vqvae_jax.training.checkpoint import latest_checkpoint
from vqvae_jax.training.loop import Run
from vqvae_jax.training.saved import load_model
from vqvae_jax.training.train import train

WAVES = np.sin(np.arange(48 * 32).reshape(48, 32, 1) * 0.37).astype(np.float32)


class Down(nnx.Module):
    """An encoder of sequences, of flax's own layers."""

    spatial_rank, downsampling = 1, (8,)

    def __init__(self, width, *, rngs):
        self.convs = nnx.List(
            [nnx.Conv(1, width, 8, strides=8, rngs=rngs), nnx.Conv(width, 3, 1, rngs=rngs)]
        )

    def __call__(self, x):
        return self.convs[1](nnx.gelu(self.convs[0](x)))


class Up(nnx.Module):
    spatial_rank, downsampling = 1, (8,)

    def __init__(self, *, rngs):
        self.conv = nnx.ConvTranspose(3, 1, 8, strides=8, rngs=rngs)

    def __call__(self, z):
        return self.conv(z)


def sound(width=4, dtype=None):
    rngs = nnx.Rngs(0)
    parts = Down(width, rngs=rngs), FSQ((5, 5, 5)), Up(rngs=rngs)
    return Tokenizer(*parts, SquaredError(1, 0.5), dtype=dtype)


SETTINGS = {
    "batch_size": 8,
    "num_epochs": 6,
    "optimizer": "adamw",
    "learning_rate": 1e-2,
    "weight_decay": 1e-3,
    "warmup_steps": 4,
    "schedule": "cosine",
    "average_decay": 0.9,
}


@pytest.mark.slow
def test_an_encoder_of_ones_own_learns_sequences_in_bfloat16(tmp_path, capsys):
    model = sound(dtype=jnp.bfloat16)
    trained = train(model, WAVES[:40], WAVES[40:], workdir=tmp_path / "run", training=SETTINGS)
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"  next        vqvae_jax.load_model('{tmp_path / 'run'}', like=model)"
    assert (tmp_path / "run" / "tensorboard").is_dir()
    np.testing.assert_array_equal(model.decoder.conv.bias[...], 0)  # not what was trained
    records = [record for record in metrics(tmp_path / "run") if record["split"] == "test"]
    assert records[-1]["nmse"] < 0.7 * records[0]["nmse"]
    assert trained.encode(jnp.asarray(WAVES)).shape == (48, 4)
    best = min(record["nmse"] for record in records)
    loss = trained(jnp.asarray(WAVES[40:])).reconstruction_loss
    np.testing.assert_allclose(loss, best, rtol=1e-3)
    loaded = load_model(tmp_path / "run", like=sound(dtype=jnp.bfloat16))
    np.testing.assert_array_equal(loaded(jnp.asarray(WAVES[40:])).reconstruction_loss, loss)
    assert (tmp_path / "run" / "training.png").exists()


@pytest.mark.slow
def test_a_run_resumes_where_it_was(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    data = WAVES[:40], WAVES[40:]
    train(sound(), *data, workdir=whole, training=SETTINGS)
    for steps in (7, 30):
        train(sound(), *data, workdir=parts, training=SETTINGS | {"max_steps": steps})
    states = saved_state(whole, 30), saved_state(parts, 30)
    for name, value in states[0].items():
        if not name.startswith(("sums", "examples")):  # it also paused at step 7
            np.testing.assert_array_equal(states[1][name], value, err_msg=name)
    with pytest.raises(ConfigError, match=r"training.weight_decay was 0.001 and is 0.1 \(training"):
        train(sound(), *data, workdir=whole, training=SETTINGS | {"weight_decay": 0.1})
    with pytest.raises(ConfigError, match="its examples were different; use another workdir"):
        train(sound(), WAVES[:39], WAVES[40:], workdir=whole, training=SETTINGS)
    with pytest.raises(CheckpointError, match=r"bias as float32 \(4,\), not float32 \(5,\)"):
        train(sound(width=5), *data, workdir=whole, training=SETTINGS)


class Files:
    """Examples that are read one at a time."""

    def __init__(self, waves):
        self.spec = {"wave": jax.ShapeDtypeStruct((32, 1), np.float32)}
        self.waves, self.fingerprint = waves, f"{len(waves)} waves"

    def __len__(self):
        return len(self.waves)

    def __getitem__(self, index):
        return {"wave": self.waves[index]}


@pytest.mark.slow
def test_a_source_of_ones_own_is_trained_on_like_arrays(tmp_path):
    train(sound(), WAVES[:40], WAVES[40:], workdir=tmp_path / "a", training=SETTINGS)
    data, settings = (Files(WAVES[:40]), Files(WAVES[40:])), SETTINGS | {"max_steps": 7}
    for training in (settings, SETTINGS):
        train(sound(), *data, workdir=tmp_path / "b", training=training)
    assert metrics(tmp_path / "b")[-1] == metrics(tmp_path / "a")[-1]
    with pytest.raises(ConfigError, match="its examples were different"):
        train(sound(), Files(WAVES[:39]), data[1], workdir=tmp_path / "b", training=SETTINGS)


@pytest.mark.slow
def test_a_resumed_run_takes_another_optimizer_when_told_to(tmp_path):
    run, data, changes = tmp_path / "run", (WAVES[:40], WAVES[40:]), {}
    train(sound(), *data, workdir=run, training=SETTINGS | {"max_steps": 12})
    for told in (True, False):
        changes = {"learning_rate": 5e-3, "schedule": "linear", "clip_norm": 1.0}
        settings = SETTINGS | changes | {"accept_changes": told, "max_steps": 30 - 10 * told}
        train(sound(), *data, workdir=run, training=settings)
    expected = {"step": 12, "epoch": 3, "split": "settings", "images": 0} | changes
    assert [record for record in metrics(run) if record["split"] == "settings"] == [expected]
    assert metrics(run)[-1]["step"] == 30
    with pytest.raises(ConfigError, match=r"training\.optimizer was 'adamw' and is 'lion'"):
        train(sound(), *data, workdir=run, training=settings | {"optimizer": "lion"})


def test_the_log_is_written_where_the_caller_says(tmp_path):
    told = []
    settings = SETTINGS | {"max_steps": 2}
    train(
        sound(),
        WAVES[:40],
        WAVES[40:],
        workdir=tmp_path / "run",
        training=settings,
        log=[Calls(told)],
    )
    begun, *written = told
    assert begun == ("open", tmp_path / "run", 0)
    assert written == [
        ("write", 2),
        ("write", 2),
        ("figures", 2, "training.png"),
        ("histograms", 2, "codes"),
        ("flush",),
        ("close",),
    ]
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.slow  # two programs to compile
def test_samples_of_16_bits_are_seen_in_the_value_range(tmp_path):
    samples = (WAVES * 2**14).astype(np.int16)
    labelled = {"audio": samples, "label": np.zeros(len(samples), np.int32)}
    settings = {"batch_size": len(samples), "max_steps": 1, "log_every": 1}
    train(sound(), labelled, labelled, workdir=tmp_path, training=settings)
    loss = sound()(jnp.asarray(samples / np.float32(2**16))).loss
    np.testing.assert_allclose(metrics(tmp_path)[0]["loss"], loss, rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_one_writer_is_no_list(tmp_path):
    with pytest.raises(ValueError, match=r"^log is <.*>; it must be a list of LogWriter comp"):
        train(sound(), WAVES, WAVES, workdir=tmp_path / "run", log=Calls([]))


def test_wrong_settings_are_named(tmp_path):
    for settings, message in (
        ({"learning_rat": 1.0}, "training.learning_rat is unknown; did you mean"),
        ({"num_epochs": 0}, "training.num_epochs is 0; it must be an integer of at least 1"),
        ({"batch_size": 41}, "training.batch_size is 41; it must be at most 40"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(sound(), WAVES[:40], WAVES[40:], workdir=tmp_path / "run", training=settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "held_out", "changes", "message"),
    [
        (WAVES, WAVES[:0], {}, "there are no held-out examples; there must be at least 1"),
        (WAVES.astype(int), WAVES, {}, "source has type int64; it must be uint8, for pixels"),
        (WAVES, WAVES[..., 0], {}, r"held_out has shape \(48, 32\); .* and 1 channels last"),
        (WAVES, WAVES.astype(np.uint8), {}, "held_out has type uint8; it must be float32, like"),
        ((WAVES, WAVES), WAVES, {}, "source has type tuple; it must .* which has spec, finge"),
        (WAVES, WAVES, {"precision": "bfloat16"}, "the tokenizer's dtype is None; .* make it"),
        (
            {"image": WAVES, "n": WAVES[:3]},
            WAVES,
            {},
            "the lengths {'image': 48, 'n': 3}; it must",
        ),
        ({"image": WAVES, "n": 3}, WAVES, {}, "source: 'n' has type int; it must be an array"),
        (
            {"image": WAVES, "n": WAVES},
            WAVES,
            {},
            "held_out has data; it must have image, like so",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_data_that_do_not_fit_are_named(tmp_path, source, held_out, changes, message):
    settings = {"batch_size": 8} | changes
    with pytest.raises((ConfigError, DataError), match=message):
        train(sound(), source, held_out, workdir=tmp_path / "run", training=settings)
    assert not (tmp_path / "run").exists()


def test_parts_without_the_attributes_are_named():
    plain = nnx.Linear(1, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="the encoder, a Linear, has no attribute spatial_rank"):
        Tokenizer(plain, FSQ((5, 5, 5)), Up(rngs=nnx.Rngs(0)), SquaredError(1, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "raised"),
    [
        pytest.param(signal.SIGINT, KeyboardInterrupt, marks=pytest.mark.slow),
        (signal.SIGTERM, SystemExit),
    ],
)
def test_a_signal_saves_the_step(tmp_path, monkeypatch, number, raised):
    dispatch, before = Run._dispatch, signal.getsignal(number)

    def asked(run):
        if run.step == 7:
            signal.raise_signal(number)
        return dispatch(run)

    monkeypatch.setattr(Run, "_dispatch", asked)
    with pytest.raises(raised):
        train(sound(), WAVES[:40], WAVES[40:], workdir=tmp_path / "run", training=SETTINGS)
    assert signal.getsignal(number) is before
    latest = latest_checkpoint(tmp_path / "run")
    assert latest.step == 8
    with pytest.raises(CheckpointError, match=r"a run of vqvae_jax\.train, .* as like"):
        load_model(tmp_path / "run")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"tqdm is missing; pip install \"vqvae_jax\[train\]\""):
        train(sound(), WAVES[:40], WAVES[40:], workdir=tmp_path / "run", training=SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"downsampling": (4,)}, "the encoder has spatial_rank and downsampling .*they must be"),
        ({"spatial_rank": 2}, r"the encoder has spatial_rank 2 and downsampling \(8,\); it must"),
        ({"downsampling": 8}, "the encoder has spatial_rank 1 and downsampling 8; .* a tuple of"),
        ({"__call__": lambda self, x: x}, r"the encoder maps \[1, 32, 1\] to \[1, 32, 1\]; it"),
    ],
)
def test_parts_that_do_not_fit_are_named(change, message):
    rngs = nnx.Rngs(0)
    encoder = type("Other", (Down,), change)(4, rngs=rngs)
    with pytest.raises(ValueError, match=message):
        Tokenizer(encoder, FSQ((5, 5, 5)), Up(rngs=rngs), SquaredError(1, 0.5))
