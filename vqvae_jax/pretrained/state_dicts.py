"""Tokenizers from the state dicts of released weights, and back."""

import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.checks import check_choice
from vqvae_jax.models import Tokenizer
from vqvae_jax.models.origin import Origin
from vqvae_jax.pretrained import (
    chameleon_vqvae,
    dac,
    dalle_dvae,
    diffusers_movq,
    diffusers_vqmodel,
    emu3_vqvae,
    encodec,
    ibq,
    janus_vqvae,
    llamagen,
    lyra,
    maskgit_vqgan,
    mimi,
    open_magvit2,
    snac,
    taming_vqgan,
)
from vqvae_jax.pretrained.family import Entry, Family, entries

FAMILIES: dict[str, Family] = {
    "maskgit_vqgan": maskgit_vqgan.FAMILY,
    "open_magvit2": open_magvit2.FAMILY,
    "taming_vqgan": taming_vqgan.FAMILY,
    "diffusers_vqmodel": diffusers_vqmodel.FAMILY,
    "diffusers_movq": diffusers_movq.FAMILY,
    "llamagen": llamagen.FAMILY,
    "ibq": ibq.FAMILY,
    "dalle_dvae": dalle_dvae.FAMILY,
    "chameleon_vqvae": chameleon_vqvae.FAMILY,
    "emu3_vqvae": emu3_vqvae.FAMILY,
    "janus_vqvae": janus_vqvae.FAMILY,
    "encodec": encodec.FAMILY,
    "encodec_hf": encodec.HF_FAMILY,
    "dac": dac.FAMILY,
    "dac_hf": dac.HF_FAMILY,
    "mimi": mimi.FAMILY,
    "mimi_hf": mimi.HF_FAMILY,
    "snac": snac.FAMILY,
    "lyra": lyra.FAMILY,
}


def from_state_dict(
    family: str, state: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> Tokenizer:
    """Returns the tokenizer of released weights.

    Args:
        family: one of `FAMILIES`.
        state: the original names and arrays; those of training alone are dropped. Numbers become
            float32.
        config: the model's config in the original's terms.

    Raises:
        ValueError: the family is unknown; a setting is missing, unknown or not supported; an entry
            is missing, is not the model's, or has the wrong shape or type.
    """
    known = FAMILIES[check_choice("family", family, FAMILIES)]
    abstract: Tokenizer = nnx.eval_shape(lambda: known.build(config, nnx.Rngs(0)))
    expected = entries(abstract, known)
    given = known.select(state, config)
    _check(given, expected)
    graphdef, variables = nnx.split(abstract)
    flat = dict(nnx.to_flat_state(variables))
    for name, entry in expected.items():
        array = jnp.asarray(entry.ours(np.asarray(given[name])), entry.variable.dtype)
        flat[entry.path] = flat[entry.path].replace(array)
    tokenizer = nnx.merge(graphdef, nnx.from_flat_state(flat))
    tokenizer.origin = Origin(family, json.dumps(config))
    return tokenizer


def to_state_dict(tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Returns the weights of such a tokenizer under their original names: the inverse.

    Raises:
        ValueError: the tokenizer was not made from released weights.
    """
    origin = getattr(tokenizer, "origin", None)
    if origin is None:
        raise ValueError("the tokenizer was not made by from_state_dict, whose names it must have")
    family = FAMILIES[origin.family]
    named = entries(tokenizer, family)
    state = {name: entry.theirs(np.asarray(entry.variable[...])) for name, entry in named.items()}
    restored = family.restore(state, json.loads(origin.config))
    # In C's order, since safetensors writes an array's memory as it lies.
    return {name: np.asarray(array, order="C") for name, array in restored.items()}


def original_shapes(family: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a released state dict, without its weights.

    Args:
        family: one of `FAMILIES`.
        config: as for `from_state_dict`.

    Raises:
        ValueError: the family is unknown; a setting is missing, unknown or not supported.
    """
    known = FAMILIES[check_choice("family", family, FAMILIES)]
    abstract: Tokenizer = nnx.eval_shape(lambda: known.build(config, nnx.Rngs(0)))
    zero = np.zeros((), np.float32)  # seen in every shape, so that no memory is needed
    state = {n: np.broadcast_to(zero, entry.shape) for n, entry in entries(abstract, known).items()}
    return {name: array.shape for name, array in known.restore(state, config).items()}


def _check(state: Mapping[str, np.ndarray], expected: Mapping[str, Entry]) -> None:
    """Refuses entries that do not fit the model, by name."""
    for name, entry in expected.items():
        if name not in state:
            raise ValueError(f"the state dict has no {name}; it must be {entry.shape}")
    for name, value in state.items():
        if name not in expected:
            raise ValueError(
                f"the state dict has {name} {np.shape(value)}, which the model does not have"
            )
        shape, variable = expected[name].shape, expected[name].variable
        if np.shape(value) != shape:
            raise ValueError(f"{name} has shape {np.shape(value)}; it must be {shape}")
        kind = np.floating if jnp.issubdtype(variable.dtype, np.floating) else np.integer
        if not jnp.issubdtype(value.dtype, kind):
            raise ValueError(f"{name} has type {value.dtype}; it must be {kind.__name__}")
