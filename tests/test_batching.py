"""Images of many sizes pass in batches of one size, and few wait."""

import numpy as np

from vqvae_jax.commands import batching
from vqvae_jax.commands.batching import Sized, in_batches
from vqvae_jax.commands.image_model import padded


def sized(index, height, width):
    return Sized(str(index), np.zeros((height, width, 3), np.uint8), (height, width))


def test_every_image_is_in_one_batch_with_others_of_its_size(monkeypatch):
    monkeypatch.setattr(batching, "_PER_BATCH", 400)
    random = np.random.RandomState(0)
    images = [sized(index, *random.choice([4, 8, 16], 2).tolist()) for index in range(200)]
    batches = [*in_batches(iter(images))]
    assert sorted((one.name for batch in batches for one in batch), key=int) == [
        str(index) for index in range(200)
    ]
    for batch in batches:
        assert len({one.array.shape for one in batch}) == 1
        height, width, _ = batch[0].array.shape
        assert len(batch) <= max(1, 400 // (height * width))


def test_few_images_wait(monkeypatch):
    monkeypatch.setattr(batching, "_WAITING", 1000)
    taken = []

    def images():
        for index in range(50):
            taken.append(index)
            yield sized(index, 10, 10 + index)  # all of different sizes

    most = 0
    for done, _ in enumerate(in_batches(images())):
        most = max(most, len(taken) - done)
    assert most <= 10


def test_padding_repeats_the_edge():
    image = np.arange(2 * 3).reshape(2, 3, 1)
    expected = [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]
    np.testing.assert_array_equal(padded(image, (3, 4))[..., 0], expected)
    np.testing.assert_array_equal(padded(image, (2, 3)), image)
