"""Weights from and to the PyTorch model, as NumPy arrays: PyTorch itself is not needed.

The names are those of the PyTorch VQ-VAE whose encoder and decoder are `Sequential`s called convs
and whose quantizer is vq_layer: encoder.convs.0.weight, vq_layer.embeddings.weight,
decoder.convs.4.bias, ...

They cover a model of these three parts and no other, such as one with a head. State that a
quantizer keeps for training alone (how often each code was used, whether k-means was run) does not
exist in PyTorch's model: it is not exported, and loaded codes count as new and initialized.
"""

from collections.abc import Mapping
from typing import cast

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.layers import ConvTranspose
from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Decoder, Encoder, Tokenizer
from vqvae_jax.quantizers import VectorQuantizer

# PyTorch's axes: [out, in, k, k] for a convolution, [in, out, k, k] for a transposed one. Ours: [k,
# k, in, out].
_FROM_CONV, _TO_CONV = (2, 3, 1, 0), (3, 2, 0, 1)
_FROM_TRANSPOSE, _TO_TRANSPOSE = (2, 3, 0, 1), (2, 3, 0, 1)

_CODES = "vq_layer.embeddings.weight"
# State that a quantizer keeps beside its codes, and `set_codebook` sets.
_TRAINING_STATE = ("initialized", "usage", "usage_updates", "usage_vectors")


def load_torch_state_dict(model: Tokenizer, state_dict: Mapping[str, np.ndarray]) -> None:
    """Fills a model in place with PyTorch's weights.

    Args:
        model: the model.
        state_dict: PyTorch's parameter names and arrays, exactly those of the model; they are
            converted to the model's types.

    Raises:
        ValueError: the model is not one that the names cover; an entry is missing, is not the
            model's, or has the wrong shape. The model is then unchanged.
    """
    expected = to_torch_state_dict(model)
    for name in expected:
        if name not in state_dict:
            raise ValueError(f"the state dict has no {name}; it must be {expected[name].shape}")
    for name in state_dict:
        if name not in expected:
            raise ValueError(f"the state dict has {name}, which the model does not have")
    arrays = {name: np.asarray(value) for name, value in state_dict.items()}
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise ValueError(f"{name} has shape {array.shape}; it must be {expected[name].shape}")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has type {array.dtype}; it must be floating")
    params = _params(model)
    codes = params.pop(_CODES)[0]
    cast(VectorQuantizer, model.quantizer).set_codebook(arrays[_CODES].astype(codes[...].dtype))
    for name, (param, axes) in params.items():
        array = arrays[name] if axes is None else arrays[name].transpose(axes[0])
        param[...] = jnp.array(array, param[...].dtype)


def to_torch_state_dict(model: Tokenizer) -> dict[str, np.ndarray]:
    """Returns the model's weights as PyTorch has them: the inverse of `load_torch_state_dict`.

    Raises:
        ValueError: the model is not one that the names cover.
    """
    state_dict = {}
    for name, (param, axes) in _params(model).items():
        array = np.array(param[...])
        state_dict[name] = array if axes is None else np.ascontiguousarray(array.transpose(axes[1]))
    return state_dict


def _params(model: Tokenizer) -> dict[str, tuple[nnx.Variable, tuple[tuple[int, ...], ...] | None]]:
    """Returns parameters by PyTorch name, with their axes' orders in and out (None: the same)."""
    if type(model.quantizer) is not VectorQuantizer:
        raise ValueError(
            f"the model's quantizer is a {type(model.quantizer).__name__}; "
            "PyTorch's names are those of a VectorQuantizer"
        )
    if not isinstance(model.likelihood, SquaredError):
        raise ValueError(
            f"the model has a head, a {type(model.likelihood).__name__}; "
            "PyTorch's names are those of a model without"
        )
    params: dict[str, tuple[nnx.Variable, tuple[tuple[int, ...], ...] | None]] = {}
    for part, kind in (("encoder", Encoder), ("decoder", Decoder)):
        if type(getattr(model, part)) is not kind:
            raise ValueError(
                f"the model's {part} is a {type(getattr(model, part)).__name__}; PyTorch's names "
                f"are those of vqvae_jax.{kind.__name__}"
            )
        for index, layer in enumerate(getattr(model, part).convs):
            transposed = isinstance(layer, ConvTranspose)
            axes = (_FROM_TRANSPOSE, _TO_TRANSPOSE) if transposed else (_FROM_CONV, _TO_CONV)
            prefix = f"{part}.convs.{2 * index}"  # every other entry of the Sequential is a ReLU
            params[f"{prefix}.weight"] = (layer.kernel, axes)
            params[f"{prefix}.bias"] = (layer.bias, None)
    params[_CODES] = (model.quantizer.embeddings, None)
    kept = [getattr(model.quantizer, name, None) for name in _TRAINING_STATE]
    covered = [*(param for param, _ in params.values()), *kept]
    for path, node in nnx.iter_graph(model):
        if isinstance(node, nnx.Variable) and not any(node is variable for variable in covered):
            raise ValueError(
                f"the model has {'.'.join(map(str, path))}; PyTorch's names are those of a model "
                "without"
            )
    return params
