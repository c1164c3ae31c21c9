"""Files with the codes of images: .npz, an int32 array for each image by its name."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from vqvae_jax.commands.batching import Sized
from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically

# Beside the codes, by names that no image has.
_SIZES = "__sizes__"
_MODEL = "__model__"


def write_codes(
    file: Path, codes: Mapping[str, np.ndarray], sizes: Mapping[str, tuple[int, int]], model: str
) -> None:
    """Writes codes.

    Args:
        file: where.
        codes: int32 [h, w] or [h, w, n], by image.
        sizes: each image's height and width.
        model: the digest of the model.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {
        **codes,
        _SIZES: np.array([sizes[name] for name in codes], np.int32).reshape(-1, 2),
        _MODEL: np.array(model),
    }
    buffer = io.BytesIO()
    # As np.savez_compressed, for which some names are arguments.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_atomically(file, buffer.getvalue())


def read_codes(file: Path, model: str) -> list[Sized]:
    """Returns what `write_codes` wrote.

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
    if sizes.shape != (len(read), 2) or sizes.dtype != np.int32:
        raise DataError(f"{file} has sizes {sizes.dtype} {sizes.shape} of {len(read)} images")
    if of_model != model:
        raise DataError(f"{file} has the codes of another model, or of another state of this one")
    found = []
    for (name, codes), (height, width) in zip(read.items(), sizes.tolist(), strict=True):
        if codes.dtype != np.int32 or codes.ndim not in (2, 3) or 0 in codes.shape:
            raise DataError(f"{file} holds {name} as {codes.dtype} {codes.shape}, not as codes")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise DataError(f"{file} holds {name!r}, which is no name of a file in a folder")
        found.append(Sized(name, codes, (height, width)))
    return found
