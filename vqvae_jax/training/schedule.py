"""The schedule of a run: its batches, epochs and pauses, and its end."""

import math

import numpy as np

from vqvae_jax.data import TrainingOrder
from vqvae_jax.training.log import Record, stops_early
from vqvae_jax.training.settings import TrainingConfig
from vqvae_jax.words import counted


class Schedule:
    """The course of a run, determined by its settings and the number of images.

    Args:
        settings: the protocol.
        num_images: the number of images that an epoch visits.

    Attributes:
        steps_per_epoch: batches per epoch; the last one may be smaller.
        last_step: how many steps the run takes, if it does not stop early.
        order: which images are in which batch.
    """

    def __init__(self, settings: TrainingConfig, num_images: int):
        self._settings, self._num_images = settings, num_images
        self.steps_per_epoch = math.ceil(num_images / settings.batch_size)
        steps = settings.num_epochs * self.steps_per_epoch
        self.last_step = steps if settings.max_steps is None else min(steps, settings.max_steps)
        self.order = TrainingOrder(settings.seed, num_images, settings.batch_size, self.last_step)

    @property
    def _between_evaluations(self) -> int:
        return self.steps_per_epoch * self._settings.evaluate_every

    def epoch(self, step: int) -> int:
        """Returns the epoch of a step, both counted from 1."""
        return (step - 1) // self.steps_per_epoch + 1

    def images_in(self, steps: int) -> int:
        """Returns how many images the first `steps` steps use."""
        epochs, steps = divmod(steps, self.steps_per_epoch)
        return epochs * self._num_images + steps * self._settings.batch_size

    def evaluates(self, step: int) -> bool:
        """Returns whether the held-out split is evaluated, logged and saved after a step."""
        return step % self._between_evaluations == 0 or step == self.last_step

    def logs(self, step: int) -> bool:
        """Returns whether a line of training metrics is written after a step."""
        return self.evaluates(step) or step % self._settings.log_every == 0

    def saves(self, step: int) -> bool:
        """Returns whether a checkpoint is written after a step."""
        return self.evaluates(step) or step % self._settings.checkpoint_every == 0

    def batches_after(self, step: int, most: int) -> np.ndarray:
        """Returns the image indices [S, B] that follow a step: S = `most` whole batches, or one.

        It is one if the epoch ends or the next pause comes earlier.
        """
        settings = self._settings
        done = step % self.steps_per_epoch
        whole_batches = self._num_images // settings.batch_size - done
        to_pause = min(
            self.last_step - step,
            *(every - step % every for every in (settings.log_every, settings.checkpoint_every)),
        )
        if min(whole_batches, to_pause) < most:
            return self.order[step][None]
        return np.stack([self.order[step + each] for each in range(most)])

    def why_over(
        self, step: int, is_logged: bool, records: list[Record], monitor: str
    ) -> str | None:
        """Returns why a run takes no more steps, in words; None if it does.

        Args:
            step: how many were taken.
            is_logged: whether all that follows that step is done too.
            records: the run's log.
            monitor: the held-out metric; lower is better.
        """
        if not is_logged:
            return None
        done = f"{counted(step, 'step')} {'is' if step == 1 else 'are'}"
        if stops_early(records, monitor, self._settings.patience, self._between_evaluations):
            return (
                f"this run has stopped early, {done} done; a higher training.patience continues it"
            )
        if step >= self.last_step:
            return (
                f"this run is finished, {done} done; "
                "a higher training.num_epochs or training.max_steps continues it"
            )
        return None
