"""The training loop: steps, metrics, pictures and checkpoints of a run, whatever it learns."""

import dataclasses
import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import optax

from vqvae_jax.errors import TrainingError
from vqvae_jax.evaluation import Evaluator
from vqvae_jax.extras import extra
from vqvae_jax.files import write_atomically
from vqvae_jax.parallel import (
    MAX_IN_FLIGHT,
    are_accelerators,
    is_first_process,
    mesh_for,
    place,
    replicated,
)
from vqvae_jax.training.checkpoint import FORMAT, Checkpoint, save_checkpoint
from vqvae_jax.training.feed import Feed
from vqvae_jax.training.interruption import Interrupted, deferred, leave_if_asked
from vqvae_jax.training.metrics import MetricsLog, Record, Records, epoch_mean, read_records
from vqvae_jax.training.resuming import check_resumes
from vqvae_jax.training.schedule import Schedule
from vqvae_jax.training.sections import TrainingConfig
from vqvae_jax.training.step import TrainState, initialized, train_steps
from vqvae_jax.training.tasks import Task
from vqvae_jax.training.watch import Watch
from vqvae_jax.words import counted

with extra("train"):
    from tqdm import tqdm

# Steps a dispatch, where so many are left before a pause. On accelerators a step is so short that
# the host could not keep up otherwise.
_STEPS_ON_ACCELERATOR = 10


class Run:
    """A run: what it computes with, and how far it has come.

    Args:
        task: what is learnt.
        settings: the protocol.
        devices: that batches are split over.
        workdir: the run's folder; exists.
        checkpoint: where the run goes on; None: it begins.

    Raises:
        ConfigError: the checkpoint is of a run with other settings or other data.
        CheckpointError: the checkpoint does not fit.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingConfig,
        devices: list[jax.Device],
        workdir: Path,
        checkpoint: Checkpoint | None,
    ):
        self.task, self.settings = task, settings
        self.devices, self.workdir = devices, workdir
        self.schedule = Schedule(settings, task.num_images)

        rate: optax.ScalarOrSchedule = settings.learning_rate
        if settings.schedule == "cosine":
            steps = settings.num_epochs * self.schedule.steps_per_epoch
            rate = optax.cosine_decay_schedule(rate, steps)
        optimizer = optax.adam(rate)
        self.state = TrainState.of(task, optimizer)
        self.step = self.saved_step = 0
        self.is_logged = True  # whether all that follows the step is done, too
        if checkpoint is not None:
            self._resume(checkpoint)

        self.steps_a_dispatch = _STEPS_ON_ACCELERATOR if are_accelerators(devices) else 1
        self.feed = Feed(task.train_examples, devices)
        self.train_steps_on = functools.cache(
            lambda mesh: jax.jit(
                functools.partial(train_steps, task, optimizer, mesh, settings.seed),
                donate_argnums=0,
            )
        )
        self.watch = Watch(self.state.totals)
        self.evaluator = Evaluator(task.totals, task.zeros, devices)

    def _resume(self, checkpoint: Checkpoint) -> None:
        check_resumes(self.workdir, checkpoint.run, self.task.description)
        self.state = checkpoint.restore(like=self.state)
        self.step = self.saved_step = checkpoint.step
        self.is_logged = checkpoint.is_logged

    def train(self) -> None:
        """Takes the steps that are left, if any are.

        Raises:
            TrainingError: something became NaN or infinite.
            Interrupted: the process was asked to leave; the last step is saved.
        """
        logged_step = self.step if self.is_logged else self.step - 1
        if over := self._why_over(read_records(self.workdir, logged_step)):
            print(f"{self.workdir}: {over}")
            return
        description, data = self.task.description, self.task.description["data"]
        if is_first_process():
            text = json.dumps({"format": FORMAT, **description}, indent=2) + "\n"
            write_atomically(self.workdir / "run.json", text.encode())
        print(
            f"{self.workdir}: {counted(self.task.num_images, 'image')} of {data['name']} "
            f"from {data['source']}; steps {self.step} to {self.schedule.last_step} "
            f"on {counted(len(self.devices), f'{self.devices[0].platform} device')}",
            flush=True,
        )
        bar = tqdm(
            total=self.schedule.images_in(self.schedule.last_step),
            initial=self.schedule.images_in(self.step),
            unit="images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        kind = MetricsLog if is_first_process() else Records
        with kind(self.workdir, logged_step) as log, bar, deferred():
            try:
                self._train(log, bar)
            except Interrupted:
                if self.step > self.saved_step:
                    self.watch.wait(leave=0)
                    self._save(log, None)
                raise
        leave_if_asked()

    def _train(self, log: Records, bar: "tqdm[Any]") -> None:
        self._start_clock()
        if self.step == 0 and self.task.has_initialization:
            first = self.schedule.batches_after(0, most=1)[0]
            batch = jax.tree.map(lambda leaf: leaf[first], self.task.train_examples)
            self.state = jax.jit(functools.partial(initialized, self.task, self.settings.seed))(
                self.state, batch
            )
        while True:
            if not self.is_logged:
                self._pause(log, bar)
            leave_if_asked()
            if self._why_over(log.records):
                break
            bar.update(self._dispatch())
        if self.step < self.schedule.last_step:
            patience = self.settings.patience
            last = "epoch was" if patience == 1 else f"{patience} epochs were"
            bar.write(f"stopped early: the last {last} not better", file=sys.stdout)

    def _dispatch(self) -> int:
        """Has the devices take the next steps, and returns how many images they see."""
        indices = self.schedule.batches_after(self.step, self.steps_a_dispatch)
        mesh = mesh_for(self.devices, indices.shape[1])
        batches = self.feed.take(indices, mesh)
        # The totals are the part that is also made anew: where they lie, all of the state does.
        if self.state.totals.images.sharding != replicated(mesh):
            self.state = place(self.state, replicated(mesh))
        self.state, terms = self.train_steps_on(mesh)(self.state, batches)
        self.watch.add(self.step + 1, terms)
        self.watch.wait(leave=MAX_IN_FLIGHT)
        self.step += len(indices)
        self.is_logged = False
        return indices.size

    def _pause(self, log: Records, bar: "tqdm[Any]") -> None:
        """Logs, evaluates and saves, as far as that is due after this step.

        Until it is all done, the state is as the step left it: whoever leaves within saves that.
        """
        to_log, to_save = self.schedule.logs(self.step), self.schedule.saves(self.step)
        if to_log or to_save:
            self.watch.wait(leave=0)
            start = time.perf_counter()
            state = self.state
            # The log before the checkpoint: what a checkpoint does not know of is written anew.
            if to_log:
                self._log_training(log, bar, start - self.clock)
                state = dataclasses.replace(state, totals=self.task.zeros())
            goal = self._evaluate(log, bar) if self.schedule.evaluates(self.step) else None
            self.state = state
            if to_log:
                self._start_clock()
            else:
                self.clock += time.perf_counter() - start
        self.is_logged = True
        if to_save:
            self._save(log, goal)

    def _save(self, log: Records, goal: float | None) -> None:
        log.flush()
        if is_first_process():
            save_checkpoint(
                self.workdir,
                self.step,
                self.state,
                self.task.description,
                is_logged=self.is_logged,
                goal=goal,
            )
        self.saved_step = self.step

    def _start_clock(self) -> None:
        self.clock, self.clock_step = time.perf_counter(), self.step

    def _log_training(self, log: Records, bar: "tqdm[Any]", seconds: float) -> None:
        """Writes the metrics of the steps since the last such line, which took `seconds`."""
        metrics = self.task.metrics(self.state.totals)
        images_in = self.schedule.images_in
        speed = (images_in(self.step) - images_in(self.clock_step)) / seconds
        record = self._record("train", metrics, speed)
        log.write(record)
        bar.set_postfix(loss=f"{metrics['loss']:.4f}")
        if bar.disable:
            print(
                f"step {self.step}/{self.schedule.last_step}  loss {metrics['loss']:.4f}  "
                f"{record['images_per_second']:.0f} images/s",
                flush=True,
            )

    def _evaluate(self, log: Records, bar: "tqdm[Any]") -> float:
        """Measures the held-out split, redraws the pictures, and returns the goal."""
        start = time.perf_counter()
        weights = (self.state.params, self.state.variables)
        totals = self.evaluator(
            weights, self.task.test_examples, self.settings.batch_size, leave_if_asked
        )
        metrics = self.task.metrics(totals)
        speed = metrics["images"] / (time.perf_counter() - start)
        record = self._record("test", metrics, speed)
        log.write(record)

        epoch = record["epoch"]
        when = f"step {self.step}, epoch {epoch}"
        if is_first_process():
            model = self.task.merge(jax.device_put(jax.device_get(weights), self.devices[0]))
            self.task.draw(self.workdir, model, totals, log.records, when)
        leave_if_asked()
        train_loss = epoch_mean(log.records, epoch, "loss")
        bar.write(
            f"epoch {epoch}/{self.settings.num_epochs}  step {self.step}  "
            f"train loss {train_loss:.4f}  {self.task.summary(metrics)}",
            file=sys.stdout,
        )
        sys.stdout.flush()
        return metrics[self.task.goal]

    def _record(self, split: str, metrics: dict[str, Any], images_per_second: float) -> Record:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise TrainingError(f"the {split} {name} after step {self.step} is {value}")
        return {
            "step": self.step,
            "epoch": self.schedule.epoch(self.step),
            "split": split,
            **metrics,
            "images_per_second": round(images_per_second, 1),
        }

    def _why_over(self, records: list[Record]) -> str | None:
        return self.schedule.why_over(self.step, self.is_logged, records, self.task.goal)
