"""configs/mnist.py with binary spherical quantization: 7 bits, 128 codes.

python train.py --config configs/mnist_bsq.py
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = "bsq"
    config.model.embedding_dim = 7
    return config
