"""Priors and heads by name: values of `prior.kind` and `model.head`, and settings of each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from vqvae_jax.likelihoods import (
    AutoregressiveHead,
    CategoricalHead,
    LogisticMixtureHead,
    PixelHead,
)
from vqvae_jax.priors import GatedPixelCNN, Prior, TransformerPrior

# `training.config.ModelConfig` and `PriorConfig`, which take the names from here.
ModelConfig = Any
PriorConfig = Any


@dataclasses.dataclass(frozen=True)
class CodeMaps:
    """The geometry of a data set's code maps, for a prior.

    Attributes:
        shape: h and w.
        num_embeddings: K.
        num_codebooks: n, or None for a single one without an axis.
        num_classes: how many labels there are.
    """

    shape: tuple[int, int]
    num_embeddings: int
    num_codebooks: int | None
    num_classes: int

    @classmethod
    def from_json(cls, maps: Mapping[str, Any]) -> "CodeMaps":
        """Inverts `dataclasses.asdict`, also after a round trip through JSON."""
        return cls(**{**maps, "shape": tuple(maps["shape"])})


def build_head(model: ModelConfig, out_dim: int, rngs: nnx.Rngs) -> PixelHead | None:
    """Builds the head that the settings describe, for images of `out_dim` channels.

    Raises:
        ValueError: a setting is given that the head does not take.
    """
    takes = _HEAD_SETTINGS.get(model.head, ())
    model.refuse_others(f"the head {model.head}", takes, ("head_dim", "num_mixtures"))
    return None if model.head == "none" else HEADS[model.head](model, out_dim, rngs)


def build_prior(prior: PriorConfig, maps: CodeMaps, rngs: nnx.Rngs) -> Prior:
    """Builds the prior that the settings describe.

    Raises:
        ValueError: a setting is given that the prior does not take, or is out of its range.
    """
    others = {name for names in _PRIOR_SETTINGS.values() for name in names}
    takes = _PRIOR_SETTINGS[prior.kind]
    prior.refuse_others(f"the prior {prior.kind}", takes, others)
    return PRIORS[prior.kind](
        prior,
        maps,
        num_codebooks=maps.num_codebooks,
        num_classes=maps.num_classes if prior.conditional else None,
        rngs=rngs,
    )


HEADS: Mapping[str, Callable[[ModelConfig, int, nnx.Rngs], PixelHead]] = {
    "categorical": lambda model, out_dim, rngs: CategoricalHead(model.head_dim, out_dim, rngs=rngs),
    "logistic_mixture": lambda model, out_dim, rngs: LogisticMixtureHead(
        model.head_dim, out_dim, model.num_mixtures, rngs=rngs
    ),
    "autoregressive": lambda model, out_dim, rngs: AutoregressiveHead(
        model.head_dim, out_dim, hidden_dim=model.head_dim, rngs=rngs
    ),
}
_HEAD_SETTINGS = {
    "categorical": ("head_dim",),
    "logistic_mixture": ("head_dim", "num_mixtures"),
    "autoregressive": ("head_dim",),
}
PRIORS: Mapping[str, Callable[..., Prior]] = {
    "pixelcnn": lambda prior, maps, **options: GatedPixelCNN(
        maps.num_embeddings, channels=prior.channels, dilations=prior.dilations, **options
    ),
    "transformer": lambda prior, maps, **options: TransformerPrior(
        maps.num_embeddings,
        maps.shape,
        channels=prior.channels,
        num_layers=prior.num_layers,
        num_heads=prior.num_heads,
        dropout=prior.dropout,
        **options,
    ),
}
_PRIOR_SETTINGS = {
    "pixelcnn": ("dilations",),
    "transformer": ("num_layers", "num_heads", "dropout"),
}
