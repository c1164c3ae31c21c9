"""IDX files: read exactly, refused in one line."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import idx_bytes
from vqvae_jax.data.idx import ARCHIVES, read_archives, read_idx, write_idx
from vqvae_jax.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize("name", ["images.gz", "images"])
@pytest.mark.parametrize("content", [gzip.compress(GOOD), GOOD], ids=["gzip", "plain"])
def test_reads_gzip_and_plain_whatever_the_name_says(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    np.testing.assert_array_equal(read_idx(path, axes=3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"\x00\x00\x09\x03" + GOOD[4:]), r"00 00 09 03, not 00 00 08 03"),
        (gzip.compress(idx_bytes(IMAGES[0])), r"00 00 08 02, not 00 00 08 03"),
        (gzip.compress(b""), r"it is empty, not 00 00 08 03"),
        (gzip.compress(GOOD[:10]), r"does not begin like an IDX file"),
        (gzip.compress(GOOD[:-1]), r"declares 24 bytes of elements and holds 23"),
        (gzip.compress(GOOD + b"x"), r"declares 24 bytes of elements and holds more"),
        (gzip.compress(GOOD)[:-9], r"is not a complete gzip file"),
        (GOOD[:-1], r"declares 24 bytes of elements and holds 23"),
        (GOOD + b"x", r"declares 24 bytes of elements and holds more"),
        (b"nonsense", r"6e 6f 6e 73, not 00 00 08 03"),
        (b"", r"it is empty, not 00 00 08 03"),
        (
            gzip.compress(GOOD[:4] + b"\xff" * 12),
            r"declares 4294967295 x 4294967295 x 4294967295 bytes; at most 1073741824 are read",
        ),
        (  # no bytes at all, and yet more than NumPy makes a shape of
            gzip.compress(GOOD[:4] + b"\xff" * 8 + b"\x00" * 4),
            r"declares 4294967295 x 4294967295 x 0 bytes; at most 1073741824 are read",
        ),
    ],
    ids=[
        "type",
        "axes",
        "empty",
        "no sizes",
        "short",
        "long",
        "cut",
        "plain and short",
        "plain and long",
        "neither",
        "nothing",
        "huge",
        "huge and empty",
    ],
)
def test_broken_file_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_idx(path, axes=3)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_flipped_bit_is_found(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(np.zeros((9, 9, 9), np.uint8)), compresslevel=0))
    content[200] ^= 1
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a complete gzip file"):
        read_idx(path, axes=3)


@given(st.binary(max_size=80))
def test_nonsense_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "images.gz"
    inside = (content, GOOD[:4] + content)
    for body in (*inside, *map(gzip.compress, inside)):
        path.write_bytes(body)
        try:
            array = read_idx(path, axes=3)
        except DataError:
            continue
        is_gzip = body[:2] == b"\x1f\x8b"
        assert idx_bytes(array) == (gzip.decompress(body) if is_gzip else body)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_idx(tmp_path / "nothing.gz", axes=1)


@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 28, 28), (300,), (1, 1)])
def test_what_is_written_is_read_back(tmp_path, shape):
    array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    path = tmp_path / "images.gz"
    write_idx(path, array)
    write_idx(tmp_path / "images", array)
    assert gzip.decompress(path.read_bytes()) == idx_bytes(array)
    assert (tmp_path / "images").read_bytes() == idx_bytes(array)
    np.testing.assert_array_equal(read_idx(path, axes=len(shape)), array)
    assert {*tmp_path.iterdir()} == {path, tmp_path / "images"}


def test_elements_are_written_in_their_order(tmp_path):
    """Not in that of memory, which `images[..., 0]` and transpositions leave behind."""
    for array in (IMAGES.T, IMAGES.transpose(2, 0, 1)[::-1]):
        assert not array.flags.c_contiguous
        write_idx(tmp_path / "images.gz", array)
        np.testing.assert_array_equal(read_idx(tmp_path / "images.gz", axes=3), array)


def test_same_array_is_the_same_file(tmp_path, monkeypatch):
    """At any time, under any name, whatever was there before."""
    paths = [tmp_path / "images.gz", tmp_path / "others.gz", tmp_path / "images.gz"]
    contents = []
    for path, now in zip(paths, (0.0, 1e9, 2e9), strict=True):
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda now=now: now)
            write_idx(path, IMAGES)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    ("name", "in_gzip"), [("a.gz", True), ("a.GZ", True), ("a.idx", False), ("a", False)]
)
def test_the_name_says_whether_a_file_is_in_gzip(tmp_path, name, in_gzip):
    write_idx(tmp_path / name, IMAGES)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x1f\x8b") == in_gzip
    assert (gzip.decompress(content) if in_gzip else content) == idx_bytes(IMAGES)


def test_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_idx(tmp_path / "nowhere" / "images.gz", IMAGES)


def replace(folder, name, array):
    (folder / name).write_bytes(gzip.compress(idx_bytes(array)))


@pytest.mark.parametrize(
    ("split", "kind", "array", "message"),
    [
        ("train", 1, np.zeros(89, np.uint8), "holds 89 labels, but .* holds 90 images"),
        ("train", 1, np.full(90, 10, np.uint8), "holds the label 10; labels are from 0 to 9"),
        ("test", 1, np.full(20, 11, np.uint8), "holds the label 11; labels are from 0 to 9"),
        ("test", 0, np.zeros((20, 12, 8), np.uint8), r"images of \(12, 8\), unlike the training"),
        ("test", 0, np.zeros((0, 12, 12), np.uint8), "holds no images"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, write_archives, split, kind, array, message):
    folder = write_archives(tmp_path)
    replace(folder, ARCHIVES[split][kind], array)
    paths = {name: folder / name for names in ARCHIVES.values() for name in names}
    with pytest.raises(DataError, match=message):
        read_archives(paths, num_classes=10)
