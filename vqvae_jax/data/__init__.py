"""Data sources and data sets: arrays, archives, TFDS, the cache, the order of the batches."""

from vqvae_jax.data.batches import epoch_order
from vqvae_jax.data.dataset import Dataset
from vqvae_jax.data.loading import load_dataset
from vqvae_jax.data.recall import recall_dataset
from vqvae_jax.data.source import ArraySource, DataSource, as_source, shapes_of, take

__all__ = [
    "ArraySource",
    "DataSource",
    "Dataset",
    "as_source",
    "epoch_order",
    "load_dataset",
    "recall_dataset",
    "shapes_of",
    "take",
]
