"""Random weights that are the same wherever they are drawn, so that no file has to hold them."""

import math
from collections.abc import Mapping

import numpy as np


def drawn_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Returns the float32 arrays of a state dict by name.

    One np.random.RandomState(seed) draws all of them, in the order of sorted names, each by one
    randn(*shape) in float64, here r, of which become

    - what has two axes or more, kernels and codes: r / sqrt(product of all axes but the first);
    - scales of normalizations, which are one-dimensional and end with .weight: 1 + r / 4;
    - running variances: 1 + |r| / 4;
    - all others, biases and running means: r / 4.

    The counters num_batches_tracked are int64 and 3, and draw nothing.

    Args:
        shapes: the shape of each entry, in the original's order of axes.
        seed: of the random numbers.
    """
    random = np.random.RandomState(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            weights[name] = np.asarray(3, np.int64)
            continue
        values = random.randn(*shape)
        if len(shape) > 1:
            values = values / math.sqrt(math.prod(shape[1:]))
        elif name.endswith(".weight"):
            values = 1 + values / 4
        elif name.endswith("running_var"):
            values = 1 + np.abs(values) / 4
        else:
            values = values / 4
        weights[name] = values.astype(np.float32)
    return weights
