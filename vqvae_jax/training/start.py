"""Tokenizers that start from trained weights, and parts of them that do not learn."""

from collections.abc import Sequence
from typing import Any

from flax import nnx

from vqvae_jax.errors import CheckpointError, ConfigError
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.folder import from_pretrained
from vqvae_jax.quantizers import Quantizer


class Frozen(nnx.Variable):
    """A parameter that no gradient moves."""


def freeze(part: nnx.Module) -> None:
    """Stops all learning of a part of a tokenizer; call it before its parameters are split off."""
    if isinstance(part, Quantizer):
        part.freeze()
        return
    for _, node in nnx.iter_graph(part):
        if isinstance(node, nnx.Module):
            for name, variable in list(vars(node).items()):
                if isinstance(variable, nnx.Param):
                    setattr(node, name, Frozen(variable[...]))


def start_from(tokenizer: Tokenizer, folder: str, parts: Sequence[str]) -> None:
    """Gives parts of a tokenizer the weights that the same parts of a trained one have.

    Args:
        tokenizer: is changed.
        folder: what `from_pretrained` takes.
        parts: encoder, quantizer, decoder or likelihood.

    Raises:
        ConfigError: there is no such model; or its parts are not built as the tokenizer's are, or
            for other values.
    """
    try:
        trained = from_pretrained(folder)
    except CheckpointError as error:
        raise ConfigError(f"model.init_from: {error}") from error
    if not isinstance(trained, Tokenizer):
        raise ConfigError(f"model.init_from is {folder}, a {type(trained).__name__}")
    if trained.value_range != tokenizer.value_range:
        raise ConfigError(
            f"model.value_range is {tokenizer.value_range}; it must be {trained.value_range}, "
            f"that of {folder}"
        )
    for part in parts:
        ours, theirs = (_variables(getattr(model, part)) for model in (tokenizer, trained))
        for name in sorted({*ours, *theirs}):
            one, other = (of[name].shape if name in of else None for of in (ours, theirs))
            if one != other:
                raise ConfigError(
                    f"model.{part} has {name} {one or 'not'}; it must be built as that of "
                    f"{folder}, which has it {other or 'not'}"
                )
        for name, variable in ours.items():
            variable[...] = theirs[name][...]


def _variables(part: nnx.Module) -> dict[str, Any]:
    """Returns the variables of a part by their path."""
    return {
        ".".join(map(str, path)): node
        for path, node in nnx.iter_graph(part)
        if isinstance(node, nnx.Variable)
    }
