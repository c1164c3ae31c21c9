"""Folders of images: which files, which splits, which classes, what is kept."""

import logging

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import pattern, write
from vqvae_jax import ArraySource, ImageFolder
from vqvae_jax.data import take
from vqvae_jax.data.decoding import read_image
from vqvae_jax.data.framed import FramedSource
from vqvae_jax.data.image_folder import SUFFIXES
from vqvae_jax.data.listing import list_files
from vqvae_jax.errors import DataError

SIZES = {f"{name}{i}": (12 + i, 20 - i) for name in "ab" for i in range(6)}


@pytest.fixture
def photos(tmp_path):
    """Twelve images of different sizes."""
    folder = tmp_path / "photos"
    write(folder, SIZES)
    return folder


@pytest.fixture
def load(tmp_path):
    def load(path, **settings):
        given = {"size": 8, "test_fraction": 0.4, "data_dir": str(tmp_path / "data")} | settings
        return ImageFolder(path=str(path), **given).load()

    return load


def everything(source):
    return take(source, np.arange(len(source)))


def test_files_are_found_by_their_suffix_wherever_they_are(photos):
    for name in ("c/d/e.JPG", "c/f.jpeg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pattern()).save(photos / name)
    (photos / "notes.txt").write_text("no image")
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "._a0.png").write_bytes(b"")
    (photos / ".cache").mkdir()
    (photos / ".cache" / "x.png").write_bytes(b"")
    (photos / "c" / "above").symlink_to(photos)
    (photos / "linked").symlink_to(photos / "c" / "d")
    images = [f"{name}.png" for name in SIZES]
    assert list_files(photos, SUFFIXES) == sorted(
        [*images, "c/d/e.JPG", "c/f.jpeg", "linked/e.JPG"]
    )


def test_images_are_held_out_by_their_names_alone(photos, load):
    data = load(photos)
    assert len(data.train) + len(data.test) == 12
    assert 2 <= len(data.test) <= 8
    held = {image.tobytes() for image in everything(data.test)["image"]}
    write(photos, {f"c{i}": (16, 16) for i in range(12)})
    more = load(photos)
    assert held <= {image.tobytes() for image in everything(more.test)["image"]}


def test_folders_train_and_test_are_the_splits(tmp_path, load):
    pixels = write(tmp_path / "x", {"train/1": (8, 8), "train/2": (8, 8), "test/3": (8, 8)})
    data = load(tmp_path / "x")
    assert [*data.train.spec] == ["image"]
    found = everything(data.train)["image"]
    np.testing.assert_array_equal(found, [pixels["train/1"], pixels["train/2"]])
    np.testing.assert_array_equal(everything(data.test)["image"], [pixels["test/3"]])


@pytest.mark.parametrize("split", [True, False])
def test_class_folders_are_labels(tmp_path, load, split):
    names = [f"{of}/deep/{i}" for of in ("cat", "ant", "bee") for i in range(5)]
    splits = {f"{where}/{name}": (8, 8) for where in ("train", "test") for name in names}
    write(tmp_path / "x", splits if split else dict.fromkeys(names, (8, 8)))
    data = load(tmp_path / "x")
    examples = everything(data.train)
    assert examples["label"].dtype == np.int32
    assert [*np.unique(examples["label"])] == [0, 1, 2]
    if split:
        first = read_image(tmp_path / "x/train/ant/deep/0.png", 3)
        np.testing.assert_array_equal(examples["image"][0], first)
        assert examples["label"].tolist() == [0] * 5 + [1] * 5 + [2] * 5


def test_a_class_may_have_a_single_image(tmp_path, load):
    write(tmp_path / "x", {f"album{index:02}/a": (8, 8) for index in range(20)})
    data = load(tmp_path / "x")
    labels = [everything(source)["label"] for source in (data.train, data.test)]
    assert sorted(np.concatenate(labels)) == list(range(20))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_held_out_folder_has_many_names(tmp_path, load, name):
    write(tmp_path / "x", {"train/1": (8, 8), "train/2": (8, 8), f"{name}/3": (8, 8)})
    data = load(tmp_path / "x")
    assert (len(data.train), len(data.test), [*data.train.spec]) == (2, 1, ["image"])


def test_a_folder_to_train_on_alone_is_refused(tmp_path, load):
    write(tmp_path / "x", {"train/1": (8, 8), "other/2": (8, 8)})
    with pytest.raises(DataError, match=r"a folder train, but none in test, val, .*name .*x/train"):
        load(tmp_path / "x")


@pytest.mark.parametrize("keep", ["disk", "memory", "nowhere"])
@pytest.mark.parametrize("crop", ["center", "random", "tiles"])
def test_examples_are_the_same_wherever_pixels_are_kept(photos, load, keep, crop):
    data, kept = load(photos, crop=crop, resize=0), load(photos, crop=crop, resize=0, cache=keep)
    again = load(photos, crop=crop, resize=0, cache=keep)
    assert data.digest == kept.digest == again.digest
    assert data.variance == again.variance
    for split in ("train", "test"):
        source, other = getattr(data, split), getattr(again, split)
        assert source.fingerprint == other.fingerprint
        assert source.spec == other.spec
        for name, array in everything(source).items():
            np.testing.assert_array_equal(array, everything(other)[name])
    is_array = keep != "nowhere" and crop != "random"
    assert isinstance(again.train, ArraySource if is_array else FramedSource)
    assert isinstance(again.test, ArraySource if keep != "nowhere" else FramedSource)


def test_the_variance_is_that_of_the_training_pixels(photos, load):
    data = load(photos)
    pixels = everything(data.train)["image"].astype(np.float64) / 255
    np.testing.assert_allclose(data.variance, pixels.var(), rtol=1e-12)


def test_draws_are_crops_that_depend_on_the_generator(photos, load):
    source = load(photos, crop="random", resize=0).train
    first, same, other = (
        source.draw(0, np.random.RandomState(seed))["image"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert source[0]["image"].shape == (8, 8, 3)


def test_a_second_start_decodes_nothing(photos, load, monkeypatch):
    digest = load(photos).digest
    monkeypatch.setattr("vqvae_jax.data.kept.survey", None)
    assert load(photos).digest == digest


@pytest.mark.parametrize("change", ["file", "time", "removed", "added"])
def test_a_changed_folder_is_decoded_again(photos, load, change):
    before = load(photos).digest
    file = photos / "a0.png"
    if change == "file":
        Image.fromarray(pattern(9, 9, 77)).save(file)
    elif change == "time":
        file.write_bytes(file.read_bytes())
    elif change == "removed":
        file.unlink()
    else:
        write(photos, {"z": (10, 10)})
    assert (load(photos).digest == before) == (change == "time")


@pytest.mark.parametrize("damage", ["bit", "cut", "missing", "survey"])
def test_a_damaged_cache_is_decoded_again(tmp_path, photos, load, caplog, damage):
    digest = load(photos).digest
    (home,) = (path for path in (tmp_path / "data" / "vqvae_jax").iterdir() if path.is_dir())
    file = home / ("survey.safetensors" if damage == "survey" else "train.values")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    if damage != "missing":
        file.write_bytes(content[:-1] if damage == "cut" else content)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load(photos).digest == digest
    assert len(caplog.records) == (damage != "survey")  # that alone looks like an older version
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load(photos).digest == digest
    assert not caplog.records


def test_damaged_files_are_named_counted_and_skipped(photos, load, caplog):
    intact = load(photos, test_fraction=0.4)
    for name in ("a1", "b2"):
        (photos / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"(a1|b2)\.png is no image.*max_bad_files, now 0, allows"):
        load(photos)
    with pytest.raises(DataError, match=r"^2 files cannot be used, .*, now 1, allows"):
        load(photos, max_bad_files=1)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        data = load(photos, max_bad_files=2)
    assert len(data.train) + len(data.test) == len(intact.train) + len(intact.test) - 2
    assert sorted(record.getMessage()[-40:] for record in caplog.records) == sorted(
        f"{photos}/{name}.png is no image of a known format; it is skipped"[-40:]
        for name in ("a1", "b2")
    )


def test_damaged_files_are_counted_again_at_the_next_start(photos, load, caplog):
    (photos / "a1.png").write_bytes(b"no image")
    for keep in ("disk", "nowhere"):
        load(photos, max_bad_files=1, cache=keep)
        with pytest.raises(DataError, match=r"a1\.png is no image.*max_bad_files, now 0, allows"):
            load(photos, cache=keep)
        caplog.clear()
        load(photos, max_bad_files=1, cache=keep)
        assert "a1.png is no image of a known format; it is skipped" in caplog.text


def test_a_link_to_nothing_is_a_damaged_file(photos, load):
    (photos / "link.png").symlink_to(photos / "nowhere")
    with pytest.raises(DataError, match=r"link\.png cannot be read: No such file"):
        load(photos)
    load(photos, max_bad_files=1)


def test_a_flip_decodes_nothing_again(photos, load, monkeypatch):
    plain = load(photos)
    monkeypatch.setattr("vqvae_jax.data.kept.survey", None)
    flipped = load(photos, flip=True)
    assert flipped.digest == plain.digest
    assert flipped.train.fingerprint != plain.train.fingerprint
    assert flipped.test.fingerprint == plain.test.fingerprint


@pytest.mark.parametrize("crop", ["center", "random", "tiles"])
def test_a_file_that_changes_under_a_run_is_named(photos, load, crop):
    source = load(photos, crop=crop, cache="nowhere").train
    for file in photos.iterdir():
        with Image.open(file) as image:
            brighter = image.point(lambda value: 255 - value)
        brighter.save(file)
    with pytest.raises(DataError, match="has changed since the run began"):
        source[0]
    for file in photos.iterdir():
        file.unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        source[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": None}, r"has 20 x 12 pixels, .* 19 x 13 pixels; data.size gives them one size"),
        ({"test_fraction": 0.0}, "test_fraction, now 0.0, holds out 0; both splits must have some"),
    ],
)
def test_what_does_not_fit_is_named(photos, load, settings, message):
    with pytest.raises(DataError, match=message):
        load(photos, **settings)


def test_empty_and_missing_folders_are_named(tmp_path, load):
    with pytest.raises(DataError, match="nowhere is missing"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is no folder"):
        load(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        load(tmp_path / "empty")


def test_images_of_one_size_need_no_size(tmp_path, load):
    pixels = write(tmp_path / "x", {"train/1": (9, 7), "test/2": (9, 7)})
    data = load(tmp_path / "x", size=None)
    assert data.shape == (9, 7, 3)
    np.testing.assert_array_equal(everything(data.train)["image"][0], pixels["train/1"])
    write(tmp_path / "y", {"train/1": (9, 7), "test/2": (8, 7)})
    with pytest.raises(DataError, match=r"images of 7 x 9 pixels to train on and of 7 x 8"):
        load(tmp_path / "y", size=None)
