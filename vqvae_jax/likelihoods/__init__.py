"""Distributions of a pixel's 256 values given the decoder's features, p(x | z)."""

from vqvae_jax.likelihoods.autoregressive import AutoregressiveHead
from vqvae_jax.likelihoods.distributions import (
    CATEGORICAL,
    PixelDistribution,
    categorical_log_prob,
    categorical_log_probs,
    logistic_mixture,
    logistic_mixture_log_prob,
    logistic_mixture_log_probs,
    sample_values,
)
from vqvae_jax.likelihoods.heads import CategoricalHead, LogisticMixtureHead, PixelHead

__all__ = [
    "CATEGORICAL",
    "AutoregressiveHead",
    "CategoricalHead",
    "LogisticMixtureHead",
    "PixelDistribution",
    "PixelHead",
    "categorical_log_prob",
    "categorical_log_probs",
    "logistic_mixture",
    "logistic_mixture_log_prob",
    "logistic_mixture_log_probs",
    "sample_values",
]
