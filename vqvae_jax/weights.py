"""Digests that identify trained models and other pytrees of arrays."""

import hashlib
from typing import Any

import jax
import numpy as np
from flax import nnx


def weights_digest(model: nnx.Module) -> str:
    """Returns the SHA-256 of all that a model holds, by name."""
    return tree_digest(nnx.state(model))


def tree_digest(tree: Any) -> str:
    """Returns the SHA-256 of a pytree's arrays, by path."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.asarray(leaf)
        digest.update(repr((jax.tree_util.keystr(path), value.dtype.str, value.shape)).encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
