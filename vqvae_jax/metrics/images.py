"""Metrics that compare images with their reconstructions, one number per image."""

import abc
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vqvae_jax.metrics.base import Metric
from vqvae_jax.pixels import centered

_SIZE, _SIGMA = 11, 1.5  # of the window of SSIM
_C1, _C2 = 0.01**2, 0.03**2
_LEAST = 1e-10  # of a mean squared error: 100 dB


class ImageMetric(Metric):
    """A number per image that says how well another image reconstructs it."""

    @abc.abstractmethod
    def __call__(
        self, images: Float[Array, "b h w c"], others: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Compares images, both in [0, 1]: [B]; a pure function under jit."""

    def takes(self, shape: Sequence[int]) -> bool:
        """See `Metric.takes`: images, [H, W, C]."""
        return len(shape) == 3

    def scaled(
        self, values: Float[Array, "b h w c"], value_range: tuple[float, float]
    ) -> Float[Array, "b h w c"]:
        """See `Metric.scaled`: to [0, 1], clipped."""
        return jnp.clip(centered(values, value_range) + 0.5, 0, 1)


class PSNR(ImageMetric):
    """Peak signal-to-noise ratio of each image in dB, 10 log10(1 / mse); at most 100.

    Its mean over images is called image_psnr: the psnr of a run's log is that of the mse of all
    images together.
    """

    name = "image_psnr"

    def __call__(
        self, images: Float[Array, "b h w c"], others: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """See `ImageMetric`."""
        mse = jnp.mean((images - others) ** 2, axis=(1, 2, 3))
        return -10 * jnp.log10(jnp.maximum(mse, _LEAST))


class SSIM(ImageMetric):
    """Structural similarity (Wang et al. 2004, equation 13), at most 1.

        SSIM = (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))

    m, s^2 and s_xy are means, variances and the covariance in a window of 11 x 11 pixels, weighted
    by a Gaussian of width 1.5; c1 = 0.01^2, c2 = 0.03^2. The mean is over all windows inside the
    image, and over channels.
    """

    name = "ssim"

    def takes(self, shape: Sequence[int]) -> bool:
        """See `Metric.takes`: images that at least one window fits into."""
        return super().takes(shape) and min(shape[:2]) >= _SIZE

    def __call__(
        self, images: Float[Array, "b h w c"], others: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """See `ImageMetric`.

        Raises:
            ValueError: the images are smaller than a window.
        """
        if not self.takes(images.shape[1:]):
            raise ValueError(
                f"images have shape {images.shape}; SSIM needs at least {_SIZE} x {_SIZE} pixels"
            )
        x, y = (of.transpose(0, 3, 1, 2) for of in (images, others))
        products = jnp.stack([x, y, x * x, y * y, x * y])
        means = _windowed(products.reshape(-1, *x.shape[2:]))
        m_x, m_y, m_xx, m_yy, m_xy = means.reshape(*products.shape[:3], *means.shape[1:])
        variances = m_xx - m_x**2 + m_yy - m_y**2
        above = (2 * m_x * m_y + _C1) * (2 * (m_xy - m_x * m_y) + _C2)
        below = (m_x**2 + m_y**2 + _C1) * (variances + _C2)
        return jnp.mean(above / below, axis=(1, 2, 3))


def _windowed(planes: Float[Array, "n h w"]) -> Float[Array, "n h_out w_out"]:
    """Returns the weighted means in all windows inside [N, H, W]."""
    places = np.arange(_SIZE) - _SIZE // 2
    weights = np.exp(-(places**2) / (2 * _SIGMA**2))
    kernel = jnp.asarray(weights / weights.sum(), planes.dtype)
    x = planes[..., None]
    for along in ((_SIZE, 1, 1, 1), (1, _SIZE, 1, 1)):
        x = jax.lax.conv_general_dilated(
            x,
            kernel.reshape(along),
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=jax.lax.Precision.HIGHEST,  # variances are small differences
        )
    return x[..., 0]
