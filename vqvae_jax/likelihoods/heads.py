"""Heads, which map the decoder's features at a pixel to a distribution over its values."""

import abc
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from vqvae_jax.checks import check_integer
from vqvae_jax.likelihoods.base import Likelihood
from vqvae_jax.likelihoods.color import ColorMixture
from vqvae_jax.likelihoods.distributions import (
    CATEGORICAL,
    PixelDistribution,
    logistic_mixture,
    mean_value,
    sample_values,
)
from vqvae_jax.means import mean
from vqvae_jax.pixels import to_floats, to_integers


class PixelHead(Likelihood):
    """The contract of all heads: p(x | features), over images of integers in [0, 255].

    Features [B, H, W, F] are floats, the output of a decoder with out_dim = F; images x [B, H, W,
    C] are uint8. The C channels of a pixel are independent given the features and earlier pixels,
    or each depends on the ones before too, as the distribution says.

    Attributes:
        in_dim: F.
        out_dim: C.
        distribution: the family of a pixel's distributions.
        autoregressive: whether a pixel's distribution depends on earlier pixels, in raster order.
            It never depends on later ones.
    """

    monitor = "bits_per_dim"
    value_range = (-0.5, 0.5)
    reconstruction = "a draw from p(x | z)"
    distribution: PixelDistribution | ColorMixture
    autoregressive: bool = False

    def __call__(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """Returns log p(x | features) of each channel of each pixel, given the earlier pixels.

        Args:
            features: [B, H, W, F].
            x: images [B, H, W, C], uint8.

        Returns:
            [B, H, W, C], in nats.

        Raises:
            ValueError: features or x have the wrong shape or type.
        """
        self._check(features, x)
        return self.distribution.of_pixel(self._parameters(features, x), x)

    def nll(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Returns the negative log-likelihood of each image, -log p(x | features): [B], in nats.

        Divided by H W C log(2) it is in bits per dimension.

        Raises:
            ValueError: features or x have the wrong shape or type.
        """
        return -jnp.sum(self(features, x), axis=(1, 2, 3))

    def log_probs(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"] | None = None
    ) -> Float[Array, "b h w c 256"]:
        """Returns the log-probabilities of all values of each channel of each pixel.

        Args:
            features: [B, H, W, F].
            x: the images [B, H, W, C], uint8, for the earlier pixels and channels; None where
                nothing depends on these.

        Returns:
            [B, H, W, C, 256], in nats.

        Raises:
            ValueError: features or x have the wrong shape or type.
        """
        self._check(features, x)
        parameters, distribution = self._parameters(features, x), self.distribution
        if isinstance(distribution, PixelDistribution):
            return distribution.of_channels(parameters)
        assert x is not None  # checked
        tables = [distribution.of_channel(parameters, x, c) for c in range(self.out_dim)]
        return jnp.stack(tables, axis=-2)

    @abc.abstractmethod
    def sample(self, features: Float[Array, "b h w f"], key: jax.Array) -> UInt8[Array, "b h w c"]:
        """Draws images [B, H, W, C] from p(x | features).

        Raises:
            ValueError: features have the wrong shape or type.
        """

    def loss(
        self,
        decoded: Float[Array, "b h w f"],
        x: Float[Array, "b h w c"],
        mask: Bool[Array, "b h w"] | None = None,
    ) -> Float[Array, ""]:
        """Returns the mean of -log p(x | decoded) in nats; see `Likelihood.loss`.

        Pixels that do not count appear black to those that depend on them.
        """
        integers = to_integers(x)
        if mask is not None:
            integers = jnp.where(mask[..., None], integers, jnp.zeros_like(integers))
        return -mean(self(decoded, integers), mask)

    def metrics(self, loss: float) -> dict[str, float]:
        """See `Likelihood.metrics`: bits_per_dim, the loss in bits."""
        return {"bits_per_dim": loss / math.log(2)}

    def decode(
        self, decoded: Float[Array, "b h w f"], key: jax.Array | None
    ) -> Float[Array, "b h w c"]:
        """See `Likelihood.decode`: a draw, in [-0.5, 0.5]."""
        if key is None:
            raise ValueError("key is None; a model with a head draws images, and needs one")
        return to_floats(self.sample(decoded, key))

    def reconstruct(
        self, decoded: Float[Array, "b h w f"], key: jax.Array
    ) -> Float[Array, "b h w c"]:
        """See `Likelihood.reconstruct`: a draw, in [-0.5, 0.5]; the mean where it is available."""
        return to_floats(self.sample(decoded, key))

    @abc.abstractmethod
    def _parameters(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"] | None
    ) -> Float[Array, "b h w p"]:
        """Returns the parameters of all pixels' distributions."""

    def _check(self, features: Array, x: Array | None) -> None:
        """Checks shapes and types."""
        self._check_features(features)
        if x is None:
            if self.autoregressive or self.distribution.sequential:
                raise ValueError("x is None; this head needs the earlier pixels or channels")
            return
        shape = (*features.shape[:3], self.out_dim)
        if x.shape != shape or x.dtype != jnp.uint8:
            raise ValueError(f"x has shape {x.shape} and type {x.dtype}; it must be {shape}, uint8")

    def _check_features(self, features: Array) -> None:
        """Checks their shape and type."""
        if features.ndim != 4 or features.shape[-1] != self.in_dim:
            raise ValueError(
                f"features have shape {features.shape}; it must be [B, H, W, {self.in_dim}]"
            )
        if not jnp.issubdtype(features.dtype, jnp.floating):
            raise ValueError(f"features have type {features.dtype}; it must be floating")


class IndependentHead(PixelHead):
    """A head with pixels independent given the features, by one affine map of them.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        distribution: the family of a pixel's distributions.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    reconstruction = "the mean of p(x | z)"

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        distribution: PixelDistribution | ColorMixture,
        *,
        rngs: nnx.Rngs,
    ):
        in_dim, out_dim = check_integer("in_dim", in_dim), check_integer("out_dim", out_dim)
        self.in_dim, self.out_dim, self.distribution = in_dim, out_dim, distribution
        self.out = nnx.Linear(in_dim, distribution.size(out_dim), rngs=rngs)

    def sample(self, features: Float[Array, "b h w f"], key: jax.Array) -> UInt8[Array, "b h w c"]:
        """Draws images [B, H, W, C] from p(x | features).

        Raises:
            ValueError: features have the wrong shape or type.
        """
        self._check_features(features)
        return draw_pixels(self.distribution, self.out(features), self.out_dim, key)

    def reconstruct(
        self, decoded: Float[Array, "b h w f"], key: jax.Array
    ) -> Float[Array, "b h w c"]:
        """See `Likelihood.reconstruct`: the mean of p(x | decoded), in [-0.5, 0.5].

        Where a channel depends on earlier ones, it is the mean given theirs.
        """
        parameters, distribution = self.out(decoded), self.distribution
        if isinstance(distribution, PixelDistribution):
            return mean_value(distribution.of_channels(parameters)) / 255 - 0.5
        means = jnp.zeros((*parameters.shape[:-1], self.out_dim), jnp.uint8)
        for channel in range(self.out_dim):
            mean = mean_value(distribution.of_channel(parameters, means, channel))
            means = means.at[..., channel].set(jnp.round(mean).astype(jnp.uint8))
        return to_floats(means)

    def _parameters(
        self, features: Float[Array, "b h w f"], x: UInt8[Array, "b h w c"] | None
    ) -> Float[Array, "b h w p"]:
        return self.out(features)


class CategoricalHead(IndependentHead):
    """Independent pixels with a logit for each of the 256 values.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, in_dim: int, out_dim: int, *, rngs: nnx.Rngs):
        super().__init__(in_dim, out_dim, CATEGORICAL, rngs=rngs)


class LogisticMixtureHead(IndependentHead):
    """Independent pixels with discretized mixtures of logistic distributions (arXiv:1701.05517).

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        num_mixtures: M, components of a mixture, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, in_dim: int, out_dim: int, num_mixtures: int = 10, *, rngs: nnx.Rngs):
        self.num_mixtures = num_mixtures
        super().__init__(in_dim, out_dim, logistic_mixture(num_mixtures), rngs=rngs)


class ColorMixtureHead(IndependentHead):
    """Independent pixels with the mixtures of PixelCNN++ over all channels, see `ColorMixture`.

    Args:
        in_dim: F, channels of the features, at least 1.
        out_dim: C, channels of the images, at least 1.
        num_mixtures: M, components of a mixture, at least 1.
        rngs: `params` draws the initial values.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(self, in_dim: int, out_dim: int, num_mixtures: int = 10, *, rngs: nnx.Rngs):
        self.num_mixtures = num_mixtures
        super().__init__(in_dim, out_dim, ColorMixture(num_mixtures), rngs=rngs)


def draw_pixels(
    distribution: PixelDistribution | ColorMixture,
    parameters: Float[Array, "*shape p"],
    channels: int,
    key: jax.Array,
) -> UInt8[Array, "*shape c"]:
    """Draws pixels [..., C] from their parameters [..., P]."""
    if isinstance(distribution, PixelDistribution):
        return sample_values(distribution.of_channels(parameters), key)
    drawn = jnp.zeros((*parameters.shape[:-1], channels), jnp.uint8)
    for channel in range(channels):
        table = distribution.of_channel(parameters, drawn, channel)
        value = sample_values(table, jax.random.fold_in(key, channel))
        drawn = drawn.at[..., channel].set(value)
    return drawn
