"""Bits per dimension of images under a VQ-VAE and a prior."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from vqvae_jax.data import DataSource
from vqvae_jax.likelihoods import PixelHead
from vqvae_jax.metrics.evaluate import Evaluator
from vqvae_jax.models import Tokenizer
from vqvae_jax.pairs import check_pair
from vqvae_jax.parallel import examples_at_a_time, sum_over_examples
from vqvae_jax.pixels import to_floats
from vqvae_jax.priors import Prior, nll


@dataclasses.dataclass(frozen=True)
class BitsPerDim:
    """An upper bound on -log2 p(x), divided by the size H W C of an image.

        -log2 p(x) <= -log2 p(x | z) - log2 p(z),    z: the encoder's codes of x

    p(x) is the sum of p(x | z) p(z) over all z, of which the bound uses one. The bound is the rate
    of `coding.compress`.

    Attributes:
        pixels: -log2 p(x | z) / (H W C).
        codes: -log2 p(z) / (H W C).
        images: how many images were averaged over.
    """

    pixels: float
    codes: float
    images: int

    @property
    def total(self) -> float:
        """The sum of both parts."""
        return self.pixels + self.codes


def bits_per_dim(
    vqvae: Tokenizer,
    prior: Prior,
    source: DataSource,
    devices: Sequence[jax.Device],
    batch_size: int = 128,
) -> BitsPerDim:
    """Measures the bits per dimension of a VQ-VAE with a pixel distribution, and a prior.

    Args:
        vqvae: a VQ-VAE whose likelihood is a `PixelHead`.
        prior: a prior over its codes; one with classes is used without a class.
        source: its entry "image", uint8 [H, W, C]; 0 bits if it is empty.
        devices: devices that batches are split over.
        batch_size: how many images at a time.

    Raises:
        ValueError: the VQ-VAE has no distribution of pixels, or does not accept the images; or the
            prior is over other codes.
    """
    check_pair(vqvae, prior)
    if len(source) == 0:
        return BitsPerDim(0.0, 0.0, 0)
    graphdef, state = nnx.split((vqvae, prior))

    def of_part(state: nnx.State, images: Array) -> tuple[dict[str, Array], None]:
        vqvae, prior = nnx.merge(graphdef, state)
        assert isinstance(vqvae.likelihood, PixelHead)
        codes = vqvae.encode(to_floats(images))
        features = vqvae.decoded_codes(codes)
        return {
            "pixels": jnp.sum(vqvae.likelihood.nll(features, images)),
            "codes": nll(prior, codes) * codes.size,
        }, None

    def nats_of(state: nnx.State, batch: dict[str, Array], mesh: Mesh) -> dict[str, Array]:
        at_a_time = examples_at_a_time(shape[:-1])
        return sum_over_examples(of_part, mesh, state, batch["image"], at_a_time=at_a_time)[0]

    shape = source.spec["image"].shape
    nats = Evaluator(nats_of, devices)(state, source, batch_size)
    unit = math.log(2) * len(source) * math.prod(shape)
    return BitsPerDim(float(nats["pixels"]) / unit, float(nats["codes"]) / unit, len(source))
