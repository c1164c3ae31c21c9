"""Data sets as TFDS lays them out, prepared by a builder of somebody else."""

import contextlib
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

FEATURES = tfds.features
GREY = {
    "image": FEATURES.Image(shape=(12, 12, 1)),
    "label": FEATURES.ClassLabel(num_classes=3),
}


def pixels(*shape, seed=0, dtype=np.uint8):
    """A random image, as PIL has it."""
    array = np.random.RandomState(seed).randint(0, np.iinfo(dtype).max, shape)
    return Image.fromarray(array.astype(dtype))


def examples(count, seed=0, **replaced):
    """Grey images of 12 x 12 with labels, some of their features replaced."""
    return [
        {"image": pixels(12, 12, seed=seed + 1000 * index), "label": index % 3} | replaced
        for index in range(count)
    ]


def prepare(data_dir, name, *, version="1.0.0", configs=(), features=None, splits=None, seed=0):
    """Has TFDS prepare a set in array_record.

    Args:
        data_dir: TFDS's data folder.
        name: of the set.
        version: of the set.
        configs: the names of its configs, the default one first.
        features: by their names; None for grey images with labels.
        splits: the examples of each split; None for such images.
        seed: of these.
    """
    features = GREY if features is None else features
    splits = (
        {"train": examples(9, seed), "test": examples(4, seed + 1)} if splits is None else splits
    )

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config) for config in configs]  # noqa: RUF012

        def __init__(self, **options):
            self.name = name
            super().__init__(data_dir=data_dir, file_format="array_record", **options)

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=FEATURES.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(given) for split, given in splits.items()}

        def _generate_examples(self, given):
            yield from enumerate(given)

    tfds.disable_progress_bar()
    for options in [{"config": config} for config in configs] or [{}]:
        with contextlib.redirect_stdout(io.StringIO()):
            Builder(**options).download_and_prepare(file_format="array_record")
