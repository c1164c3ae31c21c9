"""Where pixels come from: archives, TFDS, the cache, the order of the batches."""

from vqvae_jax.data.batches import epoch_order
from vqvae_jax.data.dataset import load_dataset
from vqvae_jax.data.prepared import Dataset


__all__ = ["Dataset", "epoch_order", "load_dataset"]
