"""Families of released weights: how each builds its tokenizer, and how it names its arrays."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.layers import ConvTranspose, ConvTranspose1d, Linear
from vqvae_jax.models import Tokenizer

State = Mapping[str, np.ndarray]

# The last parts of our names and those of PyTorch's.
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "embeddings": "weight"}


def _unchanged(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return dict(state)


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of released weights.

    Attributes:
        build: makes the tokenizer of a config in the original's terms.
        name: returns the original name of one of our arrays. Its arguments are the path of the
            module that has it, such as encoder.levels.0.blocks.1.conv1, the array's own name,
            such as kernel, and the tokenizer.
        select: returns the entries of a state dict that count, under the names that `name` returns.
        restore: the inverse of `select`, of what the tokenizer has.
        axes: whether axes are in PyTorch's order, or in Flax's, which is ours.
        pointwise: the axes of a window that PyTorch's weights of our `Linear`s have.
    """

    build: Callable[[Mapping[str, Any], nnx.Rngs], Tokenizer]
    name: Callable[[str, str, Tokenizer], str]
    select: Callable[[State, Mapping[str, Any]], dict[str, np.ndarray]] = _unchanged
    restore: Callable[[State, Mapping[str, Any]], dict[str, np.ndarray]] = _unchanged
    axes: str = "torch"
    pointwise: int = 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a tokenizer, and of the state dict that it comes from.

    Attributes:
        path: its path in our tokenizer.
        variable: it, or only its shape and type.
        shape: its shape in the state dict.
        ours: converts the original array to ours.
        theirs: the inverse.
    """

    path: tuple[Any, ...]
    variable: nnx.Variable
    shape: tuple[int, ...]
    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


def entries(tokenizer: Tokenizer, family: Family) -> dict[str, Entry]:
    """Returns the arrays of a tokenizer of the family by their original names."""
    named = {}
    modules = {
        path: node for path, node in nnx.iter_graph(tokenizer) if isinstance(node, nnx.Module)
    }
    for path, node in nnx.iter_graph(tokenizer):
        if isinstance(node, nnx.Variable):
            name = family.name(".".join(map(str, path[:-1])), str(path[-1]), tokenizer)
            assert name not in named, (name, path)
            named[name] = _entry(path, node, modules.get(path[:-1]), family)
    return named


def _entry(path: tuple[Any, ...], variable: nnx.Variable, module: Any, family: Family) -> Entry:
    shape = tuple(variable.shape)
    if family.axes == "flax":
        return Entry(path, variable, shape, np.asarray, np.asarray)
    if jnp.issubdtype(variable.dtype, jnp.integer):  # PyTorch's are of 64 bits
        return Entry(path, variable, shape, np.asarray, lambda array: array.astype(np.int64))
    if path[-1] != "kernel":
        return Entry(path, variable, shape, np.asarray, np.asarray)
    # PyTorch has the features first: [out, in, *window], transposed convolutions [in, out, ...].
    ends = (-2, -1) if isinstance(module, ConvTranspose | ConvTranspose1d) else (-1, -2)
    window = (1,) * (family.pointwise if isinstance(module, Linear) else 0)
    first = np.moveaxis(np.empty(shape, bool), ends, (0, 1)).shape
    return Entry(
        path,
        variable,
        (*first, *window),
        lambda array: np.moveaxis(array.reshape(first), (0, 1), ends),
        lambda array: np.moveaxis(array, ends, (0, 1)).reshape(*first, *window),
    )


def torch_leaf(name: str) -> str:
    """Returns PyTorch's name of an array of a layer: weight for our kernel, and so on."""
    return _LEAVES[name]


def renamed(path: str, rules: Sequence[tuple[str, str]]) -> str:
    """Returns a path after all substitutions, pairs of a pattern and its replacement, in turn."""
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)
    return path


def highest_first(path: str, tokenizer: Tokenizer) -> str:
    """Returns a path whose levels of the decoder count from the highest resolution, the last."""
    match path.split("."):
        case ["decoder", "levels" | "adaptive" as part, index, *rest]:
            decoder: Any = tokenizer.decoder
            number = len(decoder.levels) - 1 - int(index)
            return ".".join(["decoder", part, str(number), *rest])
    return path


def without_prefix(*prefixes: str) -> Callable[[State, Mapping[str, Any]], dict[str, np.ndarray]]:
    """Returns a `Family.select` that takes the part of a larger model's state dict.

    Args:
        prefixes: of the part's names, such as model.vqmodel., in the order in which they are
            looked for. A state dict without any is the part itself.
    """

    def select(state: State, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        for prefix in prefixes:
            part = {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
            if part:
                return part
        return dict(state)

    return select


def without(*prefixes: str) -> Callable[[State, Mapping[str, Any]], dict[str, np.ndarray]]:
    """Returns a `Family.select` that drops names with these beginnings."""
    return lambda state, config: {n: a for n, a in state.items() if not n.startswith(prefixes)}
