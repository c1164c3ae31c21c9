"""The task of a prior: to predict the codes of images, one after the other."""

import dataclasses
import math
import operator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from vqvae_jax.evaluation import figures
from vqvae_jax.evaluation.samples import classes_in_turn, draw_images
from vqvae_jax.files import write_atomically
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import sum_over_images
from vqvae_jax.priors import Prior, drop_labels, nll
from vqvae_jax.quantizers import Leaf
from vqvae_jax.training.codes import Codes
from vqvae_jax.training.tasks.base import Task, Weights

_SAMPLES = 64

# Positions that a CPU core computes at a time: 16 maps of 7 x 7, a quarter faster than 64.
_CPU_POSITIONS = 16 * 7 * 7

# Codes [B, h, w] or [B, h, w, n], and labels [B].
CodesAndLabels = tuple[Array, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PriorTotals:
    """Sums over code maps.

    Attributes:
        images: how many maps.
        loss: nats a token, times the maps.
    """

    images: Leaf
    loss: Leaf

    def __add__(self, other: "PriorTotals") -> "PriorTotals":
        return jax.tree.map(operator.add, self, other)


class PriorTask(Task):
    """Learns a prior from code maps and, if it is conditional, their labels.

    Args:
        prior: with its initial values.
        vqvae: the VQ-VAE of the codes, for the pictures.
        codes: of both splits.
        label_dropout: share of the labels that training leaves out.
        description: what the run was made from.
    """

    def __init__(
        self,
        prior: Prior,
        vqvae: VQVAE,
        codes: Codes,
        label_dropout: float,
        description: dict[str, Any],
    ):
        train = (codes.train_codes, codes.train_labels.astype(np.int32))
        test = (codes.test_codes, codes.test_labels.astype(np.int32))
        super().__init__(prior, train, test, "nll", description)
        self.vqvae, self.label_dropout = vqvae, label_dropout
        self.num_classes = prior.num_classes
        self.tokens = math.prod(codes.train_codes.shape[1:])

    def zeros(self) -> PriorTotals:
        """See `Task.zeros`."""
        return PriorTotals(images=jnp.zeros((), jnp.int32), loss=jnp.zeros(()))

    def gradients(
        self, mesh: Mesh, weights: Weights, batch: CodesAndLabels, key: jax.Array
    ) -> tuple[nnx.State, PriorTotals, tuple[()]]:
        """See `Task.gradients`."""
        codes, labels = batch
        labels = drop_labels(labels, self.label_dropout, jax.random.fold_in(key, 0))
        keys = jax.random.split(jax.random.fold_in(key, 1), len(codes))

        def loss_of(params: nnx.State, variables: nnx.State, part: Any) -> Array:
            return self._loss(self.merge((params, variables)), part[:2], part[2])

        def sums_of(weights: Weights, part: Any) -> tuple[tuple[nnx.State, PriorTotals], tuple[()]]:
            loss, gradients = jax.value_and_grad(loss_of)(*weights, part)
            count = len(part[0])
            return (jax.tree.map(lambda leaf: leaf * count, gradients), _totals(loss, count)), ()

        (gradients, totals), _ = sum_over_images(
            sums_of, mesh, weights, (codes, labels, keys), cpu_pixels=_CPU_POSITIONS
        )
        return jax.tree.map(lambda leaf: leaf / len(codes), gradients), totals, ()

    def totals(self, mesh: Mesh, weights: Weights, batch: CodesAndLabels) -> PriorTotals:
        """See `Task.totals`."""

        def totals_of(weights: Weights, part: CodesAndLabels) -> tuple[PriorTotals, None]:
            return _totals(self._loss(self.merge(weights), part, None), len(part[0])), None

        return sum_over_images(totals_of, mesh, weights, batch, cpu_pixels=_CPU_POSITIONS)[0]

    def metrics(self, totals: PriorTotals) -> dict[str, Any]:
        """See `Task.metrics`: nll, nats a token; bits_per_image, those of all its tokens."""
        sums = jax.device_get(totals)
        images = int(sums.images)
        nats = float(sums.loss) / max(images, 1)
        bits = nats * self.tokens / math.log(2)
        return {"images": images, "loss": nats, "nll": nats, "bits_per_image": bits}

    def summary(self, metrics: dict[str, Any]) -> str:
        """See `Task.summary`."""
        return f"test nll {metrics['nll']:.4f}  {metrics['bits_per_image']:.1f} bits per image"

    def draw(
        self,
        workdir: Path,
        model: Prior,
        totals: PriorTotals,
        records: list[dict[str, Any]],
        when: str,
    ) -> None:
        """See `Task.draw`: samples.png, training.png."""
        labels = classes_in_turn(model, _SAMPLES)
        shape = self.test_examples[0].shape[1:3]
        key = jax.random.key(0)
        images = draw_images(self.vqvae, model, _SAMPLES, shape, key=key, labels=labels)
        reached = f"test nll {self.metrics(totals)['nll']:.4f} nats per token"
        pictures = {
            "samples": figures.samples(images, labels, f"samples after {when} ({reached})"),
            "training": figures.training(records, ["nll", "bits_per_image"]),
        }
        for name, png in pictures.items():
            write_atomically(workdir / f"{name}.png", png)

    def _loss(self, prior: Prior, batch: CodesAndLabels, keys: Array | None) -> Array:
        codes, labels = batch
        return nll(prior, codes, None if self.num_classes is None else labels, keys=keys)


def _totals(loss: Array, count: int) -> PriorTotals:
    return PriorTotals(images=jnp.asarray(count, jnp.int32), loss=loss * count)
