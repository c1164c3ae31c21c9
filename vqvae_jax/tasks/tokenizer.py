"""The task of a tokenizer: to reconstruct data from codes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from vqvae_jax.metrics import Metric, Totals
from vqvae_jax.models import Tokenizer, TokenizerOutput
from vqvae_jax.parallel import examples_at_a_time, sum_over_examples
from vqvae_jax.report.tokenizer import tokenizer_figures
from vqvae_jax.tasks.base import Batch, Evaluation, State
from vqvae_jax.tasks.gradients import Seen, batch_gradients
from vqvae_jax.tasks.learning import ModelTask, Weights
from vqvae_jax.values import to_values


class TokenizerTask(ModelTask):
    """Trains a tokenizer on examples [*spatial, C]: pixels uint8, samples int16, or floats.

    Args:
        model: with its initial values.
        optimizer: an optax transformation.
        entry: the name of the examples in the data source.
        title: the title of the figures.
        metrics: of held-out examples and their reconstructions, beside those of the likelihood.
        options: accumulate and average_decay, as for `ModelTask`.
    """

    def __init__(
        self,
        model: Tokenizer,
        optimizer: optax.GradientTransformation,
        *,
        entry: str = "image",
        title: str = "held-out data",
        metrics: Sequence[Metric] = (),
        **options: Any,
    ):
        super().__init__(model, optimizer, model.likelihood.monitor, **options)
        self.quantizer, self.likelihood = model.quantizer, model.likelihood
        self.entry, self.title, self.comparisons = entry, title, metrics
        self.has_initialization = model.quantizer.has_initialization
        self.has_updates = model.quantizer.has_updates

    def gradients(
        self, mesh: Mesh, weights: Weights, batch: Batch, key: jax.Array
    ) -> tuple[nnx.State, Totals, Seen]:
        """See `ModelTask.gradients`."""
        data = batch[self.entry]
        return batch_gradients(self.graphdef, mesh, weights, data, key, self.accumulate)

    def eval_step(self, state: State, batch: Batch, mesh: Mesh) -> Totals:
        """See `Task.eval_step`."""

        def totals_of(weights: Weights, part: Array) -> tuple[Totals, None]:
            model = self.merge(weights)
            x = to_values(part, model.value_range)
            output = model(x)
            return Totals.of(output, self.quantizer).plus(self._compared(model, output, x)), None

        data, weights = batch[self.entry], self.evaluated(state)
        whole = not self.quantizer.per_token
        at_a_time = None if whole else examples_at_a_time(data.shape[1:-1], weights[0])
        return sum_over_examples(totals_of, mesh, weights, data, at_a_time=at_a_time)[0]

    def _compared(self, model: Tokenizer, output: TokenizerOutput, x: Array) -> dict[str, Array]:
        """Returns the sums over examples of what compares them with their reconstructions."""
        if not self.comparisons:
            return {}
        best = model.likelihood.reconstruct(output.reconstruction, jax.random.key(0))
        return {
            metric.name: jnp.sum(
                metric(*(metric.scaled(values, model.value_range) for values in (x, best)))
            )
            for metric in self.comparisons
        }

    def metrics(self, sums: Totals) -> dict[str, Any]:
        """See `Task.metrics`: those of `Totals.averages`, and those of the likelihood."""
        averages = sums.averages()
        return averages | self.likelihood.metrics(averages["reconstruction_loss"])

    def summary(self, metrics: dict[str, Any]) -> str:
        """See `Task.summary`."""
        fit = f"psnr {metrics['psnr']:.2f} dB  " if "psnr" in metrics else ""
        return (
            f"test {self.monitor} {metrics[self.monitor]:.4f}  {fit}"
            f"perplexity {metrics['perplexity']:.1f}  "
            f"codes used {metrics['codes_used']}/{self.quantizer.num_codes}"
        )

    def figures(self, state: State, evaluation: Evaluation) -> dict[str, bytes]:
        """See `Task.figures`: reconstructions.png, codebook.png and training.png."""
        reached = f"{self.monitor} {evaluation.metrics[self.monitor]:.4f}"
        return tokenizer_figures(
            self.merge(self.evaluated(state)),
            evaluation.held_out,
            self.entry,
            np.asarray(evaluation.sums.code_counts),
            evaluation.records,
            f"{self.title}, {evaluation.when}: {reached}",
        )

    def histograms(self, sums: Totals) -> dict[str, np.ndarray]:
        """See `HasHistograms`: how often each code is used, of each codebook."""
        counts = np.asarray(sums.code_counts)
        if counts.ndim == 1:
            return {"codes": counts}
        return {f"codes_{number}": of for number, of in enumerate(counts, start=1)}

    def initialize(self, model: Tokenizer, batch: Batch, key: jax.Array) -> None:
        """See `ModelTask.initialize`."""
        latents = model.latents(to_values(batch[self.entry], model.value_range))
        model.quantizer.initialize(latents, key=key)

    def update(self, model: Tokenizer, seen: Seen, key: jax.Array) -> None:
        """See `ModelTask.update`."""
        model.quantizer.skip_initialization()  # done in `init`
        model.quantizer.update(*seen, key=key)
