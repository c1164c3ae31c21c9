"""Weights & Biases: what its package is given."""

import io
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from vqvae_jax.components import build_component, completed
from vqvae_jax.errors import ConfigError, MissingError
from vqvae_jax.training.wandb import Wandb
from vqvae_jax.training.writers import LogWriter


@pytest.fixture
def wandb(monkeypatch):
    """A module that notes what it is told."""
    module = types.ModuleType("wandb")
    module.Error = type("Error", (Exception,), {})
    module.Image = lambda image: ("image", image.size)
    module.Histogram = lambda np_histogram: ("histogram", *map(list, np_histogram))
    module.begun, module.logged, module.finished = [], [], 0

    class Run:
        def define_metric(self, name, step_metric):
            module.over = name, step_metric

        def log(self, values):
            module.logged.append(values)

        def finish(self):
            module.finished += 1

    def init(**given):
        module.begun.append(given)
        return Run()

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"config": {"training": {"seed": 3}}}))
    return folder


def test_all_of_a_log_is_handed_on(wandb, workdir):
    writer = Wandb("project")
    writer.open(workdir, 0)
    (given,) = wandb.begun
    assert (given["project"], given["name"], given["dir"]) == ("project", "digits", str(workdir))
    assert given["config"] == {"training": {"seed": 3}}
    assert wandb.over == ("*", "step")
    writer.write({"step": 5, "epoch": 1, "split": "test", "images": 8, "nmse": 0.5})
    writer.write({"step": 5, "epoch": 1, "split": "settings", "images": 0, "schedule": "linear"})
    drawn = io.BytesIO()
    Image.new("RGB", (7, 5)).save(drawn, "PNG")
    writer.figures(5, {"codebook.png": drawn.getvalue(), "note.png": b"not drawn"})
    writer.figures(5, {"note.png": b"not drawn"})
    writer.histograms(5, {"codes": np.array([3, 0, 1])})
    writer.close()
    assert wandb.logged == [
        {"step": 5, "test/nmse": 0.5},
        {"step": 5, "codebook": ("image", (7, 5))},
        {"step": 5, "codes": ("histogram", [3, 0, 1], [0, 1, 2, 3])},
    ]
    assert wandb.finished == 1


def test_a_resumed_run_continues_the_same_log(wandb, workdir):
    for step in (0, 40):
        writer = Wandb("project", name="mine")
        writer.open(workdir, step)
        writer.close()
    first, second = wandb.begun
    assert first == second
    assert (first["name"], first["resume"]) == ("mine", "allow")
    assert len(first["id"]) == 8


def test_an_error_of_wandb_is_one_that_ends_the_run_in_a_line(wandb, workdir, monkeypatch):
    def init(**given):
        raise wandb.Error("no API key configured")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(ConnectionError, match=r"^wandb: no API key configured$"):
        Wandb("project").open(workdir, 0)


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingError, match=r'^wandb is missing; pip install "vqvae_jax\[wandb\]"'):
        Wandb("project")


@pytest.mark.usefixtures("unchecked", "wandb")
def test_a_config_says_the_project():
    def made(**settings):
        given = completed({"kind": "Wandb", **settings}, "log.writers.0", LogWriter)
        return build_component(given, "log.writers.0")

    assert made(project="digits").project == "digits"
    with pytest.raises(ConfigError, match=r"^log.writers.0.project is missing; it is the name of"):
        made()
    with pytest.raises(ConfigError, match=r"^log.writers.0.project is 3; it must be a name$"):
        made(project=3)
