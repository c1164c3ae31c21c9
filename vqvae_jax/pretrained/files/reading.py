"""Released weight files as NumPy arrays. None of their code is run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqvae_jax.errors import UnsupportedError
from vqvae_jax.pretrained.files import entries, msgpack_files, torch_files
from vqvae_jax.pretrained.files.problems import naming_file
from vqvae_jax.pretrained.files.safetensors_files import read_safetensors, read_shards
from vqvae_jax.pretrained.files.torch_tensors import read_tensors

_MSGPACK_MAPS = (*range(0x81, 0x90), 0xDE, 0xDF)


def load_state_dict(
    path: str | Path, keys: Sequence[str] = ("state_dict", "model")
) -> dict[str, np.ndarray]:
    """Reads weights that PyTorch, safetensors or Flax have written, or Lyra 2, by their own names.

    The content says which format it is: safetensors, or an index of its shards (`.json`); a file of
    `torch.save`, of any version since 0.4, with a state dict or a whole module; msgpack of
    `flax.serialization`. Pickles are interpreted without importing or calling what they name, so
    that a file of an unknown origin does no harm; PyTorch is not needed. Entries that are no arrays
    are left out, and so is what lies beside the entry that is chosen, such as an optimizer's state.

    Args:
        path: the file; of Lyra 2, the folder with its three files of TensorFlow Lite.
        keys: the entries that may be the state dict, in a file that holds more: the first is read
            that the file has, or the file's own entries if it has none of them.

    Returns:
        Arrays of the types that the file has, bfloat16 included. Names within nested dictionaries
        are joined by "/", and those within a module by ".". Tied weights are one array.

    Raises:
        ValueError: `keys` is a string.
        DamagedError: the content is not what its format allows.
        UnsupportedError: the format is none of these, there is no state dict, or a part of it
            could be had only by running the file's code.
        MissingError: a package that Lyra's files need is missing, in the extra `lyra`.
        OSError: the file cannot be read.
    """
    if isinstance(keys, str):
        raise ValueError(f"keys is {keys!r}; it must be a sequence of names, such as ({keys!r},)")
    path = Path(path)
    if path.suffix == ".json":
        return read_shards(path)
    if (path / "soundstream_encoder.tflite").is_file():
        from vqvae_jax.pretrained.files.lyra_files import read_lyra

        return read_lyra(path)
    with naming_file(path), path.open("rb") as file:
        return _read(file, keys)


def _read(file: BinaryIO, keys: Sequence[str]) -> dict[str, np.ndarray]:
    start = file.read(9)
    file.seek(0)
    if start[8:] == b"{":
        return read_safetensors(file)
    if start[:4] == b"PK\x03\x04":
        open_file = torch_files.open_archive
    elif start[:1] == b"\x80":
        open_file = torch_files.open_legacy
    elif start and start[0] in _MSGPACK_MAPS:
        content = entries.entry(msgpack_files.read_msgpack(file), keys)
        if not (arrays := msgpack_files.flatten(content)):
            raise entries.no_state_dict(content)
        return arrays
    else:
        raise UnsupportedError("it is no file of safetensors, PyTorch or Flax's msgpack")
    content, read = open_file(file)
    tensors = entries.tensors(entries.entry(content, keys))
    return read_tensors(tensors, read, os.fstat(file.fileno()).st_size)
