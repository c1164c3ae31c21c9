"""The end of a run: what it says, and that its commands exist."""

import shlex
from pathlib import Path

import pytest

from configs import images, mnist, mnist_prior, speech_digits
from vqvae_jax.__main__ import _parser
from vqvae_jax.training.checkpoint import checkpoint_file
from vqvae_jax.training.config import Config
from vqvae_jax.training.ending import commands, ending
from vqvae_jax.training.log import FolderWriter, Log


class Task:
    monitor = "nll"

    def summary(self, metrics):
        return f"test nll {metrics['nll']}"


def run_of(workdir, evaluations, saved):
    """A run's folder with the nll of evaluations by step, and the checkpoints of some of them."""
    workdir.mkdir()
    with Log(workdir, 0, [FolderWriter()]) as log:
        for step, nll in evaluations.items():
            of = {"step": step, "epoch": step // 10, "images": 8, "nll": nll}
            log.write(of | {"split": "train", "nll": nll / 2})
            log.write(of | {"split": "test"})
    (workdir / "checkpoints").mkdir()
    for step in saved:
        checkpoint_file(workdir, step).write_bytes(b"")
    return workdir


@pytest.fixture(autouse=True)
def unchecked_task(unchecked):
    """The task of these tests has no more than an ending needs."""


def test_it_names_the_best_checkpoint_the_pictures_and_the_commands(tmp_path):
    run = run_of(tmp_path / "run", {10: 3.0, 20: 1.5, 30: 2.0}, [20, 30])
    for name in ("training.png", "samples.png"):
        (run / name).write_bytes(b"")
    assert ending(run, Task(), ["one", "two"]).splitlines() == [
        f"{run}: best after step 20, epoch 2: test nll 1.5",
        f"  checkpoint  {run}/checkpoints/20.safetensors",
        f"  pictures    {run}/samples.png, training.png",
        "  next        one",
        "              two",
    ]


def test_the_best_is_that_of_the_checkpoints_that_there_are(tmp_path):
    run = run_of(tmp_path / "run", {10: 1.0, 20: 2.5, 30: 2.0}, [20, 30])
    assert ending(run, Task(), []).splitlines() == [
        f"{run}: best after step 30, epoch 3: test nll 2.0",
        f"  checkpoint  {run}/checkpoints/30.safetensors",
    ]


def test_a_run_without_an_evaluation_says_the_commands(tmp_path):
    assert ending(run_of(tmp_path / "run", {}, [5]), Task(), ["one"]) == "  next        one"


@pytest.mark.parametrize(
    ("file", "uses"),
    [
        (mnist, ["report", "reconstruct", "encode"]),
        (images, ["report", "reconstruct", "encode"]),
        (speech_digits, ["report", "reconstruct", "encode"]),
        (mnist_prior, ["report", "sample"]),
    ],
)
def test_its_commands_are_those_of_the_program(tmp_path, file, uses):
    workdir, settings = tmp_path / "a run", file.get_config().to_dict()
    if file in (images, speech_digits):
        settings["data"]["path"] = "my files"
    given = [*map(shlex.split, commands(Config.from_dict(settings), workdir))]
    assert all(words[:3] == ["python", "-m", "vqvae_jax"] for words in given)
    options = [_parser().parse_args(words[3:]) for words in given]
    assert [one.command for one in options] == uses
    assert all(one.workdir == workdir for one in options)
    if file is not mnist_prior:
        folder = Path("FOLDER" if file is mnist else "my files")
        assert [one.inputs for one in options[1:]] == [[folder], [folder]]


def test_samples_of_a_prior_over_audio_are_a_folder(tmp_path):
    settings = mnist_prior.get_config().to_dict()
    settings["data"] = {"kind": "AudioFolder", "path": "x", "sample_rate": 8000, "seconds": 1.0}
    *_, sample = commands(Config.from_dict(settings), tmp_path)
    options = _parser().parse_args(shlex.split(sample)[3:])
    assert (options.command, options.output) == ("sample", Path("samples"))
