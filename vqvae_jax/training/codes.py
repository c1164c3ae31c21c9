"""The codes of a data set under a trained VQ-VAE: what a prior learns from."""

import dataclasses
import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from vqvae_jax.data import Dataset, to_floats
from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically
from vqvae_jax.models import VQVAE
from vqvae_jax.training.model import load_model

_IMAGES_AT_A_TIME = 500

_encode = nnx.jit(lambda model, images: model.encode(to_floats(images)))


@dataclasses.dataclass(frozen=True)
class Codes:
    """The code maps of both splits, in the order of the images.

    Attributes:
        train_codes: int32 [N, h, w], or [N, h, w, num_codebooks].
        train_labels: uint8 [N].
        test_codes: int32 [M, h, w], or [M, h, w, num_codebooks].
        test_labels: uint8 [M].
        digest: SHA-256 of the model's weights and of the data's digest.
    """

    train_codes: np.ndarray
    train_labels: np.ndarray
    test_codes: np.ndarray
    test_labels: np.ndarray
    digest: str


def load_codes(workdir: str | Path, data: Dataset) -> Codes:
    """The codes of `data` under the best model of a run, from <workdir>/codes.npz if it has them.

    They are computed, and written there, where the file is missing, damaged, or of other weights or
    other data.

    Args:
        workdir: the run's folder.
        data: what is to be encoded.

    Raises:
        CheckpointError: the run has no model.
        DataError: the model does not take the data's images.
        OSError: the file cannot be written.
    """
    model, path = load_model(workdir), Path(workdir) / "codes.npz"
    digest = _digest(model, data)
    codes = _read(path, digest)
    if codes is None:
        codes = _encoded(model, data, digest)
        content = io.BytesIO()
        np.savez_compressed(content, **dataclasses.asdict(codes))
        write_atomically(path, content.getvalue())
    return codes


def _read(path: Path, digest: str) -> Codes | None:
    """The codes that a file holds; None if it is missing, damaged, or its digest is another."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            names = [field.name for field in dataclasses.fields(Codes)]
            arrays = {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    codes = Codes(**arrays | {"digest": str(arrays["digest"])})
    return codes if codes.digest == digest else None


def _encoded(model: VQVAE, data: Dataset, digest: str) -> Codes:
    def encoded(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), _IMAGES_AT_A_TIME)
        parts = [_encode(model, images[start : start + _IMAGES_AT_A_TIME]) for start in starts]
        return np.concatenate(jax.device_get(parts))

    try:
        train, test = encoded(data.train_images), encoded(data.test_images)
    except ValueError as error:
        raise DataError(f"the images of {data.name} do not fit the model: {error}") from error
    return Codes(train, data.train_labels, test, data.test_labels, digest)


def _digest(model: VQVAE, data: Dataset) -> str:
    digest = hashlib.sha256(data.digest.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(model)):
        value = np.asarray(leaf)
        digest.update(repr((jax.tree_util.keystr(path), value.dtype.str, value.shape)).encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
