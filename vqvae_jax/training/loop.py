"""The training loop: steps, metrics, pictures and checkpoints of a run, whatever it learns."""

import collections
import dataclasses
import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from vqvae_jax.data import epoch_order
from vqvae_jax.errors import ConfigError, TrainingError
from vqvae_jax.evaluation import Evaluator
from vqvae_jax.files import write_atomically
from vqvae_jax.parallel import MAX_IN_FLIGHT, are_accelerators, mesh_for, replicated
from vqvae_jax.training.checkpoint import Checkpoints
from vqvae_jax.training.config import Config, TrainingConfig, changed_setting
from vqvae_jax.training.feed import Feed
from vqvae_jax.training.metrics import MetricsLog, Record, epoch_mean, read_records, stops_early
from vqvae_jax.training.step import TrainState, initialized, train_steps
from vqvae_jax.training.tasks import Task

# Steps a dispatch, where so many are left before a pause. On accelerators a step is so short that
# the host could not keep up otherwise.
_STEPS_ON_ACCELERATOR = 10


def steps_per_epoch(settings: TrainingConfig, num_images: int) -> int:
    """How many batches an epoch has; the last one may be smaller."""
    return math.ceil(num_images / settings.batch_size)


def last_step(settings: TrainingConfig, num_images: int) -> int:
    """How many steps a run takes, if it does not stop early."""
    steps = settings.num_epochs * steps_per_epoch(settings, num_images)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


class Run:
    """A run: what it computes with, and how far it has come.

    Args:
        task: what is learnt.
        settings: the protocol.
        devices: that batches are split over.
        workdir: the run's folder; exists.
        checkpoints: the run's.

    Raises:
        ConfigError: the checkpoints are of a run with other settings or other data.
        CheckpointError: a checkpoint or the log cannot be read.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainingConfig,
        devices: list[jax.Device],
        workdir: Path,
        checkpoints: Checkpoints,
    ):
        self.task, self.settings, self.devices = task, settings, devices
        self.workdir, self.checkpoints = workdir, checkpoints
        self.steps_per_epoch = steps_per_epoch(settings, task.num_images)
        self.last_step = last_step(settings, task.num_images)

        rate: optax.ScalarOrSchedule = settings.learning_rate
        if settings.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, settings.num_epochs * self.steps_per_epoch)
        optimizer = optax.adam(rate)
        self.state = TrainState.of(task, optimizer)
        self.step = 0
        if checkpoints.latest is not None:
            self._resume(checkpoints.latest)

        self.steps_a_dispatch = _STEPS_ON_ACCELERATOR if are_accelerators(devices) else 1
        self.feed = Feed(task.train_examples, devices)
        self.train_steps_on = functools.cache(
            lambda mesh: jax.jit(
                functools.partial(train_steps, task, optimizer, mesh, settings.seed),
                donate_argnums=0,
            )
        )
        self.evaluator = Evaluator(task.totals, task.zeros, devices)
        self.unchecked_losses: collections.deque[jax.Array] = collections.deque()

    def _resume(self, step: int) -> None:
        saved, given = self.checkpoints.run(step), self.task.description
        changed = changed_setting(
            Config.from_dict(saved["config"]), Config.from_dict(given["config"])
        )
        for part in ("data", "codes"):
            if changed is None and part in given and saved[part]["digest"] != given[part]["digest"]:
                before, now = saved[part]["source"], given[part]["source"]
                changed = f"its {part} came from {before}, now others from {now}"
        if changed is not None:
            raise ConfigError(
                f"{self.workdir} holds a run with other settings: {changed}; "
                "take the old setting or another --workdir"
            )
        self.state = self.checkpoints.restore(step, like=self.state)
        self.step = step

    def train(self) -> None:
        """Takes the steps that are left, if any are."""
        if self._stops_early(read_records(self.workdir, self.step)):
            print(
                f"{self.workdir}: this run has stopped early, {self.step} steps are done; "
                "a higher training.patience would go on"
            )
            return
        if self.step >= self.last_step:
            print(
                f"{self.workdir}: this run is finished, {self.step} steps are done; "
                "a higher training.num_epochs or training.max_steps would go on"
            )
            return
        description, data = self.task.description, self.task.description["data"]
        write_atomically(
            self.workdir / "run.json", (json.dumps(description, indent=2) + "\n").encode()
        )
        print(
            f"{self.workdir}: {self.task.num_images} images of {data['name']} "
            f"from {data['source']}; steps {self.step} to {self.last_step} "
            f"on {len(self.devices)} {self.devices[0].platform} "
            f"{'devices' if len(self.devices) > 1 else 'device'}",
            flush=True,
        )
        bar = tqdm(
            total=self._images_in(self.last_step),
            initial=self._images_in(self.step),
            unit="images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        with MetricsLog(self.workdir, self.step) as log, bar:
            self._train(log, bar)

    def _train(self, log: MetricsLog, bar: "tqdm[Any]") -> None:
        settings = self.settings
        order = self._order()
        clock = time.perf_counter()
        if self.step == 0 and self.task.has_initialization:
            first = self._next_batches(order)[0]
            batch = jax.tree.map(lambda leaf: leaf[first], self.task.train_examples)
            self.state = jax.jit(functools.partial(initialized, self.task, settings.seed))(
                self.state, batch
            )
        while self.step < self.last_step:
            indices = self._next_batches(order)
            mesh = mesh_for(self.devices, indices.shape[1])
            batches = self.feed.take(indices, mesh)
            # The totals are the part that is also made anew: where they lie, all of the state does.
            if self.state.totals.images.sharding != replicated(mesh):
                self.state = jax.device_put(self.state, replicated(mesh))
            self.state, losses = self.train_steps_on(mesh)(self.state, batches)
            self.step += len(indices)
            self.unchecked_losses.append(losses)
            self._check_losses(leave=MAX_IN_FLIGHT)
            bar.update(indices.size)

            epoch_is_over = self.step % self.steps_per_epoch == 0
            to_evaluate = epoch_is_over or self.step == self.last_step
            to_log = to_evaluate or self.step % settings.log_every == 0
            to_save = to_evaluate or self.step % settings.checkpoint_every == 0
            if to_log or to_save:
                self._check_losses(leave=0)
                pause = time.perf_counter()
                # The log before the checkpoint: what a checkpoint does not know of is written anew.
                if to_log:
                    self._log_training(log, bar, pause - clock)
                    clock = pause
                goal = {self.task.goal: self._evaluate(log, bar)} if to_evaluate else None
                if to_save:
                    log.flush()
                    self.checkpoints.save(self.step, self.state, self.task.description, goal)
                clock += time.perf_counter() - pause
                if to_evaluate and self._stops_early(log.records):
                    bar.write(
                        f"stopped early: the last {settings.patience} epochs were not better",
                        file=sys.stdout,
                    )
                    return
            if epoch_is_over:
                order = self._order()

    def _stops_early(self, records: list[Record]) -> bool:
        return stops_early(records, self.task.goal, self.settings.patience, self.steps_per_epoch)

    def _order(self) -> np.ndarray:
        """The order of the images in the epoch that the next step belongs to."""
        epoch = self.step // self.steps_per_epoch
        return epoch_order(self.settings.seed, epoch, self.task.num_images)

    def _next_batches(self, order: np.ndarray) -> np.ndarray:
        """The images [S, B] of the next dispatch: one step, or S up to the next pause."""
        settings = self.settings
        first, size = self.step % self.steps_per_epoch * settings.batch_size, settings.batch_size
        whole_batches = (len(order) - first) // size
        to_pause = min(
            self.last_step - self.step,
            *(
                every - self.step % every
                for every in (settings.log_every, settings.checkpoint_every)
            ),
        )
        if min(whole_batches, to_pause) < self.steps_a_dispatch:
            return order[None, first : first + size]
        return order[first : first + self.steps_a_dispatch * size].reshape(-1, size)

    def _check_losses(self, leave: int) -> None:
        """Waits for all dispatches but the last `leave`; stops the run if a loss is not finite."""
        while len(self.unchecked_losses) > leave:
            later = sum(len(losses) for losses in self.unchecked_losses)
            losses = np.asarray(self.unchecked_losses.popleft())
            if not np.isfinite(losses).all():
                index = int(np.argmin(np.isfinite(losses)))
                raise TrainingError(
                    f"the loss of step {self.step - later + index + 1} is {losses[index]}; "
                    f"the checkpoints before it are in {self.workdir / 'checkpoints'}. "
                    "A lower training.learning_rate may help"
                )

    def _log_training(self, log: MetricsLog, bar: "tqdm[Any]", seconds: float) -> None:
        """Writes the metrics of the steps since the last such line, which took `seconds`."""
        metrics = self.task.metrics(self.state.totals)
        self.state = dataclasses.replace(self.state, totals=self.task.zeros())
        record = self._record("train", metrics, seconds)
        log.write(record)
        bar.set_postfix(loss=f"{metrics['loss']:.4f}")
        if bar.disable:
            print(
                f"step {self.step}/{self.last_step}  loss {metrics['loss']:.4f}  "
                f"{record['images_per_second']:.0f} images/s",
                flush=True,
            )

    def _evaluate(self, log: MetricsLog, bar: "tqdm[Any]") -> float:
        """Measures the held-out split, redraws the pictures, and returns the goal."""
        start = time.perf_counter()
        weights = (self.state.params, self.state.variables)
        totals = self.evaluator(weights, self.task.test_examples, self.settings.batch_size)
        metrics = self.task.metrics(totals)
        if not math.isfinite(metrics["loss"]):
            raise TrainingError(f"the held-out loss after step {self.step} is {metrics['loss']}")
        record = self._record("test", metrics, time.perf_counter() - start)
        log.write(record)

        epoch, goal = record["epoch"], self.task.goal
        title = (
            f"{self.task.description['data']['name']} test split, step {self.step}, "
            f"epoch {epoch}: {goal} {metrics[goal]:.4f}"
        )
        model = self.task.merge(jax.device_put(weights, self.devices[0]))
        self.task.draw(self.workdir, model, totals, log.records, title)
        train_loss = epoch_mean(log.records, epoch, "loss")
        bar.write(
            f"epoch {epoch}/{self.settings.num_epochs}  step {self.step}  "
            f"train loss {train_loss:.4f}  {self.task.summary(metrics)}",
            file=sys.stdout,
        )
        sys.stdout.flush()
        return metrics[goal]

    def _record(self, split: str, metrics: dict[str, Any], seconds: float) -> Record:
        return {
            "step": self.step,
            "epoch": (self.step - 1) // self.steps_per_epoch + 1,
            "split": split,
            **metrics,
            "images_per_second": round(metrics["images"] / seconds, 1),
        }

    def _images_in(self, steps: int) -> int:
        """How many images the first `steps` steps take."""
        epochs, steps = divmod(steps, self.steps_per_epoch)
        return epochs * self.task.num_images + steps * self.settings.batch_size
