"""Arrays in .npy and .npz files: which images are held out, and what is refused."""

import numpy as np
import pytest

from vqvae_jax import ArrayFile, ArraySource
from vqvae_jax.data import labels_of, take
from vqvae_jax.errors import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (50, 6, 8, 3)).astype(np.uint8)
LABELS = np.arange(50) % 7


def save(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return str(folder / "x.npz")


def rows_of(source):
    """The place of each example in IMAGES."""
    found = take(source, np.arange(len(source)))["image"]
    return [int(np.flatnonzero((image == IMAGES).all((1, 2, 3)))[0]) for image in found]


def test_a_npy_file_is_mapped_and_divided(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    data = ArrayFile(path=str(tmp_path / "x.npy"), test_fraction=0.3).load()
    assert isinstance(data.train, ArraySource)
    assert isinstance(data.train.arrays["image"], np.memmap)
    train, test = rows_of(data.train), rows_of(data.test)
    assert sorted(train + test) == list(range(50))
    assert 5 < len(test) < 25
    pixels = IMAGES[train].astype(np.float64) / 255
    np.testing.assert_allclose(data.variance, pixels.var(), rtol=1e-12)
    assert data.shape == (6, 8, 3)
    assert data.train.num_bytes == IMAGES[train].nbytes


def test_labels_come_with_their_images(tmp_path):
    data = ArrayFile(path=save(tmp_path, image=IMAGES, label=LABELS), test_fraction=0.3).load()
    sources = [data.train, data.test]
    for source, labels in zip(sources, labels_of(sources), strict=True):
        np.testing.assert_array_equal(labels, LABELS[rows_of(source)])
        assert labels.dtype == np.int32


def test_a_second_file_is_held_out(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES[:30, ..., 0])
    np.save(tmp_path / "y.npy", IMAGES[30:, ..., 0])
    paths = {"path": str(tmp_path / "x.npy"), "test_path": str(tmp_path / "y.npy")}
    data = ArrayFile(**paths).load()
    assert data.shape == (6, 8, 1)
    np.testing.assert_array_equal(data.test[:]["image"], IMAGES[30:, ..., :1])
    np.save(tmp_path / "y.npy", IMAGES[30:, :4, :, 0])
    with pytest.raises(DataError, match=r"of \(4, 8, 1\); it must hold images of \(6, 8, 1\) like"):
        ArrayFile(**paths).load()


def test_the_digest_is_that_of_images_labels_and_split(tmp_path):
    def digest(image=IMAGES, test_fraction=0.3, **others):
        path = save(tmp_path, image=image, **others)
        return ArrayFile(path=path, test_fraction=test_fraction).load().digest

    changed = IMAGES.copy()
    changed[-1, -1, -1, -1] ^= 1
    digests = {
        digest(),
        digest(changed),
        digest(test_fraction=0.4),
        digest(label=LABELS),
        digest(label=LABELS[::-1]),
    }
    assert len(digests) == 5
    assert digest() in digests


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMAGES / 255}, r"holds images float64 .*; they must be uint8 \[N, H, W, C\]"),
        ({"image": IMAGES[0, 0]}, r"holds images uint8 \(8, 3\)"),
        ({"pictures": IMAGES}, "holds pictures; it must hold image, or image and label"),
        ({"image": IMAGES, "more": LABELS}, "holds image, more; it must hold image, or"),
        ({"image": IMAGES, "label": LABELS[1:]}, r"labels int64 \(49,\); .* integers \(50,\)"),
        ({"image": IMAGES[:1]}, "of which data.test_fraction, now 0.1, holds out"),
    ],
)
def test_what_is_not_images_is_named(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        ArrayFile(path=save(tmp_path, **arrays)).load()


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    file = tmp_path / "x.npy"
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"x\.npy is no .npy or .npz file, or is damaged: ."
    ) as refusal:
        ArrayFile(path=str(file)).load()
    assert "\n" not in str(refusal.value)
    with pytest.raises(DataError, match="none is missing"):
        ArrayFile(path=str(tmp_path / "none")).load()
