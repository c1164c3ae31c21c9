"""configs/mnist.py with the Gumbel-softmax.

    python train.py --config configs/mnist_gumbel.py

docs/quantizers.md compares it with the others.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "gumbel"
    return config
