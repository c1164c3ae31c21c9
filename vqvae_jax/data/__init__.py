"""Data sources and data sets: arrays, archives, TFDS, the cache, the order of the batches."""

from vqvae_jax.data.batches import InOrder, TrainingOrder, epoch_order
from vqvae_jax.data.dataset import DataConfig, Dataset
from vqvae_jax.data.framed import labels_of
from vqvae_jax.data.loading import load_dataset
from vqvae_jax.data.named import NamedDataset
from vqvae_jax.data.reading import read_batches
from vqvae_jax.data.recall import recall_dataset
from vqvae_jax.data.source import ArraySource, DataSource, as_source, shapes_of, take

__all__ = [
    "ArraySource",
    "DataConfig",
    "DataSource",
    "Dataset",
    "InOrder",
    "NamedDataset",
    "TrainingOrder",
    "as_source",
    "epoch_order",
    "labels_of",
    "load_dataset",
    "read_batches",
    "recall_dataset",
    "shapes_of",
    "take",
]
