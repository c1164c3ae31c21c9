"""Held-out metrics and the pictures of a run."""

from vqvae_jax.evaluation.evaluate import Evaluator
from vqvae_jax.evaluation.totals import Totals

__all__ = ["Evaluator", "Totals"]
