"""The file of compressed images: a header, blocks of 32-bit words, and a digest of it all.

    7 bytes     the magic
    1 byte      the version of the format
    4 bytes     the length L of the header
    L bytes     the header: JSON
    each block  4 bytes, its number of words, and the words
    32 bytes    SHA-256 of everything before

Integers are little-endian. The first eight bytes and the digest are in every version.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqvae_jax.errors import DataError

_MAGIC = b"VQVAEJX"
_VERSION = 1
_DIGEST_SIZE = 32

# Parsed JSON takes many times its own size in memory.
_MAX_HEADER = 10_000


def pack(header: dict[str, Any], blocks: Sequence[np.ndarray]) -> bytes:
    """Returns the file's content.

    Args:
        header: JSON values.
        blocks: uint32 arrays.
    """
    text = json.dumps(header, separators=(",", ":")).encode()
    parts = [_MAGIC, bytes([_VERSION]), struct.pack("<I", len(text)), text]
    for words in blocks:
        parts += [struct.pack("<I", len(words)), words.astype("<u4").tobytes()]
    content = b"".join(parts)
    return content + hashlib.sha256(content).digest()


def unpack(content: bytes, name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Returns the header and the blocks of a file.

    Args:
        content: the file's content.
        name: the file's name, for errors.

    Raises:
        DataError: it is not such a file, has another version, or is damaged.
    """
    if content[: len(_MAGIC)] != _MAGIC:
        raise DataError(f"{name} is not a file of compressed images: it must begin with {_MAGIC!r}")
    body, digest = memoryview(content)[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if hashlib.sha256(body).digest() != digest:
        raise DataError(f"{name} is damaged: its content does not match the digest at its end")
    if len(body) == len(_MAGIC):
        raise DataError(f"{name} is damaged: it ends before the version of its format")
    if body[len(_MAGIC)] != _VERSION:
        raise DataError(
            f"{name} has format {body[len(_MAGIC)]}; this version of vqvae_jax reads format "
            f"{_VERSION}"
        )
    start, text = _take(body, len(_MAGIC) + 1, 1, name)
    if len(text) > _MAX_HEADER:
        raise DataError(f"{name} is damaged: its header has {len(text)} bytes, over {_MAX_HEADER}")
    try:
        header = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is damaged: its header is not JSON") from error
    if not isinstance(header, dict):
        raise DataError(f"{name} is damaged: its header is not an object")
    blocks = []
    while start < len(body):
        start, words = _take(body, start, 4, name)
        blocks.append(np.frombuffer(words, "<u4").astype(np.uint32))
    return header, blocks


def _take(content: memoryview, start: int, size: int, name: str) -> tuple[int, memoryview]:
    """Returns where a piece of counted elements of `size` bytes ends, and the piece."""
    first = start + 4
    if first > len(content):
        raise DataError(f"{name} is damaged: it ends within a length")
    end = first + size * struct.unpack_from("<I", content, start)[0]
    if end > len(content):
        raise DataError(f"{name} is damaged: a piece is longer than what is left")
    return end, content[first:end]
