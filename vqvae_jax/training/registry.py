"""Quantizers by name: the values of `model.quantizer`, and the settings that each takes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from vqvae_jax import quantizers as q

# A `training.config.ModelConfig`, which takes the names from here.
ModelConfig = Any

ESTIMATORS: Mapping[str, q.Estimator] = {
    "straight_through": q.straight_through,
    "rotation_trick": q.rotation_trick,
    "nsvq": q.nsvq,
    "diveq": q.diveq,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to build a quantizer.

    Attributes:
        build: builds it from the settings and random numbers.
        settings: the settings of `ModelConfig` that it takes, besides embedding_dim and
            num_embeddings.
    """

    build: Callable[[ModelConfig, nnx.Rngs], q.Quantizer]
    settings: frozenset[str]


def build_quantizer(model: ModelConfig, rngs: nnx.Rngs) -> q.Quantizer:
    """Builds the quantizer that the settings describe.

    Raises:
        ValueError: a setting is given that the quantizer does not take, or does not fit it.
    """
    recipe = RECIPES[model.quantizer]
    others = {field.name for field in dataclasses.fields(model)} - _ALWAYS - _OF_THE_HEAD
    model.refuse_others(f"the quantizer {model.quantizer}", recipe.settings, others)
    quantizer = recipe.build(model, rngs)
    for name in ("embedding_dim", "num_embeddings"):
        if getattr(model, name) != getattr(quantizer, name):
            raise ValueError(
                f"model.{name} is {getattr(model, name)}; with the other settings of the quantizer "
                f"{model.quantizer} it must be {getattr(quantizer, name)}"
            )
    return quantizer


_ALWAYS = frozenset({"quantizer", "embedding_dim", "num_embeddings"})
_OF_THE_HEAD = frozenset({"head", "head_dim", "num_mixtures"})
_REVIVAL = {"revival_threshold", "kmeans_init"}
_CODEBOOK = {"commitment_cost", "estimator", *_REVIVAL}


def _made_like_vq(
    make: Callable[..., q.Quantizer], model: ModelConfig, rngs: nnx.Rngs, **options: Any
) -> q.Quantizer:
    """Builds a quantizer like a `VectorQuantizer`; options: further or overriding arguments."""
    arguments = {
        "embedding_dim": model.embedding_dim,
        "num_embeddings": model.num_embeddings,
        "commitment_cost": model.commitment_cost,
        "revival_threshold": model.revival_threshold,
        "kmeans_init": model.kmeans_init,
    }
    return make(**(arguments | options), rngs=rngs)


def _codebook(make: Callable[..., q.Quantizer], *settings: str) -> Recipe:
    """Returns the recipe of a quantizer like `VectorQuantizer` that takes further settings."""

    def build(model: ModelConfig, rngs: nnx.Rngs) -> q.Quantizer:
        more = {name: getattr(model, name) for name in settings}
        return _made_like_vq(make, model, rngs, estimator=ESTIMATORS[model.estimator], **more)

    return Recipe(build, frozenset(_CODEBOOK | set(settings)))


def _vector(model: ModelConfig, rngs: nnx.Rngs) -> q.Quantizer:
    moves_codes = model.estimator in ("nsvq", "diveq")
    costs = {"commitment_cost": 0.0, "codebook_cost": 0.0} if moves_codes else {}
    estimator = ESTIMATORS[model.estimator]
    return _made_like_vq(q.VectorQuantizer, model, rngs, estimator=estimator, **costs)


def _projected(make: Callable[..., q.Quantizer]) -> Recipe:
    """Returns the recipe of a quantizer like `VectorQuantizer`, between projections."""

    def build(model: ModelConfig, rngs: nnx.Rngs) -> q.Quantizer:
        inner = _made_like_vq(make, model, rngs, embedding_dim=model.codebook_dim)
        return q.ProjectedQuantizer(inner, model.embedding_dim, rngs=rngs)

    return Recipe(build, frozenset({"commitment_cost", "codebook_dim", *_REVIVAL}))


def _ema(model: ModelConfig, rngs: nnx.Rngs, embedding_dim: int) -> q.Quantizer:
    return _made_like_vq(q.EMAVectorQuantizer, model, rngs, embedding_dim=embedding_dim)


def _residual(model: ModelConfig, rngs: nnx.Rngs, embedding_dim: int) -> q.ResidualVQ:
    return q.ResidualVQ(
        [_ema(model, rngs, embedding_dim) for _ in range(model.num_quantizers)],
        estimator=ESTIMATORS[model.estimator],
    )


def _halves(model: ModelConfig) -> tuple[int, int]:
    if model.embedding_dim < 2:
        raise ValueError(
            f"model.embedding_dim is {model.embedding_dim}; the quantizer {model.quantizer} halves "
            "it: it must be at least 2"
        )
    return model.embedding_dim // 2, model.embedding_dim - model.embedding_dim // 2


def _gumbel_temperature(initial: float, step: Array) -> Array:
    """Decays by a factor of e per 1,000 steps, down to half of the initial temperature."""
    return initial * jnp.maximum(0.5, jnp.exp(-step / 1000))


RECIPES: Mapping[str, Recipe] = {
    "vq": Recipe(_vector, frozenset(_CODEBOOK)),
    "ema": _codebook(q.EMAVectorQuantizer),
    "cosine": _codebook(q.CosineVectorQuantizer),
    "sampled": _codebook(q.SampledVectorQuantizer, "temperature"),
    "entropy": _codebook(q.EntropyVectorQuantizer, "temperature", "entropy_cost"),
    "orthogonal": _codebook(q.OrthogonalVectorQuantizer),
    "simvq": Recipe(
        lambda model, rngs: q.SimVQ(
            model.embedding_dim,
            model.num_embeddings,
            model.commitment_cost,
            estimator=ESTIMATORS[model.estimator],
            rngs=rngs,
        ),
        frozenset({"commitment_cost", "estimator"}),
    ),
    "projected_cosine": _projected(q.CosineVectorQuantizer),
    "projected_ema": _projected(q.EMAVectorQuantizer),
    "fsq": Recipe(lambda model, _: q.FSQ(model.levels), frozenset({"levels"})),
    "lfq": Recipe(
        lambda model, _: q.LFQ(
            model.embedding_dim,
            model.commitment_cost,
            entropy_cost=model.entropy_cost,
            temperature=model.temperature,
        ),
        frozenset({"commitment_cost", "entropy_cost", "temperature"}),
    ),
    "bsq": Recipe(
        lambda model, _: q.BSQ(
            model.embedding_dim, entropy_cost=model.entropy_cost, temperature=model.temperature
        ),
        frozenset({"entropy_cost", "temperature"}),
    ),
    "gumbel": Recipe(
        lambda model, rngs: q.GumbelQuantizer(
            model.embedding_dim,
            model.num_embeddings,
            temperature=functools.partial(_gumbel_temperature, model.temperature),
            rngs=rngs,
        ),
        frozenset({"temperature"}),
    ),
    "residual": Recipe(
        lambda model, rngs: _residual(model, rngs, model.embedding_dim),
        frozenset(_CODEBOOK | {"num_quantizers"}),
    ),
    "grouped_residual": Recipe(
        lambda model, rngs: q.GroupedResidualVQ(
            [_residual(model, rngs, dim) for dim in _halves(model)]
        ),
        frozenset(_CODEBOOK | {"num_quantizers"}),
    ),
    "product": Recipe(
        lambda model, rngs: q.ProductQuantizer([_ema(model, rngs, dim) for dim in _halves(model)]),
        frozenset({"commitment_cost", *_REVIVAL}),
    ),
    "random_projection": Recipe(
        lambda model, rngs: q.RandomProjectionQuantizer(
            model.embedding_dim, model.num_embeddings, rngs=rngs
        ),
        frozenset(),
    ),
}
