"""Likelihoods of the data given the decoder's output: squared errors, pixel distributions."""

from vqvae_jax.likelihoods.autoregressive import AutoregressiveHead
from vqvae_jax.likelihoods.base import Likelihood
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
from vqvae_jax.likelihoods.squared_error import SquaredError

__all__ = [
    "CATEGORICAL",
    "AutoregressiveHead",
    "CategoricalHead",
    "Likelihood",
    "LogisticMixtureHead",
    "PixelDistribution",
    "PixelHead",
    "SquaredError",
    "categorical_log_prob",
    "categorical_log_probs",
    "logistic_mixture",
    "logistic_mixture_log_prob",
    "logistic_mixture_log_probs",
    "sample_values",
]
