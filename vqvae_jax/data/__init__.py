"""Data sets: archives, TFDS, the cache, the order of the batches."""

from vqvae_jax.data.batches import epoch_order
from vqvae_jax.data.dataset import load_dataset
from vqvae_jax.data.prepared import Dataset
from vqvae_jax.data.recall import recall_dataset

__all__ = ["Dataset", "epoch_order", "load_dataset", "recall_dataset"]
