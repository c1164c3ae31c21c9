"""The data of a run: found again wherever they are, and never mistaken for others."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from configs import mnist
from tests.data import foreign
from vqvae_jax.data import (
    NamedDataset,
    download,
    idx,
    load_dataset,
    recall_dataset,
    sample,
    tfds_store,
)
from vqvae_jax.errors import DataError, UnsupportedError
from vqvae_jax.training.building import describe
from vqvae_jax.training.config import Config


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """No network, and a small sample."""
    monkeypatch.setattr(download, "_probe", lambda url: "no network in tests")
    images = np.random.RandomState(7).randint(0, 256, (30, 12, 12, 1)).astype(np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    splits = {
        "train": {"image": images[:20], "label": labels[:20]},
        "test": {"image": images[20:], "label": labels[20:]},
    }
    provenance = {"source": "the sample", "archives": {}, "folder": None}
    monkeypatch.setattr(sample, "read", lambda: (splits, provenance))


class Trained:
    """A run as far as its data go: trained with some settings, resumed with the same or others."""

    def __init__(self, **settings):
        settings = {name: str(value) for name, value in settings.items()}
        self.settings = {"name": "tiny", "archives": None, "data_dir": None} | settings
        self.data = load_dataset(**self.settings)
        config = Config.from_dict(mnist.get_config().to_dict())
        config = dataclasses.replace(config, data=NamedDataset(**self.settings))
        self.run = json.loads(json.dumps(describe(config, self.data)))

    def recall(self, **changed):
        return recall_dataset(self.run, **(self.settings | changed))

    def is_recalled(self, **changed):
        data = self.recall(**changed)
        assert data.name == self.data.name
        np.testing.assert_array_equal(data.train.arrays["image"], self.data.train.arrays["image"])
        return data.digest == self.data.digest


@pytest.fixture
def a(tmp_path, write_archives):
    return write_archives(tmp_path / "a")


@pytest.fixture
def b(tmp_path, write_archives):
    return write_archives(tmp_path / "b", seed=1)


def put(name, archives, root):
    """Prepares a set under a name, as another command would."""
    splits = idx.read_archives(idx.find_archives(archives, name), None)
    tfds_store.write(name, splits, {"source": "elsewhere"}, root)


def test_the_sample_is_taken_again_where_mnist_is_there_by_now(tmp_path, a, caplog):
    run = Trained(name="mnist", data_dir=tmp_path)
    assert run.data.name == "mnist_sample"
    put("mnist", a, tmp_path)
    assert load_dataset("mnist", data_dir=str(tmp_path)).digest != run.data.digest
    caplog.clear()
    assert run.is_recalled(name="mnist_sample")
    assert caplog.text == ""
    assert run.is_recalled()
    assert [record.message for record in caplog.records] == [
        "WARNING: this run is on mnist_sample, the sample"
    ]
    shutil.rmtree(tmp_path / "vqvae_jax")
    assert run.is_recalled()


def test_other_data_that_are_asked_for_are_given(tmp_path, a, b):
    """And refused by the caller, who compares digests."""
    run = Trained(name="mnist", data_dir=tmp_path / "data")
    elsewhere = str(tmp_path / "elsewhere")
    put("mnist", a, tmp_path / "data")
    put("mnist", b, tmp_path / "elsewhere")
    others = load_dataset("mnist", data_dir=str(tmp_path / "data"))
    assert run.recall(allow_sample=False).digest == others.digest
    assert run.recall(data_dir=elsewhere).train.arrays["image"].shape == (90, 12, 12, 1)
    run = Trained(archives=a, data_dir=tmp_path / "data")
    other = run.recall(archives=str(b))
    assert other.digest != run.data.digest
    assert other.source == f"archives in {b}"
    load_dataset("third", archives=str(b), data_dir=str(tmp_path / "data"))
    assert run.recall(name="third", archives=None).digest == other.digest
    with pytest.raises(DataError, match=r"data\.archives is .*nowhere, which does not hold train"):
        run.recall(archives=str(tmp_path / "nowhere"))


def test_archives_are_read_again_where_their_name_has_gone_to_others(tmp_path, a, b):
    root = tmp_path / "data"
    run = Trained(archives=a, data_dir=root)
    shutil.rmtree(root)
    load_dataset("tiny", archives=str(b), data_dir=str(root))
    assert run.is_recalled()
    assert run.is_recalled(archives=None)
    assert load_dataset("tiny", data_dir=str(root)).digest != run.data.digest


def test_archives_of_an_earlier_command_are_remembered(tmp_path, a, b):
    root = tmp_path / "data"
    load_dataset("tiny", archives=str(a), data_dir=str(root))
    run = Trained(data_dir=root)  # which names no archives
    shutil.rmtree(root)
    load_dataset("tiny", archives=str(b), data_dir=str(root))
    assert run.is_recalled()


def test_what_is_gone_is_prepared_again(tmp_path, a):
    root = tmp_path / "data"
    run = Trained(archives=a, data_dir=root)
    shutil.rmtree(root)
    assert run.is_recalled(archives=None)
    assert (root / "vqvae_jax" / "tiny").is_dir()


@pytest.mark.parametrize("archives", ["given", "remembered"])
def test_a_damaged_cache_is_mended_from_the_archives(tmp_path, a, archives):
    root = tmp_path / "data"
    run = Trained(archives=a, data_dir=root)
    for path in (root / "vqvae_jax" / "tiny").iterdir():
        content = path.read_bytes()
        path.unlink()  # the run's pixels are mapped from it
        path.write_bytes(content[:50])
    assert run.is_recalled(**({} if archives == "given" else {"archives": None}))
    shutil.rmtree(a)
    assert run.is_recalled()  # from the cache again


@pytest.mark.parametrize("others", [False, True])
def test_a_damaged_cache_is_named_where_nothing_else_is_left(tmp_path, a, b, others):
    root = tmp_path / "data"
    run = Trained(archives=a, data_dir=root)
    shutil.rmtree(a)
    if others:
        shutil.copytree(b, root / "downloads" / "manual" / "tiny")
    labels = root / "vqvae_jax" / "tiny" / "test_labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"cannot be found any more \(what is cached in .*tiny"):
        run.recall()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_damaged_prepared_set_is_mended_from_the_archives(tmp_path, a):
    root = tmp_path / "data"
    run = Trained(name="kmnist", archives=a, data_dir=root)
    shutil.rmtree(root / "vqvae_jax")
    for path in (root / "kmnist").glob("*/*train*"):
        path.write_bytes(path.read_bytes()[:50])
    assert run.is_recalled()
    assert len(list((root / "kmnist").glob("*.damaged.*"))) == 1


def test_damage_is_named_where_nothing_else_is_left(tmp_path, a):
    root = tmp_path / "data"
    run = Trained(name="kmnist", archives=a, data_dir=root)
    shutil.rmtree(root / "vqvae_jax")
    shutil.rmtree(a)
    for path in (root / "kmnist").glob("*/*train*"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(
        DataError, match=r"cannot be found any more \(the prepared data set in .* cannot be"
    ):
        run.recall()


@pytest.mark.parametrize("change", ["gone", "others"])
def test_a_prepared_set_is_enough(tmp_path, a, b, change):
    run = Trained(archives=a, data_dir=tmp_path / "data")
    shutil.rmtree(a)
    if change == "others":
        shutil.copytree(b, a)
    assert run.is_recalled()
    assert run.is_recalled(archives=None)


def test_a_version_is_taken_again_where_there_is_a_newer_one(tmp_path):
    foreign.prepare(tmp_path, "tiny", version="1.0.0")
    run = Trained(data_dir=tmp_path)
    foreign.prepare(tmp_path, "tiny", version="2.0.0", seed=3)
    assert run.is_recalled()
    newer = Trained(data_dir=tmp_path)
    assert newer.data.digest != run.data.digest
    shutil.rmtree(tmp_path / "vqvae_jax")
    for _ in range(2):
        assert run.is_recalled()
        assert newer.is_recalled()
    given = foreign.examples(2, image=foreign.pixels(12, 12, dtype=np.uint16))
    foreign.prepare(
        tmp_path,
        "tiny",
        version="3.0.0",
        splits={"train": given, "test": given},
    )
    with pytest.raises(UnsupportedError):
        Trained(data_dir=tmp_path)
    assert run.is_recalled()
    assert newer.is_recalled()


def test_a_set_that_was_replaced_stays_in_the_cache(tmp_path):
    foreign.prepare(tmp_path, "tiny")
    run = Trained(data_dir=tmp_path)
    shutil.rmtree(tmp_path / "tiny")
    foreign.prepare(tmp_path, "tiny", seed=3)
    assert run.is_recalled()
    for _ in range(2):
        assert load_dataset("tiny", data_dir=str(tmp_path)).digest != run.data.digest
        assert run.is_recalled()


def test_another_data_dir_is_one_more_place_to_look(tmp_path, a, b, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "one"))
    run = Trained(archives=a)
    shutil.rmtree(a)
    assert run.is_recalled(archives=None, data_dir=str(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "two"))
    assert run.is_recalled(archives=None)
    load_dataset("tiny", archives=str(b))
    assert run.is_recalled(archives=None)
    assert run.recall(data_dir=str(tmp_path / "two")).digest != run.data.digest


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_data_that_are_gone_get_one_line(tmp_path, a, b, version):
    root = tmp_path / "data"
    run = Trained(archives=a, data_dir=root)
    if version == "earlier":
        del run.run["data"]["archives"], run.run["data"]["data_dir"]
    assert run.is_recalled()
    shutil.rmtree(a)
    shutil.rmtree(root)
    load_dataset("tiny", archives=str(b), data_dir=str(root))
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError) as refusal:
        run.recall()
    assert str(refusal.value) == (
        f"the run was trained on tiny from archives in {a} (90 and 20 images, digest "
        f"{run.data.digest[:12]}), which cannot be found any more; provide it in data.archives, a "
        "folder with its IDX files, or in data.data_dir, where it is prepared"
    )
    assert sorted(root.rglob("*")) == before
    a.parent.joinpath("b").rename(a)  # other files in its place
    with pytest.raises(DataError, match="cannot be found any more"):
        run.recall()
