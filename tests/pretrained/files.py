"""A weight file of each form."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import serialization

TORCH_FILES = Path(__file__).parents[1] / "golden" / "torch_files"
ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(7, np.int64),
    "half": np.arange(4).astype(jnp.bfloat16),
    "empty": np.zeros((0, 2), np.float16),
}
NESTED = {"step": 3, "params": {"conv": {"kernel": ARRAYS["b"], "bias": ARRAYS["half"]}}}


def weight_files(folder):
    """The paths of PyTorch's files, and of others in a folder."""
    write_safetensors(folder / "plain.safetensors", ARRAYS)
    (folder / "flax.msgpack").write_bytes(serialization.msgpack_serialize(NESTED))
    torch_files = [file for file in TORCH_FILES.iterdir() if file.suffix != ".npz"]
    return [*sorted(torch_files), folder / "plain.safetensors", folder / "flax.msgpack"]


def write_safetensors(path, arrays):
    path.write_bytes(safetensors.numpy.save(arrays))
