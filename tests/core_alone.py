"""Checks what works without any extra: python tests/core_alone.py."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from flax import nnx

import vqvae_jax
from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.saved import load_model


class Autoencoder(nnx.Module):
    """A model of one's own around a quantizer."""

    def __init__(self, rngs):
        self.encoder = nnx.Linear(3, 4, rngs=rngs)
        self.quantizer = vqvae_jax.VectorQuantizer(4, 16, rngs=rngs)
        self.decoder = nnx.Linear(4, 3, rngs=rngs)

    def loss(self, x):
        quantized = self.quantizer(self.encoder(x))
        return jnp.mean((self.decoder(quantized.values) - x) ** 2) + quantized.loss


@nnx.jit
def step(model, optimizer, x):
    loss, gradients = nnx.value_and_grad(lambda model: model.loss(x))(model)
    optimizer.update(model, gradients)
    return loss


for name in dir(vqvae_jax):
    getattr(vqvae_jax, name)

own = Autoencoder(nnx.Rngs(0))
adam = nnx.Optimizer(own, optax.adam(1e-2), wrt=nnx.Param)
x = jax.random.normal(jax.random.key(0), (256, 3))
losses = [step(own, adam, x) for _ in range(50)]
assert losses[-1] < losses[0] / 2, losses

images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 1)) - 0.5
model, other = (vqvae_jax.VQVAE(1, 4, 8, 0.1, rngs=nnx.Rngs(seed)) for seed in (0, 1))
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "model.safetensors"
    safetensors.numpy.save_file(vqvae_jax.to_torch_state_dict(model), file)
    vqvae_jax.load_torch_state_dict(other, safetensors.numpy.load_file(file))
    np.testing.assert_array_equal(other(images).reconstruction, model(images).reconstruction)
    vqvae_jax.save_pretrained(model, Path(folder) / "model")
    loaded = vqvae_jax.from_pretrained(Path(folder) / "model")
    np.testing.assert_array_equal(loaded.encode(images), model.encode(images))
    vqvae_jax.from_pretrained("mnist")
    try:
        load_model(folder)
    except CheckpointError:
        print("the core works alone")
