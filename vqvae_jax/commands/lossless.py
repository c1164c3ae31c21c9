"""The commands that compress images losslessly."""

from pathlib import Path

import numpy as np

from vqvae_jax.commands.common import bar, check_free, described_sizes, ending, npy
from vqvae_jax.data.array_file import read_arrays
from vqvae_jax.data.idx import read_idx, write_idx
from vqvae_jax.errors import CheckpointError, DataError
from vqvae_jax.files import check_parent, write_atomically
from vqvae_jax.training.saved import SavedRun, load_pair
from vqvae_jax.words import counted


def compress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Compresses the images of a .npy or an IDX file."""
    ending(target, ".vq")
    check_parent(target)
    from vqvae_jax import coding

    prior_run, vqvae_run = _load(workdir, vqvae)
    check_free(prior_run)
    if source.suffix.lower() == ".npy":
        images = np.asarray(read_arrays(source)["image"])
    else:
        images = read_idx(source, axes=3)[..., None]
    expected = described_sizes(prior_run, "data", "image_shape")
    if images.shape[1:] != expected:
        raise DataError(f"{source} holds images of {images.shape[1:]}; they must be of {expected}")
    with bar(len(images)) as shown:
        content = coding.compress(vqvae_run.model, prior_run.model, images, shown.update)
    write_atomically(target, content)
    rate = f", {8 * len(content) / images.size:.4f} bits per dimension" if images.size else ""
    print(f"{target}: {counted(len(images), 'image')} in {len(content)} bytes{rate}")


def decompress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Writes the images of a compressed file as a .npy or an IDX file."""
    suffix = ending(target, ".npy", ".gz", ".idx", ".idx3-ubyte", "")
    check_parent(target)
    from vqvae_jax import coding

    prior_run, vqvae_run = _load(workdir, vqvae)
    height, width, channels = described_sizes(prior_run, "data", "image_shape")
    if channels != 1 and suffix != ".npy":
        raise DataError(
            f"{workdir} holds a prior of images with {channels} channels; an IDX file has one, and "
            "a .npy file any"
        )
    with bar(None) as shown:
        images = coding.decompress(
            vqvae_run.model,
            prior_run.model,
            source.read_bytes(),
            (height, width, channels),
            str(source),
            shown.update,
        )
    if suffix == ".npy":
        write_atomically(target, npy(images))
    else:
        write_idx(target, images[..., 0])
    print(f"{target}: {counted(len(images), 'image')}")


def _load(workdir: Path, vqvae: Path | None) -> tuple[SavedRun, SavedRun]:
    """Returns the runs of a prior of images, and of its tokenizer."""
    prior_run, vqvae_run = load_pair(workdir, vqvae)
    if vqvae_run.model.spatial_rank != 2:
        raise CheckpointError(f"{workdir} holds a prior of other data; the codec is for images")
    return prior_run, vqvae_run
