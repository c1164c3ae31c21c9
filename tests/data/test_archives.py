"""The four files of a data set: their forms, and whose they are."""

import bz2
import gzip
import shutil

import pytest

from vqvae_jax.data import archives, download, idx, load_dataset
from vqvae_jax.data.idx import ARCHIVE_NAMES
from vqvae_jax.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(download, "_probe", lambda url: "no network in tests")


def unpacked(folder, target, rename=lambda name: name.removesuffix(".gz")):
    """The archives of a folder, unpacked into another one."""
    target.mkdir(parents=True)
    for name in ARCHIVE_NAMES:
        (target / rename(name)).write_bytes(gzip.decompress((folder / name).read_bytes()))
    return target


def packed_again(folder, target):
    """The archives of a folder, compressed again: other files of the same content."""
    target.mkdir(parents=True)
    for name in ARCHIVE_NAMES:
        content = gzip.decompress((folder / name).read_bytes())
        (target / name).write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    return target


def digest_of(folder, root, name="tiny"):
    return load_dataset(name, archives=str(folder), data_dir=str(root)).digest


@pytest.mark.parametrize(
    ("place", "rename"),
    [
        (".", lambda name: name.removesuffix(".gz")),
        (".", lambda name: name),  # not in gzip, whatever the name says
        (".", lambda name: name.removesuffix(".gz").replace("-idx", ".idx")),
        ("raw", lambda name: name.removesuffix(".gz")),
        ("MyDigits/raw", lambda name: name.removesuffix(".gz")),
    ],
    ids=["unpacked", "plain", "dotted", "raw", "torchvision"],
)
def test_unpacked_files_are_the_same_set(tmp_path, write_archives, place, rename):
    folder = write_archives(tmp_path / "in")
    unpacked(folder, tmp_path / "out" / place, rename)
    digest = digest_of(folder, tmp_path / "a", "my_digits")
    assert digest_of(tmp_path / "out", tmp_path / "b", "my_digits") == digest
    # And where the set is prepared already, from the archives.
    assert digest_of(tmp_path / "out", tmp_path / "a", "my_digits") == digest


def test_packed_and_unpacked_side_by_side_are_one_set(tmp_path, write_archives):
    """As torchvision leaves them."""
    folder = write_archives(tmp_path / "raw")
    digest = digest_of(folder, tmp_path / "a")
    shutil.copytree(unpacked(folder, tmp_path / "out"), folder, dirs_exist_ok=True)
    assert digest_of(tmp_path, tmp_path / "b") == digest


def test_the_manual_folder_takes_unpacked_files(tmp_path, write_archives):
    folder = write_archives(tmp_path / "in")
    unpacked(folder, tmp_path / "data" / "downloads" / "manual" / "tiny")
    dataset = load_dataset("tiny", data_dir=str(tmp_path / "data"))
    assert dataset.digest == digest_of(folder, tmp_path / "other")


def test_a_folder_of_three_is_refused(tmp_path, write_archives):
    folder = unpacked(write_archives(tmp_path / "in"), tmp_path / "out")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"which does not hold t10k-labels-idx1-ubyte.gz$"):
        digest_of(folder, tmp_path / "data")


def test_other_compressions_are_refused(tmp_path, write_archives):
    folder = write_archives(tmp_path / "in")
    (folder / ARCHIVE_NAMES[0]).write_bytes(bz2.compress(b"anything"))
    with pytest.raises(DataError, match="does not begin like an IDX file"):
        digest_of(folder, tmp_path / "data")


@pytest.fixture
def mnist(tmp_path, write_archives, monkeypatch):
    """Files that hold what, for the time of a test, is on record for mnist."""
    folder = write_archives(tmp_path / "mnist", size=28, classes=9)
    splits = idx.read_archives(idx.find_archives(folder, "mnist"), None)
    monkeypatch.setitem(archives._CONTENT, "mnist", idx.content_digests(splits))
    return folder


def test_of_a_known_set_the_content_decides(tmp_path, mnist, caplog):
    again, plain = packed_again(mnist, tmp_path / "again"), unpacked(mnist, tmp_path / "plain")
    digests = {digest_of(f, tmp_path / f"data_{f.name}", "mnist") for f in (mnist, again, plain)}
    assert len(digests) == 1
    assert "originals" not in caplog.text


@pytest.mark.parametrize("form", [unpacked, packed_again])
def test_other_content_is_not_mnist(tmp_path, mnist, write_archives, form):
    other = form(write_archives(tmp_path / "in", size=28, seed=1), tmp_path / "other")
    with pytest.raises(DataError, match=r"is not mnist's train-images-.*: the SHA-256 of what it"):
        digest_of(other, tmp_path / "data", "mnist")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_where_the_content_is_not_on_record_files_are_taken_with_a_note(
    tmp_path, mnist, write_archives, caplog, name
):
    folder = write_archives(tmp_path / "in", size=28, seed=1)
    dataset = load_dataset(name, archives=str(folder), data_dir=str(tmp_path / "data"))
    assert dataset.name == name
    (note,) = [record.message for record in caplog.records if "originals" in record.message]
    assert note.startswith(f"{folder}: train-images-idx3-ubyte.gz, ")
    assert note.endswith(f"of {name}, whose content is not on record; they are used as they are")
    # Once prepared, they are known by their content.
    again = packed_again(folder, tmp_path / "again")
    assert digest_of(again, tmp_path / "data", name) == dataset.digest


@pytest.mark.parametrize("form", [unpacked, packed_again])
@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_files_of_another_known_set_are_refused(tmp_path, mnist, write_archives, name, form):
    mixed = form(write_archives(tmp_path / "in", size=28, seed=1), tmp_path / "mixed")
    form(mnist, tmp_path / "theirs")
    shutil.copy(next((tmp_path / "theirs").glob("t10k-images*")), mixed)
    for folder in (tmp_path / "theirs", mixed):
        with pytest.raises(DataError, match=rf"is not {name}'s .*: it is mnist's ") as refusal:
            digest_of(folder, tmp_path / "data", name)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "data").exists()


def test_original_archives_of_another_set_are_refused(tmp_path, mnist, write_archives, monkeypatch):
    folder = write_archives(tmp_path / "in", size=28, seed=1)
    digests = {name: idx.file_sha256(folder / name) for name in ARCHIVE_NAMES}
    registered = archives.registered_digests
    monkeypatch.setattr(
        archives,
        "registered_digests",
        lambda name: digests if name == "kmnist" else registered(name),
    )
    with pytest.raises(DataError, match=r"is not fashion_mnist's .*: it is kmnist's train-images"):
        digest_of(folder, tmp_path / "data", "fashion_mnist")
    digest_of(folder, tmp_path / "data", "kmnist")


def test_archives_of_a_known_set_may_have_another_name(tmp_path, mnist):
    assert digest_of(mnist, tmp_path / "data", "my_digits")
