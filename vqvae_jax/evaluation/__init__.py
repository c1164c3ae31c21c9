"""Held-out metrics and the pictures of a run."""

from vqvae_jax.evaluation.evaluate import evaluate, evaluate_step
from vqvae_jax.evaluation.report import draw
from vqvae_jax.evaluation.totals import Metrics, Totals

__all__ = ["Metrics", "Totals", "draw", "evaluate", "evaluate_step"]
