"""Held-out metrics and the pictures of a run."""

from vqvae_jax.evaluation.evaluate import Evaluator
from vqvae_jax.evaluation.report import draw
from vqvae_jax.evaluation.totals import Metrics, ReconstructionError, Totals

__all__ = ["Evaluator", "Metrics", "ReconstructionError", "Totals", "draw"]
