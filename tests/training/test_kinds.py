"""Data and metrics are components of a config: by name, or by import path."""

import dataclasses
import json

import numpy as np
import pytest

from configs import images, mnist
from vqvae_jax import (
    ArraySource,
    DataConfig,
    Dataset,
    ImageFolder,
    ImageMetric,
    LogWriter,
    Metric,
    NamedDataset,
    Tokenizer,
)
from vqvae_jax.components import build, completed_for
from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config, overridden
from vqvae_jax.training.experiment import train_config
from vqvae_jax.training.log import read_records
from vqvae_jax.training.resuming import changed_setting
from vqvae_jax.training.saved import load_data, load_run
from vqvae_jax.training.settings import EvaluationConfig, LogConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stripes(DataConfig):
    """Stripes of two widths.

    Args:
        count: how many images.
    """

    count: int = 24

    def load(self):
        rows = np.arange(8)[:, None, None]
        widths = 1 + np.arange(self.count)[:, None, None, None] % 2
        pixels = np.broadcast_to(200 * (rows // widths % 2), (self.count, 8, 8, 1))
        arrays = {"image": pixels.astype(np.uint8)}
        return Dataset(
            name="stripes",
            source="nowhere",
            archives={},
            train=ArraySource(arrays),
            test=ArraySource({"image": arrays["image"][:6]}),
            variance=0.15,
            digest=str(self.count),
        )


class Darkness(ImageMetric):
    """How much darker the reconstruction is."""

    name = "darkness"

    def __call__(self, images, others):
        return (images - others).mean(axis=(1, 2, 3))


class Noted(LogWriter):
    """A log in a file of notes.

    Args:
        name: its name.
    """

    def __init__(self, name):
        self.name = name

    def open(self, workdir, resume_step):
        self.path = workdir / self.name

    def _note(self, step, what):
        with self.path.open("a") as file:
            file.write(f"{step} {what}\n")

    def write(self, record):
        self._note(record["step"], record["split"])

    def figures(self, step, figures):
        self._note(step, " ".join(sorted(figures)))

    def histograms(self, step, counts):
        self._note(step, {name: int(of.sum()) for name, of in counts.items()})


HERE = "tests.training.test_kinds"


def config(**settings):
    given = mnist.get_config().to_dict() | settings
    return Config.from_dict(given)


def test_a_config_without_a_kind_names_a_data_set():
    made = config()
    assert made.data == NamedDataset(name="mnist")
    assert made.data_kind == "NamedDataset"
    assert made == config(data={"kind": "NamedDataset", "name": "mnist"})


def test_a_folder_is_described_and_read_back():
    given = images.get_config().to_dict()
    made = Config.from_dict(given)
    assert isinstance(made.data, ImageFolder)
    assert (made.data.size, made.data.crop) == (64, "random")
    assert Config.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    moved = Config.from_dict(overridden(given, "data.path", "ELSEWHERE"))
    assert changed_setting(made, moved) is None
    other = Config.from_dict(overridden(given, "data.size", "32"))
    assert changed_setting(made, other) == "data.size was 64 and is 32"


def test_the_command_line_changes_the_kind():
    given = overridden(mnist.get_config().to_dict(), "data.kind", "ImageFolder")
    given = overridden(given, "data.path", "PHOTOS")
    assert Config.from_dict(given).data == ImageFolder(path="PHOTOS")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "ImageFolder"}, "data.path is missing; it is the folder"),
        ({"kind": "ImageFolder", "path": "x", "size": 0}, "data.size is 0; it must be an integer"),
        ({"kind": "ImageFolder", "path": "x", "archives": "y"}, "data.archives is unknown"),
        ({"kind": "VQVAE", "path": "x"}, "data.kind is 'VQVAE'; it must be one of NamedDataset"),
        ({"kind": "os:system"}, "data.kind is 'os:system'; it must be one of"),
    ],
)
def test_wrong_data_are_named(data, message):
    with pytest.raises(ConfigError, match=message):
        config(data=data)


def test_own_data_metrics_and_logs_are_used_and_found_again(tmp_path):
    made = config(
        data={"kind": f"{HERE}:Stripes", "count": 16},
        training={"batch_size": 8, "max_steps": 2},
        evaluation={"metrics": [{"kind": "PSNR"}, {"kind": f"{HERE}:Darkness"}]},
        log={"writers": [{"kind": f"{HERE}:Noted", "name": "notes"}]},
    )
    train_config(made, tmp_path / "run")
    last = read_records(tmp_path / "run", 2)[-1]
    assert last["split"] == "test"
    assert {"image_psnr", "darkness"} <= last.keys()
    np.testing.assert_allclose(last["image_psnr"], last["psnr"], atol=3)
    assert (tmp_path / "run" / "notes").read_text().splitlines() == [
        "2 train",
        "2 test",
        "2 codebook.png reconstructions.png training.png",
        "2 {'codes': 24}",  # of 6 images of 2 x 2 tokens
    ]
    assert not (tmp_path / "run" / "tensorboard").exists()
    run = load_run(tmp_path / "run", Tokenizer)
    assert run.config == made
    assert load_data(run).digest == "16"
    more = dataclasses.replace(made, data=Stripes(count=20))
    with pytest.raises(ConfigError, match=r"data.count was 16 and is 20"):
        train_config(more, tmp_path / "run")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("section", "kind", "name", "one"),
    [
        (EvaluationConfig, Metric, "metrics", "PSNR"),
        (LogConfig, LogWriter, "writers", "TensorBoard"),
    ],
)
def test_metrics_and_writers_are_lists(section, kind, name, one):
    component = {"kind": one}
    for given in (one, component, [one]):
        settings = completed_for(section, {name: given}, "section")
        with pytest.raises(ConfigError) as refusal:
            build(section, settings, "section")
        said = str(refusal.value)
        assert said.startswith(f"section.{name} is ")
        assert said.endswith(f"; it must be a list of {kind.__name__} components")
    build(section, completed_for(section, {name: [component]}, "section"), "section")


def test_metrics_and_logs_may_change_in_a_run():
    old = config()
    new = config(evaluation={"metrics": [{"kind": "SSIM"}]}, log={"writers": []})
    assert changed_setting(old, new) is None
    with pytest.raises(ConfigError, match=r"evaluation.metrics.0.kind is 'FSQ'; it must be one of"):
        config(evaluation={"metrics": [{"kind": "FSQ"}]})
