"""Checks whether quantizers can be composed into one."""

from collections.abc import Sequence

from flax import nnx

from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.estimators import DETERMINISTIC, straight_through
from vqvae_jax.quantizers.grid import GridQuantizer


def check_composable(quantizers: Sequence[Quantizer]) -> None:
    """Raises ValueError if there is no quantizer, or one occurs twice, even inside others."""
    if not quantizers:
        raise ValueError("quantizers is empty; there must be at least one")
    nested = [
        id(node)
        for quantizer in quantizers
        for _, node in nnx.iter_graph(quantizer)
        if isinstance(node, Quantizer)
    ]
    if len(set(nested)) < len(nested):
        raise ValueError(
            "a quantizer is given more than once; make one per codebook, or let a ResidualVQ "
            "share a single one with num_quantizers"
        )


def check_stages(quantizers: Sequence[Quantizer]) -> None:
    """Raises ValueError if the quantizers cannot be the stages of one residual quantizer."""
    if any(quantizer.num_codebooks is not None for quantizer in quantizers):
        raise ValueError("a quantizer has several codebooks; each must have one")
    names = [type(quantizer).__name__ for quantizer in quantizers]
    for name, quantizer in zip(names, quantizers, strict=True):
        if not quantizer.follows_scale:
            raise ValueError(
                f"a quantizer is a {name} whose codes cannot become small: it must be one that can "
                "follow the residual, which becomes smaller from stage to stage"
            )
        own = getattr(quantizer, "estimator", straight_through)
        if own in DETERMINISTIC and own is not straight_through:
            raise ValueError(
                f"a quantizer's estimator is {own.__name__}, which would have no effect; "
                "give it to the ResidualVQ"
            )
    if any(isinstance(q, GridQuantizer) for q in quantizers) and len(set(names)) > 1:
        raise ValueError(
            f"the quantizers are {', '.join(names)}; if one is a grid, all must be of its class"
        )
    if len({getattr(quantizer, "bound", None) for quantizer in quantizers}) > 1:
        raise ValueError("the quantizers' bound differ; z is bounded once, for all of them")
