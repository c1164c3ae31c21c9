"""Folders of one model: written whole, read back bit for bit, and refused where they do not fit."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import (
    FSQ,
    VQVAE,
    EMAVectorQuantizer,
    ResNetDecoder,
    ResNetEncoder,
    SquaredError,
    Tokenizer,
    VectorQuantizer,
    from_pretrained,
    save_pretrained,
)
from vqvae_jax.errors import CheckpointError, ConfigError
from vqvae_jax.models.origin import Origin
from vqvae_jax.pretrained import folder as folders
from vqvae_jax.weights import weights_digest

FILES = {"README.md", "config.json", "model.safetensors"}


class Noisy(nnx.Module):
    """An encoder of the user's own, with random numbers and a type of its own."""

    spatial_rank, downsampling = 2, (2, 2)

    def __init__(self, width, *, rngs):
        self.width = width
        kernel = jnp.cos(jnp.arange(4.0 * width)).reshape(4, width)
        self.kernel = nnx.Param(kernel.astype(jnp.bfloat16))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        b, h, w, _ = x.shape
        patches = x.reshape(b, h // 2, 2, w // 2, 2).transpose(0, 1, 3, 2, 4)
        return patches.reshape(b, h // 2, w // 2, 4) @ self.kernel[...].astype(x.dtype)


@pytest.fixture(scope="module")
def tokenizer():
    def build():
        rngs = nnx.Rngs(0)
        return Tokenizer(
            Noisy(3, rngs=rngs),
            EMAVectorQuantizer(3, 5, revival_threshold=0.1, kmeans_init=True, rngs=rngs),
            ResNetDecoder(1, 3, width=4, num_blocks=1, downsampling=2, rngs=rngs),
            SquaredError(1, 0.1),
            value_range=(0.0, 1.0),
        )

    return nnx.jit(build)()


@pytest.fixture
def saved(tmp_path):
    """A small quantizer's folder."""
    save_pretrained(VectorQuantizer(2, 3, rngs=nnx.Rngs(0)), tmp_path / "saved")
    return tmp_path / "saved"


def change(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    config["model"] |= settings
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder):
    """What is said of a folder, in one line, without the temporary path."""
    with pytest.raises(CheckpointError) as error:
        from_pretrained(folder)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{folder}{os.sep}", "")


def test_what_is_saved_comes_back_bit_for_bit(tokenizer, tmp_path):
    save_pretrained(tokenizer, tmp_path / "a")
    loaded = from_pretrained(tmp_path / "a")
    assert type(loaded.encoder) is Noisy
    assert loaded.value_range == (0.0, 1.0)
    expected, found = (dict(nnx.to_flat_state(nnx.state(model))) for model in (tokenizer, loaded))
    assert found.keys() == expected.keys()
    for path, variable in expected.items():
        values = [one[path].get_value() for one in (expected, found)]
        assert type(found[path]) is type(variable)
        assert values[0].dtype == values[1].dtype
        if jnp.issubdtype(values[0].dtype, jax.dtypes.prng_key):
            values = [jax.random.key_data(value) for value in values]
        np.testing.assert_array_equal(*values)
    x = 4 * jax.random.uniform(jax.random.key(1), (3, 8, 8, 1))
    np.testing.assert_array_equal(loaded.encode(x), tokenizer.encode(x))
    assert len(np.unique(loaded.encode(x))) > 1


def test_a_vqvae_keeps_its_digest(tmp_path):
    model = drawn(lambda: VQVAE(1, 4, 8, 0.1, rngs=nnx.Rngs(0)))
    save_pretrained(model, tmp_path / "a")
    loaded = from_pretrained(str(tmp_path / "a"))
    assert type(loaded) is Tokenizer
    assert weights_digest(loaded) == weights_digest(model)


def test_the_files_are_plain(tokenizer, tmp_path):
    save_pretrained(tokenizer, tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    arrays = safetensors.numpy.load_file(tmp_path / "a" / "model.safetensors")
    assert {"encoder.kernel", "quantizer.usage", "encoder.dropout.rngs.key"} <= arrays.keys()
    assert arrays["encoder.kernel"].dtype == jnp.bfloat16
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["preprocessing"] == {
        "value_range": [0.0, 1.0],
        "channels": 1,
        "spatial_rank": 2,
        "downsampling": [2, 2],
    }
    assert config["model"]["encoder"] == {"kind": f"{__name__}:Noisy", "width": 3}
    card = (tmp_path / "a" / "README.md").read_text()
    assert 'from_pretrained("a")' in card
    assert "| quantizer.num_embeddings | 5 |" in card


def test_orbax_reads_the_weights(saved):
    from orbax.checkpoint.experimental import v1 as ocp

    context = ocp.Context()
    context.checkpoint_layout = ocp.options.CheckpointLayout.SAFETENSORS
    with context:
        loaded = ocp.load(saved / "model.safetensors")
    expected = safetensors.numpy.load_file(saved / "model.safetensors")
    assert loaded.keys() == expected.keys() == {"embeddings"}
    np.testing.assert_array_equal(loaded["embeddings"], expected["embeddings"])


def test_origins_are_kept(saved, tmp_path):
    model = from_pretrained(saved)
    model.origin = Origin("some_family", '{"width": 3}')
    save_pretrained(model, tmp_path / "b")
    assert from_pretrained(tmp_path / "b").origin == model.origin
    assert "the family some_family" in (tmp_path / "b" / "README.md").read_text()


def test_an_earlier_model_is_replaced_and_nothing_else(saved, tmp_path):
    other = VectorQuantizer(2, 7, rngs=nnx.Rngs(1))
    save_pretrained(other, saved, run={"metrics": {"nmse": 0.25}})
    assert from_pretrained(saved).num_embeddings == 7
    assert "| metrics.nmse | 0.25 |" in (saved / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    (saved / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"saved holds something else; it must be missing, empty"):
        save_pretrained(other, saved)
    with pytest.raises(ValueError, match=r"notes\.txt holds something else"):
        save_pretrained(other, saved / "notes.txt")
    assert {path.name for path in saved.iterdir()} == FILES | {"notes.txt"}
    (tmp_path / "empty").mkdir()
    save_pretrained(other, tmp_path / "empty")
    assert from_pretrained(tmp_path / "empty").num_embeddings == 7


def test_a_failure_leaves_the_earlier_model(saved, tmp_path, monkeypatch):
    def fail(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(folders, "write_atomically", fail)
    with pytest.raises(OSError, match="No space left"):
        save_pretrained(VectorQuantizer(2, 7, rngs=nnx.Rngs(1)), saved)
    assert from_pretrained(saved).num_embeddings == 3
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "Nothing"}, "describes no model: model.kind is 'Nothing'; it must be the name"),
        ({"kind": 3}, "describes no model: model.kind is 3; it must be the name of a class"),
        ({"kind": "ImageFolder"}, "describes no model: model.kind is 'ImageFolder'"),
        ({"kind": "subprocess:Popen"}, "a model has no parts of subprocess"),
        ({"estimator": "os:system"}, "model.estimator is 'os:system'; a model has no parts of os"),
        ({"kind": "my_nets:Mine"}, "model.kind is 'my_nets:Mine'; import my_nets first, if you"),
        ({"estimator": "optax:sgd"}, None),
        ({"depth": 3}, "describes no model: model.depth is unknown"),
        ({"embedding_dim": "x"}, "describes no model: model.embedding_dim is 'x'; it must be an"),
        ({"embedding_dim": 2**31}, "model.embedding_dim is 2147483648; it must be an integer of"),
        ({"num_embeddings": 2**31 - 1, "embedding_dim": 2**31 - 1}, "holds embeddings as (3, 2)"),
        ({"num_embeddings": 4}, "holds embeddings as (3, 2); it must be float32 (4, 2)"),
        ({"kind": "EMAVectorQuantizer", "codebook_cost": 0}, "model.codebook_cost is unknown"),
        ({"revival_threshold": 0.5}, "has no usage; it must be float32 (3,)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_configs_that_do_not_fit_are_named(saved, changed, message):
    change(saved, **changed)
    if message is None:
        assert from_pretrained(saved).estimator.__module__.startswith("optax")
    else:
        said = refused(saved)
        assert said.startswith(("config.json", "model.safetensors"))
        assert message in said


def test_no_module_is_imported(saved, tmp_path, monkeypatch):
    (tmp_path / "never_imported.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    change(saved, kind="never_imported:Mine")
    assert "import never_imported first" in refused(saved)
    assert "never_imported" not in sys.modules


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "config.json cannot be read: Expecting value"),
        (b"[" * 10**6, "config.json cannot be read"),
        (b"\xff\xfe", "config.json cannot be read"),
        (b"[3]", "config.json describes no model of vqvae_jax"),
        (b'{"model": 3, "format": 1}', "config.json describes no model of vqvae_jax"),
        (
            b'{"model": {}, "format": 9}',
            "config.json has format 9; this version of vqvae_jax reads",
        ),
        (b'{"model": {}, "format": 1, "run": 3}', "config.json has a run that is no group"),
        (b'{"model": {}, "format": 1}', "config.json describes no model: model.kind is missing"),
        (None, "config.json cannot be read: [Errno 2] No such file"),
    ],
)
def test_configs_that_are_none_are_named(saved, content, message):
    (saved / "config.json").unlink()
    if content is not None:
        (saved / "config.json").write_bytes(content)
    assert refused(saved).startswith(message)


def header(text, size=None):
    return (len(text) if size is None else size).to_bytes(8, "little") + text


def entry(dtype, shape, size):
    return json.dumps(
        {"embeddings": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    ).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no safetensors file, or is damaged"),
        (b"\x80\x02}q\x00.", "is no safetensors file, or is damaged"),
        (header(b"{}", 10 * 2**30), "is no safetensors file, or is damaged"),
        (header(b"{" * 100), "is no safetensors file, or is damaged"),
        (header(b"{}"), "has no embeddings; it must be float32 (3, 2)"),
        (header(entry("F32", [3, 2], 24)), "is no safetensors file, or is damaged"),
        (header(entry("F32", [2**40, 2**20], 24)) + bytes(24), "is no safetensors file, or is"),
        (header(entry("F32", [2, 3], 24)) + bytes(24), "holds embeddings as (2, 3); it must be"),
        (header(entry("I32", [3, 2], 24)) + bytes(24), "embeddings as int32 (3, 2); it must be f"),
        (header(entry("BF16", [3, 2], 12)) + bytes(12), "embeddings as bfloat16 (3, 2); it must"),
        (header(entry("F99", [3, 2], 24)) + bytes(24), "is no safetensors file, or is damaged"),
    ],
)
def test_weights_that_do_not_fit_are_named(saved, content, message):
    (saved / "model.safetensors").write_bytes(content)
    said = refused(saved)
    assert said.startswith("model.safetensors ")
    assert message in said


def test_other_variables_are_named(saved):
    arrays = safetensors.numpy.load_file(saved / "model.safetensors")
    safetensors.numpy.save_file(arrays | {"more": np.zeros(2)}, saved / "model.safetensors")
    assert refused(saved) == "model.safetensors holds 'more' as (2,), which the model does not have"
    (saved / "model.safetensors").unlink()
    assert refused(saved) == "model.safetensors is missing"


def test_a_part_that_keeps_no_argument_is_refused(tokenizer, tmp_path):
    class Own(FSQ):
        def __init__(self, levels, sharpness):
            super().__init__(levels)

    with pytest.raises(ConfigError, match=r"Own of .*, which cannot be imported"):
        save_pretrained(Own((3, 3), 2.0), tmp_path / "own")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["nothing", "../saved", "a/../b", "/nowhere/at/all", "a/b/c", ""])
def test_names_of_nothing_are_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"does not exist; it must be a folder|cannot be read"
    ):
        from_pretrained(name)


def test_a_folder_has_no_revision(saved):
    with pytest.raises(
        ValueError, match=r"revision is 'main'; .*saved is a folder, which has none"
    ):
        from_pretrained(saved, revision="main")


def test_a_resnet_s_encoder_is_built_again(tmp_path):
    encoder = drawn(lambda: ResNetEncoder(1, 3, width=4, downsampling=8, rngs=nnx.Rngs(0)))
    save_pretrained(encoder, tmp_path / "a")
    assert from_pretrained(tmp_path / "a").downsampling == (8, 8)


@pytest.mark.slow
def test_loading_needs_no_extra(saved):
    code = "import sys; from vqvae_jax import from_pretrained; from_pretrained(sys.argv[1])\n"
    code += "print(*(n for n in ('ml_collections', 'PIL', 'huggingface_hub') if n in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code, saved], capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"
