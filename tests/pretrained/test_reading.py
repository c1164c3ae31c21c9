"""Weight files of every form: their values, what is refused in one line, and that nothing runs."""

import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from flax import serialization
from hypothesis import given
from hypothesis import strategies as st

from tests.pretrained.files import ARRAYS, NESTED, TORCH_FILES, weight_files, write_safetensors
from vqvae_jax import load_state_dict
from vqvae_jax.errors import DamagedError, DataError, UnsupportedError

EXPECTED = np.load(TORCH_FILES / "expected.npz")
NAMES = sorted(file.name for file in TORCH_FILES.iterdir() if file.suffix != ".npz")


def refused(path, message, error=DataError, **options):
    with pytest.raises(error, match=message) as raised:
        load_state_dict(path, **options)
    assert "\n" not in str(raised.value)
    assert str(path.name) in str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_pytorchs_values_are_read(name):
    arrays = load_state_dict(TORCH_FILES / name, ("ema", "state_dict"))
    expected = [key.split("/")[1:] for key in EXPECTED if key.startswith(f"{name}/")]
    assert list(arrays) == [key for key, _, _ in expected]
    for key, dtype, shape in expected:
        assert arrays[key].dtype.name == dtype
        assert ",".join(map(str, arrays[key].shape)) == shape
        assert arrays[key].flags.c_contiguous
        assert arrays[key].tobytes() == EXPECTED[f"{name}/{key}/{dtype}/{shape}"].tobytes()


def test_ties_stay_and_parts_do_not_keep_the_whole():
    arrays = load_state_dict(str(TORCH_FILES / "views.pth"))
    assert arrays["tied"] is arrays["base"]
    assert not np.shares_memory(arrays["slice"], arrays["base"])
    assert arrays["slice"].base is None


def test_keys_choose_the_entry():
    path = TORCH_FILES / "ema.pt"
    assert list(load_state_dict(path, ("ema", "model"))) == ["one"]
    assert "base" in load_state_dict(path)
    refused(path, "no entry is an array; its keys are: 'model', 'ema'$", keys=("state_dict",))
    with pytest.raises(ValueError, match=r"keys is 'ema'; it must be a sequence .* \('ema',\)"):
        load_state_dict(path, "ema")


def test_safetensors_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, ARRAYS)
    arrays = load_state_dict(path)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
        arrays[name][...] = 0  # they are the caller's own


def safetensors_bytes(header, content=bytes(8), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def described(**changes):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors_bytes(described(), length=10 * 2**30), "would have 10737418240 bytes; the fi"),
        (safetensors_bytes(described(shape=[3])), r"'x' has 8 bytes, which is not F32 of \[3\]"),
        (safetensors_bytes(described(shape=[-2])), "of 'x' are no sizes"),
        (safetensors_bytes(described(shape=[2.0])), "of 'x' are no sizes"),
        (safetensors_bytes(described(dtype="F4")), "'x' has the type 'F4'"),
        (safetensors_bytes(described(dtype="O")), "'x' has the type 'O'"),
        (
            safetensors_bytes(described(data_offsets=[8, 16])),
            "at bytes 8 to 16; it must begin at 0",
        ),
        (safetensors_bytes(described(), bytes(7)), "it must begin at 0 and end by 7"),
        (safetensors_bytes(described(), bytes(9)), "end at byte 8; 9 follow the header"),
        (safetensors_bytes({"x": 3}), "'x' lacks its dtype"),
        (safetensors_bytes(b'{"x": 1, "x": 2}'), "it has 'x' twice"),
        (safetensors_bytes(b'{"x": ' + b"[" * 10**5), "recursion"),
        (safetensors_bytes(b"{nothing"), "is damaged: "),
        (b"GIF89a..................", "is no file of safetensors, PyTorch or Flax's msgpack"),
        (b"", "is no file of"),
    ],
)
def test_a_header_that_is_wrong_is_refused(tmp_path, content, message):
    (tmp_path / "x.safetensors").write_bytes(content)
    tracemalloc.start()
    refused(tmp_path / "x.safetensors", message)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


@pytest.fixture
def sharded(tmp_path):
    """An index of two shards, in a folder of a cache that links to what it holds."""
    folder, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    folder.mkdir()
    blobs.mkdir()
    places = {"b": "1.safetensors", "a": "2.safetensors", "half": "1.safetensors"}
    for place in ("1.safetensors", "2.safetensors"):
        arrays = {name: ARRAYS[name] for name in places if places[name] == place}
        write_safetensors(blobs / place, arrays)
        (folder / place).symlink_to(blobs / place)

    def write(**changes):
        index = {"metadata": {}, "weight_map": places | changes}
        (blobs / "index").write_text(json.dumps(index))
        return folder / "model.safetensors.index.json"

    write().symlink_to(blobs / "index")
    return write


def test_shards_are_joined(sharded):
    arrays = load_state_dict(sharded())
    assert list(arrays) == ["b", "a", "half"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("name", ["../1.safetensors", "/etc/passwd", "..", "", "a\\b", "C:x", 3])
def test_shards_lie_beside_their_index(sharded, name):
    refused(sharded(b=name), "must be the name of a file beside it", DamagedError)


def test_shards_have_what_the_index_says(sharded, tmp_path):
    with pytest.raises(DamagedError, match=r"2\.safetensors is damaged: it lacks 'c', which model"):
        load_state_dict(sharded(c="2.safetensors"))
    with pytest.raises(FileNotFoundError):
        load_state_dict(sharded(c="3.safetensors"))
    (tmp_path / "snapshot" / "3.safetensors").symlink_to("/etc/passwd")
    refused(sharded(c="3.safetensors"), "'3.safetensors' is a link to another folder")


def test_flax_trees_are_joined(tmp_path):
    path = tmp_path / "checkpoint_100"
    path.write_bytes(serialization.msgpack_serialize(NESTED))
    arrays = load_state_dict(path)
    assert list(arrays) == ["params/conv/bias", "params/conv/kernel"]
    np.testing.assert_array_equal(arrays["params/conv/bias"], ARRAYS["half"])
    assert list(load_state_dict(path, ("params",))) == ["conv/bias", "conv/kernel"]
    path.write_bytes(serialization.msgpack_serialize({"step": 3, "note": "x"}))
    refused(path, "no entry is an array; its keys are: 'note', 'step'", UnsupportedError)
    both = {"a": {"b": ARRAYS["a"]}, "a/b": ARRAYS["a"]}
    path.write_bytes(serialization.msgpack_serialize(both))
    refused(path, "two arrays 'a/b'", DamagedError)
    path.write_bytes(serialization.msgpack_serialize({"x": np.zeros(3, "M8[s]")}))
    refused(path, r"'x' has the type datetime64\[s\]", UnsupportedError)
    path.write_bytes(path.read_bytes().replace(b"datetime64[s]", b"object" + b" " * 7))
    refused(path, "is damaged: ", DamagedError)


class Calling:
    """Pickled as a call of os.system."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def write_archive(path, content, storages=(), folder="x"):
    """An archive as PyTorch's, around a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", content)
        for key, values in dict(storages).items():
            archive.writestr(f"{folder}/data/{key}", values)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_nothing_is_run(tmp_path, protocol, form):
    ran, path = tmp_path / "ran", tmp_path / "x.pt"
    calling = Calling(ran)
    content = pickle.dumps({"a": calling, "b": [calling]}, protocol)
    if form == "zip":
        write_archive(path, content)
        refused(path, "no entry is an array; its keys are: 'a', 'b'", UnsupportedError)
        write_archive(path, pickle.dumps(calling, protocol))
        refused(path, r"holds a '(posix|nt)\.system', and code is not run", UnsupportedError)
    else:
        start = b"\x80\x02" if protocol < 2 else b""
        path.write_bytes(start + content)
        refused(path, "not one that torch.save has written", UnsupportedError)
    assert not ran.exists()
    pickle.loads(content)
    assert ran.exists()  # it is such a pickle


def storage(kind="torch FloatStorage", size=4):
    """A tensor's storage in a pickle of protocol 2: with key 0."""
    text = f"(S'storage'\nc{kind.replace(' ', chr(10))}\nS'0'\nS'cpu'\nI{size}\ntQ"
    return text.encode()


def tensor(
    offset=0, shape=(4,), strides=(1,), of=None, function="torch._utils\n_rebuild_tensor_v2"
):
    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    parts = (of or storage(), b"I%d\n" % offset, numbers(shape), numbers(strides), b"I00\nN")
    return b"c" + function.encode() + b"\n(" + b"".join(parts) + b"tR"


def dictionary(value, name=b"w"):
    return b"\x80\x02}S'" + name + b"'\n" + value + b"s."


DATA = {"0": np.arange(4, dtype=np.float32).tobytes()}


def test_a_tensor_made_by_hand_is_read(tmp_path):
    write_archive(tmp_path / "x.pt", dictionary(tensor(1, (2, 2), (1, 0))), DATA)
    array = load_state_dict(tmp_path / "x.pt")["w"]
    np.testing.assert_array_equal(array, [[1, 1], [2, 2]])


DEEP = b"]" * 20000 + b"a" * 19999


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dictionary(tensor(1)), "a tensor ends at byte 20 of a storage of 16"),
        (dictionary(tensor(0, (2, 2), (3, 1))), "a tensor ends at byte 20"),
        (
            dictionary(tensor(0, (2**40,), (0,))),
            "its tensors take 4398046511104 bytes, of a file of",
        ),
        (dictionary(tensor(-1)), "offset, shape or strides are no sizes"),
        (dictionary(tensor(0, (2,), (-1,))), "offset, shape or strides are no sizes"),
        (dictionary(tensor(0, (2, 2))), "offset, shape or strides are no sizes"),
        (dictionary(tensor(0, (0, 2**62, 2**62), (1, 1, 1))), "is damaged: "),
        (dictionary(tensor(of=b"N")), "a tensor without a storage"),
        (dictionary(tensor(of=storage(size=5))), "'0' has 16 bytes; the pickle says 20"),
        (dictionary(tensor(of=storage(size=-4))), "a persistent id that is not a storage's"),
        (dictionary(tensor(of=storage("os system"))), "has storages of 'os.system'"),
        (dictionary(tensor(of=storage("torch QInt8Storage"))), "of 'torch.QInt8Storage'"),
        (dictionary(tensor(function="torch._utils\n_rebuild_qtensor")), "'w' is made by 'torch._"),
        (dictionary(tensor().replace(b"S'0'", b"S'7'")), "lacks the storage 'x/data/7'"),
        (dictionary(b"I1\n", b"lonely"), "no entry is an array; its keys are: 'lonely'"),
        (b"\x80\x02" + tensor() + b".", "holds a Tensor, not a state dict"),
        (b"\x80\x02cmy\nThing\n)\x81.", "holds a 'my.Thing', and code is not run"),
        (b"\x80\x02cmy\nThing\n)\x81}S'w'\n" + tensor() + b"sb.", "holds a 'my.Thing'"),
        (b"\x80\x02" + DEEP + b".", "holds a list"),
        (b"\x80\x02}" + DEEP + b"Ns.", "is damaged: |no entry"),
        (b"\x80\x02Nr\xff\xff\xff\x7f" + b".", "holds a NoneType"),
        (b"\x80\x02\x8e" + b"\xff" * 7 + b"\x0f.", "is damaged: "),
        (b"\x80\x02}q\x00.", "no entry is an array"),
        (b"\x80\x02\x82\x01.", "uses the operation EXT1"),
        (b"\x80\x02I1\nb.", "is damaged: "),
        (b"\x80\x02I1\n)R.", "its pickle calls a int"),
        (b"\x80\x02I1\nI2\na.", "its pickle appends to a int"),
        (b"\x80\x02c__builtin__\neval\nNR.", "its pickle calls with a NoneType"),
        (b"\x80\x02h\x07.", "is damaged: "),
        (b"\x80\x02.", "is damaged: "),
        (b"\x80\x02N", "is damaged: "),
    ],
)
def test_a_pickle_that_is_wrong_is_refused(tmp_path, content, message):
    write_archive(tmp_path / "x.pt", content, DATA)
    refused(tmp_path / "x.pt", message)


def test_names_of_modules_end(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    start = b"\x80\x02cm\nModule\n)\x81q\x00}(S'_parameters'\n}S'_buffers'\n}S'_modules'\n}S'a'\n"
    write_archive(path, start + b"h\x00sub.")
    refused(path, "its modules contain each other", DamagedError)
    strange = b"cm\nStrange\n)\x81" + tensor() + b"b"
    write_archive(path, start + strange + b"sub.", DATA)
    refused(path, "'a' is made by 'm.Strange', and code is not run", UnsupportedError)
    monkeypatch.setattr("vqvae_jax.pretrained.files.entries._MAX_ENTRIES", 10)
    refused(TORCH_FILES / "module.pkl", "its modules have over 10 entries", DamagedError)


def test_a_pickle_has_so_many_operations(tmp_path, monkeypatch):
    monkeypatch.setattr("vqvae_jax.pretrained.files.pickles._MAX_OPERATIONS", 100)
    write_archive(tmp_path / "x.pt", b"\x80\x02" + b"N" * 99 + b".")
    refused(tmp_path / "x.pt", "its pickle has over 100 operations", UnsupportedError)


def test_views_do_not_fill_the_memory(tmp_path):
    values = np.zeros(900, np.float32)
    views = [tensor(i, (880,), (1,), storage(size=900)) for i in range(20)]
    entries = b"".join(b"S'%d'\n" % i + view + b"s" for i, view in enumerate(views))
    write_archive(tmp_path / "x.pt", b"\x80\x02}" + entries + b".", {"0": values.tobytes()})
    size = (tmp_path / "x.pt").stat().st_size
    refused(tmp_path / "x.pt", f"its tensors take .* bytes, of a file of {size}", DamagedError)


def test_an_archive_that_is_wrong_is_refused(tmp_path):
    path, good = tmp_path / "x.pt", dictionary(tensor())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(2**26))
    assert path.stat().st_size < 2**17
    refused(path, "its entry 'x/data.pkl' is compressed; PyTorch's are not", UnsupportedError)
    write_archive(path, good, DATA, folder="../x")
    refused(path, r"its entry '../x/data.pkl' lies outside the archive", DamagedError)
    write_archive(path, good, DATA, folder="/x")
    refused(path, r"its entry '/x/data.pkl' lies outside the archive", DamagedError)
    write_archive(path, good, DATA)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x/data/0", bytes(16))
    refused(path, "it has two entries 'x/data/0'", DamagedError)
    write_archive(path, good, DATA)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y/data.pkl", good)
    refused(path, "has one data.pkl; it has 2", UnsupportedError)
    write_archive(path, good, DATA)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/byteorder", "big")
    refused(path, "they must be little-endian", UnsupportedError)
    write_archive(path, good, DATA)
    content = path.read_bytes()
    path.write_bytes(content.replace(DATA["0"], bytes(16)))
    refused(path, "is damaged: Bad CRC-32", DamagedError)
    sizes = struct.pack("<II", 16, 16)
    path.write_bytes(content.replace(sizes, struct.pack("<II", 2**31, 2**31)))
    refused(path, "'x/data/0' of 2147483648 bytes is cut off", DamagedError)
    path.write_bytes(content[:-40])
    refused(path, "is damaged: File is not a zip file", DamagedError)


def test_a_legacy_file_that_is_cut_off_is_refused(tmp_path):
    content = (TORCH_FILES / "views.legacy.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(content[:-1])
    message = rf"its storages end at byte {len(content)}; it has {len(content) - 1}"
    refused(tmp_path / "x.pt", message, DamagedError)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_state_dict(tmp_path / "x.pt")


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return [(file.name, file.read_bytes()) for file in weight_files(folder)]


@given(st.data())
def test_changed_files_are_read_or_refused(contents, tmp_path_factory, data):
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1)))
    path, messages = tmp_path_factory.getbasetemp() / "changed", []
    for name, content in contents:
        for _ in range(10):
            changed = bytearray(content)
            for place in random.randint(len(content), size=random.randint(1, 4)):
                changed[place] = random.choice([0, 255, changed[place] ^ 1 << random.randint(8)])
            if random.rand() < 0.3:
                del changed[random.randint(len(content)) :]
            path.write_bytes(changed)
            try:
                arrays = load_state_dict(path)
            except DataError as error:
                messages.append(str(error))
            else:
                assert sum(array.nbytes for array in arrays.values()) <= 8 * len(content), name
    assert messages
    assert not any("\n" in message for message in messages)


def test_large_files_are_not_held_twice(tmp_path):
    path = tmp_path / "x.pt"
    large = tensor(0, (2**22,), of=storage(size=2**22))
    write_archive(path, dictionary(large), {"0": bytes(2**24)})
    tracemalloc.start()
    array = load_state_dict(path)["w"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert array.nbytes == 2**24
    assert peak < 1.3 * array.nbytes
