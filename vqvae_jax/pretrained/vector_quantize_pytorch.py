"""Quantizers from the state dicts of vector-quantize-pytorch, and back; PyTorch is not needed."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.pretrained.vector_quantize_options import quantizer_for
from vqvae_jax.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    GroupedResidualVQ,
    LaplaceEMAVectorQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
)


def from_vector_quantize_pytorch(
    state_dict: Mapping[str, Any], kind: str, **config: Any
) -> Quantizer:
    """Returns a quantizer with the trained state of a module of vector-quantize-pytorch (1.32).

    It gives the same indices and values, and `update` the same next averages and codes. What is
    different:

    - Vectors are channels last, whatever `channel_first` and the like say.
    - With `threshold_ema_dead_code` the same codes are replaced, given batches of one size; but the
      vectors that replace them are drawn by their squared error, and begin with a count of 1.
    - `learnable_codebook`: the codes are an `nnx.Param` for your optimizer, with or without an
      `in_place_codebook_optimizer` there. The gradients are equal; the loss is twice theirs.
    - `ResidualVQ` applies the estimator once, not in each stage; `quantize_dropout` draws a depth
      per entry of the first axis, not per batch.
    - `LFQ` and `BSQ` have the temperature of their default, inv_temperature=100.

    Args:
        state_dict: `module.state_dict()`, tensors on the CPU or NumPy arrays; floating types
            become float32.
        kind: the name of the class: VectorQuantize, ResidualVQ, GroupedResidualVQ, FSQ, LFQ, SimVQ
            or RandomProjectionQuantizer.
        config: the arguments of its constructor, by name.

    Raises:
        ValueError: nothing here is equal to an argument; an entry is missing, is not the module's,
            or has the wrong shape or values.
    """
    quantizer = quantizer_for(kind, config)
    entries = _entries(quantizer)
    for name, entry in entries.items():
        if name not in state_dict:
            raise ValueError(f"the state dict has no {name}; its shape must be {entry.value.shape}")
    arrays = {name: np.asarray(value) for name, value in state_dict.items()}
    for name, array in arrays.items():
        if name not in entries:
            raise ValueError(
                f"the state dict has {name}, of shape {array.shape}, which this {kind} has not"
            )
        if array.shape != entries[name].value.shape:
            raise ValueError(
                f"{name} has shape {array.shape}; it must be {entries[name].value.shape}"
            )
        entries[name].load(array)
    for name, entry in _entries(quantizer).items():
        if entry.matters and not np.array_equal(
            arrays[name].astype(entry.value.dtype), entry.value
        ):
            raise ValueError(f"{name} has values that this {kind} cannot have")
    for _, node in nnx.iter_graph(quantizer):
        if isinstance(node, LaplaceEMAVectorQuantizer):
            node.resume_usage(node.counts[...])
    return quantizer


def to_vector_quantize_pytorch(quantizer: Quantizer) -> dict[str, np.ndarray]:
    """Returns a quantizer's state dict, the inverse of `from_vector_quantize_pytorch`.

    `module.load_state_dict` takes it, with each array as a tensor. Entries without an effect, the
    averages of codes that do not learn by averages, are those of a new module with these codes.

    Raises:
        ValueError: nothing in vector-quantize-pytorch is equal to the quantizer.
    """
    return {name: entry.value for name, entry in _entries(quantizer).items()}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An entry of a state dict.

    Attributes:
        value: what it is now.
        variable: what holds it here; None: nothing does.
        to_ours: gives the variable's array from the entry's.
        matters: whether an entry with another value makes another module.
    """

    value: np.ndarray
    variable: nnx.Variable | None = None
    to_ours: Callable[[np.ndarray], np.ndarray] = np.asarray
    matters: bool = True

    def load(self, array: np.ndarray) -> None:
        """Sets the variable, if there is one."""
        if self.variable is not None:
            self.variable[...] = jnp.array(self.to_ours(array), self.variable[...].dtype)


def _same(variable: nnx.Variable) -> _Entry:
    return _Entry(np.array(variable[...]), variable)


def _transposed(variable: nnx.Variable) -> _Entry:
    return _Entry(np.array(variable[...].T, order="C"), variable, np.transpose)


def _one_book(variable: nnx.Variable) -> _Entry:
    return _Entry(np.array(variable[...])[None], variable, lambda books: books[0])


def _entries(quantizer: Quantizer) -> dict[str, _Entry]:
    """Returns the entries of the state dict by name."""
    if isinstance(quantizer, ProjectedQuantizer):
        return {
            **_linear("project_in.", quantizer.project_in),
            **_entries(quantizer.quantizer),
            **_linear("project_out.", quantizer.project_out),
        }
    if isinstance(quantizer, GroupedResidualVQ):
        return _numbered("rvqs", [_entries(group) for group in quantizer.quantizers])
    if isinstance(quantizer, ResidualVQ):
        stages = list(quantizer.quantizers)
        if quantizer.shared:
            stages *= quantizer.num_codebooks
        return _numbered("layers", [_codebook(stage) for stage in stages])
    if isinstance(quantizer, ProductQuantizer):
        return _grids(list(quantizer.quantizers))
    if isinstance(quantizer, FSQ | LFQ):
        return _grids([quantizer])
    if type(quantizer) is SimVQ:
        return {
            "frozen_codebook": _same(quantizer.embeddings),
            "code_transform.weight": _transposed(quantizer.projection),
        }
    if type(quantizer) is RandomProjectionQuantizer and quantizer.num_codebooks is None:
        codes = _with_prefix("vq._codebook.", _codes(quantizer.embeddings))
        return {"rand_projs": _one_book(quantizer.projection), **codes}
    return _codebook(quantizer)


def _codebook(quantizer: Quantizer) -> dict[str, _Entry]:
    averages: dict[str, _Entry] = {}
    if isinstance(quantizer, LaplaceEMAVectorQuantizer):
        averages = {
            "cluster_size": _one_book(quantizer.counts),
            "embed_avg": _one_book(quantizer.sums),
        }
    elif type(quantizer) is not VectorQuantizer:
        raise _without_equal(quantizer)
    initialized = not quantizer.has_initialization or bool(quantizer.initialized[...])
    return _with_prefix("_codebook.", {**_codes(quantizer.embeddings, initialized), **averages})


def _codes(embeddings: nnx.Variable, initialized: bool = True) -> dict[str, _Entry]:
    """Returns the entries of a codebook whose averages have no effect."""
    codes = _one_book(embeddings)
    ones = np.ones(codes.value.shape[:2], codes.value.dtype)
    return {
        "initted": _Entry(np.array(initialized)),
        "cluster_size": _Entry(ones, matters=False),
        "embed_avg": _Entry(codes.value.copy(), matters=False),
        "embed": codes,
    }


def _grids(quantizers: list[Quantizer]) -> dict[str, _Entry]:
    """Returns the entries of equal quantizers without codebooks."""
    first = quantizers[0]
    alike = {(type(q), q.embedding_dim, getattr(q, "levels", None)) for q in quantizers}
    if len(alike) > 1 or type(first) not in (FSQ, SymmetricFSQ, LFQ, BSQ):
        raise _without_equal(first)
    if not isinstance(first, LFQ):
        return {}
    if first.bit_order != "big":
        raise ValueError(
            f"the quantizer's bit_order is {first.bit_order}; the bits of vector-quantize-pytorch "
            "are in the order big"
        )
    return {"mask": _Entry(2 ** np.arange(first.embedding_dim - 1, -1, -1))}


def _linear(prefix: str, linear: nnx.Linear) -> dict[str, _Entry]:
    bias = cast(nnx.Param, linear.bias)
    return {f"{prefix}weight": _transposed(linear.kernel), f"{prefix}bias": _same(bias)}


def _numbered(name: str, parts: list[dict[str, _Entry]]) -> dict[str, _Entry]:
    return {
        key: entry
        for index, part in enumerate(parts)
        for key, entry in _with_prefix(f"{name}.{index}.", part).items()
    }


def _with_prefix(prefix: str, entries: dict[str, _Entry]) -> dict[str, _Entry]:
    return {f"{prefix}{name}": entry for name, entry in entries.items()}


def _without_equal(quantizer: Quantizer) -> ValueError:
    return ValueError(
        f"nothing in vector-quantize-pytorch is equal to this {type(quantizer).__name__}; of EMA "
        "quantizers there are LaplaceEMAVectorQuantizer and LaplaceEMACosineVectorQuantizer"
    )
