"""Files with the codes of files: .npz, an int32 array for each by its name."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vqvae_jax.commands.batching import Sized
from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically

# Beside the codes, by names that no file of data has.
_SIZES = "__sizes__"
_MODEL = "__model__"


def check_names(names: Iterable[str]) -> None:
    """Refuses names that a file of codes cannot hold.

    Raises:
        DataError: a name is no UTF-8.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{name!r} is no name in UTF-8, as a file of codes needs it") from error


def write_codes(file: Path, codes: Sequence[Sized], model: str) -> None:
    """Writes codes.

    Args:
        file: where.
        codes: int32 [*latent_spatial] or [*latent_spatial, n], at least one.
        model: the digest of the model.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {
        **{one.name: one.array for one in codes},
        _SIZES: np.array([one.size for one in codes], np.int32),
        _MODEL: np.array(model),
    }
    buffer = io.BytesIO()
    # As np.savez_compressed, for which some names are arguments.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_atomically(file, buffer.getvalue())


def read_codes(file: Path, model: str, rank: int) -> list[Sized]:
    """Returns what `write_codes` wrote.

    Args:
        file: the file.
        model: the digest of the model.
        rank: the number of spatial axes of its data.

    Raises:
        DataError: it is no such file, is damaged, or of another model.
        OSError: it cannot be read.
    """
    content = file.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            read = dict(arrays)
        sizes, of_model = read.pop(_SIZES), str(read.pop(_MODEL))
    except Exception as error:  # NumPy, zipfile and zlib each raise their own kinds
        reason = " ".join(str(error).split())
        raise DataError(f"{file} is no file of codes, or is damaged: {reason}") from error
    if of_model != model:
        raise DataError(f"{file} has the codes of another model, or of another state of this one")
    if sizes.shape != (len(read), rank) or sizes.dtype != np.int32:
        raise DataError(
            f"{file} has sizes {sizes.dtype} {sizes.shape} of {len(read)} arrays of codes"
        )
    found = []
    for (name, codes), size in zip(read.items(), sizes.tolist(), strict=True):
        if codes.dtype != np.int32 or codes.ndim not in (rank, rank + 1) or 0 in codes.shape:
            raise DataError(f"{file} holds {name} as {codes.dtype} {codes.shape}, not as codes")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise DataError(f"{file} holds {name!r}, which is no name of a file in a folder")
        found.append(Sized(name, codes, tuple(size)))
    return found
