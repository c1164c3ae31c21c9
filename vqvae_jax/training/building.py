"""Builds models from a config, and describes what a run was built from."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from vqvae_jax.components import build_component
from vqvae_jax.data import Dataset
from vqvae_jax.errors import ConfigError
from vqvae_jax.models import AudioTokenizer, Tokenizer
from vqvae_jax.priors import Prior
from vqvae_jax.training.codes import CodeMaps
from vqvae_jax.training.config import Config
from vqvae_jax.training.settings import parts_of
from vqvae_jax.training.start import freeze

Model = TypeVar("Model", bound=nnx.Module)


def build_tokenizer(
    config: Config, channels: int, data_variance: float, sample_rate: int | None = None
) -> Tokenizer:
    """Builds the tokenizer that `config` describes, with initial values from its seed.

    Args:
        config: the run's settings.
        channels: those of the data.
        data_variance: see `Dataset.variance`.
        sample_rate: samples per second of audio, for which it is an `AudioTokenizer`; None: the
            data are images.

    Raises:
        ConfigError: a part refuses its settings, or the parts do not fit each other.
    """

    def part(name: str, **filled: Any) -> Any:
        return build_component(config.model[name], f"model.{name}", **filled)

    low, high = config.model["value_range"]
    span = high - low
    kind: Callable[..., Tokenizer] = Tokenizer
    if sample_rate is not None:
        kind = functools.partial(AudioTokenizer, sample_rate=sample_rate)

    def make(rngs: nnx.Rngs) -> Tokenizer:
        quantizer = part("quantizer", rngs=rngs)
        likelihood = part(
            "likelihood",
            out_dim=channels,
            data_variance=data_variance * span**2,
            data_range=span,
            sample_rate=sample_rate,
            rngs=rngs,
        )
        latent_dim, features = quantizer.embedding_dim, likelihood.in_dim
        encoder = part("encoder", in_dim=channels, latent_dim=latent_dim, rngs=rngs)
        decoder = part("decoder", out_dim=features, latent_dim=latent_dim, rngs=rngs)
        try:
            tokenizer = kind(
                encoder,
                quantizer,
                decoder,
                likelihood,
                dtype=config.training.dtype,
                value_range=(low, high),
            )
        except ValueError as error:
            raise ConfigError(f"model: {error}") from error
        for name in parts_of("frozen", config.model["frozen"]):
            freeze(getattr(tokenizer, name))
        return tokenizer

    return _initial(make, config.training.seed)


def prior_for(config: Config, maps: CodeMaps) -> Prior:
    """Builds the prior that `config` describes, with initial values from its seed.

    Raises:
        ConfigError: it refuses its settings, or is one of code maps with other axes.
    """
    assert config.prior is not None
    assert config.network is not None
    network, conditional = config.network, config.prior.conditional

    def make(rngs: nnx.Rngs) -> Prior:
        return build_component(
            network,
            "prior",
            num_embeddings=maps.num_embeddings,
            max_shape=maps.shape,
            num_codebooks=maps.num_codebooks,
            num_classes=maps.num_classes if conditional else None,
            rngs=rngs,
        )

    prior = _initial(make, config.training.seed)
    if prior.spatial_rank != len(maps.shape):
        raise ConfigError(
            f"prior.kind is {network['kind']}, for code maps of {prior.spatial_rank} axes; those "
            f"of the tokenizer have {len(maps.shape)}, {maps.shape}"
        )
    return prior


def _initial(make: Callable[[nnx.Rngs], Model], seed: int) -> Model:
    """Returns a model with its initial values, made by one program instead of one per layer."""
    return nnx.jit(lambda: make(nnx.Rngs(seed)))()


def tokenizer_for(config: Config, data: Dataset) -> Tokenizer:
    """Builds the tokenizer that `config` describes, and checks that it accepts the data.

    Raises:
        ConfigError: it does not.
    """
    example = jax.ShapeDtypeStruct((1, *data.shape), np.float32)
    model = build_tokenizer(config, data.shape[-1], data.variance, data.sample_rate)
    try:
        jax.eval_shape(lambda x: model(x).loss, example)
    except ValueError as error:
        raise ConfigError(
            f"data.name is {data.name}, which the model does not accept: {error}"
        ) from error
    return model


def describe(config: Config, data: Dataset) -> dict[str, Any]:
    """Returns the description of a run for run.json and every checkpoint."""
    of_audio = {} if data.sample_rate is None else {"sample_rate": data.sample_rate}
    return {
        "config": config.to_dict(),
        "data": {
            "name": data.name,
            "source": data.source,
            "digest": data.digest,
            "archives": data.folder,
            "data_dir": data.data_dir,
            "variance": data.variance,
            "train_images": len(data.train),
            "test_images": len(data.test),
            "image_shape": list(data.shape),
            **of_audio,
        },
    }


def build_described(config: Config, description: dict[str, Any]) -> Tokenizer | Prior:
    """Builds the model of a run with this config from its description, as `describe` gives it."""
    if config.prior is not None:
        return prior_for(config, CodeMaps.from_json(description["codes"]["maps"]))
    data = description["data"]
    return build_tokenizer(
        config, data["image_shape"][-1], data["variance"], data.get("sample_rate")
    )
