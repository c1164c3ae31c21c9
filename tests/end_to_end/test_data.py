"""Commands of a run after other data have come: they continue with the run's own."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import mnist, mnist_prior
from tests.conftest import write_small_set
from tests.data.foreign import FEATURES, pixels, prepare
from tests.end_to_end.programs import metrics
from vqvae_jax import load_model, load_prior
from vqvae_jax.__main__ import main
from vqvae_jax.arrays import read_arrays
from vqvae_jax.data import download, idx, load_dataset, sample, tfds_store
from vqvae_jax.errors import ConfigError, DataError
from vqvae_jax.training.config import Config
from vqvae_jax.training.experiment import train_config

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """No network, and a small sample."""
    monkeypatch.setattr(download, "_probe", lambda url: "no network in tests")
    images = np.random.RandomState(7).randint(0, 256, (30, 12, 12, 1)).astype(np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    splits = {
        "train": {"image": images[:24], "label": labels[:24]},
        "test": {"image": images[24:], "label": labels[24:]},
    }
    provenance = {"source": "the sample", "archives": {}, "folder": None}
    monkeypatch.setattr(sample, "read", lambda: (splits, provenance))


def train_with(file, workdir, **settings):
    """Does what train.py does with a config file and settings, such as data__name."""
    config = file.get_config().to_dict()
    config["model"]["quantizer"]["num_embeddings"] = 8
    small = {"training__batch_size": 8, "training__max_steps": 2}
    if "prior" in config:
        small |= {"prior__channels": 4, "prior__dilations": (1,), "vqvae_training__batch_size": 8}
    for path, value in (small | settings).items():
        section, name = path.split("__")
        config[section][name] = value
    train_config(Config.from_dict(config), workdir)


def command(*arguments):
    return main([*map(str, arguments)])


def put_mnist(root, archives):
    """Has another command prepare what passes for the full MNIST."""
    splits = idx.read_archives(idx.find_archives(write_small_set(archives), "mnist"), None)
    tfds_store.write("mnist", splits, {"source": "elsewhere"}, root)


@pytest.mark.slow
def test_a_set_in_color_with_many_classes_is_learned(tmp_path):
    """As TFDS prepares it; the VQ-VAE, and a prior with its classes."""
    image, label = FEATURES.Image(shape=(12, 8, 3)), FEATURES.Scalar(np.int64)
    given = [{"image": pixels(12, 8, 3, seed=n), "label": 50 * n} for n in range(16)]
    splits = {"train": given, "test": given[:4]}
    prepare(tmp_path, "colors", features={"image": image, "label": label}, splits=splits)
    data = {"data__name": "colors", "data__data_dir": str(tmp_path)}
    vqvae, workdir = tmp_path / "vqvae", tmp_path / "prior"
    train_with(mnist_prior, workdir, **data, prior__vqvae=str(vqvae), prior__conditional=True)
    assert load_model(vqvae).encode(jnp.zeros((1, 12, 8, 3))).shape == (1, 3, 2)
    assert load_prior(workdir).num_classes == 751
    for picture in (vqvae / "reconstructions.png", workdir / "samples.png"):
        with Image.open(picture) as shown:
            assert len(shown.convert("RGB").getcolors(2**24)) > 100
    output = tmp_path / "samples.npy"
    assert command("sample", "--workdir", workdir, "--output", output, "--label", 750) == 0
    assert np.load(output).shape == (64, 12, 8, 3)


@pytest.mark.slow
def test_the_first_command_can_be_repeated(tmp_path, capsys):
    """On the sample; by then the full set is there."""
    root, workdir = tmp_path / "data", tmp_path / "run"
    train_with(mnist, workdir, data__data_dir=str(root))
    put_mnist(root, tmp_path / "archives")
    train_with(mnist, workdir, data__data_dir=str(root))
    assert "this run is finished, 2 steps are done" in capsys.readouterr().out
    train_with(mnist, workdir, data__data_dir=str(root), training__max_steps=3)
    assert "24 images of mnist_sample from the sample; steps 2 to 3" in capsys.readouterr().out
    settings = {"data__data_dir": str(root), "data__name": "mnist_sample"}
    train_with(mnist, workdir, **settings, training__max_steps=None, training__num_epochs=2)
    assert metrics(workdir)[-1]["step"] == 6
    with pytest.raises(ConfigError, match="its data came from the sample, now from else"):
        train_with(mnist, workdir, data__data_dir=str(root), data__allow_sample=False)

    assert command("extract", "--workdir", workdir) == 0
    assert read_arrays(workdir / "codes.safetensors")[0]["train_codes"].shape == (24, 3, 3)
    # A new run takes what is asked for.
    train_with(mnist, tmp_path / "new", data__data_dir=str(root))
    assert "90 images of mnist from elsewhere" in capsys.readouterr().out


@pytest.mark.slow
def test_a_prior_takes_the_data_of_its_vqvae(tmp_path, capsys):
    root, vqvae, workdir = tmp_path / "data", tmp_path / "vqvae", tmp_path / "prior"
    train_with(mnist, vqvae, data__data_dir=str(root))
    put_mnist(root, tmp_path / "archives")
    other = write_small_set(tmp_path / "other", seed=1)
    settings = {"prior__vqvae": str(vqvae), "vqvae_training__max_steps": 2}
    for given in (
        {"data__archives": str(other), "data__name": "mnist_sample"},
        {"data__archives": str(other)},
        {"data__data_dir": str(root), "data__allow_sample": False},
        {"data__data_dir": str(root), "data__name": "tiny", "data__archives": str(other)},
    ):
        with pytest.raises((ConfigError, DataError), match=r"is not mnist's|prior.vqvae is|not be"):
            train_with(mnist_prior, workdir, **settings, **given)
        assert not workdir.exists()
    # In another data folder, where the set is not; finished; further.
    for steps in (2, 2, 3):
        train_with(
            mnist_prior,
            workdir,
            **settings,
            training__max_steps=steps,
            data__data_dir=str(tmp_path / "empty"),
        )
    assert "24 images of mnist_sample from the sample; steps 2 to 3" in capsys.readouterr().out
    shutil.rmtree(root / "vqvae_jax")
    assert command("evaluate", "--workdir", workdir) == 0
    assert command("sample", "--workdir", workdir, "--output", tmp_path / "samples.png") == 0
    capsys.readouterr()
    assert command("evaluate", "--workdir", workdir, "--archives", other) == 1
    assert "is not mnist's" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_of_earlier_versions_go_on(tmp_path, monkeypatch, capsys):
    """Their descriptions say less of where the data were."""
    from vqvae_jax.training import experiment as module

    root, workdir = tmp_path / "data", tmp_path / "run"
    described = module.describe

    def describe(config, data):
        description = described(config, data)
        del description["data"]["archives"], description["data"]["data_dir"]
        return description

    with monkeypatch.context() as patch:
        patch.setattr(module, "describe", describe)
        train_with(mnist, workdir, data__data_dir=str(root))
    assert "data_dir" not in json.loads((workdir / "run.json").read_text())["data"]
    put_mnist(root, tmp_path / "archives")
    train_with(mnist, workdir, data__data_dir=str(root), training__max_steps=3)
    assert "24 images of mnist_sample from the sample; steps 2 to 3" in capsys.readouterr().out
    assert json.loads((workdir / "run.json").read_text())["data"]["data_dir"] == str(root)


@pytest.mark.slow
def test_a_run_whose_name_has_gone_to_others(tmp_path, capsys):
    """Its archives are still there; then they are not."""
    root, workdir = tmp_path / "data", tmp_path / "run"
    first = write_small_set(tmp_path / "first")
    second = write_small_set(tmp_path / "second", seed=1)
    settings = {"data__name": "tiny", "data__data_dir": str(root), "data__archives": str(first)}
    train_with(mnist, workdir, **settings)
    shutil.rmtree(root)
    load_dataset("tiny", archives=str(second), data_dir=str(root))
    train_with(mnist, workdir, **settings, training__max_steps=3)
    assert f"from archives in {first}; steps 2 to 3" in capsys.readouterr().out
    assert command("extract", "--workdir", workdir) == 0
    with pytest.raises(ConfigError, match=f"came from archives in {first}, now from archi"):
        train_with(mnist, workdir, **settings | {"data__archives": str(second)})
    first.rename(tmp_path / "moved")
    capsys.readouterr()
    assert command("extract", "--workdir", workdir) == 1
    assert "which cannot be found any more; provide it in data.archives" in capsys.readouterr().err
    assert command("extract", "--workdir", workdir, "--archives", tmp_path / "moved") == 0
