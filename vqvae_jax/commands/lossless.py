"""The commands that compress images losslessly."""

from pathlib import Path

from vqvae_jax.commands.common import bar, check_free, ending
from vqvae_jax.data.idx import read_idx, write_idx
from vqvae_jax.errors import DataError
from vqvae_jax.files import write_atomically
from vqvae_jax.training.saved import load_pair
from vqvae_jax.words import counted


def compress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Compresses the images of an IDX file."""
    ending(target, ".vq")
    from vqvae_jax import coding

    prior_run, vqvae_run = load_pair(workdir, vqvae)
    check_free(prior_run)
    images = read_idx(source, axes=3)[..., None]
    expected = tuple(prior_run.description["data"]["image_shape"])
    if images.shape[1:] != expected:
        raise DataError(f"{source} holds images of {images.shape[1:]}; they must be of {expected}")
    with bar(len(images)) as shown:
        content = coding.compress(vqvae_run.model, prior_run.model, images, shown.update)
    write_atomically(target, content)
    rate = f", {8 * len(content) / images.size:.4f} bits per dimension" if images.size else ""
    print(f"{target}: {counted(len(images), 'image')} in {len(content)} bytes{rate}")


def decompress(workdir: Path, vqvae: Path | None, source: Path, target: Path) -> None:
    """Writes the images of a compressed file as an IDX file."""
    ending(target, ".gz", ".idx", ".idx3-ubyte", "")
    from vqvae_jax import coding

    prior_run, vqvae_run = load_pair(workdir, vqvae)
    height, width, channels = prior_run.description["data"]["image_shape"]
    if channels != 1:
        raise DataError(f"{workdir} holds a prior of images with {channels} channels; IDX has one")
    with bar(None) as shown:
        images = coding.decompress(
            vqvae_run.model,
            prior_run.model,
            source.read_bytes(),
            (height, width, channels),
            str(source),
            shown.update,
        )
    write_idx(target, images[..., 0])
    print(f"{target}: {counted(len(images), 'image')}")
