"""configs/mnist.py with SimVQ: a frozen codebook times a learnt matrix.

    python train.py --config configs/mnist_simvq.py

docs/quantizers.md compares it with the others.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "simvq"
    return config
