"""Settings: what is allowed, and what is said where something is not."""

import json

import numpy as np
import pytest

from configs import mnist as mnist_config
from configs import mnist_prior
from vqvae_jax import NamedDataset
from vqvae_jax.errors import ConfigError
from vqvae_jax.signatures import settings_of
from vqvae_jax.training.config import SECTIONS, Config
from vqvae_jax.training.resuming import changed_setting

pytestmark = pytest.mark.usefixtures("unchecked")  # settings are checked by their constructors


def mnist(**changes):
    of_prior = any(path.startswith(("prior__", "vqvae_training__")) for path in changes)
    settings = (mnist_prior if of_prior else mnist_config).get_config().to_dict()
    for path, value in changes.items():
        *sections, name = path.split("__")
        inner = settings
        for section in sections:
            inner = inner[section]
        inner[name] = value
    return settings


def test_mnist_is_the_reference_protocol():
    config = Config.from_dict(mnist())
    assert config.to_dict() == {
        "data": {
            "kind": "NamedDataset",
            "name": "mnist",
            "archives": None,
            "data_dir": None,
            "allow_sample": True,
        },
        "model": {
            "encoder": {"kind": "Encoder"},
            "quantizer": {
                "kind": "VectorQuantizer",
                "embedding_dim": 16,
                "num_embeddings": 128,
                "commitment_cost": 0.25,
                "codebook_cost": 1.0,
                "estimator": "straight_through",
                "revival_threshold": 0.0,
                "revival_tokens": 0.0,
                "usage_decay": 0.99,
                "kmeans_init": False,
            },
            "decoder": {"kind": "Decoder"},
            "likelihood": {"kind": "SquaredError"},
            "value_range": (-0.5, 0.5),
            "init_from": None,
            "init_parts": "encoder,quantizer,decoder,likelihood",
            "frozen": "",
        },
        "training": {
            "batch_size": 128,
            "learning_rate": 1e-3,
            "optimizer": "adam",
            "schedule": "constant",
            "warmup_steps": 0,
            "weight_decay": 0.0,
            "clip_norm": None,
            "accumulate": 1,
            "average_decay": 0.0,
            "precision": "float32",
            "num_epochs": 30,
            "max_steps": None,
            "seed": 0,
            "devices": None,
            "workers": 0,
            "log_every": 100,
            "checkpoint_every": 500,
            "evaluate_every": 1,
            "accept_changes": False,
            "patience": None,
        },
        "evaluation": {"metrics": ()},
        "log": {"writers": ({"kind": "TensorBoard"},)},
    }


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("setting", "values", "allowed"),
    [
        ("training__batch_size", [0, -1, 1.5, "128", None, True, NAN], "an integer of at least 1$"),
        (
            "training__learning_rate",
            [0, -1e-3, NAN, INF, "1e-3", -(10**400), None, True],
            "number above 0",
        ),
        ("training__num_epochs", [0, -1, 0.5, None], "an integer of at least 1$"),
        ("training__max_steps", [0, -1, 1.0, "all"], "an integer of at least 1$"),
        ("training__schedule", ["step", None], "one of constant, cosine, linear"),
        ("training__optimizer", ["adagrad", None], "one of adam, adamw, lion, sgd, muon"),
        ("training__warmup_steps", [-1, 1.5], "an integer of at least 0$"),
        ("training__weight_decay", [-1.0, INF, "0"], "number of at least 0"),
        ("training__clip_norm", [0, -1.0, NAN], "number above 0"),
        ("training__accumulate", [0, 1.5], "an integer of at least 1$"),
        ("training__average_decay", [-0.1, 1, NAN], "at least 0 and below 1"),
        ("training__accept_changes", ["yes", None, 1], "True or False"),
        ("training__precision", ["float16", None], "one of float32, bfloat16"),
        ("training__patience", [0, 1.5], "an integer of at least 1$"),
        ("training__seed", [-1, 2**32, 0.0, None], "an integer of at (least 0|most 4294967295)$"),
        ("training__log_every", [0, None], "an integer of at least 1$"),
        ("training__devices", [0, 1.5], "an integer of at least 1$"),
        ("training__checkpoint_every", [0, -5], "an integer of at least 1$"),
        ("training__evaluate_every", [0, 1.5], "an integer of at least 1$"),
        ("training__workers", [-1, None], "an integer of at least 0$"),
        ("prior__vqvae", ["", None, 3], "the path of a file or folder"),
        ("prior__conditional", [1, None], "True or False"),
        ("prior__label_dropout", [-0.1, 1, NAN, None], "at least 0 and below 1"),
        ("data__name", ["", "MNIST", "../x", "a/b", None, 3], "lower-case letters"),
        ("data__archives", ["", 3, "a\0b"], "the path of a file or folder"),
        ("data__data_dir", ["", 3], "the path of a file or folder"),
        ("data__allow_sample", [None, 1, "yes"], "True or False"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(setting, values, allowed):
    path = setting.replace("__", r"\.")
    for value in values:
        with pytest.raises(ConfigError, match=f"{path} is .*; it must be .*{allowed}") as refusal:
            Config.from_dict(mnist(**{setting: value}))
        assert "\n" not in str(refusal.value)


def test_every_setting_is_tried_above():
    (mark,) = test_wrong_value_is_named_with_what_is_allowed.pytestmark
    tried = {case[0] for case in mark.args[1]}
    assert tried == {
        f"{section}__{name}"
        for section, kind in (SECTIONS | {"data": NamedDataset}).items()
        if section in ("data", "training", "prior")
        for name in settings_of(kind)
    }


def test_the_vqvaes_protocol_is_checked_as_any():
    with pytest.raises(
        ConfigError, match=r"^vqvae_training\.num_epochs is 0; it must be an integer"
    ):
        Config.from_dict(mnist(vqvae_training__num_epochs=0))


def test_priors_are_components_among_other_settings():
    config = Config.from_dict(mnist(prior__dilations=[1, 3], prior__conditional=True))
    assert config.prior.conditional
    assert config.network == {"kind": "GatedPixelCNN", "channels": 128, "dilations": (1, 3)}
    settings = config.to_dict()
    assert settings["prior"] == config.network | {
        "vqvae": "runs/mnist",
        "conditional": True,
        "label_dropout": 0.0,
    }
    assert Config.from_dict(json.loads(json.dumps(settings))) == config


def test_a_prior_needs_the_protocol_of_its_vqvae():
    settings = mnist(prior__conditional=True)
    del settings["vqvae_training"]
    with pytest.raises(ConfigError, match="prior and vqvae_training must both be given, or neith"):
        Config.from_dict(settings)


def test_labels_left_out_need_labels():
    with pytest.raises(ConfigError, match=r"prior.label_dropout is 0.1; if conditional is"):
        Config.from_dict(mnist(prior__label_dropout=0.1))


def test_numbers_of_numpy_are_numbers():
    values = {
        "training__seed": np.int64(3),
        "training__learning_rate": np.float64(0.5),
        "model__quantizer": {"kind": "FSQ", "levels": np.array([8, 5])},
    }
    config = Config.from_dict(mnist(**values))
    plain = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert plain == config
    assert plain.model["quantizer"]["levels"] == (8, 5)
    assert (plain.training.seed, plain.training.learning_rate) == (3, 0.5)
    with pytest.raises(ConfigError, match=r"training.seed is True; it must be an integer"):
        Config.from_dict(mnist(training__seed=np.bool_(True)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            mnist() | {"trainin": {}},
            r"^trainin is unknown; the sections are .*; did you mean train",
        ),
        (mnist() | {"model": 3}, "^model is 3; it must be a group of settings$"),
        (mnist() | {"model": {}}, "^model.quantizer is missing; it must be a component"),
        (mnist() | {"data": {}}, "^data.name is missing; it is the data set: mnist, fashion_"),
        (mnist(training__sead=3), r"^training\.sead is unknown; did you mean training\.seed\?$"),
        (mnist(model__encodr={}), r"^model\.encodr is unknown; did you mean model\.encoder "),
        (mnist(prior__x=3), r"^prior\.x is unknown; prior has kind, vqvae, conditional, label_dr"),
        (mnist(model__levels=(5,)), r"^model\.levels is now model\.quantizer\.levels$"),
        (mnist(model__head="none"), r"^model\.head is now model\.likelihood\.kind$"),
        (mnist(prior__kind="transformer"), r"^prior\.kind is 'transformer'; .*TransformerPrior"),
    ],
)
def test_unknown_missing_and_moved_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(settings)


def test_parts_that_are_not_named_are_the_seeds():
    settings = mnist()
    settings["model"] = {"quantizer": settings["model"]["quantizer"]}
    assert Config.from_dict(settings) == Config.from_dict(mnist())


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("training__seed", 1, "training.seed was 0 and is 1"),
        (
            "training__learning_rate",
            2e-3,
            "training.learning_rate was 0.001 and is 0.002 (training.accept_changes=True takes it)",
        ),
        ("training__batch_size", 64, "training.batch_size was 128 and is 64"),
        (
            "model__quantizer__num_embeddings",
            64,
            "model.quantizer.num_embeddings was 128 and is 64",
        ),
        (
            "model__quantizer",
            {"kind": "FSQ", "levels": (5, 5)},
            "model.quantizer.kind was 'VectorQuantizer' and is 'FSQ'",
        ),
        ("model__likelihood__kind", "SquaredError", None),
        ("data__name", "kmnist", "data.name was 'mnist' and is 'kmnist'"),
        ("training__num_epochs", 31, None),
        ("training__max_steps", 31, None),
        ("training__log_every", 31, None),
        ("training__devices", 2, None),
        ("training__checkpoint_every", 31, None),
        ("data__archives", "elsewhere", None),
    ],
)
def test_what_decided_the_past_may_not_change(setting, value, message):
    old, new = Config.from_dict(mnist()), Config.from_dict(mnist(**{setting: value}))
    assert changed_setting(old, new) == message


def test_the_length_of_a_cosine_may_not_change():
    cosine = {"training__schedule": "cosine"}
    old = Config.from_dict(mnist(**cosine))
    new = Config.from_dict(mnist(**cosine, training__num_epochs=31))
    assert changed_setting(old, new).startswith("training.num_epochs was 30 and is 31 (training")
