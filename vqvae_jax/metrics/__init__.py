"""Metrics: sums over examples on the devices, and the numbers that they become."""

from vqvae_jax.metrics.evaluate import Evaluator
from vqvae_jax.metrics.images import PSNR, SSIM, ImageMetric
from vqvae_jax.metrics.totals import Totals
from vqvae_jax.metrics.usage import Usage

__all__ = ["PSNR", "SSIM", "Evaluator", "ImageMetric", "Totals", "Usage"]
