"""configs/mnist.py with codes on the unit sphere, with dead-code revival.

    python train.py --config configs/mnist_cosine.py

After 10 epochs on the full 60,000 images, seed 0: test nmse 0.0464, perplexity 35.7, all 128 codes
used; configs/mnist.py: 0.0491, 7.9, 92 of 128.
"""

import ml_collections

from configs import mnist


def get_config() -> ml_collections.ConfigDict:
    config = mnist.get_config()
    config.model.quantizer = {
        "kind": "CosineVectorQuantizer",
        "embedding_dim": 16,
        "num_embeddings": 128,
        "revival_threshold": 0.1,
        "kmeans_init": True,
    }
    return config
