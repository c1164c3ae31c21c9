"""The seed's VQ-VAE on MNIST: 128 codes of 16 numbers, Adam 1e-3, batches of 128, 30 epochs.

    python train.py --config configs/mnist.py

Expected after 30 epochs on the 60,000 images (PyTorch's figures for the same protocol, one seed):
train loss 0.167, test mse 0.0034, nmse 0.036, perplexity 12.5 of 128. The codebook collapses: that
is the seed's quantizer.
"""

import ml_collections

from vqvae_jax.training.config import Config, DataConfig, ModelConfig, TrainingConfig


def get_config() -> ml_collections.ConfigDict:
    return Config(
        data=DataConfig(name="mnist"),
        model=ModelConfig(embedding_dim=16, num_embeddings=128, commitment_cost=0.25),
        training=TrainingConfig(batch_size=128, learning_rate=1e-3, num_epochs=30, seed=0),
    ).to_config_dict()
