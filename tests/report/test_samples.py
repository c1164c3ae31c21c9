"""Images of drawn codes: the arguments mean what they mean to `sample_codes`."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn
from vqvae_jax import VQVAE, GatedPixelCNN
from vqvae_jax.report.samples import classes_in_turn, draw_images

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def models():
    """A VQ-VAE, and a prior of three classes."""

    def build():
        rngs = nnx.Rngs(0)
        prior = GatedPixelCNN(5, channels=4, dilations=(1,), num_classes=3, rngs=rngs)
        return VQVAE(1, 4, 5, 0.1, rngs=rngs), prior

    return drawn(build)


def test_labels_are_integers_and_not_cut_off(models):
    key = jax.random.key(0)
    images = draw_images(*models, 2, (2, 3), key=key, labels=np.array([0, 1]))
    assert images.shape == (2, 8, 12, 1)
    same = draw_images(*models, np.int64(2), [2, 3], key=key, labels=[0, 1])
    np.testing.assert_array_equal(same, images)
    for wrong in (np.array([0.7, 1.5]), np.array([False, True])):
        with pytest.raises(ValueError, match=f"labels have type {wrong.dtype}; they must be int"):
            draw_images(*models, 2, (2, 3), key=key, labels=wrong)


def test_classes_come_in_turn(models):
    prior = models[1]
    np.testing.assert_array_equal(classes_in_turn(prior, np.int64(7)), [0, 0, 0, 1, 1, 2, 2])
    for number in (2.5, True, 0):
        with pytest.raises(ValueError, match=f"number is {number}; it must be an integer"):
            classes_in_turn(prior, number)
