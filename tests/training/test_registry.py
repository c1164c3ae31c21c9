"""Quantizers by name: every recipe and every config builds, and what does not fit is named."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs.mnist import get_config
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config
from vqvae_jax.training.model import build_vqvae, prior_for
from vqvae_jax.training.networks import CodeMaps
from vqvae_jax.training.registry import RECIPES

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.py"))
# What each quantizer needs beside its name.
NEEDED = {
    "fsq": {"levels": (5, 5, 5), "embedding_dim": 3, "num_embeddings": 125},
    "lfq": {"embedding_dim": 7},
    "bsq": {"embedding_dim": 7},
}


def config_with(**settings):
    config = get_config().to_dict()
    return Config.from_dict(config | {"model": config["model"] | settings})


def assert_takes_images(config):
    model = nnx.eval_shape(lambda: build_vqvae(config, 1, 0.09))
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    output = nnx.eval_shape(lambda model, x: model(x, key=jax.random.key(0)), model, images)
    channels = 1 if config.model.head == "none" else config.model.head_dim
    assert output.reconstruction.shape == (2, 28, 28, channels)
    assert output.loss.shape == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_its_model(name):
    assert name == "mnist" or name.startswith("mnist_")
    module = importlib.import_module(f"configs.{name}")
    assert f"configs/{name}.py" in module.__doc__
    config = Config.from_dict(module.get_config().to_dict())
    assert_takes_images(config)
    if config.prior is not None:
        maps = CodeMaps((7, 7), config.model.num_embeddings, None, 10)
        codes, labels = jnp.zeros((2, 7, 7), jnp.int32), jnp.zeros(2, jnp.int32)
        known = labels if config.prior.conditional else None
        logits = nnx.eval_shape(lambda: prior_for(config, maps)(codes, known))
        assert logits.shape == (2, 7, 7, config.model.num_embeddings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head_dim": 8}, "model.head_dim is 8; the head none does not take it: it must be 32"),
        (
            {"head": "categorical", "num_mixtures": 3},
            "model.num_mixtures is 3; the head categorical does not take it: it must be 10",
        ),
    ],
)
def test_settings_that_a_head_does_not_take_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_vqvae(config_with(**settings), 1, 0.09)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_a_quantizer(name):
    assert_takes_images(config_with(quantizer=name, **NEEDED.get(name, {})))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"quantizer": "fsq", "levels": (8, 4), "num_embeddings": 32},
            "model.embedding_dim is 16; with the other settings of the quantizer fsq it must be 2",
        ),
        (
            {"levels": (8, 4)},
            r"model.levels is \(8, 4\); the quantizer vq does not take it: it must be \(\)",
        ),
        ({"quantizer": "fsq"}, r"^model\.levels is empty"),
        (
            {"quantizer": "simvq", "kmeans_init": True},
            "model.kmeans_init is True; the quantizer simvq does not take it: it must be False",
        ),
        (
            {"quantizer": "lfq", "embedding_dim": 40},
            r"^model\.embedding_dim is 40; it must be at most 30",
        ),
        (
            {"quantizer": "product", "embedding_dim": 1},
            r"^model\.embedding_dim is 1; the quantizer product halves it: it must be at least 2",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_vqvae(config_with(**settings), 1, 0.09)
