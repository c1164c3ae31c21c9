"""Image files of every kind become pixels, or one line."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import HEIGHT, WIDTH, header_of_png, pattern
from vqvae_jax.data.decoding import read_image
from vqvae_jax.errors import DataError

PIXELS = pattern()
GRAY = np.asarray(Image.fromarray(PIXELS).convert("L"))[..., None]


@pytest.mark.parametrize(
    ("mode", "name", "most"),
    [
        ("RGB", "a.png", 0),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.tif", 0),
        ("RGB", "a.gif", 8),
        ("RGB", "a.jpg", 6),
        ("RGB", "a.webp", 16),
        ("CMYK", "a.tif", 1),
        ("CMYK", "a.jpg", 6),
        ("RGBA", "a.png", 0),
        ("RGB", "a.text", 0),
    ],
)
def test_color_is_read_from_any_format(tmp_path, mode, name, most):
    options = {"format": "PNG"} if name == "a.text" else {}
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / name, **options)
    found = read_image(tmp_path / name, 3)
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert np.abs(found.astype(int) - PIXELS).max() <= most


@pytest.mark.parametrize(("mode", "most"), [("L", 0), ("LA", 0), ("P", 130), ("1", 255)])
def test_gray_and_palette_are_read(tmp_path, mode, most):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", 1)
    assert found.shape == (HEIGHT, WIDTH, 1)
    assert np.abs(found.astype(int) - GRAY).max() <= most
    assert read_image(tmp_path / "a.png", 3).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_become_8(tmp_path, name):
    Image.fromarray(GRAY[..., 0].astype(np.uint16) * 257).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name, 1), GRAY)
    np.testing.assert_array_equal(read_image(tmp_path / name, 3), np.tile(GRAY, 3))


def test_what_is_transparent_lies_over_white(tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, WIDTH // 2 :] = 255
    Image.fromarray(np.concatenate([PIXELS, alpha], 2)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", 3)
    assert (found[:, : WIDTH // 2] == 255).all()
    np.testing.assert_array_equal(found[:, WIDTH // 2 :], PIXELS[:, WIDTH // 2 :])


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, lambda x: np.rot90(x)),
    ],
)
def test_images_stand_as_exif_says(tmp_path, suffix, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(file, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    found = read_image(file, 3).astype(int)
    expected = turned(PIXELS)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3
    scaled = read_image(file, 3, shorter_side=12)
    assert scaled.shape == (12, 18, 3) if orientation < 5 else (18, 12, 3)


def test_a_gif_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (40, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif", 3) == 40).all()


@pytest.mark.parametrize(
    ("shorter", "least", "shape"),
    [(0, 1, (24, 36)), (12, 1, (12, 18)), (48, 1, (48, 72)), (0, 30, (30, 45)), (0, 20, (24, 36))],
)
def test_the_shorter_side_is_scaled(tmp_path, shorter, least, shape):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(PIXELS).save(tmp_path / name, quality=95)
        found = read_image(tmp_path / name, 3, shorter, least)
        assert found.shape == (*shape, 3)
        assert np.abs(found.mean((0, 1)) - PIXELS.mean((0, 1))).max() < 1.5


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no image of a known format"),
        (b"no image at all", "is no image of a known format"),
        (header_of_png(0, 5), "is no image of a known format"),
        (header_of_png(12_000, 12_000), r"would have 12000 x 12000 pixels; .* 1 to 134217728"),
        (header_of_png(1, 10**6), r"would have 64 x 64000000 pixels"),
        (header_of_png(200_000, 200_000), "cannot be read: Image size"),
    ],
)
def test_what_is_no_image_is_one_line(tmp_path, content, message):
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"a.png.* {message}") as refusal:
        read_image(file, 3, shorter_side=64)
    assert "\n" not in str(refusal.value)


def test_floats_and_missing_files_are_one_line(tmp_path):
    Image.fromarray(GRAY[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="its pixels are floats"):
        read_image(tmp_path / "a.tif", 3)
    with pytest.raises(DataError, match=r"b\.png cannot be read: No such file"):
        read_image(tmp_path / "b.png", 3)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_image(tmp_path, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp", "tif"])
@hypothesis.given(data=st.data())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_one_line(tmp_path, suffix, data):
    """Cut anywhere, or with any byte replaced: pixels of its own size, or an error of one line."""
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(file)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    said = ""
    try:
        found = read_image(file, 3)
    except DataError as error:
        said = str(error)
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 3
    assert "\n" not in said
