"""A trained tokenizer of images, applied to batches of pixels."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from vqvae_jax.errors import CheckpointError, DataError
from vqvae_jax.models import Tokenizer, has_images
from vqvae_jax.parallel import all_devices, mesh_for, place, replicated, split
from vqvae_jax.pixels import to_floats
from vqvae_jax.training.saved import SavedRun
from vqvae_jax.weights import weights_digest


class ImageModel:
    """The tokenizer of a run, or an exported one, on all devices.

    Args:
        run: the run of a tokenizer, or an exported one.

    Attributes:
        run: the run.
        tokenizer: its model.
        channels: those of its images, 1 or 3.
        digest: of its weights.

    Raises:
        CheckpointError: the tokenizer is not one of gray or RGB images.
    """

    def __init__(self, run: SavedRun):
        self.run = run
        self.tokenizer: Tokenizer = run.model
        self.channels = self.tokenizer.likelihood.out_dim
        if not has_images(self.tokenizer):
            raise CheckpointError(
                f"{run.workdir} holds a model of {self.tokenizer.spatial_rank} axes and "
                f"{self.channels} channels; this command is for gray or RGB images"
            )
        self.digest = weights_digest(self.tokenizer)
        self._devices = all_devices()
        self._graphdef, self._state = nnx.split(self.tokenizer)
        self._encode, self._decode = (
            jax.jit(function, static_argnums=0) for function in (_encoded, _decoded)
        )

    def encode(self, images: Sequence[np.ndarray]) -> Int[np.ndarray, " b *codes"]:
        """Returns the codes of images uint8 [H, W, C] of one size.

        Raises:
            DataError: they are too large for the devices' memory.
        """
        return self._on_devices(self._encode, images)

    def decode(self, codes: Sequence[np.ndarray]) -> Float[np.ndarray, "b h w c"]:
        """Returns the images of codes [h, w, ...], in [0, 1]: the likelihood's best guess."""
        return self._on_devices(self._decode, codes)

    def _on_devices(self, function: Any, arrays: Sequence[np.ndarray]) -> np.ndarray:
        mesh = mesh_for(self._devices, len(arrays))
        self._state = place(self._state, replicated(mesh))
        given = place(np.stack(arrays), split(mesh))
        try:
            return np.asarray(function(self._graphdef, self._state, given))
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise DataError(
                f"JAX gave up on {arrays[0].shape}: {reason}; --resize makes images smaller"
            ) from error


def _encoded(
    graphdef: nnx.GraphDef, state: nnx.State, images: UInt8[Array, "b h w c"]
) -> Int[Array, " b *codes"]:
    model = nnx.merge(graphdef, state)
    return model.encode(to_floats(images, model.value_range))


def _decoded(
    graphdef: nnx.GraphDef, state: nnx.State, codes: Int[Array, " b *codes"]
) -> Float[Array, "b h w c"]:
    model = nnx.merge(graphdef, state)
    decoded = model.decoded_codes(codes)
    low, high = model.value_range
    images = model.likelihood.reconstruct(decoded, jax.random.key(0))
    return jnp.clip((images - low) / (high - low), 0, 1)
