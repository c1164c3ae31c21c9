"""Data sources: arrays in memory, and sources of a user's own."""

import jax
import numpy as np
import pytest

from vqvae_jax.data import ArraySource, as_source, shapes_of, take
from vqvae_jax.errors import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 2, 3, 1)).astype(np.uint8)
LABELS = np.arange(6, dtype=np.int32)


class Files:
    """A source of a user's own, which reads one example at a time."""

    fingerprint = "files"

    def __init__(self, spec=((2, 3, 1), np.uint8), names=("image",)):
        self.spec, self.names = {"image": jax.ShapeDtypeStruct(*spec)}, names

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        assert type(index) is int
        return dict.fromkeys(self.names, IMAGES[index])


def test_arrays_are_a_source():
    source = as_source({"image": IMAGES, "label": LABELS}, "source")
    assert len(source) == 6
    assert source.spec == {
        "image": jax.ShapeDtypeStruct((2, 3, 1), np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    assert source[4]["label"] == 4
    np.testing.assert_array_equal(source[4]["image"], IMAGES[4])
    assert list(as_source(IMAGES, "source").spec) == ["data"]
    assert as_source(source, "source") is source
    assert shapes_of(source, 4)["image"] == jax.ShapeDtypeStruct((4, 2, 3, 1), np.uint8)
    files = Files()
    assert as_source(files, "source") is files


class Unnamed:
    """Has half of the members."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return IMAGES[index]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Unnamed(), "^held has type Unnamed; .* or a DataSource, which has spec, fingerprint too$"),
        ([IMAGES], "^held has type list; it must be an array, a mapping of arrays by name, or a "),
        ({}, "^held: a source of no arrays; it must have arrays of one length$"),
        (np.array(3), "^held: 'data' is a scalar; the examples must be on its first axis$"),
        ({"file": np.array(["a"])}, "^held: 'file' is an array of <U1; it must be of numbers$"),
        ({"image": IMAGES, "label": [1]}, "^held: 'label' has type list; it must be an array$"),
    ],
)
def test_what_is_no_source_is_named(given, message):
    with pytest.raises(DataError, match=message):
        as_source(given, "held")


def test_the_fingerprint_is_that_of_the_content():
    fingerprints = {
        ArraySource(arrays).fingerprint
        for arrays in (
            {"image": IMAGES},
            {"image": IMAGES.copy()},
            {"image": IMAGES[::-1]},
            {"image": IMAGES[:5]},
            {"image": IMAGES.astype(np.int16)},
            {"picture": IMAGES},
            {"image": IMAGES, "label": LABELS},
        )
    }
    assert len(fingerprints) == 6
    assert ArraySource({"image": IMAGES}, "known").fingerprint == "known"


@pytest.mark.parametrize("source", [ArraySource({"image": IMAGES}), Files()])
@pytest.mark.parametrize("indices", [[3], [5, 0, 5], [[1, 2, 3], [4, 0, 1]]])
def test_examples_are_taken_in_the_order_of_the_indices(source, indices):
    taken = take(source, np.array(indices))
    assert taken.keys() == {"image"}
    assert taken["image"].dtype == np.uint8
    np.testing.assert_array_equal(taken["image"], IMAGES[np.array(indices)])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            Files(spec=((3, 2, 1), np.uint8)),
            r"is uint8 \(2, 3, 1\); .* Files says uint8 \(3, 2, 1\)",
        ),
        (Files(spec=((2, 3, 1), np.float32)), r"is uint8 \(2, 3, 1\); .* says float32 \(2, 3, 1\)"),
        (
            Files(names=("picture",)),
            "'image' of example 4 is missing; the spec of Files says uint8",
        ),
    ],
)
def test_examples_unlike_the_spec_are_named(source, message):
    with pytest.raises(DataError, match=message):
        take(source, np.array([4]))
