"""The log: whole lines, no duplicates, no gaps."""

import json

import pytest

from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.log import MetricsLog, epoch_mean, stops_early


def record(step, split="train", **values):
    return {"step": step, "epoch": 1, "split": split, "images": 8, "loss": step / 10, **values}


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_records_are_appended_and_read_back(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(record(1))
        log.flush()
        assert lines(tmp_path) == [record(1)]
        log.write(record(2, "test"))
    with MetricsLog(tmp_path, 2) as log:
        assert log.records == [record(1), record(2, "test")]
        log.write(record(3))
    assert lines(tmp_path) == [record(1), record(2, "test"), record(3)]


def test_what_comes_after_the_checkpoint_is_dropped(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write(record(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    with MetricsLog(tmp_path, 2) as log:
        log.write(record(3, loss=9.0))
    assert lines(tmp_path) == [record(1), record(2), record(3, loss=9.0)]


def test_line_that_is_not_json_is_named(tmp_path):
    lines = json.dumps(record(1)).encode() + b"\n"
    for wrong, message in (
        (b"nonsense", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a record"),
        (b'{"step": 2, "split": "train", "images": 8}', "is not a record"),
        (json.dumps(record(1) | {"step": "1"}).encode(), "is not a record"),
        (json.dumps(record(1) | {"nll": None}).encode(), "is not a record"),
    ):
        (tmp_path / "metrics.jsonl").write_bytes(lines + wrong + b"\n")
        with pytest.raises(CheckpointError, match=rf"metrics\.jsonl, line 2, {message}"):
            MetricsLog(tmp_path, 1)


def test_nan_is_not_json(tmp_path):
    with MetricsLog(tmp_path, 0) as log, pytest.raises(ValueError, match="JSON"):
        log.write(record(1, loss=float("nan")))


def test_tensorboard_gets_the_same(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(record(1))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in events.read_bytes()


def test_epoch_mean_weighs_by_images():
    records = [
        record(1, images=100, loss=1.0),
        record(2, images=300, loss=2.0),
        record(2, "test", images=50, loss=7.0),
        {**record(3, images=100, loss=5.0), "epoch": 2},
    ]
    assert epoch_mean(records, 1, "loss") == 1.75
    assert epoch_mean(records, 2, "loss") == 5.0


def test_runs_stop_early_after_enough_evaluations_that_are_not_better():
    def evaluations(*values):
        tested = [record(i, "test", nll=value) for i, value in enumerate(values)]
        return [*tested, record(9, nll=0.0)]  # a line of training does not count

    assert not stops_early([], "nll", 1, 1)
    assert not stops_early(evaluations(3.0, 2.0, 1.0), "nll", 1, 1)
    assert stops_early(evaluations(3.0, 2.0, 2.5), "nll", 1, 1)
    assert stops_early(evaluations(3.0, 2.0, 2.0), "nll", 1, 1)
    assert not stops_early(evaluations(3.0, 2.0, 2.5), "nll", 2, 1)
    assert not stops_early(evaluations(3.0, 2.0, 2.5, 1.9), "nll", 2, 1)
    assert stops_early(evaluations(1.0, 2.0, 2.5, 1.9), "nll", 3, 1)
    assert not stops_early(evaluations(1.0, 2.0, 2.5, 1.9), "nll", None, 1)
    # Of two steps an epoch, only those at 0, 2, ... are at an epoch's end.
    assert stops_early(evaluations(1.0, 0.5, 2.0, 2.5, 1.9), "nll", 2, 2)
    assert not stops_early(evaluations(3.0, 1.0, 2.0, 2.5, 1.9), "nll", 1, 2)
