"""The order of the images."""

import numpy as np

from vqvae_jax.data import epoch_order


def test_order_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    orders = {
        (seed, epoch): epoch_order(seed, epoch, 1000)
        for seed in (0, 1, 2**32 - 1)
        for epoch in (0, 1)
    }
    for (seed, epoch), order in orders.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
        np.testing.assert_array_equal(order, epoch_order(seed, epoch, 1000))
    assert len({order.tobytes() for order in orders.values()}) == len(orders)


def test_order_is_the_same_on_every_machine():
    np.testing.assert_array_equal(epoch_order(0, 0, 10), [0, 7, 8, 6, 9, 5, 1, 3, 2, 4])
