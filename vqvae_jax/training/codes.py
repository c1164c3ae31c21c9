"""The codes of a data set under a trained VQ-VAE, for training a prior."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from vqvae_jax.arrays import read_arrays, write_arrays
from vqvae_jax.data import (
    ArraySource,
    Dataset,
    DataSource,
    InOrder,
    labels_of,
    read_batches,
)
from vqvae_jax.errors import DamagedError, DataError
from vqvae_jax.models import Tokenizer
from vqvae_jax.values import to_values
from vqvae_jax.weights import weights_digest

_EXAMPLES_AT_A_TIME = 500
_POSITIONS_AT_A_TIME = 2**20  # pixels of images, samples of signals


@dataclasses.dataclass(frozen=True)
class CodeMaps:
    """The geometry of a data set's code maps, for a prior.

    Attributes:
        shape: the spatial shape, such as h and w.
        num_embeddings: K.
        num_codebooks: n, or None for a single one without an axis.
        num_classes: how many labels there are; 0: the data have none.
    """

    shape: tuple[int, ...]
    num_embeddings: int
    num_codebooks: int | None
    num_classes: int

    @classmethod
    def from_json(cls, maps: Mapping[str, Any]) -> "CodeMaps":
        """Inverts `dataclasses.asdict`, also after a round trip through JSON."""
        return cls(**{**maps, "shape": tuple(maps["shape"])})


_encode = nnx.jit(lambda model, data: model.encode(to_values(data, model.value_range)))


@dataclasses.dataclass(frozen=True)
class Codes:
    """The code maps of both splits, in the order of the examples.

    Attributes:
        train_codes: int32 [N, *spatial], or [N, *spatial, num_codebooks].
        train_labels: integers [N]; zeros if there are no labels.
        test_codes: int32 [M, *spatial], or [M, *spatial, num_codebooks].
        test_labels: integers [M], likewise.
        digest: SHA-256 of the model's weights and of the data's digest.
    """

    train_codes: np.ndarray
    train_labels: np.ndarray
    test_codes: np.ndarray
    test_labels: np.ndarray
    digest: str

    @property
    def train(self) -> ArraySource:
        """Examples to train on, "codes" and "label", as a `PriorTask` takes them."""
        labels = self.train_labels.astype(np.int32)
        return ArraySource({"codes": self.train_codes, "label": labels}, f"{self.digest} train")

    @property
    def test(self) -> ArraySource:
        """Held-out examples, likewise."""
        labels = self.test_labels.astype(np.int32)
        return ArraySource({"codes": self.test_codes, "label": labels}, f"{self.digest} test")


_ARRAYS = ("train_codes", "train_labels", "test_codes", "test_labels")


def map_shape(model: Tokenizer, data: Dataset) -> tuple[int, ...]:
    """Returns the spatial shape of a data set's code maps under a model, such as h and w.

    Raises:
        DataError: the model does not accept the data's examples, or its codes are no maps.
    """
    example = jax.ShapeDtypeStruct((1, *data.shape), np.float32)
    try:
        codes = jax.eval_shape(model.encode, example)
    except ValueError as error:
        raise DataError(f"the examples of {data.name} do not fit the model: {error}") from error
    if not isinstance(codes, jax.ShapeDtypeStruct):
        raise DataError(
            f"the codes of a {type(model).__name__} are {type(codes).__name__}; for a prior they "
            "must be one array"
        )
    return codes.shape[1 : 1 + model.spatial_rank]


def load_codes(model: Tokenizer, data: Dataset, file: str | Path) -> Codes:
    """Returns the codes of `data` under a model, from a file if it holds them.

    They are computed, and written to the file, if it is missing, damaged, or for other weights or
    data.

    Args:
        model: a trained tokenizer, of images or of signals.
        data: the data set to encode.
        file: the .safetensors file of the codes; usually codes.safetensors in the folder of the
            model's run.

    Raises:
        DataError: as `map_shape`.
        OSError: the file cannot be written.
    """
    path = Path(file)
    digest = hashlib.sha256((data.digest + weights_digest(model)).encode()).hexdigest()
    codes = _read(path, digest)
    if codes is None:
        codes = _encoded(model, data, digest)
        arrays = {name: getattr(codes, name) for name in _ARRAYS}
        write_arrays(path, arrays, {"digest": digest})
    return codes


def _read(path: Path, digest: str) -> Codes | None:
    """Returns the codes in a file; None if it is missing, damaged, or has another digest."""
    try:
        arrays, description = read_arrays(path)
    except DamagedError:
        return None
    if description != {"digest": digest} or arrays.keys() != {*_ARRAYS}:
        return None
    return Codes(**arrays, digest=digest)


def _encoded(model: Tokenizer, data: Dataset, digest: str) -> Codes:
    sources = [data.train, data.test]
    map_shape(model, data)  # checks that the two fit
    positions = math.prod(data.shape[:-1])
    size = min(_EXAMPLES_AT_A_TIME, max(1, _POSITIONS_AT_A_TIME // positions))

    def encoded(source: DataSource) -> np.ndarray:
        with read_batches(source, InOrder(len(source), size)) as batches:
            parts = [np.asarray(_encode(model, part[data.entry])) for part in batches]
            return np.concatenate(parts)

    codes = [encoded(source) for source in sources]
    labels = labels_of(sources) or [np.zeros(len(source), np.int32) for source in sources]
    return Codes(codes[0], labels[0], codes[1], labels[1], digest)
