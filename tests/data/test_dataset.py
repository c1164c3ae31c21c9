"""Where data comes from, in which order, and what is refused."""

import functools
import hashlib
import http.server
import json
import logging
import shutil
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds

from vqvae_jax.data import (
    archives,
    cache,
    download,
    layout,
    load_dataset,
    prepared,
    recall_dataset,
    tfds_store,
)
from vqvae_jax.data.idx import ARCHIVE_NAMES, ARCHIVES, read_archives
from vqvae_jax.errors import DamagedError, DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(download, "_probe", lambda url: "no network in tests")


def arrays(dataset):
    sources = {"train": dataset.train, "test": dataset.test}
    return {
        f"{split} {name}": np.array(array)
        for split, source in sources.items()
        for name, array in source.arrays.items()
    }


def assert_same_data(first, second):
    assert (first.digest, first.variance) == (second.digest, second.variance)
    for name, array in arrays(first).items():
        np.testing.assert_array_equal(array, arrays(second)[name])


def test_archives_come_back_whole_and_in_one_order(tmp_path, write_archives):
    folder, root = write_archives(tmp_path / "in"), tmp_path / "data"
    dataset = load_dataset("tiny", archives=str(folder), data_dir=str(root))
    assert dataset.name == "tiny"
    assert dataset.source == f"archives in {folder}"
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    for split in ARCHIVES:
        given = splits[split]
        images, labels = getattr(dataset, split).arrays.values()
        assert images.dtype == labels.dtype == np.uint8

        def pairs(images, labels):
            return sorted(
                (i.tobytes(), int(label)) for i, label in zip(images, labels, strict=True)
            )

        assert pairs(images, labels) == pairs(*given.values())
    pixels = splits["train"]["image"] / 255
    np.testing.assert_allclose(dataset.variance, pixels.var(), rtol=1e-12)

    # From the cache, which alone keeps them; from another folder by way of the manual one.
    assert_same_data(load_dataset("tiny", data_dir=str(root)), dataset)
    assert [path.name for path in root.iterdir()] == ["vqvae_jax"]
    manual = tmp_path / "other" / "downloads" / "manual" / "tiny"
    write_archives(manual)
    assert_same_data(load_dataset("tiny", data_dir=str(tmp_path / "other")), dataset)


def test_order_does_not_depend_on_the_source(tmp_path, write_archives):
    folder = write_archives(tmp_path / "in")
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    reverse = {
        split: {name: array[::-1] for name, array in examples.items()}
        for split, examples in splits.items()
    }
    provenance = {"source": "here", "archives": {}}
    tfds_store.write("kmnist", splits, provenance, tmp_path / "a")
    tfds_store.write("kmnist", reverse, provenance, tmp_path / "b")
    first, second = (load_dataset("kmnist", data_dir=str(tmp_path / name)) for name in "ab")
    assert_same_data(first, second)


@pytest.mark.parametrize("name", ["tiny", "kmnist"])
def test_a_damaged_cache_is_rebuilt(tmp_path, write_archives, name):
    """From what TFDS prepared, or from the archives, which its description names."""
    folder, root = write_archives(tmp_path / "in"), tmp_path / "data"
    dataset = load_dataset(name, archives=str(folder), data_dir=str(root))
    whole = arrays(dataset)
    for file in ("train_images.npy", "test_labels.npy", "description.json"):
        path = root / "vqvae_jax" / name / file
        given = str(folder) if (name, file) == ("tiny", "description.json") else None
        for damage in (lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""):
            good = path.read_bytes()
            path.write_bytes(damage(good))
            again = arrays(load_dataset(name, archives=given, data_dir=str(root)))
            for key, array in whole.items():
                np.testing.assert_array_equal(again[key], array)


@pytest.mark.parametrize("others", ["nowhere", "in their place", "manual", "given"])
def test_a_damaged_cache_is_never_rebuilt_from_other_archives(tmp_path, write_archives, others):
    folder, root = write_archives(tmp_path / "in"), tmp_path / "data"
    load_dataset("tiny", archives=str(folder), data_dir=str(root))
    path = root / "vqvae_jax" / "tiny" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(folder)
    places = {"in their place": folder, "given": tmp_path / "b"}
    places["manual"] = root / "downloads" / "manual" / "tiny"
    if others in places:
        write_archives(places[others], seed=1)
    given = str(places[others]) if others == "given" else None
    before = {path: path.read_bytes() for path in path.parent.iterdir()}
    message = "cannot be read, the archives of tiny are not in"
    if others in ("manual", "given"):
        message = "was read from archives in .*in, and the data of arch.* are not the same; delete"
    with pytest.raises(DamagedError, match=rf"what is cached in .*tiny {message}"):
        load_dataset("tiny", archives=given, data_dir=str(root))
    assert {path: path.read_bytes() for path in path.parent.iterdir()} == before


def test_the_archives_that_a_damaged_cache_was_read_from_are_first(
    tmp_path, write_archives, caplog
):
    folder, root = write_archives(tmp_path / "in"), tmp_path / "data"
    dataset = load_dataset("tiny", archives=str(folder), data_dir=str(root))
    write_archives(root / "downloads" / "manual" / "tiny", seed=1)
    path = root / "vqvae_jax" / "tiny" / "test_images.npy"
    path.unlink()
    assert load_dataset("tiny", data_dir=str(root)).digest == dataset.digest
    assert f"cannot be read; it is replaced from archives in {folder}" in caplog.text
    assert path.exists()


def test_what_another_process_has_cached_is_not_taken_for_the_own(
    tmp_path, write_archives, monkeypatch
):
    first, second = write_archives(tmp_path / "a"), write_archives(tmp_path / "b", seed=1)
    root = tmp_path / "data"
    theirs = load_dataset("tiny", archives=str(second), data_dir=str(root))
    found = archives.read("tiny", archives.in_folder(str(first), "tiny"), first)
    splits, description = cache.describe(*found)
    monkeypatch.setattr(cache, "write", lambda *given: None)  # theirs came first
    own = prepared.keep("tiny", root, splits, description)
    assert own.digest == description["digest"] != theirs.digest
    assert own.source == f"archives in {first}"
    np.testing.assert_array_equal(own.train.arrays["image"], splits["train"]["image"])


def test_a_set_of_a_name_of_its_own_needs_no_tfds(tmp_path, write_archives):
    given = {"archives": str(write_archives(tmp_path / "in")), "data_dir": str(tmp_path)}
    code = (
        "import sys; sys.modules['tensorflow_datasets'] = None\n"
        "from vqvae_jax.data import load_dataset\n"
        f"print(len(load_dataset('tiny', **{given}).train))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "90\n", result.stderr


def test_two_sets_under_one_name_never_mix(tmp_path, write_archives):
    first = write_archives(tmp_path / "first")
    second = write_archives(tmp_path / "second", seed=1)
    root = str(tmp_path / "data")
    load_dataset("tiny", archives=str(first), data_dir=root)
    with pytest.raises(DataError, match=r"second does not hold what tiny was read from before"):
        load_dataset("tiny", archives=str(second), data_dir=root)
    other = load_dataset("other", archives=str(second), data_dir=root)
    assert other.digest != load_dataset("tiny", data_dir=root).digest


def test_registered_digests_are_those_of_the_data_sets():
    assert {*archives.KNOWN} == tfds_store.STOCK_BUILDERS.keys()
    digests = {name: archives.registered_digests(name) for name in archives.KNOWN}
    assert digests["mnist"]["train-images-idx3-ubyte.gz"].startswith("440fcabf73cc546f")
    assert len({d["train-images-idx3-ubyte.gz"] for d in digests.values()}) == 3
    assert archives.registered_digests("tiny") == {}


def test_folder_without_archives_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.archives is .*, which does not hold train-images"):
        load_dataset("tiny", archives=str(tmp_path), data_dir=str(tmp_path / "data"))


def test_broken_archive_is_refused(tmp_path, write_archives):
    folder = write_archives(tmp_path / "in")
    (folder / ARCHIVE_NAMES[0]).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"does not begin like an IDX file.*: 6e 6f 6e 73, not 00"):
        load_dataset("tiny", archives=str(folder), data_dir=str(tmp_path / "data"))


def test_wrong_archive_is_not_replaced_by_the_sample(tmp_path, write_archives):
    write_archives(tmp_path / "downloads" / "manual" / "mnist")
    with pytest.raises(DataError, match="is not mnist's"):
        load_dataset("mnist", data_dir=str(tmp_path))


@pytest.mark.slow
def test_the_sample_may_be_asked_for_by_its_name(tmp_path, caplog):
    asked = load_dataset("mnist_sample", data_dir=str(tmp_path))
    assert caplog.text == ""
    assert (asked.name, len(asked.train)) == ("mnist_sample", 4500)
    assert_same_data(load_dataset("mnist", data_dir=str(tmp_path)), asked)
    with pytest.raises(DataError, match=r"mnist_sample, .*; data\.archives must not be given"):
        load_dataset("mnist_sample", archives=str(tmp_path), data_dir=str(tmp_path))


def test_archives_of_a_set_of_unknown_origin_are_known_by_their_content(tmp_path, write_archives):
    folder, other = write_archives(tmp_path / "in"), write_archives(tmp_path / "other", seed=1)
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    tfds_store.write("kmnist", splits, {"source": "unknown"}, tmp_path)
    dataset = load_dataset("kmnist", archives=str(folder), data_dir=str(tmp_path))
    assert dataset.source == "unknown"
    with pytest.raises(DataError, match="does not hold what kmnist was read from before"):
        load_dataset("kmnist", archives=str(other), data_dir=str(tmp_path))


def test_data_folder_without_room_for_a_cache_still_serves(tmp_path, write_archives, caplog):
    folder = write_archives(tmp_path / "in")
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    tfds_store.write("kmnist", splits, {"source": "here", "archives": {}}, tmp_path)
    (tmp_path / "vqvae_jax").write_text("in the way")
    dataset = load_dataset("kmnist", data_dir=str(tmp_path))
    assert "kmnist is not cached" in caplog.text
    own = load_dataset("tiny", archives=str(folder), data_dir=str(tmp_path))
    assert "tiny is not cached" in caplog.text
    assert_same_data(own, dataset)
    (tmp_path / "vqvae_jax").unlink()
    assert_same_data(load_dataset("kmnist", data_dir=str(tmp_path)), dataset)


def test_sample_stands_in_with_one_loud_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "vqvae_jax"):
        dataset = load_dataset("mnist", data_dir=str(tmp_path))
    assert len(caplog.records) == 1
    for words in ("SAMPLE of 5,000", "no network in tests", "--config.data.archives"):
        assert words in caplog.text
    assert dataset.name == "mnist_sample"
    assert dataset.train.arrays["image"].shape == (4500, 28, 28, 1)
    assert dataset.test.arrays["image"].shape == (500, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(dataset.train.arrays["label"]), [450] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.test.arrays["label"]), [50] * 10)
    train = {image.tobytes() for image in dataset.train.arrays["image"]}
    assert not train & {image.tobytes() for image in dataset.test.arrays["image"]}
    assert_same_data(load_dataset("mnist", data_dir=str(tmp_path)), dataset)


def test_sample_can_be_forbidden(tmp_path):
    with pytest.raises(DataError, match=r"no network in tests.*--config\.data\.archives"):
        load_dataset("mnist", data_dir=str(tmp_path), allow_sample=False)


def test_only_mnist_has_a_sample(tmp_path):
    with pytest.raises(DataError, match="no download of tiny is known"):
        load_dataset("tiny", data_dir=str(tmp_path))


def test_written_set_is_an_ordinary_tfds_set(tmp_path, write_archives):
    folder = write_archives(tmp_path / "in", size=28)
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    tfds_store.write("mnist", splits, {"source": "here", "archives": {}}, tmp_path / "data")
    source = tfds.data_source("mnist", split="train", data_dir=tmp_path / "data")
    images = sorted(source[index]["image"].tobytes() for index in range(len(source)))
    assert images == sorted(image.tobytes() for image in splits["train"]["image"])


def test_set_in_another_format_is_left_alone(tmp_path, write_archives):
    """TFRecords, which stock TFDS writes, need TensorFlow: ours goes beside them."""
    folder = write_archives(tmp_path / "in")
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    provenance = {"source": "here", "archives": {}}
    prepared = tfds_store.write("kmnist", splits, provenance, tmp_path)
    info = json.loads((prepared / "dataset_info.json").read_text())
    (prepared / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    before = sorted(path.name for path in prepared.iterdir())
    assert layout.find_prepared("kmnist", tmp_path) is None
    beside = tfds_store.write("kmnist", splits, provenance, tmp_path)
    assert layout.find_prepared("kmnist", tmp_path) == beside != prepared
    assert sorted(path.name for path in prepared.iterdir()) == before


@pytest.mark.parametrize("damaged", ["*train*", "dataset_info.json", "features.json"])
def test_damaged_prepared_set_is_named(tmp_path, write_archives, damaged):
    folder = write_archives(tmp_path / "in")
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    prepared = tfds_store.write("kmnist", splits, {"source": "here", "archives": {}}, tmp_path)
    for path in prepared.glob(damaged):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"prepared data set in .* cannot be read.*delete the fold"):
        load_dataset("kmnist", data_dir=str(tmp_path))


@pytest.mark.parametrize("damaged", ["*train*", "*test*", "dataset_info.json", "features.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "deleted"])
def test_damaged_prepared_set_is_prepared_again(tmp_path, write_archives, caplog, damaged, damage):
    folder, root = write_archives(tmp_path / "in"), tmp_path / "data"
    dataset = load_dataset("kmnist", archives=str(folder), data_dir=str(root))
    shutil.rmtree(root / "vqvae_jax")
    (prepared,) = (root / "kmnist").iterdir()
    (path,) = prepared.glob(damaged)
    content = path.read_bytes()
    flipped = content[:100] + bytes(byte ^ 255 for byte in content[100:400]) + content[400:]
    path.write_bytes(flipped if damage == "flipped" else content[:50])
    if damage == "deleted":
        path.unlink()
    again = load_dataset("kmnist", archives=str(folder), data_dir=str(root))
    assert again.digest == dataset.digest
    assert_same_data(again, dataset)
    if (damaged, damage) != ("dataset_info.json", "deleted"):  # then there is no set to be seen
        assert "it is prepared again, the damaged one set aside" in caplog.text
        (aside,) = (root / "kmnist").glob(f"{prepared.name}.damaged.*")
        assert aside.is_dir()
    shutil.rmtree(root / "vqvae_jax")
    assert_same_data(load_dataset("kmnist", data_dir=str(root)), dataset)


def test_a_prepared_set_of_other_images_is_damaged(tmp_path, write_archives):
    """Whatever array_record itself does not notice."""
    folder = write_archives(tmp_path / "in")
    splits = read_archives({name: folder / name for name in ARCHIVE_NAMES}, None)
    description = {"source": "here", "archives": {}, "digest": "of others"}
    tfds_store.write("kmnist", splits, description, tmp_path)
    with pytest.raises(DamagedError, match="its images are not those that were written"):
        load_dataset("kmnist", data_dir=str(tmp_path))


@pytest.fixture
def served(tmp_path, write_archives, monkeypatch):
    """The archives of a set called served, on a server on this machine."""
    monkeypatch.undo()  # the probe is a real one
    folder = write_archives(tmp_path / "served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/"
    digests = {
        url + name: types.SimpleNamespace(
            checksum=hashlib.sha256((folder / name).read_bytes()).hexdigest()
        )
        for name in ARCHIVE_NAMES
    }
    builder = types.SimpleNamespace(URL=url, url_infos=digests)
    monkeypatch.setattr(archives, "_stock_builder", {"served": builder}.get)
    yield builder
    server.shutdown()
    server.server_close()
    thread.join()


def test_download(tmp_path, served):
    dataset = load_dataset("served", data_dir=str(tmp_path / "data"))
    assert dataset.source == "download"
    assert dataset.train.arrays["image"].shape == (90, 12, 12, 1)
    assert (tmp_path / "data" / "downloads" / "served").is_dir()


def test_download_of_a_run_is_repeated(tmp_path, served):
    dataset = load_dataset("served", data_dir=str(tmp_path / "data"))
    settings = {"name": "served", "archives": None, "data_dir": str(tmp_path / "data")}
    known = {"name": "served", "digest": dataset.digest}
    shutil.rmtree(tmp_path / "data")
    again = recall_dataset({"data": known, "config": {"data": settings}}, **settings)
    assert_same_data(again, dataset)


def test_download_of_something_else_is_refused(tmp_path, served):
    next(iter(served.url_infos.values())).checksum = "0" * 64
    with pytest.raises(DataError, match=r"is not served's train-images.*: its SHA-256 is"):
        load_dataset("served", data_dir=str(tmp_path / "data"))


def test_host_that_does_not_answer_costs_seconds(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(download, "_PROBE_SECONDS", 0.2)
    with http.server.socketserver.TCPServer(("127.0.0.1", 0), None) as server:  # never answers
        reason = download._probe(f"http://127.0.0.1:{server.server_address[1]}/")
    assert "timed out" in reason or "no answer within 0.2 s" in reason
