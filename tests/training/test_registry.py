"""Quantizers by name: every recipe and every config builds, and what does not fit is named."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs.mnist import get_config
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config
from vqvae_jax.training.model import build_vqvae
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
    assert output.reconstruction.shape == images.shape
    assert output.loss.shape == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_its_model(name):
    assert name == "mnist" or name.startswith("mnist_")
    module = importlib.import_module(f"configs.{name}")
    assert f"configs/{name}.py" in module.__doc__
    assert_takes_images(Config.from_dict(module.get_config().to_dict()))


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
        ({"quantizer": "fsq"}, "levels is empty"),
        (
            {"quantizer": "simvq", "kmeans_init": True},
            "model.kmeans_init is True; the quantizer simvq does not take it: it must be False",
        ),
        ({"quantizer": "lfq", "embedding_dim": 40}, "embedding_dim is 40; it must be at most 30"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_vqvae(config_with(**settings), 1, 0.09)
