"""The digest that identifies a trained model."""

import hashlib

import jax
import numpy as np
from flax import nnx


def weights_digest(model: nnx.Module) -> str:
    """Returns the SHA-256 of all that a model holds, by name."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(model)):
        value = np.asarray(leaf)
        digest.update(repr((jax.tree_util.keystr(path), value.dtype.str, value.shape)).encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
