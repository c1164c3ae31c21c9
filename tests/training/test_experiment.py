"""Training reports failures of JAX, and folders that it cannot use, in one line."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import mnist, mnist_prior
from tests.conftest import small_dataset
from vqvae_jax import NamedDataset
from vqvae_jax.errors import ConfigError, TrainingError
from vqvae_jax.training import experiment as module
from vqvae_jax.training.building import prior_for
from vqvae_jax.training.codes import CodeMaps
from vqvae_jax.training.config import Config


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("RESOURCE_EXHAUSTED: no 8 bytes", "a smaller training.batch_size takes less memory"),
        ("UNAVAILABLE: nobody there", "the same command, or call, resumes"),
    ],
)
def test_what_jax_cannot_do_is_one_line(monkeypatch, tmp_path, reason, advice):
    def fail(self):
        raise jax.errors.JaxRuntimeError(f"{reason}\nand where")

    monkeypatch.setattr(NamedDataset, "load", fail)
    config = Config.from_dict(mnist.get_config().to_dict())
    with pytest.raises(TrainingError) as refusal:
        module.train_config(config, tmp_path / "run")
    assert str(refusal.value) == f"JAX gave up: {reason}; {advice}"


@pytest.fixture
def prior_config(monkeypatch, tmp_path):
    """A prior over runs/mnist below a folder, of images that are at hand."""
    images = np.zeros((150, 8, 8, 1), np.uint8)
    monkeypatch.setattr(NamedDataset, "load", lambda self: small_dataset(images, train=130))
    settings = mnist_prior.get_config().to_dict()
    settings["prior"]["vqvae"] = str(tmp_path / "vqvae")
    return Config.from_dict(settings)


def test_a_file_is_no_folder(tmp_path, prior_config):
    file = tmp_path / "vqvae"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"^prior.vqvae is .*; .*vqvae is a file, not a folder$"):
        module.train_config(prior_config, tmp_path / "run")
    for workdir in (file, file / "run"):
        with pytest.raises(ConfigError) as refusal:
            module.train_config(prior_config, workdir)
        said = f"--workdir is {workdir}; {file} is a file, not a folder"
        assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("there", "refused"),
    [(None, False), ([], False), (["lock", "run.json"], False), (["notes.txt"], True)],
)
def test_a_vqvae_is_trained_only_in_a_folder_of_its_own(
    tmp_path, monkeypatch, capsys, prior_config, there, refused
):
    class TrainedError(Exception):
        pass

    def trained(*given, **named):
        raise TrainedError

    folder = tmp_path / "vqvae"
    if there is not None:
        folder.mkdir()
        for name in there:
            (folder / name).write_text("{}")
    monkeypatch.setattr(module, "TokenizerTask", trained)
    with pytest.raises(ConfigError if refused else TrainedError) as raised:
        module.train_config(prior_config, tmp_path / "run")
    if refused:
        said = f"prior.vqvae is {folder}, which is not empty and holds no run; it must be the "
        assert str(raised.value).startswith(said)
    said = f"no run in {folder}: training its VQ-VAE there first (30 epochs at most)\n"
    assert (said in capsys.readouterr().out) == (not refused)
    assert not (tmp_path / "run").exists()


def test_a_prior_of_images_is_none_of_signals(prior_config):
    maps = CodeMaps(shape=(7,), num_embeddings=5, num_codebooks=2, num_classes=0)
    with pytest.raises(
        ConfigError, match=r"^prior.kind is GatedPixelCNN, for code maps of 2 axes;"
    ):
        prior_for(prior_config, maps)
    transformer = prior_config.network | {"kind": "TransformerPrior"}
    del transformer["dilations"]
    config = dataclasses.replace(prior_config, network=transformer)
    assert prior_for(config, maps).max_shape == (7,)
