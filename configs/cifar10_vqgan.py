r"""The VQGAN's networks on CIFAR-10, with a reconstruction loss alone: 8 x 8 codes of 1,024.

    python train.py --config configs/cifar10_vqgan.py

For a folder of images, see configs/cifar10.py. --config.model.encoder.remat=True and the same for
the decoder save memory at larger sizes.
"""

import ml_collections

from configs import cifar10


def get_config() -> ml_collections.ConfigDict:
    config = cifar10.get_config()
    network = {"channels": (64, 128, 128), "num_blocks": 1, "attention_levels": (2,)}
    config.model.encoder = {"kind": "VQGANEncoder", **network}
    config.model.decoder = {"kind": "VQGANDecoder", **network}
    config.model.quantizer.num_embeddings = 1024
    config.training.batch_size = 64
    return config
