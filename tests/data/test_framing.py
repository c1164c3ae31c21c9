"""Images of any size become examples of one size."""

import numpy as np
import pytest

from tests.data.pictures import pattern
from vqvae_jax.data.image_framing import ImageFraming

IMAGE = pattern(20, 31)


def test_the_center_is_in_the_middle():
    framing = ImageFraming(size=8)
    (found,) = framing.parts(IMAGE)
    np.testing.assert_array_equal(found, IMAGE[6:14, 11:19])
    np.testing.assert_array_equal(framing.center(found), found)


def test_tiles_cover_the_middle_and_do_not_overlap():
    tiles = ImageFraming(size=8, crop="tiles").parts(IMAGE)
    assert tiles.shape == (6, 8, 8, 3)
    rows = [np.concatenate(tiles[3 * row : 3 * row + 3], axis=1) for row in range(2)]
    np.testing.assert_array_equal(np.concatenate(rows), IMAGE[2:18, 3:27])


def test_tiles_are_not_scaled_unless_asked():
    assert ImageFraming(size=8).scaling == (8, 8)
    assert ImageFraming(size=8, crop="tiles").scaling == (0, 8)
    assert ImageFraming(size=8, crop="tiles", resize=16).scaling == (16, 8)
    assert ImageFraming().scaling == (0, 1)


def test_random_crops_reach_every_place_and_half_are_mirrored():
    framing = ImageFraming(size=18, crop="random", flip=True)
    np.testing.assert_array_equal(framing.parts(IMAGE), IMAGE[None])
    rows, columns = np.mgrid[:20, :31]
    marked = np.stack([rows, columns], 2).astype(np.uint8)
    draws = [framing.draw(marked, np.random.RandomState(seed)) for seed in range(600)]
    mirrored = [draw[0, 0, 1] > draw[0, -1, 1] for draw in draws]
    assert 240 < sum(mirrored) < 360
    corners = {(int(draw[..., 0].min()), int(draw[..., 1].min())) for draw in draws}
    assert corners == {(y, x) for y in range(3) for x in range(14)}
    again = framing.draw(marked, np.random.RandomState(5))
    np.testing.assert_array_equal(again, draws[5])


def test_nothing_is_random_in_what_is_held_out():
    framing = ImageFraming(size=8, crop="random", flip=True)
    assert not framing.reads_examples
    assert framing.held_out == ImageFraming(size=8)
    assert framing.held_out.reads_examples
    assert ImageFraming(size=8, crop="tiles").held_out.crop == "tiles"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size is 0; it must be an integer of at least 1"),
        ({"size": 8, "resize": 7}, "resize is 7; it must be 0, or at least 8"),
        ({"size": 8, "crop": "corner"}, "crop is 'corner'; it must be one of center, random"),
        ({"crop": "random"}, "crop is 'random'; without a size it must be 'center'"),
        ({"channels": 4}, "channels is 4; it must be 3 or 1"),
        ({"flip": 1}, "flip is 1; it must be True or False"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageFraming(**settings)
