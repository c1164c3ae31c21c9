"""Rows with images, as the package `datasets` has them."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import pattern
from vqvae_jax import HuggingFaceSource
from vqvae_jax.data import take
from vqvae_jax.errors import DataError


class Rows(list):
    """As much of a `datasets.Dataset` as is used."""

    _fingerprint = "abc"

    def __getitem__(self, index):
        if isinstance(index, str):
            return [row[index] for row in self]
        return super().__getitem__(index)


@pytest.fixture
def rows():
    sizes = [(12, 16), (14, 13), (20, 12)]
    images = [pattern(*size, seed) for seed, size in enumerate(sizes)]
    pictures = [Image.fromarray(images[0]), images[1], Image.fromarray(images[2]).convert("L")]
    return Rows({"image": image, "of": 2 - i} for i, image in enumerate(pictures))


def test_rows_are_examples(rows):
    source = HuggingFaceSource(rows, size=12, resize=0, label="of")
    examples = take(source, np.arange(3))
    np.testing.assert_array_equal(examples["image"][0], pattern(12, 16, 0)[:, 2:14])
    np.testing.assert_array_equal(examples["image"][1], pattern(14, 13, 1)[1:13, :12])
    assert examples["label"].tolist() == source.labels.tolist() == [2, 1, 0]
    assert examples["label"].dtype == np.int32


def test_rows_without_columns_have_labels(rows):
    source = HuggingFaceSource([*rows], size=12, label="of", fingerprint="abc")
    assert [source[index]["label"] for index in range(3)] == [2, 1, 0]


def test_labels_that_are_no_integers_are_named(rows):
    rows[1]["of"] = "cat"
    with pytest.raises(DataError, match=r"^of cannot be used as labels: "):
        HuggingFaceSource(rows, size=12, label="of")


def test_draws_are_crops(rows):
    source = HuggingFaceSource(rows, size=12, resize=0, crop="random")
    draws = {source.draw(0, np.random.RandomState(seed))["image"].tobytes() for seed in range(50)}
    crops = {pattern(12, 16, 0)[:, x : x + 12].tobytes() for x in range(5)}
    assert draws == crops


def test_the_fingerprint_is_that_of_data_and_framing(rows):
    fingerprints = {
        HuggingFaceSource(rows, size=12).fingerprint,
        HuggingFaceSource(rows, size=13).fingerprint,
        HuggingFaceSource(rows, size=12, fingerprint="other").fingerprint,
        HuggingFaceSource(rows, size=12, label="of").fingerprint,
    }
    assert len(fingerprints) == 4
    with pytest.raises(DataError, match="a list has no fingerprint; one must"):
        HuggingFaceSource([*rows], size=12)


def test_arrays_may_be_gray_or_lists(rows):
    gray = pattern(12, 12)[..., :1]
    rows[0]["image"], rows[1]["image"] = gray, gray.tolist()
    examples = take(HuggingFaceSource(rows, size=12, channels=1), np.arange(2))
    np.testing.assert_array_equal(examples["image"], [gray, gray])


def test_what_is_no_image_is_named(rows):
    rows[1]["image"] = "a.png"
    with pytest.raises(DataError, match=r"^image of row 1 cannot be used: "):
        HuggingFaceSource(rows, size=12)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "size is None; it must be given"), ({"size": 8, "crop": "tiles"}, "crop is 'tiles'")],
)
def test_wrong_arguments_are_named(rows, options, message):
    with pytest.raises(ValueError, match=message):
        HuggingFaceSource(rows, **options)
