"""The task of a prior: to predict the codes of examples, one after the other."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, DTypeLike

from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import examples_at_a_time, sum_over_examples
from vqvae_jax.precision import converted
from vqvae_jax.priors import Prior, drop_labels, nll
from vqvae_jax.quantizers import Leaf
from vqvae_jax.report import figures
from vqvae_jax.report.samples import classes_in_turn, draw_images
from vqvae_jax.report.spectrograms import draw_spectrograms
from vqvae_jax.tasks.base import Batch, Evaluation, State
from vqvae_jax.tasks.learning import ModelTask, Weights

_SAMPLES = 64

# What shows samples, and how it is drawn, by the tokenizer's spatial rank.
_PICTURES = {1: ("spectrograms of samples", draw_spectrograms), 2: ("samples", draw_images)}

# Positions that a CPU core computes at a time: 16 maps of 7 x 7, a quarter faster than 64 maps.
_CPU_POSITIONS = 16 * 7 * 7

# "images", the number of maps, and "loss", nats per token times that number.
PriorSums = dict[str, Leaf]


class PriorTask(ModelTask):
    """Trains a prior on "codes", [*spatial] or [*spatial, n], and, if it has classes, on "label".

    Args:
        prior: with its initial values.
        optimizer: an optax transformation.
        tokenizer: the tokenizer of the codes, for the figures.
        code_shape: the shape of a code map, [*spatial] or [*spatial, n].
        label_dropout: fraction of the labels that training drops.
        dtype: the type that the prior computes in; None: float32.
        options: accumulate and average_decay, as for `ModelTask`.
    """

    def __init__(
        self,
        prior: Prior,
        optimizer: optax.GradientTransformation,
        tokenizer: Tokenizer,
        code_shape: Sequence[int],
        label_dropout: float = 0.0,
        *,
        dtype: DTypeLike | None = None,
        **options: Any,
    ):
        super().__init__(prior, optimizer, "nll", **options)
        self.tokenizer, self.code_shape = tokenizer, tuple(code_shape)
        self.label_dropout, self.dtype = label_dropout, dtype
        self.num_classes = prior.num_classes
        self.map_shape = self.code_shape[: prior.spatial_rank]
        self.bits = "bits_per_image" if tokenizer.spatial_rank == 2 else "bits_per_example"

    def gradients(
        self, mesh: Mesh, weights: Weights, batch: Batch, key: jax.Array
    ) -> tuple[nnx.State, PriorSums, tuple[()]]:
        """See `ModelTask.gradients`."""
        codes = batch["codes"]
        drawn = {"codes": codes, "key": jax.random.split(jax.random.fold_in(key, 1), len(codes))}
        if self.num_classes is not None:
            chosen = jax.random.fold_in(key, 0)
            drawn["label"] = drop_labels(batch["label"], self.label_dropout, chosen)

        def loss_of(params: nnx.State, variables: nnx.State, part: Batch) -> Array:
            return self._loss((params, variables), part)

        def sums_of(weights: Weights, part: Batch) -> tuple[tuple[nnx.State, PriorSums], tuple[()]]:
            loss, gradients = jax.value_and_grad(loss_of)(*weights, part)
            count = len(part["codes"])
            return (jax.tree.map(lambda leaf: leaf * count, gradients), _sums(loss, count)), ()

        (gradients, sums), _ = sum_over_examples(
            sums_of,
            mesh,
            weights,
            drawn,
            at_a_time=self._at_a_time(),
            accumulate=self.accumulate,
        )
        return jax.tree.map(lambda leaf: leaf / len(codes), gradients), sums, ()

    def eval_step(self, state: State, batch: Batch, mesh: Mesh) -> PriorSums:
        """See `Task.eval_step`."""

        def sums_of(weights: Weights, part: Batch) -> tuple[PriorSums, None]:
            return _sums(self._loss(weights, part), len(part["codes"])), None

        return sum_over_examples(
            sums_of, mesh, self.evaluated(state), batch, at_a_time=self._at_a_time()
        )[0]

    def metrics(self, sums: PriorSums) -> dict[str, Any]:
        """See `Task.metrics`: nll, nats per token; bits_per_image, the bits of all its tokens.

        What is no image has bits_per_example.
        """
        sums = jax.device_get(sums)
        images = int(sums["images"])
        nats = float(sums["loss"]) / max(images, 1)
        bits = nats * math.prod(self.code_shape) / math.log(2)
        return {"images": images, "loss": nats, "nll": nats, self.bits: bits}

    def summary(self, metrics: dict[str, Any]) -> str:
        """See `Task.summary`."""
        bits = f"{metrics[self.bits]:.1f} {self.bits.replace('_', ' ')}"
        return f"test nll {metrics['nll']:.4f}  {bits}"

    def figures(self, state: State, evaluation: Evaluation) -> dict[str, bytes]:
        """See `Task.figures`: samples.png, of images or signals, and training.png."""
        training = figures.training(evaluation.records, ["nll", self.bits])
        if self.tokenizer.spatial_rank not in _PICTURES:
            return {"training.png": training}
        shown, draw = _PICTURES[self.tokenizer.spatial_rank]
        prior = self.merge(self.evaluated(state))
        labels = classes_in_turn(prior, _SAMPLES)
        images = draw(
            self.tokenizer, prior, _SAMPLES, self.map_shape, key=jax.random.key(0), labels=labels
        )
        reached = f"test nll {evaluation.metrics['nll']:.4f} nats per token"
        title = f"{shown} after {evaluation.when} ({reached})"
        return {
            "samples.png": figures.samples(images, labels, title),
            "training.png": training,
        }

    def _loss(self, weights: Weights, part: Batch) -> Array:
        prior: Prior = self.merge(converted(weights, self.dtype) if self.dtype else weights)
        labels = None if self.num_classes is None else part["label"]
        return nll(prior, part["codes"], labels, keys=part.get("key"))

    def _at_a_time(self) -> int:
        return examples_at_a_time(self.map_shape, positions=_CPU_POSITIONS)


def _sums(loss: Array, count: int) -> PriorSums:
    return {"images": jnp.asarray(count, jnp.int32), "loss": loss * count}
