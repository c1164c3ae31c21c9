"""Runs that start from trained weights, whole or by part, and parts that do not learn."""

import jax
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import VQVAE, from_pretrained, load_model, save_pretrained
from vqvae_jax.errors import ConfigError
from vqvae_jax.tasks.learning import split_model
from vqvae_jax.training.building import build_tokenizer
from vqvae_jax.training.config import Config
from vqvae_jax.training.experiment import train_config
from vqvae_jax.training.start import start_from

QUANTIZER = {"kind": "EMAVectorQuantizer", "embedding_dim": 4, "num_embeddings": 8}


def config_with(**model):
    return Config.from_dict(
        {
            "data": {"name": "mnist"},
            "model": {"quantizer": QUANTIZER, **model},
            "training": {"batch_size": 4, "learning_rate": 1e-3, "num_epochs": 1, "seed": 3},
        }
    )


def variables(part):
    return {
        ".".join(map(str, path)): np.asarray(node[...])
        for path, node in nnx.iter_graph(part)
        if isinstance(node, nnx.Variable)
    }


def assert_same(one, other):
    one, other = variables(one), variables(other)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.fixture(scope="module")
def trained():
    return build_tokenizer(config_with(), 1, 0.1)


@pytest.fixture
def folder(trained, tmp_path):
    save_pretrained(trained, tmp_path / "trained")
    return str(tmp_path / "trained")


def test_parts_are_taken_over_and_the_others_stay(trained, folder):
    model = VQVAE(1, 4, 8, 0.1, quantizer=nnx.clone(trained.quantizer), rngs=nnx.Rngs(9))
    decoder = variables(model.decoder)
    start_from(model, folder, ["encoder", "quantizer"])
    assert_same(model.encoder, trained.encoder)
    assert_same(model.quantizer, trained.quantizer)
    for name, array in variables(model.decoder).items():
        np.testing.assert_array_equal(array, decoder[name])
        assert np.any(array != variables(trained.decoder)[name])


def test_frozen_parts_have_no_parameters():
    whole = split_model(build_tokenizer(config_with(), 1, 0.1))[1]
    some = split_model(build_tokenizer(config_with(frozen="encoder,quantizer"), 1, 0.1))
    assert set(whole) == {"encoder", "decoder"}
    assert set(some[1]) == {"decoder"}
    assert {"encoder", "quantizer"} <= set(some[2])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"init_parts": "encoder,middle"}, "model.init_parts is 'encoder,middle'; it must be of"),
        ({"frozen": "all"}, "model.frozen is 'all'; it must be of encoder, quantizer, decoder"),
        ({"frozen": "encoder, quantizer,decoder"}, "model.frozen is .*; it must leave a part"),
        ({"init_from": ""}, "model.init_from is ''; it must be the path"),
        ({"value_range": 3}, "model.value_range is 3; it must be two numbers"),
    ],
)
def test_wrong_settings_are_named(model, message):
    with pytest.raises(ConfigError, match=message):
        config_with(**model)


def test_a_range_is_one_that_the_likelihood_has():
    head = {"kind": "CategoricalHead", "in_dim": 2}
    with pytest.raises(
        ConfigError, match=r"model: value_range is \(0.*; it must be \(-0\.5, 0\.5\)"
    ):
        build_tokenizer(config_with(value_range=(0, 1), likelihood=head), 1, 0.1)


def test_what_does_not_fit_is_named(trained, folder, tmp_path):
    wider = build_tokenizer(config_with(quantizer=QUANTIZER | {"num_embeddings": 9}), 1, 0.1)
    with pytest.raises(ConfigError, match=r"model\.quantizer has counts \(9,\); it must be built"):
        start_from(wider, folder, ["quantizer"])
    shifted = build_tokenizer(config_with(value_range=(0, 1)), 1, 0.1)
    with pytest.raises(
        ConfigError, match=r"model\.value_range is \(0\.0, 1\.0\); it must be \(-0\.5"
    ):
        start_from(shifted, folder, ["encoder"])
    with pytest.raises(ConfigError, match=r"model\.init_from: .*none does not exist"):
        start_from(trained, str(tmp_path / "none"), ["encoder"])
    save_pretrained(trained.quantizer, tmp_path / "codes")
    with pytest.raises(ConfigError, match=r"model\.init_from is .*codes, a EMAVectorQuantizer"):
        start_from(trained, str(tmp_path / "codes"), ["encoder"])


@pytest.mark.slow
def test_a_run_goes_on_from_an_exported_model(folder, write_archives, tmp_path):
    """Frozen parts keep its weights bit for bit, in the checkpoint too; the decoder learns."""
    archives = write_archives(tmp_path / "archives")
    start = {"init_from": folder, "frozen": "encoder,quantizer"}
    settings = config_with(**start).to_dict()
    settings["data"] |= {
        "name": "blobs",
        "archives": str(archives),
        "data_dir": str(tmp_path / "data"),
    }
    train_config(Config.from_dict(settings), tmp_path / "run")
    before, after = from_pretrained(folder), load_model(tmp_path / "run")
    assert_same(after.encoder, before.encoder)
    assert_same(after.quantizer, before.quantizer)
    moved = jax.tree.map(
        lambda one, other: float(np.abs(one - other).max()),
        variables(after.decoder),
        variables(before.decoder),
    )
    assert all(0 < change < 0.1 for change in moved.values())
