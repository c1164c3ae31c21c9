"""Settings: what is allowed, and what is said where something is not."""

import dataclasses
import json
import re

import numpy as np
import pytest

from configs import mnist as mnist_config
from configs import mnist_prior
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import SECTIONS, Config, changed_setting, rule_of, rules
from vqvae_jax.training.flags import help_text

pytestmark = pytest.mark.usefixtures("unchecked")  # settings are checked by their own rules


def mnist(**changes):
    of_prior = any(path.startswith(("prior__", "vqvae_training__")) for path in changes)
    settings = (mnist_prior if of_prior else mnist_config).get_config().to_dict()
    for path, value in changes.items():
        section, name = path.split("__")
        settings[section][name] = value
    return settings


def test_mnist_is_the_reference_protocol():
    config = Config.from_dict(mnist())
    assert config.to_dict() == {
        "data": {"name": "mnist", "archives": None, "data_dir": None, "allow_sample": True},
        "model": {
            "quantizer": "vq",
            "embedding_dim": 16,
            "num_embeddings": 128,
            "commitment_cost": 0.25,
            "estimator": "straight_through",
            "revival_threshold": 0.0,
            "kmeans_init": False,
            "levels": (),
            "num_quantizers": 1,
            "codebook_dim": 8,
            "temperature": 1.0,
            "entropy_cost": 0.1,
            "head": "none",
            "head_dim": 32,
            "num_mixtures": 10,
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
            "log_every": 100,
            "checkpoint_every": 500,
            "accept_changes": False,
            "patience": None,
        },
    }
    assert Config.from_dict(config.to_config_dict().to_dict()) == config


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("setting", "values", "allowed"),
    [
        ("training__batch_size", [0, -1, 1.5, "128", None, True, NAN], "an integer from 1 to"),
        (
            "training__learning_rate",
            [0, -1e-3, NAN, INF, "1e-3", -(10**400), None, True],
            "number above 0",
        ),
        ("training__num_epochs", [0, -1, 0.5, None], "an integer from 1 to"),
        ("training__max_steps", [0, -1, 1.0, "all"], "an integer from 1 to .*, or not given"),
        ("training__schedule", ["step", None], "one of constant, cosine, linear"),
        ("training__optimizer", ["adagrad", None], "one of adam, adamw, lion, sgd, muon"),
        ("training__warmup_steps", [-1, 1.5], "an integer from 0 to"),
        ("training__weight_decay", [-1.0, INF, "0"], "number of at least 0"),
        ("training__clip_norm", [0, -1.0, NAN], "number above 0, or not given"),
        ("training__accumulate", [0, 1.5], "an integer from 1 to"),
        ("training__average_decay", [-0.1, 1, NAN], "at least 0 and below 1"),
        ("training__accept_changes", ["yes", None, 1], "True or False"),
        ("training__precision", ["float16", None], "one of float32, bfloat16"),
        ("training__patience", [0, 1.5], "an integer from 1 to .*, or not given"),
        ("training__seed", [-1, 2**32, 0.0, None], "an integer from 0 to 4294967295"),
        ("training__log_every", [0, None], "an integer from 1 to"),
        ("training__devices", [0, 1.5], "an integer from 1 to 65536, or not given"),
        ("training__checkpoint_every", [0, -5], "an integer from 1 to"),
        ("model__embedding_dim", [0, -16, 2**20, 16.0], "an integer from 1 to 65536"),
        ("model__num_embeddings", [0, "128"], "an integer from 1 to"),
        ("model__commitment_cost", [-0.25, NAN, INF, None], "finite number of at least 0"),
        ("model__quantizer", ["", "vqvae", None, 3], "one of vq, ema, "),
        ("model__estimator", ["st", None], "one of straight_through, rotation_trick"),
        ("model__revival_threshold", [-0.1, 1.0, NAN, None], "at least 0 and below 1"),
        ("model__kmeans_init", [None, 1], "True or False"),
        ("model__levels", [8, (1, 2), (2.0,), (True, 2), "8"], "integers of at least 2"),
        ("model__num_quantizers", [0, 1.5, None], "an integer from 1 to"),
        ("model__codebook_dim", [0, None], "an integer from 1 to"),
        ("model__entropy_cost", [-1, NAN, None], "finite number of at least 0"),
        ("model__temperature", [0, -1.0, INF, None], "finite number above 0"),
        ("model__head", ["", None, "gaussian"], "one of none, categorical, logistic_mixture"),
        ("model__head_dim", [0, 1.5, None], "an integer from 1 to"),
        ("model__num_mixtures", [0, None], "an integer from 1 to"),
        ("prior__vqvae", ["", None, 3], "the path of a folder"),
        ("prior__kind", ["", "rnn", None], "one of pixelcnn, transformer"),
        ("prior__channels", [0, None], "an integer from 1 to"),
        ("prior__dilations", [1, (0,), (1.0,)], "integers of at least 1"),
        ("prior__num_layers", [0, None], "an integer from 1 to"),
        ("prior__num_heads", [0, None], "an integer from 1 to"),
        ("prior__dropout", [-0.1, 1, NAN, None], "at least 0 and below 1"),
        ("prior__conditional", [1, None], "True or False"),
        ("prior__label_dropout", [-0.1, 1, NAN, None], "at least 0 and below 1"),
        ("data__name", ["", "MNIST", "../x", "a/b", None, 3], "lower-case letters"),
        ("data__archives", ["", 3, "a\0b"], "the path of a folder, or not given"),
        ("data__data_dir", ["", 3], "the path of a folder, or not given"),
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
    tried = {case[0].replace("__", ".") for case in mark.args[1]}
    assert tried == {path for path in rules() if not path.startswith("vqvae_training.")}


def test_the_vqvaes_protocol_has_the_rules_of_any():
    with pytest.raises(
        ConfigError, match=r"^vqvae_training\.num_epochs is 0; it must be an integer"
    ):
        Config.from_dict(mnist(vqvae_training__num_epochs=0))
    ours = {name.partition(".")[2] for name in rules() if name.startswith("vqvae_training.")}
    assert ours == {name.partition(".")[2] for name in rules() if name.startswith("training.")}


def test_prior_configs_survive_their_ways():
    config = Config.from_dict(mnist(prior__dilations=(1, 3), prior__kind="pixelcnn"))
    assert config.prior is not None
    assert config.prior.dilations == (1, 3)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Config.from_dict(config.to_config_dict().to_dict()) == config


def test_a_prior_needs_the_protocol_of_its_vqvae():
    settings = mnist(prior__kind="pixelcnn")
    del settings["vqvae_training"]
    with pytest.raises(ConfigError, match="prior and vqvae_training must both be given, or neith"):
        Config.from_dict(settings)


def test_labels_left_out_need_labels():
    with pytest.raises(ConfigError, match=r"prior.label_dropout is 0.1; if prior.conditional"):
        Config.from_dict(mnist(prior__label_dropout=0.1))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "training.learning_rat",
            "did you mean training.learning_rate or vqvae_training.learning_rate?",
        ),
        ("trainin.seed", "did you mean training.seed or vqvae_training.seed?"),
        ("model.learning_rate", "did you mean training.learning_rate or vqvae_training.learn"),
        ("Training.Seed", "did you mean training.seed or vqvae_training.seed?"),
        ("kmeans_init", "did you mean model.kmeans_init?"),
        ("prior.x", "the settings of prior are vqvae, kind, channels, dilations, "),
        ("x.y", "the sections are data, model, training, prior, vqvae_training"),
    ],
)
def test_the_settings_nearest_to_an_unknown_one_are_named(path, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path} is unknown; {said}')}") as refusal:
        rule_of(path)
    assert str(refusal.value).count(".") <= 7  # at most three of the settings


@pytest.mark.parametrize(
    ("setting", "value", "near"),
    [
        ("model__quantizer", "emaa", "ema"),
        ("model__estimator", "rotation-trick", "rotation_trick"),
        ("model__head", "logistic", "logistic_mixture"),
        ("prior__kind", "PixelCNN", "pixelcnn"),
    ],
)
def test_the_name_nearest_to_an_unknown_one_is_said(setting, value, near):
    with pytest.raises(ConfigError, match=rf" is '{value}'; it must be .*; did you mean {near}\?$"):
        Config.from_dict(mnist(**{setting: value}))


def test_numbers_of_numpy_are_numbers():
    values = {
        "training__seed": np.int64(3),
        "training__learning_rate": np.float64(0.5),
        "model__kmeans_init": np.bool_(True),
        "model__levels": np.array([8, 5]),
    }
    config = Config.from_dict(mnist(**values))
    plain = Config.from_dict(json.loads(json.dumps(config.to_dict())))
    assert plain == config
    assert plain.model.levels == (8, 5)
    assert (plain.training.seed, plain.training.learning_rate) == (3, 0.5)
    with pytest.raises(ConfigError, match=r"training.seed is True; it must be an integer"):
        Config.from_dict(mnist(training__seed=np.bool_(True)))


def test_help_says_what_every_setting_is():
    text = help_text()
    for path, rule in rules().items():
        (start,) = re.findall(rf"  --config\.{re.escape(path)}: (.*)", text)
        assert start.startswith(f"{rule.allowed}; ")
    for part in (
        "--config.model.estimator: one of straight_through, rotation_trick, nsvq, diveq; "
        "default: straight_through\n      estimator of the gradient. With nsvq",
        "--config.training.learning_rate: a finite number above 0; default: 0.001\n"
        "      peak step size.\n",
        "--config.vqvae_training.patience: an integer from 1 to 1000000000, or not given; default: "
        "not given\n      number of epochs in a row",
    ):
        assert part in text
    for section, kind in SECTIONS.items():
        meanings = kind.meanings()
        assert list(meanings) == [field.name for field in dataclasses.fields(kind)], section
        for meaning in meanings.values():
            assert meaning in " ".join(text.split())


def test_unknown_and_missing_settings_are_named():
    with pytest.raises(ConfigError, match=r"^trainin is unknown; did you mean training"):
        Config.from_dict(mnist() | {"trainin": {}})
    with pytest.raises(ConfigError, match="'model' is 3; it must be a group of settings"):
        Config.from_dict(mnist() | {"model": 3})
    incomplete = mnist()
    del incomplete["model"]["embedding_dim"]
    with pytest.raises(
        ConfigError, match=r"model\.embedding_dim is missing; it must be an integer"
    ):
        Config.from_dict(incomplete)
    del incomplete["model"]
    with pytest.raises(ConfigError, match=r"model\.embedding_dim is missing"):
        Config.from_dict(incomplete)


def test_codebook_larger_than_memory_is_refused():
    with pytest.raises(ConfigError, match=r"times model\.embedding_dim is .* at most"):
        Config.from_dict(mnist(model__num_embeddings=2**24, model__embedding_dim=2**16))


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
        ("model__num_embeddings", 64, "model.num_embeddings was 128 and is 64"),
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
