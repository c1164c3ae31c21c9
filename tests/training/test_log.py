"""The log: whole lines, no duplicates, no gaps."""

import json

import numpy as np
import pytest

from vqvae_jax.errors import CheckpointError
from vqvae_jax.metrics import Usage
from vqvae_jax.training.histograms import read_usage
from vqvae_jax.training.log import FolderWriter, Log, epoch_mean, stops_early
from vqvae_jax.training.writers import LogWriter


def record(step, split="train", **values):
    return {"step": step, "epoch": 1, "split": split, "images": 8, "loss": step / 10, **values}


def log_in(workdir, resume_step):
    return Log(workdir, resume_step, [FolderWriter()])


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_records_are_appended_and_read_back(tmp_path):
    with log_in(tmp_path, 0) as log:
        log.write(record(1))
        log.flush()
        assert lines(tmp_path) == [record(1)]
        log.write(record(2, "test"))
    with log_in(tmp_path, 2) as log:
        assert log.records == [record(1), record(2, "test")]
        log.write(record(3))
    assert lines(tmp_path) == [record(1), record(2, "test"), record(3)]


def test_what_comes_after_the_checkpoint_is_dropped(tmp_path):
    with log_in(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write(record(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    with log_in(tmp_path, 2) as log:
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
            log_in(tmp_path, 1)


def test_histograms_are_kept_across_resumes_and_dropped_after_the_checkpoint(tmp_path):
    counts = {step: np.random.RandomState(step).randint(0, 9, 20) for step in (1, 2, 3)}
    with log_in(tmp_path, 0) as log:
        assert not (tmp_path / "histograms.jsonl").exists()
        for step in (1, 2, 3):
            log.histograms(step, {"codes": counts[step]})
    with (tmp_path / "histograms.jsonl").open("a") as file:
        file.write('{"step": 4, "hist')  # a kill in the middle of a line
    expected = {step: {"codes": Usage.of(of, 20)} for step, of in counts.items()}
    assert read_usage(tmp_path) == expected
    with log_in(tmp_path, 2) as log:
        assert read_usage(tmp_path) == {step: expected[step] for step in (1, 2)}
        log.histograms(3, {"codes": counts[1]})
        log.flush()
    assert read_usage(tmp_path) == expected | {3: expected[1]}


@pytest.mark.parametrize("names", [["codes"], [f"codes_{number}" for number in range(1, 9)]])
def test_histograms_of_large_codebooks_are_small(tmp_path, names):
    counts = np.random.RandomState(0).randint(0, 9, 2**18)
    with log_in(tmp_path, 0) as log:
        log.histograms(5, dict.fromkeys(names, counts))
    assert (tmp_path / "histograms.jsonl").stat().st_size < 2**16
    usages = read_usage(tmp_path)[5]
    assert [*usages] == names
    for usage in usages.values():
        assert (usage.used, usage.tokens) == (np.count_nonzero(counts), counts.sum())


def test_what_is_no_histogram_is_named(tmp_path):
    of = Usage.of(np.arange(5), 3).to_json()
    for wrong in (
        b"[]",
        b'{"step": 1}',
        b'{"step": 1, "histograms": []}',
        json.dumps({"step": "1", "histograms": {"codes": of}}).encode(),
        json.dumps({"step": 1, "histograms": {"codes": of | {"size": 99}}}).encode(),
        json.dumps({"step": 1, "histograms": {"codes": of | {"used": float("inf")}}}).encode(),
    ):
        (tmp_path / "histograms.jsonl").write_bytes(wrong + b"\n")
        with pytest.raises(CheckpointError, match=r"histograms\.jsonl, line 1, is not a record"):
            log_in(tmp_path, 1)


def test_nan_is_not_json(tmp_path):
    with log_in(tmp_path, 0) as log, pytest.raises(ValueError, match="JSON"):
        log.write(record(1, loss=float("nan")))


def test_without_writers_records_are_only_kept(tmp_path):
    with log_in(tmp_path, 0) as log:
        log.write(record(1))
    with Log(tmp_path, 1, []) as log:
        log.write(record(2))
        log.figures(2, {"a.png": b"a"})
        assert log.records == [record(1), record(2)]
    assert lines(tmp_path) == [record(1)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


class Calls(LogWriter):
    """Notes what it is told, and fails where it is to."""

    def __init__(self, told, fails=None):
        self.told, self.fails = told, fails

    def _note(self, what, *given):
        self.told.append((what, *given))
        if what == self.fails:
            raise OSError(28, f"no room for {what}")

    def open(self, workdir, resume_step):
        self._note("open", workdir, resume_step)

    def write(self, record):
        self._note("write", record["step"])

    def figures(self, step, figures):
        self._note("figures", step, *figures)

    def histograms(self, step, counts):
        self._note("histograms", step, *counts)

    def flush(self):
        self._note("flush")

    def close(self):
        self._note("close")


def test_every_writer_is_told_everything(tmp_path):
    told = [], []
    with Log(tmp_path, 7, [*map(Calls, told)]) as log:
        log.write(record(8))
        log.figures(8, {"a.png": b"a"})
        log.histograms(8, {"codes": np.ones(2, int)})
        log.flush()
    expected = [("open", tmp_path, 7), ("write", 8), ("figures", 8, "a.png")]
    assert told[0] == told[1] == [*expected, ("histograms", 8, "codes"), ("flush",), ("close",)]


def test_all_that_are_open_are_closed_and_the_first_error_is_raised(tmp_path):
    for first, second, error in (
        (None, "open", "open"),
        (None, "write", "write"),
        ("close", "write", "write"),
        ("close", None, "close"),
        (None, "close", "close"),
    ):
        told = [], []
        writers = [Calls(*each) for each in zip(told, (first, second), strict=True)]
        with pytest.raises(OSError, match=f"no room for {error}"), Log(tmp_path, 0, writers) as log:
            log.write(record(1))
        assert told[0][-1] == ("close",)
        assert (told[1][-1] == ("close",)) == (second != "open")


def test_figures_replace_those_before_them(tmp_path):
    with log_in(tmp_path, 0) as log:
        for content in (b"a", b"b"):
            log.figures(1, {"picture.png": content})
    assert (tmp_path / "picture.png").read_bytes() == b"b"


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
