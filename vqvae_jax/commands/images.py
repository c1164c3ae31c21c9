"""The commands that turn image files into codes, and codes into image files."""

import collections
import io
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vqvae_jax.checks import check_integer
from vqvae_jax.commands.batching import Sized, in_batches, padded
from vqvae_jax.commands.code_files import read_codes, write_codes
from vqvae_jax.commands.common import bar, ending
from vqvae_jax.commands.image_model import ImageModel
from vqvae_jax.data.image_files import image_files, read_images
from vqvae_jax.errors import DataError
from vqvae_jax.extras import extra
from vqvae_jax.files import check_folder, check_parent, write_atomically
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import pixels_of
from vqvae_jax.report import figures
from vqvae_jax.training.saved import load_run
from vqvae_jax.words import counted

with extra("train"):
    from PIL import Image

_log = logging.getLogger(__name__)

_ON_SHEET, _PIXELS_ON_SHEET = 64, 2**23  # of the originals
_MANY_SIZES, _FEW_SIZES_BY = 10, 64


def encode(workdir: Path, inputs: Sequence[Path], output: Path, resize: int, pad: int) -> int:
    """Writes the codes of images, and their sizes; returns how many files could not be used."""
    ending(output, ".npz")
    check_parent(output)
    model, files = ImageModel(load_run(workdir, Tokenizer)), image_files(inputs)
    codes: dict[str, np.ndarray] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for batch in batches_of(files, model, resize, pad):
        arrays = model.encode([one.array for one in batch])
        codes |= {one.name: of_one for one, of_one in zip(batch, arrays, strict=True)}
        sizes |= {one.name: one.size for one in batch}
    if codes:
        write_codes(
            output, {name: codes[name] for name in files if name in codes}, sizes, model.digest
        )
        print(f"{output}: the codes of {counted(len(codes), 'image')}")
    return len(files) - len(codes)


def decode(workdir: Path, source: Path, output: Path) -> None:
    """Writes the images of codes that `encode` wrote."""
    check_folder("--output", output)
    model = ImageModel(load_run(workdir, Tokenizer))
    codes = read_codes(source, model.digest)
    for one in codes:
        _check_codes(one, model, source)
    targets = _targets(output, [one.name for one in codes])
    with bar(len(codes)) as shown:
        for batch in in_batches(codes, math.prod(model.tokenizer.downsampling)):
            images = pixels_of(model.decode([one.array for one in batch]), (0.0, 1.0))
            for one, image in zip(batch, images, strict=True):
                _write_png(targets[one.name], cut(image, one))
                shown.update()
    print(f"{output}: {counted(len(codes), 'image')}")


def reconstruct(
    workdir: Path,
    inputs: Sequence[Path],
    output: Path,
    resize: int,
    pad: int,
    sheet: Path | None,
) -> int:
    """Writes images as their codes give them back; returns how many files could not be used."""
    check_folder("--output", output)
    suffix = "" if sheet is None else ending(sheet, ".png", ".jpg", ".jpeg", ".webp")
    if sheet is not None:
        check_parent(sheet)
    model, files = ImageModel(load_run(workdir, Tokenizer)), image_files(inputs)
    targets = _targets(output, [*files])
    _check_apart(targets, files)
    done, room = 0, _PIXELS_ON_SHEET
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in batches_of(files, model, resize, pad):
        codes = model.encode([one.array for one in batch])
        images = pixels_of(model.decode([*codes]), (0.0, 1.0))
        for one, image in zip(batch, images, strict=True):
            back = cut(image, one)
            _write_png(targets[one.name], back)
            done += 1
            room -= math.prod(one.size) if sheet is not None else 0
            if sheet is not None and len(shown) < _ON_SHEET and (room >= 0 or not shown):
                shown.append((cut(one.array, one), back))
    if sheet is not None and shown:
        title = f"{counted(len(shown), 'image')}, and below each what its codes in {workdir} give"
        write_atomically(sheet, figures.pairs(shown, title, suffix[1:]))
    print(f"{output}: {counted(done, 'image')}")
    return len(files) - done


def batches_of(
    files: dict[str, Path], model: ImageModel, resize: int, pad: int
) -> Iterator[list[Sized]]:
    """Yields the images of files in batches of one size, padded; names those that are no images.

    Args:
        files: from `image_files`.
        model: says which channels, and what the sizes must be multiples of.
        resize: as `read_image` takes it as shorter_side.
        pad: what the sizes must be multiples of too.

    Raises:
        ValueError: resize or pad is out of its range.
    """
    check_integer("resize", resize, 0, 2**14)
    check_integer("pad", pad, 1, 2**14)
    multiples = [math.lcm(by, pad) for by in model.tokenizer.downsampling]
    shapes: set[tuple[int, ...]] = set()

    def read() -> Iterator[Sized]:
        with bar(len(files)) as shown:
            for name, image in read_images(files, model.channels, resize):
                shown.update()
                if isinstance(image, DataError):
                    shown.clear()
                    print("vqvae_jax:", *str(image).split(), file=sys.stderr)
                    continue
                whole = padded(image, multiples)
                is_new = whole.shape not in shapes
                shapes.add(whole.shape)
                if is_new and len(shapes) == _MANY_SIZES and pad < _FEW_SIZES_BY:
                    _log.warning(
                        "each size takes seconds to compile; --pad %d makes fewer sizes",
                        _FEW_SIZES_BY,
                    )
                yield Sized(name, whole, (image.shape[0], image.shape[1]))

    return in_batches(read())


def cut(image: np.ndarray, one: Sized) -> np.ndarray:
    """Returns an image [H, W, C] without its padding."""
    height, width = one.size
    return image[:height, :width]


def _check_codes(one: Sized, model: ImageModel, source: Path) -> None:
    """Checks that codes are the model's.

    Raises:
        DataError: they are not.
    """
    quantizer, codes = model.tokenizer.quantizer, one.array
    number, most = quantizer.num_codebooks, quantizer.num_embeddings - 1
    shape = codes.shape[:2] if number is None else (*codes.shape[:2], number)
    if codes.shape != shape or not 0 <= codes.min() <= codes.max() <= most:
        raise DataError(
            f"{source} holds {one.name} as {codes.shape} codes from {codes.min()} to "
            f"{codes.max()}; they must be {shape}, from 0 to {most}"
        )
    height, width = (by * codes.shape[i] for i, by in enumerate(model.tokenizer.downsampling))
    if not (0 < one.size[0] <= height and 0 < one.size[1] <= width):
        raise DataError(
            f"{source} says that {one.name} is {one.size[1]} x {one.size[0]} pixels; it must be at "
            f"most {width} x {height}"
        )


def _targets(output: Path, names: Sequence[str]) -> dict[str, Path]:
    """Returns the .png to write for each name; those that differ in the suffix alone keep it."""
    stems = collections.Counter(str(Path(name).with_suffix("")) for name in names)
    clash = max(stems.values(), default=1) > 1
    return {name: output / f"{name if clash else Path(name).with_suffix('')}.png" for name in names}


def _check_apart(targets: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    """Refuses to write over what is read.

    Raises:
        DataError: a file to write is one of those to read.
    """
    read = {file.resolve() for file in files.values()}
    for target in targets.values():
        if target.resolve() in read:
            raise DataError(f"{target} would be written over; choose another --output")


def _write_png(file: Path, pixels: np.ndarray) -> None:
    """Writes an image uint8 [H, W, C], gray or RGB."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, buffer.getvalue())
