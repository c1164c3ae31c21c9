"""Whether the parts of a tokenizer fit each other."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.quantizers import Quantizer

# The names of the spatial axes, by their number.
AXES = {1: ("T",), 2: ("H", "W"), 3: ("T", "H", "W")}

# Latent positions along each axis of the data that the parts are checked with.
_TRIED = 4


def shared_geometry(encoder: nnx.Module, decoder: nnx.Module) -> tuple[int, tuple[int, ...]]:
    """Returns the spatial rank and the downsampling of encoder and decoder.

    Raises:
        ValueError: one of them has no such attributes, or others than the other one.
    """
    geometries = []
    parts: dict[str, Any] = {"encoder": encoder, "decoder": decoder}
    for name, part in parts.items():
        for attribute in ("spatial_rank", "downsampling"):
            if not hasattr(part, attribute):
                raise ValueError(
                    f"the {name}, a {type(part).__name__}, has no attribute {attribute}; it must "
                    "have spatial_rank, such as 2, and downsampling, such as (4, 4)"
                )
        rank, downsampling = part.spatial_rank, part.downsampling
        is_tuple = isinstance(downsampling, tuple) and len(downsampling) == rank
        if rank not in AXES or not is_tuple or math.prod(downsampling) < 1:
            raise ValueError(
                f"the {name} has spatial_rank {rank} and downsampling {downsampling}; it must have "
                "spatial_rank 1, 2 or 3, and a tuple of as many factors of at least 1"
            )
        geometries.append((rank, downsampling))
    if geometries[0] != geometries[1]:
        raise ValueError(
            f"the encoder has spatial_rank and downsampling {geometries[0]}, the decoder "
            f"{geometries[1]}; they must be the same"
        )
    return geometries[0]


def check_shapes(
    encoder: nnx.Module,
    quantizer: Quantizer,
    decoder: nnx.Module,
    likelihood: Likelihood,
    downsampling: tuple[int, ...],
) -> None:
    """Checks that the output shapes of encoder and decoder fit; computes nothing.

    Args:
        encoder: maps data to latents.
        quantizer: the quantizer of its output.
        decoder: its counterpart; it may have an attribute shortfall, the positions along each axis
            that its output lacks.
        likelihood: the likelihood of the data given the decoder's output.
        downsampling: from `shared_geometry`.

    Raises:
        ValueError: they do not.
    """
    small = (_TRIED,) * len(downsampling)
    large = tuple(_TRIED * by for by in downsampling)
    channels, features = likelihood.out_dim, likelihood.in_dim
    dim = quantizer.embedding_dim
    lacking = getattr(decoder, "shortfall", (0,) * len(large))
    decoded = tuple(size - by for size, by in zip(large, lacking, strict=True))
    for name, part, given, expected in (
        ("encoder", encoder, (*large, channels), (*small, dim)),
        ("decoder", decoder, (*small, dim), (*decoded, features)),
    ):
        made = _output_shape(name, part, (1, *given))
        if made != (1, *expected):
            raise ValueError(
                f"the {name} maps {[1, *given]} to {list(made)}; "
                f"it must be {[1, *expected]}: downsampling {list(downsampling)}, "
                f"embedding_dim {dim} of the quantizer, channels {channels} of the data and "
                f"{features} of the decoder for the likelihood"
            )


def _output_shape(name: str, part: nnx.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a part's output shape for floats of an input shape; computes nothing."""
    graphdef, state = nnx.split(part)

    def applied(state: nnx.State, x: Array) -> Array:
        return nnx.merge(graphdef, state)(x)

    try:
        return jax.eval_shape(applied, state, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    except (TypeError, ValueError) as error:
        raise ValueError(f"the {name} does not accept {list(shape)}: {error}") from error
