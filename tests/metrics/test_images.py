"""PSNR and SSIM against their formulas, window by window, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax import PSNR, SSIM


def ssim(x, y):
    """Equation 13 of Wang et al. 2004, over all windows of 11 x 11."""
    places = np.arange(11) - 5
    line = np.exp(-(places**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    height, width, channels = x.shape
    values = []
    for channel in range(channels):
        for i in range(height - 10):
            for j in range(width - 10):
                a, b = (of[i : i + 11, j : j + 11, channel] for of in (x, y))
                m_a, m_b = (weights * a).sum(), (weights * b).sum()
                s_a, s_b = (weights * (a - m_a) ** 2).sum(), (weights * (b - m_b) ** 2).sum()
                s_ab = (weights * (a - m_a) * (b - m_b)).sum()
                above = (2 * m_a * m_b + 1e-4) * (2 * s_ab + 9e-4)
                values.append(above / ((m_a**2 + m_b**2 + 1e-4) * (s_a + s_b + 9e-4)))
    return np.mean(values)


@pytest.fixture(params=[(14, 17, 3), (11, 11, 1), (12, 20, 4)])
def images(request):
    random = np.random.RandomState(0)
    x = random.rand(3, *request.param)
    x[2] = 0.5 + 0.01 * x[2]  # hardly any contrast
    return x, np.clip(x + 0.1 * random.randn(*x.shape), 0, 1)


def test_ssim_is_its_formula(images):
    actual = jax.jit(SSIM())(*(jnp.asarray(of, jnp.float32) for of in images))
    expected = [ssim(x, y) for x, y in zip(*images, strict=True)]
    np.testing.assert_allclose(actual, expected, atol=5e-5)


def test_psnr_is_its_formula(images):
    actual = jax.jit(PSNR())(*(jnp.asarray(of, jnp.float32) for of in images))
    mse = ((images[0] - images[1]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(actual, 10 * np.log10(1 / mse), rtol=1e-5)


def test_equal_images_are_best(images):
    x = jnp.asarray(images[0], jnp.float32)
    np.testing.assert_allclose(SSIM()(x, x), 1, rtol=1e-5)
    np.testing.assert_allclose(PSNR()(x, x), 100, rtol=1e-5)


def test_ssim_needs_a_window():
    small = jnp.zeros((1, 10, 20, 3))
    assert not SSIM().takes((10, 20, 3))
    assert PSNR().takes((10, 20, 3))
    with pytest.raises(ValueError, match="SSIM needs at least 11 x 11 pixels"):
        SSIM()(small, small)
