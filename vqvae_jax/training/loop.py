"""The training run: from a config to a folder with metrics, pictures and checkpoints."""

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
from flax import nnx
from tqdm import tqdm

from vqvae_jax.data import Dataset, epoch_order, load_dataset
from vqvae_jax.errors import ConfigError, TrainingError
from vqvae_jax.evaluation import Evaluator, Metrics, Totals, draw
from vqvae_jax.files import write_atomically
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import MAX_IN_FLIGHT, are_accelerators, local_devices, mesh_for, replicated
from vqvae_jax.training.checkpoint import Checkpoints
from vqvae_jax.training.config import Config, changed_setting
from vqvae_jax.training.feed import Feed
from vqvae_jax.training.metrics import MetricsLog, Record, epoch_mean
from vqvae_jax.training.model import describe, model_for
from vqvae_jax.training.step import TrainState, initialize_codes, split_model, train_steps

# Steps a dispatch, where so many are left before a pause. On accelerators a step is so short that
# the host could not keep up otherwise.
_STEPS_ON_ACCELERATOR = 10


def train(config: Config, workdir: Path) -> None:
    """Trains a VQ-VAE, or goes on with the run that `workdir` holds.

    Writes metrics.jsonl, tensorboard/, reconstructions.png, codebook.png, training.png, run.json
    and checkpoints/ there. A run that was stopped and started again ends with the same parameters,
    optimiser state and metrics as one that was not.

    Args:
        config: the run's settings.
        workdir: its folder; made if missing.

    Raises:
        ConfigError: batch, images and model do not fit, or `workdir` holds a run with other
            settings.
        DataError: the data cannot be had.
        CheckpointError: what `workdir` holds cannot be read.
        TrainingError: the loss became NaN or infinite.
        OSError: `workdir` cannot be written.
    """
    devices = local_devices(config.training.devices)
    data = load_dataset(**dataclasses.asdict(config.data))
    if config.training.batch_size > len(data.train_images):
        raise ConfigError(
            f"training.batch_size is {config.training.batch_size}; it must be at most "
            f"{len(data.train_images)}, the number of training images of {data.name}"
        )
    model = model_for(config, data)
    workdir.mkdir(parents=True, exist_ok=True)
    with Checkpoints(workdir) as checkpoints:
        run = _Run(config, data, model, devices, workdir, checkpoints)
        if run.step < run.last_step:
            run.train()
        else:
            print(
                f"{workdir}: this run is finished, {run.step} steps are done; "
                "a higher training.num_epochs or training.max_steps would go on"
            )


class _Run:
    """A run: what it computes with, and how far it has come."""

    def __init__(
        self,
        config: Config,
        data: Dataset,
        model: VQVAE,
        devices: list[jax.Device],
        workdir: Path,
        checkpoints: Checkpoints,
    ):
        self.config, self.data, self.workdir, self.checkpoints = config, data, workdir, checkpoints
        self.description = describe(config, data)
        settings = config.training
        self.steps_per_epoch = math.ceil(len(data.train_images) / settings.batch_size)
        self.last_step = settings.num_epochs * self.steps_per_epoch
        if settings.max_steps is not None:
            self.last_step = min(self.last_step, settings.max_steps)

        self.graphdef, _, _ = split_model(model)
        self.quantizer = model.quantizer
        optimizer = optax.adam(settings.learning_rate)
        self.state = TrainState.of(model, optimizer)
        self.step = 0
        if checkpoints.latest is not None:
            self._resume(checkpoints.latest)

        self.devices = devices
        self.steps_a_dispatch = _STEPS_ON_ACCELERATOR if are_accelerators(devices) else 1
        self.feed = Feed(data.train_images, devices)
        self.train_steps_on = functools.cache(
            lambda mesh: jax.jit(
                functools.partial(train_steps, self.graphdef, optimizer, mesh, settings.seed),
                donate_argnums=0,
            )
        )
        self.evaluator = Evaluator(self.graphdef, model.quantizer, devices)
        self.unchecked_losses: collections.deque[jax.Array] = collections.deque()

    def _resume(self, step: int) -> None:
        saved = self.checkpoints.run(step)
        changed = changed_setting(Config.from_dict(saved["config"]), self.config)
        if changed is None and saved["data"]["digest"] != self.data.digest:
            changed = f"its data came from {saved['data']['source']}, now {self.data.source}"
        if changed is not None:
            raise ConfigError(
                f"{self.workdir} holds a run with other settings: {changed}; "
                "take the old setting or another --workdir"
            )
        self.state = self.checkpoints.restore(step, like=self.state)
        self.step = step

    def train(self) -> None:
        """Takes the steps that are left."""
        write_atomically(
            self.workdir / "run.json", (json.dumps(self.description, indent=2) + "\n").encode()
        )
        print(
            f"{self.workdir}: {len(self.data.train_images)} images of {self.data.name} "
            f"from {self.data.source}; steps {self.step} to {self.last_step} "
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
        settings = self.config.training
        order = self._order()
        clock = time.perf_counter()
        if self.step == 0 and self.quantizer.has_initialization:
            first = self.data.train_images[self._next_batches(order)[0]]
            self.state = jax.jit(functools.partial(initialize_codes, self.graphdef, settings.seed))(
                self.state, first
            )
        while self.step < self.last_step:
            indices = self._next_batches(order)
            mesh = mesh_for(self.devices, indices.shape[1])
            images = self.feed.take(indices, mesh)
            # The totals are the part that is also made anew: where they lie, all of the state does.
            if self.state.totals.images.sharding != replicated(mesh):
                self.state = jax.device_put(self.state, replicated(mesh))
            self.state, losses = self.train_steps_on(mesh)(self.state, images)
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
                nmse = self._evaluate(log, bar) if to_evaluate else None
                if to_save:
                    log.flush()
                    self.checkpoints.save(self.step, self.state, self.description, nmse)
                clock += time.perf_counter() - pause
            if epoch_is_over:
                order = self._order()

    def _order(self) -> np.ndarray:
        """The order of the images in the epoch that the next step belongs to."""
        epoch = self.step // self.steps_per_epoch
        return epoch_order(self.config.training.seed, epoch, len(self.data.train_images))

    def _next_batches(self, order: np.ndarray) -> np.ndarray:
        """The images [S, B] of the next dispatch: one step, or S up to the next pause."""
        settings = self.config.training
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
        metrics = Metrics.from_totals(self.state.totals, self.data.variance)
        self.state = dataclasses.replace(self.state, totals=Totals.zeros(self.quantizer))
        record = self._record("train", metrics, seconds)
        log.write(record)
        bar.set_postfix(loss=f"{metrics.loss:.4f}")
        if bar.disable:
            print(
                f"step {self.step}/{self.last_step}  loss {metrics.loss:.4f}  "
                f"{record['images_per_second']:.0f} images/s",
                flush=True,
            )

    def _evaluate(self, log: MetricsLog, bar: "tqdm[Any]") -> float:
        """Measures the held-out split, redraws the pictures, and returns its nmse."""
        start = time.perf_counter()
        weights = (self.state.params, self.state.variables)
        totals = self.evaluator(weights, self.data.test_images, self.config.training.batch_size)
        metrics = Metrics.from_totals(totals, self.data.variance)
        if not math.isfinite(metrics.loss):
            raise TrainingError(f"the held-out loss after step {self.step} is {metrics.loss}")
        record = self._record("test", metrics, time.perf_counter() - start)
        log.write(record)

        epoch = record["epoch"]
        title = (
            f"{self.data.name} test split, step {self.step}, epoch {epoch}: nmse {metrics.nmse:.4f}"
        )
        model = nnx.merge(self.graphdef, *jax.device_put(weights, self.devices[0]))
        draw(self.workdir, model, self.data.test_images, totals.code_counts, log.records, title)
        train_loss = epoch_mean(log.records, epoch, "loss")
        bar.write(
            f"epoch {epoch}/{self.config.training.num_epochs}  step {self.step}  "
            f"train loss {train_loss:.4f}  test nmse {metrics.nmse:.4f}  "
            f"psnr {metrics.psnr:.2f} dB  perplexity {metrics.perplexity:.1f}  "
            f"codes used {metrics.codes_used}/{self.quantizer.num_codes}",
            file=sys.stdout,
        )
        sys.stdout.flush()
        return metrics.nmse

    def _record(self, split: str, metrics: Metrics, seconds: float) -> Record:
        return {
            "step": self.step,
            "epoch": (self.step - 1) // self.steps_per_epoch + 1,
            "split": split,
            **dataclasses.asdict(metrics),
            "images_per_second": round(metrics.images / seconds, 1),
        }

    def _images_in(self, steps: int) -> int:
        """How many images the first `steps` steps take."""
        epochs, steps = divmod(steps, self.steps_per_epoch)
        return epochs * len(self.data.train_images) + steps * self.config.training.batch_size
