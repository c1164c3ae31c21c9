"""Bits per dimension of images under a VQ-VAE and a prior."""

import dataclasses
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from vqvae_jax.evaluation.evaluate import Evaluator
from vqvae_jax.models import VQVAE
from vqvae_jax.pairs import check_pair
from vqvae_jax.parallel import sum_over_images
from vqvae_jax.pixels import to_floats
from vqvae_jax.priors import Prior, nll
from vqvae_jax.quantizers import Leaf


@dataclasses.dataclass(frozen=True)
class BitsPerDim:
    """An upper bound of -log2 p(x), divided by the numbers of an image.

        -log2 p(x) <= -log2 p(x | z) - log2 p(z),    z: the encoder's codes of x

    p(x) is the sum of p(x | z) p(z) over all z, of which the bound takes one. It is the rate of
    `coding.compress`.

    Attributes:
        pixels: -log2 p(x | z) / (H W C).
        codes: -log2 p(z) / (H W C).
        images: how many were averaged over.
    """

    pixels: float
    codes: float
    images: int

    @property
    def total(self) -> float:
        """Both parts together."""
        return self.pixels + self.codes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Nats:
    """Sums over images, in nats."""

    pixels: Leaf
    codes: Leaf

    def __add__(self, other: "_Nats") -> "_Nats":
        return jax.tree.map(operator.add, self, other)


def bits_per_dim(
    vqvae: VQVAE,
    prior: Prior,
    images: np.ndarray,
    devices: Sequence[jax.Device],
    batch_size: int = 128,
) -> BitsPerDim:
    """Measures a VQ-VAE with a head and a prior over its codes.

    Args:
        vqvae: with a head.
        prior: over its codes; one with classes is asked for the probabilities without a class.
        images: uint8 [N, H, W, C]; 0 bits where N is 0.
        devices: that batches are split over.
        batch_size: images at a time.

    Raises:
        ValueError: the VQ-VAE has no head, or does not take the images; or the prior is over other
            codes.
    """
    check_pair(vqvae, prior)
    graphdef, state = nnx.split((vqvae, prior))

    def of_part(state: nnx.State, images: Array) -> tuple[_Nats, None]:
        vqvae, prior = nnx.merge(graphdef, state)
        assert vqvae.head is not None
        codes = vqvae.encode(to_floats(images))
        features = vqvae.decoder(vqvae.quantizer.lookup(codes))
        return _Nats(
            pixels=jnp.sum(vqvae.head.nll(features, images)),
            codes=nll(prior, codes) * codes.size,
        ), None

    def totals(mesh: Mesh, state: nnx.State, images: Array) -> _Nats:
        return sum_over_images(of_part, mesh, state, images)[0]

    evaluator = Evaluator(totals, lambda: _Nats(jnp.zeros(()), jnp.zeros(())), devices)
    nats = evaluator(state, images, batch_size)
    unit = math.log(2) * max(images.size, 1)
    return BitsPerDim(float(nats.pixels) / unit, float(nats.codes) / unit, len(images))
