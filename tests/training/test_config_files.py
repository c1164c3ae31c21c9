"""Configs by their names, and what they import."""

import sys
from pathlib import Path

import pytest

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config_files import read_config, shipped_configs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty folder that is the current one, where Python finds no configs/ of a clone."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    path = [place for place in sys.path if not (Path(place) / "configs").is_dir()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        del sys.modules[name]


def read(given):
    return read_config(str(given))[0]


def test_all_of_the_folder_ship():
    assert shipped_configs() == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
    assert {"mnist", "mnist_prior"} <= {*shipped_configs()}


@pytest.mark.parametrize("name", ["mnist", "mnist_ema", "mnist_likelihood_prior"])
def test_a_name_is_its_file_wherever_one_is(elsewhere, name):
    named = read(name)
    assert named == read(ROOT / "configs" / f"{name}.py")


def test_a_file_comes_before_a_name(elsewhere):
    (elsewhere / "mnist").write_text("def get_config():\n    return 3")
    with pytest.raises(ConfigError, match="mnist is not a config"):
        read("mnist")


def test_an_unknown_name_is_told_the_known_ones(elsewhere):
    with pytest.raises(ConfigError, match=r"^minst cannot be read: .*; the configs .* mnist, mn"):
        read("minst")
    with pytest.raises(ConfigError, match=r"^minst\.py cannot be read: [^;]*$"):
        read("minst.py")


MINE = """
from configs import mnist
{more}

def get_config():
    config = mnist.get_config()
    config.training.seed = 7
    return config
"""


@pytest.mark.parametrize("others", [[], ["configs/base.py"], ["configs/__init__.py"]])
def test_ones_own_config_may_build_on_one_that_ships(elsewhere, others):
    (elsewhere / "configs").mkdir()
    for other in others:
        (elsewhere / other).write_text("SEED = 3")
    file = elsewhere / "configs" / "mine.py"
    file.write_text(MINE.format(more="from configs import base" * ("configs/base.py" in others)))
    assert read(file)["training"]["seed"] == 7
    assert read("mnist")["training"]["seed"] == 0


def test_a_module_of_that_name_is_no_hindrance(elsewhere):
    (elsewhere / "configs.py").write_text("")
    assert read("mnist_ema")["model"]["quantizer"]["kind"] == "EMAVectorQuantizer"
