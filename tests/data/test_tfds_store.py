"""Sets that TFDS prepares: which is meant, and what is damaged or only not supported."""

import json
import sys

import numpy as np
import pytest

from tests.data.foreign import FEATURES, GREY, examples, pixels, prepare
from vqvae_jax.data import download, layout, load_dataset
from vqvae_jax.errors import DamagedError, DataError, UnsupportedError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(download, "_probe", lambda url: "no network in tests")


def load(root, name="tiny", **options):
    return load_dataset(name, data_dir=str(root), **options)


def files(root, name="tiny"):
    return {path: path.read_bytes() for path in (root / name).rglob("*") if path.is_file()}


def test_a_set_of_any_version_is_found(tmp_path):
    prepare(tmp_path, "mydigits", version="2.0.0")
    dataset = load(tmp_path, "mydigits")
    assert dataset.source == f"prepared by TFDS in {tmp_path / 'mydigits' / '2.0.0'}"
    assert dataset.train.arrays["image"].shape == (9, 12, 12, 1)
    assert "tensorflow" not in sys.modules


def test_the_newest_version_wins_whenever_it_came(tmp_path):
    digests = []
    for seed, version in enumerate(("9.0.0", "10.0.0", "2.11.0", "10.0.1")):
        prepare(tmp_path, "tiny", version=version, seed=seed)
        digests.append(load(tmp_path).digest)  # caches it, too
    first, second, third, fourth = digests
    assert second == third
    assert len({first, second, fourth}) == 3
    assert load(tmp_path).source.endswith("10.0.1")
    (tmp_path / "tiny" / "11.0.0.incomplete").mkdir()
    (tmp_path / "tiny" / "11.0.0").mkdir()
    assert load(tmp_path).digest == fourth


def test_of_several_configs_the_default_one_is_taken(tmp_path):
    prepare(tmp_path, "tiny", configs=["zed", "abc"])
    assert load(tmp_path).source.endswith("tiny/zed/1.0.0")
    (tmp_path / "tiny" / ".config" / "metadata.json").unlink()
    assert layout.find_prepared("tiny", tmp_path) == tmp_path / "tiny" / "abc" / "1.0.0"
    prepare(tmp_path, "tiny", version="0.5.0")
    assert layout.find_prepared("tiny", tmp_path) == tmp_path / "tiny" / "0.5.0"


def test_one_config_is_found(tmp_path):
    prepare(tmp_path, "tiny", configs=["only"], version="3.1.4")
    assert load(tmp_path).source.endswith("tiny/only/3.1.4")


def test_a_set_that_was_replaced_is_decoded_again(tmp_path):
    prepare(tmp_path / "a", "tiny")
    prepare(tmp_path / "b", "tiny", seed=5)
    first = load(tmp_path / "a")
    (tmp_path / "a" / "tiny").rename(tmp_path / "old")
    (tmp_path / "b" / "tiny").rename(tmp_path / "a" / "tiny")
    second = load(tmp_path / "a")
    assert second.digest != first.digest
    (tmp_path / "a" / "tiny").rename(tmp_path / "new")
    assert load(tmp_path / "a").digest == second.digest  # from the cache


def with_image(image, shape):
    feature = FEATURES.Image(shape=shape)
    given = examples(3, image=image)
    return {"features": GREY | {"image": feature}, "splits": {"train": given, "test": given}}


def with_label(label, feature):
    given = examples(3, label=label)
    return {"features": GREY | {"label": feature}, "splits": {"train": given, "test": given}}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("label", [-1, 5, 700, 2**31 - 1])
def test_images_in_color_with_any_labels_are_read(tmp_path, channels, label):
    given = [{"image": pixels(8, 12, channels, seed=index), "label": label} for index in range(3)]
    image, number = FEATURES.Image(shape=(8, 12, channels)), FEATURES.Scalar(np.int64)
    prepare(
        tmp_path,
        "colors",
        features={"image": image, "label": number},
        splits={"train": given, "test": given[:1]},
    )
    dataset = load(tmp_path, "colors")
    expected = sorted(np.asarray(example["image"]).tobytes() for example in given)
    assert dataset.train.arrays["image"].shape == (3, 8, 12, channels)
    assert sorted(image.tobytes() for image in dataset.train.arrays["image"]) == expected
    assert dataset.train.arrays["label"].tolist() == 3 * [label]
    assert dataset.train.arrays["label"].dtype == (np.uint8 if 0 <= label < 256 else np.int32)
    again = load(tmp_path, "colors")  # from the cache
    np.testing.assert_array_equal(again.train.arrays["image"], dataset.train.arrays["image"])
    np.testing.assert_array_equal(again.train.arrays["label"], dataset.train.arrays["label"])


def with_features(**features):
    example = {name: value for name, (_, value) in features.items()}
    features = {name: feature for name, (feature, _) in features.items()}
    return {"features": features, "splits": {"train": [example], "test": [example]}}


BOX = FEATURES.Sequence({"bbox": FEATURES.BBoxFeature(), "label": GREY["label"]})
BOXES = [{"bbox": FEATURES.BBox(0.0, 0.0, 1.0, 1.0), "label": 1}]
ANY_SIZE = GREY | {"image": FEATURES.Image(shape=(None, None, 1))}
UNSUPPORTED = {
    "16 bit": (
        with_image(pixels(12, 12, dtype=np.uint16), (12, 12, 1)),
        "an image of PIL's mode I;16",
    ),
    "sizes": (
        {
            "features": ANY_SIZE,
            "splits": {
                "train": examples(2) + examples(1, image=pixels(12, 8)),
                "test": examples(2),
            },
        },
        r"images of different sizes, such as \(12, 8, 1\) and \(12, 12, 1\)",
    ),
    "sizes of splits": (
        {
            "features": ANY_SIZE,
            "splits": {"train": examples(2), "test": examples(1, image=pixels(8, 8))},
        },
        r"images of \(12, 12, 1\) to train on, and of \(8, 8, 1\) to test",
    ),
    "names": (
        with_features(picture=(GREY["image"], pixels(12, 12)), digit=(GREY["label"], 1)),
        "the features digit, picture;",
    ),
    "no label": (with_features(image=(GREY["image"], pixels(12, 12))), "the features image;"),
    "boxes": (
        with_features(image=(GREY["image"], pixels(12, 12)), objects=(BOX, BOXES)),
        "the features image, objects;",
    ),
    "no test": (
        {"splits": {"train": examples(2), "validation": examples(2)}},
        "the splits train, validation, but no test",
    ),
    "words": (with_label("a", FEATURES.Text()), "a 'label' that is Text"),
    "many labels": (with_label([1, 2], FEATURES.Sequence(GREY["label"])), "'label' that is Seq"),
    "nested labels": (with_label({"a": 1}, {"a": GREY["label"]}), "'label' that is FeaturesDict"),
    "large labels": (with_label(2**31, FEATURES.Scalar(np.int64)), "labels from 2147483648 to 214"),
    "small labels": (with_label(-(2**40), FEATURES.Scalar(np.int64)), "labels from -1099511627776"),
    "no image": (
        with_features(
            image=(
                FEATURES.Tensor(shape=(12, 12, 1), dtype=np.uint8),
                np.zeros((12, 12, 1), np.uint8),
            ),
            label=(GREY["label"], 1),
        ),
        "an 'image' that is Tensor",
    ),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_is_not_supported_is_said_and_left_alone(tmp_path, write_archives, kind):
    options, message = UNSUPPORTED[kind]
    prepare(tmp_path, "tiny", **options)
    archives = str(write_archives(tmp_path / "in"))
    before = files(tmp_path)
    for given in ({}, {"archives": archives}):
        with pytest.raises(UnsupportedError, match=rf"is not supported: it holds .*{message}") as e:
            load(tmp_path, **given)
        assert "supported are the splits train and test, of images of one size" in str(e.value)
        assert not {"delete", "damaged"} & {*str(e.value).split()}
        assert "\n" not in str(e.value)
    assert files(tmp_path) == before


def test_a_declared_type_that_is_not_supported(tmp_path):
    """TensorFlow alone writes such images."""
    prepare(tmp_path, "tiny")
    declared = tmp_path / "tiny" / "1.0.0" / "features.json"
    declared.write_text(declared.read_text().replace('"uint8"', '"uint16"'))
    with pytest.raises(UnsupportedError, match=r"uint16 images of shape \(12, 12, 1\)"):
        load(tmp_path)


def test_an_unsupported_mnist_is_not_replaced_by_the_sample(tmp_path):
    prepare(tmp_path, "mnist", version="3.0.1", **UNSUPPORTED["16 bit"][0])
    with pytest.raises(UnsupportedError, match="PIL's mode I;16"):
        load(tmp_path, "mnist")


def test_features_that_are_not_needed_are_left_out(tmp_path):
    more = {"id": FEATURES.Text(), "objects": BOX}
    given = examples(3, id="x", objects=BOXES)
    prepare(tmp_path, "tiny", features=GREY | more, splits={"train": given, "test": given})
    assert load(tmp_path).train.arrays["image"].shape == (3, 12, 12, 1)


def as_tfrecord(folder):
    info = folder / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord"}))


def test_tfrecords_are_named(tmp_path):
    prepare(tmp_path, "tiny", version="2.0.0")
    as_tfrecord(tmp_path / "tiny" / "2.0.0")
    before = files(tmp_path)
    with pytest.raises(DataError, match=r"reading what is in .*tiny/2\.0\.0 needs TensorFlow"):
        load(tmp_path)
    assert files(tmp_path) == before


def test_newer_tfrecords_are_passed_over_with_a_note(tmp_path, caplog):
    for version in ("1.0.0", "2.0.0"):
        prepare(tmp_path, "tiny", version=version)
    as_tfrecord(tmp_path / "tiny" / "2.0.0")
    assert load(tmp_path).source.endswith("1.0.0")
    assert f"reading {tmp_path}/tiny/2.0.0 needs TensorFlow: it is skipped" in caplog.text


def test_another_config_does_not_stand_in_for_tfrecords(tmp_path):
    prepare(tmp_path, "tiny", configs=["zed", "abc"])
    as_tfrecord(tmp_path / "tiny" / "zed" / "1.0.0")
    assert layout.find_prepared("tiny", tmp_path) is None


def test_a_damaged_newest_version_is_named_and_left_where_it_is(tmp_path, write_archives):
    """A set prepared in its place would be older."""
    for version in ("1.0.0", "2.0.0"):
        prepare(tmp_path, "tiny", version=version)
    for path in (tmp_path / "tiny" / "2.0.0").glob("*train*"):
        path.write_bytes(path.read_bytes()[:50])
    archives, before = str(write_archives(tmp_path / "in")), files(tmp_path)
    with pytest.raises(DamagedError, match=r"tiny/2\.0\.0 cannot be read"):
        load(tmp_path, archives=archives)
    assert files(tmp_path) == before


def test_a_damaged_set_is_taken_from_the_cache(tmp_path, caplog):
    prepare(tmp_path, "tiny")
    digest = load(tmp_path).digest
    for path in (tmp_path / "tiny" / "1.0.0").glob("*train*"):
        path.write_bytes(path.read_bytes()[:50])
    assert load(tmp_path).digest == digest
    assert "it is read from" in caplog.text
