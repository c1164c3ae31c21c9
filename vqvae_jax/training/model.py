"""From a config, or from a run's folder, to a model."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from vqvae_jax.data import Dataset
from vqvae_jax.errors import CheckpointError, ConfigError
from vqvae_jax.models import VQVAE
from vqvae_jax.training.checkpoint import Checkpoints
from vqvae_jax.training.config import Config
from vqvae_jax.training.registry import build_quantizer
from vqvae_jax.training.step import split_model


def build_model(config: Config, in_dim: int, data_variance: float) -> VQVAE:
    """The model that `config` describes, with the initial values that its seed gives.

    Args:
        config: the run's settings.
        in_dim: channels of the images.
        data_variance: of the training pixels.

    Raises:
        ConfigError: the settings of the quantizer do not fit together.
    """

    @nnx.jit  # one program to compile, not one for every layer
    def build() -> VQVAE:
        rngs = nnx.Rngs(config.training.seed)
        return VQVAE(
            in_dim,
            config.model.embedding_dim,
            config.model.num_embeddings,
            data_variance,
            quantizer=build_quantizer(config.model, rngs),
            rngs=rngs,
        )

    try:
        return build()
    except ValueError as error:
        raise ConfigError(str(error)) from error


def model_for(config: Config, data: Dataset) -> VQVAE:
    """The model that `config` describes, after a look at whether it takes the data's images.

    Raises:
        ConfigError: it does not.
    """
    images = jax.ShapeDtypeStruct((1, *data.train_images.shape[1:]), np.float32)
    model = build_model(config, data.train_images.shape[3], data.variance)
    try:
        jax.eval_shape(lambda images: model(images).loss, images)
    except ValueError as error:
        raise ConfigError(
            f"data.name is {data.name}, which the model cannot take: {error}"
        ) from error
    return model


def describe(config: Config, data: Dataset) -> dict[str, Any]:
    """What is written to run.json, and kept in every checkpoint."""
    return {
        "config": config.to_dict(),
        "data": {
            "name": data.name,
            "source": data.source,
            "digest": data.digest,
            "variance": data.variance,
            "train_images": len(data.train_images),
            "test_images": len(data.test_images),
            "image_shape": list(data.train_images.shape[1:]),
        },
    }


def load_model(workdir: str | Path) -> VQVAE:
    """The model of a run, as it was at the evaluation with the lowest held-out nmse.

    Args:
        workdir: the run's folder.

    Raises:
        CheckpointError: there is no evaluated checkpoint, or it does not fit its own description.
    """
    folder = Path(workdir)
    if not (folder / "checkpoints").is_dir():
        raise CheckpointError(f"{folder} holds no run")
    with Checkpoints(folder, read_only=True) as checkpoints:
        if checkpoints.best is None:
            raise CheckpointError(f"{folder} holds no checkpoint with an evaluation yet")
        run = checkpoints.run(checkpoints.best)
        channels, variance = run["data"]["image_shape"][-1], run["data"]["variance"]
        model = build_model(Config.from_dict(run["config"]), channels, variance)
        _, params, variables = split_model(model)
        like = {"params": params, "variables": variables}
        saved = checkpoints.restore(checkpoints.best, like=like)
    nnx.update(model, saved["params"], saved["variables"])
    return model
