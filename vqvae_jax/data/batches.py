"""The order in which training visits the images."""

import numpy as np


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Returns the order in which an epoch visits the images, a function of its arguments alone.

    Args:
        seed: the run's seed, in [0, 2^64).
        epoch: counted from 0.
        num_images: N.

    Returns:
        A permutation int64 [N]. The same on every platform and NumPy version.
    """
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return np.random.RandomState(generator).permutation(num_images)  # its stream is frozen
