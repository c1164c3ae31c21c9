"""The tasks that a run can train: a tokenizer, a prior over its codes, or a `Task` of your own."""

from vqvae_jax.tasks.base import Evaluation, HasHistograms, Task
from vqvae_jax.tasks.prior import PriorTask
from vqvae_jax.tasks.tokenizer import TokenizerTask

__all__ = ["Evaluation", "HasHistograms", "PriorTask", "Task", "TokenizerTask"]
