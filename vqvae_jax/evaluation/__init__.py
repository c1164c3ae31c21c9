"""Held-out metrics and the pictures of a run."""

from vqvae_jax.evaluation.evaluate import evaluate, evaluate_step
from vqvae_jax.evaluation.totals import Metrics, Totals

__all__ = ["Metrics", "Totals", "evaluate", "evaluate_step"]
