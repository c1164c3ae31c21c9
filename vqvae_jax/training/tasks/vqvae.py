"""The task of the VQ-VAE: to reconstruct images from codes."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from vqvae_jax.data import Dataset
from vqvae_jax.evaluation import Metrics, ReconstructionError, Totals, draw
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import sum_over_images
from vqvae_jax.pixels import to_floats
from vqvae_jax.training.tasks.base import Task, Weights
from vqvae_jax.training.tasks.gradients import Seen, batch_gradients


def goal_of(has_head: bool) -> str:
    """The held-out metric that a VQ-VAE's run lowers."""
    return "bits_per_dim" if has_head else "nmse"


class VQVAETask(Task):
    """Learns a VQ-VAE from images.

    Args:
        model: with its initial values.
        data: the images.
        description: what the run was made from.
    """

    def __init__(self, model: VQVAE, data: Dataset, description: dict[str, Any]):
        goal = goal_of(model.head is not None)
        super().__init__(model, data.train_images, data.test_images, goal, description)
        self.quantizer, self.data = model.quantizer, data
        self.has_head = model.head is not None
        self.has_initialization = model.quantizer.has_initialization
        self.has_updates = model.quantizer.has_updates

    def zeros(self) -> Totals:
        """See `Task.zeros`."""
        return Totals.zeros(self.quantizer)

    def gradients(
        self, mesh: Mesh, weights: Weights, batch: UInt8[Array, "b h w c"], key: jax.Array
    ) -> tuple[nnx.State, Totals, Seen]:
        """See `Task.gradients`."""
        return batch_gradients(self.graphdef, mesh, weights, batch, key)

    def totals(self, mesh: Mesh, weights: Weights, batch: UInt8[Array, "b h w c"]) -> Totals:
        """See `Task.totals`."""

        def totals_of(weights: Weights, images: Array) -> tuple[Totals, None]:
            return Totals.of(self.merge(weights)(to_floats(images)), self.quantizer), None

        in_parts = self.quantizer.per_token
        return sum_over_images(totals_of, mesh, weights, batch, in_parts=in_parts)[0]

    def metrics(self, totals: Totals) -> dict[str, Any]:
        """See `Task.metrics`."""
        metrics = Metrics.from_totals(totals)
        averages = dataclasses.asdict(metrics)
        if self.has_head:
            return averages | {"bits_per_dim": metrics.reconstruction_loss / math.log(2)}
        error = ReconstructionError.of(metrics, self.data.variance)
        return averages | dataclasses.asdict(error)

    def summary(self, metrics: dict[str, Any]) -> str:
        """See `Task.summary`."""
        fit = f"psnr {metrics['psnr']:.2f} dB  " if "psnr" in metrics else ""
        return (
            f"test {self.goal} {metrics[self.goal]:.4f}  {fit}"
            f"perplexity {metrics['perplexity']:.1f}  "
            f"codes used {metrics['codes_used']}/{self.quantizer.num_codes}"
        )

    def draw(
        self,
        workdir: Path,
        model: VQVAE,
        totals: Totals,
        records: list[dict[str, Any]],
        when: str,
    ) -> None:
        """See `Task.draw`."""
        reached = f"{self.goal} {self.metrics(totals)[self.goal]:.4f}"
        title = f"{self.data.name} test split, {when}: {reached}"
        draw(workdir, model, self.test_examples, totals.code_counts, records, self.goal, title)

    def initialize(self, model: VQVAE, batch: UInt8[Array, "b h w c"], key: jax.Array) -> None:
        """See `Task.initialize`."""
        model.quantizer.initialize(model.encoder(to_floats(batch)), key=key)

    def update(self, model: VQVAE, seen: Seen, key: jax.Array) -> None:
        """See `Task.update`."""
        model.quantizer.skip_initialization()  # the loop saw to it
        model.quantizer.update(*seen, key=key)
