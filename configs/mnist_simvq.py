"""configs/mnist.py with SimVQ: a frozen codebook times a learned matrix.

    python train.py --config configs/mnist_simvq.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0530, perplexity 12.4,
127 of 128 codes used;
configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = {"kind": "SimVQ", "embedding_dim": 16, "num_embeddings": 128}
    return config
