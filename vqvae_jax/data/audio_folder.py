"""Folders of audio files as data sets."""

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

from vqvae_jax.data.audio_framing import AudioFraming
from vqvae_jax.data.folder import FileFolder, only

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioFolder(AudioFraming, FileFolder):
    """A folder of recordings: WAV, FLAC, OGG, Opus, MP3 and AIFF, with any folders inside.

    Splits and classes are those of `ImageFolder`, or are read from the files' names.

        speech = vqvae_jax.AudioFolder(path="SPEECH", sample_rate=16000, seconds=1.0).load()
        vqvae_jax.train(model, speech.train, speech.test, workdir="runs/speech")

    Examples are "audio", int16 [T, C], and "label" if there are classes. Needs the extra audio.

    Args:
        path: the folder.
        test_fraction: fraction of the recordings held out if there are no folders train and test.
        test_pattern: a regular expression that is found in the names of held-out files; None: it
            is the folders, or test_fraction.
        label_pattern: a regular expression whose first group in a file's name is its class; None:
            the outermost folder is, if all files are in one.
        max_bad_files: how many files that cannot be decoded are named and skipped; one more is an
            error.
        cache: where decoded samples are kept: disk, memory, or nowhere: then each file is decoded
            again in each epoch.
        data_dir: the folder of cached data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: an argument out of its range.
    """

    suffixes: ClassVar[Sequence[str]] = SUFFIXES
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    test_pattern: str | None = None
    label_pattern: str | None = None

    def __post_init__(self) -> None:
        AudioFraming.__post_init__(self)
        FileFolder.__post_init__(self)
        for name, pattern in zip(("test_pattern", "label_pattern"), self.patterns, strict=True):
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(
                    f"{name} is {pattern!r}; it must be a regular expression: {error}"
                ) from error

    @property
    def patterns(self) -> tuple[str | None, str | None]:
        """See `FileFolder`."""
        return self.test_pattern, self.label_pattern

    @property
    def framing(self) -> AudioFraming:
        """See `FileFolder`."""
        return only(AudioFraming, self)
