"""Images to bytes and back: bit-exact, at the rate of their bits, and never any others."""

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import drawn, some_by_default
from tests.priors.conftest import KINDS
from vqvae_jax import (
    VQVAE,
    ArraySource,
    AutoregressiveColorHead,
    AutoregressiveHead,
    CategoricalHead,
    ColorMixtureHead,
    LogisticMixtureHead,
    ProductQuantizer,
    ResidualVQ,
    VectorQuantizer,
)
from vqvae_jax.coding import codec, compress, decompress, streams
from vqvae_jax.coding.container import pack, unpack
from vqvae_jax.coding.streams import OutOfStepError, Reader, Writer
from vqvae_jax.coding.walk import Walk
from vqvae_jax.errors import DataError
from vqvae_jax.metrics.bits import bits_per_dim

SHAPE = (8, 8, 1)
CODES = 5


def one(rngs):
    return VectorQuantizer(4, CODES, rngs=rngs)


def residual(rngs):
    return ResidualVQ([one(rngs) for _ in range(3)])


def product(rngs):
    return ProductQuantizer([VectorQuantizer(2, CODES, rngs=rngs) for _ in range(2)])


@dataclasses.dataclass(frozen=True)
class Case:
    """Returns the parts that models are made of."""

    head: Any
    quantizer: Any = one
    kind: str = "pixelcnn"
    num_classes: int | None = None

    def models(self, seed=0):
        """The two models."""

        def build():
            rngs = nnx.Rngs(0)
            quantizer, head = self.quantizer(rngs), self.head(3, SHAPE[2], rngs=rngs)
            vqvae = VQVAE(SHAPE[2], 4, CODES, 0.1, quantizer=quantizer, head=head, rngs=rngs)
            options = {"num_codebooks": quantizer.num_codebooks, "num_classes": self.num_classes}
            return vqvae, KINDS[self.kind](CODES, **options, rngs=rngs)

        vqvae, prior = drawn(build, seed)
        # Distributions that differ from pixel to pixel, and leave each value more than 2^-24, the
        # least that the coder gives.
        for layer, factor in ((vqvae.decoder.convs[-1], 1 / 8), (vqvae.likelihood.out, 3)):
            layer.kernel[...] = factor * layer.kernel[...]
        return vqvae, prior


CASES = {
    "categorical": Case(CategoricalHead),
    "mixture": Case(functools.partial(LogisticMixtureHead, num_mixtures=2), kind="transformer"),
    "autoregressive": Case(
        functools.partial(AutoregressiveHead, hidden_dim=8, num_layers=1, size=3),
        residual,
        num_classes=3,
    ),
    "color": Case(functools.partial(ColorMixtureHead, num_mixtures=2)),
    "autoregressive-color": Case(
        functools.partial(
            AutoregressiveColorHead, hidden_dim=8, num_layers=1, size=3, num_mixtures=2
        )
    ),
    "product": Case(CategoricalHead, product, kind="transformer"),
}


def random_images(count, shape=SHAPE):
    return np.random.RandomState(0).randint(0, 256, (count, *shape)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Coded:
    """A way there and back, with the tables and symbols of every call on the way."""

    models: tuple[Any, Any]
    content: bytes
    images: np.ndarray
    decoded: np.ndarray
    written: list[tuple[np.ndarray, np.ndarray]]
    read: list[tuple[np.ndarray, np.ndarray]]
    progress: tuple[list[int], list[int]]


@pytest.fixture(
    scope="module",
    params=some_by_default(CASES, ["categorical", "autoregressive-color"]),
)
def coded(request):
    """40 images in blocks of 16, so that the last is half full."""
    case, images = CASES[request.param], random_images(40)
    models, written, read, done = case.models(), [], [], ([], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_BATCH_SIZE", 16)
        patch.setattr(codec, "Writer", recording(Writer, written))
        patch.setattr(codec, "Reader", recording(Reader, read))
        one = jax.devices()[:1]  # so that calls come in order
        content = compress(*models, images, done[0].append, one)
        decoded = decompress(*models, content, SHAPE, progress=done[1].append, devices=one)
    return Coded(models, content, images, decoded, written, read, done)


def compiled_once():
    """A `Walk` that is compiled once for the same arguments."""
    known = {}

    class Known(Walk):
        def __new__(cls, *given):
            return known.get(given) or super().__new__(cls)

        def __init__(self, *given):
            if given not in known:
                super().__init__(*given)
                known[given] = self

    return Known


def recording(base, calls):
    """A stream that keeps what passes through it."""

    class Recording(base):
        def code(self, probabilities, symbols):
            coded = super().code(probabilities, symbols)
            calls.append((probabilities.copy(), coded.copy()))
            return coded

    return Recording


def test_images_come_back_bit_for_bit(coded):
    assert coded.decoded.dtype == np.uint8
    np.testing.assert_array_equal(coded.decoded, coded.images)


def test_both_directions_see_the_same_tables(coded):
    assert len(coded.written) == len(coded.read) > 3
    for (table, symbols), (table_again, symbols_again) in zip(
        coded.written, coded.read, strict=True
    ):
        assert table.dtype == table_again.dtype == np.float32
        np.testing.assert_array_equal(table, table_again)
        np.testing.assert_array_equal(symbols, symbols_again)


def bits_of(calls: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> tuple[float, int]:
    """-log2 of the probabilities that symbols out of `size` got, and how many symbols."""
    chosen = [
        np.take_along_axis(table.astype(np.float64), symbols[:, None], axis=1)
        / table.sum(axis=1, keepdims=True, dtype=np.float64)
        for table, symbols in calls
        if table.shape[1] == size
    ]
    return -np.log2(np.concatenate(chosen)).sum(), sum(map(len, chosen))


def test_size_is_that_of_the_bits(coded):
    """The rate of the file, within 1 %; of each part's symbols and of the words, far closer."""
    bits = bits_per_dim(*coded.models, ArraySource({"image": coded.images}), jax.devices()[:1])
    codebooks = coded.models[1].num_codebooks or 1
    pixels, num_pixels = bits_of(coded.written, 256)
    codes, num_codes = bits_of(coded.written, CODES)
    assert num_pixels == coded.images.size
    assert num_codes == 40 * 2 * 2 * codebooks
    np.testing.assert_allclose(pixels, bits.pixels * coded.images.size, rtol=1e-4)
    np.testing.assert_allclose(codes, bits.codes * coded.images.size, rtol=1e-4)

    header, blocks = unpack(coded.content, "it")
    assert header["images"] == 40
    assert len(blocks) == 3
    words = 32 * sum(len(block) - 2 for block in blocks)  # two of each are a check
    assert pixels + codes <= words <= 1.0005 * (pixels + codes) + 3 * 64
    outside = pack(header, [])
    expected = bits.total * coded.images.size
    assert abs(8 * (len(coded.content) - len(outside)) - expected) <= 0.01 * expected + 3 * 128


def test_progress_adds_up_to_the_images(coded):
    assert coded.progress == ([16, 16, 8], [16, 16, 8])


@pytest.fixture(scope="module")
def tiny():
    """Models of the simplest kind, and what is compiled for them once for all tests."""
    return CASES["categorical"].models(), compiled_once()


@pytest.fixture
def models(tiny, monkeypatch):
    monkeypatch.setattr(codec, "_BATCH_SIZE", 4)
    monkeypatch.setattr(codec, "Walk", tiny[1])
    return tiny[0]


@pytest.fixture
def content(models):
    return compress(*models, random_images(6))


def refused(models, content, message, shape=SHAPE):
    with pytest.raises(DataError, match=message) as refusal:
        decompress(*models, content, shape, "images.vq")
    assert str(refusal.value).startswith("images.vq")
    assert "\n" not in str(refusal.value)


OTHER_PROBABILITIES = "images.vq cannot be decompressed here: the models compute other prob"


@pytest.mark.parametrize("count", some_by_default([0, 1, 4, 5, 8], [0, 5]))
def test_any_number_of_images(models, count):
    """None, fewer than a block, whole blocks, and one more."""
    images, done = random_images(count), ([], [])
    content = compress(*models, images, done[0].append)
    decoded = decompress(*models, content, SHAPE, progress=done[1].append)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (count, *SHAPE)
    np.testing.assert_array_equal(decoded, images)
    assert len(unpack(content, "it")[1]) == -(-count // 4)
    assert done[0] == done[1]
    assert sum(done[0]) == count


def test_a_batch_that_is_not_wanted_any_more_ends(models):
    """As when another batch cannot be coded, or the program is interrupted."""
    walk = codec.Walk(*models, SHAPE, 4, jax.local_devices()[0])

    class Stopping(Writer):
        calls = 0

        def code(self, probabilities, symbols):
            self.calls += 1
            walk.stop()
            return super().code(probabilities, symbols)

    stream = Stopping()
    with pytest.raises(CancelledError):
        walk(stream, 2, random_images(2))
    assert stream.calls == 1
    whole = walk(Writer(), 2, random_images(2))  # the next one is as before
    np.testing.assert_array_equal(whole, random_images(2))


@pytest.mark.slow
def test_few_images_pixel_by_pixel(monkeypatch):
    """As above, with the head that goes through images in another way."""
    monkeypatch.setattr(codec, "_BATCH_SIZE", 2)
    monkeypatch.setattr(codec, "Walk", compiled_once())
    models = CASES["autoregressive"].models()
    for count in (0, 1, 3):
        images = random_images(count)
        decoded = decompress(*models, compress(*models, images), SHAPE)
        np.testing.assert_array_equal(decoded, images)


def test_same_images_are_the_same_file(models, content):
    """Wherever they lie in memory; and they are left as they are."""
    images = random_images(6)
    apart = np.asfortranarray(np.repeat(images, 2, axis=0))[::2]
    assert not apart.flags.c_contiguous
    assert compress(*models, apart) == compress(*models, images) == content
    np.testing.assert_array_equal(images, random_images(6))


def test_extreme_images_come_back(models):
    images = np.zeros((4, *SHAPE), np.uint8)
    images[1:] = np.array([255, 1, 254], np.uint8)[:, None, None, None]
    decoded = decompress(*models, compress(*models, images), SHAPE)
    np.testing.assert_array_equal(decoded, images)


def test_other_models_are_refused(models, content):
    """However little they differ."""
    for i in range(2):
        graphdef, state = nnx.split(models[i])
        leaves, tree = jax.tree.flatten(state)
        changed = np.array(leaves[-1])
        changed.flat[0] *= 1 + 1e-6
        leaves[-1] = jnp.asarray(changed)
        others = list(models)
        others[i] = nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))
        refused(others, content, "images.vq was compressed with other models")
    refused(CASES["categorical"].models(seed=7), content, "with other models")
    refused(CASES["mixture"].models(), content, "with other models")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(8, 8, 3), (6, 8, 1), (8, 8)])
def test_images_of_another_shape_are_refused(models, content, shape):
    message = "the images do not fit the VQ-VAE: x has shape"
    for count in (0, 2):
        with pytest.raises(DataError, match=message):
            compress(*models, random_images(count, shape))
    with pytest.raises(DataError, match=message):
        decompress(*models, content, shape)


def test_another_shape_that_the_model_takes(models, content):
    """Other images than those that were compressed must not come out."""
    with pytest.raises(DataError):
        decompress(*models, content, (4, 16, 1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_images_of_another_type_are_refused(models, dtype):
    """Rather than compressed to what can never be decompressed."""
    with pytest.raises(ValueError, match="uint8"):
        compress(*models, random_images(2).astype(dtype))


def test_model_without_a_head_is_refused(models, content):
    vqvae = nnx.eval_shape(lambda: VQVAE(1, 4, CODES, 0.1, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="the VQ-VAE has no head"):
        compress(vqvae, models[1], random_images(1))
    with pytest.raises(ValueError, match="the VQ-VAE has no head"):
        decompress(vqvae, models[1], content, SHAPE)


def test_damaged_file_is_refused(models, content):
    refused(models, b"", "images.vq is not a file of compressed images")
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    refused(models, bytes(changed), "images.vq is damaged")
    with pytest.raises(DataError, match=r"^the file is damaged"):
        decompress(*models, bytes(changed), SHAPE)


@pytest.mark.parametrize("count", [0, 4, 9, 10**30, -1, -6, True, 6.0, "6", None, [6]])
def test_number_of_images_that_blocks_cannot_hold(models, content, count):
    header, blocks = unpack(content, "it")
    refused(models, pack(header | {"images": count}, blocks), "2 blocks cannot hold .* images")


@pytest.mark.parametrize("count", [5, 7, 8])
def test_number_of_images_that_is_another(models, content, count):
    """It would fit into the blocks."""
    header, blocks = unpack(content, "it")
    refused(models, pack(header | {"images": count}, blocks), "images.vq")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images", "cannot hold None images"),
        ("models", "with other models"),
    ],
)
def test_header_without_an_entry(models, content, name, message):
    header, blocks = unpack(content, "it")
    del header[name]
    refused(models, pack(header, blocks), message)


BLOCKS = {
    "none": lambda words: words[:0],
    "half": lambda words: words[: len(words) // 2],
    "zeros": np.zeros_like,
    "ones": lambda words: np.full_like(words, 2**32 - 1),
    "others": lambda words: words[::-1].copy(),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_words_that_were_not_written_for_these_images(models, content, name):
    header, blocks = unpack(content, "it")
    refused(models, pack(header, [BLOCKS[name](words) for words in blocks]), "images.vq")


@pytest.mark.parametrize("size", [CODES, 256], ids=["codes", "pixels"])
@pytest.mark.parametrize("change", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1])
def test_other_probabilities_are_seen(models, content, monkeypatch, change, size):
    """Where reading computes a little else: refused, unless it is too little to matter."""

    class Elsewhere(Reader):
        def code(self, probabilities, symbols):
            if probabilities.shape[1] == size:
                factors = 1 + change * np.linspace(-1, 1, size, dtype=np.float32)
                probabilities = probabilities * factors[None]
                probabilities /= probabilities.sum(axis=1, keepdims=True)
            return super().code(probabilities, symbols)

    monkeypatch.setattr(codec, "Reader", Elsewhere)
    try:
        decoded = decompress(*models, content, SHAPE)
    except DataError:
        refused(models, content, OTHER_PROBABILITIES)
    else:
        np.testing.assert_array_equal(decoded, random_images(6))
        assert change <= 1e-3


@pytest.mark.parametrize("call", [0, 5, -1])
def test_one_other_table_is_seen(models, content, monkeypatch, call):
    """All words are read; the last one's symbols are followed by none."""

    class Elsewhere(Reader):
        calls = 0

        def code(self, probabilities, symbols):
            self.calls += 1
            if self.calls - 1 == call % 12:  # 4 positions of codes and 8 rows of pixels a block
                probabilities = probabilities[:, ::-1].copy()
            return super().code(probabilities, symbols)

    monkeypatch.setattr(codec, "Reader", Elsewhere)
    refused(models, content, OTHER_PROBABILITIES)


@pytest.mark.parametrize("numbers", [1, 4, 13, 2**22])
def test_large_tables_go_in_parts(monkeypatch, numbers):
    """Which changes neither words nor symbols."""
    random = np.random.RandomState(0)
    table = random.dirichlet(np.ones(4), 10).astype(np.float32)
    symbols = random.randint(0, 4, 10).astype(np.int32)
    whole = Writer()
    np.testing.assert_array_equal(whole.code(table, symbols), symbols)
    monkeypatch.setattr(streams, "_MAX_NUMBERS", numbers)
    parts = Writer()
    parts.code(table, symbols)
    np.testing.assert_array_equal(parts.words(), whole.words())
    np.testing.assert_array_equal(Reader(parts.words()).code(table, None), symbols)


def test_a_long_stream_out_of_step_is_noticed():
    """The coder meets words that belong to no symbol, sooner or later."""
    random = np.random.RandomState(0)
    table = random.dirichlet(np.full(4, 0.3), 200_000).astype(np.float32)
    writer = Writer()
    writer.code(table, random.randint(0, 4, len(table)).astype(np.int32))
    other = table * (1 + 1e-3 * np.arange(4, dtype=np.float32))
    with pytest.raises(OutOfStepError):
        Reader(writer.words()).code(other, None)


def test_one_symbol_needs_no_words():
    writer, symbols = Writer(), np.zeros(5, np.int32)
    writer.code(np.ones((5, 1), np.float32), symbols)
    assert len(writer.words()) == 0
    np.testing.assert_array_equal(
        Reader(writer.words()).code(np.ones((5, 1), np.float32), None), symbols
    )


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1))
def test_improbable_symbols_come_back(rows):
    """Those of probability 0, too, which a model may give to a pixel."""
    table = np.array(rows, np.float32)
    table[:, 0] += np.float32(0.5)  # a row that is all zeros is no distribution
    for symbol in range(4):
        writer, symbols = Writer(), np.full(len(table), symbol, np.int32)
        writer.code(table, symbols)
        np.testing.assert_array_equal(Reader(writer.words()).code(table, None), symbols)
