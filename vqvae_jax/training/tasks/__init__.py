"""What a run can learn: a VQ-VAE, or a prior over the codes of one."""

from vqvae_jax.training.tasks.base import Task, Weights, split_model

__all__ = ["Task", "Weights", "split_model"]
