"""The training loop: steps, metrics, figures and checkpoints of a run, whatever its task."""

import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vqvae_jax.data import DataSource, shapes_of, take
from vqvae_jax.errors import TrainingError
from vqvae_jax.files import write_atomically
from vqvae_jax.metrics import Evaluator
from vqvae_jax.parallel import (
    MAX_IN_FLIGHT,
    are_accelerators,
    is_first_process,
    mesh_for,
    place,
    replicated,
)
from vqvae_jax.tasks.base import Evaluation, HasHistograms, State, Sums, Task
from vqvae_jax.training.bar import progress_bar
from vqvae_jax.training.checkpoint import FORMAT, Checkpoint, save_checkpoint
from vqvae_jax.training.feed import Feed, feeding
from vqvae_jax.training.interruption import Interrupted, deferred, leave_if_asked
from vqvae_jax.training.log import FolderWriter, Log, epoch_mean, read_records
from vqvae_jax.training.schedule import Schedule
from vqvae_jax.training.settings import TrainingConfig
from vqvae_jax.training.step import Progress, no_sums, step_on, train_steps
from vqvae_jax.training.watch import Watch
from vqvae_jax.training.writers import LogWriter, Record
from vqvae_jax.words import counted

if TYPE_CHECKING:
    from tqdm import tqdm

# Steps per dispatch, if that many are left before a pause. On accelerators a step is so short that
# the host could not keep up otherwise.
_STEPS_ON_ACCELERATOR = 10


class Run:
    """A run: its inputs, and its progress.

    Args:
        task: the task to train.
        source: the training examples.
        held_out: the held-out examples.
        settings: the protocol.
        devices: devices that batches are split over.
        workdir: the run's folder, which must exist.
        description: JSON values for run.json and the checkpoints that describe the run.
        about: the same in a few words.
        checkpoint: where the run resumes; None: it starts from scratch.
        changes: settings that change from there on, by name, for the log.
        writers: what the log is written to, beside the folder.
    """

    def __init__(
        self,
        task: Task,
        source: DataSource,
        held_out: DataSource,
        settings: TrainingConfig,
        devices: list[jax.Device],
        workdir: Path,
        *,
        description: dict[str, Any],
        about: str,
        checkpoint: Checkpoint | None,
        changes: dict[str, Any] | None = None,
        writers: Sequence[LogWriter] = (),
    ):
        self.task, self.held_out, self.settings = task, held_out, settings
        self.devices, self.workdir = devices, workdir
        self.description, self.about, self.changes = description, about, changes or {}
        self.schedule = Schedule(settings, len(source))
        self.source, self.checkpoint = source, checkpoint
        self.writers = (FolderWriter(), *writers) if is_first_process() else ()
        # The second: whether all that follows the step is done, too.
        self.step, self.is_logged = 0, True
        if checkpoint is not None:
            self.step, self.is_logged = checkpoint.step, checkpoint.is_logged
        self.saved_step = self.step

    def train(self) -> None:
        """Takes the remaining steps, if any.

        Raises:
            CheckpointError: the checkpoint does not fit.
            DataError: an example cannot be read.
            TrainingError: something became NaN or infinite.
            Interrupted: the process was asked to exit; the last step is saved.
        """
        logged_step = self.step if self.is_logged else self.step - 1
        if over := self._why_over(read_records(self.workdir, logged_step)):
            print(f"{self.workdir}: {over}")
            return
        self._prepare()
        if is_first_process():
            text = json.dumps({"format": FORMAT, **self.description}, indent=2) + "\n"
            write_atomically(self.workdir / "run.json", text.encode())
        print(
            f"{self.workdir}: {self.about}; steps {self.step} to {self.schedule.last_step} "
            f"on {counted(len(self.devices), f'{self.devices[0].platform} device')}",
            flush=True,
        )
        images_in = self.schedule.images_in
        with (
            self._feeding() as self.feed,
            Log(self.workdir, logged_step, self.writers) as log,
            progress_bar(images_in(self.schedule.last_step), images_in(self.step)) as bar,
            deferred(),
        ):
            try:
                self._log_changes(log)
                self._train(log, bar)
            except Interrupted:
                if self.step > self.saved_step:
                    self.watch.wait(leave=0)
                    self._save(log, None)
                raise
        leave_if_asked()

    def _prepare(self) -> None:
        """Makes what steps and evaluations need, and the state that they begin with."""
        task, devices, size = self.task, self.devices, self.settings.batch_size
        self.steps_per_dispatch = _STEPS_ON_ACCELERATOR if are_accelerators(devices) else 1
        step_of = functools.cache(functools.partial(step_on, task))
        self.train_steps_on = functools.cache(
            lambda mesh: jax.jit(
                functools.partial(train_steps, step_of(mesh), self.settings.seed),
                donate_argnums=0,
            )
        )
        self.evaluator = Evaluator(task.eval_step, devices)

        key, shapes = jax.random.key(self.settings.seed), shapes_of(self.source, size)
        if self.checkpoint is None:
            order = self.schedule.order
            first = take(self.source, order[0], order.drawing(0))
            state = task.init(key, jax.tree.map(jnp.asarray, first))
        else:
            state = jax.eval_shape(task.init, key, shapes)
        mesh = mesh_for(devices, size)
        sums = no_sums(step_of(mesh), mesh, state, shapes)
        self.watch = Watch(sums, state)
        self.progress = _at_step(0, state, sums)
        if self.checkpoint is not None:
            self.progress = self.checkpoint.restore(like=self.progress)
            self.checkpoint = None  # its arrays are a copy of the state

    def _feeding(self) -> contextlib.AbstractContextManager[Feed]:
        order, workers = self.schedule.order, self.settings.workers
        return feeding(self.source, order, self.devices, first=self.step, workers=workers)

    def _train(self, log: Log, bar: "tqdm[Any]") -> None:
        self._start_clock()
        while True:
            if not self.is_logged:
                self._pause(log, bar)
            leave_if_asked()
            if self._why_over(log.records):
                break
            bar.update(self._dispatch())
        if self.step < self.schedule.last_step:
            patience = self.settings.patience
            last = "evaluation was" if patience == 1 else f"{patience} evaluations were"
            bar.write(f"stopped early: the last {last} not better", file=sys.stdout)

    def _log_changes(self, log: Log) -> None:
        step, epoch = self.step, self.schedule.epoch(max(1, self.step))
        record = {"step": step, "epoch": epoch, "split": "settings", "images": 0, **self.changes}
        if self.changes and record not in log.records:
            log.write(record)
            new = ", ".join(f"training.{name} {value}" for name, value in self.changes.items())
            print(f"{self.workdir}: from step {step} on {new}", flush=True)

    def _dispatch(self) -> int:
        """Dispatches the next steps to the devices, and returns how many images they see."""
        indices = self.schedule.batches_after(self.step, self.steps_per_dispatch)
        mesh = mesh_for(self.devices, indices.shape[1])
        batches = self.feed(indices, mesh)
        # The host resets the count too, on the devices where all of the progress is.
        if self.progress.examples.sharding != replicated(mesh):
            self.progress = place(self.progress, replicated(mesh))
        self.progress, terms = self.train_steps_on(mesh)(self.progress, batches)
        self.watch.add(self.step + 1, terms)
        self.watch.wait(leave=MAX_IN_FLIGHT)
        self.step += len(indices)
        self.is_logged = False
        return indices.size

    def _pause(self, log: Log, bar: "tqdm[Any]") -> None:
        """Logs, evaluates and saves, as due after this step.

        Until all of it is done, the state is as the step left it, and an interruption saves that.
        """
        to_log, to_save = self.schedule.logs(self.step), self.schedule.saves(self.step)
        if to_log or to_save:
            self.watch.wait(leave=0)
            start = time.perf_counter()
            after = self.progress
            # The log before the checkpoint: records after a checkpoint are written again.
            if to_log:
                self._log_training(log, bar, start - self.clock)
                after = _at_step(self.step, after.state, jax.tree.map(jnp.zeros_like, after.sums))
            monitor = self._evaluate(log, bar) if self.schedule.evaluates(self.step) else None
            self.progress = after
            if to_log:
                self._start_clock()
            else:
                self.clock += time.perf_counter() - start
        self.is_logged = True
        if to_save:
            self._save(log, monitor)

    def _save(self, log: Log, monitor: float | None) -> None:
        log.flush()
        if is_first_process():
            save_checkpoint(
                self.workdir,
                self.step,
                self.progress,
                self.description,
                is_logged=self.is_logged,
                monitor=monitor,
            )
        self.saved_step = self.step

    def _start_clock(self) -> None:
        self.clock, self.clock_step = time.perf_counter(), self.step

    def _log_training(self, log: Log, bar: "tqdm[Any]", seconds: float) -> None:
        """Writes the metrics of the steps since the last such line, which took `seconds`."""
        images_in = self.schedule.images_in
        speed = (images_in(self.step) - images_in(self.clock_step)) / seconds
        record = self._record("train", self.progress.sums, int(self.progress.examples), speed)
        log.write(record)
        name = self.task.progress
        bar.set_postfix({name: f"{record[name]:.4f}"})
        if bar.disable:
            print(
                f"step {self.step}/{self.schedule.last_step}  {name} {record[name]:.4f}  "
                f"{record['images_per_second']:.0f} examples/s",
                flush=True,
            )

    def _evaluate(self, log: Log, bar: "tqdm[Any]") -> float:
        """Evaluates the held-out split, redraws the figures, and returns the monitor's value."""
        start = time.perf_counter()
        state, count = self.progress.state, len(self.held_out)
        sums = self.evaluator(state, self.held_out, self.settings.batch_size, leave_if_asked)
        speed = count / (time.perf_counter() - start)
        record = self._record("test", sums, count, speed)
        log.write(record)

        epoch = record["epoch"]
        if is_first_process():
            state = jax.device_put(jax.device_get(state), self.devices[0])
            when = f"step {self.step}, epoch {epoch}"
            evaluation = Evaluation(self.held_out, sums, record, log.records, when)
            log.figures(self.step, self.task.figures(state, evaluation))
            if isinstance(self.task, HasHistograms):
                log.histograms(self.step, self.task.histograms(sums))
        leave_if_asked()
        name = self.task.progress
        bar.write(
            f"epoch {epoch}/{self.settings.num_epochs}  step {self.step}  "
            f"train {name} {epoch_mean(log.records, epoch, name):.4f}  {self.task.summary(record)}",
            file=sys.stdout,
        )
        sys.stdout.flush()
        return record[self.task.monitor]

    def _record(self, split: str, sums: Sums, count: int, images_per_second: float) -> Record:
        metrics = self.task.metrics(sums)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(f"the {split} {name} after step {self.step} is {value}")
        return {
            "step": self.step,
            "epoch": self.schedule.epoch(self.step),
            "split": split,
            "images": count,
            **metrics,
            "images_per_second": round(images_per_second, 1),
        }

    def _why_over(self, records: list[Record]) -> str | None:
        return self.schedule.why_over(self.step, self.is_logged, records, self.task.monitor)


def _at_step(step: int, state: State, sums: Sums) -> Progress:
    """Returns the progress after a step, with no examples since the last line of the log."""
    return Progress(jnp.asarray(step, jnp.int32), state, sums, jnp.zeros((), jnp.int32))
