"""The commands that turn files into codes, and codes into files: of images, and of audio."""

import collections
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from vqvae_jax.commands.audio_model import AudioModel
from vqvae_jax.commands.batching import Sized, cut, in_batches
from vqvae_jax.commands.code_files import check_names, read_codes, write_codes
from vqvae_jax.commands.common import bar, ending
from vqvae_jax.commands.file_model import FileModel
from vqvae_jax.commands.image_model import ImageModel
from vqvae_jax.data.given_files import given_files, read_files
from vqvae_jax.errors import CheckpointError, DataError
from vqvae_jax.files import check_folder, check_parent, write_atomically
from vqvae_jax.models import AudioTokenizer, Tokenizer, has_images
from vqvae_jax.report import figures
from vqvae_jax.training.saved import SavedRun, load_run
from vqvae_jax.words import counted

Result = TypeVar("Result")

_ON_SHEET, _PIXELS_ON_SHEET = 64, 2**23  # of the originals


def encode(workdir: Path, inputs: Sequence[Path], output: Path, resize: int, pad: int) -> int:
    """Writes the codes of files, and their sizes; returns how many files could not be used."""
    ending(output, ".npz")
    check_parent(output)
    model = file_model(load_run(workdir, Tokenizer), resize, pad)
    files = given_files(inputs, model.suffixes, model.noun)
    check_names(files)
    made = worked(batches_of(files, model), model.coded)
    codes = {one.name: one for _, batch in made for one in batch}
    if codes:
        write_codes(output, [codes[name] for name in files if name in codes], model.digest)
        print(f"{output}: the codes of {counted(len(codes), model.noun)}")
    return len(files) - len(codes)


def decode(workdir: Path, source: Path, output: Path, codebooks: int | None) -> None:
    """Writes the files of codes that `encode` wrote."""
    check_folder("--output", output)
    model = file_model(load_run(workdir, Tokenizer), codebooks=codebooks)
    codes = read_codes(source, model.digest, model.tokenizer.spatial_rank)
    for one in codes:
        _check_codes(one, model, source)
    targets = _targets(output, [one.name for one in codes], model.ending)
    filled = (Sized(one.name, model.filled_codes(one.array), one.size) for one in codes)
    with bar(len(codes), model.noun) as shown:
        for batch in in_batches(filled, math.prod(model.tokenizer.downsampling)):
            for one, array in zip(batch, model.decoded(batch), strict=True):
                _write(targets[one.name], model.written(array))
                shown.update()
    print(f"{output}: {counted(len(codes), model.noun)}")


def reconstruct(
    workdir: Path,
    inputs: Sequence[Path],
    output: Path,
    resize: int,
    pad: int,
    codebooks: int | None,
    sheet: Path | None,
) -> int:
    """Writes files as their codes give them back; returns how many could not be used."""
    check_folder("--output", output)
    suffix = "" if sheet is None else ending(sheet, ".png", ".jpg", ".jpeg", ".webp")
    if sheet is not None:
        check_parent(sheet)
    model = file_model(load_run(workdir, Tokenizer), resize, pad, codebooks)
    files = given_files(inputs, model.suffixes, model.noun)
    targets = _targets(output, [*files], model.ending)
    _check_apart(targets, files)
    done, room = 0, _PIXELS_ON_SHEET
    shown: list[tuple[np.ndarray, np.ndarray]] = []

    def both(batch: list[Sized]) -> list[np.ndarray]:
        return model.decoded(model.coded(batch))

    for batch, backs in worked(batches_of(files, model), both):
        for one, back in zip(batch, backs, strict=True):
            _write(targets[one.name], model.written(back))
            done += 1
            if sheet is not None and len(shown) < _ON_SHEET and room > 0:
                pictures = model.pictures(cut(one.array, one.size), back)
                room -= math.prod(pictures[0].shape[:2])
                if room >= 0 or not shown:
                    shown.append(pictures)
    if sheet is not None and shown:
        shows = f"{counted(len(shown), model.noun)}, and below each"
        title = f"{shows} what its codes in {workdir} give"
        write_atomically(sheet, figures.pairs(shown, title, suffix[1:]))
    print(f"{output}: {counted(done, model.noun)}")
    return len(files) - done


def file_model(
    run: SavedRun, resize: int = 0, pad: int = 1, codebooks: int | None = None
) -> FileModel:
    """Returns the model of a run for files of what it was trained on: images, or audio.

    Args:
        run: the run of a tokenizer, or an exported one.
        resize: see `ImageModel`; refused for audio.
        pad: likewise.
        codebooks: see `FileModel`.

    Raises:
        CheckpointError: the commands for files cannot be used with it.
        ValueError: an argument is out of its range.
    """
    if has_images(run.model):
        return ImageModel(run, codebooks, resize, pad)
    if not isinstance(run.model, AudioTokenizer):
        raise CheckpointError(
            f"{run.workdir} holds a model of {run.model.spatial_rank} axes and "
            f"{run.model.likelihood.out_dim} channels; this command is for gray or RGB images, and "
            "for audio"
        )
    for name, is_given in (("--resize", resize != 0), ("--pad", pad != 1)):
        if is_given:
            raise ValueError(f"{name} is for images; {run.workdir} holds a model of audio")
    return AudioModel(run, codebooks)


def batches_of(files: dict[str, Path], model: FileModel) -> Iterator[list[Sized]]:
    """Yields what files hold in batches of one size, padded; names those that cannot be used.

    Args:
        files: from `given_files`.
        model: reads and pads them.
    """

    def read() -> Iterator[Sized]:
        with bar(len(files), model.noun) as shown:
            for name, array in read_files(files, model.read):
                shown.update()
                if isinstance(array, DataError):
                    shown.clear()
                    _complain(str(array))
                    continue
                yield Sized(name, model.filled(array), array.shape[:-1])

    return in_batches(read())


def _complain(reason: str) -> None:
    """Prints in one line why a file is left out."""
    print("vqvae_jax:", *reason.split(), file=sys.stderr)


def worked(
    batches: Iterable[list[Sized]], work: Callable[[list[Sized]], Result]
) -> Iterator[tuple[list[Sized], Result]]:
    """Yields batches and what is made of them; names what devices have no room for."""
    for batch in batches:
        try:
            result = work(batch)
        except DataError as error:
            for one in batch:
                _complain(f"{one.name}: {error}")
            continue
        yield batch, result


def _check_codes(one: Sized, model: FileModel, source: Path) -> None:
    """Checks that codes are the model's.

    Raises:
        DataError: they are not.
    """
    quantizer, codes = model.tokenizer.quantizer, one.array
    number, most = quantizer.num_codebooks, quantizer.num_embeddings - 1
    spatial = codes.shape[: len(one.size)]
    shape = spatial if number is None else (*spatial, number)
    if codes.shape != shape or not 0 <= codes.min() <= codes.max() <= most:
        raise DataError(
            f"{source} holds {one.name} as {codes.shape} codes from {codes.min()} to "
            f"{codes.max()}; they must be {shape}, from 0 to {most}"
        )
    largest = [n * by for n, by in zip(spatial, model.tokenizer.downsampling, strict=True)]
    if not all(0 < size <= most for size, most in zip(one.size, largest, strict=True)):
        raise DataError(
            f"{source} says that {one.name} is {model.described(one.size)}; it must be at most "
            f"{model.described(largest)}"
        )


def _targets(output: Path, names: Sequence[str], suffix: str) -> dict[str, Path]:
    """Returns the file to write for each name; those that differ in the suffix alone keep it."""
    stems = collections.Counter(str(Path(name).with_suffix("")) for name in names)
    clash = max(stems.values(), default=1) > 1
    return {
        name: output / f"{name if clash else Path(name).with_suffix('')}{suffix}" for name in names
    }


def _check_apart(targets: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    """Refuses to write over what is read.

    Raises:
        DataError: a file to write is one of those to read.
    """
    read = {file.resolve() for file in files.values()}
    for target in targets.values():
        if target.resolve() in read:
            raise DataError(f"{target} would be written over; choose another --output")


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
